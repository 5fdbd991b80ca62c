/*
 * Whether a request costs the same however much there is of everything: sessions in Redis, people who use theirs,
 * connections; and whether a process that runs for long stays as small as it was.
 *
 *     npm run bench:growth            up to a million sessions and 1,000 connections; some minutes, and 1 GB of memory
 *     npm run bench:growth -- --soak  ten million requests to each of two servers, and what is on their heaps meanwhile
 *
 * Prints a table in Markdown and writes bench/results/growth.json or bench/results/soak.json. CPU as `npm run bench` measures it.
 */
import { startRedis } from '../test/helpers/redis.ts'
import { SECRET } from './cost/apps/ours.ts'
import { CONNECTIONS } from './cost/load.ts'
import { costOf, measure } from './cost/measure.ts'
import { exchangesOf } from './cost/servers.ts'
import type { Subject } from './cost/servers.ts'
import { setStage } from './cost/stage.ts'
import { VARIANTS } from './cost/variants.ts'
import { cookieOf, fill, userOf } from './fill.ts'
import { machineOf, sayMachine, writeResult } from './machine.ts'
import { markdown } from './numbers.ts'

/** Among how many sessions in Redis, by how many people who use theirs, over how many connections. */
interface Size { sessions: number, active: number, connections: number }

const MILLION = 1_000_000
const SIZES: Size[] = [
  ...[1_000, 10_000, 100_000, MILLION].map((sessions) => ({ sessions, active: 1_000, connections: CONNECTIONS })),
  ...[10_000, 100_000].map((active) => ({ sessions: MILLION, active, connections: CONNECTIONS })),
  ...[200, 1_000].map((connections) => ({ sessions: MILLION, active: 1_000, connections }))
]
const NAMES = ['strict', 'near']
const ROUNDS = 16
const REQUESTS = 2_000
const SOAK = { requests: 10 * MILLION, look: MILLION, sessions: 10_000 }

const teardowns: Array<() => unknown> = []
try {
  const redis = await startRedis({ teardown: (callback: () => unknown) => { teardowns.push(callback) } })
  const isSoak = process.argv.includes('--soak')
  // Nobody is to wait for the other there.
  const stage = await setStage({ redis, sessions: 1_000, variants: VARIANTS.filter(({ name }) => NAMES.includes(name)), pinned: !isSoak })
  teardowns.push(stage.stop)
  const machine = await machineOf(redis.client)
  console.log(`${sayMachine(machine)}\n`)
  if (isSoak) await soak()
  else await grow()

  async function grow (): Promise<void> {
    const rows = []
    let filled = 0
    for (const size of SIZES) {
      if (size.sessions > filled) await fill(redis.client, filled, size.sessions)
      filled = Math.max(filled, size.sessions)
      for (const each of [...stage.raws, ...stage.subjects]) await each.connect(size.connections)
      for (const subject of stage.subjects) await use(subject, size)
      const slices = await measure(stage, { admin: redis.client, rounds: ROUNDS, requests: REQUESTS })
      const heaps = await Promise.all(stage.subjects.map(async (subject) => await subject.liveBytes()))
      rows.push({ ...size, servers: [...slices].map(([variant, each], index) => ({ name: variant.name, ratio: costOf(variant, each).ratio, heapMb: megabytes(heaps[index] as number) })) })
    }
    console.log(markdown(['sessions', 'in use', 'connections', ...stage.subjects.flatMap(({ variant: { says } }) => [`${says}, × raw`, 'heap'])], rows.map(({ sessions, active, connections, servers }) => [
      ...[sessions, active, connections].map((count) => count.toLocaleString('en')), ...servers.flatMap(({ ratio, heapMb }) => [ratio.toFixed(2), `${heapMb} MB`])
    ])))
    writeResult('growth.json', { machine, rows })
  }

  async function soak (): Promise<void> {
    await fill(redis.client, 0, SOAK.sessions)
    const rows: Array<[requests: number, ...heapMb: number[]]> = []
    for (const subject of stage.subjects) await use(subject, { sessions: SOAK.sessions, active: SOAK.sessions })
    for (let done = 0; done <= SOAK.requests; done += SOAK.look) {
      if (done > 0) await Promise.all(stage.subjects.map(async (subject) => { for (let part = 0; part < 20; part++) await subject.ask(SOAK.look / 20) }))
      rows.push([done, ...await Promise.all(stage.subjects.map(async (subject) => megabytes(await subject.liveBytes())))])
      console.log(`${done.toLocaleString('en')} requests: ${rows.at(-1)?.slice(1).join(', ')} MB`)
    }
    console.log()
    console.log(markdown(['requests', ...stage.subjects.map(({ variant: { says } }) => `heap, ${says}`)], rows.map(([requests, ...heaps]) => [requests.toLocaleString('en'), ...heaps.map((heap) => `${heap} MB`)])))
    writeResult('soak.json', { machine, rows })
  }
} finally {
  for (const teardown of teardowns.reverse()) await teardown()
}

/** From now on it is asked by these people, who are anywhere among the sessions. */
async function use (subject: Subject, { sessions, active }: Pick<Size, 'sessions' | 'active'>): Promise<void> {
  const [name] = /(?<=Cookie: )[^=]+/.exec(subject.exchanges[0]?.request ?? '') ?? []
  const numbers = Array.from({ length: active }, (_, index) => Math.floor(index * sessions / active))
  const headers = numbers.map((number) => `Cookie: ${name}=${cookieOf(number, SECRET)}\r\n`)
  subject.exchanges = exchangesOf(subject.variant, headers, (index) => userOf(numbers[index] as number))
  subject.rawExchanges = exchangesOf({ ...subject.variant, of: 'nobody' }, headers)
  // Once for each, so that what can be remembered is.
  await subject.ask(Math.max(active, 10_000))
}

function megabytes (bytes: number): number {
  return Math.round(bytes / 1024 ** 2 * 10) / 10
}
