import { costOf, round2 } from '../cost/measure.ts'
import type { Cost } from '../cost/measure.ts'
import { MIX, VARIANTS } from '../cost/variants.ts'
import type { Path, Variant } from '../cost/variants.ts'
import type { Machine } from '../machine.ts'
import { markdown, median, quantile } from '../numbers.ts'
import type { OpenSlice } from './open-loop.ts'
import type { WrkSlice } from './wrk.ts'

/** What a request costs with so many connections, all of them busy. Times in milliseconds. */
export interface Closed extends Omit<Cost, 'variant'> {
  connections: number
  /** The least and the greatest ratio of a launch. */
  launches: [number, number]
  perSecond: number
  p50: number
  p99: number
  rawP99: number
}

/** How long a request takes that comes at a fixed rate. Times in milliseconds; the ratio is that of the p99 to raw Fastify's. */
export interface Open extends OpenSlice {
  ratio: number
  low: number
  high: number
}

type Named<Figure> = Pick<Variant, 'name' | 'says' | 'of'> & Figure

/** What was measured in one way, for bench/results. */
export interface Result {
  closed: Array<Named<{ at: Closed[] }>>
  /** What a process that serves all kinds of requests at once takes, as a multiple of what each takes in a process of its own. */
  mixed: Array<{ connections: number, ratio: number }>
  open: Array<Named<Open>>
  missing: Array<Named<{ why: string }>>
}

/** How servers are measured. `served`: they have served others before. `apart`: on a core of their own. */
export interface Way { served: boolean, apart: boolean }

/** What bench/results/outside.json holds. */
export interface OutsideResult {
  machine: Machine
  date: string
  method: { sessions: number, launches: number, rounds: number, seconds: number }
  ways: Array<Way & Result>
}

/** The variant that is asked for one of these alone. */
const ALONE: Record<Path, string> = { '/me': 'near', '/note': 'write', '/public': 'anonymous' }

/** What was measured in one way: the slices of each variant, by launch. */
export class Figures {
  /** Why something was not measured. */
  readonly missing = new Map<Variant, string>()
  readonly #closed = new Map<Variant, Map<number, WrkSlice[][]>>()
  readonly #open = new Map<Variant, OpenSlice[]>()

  addClosed (variant: Variant, connections: number, launch: number, slice: WrkSlice): void {
    const byConnections = this.#closed.get(variant) ?? new Map<number, WrkSlice[][]>()
    const byLaunch = byConnections.get(connections) ?? []
    ;(byLaunch[launch] ??= []).push(slice)
    this.#closed.set(variant, byConnections.set(connections, byLaunch))
  }

  addOpen (variant: Variant, slice: OpenSlice): void {
    this.#open.set(variant, [...this.#open.get(variant) ?? [], slice])
  }

  result (): Result {
    return {
      closed: [...this.#closedFigures()].map(([variant, at]) => ({ ...nameOf(variant), at })),
      mixed: this.#mixed(),
      open: [...this.#openFigures()].map(([variant, figure]) => ({ ...nameOf(variant), ...figure })),
      missing: [...this.missing].map(([variant, why]) => ({ ...nameOf(variant), why }))
    }
  }

  tables (): string {
    const mixed = this.#mixed().map(({ connections, ratio }) => `All kinds at once cost ${ratio.toFixed(2)} times what they cost alone, with ${connections} connections.`)
    return [this.#closedTable(), mixed.join('\n'), ...this.#open.size > 0 ? [this.#openTable()] : []].filter((each) => each !== '').join('\n\n')
  }

  #closedFigures (): Map<Variant, Closed[]> {
    return new Map([...this.#closed].map(([variant, byConnections]) => [variant, [...byConnections].map(([connections, byLaunch]) => closedOf(variant, connections, byLaunch))]))
  }

  #openFigures (): Map<Variant, Open> {
    return new Map([...this.#open].map(([variant, slices]) => [variant, openOf(slices)]))
  }

  #mixed (): Result['mixed'] {
    const figures = this.#closedFigures()
    const of = (name: string): Closed[] => figures.get(VARIANTS.find((each) => each.name === name) as Variant) ?? []
    return of('mixed').flatMap(({ connections, micros }) => {
      const alone = MIX.map((path) => of(ALONE[path]).find((each) => each.connections === connections)?.micros ?? NaN)
      const ratio = round2(micros * MIX.length / alone.reduce((sum, each) => sum + each, 0))
      return Number.isNaN(ratio) ? [] : [{ connections, ratio }]
    })
  }

  #closedTable (): string {
    const figures = this.#closedFigures()
    const all = [...new Set([...figures.values()].flat().map(({ connections }) => connections))]
    const head = all.flatMap((count) => [`× raw, ${count} connection${count === 1 ? '' : 's'}`, 'half within', 'CPU µs', 'p99 ms (raw)', 'Redis commands'])
    const rows = [...figures].map(([variant, at]) => [sayVariant(variant), ...at.flatMap(({ ratio, low, high, micros, p99, rawP99, commands }) => [
      ratio.toFixed(2),
      `${low.toFixed(2)}–${high.toFixed(2)}`,
      micros.toFixed(1),
      `${p99.toFixed(1)} (${rawP99.toFixed(1)})`,
      Object.entries(commands).map(([name, calls]) => `${calls} ${name}`).join(' + ') || '0'
    ])])
    const missing = [...this.missing].map(([variant, why]) => [sayVariant(variant), why, ...head.slice(1).map(() => '')])
    return markdown(['`GET /me` by', ...head], [...rows, ...missing])
  }

  #openTable (): string {
    const rows = [...this.#openFigures()].map(([variant, { perSecond, busy, p50, p99, rawP50, rawP99, ratio, low, high }]) => [
      sayVariant(variant), String(perSecond), `${Math.round(100 * busy)} %`, `${p50.toFixed(2)} (${rawP50.toFixed(2)})`, `${p99.toFixed(2)} (${rawP99.toFixed(2)})`, ratio.toFixed(2), `${low.toFixed(2)}–${high.toFixed(2)}`
    ])
    return markdown(['at 60 % of its own capacity', 'requests a second', 'server busy', 'p50 ms (raw)', 'p99 ms (raw)', 'p99 × raw', 'half within'], rows)
  }
}

function nameOf ({ name, says, of }: Variant): Named<unknown> {
  return { name, says, of }
}

function sayVariant ({ of, says }: Variant): string {
  return (of === 'us' ? 'fastify-user-sessions: ' : '') + says
}

function closedOf (variant: Variant, connections: number, byLaunch: readonly WrkSlice[][]): Closed {
  const slices = byLaunch.flat()
  const { variant: _, ...cost } = costOf(variant, slices)
  const ratios = byLaunch.map((each) => costOf(variant, each).ratio)
  const middle = (name: 'p50' | 'p99' | 'rawP99'): number => round2(median(slices.map((each) => each[name])))
  return {
    connections,
    ...cost,
    launches: [Math.min(...ratios), Math.max(...ratios)],
    perSecond: Math.round(median(slices.map(({ perSecond }) => perSecond))),
    p50: middle('p50'),
    p99: middle('p99'),
    rawP99: middle('rawP99')
  }
}

function openOf (slices: readonly OpenSlice[]): Open {
  const middle = (name: keyof OpenSlice): number => round2(median(slices.map((each) => each[name])))
  const ratios = slices.map(({ p99, rawP99 }) => p99 / rawP99)
  return {
    perSecond: Math.round(middle('perSecond')),
    busy: middle('busy'),
    p50: middle('p50'),
    p99: middle('p99'),
    rawPerSecond: Math.round(middle('rawPerSecond')),
    rawP50: middle('rawP50'),
    rawP99: middle('rawP99'),
    ratio: round2(median(ratios)),
    low: round2(quantile(ratios, 0.25)),
    high: round2(quantile(ratios, 0.75))
  }
}
