import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, MemoryStore, requireRecentLogin, sessionRoutes } from '../../lib/index.ts'
import type { SessionError, SessionOptions } from '../../lib/index.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { MINUTE } from '../helpers/record.ts'
import { prefix, startRedis } from '../helpers/redis.ts'

const ADA = { username: 'ada', password: 'lovelace' }

/** An application whose sign-ins say how: `/login` by a password, `/code` by a code besides. */
async function open (t: Test, options: Partial<SessionOptions> = {}) {
  let now = Date.now()
  const app = await startApp(t, { ...options.redis === undefined && { store: new MemoryStore({ now: () => now }) }, bearer: true, touchAfter: 0, ...options })
  const refused: SessionError[] = []
  app.setErrorHandler(async (error: SessionError, _request, reply) => {
    refused.push(error)
    return reply.code(error.statusCode).send(error.extensions)
  })
  await app.register(authRoutes, { verify: ({ username }) => ({ id: username }), onLogin: () => ({ methods: ['pwd'] }) })
  await app.register(sessionRoutes, { prefix: '/sessions' })
  app.post('/code', async (request) => {
    const { userId, methods } = request.requireAuth()
    return await app.login(request, { id: userId }, { methods: [...methods, 'otp'] })
  })
  app.post('/plain', async (request) => await app.login(request, { id: 'ada' }))
  app.post('/assign', async ({ session }) => { session.userId = 'ada' })
  app.post('/rotate', async ({ session }) => { await session.regenerate(['userId']) })
  app.post('/pay', { preHandler: app.requireRecentLogin('5m', { methods: ['otp'] }) }, async () => 'paid')
  app.post('/both', { preHandler: requireRecentLogin('5m', { methods: ['otp', 'pwd', 'otp'] }) }, async () => 'paid')
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth())
  const ada = new Browser(app)
  const methods = async (): Promise<unknown> => (await ada.get('/me')).json().methods
  return { app, ada, methods, refused, age: (ms: number) => { now += ms } }
}

t.test('how somebody signed in is known from then on, to their requests, in lists and outside of requests', async (t) => {
  const { app, ada, methods } = await open(t)
  t.strictSame((await ada.post('/login', ADA)).json().session.methods, ['pwd'])
  t.strictSame(await methods(), ['pwd'])
  await ada.post('/code')
  t.strictSame(await methods(), ['pwd', 'otp'])
  t.strictSame((await ada.get('/sessions')).json()[0].methods, ['pwd', 'otp'])
  t.strictSame((await app.sessions.listByUser('ada')).map((session) => session.methods), [['pwd', 'otp']])
  const { token } = (await new Browser(app).post('/token', ADA)).json()
  t.strictSame((await app.sessions.find(token))?.methods, ['pwd'])
  const { session } = await app.sessions.create({ userId: 'ada', methods: ['hwk', 'pin', 'hwk'] })
  t.strictSame(session.methods, ['hwk', 'pin'], 'each once')
  t.throws(() => (session.methods as string[]).push('otp'), TypeError)
  t.strictSame((await app.sessions.create({ userId: 'ada', methods: [] })).session.methods, [])
})

t.test('[7.5.3] each sign-in names all of its methods: nothing is left of those before it', async (t) => {
  const { ada, methods } = await open(t)
  for (const weaker of ['/plain', '/assign']) {
    await ada.post('/login', ADA)
    await ada.post('/code')
    await ada.post('/rotate')
    t.strictSame(await methods(), ['pwd', 'otp'], 'a new id is no sign-in')
    await ada.post(weaker)
    t.strictSame(await methods(), [], weaker)
    t.equal((await ada.post('/pay')).statusCode, 401)
  }
})

t.test('[7.5.3] who has not signed in by all methods that a route asks for is told which', async (t) => {
  const { app, ada, age } = await open(t)
  const refusal = { code: 'ERR_SESSION_REAUTH_REQUIRED', methods: ['otp'] }
  await ada.post('/login', ADA)
  app.lines.length = 0
  const reply = await ada.post('/pay')
  t.equal(reply.statusCode, 401)
  t.strictSame(reply.json(), refusal)
  t.match(app.lines.find((line) => 'reason' in line), { level: 20, reason: 'missing-methods' })
  t.strictSame((await ada.post('/both')).json().methods, ['otp', 'pwd'])
  await ada.post('/code')
  for (const url of ['/pay', '/both']) t.equal((await ada.post(url)).statusCode, 200)
  age(5 * MINUTE + 1)
  app.lines.length = 0
  t.strictSame((await ada.post('/pay')).json(), refusal, 'also where it was too long ago')
  t.match(app.lines.find((line) => 'reason' in line), { reason: 'old-sign-in' })
  t.strictSame((await ada.post('/pay')).json(), refusal)
  const other = new Browser(app)
  await other.post('/plain')
  await other.post('/code')
  t.equal((await other.post('/pay')).statusCode, 200)
  t.equal((await other.post('/both')).statusCode, 401, 'one of two is not all')
  t.strictSame((await new Browser(app).post('/pay')).json(), { code: 'ERR_SESSION_UNAUTHENTICATED' })
})

t.test('what an error handler does with the methods of one refusal changes no other', async (t) => {
  const { ada, refused } = await open(t)
  await ada.post('/login', ADA)
  await ada.post('/pay')
  const told = refused[0]?.extensions.methods as string[]
  told.length = 0
  t.strictSame((await ada.post('/pay')).json().methods, ['otp'])
  await ada.post('/code')
  t.equal((await ada.post('/pay')).statusCode, 200)
})

t.test('methods that are none are refused where they are written, and nobody is signed in', async (t) => {
  const { app, ada } = await open(t)
  const wrong: unknown[] = [
    null, 'otp', 1, {}, new Set(['otp']), [''], [null], [undefined], [['otp']], ['two words'], ['tab\t'], ['a\nb'], ['ü'],
    ['\u001b[2J'], ['x'.repeat(33)], Array.from({ length: 11 }, (_, index) => `m${index}`), new Array(3), new Array(2 ** 32 - 1)
  ]
  let given: unknown
  app.post('/try', async (request) => await app.login(request, { id: 'ada' }, { methods: given as string[] }))
  const message = /^methods must be an array of at most 10 names, each of 1 to 32 characters of ASCII without a space$/
  for (given of wrong) {
    t.equal((await ada.post('/try')).statusCode, 500)
    await t.rejects(app.sessions.create({ userId: 'ada', methods: given as string[] }), { name: 'TypeError', message })
    t.throws(() => app.requireRecentLogin('5m', { methods: given as string[] }), { name: 'TypeError', message })
  }
  t.throws(() => requireRecentLogin('5m', { methods: [] }), { name: 'TypeError', message: /^methods must name one/ })
  t.throws(() => requireRecentLogin('5m', { method: ['otp'] } as object), { name: 'TypeError', message: /^options must have no members but methods$/ })
  t.throws(() => requireRecentLogin('5m', ['otp'] as object), { name: 'TypeError', message: /^options must/ })
  t.strictSame(await app.sessions.listByUser('ada'), [])
  given = Array.from({ length: 10 }, (_, index) => `${index}`.padEnd(32, '!'))
  t.strictSame((await ada.post('/try')).json().methods, given)
})

t.test('methods are kept in Redis, also where a process answers from its own copy', async (t) => {
  const redis = await startRedis(t)
  const options = { redis: redis.url, keyPrefix: prefix() }
  const { ada, methods } = await open(t, { ...options, nearCache: true })
  const { app: other } = await open(t, options)
  await ada.post('/login', ADA)
  await ada.post('/code')
  for (let again = 0; again < 3; again++) t.strictSame(await methods(), ['pwd', 'otp'])
  t.strictSame((await other.sessions.listByUser('ada')).map((session) => session.methods), [['pwd', 'otp']])
})
