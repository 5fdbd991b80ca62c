import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { SessionOptions } from '../../lib/index.ts'
import { Browser, startApp } from '../helpers/app.ts'
import type { LogLine, TestResponse } from '../helpers/app.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { HOUR, MINUTE } from '../helpers/record.ts'
import { Gate, SpyStore } from '../helpers/spy-store.ts'

interface Shop {
  app: FastifyInstance & { lines: LogLine[] }
  store: SpyStore
  /** Lets time pass. */
  age: (ms: number) => void
}

async function openShop (t: Test, options: Partial<SessionOptions> = {}): Promise<Shop> {
  let now = Date.now()
  const store = new SpyStore({ now: () => now })
  const app = await startApp(t, { ...options, store })
  app.get('/plain', async () => 'plain')
  app.get('/me', async (request) => ({ userId: request.auth?.userId ?? null }))
  app.get('/cart', async (request) => request.session.get('cart') ?? null)
  app.get('/guarded', { preHandler: app.authenticate }, async () => 'guarded')
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  app.post('/assign', async (request) => { request.session.userId = 'ada' })
  app.post('/logout', async (request) => { await app.logout(request) })
  app.post('/cart', async (request) => { request.session.cart = ['book'] })
  return { app, store, age: (ms) => { now += ms } }
}

t.test('cookies that the application has put into the raw reply stay beside those of the plugin', async (t) => {
  const { app } = await openShop(t)
  const raw = async (_request: unknown, { raw }: FastifyReply): Promise<void> => { raw.setHeader('set-cookie', ['lang=en', 'consent=yes']) }
  app.post('/raw/login', { onRequest: raw }, async (request) => { await app.login(request, { id: 'ada' }) })
  app.post('/raw/cart', { onRequest: raw }, async (request) => { request.session.cart = ['book'] })
  app.get('/raw/page', { onRequest: [raw, app.authenticatePage] }, async () => 'page')
  const seen: unknown[] = []
  for (const [method, url] of [['POST', '/raw/login'], ['POST', '/raw/cart'], ['GET', '/raw/page']] as const) {
    const { headers } = await app.inject({ method, url })
    seen.push([headers['set-cookie']].flat().map((line) => String(line).replace(/^((?!lang|consent).*?)=.*/, '$1')))
  }
  t.strictSame(seen, [['lang=en', 'consent=yes', 'sid'], ['lang=en', 'consent=yes', 'sid'], ['lang=en', 'consent=yes', 'sid-return']])
})

async function signIn ({ app }: Shop): Promise<Browser> {
  const browser = new Browser(app)
  await browser.post('/login')
  return browser
}

/** The public id in a browser's cookie. */
function idOf (browser: Browser): string | undefined {
  return browser.cookies.get('sid')?.split('.')[0]
}

function copyOf ({ app }: Shop, browser: Browser): Browser {
  const copy = new Browser(app)
  for (const [name, value] of browser.cookies) copy.cookies.set(name, value)
  return copy
}

/** Asserts a 503 that says when to come again and sends no session. */
function isUnavailable (t: Test, response: TestResponse, message = 'unavailable'): void {
  t.same([response.statusCode, response.json().code, response.headers['retry-after']], [503, 'ERR_SESSION_STORE_UNAVAILABLE', '1'], message)
}

// -- streams ----------------------------------------------------------------------------------------------

t.test('a file that is not there is a clean 500, also while the session is being saved', async (t) => {
  const shop = await openShop(t)
  const gate = new Gate()
  let stream: Readable | undefined
  shop.app.get('/file', async (request, reply) => {
    request.session.cart = ['book']
    stream = createReadStream('/nope')
    return reply.send(stream)
  })
  const ada = await signIn(shop)
  shop.store.gates.set('update', gate)
  const response = ada.get('/file')
  await gate.reached
  await closed(stream)
  gate.open()
  t.equal((await response).statusCode, 500)
  t.same((await ada.get('/cart')).json(), ['book'], 'and what was changed is saved')
})

/** Waits until a stream has said all that it will say, its error included. */
async function closed (stream: Readable | undefined): Promise<void> {
  // An error listener would do what is to be tested.
  if (stream !== undefined && !stream.closed) await new Promise((resolve) => stream.once('close', resolve))
}

t.test('a file that is not there is a clean 500 where nothing is saved', async (t) => {
  const shop = await openShop(t)
  shop.app.get('/file', async (request, reply) => {
    t.ok(request.session)
    return reply.send(createReadStream('/nope'))
  })
  const ada = await signIn(shop)
  t.equal((await ada.get('/file')).statusCode, 500)
  t.equal((await new Browser(shop.app).get('/file')).statusCode, 500)
})

t.test('a stream arrives whole after its session was saved', async (t) => {
  const shop = await openShop(t)
  shop.app.get('/stream', async (request, reply) => {
    request.session.cart = ['book']
    return reply.type('text/plain').send(Readable.from(['one ', 'two ', 'three']))
  })
  const ada = new Browser(shop.app)
  const response = await ada.get('/stream')
  t.same([response.statusCode, response.body], [200, 'one two three'])
  t.equal(response.setCookies.length, 1)
  t.same((await ada.get('/cart')).json(), ['book'])
})

t.test('the session is stored before the reply begins', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  const gate = new Gate()
  shop.store.gates.set('update', gate)
  let replied = false
  const response = ada.post('/cart').then(() => { replied = true })
  await gate.reached
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(replied, false)
  gate.open()
  await response
  t.same((await ada.get('/cart')).json(), ['book'])
})

// -- an onSend that throws --------------------------------------------------------------------------------

t.test('when an onSend of the application throws after ours, nothing is saved and no cookie is set twice', async (t) => {
  const shop = await openShop(t)
  let passes = 0
  shop.app.addHook('onSend', async () => {
    if (++passes === 1) throw new Error('the application failed')
  })
  shop.app.post('/late', async (request) => { request.session.cart = ['book'] })
  const ada = new Browser(shop.app)
  let response: TestResponse | undefined
  const asked = await shop.store.during(async () => { response = await ada.post('/late') })
  t.equal(passes, 2)
  t.equal(response?.statusCode, 500)
  t.strictSame(asked, ['begin'])
  t.equal(response?.setCookies.length, 1)
  t.same((await ada.get('/cart')).json(), ['book'])

  passes = 0
  const again = await shop.store.during(async () => { response = await ada.post('/late') })
  t.strictSame([again, response?.setCookies], [['find'], []])
})

t.test('an error of the application answers 500 and its session is saved once', async (t) => {
  const shop = await openShop(t)
  shop.app.post('/fail', async (request) => {
    request.session.cart = ['book']
    throw new Error('the application failed')
  })
  const ada = new Browser(shop.app)
  const asked = await shop.store.during(async () => {
    const response = await ada.post('/fail')
    t.equal(response.statusCode, 500)
    t.equal(response.setCookies.length, 1)
  })
  t.strictSame(asked, ['begin'])
  t.same((await ada.get('/cart')).json(), ['book'])
})

// -- reply.hijack() -----------------------------------------------------------------------------------------

t.test('behind a hijacked reply nothing is saved without save, and that is said once', async (t) => {
  const shop = await openShop(t)
  shop.app.post('/hijacked', async (request, reply) => {
    request.session.cart = ['book']
    reply.hijack()
    reply.raw.end('mine')
  })
  const ada = await signIn(shop)
  const asked = await shop.store.during(async () => {
    for (let time = 0; time < 2; time++) t.equal((await ada.post('/hijacked')).body, 'mine')
  })
  t.strictSame(asked, ['find', 'find'])
  t.equal((await ada.get('/cart')).body, 'null')
  t.equal(shop.app.lines.filter(({ msg }) => /hijacked/.test(msg)).length, 1)
})

t.test('behind a hijacked reply save works', async (t) => {
  const shop = await openShop(t)
  shop.app.post('/hijacked', async (request, reply) => {
    request.session.cart = ['book']
    await request.session.save()
    reply.hijack()
    reply.raw.end('mine')
  })
  const ada = await signIn(shop)
  t.equal((await ada.post('/hijacked')).body, 'mine')
  t.same((await ada.get('/cart')).json(), ['book'])
  t.notOk(shop.app.lines.some(({ msg }) => /hijacked/.test(msg)))
})

t.test('behind a hijacked reply a value that JSON cannot hold harms nobody', async (t) => {
  const shop = await openShop(t)
  shop.app.post('/hijacked', async (request, reply) => {
    request.session.cart = 1n
    reply.hijack()
    reply.raw.end('mine')
  })
  const ada = await signIn(shop)
  t.equal((await ada.post('/hijacked')).body, 'mine')
  t.equal((await ada.get('/cart')).body, 'null')
})

t.test('a hijacked request counts as use', async (t) => {
  const shop = await openShop(t)
  shop.app.get('/hijacked', async (request, reply) => {
    t.ok(request.auth)
    reply.hijack()
    reply.raw.end('mine')
  })
  const ada = await signIn(shop)
  for (let time = 0; time < 3; time++) {
    shop.age(20 * MINUTE)
    await ada.get('/hijacked')
  }
  t.same((await ada.get('/me')).json(), { userId: 'ada' })
})

// -- routes without sessions ----------------------------------------------------------------------------------

t.test('a route without sessions asks the store nothing, and reading one there is an error', async (t) => {
  const shop = await openShop(t)
  const config = { session: false } as const
  shop.app.get('/skipped', { config }, async () => 'fast')
  shop.app.get('/skipped/session', { config }, async (request) => request.session)
  shop.app.get('/skipped/auth', { config }, async (request) => request.auth)
  shop.app.get('/skipped/guarded', { config, preHandler: shop.app.authenticate }, async () => 'guarded')
  shop.app.post('/skipped/login', { config }, async (request) => { await shop.app.login(request, { id: 'bob' }) })
  shop.app.post('/skipped/logout', { config }, async (request) => { await shop.app.logout(request) })
  const ada = await signIn(shop)
  const asked = await shop.store.during(async () => {
    for (const browser of [ada, new Browser(shop.app)]) {
      t.equal((await browser.get('/skipped')).body, 'fast')
      for (const [method, path] of [['GET', 'session'], ['GET', 'auth'], ['GET', 'guarded'], ['POST', 'login'], ['POST', 'logout']] as const) {
        const response = await browser.request(method, `/skipped/${path}`)
        t.same([response.statusCode, response.json().code, response.setCookies], [500, 'ERR_SESSION_SKIPPED', []], path)
      }
    }
  })
  t.strictSame(asked, [])
  t.same((await ada.get('/me')).json(), { userId: 'ada' })
})

// -- a store in trouble -----------------------------------------------------------------------------------------

t.test('when the session cannot be saved the reply is 503 without a cookie', async (t) => {
  const shop = await openShop(t)
  shop.store.failing.add('begin').add('update')
  for (const path of ['/cart', '/login', '/assign']) {
    const response = await new Browser(shop.app).post(path)
    isUnavailable(t, response, path)
    t.strictSame(response.setCookies, [])
  }
  shop.store.failing.clear()
  const ada = await signIn(shop)
  shop.store.failing.add('update')
  const response = await ada.post('/cart')
  isUnavailable(t, response)
  t.strictSame(response.setCookies, [])
  shop.store.failing.clear()
  t.same((await ada.get('/me')).json(), { userId: 'ada' })
  t.notOk(shop.app.lines.some(({ msg }) => /hijacked/.test(msg)), 'which is no hijacked reply')
})

t.test('when the store is full the reply is 503 without a cookie', async (t) => {
  const store = new SpyStore({ maxSessions: 1 })
  const app = await startApp(t, { store })
  app.post('/assign', async (request) => { request.session.userId = 'ada' })
  const first = new Browser(app)
  t.equal((await first.post('/assign')).statusCode, 200)
  const response = await new Browser(app).post('/assign')
  t.same([response.statusCode, response.json().code, response.setCookies], [503, 'ERR_SESSION_STORE_FULL', []])
  t.equal((await first.post('/assign')).statusCode, 200, 'whoever is in may sign in again')
})

t.test('when the session cannot be loaded, whoever reads it answers 503, and nobody else', async (t) => {
  const shop = await openShop(t)
  shop.app.get('/guarded/on-request', { onRequest: shop.app.authenticate }, async () => 'guarded')
  shop.app.get('/required', async (request) => request.requireAuth())
  const ada = await signIn(shop)
  shop.store.failing.add('find')
  const plain = await ada.get('/plain')
  t.same([plain.statusCode, plain.body, plain.setCookies], [200, 'plain', []])
  for (const path of ['/me', '/cart', '/guarded', '/guarded/on-request', '/required']) {
    const response = await ada.get(path)
    isUnavailable(t, response, path)
    t.strictSame(response.setCookies, [])
  }
  for (const path of ['/cart', '/login', '/assign']) isUnavailable(t, await ada.post(path), path)
  t.equal((await new Browser(shop.app).get('/me')).statusCode, 200, 'a visitor without a cookie')
  shop.store.failing.clear()
  t.same((await ada.get('/me')).json(), { userId: 'ada' })
})

t.test('a reply that was begun before the store failed is not sent as if all were well', async (t) => {
  const shop = await openShop(t)
  shop.app.post('/secret', async (request) => {
    request.session.userId = 'bob'
    return 'welcome, bob'
  })
  const ada = await signIn(shop)
  shop.store.failing.add('begin')
  const response = await ada.post('/secret')
  isUnavailable(t, response)
  t.notMatch(response.body, /welcome/)
})

t.test('a logout that the store does not confirm answers 503, takes the cookie back, and this process refuses the session at once', async (t) => {
  withRealLimits(t)
  const ways: Array<[string, (shop: Shop) => void]> = [
    ['the store refuses', ({ store }) => { store.failing.add('delete') }],
    ['the store does not answer', ({ store }) => { store.gates.set('delete', new Gate()) }]
  ]
  for (const [way, fail] of ways) {
    const shop = await openShop(t)
    const ada = await signIn(shop)
    const copy = copyOf(shop, ada)
    const id = idOf(ada)
    fail(shop)
    const response = await ada.post('/logout')
    isUnavailable(t, response, way)
    t.match(response.setCookies, [/^sid=; Max-Age=0;/])
    t.ok(await shop.store.peek(id), 'it is still in the store')
    t.same((await copy.get('/me')).json(), { userId: null })
    t.equal((await copy.get('/guarded')).statusCode, 401)
    shop.store.gates.get('delete')?.open()
    shop.store.gates.clear()
    shop.store.failing.clear()
    t.equal((await copy.post('/logout')).statusCode, 200)
    t.same((await copy.get('/me')).json(), { userId: null })
  }
})

t.test('whoever cannot be loaded can still log out', async (t) => {
  const shop = await openShop(t)
  shop.app.post('/logout/look', async (request) => {
    await shop.app.logout(request)
    return { userId: request.auth, cart: request.session.get('cart') ?? null }
  })
  const ada = await signIn(shop)
  const copy = copyOf(shop, ada)
  shop.store.failing.add('find')
  const response = await ada.post('/logout/look')
  t.same([response.statusCode, response.json()], [200, { userId: null, cart: null }])
  t.match(response.setCookies, [/^sid=; Max-Age=0;/])
  shop.store.failing.clear()
  t.same((await copy.get('/me')).json(), { userId: null })
})

t.test('a login that the store answers too late leaves no session', async (t) => {
  withRealLimits(t)
  const shop = await openShop(t)
  const gate = new Gate()
  shop.store.gates.set('begin', gate)
  const ada = new Browser(shop.app)
  const response = await ada.post('/login')
  isUnavailable(t, response)
  t.strictSame(response.setCookies, [])
  gate.open()
  while (!shop.store.calls.includes('delete')) await new Promise((resolve) => setImmediate(resolve))
  await new Promise((resolve) => setImmediate(resolve))
  t.strictSame(await shop.store.listByUser('ada'), [])
})

t.test('a store that does not answer is waited for once in a request', async (t) => {
  withRealLimits(t)
  const shop = await openShop(t)
  const ada = await signIn(shop)
  shop.store.gates.set('find', new Gate())
  const startedAt = performance.now()
  isUnavailable(t, await ada.get('/me'))
  const waited = performance.now() - startedAt
  t.ok(waited > 500 && waited < 5000, 'about 600 ms')
})

// -- touch --------------------------------------------------------------------------------------------------------

t.test('an unchanged session is extended with the reply once touchAfter has passed, and not before', async (t) => {
  const shop = await openShop(t, { idleTimeout: '30m', touchAfter: '5m' })
  const ada = await signIn(shop)
  const begun = (await shop.store.peek(idOf(ada)))?.lastSeenAt as number
  const me = () => shop.store.during(() => ada.get('/me'))
  shop.age(5 * MINUTE - 1)
  t.strictSame(await me(), ['find'])
  shop.age(1)
  t.strictSame(await me(), ['find', 'touch'])
  t.equal((await shop.store.peek(idOf(ada)))?.lastSeenAt, begun + 5 * MINUTE)
  t.strictSame(await me(), ['find'])
  shop.age(30 * MINUTE - 1)
  t.same((await ada.get('/me')).json(), { userId: 'ada' })
  shop.age(30 * MINUTE)
  t.same((await ada.get('/me')).json(), { userId: null })
})

t.test('a session is extended by a tenth of its own idle timeout where touchAfter is not given', async (t) => {
  const shop = await openShop(t)
  shop.app.post('/login/short', async (request) => { await shop.app.login(request, { id: 'ada' }, { idleTimeout: '10m' }) })
  for (const [path, tenth] of [['/login', 3 * MINUTE], ['/login/short', MINUTE]] as const) {
    const ada = new Browser(shop.app)
    await ada.post(path)
    shop.age(tenth - 1)
    t.strictSame(await shop.store.during(() => ada.get('/plain')), ['find'])
    shop.age(1)
    t.strictSame(await shop.store.during(() => ada.get('/plain')), ['find', 'touch'])
  }
})

t.test('a changed session that is due is extended as well', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  shop.age(20 * MINUTE)
  t.strictSame(await shop.store.during(() => ada.post('/cart')), ['find', 'update', 'touch'])
  shop.age(20 * MINUTE)
  t.same((await ada.get('/me')).json(), { userId: 'ada' })
})

t.test('with touchAfter false a session is never extended', async (t) => {
  const shop = await openShop(t, { touchAfter: false })
  const ada = await signIn(shop)
  shop.age(29 * MINUTE)
  t.strictSame(await shop.store.during(() => ada.get('/me')), ['find'])
  t.strictSame(await shop.store.during(() => ada.post('/cart')), ['find', 'update'])
  shop.age(MINUTE)
  t.same((await ada.get('/me')).json(), { userId: null })
})

t.test('a busy session still ends at its absolute timeout', async (t) => {
  const shop = await openShop(t, { absoluteTimeout: '2h' })
  const ada = await signIn(shop)
  for (let passed = 0; passed < 2 * HOUR; passed += 20 * MINUTE) {
    t.same((await ada.get('/me')).json(), { userId: 'ada' })
    shop.age(20 * MINUTE)
  }
  t.same((await ada.get('/me')).json(), { userId: null })
})

t.test('a session that cannot be extended does not fail the reply', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  shop.age(20 * MINUTE)
  shop.store.failing.add('touch')
  let response: TestResponse | undefined
  t.strictSame(await shop.store.during(async () => { response = await ada.get('/me') }), ['find', 'touch'])
  t.same([response?.statusCode, response?.json()], [200, { userId: 'ada' }])
})

t.test('a session that was logged out meanwhile is not extended', async (t) => {
  const shop = await openShop(t)
  const gate = new Gate()
  shop.app.get('/slow', async (request) => {
    t.ok(request.auth)
    await gate.pass()
  })
  const ada = await signIn(shop)
  const copy = copyOf(shop, ada)
  const id = idOf(ada)
  shop.age(20 * MINUTE)
  const slow = copy.get('/slow')
  await gate.reached
  await ada.post('/logout')
  gate.open()
  t.equal((await slow).statusCode, 200)
  t.equal(await shop.store.peek(id), null)
})

t.test('an error reply without a body, in place of a Response of the web, takes the cookie back', async (t) => {
  const app = await startApp(t)
  app.setErrorHandler((_error, _request, reply) => { reply.code(500).send() })
  let hasFailed = false
  app.addHook('onSend', async () => {
    if (hasFailed) return
    hasFailed = true
    throw new Error('a hook of the application')
  })
  app.post('/login', async ({ session }) => {
    session.userId = 'ada'
    return new Response('ok')
  })
  const answer = await app.inject({ method: 'POST', url: '/login' })
  t.equal(answer.statusCode, 500)
  t.match([answer.headers['set-cookie']].flat().at(-1), /^sid=; Max-Age=0/)
  t.strictSame(await app.sessions.listByUser('ada'), [])
})

t.test('a Response of the web with an error status signs nobody in, and stores what else was changed', async (t) => {
  const shop = await openShop(t)
  shop.app.post('/refused', async (request) => {
    request.session.userId = 'eve'
    request.session.visits = 1
    return new Response('no', { status: 401 })
  })
  shop.app.post('/welcome', async (request, reply) => {
    request.session.userId = 'eve'
    reply.code(500)
    return new Response('yes', { status: 201 })
  })
  shop.app.get('/data', async ({ session }) => ({ ...session }))
  const data = async (browser: Browser): Promise<unknown> => JSON.parse((await browser.get('/data')).body)

  const ada = await signIn(shop)
  await ada.post('/cart')
  t.equal((await ada.post('/refused')).statusCode, 401)
  t.strictSame(await data(ada), { userId: 'ada', cart: ['book'], visits: 1 }, 'ada is still signed in, with her data')

  const visitor = new Browser(shop.app)
  await visitor.post('/cart')
  t.equal((await visitor.post('/refused')).statusCode, 401)
  t.strictSame(await data(visitor), { cart: ['book'], visits: 1 }, 'and so is a visitor with what they had')

  t.equal((await visitor.post('/welcome')).statusCode, 201)
  t.match(await data(visitor), { userId: 'eve', cart: ['book'] }, 'the status of the Response counts, whatever was set before')
})

t.test('a stream of the web is cancelled when its reply is replaced, as the session could not be stored', async (t) => {
  const shop = await openShop(t)
  const cancelled: string[] = []
  const stream = (name: string): ReadableStream => new ReadableStream({ cancel: () => { cancelled.push(name) } })
  const payloads = { stream: () => stream('stream'), response: () => new Response(stream('response')) }
  for (const [name, payload] of Object.entries(payloads)) {
    shop.app.post(`/${name}`, async (request) => {
      request.session.cart = 'x'.repeat(100_000)
      return payload()
    })
  }
  for (const name of Object.keys(payloads)) t.equal((await new Browser(shop.app).post(`/${name}`)).statusCode, 413)
  t.strictSame(cancelled, ['stream', 'response'])
})
