import { once } from 'node:events'
import { inspect } from 'node:util'
import fastifySession from '@fastify/session'
import { RedisStore as ConnectRedisStore } from 'connect-redis'
import expressSession from 'express-session'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes } from '../../lib/index.ts'
import type { SessionRecord } from '../../lib/session/record.ts'
import { ExpressStoreAdapter } from '../../lib/store/foreign.ts'
import { isExpressStore } from '../../lib/store/foreign.ts'
import type { ExpressStore } from '../../lib/store/foreign.ts'
import { storeContract } from '../contract/store-contract.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { DAY, MINUTE, record } from '../helpers/record.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'

type Done = (error?: unknown, result?: unknown) => void

const redis = await startRedis(t)
const connectRedis = (ours = prefix()) => new ConnectRedisStore({ client: redis.client, prefix: ours })

const stores: Record<string, () => ExpressStore> = {
  'express-session\'s MemoryStore': () => new expressSession.MemoryStore(),
  'connect-redis on ioredis': () => connectRedis(),
  '@fastify/session\'s MemoryStore': () => new fastifySession.MemoryStore() as unknown as ExpressStore
}

for (const [name, makeStore] of Object.entries(stores)) {
  storeContract(t, name, () => {
    let now = Date.now()
    const store = makeStore()
    return {
      store: new ExpressStoreAdapter(store, { now: () => now }),
      age: (ms) => { now += ms },
      lists: typeof store.all === 'function',
      lose: async (id) => { await new Promise((resolve) => store.destroy(id, resolve)) },
      // Such a store drops what has run out without a word.
      tellsExpired: false
    }
  }, { isCombination: makeStore !== stores['express-session\'s MemoryStore'] })
}

/** A store of files or of a database, as people write them: a Map, and what it does otherwise. */
function mapStore (overrides: Partial<ExpressStore> = {}): ExpressStore & { sessions: Map<string, string> } {
  const sessions = new Map<string, string>()
  return {
    sessions,
    get: (id, done) => setImmediate(() => done(null, sessions.has(id) ? JSON.parse(sessions.get(id) as string) : undefined)),
    set: (id, session, done) => {
      sessions.set(id, JSON.stringify(session))
      setImmediate(() => done?.())
    },
    destroy: (id, done) => {
      sessions.delete(id)
      setImmediate(() => done?.())
    },
    all: (done) => setImmediate(() => done(null, [...sessions.values()].map((each) => JSON.parse(each)))),
    ...overrides
  }
}

function adapt (t: Test, store: ExpressStore): ExpressStoreAdapter {
  const adapter = new ExpressStoreAdapter(store)
  t.teardown(() => adapter.close())
  return adapter
}

function everyCall (adapter: ExpressStoreAdapter, session: SessionRecord): Array<() => Promise<unknown>> {
  return [
    () => adapter.find(session.id), () => adapter.begin(session), () => adapter.update(session, () => '{}'), () => adapter.touch(session),
    () => adapter.delete(session.id), () => adapter.listByUser('ada'), () => adapter.ping()
  ]
}

const UNAVAILABLE = { code: 'ERR_SESSION_STORE_UNAVAILABLE', message: 'The session store is unavailable', statusCode: 503 }

t.test('a store is told by its methods', async (t) => {
  for (const makeStore of Object.values(stores)) t.equal(isExpressStore(makeStore()), true)
  for (const value of [null, undefined, 5, 'store', {}, [], () => {}, { get () {}, set () {} }, { get () {}, set () {}, destroy: 'x' }]) t.equal(isExpressStore(value), false)
})

t.test('what such a store is given: dates it understands, our record, and nothing else', async (t) => {
  const store = mapStore()
  const adapter = adapt(t, store)
  const session = record({ idleTimeoutMs: 30 * MINUTE, data: '{"cart":1}' })
  await adapter.begin(session)
  const stored = JSON.parse(store.sessions.get(session.id) as string)
  t.strictSame(Object.keys(stored), ['cookie', 'id', 'record'])
  t.strictSame(Object.keys(stored.cookie), ['originalMaxAge', 'maxAge', 'expires', 'httpOnly', 'path'])
  t.ok(Math.abs(Date.parse(stored.cookie.expires) - Date.now() - 30 * MINUTE) < 5000)
  t.ok(Math.abs(stored.cookie.maxAge - 30 * MINUTE) < 5000)
})

t.test('a store that drops what has expired drops ours in time, also after it was used', async (t) => {
  const ours = prefix()
  let now = Date.now()
  const adapter = new ExpressStoreAdapter(connectRedis(ours), { now: () => now })
  const session = record({ now, idleTimeoutMs: 30 * MINUTE, endsAt: now + 40 * MINUTE })
  const ttl = async () => Math.round(await redis.client.pttl(`${ours}${session.id}`) / MINUTE)
  await adapter.begin(session)
  t.equal(await ttl(), 30)
  now += 20 * MINUTE
  await adapter.touch(session)
  t.equal(await ttl(), 20, 'no longer than the absolute timeout')
  await adapter.update(session, () => '{"cart":1}')
  t.equal(await ttl(), 20)
})

t.test('what others stored under a session\'s id is no session', async (t) => {
  const hers = record()
  const elsewhere = mapStore()
  await adapt(t, elsewhere).begin(hers)
  const answer = JSON.parse(elsewhere.sessions.get(hers.id) as string)
  const foreign: unknown[] = [5, 'ada', true, [], {}, { cookie: {}, userId: 'ada' }, { cookie: {}, id: 'x', record: 5 }, { ...answer, record: 'x' }, { ...answer, record: '{}\n{}' }, { ...answer, id: undefined }]
  for (const value of foreign) {
    const adapter = adapt(t, mapStore({ get: (_id, done) => done(null, value) }))
    const unreadable: string[] = []
    adapter.events.on('unreadable', (id) => unreadable.push(id))
    t.equal(await adapter.find(hers.id), null, JSON.stringify(value))
    t.strictSame(unreadable, [hers.id])
  }
  for (const nothing of [null, undefined]) t.equal(await adapt(t, mapStore({ get: (_id, done) => done(null, nothing) })).find(hers.id), null)
  t.strictSame(await adapt(t, mapStore({ all: (done) => done(null, [null, ...foreign, answer]) })).listByUser('ada'), [hers])
})

t.test('a store that lists its sessions in another order each time gives the same pages', async (t) => {
  const now = Date.now()
  const sessions = Array.from({ length: 9 }, () => record({ createdAt: now }))
  const store = mapStore()
  let turned = 0
  const shuffled = mapStore({ ...store, all: (done) => store.all?.((error, all: unknown[]) => done(error, [...all.slice(++turned), ...all.slice(0, turned)])) })
  const adapter = adapt(t, shuffled)
  for (const each of sessions) await adapter.begin(each)
  const listed: SessionRecord[] = []
  while (listed.length < sessions.length) listed.push(...await adapter.listByUser('ada', { limit: 3, before: listed.at(-1) }))
  t.strictSame(listed.map(({ id }) => id).sort(), sessions.map(({ id }) => id).sort())
})

t.test('another session\'s answer is no answer', async (t) => {
  const store = mapStore()
  const adapter = adapt(t, store)
  const hers = record()
  await adapter.begin(hers)
  const his = record({ userId: 'bob' })
  const confused = adapt(t, mapStore({ get: (_id, done) => store.get(hers.id, done) }))
  t.equal(await confused.find(his.id), null)
  t.strictSame(await confused.find(hers.id), hers)
})

t.test('a store that fails says so, each time and to whoever asked', async (t) => {
  const failure = new Error('disk on fire')
  const fail = (_id: string, ...rest: unknown[]) => { (rest.at(-1) as Done)(failure) }
  const failing: Record<string, ExpressStore> = {
    'by its callback': mapStore({ get: fail, set: fail, destroy: fail, all: (done) => done(failure) }),
    'by throwing': mapStore({ get () { throw failure }, set () { throw failure }, destroy () { throw failure }, all () { throw failure } }),
    'by a promise': mapStore({ get: async () => { throw failure }, set: async () => { throw failure }, destroy: async () => { throw failure }, all: async () => { throw failure } }),
    'in every way': mapStore({
      get: async (_id, done) => {
        done(failure)
        throw failure
      },
      set: async (_id, _session, done) => {
        done?.(failure)
        throw failure
      },
      destroy: async (_id, done) => {
        done?.(failure)
        throw failure
      },
      all: async (done) => {
        done(failure)
        throw failure
      }
    })
  }
  for (const [how, store] of Object.entries(failing)) {
    const adapter = adapt(t, store)
    adapter.events.on('down', () => t.fail('a store that answers is not down'))
    const session = record()
    for (const call of [...everyCall(adapter, session), () => adapter.deleteByUser('ada')]) {
      await t.rejects(call(), { ...UNAVAILABLE, cause: { message: failure.message } }, how)
    }
  }
})

t.test('the error of a write comes without the session, and says all else', async (t) => {
  const session = record({ data: '{"iban":"DE00 1234"}' })
  const causeOf = async (failure: (id: string, stored: object) => unknown): Promise<Error> => {
    const store = mapStore({ set: (id, stored, done) => { done?.(failure(id, stored)) } })
    return await adapt(t, store).begin(session).then(() => new Error('written'), ({ cause }) => cause)
  }
  const values = (id: string, stored: object): string => `insert (${id}, ${JSON.stringify(stored)}) - attempt to write a readonly database`
  const statement = await causeOf((...row) => Object.assign(new RangeError(values(...row)), { code: 'SQLITE_READONLY', sql: values(...row) }))
  const detail = await causeOf((...row) => Object.assign(new RangeError('a constraint'), { code: '23514', detail: values(...row) }))
  const text = await causeOf(values)
  const odd = await causeOf(() => Object.assign(Object.create(null), { message: 1 }))
  const shown = [statement, detail, text, odd].map((each) => inspect(each, { showHidden: true, depth: 9 })).join()
  t.notMatch(shown, /iban|"h":|insert/)
  t.strictSame([statement, detail].map(({ name, message, ...others }) => ({ name, message, ...others })), [
    { name: 'RangeError', message: 'its message holds the session, and is left out', code: 'SQLITE_READONLY' },
    { name: 'RangeError', message: 'a constraint', code: '23514' }
  ])
  t.match(detail.stack, /^RangeError: a constraint\n +at .*foreign\.test/, 'where a fault in a store is')
  t.match([text.message, odd.message], [/left out/, 'no message'])
})

t.test('an error that is no Error is one all the same', async (t) => {
  for (const failure of ['no disk', 1, { code: 'EIO' }]) {
    await t.rejects(adapt(t, mapStore({ get: (_id, done) => done(failure) })).find('x'), UNAVAILABLE)
  }
})

t.test('a file that is not there is a session that is not there', async (t) => {
  const missing = Object.assign(new Error('ENOENT: no such file'), { code: 'ENOENT' })
  const store = mapStore()
  const files = mapStore({
    get: (id, done) => store.sessions.has(id) ? store.get(id, done) : done(missing),
    set: store.set,
    destroy: (id, done) => store.sessions.has(id) ? store.destroy(id, done) : done?.(missing)
  })
  const adapter = adapt(t, files)
  const session = record()
  t.equal(await adapter.find(session.id), null)
  t.equal(await adapter.touch(session), false)
  t.equal(await adapter.update(session, () => '{}'), null)
  t.equal(await adapter.delete(session.id), null)
  await adapter.begin(session)
  t.strictSame(await adapter.delete(session.id), session)
})

t.test('a store that calls back twice, at once or never on a side is understood', async (t) => {
  const twice = mapStore()
  const { get, set, destroy } = twice
  const adapter = adapt(t, mapStore({
    get: (id, done) => get(id, (error: unknown, session: unknown) => {
      done(error, session)
      done(new Error('again'))
      done(null, { id: 'mallory' })
    }),
    set: (id, session, done) => set(id, session, () => {
      done?.()
      done?.(new Error('again'))
    }),
    destroy: (id, done) => {
      destroy(id)
      done?.()
      done?.()
    }
  }))
  const session = record()
  t.ok(await adapter.begin(session))
  t.strictSame(await adapter.find(session.id), session)
  t.strictSame(await adapter.delete(session.id), session)
  t.equal(await adapter.find(session.id), null)
})

t.test('a store that does not answer costs one wait, then none, and serves again when it does', async (t) => {
  withRealLimits(t)
  const store = mapStore()
  const pending: Array<() => void> = []
  let stuck = true
  const { get } = store
  const hanging = mapStore({ ...store, get: (id, done) => { if (stuck) pending.push(() => get(id, done)); else get(id, done) } })
  const adapter = adapt(t, hanging)
  const session = record()
  await adapter.begin(session)
  const said: string[] = []
  adapter.events.on('down', (cause) => said.push(`down: ${(cause as Error).message}`))
  adapter.events.on('up', () => said.push('up'))
  const up = once(adapter.events, 'up')
  const startedAt = performance.now()
  await Promise.all(Array.from({ length: 10 }, () => t.rejects(adapter.find(session.id), UNAVAILABLE)))
  const firstMs = performance.now() - startedAt
  const askedAt = performance.now()
  for (const call of everyCall(adapter, session)) await t.rejects(call(), UNAVAILABLE)
  t.ok(performance.now() - askedAt < firstMs, 'all of them together sooner than the first ones')
  stuck = false
  await up
  t.strictSame(await adapter.find(session.id), session)
  for (const answer of pending) answer()
  t.strictSame(said, ['down: no answer within 500 ms', 'up'])
})

/** A store that carries out some writes when it is told to, long after their time. */
function lateStore () {
  const store = mapStore()
  const late: Array<() => void> = []
  let isLate = false
  const set: ExpressStore['set'] = (id, session, done) => {
    const write = (): unknown => store.set(id, session, done)
    if (isLate) late.push(write)
    else write()
  }
  return {
    sessions: store.sessions,
    store: mapStore({ ...store, set }),
    isLate: (value: boolean) => { isLate = value },
    carryOut: () => { for (const write of late.splice(0)) write() }
  }
}

t.test('a write that is carried out after its time brings no session back, and undoes no later one', async (t) => {
  withRealLimits(t)
  const { store, isLate, carryOut } = lateStore()
  const adapter = adapt(t, store)
  const [session, other] = [record(), record()]
  for (const each of [session, other]) await adapter.begin(each)
  const up = once(adapter.events, 'up')
  isLate(true)
  await Promise.all([session, other].map((each) => t.rejects(adapter.update(each, () => '{"cart":1}'), UNAVAILABLE)))
  isLate(false)
  await up
  t.strictSame(await adapter.find(other.id), other, 'it is read meanwhile')
  await t.rejects(adapter.update(other, () => '{"cart":2}'), UNAVAILABLE, 'and not written')
  await t.rejects(adapter.delete(session.id, { secretHash: session.secretHash }), UNAVAILABLE)
  t.equal(await adapter.find(session.id), null)
  await t.rejects(adapter.delete(session.id, { secretHash: session.secretHash }), UNAVAILABLE, 'not confirmed as long as it may come back')
  carryOut()
  await until('the answers', async () => await adapter.update(other, () => '{"cart":3}').then(() => true, () => false))
  t.equal((await adapter.find(other.id))?.data, '{"cart":3}')
  t.equal((await adapter.delete(session.id, { secretHash: session.secretHash }))?.id, session.id)
  t.equal(await adapter.find(session.id), null)
})

t.test('nor does it leave a session of a login that was answered with an error', async (t) => {
  withRealLimits(t)
  const { store, sessions, isLate, carryOut } = lateStore()
  const adapter = adapt(t, store)
  const up = once(adapter.events, 'up')
  isLate(true)
  await t.rejects(adapter.begin(record()), UNAVAILABLE)
  isLate(false)
  await up
  carryOut()
  t.equal(sessions.size, 1)
  await until('it to end', () => sessions.size === 0)
})

t.test('whether a store answers is asked by an id that nobody has, another one each time', async (t) => {
  withRealLimits(t)
  const asked: string[] = []
  let stuck = true
  const store = mapStore()
  const adapter = adapt(t, mapStore({
    ...store,
    get: (id, done) => {
      asked.push(id)
      if (!stuck || asked.length < 5) store.get(id, done)
    }
  }))
  for (let ping = 0; ping < 4; ping++) await adapter.ping()
  const up = once(adapter.events, 'up')
  await t.rejects(adapter.ping(), UNAVAILABLE)
  stuck = false
  await up
  t.ok(asked.length > 5, 'also by a probe')
  t.equal(new Set(asked).size, asked.length)
  t.strictSame(asked.filter((id) => !/^[0-9a-f-]{36}$/.test(id)), [])
})

t.test('a store that comes back with an error is back', async (t) => {
  withRealLimits(t)
  let stuck = true
  const store = mapStore()
  const adapter = adapt(t, mapStore({ ...store, get: (id, done) => { if (!stuck) store.sessions.has(id) ? store.get(id, done) : done(Object.assign(new Error('no such file'), { code: 'ENOENT' })) } }))
  const session = record()
  await adapter.begin(session)
  const up = once(adapter.events, 'up')
  await t.rejects(adapter.find(session.id), UNAVAILABLE)
  stuck = false
  await up
  t.strictSame(await adapter.find(session.id), session)
})

t.test('a login whose old session cannot be ended fails, and leaves no new one', async (t) => {
  const store = mapStore()
  const old = record({ userId: null })
  const adapter = adapt(t, mapStore({
    ...store,
    destroy: (id, done) => {
      if (id === old.id) return done?.(new Error('locked'))
      return store.destroy(id, done)
    }
  }))
  await adapter.begin(old)
  const session = record()
  await t.rejects(adapter.replace(session, old), UNAVAILABLE)
  await adapter.delete(session.id)
  t.strictSame([...store.sessions.keys()], [old.id])
})

t.test('a store that cannot list says so, and does all else', async (t) => {
  const { all, ...store } = mapStore()
  const adapter = adapt(t, store)
  const session = record()
  await adapter.begin(session)
  await t.rejects(adapter.listByUser('ada'), { code: 'ERR_SESSION_UNSUPPORTED', message: 'Not supported: listing sessions on a store that has no all()' })
  await t.rejects(adapter.deleteByUser('ada'), { code: 'ERR_SESSION_UNSUPPORTED' })
  t.strictSame(await adapter.find(session.id), session)
  t.strictSame(await adapter.delete(session.id), session)
})

t.test('a closed adapter answers nothing, and its store goes on', async (t) => {
  const store = mapStore()
  const adapter = adapt(t, store)
  const session = record()
  await adapter.begin(session)
  await adapter.close()
  await adapter.close()
  await t.rejects(adapter.find(session.id), UNAVAILABLE)
  t.strictSame(await adapt(t, store).find(session.id), session)
})

for (const [name, makeStore] of Object.entries(stores)) {
  t.test(`people sign in and out with ${name}`, async (t) => {
    const store = makeStore()
    const start = async () => {
      const app = await startApp(t, { store })
      await app.register(authRoutes, { verify: ({ username }) => ({ id: username }) })
      app.get('/me', { preHandler: app.authenticate }, async (request) => ({ userId: request.requireAuth().userId, cart: request.session.cart ?? null }))
      app.post('/cart', async (request) => { request.session.cart = request.body })
      return app
    }
    const app = await start()
    const ada = new Browser(app)
    await ada.post('/cart', { books: 1 })
    const planted = ada.header
    const login = await ada.post('/login', { username: 'ada', password: 'x' })
    t.equal(login.statusCode, 200)
    t.not(ada.header, planted)
    await ada.post('/cart', { books: 2 })
    t.strictSame((await ada.get('/me')).json(), { userId: 'ada', cart: { books: 2 } })
    t.equal((await app.inject({ url: '/me', headers: { cookie: planted } })).statusCode, 401)

    const other = new Browser(await start())
    other.cookies.set('sid', ada.cookies.get('sid') as string)
    t.strictSame((await other.get('/me')).json(), { userId: 'ada', cart: { books: 2 } }, 'also in another application on the same store')
    const cookie = ada.header
    t.equal((await ada.post('/logout')).statusCode, 204)
    t.equal((await app.inject({ url: '/me', headers: { cookie } })).statusCode, 401)
    t.equal((await other.get('/me')).statusCode, 401)
  })
}

t.test('a store that does not answer is a 503, at once the second time, and public pages go on', async (t) => {
  withRealLimits(t)
  const store = mapStore()
  let stuck = false
  const app = await startApp(t, { store: mapStore({ ...store, get: (id, done) => stuck ? undefined : store.get(id, done) }) })
  await app.register(authRoutes, { verify: ({ username }) => ({ id: username }) })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth().userId)
  app.get('/public', async () => 'welcome')
  const ada = new Browser(app)
  await ada.post('/login', { username: 'ada', password: 'x' })
  stuck = true
  const startedAt = performance.now()
  const first = await ada.get('/me')
  const firstMs = performance.now() - startedAt
  t.strictSame(first.json(), { statusCode: 503, code: 'ERR_SESSION_STORE_UNAVAILABLE', error: 'Service Unavailable', message: 'The session store is unavailable' })
  t.equal(first.headers['retry-after'], '1')
  const askedAt = performance.now()
  for (let request = 0; request < 5; request++) t.equal((await ada.get('/me')).statusCode, 503)
  t.equal((await ada.get('/public')).statusCode, 200)
  t.ok(performance.now() - askedAt < firstMs, 'all of them together sooner than the first')
  const plain = () => app.lines.filter(({ reqId, msg }) => reqId === undefined && msg === 'the session store does not answer')
  // On a busy machine the request gives up a moment before the store is given up.
  await until('the line', () => plain().length > 0)
  t.equal(plain().length, 1)
})

t.test('a store\'s own words are in no reply', async (t) => {
  const store = mapStore()
  const failure = new Error('LEAKED: connect ECONNREFUSED 10.0.0.5:5432')
  let failing = false
  const app = await startApp(t, {
    store: mapStore({ ...store, get: (id, done) => failing ? done(failure) : store.get(id, done), set: (id, session, done) => failing ? done?.(failure) : store.set(id, session, done) })
  })
  await app.register(authRoutes, { verify: ({ username }) => ({ id: username }) })
  const ada = new Browser(app)
  await ada.post('/login', { username: 'ada', password: 'x' })
  const cookie = ada.header
  failing = true
  for (const response of [await ada.get('/info'), await ada.post('/login', { username: 'ada', password: 'x' }), await new Browser(app).post('/login', { username: 'ada', password: 'x' }), await ada.post('/logout')]) {
    t.equal(response.statusCode, 503)
    t.notMatch(response.body + JSON.stringify(response.headers), /LEAKED|ECONN|10\.0/)
  }
  failing = false
  t.not((await app.inject({ url: '/info', headers: { cookie } })).json().authenticated, true, 'the logout counts')
})

t.test('sessions of an express-session store end by both timeouts', async (t) => {
  let now = Date.now()
  const adapter = new ExpressStoreAdapter(new expressSession.MemoryStore(), { now: () => now })
  const session = record({ now, idleTimeoutMs: DAY, endsAt: now + 2 * DAY })
  await adapter.begin(session)
  now += DAY - 1
  t.equal(await adapter.touch(session), true)
  now += DAY - 1
  t.ok(await adapter.find(session.id))
  now += 2
  t.equal(await adapter.find(session.id), null)
})
