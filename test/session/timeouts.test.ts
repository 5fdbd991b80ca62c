import { Redis } from 'ioredis'
import t from 'tap'
import { errors } from '../../lib/errors.ts'
import { MemoryStore } from '../../lib/index.ts'
import type { SessionEvent, SessionStore } from '../../lib/index.ts'
import { RedisStore as DropIn } from '../../lib/express/redis-store.ts'
import { Jar, startExpress, startShop } from '../helpers/express-app.ts'
import { onBothStores, openManager } from '../helpers/managers.ts'
import { HOUR, MINUTE } from '../helpers/record.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'

const redis = await startRedis(t)
const both = onBothStores(t, redis)

both('a shorter policy reaches a session that lives, and a longer one does', async (t, open) => {
  const { sessions, age } = await open({ idleTimeout: '1h', absoluteTimeout: '1d' })
  const { session: { id, createdAt } } = await sessions.create({ userId: 'ada' })
  const timeouts = async () => {
    const { expiresAt, endsAt, lastSeenAt, createdAt } = await sessions.get(id) ?? { expiresAt: 0, endsAt: 0, lastSeenAt: 0, createdAt: 0 }
    return [(expiresAt - lastSeenAt) / MINUTE, (endsAt - createdAt) / HOUR]
  }
  t.equal(await sessions.setTimeouts(id, { idleTimeout: '15m' }), true)
  t.strictSame(await timeouts(), [15, 24])
  t.equal(await sessions.setTimeouts(id, { absoluteTimeout: 2 * HOUR }), true)
  t.strictSame(await timeouts(), [15, 2], 'the other one stays')
  t.equal(await sessions.setTimeouts(id, { idleTimeout: '50h', absoluteTimeout: '48h' }), true)
  t.strictSame(await timeouts(), [48 * 60, 48], 'an idle timeout is never longer than the absolute one')
  await age(HOUR)
  t.equal(await sessions.setTimeouts(id, { absoluteTimeout: '90m' }), true)
  const { createdAt: aged = 0, endsAt } = await sessions.get(id) ?? {}
  t.equal(endsAt, aged + 90 * MINUTE, 'counted from when it began')
  t.ok(createdAt >= aged)
  await age(31 * MINUTE)
  t.equal(await sessions.get(id), null)
  t.equal(await sessions.setTimeouts(id, { absoluteTimeout: '1d' }), false, 'what has ended has none')
})

both('a session that has outlived its new timeouts ends, and has expired', async (t, open) => {
  const { sessions, age } = await open()
  const events: Array<Pick<SessionEvent, 'id' | 'reason' | 'kind'>> = []
  for (const name of ['revoked', 'expired'] as const) sessions.on(name, ({ id, reason, kind }) => events.push({ id, reason, kind }))
  const { session: { id } } = await sessions.create({ userId: 'ada' })
  await age(20 * MINUTE)
  t.equal(await sessions.setTimeouts(id, { absoluteTimeout: '10m' }), false)
  t.equal(await sessions.get(id), null)
  t.strictSame(await sessions.listByUser('ada'), [])
  await until('the event', () => events.length > 0)
  t.match(events, [{ id, reason: null }])
})

both('all sessions of a user get other timeouts, however many there are, and nobody else\'s', async (t, open) => {
  const { sessions, age, another } = await open({ maxSessionsPerUser: false })
  for (let index = 0; index < 230; index++) await sessions.create({ userId: 'ada', kind: 'cookie' })
  const { session: his } = await sessions.create({ userId: 'bob' })
  await age(MINUTE)
  t.equal(await sessions.setTimeouts({ userId: 'ada' }, { idleTimeout: '5m', absoluteTimeout: '2h' }), 230)
  for (const { expiresAt, endsAt, lastSeenAt, createdAt } of await sessions.listByUser('ada')) {
    if (expiresAt !== lastSeenAt + 5 * MINUTE || endsAt !== createdAt + 2 * HOUR) t.fail('one was left out')
  }
  const bobs = await sessions.get(his.id)
  t.equal(bobs?.expiresAt, Number(bobs?.lastSeenAt) + 30 * MINUTE)
  t.equal(await (await another()).setTimeouts({ userId: 'ada' }, { idleTimeout: '5m', absoluteTimeout: '2h' }), 230, 'harmless twice')
  t.equal(await sessions.setTimeouts({ userId: 'nobody' }, { idleTimeout: '5m' }), 0)
  await age(MINUTE)
  await sessions.create({ userId: 'ada' })
  await age(2 * MINUTE)
  t.equal(await sessions.setTimeouts({ userId: 'ada' }, { idleTimeout: '3m' }), 1, 'the others have ended by that')
  t.equal((await sessions.listByUser('ada')).length, 1)
})

both('a session that has moved is found by the id of before', async (t, open) => {
  const { sessions, store } = await open()
  const { session: { id } } = await sessions.create({ userId: 'ada' })
  const { session: { id: to } } = await sessions.create({ userId: 'bob' })
  const [old, other] = [await store.find(id), await store.find(to)]
  if (old === null || other === null) throw new Error('they live')
  const moved = { ...old, id: `${id.slice(0, -1)}${id.endsWith('A') ? 'Q' : 'A'}`, secretHash: other.secretHash }
  // The move overtakes: what is asked for was read before, and not from memory.
  store.findNow = () => undefined
  const find = store.find.bind(store)
  store.find = async (asked) => {
    const found = await find(asked)
    if (asked === id && found !== null) await store.move(moved, old)
    return found
  }
  t.equal(await sessions.setTimeouts(id, { idleTimeout: '5m' }), true)
  t.equal((await find(moved.id))?.idleTimeoutMs, 5 * MINUTE)
})

t.test('work that was broken off goes on with the next call', async (t) => {
  const store = new MemoryStore()
  const sessions = openManager(t, { store })
  for (let index = 0; index < 150; index++) await sessions.create({ userId: 'ada' })
  const set = store.setTimeouts.bind(store)
  let writes = 0
  store.setTimeouts = async (...args) => {
    if (++writes === 120) throw new errors.STORE_UNAVAILABLE({ cause: new Error('gone') })
    return await set(...args)
  }
  await t.rejects(sessions.setTimeouts({ userId: 'ada' }, { idleTimeout: '5m' }), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  const before = writes
  t.equal(await sessions.setTimeouts({ userId: 'ada' }, { idleTimeout: '5m' }), 150)
  t.ok(writes - before <= 50, `${writes - before} were written: those that have them already are left alone`)
})

t.test('a session that is on its way while its user\'s are listed is not overlooked', async (t) => {
  const store = new MemoryStore()
  const sessions = openManager(t, { store })
  const { session: { id } } = await sessions.create({ userId: 'ada' })
  await sessions.create({ userId: 'ada' })
  const list = store.listByUser.bind(store)
  let listings = 0
  store.listByUser = async (...args) => {
    const listed = await list(...args)
    return ++listings === 1 ? listed.filter((each) => each.id !== id) : listed
  }
  t.equal(await sessions.setTimeouts({ userId: 'ada' }, { idleTimeout: '5m' }), 2)
  t.equal((await store.find(id))?.idleTimeoutMs, 5 * MINUTE)
  t.equal(listings, 3, 'until there is none that is new')
})

t.test('a sign-in of later has the timeouts of the plugin', async (t) => {
  let now = Date.now()
  const store = new MemoryStore({ now: () => now })
  const sessions = openManager(t, { store })
  await sessions.create({ userId: 'ada' })
  const list = store.listByUser.bind(store)
  store.listByUser = async (...args) => {
    store.listByUser = list
    now += 1
    await sessions.create({ userId: 'ada' })
    return await list(...args)
  }
  t.equal(await sessions.setTimeouts({ userId: 'ada' }, { idleTimeout: '5m' }), 1)
  t.strictSame((await list('ada')).map(({ idleTimeoutMs }) => idleTimeoutMs / MINUTE), [30, 5])
})

both('the session of somebody who acts as the user only gets shorter timeouts', async (t, open) => {
  const { sessions } = await open({ idleTimeout: '30m', absoluteTimeout: '1d' })
  const { session: { id } } = await sessions.create({ userId: 'ada', actor: 'grace', idleTimeout: '5m', absoluteTimeout: '1h' })
  const timeouts = async () => {
    const { expiresAt, endsAt, lastSeenAt, createdAt } = await sessions.get(id) ?? { expiresAt: 0, endsAt: 0, lastSeenAt: 0, createdAt: 0 }
    return [(expiresAt - lastSeenAt) / MINUTE, (endsAt - createdAt) / MINUTE]
  }
  for (const which of [id, { userId: 'ada' }]) {
    t.ok(await sessions.setTimeouts(which as string, { idleTimeout: '10m', absoluteTimeout: '20h' }))
    t.ok(await sessions.setTimeouts(which as string, { idleTimeout: '3h', absoluteTimeout: '9d' }))
    t.strictSame(await timeouts(), [5, 60])
  }
  t.equal(await sessions.setTimeouts(id, { idleTimeout: '4m', absoluteTimeout: '2h' }), true)
  t.strictSame(await timeouts(), [4, 60])
  t.equal(await sessions.setTimeouts({ userId: 'ada' }, { idleTimeout: '8m', absoluteTimeout: '20m' }), 1)
  t.strictSame(await timeouts(), [4, 20])
})

t.test('a longer timeout undoes no shorter one that was set at the same time for who acts as the user', async (t) => {
  const store = new MemoryStore()
  const sessions = openManager(t, { store })
  const { session: { id } } = await sessions.create({ userId: 'ada', actor: 'grace', idleTimeout: '30m' })
  const set = store.setTimeouts.bind(store)
  store.setTimeouts = async (session, timeouts) => {
    await set(session, { idleTimeoutMs: 5 * MINUTE })
    return await set(session, timeouts)
  }
  t.equal(await sessions.setTimeouts(id, { idleTimeout: '3h' }), true)
  t.equal((await store.find(id))?.idleTimeoutMs, 5 * MINUTE)
})

t.test('what is no timeout is an error, and changes nothing', async (t) => {
  const sessions = openManager(t, { store: new MemoryStore(), assurance: 'aal2' })
  const { session: { id, expiresAt } } = await sessions.create({ userId: 'ada' })
  const WRONG: Array<[timeouts: unknown, message: RegExp]> = [
    [{}, /idleTimeout, absoluteTimeout or both/],
    [{ idleTimeout: undefined }, /idleTimeout, absoluteTimeout or both/],
    [{ idleTimeout: 'soon' }, /^idleTimeout must be milliseconds/],
    [{ idleTimeout: 0 }, /^idleTimeout must be positive/],
    [{ absoluteTimeout: NaN }, /^absoluteTimeout must be milliseconds/],
    [{ absoluteTimeout: '11y' }, /^absoluteTimeout must be less than ten years/],
    [{ idleTimeout: null }, /^idleTimeout must be/],
    [{ idleTimeout: '61m' }, /^idleTimeout is longer than the assurance option allows/],
    [{ absoluteTimeout: '25h' }, /^absoluteTimeout is longer than the assurance option allows/],
    [{ idletimeout: '5m' }, /^timeouts must have no members but/],
    [null, /^timeouts must be an object/],
    ['5m', /^timeouts must be an object/]
  ]
  for (const [timeouts, message] of WRONG) {
    for (const which of [id, { userId: 'ada' }]) {
      await t.rejects(sessions.setTimeouts(which as string, timeouts as object), { name: 'TypeError', message }, String(message))
    }
  }
  for (const which of [null, {}, { userId: undefined }, { userId: 'ada', id }, { userId: '' }, []]) {
    await t.rejects(sessions.setTimeouts(which as unknown as string, { idleTimeout: '5m' }), { name: 'TypeError' })
  }
  for (const which of [undefined, 0, '', 'x', '__proto__', Symbol('id'), () => {}]) {
    t.equal(await sessions.setTimeouts(which as unknown as string, { idleTimeout: '5m' }), false)
  }
  t.equal((await sessions.get(id))?.expiresAt, expiresAt)
})

t.test('a store that cannot says so, and so does one whose sessions never expire', async (t) => {
  const store: SessionStore = new MemoryStore()
  store.setTimeouts = undefined as never
  const sessions = openManager(t, { store })
  const { session: { id } } = await sessions.create({ userId: 'ada' })
  const unsupported = { code: 'ERR_SESSION_UNSUPPORTED' }
  await t.rejects(sessions.setTimeouts(id, { idleTimeout: '5m' }), unsupported)
  await t.rejects(sessions.setTimeouts({ userId: 'ada' }, { idleTimeout: '5m' }), unsupported)
  const client = new Redis(redis.url)
  const lasting = new DropIn({ client, prefix: prefix(), disableTTL: true })
  t.teardown(async () => {
    await lasting.close()
    client.disconnect()
  })
  const forever = openManager(t, { store: lasting })
  const created = await forever.create({ userId: 'ada' })
  await t.rejects(forever.setTimeouts(created.session.id, { idleTimeout: '5m' }), unsupported)
})

t.test('beside an Express app both go by the new timeouts', async (t) => {
  const keyPrefix = prefix()
  const express = await startExpress(t, { client: redis.client, keyPrefix })
  const shop = await startShop(t, { redis: redis.url, keyPrefix, expressSession: 'share', idleTimeout: '1h' })
  const jar = new Jar()
  await jar.post(shop, '/user/ada')
  const { body: { id } } = await jar.get(shop, '/me')
  const [key = ''] = await redis.client.keys(`${keyPrefix}*`)
  t.equal(await shop.sessions.setTimeouts(id, { idleTimeout: '10m', absoluteTimeout: '2h' }), true)
  const minutesLeft = async () => Math.ceil(await redis.client.pttl(key) / MINUTE)
  t.equal(await minutesLeft(), 10)
  t.match(JSON.parse(await redis.client.get(key) ?? ''), { user: { id: 'ada' }, cookie: { originalMaxAge: 10 * MINUTE } })
  await redis.client.pexpire(key, 5 * MINUTE)
  await jar.get(express, '/data')
  await until('Express to extend it', async () => await minutesLeft() > 5)
  t.equal(await minutesLeft(), 10, 'by the new idle timeout')
  const { lastSeenAt, expiresAt, endsAt } = (await shop.sessions.get(id)) ?? { lastSeenAt: 0, expiresAt: 0, endsAt: 0 }
  t.ok(expiresAt - lastSeenAt === 10 * MINUTE && endsAt > expiresAt)
  await redis.client.pexpire(key, 5 * MINUTE)
  t.equal(await shop.sessions.setTimeouts({ userId: 'ada' }, { idleTimeout: '4m' }), 0, 'it was not used for five')
  t.equal(await redis.client.exists(key), 0)
  t.equal((await jar.get(shop, '/me')).status, 401)
})
