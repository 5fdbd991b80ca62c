import { OPERATIONS } from './modes.ts'
import type { Operation } from './modes.ts'

/** `base + each × processes`, in microseconds of Redis' CPU. */
export interface Cost { base: number, each: number }

/**
 * What a mode costs: per operation, and, `idle`, per second. What comes alone costs a write to the socket of each
 * process; what comes together with others shares that.
 */
export interface Costs { idle: Cost, alone: Record<Operation, Cost>, together: Record<Operation, Cost> }

/** How often each happens, per second. */
export type Rates = Record<Operation, number>

type Points = ReadonlyArray<readonly [processes: number, us: number]>

export function mean (values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

/** The straight line from `base` on that is nearest to the points. */
export function fitFrom (base: number, points: Points): Cost {
  const each = mean(points.map(([at, us]) => at * (us - base))) / mean(points.map(([at]) => at ** 2))
  return { base, each: Math.max(0, each) }
}

/** The straight line that is nearest to the points. */
export function fit (points: Points): Cost {
  const [x, y] = [mean(points.map(([at]) => at)), mean(points.map(([, us]) => us))]
  const each = mean(points.map(([at, us]) => (at - x) * (us - y))) / mean(points.map(([at]) => (at - x) ** 2))
  return { base: y - each * x, each }
}

export function costAt ({ base, each }: Cost, processes: number): number {
  return base + each * processes
}

/** What Redis needs. */
export interface Need {
  /** Share of one core while each operation comes alone. */
  alone: number
  /** The least share, however many come together: more than 1 is not possible. */
  together: number
  /** How long a turn takes in which everybody is told, in ms, where Redis is always busy: each command waits for one. */
  turnMs: number
}

/** What Redis needs with so many processes on it. */
export function needOf ({ idle, alone, together }: Costs, rates: Rates, processes: number): Need {
  const share = (costs: Record<Operation, Cost>): number => OPERATIONS.reduce((sum, name) => sum + rates[name] * costAt(costs[name], processes), costAt(idle, processes)) / 1e6
  const least = share(together)
  const socketUs = Math.max(...OPERATIONS.map((name) => alone[name].each - together[name].each))
  return { alone: share(alone), together: least, turnMs: Math.max(0, processes * socketUs) / 1000 / Math.max(0, 1 - least) }
}

/** A deployment on paper. */
interface Deployment { processes: number, masters: number, sessions: number }

/** Of all sessions so many are in use at once, and each of those is written every three minutes: the default `touchAfter`. */
const IN_USE = 0.1
const TOUCH_SECONDS = 180
/** Each session begins and ends once a day. */
const LIFE_SECONDS = 86_400

function ratesOf ({ sessions }: Pick<Deployment, 'sessions'>): Rates {
  return { write: sessions * IN_USE / TOUCH_SECONDS, login: sessions / LIFE_SECONDS, end: sessions / LIFE_SECONDS }
}

/**
 * What each master needs. With a connection to one master alone, each message goes to all the other masters, which takes
 * each of them `busUs`.
 */
export function needOnPaper (costs: Costs, deployment: Deployment, { masters: to, tells, busUs }: { masters: 'all' | 'one', tells: readonly Operation[], busUs: number }): Need {
  const { processes, masters } = deployment
  const all = ratesOf(deployment)
  const perMaster = { write: all.write / masters, login: all.login / masters, end: all.end / masters }
  if (to === 'all' || masters === 1) return needOf(costs, perMaster, processes)
  const listeners = processes / masters
  const need = needOf(costs, perMaster, listeners)
  const toldBy = (each: Record<Operation, Cost>): number => tells.reduce((sum, name) => sum + (all[name] - perMaster[name]) * (each[name].each * listeners + busUs), 0) / 1e6
  const together = need.together + toldBy(costs.together)
  return { alone: need.alone + toldBy(costs.alone), together, turnMs: need.turnMs * (1 - need.together) / Math.max(0, 1 - together) }
}
