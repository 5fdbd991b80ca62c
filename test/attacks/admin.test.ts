import formbody from '@fastify/formbody'
import type { FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { adminRoutes, authenticate, MemoryStore, requireAuth } from '../../lib/index.ts'
import type { AdminRoutesOptions, SessionOptions } from '../../lib/index.ts'
import { startApp } from '../helpers/app.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { listen, Reader, Visitor } from '../helpers/visitor.ts'

/*
 * People who are no administrators, and guards that are wrong. Over sockets: only there it shows what goes on behind a
 * reply that has gone out.
 */

interface Site {
  app: Awaited<ReturnType<typeof startApp>>
  /** A browser in which this user signed in. */
  signIn: (userId: string) => Promise<Visitor>
  url: string
}

async function open (t: Test, guard: AdminRoutesOptions['guard'], options: Partial<SessionOptions> = {}): Promise<Site> {
  const app = await startApp(t, { store: new MemoryStore(), bearer: true, ...options }, { forceCloseConnections: true })
  await app.register(formbody)
  app.addHook('onSend', async (_request, _reply, payload) => {
    // Something that a reply waits for.
    await new Promise((resolve) => { setImmediate(resolve) })
    return payload
  })
  await app.register(adminRoutes, { prefix: '/admin', guard, actor: () => 'somebody' })
  app.post<{ Params: { userId: string } }>('/login/:userId', async (request) => { await app.login(request, { id: request.params.userId }) })
  app.get('/me', { preHandler: app.authenticate }, async () => {})
  const url = await listen(app)
  const signIn = async (userId: string) => {
    const visitor = new Visitor(url)
    t.equal((await visitor.post(`/login/${userId}`)).status, 200)
    return visitor
  }
  return { app, signIn, url }
}

const isAdmin = (request: FastifyRequest): boolean => request.auth?.userId === 'root'
const idOf = (visitor: Visitor): string => visitor.cookies.get('sid')?.split('.')[0] ?? ''
const lives = async (visitor: Visitor): Promise<boolean> => (await visitor.get('/me')).status === 200
const refusal = (): Error => Object.assign(new Error('refused'), { statusCode: 403 })
const forbid = (): never => { throw refusal() }
const right: AdminRoutesOptions['guard'] = async (request) => { if (!isAdmin(request)) forbid() }

/** Everything that ends ada's session, asked for by this visitor. */
async function endAll (visitor: Visitor, ada: Visitor, headers: Record<string, string> = {}): Promise<number[]> {
  return [
    (await visitor.request('DELETE', `/admin/sessions/${idOf(ada)}`, headers)).status,
    (await visitor.request('DELETE', '/admin/sessions?userId=ada', headers)).status,
    (await visitor.form(`/admin/sessions/${idOf(ada)}/revoke`, { reason: 'x' }, headers)).status,
    (await visitor.form('/admin/sessions/revoke', { userId: 'ada' }, headers)).status
  ]
}

const redis = await startRedis(t)
const STORES: Record<string, () => Partial<SessionOptions>> = {
  memory: () => ({}),
  Redis: () => ({ store: undefined, redis: redis.url, keyPrefix: prefix() })
}

/** Guards whose author forgot something. Each refuses with a reply, or is noticed at once. */
const FORGETFUL: Record<string, [status: number, statusOfRoot: number, guard: AdminRoutesOptions['guard']]> = {
  'sends a reply and does not return it': [403, 200, async (request, reply) => {
    if (!isAdmin(request)) void reply.code(403).send({ refused: true })
  }],
  'sends a reply and calls back': [403, 200, (request, reply, done) => {
    if (!isAdmin(request)) void reply.code(403).send({ refused: true })
    done()
  }],
  'redirects, and goes on': [302, 200, async (request, reply) => {
    if (!isAdmin(request)) void reply.redirect('/')
  }],
  'passes its arguments on to a guard of this package first': [403, 200, async (...args: unknown[]) => {
    await (authenticate as (...args: unknown[]) => Promise<void>)(...args)
    if (!isAdmin(args[0] as FastifyRequest)) forbid()
  }],
  'sends an error in the name of another function': [403, 200, async (request, reply) => {
    await refuseOthers(request, reply)
  }],
  'returns whether it is an administrator': [500, 500, async (request) => isAdmin(request)],
  'returns it at once': [500, 500, (request) => isAdmin(request)]
}

async function refuseOthers (request: FastifyRequest, reply: FastifyReply): Promise<void> {
  if (!isAdmin(request)) void reply.code(403).send(new Error('refused'))
}

for (const [name, options] of Object.entries(STORES)) {
  t.test(`[7.4.5] ${name}: a user who is no administrator ends nobody's session, with a cookie, a token and nothing`, async (t) => {
    const { app, signIn, url } = await open(t, right, options())
    const [ada, mallory, anonymous] = [await signIn('ada'), await signIn('mallory'), new Visitor(url)]
    const { headers } = await app.sessions.create({ userId: 'mallory', kind: 'bearer' })
    t.strictSame(await endAll(mallory, ada), [403, 403, 403, 403])
    t.strictSame(await endAll(anonymous, ada), [403, 403, 403, 403])
    t.strictSame(await endAll(anonymous, ada, headers as Record<string, string>), [403, 403, 403, 403])
    t.equal((await mallory.get('/admin/sessions?userId=ada')).status, 403)
    t.equal((await mallory.request('DELETE', `/admin/sessions/${idOf(mallory)}`)).status, 403, 'not even their own')
    for (const each of [ada, mallory]) t.equal(await lives(each), true)
  })

  for (const [what, [status, statusOfRoot, guard]] of Object.entries(FORGETFUL)) {
    t.test(`[7.4.5] ${name}: nothing ends behind a guard that ${what}`, async (t) => {
      const { app, signIn } = await open(t, guard, options())
      const [ada, mallory, root] = [await signIn('ada'), await signIn('mallory'), await signIn('root')]
      t.strictSame(await endAll(mallory, ada), [status, status, status, status])
      t.notMatch((await mallory.get('/admin/sessions?userId=ada')).body, idOf(ada))
      t.equal(await lives(ada), true)
      t.equal((await root.get('/admin/sessions?userId=ada')).status, statusOfRoot)
      // Nothing is left that would still be done.
      await app.close()
    })
  }
}

/** Guards that are not `async`, and of which nobody can tell by their parameters that they answer later. */
const LATE: Record<string, [statusOfRoot: number | null, guard: AdminRoutesOptions['guard']]> = {
  'calls back by the rest of its parameters': [200, (...args) => {
    setImmediate(() => { args[2](isAdmin(args[0]) ? undefined : refusal()) })
  }],
  'has a default for its callback': [200, (request, _reply, done = () => {}) => {
    setImmediate(() => { done(isAdmin(request) ? undefined : refusal()) })
  }],
  'sends its reply later': [null, (request, reply) => {
    if (!isAdmin(request)) setImmediate(() => { void reply.code(403).send({ refused: true }) })
  }],
  'sends its reply at once': [null, (request, reply) => {
    if (!isAdmin(request)) void reply.code(403).send({ refused: true })
  }]
}

for (const [what, [statusOfRoot, guard]] of Object.entries(LATE)) {
  t.test(`[7.4.5] nothing ends before a guard has answered that is not async, and ${what}`, async (t) => {
    const { signIn } = await open(t, guard)
    const [ada, mallory, root] = [await signIn('ada'), await signIn('mallory'), await signIn('root')]
    t.strictSame(await endAll(mallory, ada), [403, 403, 403, 403])
    t.notMatch((await mallory.get('/admin/sessions?userId=ada')).body, idOf(ada))
    t.equal(await lives(ada), true)
    if (statusOfRoot !== null) t.equal((await root.get('/admin/sessions?userId=ada')).status, statusOfRoot)
  })
}

t.test('[7.4.5] a guard that is not async and never calls back lets nobody pass, and the log says so once', async (t) => {
  let asked = 0
  const { app, signIn } = await open(t, () => { asked++ })
  const [ada, root] = [await signIn('ada'), await signIn('root')]
  const answers = Promise.allSettled([1, 2].map(async () => await root.request('DELETE', `/admin/sessions/${idOf(ada)}`)))
  await until('the guard to be asked', () => asked === 2)
  t.equal(await lives(ada), true)
  await app.close()
  t.strictSame((await answers).map(({ status }) => status), ['rejected', 'rejected'], 'and no request had a reply')
  t.equal(app.lines.filter(({ msg }) => msg.startsWith('a guard of adminRoutes is not async')).length, 1)
})

t.test('[7.4.5] requireAuth as a guard lets pass who is signed in, and nobody else', async (t) => {
  const { signIn, url } = await open(t, requireAuth)
  const [ada, bob] = [await signIn('ada'), await signIn('bob')]
  t.strictSame(await endAll(new Reader(url), ada), [401, 401, 401, 401])
  t.equal(await lives(ada), true)
  t.equal((await bob.request('DELETE', `/admin/sessions/${idOf(ada)}`)).status, 204)
})

t.test('[7.4.5] nothing ends behind a guard that calls the guards of this package and awaits none of them', async (t) => {
  const guards: Record<string, [status: number, guard: AdminRoutesOptions['guard']]> = {
    authenticate: [401, async (request, reply) => { void request.server.authenticate(request, reply) }],
    authenticatePage: [303, async (request, reply) => { void request.server.authenticatePage(request, reply) }],
    requireRecentLogin: [401, async (request, reply) => { void request.server.requireRecentLogin('1m')(request, reply) }]
  }
  for (const [name, [status, guard]] of Object.entries(guards)) {
    const { signIn, url } = await open(t, guard)
    const ada = await signIn('ada')
    t.strictSame(await endAll(new Reader(url), ada), [status, status, status, status], name)
    t.equal(await lives(ada), true, name)
  }
})

t.test('[7.4.5] without a guard the routes are a boot error', async (t) => {
  const app = await startApp(t, { store: new MemoryStore() })
  for (const options of [undefined, {}, { guard: undefined }, { guard: [] }, { guard: true }, { guard: 'authenticate' }, { guard: Promise.resolve(right) }]) {
    await t.rejects(async () => { await app.register(adminRoutes, options as unknown as AdminRoutesOptions) }, { code: 'ERR_SESSION_INVALID_OPTIONS', message: /guard is required/ })
  }
})

t.test('guards that are added to the array, or taken out of it, after boot change nothing', async (t) => {
  const guards = [right].flat()
  const { signIn } = await open(t, guards)
  guards.length = 0
  const [ada, mallory] = [await signIn('ada'), await signIn('mallory')]
  t.strictSame(await endAll(mallory, ada), [403, 403, 403, 403])
})

t.test('[7.4.5] who acts as an administrator is none, whatever the guard says', async (t) => {
  const { app, signIn, url } = await open(t, right)
  const ada = await signIn('ada')
  const support = new Visitor(url)
  const { headers } = await app.sessions.create({ userId: 'root', actor: 'support' })
  t.strictSame(await endAll(support, ada, headers as Record<string, string>), [403, 403, 403, 403])
  t.match(JSON.parse((await support.get('/admin/sessions?userId=ada', headers as Record<string, string>)).body), { code: 'ERR_SESSION_IMPERSONATED' })
  t.equal(await lives(ada), true)
})

t.test('[3.5.1] a page of another site ends nobody\'s session, also where the guard lets everybody of a network pass', async (t) => {
  const { signIn, url } = await open(t, async () => {})
  const [ada, root] = [await signIn('ada'), await signIn('root')]
  for (const headers of [{ 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }, { origin: 'https://evil.example' }, { origin: 'null' }] as Array<Record<string, string>>) {
    for (const visitor of [root, new Visitor(url)]) t.strictSame(await endAll(visitor, ada, headers), [403, 403, 403, 403], JSON.stringify(headers))
  }
  t.equal(await lives(ada), true)
})

t.test('no method but the right one ends anything, whatever a request says of its method', async (t) => {
  const { signIn } = await open(t, right)
  const [ada, root] = [await signIn('ada'), await signIn('root')]
  const override = { 'x-http-method-override': 'DELETE', 'x-method-override': 'DELETE', 'x-http-method': 'DELETE' }
  for (const url of [`/admin/sessions/${idOf(ada)}`, '/admin/sessions?userId=ada']) {
    for (const method of ['GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'PATCH']) await root.request(method, `${url}${url.includes('?') ? '&' : '?'}_method=DELETE`, override)
  }
  for (const method of ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE']) {
    t.equal((await root.request(method, `/admin/sessions/${idOf(ada)}/revoke`, override)).status, 404)
    t.equal((await root.request(method, '/admin/sessions/revoke', override)).status, 404)
  }
  t.equal((await root.form(`/admin/sessions/${idOf(ada)}`, { _method: 'DELETE' })).status, 404)
  t.equal(await lives(ada), true)
})

t.test('huge ids and bodies are refused, and the server goes on', async (t) => {
  const { signIn } = await open(t, right)
  const [ada, root] = [await signIn('ada'), await signIn('root')]
  for (const length of [101, 1_000, 8_000]) {
    for (const method of ['GET', 'DELETE']) t.match(String((await root.request(method, `/admin/sessions/${'x'.repeat(length)}`)).status), /^4[01]4$/)
    t.equal((await root.request('DELETE', `/admin/sessions?userId=${'x'.repeat(length + 200)}`)).status, 400)
  }
  t.equal((await root.form('/admin/sessions/revoke', { userId: 'x'.repeat(2_000_000) })).status, 413)
  t.equal((await root.form('/admin/sessions/revoke', { userId: 'ada', reason: 'x'.repeat(100_000) })).status, 400)
  t.equal(await lives(ada), true)
  t.equal(await lives(root), true)
})
