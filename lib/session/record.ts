import { isConfirmed } from './bound-key.ts'
import { idpOf } from './idp.ts'
import type { IdpSession } from './idp.ts'

/** A value that JSON can hold. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json }
/** An object that JSON can hold. */
export type JsonObject = { [key: string]: Json }

/** The carrier of a session's token. Each is refused as the other. */
export type SessionKind = 'cookie' | 'bearer'

/**
 * A session, as a store keeps it. Every member is immutable (`meta` and `data` are JSON text), so
 * handing a record over is handing over its value. Instants (`…At`) are milliseconds of the store's
 * clock since 1970, durations (`…Ms`) milliseconds.
 */
export interface SessionRecord {
  /** The public handle: safe to show and to log. */
  readonly id: string
  /** base64url of SHA-256 of the token's secret half; the secret itself is nowhere but with the client. */
  readonly secretHash: string
  /** What carries it. */
  readonly kind: SessionKind
  /** The signed-in user. `null` for an anonymous session, which is never listed. */
  readonly userId: string | null
  /** Its name for people, if it has one. */
  readonly label: string | null
  /** JSON text of an object, or `null`. */
  readonly meta: string | null
  /** When it began. */
  readonly createdAt: number
  /** Time when the person last proved who they are. `null` for an anonymous session. */
  readonly authenticatedAt: number | null
  /** When it was last used. */
  readonly lastSeenAt: number
  /** The absolute deadline: nothing extends it. */
  readonly endsAt: number
  /** How long it lives without use. */
  readonly idleTimeoutMs: number
  /** `false`: the cookie ends with the browser session. */
  readonly persistent: boolean
  /** How the user proved who they are: names separated by spaces, or `null` where the application did not say. */
  readonly methods: string | null
  /** Who acts as the user, if it is not the user. */
  readonly actor: string | null
  /** JSON text of `[issuer, sid]`: the session at an identity provider that it belongs to, or `null`. */
  readonly idp: string | null
  /** The key of the browser that it is bound to, or `null`. A store gives it no meaning. */
  readonly boundKey: string | null
  /** Which of the twin cookies was shown and which was given last, or `null`. A store gives it no meaning. */
  readonly twin: string | null
  /** The address it began from, if that is known. */
  readonly ip: string | null
  /** The client's device, as `deviceName` reads it from its `User-Agent`. */
  readonly userAgent: string | null
  /** JSON text of an object: the application's data. */
  readonly data: string
  /**
   * The user on whose list the session is (`null`: on none), where that is not its own user. Only beside an Express
   * app, which signs in and out by itself.
   */
  readonly listedAs?: string | null
}

/** A session, as an application sees it: no data, no secret, nothing mutable. */
export interface SessionInfo {
  /** The public handle: safe to show and to log. */
  readonly id: string
  /** Who is signed in: always a string, also for an id that was given as a number. */
  readonly userId: string
  /** What carries the session. */
  readonly kind: SessionKind
  /** Its name for people, if it was given one. */
  readonly label: string | null
  /** What the application wanted to know about the session. */
  readonly meta: Readonly<JsonObject> | null
  /**
   * When the session began, in milliseconds since 1970, by the store's clock. With `adopt`, its first use here. 0 if an
   * Express app that shares its sessions began it, which does not say when.
   */
  readonly createdAt: number
  /**
   * When the user last proved who they are, in milliseconds since 1970. 0 if another library signed them in, which does
   * not say when.
   */
  readonly authenticatedAt: number
  /** When the session was last used, in milliseconds since 1970. As exact as `touchAfter`. */
  readonly lastSeenAt: number
  /** When the session ends if it is not used again, in milliseconds since 1970. */
  readonly expiresAt: number
  /** When the session ends however much it is used, in milliseconds since 1970: its absolute timeout. */
  readonly endsAt: number
  /** `false`: the cookie ends when the browser closes. A bearer token's session is remembered. */
  readonly remembered: boolean
  /** How the user proved who they are, as the sign-in said: `['pwd', 'otp']`. Empty where it did not say. */
  readonly methods: readonly string[]
  /** Who acts as the user, such as a colleague who helps them. `null`: the user. */
  readonly actor: string | null
  /** The session at an identity provider that it began with, as this or an earlier sign-in said. `null`: none. */
  readonly idp: IdpSession | null
  /** Whether it is bound to the device that it began on: with the option `deviceBound`, in browsers that can. */
  readonly deviceBound: boolean
  /** The address it began from, where that is one. */
  readonly ip: string | null
  /** The device, read from the `User-Agent` header at sign-in: "Firefox 131 on Windows". At most 40 characters. */
  readonly userAgent: string | null
}

/** The longest id of a user, in UTF-16 code units. */
export const USER_ID_LENGTH = 255

/** Whether a text can be the id of a user: well-formed, of 1 to 255 characters. */
export function isUserIdText (text: string): boolean {
  // Half a character: in Redis all of them become the same one, and two users would be one.
  return text.length > 0 && text.length <= USER_ID_LENGTH && text.isWellFormed()
}

/** Timeouts that a session gets while it lives. What is left out stays as it is. */
export interface NewTimeouts {
  /** How long it lives without use, in milliseconds. */
  readonly idleTimeoutMs?: number | undefined
  /** The absolute deadline, in milliseconds since 1970. */
  readonly endsAt?: number | undefined
}

/** Returns a session with other timeouts. */
export function withTimeouts (
  record: SessionRecord, { idleTimeoutMs = record.idleTimeoutMs, endsAt = record.endsAt }: NewTimeouts
): SessionRecord {
  return { ...record, idleTimeoutMs, endsAt }
}

/** Returns when a session ends if it is not used again: at the earlier of idle and absolute timeout. */
export function expiresAt (record: SessionRecord): number {
  return Math.min(record.lastSeenAt + record.idleTimeoutMs, record.endsAt)
}

/** Whether a limit of sessions per user counts a session. Bearer tokens, and who acts as the user, are not counted. */
export function isCounted ({ kind, actor }: Pick<SessionRecord, 'kind' | 'actor'>): boolean {
  return kind === 'cookie' && actor === null
}

/** Whether a session's use has to be stored. `touchAfterMs`: `null` is a tenth of its idle timeout; `false`: none. */
export function isTouchDue (record: SessionRecord, touchAfterMs: number | null | false, now: number): boolean {
  if (touchAfterMs === false) return false
  const { idleTimeoutMs, lastSeenAt } = record
  const afterMs = touchAfterMs === null || touchAfterMs >= idleTimeoutMs ? idleTimeoutMs / 10 : touchAfterMs
  return now - lastSeenAt >= afterMs
}

/** Returns the public members of a signed-in session. `null` for an anonymous one. */
export function publicMembers (
  record: SessionRecord, deviceBound = isConfirmed(record.boundKey)
): SessionInfo | null {
  const { userId } = record
  if (userId === null) return null
  return {
    id: record.id,
    userId,
    kind: record.kind,
    label: record.label,
    meta: record.meta === null ? null : deepFreeze(JSON.parse(record.meta) as JsonObject),
    createdAt: record.createdAt,
    authenticatedAt: record.authenticatedAt ?? record.createdAt,
    lastSeenAt: record.lastSeenAt,
    expiresAt: expiresAt(record),
    endsAt: record.endsAt,
    remembered: record.persistent,
    methods: methodsOf(record),
    actor: record.actor,
    idp: idpOf(record),
    deviceBound,
    ip: record.ip,
    userAgent: record.userAgent
  }
}

const NO_METHODS: readonly string[] = Object.freeze([])

/** Returns how the user of a session proved who they are. */
function methodsOf ({ methods }: SessionRecord): readonly string[] {
  return methods === null ? NO_METHODS : Object.freeze(methods.split(' '))
}

/** Returns the frozen public view of a signed-in session. `null` for an anonymous one. */
export function toInfo (record: SessionRecord): SessionInfo | null {
  return Object.freeze(publicMembers(record))
}

/** Returns the public views of the signed-in sessions among records. */
export function toInfos (records: SessionRecord[]): SessionInfo[] {
  return records.map(toInfo).filter((info) => info !== null)
}

function deepFreeze<T> (value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const inner of Object.values(value)) deepFreeze(inner)
    Object.freeze(value)
  }
  return value
}
