/*
 * What a user with very many sessions takes from another one: how that one's requests are answered while all sessions of
 * the first are ended in the same process, beside how they are otherwise.
 *
 *     npm run bench:one-user              10,000 and 100,000 sessions of one user, about a minute
 *     npm run bench:one-user -- --quick   10,000
 *
 * Prints a table in Markdown and writes bench/results/one-user.json. The service is a process of its own; Redis is one
 * of its own, on loopback.
 */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { Agent, get } from 'node:http'
import { fileURLToPath } from 'node:url'
import type { Redis } from 'ioredis'
import { startRedis } from '../test/helpers/redis.ts'
import { fill } from './fill.ts'
import { machineOf, sayMachine, writeResult } from './machine.ts'
import { markdown, quantile } from './numbers.ts'
import type { Order, Outcome } from './one-user/service.ts'

const SIZES = process.argv.includes('--quick') ? [10_000] : [10_000, 100_000]
const SERVICE = fileURLToPath(new URL('one-user/service.ts', import.meta.url))
/** The other user's requests: so many at a time, and this long between two of each. */
const CONNECTIONS = 8
const PAUSE_MS = 5
/** How long they are looked at while nothing else is asked of the service. */
const ALONE_MS = 5_000
/** What is sent for measuring, or for the time. */
const OWN_COMMANDS = ['config', 'info', 'slowlog', 'time']
/** Whose sessions they are: `fill` numbers users. */
const USER = '0'

/** The other user's requests. */
interface Seen { requests: number, failed: number, p50Ms: number, p99Ms: number, maxMs: number }

interface Row {
  sessions: number
  signIn: Outcome
  list: Outcome
  revoke: Outcome
  alone: Seen
  meanwhile: Seen
  /** The longest that a command kept Redis from others, without `fill`. */
  longestCommandMs: number
}

const teardowns: Array<() => unknown> = []
try {
  const redis = await startRedis({ teardown: (callback: () => unknown) => { teardowns.push(callback) } })
  const machine = await machineOf(redis.client)
  const rows: Row[] = []
  for (const size of SIZES) {
    await redis.client.flushall()
    await fill(redis.client, 0, size, { perUser: size })
    rows.push(await measure(redis.url, redis.client, size))
  }
  report(sayMachine(machine), rows)
  writeResult('one-user.json', { machine, rows })
} finally {
  for (const teardown of teardowns.reverse()) await teardown()
}

async function measure (url: string, admin: Redis, sessions: number): Promise<Row> {
  const child = fork(SERVICE, [url], { execArgv: ['--import', 'tsx'] })
  const [{ port, cookie }] = await Promise.race([
    once(child, 'message') as Promise<[{ port: number, cookie: string }]>,
    once(child, 'exit').then((): never => { throw new Error('the service has ended') })
  ])
  try {
    await meanwhile(port, cookie, pause(ALONE_MS / 5))
    const alone = await meanwhile(port, cookie, pause(ALONE_MS))
    await admin.config('SET', 'slowlog-log-slower-than', '500', 'slowlog-max-len', '100000')
    await admin.slowlog('RESET')
    const signIn = await ask(child, 'sign in')
    const list = await ask(child, 'list')
    const revoking = ask(child, 'revoke')
    const others = await meanwhile(port, cookie, revoking)
    return { sessions, signIn, list, revoke: await revoking, alone, meanwhile: others, longestCommandMs: await longestCommandMs(admin) }
  } finally {
    const ended = once(child, 'exit')
    child.disconnect()
    await ended
  }
}

/** How the other user's requests are answered until `work` is done. */
async function meanwhile (port: number, cookie: string, work: Promise<unknown>): Promise<Seen> {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS })
  const took: number[] = []
  let failed = 0
  const progress = { isDone: false }
  void work.then(() => { progress.isDone = true })
  await Promise.all(Array.from({ length: CONNECTIONS }, async () => {
    while (!progress.isDone) {
      const from = performance.now()
      if (await statusOf(port, cookie, agent) !== 200) failed++
      took.push(performance.now() - from)
      await pause(PAUSE_MS)
    }
  }))
  agent.destroy()
  return { requests: took.length, failed, p50Ms: quantile(took, 0.5), p99Ms: quantile(took, 0.99), maxMs: quantile(took, 1) }
}

async function statusOf (port: number, cookie: string, agent: Agent): Promise<number | undefined> {
  const request = get({ host: '127.0.0.1', port, agent, headers: { cookie } })
  const [response] = await once(request, 'response')
  response.resume()
  await once(response, 'end')
  return response.statusCode
}

async function ask (child: ChildProcess, does: Order['does']): Promise<Outcome> {
  child.send({ does, userId: USER } satisfies Order)
  const [outcome] = await once(child, 'message') as [Outcome]
  return outcome
}

/** Of those slower than half a millisecond; 0 when there was none. */
async function longestCommandMs (admin: Redis): Promise<number> {
  const log = await admin.slowlog('GET', -1) as Array<[id: number, at: number, micros: number, command: string[]]>
  await admin.config('SET', 'slowlog-log-slower-than', '-1')
  return log.reduce((longest, [, , micros, [name = '']]) => OWN_COMMANDS.includes(name.toLowerCase()) ? longest : Math.max(longest, micros), 0) / 1000
}

async function pause (ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
}

function report (where: string, rows: Row[]): void {
  const ms = (value: number) => `${value < 10 ? value.toFixed(2) : Math.round(value).toLocaleString('en')} ms`
  const said = ({ ms: took, result }: Outcome) => result === null ? `fails after ${ms(took)}` : ms(took)
  console.log(`${where} · ${CONNECTIONS} connections of another user, ${PAUSE_MS} ms between two requests of each\n`)
  console.log(markdown(
    ['sessions of one user', 'sign-in', '`listByUser`', '`revokeUser`', 'ended', 'other user\'s requests meanwhile', 'not 200', 'p50', 'p99', 'p99 × alone', 'longest', 'longest command'],
    rows.map(({ sessions, signIn, list, revoke, alone, meanwhile: seen, longestCommandMs: longest }) => [
      sessions.toLocaleString('en'), said(signIn), said(list), said(revoke), String(revoke.result), String(seen.requests), String(seen.failed),
      `${ms(seen.p50Ms)} (alone ${ms(alone.p50Ms)})`, `${ms(seen.p99Ms)} (${ms(alone.p99Ms)})`, (seen.p99Ms / alone.p99Ms).toFixed(1), ms(seen.maxMs), ms(longest)
    ])
  ))
}
