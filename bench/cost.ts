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
import { measure } from './cost/measure.ts'
import { plot } from './cost/plot.ts'
import { setStage } from './cost/stage.ts'
import { rawMicrosOf, table } from './cost/table.ts'
import { VARIANTS } from './cost/variants.ts'
import { machineOf, sayMachine, writeResult } from './machine.ts'

const quick = process.argv.includes('--quick')
const SESSIONS = 10_000
const ROUNDS = quick ? 7 : 11
const REQUESTS = quick ? 1_000 : 1_500

const teardowns: Array<() => unknown> = []
try {
  const redis = await startRedis({ teardown: (callback: () => unknown) => { teardowns.push(callback) } })
  const stage = await setStage({ redis, sessions: SESSIONS, variants: quick ? VARIANTS.filter((each) => each.quick) : VARIANTS })
  teardowns.push(stage.stop)
  const machine = { ...await machineOf(redis.client), core: stage.core }
  const costs = await measure(stage, { admin: redis.client, rounds: ROUNDS, requests: REQUESTS })

  const where = stage.core === null ? 'nothing pinned (no taskset)' : 'servers, load and Redis on one core'
  console.log(`${sayMachine(machine)} · ${where} · ${SESSIONS.toLocaleString('en')} sessions, 50 connections, ${ROUNDS} rounds of ${REQUESTS.toLocaleString('en')} requests, medians\n`)
  console.log(table(costs, stage.missing))

  const result = {
    machine,
    date: new Date().toISOString().slice(0, 10),
    method: { sessions: SESSIONS, connections: 50, rounds: ROUNDS, requests: REQUESTS },
    rawMicros: rawMicrosOf(costs),
    costs: costs.map(({ variant: { name, says, of, goal }, ...cost }) => ({ name, says, of, goal, ...cost })),
    missing: [...stage.missing].map(([{ name }, why]) => ({ name, why }))
  }
  writeResult(quick ? 'cost-quick.json' : 'cost.json', result)
  if (!quick) writeResult('cost.svg', plot(costs))
} finally {
  for (const teardown of teardowns.reverse()) await teardown()
}
