/** The labels of a metric, each with all values that it can have. */
type Labels = Readonly<Record<string, readonly string[]>>

/** A metric. */
export interface Definition<Of extends Labels = Labels> {
  /** Its name, without the prefix. */
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  /** What it is. */
  readonly help: string
  /** Its labels. None holds an id, a user or free text. */
  readonly labels: Of
  /** Upper bounds of a histogram. */
  readonly buckets?: readonly number[]
  /** It is there only with the option `nearCache`. */
  readonly ofNearCache?: true
}

const KINDS = ['cookie', 'bearer'] as const
const NONE = {}

/** Returns a definition, with the values of its labels as its type. */
function defined<const Of extends Labels> (definition: Definition<Of>): Definition<Of> {
  return { ...definition, name: `fastify_user_sessions_${definition.name}` }
}

/** All metrics. */
export const METRICS = {
  begun: defined({
    name: 'begun_total',
    type: 'counter',
    help: 'Signed-in sessions that began: by a sign-in, or moved to a new id.',
    labels: { kind: KINDS, reason: ['sign-in', 'moved'] }
  }),
  ended: defined({
    name: 'ended_total',
    type: 'counter',
    help: 'Signed-in sessions that this process ended, or whose expiry it noticed.',
    labels: { kind: [...KINDS, 'unknown'], reason: ['logout', 'revoked', 'replaced', 'evicted', 'expired'] }
  }),
  loginFailures: defined({
    name: 'login_failures_total',
    type: 'counter',
    help: 'Failed logins: by wrong credentials, or by the limit that refused them.',
    labels: { reason: ['credentials', 'network', 'accountNetwork', 'account', 'limit'] }
  }),
  usesAfterEnd: defined({
    name: 'uses_after_end_total',
    type: 'counter',
    help: 'Sessions that were used after a logout or a revocation. Needs the option endedFor.',
    labels: { kind: KINDS }
  }),
  deviceMismatches: defined({
    name: 'device_mismatches_total',
    type: 'counter',
    help: 'Sessions bound to a device that were used without it, once each. Needs the option deviceBound.',
    labels: { reason: ['refused', 'skipped'] }
  }),
  forks: defined({
    name: 'forks_total',
    type: 'counter',
    help: 'Sessions that two browsers were seen to use, once each. Needs the option forkDetection.',
    labels: {}
  }),
  crossSite: defined({
    name: 'cross_site_refusals_total',
    type: 'counter',
    help: 'Requests that a page of another site made, and that were refused.',
    labels: NONE
  }),
  lookups: defined({
    name: 'lookups_total',
    type: 'counter',
    help: 'Sessions that were looked for, in memory of this process or in the store.',
    labels: { source: ['memory', 'store'], result: ['found', 'none', 'error'] }
  }),
  saves: defined({
    name: 'saves_total',
    type: 'counter',
    help: 'Data that was to be stored. ended: its session had ended, and nothing was stored.',
    labels: { result: ['stored', 'ended', 'refused', 'error'] }
  }),
  dataBytes: defined({
    name: 'data_bytes',
    type: 'histogram',
    help: 'Size of the data of sessions when a request saves it, in bytes of JSON. That of a sign-in is not counted.',
    labels: NONE,
    buckets: [64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576]
  }),
  operations: defined({
    name: 'store_operation_duration_seconds',
    type: 'histogram',
    help: 'Time until the store had done what it was asked. refused: it answered, and nothing came of it.',
    labels: { operation: ['load', 'save', 'login', 'revoke', 'list'], outcome: ['ok', 'refused', 'error'] },
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1]
  }),
  storeUp: defined({
    name: 'store_up',
    type: 'gauge',
    help: '1 while the store answers, 0 in an outage.',
    labels: NONE
  }),
  outages: defined({
    name: 'store_outages_total',
    type: 'counter',
    help: 'Outages of the store that this process has noticed.',
    labels: NONE
  }),
  nearEntries: defined({
    name: 'near_cache_entries',
    type: 'gauge',
    help: 'Sessions in the near-cache.',
    labels: NONE,
    ofNearCache: true
  }),
  nearHits: defined({
    name: 'near_cache_hits_total',
    type: 'counter',
    help: 'How often the near-cache had the session that was asked for.',
    labels: NONE,
    ofNearCache: true
  }),
  nearMisses: defined({
    name: 'near_cache_misses_total',
    type: 'counter',
    help: 'How often it had not, and the session was read from Redis.',
    labels: NONE,
    ofNearCache: true
  }),
  nearInvalidations: defined({
    name: 'near_cache_invalidations_total',
    type: 'counter',
    help: 'How often it dropped a session because that had changed or ended.',
    labels: NONE,
    ofNearCache: true
  })
}
