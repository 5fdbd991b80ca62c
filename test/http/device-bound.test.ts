import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { MemoryStore, sessionPlugin } from '../../lib/index.ts'
import type { DeviceMismatch, SessionOptions } from '../../lib/index.ts'
import { secret, startApp } from '../helpers/app.ts'
import { BoundBrowser, PAGE } from '../helpers/bound-browser.ts'
import type { Owner } from '../helpers/redis.ts'

const MINUTE = 60_000

interface Place {
  app: FastifyInstance
  browser: BoundBrowser
  /** Lets time go by for the store. */
  age: (ms: number) => void
  mismatches: DeviceMismatch[]
}

/** An application whose sessions are bound, and a browser that can bind them. */
async function start (t: Owner, deviceBound: SessionOptions['deviceBound'] = true, options: Partial<SessionOptions> = {}): Promise<Place> {
  let aged = 0
  const { store = new MemoryStore({ now: () => Date.now() + aged }) } = options
  const app = await startApp(t, { cookie: { secure: true }, deviceBound, absoluteTimeout: '30d', idleTimeout: '7d', ...options, store }, { trustProxy: '127.0.0.1' })
  const mismatches: DeviceMismatch[] = []
  app.sessions.on('device-mismatch', (event) => mismatches.push(event))
  app.post('/login', async (request) => await app.login(request, { id: 'ada' }))
  app.post('/logout', async (request, reply) => {
    await app.logout(request)
    return reply.code(204).send()
  })
  app.post('/regenerate', async (request, reply) => {
    await request.session.regenerate(['userId'])
    return reply.send({ id: request.session.sessionId })
  })
  app.get('/visit', async (request) => {
    request.session.visits = 1
    return 'counted'
  })
  app.get('/open', async (request) => ({ user: request.auth?.userId ?? null }))
  app.get('/me', { preHandler: app.authenticate }, async (request) => ({ user: request.requireAuth().userId, bound: request.requireAuth().deviceBound }))
  app.get('/page', { preHandler: app.authenticatePage }, async (request) => `hello ${request.requireAuth().userId}`)
  app.get('/money', { preHandler: app.requireDeviceBound }, async () => 'yours')
  return { app, browser: new BoundBrowser(app), age: (ms) => { aged += ms }, mismatches }
}

/** Signs in, binds, and shows the short cookie once. */
async function bind ({ browser }: Place): Promise<void> {
  await browser.post('/login')
  await browser.register()
  await browser.get('/me')
}

t.test('a sign-in over https asks the browser to bind, and the short cookie shows from then on that it is that browser', async (t) => {
  const place = await start(t)
  const { app, browser } = place
  await browser.post('/login')
  t.match(browser.asked, /^\(ES256 RS256\);path="\/device-bound";challenge="[\w.-]+"$/)
  t.match((await browser.get('/me')).json(), { user: 'ada', bound: false })
  t.equal((await browser.get('/money')).statusCode, 403)
  const registered = await browser.register()
  t.equal(registered.statusCode, 200)
  t.match(registered.headers, { 'cache-control': 'no-store', 'set-cookie': /^__Host-sid-bound=[\w.]+[\w-]*; Max-Age=600; Path=\/; HttpOnly; Secure; SameSite=Lax$/ })
  t.match(registered.json(), {
    session_identifier: /^[\w-]{22}$/,
    refresh_url: '/device-bound/refresh',
    scope: { include_site: false, scope_specification: [{ type: 'exclude', path: '/device-bound' }] },
    credentials: [{ type: 'cookie', name: '__Host-sid-bound', attributes: 'Path=/; Secure; HttpOnly; SameSite=Lax' }]
  })
  t.match((await browser.get('/me')).json(), { user: 'ada', bound: true })
  t.equal((await browser.get('/money')).body, 'yours')
  t.match(await app.sessions.listByUser('ada'), [{ deviceBound: true }])
  t.strictSame(place.mismatches, [])
})

t.test('a copy of both cookies works until the short one has run out, and is nobody after, while the owner goes on', async (t) => {
  const place = await start(t)
  const { browser, age, mismatches } = place
  await bind(place)
  const thief = browser.thief()
  t.match((await thief.get('/me')).json(), { user: 'ada', bound: true })
  age(9 * MINUTE)
  t.equal((await browser.refresh()).statusCode, 200)
  age(MINUTE)
  t.equal((await thief.get('/me')).statusCode, 200, 'a request under way has half a minute')
  age(MINUTE)
  const refused = await thief.get('/me', { 'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0' })
  t.match(refused, { statusCode: 401 })
  t.match(refused.json(), { code: 'ERR_SESSION_DEVICE_MISMATCH' })
  t.match((await thief.get('/money')).json(), { code: 'ERR_SESSION_DEVICE_MISMATCH' })
  t.match((await thief.get('/open')).json(), { user: null })
  t.match((await thief.get('/page', PAGE)), { statusCode: 303, headers: { location: '/login' } }, 'it may sign in')
  t.match((await browser.get('/me')).json(), { user: 'ada', bound: true })
  t.equal((await browser.get('/money')).statusCode, 200)
  t.match(mismatches, [{ userId: 'ada', reason: 'refused', device: 'Firefox 131 on Linux', network: '127.0.0.1', local: true }], 'told once')
})

t.test('[2] what a request without the short cookie is', async (t) => {
  const place = await start(t)
  const { browser, age, mismatches } = place
  await bind(place)
  const id = browser.bound?.id ?? ''
  age(MINUTE)
  browser.loseShortCookie()
  const link = { ...PAGE, 'sec-fetch-site': 'cross-site' }
  for (const site of ['cross-site', 'same-site']) {
    const again = await browser.get('/open', { ...link, 'sec-fetch-site': site })
    t.match(again, { statusCode: 200, headers: { 'content-type': /^text\/html/, 'cache-control': 'no-store', 'set-cookie': undefined } })
    t.match(again.body, /http-equiv="refresh" content="0"/)
    t.notMatch(again.body, /ada/)
  }
  t.match((await browser.get('/me', { ...link, 'sec-fetch-mode': 'no-cors' })).statusCode, 401, 'what is no page gets none')
  t.match(await browser.get('/visit', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' }), { statusCode: 401, headers: { 'set-cookie': undefined } })
  // As a sibling host can plant them, under a name that lets it. To load a page again would not take them away.
  const planted = Array.from({ length: 5 }, (_, number) => `__Host-sid-bound=mx${number}.${'A'.repeat(43)}`).join('; ')
  const cookie = [...browser.cookies].map((pair) => pair.join('=')).join('; ')
  t.strictSame((await browser.get('/open', { ...PAGE, cookie: `${cookie}; ${planted}` })).json(), { user: null })
  t.strictSame(mismatches, [], 'and nobody is told of what honest browsers do')
  const skipped = await browser.get('/me', { 'secure-session-skipped': `unreachable;session_identifier="${id}"` })
  t.match(skipped.json(), { user: 'ada', bound: false })
  t.equal((await browser.get('/money', { 'secure-session-skipped': `unreachable;session_identifier="${id}"` })).statusCode, 403)
  t.match(mismatches, [{ reason: 'skipped' }])
  t.equal((await browser.get('/me', { 'secure-session-skipped': 'unreachable;session_identifier="another"' })).statusCode, 401)
  t.match(mismatches, [{ reason: 'skipped' }, { reason: 'refused' }])
  await browser.refresh()
  t.match((await browser.get('/me', link)).json(), { bound: true })
})

t.test('requests that were under way at the registration pass, and a registration whose reply got lost harms nobody', async (t) => {
  const place = await start(t)
  const { browser, age, mismatches } = place
  await browser.post('/login')
  const before = browser.thief()
  await browser.register()
  await browser.get('/me')
  t.match((await before.get('/me')).json(), { user: 'ada', bound: false })
  age(MINUTE)
  t.equal((await before.get('/me')).statusCode, 401)

  const other = new BoundBrowser(place.app)
  await other.post('/login')
  const lost = other.thief()
  lost.asked = other.asked
  await lost.register()
  age(MINUTE)
  t.match((await other.get('/page', PAGE)).body, 'hello ada', 'its key was never shown')
  t.equal((await other.register()).statusCode, 200, 'so that it may bind another')
  t.match((await other.get('/me')).json(), { bound: true })
  t.equal(mismatches.length, 1)
})

t.test('the first of two registrations wins, and the same one may be repeated', async (t) => {
  const place = await start(t)
  const { browser } = place
  await browser.post('/login')
  const second = browser.thief()
  second.asked = browser.asked
  t.equal((await browser.register()).statusCode, 200)
  t.equal((await browser.register({ newly: false })).statusCode, 200)
  t.equal((await second.register()).statusCode, 409)
  await browser.get('/me')
  t.equal((await second.register()).statusCode, 409)
  t.match((await browser.get('/me')).json(), { bound: true })
})

t.test('after a logout, a revocation or another sign-in the browser is told to forget, and cannot bind again', async (t) => {
  const ends: Array<[string, (place: Place) => Promise<unknown>]> = [
    ['logout', async ({ browser }) => await browser.post('/logout')],
    ['revocation', async ({ app }) => await app.sessions.revokeUser('ada')],
    ['time', async ({ age }) => age(8 * 24 * 60 * MINUTE)]
  ]
  for (const [name, end] of ends) {
    const place = await start(t)
    const { browser } = place
    await bind(place)
    await end(place)
    if (name === 'logout') t.strictSame([...browser.cookies.keys()], [], 'both cookies are taken back')
    // Its session may go on under another cookie that it does not have yet: it has time for as long as this one is good.
    if (name === 'revocation') t.equal((await browser.refresh()).statusCode, 429)
    browser.loseShortCookie()
    t.equal((await browser.refresh()).statusCode, 401, name)
    t.equal(browser.bound, null)
    t.equal((await browser.register()).statusCode, 401)
    t.match((await browser.get('/open')).json(), { user: null })
  }
})

t.test('a regeneration and a sign-in again on the device stay bound to it; one without the device is bound anew', async (t) => {
  const place = await start(t)
  const { browser, age, app } = place
  await bind(place)
  for (const path of ['/regenerate', '/login']) {
    browser.asked = undefined
    t.equal((await browser.post(path)).statusCode, 200)
    t.equal(browser.asked, undefined, path)
    t.match((await browser.get('/me')).json(), { bound: true })
    t.equal((await browser.refresh()).statusCode, 200)
  }
  age(MINUTE)
  browser.loseShortCookie()
  await browser.post('/login')
  t.ok(browser.asked)
  t.match((await browser.get('/me')).json(), { bound: false })
  t.equal((await browser.refresh()).statusCode, 401, 'its old session is another')
  t.equal((await browser.register()).statusCode, 200)
  t.match((await browser.get('/me')).json(), { bound: true })
  t.match(await app.sessions.listByUser('ada'), [{ deviceBound: true }], 'and the one before has ended')
})

t.test('the small page is all that a link from another site gets, whatever hooks of the application wait', async (t) => {
  let aged = 0
  const store = new MemoryStore({ now: () => Date.now() + aged })
  // A look-up takes a turn, as in Redis.
  store.findNow = () => undefined
  const place = await start(t, true, { store })
  const { app, browser } = place
  let runs = 0
  app.addHook('onSend', async (_request, _reply, payload) => {
    await setImmediate()
    return payload
  })
  app.get('/callback', async () => { runs++ })
  app.get('/paid', { preHandler: app.authenticatePage }, async () => { runs++ })
  await bind(place)
  aged = MINUTE
  browser.loseShortCookie()
  for (const url of ['/callback', '/paid']) {
    const { statusCode, body } = await browser.get(url, { ...PAGE, 'sec-fetch-site': 'cross-site' })
    t.match({ statusCode, body }, { statusCode: 200, body: /location\.reload/ }, url)
  }
  t.equal(runs, 0)
})

t.test('a short cookie that is over, and that a browser sends all the same, is taken back, so that it asks for the next', async (t) => {
  const place = await start(t)
  const { browser, age } = place
  await bind(place)
  const others = browser.thief()
  age(11 * MINUTE)
  const { statusCode, headers } = await browser.get('/me')
  t.equal(statusCode, 401)
  t.match(headers['set-cookie'], /^__Host-sid-bound=; Max-Age=0;/)
  t.notOk(browser.cookies.has('__Host-sid-bound'))
  t.equal((await browser.refresh()).statusCode, 200)
  t.match((await browser.get('/me')).json(), { user: 'ada', bound: true })
  t.equal((await others.get('/me')).statusCode, 401, 'a copy gains nothing by it')
  t.equal((await others.get('/me')).statusCode, 401)
})

t.test('a browser that asks while its session is on its way to another id is not told to forget it', async (t) => {
  const store = new MemoryStore()
  const place = await start(t, true, { store })
  const { browser } = place
  await bind(place)
  const before = [...browser.cookies]
  const { id } = (await browser.post('/regenerate')).json<{ id: string }>()
  for (const [name, value] of before) browser.cookies.set(name, value)
  browser.loseShortCookie()
  // A store whose steps reach several servers has ended the old one by then, and the new one is not to be found yet.
  const find = store.find.bind(store)
  let missed = 0
  store.find = async (...asked) => asked[0] === id && missed++ < 3 ? null : await find(...asked)
  t.equal((await browser.refresh()).statusCode, 200)
  t.equal(missed, 4, 'it was looked for again')
})

t.test('a sign-in ends the session that its browser could not use, and takes nothing of it along', async (t) => {
  const lives = { label: 'her laptop', meta: { a: 1 }, data: { cart: ['tea'] } }
  for (const [deviceBound, isBound] of [[true, true], [{ required: true }, false], [{ required: true }, true]] as const) {
    for (const how of ['login', 'assign'] as const) {
      let aged = 0
      const store = new MemoryStore({ now: () => Date.now() + aged })
      // Another request changes the old session at the last moment.
      const replace = store.replace.bind(store)
      store.replace = async (record, old, options) => {
        await store.update(old, () => '{"cart":["tea","milk"]}')
        return await replace(record, old, options)
      }
      const { app, browser } = await start(t, deviceBound, { maxSessionsPerUser: 1, onLimit: 'reject', store })
      app.post('/begin', async (request) => await app.login(request, { id: 'ada' }, lives))
      app.post('/login/again', async (request) => await app.login(request, { id: 'ada' }, { keep: true }))
      app.post('/assign', async ({ session }) => { session.userId = 'ada' })
      app.get('/keeps', async ({ session, auth }) => ({ cart: session.cart ?? null, label: auth?.label, meta: auth?.meta }))
      await browser.post('/begin')
      t.match((await browser.get('/keeps')).json(), { cart: ['tea'], label: 'her laptop', meta: { a: 1 } })
      if (isBound) await browser.register()
      if (isBound) await browser.get('/me')
      aged += 2 * MINUTE
      browser.loseShortCookie()
      const old = browser.thief()
      t.equal((await browser.get('/me')).statusCode, isBound ? 401 : 403)
      t.equal((await browser.post(how === 'login' ? '/login/again' : '/assign')).statusCode, 200)
      t.match(await app.sessions.listByUser('ada'), [{ deviceBound: false, label: null, meta: null }])
      t.match((await browser.get('/keeps')).json(), { cart: null, label: null, meta: null })
      await old.get('/page', PAGE)
      t.equal(old.asked, undefined, 'a copy of the old cookie is nobody\'s')
      t.equal((await old.get('/me')).json().code, 'ERR_SESSION_UNAUTHENTICATED')
    }
  }
})

t.test('who has lost the key signs in by a page that keeps data for visitors, and leaves no session behind', async (t) => {
  const place = await start(t, true, { maxSessionsPerUser: 1, onLimit: 'reject' })
  const { app, browser, age } = place
  await bind(place)
  age(MINUTE)
  browser.loseShortCookie()
  t.equal((await browser.get('/visit')).statusCode, 200)
  t.strictSame(await app.sessions.listByUser('ada'), [], 'the visitor has its place')
  t.equal((await browser.post('/login')).statusCode, 200)
  t.match((await browser.get('/me')).json(), { user: 'ada', bound: false })
  t.match(await app.sessions.listByUser('ada'), [{ deviceBound: false }])
})

t.test('onMismatch revoke ends the session', async (t) => {
  const place = await start(t, { onMismatch: 'revoke' })
  const { app, browser, age } = place
  const revoked: unknown[] = []
  app.sessions.on('revoked', ({ statedReason }) => revoked.push(statedReason))
  await bind(place)
  age(MINUTE)
  const thief = browser.thief()
  thief.loseShortCookie()
  t.equal((await thief.get('/me', { 'sec-fetch-site': 'cross-site' })).statusCode, 401)
  t.equal((await browser.get('/me')).statusCode, 200, 'not by what honest browsers do')
  t.equal((await thief.get('/me')).statusCode, 401)
  t.equal((await browser.get('/me')).statusCode, 401)
  t.strictSame(revoked, ['device-mismatch'])
})

t.test('required: sessions that are not bound are nobody\'s after the grace', async (t) => {
  const place = await start(t, { required: (userId) => userId === 'ada', grace: '2m' })
  const { app, browser, age } = place
  app.post('/login/bob', async (request) => await app.login(request, { id: 'bob' }))
  const bob = new BoundBrowser(app)
  await bob.post('/login/bob')
  await browser.post('/login')
  t.match((await browser.get('/me')).json(), { user: 'ada', bound: false })
  age(3 * MINUTE)
  const refused = await browser.get('/me')
  t.match(refused, { statusCode: 403 })
  t.match(refused.json(), { code: 'ERR_SESSION_DEVICE_BOUND_REQUIRED' })
  t.match((await browser.get('/open')).json(), { user: null })
  t.match((await bob.get('/me')).json(), { user: 'bob' })
  t.match((await browser.get('/page', PAGE)), { statusCode: 403, headers: { 'secure-session-registration': /challenge/ } }, 'it may still bind')
  t.equal((await browser.register()).statusCode, 200)
  t.match((await browser.get('/me')).json(), { user: 'ada', bound: true })
  age(MINUTE)
  const id = browser.bound?.id ?? ''
  browser.loseShortCookie()
  t.equal((await browser.get('/me', { 'secure-session-skipped': `unreachable;session_identifier="${id}"` })).statusCode, 403)
})

t.test('required: the grace is for what is not bound yet, also where a session was adopted, and not for a bound one', async (t) => {
  let aged = 0
  const store = new MemoryStore({ now: () => Date.now() + aged })
  // Nobody knows when its user signed in, as with a session of another library.
  const begin = store.begin.bind(store)
  store.begin = async (record, options) => await begin({ ...record, authenticatedAt: 0 }, options)
  const { browser } = await start(t, { required: true, grace: '10m' }, { store })
  await browser.post('/login')
  t.match((await browser.get('/me')).json(), { user: 'ada', bound: false })
  await browser.register()
  t.match((await browser.get('/me')).json(), { user: 'ada', bound: true })
  aged += MINUTE
  const skipped = { 'secure-session-skipped': `unreachable;session_identifier="${browser.bound?.id ?? ''}"` }
  t.match((await browser.get('/me', skipped)).json(), { bound: true }, 'which says nothing where the short cookie is')
  browser.loseShortCookie()
  t.match((await browser.get('/me', skipped)).json(), { code: 'ERR_SESSION_DEVICE_BOUND_REQUIRED' })
  const unbound = new BoundBrowser(browser.app)
  await unbound.post('/login')
  aged += 9 * MINUTE
  t.equal((await unbound.get('/me')).statusCode, 200)
  aged += 2 * MINUTE
  t.equal((await unbound.get('/me')).statusCode, 403)
})

t.test('a function of required that throws, or promises, signs nobody in', async (t) => {
  const broken = new Error('broken')
  const thenable = { get then () { throw broken } }
  const answers: Array<() => unknown> = [() => { throw broken }, async () => true, async () => { throw broken }, () => thenable]
  for (const required of answers as Array<() => never>) {
    const place = await start(t, { required, grace: 0 })
    const { browser, age } = place
    await browser.post('/login')
    age(MINUTE)
    t.equal((await browser.get('/me')).statusCode, 500)
    t.equal((await browser.get('/open')).statusCode, 500)
    t.equal((await browser.post('/logout')).statusCode, 204)
  }
})

t.test('a session that began before is bound with its next page, if that is wanted', async (t) => {
  for (const bindExisting of [true, false]) {
    const place = await start(t, { bindExisting })
    const { app, browser, age } = place
    const { headers: { cookie = '' } } = await app.sessions.create({ userId: 'ada' })
    browser.cookies.set('__Host-sid', cookie.replace('__Host-sid=', ''))
    await browser.get('/page', PAGE)
    t.equal(browser.asked, undefined, 'not at once: that of a sign-in was asked then')
    age(MINUTE)
    await browser.get('/me')
    t.equal(browser.asked, undefined, 'not by what is no page')
    await browser.get('/page', PAGE)
    t.equal(browser.asked !== undefined, bindExisting)
    if (!bindExisting) continue
    t.equal((await browser.register()).statusCode, 200)
    browser.asked = undefined
    t.match((await browser.get('/page', PAGE)).body, 'hello ada')
    t.equal(browser.asked, undefined, 'and it is asked once')
  }
})

t.test('with ask: false nobody is asked, and what is bound stays so', async (t) => {
  const place = await start(t, { ask: false })
  const { browser } = place
  await browser.post('/login')
  await browser.get('/page', PAGE)
  t.equal(browser.asked, undefined)
})

t.test('over plain http, for bearer tokens and for nobody, nothing is asked', async (t) => {
  const place = await start(t, true, { cookie: { secure: false }, bearer: true })
  const { app } = place
  app.post('/token', async (request) => await request.server.sessions.create({ userId: 'ada', kind: 'bearer' }))
  app.post('/cart', async (request) => {
    request.session.cart = [1]
    return 'kept'
  })
  const browser = new BoundBrowser(app)
  const http = { 'x-forwarded-proto': 'http' }
  await browser.post('/login', undefined, http)
  await browser.get('/page', { ...PAGE, ...http })
  t.equal(browser.asked, undefined)
  const visitor = new BoundBrowser(app)
  await visitor.post('/cart')
  t.ok(visitor.cookies.has('sid'))
  t.equal(visitor.asked, undefined)
  const { headers } = await app.sessions.create({ userId: 'ada', kind: 'bearer' })
  const token = { authorization: headers.authorization ?? '' }
  t.match((await new BoundBrowser(app).get('/me', token)).json(), { user: 'ada', bound: false })
  t.equal((await new BoundBrowser(app).get('/money', token)).statusCode, 403)
})

t.test('requireDeviceBound without the option is an error that says so', async (t) => {
  const { app } = await start(t, false)
  const browser = new BoundBrowser(app)
  await browser.post('/login')
  t.match((await browser.get('/money')).json(), { statusCode: 500, code: 'ERR_SESSION_UNSUPPORTED' })
  t.equal((await browser.post('/device-bound')).statusCode, 404)
})

t.test('outside of routes, a copied cookie finds no session either', async (t) => {
  const place = await start(t)
  const { app, browser, age } = place
  await bind(place)
  const cookieOf = ({ cookies }: BoundBrowser): string => [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  age(MINUTE)
  const thief = browser.thief()
  thief.loseShortCookie()
  const { sessions } = app
  t.match(await sessions.fromRequest({ headers: { cookie: cookieOf(browser) } }), { userId: 'ada', deviceBound: true })
  t.match(await sessions.fromCookieHeader(cookieOf(browser)), { userId: 'ada' })
  t.equal(await sessions.fromRequest({ headers: new Headers({ cookie: cookieOf(thief) }) }), null)
  t.equal(await sessions.fromCookieHeader(cookieOf(thief)), null)
  t.equal(await sessions.find(thief.cookies.get('__Host-sid') ?? ''), null)
  await setImmediate()
  t.match(place.mismatches, [{ reason: 'refused', device: null, network: 'unknown', requestId: null }])
})

t.test('outside of routes nothing ends a session, as not all of a request is known there', async (t) => {
  const place = await start(t, { onMismatch: 'revoke' })
  const { app, browser, age } = place
  await bind(place)
  age(MINUTE)
  const id = browser.bound?.id ?? ''
  browser.loseShortCookie()
  const cookie = `__Host-sid=${browser.cookies.get('__Host-sid') ?? ''}`
  t.equal(await app.sessions.fromCookieHeader(cookie), null)
  t.equal(await app.sessions.fromRequest({ headers: { cookie } }), null)
  await setImmediate()
  t.match(place.mismatches, [{ reason: 'refused' }], 'it is told')
  const skipped = { 'secure-session-skipped': `unreachable;session_identifier="${id}"` }
  t.equal((await browser.get('/me', skipped)).statusCode, 200)
  t.equal((await browser.get('/me')).statusCode, 401, 'and a request ends it all the same')
  t.equal((await browser.get('/me', skipped)).json().code, 'ERR_SESSION_UNAUTHENTICATED')
})

t.test('[4] what is sent to the two routes is checked, whoever sends it', async (t) => {
  const place = await start(t)
  const { browser } = place
  const mallory = new BoundBrowser(place.app)
  t.equal((await mallory.post('/device-bound')).statusCode, 401)
  t.equal((await mallory.post('/device-bound/refresh')).statusCode, 401)
  await browser.post('/login')
  t.equal((await browser.post('/device-bound')).statusCode, 400, 'no proof')
  t.equal((await browser.post('/device-bound/refresh')).statusCode, 401, 'not bound')
  const elsewhere = { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }
  t.equal((await browser.register({ headers: elsewhere })).statusCode, 200, 'older browsers send anything here')
  await browser.get('/me')
  const id = { 'sec-secure-session-id': `"${browser.bound?.id ?? ''}"` }
  const challenged = await browser.post('/device-bound/refresh', undefined, id)
  t.match(challenged, { statusCode: 403, headers: { 'secure-session-challenge': /^"[\w.-]+";id="[\w-]{22}"$/ } })
  const challenge = browser.bound?.challenge ?? ''
  const host = { host: 'app.example' }
  const refresh = async (proof: string): Promise<number> => (await browser.post('/device-bound/refresh', undefined, { ...id, ...host, 'secure-session-response': proof })).statusCode
  t.equal(await refresh(mallory.proof({ jti: challenge })), 400, 'another key')
  t.equal(await refresh(browser.proof({ jti: `${challenge}x` })), 403, 'another challenge')
  t.equal(await refresh(browser.proof({ jti: challenge, aud: 'https://evil.example/device-bound/refresh' })), 400, 'for another site')
  t.equal(await refresh(browser.proof({ jti: challenge, aud: 'https://app.example/device-bound/refresh' })), 200)
  t.equal(await refresh(`"${browser.proof({ jti: challenge })}"`), 200, 'in quotes')
  t.equal((await browser.post('/device-bound/refresh', { large: 'x'.repeat(2_000) }, id)).statusCode, 413)
})

t.test('a refresh is no use of the session', async (t) => {
  const place = await start(t, true, { touchAfter: 0 })
  const { app, browser, age } = place
  await bind(place)
  const seen = async (): Promise<number | undefined> => (await app.sessions.listByUser('ada'))[0]?.lastSeenAt
  const before = await seen()
  age(MINUTE)
  t.equal((await browser.refresh()).statusCode, 200)
  t.equal(await seen(), before)
})

t.test('a secret is rotated, or the cookie renamed, and the device stays bound', async (t) => {
  const changes: Array<Partial<SessionOptions>> = [{ secret: ['a-new-secret-of-the-tests-with-32-characters', secret] }, { cookieName: ['__Host-new', '__Host-sid'] }]
  for (const changed of changes) {
    const store = new MemoryStore()
    const place = await start(t, true, { store })
    await bind(place)
    const { browser, mismatches } = place
    const { app } = await start(t, true, { store, ...changed })
    browser.app = app
    t.match((await browser.get('/me')).json(), { bound: true })
    t.equal((await browser.refresh()).statusCode, 200)
    t.ok(browser.cookies.has('cookieName' in changed ? '__Host-new-bound' : '__Host-sid-bound'))
    t.match((await browser.get('/me')).json(), { bound: true })
    t.strictSame(mismatches, [])
  }
})

t.test('the routes lie below the prefix of the context and the path of the cookie, and two registrations need two paths', async (t) => {
  const app = Fastify({ trustProxy: '127.0.0.1' })
  t.teardown(async () => { await app.close() })
  const register = async (prefix: string, options: Partial<SessionOptions>, to = app) => await to.register(async (own) => {
    await own.register(sessionPlugin, { secret, store: new MemoryStore(), deviceBound: true, ...options })
    if (prefix !== '') own.post('/login', async (request) => await own.login(request, { id: 'ada' }))
  }, { prefix })
  await register('/a', { cookieName: 'a', cookie: { path: '/a' } })
  await register('/b', { cookieName: 'b', deviceBound: { path: '/auth/device' } })
  await register('', { cookieName: 'c', cookie: { path: '/c' } })
  await register('', { cookieName: 'd' })
  for (const [login, name, path] of [['/a/login', 'a', '/a/device-bound'], ['/b/login', 'b', '/b/auth/device']] as const) {
    const browser = new BoundBrowser(app)
    await browser.post(login)
    t.match(browser.asked, `path="${path}"`)
    t.equal((await browser.register()).statusCode, 200)
    t.strictSame([...browser.cookies.keys()], [name, `${name}-bound`])
  }
  for (const url of ['/c/device-bound', '/device-bound']) t.ok(app.hasRoute({ method: 'POST', url }), url)
  const other = Fastify()
  t.teardown(async () => { await other.close() })
  await register('', { cookieName: 'd' }, other)
  await t.rejects(register('', { cookieName: 'e' }, other), { code: 'ERR_SESSION_INVALID_OPTIONS', message: /deviceBound\.path must be another/ })
  const outside = { code: 'ERR_SESSION_INVALID_OPTIONS', message: /deviceBound\.path must be below cookie\.path/ }
  await t.rejects(register('', { cookie: { path: '/f' }, deviceBound: { path: '/auth/device' } }, Fastify()), outside)
  await t.rejects(register('/api', { cookie: { path: '/f' } }, Fastify()), outside)
})

t.test('a prefix or a cookie.path that no browser can be told is a boot error, and one that ends with a slash is none', async (t) => {
  const register = async (prefix: string, path = '/'): Promise<string> => {
    const app = Fastify({ trustProxy: '127.0.0.1' })
    t.teardown(async () => { await app.close() })
    await app.register(async (own) => {
      await own.register(sessionPlugin, { secret, store: new MemoryStore(), deviceBound: true, cookie: { path }, cookieName: 'sid' })
      own.post('/login', async (request) => await own.login(request, { id: 'ada' }))
    }, { prefix })
    const browser = new BoundBrowser(app)
    await browser.post(`${prefix.replace(/\/$/, '')}/login`)
    t.equal((await browser.register()).statusCode, 200, prefix)
    return /path="(.*?)"/.exec(browser.asked ?? '')?.[1] ?? ''
  }
  const rule = { code: 'ERR_SESSION_INVALID_OPTIONS', message: /deviceBound needs a prefix and a cookie\.path of letters/ }
  for (const prefix of ['/:tenant', '/日本', '/café', '/a"b', '/a\\b', '/a b', '/*', '/a//b']) await t.rejects(register(prefix), rule, prefix)
  await t.rejects(register('', '/a"b'), rule)
  t.equal(await register('/a/'), '/a/device-bound')
  t.equal(await register("/v1.0/~a/@b+c,d=e!$&'f"), "/v1.0/~a/@b+c,d=e!$&'f/device-bound")
})
