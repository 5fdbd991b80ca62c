import { Readable } from 'node:stream'
import fastifyCookie from '@fastify/cookie'
import fc from 'fast-check'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, MemoryStore, sessionPlugin, sessionRoutes } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { Signature } from '../../lib/session/token.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import type { TestResponse } from '../helpers/app.ts'
import { Jar, startShop } from '../helpers/express-app.ts'
import { prefix, startRedis } from '../helpers/redis.ts'
import { times } from '../helpers/scale.ts'
import { SpyStore } from '../helpers/spy-store.ts'

const https = { 'x-forwarded-proto': 'https' }

/** An application behind a TLS proxy, with what a test needs of routes. */
async function openShop (t: Test, options: Partial<SessionOptions> = {}): Promise<{ app: Awaited<ReturnType<typeof startApp>>, store: SpyStore }> {
  const store = options.store instanceof SpyStore ? options.store : new SpyStore()
  const app = await startApp(t, { cookie: {}, ...options, store }, { trustProxy: true })
  addRoutes(app)
  return { app, store }
}

function addRoutes (app: FastifyInstance): void {
  app.get('/plain', async () => 'plain')
  app.get('/me', async (request) => ({ userId: request.auth?.userId ?? null }))
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  app.post('/login/remember', async (request) => { await app.login(request, { id: 'ada' }, { remember: true }) })
  app.post('/assign', async (request) => { request.session.userId = 'ada' })
  app.post('/logout', async (request) => { await app.logout(request) })
}

/** The lines of a reply's cookies, with the values that differ each time left out. */
function lines ({ setCookies }: TestResponse): string[] {
  return setCookies.map((line) => line.replace(/=[\w-]{22}\.[\w-]{32}\.[\w-]{43};/, '=<token>;'))
}

// -- the lines ----------------------------------------------------------------------------------------------

t.test('[3.3.1, 3.3.2, 3.3.3, 3.3.4] the cookie over https, as it is set and taken back', async (t) => {
  const { app } = await openShop(t)
  const ada = new Browser(app)
  t.strictSame(lines(await ada.post('/login', undefined, { headers: https })), ['__Host-sid=<token>; Max-Age=604800; Path=/; HttpOnly; Secure; SameSite=Lax'])
  t.strictSame(lines(await ada.post('/logout', undefined, { headers: https })), ['__Host-sid=; Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; Secure; SameSite=Lax'])
})

t.test('[3.3.1, 3.3.2, 3.3.4] what the cookie options say is in the cookie, as it is set and taken back', async (t) => {
  for (const [cookie, name, attributes, end = ''] of [
    [{ secure: false }, 'sid', 'HttpOnly; SameSite=Lax'],
    [{ domain: 'example.com' }, 'sid', 'HttpOnly; Secure; SameSite=Lax', 'Domain=example.com; '],
    [{ sameSite: 'strict' }, '__Host-sid', 'HttpOnly; Secure; SameSite=Strict'],
    [{ sameSite: 'none', partitioned: true }, '__Host-sid', 'HttpOnly; Secure; Partitioned; SameSite=None'],
    [{ httpOnly: false }, '__Host-sid', 'Secure; SameSite=Lax']
  ] as const) {
    const { app } = await openShop(t, { cookie })
    const ada = new Browser(app)
    t.strictSame(lines(await ada.post('/login', undefined, { headers: https })), [`${name}=<token>; Max-Age=604800; ${end}Path=/; ${attributes}`])
    t.strictSame(lines(await ada.post('/logout', undefined, { headers: https })), [`${name}=; Max-Age=0; ${end}Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; ${attributes}`])
  }
  const { app } = await openShop(t, { cookie: { path: '/shop' } })
  const ada = new Browser(app)
  t.strictSame(lines(await ada.post('/assign', undefined, { headers: https })), ['sid=<token>; Max-Age=604800; Path=/shop; HttpOnly; Secure; SameSite=Lax'])
})

t.test('[6265bis] the browser keeps the cookie as long as the session can last, or as long as maxAge says if that is less', async (t) => {
  for (const [options, ordinary, remembered] of [
    [{ absoluteTimeout: '2h' }, 7200, 7_776_000],
    [{ cookie: { maxAge: '1h' } }, 3600, 3600],
    [{ cookie: { maxAge: '30d' } }, 604_800, 2_592_000],
    [{ cookie: { maxAge: 1 } }, 1, 1]
  ] as const) {
    const { app } = await openShop(t, options)
    for (const [path, seconds] of [['/login', ordinary], ['/assign', ordinary], ['/login/remember', remembered]] as const) {
      t.match(lines(await new Browser(app).post(path, undefined, { headers: https })), [new RegExp(`; Max-Age=${seconds};`)])
    }
  }
})

t.test('[6265bis] with maxAge false the cookie ends with the browser session', async (t) => {
  const { app } = await openShop(t, { cookie: { maxAge: false } })
  for (const path of ['/login', '/assign']) {
    t.strictSame(lines(await new Browser(app).post(path, undefined, { headers: https })), ['__Host-sid=<token>; Path=/; HttpOnly; Secure; SameSite=Lax'])
  }
})

t.test('[7.3.2] a cookie that is issued again lasts as long as the session still can', async (t) => {
  let now = Date.now()
  const store = new SpyStore({ now: () => now })
  const { app } = await openShop(t, { store, cookieName: 'old', absoluteTimeout: '2h' })
  const ada = new Browser(app)
  await ada.post('/login', undefined, { headers: https })
  now += 20 * 60_000
  const { app: renamed } = await openShop(t, { store, cookieName: ['new', 'old'], absoluteTimeout: '2h' })
  const moved = new Browser(renamed)
  moved.cookies.set('old', ada.cookies.get('old') ?? '')
  t.match(lines(await moved.get('/me', { headers: https })), [/^new=.*; Max-Age=6000;/, /^old=;/])
})

// -- what is put into a cookie line ---------------------------------------------------------------------------

t.test('[CVE-2024-47764] an option that would add to the cookie line, or of which no line can be made, is refused at boot', async (t) => {
  const refused: Array<[name: string, options: Partial<SessionOptions>]> = [
    ...['/; Domain=evil.example', '/;', '/\r\nSet-Cookie: a=1', '/\n', '/a b', '/, sid=planted', '/<', '/\u0000', '/\u007f', '/né', '/\u2028', 'no slash', `/${'x'.repeat(1024)}`].map((path): typeof refused[number] => ['cookie.path', { cookie: { path } }]),
    ...['evil.example; Path=/x', 'a.example, b.example', 'a.example\r\n', 'a b', 'né.example', 'a..example', `${'x'.repeat(64)}.example`, `${'x.'.repeat(126)}xy`].map((domain): typeof refused[number] => ['cookie.domain', { cookie: { domain } }]),
    ...['a=b', 'a b', 'a;b', 'a,b', 'sid\n', 'né', '"sid"', 'a\u0000', '', 'x'.repeat(129)].flatMap((cookieName): typeof refused => [['cookieName', { cookieName }], ['cookieName', { cookieName: ['sid', cookieName] }]])
  ]
  for (const [name, options] of refused) {
    await t.rejects(startApp(t, { store: new SpyStore(), ...options }), { code: 'ERR_SESSION_INVALID_OPTIONS', message: new RegExp(`^Invalid session options: ${name} [^;]*$`) }, encodeURI(JSON.stringify(options)).slice(0, 80))
  }
})

t.test('[CVE-2024-47764] whatever the options, they are refused, or the cookie has the attributes they say and no other', async (t) => {
  const signs = fc.constantFrom(';', ',', '=', ' ', '<', '\n', '"', '.', '/', 'a', 'Z', '-', 'é')
  const odd = fc.string({ unit: fc.oneof(signs, fc.string({ minLength: 1, maxLength: 1 })), maxLength: 6 })
  // Odd ones are refused nearly always: one in four is not odd, for some to be taken.
  const nasty = fc.oneof({ weight: 3, arbitrary: odd }, { weight: 1, arbitrary: fc.constantFrom('a', 'Z-a', 'a.Z') })
  let taken = 0
  await fc.assert(fc.asyncProperty(nasty.map((text) => `/${text}`), fc.option(nasty, { nil: undefined }), nasty, async (path, domain, cookieName) => {
    const app = Fastify()
    try {
      await app.register(sessionPlugin, { secret, store: new SpyStore(), cookieName, cookie: { secure: false, path, domain } })
    } catch (error) {
      return (error as { code: string }).code === 'ERR_SESSION_INVALID_OPTIONS'
    }
    taken++
    app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
    const line = String((await app.inject({ method: 'POST', url: '/login' })).headers['set-cookie'])
    await app.close()
    return line.replace(/=[\w-]{22}\.[\w-]{32}\.[\w-]{43};/, '=<token>;') === `${cookieName}=<token>; Max-Age=604800;${domain === undefined ? '' : ` Domain=${domain};`} Path=${path}; HttpOnly; SameSite=Lax`
  }), { numRuns: times(20_000, 1_000) })
  t.ok(taken > 0, `${taken} were taken`)
})

t.test('[3.3.5, 6265bis] the longest name, path and domain there can be make a cookie that browsers take', async (t) => {
  const cookieName = 'x'.repeat(128)
  const path = `/${'p'.repeat(1023)}`
  const domain = `${`${'d'.repeat(62)}.`.repeat(4)}d`
  const { app } = await openShop(t, { cookieName, cookie: { path, domain } })
  const [line = ''] = (await new Browser(app).post('/login', undefined, { headers: https })).setCookies
  const [pair = '', ...attributes] = line.split('; ')
  t.ok(pair.length <= 4096, `${pair.length} bytes of name and value`)
  t.match(attributes, [/^Max-Age=/, `Domain=${domain}`, `Path=${path}`, 'HttpOnly', 'Secure', 'SameSite=Lax'])
  for (const each of attributes) t.ok((each.split('=')[1] ?? '').length <= 1024, 'an attribute of which no browser leaves anything out')
})

// -- whose attributes they are ----------------------------------------------------------------------------------

t.test('[3.3.1, 3.3.2, 3.3.3, 3.3.4] a session of yesterday\'s configuration has the attributes of today\'s', async (t) => {
  const store = new SpyStore()
  const { app: before } = await openShop(t, { store, cookieName: 'sid', cookie: { httpOnly: false, sameSite: 'none', maxAge: '3d' } })
  const ada = new Browser(before)
  t.match(lines(await ada.post('/login', undefined, { headers: https })), [/SameSite=None/])
  const { app: today } = await openShop(t, { store, cookieName: ['__Host-sid', 'sid'], cookie: { sameSite: 'strict', maxAge: '1h' } })
  const moved = new Browser(today)
  moved.cookies.set('sid', ada.cookies.get('sid') ?? '')
  t.match(lines(await moved.get('/me', { headers: https })), ['__Host-sid=<token>; Max-Age=3600; Path=/; HttpOnly; Secure; SameSite=Strict', /^sid=; Max-Age=0; Path=\/; .*HttpOnly; Secure; SameSite=Strict$/])
})

t.test('[3.3.1, 3.3.2, 3.3.4, CVE-2024-35220] what an Express app stored of its cookie changes neither attributes nor timeouts', async (t) => {
  const redis = await startRedis(t)
  const keyPrefix = prefix()
  const shop = await startShop(t, { redis: redis.url, keyPrefix, expressSession: 'share', touchAfter: 0, idleTimeout: '10m', absoluteTimeout: '1h' })
  const jar = new Jar()
  const [set = ''] = (await jar.post(shop, '/in/ada')).setCookies
  const [key = ''] = await redis.client.keys(`${keyPrefix}*`)
  const record = JSON.parse(await redis.client.get(key) ?? '')
  for (const cookie of [
    { originalMaxAge: 1e12, maxAge: 1e12, expires: '2999-01-01T00:00:00.000Z', httpOnly: false, secure: false, sameSite: 'none', domain: 'evil.example', path: '/; Domain=evil.example' },
    { originalMaxAge: null, expires: null, path: '/x' },
    { originalMaxAge: 'x', expires: 'garbage', path: 5, domain: {}, sameSite: 'bogus', partitioned: true }
  ]) {
    await redis.client.set(key, JSON.stringify({ ...record, cookie }), 'PX', 24 * 3_600_000)
    const { status, setCookies } = await jar.get(shop, '/me')
    t.equal(status, 200)
    t.strictSame(setCookies.map((line) => line.replace(/^[^;]*; Max-Age=\d+/, '')), [set.replace(/^[^;]*; Max-Age=\d+/, '')])
    t.ok(Number(/Max-Age=(\d+)/.exec(setCookies[0] ?? '')?.[1]) <= 3600)
    const [session] = await shop.sessions.listByUser('ada')
    t.ok((session?.expiresAt ?? Infinity) <= Date.now() + 3_600_000 + 1_000)
    const [, left = ''] = /"e":(\d+)/.exec(await redis.client.get(key) ?? '') ?? []
    t.equal(Number(left), record._session.e, 'the absolute deadline is as it was')
  }
  record._session.e = Date.now() - 1_000
  await redis.client.set(key, JSON.stringify({ ...record, cookie: { originalMaxAge: 1e12, expires: '2999-01-01T00:00:00.000Z', path: '/' } }), 'PX', 24 * 3_600_000)
  t.equal(await jar.user(shop), null)
})

// -- renaming and rotating ------------------------------------------------------------------------------------

t.test('[3.3.3] a cookie under an older name is read, issued under the new one, and taken back', async (t) => {
  const store = new SpyStore()
  const { app } = await openShop(t, { store, cookieName: 'old' })
  const ada = new Browser(app)
  await ada.post('/login', undefined, { headers: https })

  const { app: renamed } = await openShop(t, { store, cookieName: ['new', 'older', 'old'] })
  const moved = new Browser(renamed)
  moved.cookies.set('old', ada.cookies.get('old') ?? '')
  const response = await moved.get('/me', { headers: https })
  t.same(response.json(), { userId: 'ada' })
  t.strictSame(lines(response), [
    'new=<token>; Max-Age=604800; Path=/; HttpOnly; Secure; SameSite=Lax',
    'old=; Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; Secure; SameSite=Lax'
  ])
  t.strictSame([...moved.cookies.keys()], ['new'])
  const again = await moved.get('/me', { headers: https })
  t.same([again.json(), again.setCookies], [{ userId: 'ada' }, []])
})

t.test('[7.4.4] a logout takes the cookie back under every name the browser has it', async (t) => {
  const { app } = await openShop(t, { cookieName: ['new', 'old'] })
  const ada = new Browser(app)
  await ada.post('/login', undefined, { headers: https })
  ada.cookies.set('old', 'left over')
  t.match(lines(await ada.post('/logout', undefined, { headers: https })), [/^new=; Max-Age=0;/, /^old=; Max-Age=0;/])
  t.equal(ada.cookies.size, 0)
})

t.test('[7.2.1] a rotated secret signs nobody out, the cookie is signed anew when it is next used, and who was not there in time is out with the old secret', async (t) => {
  const store = new SpyStore()
  const newer = 'another-secret-of-the-tests-with-32-characters'
  const { app: before } = await openShop(t, { store })
  const ada = new Browser(before)
  await ada.post('/login', undefined, { headers: https })
  const old = ada.cookies.get('__Host-sid') ?? ''

  const { app: during } = await openShop(t, { store, secret: [newer, secret] })
  const moved = new Browser(during)
  moved.cookies.set('__Host-sid', old)
  const response = await moved.get('/me', { headers: https })
  t.same(response.json(), { userId: 'ada' })
  t.strictSame(lines(response), ['__Host-sid=<token>; Max-Age=604800; Path=/; HttpOnly; Secure; SameSite=Lax'])
  t.not(moved.cookies.get('__Host-sid'), old)
  t.equal(moved.cookies.get('__Host-sid')?.slice(0, 55), old.slice(0, 55), 'the session is the same')
  t.strictSame((await moved.get('/me', { headers: https })).setCookies, [])

  const { app: after } = await openShop(t, { store, secret: newer })
  for (const [cookie, userId] of [[old, null], [moved.cookies.get('__Host-sid') ?? '', 'ada']] as const) {
    const browser = new Browser(after)
    browser.cookies.set('__Host-sid', cookie)
    const response = await browser.get('/me', { headers: https })
    t.same([response.json(), response.setCookies], [{ userId }, []])
  }
})

t.test('[7.4.1] a cookie of an ended session is not issued again', async (t) => {
  const { app, store } = await openShop(t, { secret: ['another-secret-of-the-tests-with-32-characters', secret], cookieName: ['new', 'old'] })
  const { app: before } = await openShop(t, { store, cookieName: 'old' })
  const ada = new Browser(before)
  await ada.post('/login', undefined, { headers: https })
  const dead = ada.cookies.get('old') ?? ''
  await ada.post('/logout', undefined, { headers: https })
  const late = new Browser(app)
  late.cookies.set('old', dead)
  const response = await late.get('/me', { headers: https })
  t.same([response.json(), response.setCookies], [{ userId: null }, []])
})

t.test('[CVE-2023-27495, 6265bis] a cookie planted beside the session cookie under its name (tossed) makes both no session', async (t) => {
  const { app, store } = await openShop(t, { cookie: { secure: false } })
  const ada = new Browser(app)
  const mallory = new Browser(app)
  for (const browser of [ada, mallory]) await browser.post('/login')
  const [hers, planted] = [ada, mallory].map((browser) => browser.cookies.get('sid'))
  for (const cookie of [`sid=${planted}; sid=${hers}`, `sid=${hers}; sid=${planted}`, `sid=x; a=b; sid=${hers}`, `sid=${hers};sid=`, `sid=${hers}; sid="${hers}"`, `sid="${planted}"; sid=${hers}`, `sid=${hers}; sid=${hers}`, `sid=${hers};\tsid =${planted}`]) {
    let response: TestResponse | undefined
    const asked = await store.during(async () => { response = await new Browser(app).get('/me', { headers: { cookie } }) })
    t.same(response?.json(), { userId: null }, cookie.slice(0, 5))
    t.strictSame(asked, [])
  }
  t.same((await new Browser(app).get('/me', { headers: { cookie: `xsid=1; sid=${hers}; sidx=2; a` } })).json(), { userId: 'ada' })
})

t.test('[CVE-2023-27495, 6265bis] who doubles the session cookie is not answered by one planted under an older name', async (t) => {
  const { app, store } = await openShop(t, { cookie: { secure: false }, cookieName: ['sid', 'old'] })
  const [ada, mallory] = [new Browser(app), new Browser(app)]
  for (const browser of [ada, mallory]) await browser.post('/login')
  const [hers, planted] = [ada, mallory].map((browser) => browser.cookies.get('sid'))
  for (const cookie of [`sid=${hers}; sid=x; old=${planted}`, `old=${planted}; sid=; sid=${hers}`]) {
    t.strictSame(await store.during(async () => { t.same((await new Browser(app).get('/me', { headers: { cookie } })).json(), { userId: null }) }), [])
  }
  t.same((await new Browser(app).get('/me', { headers: { cookie: `old=${hers}` } })).json(), { userId: 'ada' })
})

// -- caches ---------------------------------------------------------------------------------------------------

t.test('[14.3.2, CVE-2023-30861, CVE-2024-26144, CVE-2025-48947] a reply with the session cookie may be stored by no cache, whatever the application says', async (t) => {
  const { app } = await openShop(t, { cookie: { secure: false } })
  app.post('/cached', async (request, reply) => {
    reply.header('cache-control', 'public, max-age=60')
    await app.login(request, { id: 'ada' })
  })
  const ada = new Browser(app)
  for (const path of ['/cached', '/login', '/logout']) {
    const { headers, setCookies } = await ada.post(path)
    t.same([setCookies.length, headers['cache-control'], headers.vary], [1, 'no-store', 'Cookie'], path)
  }
})

t.test('[14.3.2, CVE-2024-26144, CVE-2025-48947] neither a later hook nor what only some caches obey lets a cache keep the session cookie', async (t) => {
  const { app } = await openShop(t, { cookie: { secure: false }, secret: ['another-secret-of-the-tests-with-32-characters', secret] })
  app.addHook('onRequest', async (_request, reply) => { reply.headers({ 'cdn-cache-control': 'max-age=60', 'surrogate-control': 'max-age=60', 'Vercel-CDN-Cache-Control': 'max-age=60', 'x-cdn-cache-control-note': 'stays' }) })
  app.addHook('onSend', async (_request, reply) => { reply.headers({ 'cache-control': 'public, max-age=60', vary: 'Accept-Encoding', 'cloudflare-cdn-cache-control': 'max-age=60' }) })
  app.get('/page', { onSend: async (_request, reply) => { reply.header('cache-control', 'public, max-age=86400') } }, async () => 'a page for everybody')
  const ada = new Browser(app)
  const isKept = ({ headers }: TestResponse): unknown[] => [headers['cache-control'], headers.vary, Object.keys(headers).filter((name) => /cdn|surrogate/.test(name))]
  for (const path of ['/login', '/logout', '/login']) t.strictSame(isKept(await ada.post(path)), ['no-store', 'Accept-Encoding, Cookie', ['x-cdn-cache-control-note']], path)
  t.strictSame(isKept(await ada.get('/page')), ['public, max-age=86400', 'Accept-Encoding', ['cdn-cache-control', 'surrogate-control', 'vercel-cdn-cache-control', 'x-cdn-cache-control-note', 'cloudflare-cdn-cache-control']], 'without a cookie it is as the application says')
  // Signed with the old secret: a page for everybody brings the new cookie.
  const { headers: { cookie = '' } } = await app.sessions.create({ userId: 'ada' })
  const old = new Signature([secret]).sign(cookie.slice('sid='.length).split('.').slice(0, 2).join('.'))
  const renewed = await new Browser(app).get('/page', { headers: { cookie: `sid=${old}` } })
  t.equal(renewed.setCookies.length, 1)
  t.strictSame(isKept(renewed), ['no-store', 'Accept-Encoding, Cookie', ['x-cdn-cache-control-note']])
})

t.test('[14.3.2, CVE-2023-30861] nor does one of a page that is not found, of a stream, or of an application that did not wait for the plugin', async (t) => {
  const store = new MemoryStore()
  const before = await startApp(t, { store, cookie: { secure: false } })
  const { headers } = await before.sessions.create({ userId: 'ada' })
  const app = Fastify()
  t.teardown(async () => { await app.close() })
  void app.register(sessionPlugin, { store, cookie: { secure: false }, secret: ['another-secret-of-the-tests-with-32-characters', secret] })
  void app.register(authRoutes, { prefix: '/auth', verify: () => ({ id: 'ada' }) })
  void app.register(sessionRoutes, { prefix: '/auth/sessions' })
  app.get('/page', async () => 'a page for everybody')
  app.get('/stream', async () => Readable.from(['a stream', ' for everybody']))
  app.addHook('onSend', async (_request, reply) => { reply.headers({ 'cache-control': 'public, max-age=60', 'x-accel-expires': '60', 'edge-control': 'max-age=60' }) })
  for (const url of ['/nowhere', '/page', '/stream', '/auth/info', '/auth/sessions']) {
    const reply = await app.inject({ url, headers })
    t.strictSame([reply.headers['cache-control'], reply.headers.vary, reply.headers['x-accel-expires'], reply.headers['edge-control']], ['no-store', 'Cookie', undefined, undefined], url)
    t.ok(reply.headers['set-cookie'] !== undefined, 'signed anew')
  }
})

t.test('[14.3.2] whatever authRoutes and sessionRoutes answer, errors too, is for no cache', async (t) => {
  const store = new SpyStore()
  const app = await startApp(t, { store, bearer: true })
  app.addHook('onRequest', async (_request, reply) => { reply.header('cache-control', 'public, max-age=60') })
  await app.register(authRoutes, { prefix: '/auth', verify: ({ username, password }) => { if (password === 'broken') throw new Error('no database'); return password === 'right' ? { id: username } : null } })
  await app.register(sessionRoutes, { prefix: '/auth/sessions' })
  const ada = new Browser(app)
  const login = (password: string) => ({ username: 'ada', password })
  const replies: Array<[status: number, response: TestResponse]> = [
    [401, await ada.post('/auth/login', login('wrong'))],
    [400, await ada.post('/auth/login', { username: 'ada' })],
    [415, await ada.post('/auth/login', 'x', { headers: { 'content-type': 'application/xml' } })],
    [500, await ada.post('/auth/login', login('broken'))],
    [403, await ada.post('/auth/login', login('right'), { headers: { 'sec-fetch-site': 'cross-site' } })],
    [401, await ada.post('/auth/token', login('wrong'))],
    [200, await ada.post('/auth/token', login('right'))],
    [401, await ada.get('/auth/sessions')],
    [200, await ada.get('/auth/info')],
    [204, await ada.post('/auth/logout')],
    [200, await ada.post('/auth/login', login('right'))],
    [200, await ada.get('/auth/info')],
    [200, await ada.get('/auth/sessions')],
    [403, await ada.post('/auth/logout', undefined, { headers: { origin: 'https://evil.example' } })],
    [404, await ada.request('DELETE', '/auth/sessions/nobodys')],
    [404, await ada.request('DELETE', '/auth/sessions/no/body/s')],
    [400, await ada.get('/auth/info', { headers: { authorization: 'Bearer x' } })],
    [200, await ada.request('DELETE', '/auth/sessions')]
  ]
  store.failing.add('find')
  replies.push([503, await ada.get('/auth/info')], [503, await ada.get('/auth/sessions')])
  store.failing.clear()
  replies.push([204, await ada.post('/auth/logout')])
  for (const [status, { statusCode, headers, raw }] of replies) t.same([statusCode, headers['cache-control'], headers.vary], [status, 'no-store', 'Cookie'], `${status} ${raw.req.url}`)
})

t.test('[14.3.2] a reply without the session cookie is left to the application\'s caching', async (t) => {
  const { app } = await openShop(t, { cookie: { secure: false } })
  app.get('/cached', async (_request, reply) => reply.header('cache-control', 'public, max-age=60').send('cached'))
  const ada = new Browser(app)
  await ada.post('/login')
  const { headers } = await ada.get('/cached')
  t.same([headers['cache-control'], headers.vary], ['public, max-age=60', undefined])
})

t.test('[14.3.2] a Vary of the application stays, beside Cookie', async (t) => {
  const { app } = await openShop(t, { cookie: { secure: false } })
  app.post<{ Params: { vary: string } }>('/vary/:vary', async (request, reply) => {
    reply.header('vary', request.params.vary.includes('+') ? request.params.vary.split('+') : request.params.vary)
    await app.login(request, { id: 'ada' })
  })
  for (const [vary, expected] of [
    ['Origin', 'Origin, Cookie'],
    ['Accept-Encoding, Origin', 'Accept-Encoding, Origin, Cookie'],
    ['cookie', 'cookie'],
    ['Origin, Cookie', 'Origin, Cookie'],
    ['*', '*'],
    ['X-Cookie-Consent', 'X-Cookie-Consent, Cookie']
  ] as const) {
    t.equal((await new Browser(app).post(`/vary/${encodeURIComponent(vary)}`)).headers.vary, expected, vary)
  }
})

// -- beside other cookies -----------------------------------------------------------------------------------------

t.test('[6265bis] cookies that the application sets in the same reply survive', async (t) => {
  const { app } = await openShop(t, { cookie: { secure: false } })
  app.addHook('onRequest', async (_request, reply) => { reply.setCookie('first', '1') })
  app.addHook('onSend', async (_request, reply) => { reply.setCookie('last', '4') })
  app.post('/both', async (request, reply) => {
    reply.setCookie('before', '2')
    await app.login(request, { id: 'ada' })
    reply.setCookie('after', '3')
    reply.header('set-cookie', 'raw=5')
  })
  const ada = new Browser(app)
  const response = await ada.post('/both')
  t.strictSame([...ada.cookies.keys()].sort(), ['after', 'before', 'first', 'last', 'raw', 'sid'])
  t.equal(response.setCookies.length, 6)
  t.same((await ada.get('/me')).json(), { userId: 'ada' })
  await ada.post('/logout')
  t.strictSame([...ada.cookies.keys()].sort(), ['after', 'before', 'first', 'last', 'raw'])
})

t.test('[6265bis] options of an application\'s own @fastify/cookie do not reach the session cookie', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyCookie, { secret: 'the application\'s own', parseOptions: { domain: 'example.com', path: '/elsewhere' } })
  await app.register(sessionPlugin, { secret, store: new SpyStore(), cookie: { secure: false } })
  addRoutes(app)
  app.get('/mine', async (request, reply) => {
    reply.setCookie('mine', 'signed', { signed: true })
    return request.unsignCookie(request.cookies.mine ?? '').value
  })
  const ada = new Browser(app)
  t.strictSame(lines(await ada.post('/login')), ['sid=<token>; Max-Age=604800; Path=/; HttpOnly; SameSite=Lax'])
  await ada.get('/mine')
  t.equal((await ada.get('/mine')).body, 'signed')
  t.same((await ada.get('/me')).json(), { userId: 'ada' })
  t.strictSame(lines(await ada.post('/logout')), ['sid=; Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax'])
})

// -- plain http ---------------------------------------------------------------------------------------------------

t.test('[3.3.1] a cookie for https alone is not sent over plain http: signing in there is an error, the log says why, and no session is left', async (t) => {
  const { app, store } = await openShop(t)
  app.post('/save', async (request) => {
    request.session.userId = 'ada'
    await request.session.save()
  })
  app.post('/cart', async (request) => { request.session.cart = ['book'] })
  const asked = await store.during(async () => {
    for (const path of ['/login', '/assign', '/save', '/cart']) {
      const response = await new Browser(app).post(path)
      t.same([response.statusCode, response.json().code, response.setCookies], [500, 'ERR_SESSION_INSECURE_CONNECTION', []], path)
      const said = (app.lines.findLast(({ level }) => level === 50)?.err as { message: string }).message
      for (const hint of [/trustProxy/, /cookie\.secure/, /inject/]) t.match(said, hint)
      t.notMatch(response.body, /trustProxy/)
    }
  })
  t.strictSame(asked, [])
  t.equal((await new Browser(app).get('/me')).statusCode, 200, 'whoever needs no cookie is served')
})

t.test('[3.3.1] over plain http a session that is there goes on and can be ended', async (t) => {
  const { app } = await openShop(t)
  const ada = new Browser(app)
  await ada.post('/login', undefined, { headers: https })
  t.same((await ada.get('/me')).json(), { userId: 'ada' })
  t.match(lines(await ada.post('/logout')), [/^__Host-sid=; Max-Age=0;.* Secure;/])
})
