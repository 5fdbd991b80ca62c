import ms from 'ms'

/** Milliseconds, or a string such as `'30m'`. */
export type Duration = number | string

/** A browser keeps no cookie longer than about 400 days; a longer session is a typing error. */
const MAX_MS = 10 * 365 * 24 * 3_600_000

/** Says what is wrong with a duration (milliseconds, or a string such as `'30m'`). Returns `null` if nothing is. */
export function durationFault (value: unknown, { zero = false } = {}): string | null {
  const duration = durationMs(value)
  if (!Number.isFinite(duration)) return 'must be milliseconds or a string such as \'30m\''
  if (duration < (zero ? 0 : 1)) return zero ? 'must not be negative' : 'must be positive'
  return duration > MAX_MS ? 'must be less than ten years' : null
}

/** Converts a duration to whole milliseconds. Returns `NaN` if it is none. */
export function durationMs (value: unknown): number {
  if (typeof value === 'number') return Math.floor(value)
  if (typeof value !== 'string' || value.length === 0 || value.length > 100) return NaN
  return Math.floor(ms(value as ms.StringValue) ?? NaN)
}

/**
 * Converts a duration given in code to milliseconds.
 * @throws TypeError if it is none
 */
export function timeoutMs (name: string, value: Duration | undefined, fallback: number): number {
  if (value === undefined) return fallback
  const fault = durationFault(value)
  if (fault !== null) throw new TypeError(`${name} ${fault}`)
  return durationMs(value)
}

/** How long a session may last, as given in code. */
interface Timeouts {
  idleTimeout?: Duration | undefined
  absoluteTimeout?: Duration | undefined
}

/** How long a session may last, in milliseconds. */
export interface SessionTimeouts {
  idleTimeoutMs: number
  absoluteTimeoutMs: number
}

/**
 * Resolves the timeouts of one session. The idle timeout is never longer than the absolute one.
 * @throws TypeError if one is no duration, or longer than in `longest`, which is what `allowed` says
 */
export function sessionTimeouts (
  { idleTimeout, absoluteTimeout }: Timeouts, defaults: SessionTimeouts, longest: SessionTimeouts,
  allowed = 'the assurance option allows'
): SessionTimeouts {
  const absoluteTimeoutMs = timeoutMs('absoluteTimeout', absoluteTimeout, defaults.absoluteTimeoutMs)
  const idleTimeoutMs = Math.min(timeoutMs('idleTimeout', idleTimeout, defaults.idleTimeoutMs), absoluteTimeoutMs)
  assertNotLonger({ idleTimeoutMs, absoluteTimeoutMs }, longest, allowed)
  return { idleTimeoutMs, absoluteTimeoutMs }
}

/**
 * Resolves timeouts for sessions that live: those that are given. An idle timeout is never longer than an absolute one
 * beside it.
 * @throws TypeError if there is none, if one is no duration, or longer than in `longest`
 */
export function otherTimeouts (
  { idleTimeout, absoluteTimeout }: Timeouts, longest: SessionTimeouts
): Partial<SessionTimeouts> {
  if (idleTimeout === undefined && absoluteTimeout === undefined) {
    throw new TypeError('timeouts must have idleTimeout, absoluteTimeout or both')
  }
  const absoluteTimeoutMs = timeoutMs('absoluteTimeout', absoluteTimeout, Infinity)
  const idleTimeoutMs = Math.min(timeoutMs('idleTimeout', idleTimeout, Infinity), absoluteTimeoutMs)
  const given = {
    ...idleTimeout !== undefined && { idleTimeoutMs },
    ...absoluteTimeout !== undefined && { absoluteTimeoutMs }
  }
  assertNotLonger(given, longest)
  return given
}

function assertNotLonger (
  { idleTimeoutMs = 0, absoluteTimeoutMs = 0 }: Partial<SessionTimeouts>, longest: SessionTimeouts,
  allowed = 'the assurance option allows'
): void {
  const tooLong = absoluteTimeoutMs > longest.absoluteTimeoutMs
    ? 'absoluteTimeout'
    : idleTimeoutMs > longest.idleTimeoutMs ? 'idleTimeout' : null
  if (tooLong !== null) throw new TypeError(`${tooLong} is longer than ${allowed}`)
}
