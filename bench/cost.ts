/*
 * What a signed-in request costs, with us and with others: the CPU time of the server per `GET /me`, as a multiple of
 * what raw Fastify takes for the same request and the same reply.
 *
 *     npm run bench              everything, some minutes
 *     npm run bench -- --quick   raw Fastify, ourselves and the usual stack, under a minute
 *
 * Prints a table in Markdown, writes bench/results/cost.json and draws bench/results/cost.svg (--quick writes
 * cost-quick.json alone). Every server is a process of its own; where there is taskset, servers, load and Redis share
 * one core. Every reply is checked, to the letter.
 */
import { startRedis } from '../test/helpers/redis.ts'
import { costOf, measure } from './cost/measure.ts'
import type { Slices } from './cost/measure.ts'
import { plot } from './cost/plot.ts'
import { setStage } from './cost/stage.ts'
import { rawMicrosOf, table } from './cost/table.ts'
import { VARIANTS } from './cost/variants.ts'
import type { Variant } from './cost/variants.ts'
import { machineOf, sayMachine, writeResult } from './machine.ts'

const quick = process.argv.includes('--quick')
const SESSIONS = 10_000
/** How often all servers are started anew: each time the compiler makes something a little different of them. */
const LAUNCHES = quick ? 1 : 3
const ROUNDS = quick ? 9 : 8
const REQUESTS = 1_000

const teardowns: Array<() => unknown> = []
try {
  const redis = await startRedis({ teardown: (callback: () => unknown) => { teardowns.push(callback) } })
  const machine = await machineOf(redis.client)
  const slices: Slices = new Map()
  const ratios = new Map<Variant, number[]>()
  const missing = new Map<Variant, string>()
  let core: number | null = null
  for (let launch = 0; launch < LAUNCHES; launch++) {
    const stage = await setStage({ redis, sessions: SESSIONS, variants: quick ? VARIANTS.filter((each) => each.quick) : VARIANTS })
    core = stage.core
    try {
      for (const [variant, more] of await measure(stage, { admin: redis.client, rounds: ROUNDS, requests: REQUESTS })) {
        slices.set(variant, [...slices.get(variant) ?? [], ...more])
        ratios.set(variant, [...ratios.get(variant) ?? [], costOf(variant, more).ratio])
      }
    } finally {
      await stage.stop()
    }
    for (const [variant, why] of stage.missing) missing.set(variant, why)
  }
  const costs = [...slices].map(([variant, each]) => costOf(variant, each))

  const where = core === null ? 'nothing pinned (no taskset)' : 'servers, load and Redis on one core'
  console.log(`${sayMachine(machine)} · ${where} · ${SESSIONS.toLocaleString('en')} sessions, 50 connections, ${LAUNCHES * ROUNDS} rounds of ${REQUESTS.toLocaleString('en')} requests, medians\n`)
  console.log(table(costs, missing))

  const result = {
    machine: { ...machine, core },
    date: new Date().toISOString().slice(0, 10),
    method: { sessions: SESSIONS, connections: 50, launches: LAUNCHES, rounds: ROUNDS, requests: REQUESTS },
    rawMicros: rawMicrosOf(costs),
    costs: costs.map(({ variant, ...cost }) => {
      const { name, says, of, goal } = variant
      const launches = ratios.get(variant) ?? []
      return { name, says, of, goal, ...cost, launches: [Math.min(...launches), Math.max(...launches)] }
    }),
    missing: [...missing].map(([{ name }, why]) => ({ name, why }))
  }
  writeResult(quick ? 'cost-quick.json' : 'cost.json', result)
  if (!quick) writeResult('cost.svg', plot(costs))
} finally {
  for (const teardown of teardowns.reverse()) await teardown()
}
