import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, MemoryStore, sessionRoutes } from '../../lib/index.ts'
import type { LoginOptions, SessionEvent, SessionInfo, SessionOptions, SessionRoutesOptions } from '../../lib/index.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { HOUR, MINUTE } from '../helpers/record.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { age } from '../helpers/redis-store.ts'

const ADA = { username: 'ada', password: 'lovelace' }
const REFUSAL = { statusCode: 403, code: 'ERR_SESSION_IMPERSONATED', error: 'Forbidden', message: 'Not while acting as somebody else' }

type Options = Partial<SessionOptions> & { acting?: LoginOptions, routes?: SessionRoutesOptions }

/** An application in which Carol can act as Ada, by `/act`. Whoever acts has no session of their own here. */
async function open (t: Test, { acting, routes, ...options }: Options = {}) {
  let now = Math.floor(Date.now())
  const app = await startApp(t, { ...options.redis === undefined && { store: new MemoryStore({ now: () => now }) }, bearer: options.expressSession === undefined, touchAfter: 0, ...options })
  await app.register(authRoutes, {
    verify: ({ username }) => ({ id: username }),
    onLogin: ({ id }) => id === 'helped' ? { actor: 'carol' } : { label: 'own', meta: { own: true } }
  })
  await app.register(sessionRoutes, { prefix: '/sessions', ...routes })
  app.post('/act', async (request) => await app.login(request, { id: 'ada' }, { actor: 'carol', ...acting }))
  app.post<{ Querystring: { id: string } }>('/assign', async ({ session, query }) => { session.userId = query.id })
  app.post('/user', async ({ session }) => { session.user = { id: 'ada', at: Math.random() } })
  app.post('/rotate', async ({ session }) => { await session.regenerate(['userId']) })
  app.post('/again', async (request) => {
    await request.session.regenerate()
    request.session.userId = 'ada'
    request.session.cart = ['book']
  })
  app.post('/save', async ({ session }) => {
    session.cart = [Math.random()]
    await session.save()
  })
  app.post('/password', { preHandler: app.requireRecentLogin('10m') }, async () => 'changed')
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth())
  const carol = new Browser(app)
  const me = async (): Promise<SessionInfo> => (await carol.get('/me')).json()
  return { app, carol, me, age: (ms: number) => { now += ms } }
}

t.test('who acts as a user is seen: by the application, in lists, and in the event', async (t) => {
  const { app, carol, me } = await open(t)
  const created: SessionEvent[] = []
  app.sessions.on('created', (event) => { created.push(event) })
  const { id } = (await carol.post('/act')).json<SessionInfo>()
  t.match(await me(), { userId: 'ada', actor: 'carol' })
  t.match((await carol.get('/sessions')).json(), [{ id, actor: 'carol', current: true }])
  t.match(await app.sessions.get(id), { actor: 'carol' })
  t.match(await app.sessions.listByUser('ada'), [{ actor: 'carol' }])
  t.strictSame(await app.sessions.listByUser('carol'), [])
  await carol.post('/rotate')
  await until('both events', () => created.length === 2)
  t.match(created, [{ userId: 'ada', reason: null, actor: 'carol' }, { userId: 'ada', reason: 'moved', actor: 'carol' }])
  t.match((await app.sessions.create({ userId: 'ada', actor: 'dave' })).session, { actor: 'dave' })
  t.match((await app.sessions.create({ userId: 'ada' })).session, { actor: null })
})

t.test('acting as a user ends after an hour, and with the browser', async (t) => {
  const { app, carol, me, age: later } = await open(t)
  const reply = await carol.post('/act')
  t.notMatch(reply.setCookies[0], /max-age|expires/i)
  const { createdAt, endsAt, expiresAt, remembered } = await me()
  t.equal(endsAt - createdAt, HOUR)
  t.equal(expiresAt - createdAt, 30 * MINUTE, 'unused it ends as any session')
  t.equal(remembered, false)
  for (let minute = 0; minute < 59; minute += 20) {
    later(20 * MINUTE - 1)
    t.equal((await carol.get('/me')).statusCode, 200)
  }
  later(3)
  t.equal((await carol.get('/me')).statusCode, 401, 'however busy')
  const helped = new Browser(app)
  const { session } = (await helped.post('/login', { username: 'helped', password: 'x', remember: true })).json()
  t.match(session, { actor: 'carol' }, 'what a form asks for is not for who acts')
  t.match(await app.sessions.get(session.id), { remembered: false, endsAt: session.createdAt + HOUR })
})

t.test('a sign-in may say how long somebody acts, up to what the plugin allows anybody', async (t) => {
  const lives = async (options: Options): Promise<unknown> => {
    const { carol } = await open(t, options)
    const reply = await carol.post('/act')
    const { createdAt, endsAt, expiresAt, message } = reply.json()
    return reply.statusCode === 200 ? [endsAt - createdAt, expiresAt - createdAt] : message
  }
  t.strictSame(await lives({ idleTimeout: '2h' }), [HOUR, HOUR], 'idle, no longer than in all')
  t.strictSame(await lives({ idleTimeout: '5m', absoluteTimeout: '20m' }), [20 * MINUTE, 5 * MINUTE])
  t.strictSame(await lives({ acting: { idleTimeout: '5m', absoluteTimeout: '8h' } }), [8 * HOUR, 5 * MINUTE])
  t.strictSame(await lives({ acting: { absoluteTimeout: '10m' } }), [10 * MINUTE, 10 * MINUTE])
  const says = 'is longer than that of the plugin: somebody acts as the user'
  t.equal(await lives({ acting: { absoluteTimeout: '8d' } }), `absoluteTimeout ${says}`)
  t.equal(await lives({ acting: { idleTimeout: '31m' } }), `idleTimeout ${says}`)
  t.equal(await lives({ acting: { remember: true } }), 'remember must not be true where somebody acts as the user')
  t.strictSame(await lives({ acting: { remember: false } }), [HOUR, 30 * MINUTE])
})

t.test('[7.5.1, 7.5.2] who acts as a user passes no route that asks for a recent sign-in, and ends no session but this one', async (t) => {
  for (const routes of [{}, { recentLogin: false, exemptBearer: true }] as const) {
    const { app, carol } = await open(t, { routes })
    const ada = new Browser(app)
    const own = (await ada.post('/login', ADA)).json().session.id as string
    const { id } = (await carol.post('/act')).json<SessionInfo>()
    app.lines.length = 0
    t.strictSame((await carol.post('/password')).json(), REFUSAL)
    t.match(app.lines.find((line) => 'reason' in line), { level: 20, reason: 'impersonated' })
    for (const url of ['/sessions', `/sessions/${own}`]) t.strictSame((await carol.request('DELETE', url)).json(), REFUSAL)
    const { headers } = await app.sessions.create({ userId: 'ada', kind: 'bearer', actor: 'carol' })
    const byToken = await app.inject({ method: 'DELETE', url: '/sessions', headers: { ...headers } })
    t.strictSame(byToken.json(), REFUSAL)
    t.equal((await ada.get('/me')).statusCode, 200)
    t.equal((await carol.request('DELETE', `/sessions/${id}`)).statusCode, 204)
    t.equal((await carol.get('/me')).statusCode, 401)
    t.strictSame(carol.cookies.size, 0)
  }
})

t.test('nothing but a sign-in that says so makes it the user\'s own session, or lets it last longer', async (t) => {
  for (const [url, userId] of [['/assign?id=ada', 'ada'], ['/assign?id=bob', 'bob'], ['/user', 'ada'], ['/rotate', 'ada'], ['/again', 'ada'], ['/save', 'ada']] as const) {
    const { carol, me, age: later } = await open(t)
    const begun = (await carol.post('/act')).json<SessionInfo>()
    later(10 * MINUTE)
    for (let again = 0; again < 2; again++) t.equal((await carol.post(url)).statusCode, 200, url)
    const { endsAt } = begun
    t.match(await me(), { userId, actor: 'carol', endsAt, remembered: false }, url)
    t.strictSame((await carol.post('/password')).json(), REFUSAL, url)
    later(25 * MINUTE)
    t.equal((await carol.get('/me')).statusCode, 200)
    later(25 * MINUTE)
    t.equal((await carol.get('/me')).statusCode, 401, url)
  }
})

t.test('a login of the same user that names no actor is refused while somebody acts, and nothing changes', async (t) => {
  const { app, carol, me } = await open(t)
  app.post('/code', { preHandler: app.authenticate }, async (request) => {
    const { userId, methods } = request.requireAuth()
    await app.login(request, { id: userId }, { methods: [...methods, 'otp'] })
  })
  app.post('/left', async (request) => {
    delete request.session.userId
    await app.login(request, { id: 'ada' })
  })
  app.post('/carol', async (request) => await app.login(request, { id: 'carol' }))
  const { id } = (await carol.post('/act')).json<SessionInfo>()
  for (const url of ['/code', '/left', '/login']) {
    t.strictSame((await carol.post(url, url === '/login' ? ADA : undefined)).json(), REFUSAL, url)
    if (url === '/left') await carol.post('/act')
    t.match(await me(), { actor: 'carol', ...url === '/code' && { id } })
  }
  t.match(await app.sessions.listByUser('ada'), [{ actor: 'carol' }])
  t.match((await carol.post('/act')).json(), { userId: 'ada', actor: 'carol' }, 'who says it may go on')
  t.match((await carol.post('/carol')).json(), { userId: 'carol', actor: null }, 'another user may sign in')
})

t.test('an actor counts that options inherit or compute, and so do timeouts', async (t) => {
  class Acting {
    get actor (): string { return 'carol' }
    get absoluteTimeout (): string { return '10m' }
  }
  class ActingBy { get actor (): undefined { return undefined } }
  const inherits = Object.create({ actor: 'carol', absoluteTimeout: '10m' }) as LoginOptions
  for (const options of [new Acting(), inherits, Object.assign(Object.create(null) as object, { actor: 'carol', absoluteTimeout: '10m' })] as LoginOptions[]) {
    const app = await startApp(t, { bearer: true })
    await app.register(authRoutes, { verify: ({ username }) => ({ id: username }), onLogin: () => options })
    app.post('/act', async (request) => await app.login(request, { id: 'ada' }, options))
    const carol = new Browser(app)
    const begun: SessionInfo[] = [
      (await carol.post('/act')).json(),
      (await carol.post('/login', { ...ADA, remember: true })).json().session,
      (await carol.post('/token', ADA)).json().session,
      (await app.sessions.create(Object.assign(Object.create(options) as object, { userId: 'ada' }))).session
    ]
    for (const { actor, createdAt, endsAt } of begun) t.strictSame([actor, endsAt - createdAt], ['carol', 10 * MINUTE])
  }
  const { app, carol } = await open(t)
  const options = new ActingBy() as unknown as LoginOptions
  app.post('/nobody', async (request) => await app.login(request, { id: 'ada' }, options))
  t.match((await carol.post('/nobody')).json(), { statusCode: 500, message: /^actor must be a text/ })
})

t.test('signing out ends it, and whoever signs in then is themselves', async (t) => {
  const { carol, me } = await open(t)
  await carol.post('/act')
  await carol.post('/logout')
  t.equal((await carol.get('/me')).statusCode, 401)
  await carol.post('/assign?id=carol')
  t.match(await me(), { userId: 'carol', actor: null })
  t.equal((await carol.post('/password')).statusCode, 200)
})

t.test('a sign-in of the user takes nothing over from who acted, nor the other way round', async (t) => {
  const { carol, me } = await open(t, { acting: { label: 'a case of support', meta: { case: 7 } } })
  await carol.post('/act')
  await carol.post('/assign?id=ada')
  t.match(await me(), { label: 'a case of support', meta: { case: 7 } })
  await carol.post('/logout')
  await carol.post('/login', ADA)
  t.match(await me(), { actor: null, label: 'own', meta: { own: true } })
  const other = await open(t)
  await other.carol.post('/login', ADA)
  await other.carol.post('/act')
  t.match(await other.me(), { actor: 'carol', label: null, meta: null })
  await other.carol.post('/assign?id=ada')
  t.match(await other.me(), { actor: 'carol', label: null, meta: null })
})

t.test('who acts takes no place of the user\'s own sessions', async (t) => {
  for (const onLimit of ['reject', 'evict-oldest'] as const) {
    const { app, carol, me } = await open(t, { maxSessionsPerUser: 1, onLimit })
    const ada = new Browser(app)
    await ada.post('/login', ADA)
    await carol.post('/act')
    await carol.post('/assign?id=ada')
    t.match(await me(), { actor: 'carol' })
    t.equal((await ada.get('/me')).statusCode, 200)
    const phone = new Browser(app)
    t.equal((await phone.post('/login', ADA)).statusCode, onLimit === 'reject' ? 409 : 200)
    t.equal((await ada.get('/me')).statusCode, onLimit === 'reject' ? 200 : 401)
    t.equal((await carol.get('/me')).statusCode, 200)
  }
})

t.test('an actor that is none is refused, also one that is not there: nobody gets the user\'s own session by mistake', async (t) => {
  const { app, carol } = await open(t)
  let actor: unknown
  app.post('/try', async (request) => await app.login(request, { id: 'ada' }, { actor: actor as string }))
  const message = 'actor must be a text of 1 to 255 characters without control characters'
  for (actor of [undefined, null, '', 1, {}, ['carol'], 'a\nb', '\u001b[2J', '\u2028', '\ud800', 'x'.repeat(256)]) {
    t.match((await carol.post('/try')).json(), { statusCode: 500, message })
    await t.rejects(app.sessions.create({ userId: 'ada', actor: actor as string }), { name: 'TypeError', message })
  }
  t.strictSame(await app.sessions.listByUser('ada'), [])
  actor = 'ü'.repeat(255)
  t.equal((await carol.post('/try')).json().actor, actor)
})

t.test('Redis keeps who acts, and tells of the end as of any cookie\'s session', async (t) => {
  const redis = await startRedis(t)
  const options = { redis: redis.url, keyPrefix: prefix(), maxSessionsPerUser: 1 }
  const { carol } = await open(t, { ...options, nearCache: true })
  const { app: other } = await open(t, options)
  const ended: SessionEvent[] = []
  for (const name of ['expired', 'revoked'] as const) other.sessions.on(name, (event) => { ended.push(event) })
  const { id } = (await carol.post('/act')).json<SessionInfo>()
  t.match(await other.sessions.listByUser('ada'), [{ id, actor: 'carol' }])
  await age(redis.client, options.keyPrefix, HOUR + MINUTE)
  await until('the event', async () => {
    await other.sessions.listByUser('ada')
    return ended.length > 0
  })
  t.match(ended, [{ id, reason: null, kind: 'cookie' }])
  await carol.post('/act')
  await other.sessions.create({ userId: 'ada' })
  t.equal((await other.sessions.listByUser('ada')).length, 2)
})

t.test('beside an Express app nobody can act as a user: it would take them for the user', async (t) => {
  const redis = await startRedis(t)
  const { app, carol } = await open(t, { redis: redis.url, keyPrefix: prefix(), expressSession: 'share' })
  t.match((await carol.post('/act')).json(), { code: 'ERR_SESSION_UNSUPPORTED' })
  t.strictSame(await app.sessions.listByUser('ada'), [])
})
