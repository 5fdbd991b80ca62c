import { sessionTimeouts } from '../util/duration.ts'
import type { Duration, SessionTimeouts } from '../util/duration.ts'
import { assertBoolean, isShortText } from './arguments.ts'
import { ACTOR_LENGTH } from './end-cause.ts'
import type { NewSession } from './new-record.ts'
import { ACTING_MS } from '../util/timings.ts'

/** Most methods of one sign-in. */
const MOST_METHODS = 10
/** The name of a method, as those of RFC 8176 are: printable, without a space, which stands between stored ones. */
const METHOD = /^[\x21-\x7e]{1,32}$/

/**
 * Returns the names of methods by which a user has proved, or has to prove, who they are: each once.
 * @throws TypeError for what is no array of at most ten such names
 */
export function methodNames (methods: unknown): string[] {
  // Read once: what is checked is what is stored, also of a proxy.
  const length: unknown = Array.isArray(methods) ? methods.length : NaN
  const isShort = typeof length === 'number' && length <= MOST_METHODS
  const names = isShort ? Array.from({ length }, (_, index) => (methods as unknown[])[index]) : [null]
  if (names.every((name) => typeof name === 'string' && METHOD.test(name))) return [...new Set(names as string[])]
  throw new TypeError(`methods must be an array of at most ${MOST_METHODS} names, each of 1 to 32 characters of ASCII` +
    ' without a space')
}

/** Returns the methods of a sign-in as a record holds them. Throws as `methodNames` does. */
export function methodsText (methods: readonly string[] | undefined): string | null {
  if (methods === undefined) return null
  const names = methodNames(methods)
  return names.length === 0 ? null : names.join(' ')
}

/** What a sign-in says of who uses its session, and how long. */
interface GivenUse {
  actor?: string | undefined
  remember?: boolean | undefined
  idleTimeout?: Duration | undefined
  absoluteTimeout?: Duration | undefined
}

/** The timeouts of a registration: those by default, those of `remember`, and the longest. */
interface Timeouts extends SessionTimeouts {
  readonly remember?: SessionTimeouts
  readonly longest: SessionTimeouts
}

/**
 * Returns who uses the session of a sign-in, and how long. An actor that is named has to be one: who left it empty by
 * mistake would get the user's own session.
 * @throws TypeError
 */
export function useOf (
  given: GivenUse, timeouts: Timeouts
): Pick<NewSession, 'actor' | 'idleTimeoutMs' | 'absoluteTimeoutMs' | 'persistent'> {
  const { actor, remember } = given
  assertBoolean(remember, 'remember')
  if ('actor' in given) {
    if (!isShortText(actor, ACTOR_LENGTH)) {
      throw new TypeError(`actor must be a text of 1 to ${ACTOR_LENGTH} characters without control characters`)
    }
    if (remember === true) throw new TypeError('remember must not be true where somebody acts as the user')
    const defaults = { ...timeouts, absoluteTimeoutMs: Math.min(ACTING_MS, timeouts.absoluteTimeoutMs) }
    return { actor, ...sessionTimeouts(given, defaults, timeouts, 'that of the plugin: somebody acts as the user') }
  }
  const defaults = remember === true ? timeouts.remember ?? timeouts : timeouts
  const times = sessionTimeouts(given, defaults, timeouts.longest)
  return { actor: null, ...times, ...remember !== undefined && { persistent: remember } }
}
