import t from 'tap'
import type { Test } from 'tap'
import { SessionManager, storeErrors } from '../../lib/index.ts'
import type { IdpSession, SessionInfo, SessionRecord } from '../../lib/index.ts'
import { connect, disconnectNow } from '../../lib/redis/connection.ts'
import { RedisStore } from '../../lib/redis/store.ts'
import { confirmed, pendingKey } from '../../lib/session/bound-key.ts'
import { newId } from '../../lib/session/token.ts'
import { secret } from '../helpers/app.ts'
import { isHeard, openNear, telling } from '../helpers/near.ts'
import { record } from '../helpers/record.ts'
import { prefix, startCluster, startRedis, until } from '../helpers/redis.ts'
import { openStore } from '../helpers/redis-store.ts'
import { commandsDuring } from '../helpers/redis-commands.ts'
import { startWire } from '../helpers/wire.ts'

/*
 * A near-cache that is told of ends alone, in one process, and what another does.
 */

const redis = await startRedis(t)
const cluster = await startCluster(t)

const PLACES = [
  ['one server', 'broadcast', redis.url],
  ['one server, sharded', 'sharded', redis.url],
  ['one server, both', 'both', redis.url],
  ['a Cluster', 'sharded', { cluster: cluster.nodes }]
] as const

/** A process with a near-cache that never looks by itself for a minute, and one without. */
async function openTwo (t: Test, [, events, target]: typeof PLACES[number]) {
  const keyPrefix = prefix()
  const open = async (nearCache?: object) => {
    const { client } = connect(target as Parameters<typeof connect>[0])
    const store = new RedisStore({ client, prefix: keyPrefix, events })
    await store.ready(10_000)
    const sessions = new SessionManager({ secret, store, ...nearCache !== undefined && { nearCache } })
    t.teardown(async () => {
      await sessions.close()
      await store.close()
      disconnectNow(client)
    })
    let reads = 0
    const find = store.find.bind(store)
    store.find = async (id) => {
      reads++
      return await find(id)
    }
    return { sessions, store, client, reads: () => reads }
  }
  const [here, there] = [await open(), await open({ maxStale: '1m', invalidate: 'ends' })]
  const isServed = async (token: string): Promise<boolean> => {
    const before = there.reads()
    return await there.sessions.find(token) !== null && there.reads() === before
  }
  /** Begins a session that the process with the near-cache has in memory. */
  const begin = async (userId = 'ada', more: { idp?: IdpSession } = {}) => {
    const created = await here.sessions.create({ userId, data: { cart: 0 }, ...more })
    await until('it to be served from memory', async () => await isServed(created.token))
    return created
  }
  return { here, there, begin, isServed, keyPrefix }
}

for (const place of PLACES) {
  const [name] = place
  t.test(`on ${name}: whoever is signed out elsewhere is not served any more, however that was done`, async (t) => {
    const { here, there, begin } = await openTwo(t, place)
    const ways: Record<string, (session: SessionInfo) => Promise<unknown>> = {
      revoke: async ({ id }) => await here.sessions.revoke(id),
      revokeUser: async () => await here.sessions.revokeUser('ada'),
      'timeouts that have run out': async ({ id }) => await here.sessions.setTimeouts(id, { absoluteTimeout: 1, idleTimeout: 1 })
    }
    for (const [way, end] of Object.entries(ways)) {
      const { token, session } = await begin()
      await end(session)
      await until(`the end by ${way} to be heard`, async () => await there.sessions.find(token) === null, 2_000)
    }
    const all = await Promise.all(Array.from({ length: 40 }, async (_, each) => await begin(each < 20 ? 'bob' : 'eve')))
    await here.sessions.revokeUser('bob')
    await until('all ends', async () => (await Promise.all(all.slice(0, 20).map(async ({ token }) => await there.sessions.find(token)))).every((found) => found === null), 2_000)
    for (const { token } of all.slice(20)) t.not(await there.sessions.find(token), null)
  })

  t.test(`on ${name}: what is only used or changed elsewhere costs nothing here`, async (t) => {
    const { here, there, begin, isServed } = await openTwo(t, place)
    const { token, session } = await begin()
    await here.sessions.update(session.id, (data) => ({ ...data, cart: 1 }))
    await here.sessions.touch(session.id)
    t.ok(await isServed(token))
    t.strictSame(await there.sessions.data(session.id), { cart: 0, userId: 'ada' }, 'as old as maxStale at the most')
    await there.sessions.update(session.id, (data) => ({ ...data, wish: 1 }))
    t.strictSame(await there.sessions.data(session.id), { cart: 1, userId: 'ada', wish: 1 }, 'no change is lost, and its own are seen at once')
  })
}

t.test('the end of an anonymous session, shorter timeouts and the key of a device are told by processes that have such a near-cache', async (t) => {
  for (const [target, events] of [[redis.url, 'broadcast'], [redis.url, 'sharded'], [{ cluster: cluster.nodes }, 'sharded']] as const) {
    const options = { prefix: prefix(), maxStaleMs: 60_000, invalidate: 'ends', events } as const
    const [here, there] = [await openNear(t, target, options), await openNear(t, target, options)]
    const begin = async (userId: string | null) => {
      const session = record({ now: here.redis.now(), userId })
      await here.store.begin(session)
      await until('it to be in memory', async () => await there.store.find(session.id) !== null && there.store.findNow(session.id) !== undefined)
      return session
    }
    const ends: Record<string, (guest: SessionRecord) => Promise<unknown>> = {
      'an end': async ({ id }) => await here.store.delete(id),
      'a sign-in': async (guest) => await here.store.replace(record({ now: here.redis.now() }), guest),
      'a move': async (guest) => await here.store.move({ ...guest, id: newId() }, guest)
    }
    for (const [name, end] of Object.entries(ends)) {
      const guest = await begin(null)
      await end(guest)
      await until(`${name} to be heard`, () => there.store.findNow(guest.id) === undefined, 2_000)
      t.equal(await there.store.find(guest.id), null)
    }
    const ada = await begin('ada')
    await here.store.setTimeouts(ada, { idleTimeoutMs: 5_000 })
    await until('the timeouts', () => there.store.findNow(ada.id) === undefined, 2_000)
    t.equal((await there.store.find(ada.id))?.idleTimeoutMs, 5_000)
    const bob = await begin('bob')
    for (const boundKey of [pendingKey('ES256 x y', 0), confirmed(pendingKey('ES256 x y', 0))]) {
      await here.store.bind({ ...bob, boundKey: (await here.store.find(bob.id))?.boundKey ?? null }, boundKey)
      await until('the key', () => there.store.findNow(bob.id) === undefined, 2_000)
      t.equal((await there.store.find(bob.id))?.boundKey, boundKey)
      await until('it to be in memory', async () => await there.store.find(bob.id) !== null && there.store.findNow(bob.id) !== undefined)
    }
  }
})

t.test('an end that nobody confirmed at first is told when somebody does', async (t) => {
  const { here, there, begin } = await openTwo(t, PLACES[0])
  const { token, session } = await begin()
  const remove = here.store.delete.bind(here.store)
  let tries = 0
  t.intercept(here.store, 'delete', {
    value: async (...args: Parameters<typeof remove>) => {
      const ended = await remove(...args)
      if (tries++ === 0) throw new storeErrors.STORE_UNAVAILABLE({ cause: new Error('the answer got lost') })
      return ended
    }
  })
  await t.rejects(here.sessions.revoke(session.id), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  await until('the end to be heard', async () => await there.sessions.find(token) === null, 5_000)
})

t.test('an end that nobody confirmed at first is told under the id to which the session had moved', async (t) => {
  const options = { prefix: prefix(), maxStaleMs: 60_000, invalidate: 'ends' } as const
  const store = await openStore(t, redis.url, { prefix: options.prefix })
  const sessions = new SessionManager({ secret, store })
  t.teardown(() => sessions.close())
  const there = await openNear(t, redis.url, options)
  const first = record({ now: store.now() })
  const [second, third] = [{ ...first, id: newId() }, { ...first, id: newId() }]
  await store.begin(first)
  await store.move(second, first)
  await store.move(third, second)
  await until('it to be in memory', async () => await there.store.find(third.id) !== null && there.store.findNow(third.id) !== undefined)
  const remove = store.delete.bind(store)
  let tries = 0
  t.intercept(store, 'delete', {
    value: async (...args: Parameters<typeof remove>) => {
      const ended = await remove(...args)
      if (tries++ === 0) throw new storeErrors.STORE_UNAVAILABLE({ cause: new Error('the answer got lost') })
      return ended
    }
  })
  await t.rejects(sessions.revoke(first.id), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  await until('the end to be heard', () => there.store.findNow(third.id) === undefined, 5_000)
  t.equal(await there.store.find(third.id), null)
})

t.test('an end is told again where the connection is lost before its message, and listeners hear of no end twice', async (t) => {
  for (const [name, events] of PLACES.slice(0, 3)) {
    const keyPrefix = prefix()
    const wire = await startWire(t, redis)
    const store = await openStore(t, wire.url, { prefix: keyPrefix, events })
    const sessions = new SessionManager({ secret, store })
    t.teardown(() => sessions.close())
    const there = await openNear(t, redis.url, { prefix: keyPrefix, maxStaleMs: 60_000, invalidate: 'ends', events })
    const { session } = await sessions.create({ userId: 'ada' })
    await until('it to be in memory', async () => await there.store.find(session.id) !== null && there.store.findNow(session.id) !== undefined)
    const publish = store.bus.publish.bind(store.bus)
    const messages: string[] = []
    t.teardown(there.redis.bus.subscribe((message) => { messages.push(message) }, () => {}))
    t.intercept(store.bus, 'publish', {
      value: async (...args: Parameters<typeof publish>) => {
        await wire.cut()
        const telling = publish(...args)
        await wire.mend()
        await telling
      }
    })
    await sessions.revoke(session.id)
    await until(`the end to be heard, ${name}`, () => there.store.findNow(session.id) === undefined, 4_000)
    t.equal(await there.store.find(session.id), null)
    await there.changes.hear()
    t.strictSame(messages.filter((message) => message.includes('revoked')), [], 'as no event')
  }
})

t.test('where one session of many cannot be ended, the ends of the others are told all the same', async (t) => {
  const idp = { issuer: 'https://idp.example', sid: 'here' }
  for (const way of ['revokeUser', 'revokeIdp'] as const) {
    const { here, there, begin } = await openTwo(t, PLACES[0])
    const [first, stuck, last] = [await begin('ada', { idp }), await begin('ada', { idp }), await begin('ada', { idp })]
    const told: string[] = []
    here.sessions.on('revoked', ({ id }) => { told.push(id) })
    let isDown = true
    const run = here.client.evalsha
    t.intercept(here.client, 'evalsha', {
      value: async (...args: unknown[]) => {
        if (isDown && args.some((arg) => String(arg).endsWith(stuck.session.id))) throw Object.assign(new Error('MASTERDOWN'), { name: 'ReplyError' })
        return await (Reflect.apply(run, here.client, args) as Promise<unknown>)
      }
    })
    await t.rejects(way === 'revokeUser' ? here.sessions.revokeUser('ada') : here.sessions.revokeIdp(idp), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
    for (const { token } of [first, last]) {
      await until(`the ends by ${way} to be heard`, async () => await there.sessions.find(token) === null, 2_000)
    }
    t.not(await there.sessions.find(stuck.token), null)
    isDown = false
    await until('the last end to be heard', async () => await there.sessions.find(stuck.token) === null, 5_000)
    t.strictSame(told.sort(), [first, stuck, last].map(({ session }) => session.id).sort(), 'each once')
  }
})

t.test('a process of an older version tells of ends as well', async (t) => {
  const options = { prefix: prefix(), maxStaleMs: 60_000, invalidate: 'ends' } as const
  const there = await openNear(t, redis.url, options)
  const plain = await openStore(t, redis.url, { prefix: options.prefix })
  const other = telling(plain, plain.bus)
  const session = record({ now: other.now() })
  await other.begin(session)
  await until('it to be in memory', async () => await there.store.find(session.id) !== null && there.store.findNow(session.id) !== undefined)
  await other.delete(session.id)
  await until('its end', () => there.store.findNow(session.id) === undefined, 2_000)
})

t.test('messages that are none do no harm', async (t) => {
  const keyPrefix = prefix()
  const there = await openNear(t, redis.url, { prefix: keyPrefix, maxStaleMs: 60_000, invalidate: 'ends' })
  const session = record({ now: there.redis.now() })
  await there.store.begin(session)
  await until('it to be in memory', async () => await there.store.find(session.id) !== null && there.store.findNow(session.id) !== undefined)
  for (const message of ['', 'null', '5', '"x"', '[]', '{', '{"dropped":5}', '{"dropped":[null,5]}', '{"events":[null,5,{"name":"revoked"}]}', `{"name":"created","id":"${session.id}"}`]) {
    await redis.client.publish(`@${keyPrefix}events`, message)
  }
  await redis.client.publish(`@${keyPrefix}events`, `{"dropped":["${'x'.repeat(22)}"]}`)
  await there.changes.hear()
  t.not(there.store.findNow(session.id), undefined)
  await redis.client.publish(`@${keyPrefix}events`, `{"dropped":["${session.id}"]}`)
  await there.changes.hear()
  const before = there.reads()
  t.not(await there.store.find(session.id), null)
  t.ok(there.reads() > before, 'it is read again')
})

t.test('Redis is asked for nothing but pub/sub', async (t) => {
  const client = redis.client.duplicate()
  t.teardown(() => client.disconnect())
  const commands = await commandsDuring(client, async () => {
    const near = await openNear(t, redis.url, { prefix: prefix(), invalidate: 'ends' })
    t.ok(isHeard(near))
    await near.changes.hear()
  })
  // A ping goes every two seconds.
  t.strictSame(Object.keys(commands).filter((name) => name !== 'ping').sort(), ['hello', 'publish', 'subscribe'])
})
