import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { SessionOptions } from '../../lib/index.ts'
import { newId, newToken, Signature } from '../../lib/session/token.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import type { LogLine, TestResponse } from '../helpers/app.ts'
import { record } from '../helpers/record.ts'
import { SpyStore } from '../helpers/spy-store.ts'

// Other tests of the same program say what `user` is to them.
type Action = (request: Omit<FastifyRequest, 'session'> & { session: any }) => unknown

interface Shop { app: FastifyInstance & { lines: LogLine[] }, store: SpyStore, act: (browser: Browser, action: Action) => Promise<TestResponse> }

async function open (t: Test, options: Partial<SessionOptions> = {}): Promise<Shop> {
  const store = new SpyStore()
  const app = await startApp(t, { store, ...options })
  let action: Action = () => {}
  app.get('/me', async (request) => ({ userId: request.auth?.userId ?? null, data: request.session }))
  app.post('/do', async (request, reply) => {
    const result = await action(request)
    if (typeof result === 'number') reply.code(result)
    return {}
  })
  return {
    app,
    store,
    act: async (browser, next) => {
      action = next
      return await browser.post('/do')
    }
  }
}

async function me (browser: Browser): Promise<{ userId: string | null, data: Record<string, unknown> }> {
  return (await browser.get('/me')).json()
}

function idOf (browser: Browser): string | undefined {
  return browser.cookies.get('sid')?.split('.')[0]
}

async function signedIn ({ app, act }: Shop, user: unknown = { id: 7, name: 'Ada' }): Promise<Browser> {
  const browser = new Browser(app)
  await act(browser, ({ session }) => { session.user = user })
  return browser
}

t.test('session.user with an id signs in, under a new session id', async (t) => {
  const shop = await open(t)
  const seen: unknown[] = []
  for (const id of ['ada', 7]) {
    const ada = new Browser(shop.app)
    await shop.act(ada, ({ session }) => { session.cart = ['book'] })
    const before = idOf(ada)
    await shop.act(ada, ({ session }) => { session.user = { id, name: 'Ada' } })
    seen.push([(await me(ada)).userId, idOf(ada) !== before, (await me(ada)).data, await shop.app.sessions.revokeUser(id), (await me(ada)).userId])
  }
  t.strictSame(seen, ['ada', 7].map((id) => [String(id), true, { cart: ['book'], user: { id, name: 'Ada' } }, 1, null]))
})

t.test('the same id again, as a profile page writes it, is no sign-in', async (t) => {
  const shop = await open(t)
  const ada = await signedIn(shop)
  const before = idOf(ada)
  await shop.act(ada, ({ session }) => { session.user = { id: 7, name: 'Ada Lovelace' } })
  await shop.act(ada, ({ session }) => { session.user.name = 'Countess' })
  t.equal(idOf(ada), before)
  t.strictSame(await me(ada), { userId: '7', data: { user: { id: 7, name: 'Countess' } } })
})

t.test('another id is another user, who gets nothing of the first', async (t) => {
  const shop = await open(t)
  const browser = await signedIn(shop)
  await shop.act(browser, ({ session }) => { session.cart = ['book'] })
  const before = idOf(browser)
  await shop.act(browser, ({ session }) => { session.user = { id: 8 } })
  t.not(idOf(browser), before)
  t.strictSame(await me(browser), { userId: '8', data: { user: { id: 8 } } })
})

t.test('a user who goes signs out', async (t) => {
  const shop = await open(t)
  const ways: Record<string, Action> = {
    delete: ({ session }) => { delete session.user },
    null: ({ session }) => { session.user = null },
    'no id any more': ({ session }) => { session.user = { name: 'Ada' } },
    'the id alone': ({ session }) => { delete session.user.id }
  }
  for (const [way, action] of Object.entries(ways)) {
    const ada = await signedIn(shop)
    const id = idOf(ada)
    t.match((await shop.act(ada, action)).setCookies, [/^sid=; Max-Age=0;/], way)
    t.equal(await shop.store.peek(id), null, way)
  }
})

t.test('an error reply signs nobody in, and keeps what else was changed', async (t) => {
  const shop = await open(t)
  const visitor = new Browser(shop.app)
  await shop.act(visitor, ({ session }) => {
    session.user = { id: 7 }
    session.attempts = 1
    return 401
  })
  t.strictSame(await me(visitor), { userId: null, data: { attempts: 1 } })
  const ada = await signedIn(shop)
  await shop.act(ada, ({ session }) => {
    session.user = { id: 8 }
    session.attempts = 1
    return 401
  })
  t.strictSame(await me(ada), { userId: '7', data: { user: { id: 7, name: 'Ada' }, attempts: 1 } })
})

t.test('where both are there userId says who it is, and taking it out signs out', async (t) => {
  const shop = await open(t)
  const both = await signedIn(shop, { id: 7 })
  await shop.act(both, ({ session }) => { session.userId = 'ada' })
  t.equal((await me(both)).userId, 'ada')
  await shop.act(both, ({ session }) => { session.user = { id: 8 } })
  t.equal((await me(both)).userId, 'ada')
  await shop.act(both, ({ session }) => { session.userId = null })
  t.strictSame(await me(both), { userId: null, data: {} })
})

t.test('whom an older version left in the data without signing them in signs in when assigned again', async (t) => {
  const shop = await open(t)
  const id = newId()
  const { token, secretHash } = newToken(id)
  await shop.store.begin(record({ id, secretHash, userId: null, data: '{"user":{"id":7},"cart":["book"]}' }))
  const ada = new Browser(shop.app)
  ada.cookies.set('sid', new Signature([secret]).sign(token))
  await shop.act(ada, ({ session }) => { session.visits = 1 })
  t.equal((await me(ada)).userId, null, 'something else does not')
  await shop.act(ada, ({ session }) => { session.user = { id: 7 } })
  t.strictSame(await me(ada), { userId: '7', data: { user: { id: 7 }, cart: ['book'], visits: 1 } })
})

t.test('what looks signed in and signs nobody in is warned of once, by its name', async (t) => {
  const looks: Record<string, unknown> = {
    user: { name: 'Ada' },
    passport: { user: 42 },
    authenticated: true,
    isLoggedIn: true,
    loggedin: true,
    isAuth: true,
    user_id: 42,
    uid: 'ada',
    username: 'ada'
  }
  const told: unknown[] = []
  for (const [key, value] of Object.entries(looks)) {
    const shop = await open(t)
    await Promise.all([1, 2].map(() => shop.act(new Browser(shop.app), ({ session }) => { session[key] = value })))
    told.push(shop.app.lines.filter(({ level }) => level === 40).map(({ msg }) => [msg.includes(`request.session.${key} `), msg.includes('userIdFrom')]))
  }
  t.strictSame(told, Object.keys(looks).map(() => [[true, true]]))
})

t.test('a sign-in that is taken back, as its reply is an error, is no reason for that warning', async (t) => {
  const shop = await open(t)
  const visitor = new Browser(shop.app)
  await shop.act(visitor, ({ session }) => { session.cart = ['book'] })
  await shop.act(visitor, ({ session }) => {
    session.userId = 'ada'
    throw Object.assign(new Error('locked'), { statusCode: 403 })
  })
  t.strictSame(await me(visitor), { userId: null, data: { cart: ['book'] } })
  t.strictSame(shop.app.lines.filter(({ level }) => level === 40).map(({ msg }) => msg), [])
})

t.test('a userIdFrom that is async is an error that says so, and its rejection ends no process', async (t) => {
  for (const userIdFrom of [async () => 'ada', async () => { throw new Error('no database') }]) {
    const shop = await open(t, { userIdFrom })
    const visitor = new Browser(shop.app)
    await shop.act(visitor, ({ session }) => { session.user = { id: 7 } })
    t.strictSame(await me(visitor), { userId: null, data: {} }, 'nothing is stored')
    t.ok(shop.app.lines.some(({ level, err }) => level === 50 && /userIdFrom .* no promise/.test((err as Error).message)))
  }
})

t.test('whom the data names is read from it as it is stored', async (t) => {
  const document = (_id: string): unknown => Object.defineProperty({ _id: { toJSON: () => _id } }, 'id', { get: () => _id })
  const shop = await open(t)
  const ada = await signedIn(shop, document('5f1'))
  t.strictSame(await me(ada), { userId: null, data: { user: { _id: '5f1' } } }, 'the id is not stored: it would be gone with the next request')
  t.equal(shop.app.lines.filter(({ msg }) => msg.includes('request.session.user ')).length, 1, 'and that is told')

  const mended = await open(t, { userIdFrom: ({ user }) => (user as { _id?: unknown } | undefined)?._id })
  const browser = await signedIn(mended, document('5f1'))
  await mended.act(browser, ({ session }) => { session.cart = ['book'] })
  t.equal((await me(browser)).userId, '5f1')
  await mended.act(browser, ({ session }) => { session.user = document('5f2') })
  t.strictSame(await me(browser), { userId: '5f2', data: { user: { _id: '5f2' } } }, 'another gets nothing of the first')
  await mended.act(browser, ({ session }) => { delete session.user })
  t.equal((await me(browser)).userId, null)
})

t.test('an id that is a bigint signs in, and is text in the data', async (t) => {
  const shop = await open(t)
  const ada = await signedIn(shop, { id: 7n, name: 'Ada' })
  t.strictSame(await me(ada), { userId: '7', data: { user: { id: '7', name: 'Ada' } } })
})

t.test('nobody is warned of a session that is signed in, or whose user is kept elsewhere', async (t) => {
  const shop = await open(t)
  const ada = await signedIn(shop)
  await shop.act(ada, ({ session }) => { session.authenticated = true })
  const elsewhere = await open(t, { userIdFrom: ({ passport }) => passport })
  await shop.act(new Browser(shop.app), ({ session }) => { session.authenticated = false })
  await elsewhere.act(new Browser(elsewhere.app), ({ session }) => { session.user = { name: 'Ada' } })
  t.strictSame([...shop.app.lines, ...elsewhere.app.lines].filter(({ level }) => level >= 40), [])
})
