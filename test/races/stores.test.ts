import { once } from 'node:events'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { RedisStore } from '../../lib/index.ts'
import type { ExpressStore } from '../../lib/store/foreign.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import type { TestRedis } from '../helpers/redis.ts'
import { Gate } from '../helpers/spy-store.ts'

type Done = (error?: unknown, result?: unknown) => void

/** A store of files or of a database: each call takes a while, and an unknown session may be an error. */
function slowStore ({ latencyMs, unknown = null }: { latencyMs: number, unknown?: Error | null }): ExpressStore & { gate: Gate | null } {
  const sessions = new Map<string, string>()
  const later = async (done: Done | undefined, answer: () => [error?: unknown, result?: unknown]): Promise<void> => {
    await store.gate?.pass()
    setTimeout(() => done?.(...answer()), latencyMs)
  }
  const store = {
    gate: null as Gate | null,
    get: (id: string, done: Done) => { void later(done, () => sessions.has(id) ? [null, JSON.parse(sessions.get(id) as string)] : [unknown, null]) },
    set: (id: string, session: unknown, done?: Done) => {
      const text = JSON.stringify(session)
      void later(done, () => {
        sessions.set(id, text)
        return []
      })
    },
    destroy: (id: string, done?: Done) => { void later(done, () => [sessions.delete(id) ? null : unknown]) }
  }
  return store
}

async function startService (t: Test, store: ExpressStore) {
  const app = await startApp(t, { store })
  app.post('/cart', async ({ session }) => { session.cart = ['book'] })
  app.post<{ Params: { id: string } }>('/login/:id', async (request) => { await app.login(request, { id: request.params.id }) })
  app.get('/me', async (request) => ({ userId: request.auth?.userId ?? null, data: request.session }))
  return app
}

// -- an express store ------------------------------------------------------------------------------------------

t.test('a hundred visitors at once do not wait for each other in a store that takes 20 ms', async (t) => {
  const app = await startService(t, slowStore({ latencyMs: 20 }))
  const ways: Array<(visitor: number) => string> = [() => '/cart', (visitor) => `/login/${visitor}`]
  for (const url of ways) {
    const visitors = Array.from({ length: 100 }, () => new Browser(app))
    const responses = await Promise.all(visitors.map((each, index) => each.post(url(index))))
    t.strictSame(new Set(responses.map(({ statusCode }) => statusCode)), new Set([200]), url(0))
    t.equal(new Set(visitors.map(({ header }) => header)).size, 100)
  }
})

t.test('a store to which an unknown session is an error is asked again after one slow call, and serves', async (t) => {
  withRealLimits(t)
  const store = slowStore({ latencyMs: 0, unknown: Object.assign(new Error('ENOENT: no such file'), { code: 'ENOENT' }) })
  const app = await startService(t, store)
  const ada = new Browser(app)
  await ada.post('/login/ada')
  store.gate = new Gate()
  t.equal((await ada.get('/me')).statusCode, 503)
  store.gate.open()
  store.gate = null
  await until('service', async () => (await ada.get('/me')).statusCode === 200)
  t.equal((await ada.get('/me')).json().userId, 'ada')
  t.strictSame(app.lines.filter(({ reqId, msg }) => reqId === undefined && /session store/.test(msg)).map(({ msg }) => msg), ['the session store does not answer', 'the session store answers again'])
})

// -- Redis -----------------------------------------------------------------------------------------------------------

async function callsOf (redis: TestRedis, command: string): Promise<number> {
  return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(await redis.client.info('commandstats'))?.[1] ?? 0)
}

t.test('a session whose data is not UTF-8 ends one save, which is not tried for ever', async (t) => {
  const redis = await startRedis(t)
  const keyPrefix = prefix()
  const app = await startApp(t, { redis: redis.url, keyPrefix })
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  app.post('/cart', async ({ session }) => { session.cart = ['book'] })
  app.get('/public', async () => 'welcome')
  const ada = new Browser(app)
  await ada.post('/login')
  const [key = ''] = await redis.client.keys(`${keyPrefix}*`)
  const stored = (await redis.client.getBuffer(key))?.toString('latin1') ?? ''
  t.match(stored, '\n{"userId":"ada"}')
  await redis.client.set(key, Buffer.from(stored.replace('\n{"userId":"ada"}', '\n{"userId":"ada","x":"\xff"}'), 'latin1'), 'KEEPTTL')
  const before = await callsOf(redis, 'evalsha')
  t.equal((await ada.post('/cart')).statusCode, 200)
  const after = await callsOf(redis, 'evalsha')
  t.ok(after - before <= 3, `${after - before} scripts for one save`)
  for (let request = 0; request < 20; request++) await new Browser(app).get('/public')
  t.equal(await callsOf(redis, 'evalsha'), after, 'and nothing goes on behind it')
  t.equal((await ada.post('/login')).statusCode, 200)
  t.equal((await ada.post('/cart')).statusCode, 200)
})

t.test('a dozen stores share a client without a warning, and leave no listener when they are closed', async (t) => {
  const redis = await startRedis(t)
  const warnings: Error[] = []
  const onWarning = (warning: Error): void => { warnings.push(warning) }
  process.on('warning', onWarning)
  t.teardown(() => process.off('warning', onWarning))
  const client = new Redis(redis.url)
  t.teardown(() => client.disconnect())
  await once(client, 'ready')
  const count = (): number => client.listenerCount('ready')
  const before = count()
  const stores = Array.from({ length: 12 }, () => new RedisStore({ client, prefix: prefix() }))
  await Promise.all(stores.map((store) => store.ready(10_000)))
  t.strictSame(warnings.map(({ name }) => name), [])
  await Promise.all(stores.map((store) => store.close()))
  t.equal(count(), before)
})
