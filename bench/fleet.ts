/*
 * What a fleet of processes costs Redis, by how they hear of each other: CPU of Redis per write, login and end, with 0 to
 * 400 processes; how late they hear of an end; what it takes when all are cut off at once; and, calculated from that,
 * fleets that no machine here holds.
 *
 *     npm run bench:fleet              every mode, about eight minutes
 *     npm run bench:fleet -- --quick   fewer and shorter, about three minutes
 *
 * Prints tables in Markdown and writes bench/results/fleet.json, of which `npm run docs` makes those of
 * docs/concepts/scale.md (a quick run writes nothing). The processes are simulated: see bench/fleet/modes.ts. Who signs in,
 * uses and ends sessions is this package. Redis and the processes share this machine, so CPU of Redis counts, not time.
 */
import { Redis } from 'ioredis'
import { startCluster, startRedis } from '../test/helpers/redis.ts'
import { Fleet } from './fleet/fleet.ts'
import { fit, fitFrom, mean, needOf } from './fleet/formula.ts'
import type { Cost, Costs, Rates } from './fleet/formula.ts'
import { MODES, OPERATIONS, TRACKED } from './fleet/modes.ts'
import type { Mode, Operation } from './fleet/modes.ts'
import { tablesOf } from './fleet/tables.ts'
import type { Bus, Check, FleetResult, Measured, Point, Reconnect, Staleness, Tracked } from './fleet/tables.ts'
import { hasOption, lib } from './lib.ts'
import { machineOf, writeResult } from './machine.ts'
import { infoNumber, median, quantile } from './numbers.ts'

const isQuick = process.argv.includes('--quick')
const PROCESSES = isQuick ? [0, 400] : [0, 50, 100, 200, 400]
/** Not one of them: so that the formula is checked where it was not made. */
const CHECKED = 300
const ROUNDS = isQuick ? 1 : 2
/** Operations of each kind in a round. */
const COUNT = isQuick ? 60 : 120
/** Operations per second, and messages per second: what the simulated processes can read on one core. */
const MOST_OPERATIONS = 250
const MOST_MESSAGES = 40_000
/** Operations at a time where many come together, and how many in all. */
const AT_ONCE = 100
const MANY = 600
const IDLE_MS = isQuick ? 700 : 2_000
const CHECK_MS = isQuick ? 3_000 : 8_000
const BUS_MESSAGES = 5_000
const SECRET = 'only for measuring, and 32 characters long'
/** How connections come back: all at the same moment, as those on which sessions are read, as those that listen. */
const PAUSES = [{ stepMs: 50, jitterMs: 0 }, { stepMs: 50, jitterMs: 50 }, { stepMs: 50, jitterMs: 500 }]
/** Modes of which all processes are cut off: the others come back in the same way. */
const CUT_OFF = ['near-cache', 'events']
const LEARNED = 200

const teardowns: Array<() => unknown> = []
const owner = { teardown: (callback: () => unknown) => { teardowns.push(callback) } }
try {
  const { client: admin, port, url } = await startRedis(owner)
  const client = new Redis(url, { enableAutoPipelining: true })
  /** When Redis answered the last deletion. */
  let repliedNs = 0n
  // Of its many forms the driver's types know none that takes any arguments.
  const evalsha = client.evalsha.bind(client) as (...args: unknown[]) => Promise<unknown>
  Object.assign(client, {
    evalsha: async (...args: unknown[]) => {
      const reply = await evalsha(...args)
      if (repliedNs === 0n) repliedNs = process.hrtime.bigint()
      return reply
    }
  })
  const stores = [openWith(client), ...await hasOption('events') ? [openWith(client, { events: 'sharded' })] : []]
  let { store, sessions } = stores[0] as (typeof stores)[number]
  const fleet = await Fleet.start(port)
  teardowns.push(() => fleet.stop(), () => client.disconnect(), async () => { for (const each of stores) { await each.sessions.close(); await each.store.close() } })
  const machine = await machineOf(admin)
  let users = 0
  const held = await Promise.all(Array.from({ length: LEARNED }, async () => (await sessions.create({ userId: `held-${users++}` })).session.id))
  const living: string[] = []

  /** Where nobody listens. */
  let bases: Costs | undefined
  const modes: Measured[] = []
  const reconnects: Reconnect[] = []
  for (const mode of MODES.filter(({ events }) => events === undefined || stores.length > 1)) {
    modes.push(await measure(mode))
    console.error(mode.name)
    if (CUT_OFF.includes(mode.name)) reconnects.push(...await cutOff(mode))
  }
  const result: FleetResult = { machine, modes, reconnects, tracked: await learn(), bus: await measureBus() }
  console.log(tablesOf(result))
  if (!isQuick) writeResult('fleet.json', result)

  async function measure (mode: Mode): Promise<Measured> {
    const known = stores[mode.events === undefined ? 0 : 1]
    if (known === undefined) throw new Error(`this version has no ${mode.says}`)
    ;({ store, sessions } = known)
    const points: Point[] = []
    let staleness: Staleness | null = null
    for (const processes of PROCESSES) {
      await fleet.be(mode, processes)
      const idleUs = await idle()
      const found = { alone: newRecord(), together: newRecord(), bytes: [] as number[] }
      for (let round = 0; round < ROUNDS; round++) {
        for (const name of OPERATIONS) {
          const { us, bytes } = await each(name, processes, idleUs)
          found.alone[name].push(us)
          if (name === 'end') found.bytes.push(bytes)
        }
        for (const name of OPERATIONS) found.together[name].push(await together(name, idleUs))
      }
      const middle = (of: Record<Operation, number[]>): Record<Operation, number> => ({ write: median(of.write), login: median(of.login), end: median(of.end) })
      points.push({ processes, idleUs, alone: middle(found.alone), together: middle(found.together), bytes: median(found.bytes) })
      if (processes === PROCESSES.at(-1) && mode.tells.includes('end')) staleness = { processes, ...await hear(processes) }
    }
    bases ??= costsFrom(points, mode, null)
    const costs = mode.tells.length === 0 ? bases : costsFrom(points, mode, bases)
    const { name, says, masters, tells } = mode
    return { name, says, masters, tells, points, costs, messageBytes: fit(points.map(({ processes, bytes }) => [processes, bytes])).each, staleness, check: await check(mode, costs) }
  }

  /** CPU of Redis per operation, of many at a time. */
  async function together (name: Operation, idleUs: number): Promise<number> {
    const spent = await meter()
    let next = 0
    await Promise.all(Array.from({ length: AT_ONCE }, async () => { while (next < MANY) await operate(name, next++) }))
    const { us, seconds } = await spent()
    return (us - idleUs * seconds) / MANY
  }

  /** CPU of Redis per operation, what it takes without any aside. */
  async function each (name: Operation, processes: number, idleUs: number): Promise<{ us: number, bytes: number }> {
    const spent = await meter()
    await pace(rateFor(processes), COUNT, async (index) => await operate(name, index))
    const { us, seconds, bytes } = await spent()
    return { us: (us - idleUs * seconds) / COUNT, bytes: bytes / COUNT }
  }

  async function operate (name: Operation, index: number): Promise<void> {
    if (name === 'write') {
      const record = await store.find(held[index % held.length] as string)
      if (record === null || !await store.touch(record)) throw new Error('nothing was written')
    } else if (name === 'login') {
      living.push((await sessions.create({ userId: `user-${users++}` })).session.id)
    } else {
      const id = living.shift()
      if (id === undefined || !await sessions.revoke(id)) throw new Error('nothing was ended')
    }
  }

  /** How long after the reply of a deletion sampled processes hear of it. */
  async function hear (processes: number): Promise<Omit<Staleness, 'processes'>> {
    const count = 2 * COUNT
    await pace(rateFor(processes), count, async () => await operate('login', 0))
    await pause(200)
    await fleet.forget()
    const replied = new Map<string, bigint>()
    await pace(rateFor(processes), count, async () => {
      const id = living.shift() as string
      repliedNs = 0n
      await sessions.revoke(id)
      replied.set(id, repliedNs)
    })
    await pause(500)
    const told = await fleet.told()
    const late = [...replied].flatMap(([id, at]) => (told.get(id) ?? []).map((heard) => Number(heard - at) / 1e6))
    return { p50Ms: quantile(late, 0.5), p99Ms: quantile(late, 0.99), maxMs: quantile(late, 1), heard: late.length / (count * 8) }
  }

  /** All at once, with as many processes as the formula was not made with. */
  async function check (mode: Mode, costs: Costs): Promise<Check> {
    await fleet.be(mode, CHECKED)
    const rates: Rates = { write: 90, login: 20, end: 20 }
    const count = (name: Operation): number => rates[name] * CHECK_MS / 1000
    await pace(MOST_OPERATIONS, Math.max(0, count('end') - living.length), async () => await operate('login', 0))
    const spent = await meter()
    await Promise.all(OPERATIONS.map(async (name) => await pace(rates[name], count(name), async (index) => await operate(name, index))))
    const { us, seconds } = await spent()
    const real: Rates = { write: count('write') / seconds, login: count('login') / seconds, end: count('end') / seconds }
    const [idleUs, { base, each }] = [await idle(), costs.together.write]
    const many = { predicted: base + each * CHECKED, measured: await together('write', idleUs) }
    return { processes: CHECKED, rates: real, predicted: needOf(costs, real, CHECKED).alone, measured: us / 1e6 / seconds, together: many }
  }

  /** Cuts all off at once, and looks how another command fares until all hear again. */
  async function cutOff (mode: Mode): Promise<Reconnect[]> {
    const processes = PROCESSES.at(-1) as number
    const rows: Reconnect[] = []
    for (const pauses of PAUSES) {
      await fleet.be(mode, processes)
      const idleUs = await idle()
      const alone = await latencies(pause(1_000))
      await fleet.arm(pauses)
      const spent = await meter()
      const from = performance.now()
      await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
      const again = fleet.hearAgain()
      const meanwhile = await latencies(again)
      const tookMs = performance.now() - from
      const { us, seconds } = await spent()
      rows.push({ says: mode.says, processes, jitterMs: pauses.jitterMs, tookMs, cpuMs: (us - idleUs * seconds) / 1000, aloneP99Ms: quantile(alone, 0.99), p99Ms: quantile(meanwhile, 0.99), maxMs: quantile(meanwhile, 1) })
    }
    return rows
  }

  /** How long reads of a session take until something is done, one after the other. */
  async function latencies (until: Promise<unknown>): Promise<number[]> {
    const took: number[] = []
    const progress = { isDone: false }
    void until.then(() => { progress.isDone = true })
    while (!progress.isDone) {
      const from = performance.now()
      await store.find(held[0] as string)
      took.push(performance.now() - from)
      await pause(1)
    }
    return took
  }

  /** What it costs that Redis remembers who has read what: per read, per write, and in memory. */
  async function learn (): Promise<Tracked> {
    const keys = held.slice(0, LEARNED).map((id) => `sess:${id}`)
    const points: Array<[processes: number, us: number]> = []
    const reads: number[] = []
    let bytes = 0
    for (const processes of PROCESSES) {
      await fleet.be(TRACKED, processes)
      const idleUs = await idle()
      const before = infoNumber(await admin.info('memory'), 'used_memory')
      const spent = await meter()
      await fleet.read(keys, 1)
      const { us, seconds } = await spent()
      if (processes > 0) {
        reads.push((us - idleUs * seconds) / (keys.length * processes))
        bytes = (infoNumber(await admin.info('memory'), 'used_memory') - before) / (keys.length * processes)
      }
      const writing = await meter()
      await pace(rateFor(processes), keys.length, async (index) => await operate('write', index))
      const written = await writing()
      points.push([processes, (written.us - idleUs * written.seconds) / keys.length])
    }
    await fleet.be(MODES[0] as Mode, 50)
    const idleUs = await idle()
    const spent = await meter()
    await fleet.read(keys, 1)
    const { us, seconds } = await spent()
    return { write: fit(points), readUs: median(reads), plainReadUs: (us - idleUs * seconds) / (keys.length * 50), bytes }
  }

  /** CPU of Redis, in microseconds per second, while nothing happens. */
  async function idle (): Promise<number> {
    await pause(200)
    const spent = await meter()
    await pause(IDLE_MS)
    const { us, seconds } = await spent()
    return us / seconds
  }

  async function meter (of = admin): Promise<() => Promise<{ us: number, seconds: number, bytes: number }>> {
    const look = async (): Promise<[us: number, bytes: number, at: number]> => {
      const info = await of.info('everything')
      const us = (infoNumber(info, 'used_cpu_user') + infoNumber(info, 'used_cpu_sys')) * 1e6
      return [us, infoNumber(info, 'total_net_output_bytes'), performance.now()]
    }
    const [us, bytes, at] = await look()
    return async () => {
      const [nowUs, nowBytes, now] = await look()
      return { us: nowUs - us, seconds: (now - at) / 1000, bytes: nowBytes - bytes }
    }
  }
} finally {
  for (const teardown of teardowns.reverse()) await teardown()
}

/** What the masters of a Cluster take for a message that another one was given, where nobody listens. */
async function measureBus (): Promise<Bus> {
  const { ports } = await startCluster(owner, { masters: 3 })
  const nodes = ports.map((port) => new Redis(port))
  const [first, second] = nodes as [Redis, Redis]
  const cpuUs = async (node: Redis): Promise<number> => {
    const info = await node.info('cpu')
    return (infoNumber(info, 'used_cpu_user') + infoNumber(info, 'used_cpu_sys')) * 1e6
  }
  const spend = async (work: () => Promise<unknown>): Promise<[given: number, other: number, ms: number]> => {
    const [from, given, other] = [performance.now(), await cpuUs(first), await cpuUs(second)]
    await work()
    await pause(200)
    return [await cpuUs(first) - given, await cpuUs(second) - other, performance.now() - from]
  }
  const message = JSON.stringify({ id: 'x'.repeat(22), text: 'x'.repeat(200) })
  // The slot of this channel is the first node's.
  const channel = 'sess:{18}'
  const [idleGiven, idleOther, idleMs] = await spend(async () => await pause(2_000))
  const per = async (command: string): Promise<{ givenUs: number, otherUs: number }> => {
    const [given, other, ms] = await spend(async () => await pace(1_000, BUS_MESSAGES, async () => await first.call(command, channel, message)))
    return { givenUs: (given - idleGiven * ms / idleMs) / BUS_MESSAGES, otherUs: (other - idleOther * ms / idleMs) / BUS_MESSAGES }
  }
  const found = { publish: await per('PUBLISH'), spublish: await per('SPUBLISH') }
  for (const node of nodes) node.disconnect()
  return found
}

function newRecord (): Record<Operation, number[]> {
  return { write: [], login: [], end: [] }
}

/** What nobody is told of costs the same however many listen, and with nobody what it costs where nobody listens. */
function costsFrom (points: Point[], { tells }: Mode, bases: Costs | null): Costs {
  const lines = (kind: 'alone' | 'together'): Record<Operation, Cost> => {
    const lineOf = (name: Operation): Cost => {
      const base = bases?.[kind][name].base ?? mean(points.map((point) => point[kind][name]))
      return tells.includes(name) ? fitFrom(base, points.map((point) => [point.processes, point[kind][name]])) : { base, each: 0 }
    }
    return { write: lineOf('write'), login: lineOf('login'), end: lineOf('end') }
  }
  const idle = points.map(({ processes, idleUs }) => [processes, idleUs] as const)
  const idleBase = bases?.idle.base ?? mean(idle.filter(([processes]) => processes === 0).map(([, us]) => us))
  return { idle: fitFrom(idleBase, idle), alone: lines('alone'), together: lines('together') }
}

function rateFor (processes: number): number {
  return Math.min(MOST_OPERATIONS, MOST_MESSAGES / Math.max(1, processes))
}

/** Does something so often, one after the other, at a rate. */
async function pace (perSecond: number, count: number, action: (index: number) => Promise<unknown>): Promise<void> {
  const from = performance.now()
  for (let index = 0; index < count; index++) {
    const early = from + index * 1000 / perSecond - performance.now()
    if (early > 0) await pause(early)
    await action(index)
  }
}

/** The package, as it signs in, uses and ends sessions. Only of a newer version the store has this option. */
function openWith (client: Redis, options: { events?: 'sharded' } = {}): { store: InstanceType<typeof lib.RedisStore>, sessions: InstanceType<typeof lib.SessionManager> } {
  const store = new lib.RedisStore({ client, ...options })
  return { store, sessions: new lib.SessionManager({ store, secret: SECRET, cookieName: 'sid' }) }
}

async function pause (ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
}
