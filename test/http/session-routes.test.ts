import swagger from '@fastify/swagger'
import expressSession from 'express-session'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { MemoryStore, sessionPlugin, sessionRoutes } from '../../lib/index.ts'
import type { LoginOptions, SessionOptions, SessionRoutesOptions } from '../../lib/index.ts'
import { newId } from '../../lib/session/token.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import type { TestResponse } from '../helpers/app.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { MINUTE } from '../helpers/record.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import type { TestRedis } from '../helpers/redis.ts'
import { slowToEnd } from '../helpers/spy-store.ts'

const FIREFOX = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:131.0) Gecko/20100101 Firefox/131.0'
const ANDROID = 'Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36'
const IPHONE = 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1'
const CURL = 'curl/8.5.0'

const NOT_FOUND = { statusCode: 404, code: 'ERR_SESSION_NOT_FOUND', error: 'Not Found', message: 'Session not found' }
const UNAUTHENTICATED = { statusCode: 401, code: 'ERR_SESSION_UNAUTHENTICATED', error: 'Unauthorized', message: 'Authentication required' }

interface Listed { id: string, current: boolean, device: string | null, label: string | null, kind: string, ip: string | null, createdAt: number }

interface Service {
  app: Awaited<ReturnType<typeof startApp>>
  /** A browser in which this user signed in, later than everybody before. */
  signIn: (userId: string, userAgent?: string, options?: LoginOptions) => Promise<Browser>
  list: (browser: Browser) => Promise<Listed[]>
}

/** An application with the routes under `/sessions`, and `GET /me` for who is signed in. */
async function open (t: Test, options: Partial<SessionOptions> = {}, routes?: SessionRoutesOptions): Promise<Service> {
  const app = await startApp(t, { store: new MemoryStore(), ...options })
  await app.register(sessionRoutes, { prefix: '/sessions', ...routes })
  app.post<{ Body: { userId: string, options: LoginOptions } }>('/login', async (request) => {
    await app.login(request, { id: request.body.userId }, request.body.options)
    request.session.cart = ['LEAKED']
  })
  app.get('/me', { preHandler: app.authenticate }, async (request) => ({ userId: request.requireAuth().userId }))
  const signIn = async (userId: string, userAgent = FIREFOX, options: LoginOptions = {}) => {
    const before = Date.now()
    await until('the next moment', () => Date.now() > before + 1)
    const browser = new Browser(app)
    t.equal((await browser.post('/login', { userId, options }, { headers: { 'user-agent': userAgent } })).statusCode, 200)
    return browser
  }
  return { app, signIn, list: async (browser) => (await browser.get('/sessions')).json() }
}

const idOf = (browser: Browser): string => browser.cookies.get('sid')?.split('.')[0] ?? ''
const signedIn = async (browser: Browser): Promise<boolean> => (await browser.get('/me')).statusCode === 200

/** A reply but for what is new in every reply. */
const replyOf = ({ statusCode, headers, rawPayload }: TestResponse) => ({ statusCode, headers: { ...headers, date: '' }, body: rawPayload.toString('latin1') })

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
  t.test(`${name}: I see where I am signed in, newest first, and which session is this one`, async (t) => {
    const { signIn, list, app } = await open(t, await options())
    const firefox = await signIn('ada', FIREFOX)
    const android = await signIn('ada', ANDROID, { label: 'ada\'s phone' })
    await signIn('bob')
    const iphone = await signIn('ada', IPHONE)
    const curl = await signIn('ada', CURL)
    const listed = await list(android)
    t.strictSame(listed.map(({ id, device, current, label }) => ({ id, device, current, label })), [
      { id: idOf(curl), device: 'curl/8.5.0', current: false, label: null },
      { id: idOf(iphone), device: 'Safari 18 on iOS', current: false, label: null },
      { id: idOf(android), device: 'Chrome 130 on Android', current: true, label: 'ada\'s phone' },
      { id: idOf(firefox), device: 'Firefox 131 on Windows', current: false, label: null }
    ])
    t.strictSame((await list(firefox)).map(({ current }) => current), [false, false, false, true])
    t.equal(listed[0]?.ip, '127.0.0.1')
    t.equal((await app.sessions.listByUser('bob')).length, 1)
  })

  t.test(`${name}: I end a session of mine elsewhere, and no other ends`, async (t) => {
    const { signIn, list } = await open(t, await options())
    const [phone, laptop, tablet, bob] = [await signIn('ada'), await signIn('ada'), await signIn('ada'), await signIn('bob')]
    const response = await laptop.request('DELETE', `/sessions/${idOf(phone)}`)
    t.equal(response.statusCode, 204)
    t.equal(response.body, '')
    t.equal(response.headers['cache-control'], 'no-store')
    t.strictSame(response.setCookies, [])
    t.equal(await signedIn(phone), false)
    for (const each of [laptop, tablet, bob]) t.equal(await signedIn(each), true)
    t.strictSame((await list(laptop)).map(({ id }) => id), [idOf(tablet), idOf(laptop)])
    t.strictSame((await laptop.request('DELETE', `/sessions/${idOf(phone)}`)).json(), NOT_FOUND, 'and not twice')
  })

  t.test(`${name}: I end all my other sessions, and stay signed in here`, async (t) => {
    const { signIn, list } = await open(t, await options())
    const elsewhere = [await signIn('ada'), await signIn('ada'), await signIn('ada')]
    const [here, bob] = [await signIn('ada'), await signIn('bob')]
    const response = await here.request('DELETE', '/sessions')
    t.equal(response.statusCode, 200)
    t.strictSame(response.json(), { revoked: 3 })
    t.equal(response.headers['cache-control'], 'no-store')
    t.strictSame(response.setCookies, [])
    for (const each of elsewhere) t.equal(await signedIn(each), false)
    for (const each of [here, bob]) t.equal(await signedIn(each), true)
    t.strictSame((await list(here)).map(({ id }) => id), [idOf(here)])
    t.strictSame((await here.request('DELETE', '/sessions/')).json(), { revoked: 0 })
  })

  t.test(`${name}: ending this session is signing out`, async (t) => {
    const { signIn, app } = await open(t, await options())
    const [phone, laptop] = [await signIn('ada'), await signIn('ada')]
    const copy = new Browser(app)
    copy.cookies.set('sid', laptop.cookies.get('sid') ?? '')
    const response = await laptop.request('DELETE', `/sessions/${idOf(laptop)}`)
    t.equal(response.statusCode, 204)
    t.match(response.setCookies, [/^sid=; Max-Age=0; Path=\/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax$/i])
    t.equal(response.headers['cache-control'], 'no-store')
    t.equal(laptop.cookies.size, 0)
    t.equal(await signedIn(copy), false)
    t.equal(await signedIn(phone), true)
  })

  t.test(`${name}: somebody else's session, one that is not and what is no id at all cannot be told apart`, async (t) => {
    const { signIn, app } = await open(t, await options())
    const [ada, bob, gone] = [await signIn('ada'), await signIn('bob'), await signIn('ada')]
    await ada.request('DELETE', `/sessions/${idOf(gone)}`)
    const { session: robot } = await app.sessions.create({ userId: 'bob', kind: 'bearer' })
    const foreign = replyOf(await ada.request('DELETE', `/sessions/${idOf(bob)}`))
    t.strictSame(JSON.parse(foreign.body), NOT_FOUND)
    const others = [
      robot.id, newId(), idOf(gone), 'x', 'x'.repeat(100), 'x'.repeat(101), 'x'.repeat(10_000), idOf(bob).toLowerCase(), `${idOf(bob)}x`, idOf(bob).slice(1), bob.cookies.get('sid') ?? '', '*', '%00', '%2f', '%20', '%2e%2e%2f', 'a/b',
      '__proto__', 'constructor', 'null', `${idOf(bob)}%00`, `${idOf(bob)}/`, '%2a%0d%0aset-cookie:x', 'é', `${'../'.repeat(3)}sessions/${newId()}`
    ]
    for (const id of others) t.strictSame(replyOf(await ada.request('DELETE', `/sessions/${id}`)), foreign, id.slice(0, 40))
    t.equal(await signedIn(bob), true)
    t.ok(await app.sessions.get(robot.id))
    t.equal(await signedIn(ada), true)
  })
}

t.test('the list holds what a person may see, and nothing else', async (t) => {
  const { signIn, app } = await open(t)
  const ada = await signIn('ada', ANDROID, { meta: { risk: 'LEAKED' } })
  const response = await ada.get('/sessions')
  t.equal(response.statusCode, 200)
  t.equal(response.headers['cache-control'], 'no-store')
  t.equal(response.headers.vary, 'Cookie')
  t.strictSame(response.setCookies, [])
  const [listed = {}, ...more] = response.json()
  t.strictSame(more, [])
  t.strictSame(Object.keys(listed).sort(), ['createdAt', 'current', 'authenticatedAt', 'device', 'endsAt', 'expiresAt', 'id', 'ip', 'kind', 'label', 'lastSeenAt', 'methods', 'remembered', 'actor', 'deviceBound'].sort())
  t.match(await app.sessions.data(idOf(ada)), { cart: ['LEAKED'] }, 'there is something to leak')
  t.notMatch(response.body, 'LEAKED')
  const [, secretHalf = '', signature = ''] = (ada.cookies.get('sid') ?? '').split('.')
  for (const hidden of [secretHalf, signature, 'secretHash']) t.notMatch(response.body, hidden)
})

t.test('a session that was begun without a browser has no device', async (t) => {
  const { app, signIn, list } = await open(t)
  const { session } = await app.sessions.create({ userId: 'ada', label: 'by the support' })
  const ada = await signIn('ada')
  t.match((await list(ada)).find(({ id }) => id === session.id), { device: null, ip: null, label: 'by the support', current: false })
})

t.test('[7.5.2] who is not signed in sees nothing and ends nothing', async (t) => {
  const { app, signIn } = await open(t)
  const ada = await signIn('ada')
  const anonymous = new Browser(app)
  for (const cookie of [undefined, 'sid=garbage', `sid=${ada.cookies.get('sid')}x`]) {
    for (const [method, url] of [['GET', '/sessions'], ['DELETE', '/sessions'], ['DELETE', `/sessions/${idOf(ada)}`], ['DELETE', `/sessions/${newId()}`], ['DELETE', '/sessions/x'], ['DELETE', `/sessions/${'x'.repeat(1000)}`]] as const) {
      const response = await anonymous.request(method, url, { headers: { ...cookie !== undefined && { cookie } } })
      t.equal(response.statusCode, 401, `${method} ${url.slice(0, 40)}`)
      t.strictSame(response.json(), UNAUTHENTICATED)
    }
  }
  t.equal(await signedIn(ada), true)
})

t.test('[3.5.1] a page of another site ends nobody\'s session', async (t) => {
  const { app, signIn } = await open(t)
  const [phone, laptop] = [await signIn('ada'), await signIn('ada')]
  for (const headers of [{ 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }, { origin: 'https://evil.example' }, { origin: 'null' }] as Array<Record<string, string>>) {
    for (const url of ['/sessions', `/sessions/${idOf(phone)}`, `/sessions/${idOf(laptop)}`]) {
      for (const browser of [laptop, new Browser(app)]) {
        const response = await browser.request('DELETE', url, { headers })
        t.equal(response.statusCode, 403)
        t.equal(response.json().code, 'ERR_SESSION_CSRF_REJECTED')
        t.strictSame(response.setCookies, [])
      }
    }
    t.equal((await laptop.get('/sessions', { headers })).statusCode, 200, 'looking changes nothing')
  }
  for (const each of [phone, laptop]) t.equal(await signedIn(each), true)
})

t.test('whatever body a client sends along, these routes do not read it', async (t) => {
  const { signIn } = await open(t)
  for (const type of [undefined, 'application/json', 'text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/octet-stream', 'application/x-nonsense']) {
    for (const payload of ['', '{', '{"userId":"bob","except":"x"}', 'x'.repeat(2_000_000)]) {
      const [phone, laptop, tablet] = [await signIn('ada'), await signIn('ada'), await signIn('ada')]
      const options = { payload, headers: { ...type !== undefined && { 'content-type': type } } }
      t.equal((await laptop.request('DELETE', `/sessions/${idOf(phone)}`, options)).statusCode, 204, `${type} ${payload.slice(0, 9)}`)
      t.strictSame((await laptop.request('DELETE', '/sessions', options)).json(), { revoked: 1 })
      t.equal(await signedIn(tablet), false)
      await laptop.request('DELETE', `/sessions/${idOf(laptop)}`, options)
    }
  }
})

t.test('very many sessions are seen page by page: each reply says where the next one is', async (t) => {
  for (const options of [{}, { store: undefined, redis: (await redis()).url, keyPrefix: prefix() }]) {
    const { app, signIn } = await open(t, options)
    const ada = await signIn('ada')
    for (let from = 0; from < 250; from += 50) await Promise.all(Array.from({ length: 50 }, async () => await app.sessions.create({ userId: 'ada' })))
    const all = (await app.sessions.listByUser('ada')).map(({ id }) => id)
    const pages: string[][] = []
    let next: string | undefined = ''
    while (next !== undefined) {
      const page: TestResponse = await ada.get(`/sessions${next}`)
      pages.push((page.json() as Listed[]).map(({ id }) => id))
      next = /^<([^>]+)>; rel="next"$/.exec(String(page.headers.link ?? ''))?.[1]
    }
    t.strictSame(pages.map(({ length }) => length), [100, 100, 51])
    t.strictSame(pages.flat(), all)
    t.equal((await ada.get('/sessions?limit=1000')).json().length, 251)
    t.equal((await ada.get('/sessions?limit=1000')).headers.link, undefined)
    for (const query of ['limit=0', 'limit=1001', 'limit=x', 'before=', 'before=x', 'before=1', 'before=.x', `before=${'9'.repeat(16)}.x`, 'before=1.x%2F']) {
      t.equal((await ada.get(`/sessions?${query}`)).statusCode, 400, query)
    }
    for (const query of ['before=0.x', `before=999999999999999.${newId()}`, `before=1.${'x'.repeat(1_000)}`]) t.equal((await ada.get(`/sessions?${query}`)).statusCode, 200, query)
  }
})

t.test('where the end of all others takes long, the reply does not wait for it, and nobody is signed in by them meanwhile', async (t) => {
  withRealLimits(t)
  const { store, gate } = slowToEnd()
  const { app, signIn } = await open(t, { store })
  const [phone, laptop, bob] = [await signIn('ada'), await signIn('ada'), await signIn('bob')]
  const told: string[] = []
  app.sessions.on('revoked', ({ id }) => { told.push(id) })
  const response = await laptop.request('DELETE', '/sessions')
  t.equal(response.statusCode, 202)
  t.strictSame(response.json(), { revoked: 0, pending: true })
  t.equal(await signedIn(phone), false)
  t.strictSame([await signedIn(laptop), await signedIn(bob)], [true, true])
  const tablet = await signIn('ada')
  t.equal(await signedIn(tablet), true, 'who signs in again meanwhile stays')
  t.strictSame((await app.sessions.listByUser('ada')).map(({ id }) => id), [idOf(tablet), idOf(laptop)])
  gate.open()
  await until('their ends', () => told.length > 0)
  t.strictSame(await store.find(idOf(phone)), null)
})

t.test('a program with a token sees and ends sessions too, of either kind', async (t) => {
  const { app, signIn, list } = await open(t, { bearer: true })
  const { session: robot, headers } = await app.sessions.create({ userId: 'ada', kind: 'bearer' })
  const [phone, laptop] = [await signIn('ada'), await signIn('ada')]
  t.same(new Set((await list(laptop)).map(({ id, kind, current }) => `${id} ${kind} ${current}`)), new Set([`${robot.id} bearer false`, `${idOf(phone)} cookie false`, `${idOf(laptop)} cookie true`]))
  const mine = (await new Browser(app).get('/sessions', { headers })).json() as Listed[]
  t.strictSame(mine.filter(({ current }) => current).map(({ id }) => id), [robot.id])
  t.equal((await new Browser(app).request('DELETE', `/sessions/${idOf(phone)}`, { headers: { ...headers, 'sec-fetch-site': 'cross-site' } })).statusCode, 204)
  t.equal(await signedIn(phone), false)
  t.strictSame((await new Browser(app).request('DELETE', '/sessions', { headers })).json(), { revoked: 1 })
  t.equal(await signedIn(laptop), false)
  const own = await new Browser(app).request('DELETE', `/sessions/${robot.id}`, { headers })
  t.equal(own.statusCode, 204)
  t.strictSame(own.setCookies, [])
  t.equal((await new Browser(app).get('/sessions', { headers })).statusCode, 401)
})

const REAUTH_REQUIRED = {
  statusCode: 401, code: 'ERR_SESSION_REAUTH_REQUIRED', error: 'Unauthorized', message: 'A recent sign-in is required'
}

/** The routes under a clock that the test moves; people stay signed in for a day without use. */
async function openTimed (t: Test, routes: SessionRoutesOptions = {}) {
  let now = Date.now()
  const service = await open(t, { store: new MemoryStore({ now: () => now }), idleTimeout: '1d', bearer: true }, routes)
  return { ...service, age: (ms: number) => { now += ms } }
}

t.test('[7.5.2] ending other sessions needs a sign-in of the last ten minutes', async (t) => {
  const { signIn, list, age } = await openTimed(t)
  const [phone, laptop, bob] = [await signIn('ada'), await signIn('ada'), await signIn('bob')]
  age(10 * MINUTE + 1)
  for (const id of ['', ...[idOf(phone), idOf(bob), newId(), 'x', 'x'.repeat(1000), 'a/b'].map((each) => `/${each}`)]) {
    const response = await laptop.request('DELETE', `/sessions${id}`)
    t.strictSame(response.json(), REAUTH_REQUIRED, id.slice(0, 40))
    t.strictSame([response.statusCode, response.headers['cache-control'], response.setCookies], [401, 'no-store', []])
  }
  for (const each of [phone, laptop, bob]) t.equal(await signedIn(each), true)
  t.equal((await list(laptop)).length, 2, 'looking needs none')
  await laptop.post('/login', { userId: 'ada' })
  age(10 * MINUTE)
  t.equal((await laptop.request('DELETE', `/sessions/${idOf(phone)}`)).statusCode, 204, 'to the very last moment')
  t.strictSame((await laptop.request('DELETE', '/sessions')).json(), { revoked: 0 })
  t.equal(await signedIn(phone), false)
})

t.test('[7.5.2] ending the session that asks needs no recent sign-in', async (t) => {
  const { signIn, age } = await openTimed(t)
  const [phone, laptop] = [await signIn('ada'), await signIn('ada')]
  age(60 * MINUTE)
  t.equal((await laptop.request('DELETE', `/sessions/${idOf(laptop)}`)).statusCode, 204)
  t.equal(laptop.cookies.size, 0)
  t.equal(await signedIn(phone), true)
})

t.test('[7.5.2] how recent a sign-in has to be is an option, and whether', async (t) => {
  for (const [recentLogin, ageMs, status] of [
    ['1h', 60 * MINUTE, 200], ['1h', 60 * MINUTE + 1, 401], [1000, 1000, 200], [1000, 1001, 401],
    [false, 23 * 60 * MINUTE, 200], [undefined, 11 * MINUTE, 401]
  ] as const) {
    const { signIn, age } = await openTimed(t, { recentLogin })
    const ada = await signIn('ada')
    age(ageMs)
    t.equal((await ada.request('DELETE', '/sessions')).statusCode, status, `${recentLogin} after ${ageMs} ms`)
  }
})

t.test('[7.5.2] a program with a token needs a recent one too, unless programs are exempt; people are not', async (t) => {
  for (const exemptBearer of [undefined, false, true]) {
    const { app, signIn, age } = await openTimed(t, { exemptBearer })
    const { session: robot, headers } = await app.sessions.create({ userId: 'ada', kind: 'bearer' })
    const [phone, laptop] = [await signIn('ada'), await signIn('ada')]
    age(11 * MINUTE)
    const program = new Browser(app)
    const statuses: number[] = []
    const end = async (id: string): Promise<number> => (await program.request('DELETE', `/sessions${id}`, { headers })).statusCode
    for (const id of [`/${idOf(phone)}`, `/${newId()}`, '']) statuses.push(await end(id))
    t.strictSame(statuses, exemptBearer === true ? [204, 404, 200] : [401, 401, 401])
    t.equal(await signedIn(laptop), exemptBearer !== true)
    const bob = await signIn('bob')
    age(11 * MINUTE)
    t.strictSame((await bob.request('DELETE', '/sessions')).json(), REAUTH_REQUIRED)
    t.equal(await end(`/${robot.id}`), 204, 'its own session is its own')
  }
})

t.test('a store that cannot list its sessions says so, and ends single ones all the same', async (t) => {
  const store = new expressSession.MemoryStore()
  const { signIn } = await open(t, { store: { get: store.get.bind(store), set: store.set.bind(store), destroy: store.destroy.bind(store) } as never })
  const [phone, laptop] = [await signIn('ada'), await signIn('ada')]
  for (const method of ['GET', 'DELETE'] as const) {
    const response = await laptop.request(method, '/sessions')
    t.equal(response.statusCode, 500)
    t.strictSame(response.json(), { statusCode: 500, code: 'ERR_SESSION_UNSUPPORTED', error: 'Internal Server Error', message: 'Not supported: listing sessions on a store that has no all()' })
  }
  t.equal((await laptop.request('DELETE', `/sessions/${idOf(phone)}`)).statusCode, 204)
  t.equal(await signedIn(phone), false)
  t.equal(await signedIn(laptop), true)
})

t.test('when Redis is down nobody is told that there are no sessions', async (t) => {
  const server = await startRedis(t)
  const { signIn } = await open(t, { store: undefined, redis: server.url, keyPrefix: prefix() })
  const ada = await signIn('ada')
  await server.stop()
  for (const [method, url] of [['GET', '/sessions'], ['DELETE', '/sessions'], ['DELETE', `/sessions/${newId()}`], ['DELETE', `/sessions/${idOf(ada)}`]] as const) {
    const response = await ada.request(method, url)
    t.equal(response.statusCode, 503, `${method} ${url}`)
    t.equal(response.json().code, 'ERR_SESSION_STORE_UNAVAILABLE')
  }
})

t.test('outside of the plugin\'s context the routes are a boot error', async (t) => {
  const apps = Array.from({ length: 3 }, () => Fastify() as unknown as FastifyInstance)
  for (const app of apps) t.teardown(() => app.close())
  const [alone, beside, before] = apps as [FastifyInstance, FastifyInstance, FastifyInstance]
  alone.register(sessionRoutes)
  beside.register(async (child) => { await child.register(sessionPlugin, { secret, store: new MemoryStore() }) })
  beside.register(sessionRoutes)
  before.register(sessionRoutes)
  before.register(sessionPlugin, { secret, store: new MemoryStore() })
  for (const app of apps) {
    await t.rejects(async () => { await app.ready() }, { code: 'ERR_SESSION_INVALID_OPTIONS', message: 'Invalid session options: sessionRoutes must be registered after sessionPlugin, in its context or below' })
  }
})

t.test('wrong options of the routes are boot errors, named at once', async (t) => {
  const message = async (options: object): Promise<string> => {
    const app = await startApp(t)
    return await app.register(sessionRoutes, options).then(() => '', ({ code, message }) => `${code} ${message}`)
  }
  const refused = (...faults: string[]): string => {
    return `ERR_SESSION_INVALID_OPTIONS Invalid session options: ${faults.map((fault) => `sessionRoutes: ${fault}`).join('; ')}`
  }
  const DURATION = 'recentLogin must be milliseconds or a string such as \'30m\', or false'
  const BEARER = 'exemptBearer must be true or false'
  const UNKNOWN = ['verify is not an option', 'user is not an option']
  t.equal(await message({ prefix: '/sessions', verify: 'LEAKED', user: 'LEAKED' }), refused(...UNKNOWN))
  t.equal(await message({ recentLogin: 'LEAKED', exemptBearer: 'LEAKED', user: 1 }), refused(DURATION, BEARER, 'user is not an option'))
  for (const recentLogin of [true, null, NaN, '', {}, ['10m'], new Date(), () => '10m', Infinity]) {
    t.equal(await message({ recentLogin }), refused(DURATION))
  }
  for (const recentLogin of [0, -1, '0', '-10m', 0.5]) {
    t.equal(await message({ recentLogin }), refused('recentLogin must be positive, or false'))
  }
  t.equal(await message({ recentLogin: '11y' }), refused('recentLogin must be less than ten years, or false'))
  for (const exemptBearer of [null, 0, 'true', {}]) t.equal(await message({ exemptBearer }), refused(BEARER))
  for (const right of [
    {}, { prefix: '/sessions', logLevel: 'warn' }, { recentLogin: undefined, exemptBearer: undefined },
    { recentLogin: false, exemptBearer: true }, { recentLogin: 1 }
  ]) t.equal(await message(right), '')
})

t.test('an application whose decorators are renamed has the same routes', async (t) => {
  const app = await startApp(t, { decorators: { authenticate: 'guard', login: 'signIn', auth: 'who', requireAuth: 'requireWho', sessions: 'logins' } })
  await app.register(sessionRoutes, { prefix: '/sessions' })
  const { headers, session } = await (app as unknown as { logins: FastifyInstance['sessions'] }).logins.create({ userId: 'ada' })
  t.match((await new Browser(app).get('/sessions', { headers: headers as Record<string, string> })).json(), [{ id: session.id, current: true }])
})

interface Schema { description?: string, properties?: Record<string, Schema>, items?: Schema }

/** The places in a schema that say nothing of themselves. */
function silent (schema: Schema, path: string): string[] {
  const inner = Object.entries(schema.properties ?? {}).flatMap(([name, each]) => silent(each, `${path}.${name}`))
  return [...typeof schema.description === 'string' && schema.description.length > 3 ? [] : [path], ...inner, ...schema.items === undefined ? [] : silent(schema.items, `${path}[]`)]
}

t.test('the API\'s description has the routes, and a word on everything in them', async (t) => {
  const app = await startApp(t)
  await app.register(swagger, { openapi: { openapi: '3.1.0', info: { title: 'test', version: '1' } } })
  await app.register(sessionRoutes, { prefix: '/sessions' })
  await app.ready()
  interface Operation { summary?: string, description?: string, parameters?: Array<{ name: string, in: string, description?: string }>, requestBody?: unknown, responses: Record<string, { description?: string, content?: Record<string, { schema: Schema }> }> }
  const { paths } = app.swagger() as unknown as { paths: Record<string, Record<string, Operation>> }
  t.strictSame(Object.fromEntries(Object.entries(paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, { responses }]) => [`${method} ${path}`, Object.keys(responses)]))), {
    'get /sessions/': ['200', '400', '401', '503'],
    'delete /sessions/{id}': ['204', '401', '403', '404', '503'],
    'delete /sessions/': ['200', '202', '401', '403', '503'],
    'post /sessions/{id}/revoke': ['204', '303', '401', '403', '404', '503'],
    'post /sessions/revoke-others': ['200', '202', '303', '401', '403', '503']
  })
  t.match(paths['/sessions/{id}']?.delete?.description, /another.*recent sign-in.*ERR_SESSION_REAUTH_REQUIRED/)
  t.match(paths['/sessions/']?.delete?.description, /recent sign-in.*ERR_SESSION_REAUTH_REQUIRED/)
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, { summary, parameters = [], requestBody, responses }] of Object.entries(methods)) {
      const name = `${method} ${path}`
      t.match(summary, /.{5}/, name)
      t.equal(requestBody, undefined)
      t.strictSame(parameters.map((each) => each.name), path.includes('{id}') ? ['id'] : method === 'get' ? ['limit', 'before'] : [])
      for (const each of parameters) t.match(each.description, /.{3}/)
      for (const [status, { description, content = {} }] of Object.entries(responses)) {
        t.match(description, /.{3}/, `${name} ${status}`)
        t.not(description, 'Default Response', `${name} ${status}`)
        for (const { schema } of Object.values(content)) t.strictSame(silent(schema, `${name} ${status}`), [])
      }
    }
  }
})
