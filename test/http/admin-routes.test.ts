import formbody from '@fastify/formbody'
import swagger from '@fastify/swagger'
import expressSession from 'express-session'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { adminRoutes, MemoryStore, sessionPlugin } from '../../lib/index.ts'
import type { AdminRoutesOptions, LoginOptions, SessionEvent, SessionOptions } from '../../lib/index.ts'
import { newId } from '../../lib/session/token.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import type { TestResponse } from '../helpers/app.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import type { TestRedis } from '../helpers/redis.ts'
import { slowToEnd } from '../helpers/spy-store.ts'

const FIREFOX = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:131.0) Gecko/20100101 Firefox/131.0'
const NOT_FOUND = { statusCode: 404, code: 'ERR_SESSION_NOT_FOUND', error: 'Not Found', message: 'Session not found' }
const FORBIDDEN = { statusCode: 403, error: 'Forbidden', message: 'Not an administrator' }

/** The guard of an application: root alone is an administrator. */
const root: AdminRoutesOptions['guard'] = async (request) => {
  if (request.requireAuth().userId !== 'root') throw Object.assign(new Error('Not an administrator'), { statusCode: 403 })
}

interface Service {
  app: Awaited<ReturnType<typeof startApp>>
  /** A browser in which this user signed in. */
  signIn: (userId: string, options?: LoginOptions) => Promise<Browser>
  /** What the events of ends said. */
  ends: SessionEvent[]
}

/** An application with the routes under `/admin`, and `GET /me` for who is signed in. */
async function open (t: Test, options: Partial<SessionOptions> = {}, routes: Partial<AdminRoutesOptions> = {}): Promise<Service> {
  const app = await startApp(t, { store: new MemoryStore(), ...options })
  await app.register(formbody)
  await app.register(adminRoutes, { prefix: '/admin', guard: root, ...routes })
  app.post<{ Body: { userId: string, options: LoginOptions } }>('/login', async (request) => {
    await app.login(request, { id: request.body.userId }, request.body.options)
    request.session.cart = ['LEAKED']
  })
  app.post('/visit', async (request) => { request.session.cart = ['LEAKED'] })
  app.get('/me', { preHandler: app.authenticate }, async (request) => ({ userId: request.requireAuth().userId }))
  const ends: SessionEvent[] = []
  app.sessions.on('revoked', (event) => { ends.push(event) })
  const signIn = async (userId: string, options: LoginOptions = {}) => {
    const browser = new Browser(app)
    t.equal((await browser.post('/login', { userId, options }, { headers: { 'user-agent': FIREFOX } })).statusCode, 200)
    return browser
  }
  return { app, signIn, ends }
}

const idOf = (browser: Browser): string => browser.cookies.get('sid')?.split('.')[0] ?? ''
const signedIn = async (browser: Browser): Promise<boolean> => (await browser.get('/me')).statusCode === 200
const FORM = { 'content-type': 'application/x-www-form-urlencoded' }
const post = async (browser: Browser, url: string, fields: Record<string, string> = {}): Promise<TestResponse> => {
  return await browser.post(url, new URLSearchParams(fields).toString(), { headers: FORM })
}

let shared: TestRedis | undefined
const redis = async (): Promise<TestRedis> => {
  shared ??= await startRedis(t)
  return shared
}

const stores: Record<string, () => Promise<Partial<SessionOptions>>> = {
  MemoryStore: async () => ({ store: new MemoryStore() }),
  Redis: async () => ({ store: undefined, redis: (await redis()).url, keyPrefix: prefix() }),
  'an express-session store': async () => ({ store: new expressSession.MemoryStore() })
}

for (const [name, options] of Object.entries(stores)) {
  t.test(`[7.4.5] ${name}: an administrator sees and ends one session of somebody, and events say who it was and why`, async (t) => {
    const { app, signIn, ends } = await open(t, await options())
    const [admin, phone, laptop] = [await signIn('root'), await signIn('ada', { label: 'phone' }), await signIn('ada')]
    t.match((await admin.get(`/admin/sessions/${idOf(phone)}`)).json(), { id: idOf(phone), userId: 'ada', label: 'phone', device: 'Firefox 131 on Windows' })
    const response = await admin.request('DELETE', `/admin/sessions/${idOf(phone)}?reason=lost+phone`)
    t.equal(response.statusCode, 204)
    t.equal(response.body, '')
    t.strictSame(response.setCookies, [])
    t.equal(await signedIn(phone), false)
    for (const each of [laptop, admin]) t.equal(await signedIn(each), true)
    for (const method of ['GET', 'DELETE'] as const) t.strictSame((await admin.request(method, `/admin/sessions/${idOf(phone)}`)).json(), NOT_FOUND)
    await until('the event', () => ends.length > 0)
    t.match(ends, [{ id: idOf(phone), userId: 'ada', reason: 'revoked', statedReason: 'lost phone', actor: 'root', requestId: /^req-/ }])
    t.equal(ends.length, 1)
    t.match(await app.sessions.listByUser('ada'), [{ id: idOf(laptop) }])
  })

  t.test(`[7.4.5] ${name}: an administrator lists and ends all sessions of a user, and no other`, async (t) => {
    const { signIn, ends } = await open(t, await options())
    const [admin, bob, ...ada] = [await signIn('root'), await signIn('bob'), await signIn('ada'), await signIn('ada')]
    const listed = (await admin.get('/admin/sessions?userId=ada')).json() as Array<{ id: string }>
    t.strictSame(listed.map(({ id }) => id).sort(), ada.map(idOf).sort())
    const response = await admin.request('DELETE', '/admin/sessions?userId=ada&reason=stolen')
    t.equal(response.statusCode, 200)
    t.strictSame(response.json(), { revoked: 2 })
    for (const each of ada) t.equal(await signedIn(each), false)
    for (const each of [bob, admin]) t.equal(await signedIn(each), true)
    await until('the events', () => ends.length === 2)
    for (const event of ends) t.match(event, { userId: 'ada', reason: 'revoked', statedReason: 'stolen', actor: 'root', requestId: /^req-/ })
    t.strictSame((await admin.request('DELETE', '/admin/sessions?userId=ada')).json(), { revoked: 0 }, 'and not twice')
  })

  t.test(`${name}: live sessions are counted`, async (t) => {
    const { app, signIn } = await open(t, await options())
    const admin = await signIn('root')
    for (const userId of ['ada', 'ada', 'bob']) await signIn(userId)
    await new Browser(app).post('/visit')
    t.match((await admin.get('/admin/stats')).json(), { signedIn: 4, anonymous: 1, users: 3, complete: true, countedAt: Number })
  })
}

t.test('a session is shown with what an operator may see, and nothing else', async (t) => {
  const { app, signIn } = await open(t)
  const [admin, ada] = [await signIn('root'), await signIn('ada', { meta: { ticket: [7] }, label: 'phone', remember: true })]
  for (const url of [`/admin/sessions/${idOf(ada)}`, '/admin/sessions?userId=ada']) {
    const response = await admin.get(url)
    t.equal(response.headers['cache-control'], 'no-store')
    const [shown = {}, ...more] = [response.json()].flat()
    t.strictSame(more, [])
    const { userAgent, idp, ...info } = await app.sessions.get(idOf(ada)) ?? {}
    t.strictSame(shown, { ...info, device: userAgent }, url)
    t.equal(idp, null)
    t.match(shown, { meta: { ticket: [7] }, remembered: true, methods: [], actor: null, deviceBound: false })
    const [, secretHalf = '', signature = ''] = (ada.cookies.get('sid') ?? '').split('.')
    for (const hidden of ['LEAKED', secretHalf, signature, 'secretHash']) t.notMatch(response.body, hidden)
  }
})

t.test('whoever the guard refuses reads nothing and ends nothing, on every route', async (t) => {
  const { app, signIn } = await open(t)
  const [ada, mallory] = [await signIn('ada'), await signIn('mallory')]
  const asked = [
    ['GET', '/admin/sessions?userId=ada'], ['GET', `/admin/sessions/${idOf(ada)}`], ['GET', `/admin/sessions/${newId()}`], ['GET', '/admin/stats'], ['HEAD', '/admin/stats'],
    ['DELETE', `/admin/sessions/${idOf(ada)}`], ['DELETE', '/admin/sessions?userId=ada'], ['POST', `/admin/sessions/${idOf(ada)}/revoke`], ['POST', '/admin/sessions/revoke']
  ] as const
  const routes: string[] = []
  for (const [method, url] of asked) {
    const options = method === 'POST' ? { payload: 'userId=ada', headers: FORM } : {}
    const refused = await mallory.request(method, url, options)
    t.equal(refused.statusCode, 403, `${method} ${url}`)
    if (method !== 'HEAD') t.strictSame(refused.json(), FORBIDDEN)
    t.equal(refused.headers['cache-control'], 'no-store')
    t.equal((await new Browser(app).request(method, url, options)).statusCode, 401)
    routes.push(`${method} ${url}`)
  }
  t.equal(await signedIn(ada), true)
  t.equal(routes.length, 9)
})

t.test('guards run one after the other, as hooks of Fastify do: async, with a callback, with this', async (t) => {
  const seen: string[] = []
  const guard: AdminRoutesOptions['guard'] = [
    async () => { seen.push('async') },
    (_request, _reply, done) => { setImmediate(() => { seen.push('callback'); done() }) },
    async function () { seen.push(typeof this.sessions.revoke) },
    async (request) => { if (request.requireAuth().userId !== 'root') throw new Error('refused') },
    async (request, reply) => { if (request.headers['x-late'] !== undefined) return await reply.code(418).send({ late: true }) },
    (request, _reply, done) => { done(request.headers['x-never'] === undefined ? undefined : new Error('refused')) }
  ]
  const { signIn } = await open(t, {}, { guard })
  const [admin, ada] = [await signIn('root'), await signIn('ada')]
  const url = '/admin/sessions?userId=ada'
  t.equal((await admin.get(url)).statusCode, 200)
  t.strictSame(seen, ['async', 'callback', 'function'])
  t.match(await admin.request('DELETE', url, { headers: { 'x-late': '1' } }), { statusCode: 418, body: '{"late":true}' })
  t.equal((await admin.request('DELETE', url, { headers: { 'x-never': '1' } })).statusCode, 500)
  t.equal((await ada.get(url)).statusCode, 500)
  t.equal(await signedIn(ada), true)
})

t.test('who is not named may read and end nothing; actor names others than who is signed in', async (t) => {
  const { app, signIn } = await open(t, {}, { guard: async () => {} })
  const [ada, anonymous] = [await signIn('ada'), new Browser(app)]
  for (let twice = 0; twice < 2; twice++) {
    t.equal((await anonymous.get('/admin/sessions?userId=ada')).json().length, 1)
    for (const url of ['/admin/sessions?userId=ada', `/admin/sessions/${idOf(ada)}`]) {
      const response = await anonymous.request('DELETE', url)
      t.equal(response.statusCode, 401)
      t.equal(response.json().code, 'ERR_SESSION_UNAUTHENTICATED')
    }
  }
  t.equal(app.lines.filter(({ msg }) => msg.startsWith('adminRoutes: the guard lets requests pass that nobody is signed in by')).length, 1)

  const named = await open(t, {}, { guard: async () => {}, actor: (request) => Promise.resolve(request.headers['x-operator'] as string | undefined) })
  const [bob, somebody] = [await named.signIn('bob'), new Browser(named.app)]
  for (const [operator, status] of [[undefined, 401], ['', 500], ['x'.repeat(256), 500], ['grace', 204]] as const) {
    const headers = operator === undefined ? {} : { 'x-operator': operator }
    t.equal((await somebody.request('DELETE', `/admin/sessions/${idOf(bob)}`, { headers })).statusCode, status, String(operator).slice(0, 9))
    t.equal(await signedIn(bob), status !== 204)
  }
  await until('the event', () => named.ends.length > 0)
  t.match(named.ends, [{ actor: 'grace', statedReason: null }])
})

t.test('an administrator who ends their own session is signed out, and their cookie is taken back', async (t) => {
  for (const ending of ['one', 'all']) {
    const { signIn, ends } = await open(t)
    const [here, there] = [await signIn('root'), await signIn('root')]
    const response = await here.request('DELETE', ending === 'one' ? `/admin/sessions/${idOf(here)}` : '/admin/sessions?userId=root')
    t.equal(response.statusCode, ending === 'one' ? 204 : 200)
    t.match(response.setCookies, [/^sid=; Max-Age=0;/])
    t.equal(await signedIn(here), false)
    t.equal(await signedIn(there), ending === 'one')
    await until('the events', () => ends.length >= (ending === 'one' ? 1 : 2))
    t.ok(ends.every(({ reason, actor }) => reason === 'revoked' && actor === 'root'))
    t.equal(ends.length, ending === 'one' ? 1 : 2, 'and each is told once')
  }
})

t.test('ids of users may be anything', async (t) => {
  const { app, signIn } = await open(t)
  const admin = await signIn('root')
  for (const userId of ['..', '.', '/', '../stats', 'a b', 'a+b', '%2e%2e', 'é'.repeat(255), '%', '&userId=root', '#', '?', '\u0000', '{"$ne":null}', '*', '__proto__', '😀']) {
    const { session } = await app.sessions.create({ userId })
    const query = new URLSearchParams({ userId })
    t.match((await admin.get(`/admin/sessions?${query}`)).json(), [{ id: session.id, userId }], userId)
    t.strictSame((await admin.request('DELETE', `/admin/sessions?${query}`)).json(), { revoked: 1 }, userId)
    const again = await app.sessions.create({ userId })
    t.strictSame((await post(admin, '/admin/sessions/revoke', { userId })).json(), { revoked: 1 }, userId)
    t.equal(await app.sessions.get(again.session.id), null)
  }
  const whole = await app.sessions.create({ userId: '\uFFFD' })
  t.strictSame((await admin.post('/admin/sessions/revoke', { userId: '\uD800' })).json(), { revoked: 0 }, 'half a character is nobody')
  t.ok(await app.sessions.get(whole.session.id))
  t.equal(await signedIn(admin), true)
})

t.test('what does not fit is 400, and ends nothing', async (t) => {
  const { app, signIn } = await open(t)
  const [admin, ada] = [await signIn('root'), await signIn('ada')]
  const long = 'x'.repeat(256)
  for (const query of ['', 'userId=', `userId=${long}`, `userId=ada&reason=${'x'.repeat(65)}`]) {
    t.equal((await admin.request('DELETE', `/admin/sessions?${query}`)).statusCode, 400, query.slice(0, 30))
    t.equal((await post(admin, '/admin/sessions/revoke', Object.fromEntries(new URLSearchParams(query)))).statusCode, 400, query.slice(0, 30))
  }
  for (const query of ['', 'userId=', `userId=${long}`, 'userId=ada&limit=0', 'userId=ada&limit=1001', 'userId=ada&before=x']) {
    t.equal((await admin.get(`/admin/sessions?${query}`)).statusCode, 400, query.slice(0, 30))
  }
  for (const payload of [undefined, '', 'null', '[]', '{}', '{"userId":null}', '{"userId":""}', '{"userId":{"$ne":null}}', '{"userId":[["ada"]]}', '{', 'x'.repeat(2_000_000)]) {
    const response = await admin.request('POST', '/admin/sessions/revoke', { ...payload !== undefined && { payload, headers: { 'content-type': 'application/json' } } })
    t.match(String(response.statusCode), /^4(00|13)$/, String(payload).slice(0, 30))
  }
  t.equal((await admin.request('DELETE', `/admin/sessions/${idOf(ada)}?reason=${'x'.repeat(65)}`)).statusCode, 400)
  for (const id of ['x', newId(), '*', '%00', '%2e%2e', '__proto__', ada.cookies.get('sid') ?? '', 'x'.repeat(99)]) {
    for (const method of ['GET', 'DELETE'] as const) t.equal((await admin.request(method, `/admin/sessions/${id}`)).statusCode, 404, id.slice(0, 30))
  }
  t.equal(await signedIn(ada), true)
  t.match(await app.sessions.listByUser('ada'), [{ id: idOf(ada) }])
})

t.test('a reason is one line of text, and an empty one is none', async (t) => {
  const { app, signIn, ends } = await open(t)
  const admin = await signIn('root')
  for (const [reason, stated] of [['  two\r\nlines\u0007 ', 'two lines'], ['a\u2028b', 'a b'], ['\uD800', '\uFFFD'], ['', null], [' \n', null], ['😀'.repeat(64), '😀'.repeat(32)], [undefined, null]] as const) {
    const { session } = await app.sessions.create({ userId: 'ada' })
    t.equal((await admin.post(`/admin/sessions/${session.id}/revoke`, { reason })).statusCode, 204)
    await until('the event', () => ends.some(({ id }) => id === session.id))
    t.equal(ends.find(({ id }) => id === session.id)?.statedReason, stated, JSON.stringify(reason)?.replace(/[^\x20-\x7E]/g, '?'))
  }
  const { session } = await app.sessions.create({ userId: 'ada' })
  t.equal((await admin.request('POST', `/admin/sessions/${session.id}/revoke`)).statusCode, 204, 'without a body')
})

t.test('what scripts send along with DELETE is not read', async (t) => {
  const { app, signIn } = await open(t)
  const admin = await signIn('root')
  for (const type of ['application/json', 'text/plain', 'application/x-www-form-urlencoded', 'application/x-nonsense']) {
    const [{ session }] = [await app.sessions.create({ userId: 'ada' }), await app.sessions.create({ userId: 'ada' })]
    const options = { payload: '{"userId":"root"', headers: { 'content-type': type } }
    t.equal((await admin.request('DELETE', `/admin/sessions/${session.id}`, options)).statusCode, 204, type)
    t.strictSame((await admin.request('DELETE', '/admin/sessions?userId=ada', options)).json(), { revoked: 1 })
  }
})

t.test('very many sessions are seen page by page: each reply says where the next one is', async (t) => {
  const { app, signIn } = await open(t)
  const admin = await signIn('root')
  const userId = 'a & b'
  for (let count = 0; count < 25; count++) await app.sessions.create({ userId })
  const pages: string[][] = []
  let next: string | undefined = `?${new URLSearchParams({ userId, limit: '10' })}`
  while (next !== undefined) {
    const page: TestResponse = await admin.get(`/admin/sessions${next}`)
    pages.push((page.json() as Array<{ id: string }>).map(({ id }) => id))
    next = /^<([^>]+)>; rel="next"$/.exec(String(page.headers.link ?? ''))?.[1]
  }
  t.strictSame(pages.map(({ length }) => length), [10, 10, 5])
  t.strictSame(pages.flat(), (await app.sessions.listByUser(userId)).map(({ id }) => id))
})

t.test('where the end of all takes long, the reply does not wait for it, and nobody is signed in by them meanwhile', async (t) => {
  withRealLimits(t)
  const { store, gate } = slowToEnd()
  const { signIn, ends } = await open(t, { store })
  const [admin, ada] = [await signIn('root'), await signIn('ada')]
  const response = await admin.request('DELETE', '/admin/sessions?userId=ada')
  t.equal(response.statusCode, 202)
  t.strictSame(response.json(), { revoked: 0, pending: true })
  t.equal(await signedIn(ada), false)
  gate.open()
  await until('the end', () => ends.length === 1)
  t.match(ends, [{ actor: 'root', userId: 'ada' }])
})

t.test('a count is made once for all who ask, kept for a while, and stops at ten thousand', async (t) => {
  const { signIn } = await open(t)
  const admin = await signIn('root')
  const first = await Promise.all([admin.get('/admin/stats'), admin.get('/admin/stats')])
  await signIn('ada')
  const counted = [...first, await admin.get('/admin/stats')].map((each) => each.json())
  t.strictSame(counted.map(({ signedIn, countedAt }) => [signedIn, countedAt]), counted.map(() => [1, counted[0].countedAt]))

  const large = new MemoryStore()
  let looked = 0
  large.listAll = async function * () {
    const [record] = await large.listByUser('root')
    if (record === undefined) return
    while (true) {
      looked++
      yield record
    }
  }
  const crowd = await open(t, { store: large })
  const busy = (await (await crowd.signIn('root')).get('/admin/stats')).json()
  t.match(busy, { complete: false, anonymous: 0, users: 1 })
  t.ok(busy.signedIn <= 10_000)
  t.equal(looked, busy.signedIn + 1)

  const mixed = new MemoryStore()
  mixed.listAll = async function * ({ signal } = {}) {
    yield * await mixed.listByUser('root')
    // As a Redis with very much besides sessions.
    while (signal?.aborted !== true) await new Promise((resolve) => setImmediate(resolve))
  }
  const found = await (await (await open(t, { store: mixed })).signIn('root')).get('/admin/stats')
  t.match([found.statusCode, found.json()], [200, { complete: false, signedIn: 1 }])
})

t.test('forms are sent to pages, which are told whose sessions it was about', async (t) => {
  const { app, signIn } = await open(t, {}, { redirects: { done: '/operate?tab=1', failure: '/operate/failed' }, guard: [async (request) => { request.requireAuth() }, root] })
  const admin = await signIn('root')
  const to = async (url: string, fields: Record<string, string> = {}, browser = admin): Promise<unknown> => {
    const response = await post(browser, url, fields)
    t.equal(response.statusCode, 303)
    return response.headers.location
  }
  const end = async (userId: string): Promise<string> => `/admin/sessions/${(await app.sessions.create({ userId })).session.id}/revoke`
  t.equal(await to(await end('a&b')), '/operate?tab=1&userId=a%26b')
  t.equal(await to('/admin/sessions/revoke', { userId: '../x', reason: 'lost' }), '/operate?tab=1&userId=..%2Fx')
  t.equal(await to(`/admin/sessions/${newId()}/revoke`), '/operate/failed?error=not_found')
  t.equal(await to('/admin/sessions/revoke', { userId: 'ada', reason: 'x'.repeat(65) }), '/operate/failed?userId=ada&error=bad_request')
  t.equal(await to('/admin/sessions/revoke', { userId: 'ada' }, await signIn('mallory')), '/operate/failed?userId=ada&error=bad_request')
  const visitor = new Browser(app)
  t.equal(await to('/admin/sessions/revoke', { userId: 'ada' }, visitor), '/login?error=unauthenticated')
  t.match(Buffer.from(String([...visitor.cookies.values()].join().split('.')[1]), 'base64url').toString(), '/operate?tab=1&userId=ada', 'and back')
  const scripted = await admin.post('/admin/sessions/revoke', { userId: 'ada' })
  t.strictSame([scripted.statusCode, scripted.json()], [200, { revoked: 0 }])
  t.equal(await to('/admin/sessions/revoke', { userId: 'root' }), '/login', 'who has ended their own session signs in')
})

t.test('a warning says that nothing reads the forms', async (t) => {
  const app = await startApp(t)
  await app.register(adminRoutes, { guard: root, redirects: {} })
  await app.ready()
  t.equal(app.lines.filter(({ msg }) => msg.startsWith('redirects are for forms, and no parser')).length, 1)
})

t.test('wrong options of the routes are boot errors, named at once', async (t) => {
  const message = async (options: object): Promise<string> => {
    const app = await startApp(t)
    return await app.register(adminRoutes, options as AdminRoutesOptions).then(() => '', ({ code, message }) => `${code} ${message}`)
  }
  const refused = (...faults: string[]): string => `ERR_SESSION_INVALID_OPTIONS Invalid session options: ${faults.map((fault) => `adminRoutes: ${fault}`).join('; ')}`
  const GUARD = "guard is required: a preHandler that refuses who is no administrator, or an array of them, such as [app.requireRecentLogin('1h'), async (request) => { … throw }]"
  for (const guard of [undefined, null, true, false, 'LEAKED', {}, [], [root, undefined], [[root]], new Promise(() => {})]) t.equal(await message({ guard }), refused(GUARD))
  t.equal(await message({ prefix: '/admin' }), refused(GUARD))
  t.equal(await message({ actor: 'LEAKED', redirects: 'LEAKED', guards: [root] }), refused(GUARD, 'actor must be a function', 'redirects must be paths or URLs', 'guards is not an option'))
  t.equal(await message({ guard: root, redirects: { to: '/' } }), refused('redirects.to is not an option'))
  t.equal(await message({ get guard () { throw new Error('LEAKED') } }), refused('options cannot be read'))
  t.equal(await message({ guard: root, prefix: '/admin', logLevel: 'warn', actor: undefined, redirects: {} }), '')
  t.equal(await message({ guard: [root, root] }), '')
})

t.test('outside of the plugin\'s context the routes are a boot error', async (t) => {
  const app = Fastify() as unknown as FastifyInstance
  t.teardown(() => app.close())
  app.register(adminRoutes, { guard: root })
  app.register(sessionPlugin, { secret, store: new MemoryStore() })
  await t.rejects(async () => { await app.ready() }, { code: 'ERR_SESSION_INVALID_OPTIONS', message: 'Invalid session options: adminRoutes must be registered after sessionPlugin, in its context or below' })
})

t.test('each registration has its own guard and its own users', async (t) => {
  const app = Fastify() as unknown as FastifyInstance
  t.teardown(() => app.close())
  const scopes: Record<string, FastifyInstance> = {}
  for (const [name, admin] of [['staff', 'root'], ['shop', 'owner']] as const) {
    await app.register(async (scope) => {
      scopes[name] = scope
      await scope.register(sessionPlugin, { secret, store: new MemoryStore(), cookieName: name, cookie: { secure: false } })
      await scope.register(adminRoutes, { prefix: '/admin', guard: async (request) => { if (request.requireAuth().userId !== admin) throw new Error('refused') } })
    }, { prefix: `/${name}` })
  }
  const headersOf = async (name: string, userId: string) => (await scopes[name]?.sessions.create({ userId }))?.headers ?? {}
  const [root, owner] = [await headersOf('staff', 'root'), await headersOf('shop', 'owner')]
  await headersOf('shop', 'ada')
  const statuses: unknown[] = []
  for (const [name, headers] of [['staff', root], ['shop', root], ['shop', owner], ['staff', owner]] as const) {
    const response = await app.inject({ url: `/${name}/admin/sessions?userId=ada`, headers: headers as Record<string, string> })
    statuses.push([response.statusCode, (response.json() as unknown[]).length])
  }
  t.strictSame(statuses, [[200, 0], [401, undefined], [200, 1], [401, undefined]])
})

t.test('when Redis is down nobody is told that there are no sessions', async (t) => {
  const server = await startRedis(t)
  const { signIn } = await open(t, { store: undefined, redis: server.url, keyPrefix: prefix() }, { guard: async () => {}, actor: () => 'root' })
  const admin = await signIn('root')
  await server.stop()
  for (const [method, url] of [['GET', '/admin/sessions?userId=ada'], ['GET', `/admin/sessions/${newId()}`], ['GET', '/admin/stats'], ['DELETE', `/admin/sessions/${newId()}`], ['DELETE', '/admin/sessions?userId=ada']] as const) {
    const response = await admin.request(method, url)
    t.equal(response.statusCode, 503, `${method} ${url}`)
    t.equal(response.json().code, 'ERR_SESSION_STORE_UNAVAILABLE')
  }
})

interface Schema { description?: string, properties?: Record<string, Schema>, items?: Schema }

/** The places in a schema that say nothing of themselves. */
function silent (schema: Schema, path: string): string[] {
  const inner = Object.entries(schema.properties ?? {}).flatMap(([name, each]) => silent(each, `${path}.${name}`))
  return [...typeof schema.description === 'string' && schema.description.length > 3 ? [] : [path], ...inner]
}

t.test('the API\'s description has the routes, and a word on everything in them', async (t) => {
  const app = await startApp(t)
  await app.register(swagger, { openapi: { openapi: '3.1.0', info: { title: 'test', version: '1' } } })
  await app.register(adminRoutes, { prefix: '/admin', guard: root })
  await app.ready()
  interface Operation { summary?: string, parameters?: Array<{ name: string, description?: string }>, responses: Record<string, { description?: string, content?: Record<string, { schema: Schema }> }> }
  const { paths } = app.swagger() as unknown as { paths: Record<string, Record<string, Operation>> }
  const operations = Object.entries(paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => [`${method} ${path}`, operation] as const))
  t.strictSame(Object.fromEntries(operations.map(([name, { parameters = [], responses }]) => [name, [parameters.map((each) => each.name).join(), Object.keys(responses).join()]])), {
    'get /admin/sessions': ['userId,limit,before', '200,400,401,403,503'],
    'get /admin/sessions/{id}': ['id', '200,401,403,404,503'],
    'get /admin/stats': ['', '200,401,403,503'],
    'delete /admin/sessions/{id}': ['reason,id', '204,400,401,403,404,503'],
    'delete /admin/sessions': ['userId,reason', '200,202,400,401,403,503'],
    'post /admin/sessions/{id}/revoke': ['id', '204,303,400,401,403,404,503'],
    'post /admin/sessions/revoke': ['', '200,202,303,400,401,403,503']
  })
  for (const [name, { summary, parameters = [], responses }] of operations) {
    t.match(summary, /.{5}/, name)
    for (const each of parameters) t.match(each.description, /.{3}/)
    for (const [status, { description, content = {} }] of Object.entries(responses)) {
      t.match(description, /.{3}/, `${name} ${status}`)
      t.not(description, 'Default Response', `${name} ${status}`)
      for (const { schema } of Object.values(content)) t.strictSame(silent(schema, `${name} ${status}`), [])
    }
  }
})
