import { isDeepStrictEqual } from 'node:util'

/** A session as express-session and @fastify/session hand it to a store. */
// Their own types differ from each other and from every application's augmentation.

export type ExpressSession = any

/** A session as somebody read or wrote it. */
export interface Version {
  readonly sid: string
  /** What it was to them: changes are told from that. */
  readonly own: string
  /** What Redis held, with the changes of others that a save was merged with. */
  readonly held: string
}

/** Under which a copy of a cookie's attributes names the cookie they are of. */
const kCookie = Symbol('fastify-user-sessions.cookie')

/**
 * Of which version the session objects of this process are. Nothing of it is in them: what is read is what was set.
 * The libraries make objects of their own of what was read, and each is recognised:
 *
 * - express-session has the store make it (`createSession`).
 * - @fastify/session, from 11.1.2 on, takes what the cookie's `toJSON` gives, symbols too, and keeps it under a symbol
 *   of its own.
 * - Who spreads a session goes on with its cookie.
 */
export class Versions {
  readonly #known = new WeakMap<object, Version>()

  /** This object is of that version now. */
  add (session: ExpressSession, version: Version): void {
    this.#known.set(session, version)
  }

  /** This object, and what is made of it, was read. */
  addRead (session: ExpressSession, version: Version): void {
    const { cookie } = session
    this.add(session, version)
    this.add(cookie, version)
    // Of one that cannot be changed the copies stay unknown.
    Reflect.defineProperty(cookie, 'toJSON', { value: () => ({ ...cookie, [kCookie]: cookie }), configurable: true, writable: true })
  }

  of (session: ExpressSession): Version | undefined {
    const copied = Object.getOwnPropertySymbols(session).map((symbol) => session[symbol]?.[kCookie])
    return [session, session.cookie, ...copied].map((each) => this.#known.get(each)).find((version) => version !== undefined)
  }
}

/** What turns one session into another, by top-level key: its new value, or that it is gone. */
export type SessionChanges = ReadonlyMap<string, { readonly value: unknown } | null>

/** By value, of whatever a serializer makes text of and back: dates, maps and big numbers, too. */
export function sessionChanges (before: ExpressSession, after: ExpressSession): SessionChanges {
  // Without its cookie it would be no session.
  const gone = Object.keys(before).filter((key) => !Object.hasOwn(after, key) && key !== 'cookie')
  const changed = Object.keys(after).filter((key) => !Object.hasOwn(before, key) || !isDeepStrictEqual(before[key], after[key]))
  return new Map([...gone.map((key) => [key, null] as const), ...changed.map((key) => [key, { value: after[key] as unknown }] as const)])
}

/** A session with the changes made, the other keys as they are: the last writer of one key wins. */
export function withChanges (session: ExpressSession, changes: SessionChanges): ExpressSession {
  const next = { ...session }
  for (const [key, change] of changes) {
    if (change === null) delete next[key]
    else next[key] = change.value
  }
  return next
}
