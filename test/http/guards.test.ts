import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authenticate, authenticatePage, MemoryStore, requireAuth, requireRecentLogin, sessionPlugin } from '../../lib/index.ts'
import type { Duration, SessionOptions } from '../../lib/index.ts'
import { secret, startApp } from '../helpers/app.ts'
import { MINUTE } from '../helpers/record.ts'
import { listen, Visitor } from '../helpers/visitor.ts'

/*
 * The guards as they are imported. They are named here, where there is no application yet, as in a file of routes.
 */

const GUARDS = { authenticate, requireAuth, recent: requireRecentLogin('10m') }
const HOOKS = ['onRequest', 'preParsing', 'preValidation', 'preHandler'] as const
const SKIPPED = {
  statusCode: 500,
  code: 'ERR_SESSION_SKIPPED',
  error: 'Internal Server Error',
  message: 'The session is not loaded here: sessionPlugin is not registered in this context or above: await app.register(sessionPlugin, …) first'
}

/** Adds a route for each guard in each hook, and one for each called by hand, awaited or not. Returns their paths. */
function addRoutes (app: FastifyInstance): string[] {
  const paths: string[] = []
  for (const [name, guard] of Object.entries(GUARDS)) {
    for (const hook of HOOKS) {
      app.post(`/${name}/${hook}`, { [hook]: guard }, async () => 'a secret')
      app.post(`/${name}/${hook}/first`, { [hook]: [guard as typeof authenticate, authenticate] }, async () => 'a secret')
      paths.push(`/${name}/${hook}`, `/${name}/${hook}/first`)
    }
    const byHand = guard as (...args: unknown[]) => unknown
    app.post(`/${name}/awaited`, async (request, reply) => {
      await byHand(request, reply)
      return 'a secret'
    })
    app.post(`/${name}/unawaited`, async (request, reply) => {
      void byHand(request, reply)
      return 'a secret'
    })
    app.post(`/${name}/callback`, (request, reply) => {
      void byHand(request, reply)
      reply.send('a secret')
    })
    paths.push(`/${name}/awaited`, `/${name}/unawaited`, `/${name}/callback`)
  }
  return paths
}

async function signIn (app: FastifyInstance, path = '/login', userId = 'ada'): Promise<void> {
  app.post(path, async (request) => { await app.login(request, { id: userId }) })
}

/** What ends a process, from now on. */
function watchProcess (t: Test): string[] {
  const thrown: string[] = []
  const onThrow = (error: Error): void => { thrown.push(error.message) }
  for (const event of ['uncaughtException', 'unhandledRejection']) {
    process.on(event, onThrow)
    t.teardown(() => { process.off(event, onThrow) })
  }
  return thrown
}

/** The answers to a visitor, by path. */
async function answers (visitor: Visitor, paths: string[]): Promise<Record<string, string>> {
  const seen: Record<string, string> = {}
  for (const path of paths) {
    const { status, body } = await visitor.post(path)
    seen[path] = status === 200 ? body : `${status} ${JSON.parse(body).code}`
  }
  return seen
}

const all = (paths: string[], answer: string): Record<string, string> => Object.fromEntries(paths.map((path) => [path, answer]))

t.test('a guard that a file of routes imports lets in who is signed in, and nobody else, in every hook and by hand', async (t) => {
  const thrown = watchProcess(t)
  const app = await startApp(t)
  let paths: string[] = []
  await app.register(async (scope) => { paths = addRoutes(scope) })
  await signIn(app)
  const visitor = new Visitor(await listen(app))
  t.strictSame(await answers(visitor, paths), all(paths, '401 ERR_SESSION_UNAUTHENTICATED'))
  await visitor.post('/login')
  t.strictSame(await answers(visitor, paths), all(paths, 'a secret'))
  t.strictSame(thrown, [])
})

t.test('a guard holds in a route that is older than the registration, where app.authenticate is undefined', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  t.equal(app.authenticate, undefined)
  const paths = addRoutes(app)
  void app.register(sessionPlugin, { secret, cookie: { secure: false } })
  app.after(() => signIn(app))
  const visitor = new Visitor(await listen(app))
  t.strictSame(await answers(visitor, paths), all(paths, '401 ERR_SESSION_UNAUTHENTICATED'))
  await visitor.post('/login')
  t.strictSame(await answers(visitor, paths), all(paths, 'a secret'))
})

t.test('a guard of all routes of a context holds for what is not found there, too', async (t) => {
  const app = await startApp(t)
  await app.register(async (scope) => {
    scope.addHook('onRequest', authenticate)
    scope.setNotFoundHandler({ preHandler: authenticate }, async () => 'not here')
    scope.get('/', async () => 'a secret')
  }, { prefix: '/staff' })
  await signIn(app)
  const visitor = new Visitor(await listen(app))
  for (const path of ['/staff', '/staff/nothing']) t.equal((await visitor.get(path)).status, 401)
  await visitor.post('/login')
  t.equal((await visitor.get('/staff')).body, 'a secret')
  t.equal((await visitor.get('/staff/nothing')).body, 'not here')
})

t.test('of two registrations each request meets its own', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const open = async (name: string, options: Partial<SessionOptions>) => await app.register(async (scope) => {
    await scope.register(sessionPlugin, { secret, cookie: { secure: false }, cookieName: `${name}-sid`, ...options })
    scope.get('/me', { preHandler: authenticate }, async (request) => requireAuth(request).userId)
    await scope.register(async (below) => {
      below.get('/recent', { onRequest: requireRecentLogin('10m') }, async (request) => requireAuth(request).userId)
    })
    await signIn(scope, '/login', name)
  }, { prefix: `/${name}` })
  await open('shop', {})
  await open('office', {})
  const visitor = new Visitor(await listen(app))
  await visitor.post('/shop/login')
  for (const path of ['/shop/me', '/shop/recent']) t.equal((await visitor.get(path)).body, 'shop')
  for (const path of ['/office/me', '/office/recent']) t.equal((await visitor.get(path)).status, 401)
  await visitor.post('/office/login')
  for (const path of ['/office/me', '/office/recent']) t.equal((await visitor.get(path)).body, 'office')
  for (const path of ['/shop/me', '/shop/recent']) t.equal((await visitor.get(path)).body, 'shop')
})

t.test('a wrapper that passes its arguments on to a guard has its own say after it', async (t) => {
  const app = await startApp(t)
  await signIn(app)
  let runs = 0
  for (const [name, guard] of Object.entries({ authenticate, recent: requireRecentLogin('10m'), authenticatePage })) {
    const onlyGrace = async (...args: Parameters<typeof guard>): Promise<void> => {
      await guard(...args)
      if (args[0].requireAuth().userId !== 'grace') throw Object.assign(new Error('not you'), { statusCode: 403 })
    }
    app.post(`/${name}`, { preHandler: onlyGrace }, async () => { runs++ })
  }
  const visitor = new Visitor(await listen(app))
  await visitor.post('/login')
  for (const path of ['/authenticate', '/recent', '/authenticatePage']) t.equal((await visitor.post(path)).status, 403)
  t.equal(runs, 0)
})

t.test('a guard needs no name on the application', async (t) => {
  const app = await startApp(t, { decorators: { authenticate: 'isUser', requireAuth: 'user', auth: 'who', requireRecentLogin: 'isRecent' } })
  const paths = addRoutes(app)
  await signIn(app)
  const visitor = new Visitor(await listen(app))
  t.strictSame(await answers(visitor, paths), all(paths, '401 ERR_SESSION_UNAUTHENTICATED'))
  await visitor.post('/login')
  t.strictSame(await answers(visitor, paths), all(paths, 'a secret'))
})

const elsewhere: Record<string, (app: FastifyInstance, add: (app: FastifyInstance) => void) => unknown> = {
  'where the plugin is not registered at all': (app, add) => add(app),
  'beside the context that the plugin is registered in': async (app, add) => {
    await app.register(async (scope) => { await scope.register(sessionPlugin, { secret, cookie: { secure: false } }) })
    add(app)
  },
  'in a context that is older than the registration': async (app, add) => {
    await app.register(async (scope) => add(scope))
    await app.register(sessionPlugin, { secret, cookie: { secure: false } })
  }
}

for (const [where, open] of Object.entries(elsewhere)) {
  t.test(`${where} a guard lets nobody in, and says what is missing`, async (t) => {
    const thrown = watchProcess(t)
    const app = Fastify()
    t.teardown(() => app.close())
    let paths: string[] = []
    await open(app, (scope) => { paths = addRoutes(scope) })
    const visitor = new Visitor(await listen(app))
    t.ok(paths.length > 0)
    t.strictSame(await answers(visitor, paths), all(paths, '500 ERR_SESSION_SKIPPED'))
    for (const path of paths) t.strictSame(JSON.parse((await visitor.post(path)).body), SKIPPED)
    t.strictSame(thrown, [])
  })
}

t.test('a hook for all routes that is older than the registration lets nobody in', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  app.addHook('onRequest', async (request, reply) => {
    if (request.url !== '/login') await authenticate(request, reply)
  })
  await app.register(sessionPlugin, { secret, cookie: { secure: false } })
  app.get('/', async () => 'a secret')
  await signIn(app)
  const visitor = new Visitor(await listen(app))
  t.equal((await visitor.get('/')).status, 401)
  await visitor.post('/login')
  t.equal(JSON.parse((await visitor.get('/')).body).message, 'The session is not loaded yet: register the plugin before the hook that reads it')
})

t.test('what is no request is no request of any context', async (t) => {
  const app = await startApp(t)
  const wrong: unknown[] = []
  app.get('/', async (request, reply) => {
    wrong.push({ ...request }, reply, request.raw, app)
    return 'ok'
  })
  await app.inject('/')
  for (const each of [undefined, null, 'ada', {}, { headers: {} }, ...wrong] as FastifyRequest[]) {
    for (const guard of Object.values(GUARDS)) {
      t.throws(() => (guard as typeof requireAuth)(each), { name: 'TypeError', message: 'request must be a Fastify request of a context that the plugin is registered in' })
    }
  }
})

t.test('a guard for a recent sign-in is refused where it is made, if its time is none', async (t) => {
  for (const wrong of ['10x', '', 'soon', -1, 0, NaN, undefined, null, {}] as Duration[]) t.throws(() => requireRecentLogin(wrong), TypeError)
  const app = await startApp(t)
  // As by mistake: the guard has to be made first.
  app.get('/', { preHandler: requireRecentLogin as never }, async () => 'a secret')
  t.equal((await app.inject('/')).statusCode, 500)
})

t.test('[7.5.1] an imported guard for a recent sign-in goes by the clock of the store', async (t) => {
  let now = Date.now()
  const app = await startApp(t, { store: new MemoryStore({ now: () => now }) })
  app.post('/password', { preHandler: GUARDS.recent }, async () => 'changed')
  await signIn(app)
  const visitor = new Visitor(await listen(app))
  await visitor.post('/login')
  now += 10 * MINUTE
  t.equal((await visitor.post('/password')).body, 'changed')
  now += 1
  t.equal(JSON.parse((await visitor.post('/password')).body).code, 'ERR_SESSION_REAUTH_REQUIRED')
})

t.test('the guards of the application are those that are imported', async (t) => {
  const app = await startApp(t)
  t.equal(app.authenticate, authenticate)
  t.equal(app.requireRecentLogin, requireRecentLogin)
})
