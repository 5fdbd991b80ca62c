import type { Duration } from '../util/duration.ts'
import type { JsonObject, SessionInfo, SessionKind } from './record.ts'

/** What a new session is made of. */
export interface CreateSession {
  userId: string | number | bigint
  /** What carries it. Default `cookie`. Each is refused as the other, and `bearer` where the `bearer` option is off. */
  kind?: SessionKind | undefined
  /** A name for people, at most 200 characters. */
  label?: string | null | undefined
  /** What the application wants to know about the session, at most 4,096 bytes of JSON. */
  meta?: Readonly<JsonObject> | null | undefined
  /** The application's data: what `request.session` holds. */
  data?: JsonObject | undefined
  /** Default the plugin's. Never longer than the absolute timeout. */
  idleTimeout?: Duration | undefined
  /** Default the plugin's. */
  absoluteTimeout?: Duration | undefined
}

export const NEW_SESSION = ['userId', 'kind', 'label', 'meta', 'data', 'idleTimeout', 'absoluteTimeout']

export interface CreatedSession {
  /** What proves the session: the cookie's value or the bearer token. Nothing else ever shows it. */
  token: string
  session: SessionInfo
  /** Request headers that carry the session, ready for `inject` or `fetch`. */
  headers: { cookie?: string, authorization?: string }
}

/** A request of Node, of Fastify or of `fetch`. */
export interface RequestLike {
  readonly headers: object
}

export interface FindOptions {
  /** Whether finding the session counts as using it, as a request does. Default `false`. */
  touch?: boolean | undefined
}

/** Which of a user's sessions are listed. */
export interface ListSessions {
  /** So many at the most: 1 to 1,000, the default. */
  limit?: number | undefined
  /** Only those that come after this one: the last of the page before. It may have ended since. */
  before?: Pick<SessionInfo, 'id' | 'createdAt'> | undefined
}

export interface Health {
  ok: boolean
  /** How long the answer took, in whole milliseconds. */
  latencyMs: number
}
