import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, MemoryStore, SessionManager } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import type { TestResponse } from '../helpers/app.ts'
import { prefix, startRedis } from '../helpers/redis.ts'

const redis = await startRedis(t)
const KB = 1024
const TOO_LARGE = { statusCode: 413, code: 'ERR_SESSION_DATA_TOO_LARGE', error: 'Payload Too Large', message: 'Too much data for one session' }

/** What a test does within a request of its own. */
type Action = (request: FastifyRequest) => unknown

interface Shop {
  app: FastifyInstance
  /** Has a browser send a request that does something. */
  act: (browser: Browser, action: Action) => Promise<TestResponse>
  /** What `request.session` holds. */
  held: (browser: Browser) => Promise<Record<string, unknown>>
  /** ada's browser, signed in. */
  signIn: () => Promise<Browser>
}

async function openShop (t: Test, options: Partial<SessionOptions> = {}): Promise<Shop> {
  const app = await startApp(t, { redis: redis.url, keyPrefix: prefix(), ...options })
  let action: Action = () => null
  app.post('/do', async (request) => ({ result: await action(request) ?? null }))
  app.get('/held', async (request) => request.session)
  const act: Shop['act'] = async (browser, doing) => {
    action = doing
    return await browser.post('/do')
  }
  return {
    app,
    act,
    held: async (browser) => (await browser.get('/held')).json(),
    signIn: async () => {
      const ada = new Browser(app)
      await act(ada, (request) => app.login(request, { id: 'ada' }))
      return ada
    }
  }
}

/** The id of the session a browser holds. */
function idOf (browser: Browser): string {
  return browser.cookies.get('sid')?.split('.')[0] ?? ''
}

/** What is stored, made larger than is allowed, as it may be from before there was a limit. */
async function makeLarge ({ app }: Shop, keyPrefix: string, browser: Browser, bytes: number): Promise<void> {
  const key = keyPrefix + idOf(browser)
  const [head = ''] = (await redis.client.get(key) ?? '').split('\n')
  await redis.client.set(key, `${head}\n${JSON.stringify({ userId: 'ada', cart: 'x'.repeat(bytes), visits: 1 })}`, 'KEEPTTL')
  if (await app.sessions.data(idOf(browser)) === null) throw new Error('it cannot be read')
}

t.test('data that is too large is refused with 413 when the request ends, and the session stays as it was', async (t) => {
  const shop = await openShop(t)
  const ada = await shop.signIn()
  await shop.act(ada, ({ session }) => { session.cart = ['book'] })
  const response = await shop.act(ada, ({ session }) => {
    session.cart = 'x'.repeat(64 * KB)
    session.visits = 1
  })
  t.strictSame(response.json(), TOO_LARGE)
  t.strictSame(response.setCookies, [])
  t.strictSame(await shop.held(ada), { userId: 'ada', cart: ['book'] })
})

t.test('who saves by hand is told at once, and may take out again what is too much', async (t) => {
  const shop = await openShop(t)
  const ada = await shop.signIn()
  const response = await shop.act(ada, async ({ session }) => {
    session.cart = 'x'.repeat(64 * KB)
    await t.rejects(session.save(), { code: TOO_LARGE.code, statusCode: 413 })
    session.cart = ['book']
  })
  t.equal(response.statusCode, 200)
  t.strictSame(await shop.held(ada), { userId: 'ada', cart: ['book'] })
})

t.test('the limit is in bytes of JSON in UTF-8, to the byte', async (t) => {
  for (const [letter, bytes] of [['x', 1], ['é', 2], ['€', 3], ['😀', 4], ['"', 2]] as const) {
    const shop = await openShop(t, { maxDataSize: 2 * KB })
    const ada = await shop.signIn()
    const rest = Buffer.byteLength(JSON.stringify({ userId: 'ada', cart: '' }))
    const most = Math.floor((2 * KB - rest) / bytes)
    const fill = 'y'.repeat((2 * KB - rest) % bytes)
    t.equal((await shop.act(ada, ({ session }) => { session.cart = letter.repeat(most) + fill })).statusCode, 200, letter)
    t.equal((await shop.act(ada, ({ session }) => { session.cart = letter.repeat(most) + fill + 'y' })).statusCode, 413, letter)
    t.equal((await shop.held(ada)).cart, letter.repeat(most) + fill)
  }
})

t.test('nobody is signed in, and nothing kept, by what is too large', async (t) => {
  const shop = await openShop(t)
  const attempts: Action[] = [
    ({ session }) => { session.cart = 'x'.repeat(64 * KB) },
    ({ session }) => { Object.assign(session, { userId: 'ada', cart: 'x'.repeat(64 * KB) }) },
    async (request) => {
      request.session.cart = 'x'.repeat(64 * KB)
      await shop.app.login(request, { id: 'ada' }, { keep: true })
    },
    async (request) => {
      request.session.cart = 'x'.repeat(64 * KB)
      await request.session.regenerate(['cart'])
    }
  ]
  for (const [index, attempt] of attempts.entries()) {
    const browser = new Browser(shop.app)
    t.strictSame((await shop.act(browser, attempt)).json(), TOO_LARGE, String(index))
    t.equal(browser.cookies.size, 0)
  }
  t.strictSame(await shop.app.sessions.listByUser('ada'), [])
  const ids: string[] = []
  for await (const { id } of shop.app.sessions.listAll()) ids.push(id)
  t.strictSame(ids, [])
})

t.test('a visitor\'s session stays theirs where too much would come along at a sign-in', async (t) => {
  const shop = await openShop(t)
  const visitor = new Browser(shop.app)
  await shop.act(visitor, ({ session }) => { session.cart = 'x'.repeat(60 * KB) })
  const before = visitor.header
  t.equal((await shop.act(visitor, async (request) => {
    request.session.visits = 'x'.repeat(10 * KB)
    await shop.app.login(request, { id: 'ada' }, { keep: ['cart', 'visits'] })
  })).statusCode, 413)
  t.equal(visitor.header, before)
  t.strictSame(Object.keys(await shop.held(visitor)), ['cart'])
  t.equal((await shop.act(visitor, (request) => shop.app.login(request, { id: 'ada' }, { keep: true }))).statusCode, 200)
  t.strictSame(Object.keys(await shop.held(visitor)).sort(), ['cart', 'userId'])
})

t.test('a session that would grow too large on its way to another id stays under the one it has', async (t) => {
  const shop = await openShop(t)
  const ada = await shop.signIn()
  const before = ada.header
  t.equal((await shop.act(ada, async ({ session }) => {
    session.cart = 'x'.repeat(64 * KB)
    await session.regenerate(['userId', 'cart'])
  })).statusCode, 413)
  t.equal(ada.header, before)
  t.strictSame(await shop.held(ada), { userId: 'ada' })
})

t.test('app.sessions refuses it as well', async (t) => {
  const shop = await openShop(t)
  const { sessions } = shop.app
  await t.rejects(sessions.create({ userId: 'ada', data: { cart: 'x'.repeat(64 * KB) } }), { code: TOO_LARGE.code, statusCode: 413 })
  t.strictSame(await sessions.listByUser('ada'), [])
  const { session: { id } } = await sessions.create({ userId: 'ada', data: { cart: 1 } })
  await t.rejects(sessions.update(id, (data) => ({ ...data, cart: 'x'.repeat(64 * KB) })), { code: TOO_LARGE.code })
  t.strictSame(await sessions.data(id), { cart: 1, userId: 'ada' })
  const alone = new SessionManager({ store: new MemoryStore(), secret, maxDataSize: KB })
  t.teardown(() => alone.close())
  await t.rejects(alone.create({ userId: 'ada', data: { cart: 'x'.repeat(KB) } }), { code: TOO_LARGE.code })
})

t.test('the routes that sign in say so in the words they promise', async (t) => {
  const shop = await openShop(t)
  await shop.app.register(authRoutes, {
    verify: ({ username }) => ({ id: username }),
    onLogin: (_user, _body, request) => {
      request.session.cart = 'x'.repeat(64 * KB)
      return { keep: true }
    }
  })
  const response = await new Browser(shop.app).post('/login', { username: 'ada', password: 'x' })
  t.strictSame([response.statusCode, response.json()], [413, TOO_LARGE])
})

t.test('a session that is larger than that already is read, goes on, and may shrink but not grow', async (t) => {
  for (const encryption of [undefined, { keys: [secret], acceptPlain: true }]) {
    const keyPrefix = prefix()
    const shop = await openShop(t, { keyPrefix, ...encryption && { encryption } })
    const ada = await shop.signIn()
    await makeLarge(shop, keyPrefix, ada, 200 * KB)
    for (let visit = 0; visit < 3; visit++) t.equal(String((await shop.held(ada)).cart).length, 200 * KB)
    t.equal((await shop.act(ada, ({ session }) => { session.visits = 2 })).statusCode, 200, 'what is no larger may change')
    t.equal((await shop.act(ada, ({ session }) => { session.more = 1 })).statusCode, 413)
    t.equal((await shop.act(ada, (request) => request.session.regenerate(['userId', 'cart', 'visits']))).statusCode, 200, 'it may move')
    t.equal((await shop.act(ada, (request) => shop.app.login(request, { id: 'ada' }))).statusCode, 200, 'who signs in again keeps it')
    t.equal(String((await shop.held(ada)).cart).length, 200 * KB)
    t.equal((await shop.act(ada, ({ session }) => { session.cart = 'x'.repeat(100 * KB) })).statusCode, 200)
    t.equal((await shop.act(ada, ({ session }) => { session.cart = 'x'.repeat(101 * KB) })).statusCode, 413)
    t.equal((await shop.act(ada, ({ session }) => { session.cart = 'small' })).statusCode, 200)
    t.equal((await shop.act(ada, ({ session }) => { session.cart = 'x'.repeat(64 * KB) })).statusCode, 413)
    t.match(await shop.held(ada), { userId: 'ada', cart: 'small', visits: 2 })
  }
})
