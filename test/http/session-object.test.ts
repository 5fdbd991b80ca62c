import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { MemoryStore, sessionPlugin } from '../../lib/index.ts'
import type { LoginOptions, SessionOptions } from '../../lib/index.ts'
import { errors } from '../../lib/errors.ts'
import { kContext, kReply } from '../../lib/http/context.ts'
import type { PluginContext, SessionRequest } from '../../lib/http/context.ts'
import { newToken, Signature } from '../../lib/session/token.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import type { LogLine, TestResponse } from '../helpers/app.ts'
import { record } from '../helpers/record.ts'
import { until } from '../helpers/redis.ts'
import { Gate, SpyStore } from '../helpers/spy-store.ts'

/** What a test does within a request of its own. */
type Action = (request: FastifyRequest) => unknown

interface Shop {
  app: FastifyInstance & { lines: LogLine[] }
  store: SpyStore
  actions: Map<string, Action>
}

/** An application with `GET /me`, `GET /plain`, which leaves the session alone, and `POST /do` for what a test wants to happen. */
async function openShop (t: Test, options: Partial<SessionOptions> = {}): Promise<Shop> {
  const store = new SpyStore()
  const app = await startApp(t, { ...options, store })
  const actions = new Map<string, Action>()
  app.get('/me', async (request) => ({ userId: request.auth?.userId ?? null, data: request.session }))
  app.get('/plain', async () => 'plain')
  app.post<{ Params: { name: string } }>('/do/:name', async (request) => ({ result: await actions.get(request.params.name)?.(request) ?? null }))
  return { app, store, actions }
}

let actionsSoFar = 0

/** Has `browser` send a request that does `action`. */
async function act ({ actions }: Shop, browser: Browser, action: Action): Promise<TestResponse> {
  const name = String(actionsSoFar++)
  actions.set(name, action)
  return await browser.post(`/do/${name}`)
}

async function signIn (shop: Shop, userId = 'ada'): Promise<Browser> {
  const browser = new Browser(shop.app)
  await act(shop, browser, (request) => shop.app.login(request, { id: userId }))
  return browser
}

async function me (browser: Browser): Promise<{ userId: string | null, data: Record<string, unknown> }> {
  const response = await browser.get('/me')
  return response.json()
}

/** The public id in a browser's cookie. */
function idOf (browser: Browser): string | undefined {
  return browser.cookies.get('sid')?.split('.')[0]
}

function copyOf (shop: Shop, browser: Browser): Browser {
  const copy = new Browser(shop.app)
  for (const [name, value] of browser.cookies) copy.cookies.set(name, value)
  return copy
}

/** What `request.session` holds, as JSON has it. */
function held ({ session }: FastifyRequest): unknown {
  return JSON.parse(JSON.stringify(session))
}

/** Calls a method of the session that takes a callback, and waits for that. */
async function called (method: (callback: (error?: unknown) => void) => void): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    method((error) => {
      if (error == null) resolve()
      else reject(error instanceof Error ? error : new Error('no error', { cause: error }))
    })
  })
}

// -- what @fastify/session's object does ------------------------------------------------------------------

t.test('what is put into the session is there in the next request', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await act(shop, ada, ({ session }) => {
    session.cart = ['book']
    session.set('visits', { count: 1 })
  })
  await act(shop, ada, ({ session }) => {
    t.same([session.cart, session.get('visits'), session.get('nothing')], [['book'], { count: 1 }, undefined])
    const { visits } = session as { visits: { count: number } }
    visits.count++
    delete session.cart
  })
  t.same((await me(ada)).data, { visits: { count: 2 } })
})

t.test('save stores at once, with a callback and with a promise', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  for (const [index, save] of [
    async ({ session }: FastifyRequest) => { await session.save() },
    async ({ session }: FastifyRequest) => { await called((callback) => session.save(callback)) }
  ].entries()) {
    let saved: string | undefined
    const asked = await shop.store.during(() => act(shop, ada, async (request) => {
      request.session.visits = index
      t.equal(request.session.isSaved(), false)
      await save(request)
      t.equal(request.session.isSaved(), true)
      t.equal(request.session.isModified(), false)
      saved = (await shop.store.peek(request.session.sessionId))?.data
    }))
    t.equal(saved, JSON.stringify({ visits: index }))
    t.strictSame(asked, index === 0 ? ['begin'] : ['find', 'update'], 'and not again with the reply')
  }
})

t.test('what is changed after a save is stored with the reply', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await act(shop, ada, async ({ session }) => {
    const cart = ['book']
    session.cart = cart
    await session.save()
    cart.push('pen')
    session.visits = 1
  })
  t.same((await me(ada)).data, { cart: ['book', 'pen'], visits: 1 })
})

t.test('isModified tells whether anything was changed', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  await act(shop, ada, ({ session }) => {
    t.equal(session.isModified(), false)
    session.cart = ['book']
    t.equal(session.isModified(), true)
    delete session.cart
    t.equal(session.isModified(), false)
  })
})

t.test('regenerate makes a new id, keeps the keys it is told and nothing else', async (t) => {
  const ways: Array<[Action, Record<string, unknown>]> = [
    [({ session }) => session.regenerate(), {}],
    [({ session }) => session.regenerate(['cart']), { cart: ['book'] }],
    [({ session }) => called((callback) => session.regenerate(callback)), {}],
    [({ session }) => called((callback) => session.regenerate(['cart', 'visits'], callback)), { cart: ['book'], visits: 1 }]
  ]
  for (const [regenerate, kept] of ways) {
    const shop = await openShop(t)
    const ada = new Browser(shop.app)
    await act(shop, ada, ({ session }) => { Object.assign(session, { cart: ['book'], visits: 1, theme: 'dark' }) })
    const old = copyOf(shop, ada)
    let id: string | undefined
    await act(shop, ada, async (request) => {
      await regenerate(request)
      id = request.session.sessionId
      t.same(held(request), kept)
      request.session.fresh = true
    })
    t.not(id, idOf(old))
    t.equal(idOf(ada), id)
    t.same((await me(ada)).data, { ...kept, fresh: true })
    t.same((await me(old)).data, {})
    t.equal(await shop.store.peek(idOf(old)), null)
  }
})

t.test('regenerate that keeps the user keeps them signed in', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  const old = copyOf(shop, ada)
  await act(shop, ada, ({ session }) => session.regenerate(['userId']))
  t.not(idOf(ada), idOf(old))
  t.same(await me(ada), { userId: 'ada', data: { userId: 'ada' } })
  t.equal((await me(old)).userId, null)
})

t.test('regenerate makes a new id, also of a session that was begun in this request', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  let begun: string | undefined
  await act(shop, ada, async (request) => {
    const { id } = await shop.app.login(request, { id: 'ada' })
    await request.session.regenerate(['userId'])
    t.not(request.session.sessionId, id)
    begun = id
  })
  t.not(idOf(ada), begun)
  t.equal((await me(ada)).userId, 'ada')
  t.equal(await shop.store.peek(begun), null, 'and the one before is worthless')
})

t.test('regenerate without the user signs out', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  const old = copyOf(shop, ada)
  const response = await act(shop, ada, ({ session }) => session.regenerate())
  t.match(response.setCookies, [/^sid=; Max-Age=0;/])
  t.equal((await me(old)).userId, null)
  t.equal(await shop.store.peek(idOf(old)), null)
})

t.test('regenerate stores nothing of a visitor who has no data', async (t) => {
  const shop = await openShop(t)
  const asked = await shop.store.during(async () => {
    t.strictSame((await act(shop, new Browser(shop.app), ({ session }) => session.regenerate())).setCookies, [])
  })
  t.strictSame(asked, [])
})

t.test('destroy ends the session and takes the cookie back, with a callback and with a promise', async (t) => {
  const ways: Action[] = [
    ({ session }) => session.destroy(),
    ({ session }) => called((callback) => session.destroy(callback)),
    async (request) => { await request.session.regenerate(); await request.session.destroy() },
    async (request) => { await request.session.regenerate(['userId']); await called((callback) => request.session.destroy(callback)) },
    async (request) => { request.session.cart = 1; await request.session.save(); await request.session.destroy() }
  ]
  for (const destroy of ways) {
    const shop = await openShop(t)
    const ada = await signIn(shop)
    const old = copyOf(shop, ada)
    const response = await act(shop, ada, async (request) => {
      await destroy(request)
      t.equal(request.auth, null)
      t.equal(request.session, null)
    })
    t.equal(response.statusCode, 200)
    t.match(response.setCookies, [/^sid=; Max-Age=0;/])
    t.equal(await shop.store.peek(idOf(old)), null)
    t.same(await me(old), { userId: null, data: {} })
  }
})

t.test('destroy of a visitor without a session sends nothing', async (t) => {
  const shop = await openShop(t)
  const asked = await shop.store.during(async () => {
    t.strictSame((await act(shop, new Browser(shop.app), ({ session }) => session.destroy())).setCookies, [])
  })
  t.strictSame(asked, [])
})

t.test('reload reads what is there now, where other reads may be of a moment ago', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  const asked: unknown[] = []
  const find = shop.store.find.bind(shop.store)
  shop.store.find = async (id: string, options?: { fresh?: boolean }) => {
    asked.push(options?.fresh)
    return await find(id)
  }
  await act(shop, ada, async ({ session }) => await session.reload())
  t.strictSame(asked, [undefined, true])
})

t.test('reload brings what is stored and drops what was changed here, with a callback and with a promise', async (t) => {
  const ways: Action[] = [
    ({ session }) => session.reload(),
    ({ session }) => called((callback) => session.reload(callback)),
    async (request) => { await request.session.regenerate(); await request.session.reload() }
  ]
  for (const reload of ways) {
    const shop = await openShop(t)
    const ada = await signIn(shop)
    const id = idOf(ada)
    const asked = await shop.store.during(() => act(shop, ada, async (request) => {
      request.session.mine = true
      await act(shop, ada, (other) => { other.session.theirs = true })
      await reload(request)
      t.same(held(request), { userId: 'ada', theirs: true })
      t.equal(request.session.isModified(), false)
      t.equal(request.session.sessionId, id)
    }))
    t.strictSame(asked, ['find', 'find', 'update', 'find'], 'nothing is written after it')
    t.equal(idOf(ada), id)
    t.same(await me(ada), { userId: 'ada', data: { userId: 'ada', theirs: true } })
  }
})

t.test('reload of an ended session does not bring it back', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  const old = copyOf(shop, ada)
  await act(shop, ada, async (request) => {
    const held = request.session
    await act(shop, copyOf(shop, ada), (other) => shop.app.logout(other))
    await request.session.reload()
    t.equal(request.auth, null)
    t.equal(request.session.userId, undefined)
    await request.session.save()
    await held.save()
  })
  t.equal(await shop.store.peek(idOf(old)), null)
  t.same(await me(old), { userId: null, data: {} })
  t.same(await me(ada), { userId: null, data: {} })
})

t.test('reload while the store is out of reach rejects and leaves the session as it is', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  for (const reload of [
    ({ session }: FastifyRequest) => session.reload(),
    ({ session }: FastifyRequest) => called((callback) => session.reload(callback))
  ]) {
    await act(shop, ada, async (request) => {
      const held = request.session
      held.mine = 'kept'
      shop.store.failing.add('find')
      await t.rejects(async () => { await reload(request) }, { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
      shop.store.failing.clear()
      t.equal(request.session, held)
      t.equal(request.auth?.userId, 'ada')
    })
    t.same(await me(ada), { userId: 'ada', data: { userId: 'ada', mine: 'kept' } })
  }
})

t.test('touch changes nothing of the cookie that goes out', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  const response = await act(shop, ada, ({ session }) => {
    session.touch()
    session.cart = ['book']
  })
  t.equal(response.statusCode, 200)
  t.match(response.setCookies, [/; Max-Age=604800; Path=\/; HttpOnly; SameSite=Lax$/])
})

t.test('changing the cookie of a session says what to do instead, and changes nothing', async (t) => {
  const attempts: Action[] = [
    ({ session }) => { session.cookie.maxAge = 30 * 86_400_000 },
    ({ session }) => { session.cookie.expires = new Date(0) },
    ({ session }) => { session.cookie.secure = true },
    ({ session }) => { session.options({ maxAge: 5 }) }
  ]
  for (const attempt of attempts) {
    const shop = await openShop(t)
    const ada = await signIn(shop)
    const response = await act(shop, ada, attempt)
    t.equal(response.statusCode, 500)
    t.match(response.json(), { code: 'ERR_SESSION_UNSUPPORTED', message: /remember or timeouts to login/ })
    t.equal((await me(ada)).userId, 'ada')
    t.equal((await act(shop, ada, ({ session }) => session.cookie.path)).json().result, '/')
  }
})

/** What `request.session.cookie` says of its time, in seconds, and what Set-Cookie said. */
interface CookieTimes { originalMaxAge: number | null, maxAge: number | null, expiresIn: number | null, set: number | null | undefined }

t.test('the cookie of a session says how long it lives, as its Set-Cookie did', async (t) => {
  const DAY = 86_400
  const cases: Array<[seconds: number | null, options: Partial<SessionOptions>, login?: LoginOptions]> = [
    [7 * DAY, {}],
    [90 * DAY, {}, { remember: true }],
    [null, {}, { remember: false }],
    [7200, {}, { absoluteTimeout: '2h' }],
    [DAY, { cookie: { secure: false, maxAge: '1d' } }],
    [7200, { cookie: { secure: false, maxAge: '1d' } }, { absoluteTimeout: '2h' }],
    [null, { cookie: { secure: false, maxAge: false } }],
    [90 * DAY, { cookie: { secure: false, maxAge: false } }, { remember: true }],
    [30 * DAY, { remember: { absoluteTimeout: '30d' } }, { remember: true }]
  ]
  for (const [seconds, options, login] of cases) {
    const { times, age, app } = await cookieClock(t, options)
    const ada = new Browser(app)
    const about = JSON.stringify([options, login])
    t.strictSame(await times(ada, (request) => app.login(request, { id: 'ada' }, login)), { originalMaxAge: seconds, maxAge: seconds, expiresIn: seconds, set: seconds }, about)
    age(1000)
    const left = seconds === null ? null : seconds - 1000
    t.strictSame(await times(ada), { originalMaxAge: seconds, maxAge: left, expiresIn: left, set: undefined }, about)
  }
})

t.test('of a session that is not stored yet the cookie says how long it will live, and of one that has moved how long it lives now', async (t) => {
  const { times, age, app } = await cookieClock(t, { cookie: { secure: false, maxAge: '1d' } })
  const ada = new Browser(app)
  const day = { originalMaxAge: 86_400, maxAge: 86_400, expiresIn: 86_400 }
  t.strictSame(await times(ada), { ...day, set: undefined })
  t.strictSame(await times(ada, async ({ session }) => {
    session.cart = ['book']
    await session.save()
  }), { ...day, set: 86_400 })
  age(1000)
  t.strictSame(await times(ada, async ({ session }) => {
    await session.regenerate(['cart'])
  }, async ({ session }) => { await session.save() }), { ...day, set: 86_400 })
})

t.test('a cookie that a request has brought has not run out, whenever it was set', async (t) => {
  const { times, age, app } = await cookieClock(t, { cookie: { secure: false, maxAge: '10m' } })
  const ada = new Browser(app)
  await times(ada, (request) => app.login(request, { id: 'ada' }))
  age(599)
  await times(ada, ({ session }) => session.regenerate(['userId']), ({ session }) => session.save())
  age(300)
  const { originalMaxAge, maxAge } = await times(ada)
  t.strictSame([originalMaxAge, maxAge], [600, 600])
})

t.test('the cookie of a session stays the same object, and tells the time anew each time it is asked for', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  const response = await act(shop, ada, async (request) => {
    const before = request.session.cookie
    request.session.cart = 1
    await request.session.save()
    return [before === request.session.cookie, Object.keys(before).includes('originalMaxAge'), before.expires instanceof Date]
  })
  t.strictSame(response.json().result, [true, true, true])
})

/** An application whose time the test moves, and that says what it sees of its cookie. */
async function cookieClock (t: Test, options: Partial<SessionOptions>) {
  let now = Date.now()
  const app = await startApp(t, { ...options, store: new MemoryStore({ now: () => now }) })
  let steps: Action[] = []
  app.post('/times', async (request) => {
    for (const step of steps) await step(request)
    const { originalMaxAge, maxAge, expires } = request.session.cookie
    return { originalMaxAge, maxAge, expiresIn: expires == null ? null : expires.getTime() - Date.now() }
  })
  const inSeconds = (ms: number | null | undefined): number | null => ms == null ? null : Math.round(ms / 1000)
  const times = async (browser: Browser, ...actions: Action[]): Promise<CookieTimes> => {
    steps = actions
    const response = await browser.post('/times')
    const { originalMaxAge, maxAge, expiresIn } = response.json()
    const [line] = response.setCookies
    const set = line === undefined ? undefined : /Max-Age=(\d+)/.exec(line)
    return {
      originalMaxAge: inSeconds(originalMaxAge),
      maxAge: inSeconds(maxAge),
      expiresIn: inSeconds(expiresIn),
      set: set === undefined ? undefined : set === null ? null : Number(set[1])
    }
  }
  return { app, times, age: (seconds: number) => { now += seconds * 1000 } }
}

t.test('a bigint signs in by assignment as it does by login', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await act(shop, ada, ({ session }) => { session.userId = 42n })
  t.match(await me(ada), { userId: '42', data: { userId: '42' } })
})

// -- ids, secrets, JSON ------------------------------------------------------------------------------------

t.test('neither ids nor JSON nor keys of the session hold its token', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  const [id, key = '', mac = ''] = (ada.cookies.get('sid') ?? '').split('.')
  t.ok(key.length === 32 && mac.length === 43)
  for (const reloads of [false, true]) {
    await act(shop, ada, async (request) => {
      if (reloads) await request.session.reload()
      const { session } = request
      t.equal(session.sessionId, id)
      t.equal(session.encryptedSessionId, id)
      const everything = JSON.stringify([session, { ...session }, Object.keys(session), session.sessionId, session.encryptedSessionId, session.cookie, request.auth])
      for (const part of [key, mac]) t.notOk(everything.includes(part))
      t.strictSame(Object.keys(session), ['userId'])
    })
  }
})

t.test('what is stored holds no token either', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  const [, key = '', mac = ''] = (ada.cookies.get('sid') ?? '').split('.')
  const stored = JSON.stringify(await shop.store.peek(idOf(ada)))
  for (const part of [key, mac]) t.notOk(stored.includes(part))
})

t.test('a session that is returned from a route sends its data alone', async (t) => {
  const shop = await openShop(t)
  shop.app.get('/session', async (request) => request.session)
  const ada = await signIn(shop)
  await act(shop, ada, ({ session }) => { session.cart = ['book'] })
  t.equal((await ada.get('/session')).body, '{"userId":"ada","cart":["book"]}')
  t.equal((await new Browser(shop.app).get('/session')).body, '{}')
})

// -- reserved names -----------------------------------------------------------------------------------------

const RESERVED = ['save', 'regenerate', 'reload', 'destroy', 'touch', 'options', 'get', 'set', 'isModified', 'isSaved', 'cookie', 'sessionId', 'encryptedSessionId', 'toJSON', 'constructor', '__proto__']

t.test('[15.3.3] a name of the session object itself is refused as data, and the session goes on', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  for (const name of RESERVED) {
    for (const value of ['x', {}, null, undefined, () => {}]) {
      let taken: unknown
      const response = await act(shop, ada, async ({ session }) => {
        // A type assertion because the names are those that types refuse.
        const data = session as unknown as Record<string, unknown>
        const expected = { code: 'ERR_SESSION_RESERVED_KEY', statusCode: 500, message: new RegExp(`: ${name}$`) }
        t.throws(() => { data[name] = value }, expected, name)
        t.throws(() => session.set(name, value as string), expected, name)
        session.visits = name
        await session.save()
        taken = session.get('visits')
      })
      t.equal(response.statusCode, 200)
      t.equal(taken, name)
    }
  }
  t.same(await me(ada), { userId: 'ada', data: { userId: 'ada', visits: '__proto__' } })
  const old = copyOf(shop, ada)
  await act(shop, ada, ({ session }) => session.destroy())
  t.equal((await me(old)).userId, null)
})

t.test('whoever lets a visitor choose the name answers 500, and logging out works after it', async (t) => {
  const shop = await openShop(t)
  shop.app.post<{ Params: { name: string } }>('/put/:name', async ({ session, params }) => { session.set(params.name, 'mallory') })
  const ada = await signIn(shop)
  for (const name of RESERVED) {
    const response = await ada.post(`/put/${name}`)
    t.same([response.statusCode, response.json().code], [500, 'ERR_SESSION_RESERVED_KEY'])
  }
  const old = copyOf(shop, ada)
  t.equal((await act(shop, ada, (request) => shop.app.logout(request))).statusCode, 200)
  t.equal((await me(old)).userId, null)
})

t.test('names that regenerate is told to keep cannot break the session', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  await act(shop, ada, async (request) => {
    await request.session.regenerate([...RESERVED.filter((name) => !/Id$/.test(name)), 'userId'])
    t.type(request.session.destroy, 'function')
    await request.session.save()
  })
  t.same(await me(ada), { userId: 'ada', data: { userId: 'ada' } })
  const old = copyOf(shop, ada)
  await act(shop, ada, (request) => request.session.destroy())
  t.equal((await me(old)).userId, null)
})

t.test('[15.3.3] what foreign hands stored under reserved names pollutes nothing and breaks nothing', async (t) => {
  const shop = await openShop(t)
  const { id, browser } = await planted(shop, `{"userId":"ada","cart":{"__proto__":{"admin":1}},${RESERVED.map((name) => `"${name}":{"admin":true}`).join(',')}}`)
  await act(shop, browser, async (request) => {
    const { session } = request
    t.equal((session as { admin?: unknown }).admin, undefined)
    t.equal(({} as { admin?: unknown }).admin, undefined)
    t.equal(session.sessionId, id)
    t.type(session.destroy, 'function')
    session.visits = 1
    await session.save()
    await session.reload()
    t.equal((session as { admin?: unknown }).admin, undefined)
  })
  t.same(JSON.parse((await browser.get('/me')).body).userId, 'ada')
  t.match(await me(browser), { data: { userId: 'ada', visits: 1 } })
  await act(shop, browser, ({ session }) => session.destroy())
  t.equal(await shop.store.peek(id), null)
})

/** ada's session with such data, as foreign hands would have stored it, and a browser that holds its cookie. */
async function planted (shop: Shop, data: string): Promise<{ id: string, browser: Browser }> {
  const { id } = record()
  const { token, secretHash } = newToken(id)
  await shop.store.begin(record({ id, secretHash, data }))
  const browser = new Browser(shop.app)
  browser.cookies.set('sid', new Signature([secret]).sign(token))
  return { id, browser }
}

t.test('data that is not JSON is left out with a line in the log', async (t) => {
  const shop = await openShop(t)
  const { browser } = await planted(shop, '{"cart":')
  const { userId, data } = await me(browser)
  t.same([userId, data], ['ada', {}])
  t.ok(shop.app.lines.some(({ msg }) => /not JSON/.test(msg)))
})

// -- what cannot be stored ------------------------------------------------------------------------------------

t.test('a value that JSON cannot hold is an error that says so, and nothing is lost', async (t) => {
  const cycle: Record<string, unknown> = {}
  cycle.cycle = cycle
  for (const [value, message] of [[1n, /BigInt/], [{ deep: [2n] }, /BigInt/], [cycle, /circular|nested/]] as const) {
    const shop = await openShop(t)
    const ada = await signIn(shop)
    await act(shop, ada, ({ session }) => { session.cart = ['book'] })
    const id = idOf(ada)
    const response = await act(shop, ada, ({ session }) => { session.visits = value })
    t.equal(response.statusCode, 500)
    t.match(response.json().message, message)
    t.strictSame(response.setCookies, [])
    const saved = await act(shop, ada, async ({ session }) => {
      session.visits = value
      await t.rejects(async () => { await session.save() }, { message })
      delete session.visits
    })
    t.equal(saved.statusCode, 200)
    t.equal(idOf(ada), id)
    t.same(await me(ada), { userId: 'ada', data: { userId: 'ada', cart: ['book'] } })
  }
})

t.test('how deep data is nested is told from what is stored, and not from the object', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  await act(shop, ada, ({ session }) => { session.cart = ['book'] })
  // As a document of a database: much is in it, and its JSON is small.
  const document = { parent: {}, toJSON: () => ({ city: 'Rome' }) }
  document.parent = { document }
  await act(shop, ada, ({ session }) => { session.place = document })
  const data = { userId: 'ada', cart: ['book'], place: { city: 'Rome' } }
  t.same(await me(ada), { userId: 'ada', data })

  const chain = (levels: number): unknown => ({ toJSON: () => levels === 0 ? 'end' : { next: chain(levels - 1) } })
  const refused = await act(shop, ada, ({ session }) => { session.chain = chain(100) })
  t.equal(refused.statusCode, 500)
  t.equal(refused.json().message, 'session data must not be nested more than 100 levels deep')
  t.same(await me(ada), { userId: 'ada', data }, 'all other data stays readable')
  t.equal((await act(shop, ada, ({ session }) => { session.chain = chain(99) })).statusCode, 200)
  t.match(await me(ada), { data: { chain: { next: { next: {} } } } }, 'a hundred levels are stored, and read again')
})

t.test('a value that JSON leaves out is not stored', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  const asked = await shop.store.during(() => act(shop, ada, ({ session }) => {
    session.visits = undefined
    session.cart = () => {}
  }))
  t.strictSame(asked, ['find'])
})

// -- what costs nothing ---------------------------------------------------------------------------------------

t.test('nothing but empty values makes no session', async (t) => {
  const shop = await openShop(t)
  for (const empty of [{}, [], null]) {
    const asked = await shop.store.during(async () => {
      const response = await act(shop, new Browser(shop.app), async ({ session }) => {
        session.flash = empty
        await session.save()
      })
      t.strictSame(response.setCookies, [])
    })
    t.strictSame(asked, [], JSON.stringify(empty))
  }
  for (const value of [0, false, 'x', [0], { a: null }]) {
    const response = await act(shop, new Browser(shop.app), ({ session }) => { session.flash = value })
    t.equal(response.setCookies.length, 1, JSON.stringify(value))
  }
})

t.test('a request without a cookie asks the store nothing and gets no cookie', async (t) => {
  const shop = await openShop(t)
  const asked = await shop.store.during(async () => {
    for (const response of [
      await new Browser(shop.app).get('/plain'),
      await new Browser(shop.app).get('/me'),
      await act(shop, new Browser(shop.app), ({ session }) => session.get('cart'))
    ]) {
      t.equal(response.statusCode, 200)
      t.strictSame(response.setCookies, [])
      t.equal(response.headers['cache-control'], undefined)
      t.equal(response.headers.vary, undefined)
    }
  })
  t.strictSame(asked, [])
})

t.test('the end of a reply is listened to only where there is something to do then', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  const listeners = async (browser: Browser, use: (request: FastifyRequest) => unknown): Promise<number | undefined> => {
    let count: number | undefined
    await act(shop, browser, (request) => {
      use(request)
      count = (request as SessionRequest)[kReply]?.raw.listenerCount('finish')
    })
    return count
  }
  const none = await listeners(new Browser(shop.app), () => {})
  t.equal(await listeners(new Browser(shop.app), (request) => request.auth), none)
  t.equal(await listeners(ada, (request) => request.auth), none)
  t.equal(await listeners(ada, (request) => request.session), (none ?? NaN) + 1)
})

t.test('a hook from before the plugin that has read the session changes nothing about how the reply counts', async (t) => {
  const sessions = []
  for (const isEarly of [false, true]) {
    const app = Fastify()
    t.teardown(() => app.close())
    if (isEarly) app.addHook('onRequest', async (request) => { void request.session })
    await app.register(sessionPlugin, { secret, store: new MemoryStore(), cookie: { secure: false } })
    // It makes an error of the reply when what was assigned is stored.
    app.addHook('onSend', async (_request, reply) => { reply.code(500) })
    app.get('/', async (request) => {
      request.session.userId = 'ada'
      return 'ada'
    })
    const { statusCode } = await app.inject('/')
    await until('the sign-in to be taken back', async () => (await app.sessions.listByUser('ada')).length === 0)
    sessions.push(statusCode)
  }
  t.strictSame(sessions, [500, 500])
})

t.test('a session object is built only for a route that uses request.session', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  const context = (shop.app as unknown as { [kContext]: PluginContext })[kContext]
  const { build } = context
  let built = 0
  context.build = (data, owner) => {
    built++
    return build(data, owner)
  }
  await ada.get('/plain')
  await act(shop, ada, (each) => each.requireAuth())
  t.equal(built, 0)
  await me(ada)
  t.equal(built, 1)
})

t.test('an unchanged session is not written', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  await act(shop, ada, ({ session }) => { Object.assign(session, { cart: [{ b: 1, a: 2 }], theme: 'dark' }) })
  const asked = await shop.store.during(async () => {
    for (const action of [
      () => {},
      ({ session }: FastifyRequest) => session.get('cart'),
      ({ session }: FastifyRequest) => { session.theme = 'dark' },
      ({ session }: FastifyRequest) => { session.cart = [{ b: 1, a: 2 }] },
      ({ session }: FastifyRequest) => { session.theme = 'light'; session.theme = 'dark' },
      ({ session }: FastifyRequest) => session.save()
    ] as Action[]) {
      t.strictSame((await act(shop, ada, action)).setCookies, [])
    }
  })
  t.strictSame(asked, Array.from({ length: 6 }, () => 'find'))
})

// -- more than one request at a time ---------------------------------------------------------------------------

t.test('of requests that change different keys at the same time each keeps its change', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  await act(shop, ada, ({ session }) => { Object.assign(session, { cart: ['book'], theme: 'dark' }) })
  const gate = new Gate()
  const slow = act(shop, ada, async ({ session }) => {
    session.cart = ['book', 'pen']
    delete session.theme
    await gate.pass()
  })
  await gate.reached
  await act(shop, ada, ({ session }) => { session.visits = 1 })
  await act(shop, ada, ({ session }) => { session.lang = 'en' })
  gate.open()
  await slow
  t.same((await me(ada)).data, { userId: 'ada', cart: ['book', 'pen'], visits: 1, lang: 'en' })
})

t.test('a reader that is slow overwrites nothing', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  const gate = new Gate()
  const slow = act(shop, ada, async ({ session }) => {
    t.equal(session.get('cart'), undefined)
    await gate.pass()
  })
  await gate.reached
  await act(shop, ada, ({ session }) => { session.cart = ['book'] })
  gate.open()
  await slow
  t.same((await me(ada)).data, { userId: 'ada', cart: ['book'] })
})

t.test('[7.4.1] a session that was logged out meanwhile is not written again, and nobody is signed in', async (t) => {
  const writers: Action[] = [
    ({ session }) => { session.cart = ['book'] },
    async ({ session }) => { session.cart = ['book']; await session.save() },
    async ({ session }) => { session.cart = ['book']; await session.save(); session.visits = 1; await session.save(); session.visits = 2 },
    async (request) => { request.session.cart = ['book']; await request.session.save(); request.session.set('visits', 1) },
    async (request) => { await request.session.reload(); request.session.cart = ['book'] }
  ]
  for (const [index, write] of writers.entries()) {
    const shop = await openShop(t)
    const ada = await signIn(shop)
    const copy = copyOf(shop, ada)
    const id = idOf(ada)
    const gate = new Gate()
    let auth: unknown
    const slow = act(shop, copyOf(shop, ada), async (request) => {
      t.equal(request.session.userId, 'ada')
      await gate.pass()
      await write(request)
      if (index > 0) auth = request.auth
    })
    await gate.reached
    await act(shop, ada, (request) => shop.app.logout(request))
    gate.open()
    const response = await slow
    t.equal(response.statusCode, 200)
    t.equal(auth ?? null, null)
    t.equal(await shop.store.peek(id), null)
    for (const line of response.setCookies) copy.cookies.set('sid', /^sid=([^;]*)/.exec(line)?.[1] ?? '')
    const { userId, data } = await me(copy)
    t.equal(userId, null)
    t.equal(data.userId, undefined, 'nor does the data say so')
  }
})

t.test('regenerate of a session that was logged out meanwhile signs nobody in', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  const copy = copyOf(shop, ada)
  const gate = new Gate()
  const slow = act(shop, copy, async ({ session }) => {
    await gate.pass()
    await session.regenerate(['userId'])
  })
  await gate.reached
  await act(shop, ada, (request) => shop.app.logout(request))
  gate.open()
  await slow
  t.equal((await me(copy)).userId, null)
})

t.test('an object of before saves nothing, whatever it is made to hold', async (t) => {
  const ends: Record<string, Action> = {
    regenerate: (request) => request.session.regenerate(['cart']),
    login: (request) => request.server.login(request, { id: 'bob' }),
    logout: (request) => request.server.logout(request)
  }
  for (const [end, action] of Object.entries(ends)) {
    const shop = await openShop(t)
    const ada = await signIn(shop)
    await act(shop, ada, ({ session }) => { session.cart = ['book'] })
    await act(shop, ada, async (request) => {
      const stale = request.session
      await action(request)
      stale.stale = true
      stale.userId = 'mallory'
      request.session.fresh = true
      t.strictSame(await shop.store.during(() => stale.save()), [])
    })
    const { userId, data } = await me(ada)
    t.not(userId, 'mallory', end)
    t.same([data.stale, data.userId === 'mallory'], [undefined, false])
  }
})

t.test('what is assigned to an object of before a login takes nothing back of what the login said', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  await act(shop, ada, async (request) => {
    const stale = request.session
    await shop.app.login(request, { id: 'bob' }, { remember: false })
    stale.userId = 'bob'
    request.session.cart = ['book']
  })
  t.match(await shop.store.peek(idOf(ada)), { userId: 'bob', persistent: false, data: '{"userId":"bob","cart":["book"]}' })
})

t.test('a change to the session while it is being saved goes into the next save', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  await act(shop, ada, async ({ session }) => {
    session.cart = ['book']
    const saving = session.save()
    session.visits = 1
    await saving
  })
  t.same((await me(ada)).data, { userId: 'ada', cart: ['book'], visits: 1 })
})

t.test('request.session cannot be replaced by something else', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  for (const value of [{}, 'x', 5, undefined, []]) {
    const response = await act(shop, ada, (request) => {
      t.throws(() => { (request as { session: unknown }).session = value }, TypeError)
    })
    t.equal(response.statusCode, 200)
  }
  t.equal((await me(ada)).userId, 'ada')
})

t.test('request.sessionStore, which @fastify/session has, says what to use instead', async (t) => {
  const app = await startApp(t)
  app.get('/all', async (request) => { request.sessionStore.get('', () => {}) })
  const { statusCode, body } = await app.inject('/all')
  t.equal(statusCode, 500)
  t.match(JSON.parse(body), { code: 'ERR_SESSION_UNSUPPORTED', message: /app\.sessions/ })
})

t.test('request.sessionID, which express-session has, says what to use instead', async (t) => {
  const app = await startApp(t)
  const sessionID = (request: unknown): unknown => (request as { sessionID?: unknown }).sessionID
  app.get('/id', async (request) => sessionID(request))
  const { statusCode, body } = await app.inject('/id')
  t.equal(statusCode, 500)
  t.match(JSON.parse(body), { code: 'ERR_SESSION_UNSUPPORTED', message: /request\.session\.sessionId/ })
  const own = Fastify()
  t.teardown(() => own.close())
  own.decorateRequest('sessionID', 'theirs')
  await own.register(sessionPlugin, { secret, store: new MemoryStore() })
  own.get('/id', async (request) => sessionID(request))
  t.equal((await own.inject('/id')).body, 'theirs', 'one of the application stays')
  const late = await startApp(t)
  late.addHook('onRequest', async (request) => { Object.assign(request, { sessionID: 'mine' }) })
  late.get('/id', async (request) => sessionID(request))
  t.equal((await late.inject('/id')).body, 'mine', 'and one that a hook gives')
})

t.test('session.delete(), which @fastify/secure-session has, says what to use instead, and data may have its name', async (t) => {
  const app = await startApp(t)
  app.post('/delete', async ({ session }) => session.delete())
  app.post('/name', async ({ session }) => { session.delete = ['a'] })
  app.get('/data', async ({ session }) => session)
  const ada = new Browser(app)
  const { statusCode, body } = await ada.post('/delete')
  t.equal(statusCode, 500)
  t.match(JSON.parse(body), { code: 'ERR_SESSION_UNSUPPORTED', message: /request\.session\.delete\(\): await request\.session\.destroy\(\)/ })
  t.equal((await ada.post('/name')).statusCode, 200)
  t.strictSame((await ada.get('/data')).json(), { delete: ['a'] })
})

t.test('app.decryptSession, which @fastify/session has, says what to use instead', async (t) => {
  const app = await startApp(t)
  t.throws(() => app.decryptSession('', {}, () => {}), { code: 'ERR_SESSION_UNSUPPORTED', message: /app\.sessions\.fromCookieHeader/ })
  const own = Fastify()
  t.teardown(() => own.close())
  own.decorate('decryptSession', (() => 'theirs') as never)
  await own.register(sessionPlugin, { secret, store: new MemoryStore() })
  t.equal(own.decryptSession('', {}, () => {}) as unknown, 'theirs', 'one of the application stays')
})

t.test('regenerate with the user moves the session: the same sign-in, deadlines and label under a new id', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  await act(shop, ada, (request) => request.server.login(request, { id: 'ada' }, { label: 'phone', remember: true }))
  const before = await shop.store.peek(idOf(ada))
  await act(shop, ada, (request) => request.session.regenerate(['userId']))
  const { id, secretHash, ...after } = await shop.store.peek(idOf(ada)) ?? {}
  const { id: oldId, secretHash: oldHash, ...expected } = before ?? {}
  t.not(id, oldId)
  t.not(secretHash, oldHash)
  t.same({ ...after, lastSeenAt: 0 }, { ...expected, lastSeenAt: 0 })
  t.equal(await shop.store.peek(String(oldId)), null)
})

t.test('a save that failed can be tried again, and signs in as it would have', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  const before = idOf(ada)
  const { store } = shop
  let tries = 0
  // It was stored, but nobody was told.
  const unreported = <T extends unknown[], R>(call: (...args: T) => Promise<R>) => async (...args: T): Promise<R> => {
    const stored = await call(...args)
    if (++tries === 1) throw new errors.STORE_UNAVAILABLE({ cause: new Error('the link was cut') })
    return stored
  }
  store.move = unreported(store.move.bind(store))
  store.replace = unreported(store.replace.bind(store))
  await act(shop, ada, async ({ session }) => {
    session.userId = 'ada'
    await t.rejects(async () => { await session.save() }, { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
    await session.save()
  })
  t.equal(tries, 2)
  t.not(idOf(ada), before, 'the same user again is a sign-in as well')
  t.equal((await me(ada)).userId, 'ada')
  // The first try is ended in the background, the second is not.
  await shop.store.delete(before ?? '')
  t.equal((await me(ada)).userId, 'ada')
})

t.test('a reload behind a save that nobody waits for shows what was saved', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  const seen: unknown[] = []
  await act(shop, ada, async (request) => {
    request.session.userId = 'ada'
    const saved = request.session.save()
    await request.session.reload()
    await saved
    seen.push(request.auth?.userId, request.session.userId)
  })
  t.strictSame(seen, ['ada', 'ada'])
  t.equal((await me(ada)).userId, 'ada')
})

t.test('whom the session names no more is signed in no more, in the same request already', async (t) => {
  const leaving: Record<string, Action> = {
    null: ({ session }) => { session.userId = null },
    delete: ({ session }) => { delete session.userId },
    set: ({ session }) => { session.set('userId', undefined) },
    regenerate: ({ session }) => session.regenerate(),
    'regenerate with something else': ({ session }) => session.regenerate(['cart'])
  }
  for (const [how, leave] of Object.entries(leaving)) {
    const shop = await openShop(t)
    const ada = await signIn(shop)
    const seen: unknown[] = []
    await act(shop, ada, async (request) => {
      request.session.cart = ['book']
      seen.push(request.auth?.userId)
      await leave(request)
      seen.push(request.auth)
      t.throws(() => request.requireAuth(), { code: 'ERR_SESSION_UNAUTHENTICATED' })
    })
    t.strictSame(seen, ['ada', null], how)
    t.equal((await me(ada)).userId, null)
  }
})

t.test('whom the session still names stays signed in, and so does whom it never named', async (t) => {
  const shop = await openShop(t)
  const ada = await signIn(shop)
  await act(shop, ada, async (request) => {
    await request.session.regenerate(['userId'])
    t.equal(request.requireAuth().userId, 'ada')
  })
  const elsewhere = await openShop(t, { userIdFrom: (data) => data.passport })
  const bob = await signIn(elsewhere, 'bob')
  await act(elsewhere, bob, (request) => {
    request.session.cart = ['book']
    t.equal(request.requireAuth().userId, 'bob')
  })
  t.equal((await me(bob)).userId, 'bob')
})
