import { durationMs } from '../util/duration.ts'
import type { SessionTimeouts } from '../util/duration.ts'
import type { Faults } from './faults.ts'
import { isSessionStore } from '../session/store.ts'
import type { SessionStore } from '../session/store.ts'
import { attempted } from './attempted.ts'
import type { SessionOptions } from './schema.ts'

export interface ResolvedTimeouts extends SessionTimeouts {
  remember: SessionTimeouts
  /** `null`: a tenth of the idle timeout; `false`: never. */
  touchAfterMs: number | null | false
  /** What no session may exceed. */
  longest: SessionTimeouts
}

/** NIST SP 800-63B-4 2.2.3 and 2.3.3: how long a session may go on without signing in again, and without use. */
const ASSURANCE = {
  aal2: { idleTimeout: '1h', absoluteTimeout: '24h' },
  aal3: { idleTimeout: '15m', absoluteTimeout: '12h' }
}

/** The timeouts that the options ask for; defaults give way to what the assurance level allows. */
export function timeoutsOf (options: Partial<SessionOptions>, faults: Faults): ResolvedTimeouts {
  const { assurance, remember, touchAfter } = options
  const bounds = assurance === undefined ? null : ASSURANCE[assurance]
  const longest = { idleTimeoutMs: bounds === null ? Infinity : durationMs(bounds.idleTimeout), absoluteTimeoutMs: bounds === null ? Infinity : durationMs(bounds.absoluteTimeout) }
  const timeout = (name: string, value: unknown, byDefault: string, longestMs: number): number => {
    if (value === undefined) return Math.min(durationMs(byDefault), longestMs)
    const ms = faults.duration(name, value)
    if (ms > longestMs) faults.add(name, `must not be longer than ${longestMs / 60_000} minutes for assurance ${assurance}`)
    return ms
  }
  const pair = (given: Partial<Record<'idleTimeout' | 'absoluteTimeout', unknown>>, before: string, byDefault: Record<'idleTimeout' | 'absoluteTimeout', string>): SessionTimeouts => {
    const idleTimeoutMs = timeout(`${before}idleTimeout`, given.idleTimeout, byDefault.idleTimeout, longest.idleTimeoutMs)
    const absoluteTimeoutMs = timeout(`${before}absoluteTimeout`, given.absoluteTimeout, byDefault.absoluteTimeout, longest.absoluteTimeoutMs)
    if (idleTimeoutMs > absoluteTimeoutMs) faults.add(`${before}idleTimeout`, `must not be longer than ${before}absoluteTimeout`)
    return { idleTimeoutMs, absoluteTimeoutMs }
  }
  const ordinary = pair(options, '', { idleTimeout: '30m', absoluteTimeout: '7d' })
  let touchAfterMs: number | null | false = touchAfterByDefault(options, ordinary)
  if (touchAfter === false) touchAfterMs = false
  else if (touchAfter !== undefined) {
    touchAfterMs = faults.duration('touchAfter', touchAfter, { zero: true })
    if (touchAfterMs >= ordinary.idleTimeoutMs) faults.add('touchAfter', 'must be shorter than idleTimeout')
  }
  return { ...ordinary, remember: pair(remember ?? {}, 'remember.', { idleTimeout: '30d', absoluteTimeout: '90d' }), touchAfterMs, longest }
}

/** What never expires is not extended, but shows when it was used last. */
function touchAfterByDefault ({ store }: Partial<SessionOptions>, { idleTimeoutMs }: SessionTimeouts): number | null | false {
  if (hasOption(store, 'disableTouch')) return false
  return hasOption(store, 'disableTTL') ? idleTimeoutMs / 10 : null
}

/** Whether a store of ours was made with this option, as RedisStore of fastify-user-sessions/express may be. */
export function hasOption (store: unknown, name: 'disableTTL' | 'disableTouch'): boolean {
  return attempted(() => isSessionStore(store) && (store as SessionStore & { [Name in typeof name]?: unknown })[name] === true, false)
}

/** Below this a number is more likely one of seconds, or of minutes. */
const SHORT_MS = 60_000

/** What to say at boot of timeouts that are numbers, and short ones. */
export function timeoutWarnings ({ idleTimeout, absoluteTimeout, remember, cookie }: Partial<SessionOptions>): Array<{ message: string }> {
  const timeouts = { idleTimeout, absoluteTimeout, 'remember.idleTimeout': remember?.idleTimeout, 'remember.absoluteTimeout': remember?.absoluteTimeout, 'cookie.maxAge': cookie?.maxAge }
  const short = Object.entries(timeouts).filter(([, value]) => typeof value === 'number' && value < SHORT_MS).map(([name]) => name)
  return short.map((name) => ({ message: `${name} is a number, which means milliseconds, and less than a minute: where seconds or minutes are meant, say so in a string such as '30m'` }))
}
