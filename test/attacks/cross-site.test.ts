import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import cors from '@fastify/cors'
import websocket from '@fastify/websocket'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyServerOptions, InjectOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { authRoutes, MemoryStore, sessionPlugin, sessionRoutes } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'

type Headers = Record<string, string>

const OWN = 'http://app.example'
const HOST = { host: 'app.example' }
const REJECTED = { statusCode: 403, code: 'ERR_SESSION_CSRF_REJECTED', error: 'Forbidden', message: 'Cross-site request rejected' }

/** What a browser says of where a request comes from, and whether it may act; security.md's matrix. */
const ALLOWED: Array<[why: string, headers: Headers]> = [
  ['same-origin, no Origin', { 'sec-fetch-site': 'same-origin' }],
  ['same-origin, own Origin', { 'sec-fetch-site': 'same-origin', origin: OWN }],
  ['same-origin, Origin null (a page without referrer)', { 'sec-fetch-site': 'same-origin', origin: 'null' }],
  ['same-origin, another Origin (a proxy in between changed the host)', { 'sec-fetch-site': 'same-origin', origin: 'https://public.example' }],
  ['none (typed into the address bar), no Origin', { 'sec-fetch-site': 'none' }],
  ['none, own Origin', { 'sec-fetch-site': 'none', origin: OWN }],
  ['an older browser, own Origin', { origin: OWN }],
  ['an older browser, own Origin with its default port', { origin: `${OWN}:80` }],
  ['an older browser, own Origin in capitals', { origin: 'HTTP://APP.EXAMPLE' }],
  ['no browser: neither header', {}],
  ['no browser: neither header, but a Referer', { referer: 'https://evil.example/' }]
]

const REFUSED: Array<[why: string, headers: Headers]> = [
  ...['same-site', 'cross-site', 'bogus', '', 'same-origin, cross-site', 'SAME-ORIGIN'].flatMap((site): typeof REFUSED => [
    [`${site}, no Origin`, { 'sec-fetch-site': site }],
    [`${site}, own Origin`, { 'sec-fetch-site': site, origin: OWN }],
    [`${site}, foreign Origin`, { 'sec-fetch-site': site, origin: 'https://evil.example' }]
  ]),
  ...['https://evil.example', 'null', '', ' ', 'undefined', '*', 'app.example', '//app.example', 'http:', 'http://', 'https://app.example', 'http://app.example:8080', 'http://app.example.evil.example', 'http://evil.example/app.example',
    'http://xapp.example', 'http://example', 'http://app.example@evil.example', 'http://evil.example#app.example', 'http://app.example http://evil.example', 'http://app.example, http://evil.example', 'http://app.example/', 'http://app.example/evil',
    'http://evil@app.example', 'http://app.example?evil', 'http://app.example#evil', 'http://app.example\\evil', 'file://', 'data:,x'
  ].flatMap((origin): typeof REFUSED => [
    [`an older browser, Origin ${origin}`, { origin }],
    [`none, Origin ${origin}`, { 'sec-fetch-site': 'none', origin }]
  ])
]

interface Site {
  app: FastifyInstance
  store: CountingStore
  /** What the application's own routes were reached by. */
  reached: string[]
  /** A browser in which ada is signed in. */
  ada: () => Promise<Browser>
}

/** Counts what a session costs. */
class CountingStore extends MemoryStore {
  calls = 0
  override findNow (): undefined {}

  override async find (id: string) {
    this.calls++
    return await super.find(id)
  }

  override async delete (...args: Parameters<MemoryStore['delete']>) {
    this.calls++
    return await super.delete(...args)
  }
}

async function site (t: Test, options: Partial<SessionOptions> = {}, server: FastifyServerOptions = {}): Promise<Site> {
  const store = new CountingStore()
  const app = await startApp(t, { store, ...options }, server)
  const reached: string[] = []
  await app.register(authRoutes, {
    verify: ({ username, password }) => {
      reached.push(`verify ${username}`)
      return password === 'right' ? { id: username } : null
    }
  })
  app.route({ method: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'], url: '/transfer', exposeHeadRoute: false, handler: async (request) => { reached.push(`${request.method} ${request.auth?.userId ?? 'nobody'}`) } })
  app.get('/me', async (request) => ({ userId: request.auth?.userId ?? null }))
  app.post('/hand-written', async (request) => await app.login(request, { id: 'mallory' }))
  app.post('/assigned', async (request) => { request.session.userId = 'mallory' })
  app.post('/assigned-and-saved', async (request) => {
    request.session.userId = 'mallory'
    await request.session.save()
  })
  app.post('/signed-out', async (request) => { await app.logout(request) })
  app.get('/callback', async (request) => await app.login(request, { id: 'ada' }))
  app.get('/callback-assigned', async (request) => { request.session.userId = 'ada' })
  const ada = async () => {
    const browser = new Browser(app)
    const { statusCode } = await browser.post('/login', { username: 'ada', password: 'right' }, { headers: HOST })
    if (statusCode !== 200) throw new Error(`Ada's login was answered ${statusCode}`)
    reached.length = 0
    return browser
  }
  return { app, store, reached, ada }
}

const who = async (browser: Browser, headers: Headers = HOST): Promise<string | null> => (await browser.get('/me', { headers })).json().userId

t.test('[3.5.1] who may act with a session', async (t) => {
  const { ada, reached } = await site(t)
  const browser = await ada()
  for (const [why, headers] of ALLOWED) t.equal((await browser.post('/transfer', {}, { headers: { ...HOST, ...headers } })).statusCode, 200, why)
  t.strictSame(reached, ALLOWED.map(() => 'POST ada'))
})

t.test('[3.5.1] a page of another site cannot act with a session', async (t) => {
  const { ada, reached } = await site(t)
  const browser = await ada()
  for (const [why, headers] of REFUSED) t.strictSame((await browser.post('/transfer', {}, { headers: { ...HOST, ...headers } })).json(), REJECTED, why)
  t.strictSame(reached, [])
  t.equal(await who(browser), 'ada', 'and it goes on')
})

t.test('[3.5.1] who may sign somebody in', async (t) => {
  const { app } = await site(t)
  const answers: unknown[] = []
  const expected: unknown[] = []
  for (const [why, headers] of ALLOWED) {
    for (const url of ['/login', '/hand-written', '/assigned', '/assigned-and-saved']) {
      const browser = new Browser(app)
      const { statusCode } = await browser.post(url, { username: 'mallory', password: 'right' }, { headers: { ...HOST, ...headers } })
      answers.push([url, why, statusCode, await who(browser)])
      expected.push([url, why, 200, 'mallory'])
    }
  }
  t.strictSame(answers, expected)
})

t.test('[3.5.1] a page of another site cannot sign anybody in', async (t) => {
  const { app, ada, reached } = await site(t)
  const signedIn = await ada()
  const answers: unknown[] = []
  const expected: unknown[] = []
  for (const [why, headers] of REFUSED) {
    for (const url of ['/login', '/hand-written', '/assigned', '/assigned-and-saved']) {
      const browser = new Browser(app)
      for (const each of [browser, signedIn]) {
        const response = await each.post(url, { username: 'mallory', password: 'right' }, { headers: { ...HOST, ...headers } })
        answers.push([url, why, response.json(), response.setCookies])
        expected.push([url, why, REJECTED, []])
      }
    }
  }
  t.strictSame(answers, expected)
  t.equal(await who(signedIn), 'ada')
  t.strictSame(reached, [], 'no password is even looked at')
})

t.test('[3.5.1, 7.4.4] who may sign out', async (t) => {
  const { ada } = await site(t)
  const answers: unknown[] = []
  const expected: unknown[] = []
  for (const [why, headers] of ALLOWED) {
    for (const [url, status] of [['/logout', 204], ['/signed-out', 200]] as const) {
      const browser = await ada()
      const { statusCode } = await browser.post(url, undefined, { headers: { ...HOST, ...headers } })
      answers.push([url, why, statusCode, await who(browser), browser.cookies.size])
      expected.push([url, why, status, null, 0])
    }
  }
  t.strictSame(answers, expected)
})

t.test('[3.5.1, 3.5.2] a page of another site cannot sign anybody out, with or without a body of whatever type', async (t) => {
  const { ada, app } = await site(t)
  const browser = await ada()
  const answers: unknown[] = []
  const expected: unknown[] = []
  for (const [why, headers] of REFUSED) {
    for (const url of ['/logout', '/signed-out']) {
      const from = { ...HOST, ...headers }
      const nobodys = await new Browser(app).post(url, undefined, { headers: from })
      const replies = [nobodys]
      for (const type of [undefined, 'text/plain', 'application/json']) {
        const typed = { ...from, ...type !== undefined && { 'content-type': type } }
        replies.push(await browser.post(url, type === 'application/json' ? {} : undefined, { headers: typed }))
      }
      for (const response of replies) {
        answers.push([url, why, response.json(), response.setCookies])
        expected.push([url, why, REJECTED, []])
      }
    }
  }
  t.strictSame(answers, expected)
  t.equal(await who(browser), 'ada')
})

t.test('[3.5.1] a rejected request costs no look at its session', async (t) => {
  const { ada, store } = await site(t)
  const browser = await ada()
  store.calls = 0
  for (const url of ['/transfer', '/login', '/logout', '/hand-written', '/signed-out', '/assigned', '/no-such-route']) {
    t.equal((await browser.post(url, { username: 'mallory', password: 'right' }, { headers: { ...HOST, 'sec-fetch-site': 'cross-site' } })).statusCode, 403)
  }
  t.equal(store.calls, 0)
  t.equal((await browser.post('/transfer', {}, { headers: HOST })).statusCode, 200)
  t.equal(store.calls, 1)
})

const CROSS_SITE = { ...HOST, origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }

t.test('[3.5.1, 3.5.3] every unsafe method is checked, also one that the application made known, no safe one is', async (t) => {
  const { app, ada, reached } = await site(t)
  for (const method of ['MKCOL', 'PROPFIND', 'LOCK', 'SEARCH']) {
    app.addHttpMethod(method)
    app.route({ method, url: '/folder', handler: async (request) => { reached.push(method, request.auth?.userId ?? 'nobody') } })
  }
  const browser = await ada()
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'] as const) t.equal((await browser.request(method, '/transfer', { headers: CROSS_SITE })).statusCode, 403, method)
  // What inject's types do not know.
  for (const method of ['MKCOL', 'PROPFIND', 'LOCK', 'SEARCH'] as never[]) t.equal((await browser.request(method, '/folder', { headers: CROSS_SITE })).statusCode, 403, method)
  t.strictSame(reached, [])
  for (const method of ['GET', 'HEAD', 'OPTIONS'] as const) t.equal((await browser.request(method, '/transfer', { headers: CROSS_SITE })).statusCode, 200, method)
  t.strictSame(reached, ['GET ada', 'HEAD ada', 'OPTIONS ada'])
})

t.test('[3.5.1] the opening of a WebSocket with a session is checked, as no CORS rule guards it', async (t) => {
  const { ada, app, reached } = await site(t)
  const browser = await ada()
  const open = async (upgrade: string, headers: Headers) => (await browser.get('/transfer', { headers: { connection: 'Upgrade', upgrade, ...headers } })).statusCode
  for (const upgrade of ['websocket', 'WebSocket', 'WEBSOCKET']) {
    for (const [why, headers] of REFUSED) t.equal(await open(upgrade, { ...HOST, ...headers }), 403, why)
  }
  t.strictSame(reached, [])
  for (const [why, headers] of ALLOWED) t.equal(await open('websocket', { ...HOST, ...headers }), 200, why)
  t.equal(await open('h2c', CROSS_SITE), 200, 'another upgrade is none')
  t.equal((await app.inject({ url: '/transfer', headers: { ...CROSS_SITE, connection: 'Upgrade', upgrade: 'websocket' } })).statusCode, 200, 'without a session it is the application\'s own affair')
})

t.test('[3.5.1] over a real WebSocket: a page of another site cannot open one in ada\'s name, a page of this one can', async (t) => {
  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  await app.register(websocket)
  await app.register(sessionPlugin, { secret, store: new MemoryStore(), bearer: true, cookie: { secure: false } })
  app.get('/live', { websocket: true }, (socket, request) => { socket.send(request.auth?.userId ?? 'nobody') })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const { headers: { cookie = '' } } = await app.sessions.create({ userId: 'ada' })
  const { headers: { authorization = '' } } = await app.sessions.create({ userId: 'ada', kind: 'bearer' })
  const open = async (headers: Headers): Promise<string> => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/live`, { headers })
    socket.on('error', () => {})
    const said = await Promise.race([
      once(socket, 'message').then(([data]) => String(data)),
      once(socket, 'unexpected-response').then(([, response]) => String((response as IncomingMessage).statusCode))
    ])
    socket.terminate()
    return said
  }
  const evil = 'https://evil.example'
  for (const [expected, headers] of [
    ['ada', { cookie, origin: url }],
    ['ada', { cookie, origin: url, 'sec-fetch-site': 'same-origin' }],
    ['ada', { cookie }],
    ['403', { cookie, origin: evil }],
    ['403', { cookie, origin: 'null' }],
    ['403', { cookie, origin: url, 'sec-fetch-site': 'cross-site' }],
    ['403', { cookie, 'sec-fetch-site': 'same-site' }],
    ['403', { cookie, origin: evil, 'sec-fetch-site': 'none' }],
    ['ada', { authorization, origin: evil, 'sec-fetch-site': 'cross-site' }],
    ['400', { cookie, authorization, origin: url }],
    ['nobody', { origin: evil }]
  ] as Array<[string, Headers]>) t.equal(await open(headers), expected, JSON.stringify({ ...headers, ...headers.cookie !== undefined && { cookie: 'hers' }, ...headers.authorization !== undefined && { authorization: 'hers' } }))
})

t.test('[3.5.1] a bearer token is in no other site\'s hands, and beside a cookie that verifies it is refused wherever it comes from', async (t) => {
  const { app, ada, reached } = await site(t, { bearer: true })
  const { header: cookie } = await ada()
  const { headers } = await app.sessions.create({ userId: 'bob', kind: 'bearer' })
  const AMBIGUOUS = 'ERR_SESSION_AMBIGUOUS_CREDENTIALS'
  for (const [why, from] of [...ALLOWED, ...REFUSED]) {
    t.equal((await app.inject({ method: 'POST', url: '/transfer', headers: { ...HOST, ...headers, ...from } })).statusCode, 200, why)
    for (const authorization of [headers.authorization, 'Bearer nonsense', 'bearer']) {
      const both = await app.inject({ method: 'POST', url: '/transfer', headers: { ...HOST, ...from, cookie, authorization } })
      t.same([both.statusCode, both.json().code], [400, AMBIGUOUS], why)
    }
  }
  t.strictSame(new Set(reached), new Set(['POST bob']))
  for (const [why, from] of REFUSED) t.equal((await app.inject({ method: 'POST', url: '/transfer', headers: { ...HOST, ...from, cookie, authorization: 'Basic c3RhZ2luZzp4' } })).statusCode, 403, `Basic: ${why}`)
})

t.test('[3.5.1, 3.5.2] no route of ours is reached from another site, whatever method and body, and every one from its own', async (t) => {
  const { app, ada } = await site(t, { bearer: true })
  await app.register(sessionRoutes, { prefix: '/sessions' })
  const other = await ada()
  const browser = await ada()
  const { id } = (await app.sessions.listByUser('ada')).find((session) => browser.header.includes(session.id)) ?? { id: '' }
  const credentials = { username: 'ada', password: 'right' }
  const ours = [['POST', '/login', credentials], ['POST', '/token', credentials], ['POST', '/logout'], ['DELETE', '/sessions'], ['DELETE', `/sessions/${id}`], ['DELETE', '/sessions/nobodys']] as const
  for (const [why, headers] of REFUSED) {
    for (const [method, url, payload] of ours) {
      for (const cookie of [browser.header, 'sid=x']) {
        const response = await app.inject({ method, url, ...payload !== undefined && { payload }, headers: { ...HOST, ...headers, cookie } })
        t.strictSame([response.json(), response.headers['set-cookie']], [REJECTED, undefined], `${method} ${url}: ${why}`)
      }
    }
  }
  for (const each of [browser, other]) t.equal(await who(each), 'ada', 'and both sessions go on')
  for (const [why, headers] of ALLOWED) {
    const statuses: number[] = []
    for (const [method, url, payload] of ours.slice(0, 5)) {
      const mine = await ada()
      const own = mine.header.slice('sid='.length, 'sid='.length + 22)
      statuses.push((await mine.request(method, url === `/sessions/${id}` ? `/sessions/${own}` : url, { ...payload !== undefined && { payload }, headers: { ...HOST, ...headers } })).statusCode)
    }
    t.strictSame(statuses, [200, 200, 204, 200, 204], why)
  }
})

t.test('[3.5.1] beside @fastify/cors: a page of a named origin may act and read the answer, others are refused and can tell why', async (t) => {
  const FRONT = 'https://app.example.com'
  for (const order of ['before', 'after'] as const) {
    const app = await corsSite(t, FRONT, order)
    const ada = new Browser(app)
    const from = (origin: string) => ({ ...HOST, origin, 'sec-fetch-site': 'cross-site' })
    const login = await ada.post('/login', { username: 'ada', password: 'right' }, { headers: from(FRONT) })
    t.same([login.statusCode, login.headers['access-control-allow-origin'], login.headers['access-control-allow-credentials'], login.headers.vary], [200, FRONT, 'true', 'Origin, Cookie'], order)
    const preflight = await app.inject({ method: 'OPTIONS', url: '/transfer', headers: { ...from(FRONT), cookie: ada.header, 'access-control-request-method': 'DELETE' } })
    t.same([preflight.statusCode, preflight.headers['access-control-allow-origin']], [204, FRONT], 'OPTIONS is never checked')
    const acted = await ada.request('DELETE', '/transfer', { headers: from(FRONT) })
    t.same([acted.statusCode, acted.body, acted.headers['access-control-allow-origin']], [200, 'ada', FRONT])
    for (const evil of ['https://evil.example', 'null', 'https://app.example.com.evil.example']) {
      const refused = await ada.request('DELETE', '/transfer', { headers: from(evil) })
      t.same([refused.statusCode, refused.json().code], [403, 'ERR_SESSION_CSRF_REJECTED'])
      t.not(refused.headers['access-control-allow-origin'], evil)
    }
    t.equal((await new Browser(app).post('/login', { username: 'ada', password: 'right' }, { headers: from('https://evil.example') })).statusCode, 403)
  }
})

/** An application whose pages are elsewhere. */
async function corsSite (t: Test, front: string, order: 'before' | 'after'): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  const plugins = [
    async () => { await app.register(cors, { origin: [front], credentials: true, methods: ['GET', 'POST', 'DELETE'] }) },
    async () => { await app.register(sessionPlugin, { secret, store: new MemoryStore(), origins: [front], cookie: { secure: false } }) }
  ]
  for (const register of order === 'before' ? plugins : plugins.reverse()) await register()
  await app.register(authRoutes, { verify: ({ username }) => ({ id: username }) })
  app.delete('/transfer', { preHandler: app.authenticate }, async (request) => request.requireAuth().userId)
  return app
}

t.test('[3.5.1] without a session an unsafe request is the application\'s own affair', async (t) => {
  const { app, ada, reached } = await site(t)
  const cookie = (await ada()).header
  const forged = cookie.slice(0, -1) + (cookie.endsWith('A') ? 'B' : 'A')
  for (const header of [undefined, 'other=1', 'sid=', 'sid=x', 'sid=%00', forged]) {
    t.equal((await app.inject({ method: 'POST', url: '/transfer', headers: { ...CROSS_SITE, ...header !== undefined && { cookie: header } } })).statusCode, 200, header ?? 'no cookie')
  }
  t.strictSame(new Set(reached), new Set(['POST nobody']))
})

t.test('[3.5.1] a form of another site, with which a browser sends no cookie, stores nothing for a visitor: their cookie would take the place of the user\'s', async (t) => {
  const { app, store } = await site(t)
  app.post('/cart', async ({ session }) => { session.cart = ['tea'] })
  app.post('/returns', { config: { session: { csrf: false } } }, async ({ session }) => { session.cart = ['tea'] })
  const seen: unknown[] = []
  const forms: Array<[string, Headers]> = [
    ['/cart', CROSS_SITE], ['/cart', { ...CROSS_SITE, 'sec-fetch-mode': 'navigate' }], ['/cart', { ...HOST, origin: 'https://evil.example' }],
    // Browsers keep no cookie that a script of another site is answered.
    ['/cart', { ...CROSS_SITE, 'sec-fetch-mode': 'cors' }], ['/cart', { ...HOST, origin: OWN }], ['/cart', { ...HOST, origin: 'http://www.app.example', 'sec-fetch-site': 'same-site' }], ['/cart', HOST], ['/returns', CROSS_SITE], ['/transfer', CROSS_SITE]
  ]
  for (const [url, headers] of forms) {
    const { statusCode, headers: { 'set-cookie': cookie } } = await app.inject({ method: 'POST', url, headers })
    seen.push([statusCode, cookie === undefined ? 'no cookie' : 'a cookie'])
  }
  t.strictSame(seen, [
    [403, 'no cookie'], [403, 'no cookie'], [403, 'no cookie'], [200, 'a cookie'], [200, 'a cookie'], [200, 'a cookie'], [200, 'a cookie'], [200, 'a cookie'], [200, 'no cookie']
  ])
  let live = 0
  for await (const { userId } of store.listAll()) live += userId === null ? 1 : 0
  t.equal(live, 5)
})

t.test('[3.5.1] coming back from another site may sign in, by GET', async (t) => {
  const { app } = await site(t)
  for (const url of ['/callback', '/callback-assigned']) {
    const browser = new Browser(app)
    t.equal((await browser.get(url, { headers: { ...HOST, 'sec-fetch-site': 'cross-site' } })).statusCode, 200)
    t.equal(await who(browser), 'ada')
  }
})

t.test('[3.5.1] named origins may act besides the own one, and no others', async (t) => {
  const { app, ada } = await site(t, { origins: ['https://app.example.com', 'http://localhost:3000'] })
  const browser = await ada()
  const act = async (headers: Headers) => {
    const statuses = [(await browser.post('/transfer', {}, { headers: { ...HOST, ...headers } })).statusCode]
    for (const url of ['/login', '/hand-written']) statuses.push((await new Browser(app).post(url, { username: 'bob', password: 'right' }, { headers: { ...HOST, ...headers } })).statusCode)
    t.equal(new Set(statuses).size, 1, `${JSON.stringify(headers)}: ${statuses.join()}`)
    return statuses[0]
  }
  for (const site of [undefined, 'none', 'same-site', 'cross-site', 'same-origin']) {
    const from = (origin?: string) => ({ ...origin !== undefined && { origin }, ...site !== undefined && { 'sec-fetch-site': site } })
    t.equal(await act(from('https://app.example.com')), 200)
    t.equal(await act(from('http://localhost:3000')), 200)
    t.equal(await act(from()), site === 'same-site' || site === 'cross-site' ? 403 : 200)
    // As without named origins: what the host says counts where the browser does not say that it is another site.
    t.equal(await act(from(OWN)), site === 'same-site' || site === 'cross-site' ? 403 : 200, `${site} ${OWN}`)
    for (const origin of ['https://evil.example', 'http://app.example.com', 'https://app.example.com:8443', 'http://localhost', 'https://app.example.com.evil.example', 'https://app.example.com/', 'null', '']) {
      t.equal(await act(from(origin)), site === 'same-origin' ? 200 : 403, `${site} ${origin}`)
    }
  }
})

t.test('[3.5.1] who may act without named origins may with them, and of the others they alone', async (t) => {
  for (const origins of [[], ['https://front.example'], ['https://front.example', OWN]]) {
    const { ada } = await site(t, { origins })
    const browser = await ada()
    const wrong: string[] = []
    const act = async (expected: number, [why, from]: typeof ALLOWED[number]): Promise<void> => {
      const { statusCode } = await browser.post('/transfer', {}, { headers: { ...HOST, ...from } })
      if (statusCode !== expected) wrong.push(`${origins.join()}: ${why}`)
    }
    for (const each of ALLOWED) await act(200, each)
    for (const each of REFUSED) await act(origins.includes(each[1].origin ?? '') ? 200 : 403, each)
    t.strictSame(wrong, [])
  }
})

t.test('[3.5.1] own is what the host says, whatever its form', async (t) => {
  const { ada } = await site(t)
  const browser = await ada()
  const status = async (host: string, origin: string) => (await browser.post('/transfer', {}, { headers: { host, origin } })).statusCode
  t.equal(await status('APP.example', 'http://app.example'), 200)
  t.equal(await status('app.example:80', 'http://app.example'), 200)
  t.equal(await status('app.example:8080', 'http://app.example:8080'), 200)
  t.equal(await status('app.example:8080', 'http://app.example'), 403)
  t.equal(await status('[::1]:3000', 'http://[::1]:3000'), 200)
  t.equal(await status('127.0.0.1', 'http://localhost'), 403)
  for (const host of ['', ' ', 'a b', 'null', '/', '@', 'evil.example/app.example']) {
    t.equal(await status(host, 'null'), 403, host)
    t.equal(await status(host, 'http://undefined'), 403, host)
  }
})

t.test('[3.5.1, 4.1.3] behind a proxy, own is what the proxy says, if it is trusted', async (t) => {
  const proxied = { host: '10.0.0.5:3000', 'x-forwarded-host': 'app.example', 'x-forwarded-proto': 'https', 'x-forwarded-for': '203.0.113.7' }
  for (const [trustProxy, own, foreign] of [[true, 'https://app.example', 'http://10.0.0.5:3000'], [false, 'http://10.0.0.5:3000', 'https://app.example']] as const) {
    const { ada } = await site(t, {}, { trustProxy })
    const browser = await ada()
    const status = async (headers: Headers) => (await browser.post('/transfer', {}, { headers: { ...proxied, ...headers } })).statusCode
    t.equal(await status({ origin: own }), 200, `trustProxy ${trustProxy}`)
    t.equal(await status({ origin: foreign }), 403)
    t.equal(await status({ origin: 'https://evil.example' }), 403)
    t.equal(await status({ origin: 'http://app.example' }), 403)
    t.equal(await status({ origin: 'https://evil.example', 'x-forwarded-host': 'evil.example' }), trustProxy ? 200 : 403, 'a trusted proxy must set the header itself')
  }
})

t.test('[3.5.1, 4.1.3, 15.3.4, CVE-2026-3635] a direct client cannot make itself own by forwarded headers', async (t) => {
  const { app } = await site(t)
  const response = await app.inject({
    method: 'POST', url: '/login', payload: { username: 'mallory', password: 'right' }, headers: { ...HOST, origin: 'https://evil.example', 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https', forwarded: 'host=evil.example;proto=https' }
  })
  t.strictSame(response.json(), REJECTED)
})

t.test('[3.5.1] csrf: false checks nothing', async (t) => {
  const { app, ada, reached } = await site(t, { csrf: false })
  const browser = await ada()
  for (const [, headers] of REFUSED) t.equal((await browser.post('/transfer', {}, { headers: { ...HOST, ...headers } })).statusCode, 200)
  t.equal(reached.length, REFUSED.length)
  for (const url of ['/login', '/hand-written', '/assigned']) {
    const other = new Browser(app)
    t.equal((await other.post(url, { username: 'mallory', password: 'right' }, { headers: CROSS_SITE })).statusCode, 200)
    t.equal(await who(other), 'mallory')
  }
  t.equal((await browser.post('/logout', undefined, { headers: CROSS_SITE })).statusCode, 204)
  t.equal(await who(browser), null)
})

t.test('[3.5.1] a route can be exempt, for a sign-in that another site posts', async (t) => {
  const { app, ada, reached } = await site(t)
  const exempt = { config: { session: { csrf: false } } }
  app.post('/saml', exempt, async (request) => await app.login(request, { id: 'ada' }))
  app.post('/apple', exempt, async (request) => { request.session.userId = 'ada' })
  app.post('/sls', exempt, async (request) => { await app.logout(request) })
  app.post('/hook', exempt, async (request) => { reached.push(request.auth?.userId ?? 'nobody') })
  app.post('/not-exempt', { config: { session: { csrf: true } } }, async () => { reached.push('not exempt') })
  app.post('/default', { config: { session: {} } }, async () => { reached.push('default') })
  for (const url of ['/saml', '/apple']) {
    const browser = new Browser(app)
    t.equal((await browser.post(url, {}, { headers: CROSS_SITE })).statusCode, 200)
    t.equal(await who(browser), 'ada')
    t.equal((await browser.post('/sls', {}, { headers: CROSS_SITE })).statusCode, 200)
    t.equal(await who(browser), null)
  }
  const browser = await ada()
  t.equal((await browser.post('/hook', {}, { headers: CROSS_SITE })).statusCode, 200)
  t.equal((await browser.post('/not-exempt', {}, { headers: CROSS_SITE })).statusCode, 403)
  t.equal((await browser.post('/default', {}, { headers: CROSS_SITE })).statusCode, 403)
  t.equal((await browser.post('/transfer', {}, { headers: CROSS_SITE })).statusCode, 403, 'and no other')
  t.strictSame(reached, ['ada'])
})

t.test('[3.5.1] a route without sessions is not checked', async (t) => {
  const { app, ada } = await site(t)
  app.post('/hook', { config: { session: false } }, async () => 'got it')
  const browser = await ada()
  t.equal((await browser.post('/hook', {}, { headers: CROSS_SITE })).body, 'got it')
})

t.test('[3.5.1] a refused sign-in by assignment leaves the session as it was', async (t) => {
  const { app, ada } = await site(t)
  app.post('/switch', async (request) => {
    request.session.userId = 'mallory'
    request.session.cart = ['stolen']
  })
  app.get('/cart', async (request) => ({ cart: request.session.cart ?? null }))
  const browser = await ada()
  t.equal((await browser.post('/switch', {}, { headers: CROSS_SITE })).statusCode, 403)
  t.equal(await who(browser), 'ada')
  t.strictSame((await browser.get('/cart', { headers: HOST })).json(), { cart: null })
  const nobody = new Browser(app)
  const response = await nobody.post('/switch', {}, { headers: CROSS_SITE } satisfies Omit<InjectOptions, 'method' | 'url'>)
  t.strictSame(response.json(), REJECTED)
  t.strictSame(response.setCookies, [])
  t.equal(await who(nobody), null)
})
