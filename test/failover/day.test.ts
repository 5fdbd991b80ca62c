import { fork } from 'node:child_process'
import { once } from 'node:events'
import { Agent, request as send } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'
import type { Test } from 'tap'
import { quantile } from '../../bench/numbers.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { secret } from '../helpers/app.ts'
import { sessionsOf } from '../helpers/history.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { root } from '../helpers/process.ts'
import { prefix, until } from '../helpers/redis.ts'
import { isSoak, report, times } from '../helpers/scale.ts'
import { startReplicatedCluster } from '../helpers/topology.ts'
import type { ProcessUse } from '../helpers/day-service.ts'
import { Load } from './load.ts'
import type { Asked } from './load.ts'

/*
 * A day of a service in an hour: two processes that are asked over HTTP, each with a near-cache, on a Cluster in which
 * another master takes over in every round.
 */

withRealLimits(t)

const ROUNDS = times(12, 1)
const ROUND_MS = isSoak ? 300_000 : 8_000
/** Those who use it are not in a hurry: the day is to show what adds up. */
const PAUSE_MS = 40
/** What `nearCache` promises: how long a process may still answer as one whose session another process has ended. */
const MAX_STALE_MS = 5_000
/** What it takes to notice that a message was lost. */
const NOTICED_MS = MAX_STALE_MS / 2
/** How many records each process keeps: as many as fill up within the first rounds. From then on they add nothing. */
const NEAR_ENTRIES = 1_000
/** How much a heap may grow from the first rounds to the last. */
const GROWTH = 1.25
/** How much more time of the processor a request may take in the last round than in the first. */
const SLOWER = 1.5

interface Process extends Asked {
  /** How long each request took since the last look, in milliseconds. */
  laps: () => number[]
  /** Bytes alive on its heap, and the time of the processor that it has used, in microseconds. */
  use: () => Promise<ProcessUse>
}

async function startProcess (t: Test, options: Partial<SessionOptions>): Promise<Process> {
  const child = fork(join(root, 'test/helpers/day-service.ts'), { execArgv: ['--import', 'tsx'], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  t.teardown(() => child.kill())
  const agent = new Agent({ keepAlive: true })
  t.teardown(() => agent.destroy())
  child.send(options)
  const [port] = await once(child, 'message') as [number]
  const laps: number[] = []
  return {
    causes: [],
    laps: () => laps.splice(0),
    use: async () => {
      child.send('use')
      const [use] = await once(child, 'message') as [ProcessUse]
      return use
    },
    inject: async ({ method, url, headers }) => {
      const askedAt = performance.now()
      const sent = send({ host: '127.0.0.1', port, agent, method, path: url, headers })
      sent.end()
      const [reply] = await once(sent, 'response') as [import('node:http').IncomingMessage]
      const body = await text(reply)
      laps.push(performance.now() - askedAt)
      const cookies = (reply.headers['set-cookie'] ?? []).map((cookie) => {
        const [name = '', value = ''] = (cookie.split(';')[0] as string).split('=')
        return { name, value }
      })
      return { statusCode: reply.statusCode ?? NaN, body, cookies }
    }
  }
}

t.test('a service goes on for a day as it began, whatever becomes of its masters', { timeout: ROUNDS * (ROUND_MS + 240_000) }, async (t) => {
  const topology = await startReplicatedCluster(t)
  const options = {
    secret,
    cookie: { secure: false },
    keyPrefix: prefix(),
    redis: topology.target,
    durability: 'replicated',
    events: 'sharded',
    nearCache: { invalidate: 'ends', maxStale: MAX_STALE_MS, maxEntries: NEAR_ENTRIES }
  } as const
  const processes = [await startProcess(t, options), await startProcess(t, options)]
  const rounds: Array<{ heapBytes: number[], cpuMicros: number }> = []
  for (let round = 0; round < ROUNDS; round++) {
    const beganAt = performance.now()
    const load = new Load(t, processes, { pauseMs: PAUSE_MS })
    const usedBefore = await Promise.all(processes.map(async (each) => await each.use()))
    load.start()
    await load.served(beganAt)
    await until('the middle of the round', () => performance.now() - beganAt > ROUND_MS / 2, ROUND_MS)
    const old = await topology.masterOf(Math.floor(16384 * (round % 3 + 0.5) / 3))
    const replicas = await topology.replicasOf(old)
    const struckAt = performance.now()
    const isPlanned = round % 2 === 1
    if (isPlanned) await topology.failover(old)
    else await old.kill()
    await topology.takeover(old, replicas)
    await load.served(performance.now())
    const recoveryMs = performance.now() - struckAt
    await topology.repair()
    await until('the end of the round', () => performance.now() - beganAt > ROUND_MS, ROUND_MS)
    await load.stop()
    const stoppedAt = performance.now()
    const laps = processes.flatMap((each) => each.laps())
    const used = await Promise.all(processes.map(async (each) => await each.use()))
    const cpuMicros = used.reduce((sum, each, index) => sum + each.cpuMicros - (usedBefore[index]?.cpuMicros ?? 0), 0) / laps.length
    await until('copies to be old', () => performance.now() - stoppedAt > MAX_STALE_MS, 2 * MAX_STALE_MS)
    await load.settle()
    const findings = load.history.check({ staleMs: MAX_STALE_MS })
    const { stalestMs } = load.history
    t.comment(load.summary)
    t.strictSame([load.wrong, findings], [[], { resurrected: [], lost: [], unended: [] }], `round ${round}`)
    t.ok(stalestMs < NOTICED_MS, `still served ${stalestMs.toFixed()} ms after its end`)
    const figures = { medianMs: quantile(laps, 0.5), p99Ms: quantile(laps, 0.99), heapBytes: (await Promise.all(processes.map(async (each) => await each.use()))).map(({ heapBytes }) => heapBytes) }
    t.comment(`${cpuMicros.toFixed()} µs of the processor for a request`)
    rounds.push({ ...figures, cpuMicros })
    report({
      scenario: `a day, round ${round + 1}: ${isPlanned ? 'planned failover' : 'master killed'}`,
      on: 'Cluster',
      tries: load.requests,
      resurrected: sessionsOf(findings.resurrected),
      lost: sessionsOf(findings.lost),
      slowestMs: load.slowestMs,
      recoveryMs,
      stalestMs,
      ...figures
    })
  }
  const [first, last] = [rounds[0], rounds.at(-1)]
  if (first === undefined || last === undefined) throw new Error('no round')
  // What it knows of cookies fills up again and again, up to their number: at its lowest, a heap shows what adds up.
  const third = Math.ceil(ROUNDS / 3)
  const heaps = processes.map((_process, index) => [rounds.slice(0, third), rounds.slice(-third)].map((some) => Math.min(...some.map(({ heapBytes }) => heapBytes[index] as number))))
  t.ok(heaps.every(([before = NaN, after = NaN]) => after < GROWTH * before), `heaps stay as they were: ${JSON.stringify(heaps)}`)
  // How long they take depends on what else the machine has to do.
  t.ok(last.cpuMicros < SLOWER * first.cpuMicros, `and so does what a request costs: ${first.cpuMicros.toFixed()} and ${last.cpuMicros.toFixed()} µs`)
})
