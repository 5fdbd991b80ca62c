/*
 * What a signed-in request costs as an outsider would measure it: wrk sends the requests, to one server at a time, over
 * 1, 8 and 50 connections. CPU time of the server per request, as a multiple of what raw Fastify takes for the same
 * requests in the turn before.
 *
 *     npm run bench:outside                  what bench/cost/variants.ts marks `outside`, in processes that have served
 *                                            nothing else; servers, load and Redis on one core
 *     npm run bench:outside -- near strict   these alone, by their names there
 *     npm run bench:outside -- --all         all of it, in every way, for an hour
 *
 *     --served    processes that have served requests of other kinds before
 *     --apart     servers on one core, load and Redis on another
 *     --mixed     also a process that serves all kinds of requests at once
 *     --open      also how long requests take that come at a fixed rate
 *     --connections=8,50  --launches=1  --rounds=3  --seconds=1
 *
 * Needs wrk (Debian: apt-get install wrk). Prints tables in Markdown. With --all it writes bench/results/outside.json,
 * which the tables of the docs are made of, otherwise outside-part.json.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startRedis } from '../test/helpers/redis.ts'
import { setStage } from './cost/stage.ts'
import { VARIANTS } from './cost/variants.ts'
import { machineOf, sayMachine, writeResult } from './machine.ts'
import { Figures } from './outside/figures.ts'
import type { OutsideResult, Way } from './outside/figures.ts'
import { openSlice } from './outside/open-loop.ts'
import { wrkSlice } from './outside/wrk.ts'

const SESSIONS = 10_000

const { values: given, positionals: names } = parseArgs({
  allowPositionals: true,
  options: {
    all: { type: 'boolean', default: false },
    served: { type: 'boolean', default: false },
    apart: { type: 'boolean', default: false },
    mixed: { type: 'boolean', default: false },
    open: { type: 'boolean', default: false },
    connections: { type: 'string', default: '1,8,50' },
    launches: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '1' }
  }
})
const unknown = names.filter((name) => !VARIANTS.some((each) => each.name === name))
if (unknown.length > 0) throw new Error(`there is no ${unknown.join(', ')}. There are ${VARIANTS.map(({ name }) => name).join(', ')}`)
const isMixed = given.mixed || given.all
const variants = VARIANTS.filter(({ name, outside }) => names.includes(name) || (names.length === 0 && outside === true) || (isMixed && ['near', 'write', 'anonymous', 'mixed'].includes(name)))
const connections = given.connections.split(',').map(Number)
const [launches, rounds, seconds] = [Number(given.launches), Number(given.rounds), Number(given.seconds)]
const ways: Way[] = given.all
  ? [{ served: false, apart: false }, { served: true, apart: false }, { served: false, apart: true }]
  : [{ served: given.served, apart: given.apart }]

const teardowns: Array<() => unknown> = []
try {
  const redis = await startRedis({ teardown: (callback: () => unknown) => { teardowns.push(callback) } })
  const directory = await mkdtemp(join(tmpdir(), 'fus-outside-'))
  teardowns.push(async () => { await rm(directory, { recursive: true, force: true }) })
  const machine = await machineOf(redis.client)
  console.log(`${sayMachine(machine)} · ${SESSIONS.toLocaleString('en')} sessions, ${launches} × ${rounds} rounds of ${seconds} s each, medians`)
  const results: OutsideResult['ways'] = []
  for (const way of ways) {
    const figures = await measured(way)
    console.log(`\n${sayWay(way)}\n\n${figures.tables()}`)
    results.push({ ...way, ...figures.result() })
  }
  writeResult(given.all && names.length === 0 ? 'outside.json' : 'outside-part.json', {
    machine,
    date: new Date().toISOString().slice(0, 10),
    method: { sessions: SESSIONS, launches, rounds, seconds },
    ways: results
  } satisfies OutsideResult)

  async function measured (way: Way): Promise<Figures> {
    const figures = new Figures()
    for (let launch = 0; launch < launches; launch++) {
      const stage = await setStage({ redis, sessions: SESSIONS, variants, ...way })
      try {
        for (const [variant, why] of stage.missing) figures.missing.set(variant, why)
        for (let round = 0; round < rounds; round++) {
          const first = round % stage.subjects.length
          for (const subject of [...stage.subjects.slice(first), ...stage.subjects.slice(0, first)]) {
            const raw = stage.rawOf(subject.variant, round)
            for (const count of connections) figures.addClosed(subject.variant, count, launch, await wrkSlice(subject, raw, { admin: redis.client, connections: count, seconds, directory }))
            if (given.open || (given.all && !way.served)) figures.addOpen(subject.variant, await openSlice(subject, raw, seconds))
          }
        }
      } finally {
        await stage.stop()
      }
    }
    return figures
  }
} finally {
  for (const teardown of teardowns.reverse()) await teardown()
}

function sayWay ({ served, apart }: Way): string {
  return `${served ? 'Processes that have served other requests' : 'Fresh processes'} · ${apart ? 'servers on one core, load and Redis on another' : 'servers, load and Redis on one core'}`
}
