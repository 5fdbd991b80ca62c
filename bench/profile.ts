/*
 * Where the time of a request goes: the functions that a variant of `npm run bench` spends it in.
 *
 *     npm run bench:profile              the strict path
 *     npm run bench:profile -- <name>    another one, as bench/cost/variants.ts calls it
 *
 * Samples are of time that went by; they are scaled to the CPU time that the process used.
 */
import type { Profiler } from 'node:inspector'
import { startRedis } from '../test/helpers/redis.ts'
import { setStage } from './cost/stage.ts'
import { VARIANTS } from './cost/variants.ts'
import { machineOf, sayMachine } from './machine.ts'
import { markdown } from './numbers.ts'

const REQUESTS = 20_000
const TOP = 30
const NOT_WORK = ['(idle)', '(root)']

const name = process.argv[2] ?? 'strict'
const teardowns: Array<() => unknown> = []
try {
  const redis = await startRedis({ teardown: (callback: () => unknown) => { teardowns.push(callback) } })
  const stage = await setStage({ redis, sessions: 10_000, pinned: false, variants: VARIANTS.filter((each) => each.name === name) })
  teardowns.push(stage.stop)
  const [subject] = stage.subjects
  if (subject === undefined) throw new Error(`${name} cannot be measured`)
  await subject.fill()
  await subject.tell('profile')
  const before = await subject.cpuMicros()
  await subject.ask(REQUESTS)
  const micros = (await subject.cpuMicros() - before) / REQUESTS
  const answer = await subject.tell('profiled')
  if (!('profile' in answer)) throw new Error('there is no profile')
  const { byFunction, byOwner } = selfMicros(answer.profile as Profiler.Profile, micros)
  console.log(`${sayMachine(await machineOf(redis.client))} · ${name}: ${micros.toFixed(1)} µs of CPU per request, profiler included\n`)
  console.log(markdown(['µs', 'whose'], top(byOwner)))
  console.log()
  console.log(markdown(['µs', 'function'], top(byFunction)))
} finally {
  for (const teardown of teardowns.reverse()) await teardown()
}

/** What each function used itself, without those it called, per request. */
function selfMicros ({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile, micros: number): Record<'byFunction' | 'byOwner', Map<string, number>> {
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]))
  const byFunction = new Map<string, number>()
  const byOwner = new Map<string, number>()
  let total = 0
  for (const [index, id] of samples.entries()) {
    const frame = frames.get(id)
    const delta = timeDeltas[index] ?? 0
    if (frame === undefined || NOT_WORK.includes(frame.functionName)) continue
    total += delta
    const owner = ownerOf(frame.url, frame.functionName)
    const file = frame.url.replace(/^.*\/(?=node_modules\/|\.tmp\/bench\/)/, '').replace(/^(node_modules|\.tmp\/bench)\//, '')
    add(byOwner, owner, delta)
    add(byFunction, `${frame.functionName || '(anonymous)'} ${file}${frame.lineNumber > 0 ? `:${frame.lineNumber + 1}` : ''}`, delta)
  }
  for (const map of [byFunction, byOwner]) {
    for (const [key, value] of map) map.set(key, micros * value / total)
  }
  return { byFunction, byOwner }
}

function ownerOf (url: string, functionName: string): string {
  if (functionName.startsWith('(')) return functionName
  const [, dependency] = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url) ?? []
  if (dependency !== undefined) return dependency
  if (url.includes('/.tmp/bench/')) return 'fastify-user-sessions'
  return url.startsWith('node:') || url === '' ? 'Node' : 'the application'
}

function add (map: Map<string, number>, key: string, value: number): void {
  map.set(key, (map.get(key) ?? 0) + value)
}

function top (map: ReadonlyMap<string, number>): string[][] {
  return [...map].sort(([, a], [, b]) => b - a).slice(0, TOP).map(([key, value]) => [value.toFixed(2), key])
}
