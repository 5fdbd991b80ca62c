import t from 'tap'
import { RedisStore } from '../../lib/index.ts'
import { takeCensus } from '../../lib/operate/census.ts'
import { Connection } from '../../lib/operate/connection.ts'
import { inRedis } from '../helpers/managers.ts'
import { operate } from '../helpers/operate.ts'
import { startCluster, startRedis } from '../helpers/redis.ts'

const redis = await startRedis(t)
const env = { REDIS_URL: redis.url }

/** Signs in three users and bob's script, lets one go, has a visitor, and lets another library leave a session. */
async function fill ({ sessions, store, keyPrefix }: Awaited<ReturnType<typeof inRedis>>, set: (key: string, value: string) => Promise<unknown>): Promise<void> {
  for (const userId of ['ada', 'ada', 'bob']) await sessions.create({ userId, data: { text: 'é'.repeat(500) } })
  await sessions.create({ userId: 'bob', kind: 'bearer' })
  const { session } = await sessions.create({ userId: 'mallory' })
  const record = await store.find(session.id)
  await sessions.revoke(session.id)
  await store.begin({ ...record as any, id: 'v'.repeat(22), userId: null, authenticatedAt: null })
  await set(`${keyPrefix}of-express`, '{"cookie":{},"user":1}')
  await set(`@${keyPrefix}user:nobody`, 'no list')
}

const COUNTS = { isEstimate: false, sessions: 5, signedIn: 4, anonymous: 1, bearer: 1, users: 2, others: 1 }

t.test('sessions, users and bytes are counted', async (t) => {
  const given = await inRedis(t, redis, { bearer: true })
  await fill(given, async (key, value) => await redis.client.set(key, value))
  const { code, json } = await operate(['stats', '--json', '--prefix', given.keyPrefix], { env })
  t.equal(code, 0)
  t.match(json(), [COUNTS])
  const keys = (await redis.client.keys(`${given.keyPrefix}*`)).filter((key) => !key.endsWith('of-express'))
  const lengths = await Promise.all(keys.map(async (key) => await redis.client.strlen(key) + key.length))
  t.equal(json()[0].bytes, lengths.reduce((sum, each) => sum + each, 0))
  t.match(await operate(['stats', '--prefix', given.keyPrefix], { env }), { out: /sessions {7}5\n.*users {10}2\n/s })
  t.match((await operate(['stats', '--json', '--prefix', 'none:'], { env })).json(), [{ sessions: 0, users: 0, bytes: 0 }])
})

t.test('in a Cluster on all nodes', async (t) => {
  const { nodes, ports, client } = await startCluster(t)
  const given = await inRedis(t, { url: { cluster: nodes } as any, client: redis.client }, { bearer: true })
  await fill(given, async (key, value) => await client.set(key, value))
  const { json } = await operate(['stats', '--json', '--redis', ports.map((port) => `redis://127.0.0.1:${port}`).join(','), '--prefix', given.keyPrefix])
  t.match(json(), [COUNTS])
})

t.test('of many keys a sample is looked at, with a bounded number of keys at a time', async (t) => {
  const own = await startRedis(t)
  const { sessions, store } = await inRedis(t, own)
  const { session } = await sessions.create({ userId: 'ada' })
  const record = await store.find(session.id) as any
  await own.client.flushall()
  // 8,000 visitors, and 8,000 keys of somebody else.
  const connection = new Connection({ redis: own.url, prefix: 'sess:', where: own.url })
  t.teardown(() => connection.close())
  await connection.ready()
  const visitors = new RedisStore({ client: connection.client })
  for (let each = 0; each < 8_000; each += 500) {
    await Promise.all(Array.from({ length: 500 }, async (_, index) => {
      await visitors.begin({ ...record, id: String(each + index).padStart(22, 'v'), userId: null, authenticatedAt: null })
    }))
    await own.client.mset(Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`other:${each + index}`, '1'])))
  }
  const signal = new AbortController().signal
  const seen: number[] = []
  const onProgress = (keys: number) => { seen.push(keys) }
  const sample = await takeCensus(connection, { isFull: false, most: 4_000, signal, onProgress })
  t.match(sample, { isEstimate: true, keys: 16_000 })
  t.ok(sample.keysSeen >= 4_000 && sample.keysSeen < 5_000, `${sample.keysSeen} looked at`)
  t.ok(Math.abs(sample.sessions - 8_000) < 800, `${sample.sessions} estimated`)
  t.ok(seen.every((each, index) => each - (seen[index - 1] ?? 0) <= 1_000), 'page by page')
  t.match(await takeCensus(connection, { isFull: true, most: 4_000, signal, onProgress }), { isEstimate: false, sessions: 8_000, keysSeen: 16_000 })
  const out = await operate(['stats', '--json'], { env: { REDIS_URL: own.url } })
  t.match(out.json(), [{ isEstimate: false, sessions: 8_000 }])
})
