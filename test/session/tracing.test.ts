import { tracingChannel } from 'node:diagnostics_channel'
import { inspect } from 'node:util'
import { Registry } from 'prom-client'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, SessionManager } from '../../lib/index.ts'
import type { SessionTraces, TraceName } from '../../lib/index.ts'
import { collectMetrics } from '../../lib/metrics/index.ts'
import { onTraced, TRACE_NAMES, Traces } from '../../lib/session/tracing.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import { inMemory, onBothStores } from '../helpers/managers.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { SpyStore } from '../helpers/spy-store.ts'

const redis = await startRedis(t)
const both = onBothStores(t, redis)

type Seen = [name: TraceName, trace: SessionTraces[TraceName]]

/** All traces that are over from now on, of everybody. */
function watch (t: Test): Seen[] {
  const seen: Seen[] = []
  for (const name of TRACE_NAMES) {
    const none = (): void => {}
    const subscribers = { start: none, end: none, asyncStart: none, error: none, asyncEnd: (trace: object) => { seen.push([name, trace as SessionTraces[TraceName]]) } }
    const channel = tracingChannel(`fastify-user-sessions:${name}`)
    channel.subscribe(subscribers)
    t.teardown(() => channel.unsubscribe(subscribers))
  }
  return seen
}

/** Takes what was traced so far, without times and without whose it is. */
function take (seen: Seen[]): Array<[TraceName, object]> {
  return seen.splice(0).map(([name, { sessions: _sessions, startedAt: _startedAt, ...trace }]) => [name, trace])
}

both('each kind of work says what it was and what came of it', async (t, open) => {
  const { sessions } = await open({ bearer: true, nearCache: false })
  const seen = watch(t)
  const { session, token } = await sessions.create({ userId: 'ada' })
  await sessions.create({ userId: 'ada', kind: 'bearer' })
  t.strictSame(take(seen), [['login', { kind: 'cookie', result: 'begun' }], ['login', { kind: 'bearer', result: 'begun' }]])
  await sessions.update(session.id, (data) => ({ ...data, name: 'Zoë' }))
  const bytes = Buffer.byteLength(JSON.stringify(await sessions.data(session.id)))
  t.strictSame(take(seen).filter(([name]) => name === 'save'), [['save', { kind: 'cookie', dataBytes: bytes, result: 'stored' }]])
  await sessions.listByUser('ada')
  t.strictSame(take(seen), [['list', { kind: null, count: 2, result: 'listed' }]])
  await sessions.revoke(session.id)
  await sessions.revoke(session.id)
  t.strictSame(take(seen), [
    ['revoke', { kind: null, reason: 'revoked', of: 'session', count: 1, result: 'ended' }],
    ['revoke', { kind: null, reason: 'revoked', of: 'session', count: 0, result: 'none' }]
  ])
  t.equal(await sessions.find(token), null)
  t.strictSame(take(seen), [['load', { kind: 'cookie', source: 'store', result: 'none' }]])
  t.equal(await sessions.revokeUser('ada'), 1)
  t.strictSame(take(seen), [['revoke', { kind: null, reason: 'revoked', of: 'user', count: 1, result: 'ended' }]])
})

t.test('a request is traced from its sign-in to its logout, and what is in memory has no trace', async (t) => {
  const app = await startApp(t, { redis: redis.url, keyPrefix: prefix() })
  await app.register(authRoutes, { verify: ({ username }) => ({ id: username }), attempts: false })
  app.get('/me', async (request) => request.auth?.userId ?? null)
  app.post('/write', async (request) => { request.session.cart = ['book'] })
  app.post('/move', async (request) => { await request.session.regenerate(['userId']) })
  const seen = watch(t)
  const [ada, nobody] = [new Browser(app), new Browser(app)]
  await nobody.get('/me')
  t.strictSame(take(seen), [], 'nothing is asked for who brings nothing')
  await nobody.post('/write')
  t.strictSame(take(seen), [['save', { kind: 'cookie', dataBytes: 17, result: 'stored' }]], 'nobody signs in by it')
  await ada.post('/login', { username: 'ada', password: 'x' })
  t.strictSame(take(seen), [['login', { kind: 'cookie', result: 'begun' }]])
  await ada.get('/me')
  t.strictSame(take(seen), [['load', { kind: 'cookie', source: 'store', result: 'found' }]])
  const before = ada.header
  await ada.post('/move')
  t.strictSame(take(seen).map(([name]) => name), ['load', 'save'])
  await app.inject({ url: '/me', headers: { cookie: before } })
  t.strictSame(take(seen), [['load', { kind: 'cookie', source: 'store', result: 'none' }]])
  await ada.post('/logout')
  t.strictSame(take(seen).at(-1), ['revoke', { kind: 'cookie', reason: 'logout', of: 'session', count: 1, result: 'ended' }])

  const cached = await startApp(t, { redis: redis.url, keyPrefix: prefix(), nearCache: true })
  cached.get('/me', async (request) => request.auth?.userId ?? null)
  const { headers, token, session } = await cached.sessions.create({ userId: 'ada' })
  await until('it to be in memory', async () => {
    take(seen)
    t.equal((await cached.inject({ url: '/me', headers })).body, 'ada')
    t.equal((await cached.sessions.find(token))?.userId, 'ada')
    t.equal((await cached.sessions.get(session.id))?.userId, 'ada')
    return seen.length === 0
  })
})

t.test('a save that meets the end of its session says so', async (t) => {
  const { sessions, store } = inMemory(t)
  const { session } = await sessions.create({ userId: 'ada' })
  const seen = watch(t)
  store.update = async () => null
  t.equal(await sessions.update(session.id, (data) => ({ ...data, cart: 1 })), null)
  t.strictSame(take(seen).at(-1), ['save', { kind: 'cookie', dataBytes: null, result: 'ended' }])
})

t.test('a failure has its error and no result, and reaches the caller', async (t) => {
  const store = new SpyStore()
  const sessions = new SessionManager({ secret, store })
  t.teardown(() => sessions.close())
  const { token, session } = await sessions.create({ userId: 'ada' })
  const seen = watch(t)
  for (const operation of ['find', 'begin', 'delete'] as const) store.failing.add(operation)
  const code = 'ERR_SESSION_STORE_UNAVAILABLE'
  await t.rejects(sessions.find(token), { code })
  await t.rejects(sessions.create({ userId: 'ada' }), { code })
  await t.rejects(sessions.revoke(session.id), { code })
  t.strictSame(seen.map(([name, { result, error }]) => [name, result, (error as { code?: string }).code]), [['load', undefined, code], ['login', undefined, code], ['revoke', undefined, code]])
  store.deleteByUser = async () => { throw new Error('broken') }
  await t.rejects(sessions.revokeUser('ada'), { message: 'broken' })
  t.match(seen.at(-1), ['revoke', { of: 'user', count: null, error: { message: 'broken' } }])
})

t.test('what the page says has no trace has none', async (t) => {
  const store = new SpyStore()
  const sessions = new SessionManager({ secret, store, endedFor: '1h' })
  t.teardown(() => sessions.close())
  const [ada, bob] = [await sessions.create({ userId: 'ada' }), await sessions.create({ userId: 'bob' })]
  const seen = watch(t)
  const traced = async (work: () => Promise<unknown>) => {
    await work()
    return take(seen).map(([name]) => name)
  }
  t.strictSame(await traced(() => sessions.setTimeouts(ada.session.id, { idleTimeout: '5m' })), ['load'])
  t.strictSame([...new Set(await traced(() => sessions.setTimeouts({ userId: 'ada' }, { idleTimeout: '4m' })))], ['list'])
  t.strictSame(await traced(() => sessions.touch(ada.session.id)), ['load'])
  t.strictSame(await traced(() => sessions.revoke(ada.session.id, { userId: 'bob' })), [], 'it is not his')
  t.strictSame(await traced(() => sessions.revoke(ada.session.id, { userId: 'ada' })), ['revoke'])
  t.strictSame(await traced(async () => t.match(await sessions.ended(ada.token), { reason: 'revoked' })), ['load'])
  t.strictSame(await traced(() => sessions.unlock('ada')), [])
  t.strictSame(await traced(async () => { for await (const { id } of sessions.listAll()) t.equal(id, bob.session.id) }), [])
})

t.test('what this process knows to be ending is no load: the store is not asked', async (t) => {
  const store = new SpyStore()
  const sessions = new SessionManager({ secret, store })
  t.teardown(() => sessions.close())
  const register = new Registry()
  collectMetrics(sessions, { register })
  const { token, session } = await sessions.create({ userId: 'ada' })
  store.failing.add('delete')
  await t.rejects(sessions.revoke(session.id), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  const seen = watch(t)
  // The end is tried again meanwhile, and fails.
  const asked = await store.during(async () => {
    t.equal(await sessions.find(token), null)
    t.equal(await sessions.get(session.id), null)
  })
  t.notOk(asked.includes('find'))
  t.strictSame(take(seen), [])
  t.match(await register.metrics(), 'fastify_user_sessions_lookups_total{source="memory",result="none"} 2')
})

t.test('no trace holds a token, data, an id or a name', async (t) => {
  const app = await startApp(t, { bearer: true })
  await app.register(authRoutes, { verify: ({ username }) => ({ id: username }) })
  app.post('/write', async (request) => { request.session.cart = ['a-very-secret-book'] })
  const seen = watch(t)
  const ada = new Browser(app)
  await ada.post('/login', { username: 'ada-lovelace', password: 'a-very-secret-word' })
  const [id = '', secretPart = ''] = decodeURIComponent(ada.cookies.get('sid') ?? '').split('.')
  await ada.post('/write')
  await app.sessions.listByUser('ada-lovelace')
  await app.sessions.get(id)
  await app.sessions.get('no-such-id')
  await ada.post('/logout')
  await app.sessions.revokeUser('ada-lovelace')
  t.ok(seen.length >= 5)
  const told = inspect(seen, { depth: 9, showHidden: true, getters: true })
  t.ok(id.length > 10 && secretPart.length > 10)
  for (const hidden of [id, secretPart, 'ada-lovelace', 'a-very-secret', 'no-such-id']) t.notMatch(told, hidden)
})

t.test('two registrations in one process are told apart', async (t) => {
  const [one, two] = [inMemory(t).sessions, inMemory(t).sessions]
  const seen = watch(t)
  const ofOne: unknown[] = []
  t.teardown(onTraced('login', one, (trace) => { ofOne.push(trace.sessions) }))
  await one.create({ userId: 'ada' })
  await two.create({ userId: 'bob' })
  t.ok(seen[0]?.[1].sessions === one && seen[1]?.[1].sessions === two)
  t.equal(ofOne.length, 1)
})

t.test('while nobody listens the work is called directly, and nothing is made for a trace', async (t) => {
  let asked = 0
  const traces = new Traces(() => {
    asked++
    return {}
  })
  const promise = Promise.resolve(null)
  t.equal(traces.load('cookie', () => promise), promise)
  t.equal(traces.save('cookie', () => promise), promise)
  t.equal(traces.login('cookie', () => promise), promise)
  t.equal(asked, 0)
  const stop = onTraced('load', {}, () => {})
  t.not(traces.load('cookie', () => promise), promise)
  t.equal(asked, 1)
  stop()
  t.equal(traces.load('cookie', () => promise), promise, 'nor when they have left')
})
