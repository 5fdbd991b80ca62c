import { isDeeper } from '../session/changes.ts'
import { isUserIdText } from '../session/record.ts'
import type { SessionRecord } from '../session/record.ts'

/** Members of a record in the first line of its stored form, except `s` and `h`. */
type Head = Omit<SessionRecord, 'id' | 'secretHash' | 'lastSeenAt' | 'data'>

/**
 * Encodes a record for storing: two lines of JSON, the session and the application's data.
 *
 * - Two lines, so that a route that only asks who is signed in never parses the data, and so that a
 *   change of the data and a touch of the session are separate writes that cannot conflict.
 * - The first line begins with `{"s":` and thirteen digits, `lastSeenAt`: a touch rewrites just these.
 * - Names are short because every session in Redis pays for them.
 *
 * s lastSeenAt · h secretHash · c createdAt · e endsAt · i idleTimeoutMs · u userId · a authenticatedAt ·
 * l label · m meta · p ip · b userAgent · t 0 when the cookie ends with the browser session ·
 * k 1 for a bearer token · w methods · o actor · x idp · d boundKey · f twin. Absent means null (t: true, k: a
 * cookie).
 */
export function encode (record: SessionRecord): string {
  const head = JSON.stringify({ h: record.secretHash, ...encodeHead(record) })
  return `{"s":${Math.floor(record.lastSeenAt)},${head.slice(1)}\n${record.data}`
}

/** Decodes a stored record. Returns `null` if it is none. Never throws. */
export function decode (id: string, stored: string): SessionRecord | null {
  const newline = stored.indexOf('\n')
  if (newline === -1 || stored[newline + 1] !== '{' || !stored.endsWith('}')) return null
  const head = parseObject(stored.slice(0, newline))
  const known = head === null ? null : decodeHead(head)
  if (head === null || known === null || typeof head.h !== 'string' || !isInstant(head.s)) return null
  // One literal: an object that gets members later takes a third more memory.
  return {
    id,
    secretHash: head.h,
    kind: known.kind,
    userId: known.userId,
    label: known.label,
    meta: known.meta,
    createdAt: known.createdAt,
    authenticatedAt: known.authenticatedAt,
    lastSeenAt: head.s,
    endsAt: known.endsAt,
    idleTimeoutMs: known.idleTimeoutMs,
    persistent: known.persistent,
    methods: known.methods,
    actor: known.actor,
    idp: known.idp,
    boundKey: known.boundKey,
    twin: known.twin,
    ip: known.ip,
    userAgent: known.userAgent,
    data: stored.slice(newline + 1)
  }
}

/** Encodes the first line of a stored session, without `s` and `h`. */
export function encodeHead (record: Head): Record<string, string | number | undefined> {
  return {
    c: record.createdAt,
    e: record.endsAt,
    i: record.idleTimeoutMs,
    u: record.userId ?? undefined,
    a: record.authenticatedAt ?? undefined,
    l: record.label ?? undefined,
    m: record.meta ?? undefined,
    p: record.ip ?? undefined,
    b: record.userAgent ?? undefined,
    t: record.persistent ? undefined : 0,
    k: record.kind === 'bearer' ? 1 : undefined,
    w: record.methods ?? undefined,
    o: record.actor ?? undefined,
    x: record.idp ?? undefined,
    d: record.boundKey ?? undefined,
    f: record.twin ?? undefined
  }
}

/** Returns the member `d` as it stands in a first line, with the comma before it; '' for no key. */
export function keyMember ({ boundKey }: Partial<SessionRecord>): string {
  return boundKey == null ? '' : `,"d":${JSON.stringify(boundKey)}`
}

/** Returns the member `f` as it stands in a first line, with the comma before it; '' for no twin. */
export function twinMember ({ twin }: Partial<SessionRecord>): string {
  return twin == null ? '' : `,"f":${JSON.stringify(twin)}`
}

/** Decodes the first line of a stored session, without `s` and `h`. Returns `null` if it is not one. */
export function decodeHead (head: Record<string, unknown>): Head | null {
  const { c, e, i, u = null, a = null, l = null, m = null, p = null, b = null, t, k } = head
  const { w = null, o = null, x = null, d = null, f = null } = head
  const areInstants = isInstant(c) && isInstant(e) && isInstant(i) && (a === null || isInstant(a))
  if (!areInstants || !isText(u) || !isText(l) || !isText(m) || !isText(p) || !isText(b)) return null
  if (!isText(w) || !isText(o) || !isText(x) || !isText(d) || !isText(f)) return null
  if ((u !== null && !isUserIdText(u)) || (m !== null && parseObject(m) === null)) return null
  return {
    kind: k === 1 ? 'bearer' : 'cookie',
    userId: u,
    label: l,
    meta: m,
    createdAt: c,
    authenticatedAt: a,
    endsAt: e,
    idleTimeoutMs: i,
    persistent: t !== 0,
    methods: w,
    actor: o,
    idp: x,
    boundKey: d,
    twin: f,
    ip: p,
    userAgent: b
  }
}

/** Parses JSON of an object. Returns `null` for any other text. */
export function parseObject (text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return null
    // Any other object that JSON.parse makes is a record of unknown values.
    return value as Record<string, unknown>
  } catch {
    return null
  }
}

/** Deepest nesting of a session of express-session. A deeper one cannot be made text again. */
const MAX_EXPRESS_DEPTH = 1_000

/** Parses a session as express-session stores it. Returns `null` if it is none. */
export function parseExpress (text: string): Record<string, unknown> | null {
  const session = parseObject(text)
  if (session === null || typeof session.cookie !== 'object' || session.cookie === null) return null
  return text.length > 2 * MAX_EXPRESS_DEPTH && isDeeper(session, MAX_EXPRESS_DEPTH) ? null : session
}

function isInstant (value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value)
}

/** Longest text in a first line, in characters: a label, an address, the JSON of meta. */
const MAX_TEXT = 4_096

function isText (value: unknown): value is string | null {
  return value === null || (typeof value === 'string' && value.length <= MAX_TEXT)
}
