import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { clockFindings } from '../../lib/operate/doctor/timing.ts'
import { serverFindings } from '../../lib/operate/doctor/server.ts'
import type { Server } from '../../lib/operate/doctor/findings.ts'
import { doctor } from '../../lib/operate/doctor/doctor.ts'
import { connectedMasters } from '../../lib/redis/cluster.ts'
import { about, examine, patientAt } from '../helpers/doctor.ts'
import type { Member } from '../helpers/member.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { follows, newDirectory, startCluster, startRedis, until } from '../helpers/redis.ts'
import { startReplicatedCluster, startSentinels } from '../helpers/topology.ts'
import { startWire } from '../helpers/wire.ts'

const redis = await startRedis(t)
t.beforeEach(async () => { await redis.client.config('SET', 'maxmemory-policy', 'noeviction', 'maxmemory', '0', 'save', '', 'appendonly', 'no') })

t.test('a Redis that is set up well has no finding that asks for anything', async (t) => {
  const dir = await newDirectory()
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  const well = await startRedis(t, { args: ['--maxmemory', '100mb', '--appendonly', 'yes', '--dir', dir] })
  const replica = await startRedis(t, { args: ['--replicaof', '127.0.0.1', String(well.port)] })
  await follows(replica, well)
  const { findings } = await examine(t, well.url, { uses: ['durability', 'nearCache'] })
  t.strictSame(findings.filter(({ level }) => level !== 'ok'), [])
  t.strictSame(findings.map(({ topic }) => topic), ['version', 'role', 'eviction', 'memory', 'persistence', 'replicas', 'rights', 'round trips', 'clock', 'near-cache', 'sessions'])
  t.match(findings[0]?.found, /^(Redis|Valkey) \d+\.\d+/)
})

t.test('each eviction policy but two is warned about', async (t) => {
  for (const policy of ['noeviction', 'volatile-ttl', 'volatile-lru', 'volatile-lfu', 'volatile-random', 'allkeys-lru', 'allkeys-lfu', 'allkeys-random']) {
    await redis.client.config('SET', 'maxmemory-policy', policy)
    const isSafe = policy === 'noeviction' || policy === 'volatile-ttl'
    t.match(about(await examine(t, redis.url), 'eviction'), [isSafe ? `ok: maxmemory-policy is ${policy}` : `warning: Redis' maxmemory-policy is ${policy}`])
  }
})

t.test('so are those of Redis 8.6, which go by when a session was written last', async (t) => {
  const info = await redis.client.info()
  for (const policy of ['volatile-lrm', 'allkeys-lrm']) {
    // No such server here: what one says is made of what this one says.
    const findings = await serverFindings(pretending(info.replace(/^maxmemory_policy:.*$/m, `maxmemory_policy:${policy}\r`)), false)
    t.match(findings.filter(({ topic }) => topic === 'eviction'), [{ level: 'warning', found: new RegExp(`is ${policy}: it may drop`), todo: 'Set it to noeviction or volatile-ttl' }])
  }
})

t.test('a Redis that has no memory left, and one that drops what it cannot hold, are found', async (t) => {
  const used = Number(/^used_memory:(\d+)/m.exec(await redis.client.info('memory'))?.[1])
  await redis.client.config('SET', 'maxmemory', Math.round(used / 0.85))
  t.match(about(await examine(t, redis.url), 'memory'), [/^warning: .* used \(\d+ %\)/])
  await redis.client.config('SET', 'maxmemory', used)
  t.match(about(await examine(t, redis.url), 'memory'), [/^problem: .*nobody can sign in/])
  const drops = await startRedis(t, { args: ['--maxmemory', '2mb', '--maxmemory-policy', 'volatile-ttl'] })
  for (let key = 0; !/^evicted_keys:[1-9]/m.test(await drops.client.info('stats')); key++) await drops.client.set(`x${key}`, 'x'.repeat(100_000), 'EX', 60)
  t.match(about(await examine(t, drops.url), 'eviction'), [/^ok/, /^warning: .*has dropped \d+ keys/])
})

t.test('what is lost in a restart is said', async (t) => {
  const said = async (): Promise<string[]> => about(await examine(t, redis.url), 'persistence')
  t.match(await said(), [/^warning: nothing is saved to disk/])
  await redis.client.config('SET', 'save', '3600 1')
  t.match(await said(), [/^note: snapshots only/])
  await redis.client.config('SET', 'appendonly', 'yes')
  t.match(await said(), [/^ok: the append-only file is on/])
})

t.test('a Redis that cannot save is a problem', async (t) => {
  const folder = await newDirectory()
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const server = await startRedis(t, { args: ['--dir', folder] })
  // A folder in the place of the file.
  await mkdir(join(folder, 'dump.rdb', 'x'), { recursive: true })
  await server.client.bgsave()
  await until('the snapshot to fail', async () => (await server.client.info('persistence')).includes('rdb_last_bgsave_status:err'))
  t.match(about(await examine(t, server.url), 'persistence'), [/^problem: Redis could not save/, /./])
})

t.test('replicas that follow, that do not, and that are asked in place of their master', async (t) => {
  t.match(about(await examine(t, redis.url), 'replicas'), [/^note: no replica follows/])
  t.match(about(await examine(t, redis.url, { uses: ['durability'] }), 'replicas'), [/^problem: .*with durability replicated/])
  const replica = await startRedis(t, { args: ['--replicaof', '127.0.0.1', String(redis.port)] })
  await follows(replica, redis)
  t.strictSame(about(await examine(t, redis.url), 'replicas'), ['ok: 1 replica follows'])
  t.match(about(await examine(t, replica.url), 'role'), [/^problem: this Redis is a replica/])
  const info = await redis.client.info()
  const late = await serverFindings(pretending(info.replace(/^(slave0:.*)lag=\d+/m, '$1lag=40')), false)
  t.match(late.filter(({ topic }) => topic === 'replicas'), [{ level: 'warning', found: /last heard of 40 s ago/ }])
  await replica.client.replicaof('127.0.0.1', 1)
  t.match(about(await examine(t, replica.url), 'role'), [/has lost its master/, /is a replica/])
})

t.test('products that are not Redis are named', async (t) => {
  const info = await redis.client.info()
  const said = async (lines: string): Promise<string> => (await serverFindings(pretending(info.replace('# Server\r\n', `# Server\r\n${lines}`)), false)).filter(({ topic }) => topic === 'version').map(({ level, found }) => `${level}: ${found}`).join()
  t.match(await said('valkey_version:8.1.3\r\n'), /^ok: Valkey 8\.1\.3, which calls itself Redis/)
  t.match(await said('dragonfly_version:df-v1.34.0\r\n'), /^note: Dragonfly df-v1\.34\.0, with which this package is not tested/)
  t.match(await said('garnet_version:1.0.1\r\n'), /^note: Garnet 1\.0\.1/)
  t.match(await said('mvcc_depth:0\r\n'), /^note: KeyDB/)
  const old = await serverFindings(pretending(info.replace(/^redis_version:.*$/m, 'redis_version:6.2.14\r')), false)
  t.match(old.filter(({ topic, level }) => topic === 'version' && level === 'problem'), [{ found: /older than 7\.0/, todo: 'Update it' }])
  const { findings } = { findings: await serverFindings(pretending(''), false) }
  t.ok(findings.length > 0, 'one that says nothing')
})

t.test('clocks that are apart are found', async (t) => {
  // A server's clock cannot be set here.
  const at = (aheadMs: number): Pick<Server, 'time'> => ({
    time: async () => {
      const ms = Date.now() + aheadMs
      return [Math.floor(ms / 1_000), (ms % 1_000) * 1_000]
    }
  })
  const said = async (...aheadMs: number[]): Promise<string[]> => (await clockFindings(aheadMs.map((ms) => ['x', at(ms) as Server]))).map(({ level, found }) => `${level}: ${found}`)
  t.match(await said(0), [/^ok: at most/])
  t.match(await said(60_000), [/^warning: the clock of Redis is 60 s ahead of the one here/])
  t.match(await said(-3_600_000), [/^warning: the clock of Redis is 3600 s behind the one here/])
  t.match(await said(0, 3_000), [/^warning: the clocks of the masters are 3 s apart/])
})

t.test('a Redis that is far away is found, and looked at all the same', async (t) => {
  withRealLimits(t)
  const wire = await startWire(t, redis)
  const patient = await patientAt(t, wire.url)
  wire.delayMs = 120
  t.match(about(await doctor(patient, { uses: [] }), 'round trips'), [/^warning: median 1\d\d ms/])
  wire.delayMs = 600
  t.match(about(await doctor(patient, { uses: [] }), 'round trips'), [/^problem: .*waits 500 ms for an answer/])
})

t.test('a Redis that dies while it is looked at is an error that says so', async (t) => {
  const dying = await startRedis(t)
  const wire = await startWire(t, dying)
  const patient = await patientAt(t, wire.url)
  for (const answers of [0, 2, 20]) {
    wire.loseAnswersAfter(answers)
    await t.rejects(doctor(patient, { uses: [] }), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
    await wire.mend()
    await until('the connection', () => patient.client.status === 'ready')
  }
})

t.test('the near-cache is tried as it begins', async (t) => {
  const refuses = await startRedis(t, { args: ['--rename-command', 'CLIENT', ''] })
  t.match(about(await examine(t, refuses.url), 'near-cache'), [/^note: (?!.*RESP3).*nearCache would not work here/])
  t.match(about(await examine(t, refuses.url, { uses: ['nearCache'] }), 'near-cache'), [/^warning: .*nearCache is off/])
})

t.test('a Cluster: that all is served, that a part is not, and what masters have in common is said once', async (t) => {
  const { nodes, client } = await startCluster(t)
  const whole = await examine(t, { cluster: nodes })
  t.match(about(whole, 'Cluster'), ['ok: its state is ok: 3 masters serve all slots'])
  t.equal(about(whole, 'eviction').length, 1)
  const [first] = client.nodes('master')
  await first?.config('SET', 'maxmemory-policy', 'allkeys-lru', 'cluster-node-timeout', 15_000)
  const changed = await examine(t, { cluster: nodes })
  t.match(about(changed, 'eviction').find((line) => line.startsWith('warning')), `127.0.0.1:${first?.options.port}: Redis' maxmemory-policy is allkeys-lru`)
  const alone = await examine(t, `redis://127.0.0.1:${nodes[0]?.port}`)
  const topics = changed.findings.map(({ topic }) => topic)
  t.strictSame([...topics], topics.filter((topic, index) => index === 0 || topic === topics[index - 1] || topics.indexOf(topic) === index), 'topic by topic')
  t.match(about(alone, 'topology'), [/^problem: this is a node of a Cluster/])
  const patient = await patientAt(t, { cluster: nodes })
  await first?.call('CLUSTER', 'DELSLOTS', 1)
  await until('the others to hear of it', async () => (await Promise.all(client.nodes('master').map((node) => node.call('CLUSTER', 'INFO') as Promise<string>))).some((info) => info.includes('cluster_state:fail')))
  const broken = await doctor(patient, { uses: [] })
  t.match(about(broken, 'Cluster')[0], /^problem: the Cluster's state is fail, and 1 of 16384 slots are not served/)
})

t.test('Sentinels: that they agree, how late they notice a dead master, and that one is gone', async (t) => {
  const topology = await startSentinels(t)
  const calm = await examine(t, topology.target)
  t.strictSame(about(calm, 'failover'), topology.sentinels.map(({ port }) => `warning: down-after-milliseconds of 127.0.0.1:${port} is 30000 ms: while a dead master is not noticed, nobody can sign in or out`))
  for (const { client } of topology.sentinels) await client.call('SENTINEL', 'SET', topology.target.name, 'down-after-milliseconds', 1_000)
  t.match(about(await examine(t, topology.target), 'Sentinel'), [/^ok: 3 Sentinels agree on the master 127\.0\.0\.1:\d+$/])
  const [sentinel] = topology.sentinels
  t.match(about(await examine(t, `redis://127.0.0.1:${sentinel?.port}`, { isRefused: true }), 'role'), [/^problem: this is a Sentinel/])
  await sentinel?.kill()
  t.match(about(await examine(t, topology.target), 'Sentinel'), [`warning: the Sentinel 127.0.0.1:${sentinel?.port} does not tell of sessions`])
})

t.test('a Cluster of which a part is gone: it is said which, and the rest is looked at', async (t) => {
  const topology = await startReplicatedCluster(t)
  const patient = await patientAt(t, topology.target)
  const [gone] = await topology.masters() as [Member]
  for (const member of [...await topology.replicasOf(gone), gone]) await member.kill()
  const [other] = await topology.masters() as [Member]
  await until('the others to notice', async () => (await other.client.call('CLUSTER', 'INFO') as string).includes('cluster_slots_fail:5462'))
  await until('the connection to be lost', () => connectedMasters(patient.client).length === 2)
  const report = await doctor(patient, { uses: [] })
  t.match(about(report, 'Cluster'), [/^problem: .*and 5462 of 16384 slots are not served/, `problem: the master ${gone.name} is not connected`])
  t.match(about(report, 'round trips')[0], /median/)
  t.match(about(report, 'sessions'), [/^problem: a part of the Cluster does not answer/])
})

t.test('a near-cache that could only be had in another way', async (t) => {
  await redis.client.call('ACL', 'SETUSER', 'deaf', 'on', '>of-the-tests', '~*', '+@all', 'resetchannels')
  const report = await examine(t, { host: '127.0.0.1', port: redis.port, username: 'deaf', password: 'of-the-tests' })
  t.match(about(report, 'near-cache'), [/^note: .*NOPERM.*It would on one connection of RESP3, which is not used/])
})

/** A server that says this of itself. */
function pretending (info: string): Server {
  const server = { info: async () => info, call: async () => ['save', ''] }
  // No more of it is asked.
  return server as unknown as Server
}
