// Tables of what a request costs, from what was measured last: bench/results.
import { existsSync, readFileSync } from 'node:fs'
import type { Cost } from '../../bench/cost/measure.ts'
import { table as costTable } from '../../bench/cost/table.ts'
import { VARIANTS } from '../../bench/cost/variants.ts'
import type { Variant } from '../../bench/cost/variants.ts'
import type { Closed, OutsideResult, Way } from '../../bench/outside/figures.ts'
import { markdown } from '../../bench/numbers.ts'
import { root } from './process.ts'

/** What bench/results/cost.json holds. */
export interface CostResult {
  costs: Array<Pick<Variant, 'name' | 'says' | 'of' | 'goal'> & Omit<Cost, 'variant'> & { launches?: [number, number] }>
  missing: Array<{ name: string, why: string }>
}

/** The rows of the README. */
const IN_README: Record<string, string> = {
  near: 'fastify-user-sessions with `nearCache`',
  strict: 'fastify-user-sessions',
  'secure-session': '@fastify/secure-session (cannot be revoked)',
  usual: '@fastify/session + connect-redis 8, defaults',
  'better-auth': 'better-auth, sessions in Redis',
  express: 'Express 5 + express-session + connect-redis 10'
}

const NOT_YET = 'Not measured yet.'

/** Reads bench/results. `outside`: null before it was measured. */
export function costResults (): { own: CostResult, outside: OutsideResult | null } {
  const read = (name: string): string => readFileSync(`${root}bench/results/${name}`, 'utf8')
  const own = JSON.parse(read('cost.json')) as CostResult
  return { own, outside: existsSync(`${root}bench/results/outside.json`) ? JSON.parse(read('outside.json')) as OutsideResult : null }
}

/** What `npm run bench` has measured. */
export function ownTable ({ costs, missing }: CostResult): string {
  const variantOf = (name: string): Variant | undefined => VARIANTS.find((each) => each.name === name)
  return costTable(
    costs.map((cost) => ({ ...cost, variant: { ...cost, app: '', sessions: null } })),
    new Map(missing.flatMap(({ name, why }) => { const variant = variantOf(name); return variant === undefined ? [] : [[variant, why] as const] }))
  )
}

/** The most important rows, by both loads. */
export function readmeTable ({ own, outside }: ReturnType<typeof costResults>): string {
  const counts = [50, 8, 1]
  const head = ['', '`npm run bench`, 50 connections', ...outside === null ? [] : counts.map((count) => `wrk, ${sayConnections(count)}`)]
  return markdown(head, Object.entries(IN_README).map(([name, says]) => {
    const cost = own.costs.find((each) => each.name === name)
    return [says, cost === undefined ? '' : withRange(cost), ...outside === null ? [] : counts.map((count) => acrossWays(outside, name, count))]
  }))
}

/** What wrk has measured, on one core and in fresh processes. */
export function outsideTable (outside: OutsideResult | null): string {
  const [first] = outside?.ways ?? []
  if (first === undefined) return NOT_YET
  const counts = countsOf(first.closed)
  const head = ['', ...counts.flatMap((count) => [`× raw, ${sayConnections(count)}`, 'half of the rounds within', 'Redis commands', 'p99'])]
  return markdown(head, [
    ...first.closed.map(({ of, says, at }) => [sayOwn(of, says), ...counts.flatMap((count) => {
      const figure = at.find(({ connections }) => connections === count)
      if (figure === undefined) return ['', '', '', '']
      const { ratio, low, high, commands, p99 } = figure
      const sent = Object.entries(commands).map(([name, calls]) => `${calls} ${name}`).join(' + ')
      return [ratio.toFixed(2), `${low.toFixed(2)}–${high.toFixed(2)}`, sent === '' ? '0' : sent, `${p99.toFixed(1)} ms`]
    })]),
    ...first.missing.map(({ of, says, why }) => [sayOwn(of, says), why, ...head.slice(2).map(() => '')])
  ])
}

/** The same in each way: × raw with 1, 8 and 50 connections. */
export function waysTable (outside: OutsideResult | null): string {
  const [first] = outside?.ways ?? []
  if (outside === null || first === undefined) return NOT_YET
  const counts = countsOf(first.closed)
  const rows = first.closed.map(({ name, of, says }) => [sayOwn(of, says), ...outside.ways.map(({ closed }) => counts.map((count) => figureOf(closed, name, count)?.ratio.toFixed(2) ?? '–').join(' · '))])
  const mixed = ['all kinds at once, as a multiple of each alone', ...outside.ways.map((way) => counts.map((count) => way.mixed.find(({ connections }) => connections === count)?.ratio.toFixed(2) ?? '–').join(' · '))]
  return markdown([`× raw, with ${counts.join(' · ')} connections`, ...outside.ways.map(sayWay)], [...rows, mixed])
}

/** How long requests take that come at a fixed rate. */
export function latencyTable (outside: OutsideResult | null): string {
  const ways = outside?.ways.filter(({ open }) => open.length > 0) ?? []
  const [first] = ways
  if (first === undefined) return NOT_YET
  const rows = first.open.map(({ name, of, says }) => [sayOwn(of, says), ...ways.flatMap(({ open }) => {
    const figure = open.find((each) => each.name === name)
    if (figure === undefined) return ['', '', '']
    return [figure.perSecond.toLocaleString('en'), `${figure.p50.toFixed(2)} · ${figure.p99.toFixed(2)} ms`, `${figure.ratio.toFixed(2)} (${figure.low.toFixed(2)}–${figure.high.toFixed(2)})`]
  })])
  return markdown(['', ...ways.flatMap((way) => [`requests a second, ${sayWay(way)}`, 'p50 · p99', 'p99 × raw (half of the rounds)'])], rows)
}

/** The figure of the first way, and from where to where it goes over all launches in all ways. */
function acrossWays ({ ways }: OutsideResult, name: string, connections: number): string {
  const figures = ways.map(({ closed }) => figureOf(closed, name, connections)).filter((figure) => figure !== undefined)
  const [first] = figures
  if (first === undefined) return '–'
  const all = figures.flatMap(({ launches }) => launches)
  return withRange({ ratio: first.ratio, launches: [Math.min(...all), Math.max(...all)] })
}

function figureOf (closed: OutsideResult['ways'][number]['closed'], name: string, count: number): Closed | undefined {
  return closed.find((each) => each.name === name)?.at.find(({ connections }) => connections === count)
}

function countsOf (closed: OutsideResult['ways'][number]['closed']): number[] {
  return [...new Set(closed.flatMap(({ at }) => at.map(({ connections }) => connections)))]
}

/** The median, and the launches with the least and the greatest. */
function withRange ({ ratio, launches }: Pick<Closed, 'ratio'> & { launches?: [number, number] }): string {
  return launches === undefined ? ratio.toFixed(2) : `${ratio.toFixed(2)} (${launches.map((each) => each.toFixed(2)).join('–')})`
}

function sayConnections (count: number): string {
  return `${count} connection${count === 1 ? '' : 's'}`
}

function sayWay ({ served, apart }: Way): string {
  if (served) return apart ? 'after other requests, on two cores' : 'after other requests'
  return apart ? 'on two cores' : 'on one core'
}

function sayOwn (of: Variant['of'], says: string): string {
  return (of === 'us' ? 'fastify-user-sessions: ' : '') + says
}
