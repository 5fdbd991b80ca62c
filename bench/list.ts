/*
 * What one user's sessions cost to list and to end, by how many sessions there are, beside connect-redis:
 *
 *     npm run bench:list              10,000, 100,000 and 1,000,000 sessions, about a minute and 1.5 GB of memory
 *     npm run bench:list -- --quick   without the million
 *
 * Prints tables in Markdown and writes bench/results/list.json. The server is one of its own, on loopback.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { RedisStore as ConnectRedisStore } from 'connect-redis'
import { Redis } from 'ioredis'
import { RedisStore, SessionManager } from '../lib/index.ts'
import { connect } from '../lib/redis/connection.ts'
import { startRedis } from '../test/helpers/redis.ts'
import { fill, PER_USER } from './fill.ts'

const SIZES = process.argv.includes('--quick') ? [10_000, 100_000] : [10_000, 100_000, 1_000_000]
const LISTINGS = 2_000
const REVOCATIONS = 200
/** Where the memory of walking through all sessions is looked at, and how often. */
const WALK_SIZE = 100_000
const LOOK_EVERY = 5_000
/** What is sent for measuring, or for the time. */
const OWN_COMMANDS = ['config', 'info', 'slowlog', 'time']
/** What only scripts do while sessions are listed. */
const IN_SCRIPTS = ['zrem', 'zcount', 'zrangebyscore']
interface Row {
  sessions: number
  fillSeconds: number
  listByUserMs: number
  listByUserP99Ms: number
  listByUserCommands: Record<string, number>
  revokeUserMs: number
  connectRedisAllMs: number
  /** How long the longest of the commands kept Redis from answering anybody else. */
  longestCommandMs: { listByUser: number, connectRedisAll: number }
}

const teardowns: Array<() => unknown> = []
try {
  await main()
} finally {
  for (const teardown of teardowns.reverse()) await teardown()
}

async function main (): Promise<void> {
  const { url, client: admin } = await startRedis({ teardown: (callback: () => unknown) => { teardowns.push(callback) } })
  const { client } = connect(url)
  const other = new Redis(url, { db: 1 })
  const store = new RedisStore({ client })
  const sessions = new SessionManager({ store, secret: 'only for measuring, and 32 characters long' })
  const connectRedis = new ConnectRedisStore({ client: other })
  teardowns.push(() => other.disconnect(), () => client.disconnect(), () => store.close(), () => sessions.close())
  const [, version] = /(?:redis|valkey)_version:(\S+)/.exec(await admin.info('server')) ?? []
  const machine = { node: process.version, redis: version ?? '', cpu: `${cpus().length} × ${cpus()[0]?.model}` }

  const rows: Row[] = []
  let walk: Walk | undefined
  let filled = 0
  for (const size of SIZES) {
    const fillSeconds = await seconds(() => fill(admin, filled, size, { beside: true }))
    filled = size
    await store.ready(5_000)
    rows.push({ sessions: size, fillSeconds, ...await measure(size, { sessions, connectRedis, admin }) })
    if (size === WALK_SIZE) walk = await walkAll(sessions, connectRedis)
  }
  report(machine, rows, walk)
  const results = new URL('results/', import.meta.url)
  mkdirSync(results, { recursive: true })
  writeFileSync(new URL('list.json', results), JSON.stringify({ machine, perUser: PER_USER, rows, walk }, null, 2) + '\n')
}

interface Measured { sessions: SessionManager, connectRedis: ConnectRedisStore, admin: Redis }

async function measure (size: number, { sessions, connectRedis, admin }: Measured): Promise<Omit<Row, 'sessions' | 'fillSeconds'>> {
  // The last user may have fewer than the others.
  const anyUser = () => Math.floor(Math.random() * Math.floor(size / PER_USER))
  const list = async () => {
    const { length } = await sessions.listByUser(anyUser())
    if (length !== PER_USER) throw new Error(`a user has ${length} sessions`)
  }
  await times(LISTINGS, list)
  await reset(admin)
  const listings = await times(LISTINGS, list)
  const [commands, longestOfOurs] = [await commandsOf(admin), await longestCommandMs(admin)]
  await reset(admin)
  const everything = await times(size > WALK_SIZE ? 1 : 3, async () => {
    const { length } = await connectRedis.all()
    if (length !== size) throw new Error(`connect-redis has ${length} sessions`)
  })
  const longestOfTheirs = await longestCommandMs(admin)
  // Ended users have none left to list: each is taken once, and from the end.
  let user = Math.floor(size / PER_USER)
  const revocations = await times(REVOCATIONS, async () => { await sessions.revokeUser(--user) })
  await fill(admin, user * PER_USER, size, { beside: true })
  return {
    listByUserMs: quantile(listings, 0.5),
    listByUserP99Ms: quantile(listings, 0.99),
    listByUserCommands: Object.fromEntries(Object.entries(commands).map(([name, calls]) => [name, calls / LISTINGS])),
    revokeUserMs: quantile(revocations, 0.5),
    connectRedisAllMs: quantile(everything, 0.5),
    longestCommandMs: { listByUser: longestOfOurs, connectRedisAll: longestOfTheirs }
  }
}

interface Walk { sessions: number, seconds: number, listAllMb: number, connectRedisAllMb: number }

/** How much live memory grows while all sessions are walked through. */
async function walkAll (sessions: SessionManager, connectRedis: ConnectRedisStore): Promise<Walk> {
  const walk = async (look: () => void) => {
    let count = 0
    for await (const { userId } of sessions.listAll()) {
      if (userId !== '' && ++count % LOOK_EVERY === 0) look()
    }
    return count
  }
  const took = await seconds(() => walk(() => {}))
  const before = liveMb()
  let peak = 0
  const count = await walk(() => { peak = Math.max(peak, liveMb() - before) })
  const all: unknown[] = await connectRedis.all()
  return { sessions: count, seconds: took, listAllMb: peak, connectRedisAllMb: all.length === 0 ? 0 : liveMb() - before }
}

/** What is left of the heap when the garbage is gone. */
function liveMb (): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  return process.memoryUsage().heapUsed / 1024 ** 2
}

async function times (count: number, action: () => Promise<void>): Promise<number[]> {
  const took: number[] = []
  for (let index = 0; index < count; index++) took.push(await seconds(action) * 1000)
  return took
}

async function reset (admin: Redis): Promise<void> {
  await admin.config('SET', 'slowlog-log-slower-than', '0', 'slowlog-max-len', '20000')
  await admin.config('RESETSTAT')
  await admin.slowlog('RESET')
}

/** Of those since `reset`, without our own. Ends what `reset` began. */
async function longestCommandMs (admin: Redis): Promise<number> {
  await admin.config('SET', 'slowlog-log-slower-than', '-1')
  const log = await admin.slowlog('GET', -1) as Array<[id: number, at: number, micros: number, command: string[]]>
  const micros = log.filter(([, , , [name = '']]) => !OWN_COMMANDS.includes(name.toLowerCase())).map(([, , micros]) => micros)
  return micros.reduce((longest, each) => Math.max(longest, each), 0) / 1000
}

/** How often each command was called since `reset`, without our own. */
async function commandsOf (admin: Redis): Promise<Record<string, number>> {
  const found = [...(await admin.info('commandstats')).matchAll(/^cmdstat_(\w+)(?:\|\w+)?:calls=(\d+)/gm)]
  return Object.fromEntries(found.map(([, name = '', calls]) => [name, Number(calls)] as const).filter(([name]) => ![...OWN_COMMANDS, ...IN_SCRIPTS].includes(name)))
}

async function seconds (action: () => Promise<unknown>): Promise<number> {
  const from = performance.now()
  await action()
  return (performance.now() - from) / 1000
}

function quantile (values: number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? NaN
}

function report ({ node, redis, cpu }: { node: string, redis: string, cpu: string }, rows: Row[], walk: Walk | undefined): void {
  const count = (value: number) => value.toLocaleString('en')
  const ms = (value: number) => value < 10 ? `${value.toFixed(2)} ms` : `${count(Math.round(value))} ms`
  console.log(`Node ${node} · Redis ${redis} · ${cpu} · ${PER_USER} sessions per user\n`)
  console.log('| sessions | `listByUser` median | p99 | its commands | `revokeUser` median | connect-redis `all()` | longest command, ours | theirs | filled in |')
  console.log('|---|---|---|---|---|---|---|---|---|')
  for (const row of rows) {
    const commands = Object.entries(row.listByUserCommands).map(([name, calls]) => `${calls} ${name.toUpperCase()}`).join(', ')
    console.log(`| ${[count(row.sessions), ms(row.listByUserMs), ms(row.listByUserP99Ms), commands, ms(row.revokeUserMs), ms(row.connectRedisAllMs), ms(row.longestCommandMs.listByUser), ms(row.longestCommandMs.connectRedisAll), `${row.fillSeconds.toFixed(1)} s`].join(' | ')} |`)
  }
  if (walk === undefined) return
  console.log(`\nAll ${count(walk.sessions)} sessions: \`listAll()\` took ${walk.seconds.toFixed(1)} s and ${walk.listAllMb.toFixed(1)} MB of live heap at most; connect-redis \`all()\` holds ${walk.connectRedisAllMb.toFixed(1)} MB.`)
}
