import t from 'tap'
import type { Test } from 'tap'
import type { SessionStore } from '../../lib/index.ts'
import type { RedisTarget } from '../../lib/redis/target.ts'
import { isHeard, openNear, telling, Watcher } from '../helpers/near.ts'
import type { Near, NearOptions } from '../helpers/near.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { record } from '../helpers/record.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import type { TestRedis } from '../helpers/redis.ts'
import { openStore } from '../helpers/redis-store.ts'
import { report, times } from '../helpers/scale.ts'
import { startReplicatedCluster, startSentinels } from '../helpers/topology.ts'
import { startWire } from '../helpers/wire.ts'

withRealLimits(t)

/** What is promised, and what it takes to notice that nothing is heard any more: on a machine that is busy, too. */
const MAX_STALE_MS = 5_000
const NOTICED_MS = MAX_STALE_MS / 2

const redis = await startRedis(t)

interface Outage {
  near: Near
  /** Another process, with no near-cache; what goes wrong does not touch it, or only for a while. */
  other: SessionStore
  on: string
}

const wait = async (ms: number): Promise<void> => { await new Promise((resolve) => setTimeout(resolve, ms)) }

/**
 * Ends sessions one by one in another process, before, while and after something goes wrong, and has them looked for
 * all the time in the process with the near-cache.
 */
async function endDuring (t: Test, name: string, { near, other, on }: Outage, goWrong: () => Promise<void>, sessions = times(300, 60)): Promise<void> {
  /** Begins a session; on a machine that is busy, at another try. */
  const begun = async (): Promise<string> => {
    let id = ''
    await until('a session to begin', async () => {
      const session = record({ now: other.now() })
      id = session.id
      return await other.begin(session).then(() => true, () => false)
    }, 30_000)
    return id
  }
  const ids: string[] = []
  while (ids.length < sessions) ids.push(await begun())
  const watcher = new Watcher(near.store, ids)
  t.teardown(() => watcher.stop())
  const isServed = async (id: string): Promise<boolean> => {
    const { reads } = near
    const before = reads()
    return await near.store.find(id).then((found) => found !== null && reads() === before, () => false)
  }
  for (const id of ids) await until('it to be served from memory', () => isServed(id))

  const endedAt = new Map<string, number>()
  const end = async (id: string): Promise<void> => {
    await until('its end to be confirmed', async () => await other.delete(id).then(() => true, () => false), 30_000)
    endedAt.set(id, performance.now())
  }
  const ends = (async () => {
    for (const id of ids) {
      await end(id)
      await wait(20)
    }
  })()
  await wait(200)
  await goWrong()
  await ends
  await until('changes to be heard again', () => isHeard(near), 30_000)
  await until('the last message', async () => (await Promise.all(ids.map((id) => near.store.find(id)))).every((found) => found === null), MAX_STALE_MS).catch(() => {})
  await watcher.stop()
  // Who lives is served from memory again.
  const carol = await begun()
  await until('the near-cache to be of use again', () => isServed(carol), 30_000)
  // An end that a master took with it was none: that is what `durability` is for.
  const undone = (await Promise.all(ids.map(async (id) => await other.find(id) === null ? null : id))).filter((id) => id !== null)
  const ended = ids.filter((id) => !undone.includes(id))
  t.ok(ended.length > sessions / 2, 'most were not')
  const stale = ended.map((id) => watcher.staleMs(id, endedAt.get(id) as number))
  const slowestMs = Math.max(...stale)
  t.ok(slowestMs < NOTICED_MS, `found ${slowestMs.toFixed(1)} ms after its end`)
  t.comment(`found ${slowestMs.toFixed(1)} ms after its end at the most, ${watcher.refused} answers refused, ${undone.length} ends lost with their master`)
  report({ scenario: `near-cache: ended elsewhere, ${name}; slowest: still served`, on, tries: sessions, resurrected: stale.filter((ms) => ms > MAX_STALE_MS).length, slowestMs })
}

type Mode = Pick<NearOptions, 'invalidate' | 'events'>

/** What is heard: every change, or ends alone, in each way in which processes tell each other of them. */
const ENDS: ReadonlyArray<[name: string, mode: Mode]> = [
  ['', { invalidate: 'all' }],
  [', told of ends alone', { invalidate: 'ends' }],
  [', told of ends alone, sharded', { invalidate: 'ends', events: 'sharded' }]
]

/** A process with a near-cache, and one without. */
async function openBoth (t: Test, target: RedisTarget, { otherTarget = target, ...options }: Mode & { otherTarget?: RedisTarget, linePort?: number } = {}): Promise<Omit<Outage, 'on'>> {
  const keyPrefix = prefix()
  const other = await openStore(t, otherTarget, { prefix: keyPrefix, events: options.events })
  return {
    near: await openNear(t, target, { prefix: keyPrefix, maxStaleMs: MAX_STALE_MS, ...options }),
    other: telling(other, other.bus)
  }
}

/** The two on one server; the first by other ways if they are named. */
async function onOne (t: Test, server: TestRedis, { target = server.url, ...options }: Mode & { target?: RedisTarget, linePort?: number } = {}): Promise<Outage> {
  return { ...await openBoth(t, target, { otherTarget: server.url, ...options }), on: 'Redis' }
}

for (const [name, mode] of ENDS) {
  t.test(`a session that is ended elsewhere while nothing is wrong is not served any longer than the message takes${name}`, async (t) => {
    await endDuring(t, `nothing wrong${name}`, await onOne(t, redis, mode), async () => {})
  })

  t.test(`nor while the connection is killed on which changes are heard, again and again${name}`, async (t) => {
    await endDuring(t, `its connection killed${name}`, await onOne(t, redis, mode), async () => {
      for (let kill = 0; kill < 10; kill++) {
        await redis.client.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
        await wait(100)
      }
    })
  })

  t.test(`nor while the connection is killed on which sessions are read${name}`, async (t) => {
    await endDuring(t, `all connections killed${name}`, await onOne(t, redis, mode), async () => {
      for (let kill = 0; kill < 4; kill++) {
        await redis.client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
        await wait(300)
      }
    })
  })

  t.test(`nor while what Redis tells of changes vanishes on its way, and everything else arrives${name}`, async (t) => {
    const wire = await startWire(t, redis)
    const outage = await onOne(t, redis, { linePort: wire.port, ...mode })
    await endDuring(t, `its connection half-open${name}`, outage, async () => {
      wire.lose()
      await until('it to be noticed', () => !isHeard(outage.near))
      await wait(500)
      await wire.mend()
    })
  })

  t.test(`nor while the network to Redis is half-open, where it is 503 once that is noticed${name}`, async (t) => {
    const wire = await startWire(t, redis)
    const outage = await onOne(t, redis, { target: wire.url, ...mode })
    await endDuring(t, `the network half-open${name}`, outage, async () => {
      wire.lose()
      await until('it to be noticed', () => !isHeard(outage.near))
      await t.rejects(outage.near.store.find('unknown'), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
      await wait(500)
      await wire.mend()
    })
  })

  t.test(`nor while Redis is frozen, where it is 503 once that is noticed${name}`, async (t) => {
    const outage = await onOne(t, redis, mode)
    await endDuring(t, `Redis frozen${name}`, outage, async () => {
      redis.pause()
      await until('it to be noticed', () => !isHeard(outage.near), NOTICED_MS)
      await t.rejects(outage.near.store.find('unknown'), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
      await wait(1_000)
      redis.resume()
    })
  })
}

t.test('when everything in Redis is thrown away, or it starts again empty, nobody is served who was there', async (t) => {
  const server = await startRedis(t)
  const { near, other } = await onOne(t, server)
  for (const [name, throwAway] of [
    ['FLUSHALL', async () => { await server.client.flushall() }],
    ['killed', () => server.stop()]
  ] as const) {
    const records = Array.from({ length: 50 }, () => record({ now: other.now() }))
    await Promise.all(records.map(async (each) => await other.begin(each)))
    const watcher = new Watcher(near.store, records.map(({ id }) => id))
    t.teardown(() => watcher.stop())
    await wait(50)
    await throwAway()
    const at = performance.now()
    if (name === 'killed') await server.restart()
    await until('changes to be heard', () => isHeard(near), 30_000)
    await wait(100)
    await watcher.stop()
    const slowestMs = Math.max(...records.map(({ id }) => watcher.staleMs(id, at)))
    t.ok(slowestMs < 500, `${name}: found ${slowestMs.toFixed(1)} ms later`)
    report({ scenario: `near-cache: ${name}; slowest: still served`, on: 'Redis', tries: 50, resurrected: 0, slowestMs })
    await until('service', async () => await other.ping().then(() => true, () => false))
  }
})

for (const [name, mode] of ENDS.filter(([, { invalidate, events }]) => invalidate === 'all' || events === 'sharded')) {
  t.test(`nor while slots move from master to master, a replica takes over, or a master dies, in a Cluster${name}`, { timeout: 300_000 }, async (t) => {
    const topology = await startReplicatedCluster(t)
    const outage = { ...await openBoth(t, topology.target, mode), on: 'Redis Cluster' }
    await endDuring(t, `slots moving${name}`, outage, async () => {
      const [from, to] = await topology.masters() as [Parameters<typeof topology.move>[1], Parameters<typeof topology.move>[1]]
      const slots = Array.from({ length: 16384 }, (_, slot) => slot)
      const first: number[] = []
      for (const slot of slots) if (first.length < times(1_000, 150) && await topology.masterOf(slot * 10 % 16384) === from) first.push(slot * 10 % 16384)
      await topology.move([...new Set(first)], from, to)
    })
    await endDuring(t, `a planned failover${name}`, outage, async () => {
      const [master] = await topology.masters()
      if (master !== undefined) await topology.failover(master)
    })
    await topology.healthy()
    await endDuring(t, `a master killed${name}`, outage, async () => {
      const [master] = await topology.masters()
      if (master === undefined) return
      await master.kill()
      await topology.takeover(master, topology.members)
      await wait(1_000)
      await topology.repair()
    })
  })
}

for (const [name, mode] of ENDS.slice(0, 2)) {
  t.test(`nor while another master takes over by Sentinel${name}`, { timeout: 300_000 }, async (t) => {
    const topology = await startSentinels(t)
    const outage = { ...await openBoth(t, topology.target, mode), on: 'Redis by Sentinel' }
    await endDuring(t, `a planned failover${name}`, outage, async () => {
      const old = await topology.master()
      await topology.handOver(old)
      await wait(1_000)
    }, times(600, 150))
    await topology.healthy()
    const master = await topology.master()
    await endDuring(t, `the master killed${name}`, outage, async () => {
      await topology.watch()
      await master.kill()
      await topology.takeover(master, topology.members)
      await wait(1_000)
    }, times(600, 150))
  })
}
