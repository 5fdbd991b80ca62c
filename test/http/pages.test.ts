import { once } from 'node:events'
import { request as send } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import formbody from '@fastify/formbody'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyReply, FastifyRequest, FastifyServerOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, MemoryStore, sessionPlugin } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { Signature } from '../../lib/session/token.ts'
import { secret, startApp } from '../helpers/app.ts'
import type { LogLine } from '../helpers/app.ts'
import { exchange } from '../helpers/raw-http.ts'
import { Gate, SpyStore } from '../helpers/spy-store.ts'
import { listen, Reader } from '../helpers/visitor.ts'
import type { Answer } from '../helpers/visitor.ts'

interface Site { app: FastifyInstance & { lines: LogLine[] }, store: SpyStore, url: string, visitor: Reader, ran: string[] }

/** A shop with pages for its customers, and a login of its own. `ran` names the handlers that were reached. */
async function open (t: Test, options: Partial<SessionOptions> = {}, server: FastifyServerOptions = {}): Promise<Site> {
  const store = new SpyStore()
  const ran: string[] = []
  const app = await startApp(t, { store, ...options }, server)
  await app.register(formbody)
  const guarded = { preHandler: app.authenticatePage, handler: async ({ method, url }: { method: string, url: string }) => { ran.push(`${method} ${url}`); return 'for ada' } }
  app.get('/', async () => 'home')
  app.all('/orders/*', { ...guarded, exposeHeadRoute: false } as never)
  app.get('/early', { ...guarded, preHandler: [], onRequest: app.authenticatePage } as never)
  app.get('/login', { preHandler: app.guestOnly }, async () => 'the form')
  app.post('/login', async (request, reply) => {
    if ((request.body as { password?: string } | null)?.password !== 'lovelace') return await reply.code(401).send('wrong')
    await app.login(request, { id: 'ada' })
    return await reply.redirect(app.takeReturnPath(request), 303)
  })
  app.post('/logout', async (request) => { await app.logout(request) })
  const url = await listen(app)
  return { app, store, url, visitor: new Reader(url), ran }
}

const ADA = { username: 'ada', password: 'lovelace' }
const RETURN = 'sid-return'
const signIn = async (visitor: Reader): Promise<string | null> => (await visitor.form('/login', ADA)).headers.get('location')
const place = ({ status, headers }: Answer): [number, string | null] => [status, headers.get('location')]

t.test('who is signed out is sent to the login page, and after signing in to the page that they asked for', async (t) => {
  const { visitor, ran } = await open(t)
  for (const path of ['/orders/1?sort=name&dir=%2Fa', '/early']) {
    const answer = await visitor.get(path)
    t.strictSame(place(answer), [303, '/login'])
    t.equal(answer.body, '')
    t.equal(answer.headers.get('cache-control'), 'no-store')
    t.equal(answer.headers.get('vary'), 'Cookie')
    t.match(answer.cookies, [/^sid-return=[\w.-]+; Max-Age=600; Path=\/; HttpOnly; SameSite=Lax$/])
    t.equal((await visitor.form('/login', { ...ADA, password: 'wrong' })).status, 401)
    const signedIn = await visitor.form('/login', ADA)
    t.strictSame(place(signedIn), [303, path])
    t.match(signedIn.cookies, [/^sid-return=; Max-Age=0; Path=\/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax$/, /^sid=/])
    t.strictSame(ran, [])
    t.equal((await visitor.get(path)).body, 'for ada')
    t.strictSame(ran.splice(0), [`GET ${path}`])
    await visitor.post('/logout')
    t.equal(await signIn(visitor), '/', 'it is gone to once')
    await visitor.post('/logout')
  }
})

t.test('of several pages the last one is gone to, and of none the home page', async (t) => {
  const { visitor } = await open(t, { pages: { home: '/welcome?from=login' } })
  t.equal(await signIn(visitor), '/welcome?from=login')
  await visitor.post('/logout')
  await visitor.get('/orders/1')
  await visitor.get('/orders/2')
  t.equal(await signIn(visitor), '/orders/2')
})

t.test('a form whose session has ended is sent to the login page, and what it posted to is no page to go back to', async (t) => {
  const { visitor, ran } = await open(t)
  await visitor.get('/orders/1')
  for (const method of ['POST', 'PUT', 'DELETE']) {
    t.strictSame(place(await visitor.request(method, '/orders/2')), [303, '/login'])
    t.notOk(visitor.cookies.has(RETURN), 'nor is the page before it')
  }
  t.strictSame(ran, [])
  t.equal(await signIn(visitor), '/')
})

t.test('HEAD is answered as GET', async (t) => {
  const { visitor } = await open(t)
  t.strictSame(place(await visitor.request('HEAD', '/orders/1')), [303, '/login'])
  t.equal(await signIn(visitor), '/orders/1')
})

t.test('what a script or a bearer client asks for is refused with 401, and not remembered', async (t) => {
  const { url, ran } = await open(t, { bearer: true })
  const { port } = new URL(url)
  const ways = ['Sec-Fetch-Mode: cors', 'Sec-Fetch-Mode: no-cors', 'Sec-Fetch-Mode: same-origin', 'Sec-Fetch-Mode: websocket', 'Sec-Fetch-Mode: nonsense', 'Sec-Fetch-Mode:', 'Sec-Fetch-Mode: navigate\r\nSec-Fetch-Mode: cors', 'Authorization: Bearer nonsense', 'Connection: upgrade, close\r\nUpgrade: websocket']
  for (const header of ways) {
    for (const path of ['/orders/1', '/early']) {
      const { status, head, body } = await exchange(Number(port), Buffer.from(`GET ${path} HTTP/1.1\r\nHost: app.example\r\n${/connection/i.test(header) ? '' : 'Connection: close\r\n'}${header}\r\n\r\n`))
      t.equal(status, 401, header)
      t.match(body, '"ERR_SESSION_UNAUTHENTICATED"')
      t.notMatch(head, /\r\n(location|set-cookie):/i)
    }
  }
  t.strictSame(ran, [])
  t.strictSame(place(await new Reader(url).get('/orders/1', { 'sec-fetch-mode': 'navigate', 'sec-fetch-site': 'cross-site', 'sec-fetch-dest': 'document' })), [303, '/login'], 'a link on another site is followed by a person')
})

t.test('who is signed in by a bearer token passes, and none that has ended', async (t) => {
  const { app, visitor } = await open(t, { bearer: true })
  const { session, token } = await app.sessions.create({ userId: 'ada', kind: 'bearer' })
  const headers = { authorization: `Bearer ${token}` }
  t.equal((await visitor.get('/orders/1', headers)).body, 'for ada')
  await app.sessions.revoke(session.id)
  t.equal((await visitor.get('/orders/1', headers)).status, 401)
})

t.test('who is signed in is sent from the login page to the home page, and others are not', async (t) => {
  const { visitor } = await open(t, { pages: { home: '/orders/all' } })
  t.equal((await visitor.get('/login')).body, 'the form')
  await signIn(visitor)
  const answer = await visitor.get('/login?again')
  t.strictSame(place(answer), [303, '/orders/all'])
  t.equal(answer.headers.get('cache-control'), 'no-store')
  await visitor.post('/logout')
  t.equal((await visitor.get('/login')).body, 'the form')
})

t.test('who is told of a failure on the login page sees it, signed in or not', async (t) => {
  const { visitor } = await open(t)
  await signIn(visitor)
  for (const query of ['?error=invalid_credentials', '?x=1&error=']) t.equal((await visitor.get(`/login${query}`)).body, 'the form')
  for (const query of ['?errors=1', '?x=error', '#error=1']) t.strictSame(place(await visitor.get(`/login${query}`)), [303, '/'])
})

t.test('while the store is down nobody is taken for signed out or in, and visitors are answered as ever', async (t) => {
  const { store, visitor, url, ran } = await open(t)
  await signIn(visitor)
  store.failing.add('find')
  for (const path of ['/orders/1', '/early', '/login']) {
    const answer = await visitor.get(path)
    t.strictSame([answer.status, JSON.parse(answer.body).code], [503, 'ERR_SESSION_STORE_UNAVAILABLE'], path)
    t.strictSame(answer.cookies, [])
  }
  const stranger = new Reader(url)
  t.strictSame(place(await stranger.get('/orders/1')), [303, '/login'])
  t.equal((await stranger.get('/login')).body, 'the form')
  t.strictSame(ran, [])
})

t.test('[3.5.1] requests of other sites and ambiguous ones are refused as elsewhere', async (t) => {
  const { app, visitor, ran } = await open(t, { bearer: true })
  await signIn(visitor)
  const { token } = await app.sessions.create({ userId: 'ada', kind: 'bearer' })
  t.equal((await visitor.post('/orders/1', { origin: 'https://evil.example' })).status, 403)
  t.equal((await visitor.get('/orders/1', { authorization: `Bearer ${token}` })).status, 400)
  t.strictSame(ran, [])
})

t.test('on a route without sessions the guard is a fault of the application, and lets nobody through', async (t) => {
  const { app } = await open(t)
  const other = await startApp(t)
  for (const hook of ['authenticatePage', 'guestOnly'] as const) other.get(`/${hook}`, { config: { session: false }, preHandler: other[hook] }, async () => 'open')
  t.match((await other.inject('/authenticatePage')).json(), { statusCode: 500, code: 'ERR_SESSION_SKIPPED' })
  t.match((await other.inject('/guestOnly')).json(), { statusCode: 500, code: 'ERR_SESSION_SKIPPED' })
  t.ok(app)
})

t.test('nothing of a guarded route runs for who is signed out, also if they close the connection before the redirect is sent', async (t) => {
  const ran: string[] = []
  let gate = new Gate()
  const app = await startApp(t)
  app.addHook('onSend', async () => { await gate.pass() })
  app.post('/', { preHandler: [app.authenticatePage, async () => { ran.push('a hook') }] }, async () => { ran.push('the handler') })
  app.post('/by-hand', async (request, reply) => {
    await app.authenticatePage(request, reply)
    ran.push('what follows')
  })
  await listen(app)
  const { port } = app.server.address() as AddressInfo
  for (const path of ['/', '/by-hand']) {
    gate = new Gate()
    const asked = once(app.server, 'request')
    const client = send({ port, path, method: 'POST' })
    client.on('error', () => {})
    client.end()
    const [, response] = await asked
    await gate.reached
    const gone = once(response, 'close')
    client.destroy()
    await gone
    gate.open()
    // Whoever waited for the reply goes on by now.
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
    t.strictSame(ran, [], path)
  }
  const visitor = new Reader(`http://127.0.0.1:${port}`)
  for (const path of ['/', '/by-hand']) t.strictSame(place(await visitor.post(path)), [303, '/login'])
  t.strictSame(ran, [])
})

t.test('whoever is redirected sees nothing of a guarded route, also where nobody waits for the guard, and is not signed in', async (t) => {
  let now = Date.now()
  const app = await startApp(t, { store: new MemoryStore({ now: () => now }), touchAfter: 1 })
  app.post('/cart', async ({ session }) => { session.cart = ['tea'] })
  app.get('/me', async ({ auth }) => ({ user: auth?.userId ?? null }))
  const payload = (mode: string): unknown => {
    if (mode === 'stream') return Readable.from(['SECRET'])
    return mode === 'error' ? Object.assign(new Error('SECRET'), { statusCode: 404 }) : 'SECRET'
  }
  const routes = (prefix: string, before: (request: FastifyRequest) => void): void => {
    for (const mode of ['text', 'stream', 'error']) {
      app.get(`${prefix}/by-hand/${mode}`, (request, reply) => {
        before(request)
        void app.authenticatePage(request, reply)
        void reply.code(200).type('text/plain').header('etag', 'SECRET').send(payload(mode))
      })
      const preHandler = (request: FastifyRequest, reply: FastifyReply, done: () => void): void => {
        before(request)
        void app.authenticatePage(request, reply)
        done()
      }
      app.get(`${prefix}/callback/${mode}`, { preHandler }, async (_request, reply) => {
        void reply.code(200)
        return payload(mode)
      })
    }
  }
  routes('/untouched', () => { now += 10_000 })
  routes('/changed', ({ session }) => { session.cart = ['tea', 'milk'] })
  routes('/assigned', ({ session }) => { session.userId = 7 })
  const url = await listen(app)
  const seen: string[] = []
  for (const prefix of ['/untouched', '/changed', '/assigned']) {
    for (const path of ['by-hand/text', 'by-hand/stream', 'by-hand/error', 'callback/text', 'callback/stream', 'callback/error']) {
      const visitor = new Reader(url)
      await visitor.post('/cart')
      const answer = await visitor.get(`${prefix}/${path}`)
      const said = JSON.stringify([answer.status, answer.headers.get('location'), answer.body, answer.headers.get('etag'), (await visitor.get('/me')).body])
      if (said !== JSON.stringify([303, '/login', '', null, '{"user":null}'])) seen.push(`${prefix}/${path} ${said}`)
    }
  }
  t.strictSame(seen, [])
})

t.test('a redirect saves what the visitor put into the session', async (t) => {
  const app = await startApp(t)
  app.get('/cart', async ({ session }) => ({ cart: session.cart }))
  app.get('/buy', { preHandler: [async ({ session }) => { session.cart = ['tea'] }, app.authenticatePage] }, async () => 'bought')
  const visitor = new Reader(await listen(app))
  t.strictSame(place(await visitor.get('/buy')), [303, '/login'])
  t.strictSame([...visitor.cookies.keys()].sort(), ['sid', RETURN])
  t.strictSame(JSON.parse((await visitor.get('/cart')).body), { cart: ['tea'] })
})

t.test('a guard that is called by hand and not awaited ends no process', async (t) => {
  const thrown: unknown[] = []
  const onThrow = (error: Error): void => { thrown.push(error) }
  process.on('unhandledRejection', onThrow)
  t.teardown(() => { process.off('unhandledRejection', onThrow) })
  const { app, store, visitor } = await open(t)
  // The application is open already.
  const other = await startApp(t, { store })
  for (const name of ['authenticatePage', 'guestOnly'] as const) {
    other.get(`/${name}`, (request, reply) => {
      void other[name](request, reply)
      if (!reply.sent) void reply.send('ok')
    })
  }
  const url = await listen(other)
  const stranger = new Reader(url)
  t.equal((await stranger.get('/authenticatePage', { 'sec-fetch-mode': 'cors' })).status, 401)
  await signIn(visitor)
  const ada = new Reader(url)
  for (const [name, value] of visitor.cookies) ada.cookies.set(name, value)
  store.failing.add('find')
  for (const name of ['authenticatePage', 'guestOnly']) t.equal((await ada.get(`/${name}`)).status, 503)
  t.strictSame(thrown, [])
  t.ok(app)
})

t.test('a login page that is guarded is refused with a warning, and a home page for guests is shown with one: neither goes in a circle', async (t) => {
  const app = await startApp(t, { pages: { home: '/start' } })
  app.addHook('preHandler', app.authenticatePage)
  app.get('/login', async () => 'the form')
  const { statusCode, headers } = await app.inject('/login?x=1')
  t.equal(statusCode, 401)
  t.equal(headers.location, undefined)
  await app.inject('/login')
  t.equal(app.lines.filter(({ level, msg }) => level === 40 && msg.startsWith('authenticatePage guards the login page')).length, 1)

  const shop = await startApp(t)
  shop.get('/', { preHandler: shop.guestOnly }, async () => 'welcome')
  shop.post('/login', async (request) => { await shop.login(request, { id: 'ada' }) })
  const visitor = new Reader(await listen(shop))
  await visitor.post('/login')
  for (let times = 0; times < 2; times++) t.equal((await visitor.get('/')).body, 'welcome')
  t.equal(shop.lines.filter(({ level, msg }) => level === 40 && msg.startsWith('guestOnly guards the home page')).length, 1)
})

t.test('a page is remembered for ten minutes', async (t) => {
  const { visitor } = await open(t)
  const { now } = Date
  t.teardown(() => { Date.now = now })
  for (const [minutes, path] of [[9.9, '/orders/1'], [10.1, '/']] as const) {
    Date.now = now
    await visitor.get('/orders/1')
    Date.now = () => now() + minutes * 60_000
    t.equal(await signIn(visitor), path)
    Date.now = now
    await visitor.post('/logout')
  }
})

t.test('a path of 2,048 characters is remembered, and a longer one is none', async (t) => {
  const { visitor } = await open(t)
  const path = `/orders/${'x'.repeat(2_040)}`
  t.strictSame(place(await visitor.get(path)), [303, '/login'])
  t.ok(`${RETURN}=${visitor.cookies.get(RETURN)}`.length < 4_000, 'browsers keep it')
  t.equal(await signIn(visitor), path)
  await visitor.post('/logout')
  await visitor.get('/orders/1')
  t.strictSame(place(await visitor.get(`${path}x`)), [303, '/login'])
  t.notOk(visitor.cookies.has(RETURN))
  t.equal(await signIn(visitor), '/')
})

t.test('[3.3.1] over plain http a cookie that has to be Secure is not sent, and the redirect is', async (t) => {
  const { visitor } = await open(t, { cookie: {} }, { trustProxy: '127.0.0.1' })
  const plain = await visitor.get('/orders/1')
  t.strictSame(place(plain), [303, '/login'])
  t.strictSame(plain.cookies, [])
  const headers = { 'x-forwarded-proto': 'https' }
  const secure = await visitor.get('/orders/1', headers)
  t.match(secure.cookies, [/^__Host-sid-return=[\w.-]+; Max-Age=600; Path=\/; HttpOnly; Secure; SameSite=Lax$/])
  t.equal((await visitor.form('/login', ADA, headers)).headers.get('location'), '/orders/1')
})

t.test('the cookie is of this host alone, and of the path of the session\'s', async (t) => {
  const { visitor } = await open(t, { cookieName: ['shop', 'sid'], cookie: { secure: false, domain: 'example.com', path: '/orders', sameSite: 'strict', httpOnly: false } })
  const answer = await visitor.get('/orders/1')
  t.match(answer.cookies, [/^shop-return=[\w.-]+; Max-Age=600; Path=\/orders; HttpOnly; SameSite=Lax$/])
  const early = await visitor.get('/early')
  t.strictSame(place(early), [303, '/login'])
  t.match(early.cookies, [/^shop-return=; Max-Age=0; Path=\/orders;/], 'a page that the session does not reach is none to go back to')
})

t.test('behind a proxy the path is the one that the browser asked for, if the server knows it', async (t) => {
  const { visitor } = await open(t, { pages: { login: '/shop/login' } }, { rewriteUrl: ({ url = '' }) => url.replace(/^\/shop/, '') })
  t.strictSame(place(await visitor.get('/shop/orders/1?page=2')), [303, '/shop/login'])
  t.equal(await signIn(visitor), '/shop/orders/1?page=2')
  const behind = await open(t, { cookie: { secure: false, path: '/shop' }, pages: { login: '/shop/login', home: '/shop/' } })
  t.strictSame(place(await behind.visitor.get('/orders/1')), [303, '/shop/login'])
  t.equal(await signIn(behind.visitor), '/shop/', 'a proxy that takes a prefix off leaves no path that leads back')
})

t.test('after a secret was put before the old one, the page is still gone to, and with another one it is not', async (t) => {
  const { visitor: before } = await open(t)
  await before.get('/orders/1')
  for (const [secrets, path] of [[['a-new-secret-of-32-characters-or-more', secret], '/orders/1'], [['a-new-secret-of-32-characters-or-more'], '/']] as const) {
    const { visitor } = await open(t, { secret: secrets })
    visitor.cookies.set(RETURN, before.cookies.get(RETURN) ?? '')
    t.equal(await signIn(visitor), path)
  }
})

t.test('[9.1.1] what was not signed for this is no page to go to', async (t) => {
  const { visitor, store } = await open(t)
  await visitor.get('/orders/1')
  const mine = visitor.cookies.get(RETURN) ?? ''
  const until = Math.floor(Date.now() / 1000) + 300
  const value = (path: string) => `${until}.${Buffer.from(path).toString('base64url')}`
  const [time = '', path = '', mac = ''] = mine.split('.')
  await signIn(visitor)
  const session = visitor.cookies.get('sid') ?? ''
  await visitor.post('/logout')
  const planted: Record<string, string> = {
    empty: '',
    plain: '/orders/1',
    unsigned: value('/orders/1'),
    'signed as sessions are': new Signature([secret]).sign(value('/orders/1')),
    'signed for another registration': Signature.of([secret], 'return path other-return').sign(value('/orders/1')),
    'signed with another secret': Signature.of(['x'.repeat(32)], `return path ${RETURN}`).sign(value('/orders/1')),
    'a session': session,
    'another time': `${Number(time) + 1}.${path}.${mac}`,
    'another path': `${time}.${Buffer.from('/orders/2').toString('base64url')}.${mac}`,
    'cut off': mine.slice(0, -1),
    two: `${mine}; ${RETURN}=${mine}`,
    'two, the second empty': `${mine}; ${RETURN}=`
  }
  for (const [name, cookie] of Object.entries(planted)) {
    visitor.cookies.set(RETURN, cookie)
    const answer = await visitor.form('/login', ADA)
    t.strictSame(place(answer), [303, '/'], name)
    t.match(answer.cookies.join(), `${RETURN}=; Max-Age=0`, name)
    await visitor.post('/logout')
  }
  visitor.cookies.clear()
  visitor.cookies.set('sid', mine)
  const asked = await store.during(async () => { t.strictSame(place(await visitor.get('/orders/1')), [303, '/login']) })
  t.strictSame(asked, [], 'nor is the signed path a session')
  visitor.cookies.clear()
  visitor.cookies.set(RETURN, mine)
  t.equal(await signIn(visitor), '/orders/1', 'but the right one is')
})

t.test('[3.7.2] even what this server has signed is checked again: it may have changed since', async (t) => {
  const { visitor } = await open(t, { pages: { login: '/sign-in' } })
  const signature = Signature.of([secret], `return path ${RETURN}`)
  const until = Math.floor(Date.now() / 1000) + 300
  for (const [path, leads] of [['/a', '/a'], ['/login', '/login'], ['/sign-in?x', '/'], ['//evil.example', '/'], ['/\\evil.example', '/'], ['/.//evil.example', '/'], ['https://evil.example', '/'], ['', '/'], ['/\r\nx: y', '/'], [`/${'x'.repeat(2_048)}`, '/']] as const) {
    visitor.cookies.set(RETURN, signature.sign(`${until}.${Buffer.from(path).toString('base64url')}`))
    t.equal(await signIn(visitor), leads, path)
    await visitor.post('/logout')
  }
})

t.test('beside each other two registrations do not take each other\'s pages', async (t) => {
  const app = await startTwo(t)
  const visitor = new Reader(await listen(app))
  t.strictSame(place(await visitor.get('/admin/orders')), [303, '/admin/login'])
  t.strictSame(place(await visitor.get('/orders')), [303, '/login'])
  t.strictSame([...visitor.cookies.keys()], ['admin-return', RETURN])
  visitor.cookies.set('admin-return', visitor.cookies.get(RETURN) ?? '')
  t.strictSame(place(await visitor.post('/admin/login')), [303, '/admin/start'], 'the path of the one is none for the other')
  t.strictSame(place(await visitor.post('/login')), [303, '/orders'])
})

/** A shop, and the office behind it, with users of its own. */
async function startTwo (t: Test): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  const scope = (prefix: string, options: Partial<SessionOptions>) => async (part: FastifyInstance): Promise<void> => {
    await part.register(sessionPlugin, { secret, store: new SpyStore(), cookie: { secure: false, path: prefix === '' ? '/' : prefix }, ...options })
    part.get(`${prefix}/orders`, { preHandler: part.authenticatePage }, async () => 'for ada')
    part.post(`${prefix}/login`, async (request, reply) => {
      await part.login(request, { id: 'ada' })
      return await reply.redirect(part.takeReturnPath(request), 303)
    })
  }
  await app.register(scope('', {}))
  await app.register(scope('/admin', { cookieName: 'admin', pages: { login: '/admin/login', home: '/admin/start' } }))
  return app
}

t.test('with redirects, authRoutes send a form to the page that was asked for', async (t) => {
  const app = await startApp(t)
  await app.register(formbody)
  await app.register(authRoutes, { prefix: '/auth', verify: ({ password }) => password === 'lovelace' ? { id: 'ada' } : null, redirects: { login: '/welcome', failure: '/login?failed' } })
  app.get('/orders', { preHandler: app.authenticatePage }, async () => 'for ada')
  const visitor = new Reader(await listen(app))
  await visitor.get('/orders?page=2')
  await visitor.form('/auth/login', { ...ADA, password: 'wrong' })
  t.strictSame(place(await visitor.form('/auth/login', ADA)), [303, '/orders?page=2'])
  t.notOk(visitor.cookies.has(RETURN))
  await visitor.post('/auth/logout')
  t.strictSame(place(await visitor.form('/auth/login', ADA)), [303, '/welcome'])
})

t.test('all of them have other names where an application wants that', async (t) => {
  const app = await startApp(t, { decorators: { authenticatePage: 'members', guestOnly: 'visitors', takeReturnPath: 'whereTo' } })
  const renamed = app as unknown as Record<'members' | 'visitors' | 'whereTo', FastifyInstance['authenticatePage']>
  t.strictSame(['authenticatePage', 'guestOnly', 'takeReturnPath'].filter((name) => app.hasDecorator(name)), [])
  app.get('/orders', { preHandler: renamed.members }, async () => 'for ada')
  t.equal((await app.inject('/orders')).headers.location, '/login')
  t.equal(typeof renamed.visitors, 'function')
  t.equal(typeof renamed.whereTo, 'function')
})
