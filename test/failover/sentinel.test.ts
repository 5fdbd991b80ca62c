import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import type { SessionOptions } from '../../lib/index.ts'
import { connect } from '../../lib/redis/connection.ts'
import { sessionsOf } from '../helpers/history.ts'
import type { Member } from '../helpers/member.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { HOST, prefix, until } from '../helpers/redis.ts'
import { report, times } from '../helpers/scale.ts'
import { startSentinels } from '../helpers/topology.ts'
import { startWire } from '../helpers/wire.ts'
import { Load, startService } from './load.ts'
import type { Fault, Service, Visitor } from './load.ts'

withRealLimits(t)

const topology = await startSentinels(t)

/** Two processes' worth of connections: one by options, one by a client of the application's own, with the driver's defaults. */
async function startLoad (t: Test, options: Partial<SessionOptions> = {}): Promise<Load> {
  const theirs = new Redis(topology.target)
  theirs.on('error', () => {})
  t.teardown(() => theirs.disconnect())
  const keyPrefix = prefix()
  const load = new Load(t, [
    await startService(t, { redis: topology.target, keyPrefix, ...options }),
    await startService(t, { redis: theirs, keyPrefix, ...options })
  ])
  load.start()
  await load.served(performance.now())
  return load
}

/** Somebody who has just signed in, under load. */
async function newcomer (load: Load, userId: string): Promise<Visitor> {
  let visitor = await load.login(0, userId)
  await until('a login', async () => (visitor ??= await load.login(0, userId)) !== null)
  // Else that has thrown.
  return visitor as Visitor
}

/** Resolves when both replicas of a master have all that was written so far. */
async function hasReplicated (master: Member): Promise<void> {
  const hasAll = async () => await master.client.set(prefix(), '', 'PX', 1) === 'OK' && await master.client.wait(2, 100) === 2
  await until('the replicas to have it', hasAll)
}

/** Ada, who has just signed in. */
async function signedIn (service: Service): Promise<{ id: string, headers: { cookie: string } }> {
  const login = await service.inject({ method: 'POST', url: '/login/ada' })
  if (login.statusCode !== 200) throw new Error(`the login was answered ${login.statusCode}`)
  return { id: login.json<{ id: string }>().id, headers: { cookie: `sid=${login.cookies[0]?.value ?? ''}` } }
}

/** As docs/guides/planned-failover.md advises it. */
const PLANNED = 'planned, the master hands over first'

const FAULTS: Fault[] = [
  {
    name: 'master killed',
    strike: async (master) => {
      await topology.watch()
      await master.kill()
      return undefined
    }
  },
  {
    name: 'master frozen and resumed',
    strike: async (master) => {
      await topology.watch()
      master.freeze()
      return () => master.resume()
    }
  },
  { name: 'planned', strike: async () => { await topology.failover(); return undefined } },
  { name: PLANNED, strike: async (master, begins) => { await topology.handOver(master, begins); return undefined } }
]

const [killed, frozen, , handedOver] = FAULTS as [Fault, Fault, Fault, Fault]
const TAKEOVERS = [...FAULTS.map((fault) => [fault, 'default'] as const), ...[killed, frozen, handedOver].map((fault) => [fault, 'replicated'] as const)]

/** How long Sentinels take to name another master, and to give it a replica. What they are later on a busy machine is not counted. */
const SENTINELS_TAKE_MS = 4_000

for (const [{ name, strike }, durability] of TAKEOVERS) {
  t.test(`another master takes over by Sentinel, ${name}, with durability ${durability}`, { timeout: 3_600_000 }, async (t) => {
    const isAdvised = name === PLANNED
    const load = await startLoad(t, { durability })
    let [recoveryMs, oursMs, countedMs] = [0, 0, 0]
    const rounds = times(isAdvised ? 100 : 10, durability === 'default' ? 2 : 1)
    for (let round = 0; round < rounds; round++) {
      const old = await topology.master()
      let struckAt = performance.now()
      const end = await strike(old, () => { struckAt = performance.now() })
      const { at, master } = await topology.takeover(old, topology.members)
      // With durability 'replicated' nobody signs in before the Sentinels have given the master a replica.
      const followed = durability === 'replicated' ? topology.followed(master) : at
      const named = until('the Sentinels to name another', async () => await topology.master() !== old, 20_000).then(() => performance.now())
      const [servedAt, namedAt, followedAt] = [await load.served(at), await named, await followed]
      const doneAt = Math.max(namedAt, followedAt)
      // Where it was planned the old one may have gone on serving.
      recoveryMs = Math.max(recoveryMs, servedAt - struckAt)
      oursMs = Math.max(oursMs, servedAt - doneAt, 0)
      countedMs = Math.max(countedMs, servedAt - struckAt - Math.max(0, doneAt - struckAt - SENTINELS_TAKE_MS))
      t.comment(`${name}: another took over after ${(at - struckAt).toFixed()} ms, all Sentinels named it ${(namedAt - at).toFixed()} ms later, it was followed ${(followedAt - at).toFixed()} ms later, first login ${(servedAt - doneAt).toFixed()} ms after both`)
      await topology.calm()
      end?.()
      // Who was resumed takes itself for the master until a Sentinel tells it.
      await load.served(performance.now())
      await topology.repair(old)
      await load.served(performance.now())
    }
    await load.settle()
    const findings = load.history.check()
    t.comment(load.summary)
    t.strictSame(load.wrong, [])
    if (isAdvised || durability === 'replicated') t.strictSame(findings, { resurrected: [], lost: [], unended: [] })
    t.ok(load.slowestMs <= 700, `the slowest answer after ${load.slowestMs.toFixed()} ms: ${load.slowest}`)
    t.ok(countedMs <= 6_000, `service after ${recoveryMs.toFixed()} ms, ${oursMs.toFixed()} ms of it after the Sentinels knew`)
    report({ scenario: `failover by Sentinel, ${name}, durability ${durability}`, on: 'Sentinel', tries: load.requests, resurrected: sessionsOf(findings.resurrected), lost: sessionsOf(findings.lost), slowestMs: load.slowestMs, recoveryMs })
  })
}

for (const { name, strike } of FAULTS.slice(1, 3)) {
  t.test(`who was master and still takes itself for it is not asked any more, ${name}`, async (t) => {
    const options = { redis: topology.target, keyPrefix: prefix() }
    const ours = await startService(t, options)
    const { id, headers } = await signedIn(ours)
    const read = async () => (await ours.inject({ url: '/me', headers })).statusCode
    t.equal(await read(), 200)
    const old = await topology.master()
    // What its replicas lack, whichever takes over will lack as well.
    await hasReplicated(old)
    const end = await strike(old)
    await topology.takeover(old, topology.members)
    await until('the Sentinels to name another', async () => await topology.master() !== old)
    end?.()
    const theirs = await startService(t, options)
    t.equal((await theirs.inject({ method: 'POST', url: `/revoke/${id}` })).json<{ ended: boolean }>().ended, true)
    t.equal(await old.client.exists(options.keyPrefix + id), 1, 'the old master does not know that')
    t.equal((await old.replication()).role, 'master')
    // Longer than a connection that was asked in vain is kept.
    for (const until = performance.now() + 2_000; performance.now() < until;) {
      t.not(await read(), 200)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    t.equal(await read(), 401)
    await topology.repair(old)
  })
}

t.test('a failover of which no Sentinel could tell is noticed as soon as they are heard again', async (t) => {
  const wires = await Promise.all(topology.sentinels.map((sentinel) => startWire(t, sentinel)))
  const keyPrefix = prefix()
  const ours = await startService(t, { redis: { ...topology.target, sentinels: wires.map(({ port }) => ({ host: HOST, port })), updateSentinels: false }, keyPrefix })
  const { id, headers } = await signedIn(ours)
  const read = async () => (await ours.inject({ url: '/me', headers })).statusCode
  const old = await topology.master()
  await hasReplicated(old)
  await Promise.all(wires.map((wire) => wire.cut()))
  await topology.failover()
  await topology.switched(old)
  const theirs = await startService(t, { redis: topology.target, keyPrefix })
  t.equal((await theirs.inject({ method: 'POST', url: `/revoke/${id}` })).json<{ ended: boolean }>().ended, true)
  t.equal(await read(), 200, 'nobody could tell')
  await Promise.all(wires.map((wire) => wire.mend()))
  await until('the new master to be asked', async () => await read() === 401, 5_000)
  t.equal((await old.replication()).role, 'master', 'the old one takes itself for the master as before')
  await topology.repair(old)
})

t.test('a replica is not asked in place of the master, also by way of a client that skips its ready check', async (t) => {
  const master = await topology.master()
  const [replica] = await topology.replicasOf(master) as [Member]
  const keyPrefix = prefix()
  const { id, headers } = await signedIn(await startService(t, { redis: topology.target, keyPrefix }))
  await until('the replica to have it', async () => await replica.client.exists(keyPrefix + id) === 1)
  // As by a Sentinel that has not heard of a failover.
  const misled = new Redis({ ...topology.target, natMap: { [master.name]: { host: HOST, port: replica.port } }, enableReadyCheck: false })
  misled.on('error', () => {})
  t.teardown(() => misled.disconnect())
  const service = await startService(t, { redis: misled, keyPrefix })
  t.equal((await service.inject({ url: '/me', headers })).statusCode, 503)
})

t.test('a Sentinel that falls silent just when it is listened to again ends no process, and is listened to later', async (t) => {
  const [sentinel] = topology.sentinels as [Member]
  const wire = await startWire(t, sentinel)
  const { client } = connect({ ...topology.target, sentinels: [{ host: HOST, port: wire.port }], updateSentinels: false })
  t.teardown(() => client.disconnect())
  client.on('error', () => {})
  await until('the connection', () => client.status === 'ready' && wire.count('subscribe') > 0)
  await wire.cut()
  wire.sent = ''
  await wire.mend()
  wire.loseAnswersFrom('subscribe')
  await until('it to be given up', () => /\nsubscribe\r[^]*\nhello\r/.test(wire.sent))
  const unheard = wire.count('subscribe')
  await wire.mend()
  await until('it to be listened to', () => wire.count('subscribe') > unheard)
  t.equal(client.status, 'ready')
})

t.test('a Sentinel that is frozen keeps nobody from finding the master', async (t) => {
  const [first] = topology.sentinels as [Member]
  first.freeze()
  t.teardown(() => first.resume())
  const service = await startService(t, { redis: topology.target, keyPrefix: prefix() })
  await until('service', async () => (await service.inject({ method: 'POST', url: '/login/ada' })).statusCode === 200, 2_000)
})

t.test('a failover that is told while a Sentinel is asked for the master is no reason to give up', async (t) => {
  for (const sentinel of topology.sentinels) sentinel.freeze()
  t.teardown(() => { for (const sentinel of topology.sentinels) sentinel.resume() })
  const { client } = connect(topology.target)
  t.teardown(() => client.disconnect())
  client.on('error', () => {})
  await until('it to ask', () => client.status === 'connecting')
  // What the driver does when it hears of a failover.
  ;(client as unknown as { connector: { disconnect: () => void } }).connector.disconnect()
  for (const sentinel of topology.sentinels) sentinel.resume()
  await until('the connection', () => client.status === 'ready')
  client.disconnect()
  await until('the end, which was asked for', () => client.status === 'end')
})

for (const durability of ['default', 'replicated'] as const) {
  t.test(`a master is killed after its replicas have heard nothing for a while, with durability ${durability}`, { timeout: 600_000 }, async (t) => {
    const load = await startLoad(t, { durability })
    let recoveryMs = 0
    for (let round = 0; round < times(10, durability === 'default' ? 1 : 2); round++) {
      const old = await topology.master()
      const known = await newcomer(load, 'known')
      await hasReplicated(old)
      const mend = await topology.cut(old)
      const from = load.requests
      // The replicas hear of neither: a new session that they lack, and the end of one that they have.
      if (durability === 'default') {
        await newcomer(load, 'new')
        await until('a logout', async () => await load.logout(known))
      } else {
        t.equal(await load.login(0, 'new'), null, 'a login that nobody confirms is not said to be done')
        t.equal(await load.logout(known), false, 'nor is a logout')
      }
      await until('people to sign in and out meanwhile', () => load.requests > from + 30)
      await topology.watch()
      const struckAt = performance.now()
      await old.kill()
      mend()
      const { at } = await topology.takeover(old, topology.members)
      recoveryMs = Math.max(recoveryMs, await load.served(at) - struckAt)
      await topology.repair(old)
      await load.served(performance.now())
    }
    await load.settle()
    const findings = load.history.check()
    const [resurrected, lost] = [sessionsOf(findings.resurrected), sessionsOf(findings.lost)]
    t.comment(load.summary)
    t.strictSame(load.wrong, [])
    t.ok(load.slowestMs <= 700, `the slowest answer after ${load.slowestMs.toFixed()} ms: ${load.slowest}`)
    if (durability === 'default') {
      t.ok(lost > 0, 'a login that the master alone confirmed is lost, and seen to be')
      t.ok(resurrected > 0, 'a session whose end the master alone confirmed is back, and seen to be')
    } else {
      t.strictSame(findings, { resurrected: [], lost: [], unended: [] })
    }
    report({ scenario: `failover after the replicas were cut off, durability ${durability}`, on: 'Sentinel', tries: load.requests, resurrected, lost, slowestMs: load.slowestMs, recoveryMs })
  })
}
