import { Counter, Gauge, Histogram, register as defaultRegister } from 'prom-client'
import type { Metric, OpenMetricsContentType, PrometheusContentType, Registry } from 'prom-client'
import { errors } from '../errors.ts'
import { assertMembers } from '../session/arguments.ts'
import type { SessionCore } from '../session/core.ts'
import type { NearCache } from '../session/counts.ts'
import { coreOf } from '../session/manager.ts'
import type { SessionManager } from '../session/manager.ts'
import { onTraced, TRACE_NAMES } from '../session/tracing.ts'
import type { SaveTrace, Trace } from '../session/tracing.ts'
import { METRICS } from './definitions.ts'
import type { Definition } from './definitions.ts'

type AnyRegistry = Registry<PrometheusContentType> | Registry<OpenMetricsContentType>

/** Options of `collectMetrics`. */
export interface MetricsOptions {
  /** The registry of prom-client that the metrics go to. Default: prom-client's own. */
  register?: AnyRegistry | undefined
  /**
   * What stands before `fastify_user_sessions_` in the names of the metrics. Two registrations need two.
   * @default ''
   */
  prefix?: string | undefined
}

/** What may stand at the beginning of a name. */
const PREFIX = /^([a-zA-Z_:][a-zA-Z0-9_:]*)?$/

/**
 * Has a registry of prom-client count what happens to sessions in this process, until the application, or the manager,
 * is closed. No label holds an id or a user. A scrape asks the store nothing. `sessions`: `app.sessions`, or a
 * `SessionManager`.
 * @throws TypeError for what is no such manager, for one that is closed, for a wrong option, and where the registry has
 * these metrics already
 * @see [Metrics](docs/guides/metrics.md)
 */
export function collectMetrics (sessions: SessionManager<any>, options: MetricsOptions = {}): void {
  assertMembers(options, 'options', ['register', 'prefix'])
  const { register = defaultRegister, prefix = '' } = options
  if (typeof prefix !== 'string' || !PREFIX.test(prefix)) throw new TypeError('prefix must be the beginning of a name')
  const core = coreOf(sessions)
  const metrics = new Metrics(register, prefix)
  core.onClose(() => metrics.remove())
  countEvents(core, metrics)
  countTraces(core, sessions, metrics)
  showStore(core, metrics)
  if (core.near !== null) showNearCache(core.near, metrics)
}

type LabelOf<Of extends Definition> = keyof Of['labels'] & string
type ValuesOf<Of extends Definition> = { [Label in LabelOf<Of>]: Of['labels'][Label][number] }

/** The metrics of one registration, in a registry. */
class Metrics {
  readonly #register: AnyRegistry
  readonly #prefix: string
  /** What was added, by name. The registry may have been cleared since, and hold another of a name. */
  readonly #added = new Map<string, Metric | undefined>()
  readonly #stops: Array<() => void> = []

  /** @throws TypeError where the registry has one of these metrics already */
  constructor (register: AnyRegistry, prefix: string) {
    this.#register = register
    this.#prefix = prefix
    const isThere = Object.values(METRICS).some(({ name }) => register.getSingleMetric(prefix + name) !== undefined)
    if (isThere) throw new TypeError('the registry has metrics of sessions already: give another prefix or register')
  }

  /** Adds a counter, with all of its series at 0. `read`: returns what it has come to, at a scrape. */
  counter<Of extends Definition> (definition: Of, read?: (add: Add<Of>) => void): Count<Of> {
    const counter: Counter<LabelOf<Of>> = new Counter({
      ...this.#named(definition),
      collect: () => read?.(add)
    })
    this.#keep(definition)
    for (const labels of combinations(definition)) counter.inc(labels, 0)
    const seen = new Map<string, number>()
    const add: Add<Of> = (labels, total) => {
      const series = Object.values(labels).join()
      counter.inc(labels, total - (seen.get(series) ?? 0))
      seen.set(series, total)
    }
    return (labels) => counter.inc(labels)
  }

  /** Adds a gauge. `read`: returns its value, at a scrape. */
  gauge (definition: Definition, read: () => number): void {
    const gauge: Gauge = new Gauge({ ...this.#named(definition), collect: () => gauge.set(read()) })
    this.#keep(definition)
  }

  /** Adds a histogram, with all of its series at 0. */
  histogram<Of extends Definition> (definition: Of): (labels: ValuesOf<Of>, value: number) => void {
    const histogram: Histogram<LabelOf<Of>> = new Histogram({
      ...this.#named(definition),
      buckets: [...definition.buckets ?? []]
    })
    this.#keep(definition)
    for (const labels of combinations(definition)) histogram.zero(labels)
    return (labels, value) => histogram.observe(labels, value)
  }

  /** Calls a function when the metrics are removed. */
  until (stop: () => void): void {
    this.#stops.push(stop)
  }

  remove (): void {
    for (const stop of this.#stops) stop()
    for (const [name, metric] of this.#added) {
      if (this.#register.getSingleMetric(name) === metric) this.#register.removeSingleMetric(name)
    }
  }

  #keep ({ name }: Definition): void {
    const full = this.#prefix + name
    this.#added.set(full, this.#register.getSingleMetric(full))
  }

  #named<Of extends Definition> ({ name, help, labels }: Of): {
    name: string, help: string, labelNames: Array<LabelOf<Of>>, registers: AnyRegistry[]
  } {
    // Its own members are all that it has.
    const labelNames = Object.keys(labels) as Array<LabelOf<Of>>
    return { name: this.#prefix + name, help, labelNames, registers: [this.#register] }
  }
}

/** Counts one. */
type Count<Of extends Definition> = (labels: ValuesOf<Of>) => void
/** Has a series of a counter stand at a total. */
type Add<Of extends Definition> = (labels: ValuesOf<Of>, total: number) => void

/** Returns all combinations of the values of labels. */
function combinations<Of extends Definition> ({ labels }: Of): Array<ValuesOf<Of>> {
  let all: Array<Record<string, string>> = [{}]
  for (const [label, values] of Object.entries(labels)) {
    all = all.flatMap((some) => values.map((value) => ({ ...some, [label]: value })))
  }
  // Made of each label, with its values.
  return all as Array<ValuesOf<Of>>
}

function countEvents ({ events }: SessionCore, metrics: Metrics): void {
  const begun = metrics.counter(METRICS.begun)
  const ended = metrics.counter(METRICS.ended)
  const failed = metrics.counter(METRICS.loginFailures)
  const used = metrics.counter(METRICS.usesAfterEnd)
  const mismatched = metrics.counter(METRICS.deviceMismatches)
  const forked = metrics.counter(METRICS.forks)
  const refused = metrics.counter(METRICS.crossSite)
  const outage = metrics.counter(METRICS.outages)
  const stops = [
    events.onHere('created', ({ kind, reason }) => {
      // The kind of a session that begins here is known.
      begun({ kind: kind ?? 'cookie', reason: reason === 'moved' ? 'moved' : 'sign-in' })
    }),
    events.onHere('revoked', ({ kind, reason }) => {
      if (reason !== null && reason !== 'moved') ended({ kind: kind ?? 'unknown', reason })
    }),
    events.onHere('expired', ({ kind }) => ended({ kind: kind ?? 'unknown', reason: 'expired' })),
    events.onHere('login-failed', ({ reason, limit }) => failed({ reason: limit ?? reason })),
    events.onHere('used-after-end', ({ kind }) => used({ kind })),
    events.onHere('device-mismatch', ({ reason }) => mismatched({ reason })),
    events.onHere('session-forked', () => forked({})),
    events.onHere('cross-site', () => refused({})),
    events.onHere('store-down', () => outage({}))
  ]
  for (const stop of stops) metrics.until(stop)
  if (events.isDown) outage({})
}

function countTraces ({ counts }: SessionCore, sessions: object, metrics: Metrics): void {
  const lookup = metrics.counter(METRICS.lookups, (add) => {
    add({ source: 'memory', result: 'found' }, counts.found)
    add({ source: 'memory', result: 'none' }, counts.none)
  })
  const save = metrics.counter(METRICS.saves)
  const observeBytes = metrics.histogram(METRICS.dataBytes)
  const observe = metrics.histogram(METRICS.operations)
  for (const operation of TRACE_NAMES) {
    metrics.until(onTraced(operation, sessions, (trace: Trace) => {
      observe({ operation, outcome: outcomeOf(trace) }, (performance.now() - trace.startedAt) / 1_000)
    }))
  }
  metrics.until(onTraced('load', sessions, ({ result }) => lookup({ source: 'store', result: result ?? 'error' })))
  metrics.until(onTraced('save', sessions, (trace: SaveTrace) => {
    const outcome = outcomeOf(trace)
    save({ result: trace.result ?? (outcome === 'ok' ? 'stored' : outcome) })
    if (trace.dataBytes !== null) observeBytes({}, trace.dataBytes)
  }))
}

/** Returns how it went. An error that is no failure of the store is an answer. */
function outcomeOf ({ error }: Trace): 'ok' | 'refused' | 'error' {
  if (error === undefined) return 'ok'
  return error instanceof errors.STORE_UNAVAILABLE || error instanceof errors.STORE_FULL ? 'error' : 'refused'
}

function showStore ({ events }: SessionCore, metrics: Metrics): void {
  metrics.gauge(METRICS.storeUp, () => events.isDown ? 0 : 1)
}

function showNearCache (near: NearCache, metrics: Metrics): void {
  metrics.gauge(METRICS.nearEntries, () => near.tally.entries)
  metrics.counter(METRICS.nearHits, (add) => add({}, near.tally.hits))
  metrics.counter(METRICS.nearMisses, (add) => add({}, near.tally.misses))
  metrics.counter(METRICS.nearInvalidations, (add) => add({}, near.tally.invalidations))
}
