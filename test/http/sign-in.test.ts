import { once } from 'node:events'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { MemoryStore } from '../../lib/index.ts'
import type { LoginOptions, LoginUser, SessionOptions } from '../../lib/index.ts'
import { newId, newToken, Signature } from '../../lib/session/token.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import type { TestResponse } from '../helpers/app.ts'
import { DAY, HOUR, MINUTE } from '../helpers/record.ts'
import { SpyStore } from '../helpers/spy-store.ts'

/** What a test does within a request of its own. */
type Action = (request: FastifyRequest) => unknown

interface Shop {
  app: FastifyInstance
  store: SpyStore
  /** What the next `POST /do` does. */
  next: (action: Action) => void
}

/** An application with `GET /me`, and `POST /do` for whatever a test wants to happen within a request. */
async function openShop (t: Test, options: Partial<SessionOptions> = {}): Promise<Shop> {
  const store = options.store instanceof SpyStore ? options.store : new SpyStore()
  const app = await startApp(t, { ...options, store })
  let action: Action = () => {}
  app.get('/me', async (request) => ({ auth: request.auth, data: { ...request.session, cookie: undefined } }))
  app.post('/do', async (request, reply) => {
    const result = await action(request)
    if (typeof result === 'number') reply.code(result)
    return { result: result ?? null }
  })
  return { app, store, next: (each) => { action = each } }
}

/** Has `browser` send a request that does `action`. */
async function act ({ next }: Shop, browser: Browser, action: Action): Promise<TestResponse> {
  next(action)
  return await browser.post('/do')
}

async function login (shop: Shop, browser: Browser, user: LoginUser, options?: LoginOptions): Promise<TestResponse> {
  return await act(shop, browser, (request) => shop.app.login(request, user, options))
}

async function assign (shop: Shop, browser: Browser, userId: string): Promise<TestResponse> {
  return await act(shop, browser, (request) => { request.session.userId = userId })
}

async function me (browser: Browser): Promise<{ auth: Record<string, unknown> | null, data: Record<string, unknown> }> {
  const response = await browser.get('/me')
  return response.json()
}

/** The public id in a browser's cookie. */
function idOf (browser: Browser): string | undefined {
  return browser.cookies.get('sid')?.split('.')[0]
}

/** A browser with the cookies that another one has now. */
function copyOf (shop: Shop, browser: Browser): Browser {
  const copy = new Browser(shop.app)
  for (const [name, value] of browser.cookies) copy.cookies.set(name, value)
  return copy
}

// -- app.login ----------------------------------------------------------------------------------------

t.test('whoever signs in is signed in from then on', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  t.equal((await me(ada)).auth, null)
  t.equal((await login(shop, ada, { id: 'ada' })).statusCode, 200)
  t.match((await me(ada)).auth, { userId: 'ada', label: null, meta: null, id: idOf(ada) })
})

t.test('every login makes a new id and a new secret, and the one before is worthless', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  const held: Browser[] = []
  for (const userId of ['ada', 'ada', 'bob']) {
    await login(shop, ada, { id: userId })
    for (const old of held) {
      t.not(old.cookies.get('sid'), ada.cookies.get('sid'))
      t.not(idOf(old), idOf(ada))
      t.equal((await me(copyOf(shop, old))).auth, null, 'the cookie of before')
      t.equal(await shop.store.peek(idOf(old)), null)
    }
    held.push(copyOf(shop, ada))
  }
})

t.test('signing in ends the anonymous session of before', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await act(shop, ada, (request) => { request.session.cart = ['book'] })
  const anonymous = copyOf(shop, ada)
  t.ok(idOf(anonymous))
  await login(shop, ada, { id: 'ada' })
  t.not(idOf(ada), idOf(anonymous))
  t.strictSame((await me(anonymous)).data, {}, 'nobody finds it any more')
})

t.test('login resolves once the session is stored', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  let stored: unknown
  await act(shop, ada, async (request) => {
    const { id } = await shop.app.login(request, { id: 'ada' })
    stored = await shop.store.peek(id)
  })
  t.match(stored, { userId: 'ada' })
})

t.test('a login that cannot be stored signs nobody in and leaves the session of before alive', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await act(shop, ada, (request) => { request.session.cart = ['book'] })
  shop.store.failing.add('begin')
  const response = await login(shop, ada, { id: 'ada' })
  t.equal(response.statusCode, 503)
  t.strictSame(response.setCookies, [])
  shop.store.failing.clear()
  t.same(await me(ada), { auth: null, data: { cart: ['book'] } })
})

t.test('signing in the same user again keeps data, label and meta', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await login(shop, ada, { id: 7 }, { label: 'ada\'s phone', meta: { app: '2.1' } })
  await act(shop, ada, (request) => { request.session.cart = ['book'] })
  await login(shop, ada, { id: '7' })
  t.match(await me(ada), { auth: { userId: '7', label: 'ada\'s phone', meta: { app: '2.1' } }, data: { cart: ['book'] } })
  await login(shop, ada, { id: 7 }, { label: 'tablet', meta: {} })
  t.match(await me(ada), { auth: { userId: '7', label: 'tablet', meta: {} }, data: { cart: ['book'] } })
})

t.test('signing in again keeps a label and meta that are longer than new ones may be', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await login(shop, ada, { id: 'ada' })
  const [stored] = await shop.store.listByUser('ada')
  // As they lie in a store that somebody else wrote to.
  const longer = { label: 'x'.repeat(201), meta: JSON.stringify({ a: 'é'.repeat(4_000) }) }
  shop.store.find = async () => stored === undefined ? null : { ...stored, ...longer }
  const response = await login(shop, ada, { id: 'ada' })
  t.equal(response.statusCode, 200)
  t.match(await shop.store.peek(idOf(ada)), longer)
})

t.test('signing in another user keeps nothing', async (t) => {
  const shop = await openShop(t)
  const browser = new Browser(shop.app)
  await login(shop, browser, { id: 'ada' }, { label: 'ada\'s phone', meta: { app: '2.1' } })
  await act(shop, browser, (request) => { request.session.cart = ['book'] })
  await login(shop, browser, { id: 'bob' })
  const { auth, data } = await me(browser)
  t.match(auth, { userId: 'bob', label: null, meta: null })
  t.same(data, { userId: 'bob' })
})

t.test('what another user is to keep is said at the login', async (t) => {
  for (const [keep, kept] of [
    [['cart', 'visits', 'constructor'], { cart: ['book'] }],
    [true, { cart: ['book'], theme: 'dark' }],
    [[], {}]
  ] as const) {
    const shop = await openShop(t)
    const ada = new Browser(shop.app)
    await act(shop, ada, (request) => {
      Object.assign(request.session, { cart: ['book'], theme: 'dark', _csrf: 'planted' })
    })
    await login(shop, ada, { id: 'ada' }, { keep })
    t.same((await me(ada)).data, { ...kept, userId: 'ada' })
  }
})

t.test('data that was put into the session in the same request can be kept', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await act(shop, ada, async (request) => {
    request.session.cart = ['book']
    await shop.app.login(request, { id: 'ada' }, { keep: ['cart'] })
    request.session.visits = 1
  })
  t.same((await me(ada)).data, { cart: ['book'], userId: 'ada', visits: 1 })
})

t.test('a user\'s id may be a string, a number or a bigint', async (t) => {
  for (const [id, text] of [['ada', 'ada'], [42, '42'], [0, '0'], [2n ** 70n, String(2n ** 70n)], ['x'.repeat(255), 'x'.repeat(255)]] as const) {
    const shop = await openShop(t)
    const ada = new Browser(shop.app)
    await login(shop, ada, { id })
    const { auth, data } = await me(ada)
    t.equal(auth?.userId, text)
    t.equal(data.userId, typeof id === 'bigint' ? text : id)
  }
})

t.test('anything else is no user\'s id, and nobody is signed in', async (t) => {
  const shop = await openShop(t)
  for (const user of [
    undefined, null, 'ada', 5, {}, [],
    ...[undefined, null, '', NaN, Infinity, -Infinity, true, {}, [], ['ada'], Symbol('ada'), () => 'ada', 'x'.repeat(256), { toString: () => 'ada' }].map((id) => ({ id }))
  ]) {
    const ada = new Browser(shop.app)
    let error: unknown
    const response = await act(shop, ada, async (request) => {
      // A type assertion because plain JavaScript can pass anything.
      error = await shop.app.login(request, user as LoginUser).catch((reason: unknown) => reason)
    })
    t.type(error, TypeError)
    t.strictSame(response.setCookies, [])
    t.equal((await me(ada)).auth, null)
  }
  t.notOk(shop.store.calls.includes('begin'))
})

t.test('nothing of a user but the id is stored', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  const user = { id: 'ada', email: 'ada@example.com', passwordHash: 'hash' }
  await login(shop, ada, user)
  const stored = await shop.store.peek(idOf(ada))
  t.equal(stored?.data, '{"userId":"ada"}')
  t.notMatch(JSON.stringify(stored), /example|hash"|passwordHash/)
})

t.test('a label has at most 200 characters, meta at most 4096 bytes', async (t) => {
  const shop = await openShop(t)
  const fits = { a: 'é'.repeat((4096 - '{"a":""}'.length) / 2) }
  const ada = new Browser(shop.app)
  t.equal((await login(shop, ada, { id: 'ada' }, { label: 'x'.repeat(200), meta: fits })).statusCode, 200)
  t.match((await me(ada)).auth, { label: 'x'.repeat(200), meta: fits })
  const cycle: Record<string, unknown> = {}
  cycle.cycle = cycle
  for (const wrong of [{ label: 'x'.repeat(201) }, { label: 5 }, { label: {} }, { meta: { a: `${fits.a}é` } }, { meta: [] }, { meta: 'x' }, { meta: 5 }, { meta: { a: 1n } }, { meta: cycle }, { meta: new Date() }]) {
    const bob = new Browser(shop.app)
    let error: unknown
    // A type assertion because plain JavaScript can pass anything.
    await act(shop, bob, async (request) => { error = await shop.app.login(request, { id: 'bob' }, wrong as unknown as LoginOptions).catch((reason: unknown) => reason) })
    t.type(error, TypeError, JSON.stringify(Object.keys(wrong)))
    t.equal((await me(bob)).auth, null)
  }
})

t.test('a login may set its own timeouts', async (t) => {
  let now = Date.now()
  const shop = await openShop(t, { store: new SpyStore({ now: () => now }) })
  const ada = new Browser(shop.app)
  const response = await login(shop, ada, { id: 'ada' }, { idleTimeout: '10m', absoluteTimeout: 2 * HOUR })
  t.match(response.setCookies, [/; Max-Age=7200;/])
  t.match(await shop.store.peek(idOf(ada)), { idleTimeoutMs: 10 * MINUTE, endsAt: now + 2 * HOUR })
  t.equal((await me(ada)).auth?.expiresAt, now + 10 * MINUTE)
  now += 10 * MINUTE
  t.equal((await me(ada)).auth, null)

  await login(shop, ada, { id: 'ada' }, { absoluteTimeout: '5m' })
  t.match(await shop.store.peek(idOf(ada)), { idleTimeoutMs: 5 * MINUTE, endsAt: now + 5 * MINUTE })
})

t.test('a timeout that is none is refused at login', async (t) => {
  const shop = await openShop(t)
  for (const timeout of [0, -1, NaN, Infinity, Number.MAX_SAFE_INTEGER, '11y', 'soon', '', null, {}]) {
    for (const name of ['idleTimeout', 'absoluteTimeout']) {
      const ada = new Browser(shop.app)
      let error: unknown
      await act(shop, ada, async (request) => { error = await shop.app.login(request, { id: 'ada' }, { [name]: timeout }).catch((reason: unknown) => reason) })
      t.type(error, TypeError)
      t.equal((await me(ada)).auth, null)
    }
  }
})

t.test('a person who wants to be remembered has the timeouts of remember', async (t) => {
  const now = Date.now()
  const shop = await openShop(t, { store: new SpyStore({ now: () => now }), remember: { idleTimeout: '20d', absoluteTimeout: '40d' } })
  for (const [remember, cookie, stored] of [
    [true, /; Max-Age=3456000;/, { idleTimeoutMs: 20 * DAY, endsAt: now + 40 * DAY, persistent: true }],
    [undefined, /; Max-Age=604800;/, { idleTimeoutMs: 30 * MINUTE, endsAt: now + 7 * DAY, persistent: true }]
  ] as const) {
    const ada = new Browser(shop.app)
    const response = await login(shop, ada, { id: 'ada' }, { remember })
    t.match(response.setCookies, [cookie])
    t.match(await shop.store.peek(idOf(ada)), stored)
  }
})

t.test('a person who does not want to be remembered has a cookie that ends with the browser session', async (t) => {
  const now = Date.now()
  const shop = await openShop(t, { store: new SpyStore({ now: () => now }) })
  const ada = new Browser(shop.app)
  const response = await login(shop, ada, { id: 'ada' }, { remember: false })
  t.equal(response.setCookies.length, 1)
  t.notMatch(response.setCookies[0], /max-age|expires/i)
  t.match(await shop.store.peek(idOf(ada)), { idleTimeoutMs: 30 * MINUTE, endsAt: now + 7 * DAY, persistent: false })
})

t.test('what a login says holds although userId was assigned before it in the same request', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await act(shop, ada, async (request) => {
    request.session.userId = 'ada'
    await shop.app.login(request, { id: 'ada' }, { label: 'ada\'s phone', remember: false })
    request.session.cart = ['book']
  })
  t.match(await me(ada), { auth: { userId: 'ada', label: 'ada\'s phone' }, data: { cart: ['book'] } })
  t.match(await shop.store.peek(idOf(ada)), { persistent: false })
})

// -- request.session.userId = … ---------------------------------------------------------------------------

t.test('assigning userId signs in when the reply goes out', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  let during: unknown
  const response = await act(shop, ada, (request) => {
    request.session.userId = 'ada'
    during = request.auth
  })
  t.equal(during, null, 'not before')
  t.equal(response.setCookies.length, 1)
  t.match(await me(ada), { auth: { userId: 'ada', id: idOf(ada) }, data: { userId: 'ada' } })
})

t.test('userId can be set with session.set as well', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await act(shop, ada, (request) => { request.session.set('userId', 'ada') })
  t.match((await me(ada)).auth, { userId: 'ada' })
})

t.test('assigning userId and saving signs in at once', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  let during: unknown
  let stored: unknown
  await act(shop, ada, async (request) => {
    request.session.userId = 'ada'
    await request.session.save()
    during = request.auth
    stored = await shop.store.peek(request.session.sessionId)
  })
  t.match(during, { userId: 'ada' })
  t.match(stored, { userId: 'ada' })
  t.match((await me(ada)).auth, { userId: 'ada', id: (during as { id: string }).id })
})

t.test('every assignment of userId makes a new id, also of the same user', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await assign(shop, ada, 'ada')
  await login(shop, ada, { id: 'ada' }, { label: 'ada\'s phone', meta: { app: '2.1' } })
  await act(shop, ada, (request) => { request.session.cart = ['book'] })
  const old = copyOf(shop, ada)
  await assign(shop, ada, 'ada')
  t.not(idOf(ada), idOf(old))
  t.match(await me(ada), { auth: { userId: 'ada', label: 'ada\'s phone', meta: { app: '2.1' } }, data: { cart: ['book'] } })
  t.equal((await me(old)).auth, null)
  const before = idOf(ada)
  await act(shop, ada, (request) => { Object.assign(new Proxy(request.session, {}), { userId: 'ada' }) })
  t.not(idOf(ada), before, 'also by way of a proxy')
})

t.test('another user by assignment has neither label nor meta of the one before', async (t) => {
  const shop = await openShop(t)
  const browser = new Browser(shop.app)
  await login(shop, browser, { id: 'ada' }, { label: 'ada\'s phone', meta: { app: '2.1' } })
  await assign(shop, browser, 'bob')
  t.match((await me(browser)).auth, { userId: 'bob', label: null, meta: null })
})

t.test('after regenerate an assignment of userId does not make another id', async (t) => {
  for (const save of [false, true]) {
    const shop = await openShop(t)
    const ada = new Browser(shop.app)
    await act(shop, ada, (request) => { request.session.cart = ['book'] })
    const old = copyOf(shop, ada)
    let regenerated: string | undefined
    const asked = await shop.store.during(() => act(shop, ada, async (request) => {
      await request.session.regenerate()
      regenerated = request.session.sessionId
      request.session.userId = 'ada'
      if (save) await request.session.save()
    }))
    t.not(regenerated, idOf(old))
    t.equal(idOf(ada), regenerated)
    t.strictSame(asked, ['find', 'begin'], 'rotated once')
    t.match((await me(ada)).auth, { userId: 'ada', id: regenerated })
    t.same((await me(old)).data, {})
  }
})

t.test('a sign-in makes a new id, also where one was made in this request', async (t) => {
  const signIns: Array<(shop: Awaited<ReturnType<typeof openShop>>, request: FastifyRequest) => unknown> = [
    (_shop, request) => { request.session.userId = 'ada' },
    async ({ app }, request) => await app.login(request, { id: 'ada' }, { keep: true })
  ]
  for (const signIn of signIns) {
    const shop = await openShop(t)
    const ada = new Browser(shop.app)
    let saved: string | undefined
    await act(shop, ada, async (request) => {
      request.session.cart = ['book']
      await request.session.save()
      saved = request.session.sessionId
      await signIn(shop, request)
    })
    t.not(idOf(ada), saved)
    t.equal(await shop.store.peek(saved), null, 'and the one before is worthless')
    t.match(await me(ada), { auth: { userId: 'ada', id: idOf(ada) }, data: { cart: ['book'] } })
  }
})

t.test('saves of one request that overlap begin one session', async (t) => {
  for (const userId of [undefined, 'ada']) {
    const shop = await openShop(t)
    const ada = new Browser(shop.app)
    await act(shop, ada, async ({ session }) => {
      Object.assign(session, { cart: ['book'], ...userId !== undefined && { userId } })
      await Promise.all([session.save(), session.save(), session.save()])
    })
    const ids: string[] = []
    for await (const { id } of shop.store.listAll()) ids.push(id)
    t.strictSame(ids, [idOf(ada)])
  }
})

t.test('an assignment keeps the session\'s data but a CSRF secret of before', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await act(shop, ada, (request) => { Object.assign(request.session, { cart: ['book'], _csrf: 'of the page before' }) })
  await assign(shop, ada, 'ada')
  t.same((await me(ada)).data, { cart: ['book'], userId: 'ada' })
})

t.test('a CSRF secret made after the assignment stays', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await act(shop, ada, (request) => { request.session._csrf = 'of the page before' })
  let found: unknown
  await act(shop, ada, (request) => {
    request.session.userId = 'ada'
    found = request.session._csrf
    request.session._csrf = 'of the page after'
  })
  t.equal(found, undefined, 'the old one is not taken up again')
  t.same((await me(ada)).data, { userId: 'ada', _csrf: 'of the page after' })
})

t.test('a CSRF secret does not survive a login either', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await login(shop, ada, { id: 'ada' })
  await act(shop, ada, (request) => { request.session._csrf = 'of the page before' })
  await login(shop, ada, { id: 'ada' })
  t.same((await me(ada)).data, { userId: 'ada' })
})

t.test('taking userId out of the session signs out', async (t) => {
  const ways: Record<string, Action> = {
    null: (request) => { request.session.userId = null },
    // A type assertion because exactOptionalPropertyTypes forbids what JavaScript allows.
    undefined: (request) => { request.session.userId = undefined as unknown as null },
    delete: (request) => { delete request.session.userId },
    'null and save': async (request) => { request.session.userId = null; await request.session.save() }
  }
  for (const [way, action] of Object.entries(ways)) {
    const shop = await openShop(t)
    const ada = new Browser(shop.app)
    await assign(shop, ada, 'ada')
    await act(shop, ada, (request) => { request.session.cart = ['book'] })
    const copy = copyOf(shop, ada)
    const response = await act(shop, ada, action)
    t.match(response.setCookies, [/^sid=; Max-Age=0;/], way)
    t.equal(ada.cookies.size, 0)
    t.equal(await shop.store.peek(idOf(copy)), null)
    t.same(await me(copy), { auth: null, data: {} })
  }
})

t.test('a userId that was deleted can be assigned again', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await assign(shop, ada, 'ada')
  await act(shop, ada, (request) => {
    delete request.session.userId
    request.session.userId = 'bob'
  })
  t.match((await me(ada)).auth, { userId: 'bob' })
})

t.test('an error reply signs nobody in, but other changes are kept', async (t) => {
  const ends: Record<string, Action> = {
    'replied 401': () => 401,
    'replied 500': () => 500,
    thrown: () => { throw new Error('second factor missing') }
  }
  for (const [end, action] of Object.entries(ends)) {
    const shop = await openShop(t)
    const ada = new Browser(shop.app)
    await act(shop, ada, (request) => { request.session.attempts = 1 })
    const before = idOf(ada)
    const response = await act(shop, ada, (request) => {
      request.session.userId = 'ada'
      request.session.attempts = 2
      return action(request)
    })
    t.ok(response.statusCode >= 400, end)
    t.equal(idOf(ada), before)
    t.same(await me(ada), { auth: null, data: { attempts: 2 } })
  }
})

t.test('an error reply to somebody without a session keeps other changes as well', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await act(shop, ada, (request) => {
    request.session.userId = 'ada'
    request.session.attempts = 1
    return 401
  })
  t.same(await me(ada), { auth: null, data: { attempts: 1 } })
})

t.test('an error reply does not make somebody else of a signed-in user', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await assign(shop, ada, 'ada')
  await act(shop, ada, (request) => {
    request.session.userId = 'bob'
    request.session.attempts = 1
    return 403
  })
  t.match(await me(ada), { auth: { userId: 'ada' }, data: { userId: 'ada', attempts: 1 } })
})

t.test('an error reply undoes a sign-in that was saved explicitly', async (t) => {
  for (const fail of [() => 500, () => { throw new Error('profile not found') }]) {
    const shop = await openShop(t)
    const ada = new Browser(shop.app)
    let saved: string | undefined
    await act(shop, ada, async (request) => {
      request.session.userId = 'ada'
      await request.session.save()
      saved = request.auth?.id
      return fail()
    })
    t.ok(saved)
    t.equal(await shop.store.peek(saved), null)
    t.equal((await me(ada)).auth, null)
  }
})

t.test('an error reply after regenerate and assignment leaves everything as it was', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await act(shop, ada, (request) => { request.session.cart = ['book'] })
  const before = idOf(ada)
  const response = await act(shop, ada, async (request) => {
    await request.session.regenerate()
    request.session.userId = 'ada'
    return 500
  })
  t.strictSame(response.setCookies, [])
  t.equal(idOf(ada), before)
  t.same(await me(ada), { auth: null, data: { cart: ['book'] } })
})

t.test('an error reply leaves a sign-in by login as it is', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await act(shop, ada, async (request) => {
    await shop.app.login(request, { id: 'ada' })
    return 500
  })
  t.match((await me(ada)).auth, { userId: 'ada' })
})

t.test('a redirect signs in', async (t) => {
  const shop = await openShop(t)
  shop.app.post('/form', async (request, reply) => {
    request.session.userId = 'ada'
    return reply.redirect('/me', 303)
  })
  const ada = new Browser(shop.app)
  t.equal((await ada.post('/form')).statusCode, 303)
  t.match((await me(ada)).auth, { userId: 'ada' })
})

t.test('a userId that is none is refused, and nobody is signed in', async (t) => {
  const shop = await openShop(t)
  for (const userId of ['', NaN, {}, true, ['ada']]) {
    const ada = new Browser(shop.app)
    // A type assertion because plain JavaScript can assign anything.
    const response = await act(shop, ada, (request) => { request.session.userId = userId as string })
    t.equal(response.statusCode, 500)
    t.strictSame(response.setCookies, [])
    t.equal((await me(ada)).auth, null)
  }
})

// -- userIdFrom ---------------------------------------------------------------------------------------------

t.test('a user kept elsewhere in the session signs in when it appears or changes', async (t) => {
  const userIdFrom = (data: Record<string, unknown>): unknown => (data.member as { id?: unknown } | undefined)?.id
  const shop = await openShop(t, { userIdFrom })
  const ada = new Browser(shop.app)
  await act(shop, ada, (request) => { Object.assign(request.session, { cart: ['book'], _csrf: 'of the page before' }) })
  const anonymous = copyOf(shop, ada)

  await act(shop, ada, ({ session }) => { session.set('member', { id: 5, name: 'Ada' }) })
  t.match(await me(ada), { auth: { userId: '5' }, data: { member: { id: 5, name: 'Ada' }, cart: ['book'] } })
  t.equal((await me(ada)).data._csrf, undefined)
  t.same((await me(anonymous)).data, {})

  const first = idOf(ada)
  await act(shop, ada, ({ session }) => { session.set('member', { id: 5, name: 'Ada L.' }) })
  t.equal(idOf(ada), first, 'the same user is no sign-in')

  await act(shop, ada, (request) => { request.session.member = { id: 6 } })
  t.not(idOf(ada), first)
  t.match((await me(ada)).auth, { userId: '6' })
})

t.test('a user kept elsewhere in the session signs out when it disappears', async (t) => {
  const shop = await openShop(t, { userIdFrom: ({ passport }) => passport })
  const ada = new Browser(shop.app)
  await act(shop, ada, (request) => { Object.assign(request.session, { passport: 'ada', cart: ['book'] }) })
  const copy = copyOf(shop, ada)
  t.match((await me(ada)).auth, { userId: 'ada' })
  const response = await act(shop, ada, (request) => { delete request.session.passport })
  t.match(response.setCookies, [/^sid=; Max-Age=0;/])
  t.same(await me(copy), { auth: null, data: {} })
})

t.test('where the user is kept elsewhere userId is data like any other', async (t) => {
  const shop = await openShop(t, { userIdFrom: ({ passport }) => passport })
  const ada = new Browser(shop.app)
  await assign(shop, ada, 'ada')
  t.same(await me(ada), { auth: null, data: { userId: 'ada' } })
  const before = idOf(ada)
  await assign(shop, ada, 'bob')
  t.equal(idOf(ada), before)
  t.same(await me(ada), { auth: null, data: { userId: 'bob' } })
})

t.test('where the user is kept elsewhere an error reply signs nobody in', async (t) => {
  const shop = await openShop(t, { userIdFrom: ({ passport }) => passport })
  const ada = new Browser(shop.app)
  await act(shop, ada, (request) => {
    request.session.passport = 'ada'
    return 401
  })
  t.same(await me(ada), { auth: null, data: {} }, 'nor does the data say so')
})

// -- request.auth and authenticate ------------------------------------------------------------------------------

t.test('request.auth is replaced within the request by login and logout', async (t) => {
  const shop = await openShop(t)
  const seen: unknown[] = []
  await act(shop, new Browser(shop.app), async (request) => {
    seen.push(request.auth)
    const returned = await shop.app.login(request, { id: 'ada' })
    t.equal(request.auth, returned)
    seen.push(request.auth?.userId)
    await shop.app.login(request, { id: 'bob' })
    seen.push(request.auth?.userId)
    await shop.app.logout(request)
    seen.push(request.auth)
  })
  t.strictSame(seen, [null, 'ada', 'bob', null])
})

t.test('request.auth is frozen through and through and holds neither data nor secret', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await login(shop, ada, { id: 'ada' }, { meta: { device: { os: 'x' } } })
  await act(shop, ada, (request) => { request.session.cart = ['book'] })
  await act(shop, ada, (request) => {
    const auth = request.requireAuth()
    t.equal(auth, request.auth)
    t.ok(Object.isFrozen(auth) && Object.isFrozen(auth.meta) && Object.isFrozen(auth.meta?.device))
    t.strictSame(Object.keys(auth).sort(), ['actor', 'authenticatedAt', 'createdAt', 'deviceBound', 'endsAt', 'expiresAt', 'id', 'idp', 'ip', 'kind', 'label', 'lastSeenAt', 'meta', 'methods', 'remembered', 'userAgent', 'userId'])
    t.throws(() => { (auth as { userId: string }).userId = 'mallory' }, TypeError)
  })
})

t.test('requireAuth refuses whoever is not signed in', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await act(shop, ada, (request) => { request.session.cart = ['book'] })
  const response = await act(shop, ada, (request) => request.requireAuth())
  t.equal(response.statusCode, 401)
  t.equal(response.json().code, 'ERR_SESSION_UNAUTHENTICATED')
})

t.test('authenticate lets only signed-in requests through, as preHandler, as onRequest and in contexts below', async (t) => {
  const shop = await openShop(t)
  let handled = 0
  const handler = async (request: FastifyRequest) => {
    handled++
    return request.requireAuth().userId
  }
  shop.app.get('/pre', { preHandler: shop.app.authenticate }, handler)
  shop.app.get('/on', { onRequest: shop.app.authenticate }, handler)
  await shop.app.register(async (child) => {
    child.addHook('onRequest', child.authenticate)
    child.get('/child', handler)
    await child.register(async (grandchild) => { grandchild.get('/grandchild', handler) })
  })
  const ada = new Browser(shop.app)
  const paths = ['/pre', '/on', '/child', '/grandchild']
  for (const path of paths) {
    const response = await ada.get(path)
    t.same([response.statusCode, response.json()], [401, { statusCode: 401, code: 'ERR_SESSION_UNAUTHENTICATED', error: 'Unauthorized', message: 'Authentication required' }], path)
  }
  t.equal(handled, 0)
  await login(shop, ada, { id: 'ada' })
  for (const path of paths) t.equal((await ada.get(path)).body, 'ada')
})

// -- logout -----------------------------------------------------------------------------------------------------

t.test('logging out ends the session and takes the cookie back', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await login(shop, ada, { id: 'ada' })
  const copy = copyOf(shop, ada)
  const response = await act(shop, ada, (request) => shop.app.logout(request))
  t.equal(response.statusCode, 200)
  t.match(response.setCookies, [/^sid=; Max-Age=0;/])
  t.equal(await shop.store.peek(idOf(copy)), null)
  t.equal((await me(copy)).auth, null)
})

t.test('logging out takes the cookie back with the attributes it was set with', async (t) => {
  for (const cookie of [
    { secure: false },
    { secure: false, domain: 'example.com', path: '/app', sameSite: 'strict' },
    { secure: false, httpOnly: false }
  ] as const) {
    const shop = await openShop(t, { cookie })
    const ada = new Browser(shop.app)
    const set = await login(shop, ada, { id: 'ada' })
    const cleared = await act(shop, ada, (request) => shop.app.logout(request))
    t.strictSame(attributes(cleared.setCookies[0]), attributes(set.setCookies[0]))
    t.equal(cleared.setCookies.length, 1)
  }
})

/** What a cookie line says, without its value and lifetime. */
function attributes (line = ''): string[] {
  return line.split('; ').slice(1).filter((each) => !/^(max-age|expires)=/i.test(each)).sort()
}

t.test('logging out twice is as good as once', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await login(shop, ada, { id: 'ada' })
  const copy = copyOf(shop, ada)
  const first = await act(shop, ada, async (request) => {
    await shop.app.logout(request)
    await shop.app.logout(request)
  })
  t.equal(first.statusCode, 200)
  t.equal(first.setCookies.length, 1)
  const again = await act(shop, copy, (request) => shop.app.logout(request))
  t.equal(again.statusCode, 200)
  t.match(again.setCookies, [/^sid=; Max-Age=0;/], 'a dead cookie is taken back too')
  const anonymous = await act(shop, new Browser(shop.app), (request) => shop.app.logout(request))
  t.equal(anonymous.statusCode, 200)
  t.strictSame(anonymous.setCookies, [])
})

t.test('after a logout request.session is a new anonymous one', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await login(shop, ada, { id: 'ada' })
  await act(shop, ada, (request) => { request.session.cart = ['book'] })
  const old = idOf(ada)
  await act(shop, ada, async (request) => {
    await shop.app.logout(request)
    t.strictSame(Object.keys(request.session), [])
    t.not(request.session.sessionId, old)
    request.session.flash = 'goodbye'
  })
  t.not(idOf(ada), old)
  t.same(await me(ada), { auth: null, data: { flash: 'goodbye' } })
  t.equal(await shop.store.peek(old), null)
})

t.test('a login that is taken back in the same request leaves no session and no cookie', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  let id: string | undefined
  await act(shop, ada, async (request) => {
    id = (await shop.app.login(request, { id: 'ada' })).id
    await shop.app.logout(request)
  })
  t.equal(await shop.store.peek(id), null)
  t.equal(ada.cookies.size, 0)
})

// -- made-up cookies ---------------------------------------------------------------------------------------------

t.test('[7.2.1, CVE-2024-38513] a made-up cookie is anonymous, gets no cookie and costs no store access', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await login(shop, ada, { id: 'ada' })
  const real = ada.cookies.get('sid') ?? ''
  const [id = '', key = '', mac = ''] = real.split('.')
  const other = (text: string) => (text.startsWith('A') ? 'B' : 'A') + text.slice(1)
  for (const value of [
    '', 'x', 'null', '.', '..', '%00', 'a'.repeat(5000), id, `${id}.${key}`, `${id}.${key}.`, `${id}.${key}.${mac}=`, `${real}x`, `x${real}`,
    `${other(id)}.${key}.${mac}`, `${id}.${other(key)}.${mac}`, `${id}.${key}.${other(mac)}`, `"${real}"`, `s:${real}`,
    real.replace('.', '%2E'), encodeURIComponent(`s:${id}.${mac}`),
    new Signature(['a-secret-that-mallory-made-up-for-this']).sign(newToken(id).token),
    new Signature([secret]).sign('signed, but no token'), new Signature([secret]).sign(id)
  ]) {
    const mallory = new Browser(shop.app)
    mallory.cookies.set('sid', value)
    let response: TestResponse | undefined
    t.strictSame(await shop.store.during(async () => { response = await mallory.get('/me') }), [], value.slice(0, 150))
    t.same(response?.json(), { auth: null, data: {} })
    t.strictSame(response?.setCookies, [])
  }
  t.match((await me(ada)).auth, { userId: 'ada' })
})

t.test('[7.2.1, CVE-2019-16782] a public id without its secret opens no session', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await login(shop, ada, { id: 'ada' })
  const mallory = new Browser(shop.app)
  // Whoever knows the signing secret and the id, and not the session's own secret.
  mallory.cookies.set('sid', new Signature([secret]).sign(newToken(idOf(ada) ?? newId()).token))
  const response = await mallory.get('/me')
  t.same(response.json(), { auth: null, data: {} })
  t.strictSame(response.setCookies, [])
})

// -- two registrations, other names -------------------------------------------------------------------------------

t.test('two sibling contexts keep their people apart', async (t) => {
  const { default: Fastify } = await import('fastify')
  const { sessionPlugin } = await import('../../lib/index.ts')
  const app = Fastify()
  t.teardown(() => app.close())
  for (const name of ['admins', 'customers']) {
    await app.register(async (child) => {
      await child.register(sessionPlugin, { secret, store: new MemoryStore(), cookieName: name, cookie: { secure: false } })
      child.get('/me', async (request) => ({ userId: request.auth?.userId ?? null, cart: request.session.get('cart') ?? null }))
      child.post('/login', async (request) => { await child.login(request, { id: `ada of ${name}` }) })
      child.post('/cart', async (request) => { request.session.cart = name })
      child.post('/logout', async (request) => { await child.logout(request) })
    }, { prefix: `/${name}` })
  }
  const ada = new Browser(app as unknown as FastifyInstance)
  await ada.post('/admins/login')
  await ada.post('/admins/cart')
  t.strictSame([...ada.cookies.keys()], ['admins'])
  t.same((await ada.get('/admins/me')).json(), { userId: 'ada of admins', cart: 'admins' })
  t.same((await ada.get('/customers/me')).json(), { userId: null, cart: null })
  await ada.post('/customers/login')
  await ada.post('/admins/logout')
  t.same((await ada.get('/admins/me')).json(), { userId: null, cart: null })
  t.same((await ada.get('/customers/me')).json(), { userId: 'ada of customers', cart: null })
  ada.cookies.set('admins', ada.cookies.get('customers') ?? '')
  t.same((await ada.get('/admins/me')).json(), { userId: null, cart: null }, 'one\'s cookie is nothing to the other')
})

t.test('decorators can have other names', async (t) => {
  const app = await startApp(t, { decorators: { authenticate: 'guard', login: 'signIn', logout: 'signOut', auth: 'who', requireAuth: 'mustBe' } })
  interface Renamed { guard: FastifyInstance['authenticate'], signIn: FastifyInstance['login'], signOut: FastifyInstance['logout'] }
  interface RenamedRequest { who: FastifyRequest['auth'], mustBe: FastifyRequest['requireAuth'] }
  // Type assertions because the names are the test's own.
  const named = app as unknown as Renamed
  app.post('/login', async (request) => { await named.signIn(request, { id: 'ada' }) })
  app.post('/logout', async (request) => { await named.signOut(request) })
  app.get('/me', { preHandler: named.guard }, async (request) => {
    const { who } = request as unknown as RenamedRequest
    return [who?.userId, (request as unknown as RenamedRequest).mustBe().userId]
  })
  for (const name of ['authenticate', 'login', 'logout']) t.notOk(app.hasDecorator(name))
  for (const name of ['auth', 'requireAuth']) t.notOk(app.hasRequestDecorator(name))
  const ada = new Browser(app)
  t.equal((await ada.get('/me')).statusCode, 401)
  await ada.post('/login')
  t.same((await ada.get('/me')).json(), ['ada', 'ada'])
  await ada.post('/logout')
  t.equal((await ada.get('/me')).statusCode, 401)
})

t.test('a name that the application has already is refused at boot', async (t) => {
  const { default: Fastify } = await import('fastify')
  const { sessionPlugin } = await import('../../lib/index.ts')
  const app = Fastify()
  t.teardown(() => app.close().catch(() => {}))
  app.decorate('authenticate', async () => {})
  app.decorateRequest('auth', null)
  await t.rejects(async () => { await app.register(sessionPlugin, { secret, store: new MemoryStore() }) }, { code: 'ERR_SESSION_INVALID_OPTIONS', message: /app\.authenticate, request\.auth exist already; give the decorator another name/ })
})

t.test('a sign-in after the reply has gone is an error, and stores nothing', async (t) => {
  const store = new SpyStore()
  const app = await startApp(t, { store })
  const outcome = new Promise((resolve) => {
    app.post('/late', async (request, reply) => {
      reply.send('ok')
      await once(reply.raw, 'finish')
      resolve(await app.login(request, { id: 'ada' }).catch((error: unknown) => error))
      return reply
    })
  })
  await app.inject({ method: 'POST', url: '/late' })
  t.match(await outcome, { code: 'ERR_SESSION_UNSUPPORTED' })
  t.same(store.calls, [])
})
