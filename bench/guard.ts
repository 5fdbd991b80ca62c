/*
 * Whether a path has become dearer: compares what a request costs, as a multiple of raw Fastify, with what was recorded
 * in bench/results/recorded.json, and fails where it is more than half as much again. With 50 connections, and one path
 * also with 8: there hardly any requests are read together.
 *
 *     npm run bench:guard               compares
 *     npm run bench:guard -- --record   records, after a change that is meant to cost or to save something
 *
 * Ratios alone are kept, never times. What looks dearer is measured again, alone and for longer, before it counts.
 */
import { readFileSync } from 'node:fs'
import { startRedis } from '../test/helpers/redis.ts'
import { CONNECTIONS } from './cost/load.ts'
import { costOf, measure } from './cost/measure.ts'
import type { Cost } from './cost/measure.ts'
import type { Subject } from './cost/servers.ts'
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

/** What is watched with few connections. */
const FEW = { name: 'strict', connections: 8 }

/** A server, by the name that its ratio has in the file. */
interface Watched { name: string, subject: Subject, connections: number }

interface Recorded { node: string, ratios: Record<string, number> }

const record = process.argv.includes('--record')
const teardowns: Array<() => unknown> = []
try {
  const redis = await startRedis({ teardown: (callback: () => unknown) => { teardowns.push(callback) } })
  const stage = await setStage({ redis, sessions: SESSIONS, variants: VARIANTS.filter((each) => each.guarded) })
  teardowns.push(stage.stop)
  const watched: Watched[] = stage.subjects.flatMap((subject) => {
    const { name } = subject.variant
    return [{ name, subject, connections: CONNECTIONS }, ...name === FEW.name ? [{ name: `${name}, ${FEW.connections} connections`, subject, connections: FEW.connections }] : []]
  })
  const look = async (rounds: number, among = watched): Promise<Map<Watched, Cost>> => {
    const costs = new Map<Watched, Cost>()
    for (const connections of [CONNECTIONS, FEW.connections]) {
      const those = among.filter((each) => each.connections === connections)
      const subjects = those.map(({ subject }) => subject)
      for (const each of [...stage.raws, ...subjects]) await each.connect(connections)
      const slices = await measure(stage, { admin: redis.client, rounds, requests: REQUESTS, subjects })
      for (const each of those) costs.set(each, costOf(each.subject.variant, slices.get(each.subject.variant) ?? []))
    }
    return costs
  }
  const machine = await machineOf(redis.client)
  console.log(`${sayMachine(machine)} · CPU per request, as a multiple of raw Fastify\n`)

  if (record) {
    const ratios = Object.fromEntries([...await look(RETRIES.at(-1) ?? ROUNDS)].map(([{ name }, { ratio }]) => [name, ratio]))
    writeResult(FILE, { node: machine.node, ratios } satisfies Recorded)
    console.log(ratios)
  } else {
    const { ratios } = JSON.parse(readFileSync(new URL(`results/${FILE}`, import.meta.url), 'utf8')) as Recorded
    const costs = await look(ROUNDS)
    const isTooMuch = (each: Watched): boolean => (costs.get(each)?.ratio ?? Infinity) > FACTOR * (ratios[each.name] ?? Infinity)
    for (const rounds of RETRIES) {
      const suspicious = watched.filter(isTooMuch)
      if (suspicious.length === 0) break
      console.log(`Looks dearer, measured again: ${suspicious.map((each) => `${each.name} (${costs.get(each)?.ratio})`).join(', ')}`)
      for (const [each, cost] of await look(rounds, suspicious)) costs.set(each, cost)
    }
    const rows = [...costs].map(([each, { ratio, low, high }]) => [each.name, String(ratio), `${low}–${high}`, String(ratios[each.name] ?? 'not recorded'), isTooMuch(each) ? 'too much' : ''])
    console.log(markdown(['path', '× raw', 'half of the rounds within', 'recorded', ''], rows))
    const dearer = watched.filter(isTooMuch).map(({ name }) => name)
    if (dearer.length > 0) {
      console.log(`\nMore than ${FACTOR} times what was recorded: ${dearer.join(', ')}. If that is meant: npm run bench:guard -- --record`)
      process.exitCode = 1
    }
  }
} finally {
  for (const teardown of teardowns.reverse()) await teardown()
}
