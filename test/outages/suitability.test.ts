import t from 'tap'
import { suitabilityWarnings } from '../../lib/redis/health.ts'
import { startApp } from '../helpers/app.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { follows, prefix, startCluster, startRedis } from '../helpers/redis.ts'

withRealLimits(t)

const redis = await startRedis(t)

/** What is warned about when an application starts on this Redis. */
async function warnings (t: Parameters<typeof startApp>[0], target: Parameters<typeof startApp>[1]): Promise<string[]> {
  const { lines } = await startApp(t, { keyPrefix: prefix(), ...target })
  return lines.filter(({ level }) => level >= 40).map(({ msg }) => msg)
}

t.test('a Redis as it comes is warned about in nothing', async (t) => {
  t.strictSame(await warnings(t, { redis: redis.url }), [])
})

t.test('an eviction policy that can eat sessions is warned about, once, and what to do', async (t) => {
  t.teardown(() => redis.client.config('SET', 'maxmemory-policy', 'noeviction'))
  for (const policy of ['allkeys-lru', 'allkeys-random', 'volatile-lru', 'volatile-lfu']) {
    await redis.client.config('SET', 'maxmemory-policy', policy)
    const [warning = '', ...more] = await warnings(t, { redis: redis.url })
    t.match(warning, `maxmemory-policy is ${policy}`)
    t.match(warning, 'noeviction or volatile-ttl')
    t.strictSame(more, [])
  }
  await redis.client.config('SET', 'maxmemory-policy', 'volatile-ttl')
  t.strictSame(await warnings(t, { redis: redis.url }), [])
})

t.test('so are those of Redis 8.6 that go by when a session was written last', async (t) => {
  const info = await redis.client.info()
  const said = await Promise.all(['allkeys-lrm', 'volatile-lrm', 'noeviction', 'volatile-ttl'].map(async (policy) => await suitabilityWarnings({ info: async () => info.replace(/^maxmemory_policy:.*$/m, `maxmemory_policy:${policy}\r`) })))
  t.strictSame(said.map((each) => each.map((warning) => /maxmemory-policy is (\S+): .* Set it to noeviction or volatile-ttl/.exec(warning)?.[1])), [['allkeys-lrm'], ['volatile-lrm'], [], []])
})

t.test('every master of a Cluster is asked, and what several say is said once', async (t) => {
  const cluster = await startCluster(t)
  t.strictSame(await warnings(t, { redis: { cluster: cluster.nodes } }), [])
  for (const node of cluster.client.nodes('master').slice(0, 2)) await node.config('SET', 'maxmemory-policy', 'allkeys-lru')
  const said = await warnings(t, { redis: { cluster: cluster.nodes } })
  t.equal(said.length, 1)
  t.match(said[0], 'allkeys-lru')
})

t.test('a replica is warned about', async (t) => {
  const replica = await startRedis(t, { args: ['--replicaof', '127.0.0.1', String(redis.port)] })
  await follows(replica, redis)
  const said = await warnings(t, { redis: replica.url })
  t.equal(said.length, 1)
  t.match(said[0], 'replica')
})

t.test('who may not ask INFO is warned about nothing, and can do the rest', async (t) => {
  await redis.client.call('ACL', 'SETUSER', 'sessions', 'on', '>of the tests', '~*', '&*', '+@all', '-info', '-config')
  t.teardown(() => redis.client.call('ACL', 'DELUSER', 'sessions'))
  const app = await startApp(t, { redis: { host: '127.0.0.1', port: redis.port, username: 'sessions', password: 'of the tests', enableReadyCheck: false }, keyPrefix: prefix() })
  t.strictSame(app.lines.filter(({ level }) => level >= 40), [])
  const { session } = await app.sessions.create({ userId: 'ada' })
  t.ok(await app.sessions.revoke(session.id))
})
