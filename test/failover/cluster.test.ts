import calculateSlot from 'cluster-key-slot'
import { Cluster, Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { RedisStore } from '../../lib/express/redis-store.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { connect, disconnectNow } from '../../lib/redis/connection.ts'
import { sessionsOf } from '../helpers/history.ts'
import type { Member } from '../helpers/member.ts'
import { withPatience, withRealLimits } from '../helpers/patience.ts'
import { record } from '../helpers/record.ts'
import { prefix, until } from '../helpers/redis.ts'
import { openDropIn, openStore } from '../helpers/redis-store.ts'
import { report, times } from '../helpers/scale.ts'
import { startReplicatedCluster } from '../helpers/topology.ts'
import { Load, startService } from './load.ts'
import type { Fault, Visitor } from './load.ts'

withRealLimits(t)

const topology = await startReplicatedCluster(t)

/** Two processes' worth of connections: one by options, one by a client of the application's own, with the driver's defaults. */
async function startLoad (t: Test, options: Partial<SessionOptions> = {}) {
  const theirs = new Cluster(topology.target.cluster)
  theirs.on('error', () => {})
  t.teardown(() => disconnectNow(theirs))
  const keyPrefix = prefix()
  const services = [
    await startService(t, { redis: topology.target, keyPrefix, ...options }),
    await startService(t, { redis: theirs, keyPrefix, ...options })
  ]
  const load = new Load(t, services)
  load.start()
  await load.served(performance.now())
  let guests = 0
  /** Who is signed in on the master that a fault is about, found by trying. */
  const onMaster = async (master: Member): Promise<Visitor> => {
    for (;;) {
      const visitor = await load.login(0, `guest ${++guests}`)
      if (visitor !== null && await topology.masterOfKey(keyPrefix + visitor.id) === master) return visitor
    }
  }
  return { load, services, keyPrefix, onMaster }
}

/** How long a replica takes to take over. What it is later on a busy machine is not counted. */
const TAKEOVER_MS = 4_000

const FAULTS: Fault[] = [
  { name: 'master killed', strike: async (master) => { await master.kill(); return undefined } },
  { name: 'master frozen and resumed', strike: async (master) => { master.freeze(); return () => master.resume() } },
  { name: 'planned', strike: async (master) => { await topology.failover(master); return undefined } }
]

for (const [{ name, strike }, durability] of FAULTS.flatMap((fault) => [[fault, 'default'], [fault, 'replicated']] as const)) {
  t.test(`a replica takes over in a Cluster, ${name}, with durability ${durability}`, { timeout: 600_000 }, async (t) => {
    const { load, onMaster } = await startLoad(t, { durability })
    let [recoveryMs, countedMs] = [0, 0]
    const rounds = times(10, durability === 'default' ? 2 : 1)
    for (let round = 0; round < rounds; round++) {
      const old = await topology.masterOf(Math.floor(16384 * (round % 3 + 0.5) / 3))
      const replicas = await topology.replicasOf(old)
      const canary = await onMaster(old)
      const struckAt = performance.now()
      const end = await strike(old)
      const { at } = await topology.takeover(old, replicas)
      await until('service', async () => (await load.read(canary)).every((status) => status !== 503))
      const servedAt = performance.now()
      recoveryMs = Math.max(recoveryMs, servedAt - struckAt)
      countedMs = Math.max(countedMs, servedAt - struckAt - Math.max(0, at - struckAt - TAKEOVER_MS))
      t.comment(`${name}: another took over after ${(at - struckAt).toFixed()} ms, first read ${(servedAt - at).toFixed()} ms later`)
      end?.()
      await load.served(performance.now())
      await topology.repair()
      await load.served(performance.now())
    }
    await load.settle()
    const findings = load.history.check()
    t.comment(load.summary)
    t.strictSame(load.wrong, [])
    t.ok(load.slowestMs <= 700, `the slowest answer after ${load.slowestMs.toFixed()} ms: ${load.slowest}`)
    t.ok(countedMs <= 6_000, `service after ${recoveryMs.toFixed()} ms`)
    if (durability === 'replicated') t.strictSame(findings, { resurrected: [], lost: [], unended: [] })
    report({ scenario: `Cluster, ${name}, durability ${durability}`, on: 'Cluster', tries: load.requests, resurrected: sessionsOf(findings.resurrected), lost: sessionsOf(findings.lost), slowestMs: load.slowestMs, recoveryMs })
  })
}

/** Asks nodes all the time, as a control: how long they keep everybody waiting, whatever is asked. */
class Stalls {
  #longestMs = 0
  #isWatching = true
  readonly #watches: Array<Promise<void>>

  constructor (t: Test, nodes: Member[]) {
    this.#watches = nodes.map(async ({ client }) => {
      const own = client.duplicate()
      t.teardown(() => own.disconnect())
      while (this.#isWatching) {
        const askedAt = performance.now()
        await own.ping()
        this.#longestMs = Math.max(this.#longestMs, performance.now() - askedAt)
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    })
  }

  /** Returns the longest wait for an answer. */
  async stop (): Promise<number> {
    this.#isWatching = false
    await Promise.all(this.#watches)
    return this.#longestMs
  }
}

t.test('slots that move to another master while they are used cost nobody an answer', { timeout: 600_000 }, async (t) => {
  withPatience(t)
  const { load, keyPrefix } = await startLoad(t)
  await until('people to be signed in', () => load.history.sessions.length > 20)
  const from = load.requests
  const [one, other] = await Promise.all([topology.masterOf(1), topology.masterOf(16_000)])
  const stalls = new Stalls(t, [one, other])
  const slots = [...new Set(load.history.sessions.map((id) => calculateSlot(keyPrefix + id)))].filter((slot) => slot < 5_000)
  // Nobody is signed in there, but somebody may just be about to be.
  for (let slot = 0; slots.length < times(300); slot += 7) if (!slots.includes(slot)) slots.push(slot)
  for (let round = 0; round < times(10, 3); round++) {
    for (let index = 0; index < slots.length; index += 50) await topology.move(slots.slice(index, index + 50), one, other)
    for (let index = 0; index < slots.length; index += 50) await topology.move(slots.slice(index, index + 50), other, one)
  }
  const tries = load.requests - from
  await load.settle()
  const stalledMs = await stalls.stop()
  const findings = load.history.check()
  t.comment(load.summary)
  t.strictSame(load.wrong, [])
  t.strictSame(Object.keys(load.answers).filter((answer) => answer.endsWith(' 503')), [])
  t.strictSame(findings, { resurrected: [], lost: [], unended: [] })
  t.ok(load.slowestMs <= 700 + stalledMs, `the slowest answer after ${load.slowestMs.toFixed()} ms, a node's own after ${stalledMs.toFixed()} ms`)
  report({ scenario: 'live slot migration', on: 'Cluster', tries, resurrected: 0, lost: 0, slowestMs: load.slowestMs })
})

t.test('one master is down and nobody takes over: what is on it answers 503, the rest works, and afterwards lists and sessions agree', { timeout: 600_000 }, async (t) => {
  const { load, services, keyPrefix, onMaster } = await startLoad(t)
  const channel = `@${keyPrefix}events`
  const master = await topology.masterOfKey(channel)
  const others = (await topology.masters()).filter((member) => member !== master)
  const [hit, ...spared] = await Promise.all([onMaster(master), ...others.map(onMaster)])
  const replicas = await topology.replicasOf(master)
  await Promise.all(replicas.map((replica) => replica.kill()))
  master.freeze()
  await until('the outage', async () => (await load.read(hit)).every((status) => status === 503))
  const listener = (others[0] as Member).client.duplicate()
  t.teardown(() => listener.disconnect())
  await listener.subscribe(channel)
  let heard = 0
  listener.on('message', () => { heard++ })
  const from = load.requests
  const struckAt = performance.now()
  await until('the outage to have lasted', async () => {
    const [statuses, ...rest] = await Promise.all([load.read(hit), ...spared.map((visitor) => load.read(visitor))])
    t.strictSame([statuses, rest], [[503, 503], spared.map(() => [200, 200])])
    return performance.now() > struckAt + times(10_000, 3_000)
  }, 60_000)
  const tries = load.requests - from
  await load.served(performance.now())
  t.ok(heard > 0, 'processes go on telling each other what happens')
  master.resume()
  const resumedAt = performance.now()
  await until('service', async () => (await load.read(hit)).every((status) => status === 200))
  const recoveryMs = performance.now() - resumedAt
  await topology.repair()
  await load.settle()
  const findings = load.history.check()
  t.comment(load.summary)
  t.strictSame(load.wrong, [])
  t.strictSame({ ...findings, unended: [] }, { resurrected: [], lost: [], unended: [] })
  t.ok(load.slowestMs <= 700, `the slowest answer after ${load.slowestMs.toFixed()} ms: ${load.slowest}`)
  for (const { sessions } of services) {
    const ofUsers = new Map<string, string[]>()
    for await (const { id, userId } of sessions.listAll()) ofUsers.set(userId as string, [...ofUsers.get(userId as string) ?? [], id])
    t.ok(ofUsers.size > 5)
    for (const [userId, ids] of ofUsers) t.strictSame((await sessions.listByUser(userId)).map(({ id }) => id).sort(), ids.sort(), userId)
  }
  report({ scenario: 'one master down', on: 'Cluster', tries, resurrected: sessionsOf(findings.resurrected), lost: sessionsOf(findings.lost), slowestMs: load.slowestMs, recoveryMs })
})

t.test('a process that has only asked whether all is well finds a master again that was away', { timeout: 600_000 }, async (t) => {
  const ours = prefix()
  const store = await openStore(t, topology.target, { prefix: ours })
  const session = record({ now: store.now() })
  await store.begin(session)
  const other = await openStore(t, topology.target, { prefix: ours })
  await Promise.all([other.ping(), other.bus.publish('hello')])
  const master = await topology.masterOfKey(ours + session.id)
  const replicas = await topology.replicasOf(master)
  await Promise.all(replicas.map((replica) => replica.kill()))
  await master.kill()
  for (let ask = 0; ask < 3; ask++) await t.rejects(other.ping(), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  await topology.repair()
  for (const each of [store, other]) {
    await until('service', async () => await each.ping().then(() => true, () => false))
    // Neither master nor replica kept what was in its memory.
    await until('an answer', async () => await each.find(session.id).then((found) => found === null, () => false))
  }
})

t.test('what concerns all sessions sees every master', async (t) => {
  const store = await openDropIn(t, topology.target, { prefix: prefix() })
  const ids: string[] = []
  for (let each = 0; each < 60; each++) {
    ids.push(`session-${each}`)
    await store.set(`session-${each}`, { cookie: {}, each })
  }
  t.equal(new Set(await Promise.all(ids.map(async (id) => (await topology.masterOfKey(store.prefix + id)).port))).size, 3, 'they are on all masters')
  t.strictSame((await store.ids()).sort(), ids.sort())
  t.equal(await store.length(), 60)
  t.strictSame((await store.all()).map(({ id }) => id as string).sort(), ids)
  await store.clear()
  t.equal(await store.length(), 0)
  const users = new Set<string>()
  for (let each = 0; each < 60; each++) await store.begin(record({ now: store.now(), userId: `user ${each}` }))
  for await (const { userId } of store.listAll()) users.add(userId as string)
  t.equal(users.size, 60)
})

t.test('no command is about keys of two slots', async (t) => {
  const { client } = connect(topology.target)
  const store = new RedisStore({ client, prefix: prefix() })
  t.teardown(async () => {
    await store.close()
    disconnectNow(client)
  })
  t.equal(await store.ready(10_000), null)
  const crossing: string[] = []
  let commands = 0
  const { sendCommand } = Redis.prototype
  t.teardown(() => { Redis.prototype.sendCommand = sendCommand })
  Redis.prototype.sendCommand = function (...sent: Parameters<typeof sendCommand>) {
    const keys = sent[0].getKeys().map(String).filter((key) => key.includes(store.prefix))
    if (keys.length > 0) commands++
    if (new Set(keys.map((key) => calculateSlot(key))).size > 1) crossing.push(`${sent[0].name} ${keys.join(' ')}`)
    return sendCommand.call(this, ...sent)
  }
  const limit = { max: 2, evicts: true }
  for (let each = 0; each < 20; each++) {
    const userId = `user ${each % 4}`
    const first = await store.begin(record({ now: store.now(), userId }), { limit })
    if (first === null) throw new Error('not created')
    await store.touch(first)
    await store.update(first, () => '{"changed":true}')
    const second = await store.move({ ...record({ now: store.now(), userId }), data: '{}' }, first, { carry: (data) => data })
    t.equal(await store.successor(first.id), second?.id)
    await store.begin(record({ now: store.now(), userId }), { limit })
    await store.listByUser(userId)
    if (each % 2 === 0) await store.delete(first.id)
    else await store.deleteByUser(userId)
    await store.set(`session-${each}`, { cookie: {}, each })
  }
  await store.length()
  await store.clear()
  t.ok(commands > 300)
  t.strictSame(crossing, [])
})
