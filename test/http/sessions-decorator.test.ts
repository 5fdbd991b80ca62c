import t from 'tap'
import type { Test } from 'tap'
import type { JsonObject, SessionInfo, SessionOptions } from '../../lib/index.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import { openManager } from '../helpers/managers.ts'
import { MINUTE } from '../helpers/record.ts'
import { prefix, startRedis } from '../helpers/redis.ts'
import { openStore } from '../helpers/redis-store.ts'
import { SpyStore } from '../helpers/spy-store.ts'

const redis = await startRedis(t)

/** An application in which one signs in by `app.login` and by assigning `request.session.userId`. */
async function openShop (t: Test, options: Partial<SessionOptions> = {}) {
  let now = 1_700_000_000_000
  const store = new SpyStore({ now: () => now })
  const app = await startApp(t, { store, bearer: true, ...options })
  app.post('/login', async (request) => await app.login(request, { id: 'ada' }))
  app.post('/assign', async (request) => { request.session.userId = 'ada' })
  app.post('/cart', async (request) => { request.session.cart = ['book'] })
  app.post('/logout', async (request) => await app.logout(request))
  app.get('/me', { preHandler: app.authenticate }, async (request) => ({ auth: request.auth, data: { ...request.session, cookie: undefined } }))
  return { app, store, age: (ms: number) => { now += ms }, sessions: app.sessions }
}

async function signIn (browser: Browser, url: '/login' | '/assign'): Promise<string> {
  await browser.post(url)
  return browser.cookies.get('sid') as string
}

t.test('a session is the same, however it was begun', async (t) => {
  const shop = await openShop(t)
  const { sessions } = shop
  const agent = { headers: { 'user-agent': '' } }
  const found: Array<SessionInfo | null> = []
  for (const url of ['/login', '/assign'] as const) {
    const ada = new Browser(shop.app)
    await ada.post(url, undefined, agent)
    found.unshift(await sessions.find(ada.cookies.get('sid') as string))
    t.strictSame((await ada.get('/me')).json<{ auth: unknown }>().auth, found[0], url)
    t.strictSame(await sessions.data(found[0]?.id as string), { userId: 'ada' })
    shop.age(1000)
  }
  const created = await sessions.create({ userId: 'ada' })
  found.unshift(created.session)
  t.strictSame(await sessions.data(created.session.id), { userId: 'ada' })
  t.strictSame(await sessions.listByUser('ada'), found, 'all are listed')
  const [first, ...others] = found.map((info) => ({ ...info, id: 0, createdAt: 0, authenticatedAt: 0, lastSeenAt: 0, expiresAt: 0, endsAt: 0, ip: 0, userAgent: 0 }))
  for (const other of others) t.strictSame(other, first)
})

t.test('a created session signs a request in', async (t) => {
  const { app, sessions } = await openShop(t)
  for (const kind of ['cookie', 'bearer'] as const) {
    const { headers } = await sessions.create({ userId: 'ada', kind, data: { cart: ['book'] } })
    const response = await app.inject({ url: '/me', headers })
    t.match(response.json(), { auth: { userId: 'ada', kind }, data: { userId: 'ada', cart: ['book'] } })
  }
})

t.test('a browser that is given the token of a created session goes on with it', async (t) => {
  const { app, sessions } = await openShop(t)
  const { token, session } = await sessions.create({ userId: 'ada', label: 'invitation' })
  const ada = new Browser(app)
  ada.cookies.set('sid', token)
  await ada.post('/cart')
  t.strictSame(await sessions.data(session.id), { userId: 'ada', cart: ['book'] })
  await ada.post('/login')
  t.equal(await sessions.get(session.id), null, 'a login replaces it')
  t.match(await sessions.find(ada.cookies.get('sid') as string), { label: 'invitation' })
  await ada.post('/logout')
  t.strictSame(await sessions.listByUser('ada'), [])
})

t.test('a session is found by its cookie wherever that is seen', async (t) => {
  const { app, sessions } = await openShop(t)
  app.get('/raw', { config: { session: false } }, async (request) => [await sessions.fromRequest(request), await sessions.fromRequest(request.raw)].map((info) => info?.userId))
  for (const url of ['/login', '/assign'] as const) {
    const ada = new Browser(app)
    const cookie = await signIn(ada, url)
    t.match(await sessions.find(cookie), { userId: 'ada' })
    t.match(await sessions.fromCookieHeader(ada.header), { userId: 'ada' })
    t.match(await sessions.fromCookieHeader(`theme=dark; ${ada.header}`), { userId: 'ada' })
    t.match(await sessions.fromRequest({ headers: { cookie: ada.header } }), { userId: 'ada' })
    t.match(await sessions.fromRequest(new Request('http://localhost/', { headers: { cookie: ada.header } })), { userId: 'ada' })
  }
  const ada = new Browser(app)
  await signIn(ada, '/login')
  t.strictSame((await ada.get('/raw')).json(), ['ada', 'ada'], 'also where the plugin loads none')
})

t.test('what app.sessions changes is in the next request', async (t) => {
  const { app, sessions } = await openShop(t)
  const ada = new Browser(app)
  const { id } = await sessions.find(await signIn(ada, '/assign')) as SessionInfo
  t.strictSame(await sessions.update(id, (data) => { data.cart = ['book'] }), { userId: 'ada', cart: ['book'] })
  t.match((await ada.get('/me')).json(), { data: { userId: 'ada', cart: ['book'] } })
  await sessions.revoke(id)
  t.equal((await ada.get('/me')).statusCode, 401)
})

t.test('what app.sessions changes during a request is not undone by it', async (t) => {
  const { app, sessions } = await openShop(t)
  app.post('/both', async (request) => {
    request.session.cart = ['book']
    await sessions.update(request.requireAuth().id, (data) => { data.visits = 1 })
  })
  app.post('/ended', async (request) => {
    request.session.cart = ['book']
    await sessions.revoke(request.requireAuth().id)
  })
  const ada = new Browser(app)
  const { id } = await sessions.find(await signIn(ada, '/login')) as SessionInfo
  await ada.post('/both')
  t.strictSame(await sessions.data(id), { userId: 'ada', cart: ['book'], visits: 1 })
  await ada.post('/ended')
  t.equal(await sessions.get(id), null)
  t.strictSame(await sessions.listByUser('ada'), [])
})

t.test('a session lasts for app.sessions as long as it does for requests', async (t) => {
  const shop = await openShop(t, { idleTimeout: '10m' })
  const ada = new Browser(shop.app)
  const cookie = await signIn(ada, '/login')
  for (let round = 0; round < 3; round++) {
    shop.age(9 * MINUTE)
    t.equal((await ada.get('/me')).statusCode, 200, 'a request is a use')
    shop.age(9 * MINUTE)
    t.ok(await shop.sessions.find(cookie, { touch: true }), 'and so is this')
  }
  shop.age(9 * MINUTE)
  t.ok(await shop.sessions.find(cookie), 'a look is not')
  shop.age(MINUTE)
  t.equal((await ada.get('/me')).statusCode, 401)
  t.equal(await shop.sessions.find(cookie), null)
})

t.test('the limit of sessions counts them all, however they were begun', async (t) => {
  const { app, sessions, age } = await openShop(t, { maxSessionsPerUser: 2 })
  const [first, second] = [new Browser(app), new Browser(app)]
  await signIn(first, '/login')
  age(1)
  await signIn(second, '/assign')
  age(1)
  await sessions.create({ userId: 'ada' })
  t.equal((await first.get('/me')).statusCode, 401)
  t.equal((await second.get('/me')).statusCode, 200)
  t.equal((await sessions.listByUser('ada')).length, 2)
})

t.test('app.sessions has the name that is asked for', async (t) => {
  const app = await startApp(t, { store: new SpyStore(), decorators: { sessions: 'people' } })
  t.notOk(app.hasDecorator('sessions'))
  const { people } = app as unknown as { people: typeof app.sessions }
  t.equal((await people.create({ userId: 'ada' })).session.userId, 'ada')
})

t.test('a worker without Fastify shares its sessions with the application', async (t) => {
  const keyPrefix = prefix()
  const app = await startApp(t, { redis: redis.url, keyPrefix })
  app.post('/assign', async (request) => { request.session.userId = 'ada' })
  app.get('/me', async (request) => request.auth?.userId ?? 'nobody')
  const worker = openManager(t, { store: await openStore(t, redis.url, { prefix: keyPrefix }) })
  const ada = new Browser(app)
  const mine = await worker.find(await signIn(ada, '/assign')) as SessionInfo
  t.match(mine, { userId: 'ada' })
  const { headers, session } = await worker.create({ userId: 'ada', data: { cart: 1 } satisfies JsonObject })
  t.equal((await app.inject({ url: '/me', headers })).body, 'ada')
  t.strictSame((await app.sessions.listByUser('ada')).map(({ id }) => id).sort(), [mine.id, session.id].sort())
  t.equal(await worker.revokeUser('ada'), 2)
  t.equal((await ada.get('/me')).body, 'nobody')
  t.equal((await app.inject({ url: '/me', headers })).body, 'nobody')
  t.notMatch(JSON.stringify([mine, session]), secret)
})
