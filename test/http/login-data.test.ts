import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Type } from '@sinclair/typebox'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, authRoutesOptions } from '../../lib/index.ts'
import type { LoginOptions, SessionData, SessionOptions } from '../../lib/index.ts'
import { RESERVED_NAMES } from '../../lib/session/data.ts'
import { Browser, startApp } from '../helpers/app.ts'
import type { LogLine, TestResponse } from '../helpers/app.ts'
import { fickle, throwing } from '../helpers/hostile.ts'
import { prefix, startRedis } from '../helpers/redis.ts'
import { Gate, SpyStore } from '../helpers/spy-store.ts'

const redis = await startRedis(t)

type Action = (request: FastifyRequest) => unknown

interface Shop {
  app: FastifyInstance & { lines: LogLine[] }
  store: SpyStore
  /** Has a browser send a request that does an action. */
  act: (browser: Browser, action: Action) => Promise<TestResponse>
  /** Signs in the user of this id. */
  login: (browser: Browser, id: string, options: LoginOptions) => Promise<TestResponse>
}

/** An application with `GET /me`, and `POST /do` for whatever a test wants to happen within a request. */
async function openShop (t: Test, options: Partial<SessionOptions> = {}): Promise<Shop> {
  const store = new SpyStore()
  const app = await startApp(t, { store, ...options })
  const actions = new Map<string, Action>()
  app.get('/me', async (request) => ({ userId: request.auth?.userId ?? null, data: request.session }))
  app.post<{ Params: { which: string } }>('/do/:which', async (request) => ({
    result: await actions.get(request.params.which)?.(request) ?? null
  }))
  const act: Shop['act'] = async (browser, action) => {
    const which = String(actions.size)
    actions.set(which, action)
    return await browser.post(`/do/${which}`)
  }
  return { app, store, act, login: (browser, id, given) => act(browser, async (request) => (await app.login(request, { id }, given)).id) }
}

async function me (browser: Browser): Promise<{ userId: string | null, data: Record<string, unknown> }> {
  return (await browser.get('/me')).json()
}

/** A browser in which a visitor has a cart, or somebody has signed in with one. */
async function withCart ({ app, act }: Shop, id?: string): Promise<Browser> {
  const browser = new Browser(app)
  await act(browser, async (request) => {
    if (id !== undefined) await app.login(request, { id })
    request.session.cart = ['book']
  })
  return browser
}

t.test('the data of a sign-in is there in the same request, and in the next, and was stored with the session', async (t) => {
  for (const options of [{}, { redis: redis.url, keyPrefix: prefix(), store: undefined }] as Array<Partial<SessionOptions>>) {
    const shop = await openShop(t, options)
    const ada = new Browser(shop.app)
    const response = await shop.act(ada, async (request) => {
      await shop.app.login(request, { id: 'ada' }, { data: { theme: 'dark', roles: ['editor'] } })
      return request.session
    })
    t.strictSame(response.json(), { result: { theme: 'dark', roles: ['editor'], userId: 'ada' } })
    t.strictSame(await me(ada), { userId: 'ada', data: { theme: 'dark', roles: ['editor'], userId: 'ada' } })
    if (options.redis === undefined) t.strictSame(shop.store.calls.filter((call) => call !== 'find'), ['begin'])
  }
})

t.test('the data of a sign-in goes over what goes along', async (t) => {
  for (const [before, keep, expected] of [
    [undefined, ['cart'], { cart: ['book'], theme: 'dark' }],
    [undefined, [], { theme: 'dark' }],
    ['bob', ['cart'], { cart: ['book'], theme: 'dark' }],
    ['ada', [], { cart: ['book'], theme: 'dark' }]
  ] as const) {
    const shop = await openShop(t)
    const ada = await withCart(shop, before)
    await shop.act(ada, ({ session }) => { session.theme = 'light' })
    await shop.login(ada, 'ada', { keep, data: { theme: 'dark' } })
    t.strictSame((await me(ada)).data, { ...expected, userId: 'ada' })
  }
  const shop = await openShop(t)
  const ada = await withCart(shop)
  await shop.login(ada, 'ada', { keep: ['cart'], data: { cart: [] } })
  t.strictSame((await me(ada)).data, { cart: [], userId: 'ada' })
})

t.test('data of a sign-in does not make the session another user\'s', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  for (const userId of ['bob', 7, null, { id: 'bob' }]) {
    await shop.login(ada, 'ada', { data: { userId, theme: 'dark' } as unknown as SessionData })
    t.strictSame(await me(ada), { userId: 'ada', data: { userId: 'ada', theme: 'dark' } })
  }
  await shop.login(ada, 'ada', { data: { user: { id: 'of her own kind' } } })
  t.match(await me(ada), { userId: 'ada', data: { user: { id: 'of her own kind' } } })
  const bob = await withCart(shop, 'bob')
  const response = await shop.login(bob, 'ada', { data: { user: { id: 'bob' } } })
  t.equal(response.json().message, 'data must not name another user than user.id')
  t.match(await me(bob), { userId: 'bob', data: { cart: ['book'] } }, 'who was signed in still is')
})

t.test('where the user is kept elsewhere, the data of a sign-in puts them there, and nobody else', async (t) => {
  const shop = await openShop(t, { userIdFrom: (data) => data.account?.id ?? data.owner })
  const ada = await withCart(shop)
  await shop.login(ada, 'ada', { data: { account: { id: 'ada' } } })
  t.strictSame(await me(ada), { userId: 'ada', data: { account: { id: 'ada' } } })
  for (const data of [{ account: { id: 'bob' } }, { owner: 'bob' }, { account: { id: 'ada' }, owner: 'bob' }]) {
    const response = await shop.login(ada, 'ada', { data })
    t.equal(response.json().message, 'data must not name another user than user.id')
    t.strictSame(response.setCookies, [])
  }
  t.strictSame(await me(ada), { userId: 'ada', data: { account: { id: 'ada' } } })
  await shop.login(ada, 'bob', { keep: true, data: { account: { id: 'bob' }, theme: 'dark' } })
  t.strictSame(await me(ada), { userId: 'bob', data: { account: { id: 'bob' }, theme: 'dark' } })
  t.strictSame(await shop.app.sessions.listByUser('ada'), [])
})

t.test('data that names somebody only together with what goes along takes that out', async (t) => {
  const shop = await openShop(t, { userIdFrom: ({ names, which }) => names?.[which] })
  const ada = new Browser(shop.app)
  await shop.act(ada, ({ session }) => { session.names = ['bob'] })
  await shop.login(ada, 'ada', { keep: true, data: { which: 0 } })
  t.strictSame(await me(ada), { userId: 'ada', data: { which: 0 } })
})

t.test('nobody is signed in where it cannot be told whom the data names', async (t) => {
  const shop = await openShop(t, { userIdFrom: ({ user }) => user.id })
  const ada = new Browser(shop.app)
  const response = await shop.login(ada, 'ada', { data: { theme: 'dark' } })
  t.equal(response.statusCode, 500)
  t.strictSame(response.setCookies, [])
  t.equal((await shop.login(ada, 'ada', { data: { user: { id: 'ada' } } })).statusCode, 200)
})

const cyclic: Record<string, unknown> = {}
cyclic.self = cyclic
const NO_JSON = 'data must be an object that JSON can hold'
const TOO_DEEP = 'session data must not be nested more than 100 levels deep'

/** What data is refused with. */
const REFUSED: Array<[data: unknown, error: { message?: string, code?: string }]> = [
  ...['x', 1, true, null, [], ['book'], () => {}, Symbol('x'), Promise.resolve({})].map((data): typeof REFUSED[number] => [data, { message: 'data must be an object' }]),
  ...[{ a: 1n }, cyclic, new Date(0), throwing('cart'), new Proxy({ cart: 1 }, { get: () => { throw new Error('no') } })].map((data): typeof REFUSED[number] => [data, { message: NO_JSON }]),
  [JSON.parse('{"a":'.repeat(101) + '1' + '}'.repeat(101)), { message: TOO_DEEP }],
  [{ a: { toJSON: () => JSON.parse('{"a":'.repeat(100) + '1' + '}'.repeat(100)) } }, { message: TOO_DEEP }],
  [JSON.parse('{"a":'.repeat(20_000) + '1' + '}'.repeat(20_000)), {}],
  ...[...RESERVED_NAMES].map((name): typeof REFUSED[number] => [JSON.parse(`{"${name}":1}`), { code: 'ERR_SESSION_RESERVED_KEY' }]),
  [{ save () {} }, { code: 'ERR_SESSION_RESERVED_KEY' }],
  [new (class { toJSON () { return { cookie: 1 } } })(), { code: 'ERR_SESSION_RESERVED_KEY' }],
  [{ a: 'x'.repeat(100_000) }, { code: 'ERR_SESSION_DATA_TOO_LARGE' }]
]

t.test('data that cannot be kept signs nobody in, and leaves the session of before as it was', async (t) => {
  const shop = await openShop(t, { bearer: true })
  let given: unknown
  await shop.app.register(authRoutes, { prefix: '/auth', verify: () => ({ id: 'ada' }), onLogin: () => ({ data: given as SessionData }) })
  const bob = await withCart(shop, 'bob')
  const before = await me(bob)
  for (const [data, error] of REFUSED) {
    given = data
    const cookie = bob.header
    const payload = { username: 'ada', password: 'x' }
    for (const response of [
      await shop.login(bob, 'ada', { data: data as SessionData }),
      await bob.post('/auth/login', payload),
      await new Browser(shop.app).post('/auth/token', payload)
    ]) {
      t.match([response.statusCode >= 400, response.json()], [true, error])
      t.strictSame(response.setCookies, [])
    }
    t.equal(bob.header, cookie)
    t.strictSame(await me(bob), before)
  }
  t.strictSame(await shop.app.sessions.listByUser('ada'), [])
})

t.test('data that is another each time it is read is stored as it was checked', async (t) => {
  const shop = await openShop(t, { userIdFrom: (data) => data.user, bearer: true })
  const ada = new Browser(shop.app)
  const fickleData = () => fickle('user', 'ada', 'bob') as SessionData
  await shop.login(ada, 'ada', { data: fickleData() })
  t.strictSame(await me(ada), { userId: 'ada', data: { user: 'ada' } })
  const { session } = await shop.app.sessions.create({ userId: 'ada', data: fickleData() })
  t.strictSame(await shop.app.sessions.data(session.id), { user: 'ada' })
  // An object whose names change: what is stored has none that is reserved.
  const names = [['cart']]
  const changing = new Proxy({}, {
    ownKeys: () => names.shift() ?? ['cookie'],
    getOwnPropertyDescriptor: () => ({ enumerable: true, configurable: true, value: 1 }),
    get: () => 1
  })
  const response = await shop.login(ada, 'ada', { data: changing })
  t.equal(response.json().code, 'ERR_SESSION_RESERVED_KEY')
})

t.test('data is copied, and is what JSON makes of it', async (t) => {
  const shop = await openShop(t)
  const ada = new Browser(shop.app)
  class Cart { items = ['book']; #secret = 1; get count () { return this.#secret } }
  const data = { cart: new Cart(), at: new Date(0), missing: undefined, not: () => {} }
  await shop.act(ada, async (request) => {
    const signingIn = shop.app.login(request, { id: 'ada' }, { data })
    data.cart.items.push('pen')
    await signingIn
  })
  t.strictSame((await me(ada)).data, { cart: { items: ['book'] }, at: '1970-01-01T00:00:00.000Z', userId: 'ada' })
})

t.test('the session object itself may be the data, and brings no CSRF secret along', async (t) => {
  const shop = await openShop(t)
  const ada = await withCart(shop)
  await shop.act(ada, ({ session }) => { session._csrf = 'of the page before' })
  for (const spread of [true, false]) {
    await shop.act(ada, async (request) => {
      const data: SessionData = spread ? { ...request.session } : request.session
      await shop.app.login(request, { id: 'ada' }, { data })
    })
    t.strictSame((await me(ada)).data, { cart: ['book'], userId: 'ada' })
  }
})

t.test('onLogin gives a session its data, with a cookie and with a token', async (t) => {
  const app = await startApp(t, { bearer: true })
  app.get('/data', { preHandler: app.authenticate }, async (request) => request.session)
  await app.register(authRoutes, authRoutesOptions({
    verify: ({ username }) => ({ id: username, roles: ['editor'] }),
    onLogin: ({ roles }) => ({ data: { roles } })
  }))
  const ada = new Browser(app)
  await ada.post('/login', { username: 'ada', password: 'x' })
  t.strictSame((await ada.get('/data')).json(), { roles: ['editor'], userId: 'ada' })
  const { token } = (await new Browser(app).post('/token', { username: 'bob', password: 'x' })).json()
  const phone = await app.inject({ url: '/data', headers: { authorization: `Bearer ${token}` } })
  t.strictSame(phone.json(), { roles: ['editor'], userId: 'bob' })
})

t.test('a request with a bearer token signs nobody in, whatever data it has', async (t) => {
  const shop = await openShop(t, { bearer: true })
  const { headers } = await shop.app.sessions.create({ userId: 'ada', kind: 'bearer', data: { theme: 'light' } })
  shop.app.post('/login', async (request) => await shop.app.login(request, { id: 'bob' }, { data: { theme: 'dark' } }))
  const response = await shop.app.inject({ method: 'POST', url: '/login', headers })
  t.equal(response.json().code, 'ERR_SESSION_UNSUPPORTED')
  t.strictSame((await shop.app.inject({ url: '/me', headers })).json(), { userId: 'ada', data: { theme: 'light', userId: 'ada' } })
})

t.test('data that does not fit sessionSchema is dropped at its first use, as any other', async (t) => {
  const shop = await openShop(t, { sessionSchema: Type.Object({ visits: Type.Integer(), cart: Type.Array(Type.String()) }) })
  const ada = new Browser(shop.app)
  await shop.login(ada, 'ada', { data: { visits: 'many', cart: ['book'] } })
  t.strictSame(await me(ada), { userId: 'ada', data: { cart: ['book'], userId: 'ada' } })
  t.match(shop.app.lines.filter(({ level }) => level === 40), [{ keys: ['visits'] }])
})

t.test('a sign-in that the store does not confirm leaves the session of before, with its data', async (t) => {
  const shop = await openShop(t)
  const bob = await withCart(shop, 'bob')
  shop.store.failing.add('begin')
  t.equal((await shop.login(bob, 'ada', { data: { theme: 'dark' } })).statusCode, 503)
  shop.store.failing.clear()
  t.strictSame(await me(bob), { userId: 'bob', data: { cart: ['book'], userId: 'bob' } })
})

t.test('what another tab saves while its owner signs in again is there, beside the data of the sign-in', async (t) => {
  const shop = await openShop(t)
  const ada = await withCart(shop, 'ada')
  const otherTab = new Browser(shop.app)
  for (const [name, value] of ada.cookies) otherTab.cookies.set(name, value)
  const gate = new Gate()
  shop.store.gates.set('begin', gate)
  const signingIn = shop.login(ada, 'ada', { data: { theme: 'dark' } })
  await gate.reached
  await shop.act(otherTab, ({ session }) => { Object.assign(session, { visits: 1, theme: 'light' }) })
  shop.store.gates.clear()
  gate.open()
  t.equal((await signingIn).statusCode, 200)
  t.strictSame((await me(ada)).data, { cart: ['book'], userId: 'ada', theme: 'dark', visits: 1 })
})
