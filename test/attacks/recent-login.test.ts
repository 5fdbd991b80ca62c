import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, MemoryStore, sessionRoutes } from '../../lib/index.ts'
import type { Duration, SessionOptions } from '../../lib/index.ts'
import { newId, newToken, Signature } from '../../lib/session/token.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import { prefix, startRedis } from '../helpers/redis.ts'
import { age as ageOf } from '../helpers/redis-store.ts'
import { MINUTE, record } from '../helpers/record.ts'

const ADA = { username: 'ada', password: 'lovelace' }
const REAUTH_REQUIRED = { statusCode: 401, code: 'ERR_SESSION_REAUTH_REQUIRED', error: 'Unauthorized', message: 'A recent sign-in is required' }

/** An application on whose `/password` somebody must have signed in within `within`; `/me` takes any sign-in. */
async function open (t: Test, options: Partial<SessionOptions> = {}, within: Duration = '10m') {
  let now = Date.now()
  const app = await startApp(t, { store: new MemoryStore({ now: () => now }), touchAfter: 0, ...options })
  await app.register(authRoutes, { verify: ({ username }) => ({ id: username }) })
  const reached: string[] = []
  app.post('/password', { preHandler: app.requireRecentLogin(within) }, async (request) => {
    reached.push(request.requireAuth().userId)
    return 'changed'
  })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth())
  app.post('/cart', async ({ session }) => { session.cart = ['book'] })
  app.post('/rotate', async ({ session }) => { await session.regenerate(['userId']) })
  return { app, reached, ada: new Browser(app), age: (ms: number) => { now += ms } }
}

t.test('[7.5.1, 7.5.3, 7.2.4] what needs a recent sign-in is open for ten minutes after one, and again, under a new id and secret, after the next', async (t) => {
  const { ada, age, reached } = await open(t)
  await ada.post('/login', ADA)
  age(10 * MINUTE)
  t.equal((await ada.post('/password')).statusCode, 200, 'to the very last moment')
  age(MINUTE)
  const refused = await ada.post('/password')
  t.equal(refused.statusCode, 401)
  t.strictSame(refused.json(), REAUTH_REQUIRED)
  t.strictSame(refused.setCookies, [])
  t.strictSame(reached, ['ada'])
  t.equal((await ada.get('/me')).statusCode, 200, 'everything else stays open')
  const before = ada.cookies.get('sid') ?? ''
  await ada.post('/login', ADA)
  t.not(ada.cookies.get('sid')?.split('.')[0], before.split('.')[0], 'a new id')
  t.not(ada.cookies.get('sid')?.split('.')[1], before.split('.')[1], 'a new secret')
  t.equal((await ada.post('/password')).statusCode, 200)
  t.strictSame(reached, ['ada', 'ada'])
})

t.test('[7.5.1] a millisecond too late is too late', async (t) => {
  const { ada, age } = await open(t)
  await ada.post('/login', ADA)
  age(10 * MINUTE + 1)
  t.equal((await ada.post('/password')).json().code, 'ERR_SESSION_REAUTH_REQUIRED')
})

t.test('[7.5.1] being busy is not signing in', async (t) => {
  const { ada, age } = await open(t)
  await ada.post('/login', ADA)
  const { authenticatedAt } = (await ada.get('/me')).json()
  for (let minute = 0; minute < 11; minute++) {
    age(MINUTE)
    for (const url of ['/cart', '/rotate']) t.equal((await ada.post(url)).statusCode, 200)
    t.equal((await ada.get('/me')).json().authenticatedAt, authenticatedAt)
  }
  t.ok((await ada.get('/me')).json().lastSeenAt > authenticatedAt + 10 * MINUTE)
  t.strictSame((await ada.post('/password')).json(), REAUTH_REQUIRED)
})

t.test('[7.5.1] the last sign-in counts, not the beginning of the session', async (t) => {
  const store = new MemoryStore()
  const { app } = await open(t, { store })
  for (const [begun, authenticated, status] of [[60, 5, 200], [5, 60, 401]] as const) {
    const id = newId()
    const { token, secretHash } = newToken(id)
    await store.begin(record({ id, secretHash, createdAt: Date.now() - begun * MINUTE, authenticatedAt: Date.now() - authenticated * MINUTE }))
    t.equal((await app.inject({ method: 'POST', url: '/password', headers: { cookie: `sid=${new Signature([secret]).sign(token)}` } })).statusCode, status)
  }
})

t.test('[7.5.1] signing in by assignment is signing in', async (t) => {
  const { app, ada, age } = await open(t)
  app.post('/assign', async ({ session }) => { session.userId = 'ada' })
  await ada.post('/assign')
  age(11 * MINUTE)
  t.equal((await ada.post('/password')).statusCode, 401)
  await ada.post('/assign')
  t.equal((await ada.post('/password')).statusCode, 200)
})

t.test('[7.5.1] who is not signed in at all is told that, also after the session has ended', async (t) => {
  const { app, ada, age, reached } = await open(t)
  const unauthenticated = { statusCode: 401, code: 'ERR_SESSION_UNAUTHENTICATED', error: 'Unauthorized', message: 'Authentication required' }
  t.strictSame((await ada.post('/password')).json(), unauthenticated)
  await ada.post('/cart')
  t.equal(ada.cookies.size, 1)
  t.strictSame((await ada.post('/password')).json(), unauthenticated, 'nor is who has an anonymous session')
  await ada.post('/login', ADA)
  const copy = new Browser(app)
  copy.cookies.set('sid', ada.cookies.get('sid') ?? '')
  await ada.post('/logout')
  t.strictSame((await copy.post('/password')).json(), unauthenticated)
  await ada.post('/login', ADA)
  age(31 * MINUTE)
  t.strictSame((await ada.post('/password')).json(), unauthenticated)
  t.strictSame(reached, [])
})

t.test('[7.5.1] it guards as an onRequest hook, and within a second plugin, as well', async (t) => {
  const { app, ada, age } = await open(t)
  app.get('/early', { onRequest: app.requireRecentLogin(5 * MINUTE) }, async () => 'welcome')
  app.register(async (child) => {
    child.addHook('preHandler', child.requireRecentLogin('1 hour'))
    child.get('/child', async () => 'welcome')
  })
  await ada.post('/login', ADA)
  t.equal((await ada.get('/early')).statusCode, 200)
  age(6 * MINUTE)
  t.equal((await ada.get('/early')).json().code, 'ERR_SESSION_REAUTH_REQUIRED')
  t.equal((await ada.get('/child')).statusCode, 200)
})

t.test('[7.5.1] a program\'s token is recent for as long', async (t) => {
  const { app, age } = await open(t, { bearer: true })
  const { token } = (await new Browser(app).post('/token', ADA)).json()
  const headers = { authorization: `Bearer ${token}` }
  t.equal((await new Browser(app).post('/password', undefined, { headers })).statusCode, 200)
  age(11 * MINUTE)
  t.strictSame((await new Browser(app).post('/password', undefined, { headers })).json(), REAUTH_REQUIRED)
})

t.test('[7.5.2] a stolen cookie cannot keep its owner signed out, and the owner can end it', async (t) => {
  const { app, ada, age } = await open(t, { idleTimeout: '1d' })
  await app.register(sessionRoutes, { prefix: '/sessions' })
  await ada.post('/login', ADA)
  const mallory = new Browser(app)
  mallory.cookies.set('sid', ada.cookies.get('sid') ?? '')
  ada.cookies.clear()
  age(11 * MINUTE)
  const seen = new Set<string>()
  for (let round = 0; round < 30; round++) {
    await ada.post('/login', ADA)
    const listed = (await mallory.get('/sessions')).json<Array<{ id: string, current: boolean }>>()
    const hers = listed.find(({ current }) => !current)?.id ?? ''
    const tries = []
    for (const url of ['/sessions', `/sessions/${hers}`]) tries.push((await mallory.request('DELETE', url)).statusCode)
    seen.add(`${tries.join()}, and she is ${(await ada.get('/me')).statusCode}`)
  }
  t.strictSame([...seen], ['401,401, and she is 200'])
  t.strictSame((await ada.request('DELETE', '/sessions')).json(), { revoked: 1 })
  t.equal((await mallory.get('/me')).statusCode, 401)
  t.equal((await ada.get('/me')).statusCode, 200)
})

t.test('[7.5.1] what is no duration is refused where it is written', async (t) => {
  const { app } = await open(t)
  const wrong: Record<string, unknown[]> = {
    'requireRecentLogin needs a duration such as \'10m\'': [undefined],
    'requireRecentLogin must be milliseconds or a string such as \'30m\'': ['', 'LEAKED', '10 LEAKED', 'm', NaN, Infinity, -Infinity, null, true, {}, [], ['10m'], () => '10m', 10n, '10m'.padEnd(101), new Date()],
    'requireRecentLogin must be positive': [0, -1, -600_000, '0', '-10m', 0.5],
    'requireRecentLogin must be less than ten years': ['11y', Number.MAX_SAFE_INTEGER]
  }
  for (const [message, values] of Object.entries(wrong)) {
    for (const value of values) t.throws(() => app.requireRecentLogin(value as Duration), { name: 'TypeError', message }, String(value))
  }
  for (const value of [1, '10m', '1 hour', 600_000, '90d']) t.doesNotThrow(() => app.requireRecentLogin(value))
})

t.test('[7.5.1] under another name it is the same', async (t) => {
  const app = await startApp(t, { decorators: { requireRecentLogin: 'sudo' } })
  t.equal(app.hasDecorator('requireRecentLogin'), false)
  const { sudo } = app as unknown as { sudo: typeof app.requireRecentLogin }
  app.post('/password', { preHandler: sudo('10m') }, async () => 'changed')
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  const ada = new Browser(app)
  t.equal((await ada.post('/password')).statusCode, 401)
  await ada.post('/login')
  t.equal((await ada.post('/password')).statusCode, 200)
})

t.test('[7.5.1] Redis\' clock says what is recent', async (t) => {
  const redis = await startRedis(t)
  const keyPrefix = prefix()
  const { ada } = await open(t, { store: undefined, redis: redis.url, keyPrefix })
  await ada.post('/login', ADA)
  t.equal((await ada.post('/password')).statusCode, 200)
  await ageOf(redis.client, keyPrefix, 11 * MINUTE)
  t.equal((await ada.get('/me')).statusCode, 200)
  t.strictSame((await ada.post('/password')).json(), REAUTH_REQUIRED)
  await ada.post('/login', ADA)
  t.equal((await ada.post('/password')).statusCode, 200)
  await redis.stop()
  const down = await ada.post('/password')
  t.equal(down.statusCode, 503, 'and when that cannot be told, that is the answer')
  t.equal(down.json().code, 'ERR_SESSION_STORE_UNAVAILABLE')
})
