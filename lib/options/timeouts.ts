import { durationMs } from '../util/duration.ts'
import type { SessionTimeouts } from '../util/duration.ts'
import { isSessionStore } from '../session/store.ts'
import type { SessionStore } from '../session/store.ts'
import { DEFAULTS } from './defaults.ts'
import { attempted } from './faults.ts'
import type { Faults } from './faults.ts'
import type { ResolvedOptions } from './resolve.ts'
import type { RememberOptions, SessionOptions } from './types.ts'

/** The timeouts of sessions, in milliseconds. */
export interface ResolvedTimeouts extends SessionTimeouts {
  remember: SessionTimeouts
  /** How often an unchanged session is extended. `null`: at a tenth of its idle timeout. `false`: never. */
  touchAfterMs: number | null | false
  /** The longest that any session may have. */
  longest: SessionTimeouts
}

/** NIST SP 800-63B-4 2.2.3 and 2.3.3: how long a session may go on without use, and without another login. */
const ASSURANCE = {
  aal2: { idleTimeout: '1h', absoluteTimeout: '24h' },
  aal3: { idleTimeout: '15m', absoluteTimeout: '12h' }
}

/** Resolves the timeouts. Defaults that are longer than the assurance level allows become what it allows. */
export function timeoutsOf (options: Partial<SessionOptions>, faults: Faults): ResolvedTimeouts {
  const { assurance, remember = {}, touchAfter } = options
  const longest = longestOf(assurance)
  const timeout = (name: string, value: unknown, byDefault: string, longestMs: number): number => {
    if (value === undefined) return Math.min(durationMs(byDefault), longestMs)
    const ms = faults.duration(name, value)
    if (ms > longestMs) {
      faults.add(name, `must not be longer than ${longestMs / 60_000} minutes for assurance ${assurance}`)
    }
    return ms
  }
  type Pair = Record<keyof RememberOptions, string>
  const pair = (given: RememberOptions, byDefault: Pair, before = ''): SessionTimeouts => {
    const one = (name: keyof RememberOptions): number => {
      return timeout(`${before}${name}`, given[name], byDefault[name], longest[`${name}Ms`])
    }
    const [idleTimeoutMs, absoluteTimeoutMs] = [one('idleTimeout'), one('absoluteTimeout')]
    if (idleTimeoutMs > absoluteTimeoutMs) {
      faults.add(`${before}idleTimeout`, `must not be longer than ${before}absoluteTimeout`)
    }
    return { idleTimeoutMs, absoluteTimeoutMs }
  }
  const ordinary = pair(options, DEFAULTS)
  let touchAfterMs: number | null | false = touchAfterByDefault(options, ordinary)
  if (touchAfter === false) touchAfterMs = false
  else if (touchAfter !== undefined) {
    touchAfterMs = faults.duration('touchAfter', touchAfter, { zero: true })
    if (touchAfterMs >= ordinary.idleTimeoutMs) faults.add('touchAfter', 'must be shorter than idleTimeout')
  }
  return { ...ordinary, remember: pair(remember, DEFAULTS.remember, 'remember.'), touchAfterMs, longest }
}

function longestOf (assurance: SessionOptions['assurance']): SessionTimeouts {
  if (assurance === undefined) return { idleTimeoutMs: Infinity, absoluteTimeoutMs: Infinity }
  const { idleTimeout, absoluteTimeout } = ASSURANCE[assurance]
  return { idleTimeoutMs: durationMs(idleTimeout), absoluteTimeoutMs: durationMs(absoluteTimeout) }
}

function touchAfterByDefault (
  { store }: Partial<SessionOptions>, { idleTimeoutMs }: SessionTimeouts
): number | null | false {
  if (hasOption(store, 'disableTouch')) return false
  // A session that never expires is not extended, but shows when it was used last.
  return hasOption(store, 'disableTTL') ? idleTimeoutMs / 10 : null
}

/** Whether a store has this option set, as `RedisStore` of `fastify-user-sessions/express` may have. */
export function hasOption (store: unknown, name: 'disableTTL' | 'disableTouch'): boolean {
  const isSet = (of: SessionStore & { [Name in typeof name]?: unknown }): boolean => of[name] === true
  return attempted(() => isSessionStore(store) && isSet(store), false)
}

const MINUTE_MS = 60_000
const DAY_S = 86_400

/** Says what a number of milliseconds looks like that was more likely meant as seconds or minutes. */
function likeness (ms: number): string | null {
  if (ms < MINUTE_MS) return 'less than a minute'
  // 86,400 milliseconds are 86.4 seconds: nobody means that.
  return ms % DAY_S === 0 && ms % MINUTE_MS !== 0 ? 'looks like days in seconds' : null
}

/** Warns of timeouts that are numbers, and look like seconds or minutes. */
export function warnOfShortTimeouts (
  { idleTimeout, absoluteTimeout, remember, cookie }: Partial<SessionOptions>, faults: Faults
): void {
  const timeouts = {
    idleTimeout,
    absoluteTimeout,
    'remember.idleTimeout': remember?.idleTimeout,
    'remember.absoluteTimeout': remember?.absoluteTimeout,
    'cookie.maxAge': cookie?.maxAge
  }
  for (const [name, value] of Object.entries(timeouts)) {
    const like = typeof value === 'number' ? likeness(value) : null
    if (like === null) continue
    faults.warn(`${name} is a number, which means milliseconds, and ${like}: ` +
      'where seconds or minutes are meant, say so in a string such as \'30m\'')
  }
}

const HARD_END = 'cookie.maxAge is how long the browser keeps the cookie, and use does not prolong it: for a session ' +
  'that ends after a time without use write idleTimeout, and for its end however much it is used absoluteTimeout'

/** Warns of a `cookie.maxAge` that stands alone. Elsewhere use prolongs the cookie and the session with it. */
export function warnOfCookieMaxAge (
  { cookie, idleTimeout, absoluteTimeout, remember }: Partial<SessionOptions>, faults: Faults
): void {
  const isAlone = [idleTimeout, absoluteTimeout, remember].every((each) => each === undefined)
  if (isAlone && cookie?.maxAge !== undefined && cookie.maxAge !== false) faults.warn(HARD_END)
}

/** RFC 6265bis 5.5: browsers keep no cookie longer. */
const LONGEST_COOKIE_MS = durationMs('400d')

/**
 * Warns of timeouts that lead to a cookie which browsers cut. With `bearer` they may be meant for tokens, unless there
 * is a `cookie.maxAge`.
 */
export function warnOfLongCookies (
  { absoluteTimeoutMs, remember, cookieMaxAgeMs, bearer }: ResolvedOptions, faults: Faults
): void {
  if (bearer && typeof cookieMaxAgeMs !== 'number') return
  const lives = {
    absoluteTimeout: cookieMaxAgeMs === false ? 0 : absoluteTimeoutMs,
    'remember.absoluteTimeout': remember.absoluteTimeoutMs
  }
  for (const [name, ms] of Object.entries(lives)) {
    if (Math.min(ms, cookieMaxAgeMs || Infinity) <= LONGEST_COOKIE_MS) continue
    faults.warn(`${name} leads to a cookie of more than 400 days, and browsers keep none longer: write '400d' at ` +
      'most, or cookie.maxAge: \'400d\' where sessions are to outlive it')
  }
}
