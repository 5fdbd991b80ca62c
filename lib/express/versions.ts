import { isDeepStrictEqual } from 'node:util'

/** A session as express-session and @fastify/session hand it to a store. */
// Their own types differ from each other and from every application's augmentation.

export type ExpressSession = any

/** A session as a request read or wrote it. */
export interface Version {
  readonly sid: string
  /** The session as that request knew it: its changes are told from this. */
  readonly own: string
  /** The session as Redis held it, with the changes of others that a save was merged with. */
  readonly held: string
}

/** The symbol under which a copy of a cookie's attributes names its original. */
const kCookie = Symbol('fastify-user-sessions.cookie')

/**
 * Remembers which version the session objects of this process are, and puts nothing into them. The libraries make
 * objects of their own of a session that was read. Each is recognised:
 *
 * - express-session has the store make it (`createSession`).
 * - @fastify/session, from 11.1.2 on, keeps what the cookie's `toJSON` returns, symbols too, under one of its own.
 * - A copy by spreading has the same cookie.
 */
export class Versions {
  readonly #known = new WeakMap<object, Version>()

  /** Notes that this object is of that version now. */
  add (session: ExpressSession, version: Version): void {
    this.#known.set(session, version)
  }

  /** Notes that this object was read, and whatever will be made of it. */
  addRead (session: ExpressSession, version: Version): void {
    const { cookie } = session
    this.add(session, version)
    this.add(cookie, version)
    // Copies of a cookie that cannot be changed stay unknown.
    const value = () => ({ ...cookie, [kCookie]: cookie })
    Reflect.defineProperty(cookie, 'toJSON', { value, configurable: true, writable: true })
  }

  /** Returns the version that a session object is of, if it is known. */
  of (session: ExpressSession): Version | undefined {
    const copied = Object.getOwnPropertySymbols(session).map((symbol) => session[symbol]?.[kCookie])
    const versions = [session, session.cookie, ...copied].map((each) => this.#known.get(each))
    return versions.find((version) => version !== undefined)
  }
}

/** The changes that make one session of another: for each top-level key its new value, or `null` where it is gone. */
export type SessionChanges = ReadonlyMap<string, { readonly value: unknown } | null>

/** Compares two sessions by value, whatever a serializer makes of text: dates, maps and big numbers, too. */
export function sessionChanges (before: ExpressSession, after: ExpressSession): SessionChanges {
  const changes = new Map<string, { readonly value: unknown } | null>()
  for (const key of Object.keys(before)) {
    // Without its cookie it would be no session.
    if (!Object.hasOwn(after, key) && key !== 'cookie') changes.set(key, null)
  }
  for (const key of Object.keys(after)) {
    const isSame = Object.hasOwn(before, key) && isDeepStrictEqual(before[key], after[key])
    if (!isSame) changes.set(key, { value: after[key] })
  }
  return changes
}

/** Makes the changes in a session. The other keys stay as they are: the last writer of one key wins. */
export function withChanges (session: ExpressSession, changes: SessionChanges): ExpressSession {
  const next = { ...session }
  for (const [key, change] of changes) {
    if (change === null) delete next[key]
    else next[key] = change.value
  }
  return next
}
