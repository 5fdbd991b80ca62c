import rateLimit from '@fastify/rate-limit'
import type { RateLimitPluginOptions } from '@fastify/rate-limit'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, sessionPlugin } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import { prefix, startRedis } from '../helpers/redis.ts'
import { keysOf } from '../helpers/redis-store.ts'

const redis = await startRedis(t)

/** Three requests each to `/news`, by user, or by address for whoever is not signed in. */
async function startNews (t: Test, limits: RateLimitPluginOptions = {}, options: Partial<SessionOptions> = {}) {
  const app = await startApp(t, options)
  await app.register(authRoutes, { verify: ({ username }) => ({ id: username }) })
  // What is registered from here on is limited.
  await app.register(rateLimit, { max: 3, timeWindow: '1 minute', keyGenerator: (request) => request.auth?.userId ?? request.ip, ...limits })
  app.get('/news', async (request) => request.auth?.userId ?? 'visitor')
  const open = async (username?: string): Promise<Browser> => {
    const browser = new Browser(app)
    if (username !== undefined) await browser.post('/login', { username, password: 'x' })
    return browser
  }
  return { app, open }
}

/** What the next requests of a browser are answered with. */
async function statuses (browser: Browser, count: number): Promise<number[]> {
  const codes: number[] = []
  for (let request = 0; request < count; request++) codes.push((await browser.get('/news')).statusCode)
  return codes
}

for (const hook of ['onRequest', 'preHandler'] as const) {
  t.test(`people are limited one by one, wherever they are (${hook})`, async (t) => {
    const { open } = await startNews(t, { hook })
    const [ada, elsewhere, bob, visitor, another] = [await open('ada'), await open('ada'), await open('bob'), await open(), await open()]
    t.strictSame(await statuses(ada, 2), [200, 200])
    t.strictSame(await statuses(elsewhere, 2), [200, 429], 'ada has one limit in two browsers')
    t.strictSame(await statuses(bob, 4), [200, 200, 200, 429])
    t.strictSame(await statuses(visitor, 3), [200, 200, 200])
    t.strictSame(await statuses(another, 1), [429], 'visitors share the limit of their address')
  })
}

t.test('it may be registered before the plugin', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(rateLimit, { max: 3, keyGenerator: (request) => request.auth?.userId ?? request.ip })
  await app.register(sessionPlugin, { secret, cookie: { secure: false } })
  app.post('/login/:id', async (request) => { await app.login(request, request.params as { id: string }) })
  app.get('/news', async () => 'news')
  const [ada, bob] = [new Browser(app), new Browser(app)]
  await ada.post('/login/ada')
  await bob.post('/login/bob')
  t.strictSame(await statuses(ada, 4), [200, 200, 200, 429])
  t.strictSame(await statuses(bob, 4), [200, 200, 200, 429])
})

t.test('signing in is limited by address, whoever is tried', async (t) => {
  const { app } = await startNews(t)
  await app.register(authRoutes, { prefix: '/limited', verify: () => null })
  const tries: number[] = []
  for (const username of ['ada', 'bob', 'eve', 'ada']) tries.push((await new Browser(app).post('/limited/login', { username, password: 'x' })).statusCode)
  t.strictSame(tries, [401, 401, 401, 429])
})

t.test('a route without sessions has a key of its own', async (t) => {
  const { app, open } = await startNews(t)
  app.get('/plain', { config: { session: false } }, async () => 'plain')
  app.get('/metrics', { config: { session: false, rateLimit: { keyGenerator: (request) => request.ip } } }, async () => 'metrics')
  const ada = await open('ada')
  t.equal((await ada.get('/plain')).json().code, 'ERR_SESSION_SKIPPED')
  t.equal((await ada.get('/metrics')).body, 'metrics')
})

t.test('its counters and our sessions live in one Redis', async (t) => {
  const [counters, sessions] = [prefix(), prefix()]
  const client = new Redis(redis.url)
  t.teardown(() => client.disconnect())
  const { app, open } = await startNews(t, { redis: client, nameSpace: counters }, { redis: client, keyPrefix: sessions })
  const [ada, bob] = [await open('ada'), await open('bob')]
  t.strictSame(await statuses(ada, 4), [200, 200, 200, 429])
  t.strictSame(await statuses(bob, 1), [200])
  t.strictSame(await keysOf(redis.client, counters), [`${counters}ada`, `${counters}bob`])
  t.equal((await redis.client.keys(`${sessions}*`)).length, 2)
  await app.close()
  t.equal(await client.ping(), 'PONG', 'the client is still its owner\'s')
})
