import type { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import type { SessionRecord } from '../../lib/session/record.ts'
import { encode } from '../../lib/store/codec.ts'
import { connect } from '../../lib/redis/connection.ts'
import { Keys } from '../../lib/redis/keys.ts'
import { RedisLink } from '../../lib/redis/link.ts'
import { Records } from '../../lib/redis/records.ts'
import { RedisStore } from '../../lib/redis/store.ts'
import { UserLists } from '../../lib/redis/user-lists.ts'
import { storeContract } from '../contract/store-contract.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { DAY, MINUTE, record } from '../helpers/record.ts'
import { redisScripts } from '../helpers/redis-scripts.ts'
import { isCrossSlot, proxied } from '../helpers/proxied.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { commandsDuring } from '../helpers/redis-commands.ts'
import type { TestRedis } from '../helpers/redis.ts'
import { age, keysOf, openStore } from '../helpers/redis-store.ts'

const redis = await startRedis(t)

storeContract(t, 'RedisStore', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours })
  return {
    store,
    other: await openStore(t, redis.url, { prefix: ours }),
    age: (ms) => age(redis.client, ours, ms),
    lose: async (id) => { await redis.client.del(`${ours}${id}`) },
    fill: async () => {
      await redis.client.config('SET', 'maxmemory-policy', 'noeviction', 'maxmemory', '1')
      t.teardown(() => redis.client.config('SET', 'maxmemory', '0'))
    }
  }
})

const SECRET_HASH = 'p'.repeat(43)

t.test('a listing that is ended early asks for no more keys, whatever they are', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours, scanCount: 10 })
  for (let each = 0; each < 300; each++) await store.begin(record({ now: store.now(), userId: null }))
  const interruption = new AbortController()
  const { signal } = interruption
  let listed = 0
  for await (const { userId } of store.listAll({ signal })) {
    listed += userId === null ? 1 : NaN
    interruption.abort()
  }
  t.ok(listed > 0 && listed < 100, `${listed} listed`)
  const commands = await commandsDuring(redis.client, async () => { t.strictSame(await store.listAll({ signal }).next(), { value: undefined, done: true }) })
  t.equal(commands.scan, undefined)
})

t.test('what redis-cli shows after a login', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours })
  const now = Math.floor(store.now())
  const session = record({ now, secretHash: SECRET_HASH, label: 'phone', data: '{"cart":1}' })
  const anonymous = record({ now, userId: null, secretHash: SECRET_HASH, endsAt: now + 10 * MINUTE, persistent: false })
  await store.begin(anonymous)
  t.strictSame(await keysOf(redis.client, ours), [`${ours}${anonymous.id}`])
  t.equal(await redis.client.get(`${ours}${anonymous.id}`), `{"s":${now},"h":"${SECRET_HASH}","c":${now},"e":${now + 10 * MINUTE},"i":1800000,"t":0}\n{}`)
  t.ok(near(await redis.client.pttl(`${ours}${anonymous.id}`), 10 * MINUTE))
  await store.delete(anonymous.id)

  await store.begin(session)
  t.strictSame(await keysOf(redis.client, ours), [`@${ours}user:ada`, `${ours}${session.id}`])
  t.equal(await redis.client.get(`${ours}${session.id}`), `{"s":${now},"h":"${SECRET_HASH}","c":${now},"e":${session.endsAt},"i":1800000,"u":"ada","a":${now},"l":"phone"}\n{"cart":1}`)
  t.ok(near(await redis.client.pttl(`${ours}${session.id}`), 30 * MINUTE))
  t.strictSame(await redis.client.zrange(`@${ours}user:ada`, '0', '-1', 'WITHSCORES'), [`${session.id}:${now.toString(36)}`, String(now + 30 * MINUTE + 1000)])
  t.equal(await redis.client.pexpiretime(`@${ours}user:ada`), now + 30 * MINUTE + 1000 + DAY)

  await store.delete(session.id)
  t.strictSame(await keysOf(redis.client, ours), [], 'nothing is left')
})

t.test('a session that takes long on its way to another id counts once, and goes under both ids if it has to', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours })
  const link = new RedisLink(redis.client)
  t.teardown(() => link.close())
  const keys = new Keys(ours)
  const lists = new UserLists(link, keys, { persist: false, untilEnd: false, onExpired: () => {} })
  const records = new Records(link, keys, { persist: false })
  const now = Math.floor(store.now())
  const moving = record({ now, createdAt: now - 2000 })
  const kept = record({ now, createdAt: now - 1000 })
  for (const each of [moving, kept]) await store.begin(each)
  const moved = { ...moving, id: record().id }
  await lists.announce(moved, moving)
  await records.setPending(moved, 'NX')
  t.strictSame(await lists.confirm(moved, { from: moving }), [])

  const login = record({ now })
  t.ok(await store.begin(login, { limit: { max: 3, evicts: false } }))
  await t.rejects(store.begin(record({ now }), { limit: { max: 3, evicts: false } }), { code: 'ERR_SESSION_LIMIT_REACHED' })
  const next = record({ now })
  t.ok(await store.begin(next, { limit: { max: 3, evicts: true } }))
  t.same(new Set((await store.listByUser('ada')).map(({ id }) => id)), new Set([kept.id, login.id, next.id]))
  t.equal(await records.activate(moved), false)
  t.equal(await store.find(moving.id), null)
})

t.test('names that begin alike are not taken for each other when one session is to go on', async (t) => {
  const link = new RedisLink(redis.client)
  t.teardown(() => link.close())
  const keys = new Keys(prefix())
  const lists = new UserLists(link, keys, { persist: false, untilEnd: false, onExpired: () => {} })
  const now = link.now()
  const [kept, other, moved] = [record({ now, id: 'u1' }), record({ now, id: 'u1:x' }), record({ now, id: 'u2' })]
  for (const each of [kept, other]) {
    await lists.announce(each)
    await lists.confirm(each, {})
  }
  await lists.announce(moved, other)
  await lists.confirm(moved, { from: other })
  t.strictSame(await lists.callOff('ada', 'u1:x'), { called: [], spared: ['u2'] })
  t.strictSame(await lists.callOff('ada', 'u1'), { called: [keys.announcementOf(moved, other)], spared: [] })
})

t.test('signing a user out everywhere also clears their list of what was gone before', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours })
  const [lost, live] = [record({ now: store.now() }), record({ now: store.now() })]
  for (const each of [lost, live]) await store.begin(each)
  await redis.client.del(ours + lost.id)
  t.strictSame(await store.deleteByUser('ada'), [live.id])
  t.strictSame(await keysOf(redis.client, ours), [])
})

t.test('nothing is left in Redis of logins that were called off', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours })
  const other = await openStore(t, redis.url, { prefix: ours })
  for (let round = 0; round < 20; round++) {
    const login = store.begin(record({ now: store.now() }))
    for (let turn = 0; turn < round % 5; turn++) await new Promise((resolve) => setImmediate(resolve))
    await other.deleteByUser('ada')
    if (await login) await other.deleteByUser('ada')
  }
  t.strictSame(await keysOf(redis.client, ours), [])
})

/** How sessions begin: where one server has all keys, and where it does not. */
const WAYS = [{ way: 'in steps', isProxied: true }, { way: 'by one script', isProxied: false }]

/** A store for which sessions begin in this way. */
async function openWay (t: Test, ours: string, isProxied: boolean): Promise<RedisStore> {
  const { store } = await stepwise(t, ours, Infinity, { isProxied })
  await store.ready(10_000)
  return store
}

for (const { way, isProxied } of WAYS) {
  t.test(`at whatever step of a login its user is signed out everywhere, it does not survive, ${way}`, async (t) => {
    const ours = prefix()
    const other = await openWay(t, ours, isProxied)
    let steps = 0
    for (let done = false; !done; steps++) {
      const old = record({ now: other.now() })
      await other.begin(old)
      const session = record({ now: other.now() })
      // Before its first command nobody can know of a login.
      const { store, held, release } = await stepwise(t, ours, steps + 1, { isProxied })
      const login = store.replace(session, old)
      done = await Promise.race([held.then(() => false), login.then(() => true)])
      await other.deleteByUser('ada')
      release()
      t.equal(await login !== null, done, `step ${steps}`)
      t.equal(await other.find(session.id), null)
      t.equal(await other.find(old.id), null)
    }
    t.ok(isProxied ? steps > 4 : steps === 1, 'every step was tried')
    t.strictSame(await keysOf(redis.client, ours), [])
  })

  t.test(`at whatever step of a sign-out the session moves, or is signed out by another as well, it is gone when that is done, ${way}`, async (t) => {
    const ours = prefix()
    const other = await openWay(t, ours, isProxied)
    for (const moves of ['before', 'meanwhile']) {
      let steps = 0
      for (let done = false; !done; steps++) {
        const session = record({ now: other.now() })
        const moved = { ...session, id: record().id }
        const move = () => other.move(moved, session)
        await other.begin(session)
        if (moves === 'before') await move()
        const { store, held, release } = await stepwise(t, ours, steps, { isProxied })
        const logout = store.delete(session.id)
        done = await Promise.race([held.then(() => false), logout.then(() => true)])
        if (moves === 'before') await other.delete(session.id)
        else await move()
        if (moves === 'before') t.equal(await other.find(moved.id), null, `the other was done at step ${steps}`)
        release()
        await logout
        t.equal(await other.find(session.id), null, `step ${steps}`)
        t.equal(await other.find(moved.id), null, `step ${steps}`)
        t.strictSame(await other.listByUser('ada'), [])
      }
      t.ok(steps > 1, 'every step was tried')
    }
  })

  t.test(`at whatever step of a move the session is signed out, it does not go on, ${way}`, async (t) => {
    const ours = prefix()
    const other = await openWay(t, ours, isProxied)
    let steps = 0
    for (let done = false; !done; steps++) {
      const session = record({ now: other.now() })
      const moved = { ...session, id: record().id, data: '{"moved":1}' }
      await other.begin(session)
      const { store, held, release } = await stepwise(t, ours, steps, { isProxied })
      const move = store.move(moved, session)
      done = await Promise.race([held.then(() => false), move.then(() => true)])
      await other.delete(session.id)
      release()
      t.equal(await move !== null, done, `step ${steps}`)
      t.equal(await other.find(session.id), null, `step ${steps}`)
      t.equal(await other.find(moved.id), null, `step ${steps}`)
      t.strictSame(await other.listByUser('ada'), [])
    }
    t.ok(isProxied ? steps > 3 : steps === 2, 'every step was tried')
  })

  t.test(`nor does a login that the limit would refuse, though there is room for it afterwards, ${way}`, async (t) => {
    const ours = prefix()
    const other = await openWay(t, ours, isProxied)
    let steps = 0
    for (let done = false; !done; steps++) {
      const old = record({ now: other.now() })
      await other.begin(old)
      const session = record({ now: other.now() })
      const { store, held, release } = await stepwise(t, ours, steps + 1, { isProxied })
      const login = store.begin(session, { limit: { max: 1, evicts: false } }).catch((error: unknown) => (error as { code: string }).code)
      done = await Promise.race([held.then(() => false), login.then(() => true)])
      await other.deleteByUser('ada')
      release()
      t.ok([null, 'ERR_SESSION_LIMIT_REACHED'].includes(await login as string | null), `step ${steps}`)
      t.equal(await other.find(session.id), null, `step ${steps}`)
    }
    t.ok(isProxied ? steps > 4 : steps === 1, 'every step was tried')
    await until('what is cleaned up in the background', async () => (await keysOf(redis.client, ours)).length === 0)
  })

  t.test(`at whatever step of a login one looks, there is one session at the most, and one at the end, ${way}`, async (t) => {
    const ours = prefix()
    const other = await openWay(t, ours, isProxied)
    let steps = 0
    for (let done = false; !done; steps++) {
      const old = record({ now: other.now() })
      await other.begin(old)
      const session = record({ now: other.now() })
      const { store, held, release } = await stepwise(t, ours, steps, { isProxied })
      const login = store.replace(session, old)
      done = await Promise.race([held.then(() => false), login.then(() => true)])
      for (let look = 0; look < 3; look++) {
        t.ok(await other.find(session.id) === null || await other.find(old.id) === null, `step ${steps}`)
        t.ok((await other.listByUser('ada')).length <= 1)
      }
      release()
      t.ok(await login)
      t.strictSame(await other.listByUser('ada'), [session])
      await other.deleteByUser('ada')
    }
    t.ok(isProxied ? steps > 4 : steps === 2, 'every step was tried')
  })

  t.test(`at whatever step of a login over the limit one looks, there are no more sessions than there may be, ${way}`, async (t) => {
    const ours = prefix()
    const other = await openWay(t, ours, isProxied)
    let steps = 0
    for (let done = false; !done; steps++) {
      const old = record({ now: other.now() - 1000 })
      await other.begin(old)
      const session = record({ now: other.now() })
      const { store, held, release } = await stepwise(t, ours, steps, { isProxied })
      const login = store.begin(session, { limit: { max: 1, evicts: true } })
      done = await Promise.race([held.then(() => false), login.then(() => true)])
      for (let look = 0; look < 5; look++) {
        t.ok(await other.find(session.id) === null || await other.find(old.id) === null, `step ${steps}`)
      }
      release()
      t.ok(await login)
      t.equal(await other.find(old.id), null)
      t.strictSame(await other.listByUser('ada'), [session])
      await other.deleteByUser('ada')
    }
    t.ok(isProxied ? steps > 4 : steps === 2, 'every step was tried')
  })

  t.test(`at whatever step of a login that carries changes over its user is signed out everywhere, it does not survive, ${way}`, async (t) => {
    for (const moves of [false, true]) {
      const ours = prefix()
      const other = await openWay(t, ours, isProxied)
      let steps = 0
      for (let done = false; !done; steps++) {
        const old = record({ now: other.now() })
        await other.begin(old)
        await other.update(old, () => '{"cart":1}')
        const session = { ...old, id: record().id, secretHash: record().secretHash }
        const { store, held, release } = await stepwise(t, ours, steps + 1, { isProxied })
        const login = moves ? store.move(session, old, { carry: (data) => data }) : store.replace(session, old, { carry: (data) => data })
        done = await Promise.race([held.then(() => false), login.then(() => true)])
        if (done) t.equal((await other.find(session.id))?.data, '{"cart":1}')
        await other.deleteByUser('ada')
        release()
        t.equal(await login !== null, done, `step ${steps}`)
        for (const { id } of [session, old]) t.equal(await other.find(id), null)
      }
      t.ok(isProxied ? steps > 5 : steps === 3, 'every step was tried')
      await until('what is cleaned up in the background', async () => (await keysOf(redis.client, ours)).filter((key) => !key.startsWith('@{')).length === 0)
    }
  })
}

/** A store that does something else before it reads a page of a user's list for the nth time. */
async function beforePage (t: Test, ours: string, interrupts: Record<number, () => Promise<unknown>>): Promise<RedisStore> {
  const store = await openStore(t, redis.url, { prefix: ours })
  const script = store['link'].script.bind(store['link'])
  let pages = 0
  Object.assign(store['link'], {
    script: async (...args: Parameters<typeof script>) => {
      if (args[0] === UserLists.pageScript) await interrupts[++pages]?.()
      return await script(...args)
    }
  })
  return store
}

/** Sessions of ada's, more than end at a time, of which the first is the oldest. */
async function many (store: RedisStore): Promise<[SessionRecord, ...SessionRecord[]]> {
  const now = Math.floor(store.now())
  const sessions = Array.from({ length: 350 }, (_, index) => record({ now, createdAt: now - 10_000 + index }))
  for (const each of sessions) await store.begin(each)
  return sessions as [SessionRecord, ...SessionRecord[]]
}

t.test('at whatever step of its way to another id the end of very many comes upon it, the exception goes on', async (t) => {
  const ours = prefix()
  const other = await openStore(t, redis.url, { prefix: ours })
  let steps = 0
  for (let done = false; !done; steps++) {
    const [first, ...others] = await many(other)
    const moved = { ...first, id: record().id }
    const { store, held, release } = await stepwise(t, ours, steps)
    let move: Promise<SessionRecord | null> | undefined
    const ending = await beforePage(t, ours, {
      4: async () => {
        move = store.move(moved, first)
        done = await Promise.race([held.then(() => false), move.then(() => true)])
      }
    })
    t.equal((await ending.deleteByUser('ada', { except: first.id })).length, others.length, `step ${steps}`)
    release()
    t.ok(await move, `step ${steps}`)
    t.strictSame(await other.listByUser('ada'), [moved])
    await other.deleteByUser('ada')
  }
  t.ok(steps > 3, 'every step was tried')
})

t.test('however long the end of very many takes, the exception is known under an id to which it moved long ago', async (t) => {
  const ours = prefix()
  const other = await openStore(t, redis.url, { prefix: ours })
  const [first, ...others] = await many(other)
  const moved = { ...first, id: record().id }
  const ending = await beforePage(t, ours, {
    2: async () => t.ok(await other.move(moved, first)),
    // As after an hour.
    4: async () => t.equal(await redis.client.del(`@{${ours}${first.id}}`), 1)
  })
  t.equal((await ending.deleteByUser('ada', { except: first.id })).length, others.length)
  t.strictSame(await other.listByUser('ada'), [moved])
})

t.test('a Redis that does not answer does not answer a ping either', async (t) => {
  const server = await startRedis(t)
  const store = await openStore(t, server.url, { prefix: prefix() })
  await t.resolves(store.ping())
  await server.stop()
  await t.rejects(store.ping(), { code: 'ERR_SESSION_STORE_UNAVAILABLE', statusCode: 503 })
  await server.restart()
  await until('an answer', () => store.ping().then(() => true, () => false))
})

t.test('a user\'s list outlives the longest of their sessions by a day, and no more', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours })
  const now = Math.floor(store.now())
  for (const minutes of [10, 40, 20]) await store.begin(record({ now, idleTimeoutMs: minutes * MINUTE }))
  t.equal(await redis.client.pexpiretime(`@${ours}user:ada`), now + 40 * MINUTE + 1000 + DAY)
  await age(redis.client, ours, 15 * MINUTE)
  const [session] = (await store.listByUser('ada')).filter(({ idleTimeoutMs }) => idleTimeoutMs === 20 * MINUTE)
  t.ok(session)
  if (session !== undefined) await store.touch(session)
  t.equal(await redis.client.zcard(`@${ours}user:ada`), 2, 'the expired one was dropped')
  t.equal(await redis.client.pexpiretime(`@${ours}user:ada`), now + 25 * MINUTE + 1000 + DAY)
  await age(redis.client, ours, 26 * MINUTE)
  t.strictSame(await keysOf(redis.client, ours), [`@${ours}user:ada`])
  await age(redis.client, ours, DAY)
  t.strictSame(await keysOf(redis.client, ours), [])
})

t.test('what foreign hands put on a user\'s list until the end of time keeps nobody from signing in', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours })
  const list = `@${ours}user:ada`
  for (const score of ['1e308', '9223372036854775807', '+inf']) {
    await redis.client.zadd(list, score, 'x:1')
    const session = record({ now: store.now() })
    t.ok(await store.begin(session), score)
    t.ok(await store.touch(session))
    t.strictSame((await store.listByUser('ada')).map(({ id }) => id), [session.id])
    t.ok(await store.touch(session))
    t.ok(await redis.client.pttl(list) > 0, 'and is gone when it was looked at')
    await store.delete(session.id)
  }
})

t.test('that a user\'s only session has run out is told at their next sign-in', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours })
  const session = record({ now: store.now(), idleTimeoutMs: 30 * MINUTE })
  await store.begin(session)
  await age(redis.client, ours, 12 * 60 * MINUTE)
  const told: unknown[] = []
  store.events.on('ended', (...event) => { told.push(event) })
  const next = record({ now: store.now() })
  await store.begin(next)
  t.strictSame(told, [[session.id, 'ada', 'expired', 'cookie']])
  t.strictSame(await store.listByUser('ada'), [next])
})

t.test('a user\'s list is cleaned by whoever reads it', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours })
  const kept = record({ now: store.now() })
  const evicted = record({ now: store.now() })
  await store.begin(kept)
  await store.begin(evicted)
  await redis.client.del(ours + evicted.id)
  t.strictSame(await store.listByUser('ada'), [kept])
  t.strictSame(await redis.client.zrange(`@${ours}user:ada`, '0', '-1'), [`${kept.id}:${kept.createdAt.toString(36)}`])
})

t.test('every operation sends the commands that RedisStore documents, also where sessions begin in steps', async (t) => {
  const ours = prefix()
  const store = await openWay(t, ours, true)
  const anonymous = record({ now: store.now(), userId: null })
  const session = record({ now: store.now() })
  const next = record({ now: store.now() })
  const key = (id: string) => ours + id
  const pending = (id: string) => `@{${ours}${id}}`
  const list = `@${ours}user:ada`
  // The scripts are known to Redis from then on, so that each is one EVALSHA.
  await store.begin(record({ now: store.now(), userId: 'bob' }))
  for (const bobs of await store.listByUser('bob')) {
    await store.touch(bobs)
    await store.update(bobs, (data) => data)
    await store.bind(bobs, 'ES256 one')
  }
  await store.deleteByUser('bob')

  const sent = await monitor(t)
  t.strictSame(await sent(ours, () => store.begin(anonymous)), [`set ${key(anonymous.id)} PX NX`])
  t.strictSame(await sent(ours, () => store.replace(session, anonymous)), [
    `evalsha list ${list}`,
    `set ${pending(session.id)} PX NX`,
    `evalsha confirm ${list}`,
    `evalsha end ${pending(anonymous.id)} ${key(anonymous.id)}`,
    `evalsha activate ${pending(session.id)} ${key(session.id)}`
  ])
  t.strictSame(await sent(ours, () => store.find(session.id)), [`mget ${key(session.id)}`])
  t.strictSame(await sent(ours, () => store.update(session, () => '{"cart":1}')), [`evalsha update ${key(session.id)}`])
  t.strictSame(await sent(ours, () => store.touch(session)), [`evalsha list ${list}`, `evalsha touch ${key(session.id)}`])
  t.strictSame(await sent(ours, () => store.bind(session, 'ES256 one')), [`evalsha bind ${key(session.id)}`])
  await store.begin(next)
  const both = [session, next].map(({ id }) => key(id))
  t.ok([both, both.toReversed()].map((keys) => `evalsha page ${list}, mget ${keys.join(' ')}`).includes((await sent(ours, () => store.listByUser('ada'))).join(', ')))
  t.strictSame(await sent(ours, () => store.delete(next.id)), [`evalsha end ${pending(next.id)} ${key(next.id)}`, `zrem ${list}`])
  t.strictSame(await sent(ours, () => store.deleteByUser('ada')), [
    `evalsha callOff ${list}`,
    `evalsha page ${list}`,
    `evalsha end ${pending(session.id)} ${key(session.id)}`,
    `evalsha forget ${list}`
  ])

  const idp = JSON.stringify(['https://idp.example', 'a session there'])
  const [first, second, third] = [record({ now: store.now(), idp }), record({ now: store.now(), idp }), record({ now: store.now(), idp })]
  const index = new Keys(ours).idp(idp)
  t.match(index, new RegExp(`^@${ours}idp:[\\w-]{43}$`))
  t.strictSame(await sent(ours, () => store.begin(first)), [
    `evalsha list ${list}`,
    `evalsha list ${index}`,
    `set ${pending(first.id)} PX NX`,
    `evalsha confirm ${index}`,
    `evalsha confirm ${list}`,
    `evalsha activate ${pending(first.id)} ${key(first.id)}`
  ], 'a session at an identity provider costs two commands')
  t.strictSame(await sent(ours, () => store.touch(first)), [`evalsha list ${list}`, `evalsha touch ${key(first.id)}`], 'and none when it is used')
  t.strictSame(await sent(ours, () => store.find(first.id)), [`mget ${key(first.id)}`])
  t.strictSame(await sent(ours, () => store.delete(first.id)), [`evalsha end ${pending(first.id)} ${key(first.id)}`, `zrem ${list}`, `zrem ${index}`])
  for (const each of [second, third]) await store.begin(each)
  t.strictSame((await sent(ours, () => store.deleteByIdp(idp))).sort(), [
    `evalsha callOff ${index}`,
    `evalsha end ${pending(second.id)} ${key(second.id)}`,
    `evalsha end ${pending(third.id)} ${key(third.id)}`,
    `evalsha forget ${index}`,
    `evalsha page ${index}`,
    `zrem ${list}`,
    `zrem ${list}`
  ].sort())
  t.strictSame(await keysOf(redis.client, ours), [], 'nothing of it is left')
})

t.test('where one server has all keys a session begins, takes the place of another, evicts and moves by one script', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours })
  const idp = JSON.stringify(['https://idp.example', 'a session there'])
  const [first, second, third, fourth, fifth] = Array.from({ length: 5 }, (_, at) => record({ now: store.now(), createdAt: Math.floor(store.now()) - 100 + at, idp })) as [SessionRecord, SessionRecord, SessionRecord, SessionRecord, SessionRecord]
  const anonymous = record({ now: store.now(), userId: null })
  await store.begin(record({ now: store.now(), userId: 'bob' }))
  await store.begin(anonymous)
  const list = `@${ours}user:ada`
  const [index, pair] = [new Keys(ours).idp(idp), ({ id }: SessionRecord) => `@{${ours}${id}} ${ours}${id}`]
  const told: unknown[] = []
  store.events.on('ended', (...event) => told.push(event))
  const limit = { max: 2, evicts: true }
  const sent = await monitor(t)
  t.strictSame(await sent(ours, () => store.begin(first, { limit })), [`evalsha signIn ${list} ${pair(first)} ${index} ${ours} @{${ours}`])
  t.strictSame(await sent(ours, () => store.replace(second, anonymous, { limit })), [`evalsha signIn ${list} ${pair(second)} ${pair(anonymous)} ${index} ${ours} @{${ours}`])
  t.strictSame((await sent(ours, () => store.begin(third, { limit }))).slice(0, 1), [`evalsha signIn ${list} ${pair(third)} ${index} ${ours} @{${ours}`])
  t.strictSame((await sent(ours, () => store.replace(fourth, second, { limit }))).slice(0, 1), [`evalsha signIn ${list} ${pair(fourth)} ${pair(second)} ${index} ${ours} @{${ours}`])
  t.strictSame((await sent(ours, () => store.move(fifth, fourth))).slice(0, 1), [`evalsha signIn ${list} ${pair(fifth)} ${pair(fourth)} ${index} ${ours} @{${ours}`])
  t.strictSame(told, [[first.id, 'ada', 'evicted', 'cookie'], [second.id, 'ada', 'replaced', 'cookie'], [fourth.id, 'ada', 'replaced', 'cookie']])
  t.strictSame(new Set(await store.listByUser('ada')), new Set([third, fifth]))
  await until('what ended to be off both lists', async () => await redis.client.zcard(list) === 2 && await redis.client.zcard(index) === 2)
  t.equal((await store.deleteByUser('ada')).length, 2)
})

t.test('what lies under a session\'s key and is no session is absent, told once each, and left alone', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours })
  const session = record({ now: store.now() })
  const key = ours + session.id
  const unreadable: string[] = []
  store.events.on('unreadable', (id) => unreadable.push(id))
  const head = encode(session).split('\n')[0] ?? ''
  const foreign = ['', 'x', '5', '"abc"', '[1]', '{}', '{"cookie":{}}', 'null', '\n', 'x\n{}', '{}\n{}', '[]\n{}', `${head}`, `${head}\n`, `${head}\n[1]`, `${head}\nnull`, head.replace('"h":', '"x":') + '\n{}', '{"s":1}\n{}', '{"s":1234567890123,}\n{}', '\u0000\u0001\ufffd']
  for (const value of foreign) {
    await redis.client.set(key, value)
    unreadable.length = 0
    t.equal(await store.find(session.id), null, JSON.stringify(value))
    t.strictSame(unreadable, [session.id])
    t.equal(await store.update(session, (data) => JSON.stringify({ ...JSON.parse(data), cart: 1 })), null)
    t.equal(await store.touch(session), false)
    t.equal(await redis.client.get(key), value, 'nothing is written')
    t.equal(await redis.client.pttl(key), -1)
    t.equal(await store.delete(session.id), null)
    t.equal(await redis.client.exists(key), 0, 'delete makes room')
  }
  for (const [command, ...args] of [['hset', 'a', '1'], ['rpush', 'a'], ['zadd', '1', 'a']] as const) {
    await redis.client.call(command, key, ...args)
    unreadable.length = 0
    t.equal(await store.find(session.id), null, command)
    await until('that it is told', () => unreadable.length > 0)
    t.strictSame(unreadable, [session.id])
    t.equal(await store.update(session, (data) => data), null)
    t.equal(await store.touch(session), false)
    t.strictSame(await store.listByUser('ada'), [])
    t.equal(await store.delete(session.id), null)
    t.equal(await redis.client.exists(key), 0)
  }
  await redis.client.set(`@${ours}user:ada`, 'not a list')
  t.strictSame(await store.listByUser('ada'), [], 'nor is a list that is none')
})

t.test('scripts that Redis has forgotten are sent again', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours })
  const session = record({ now: store.now() })
  for (const [done, operation] of [
    ['created', async () => await store.begin(session) !== null],
    ['changed', async () => await store.update(session, () => '{"cart":1}') !== null],
    ['touched', () => store.touch(session)],
    ['ended', async () => (await store.deleteByUser('ada')).length === 1]
  ] as const) {
    await redis.client.script('FLUSH')
    t.equal(await operation(), true, done)
  }
})

t.test('a full Redis signs nobody in and nobody out', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours })
  const session = record({ now: store.now(), idleTimeoutMs: 30 * MINUTE })
  await store.begin(session)
  await age(redis.client, ours, 20 * MINUTE)
  const before = await store.find(session.id) as SessionRecord
  await redis.client.config('SET', 'maxmemory-policy', 'noeviction', 'maxmemory', '1')
  t.teardown(() => redis.client.config('SET', 'maxmemory', '0'))

  await t.rejects(store.replace(record({ now: store.now() }), before), { code: 'ERR_SESSION_STORE_FULL', statusCode: 503, message: 'The session store is full' })
  await t.rejects(store.replace(record({ now: store.now(), userId: null }), before), { code: 'ERR_SESSION_STORE_FULL' })
  await t.rejects(store.move({ ...before, id: record().id }, before), { code: 'ERR_SESSION_STORE_FULL' })
  await t.rejects(store.update(before, () => '{"cart":1}'), { code: 'ERR_SESSION_STORE_FULL' })
  await t.rejects(store.bind(before, 'ES256 one'), { code: 'ERR_SESSION_STORE_FULL' })
  t.strictSame(await store.find(session.id), before)
  t.strictSame((await store.listByUser('ada')).map(({ id }) => id), [session.id], 'what was refused is not listed')
  const one = { limit: { max: 1, evicts: true } }
  await t.rejects(store.begin(record({ now: store.now() }), one), { code: 'ERR_SESSION_STORE_FULL' })
  t.strictSame(await store.find(session.id), before, 'nor is anybody evicted for it')

  t.equal(await store.touch(before), true)
  t.ok(near(await redis.client.pttl(ours + session.id), 30 * MINUTE), 'use extends the session')
  await until('the refused login to be off the list', async () => await redis.client.zcard(`@${ours}user:ada`) === 1)
  t.strictSame(await store.deleteByUser('ada'), [session.id])
  t.strictSame(await keysOf(redis.client, ours), [])
  await redis.client.config('SET', 'maxmemory', '0')
  t.ok(await store.begin(session), 'and then there is room again')
})

t.test('a session past its time is absent, also when Redis still holds it', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours })
  const now = store.now()
  for (const session of [record({ now, endsAt: now - 1 }), record({ now: now - 31 * MINUTE, idleTimeoutMs: 30 * MINUTE })]) {
    await redis.client.set(ours + session.id, encode(session))
    t.equal(await store.find(session.id), null)
    t.equal(await store.delete(session.id), null)
  }
})

/** A store that was kept waiting for so long, after it had looked at the clock. */
class LateStore extends RedisStore {
  lateMs = 0

  override now (): number {
    return super.now() - this.lateMs
  }
}

t.test('a touch that was long on its way keeps no session for longer than it is listed', async (t) => {
  const ours = prefix()
  const { client } = connect(redis.url)
  const store = new LateStore({ client, prefix: ours })
  t.teardown(async () => {
    await store.close()
    client.disconnect()
  })
  t.equal(await store.ready(10_000), null)
  for (const lateMs of [0, 900, 5_000]) {
    const userId = `${lateMs} ms late`
    const session = record({ now: store.now() - 10_000, userId })
    await store.begin(session)
    const before = await redis.client.pexpiretime(ours + session.id)
    store.lateMs = lateMs
    t.equal(await store.touch(session), true)
    store.lateMs = 0
    const [expiresAt, [, listedUntil]] = await Promise.all([
      redis.client.pexpiretime(ours + session.id),
      redis.client.zrange(`@${ours}user:${userId}`, '0', '-1', 'WITHSCORES')
    ])
    t.ok(expiresAt <= Number(listedUntil), `${userId}: there until ${expiresAt}, listed until ${listedUntil}`)
    t.ok(expiresAt > before, 'it is extended')
  }
})

t.test('a session touched at its absolute deadline ends, and leaves nothing behind', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours })
  const session = record({ now: store.now() })
  await store.begin(session)
  // What the store takes the time to be may be some milliseconds off.
  const [seconds, micros] = await redis.client.time()
  const over = { ...session, endsAt: Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000) - 1 }
  await redis.client.set(ours + session.id, encode(over))
  t.equal(await store.touch(over), false)
  t.strictSame(await keysOf(redis.client, ours), [])
})

t.test('sessions without expiry stay, and stay listed', async (t) => {
  const ours = prefix()
  const store = await openStore(t, redis.url, { prefix: ours }, { neverExpire: true })
  const session = record({ now: store.now() - 365 * DAY })
  const anonymous = record({ now: store.now() - 365 * DAY, userId: null })
  for (const each of [session, anonymous]) {
    await store.begin(each)
    t.equal(await redis.client.pttl(ours + each.id), -1)
    t.ok(await store.update(each, () => '{"cart":1}'))
    t.equal(await store.touch(each), true)
    t.equal(await redis.client.pttl(ours + each.id), -1)
    t.equal((await store.find(each.id))?.data, '{"cart":1}')
  }
  t.strictSame((await store.listByUser('ada')).map(({ id }) => id), [session.id])
  t.equal(await redis.client.pttl(`@${ours}user:ada`), -1)
})

for (const [trouble, begin, end] of [
  ['killed', (own: TestRedis) => own.stop(), (own: TestRedis) => own.restart()],
  ['frozen', async (own: TestRedis) => own.pause(), async (own: TestRedis) => own.resume()]
] as const) {
  t.test(`a Redis that is ${trouble} is told once, costs one wait, and is used again when it is back`, async (t) => {
    withRealLimits(t)
    const own = await startRedis(t)
    const store = await openStore(t, own.url, { prefix: prefix() })
    const session = record({ now: store.now() })
    await store.begin(session)
    const told: string[] = []
    store.events.on('down', () => told.push('down'))
    store.events.on('up', () => told.push('up'))

    await begin(own)
    const unavailable = { code: 'ERR_SESSION_STORE_UNAVAILABLE', statusCode: 503, message: 'The session store is unavailable', headers: { 'retry-after': '1' } }
    t.ok(await duration(() => t.rejects(store.find(session.id), unavailable)) < 1000, 'the first waits for its deadline')
    const waits = await duration(async () => {
      const operations: Array<() => Promise<unknown>> = [
        () => store.find(session.id),
        () => store.begin(record()),
        () => store.begin(record({ userId: null })),
        () => store.update(session, (data) => data),
        () => store.touch(session),
        () => store.delete(session.id),
        () => store.listByUser('ada'),
        () => store.deleteByUser('ada')
      ]
      for (const operation of operations) await t.rejects(operation(), unavailable)
    })
    t.ok(waits < 300, 'the others do not wait')
    t.strictSame(told, ['down'])

    await end(own)
    await until('the store to be up', () => told.includes('up'))
    t.strictSame(told, ['down', 'up'])
    t.ok(await store.begin(record({ now: store.now(), userId: 'bob' })))
    t.equal((await store.listByUser('bob')).length, 1)
    const again = record({ now: store.now() })
    t.ok(await store.begin(again))
    t.strictSame(await store.find(again.id), again)
  })
}

t.test('a closed store answers at once that it is unavailable', async (t) => {
  const store = await openStore(t, redis.url, { prefix: prefix() })
  await store.begin(record())
  await store.close()
  await t.rejects(store.find('x'), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
})

t.test('a store that was closed before anything was asked takes nobody for down, and asks nobody whether it is back', async (t) => {
  const { client } = connect(redis.url)
  const store = new RedisStore({ client, prefix: prefix() })
  const outages: unknown[] = []
  store.events.on('down', (cause) => outages.push(cause))
  await store.close()
  client.disconnect()
  await t.rejects(store.find('x'), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  t.strictSame(outages, [])
})

/** A store whose `step`th command, counted from 0, waits until it is released, and whether it has got there. `isProxied`: its sessions begin in steps. */
async function stepwise (t: Test, prefix: string, step: number, { isProxied = false } = {}) {
  const { client } = connect(redis.url)
  const proxy = isProxied ? proxied(client) : client
  t.teardown(() => client.disconnect())
  await until('the connection', () => client.status === 'ready')
  let reach = () => {}
  let release = () => {}
  const held = new Promise<void>((resolve) => { reach = resolve })
  const released = new Promise<void>((resolve) => { release = resolve })
  let sent = 0
  const slow = new Proxy(proxy, {
    get: (target, name) => {
      const member: unknown = Reflect.get(target, name, target)
      if (typeof member !== 'function') return member
      // ZREM is left out: a login does not wait for it.
      if (!['evalsha', 'eval', 'set', 'call', 'del'].includes(String(name))) return member.bind(target)
      return async (...args: unknown[]) => {
        const isRefused = isProxied && /^eval/.test(String(name)) && isCrossSlot(args.slice(1))
        if (!isRefused && sent++ === step) {
          reach()
          await released
        }
        return member.apply(target, args)
      }
    }
  })
  const store = new RedisStore({ client: slow, prefix })
  t.teardown(() => store.close())
  return { store, held, release }
}

/** Whether a time to live is the one expected, less the moment that has passed. */
function near (actual: number, expected: number): boolean {
  return actual <= expected && actual > expected - 10_000
}

async function duration (work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await work()
  return performance.now() - startedAt
}

/** What Redis is sent for the keys under `prefix` while something is done: command, scripts by name, keys, PX and NX. */
async function monitor (t: Test) {
  const names = new Map(Object.entries(redisScripts).map(([name, { sha }]) => [sha, name.replace('Script', '')]))
  const listener = await redis.client.monitor() as unknown as Redis
  t.teardown(() => listener.disconnect())
  const seen: Array<{ args: string[], source: string }> = []
  listener.on('monitor', (_time: string, args: string[], source: string) => seen.push({ args, source }))
  /** Resolves when the monitor has told everything up to now. */
  const mark = async () => {
    const text = String(Math.random())
    await redis.client.echo(text)
    await until('the monitor', () => seen.some(({ args }) => args[1] === text))
  }
  return async (prefix: string, work: () => Promise<unknown>): Promise<string[]> => {
    await mark()
    seen.length = 0
    await work()
    await mark()
    const sent = seen.filter(({ args, source }) => source !== 'lua' && args.some((arg) => arg.startsWith(prefix) || arg.startsWith(`@${prefix}`) || arg.startsWith(`@{${prefix}`)))
    return sent.map(({ args: [command = '', ...args] }) => {
      const name = /^evalsha$/i.test(command) ? [names.get(args[0] ?? '') ?? ''] : []
      return [command.toLowerCase(), ...name, ...args.filter((arg) => arg.includes(prefix) || arg === 'PX' || arg === 'NX')].join(' ')
    })
  }
}
