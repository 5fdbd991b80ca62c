import t from 'tap'
import type { Test } from 'tap'
import type { SessionOptions } from '../../lib/index.ts'
import { startApp } from '../helpers/app.ts'
import { BoundBrowser } from '../helpers/bound-browser.ts'
import { commandsDuring } from '../helpers/redis-commands.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'

/*
 * What Redis is asked for the sessions that are bound to a device: as little as for others.
 */

const redis = await startRedis(t)

const NEAR: Partial<SessionOptions> = { nearCache: true }

/** An application, and how often each command ran while somebody did something; what goes by itself is left out. */
async function start (t: Test, options: Partial<SessionOptions>) {
  const app = await startApp(t, { redis: redis.url, keyPrefix: prefix(), cookie: { secure: true }, deviceBound: true, ...options }, { trustProxy: '127.0.0.1' })
  app.post('/login', async (request) => await app.login(request, { id: 'ada' }))
  app.get('/me', { preHandler: app.authenticate }, async (request) => ({ bound: request.requireAuth().deviceBound }))
  const asked = async (action: () => Promise<{ statusCode: number }>): Promise<Record<string, number>> => {
    const commands = await commandsDuring(redis.client, async () => { t.equal((await action()).statusCode, 200) })
    return Object.fromEntries(Object.entries(commands).filter(([name]) => !ALIVE.includes(name)))
  }
  return { app, asked, browser: new BoundBrowser(app) }
}

/** Of connections that are kept alive, and of events, which other processes are told of in their own time. */
const ALIVE = ['ping', 'publish']
/** A read, and a script that reads the session and writes it: what it calls is counted as well. */
const READ_AND_SCRIPT = { mget: 1, evalsha: 1, get: 1, set: 1 }

/** A script is known to Redis from its first run on: a session goes through everything. */
async function rehearse ({ app }: Awaited<ReturnType<typeof start>>): Promise<void> {
  const browser = new BoundBrowser(app)
  await browser.post('/login')
  await browser.register()
  await browser.get('/me')
  await browser.refresh()
}

t.test('a registration is one read and one script, the first request with the short cookie one script more, once', async (t) => {
  const place = await start(t, {})
  await rehearse(place)
  const { browser, asked } = place
  await browser.post('/login')
  const unbound = await asked(async () => await browser.get('/me'))
  t.strictSame(unbound, { mget: 1 })
  t.strictSame(await asked(async () => await browser.register()), READ_AND_SCRIPT)
  t.strictSame(await asked(async () => await browser.get('/me')), READ_AND_SCRIPT, 'it is confirmed')
  for (let again = 0; again < 3; again++) t.strictSame(await asked(async () => await browser.get('/me')), unbound, 'as one that is not bound')
  t.match((await browser.get('/me')).json(), { bound: true })
})

t.test('a refresh reads the session, and writes nothing', async (t) => {
  const place = await start(t, { touchAfter: 0 })
  await rehearse(place)
  const { browser, asked } = place
  await browser.post('/login')
  await browser.register()
  await browser.get('/me')
  for (let again = 0; again < 3; again++) t.strictSame(await asked(async () => await browser.refresh()), { mget: 1 })
})

t.test('behind a near-cache a bound request asks nothing, and a refresh no more than a read', async (t) => {
  const place = await start(t, NEAR)
  await rehearse(place)
  const { browser, asked } = place
  await browser.post('/login')
  await browser.register()
  // What was just changed is kept once the change was heard of.
  await until('the near-cache to keep it', async () => Object.keys(await asked(async () => await browser.get('/me'))).length === 0)
  for (let again = 0; again < 3; again++) t.strictSame(await asked(async () => await browser.get('/me')), {})
  const { mget = 0, ...others } = await asked(async () => await browser.refresh())
  t.ok(mget <= 1)
  t.strictSame(others, {})
  t.strictSame(await asked(async () => await browser.get('/me')), {}, 'nor after it')
})
