import { objectText } from './arguments.ts'
import { fitting } from './data.ts'
import { deviceName } from './device.ts'
import type { JsonObject, SessionKind, SessionRecord } from './record.ts'
import { addressOf } from './network.ts'
import type { Change } from './store.ts'
import type { Token } from './token.ts'

/** A session that is to begin. */
export interface NewSession {
  /** Whether a cookie or a bearer token carries it. Default `cookie`. */
  kind?: SessionKind | undefined
  userId: string | null
  /** JSON text of an object. */
  data: string
  /** Its id. Default: a new one. */
  id?: string | undefined
  /** Default: that of `replaces`, if it is a session of the same user and actor. So is `meta`. */
  label?: string | null | undefined
  meta?: Readonly<JsonObject> | null | undefined
  idleTimeoutMs?: number | undefined
  absoluteTimeoutMs?: number | undefined
  /** `false`: its cookie ends with the browser session. Default: as `cookieMaxAgeMs` says. */
  persistent?: boolean | undefined
  /** How the user proved who they are: names separated by spaces. Default: nobody said. */
  methods?: string | null | undefined
  /**
   * Who acts as the user; `null`: the user. Default: as in `replaces`, with its deadline, so that nothing but a sign-in
   * that says so makes it the user's own session.
   */
  actor?: string | null | undefined
  /** JSON text of `[issuer, sid]`, of the session at an identity provider; `null`: none. Default: as `label`. */
  idp?: string | null | undefined
  /** The key of the browser that it is bound to, where that is known already. Default: none. */
  boundKey?: string | null | undefined
  /** The client's address. A text that is none is left out. */
  ip?: string | null | undefined
  /** The `User-Agent` header. */
  userAgent?: string | null | undefined
  /** The id of the request that begins it. */
  requestId?: string | null | undefined
  /** Makes the data out of the data that `replaces` had at its end, where that has changed. */
  carry?: Change | undefined
  /** The session that ends when this one begins, or `null`. */
  replaces: SessionRecord | null
  /** Where it is `null`: a session that ends as well, and leaves this one nothing. */
  ends?: SessionRecord | null | undefined
}

/** A session, and the token that proves it. */
export interface HeldSession {
  readonly record: SessionRecord
  readonly token: Token
}

/** Longest label, in characters. */
const LABEL_LENGTH = 200
/** Largest meta, in bytes of JSON. */
const META_BYTES = 4096

/** Members of a new record that the session itself does not say, and limits. */
interface NewRecordOptions {
  id: string
  secretHash: string
  now: number
  idleTimeoutMs: number
  absoluteTimeoutMs: number
  /** `false`: cookies end with the browser session unless a sign-in says otherwise. */
  cookieMaxAgeMs?: number | null | false | undefined
  /** Largest data, in bytes of JSON. */
  maxDataSize: number
}

/**
 * Makes the record of a session that begins now.
 * @throws TypeError for a label or meta that cannot be kept; ERR_SESSION_DATA_TOO_LARGE
 */
export function newRecord (session: NewSession, options: NewRecordOptions): SessionRecord {
  const { id, secretHash, now, idleTimeoutMs, absoluteTimeoutMs, cookieMaxAgeMs, maxDataSize } = options
  const createdAt = Math.floor(now)
  const { userId, replaces } = session
  const acting = userId !== null && session.actor === undefined && replaces?.actor != null ? replaces : null
  const actor = userId === null ? null : acting?.actor ?? session.actor ?? null
  const same = userId !== null && replaces?.userId === userId && replaces.actor === actor ? replaces : null
  return {
    id,
    secretHash,
    kind: session.kind ?? 'cookie',
    userId,
    // What is kept is kept as it is stored, whatever was allowed when it was.
    label: session.label === undefined ? same?.label ?? null : checkedLabel(session.label),
    meta: session.meta === undefined ? same?.meta ?? null : checkedMeta(session.meta),
    createdAt,
    authenticatedAt: userId === null ? null : createdAt,
    lastSeenAt: createdAt,
    endsAt: acting?.endsAt ?? createdAt + (session.absoluteTimeoutMs ?? absoluteTimeoutMs),
    idleTimeoutMs: acting?.idleTimeoutMs ?? session.idleTimeoutMs ?? idleTimeoutMs,
    persistent: actor === null && (session.persistent ?? cookieMaxAgeMs !== false),
    methods: session.methods ?? null,
    actor,
    // Whoever ends the sessions of the one at the provider finds this one as well.
    idp: session.idp === undefined ? same?.idp ?? null : session.idp,
    boundKey: session.boundKey ?? null,
    twin: null,
    ip: addressOf(session.ip),
    userAgent: session.userAgent == null ? null : deviceName(session.userAgent),
    data: fitting(session.data, replaces?.data, maxDataSize)
  }
}

function checkedLabel (label: string | null): string | null {
  if (label === null || (typeof label === 'string' && label.length <= LABEL_LENGTH)) return label
  throw new TypeError(`label must be a string of at most ${LABEL_LENGTH} characters`)
}

function checkedMeta (meta: Readonly<JsonObject> | null): string | null {
  if (meta === null) return null
  const fault = `meta must be an object of at most ${META_BYTES} bytes of JSON`
  const text = objectText(meta, fault)
  if (Buffer.byteLength(text) > META_BYTES) throw new TypeError(fault)
  return text
}
