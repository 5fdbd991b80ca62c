import { objectText } from './arguments.ts'
import { fitting } from './data.ts'
import { deviceName } from './device.ts'
import type { JsonObject, SessionKind, SessionRecord } from './record.ts'
import { addressOf } from './network.ts'
import type { Token } from './token.ts'

/** A new session. */
export interface NewSession {
  /** What carries it. Default `cookie`. */
  kind?: SessionKind | undefined
  userId: string | null
  /** JSON text of an object. */
  data: string
  /** The id it shall have; default a fresh one. */
  id?: string | undefined
  label?: string | null | undefined
  meta?: Readonly<JsonObject> | null | undefined
  idleTimeoutMs?: number | undefined
  absoluteTimeoutMs?: number | undefined
  /** `false`: its cookie ends with the browser session. Default `true`. */
  persistent?: boolean | undefined
  /** From where it begins. What is no address is left out. */
  ip?: string | null | undefined
  /** The `User-Agent` header. */
  userAgent?: string | null | undefined
  /** The data, made anew of what `replaces` held at its end, if that is not what it says. */
  carry?: ((endedData: string) => string) | undefined
  /** The session that ends when this one begins. */
  replaces: SessionRecord | null
}

/** A session, and the token that proves it. */
export interface HeldSession {
  readonly record: SessionRecord
  readonly token: Token
}

const LABEL_LENGTH = 200
const META_BYTES = 4096

interface Birth {
  id: string
  secretHash: string
  now: number
  idleTimeoutMs: number
  absoluteTimeoutMs: number
  /** `false`: cookies end with the browser session unless a sign-in says otherwise. */
  cookieMaxAgeMs?: number | null | false | undefined
  /** Bytes of JSON that the data may have. */
  maxDataSize: number
}

/**
 * The record of a session that begins now.
 * @throws TypeError for a label or meta that cannot be kept; ERR_SESSION_DATA_TOO_LARGE
 */
export function newRecord (session: NewSession, { id, secretHash, now, idleTimeoutMs, absoluteTimeoutMs, cookieMaxAgeMs, maxDataSize }: Birth): SessionRecord {
  const createdAt = Math.floor(now)
  return {
    id,
    secretHash,
    kind: session.kind ?? 'cookie',
    userId: session.userId,
    label: checkedLabel(session.label ?? null),
    meta: checkedMeta(session.meta ?? null),
    createdAt,
    authenticatedAt: session.userId === null ? null : createdAt,
    lastSeenAt: createdAt,
    endsAt: createdAt + (session.absoluteTimeoutMs ?? absoluteTimeoutMs),
    idleTimeoutMs: session.idleTimeoutMs ?? idleTimeoutMs,
    persistent: session.persistent ?? cookieMaxAgeMs !== false,
    ip: addressOf(session.ip),
    userAgent: session.userAgent == null ? null : deviceName(session.userAgent),
    data: fitting(session.data, session.replaces?.data, maxDataSize)
  }
}

function checkedLabel (label: string | null): string | null {
  if (label !== null && (typeof label !== 'string' || label.length > LABEL_LENGTH)) throw new TypeError(`label must be a string of at most ${LABEL_LENGTH} characters`)
  return label
}

function checkedMeta (meta: Readonly<JsonObject> | null): string | null {
  if (meta === null) return null
  const fault = `meta must be an object of at most ${META_BYTES} bytes of JSON`
  const text = objectText(meta, fault)
  if (Buffer.byteLength(text) > META_BYTES) throw new TypeError(fault)
  return text
}
