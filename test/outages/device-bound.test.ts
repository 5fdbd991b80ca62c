import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { SessionOptions } from '../../lib/index.ts'
import { startApp } from '../helpers/app.ts'
import { BoundBrowser } from '../helpers/bound-browser.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { openStore } from '../helpers/redis-store.ts'
import { startWire } from '../helpers/wire.ts'

withRealLimits(t)

/** How long a request waits for the store, and how much longer it may take on a busy machine. */
const WAIT_MS = 600
const BUSY_MS = 400

async function startService (t: Test, options: Partial<SessionOptions>): Promise<FastifyInstance> {
  const app = await startApp(t, { deviceBound: true, cookie: { secure: true }, ...options.store === undefined && { keyPrefix: prefix() }, ...options }, { trustProxy: '127.0.0.1' })
  app.post('/login', async (request) => await app.login(request, { id: 'ada' }))
  app.get('/me', { preHandler: app.authenticate }, async (request) => ({ user: request.requireAuth().userId, bound: request.requireAuth().deviceBound }))
  return app
}

async function signIn (app: FastifyInstance, { bound = false }: { bound?: boolean } = {}): Promise<BoundBrowser> {
  const browser = new BoundBrowser(app)
  await until('the sign-in', async () => (await browser.post('/login')).statusCode === 200)
  if (bound) await until('the registration', async () => (await browser.register({ newly: false })).statusCode === 200)
  return browser
}

/** That it is told 503, in time, and that its browser keeps all that it has. */
async function isPutOff (t: Test, browser: BoundBrowser, action: () => Promise<LightMyRequestResponse>, { code = 'ERR_SESSION_STORE_UNAVAILABLE', ms = WAIT_MS + BUSY_MS } = {}): Promise<number> {
  const [cookies, { bound }, startedAt] = [[...browser.cookies], browser, performance.now()]
  const response = await action()
  const took = performance.now() - startedAt
  t.match(response, { statusCode: 503, headers: { 'retry-after': '1', 'set-cookie': undefined, 'secure-session-challenge': undefined } })
  t.match(response.json(), { code })
  t.ok(took < ms, `${took} ms`)
  t.strictSame([...browser.cookies], cookies)
  t.equal(browser.bound, bound)
  return took
}

t.test('with Redis frozen a registration and a refresh are told to come again, within the time of one request, and succeed then', async (t) => {
  const redis = await startRedis(t)
  const app = await startService(t, { redis: redis.url })
  const [unbound, bound] = [await signIn(app), await signIn(app, { bound: true })]
  redis.pause()
  const waited = await isPutOff(t, unbound, () => unbound.register({ newly: false }))
  for (let round = 0; round < 5; round++) {
    // Now it is known.
    const took = await isPutOff(t, bound, () => bound.refresh())
    t.ok(took < waited, `the next after ${took} ms, the first after ${waited} ms`)
    await isPutOff(t, unbound, () => unbound.register({ newly: false }))
  }
  redis.resume()
  await until('service', async () => (await bound.refresh()).statusCode === 200)
  t.equal((await unbound.register({ newly: false })).statusCode, 200)
  for (const browser of [bound, unbound]) t.match((await browser.get('/me')).json(), { user: 'ada', bound: true })
})

t.test('with Redis frozen the first refresh waits no longer either', async (t) => {
  const redis = await startRedis(t)
  const app = await startService(t, { redis: redis.url })
  const browser = await signIn(app, { bound: true })
  redis.pause()
  await isPutOff(t, browser, () => browser.refresh())
  redis.resume()
  await until('service', async () => (await browser.refresh()).statusCode === 200)
  t.match((await browser.get('/me')).json(), { bound: true })
})

t.test('with Redis gone it is the same, at once when that is known', async (t) => {
  const redis = await startRedis(t)
  const wire = await startWire(t, redis)
  const app = await startService(t, { redis: wire.url })
  const [unbound, bound] = [await signIn(app), await signIn(app, { bound: true })]
  await bound.get('/me')
  await wire.cut()
  await until('that to be known', async () => (await unbound.get('/me')).statusCode === 503)
  for (let round = 0; round < 5; round++) {
    await isPutOff(t, bound, () => bound.refresh(), { ms: 50 + BUSY_MS })
    await isPutOff(t, unbound, () => unbound.register({ newly: false }), { ms: 50 + BUSY_MS })
  }
  await wire.mend()
  await until('service', async () => (await bound.refresh()).statusCode === 200)
  t.equal((await unbound.register()).statusCode, 200)
  t.match((await unbound.get('/me')).json(), { bound: true })
})

t.test('with Redis full nobody is bound, and sessions work as they are; a refresh that could not be noted succeeds', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory-policy', 'noeviction'] })
  const app = await startService(t, { redis: redis.url })
  const [unbound, bound] = [await signIn(app), await signIn(app, { bound: true })]
  await redis.client.config('SET', 'maxmemory', '1')
  for (let round = 0; round < 3; round++) {
    await isPutOff(t, unbound, () => unbound.register(), { code: 'ERR_SESSION_STORE_FULL' })
    t.match((await unbound.get('/me')).json(), { user: 'ada', bound: false })
    // Its key is not confirmed yet, and that cannot be written down.
    t.equal((await bound.refresh()).statusCode, 200)
    t.match((await bound.get('/me')).json(), { user: 'ada', bound: true })
  }
  await redis.client.config('SET', 'maxmemory', '0')
  t.equal((await unbound.register()).statusCode, 200)
  for (const browser of [bound, unbound]) t.match((await browser.get('/me')).json(), { user: 'ada', bound: true })
})

t.test('whose registration was stored and never answered goes on, and binds again once it could not have been under way any more', async (t) => {
  const redis = await startRedis(t)
  const wire = await startWire(t, redis)
  let aged = 0
  const store = await openStore(t, wire.url, { prefix: prefix() }, {})
  const { now } = store
  store.now = () => now.call(store) + aged
  const app = await startService(t, { store })
  const mismatches: unknown[] = []
  app.sessions.on('device-mismatch', (event) => mismatches.push(event))
  // By then Redis knows the script that stores keys.
  await signIn(app, { bound: true })
  const browser = await signIn(app)
  const asked = browser.asked
  // The key is stored by a script, whose answer gets lost.
  wire.loseAnswersFrom('evalsha')
  await isPutOff(t, browser, () => browser.register())
  await wire.cut()
  await wire.mend()
  await until('service', async () => (await browser.get('/me')).statusCode === 200)
  t.match(await store.find(browser.cookies.get('__Host-sid')?.slice(0, 22) ?? ''), { boundKey: /^p .* ES256 / }, 'it was stored')
  const second = await browser.register()
  t.equal(second.statusCode, 409, 'another key has to wait')
  t.match((await browser.get('/me')).json(), { user: 'ada', bound: false })
  aged = 31_000
  t.match((await browser.get('/me')).json(), { user: 'ada', bound: false }, 'its key was never shown')
  browser.asked = undefined
  await browser.get('/me', { 'sec-fetch-mode': 'navigate' })
  t.ok(browser.asked !== undefined && browser.asked !== asked, 'it is asked again with its next page')
  t.equal((await browser.register()).statusCode, 200)
  t.match((await browser.get('/me')).json(), { user: 'ada', bound: true })
  t.strictSame(mismatches, [])
})
