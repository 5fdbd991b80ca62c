import { markdown } from '../numbers.ts'
import { sayMachine } from '../machine.ts'
import type { Machine } from '../machine.ts'
import { costAt, needOnPaper } from './formula.ts'
import type { Cost, Costs, Need, Rates } from './formula.ts'
import type { Operation } from './modes.ts'

/** What one number of processes took: per second, per operation in microseconds, and per end in bytes. */
export interface Point { processes: number, idleUs: number, alone: Record<Operation, number>, together: Record<Operation, number>, bytes: number }
/** `heard`: share of the messages that came. */
export interface Staleness { processes: number, p50Ms: number, p99Ms: number, maxMs: number, heard: number }
/** Shares of one core; together: microseconds of a write. */
export interface Check { processes: number, rates: Rates, predicted: number, measured: number, together: { predicted: number, measured: number } }

export interface Measured {
  name: string
  says: string
  masters: 'all' | 'one'
  tells: readonly Operation[]
  points: Point[]
  costs: Costs
  messageBytes: number
  staleness: Staleness | null
  check: Check
}

export interface Reconnect { says: string, processes: number, jitterMs: number, tookMs: number, cpuMs: number, aloneP99Ms: number, p99Ms: number, maxMs: number }
export interface Tracked { write: Cost, readUs: number, plainReadUs: number, bytes: number }
/** Of the node that was given a message, and of each other one. */
export interface Bus { publish: { givenUs: number, otherUs: number }, spublish: { givenUs: number, otherUs: number } }

export interface FleetResult { machine: Machine, modes: Measured[], reconnects: Reconnect[], tracked: Tracked, bus: Bus }

/** Sessions, and on how many masters. */
const SIZES = [[1e5, 1], [1e6, 1], [1e7, 4], [1e7, 16], [1e8, 64]] as const
const PROCESSES = [10, 100, 400, 2_000]
/** The mode that no Cluster has. */
const ONE_SERVER = 'near-cache-ends'

export function tablesOf (result: FleetResult): string {
  return [
    sayMachine(result.machine), costTable(result), latenessTable(result), checkTable(result), reconnectTable(result),
    paperTable(result), sayTracked(result), sayBus(result)
  ].join('\n\n')
}

/** What Redis spends, by how processes hear of each other. */
export function costTable ({ modes }: FleetResult): string {
  const told = (cost: Record<Operation, Cost>, name: Operation, tells: readonly Operation[]): string => line(cost[name], tells.includes(name))
  return markdown(['processes hear by', 'CPU µs of a write', '… of many together', 'of a sign-in', '… of many together', 'of an end', '… of many together', 'of each second', 'bytes of a message'], modes.map(({ says, tells, costs, messageBytes }) => [
    says,
    ...(['write', 'login', 'end'] as const).flatMap((name) => [told(costs.alone, name, tells), told(costs.together, name, tells)]),
    line(costs.idle, true), tells.length === 0 ? '' : String(Math.round(messageBytes))
  ]))
}

export function latenessTable ({ modes }: FleetResult): string {
  return markdown(['processes hear by', 'processes', 'p50', 'p99', 'longest', 'heard'], modes.flatMap(({ says, staleness }) => {
    if (staleness === null) return []
    const { processes, p50Ms, p99Ms, maxMs, heard } = staleness
    return [[says, count(processes), ms(p50Ms), ms(p99Ms), ms(maxMs), `${Math.round(heard * 100)} %`]]
  }))
}

/** The formula beside what was measured. */
export function checkTable ({ modes }: FleetResult): string {
  return markdown(['processes hear by', 'processes', 'per second', 'the formula says', 'measured', 'a write of many together', 'measured'], modes.map(({ says, check: { processes, rates, predicted, measured, together } }) => [
    says, count(processes), `${Math.round(rates.write)} writes, ${Math.round(rates.login)} sign-ins, ${Math.round(rates.end)} ends`, percent(predicted), percent(measured), `${Math.round(together.predicted)} µs`, `${Math.round(together.measured)} µs`
  ]))
}

export function reconnectTable ({ reconnects }: FleetResult): string {
  return markdown(['cut off', 'spread over', 'all hear again after', 'CPU of Redis', 'a read meanwhile, p99', 'longest', 'p99 before'], reconnects.map((row) => [
    `${count(row.processes)} by ${row.says}`, `${row.jitterMs} ms`, ms(row.tookMs), ms(row.cpuMs), ms(row.p99Ms), ms(row.maxMs), ms(row.aloneP99Ms)
  ]))
}

/** Share of a core of each master, calculated. */
export function paperTable ({ modes, bus }: FleetResult): string {
  const rows = SIZES.flatMap(([sessions, masters]) => PROCESSES.map((processes) => [
    count(sessions), String(masters), count(processes),
    ...modes.map(({ costs, ...mode }) => mode.name === ONE_SERVER && masters > 1 ? '–' : sayNeed(needOnPaper(costs, { sessions, masters, processes }, { ...mode, busUs: bus.publish.otherUs })))
  ]))
  return markdown(['sessions', 'masters', 'processes', ...modes.map(({ says }) => says)], rows)
}

/** Where Redis is always busy, what comes is answered together with others, and waits for a turn. */
function sayNeed ({ alone, together, turnMs }: Need): string {
  if (alone < 1) return percent(alone)
  return together < 1 ? `busy${turnMs < 1 ? '' : `, ${ms(turnMs)}`}` : 'too much'
}

function sayTracked ({ tracked: { write, readUs, plainReadUs, bytes } }: FleetResult): string {
  return `Tracking without broadcast: a write takes ${write.base.toFixed(0)} µs + ${write.each.toFixed(2)} µs for each process that has read it; a read ${readUs.toFixed(2)} µs instead of ${plainReadUs.toFixed(2)} µs; ${Math.round(bytes)} bytes of Redis for each process and session; at 400: ${costAt(write, 400).toFixed(0)} µs.`
}

function sayBus ({ bus: { publish, spublish } }: FleetResult): string {
  return `A message in a Cluster of three: PUBLISH takes its node ${publish.givenUs.toFixed(1)} µs and each other ${publish.otherUs.toFixed(1)} µs; SPUBLISH ${spublish.givenUs.toFixed(1)} µs and ${spublish.otherUs.toFixed(1)} µs.`
}

function line ({ base, each }: Cost, isTold: boolean): string {
  return isTold && each > 0 ? `${base.toFixed(0)} + ${each.toFixed(each < 1 ? 2 : 1)} N` : base.toFixed(0)
}

function count (value: number): string {
  return value.toLocaleString('en')
}

function percent (share: number): string {
  const value = share * 100
  return `${value < 10 ? value.toFixed(1) : count(Math.round(value))} %`
}

function ms (value: number): string {
  return `${Math.abs(value) < 10 ? value.toFixed(2) : Math.round(value)} ms`
}
