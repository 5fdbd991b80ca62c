/*
 * Whether a path has become dearer: compares what a request costs, as a multiple of raw Fastify, with what was recorded
 * in bench/results/recorded.json, and fails where it is more than half as much again.
 *
 *     npm run bench:guard               compares
 *     npm run bench:guard -- --record   records, after a change that is meant to cost or to save something
 *
 * Ratios alone are kept, never times. What looks dearer is measured again, alone and for longer, before it counts.
 */
import { readFileSync } from 'node:fs'
import { startRedis } from '../test/helpers/redis.ts'
import { costOf, measure } from './cost/measure.ts'
import type { Cost } from './cost/measure.ts'
import { setStage } from './cost/stage.ts'
import { VARIANTS } from './cost/variants.ts'
import { machineOf, sayMachine, writeResult } from './machine.ts'
import { markdown } from './numbers.ts'

const FACTOR = 1.5
const SESSIONS = 2_000
const REQUESTS = 1_000
const ROUNDS = 7
/** A second look at what is suspicious, and a third. */
const RETRIES = [15, 31]
const FILE = 'recorded.json'

interface Recorded { node: string, ratios: Record<string, number> }

const record = process.argv.includes('--record')
const teardowns: Array<() => unknown> = []
try {
  const redis = await startRedis({ teardown: (callback: () => unknown) => { teardowns.push(callback) } })
  const stage = await setStage({ redis, sessions: SESSIONS, variants: VARIANTS.filter((each) => each.guarded) })
  teardowns.push(stage.stop)
  const look = async (rounds: number, among = stage.subjects): Promise<Cost[]> => {
    const slices = await measure(stage, { admin: redis.client, rounds, requests: REQUESTS, subjects: among })
    return [...slices].map(([variant, each]) => costOf(variant, each))
  }
  const machine = await machineOf(redis.client)
  console.log(`${sayMachine(machine)} · CPU per request, as a multiple of raw Fastify\n`)

  if (record) {
    const ratios = Object.fromEntries((await look(RETRIES.at(-1) ?? ROUNDS)).map(({ variant: { name }, ratio }) => [name, ratio]))
    writeResult(FILE, { node: machine.node, ratios } satisfies Recorded)
    console.log(ratios)
  } else {
    const { ratios } = JSON.parse(readFileSync(new URL(`results/${FILE}`, import.meta.url), 'utf8')) as Recorded
    const limitOf = ({ variant }: Pick<Cost, 'variant'>): number => FACTOR * (ratios[variant.name] ?? Infinity)
    const isTooMuch = (cost: Cost): boolean => cost.ratio > limitOf(cost)
    const costs = new Map((await look(ROUNDS)).map((cost) => [cost.variant, cost]))
    for (const rounds of RETRIES) {
      const suspicious = stage.subjects.filter(({ variant }) => isTooMuch(costs.get(variant) as Cost))
      if (suspicious.length === 0) break
      console.log(`Looks dearer, measured again: ${suspicious.map(({ variant }) => `${variant.name} (${costs.get(variant)?.ratio})`).join(', ')}`)
      for (const cost of await look(rounds, suspicious)) costs.set(cost.variant, cost)
    }
    const rows = [...costs.values()].map((cost) => [cost.variant.name, String(cost.ratio), `${cost.low}–${cost.high}`, String(ratios[cost.variant.name] ?? 'not recorded'), isTooMuch(cost) ? 'too much' : ''])
    console.log(markdown(['path', '× raw', 'half of the rounds within', 'recorded', ''], rows))
    const dearer = [...costs.values()].filter(isTooMuch).map(({ variant: { name } }) => name)
    if (dearer.length > 0) {
      console.log(`\nMore than ${FACTOR} times what was recorded: ${dearer.join(', ')}. If that is meant: npm run bench:guard -- --record`)
      process.exitCode = 1
    }
  }
} finally {
  for (const teardown of teardowns.reverse()) await teardown()
}
