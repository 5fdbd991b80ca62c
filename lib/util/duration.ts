import ms from 'ms'

/** Milliseconds, or a string such as `'30m'`. */
export type Duration = number | string

/** A browser keeps no cookie longer than about 400 days; a longer session is a typing error. */
const MAX_MS = 10 * 365 * 24 * 3_600_000

/** What is wrong with a duration (milliseconds, or a string such as `'30m'`); `null` for nothing. */
export function durationFault (value: unknown, { zero = false } = {}): string | null {
  const duration = durationMs(value)
  if (!Number.isFinite(duration)) return 'must be milliseconds or a string such as \'30m\''
  if (duration < (zero ? 0 : 1)) return zero ? 'must not be negative' : 'must be positive'
  return duration > MAX_MS ? 'must be less than ten years' : null
}

/** A duration in whole milliseconds, or `NaN` for what is none. */
export function durationMs (value: unknown): number {
  if (typeof value === 'number') return Math.floor(value)
  if (typeof value !== 'string' || value.length === 0 || value.length > 100) return NaN
  return Math.floor(ms(value as ms.StringValue) ?? NaN)
}

/**
 * A duration given in code, in milliseconds.
 * @throws TypeError for what is none
 */
export function timeoutMs (name: string, value: Duration | undefined, fallback: number): number {
  if (value === undefined) return fallback
  const fault = durationFault(value)
  if (fault !== null) throw new TypeError(`${name} ${fault}`)
  return durationMs(value)
}

/** How long a session may last, as code says it. */
export interface GivenTimeouts {
  idleTimeout?: Duration | undefined
  absoluteTimeout?: Duration | undefined
}

/** In milliseconds. */
export interface SessionTimeouts {
  idleTimeoutMs: number
  absoluteTimeoutMs: number
}

/**
 * The timeouts of one session, of which the idle one is never longer than the other.
 * @throws TypeError for what is no duration, or longer than `longest`
 */
export function sessionTimeouts ({ idleTimeout, absoluteTimeout }: GivenTimeouts, defaults: SessionTimeouts, longest: SessionTimeouts): SessionTimeouts {
  const absoluteTimeoutMs = timeoutMs('absoluteTimeout', absoluteTimeout, defaults.absoluteTimeoutMs)
  const idleTimeoutMs = Math.min(timeoutMs('idleTimeout', idleTimeout, defaults.idleTimeoutMs), absoluteTimeoutMs)
  if (absoluteTimeoutMs > longest.absoluteTimeoutMs) throw new TypeError('absoluteTimeout is longer than the assurance option allows')
  if (idleTimeoutMs > longest.idleTimeoutMs) throw new TypeError('idleTimeout is longer than the assurance option allows')
  return { idleTimeoutMs, absoluteTimeoutMs }
}
