/*
 * What a sign-in with counted attempts costs the server, password hashing aside: by one script, and in steps, as in a
 * Cluster.
 *
 *     npm run bench:login                      5 rounds of 2,000 sign-ins of each kind
 *     npm run bench:login -- --quick           2 rounds of 500
 *     npm run bench:login -- --before=<folder> beside another build of this package (npm run bench:build there)
 *
 * Prints a table in Markdown and writes bench/results/login.json. CPU is that of the server above what the same request
 * costs without a session.
 */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { startRedis } from '../test/helpers/redis.ts'
import { Load } from './cost/load.ts'
import type { Exchange } from './cost/load.ts'
import type { Use, Way } from './login/server.ts'
import { machineOf, sayMachine, writeResult } from './machine.ts'
import { infoNumber, markdown, median } from './numbers.ts'

const isQuick = process.argv.includes('--quick')
const [ROUNDS, LOGINS] = isQuick ? [2, 500] : [5, 2_000]
const CONNECTIONS = [1, 8, 50]
const FILE = fileURLToPath(new URL('login/server.ts', import.meta.url))
const BUILT = new URL('../.tmp/bench/lib/', import.meta.url).href
const before = process.argv.find((each) => each.startsWith('--before='))?.slice('--before='.length)

/** Servers that are compared. */
const SERVERS: Array<{ name: string, way: Way, folder: string }> = [
  { name: 'by one script', way: 'script', folder: BUILT },
  { name: 'in steps', way: 'steps', folder: BUILT },
  ...before === undefined ? [] : [{ name: 'before', way: 'script' as const, folder: `${pathToFileURL(resolve(before)).href}/` }]
]

/** A server, and what its load was answered. */
interface Server {
  name: string
  child: ChildProcess
  port: number
}

/** What one sign-in cost. CPU in microseconds. */
interface Cost {
  micros: number
  redisMicros: number
  latencyMs: number
}

const teardowns: Array<() => unknown> = []
let users = 0
try {
  const redis = await startRedis({ teardown: (callback: () => unknown) => { teardowns.push(callback) } })
  const machine = await machineOf(redis.client)
  const servers = await Promise.all(SERVERS.map(async ({ name, way, folder }): Promise<Server> => {
    const child = fork(FILE, [redis.url, way, folder], { execArgv: ['--import', 'tsx'], env: { ...process.env, NODE_ENV: 'production' } })
    teardowns.push(async () => {
      const ended = once(child, 'exit')
      child.disconnect()
      await ended
    })
    const [{ port }] = await once(child, 'message') as [{ port: number }]
    return { name, child, port }
  }))
  const rows: Array<{ name: string, connections: number, kind: 'first' | 'again' } & Cost> = []
  for (const connections of CONNECTIONS) {
    const costs = new Map<string, Cost[]>()
    for (let round = -1; round < ROUNDS; round++) {
      for (const server of servers) {
        const load = await Load.open(server.port, connections)
        const raw = await run(server, load, exchanges('/raw'))
        const cookies: string[] = []
        const first = await run(server, load, exchanges('/login'), (index, reply) => { cookies[index] = /^set-cookie: ([^;]+)/im.exec(reply)?.[1] ?? '' })
        // By the users who have just signed in, with the cookies that they hold.
        const again = await run(server, load, exchanges('/login', { from: users - LOGINS, cookies }))
        load.close()
        // The first one warms up.
        if (round < 0) continue
        for (const [kind, cost] of [['first', first], ['again', again]] as const) {
          const name = `${server.name}/${kind}`
          costs.set(name, [...costs.get(name) ?? [], { ...cost, micros: cost.micros - raw.micros }])
        }
      }
    }
    for (const { name } of servers) {
      for (const kind of ['first', 'again'] as const) {
        const all = costs.get(`${name}/${kind}`) ?? []
        const of = (member: keyof Cost): number => median(all.map((cost) => cost[member]))
        rows.push({ name, connections, kind, micros: of('micros'), redisMicros: of('redisMicros'), latencyMs: of('latencyMs') })
      }
    }
  }
  console.log(`${sayMachine(machine)} · ${ROUNDS} × ${LOGINS.toLocaleString('en')} sign-ins of each kind, medians\n`)
  console.log(markdown(['connections', 'sign-in', 'way', 'CPU of the server', 'CPU of Redis', 'ms'], rows.map((row) => [
    String(row.connections), row.kind === 'first' ? 'first' : 'with a session before', row.name, `${row.micros.toFixed(0)} µs`, `${row.redisMicros.toFixed(0)} µs`, row.latencyMs.toFixed(2)
  ])))
  writeResult('login.json', { machine, rounds: ROUNDS, logins: LOGINS, rows })

  async function run ({ child }: Server, load: Load, asked: Exchange[], onReply?: (index: number, reply: string) => void): Promise<Cost> {
    const [own, other, from] = [await cpuOf(child), await redisMicros(), performance.now()]
    await load.run(asked, onReply === undefined ? {} : { onReply })
    const ms = performance.now() - from
    return {
      micros: (await cpuOf(child) - own) / asked.length,
      redisMicros: (await redisMicros() - other) / asked.length,
      latencyMs: ms / asked.length
    }
  }

  async function redisMicros (): Promise<number> {
    const info = await redis.client.info('cpu')
    return 1e6 * (infoNumber(info, 'used_cpu_user') + infoNumber(info, 'used_cpu_sys'))
  }
} finally {
  for (const teardown of teardowns.reverse()) await teardown()
}

/** Requests of users, each from a network of their own: new ones, or those `from` a number on. */
function exchanges (path: string, { from, cookies = [] }: { from?: number, cookies?: string[] } = {}): Exchange[] {
  const first = from ?? users
  if (from === undefined) users += LOGINS
  return Array.from({ length: LOGINS }, (_, index) => {
    const number = first + index
    const body = JSON.stringify({ username: `user${number}`, password: 'of the bench' })
    const network = `10.${number >> 16 & 255}.${number >> 8 & 255}.${number & 255}`
    const cookie = cookies[index] === undefined ? '' : `Cookie: ${cookies[index]}\r\n`
    const head = `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-Forwarded-For: ${network}\r\n${cookie}`
    return { request: `${head}Content-Length: ${body.length}\r\n\r\n${body}`, body: JSON.stringify({ ok: true }) }
  })
}

async function cpuOf (child: ChildProcess): Promise<number> {
  const answer = once(child, 'message') as Promise<[Use]>
  child.send('use')
  return (await answer)[0].cpuMicros
}
