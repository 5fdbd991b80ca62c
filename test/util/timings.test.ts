import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { DEVICE_BOUND_DEFAULTS } from '../../lib/options/defaults.ts'
import { resolveOptions } from '../../lib/options/resolve.ts'
import { durationMs } from '../../lib/util/duration.ts'
import * as timings from '../../lib/util/timings.ts'

const {
  ACTING_MS, ADOPTION_WAIT_MS, BOOT_RETRY_MS, BOOT_WAIT_MS, BUS_PING_EVERY_MS, BUSY_GRACE_MS, CLOCK_ANSWER_MS, CLOCK_TRUST_MS,
  CLUSTER_RECONNECT, CLUSTER_RESUME_MS, COMMAND_DEADLINE_MS, CONFIRM_MS, CONNECT_TIMEOUT_MS, COUNT_MS, COUNTS_KEPT_MS,
  DEVICE_OVERLAP_MS, DISCONNECT_MS,
  FOREIGN_CALL_MS, FOREIGN_PROBE_EVERY_MS, GIVEN_UP_RETRY_MS, HEALTH_WAIT_MS, JUST_BOUND_MS, KEEP_ALIVE_MS, KNOWN_NETWORK_MS,
  LATE_TIMER_MS, LEAST_WAIT_MS, LEFT_MS, LISTENER_RECONNECT, LIST_GRACE_MS, LIST_SLACK_MS, LOOK_AGAIN_MS, MOVED_MS, MOVED_WAIT_MS,
  NEAR_BOOT_WAIT_MS, NEAR_SILENCE_MS, NOTICED_WITHIN_MS, OPERATOR_WAIT_MS, PROGRESS_EVERY_MS, SLOW_ROUND_TRIP_MS, PAUSE_MS, PENDING_MS, PROBE_EVERY_MS, QUIT_MS, RECONNECT, REFUSAL_QUIET_MS,
  READ_TOGETHER_MS, REQUEST_WAIT_MS, RESUME_MS, RETRY_EVERY_MS, REVOCATION_WAIT_MS, SEARCH_AGAIN_MS, SEARCH_MS, SENTINEL_COMMAND_MS,
  SENTINEL_RECONNECT, SENTINEL_RETRY, SIGNAL_CHECK_EVERY_MS, SLOTS_REFRESH_EVERY_MS, SLOTS_REFRESH_MS,
  SOCKET_TIMEOUT_MS, STAY_MS, TELL_AGAIN_MS, TELLING_MS, TRACKING_RETRY_MS, TURN_EVERY_MS, TURN_LATEST_MS, TURN_REPLY_MS, UNANSWERED_MS
} = timings

const root = join(import.meta.dirname, '..', '..')
const { nearCache, attempts, absoluteTimeoutMs } = resolveOptions({ secret: 's'.repeat(32), redis: 'redis://127.0.0.1', nearCache: true })
const maxStaleMs = nearCache?.maxStaleMs ?? 0
const windowsMs = Object.values(attempts ?? {}).map((limit) => limit?.withinMs ?? 0)
const longestPauseMs = RECONNECT.mostMs + RECONNECT.jitterMs

/** The commands of a login, one after the other: that of docs/concepts/redis.md is no longer. */
const LOGIN_COMMANDS = 10

const RULES: Record<string, boolean> = {
  'the docs promise that a request waits for 600 ms': REQUEST_WAIT_MS === 600,
  'a request hears that a command failed': COMMAND_DEADLINE_MS + BUSY_GRACE_MS <= REQUEST_WAIT_MS,
  'a request hears that a foreign store failed': FOREIGN_CALL_MS + BUSY_GRACE_MS <= REQUEST_WAIT_MS,
  'a sign-out has begun before its request counts as a use': 10 * REQUEST_WAIT_MS < UNANSWERED_MS,
  'what an operation gets in any case is part of what a request gets': LEAST_WAIT_MS < REQUEST_WAIT_MS,
  'reads that wait for company take no time from their requests': READ_TOGETHER_MS <= LEAST_WAIT_MS / 20,
  'a probe hears that a command failed': COMMAND_DEADLINE_MS < HEALTH_WAIT_MS,
  'a probe answers as soon as a request': HEALTH_WAIT_MS < REQUEST_WAIT_MS,
  'a reply that the end goes on comes before a request gives up': REVOCATION_WAIT_MS < REQUEST_WAIT_MS,
  'a count ends before its request gives up': COUNT_MS < REQUEST_WAIT_MS,
  'the store has pauses between counts': COUNT_MS < COUNTS_KEPT_MS,
  'a process that is a little late is not given more': LATE_TIMER_MS < BUSY_GRACE_MS,

  'starting up hears that a command failed': COMMAND_DEADLINE_MS <= BOOT_WAIT_MS,
  'starting up waits for a connection': CONNECT_TIMEOUT_MS <= BOOT_WAIT_MS,
  'starting up asks more than once': BOOT_RETRY_MS < BOOT_WAIT_MS,
  'starting up waits for Redis before the near-cache': NEAR_BOOT_WAIT_MS < BOOT_WAIT_MS,

  'a search for a node ends before its command does': SEARCH_MS < COMMAND_DEADLINE_MS,
  'the driver goes to four nodes within a search': 4 * SEARCH_AGAIN_MS < SEARCH_MS,
  'replicas answer before the command ends': CONFIRM_MS < COMMAND_DEADLINE_MS,
  'a sign-in asks replicas twice': 2 * CONFIRM_MS < REQUEST_WAIT_MS,

  'service resumes behind a half-open connection':
    SOCKET_TIMEOUT_MS + DISCONNECT_MS + longestPauseMs + PROBE_EVERY_MS < RESUME_MS,
  'service resumes when a foreign store does': FOREIGN_PROBE_EVERY_MS <= RESUME_MS,
  'service of a Cluster resumes':
    SLOTS_REFRESH_EVERY_MS + SLOTS_REFRESH_MS + CLUSTER_RECONNECT.mostMs + PROBE_EVERY_MS < CLUSTER_RESUME_MS,
  'an attempt to connect ends before service resumes': CONNECT_TIMEOUT_MS < RESUME_MS,
  'the driver is not slower when it has given up': GIVEN_UP_RETRY_MS <= RECONNECT.mostMs,
  'a slow command does not cost the connection': COMMAND_DEADLINE_MS < SOCKET_TIMEOUT_MS,
  'a connection in use is found dead by its commands': SOCKET_TIMEOUT_MS < KEEP_ALIVE_MS,
  'closing takes no longer than a command': QUIT_MS <= COMMAND_DEADLINE_MS,
  'a connection comes back before its absence is an outage': longestPauseMs < LEFT_MS,
  'a server that takes no writes becomes an outage': LEFT_MS < STAY_MS,
  'a Sentinel that is frozen leaves time for the next': SENTINEL_COMMAND_MS < CONNECT_TIMEOUT_MS,
  'all Sentinels are asked again in time': SENTINEL_RETRY.mostMs < RESUME_MS,
  'Sentinels are listened to again in time': SENTINEL_RECONNECT.mostMs < RESUME_MS,

  'Redis is asked for its time less often than it may take to answer': CLOCK_ANSWER_MS < CLOCK_TRUST_MS,
  'a clock that is a little wrong hides no session from a list': CLOCK_ANSWER_MS < LIST_SLACK_MS,
  'a pause that is not noticed makes nothing older than maxStale': PAUSE_MS + NEAR_SILENCE_MS < maxStaleMs,
  'silence is noticed within maxStale': NEAR_SILENCE_MS < maxStaleMs,

  'an end is told as long as somebody may keep a copy': TELLING_MS === maxStaleMs,
  'an end is told again when a server may be back': PROBE_EVERY_MS <= TELL_AGAIN_MS && TELL_AGAIN_MS < TELLING_MS,

  'a refusal to tell what changes is reported once': TRACKING_RETRY_MS < REFUSAL_QUIET_MS,
  'a refusal to end a session is reported once': RETRY_EVERY_MS < REFUSAL_QUIET_MS,
  'a subscriber that hears nothing is found out before signals are looked up':
    BUS_PING_EVERY_MS + SOCKET_TIMEOUT_MS < SIGNAL_CHECK_EVERY_MS,
  'and is back before then':
    BUS_PING_EVERY_MS + SOCKET_TIMEOUT_MS + LISTENER_RECONNECT.mostMs + LISTENER_RECONNECT.jitterMs < SIGNAL_CHECK_EVERY_MS,
  'connections that listen leave Redis time for those that requests wait for': longestPauseMs < LISTENER_RECONNECT.jitterMs,

  'a login has time for its commands': LOGIN_COMMANDS * COMMAND_DEADLINE_MS < PENDING_MS,
  'a session that moved is known longer than it is looked for': MOVED_WAIT_MS < MOVED_MS,
  'a session that moved is known to the requests that came with it': REQUEST_WAIT_MS < MOVED_MS,
  'a session that moved is known to whoever ends it again after an outage': durationMs('10m') < MOVED_MS,
  'a session on its way is looked for more than once': LOOK_AGAIN_MS < MOVED_WAIT_MS,
  'a session on its way is looked for while the request waits': MOVED_WAIT_MS < REQUEST_WAIT_MS,
  'a session being adopted is looked for more than once': LOOK_AGAIN_MS < ADOPTION_WAIT_MS,
  'a session being adopted is looked for while the request waits': ADOPTION_WAIT_MS < REQUEST_WAIT_MS,
  'a session is listed before it is touched': 2 * COMMAND_DEADLINE_MS <= LIST_SLACK_MS,
  'a list is there when somebody looks': LIST_SLACK_MS < LIST_GRACE_MS,
  'what is tried again has time for a command': COMMAND_DEADLINE_MS <= RETRY_EVERY_MS,
  'an account remembers a network as long as attempts count': Math.max(...windowsMs) <= KNOWN_NETWORK_MS,
  'who acts as a user does so for less than the user': ACTING_MS < absoluteTimeoutMs,

  'a request under way ends before its short cookie does': REQUEST_WAIT_MS < DEVICE_OVERLAP_MS,
  'a copied short cookie is good for little longer than a browser keeps it': 5 * DEVICE_OVERLAP_MS < durationMs('5m'),
  'who signs in is asked to bind before they are refused for it': JUST_BOUND_MS < durationMs(DEVICE_BOUND_DEFAULTS.grace),
  'a twin cookie is set before the next one is made': TURN_REPLY_MS < TURN_EVERY_MS,
  'a number that is due at the latest is not too early': TURN_EVERY_MS < TURN_LATEST_MS,
  'an operator waits longer than a server that starts': BOOT_WAIT_MS < OPERATOR_WAIT_MS,
  'an operator sees that it goes on': PROGRESS_EVERY_MS < OPERATOR_WAIT_MS,
  'a round trip is slow before it fails': SLOW_ROUND_TRIP_MS < COMMAND_DEADLINE_MS,
  'a failover that is noticed in time lets service resume': NOTICED_WITHIN_MS < CLUSTER_RESUME_MS
}

t.test('every limit of time is smaller or greater than what it has to be', async (t) => {
  t.ok(maxStaleMs > 0 && windowsMs.length > 0)
  t.strictSame(Object.keys(RULES).filter((rule) => RULES[rule] === false), [])
})

t.test('every limit of time has a rule', async (t) => {
  const [, rules = ''] = (await readFile(import.meta.filename, 'utf8')).split('const RULES')
  // RECONNECT.jitterMs is part of longestPauseMs.
  t.match(rules, 'longestPauseMs')
  t.strictSame(Object.keys(timings).filter((name) => !new RegExp(`\\b${name}\\b`).test(rules)), [])
})

t.test('every limit of time stands in one table', async (t) => {
  const files = (await readdir(join(root, 'lib'), { recursive: true })).filter((path) => path.endsWith('.ts'))
  // Options and their bounds are no limits of ours.
  // The times of the published suite are those of its sessions.
  const others = files.filter((path) => !/^(options|testing)\//.test(path) && !/util\/(timings|duration)\.ts$/.test(path))
  t.ok(others.length > 30)
  const limits = [
    /\b[A-Z_]*MS = \d/,
    /(?:[Tt]imeout|[Ii]nterval|[Dd]elay\w*|keepAlive|Ms)(?::| =) *\d[\d_]/,
    /setTimeout\(.*, \d[\d_]/
  ]
  const isLimit = (line: string): boolean => limits.some((limit) => limit.test(line))
  const found = await Promise.all(others.map(async (path) => {
    const lines = (await readFile(join(root, 'lib', path), 'utf8')).split('\n')
    return lines.filter(isLimit).map((line) => `${path}: ${line.trim()}`)
  }))
  t.strictSame(found.flat(), [])
  const examples = ['const WAIT_MS = 600', '  connectTimeout: 1_000,', 'setTimeout(resolve, 20)']
  t.strictSame(examples.filter(isLimit), examples)
})
