import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { Jar, startShop } from '../helpers/express-app.ts'
import { nearSubject } from '../helpers/near.ts'
import { HOUR, MINUTE } from '../helpers/record.ts'
import { prefix, startRedis } from '../helpers/redis.ts'
import { Gate, SpyStore } from '../helpers/spy-store.ts'

const redis = await startRedis(t)

const SILENT = { config: { session: { touch: false } } }

function addRoutes (app: FastifyInstance): void {
  app.post('/in', async (request) => { await app.login(request, { id: 'ada' }) })
  app.get('/use', async (request) => ({ userId: request.auth?.userId ?? null }))
  app.get('/look', SILENT, async (request) => ({ userId: request.auth?.userId ?? null }))
  app.post('/cart', SILENT, async (request) => { request.session.cart = ['book'] })
  app.post('/touch', SILENT, async (request) => { request.session.touch() })
}

async function openShop (t: Test, options: Partial<SessionOptions> = {}) {
  let now = Date.now()
  const store = new SpyStore({ now: () => now })
  const app = await startApp(t, { idleTimeout: '30m', ...options, store })
  addRoutes(app)
  await app.register(authRoutes, { verify: ({ username }) => ({ id: username }) })
  const ada = new Browser(app)
  await ada.post('/in')
  const asked = (action: () => Promise<unknown>) => store.during(action)
  return { app, ada, store, asked, age: (ms: number) => { now += ms }, now: () => now }
}

t.test('a route with touch: false reads the session, and does not keep it alive', async (t) => {
  const { ada, asked, age } = await openShop(t)
  for (let minutes = 0; minutes < 25; minutes += 5) {
    age(5 * MINUTE)
    t.strictSame(await asked(async () => {
      const reply = await ada.get('/look')
      t.same(reply.json(), { userId: 'ada' })
      t.strictSame(reply.setCookies, [])
    }), ['find'])
  }
  age(5 * MINUTE)
  t.same((await ada.get('/look')).json(), { userId: null }, 'it ended at its idle timeout')
})

t.test('other routes extend it as ever', async (t) => {
  const { ada, asked, age } = await openShop(t)
  age(20 * MINUTE)
  t.strictSame(await asked(() => ada.get('/look')), ['find'])
  t.strictSame(await asked(() => ada.get('/use')), ['find', 'touch'])
  age(20 * MINUTE)
  t.same((await ada.get('/look')).json(), { userId: 'ada' })
})

t.test('what such a route changes is stored, and is no use', async (t) => {
  const { ada, asked, age, store } = await openShop(t)
  const id = ada.cookies.get('sid')?.split('.')[0]
  const begun = (await store.peek(id))?.lastSeenAt
  age(20 * MINUTE)
  t.strictSame(await asked(() => ada.post('/cart')), ['find', 'update'])
  t.match(await store.peek(id), { data: /book/, lastSeenAt: begun })
  age(10 * MINUTE)
  t.equal(await store.peek(id), null)
})

t.test('request.session.touch() makes it a use there', async (t) => {
  const { ada, asked, age } = await openShop(t)
  age(20 * MINUTE)
  t.strictSame(await asked(() => ada.post('/touch')), ['find', 'touch'])
  t.strictSame(await asked(() => ada.post('/touch')), ['find'], 'as often as touchAfter says')
  age(20 * MINUTE)
  t.same((await ada.get('/look')).json(), { userId: 'ada' })
})

t.test('a WebSocket route with touch: false is no use', async (t) => {
  const { ada, asked, age } = await openShop(t)
  const headers = { connection: 'Upgrade', upgrade: 'websocket' }
  age(20 * MINUTE)
  t.strictSame(await asked(() => ada.get('/look', { headers })), ['find'])
  t.strictSame(await asked(() => ada.get('/use', { headers })), ['find', 'touch'])
})

t.test('a session that is answered from memory is not extended either', async (t) => {
  const { store, age, close } = await nearSubject(t, { target: redis.url, client: redis.client })
  const app = await startApp(t, { store, idleTimeout: '30m' })
  addRoutes(app)
  const ada = new Browser(app)
  await ada.post('/in')
  await age(20 * MINUTE)
  const [first, second] = [await ada.get('/look'), await ada.get('/look')]
  t.same([first.json(), second.json()], [{ userId: 'ada' }, { userId: 'ada' }])
  await age(11 * MINUTE)
  t.same((await ada.get('/look')).json(), { userId: null })
  await close?.()
})

t.test('beside an Express app it is not extended, and its cookie is not sent again', async (t) => {
  const keyPrefix = prefix()
  const shop = await startShop(t, { redis: redis.url, keyPrefix, expressSession: 'share', touchAfter: 0 })
  const jar = new Jar()
  await jar.post(shop, '/in/ada')
  const [key] = await redis.client.keys(`${keyPrefix}*`)
  await redis.client.pexpire(key as string, 10 * MINUTE)
  const silent = await jar.get(shop, '/auth/remaining')
  t.match([silent.body, silent.setCookies], [{ authenticated: true }, []])
  t.ok(silent.body.remainingMs <= 10 * MINUTE)
  t.ok(await redis.client.pttl(key as string) <= 10 * MINUTE)
  const used = await jar.get(shop, '/me')
  t.equal(used.setCookies.length, 1)
  t.ok(await redis.client.pttl(key as string) > 10 * MINUTE)
})

t.test('a config.session that would have no effect is an error where the route is added', async (t) => {
  const app = await startApp(t)
  const WRONG: Array<[session: unknown, message: string]> = [
    [{ touch: 'false' }, 'config.session of GET /x: touch must be true or false'],
    [{ touch: null }, 'config.session of GET /x: touch must be true or false'],
    [{ csrf: 0 }, 'config.session of GET /x: csrf must be true or false'],
    [{ tuoch: false }, 'config.session of GET /x must have no members but csrf, touch'],
    ['false', 'config.session of GET /x must be false or an object'],
    [['touch'], 'config.session of GET /x must be false or an object'],
    [0, 'config.session of GET /x must be false or an object']
  ]
  for (const [session, message] of WRONG) {
    t.throws(() => app.get('/x', { config: { session } as object }, async () => ''), { code: 'ERR_SESSION_INVALID_OPTIONS', message: new RegExp(message) })
  }
  const RIGHT = [false, true, undefined, null, {}, { csrf: undefined, touch: undefined }, { csrf: false, touch: false }, { touch: true }]
  for (const [index, session] of RIGHT.entries()) app.get(`/${index}`, { config: { session } as object }, async () => '')
  await app.ready()
})

t.test('GET /remaining says how long the session lives, and does not extend it', async (t) => {
  const { ada, asked, age, now } = await openShop(t, { absoluteTimeout: '45m' })
  const begun = now()
  const remaining = async () => (await ada.get('/remaining')).json()
  t.strictSame(await remaining(), { authenticated: true, remainingMs: 30 * MINUTE, longestMs: 45 * MINUTE, expiresAt: begun + 30 * MINUTE, endsAt: begun + 45 * MINUTE })
  for (let minutes = 1; minutes < 30; minutes++) {
    age(MINUTE)
    t.strictSame(await asked(async () => t.match(await remaining(), { remainingMs: (30 - minutes) * MINUTE, longestMs: (45 - minutes) * MINUTE })), ['find'])
  }
  await ada.get('/info')
  t.match(await remaining(), { remainingMs: 16 * MINUTE, longestMs: 16 * MINUTE }, 'GET /info is a use; the absolute timeout comes first')
  age(16 * MINUTE)
  t.strictSame(await remaining(), { authenticated: false })
})

t.test('its times are those of the store\'s clock, and whole', async (t) => {
  const { ada, age } = await openShop(t)
  age(-30 * 365 * 24 * HOUR)
  t.ok((await ada.get('/remaining')).json().remainingMs > 30 * MINUTE)
  age(30 * 365 * 24 * HOUR + 0.5)
  t.equal((await ada.get('/remaining')).json().remainingMs, 30 * MINUTE - 1)
})

t.test('its replies are private, and say so of a visitor and of an outage', async (t) => {
  const { app, ada, store } = await openShop(t)
  const signedIn = await ada.get('/remaining')
  const visitor = await new Browser(app).get('/remaining')
  const anonymous = new Browser(app)
  await anonymous.post('/cart')
  store.failing.add('find')
  const out = await ada.get('/remaining')
  store.failing.clear()
  t.strictSame(visitor.json(), { authenticated: false })
  t.strictSame((await anonymous.get('/remaining')).json(), { authenticated: false })
  t.same([out.statusCode, out.json().code], [503, 'ERR_SESSION_STORE_UNAVAILABLE'])
  for (const { headers } of [signedIn, visitor, out]) t.match(headers, { 'cache-control': 'no-store', vary: 'Cookie' })
})

t.test('a session that ends while it is asked for is not said to live', async (t) => {
  const { ada, store, age } = await openShop(t)
  const gate = new Gate()
  store.gates.set('find', gate)
  const asking = ada.get('/remaining')
  await gate.reached
  age(30 * MINUTE)
  gate.open()
  t.strictSame((await asking).json(), { authenticated: false })
})
