import { expiresAt } from '../../session/record.ts'
import type { JsonObject, SessionRecord } from '../../session/record.ts'
import { decodeHead, encodeHead, parseObject } from '../codec.ts'
import type { Change } from '../contract.ts'
import { compareAndSet } from './compare-and-set.ts'
import type { Keys } from './keys.ts'
import type { RedisLink } from './link.ts'
import { absentIfWrongType, Records } from './records.ts'

/** The member of an Express session in which we keep what it has no place for. */
const OURS = '_session'

/** An instant long ago, the same for all who ask. */
const UNKNOWN = 0

/** What has to be known of the Express app's side. */
export interface ExpressLayout {
  /** Whom the data names, or `null`. */
  userOf: (data: Record<string, unknown>) => string | null
  /** For sessions that Express began. */
  idleTimeoutMs: number
  absoluteTimeoutMs: number
  /** The attributes that go into `cookie`, which express-session builds its own cookie from. */
  cookie: { secure: boolean, httpOnly: boolean, sameSite: string, path: string }
}

/**
 * Sessions as express-session and connect-redis keep them: `{ cookie, …data }`, and in the member
 * `_session` what is ours. Whoever the data names is signed in, and when the key expires decides when
 * a session that nobody uses ends: the Express app changes the one and extends the other as it does.
 */
export class ExpressRecords extends Records {
  readonly #layout: ExpressLayout
  readonly #list: (record: SessionRecord) => Promise<void>

  /** `list` puts a session that Express began on its user's list. */
  constructor (link: RedisLink, keys: Keys, { layout, list }: { layout: ExpressLayout, list: (record: SessionRecord) => Promise<void> }) {
    super(link, keys, { persist: false })
    this.#layout = layout
    this.#list = list
  }

  override async find (id: string): Promise<SessionRecord | null> {
    const key = this.keys.session(id)
    const [value, ttlMs] = await this.link.run(key, (client) => Promise.all([client.get(key), client.pttl(key)])).catch((error: unknown) => [absentIfWrongType(error), null] as const)
    const record = this.read(id, value, ttlMs)
    if (record === null || record.userId === null || value === null || this.#isListed(value, record.userId)) return record
    // Express signed somebody in: from now on the session is one of theirs.
    await this.#list(record)
    return await this.#rewrite(record, (data) => data)
  }

  override async update (record: SessionRecord, change: Change): Promise<SessionRecord | null> {
    return await this.#rewrite(record, change)
  }

  override async touch (record: SessionRecord): Promise<boolean> {
    const key = this.keys.session(record.id)
    const ttl = this.ttl({ ...record, lastSeenAt: this.link.now() })
    return ttl !== 'persist' && await this.link.run(key, (client) => client.pexpire(key, ttl)) === 1
  }

  protected override encode (record: SessionRecord): string {
    const { secure, httpOnly, sameSite, path } = this.#layout.cookie
    // Express extends the session by `originalMaxAge` at each of its own requests.
    const cookie = { originalMaxAge: record.idleTimeoutMs, expires: new Date(expiresAt(record)).toISOString(), secure, httpOnly, path, sameSite }
    return this.#encodeOver({ cookie }, record)
  }

  protected override decode (id: string, stored: string, ttlMs: number | null): SessionRecord | null {
    const session = parseObject(stored)
    if (session === null || typeof session.cookie !== 'object' || session.cookie === null) return null
    const { cookie: _cookie, [OURS]: ours, ...data } = session
    const userId = this.#layout.userOf(data)
    const now = Math.floor(this.link.now())
    const head = decodeHead(typeof ours === 'object' && ours !== null ? ours as JsonObject : {})
    // When Express signed them in is not known: too long ago for what asks for a recent sign-in.
    const begun = head ?? { createdAt: UNKNOWN, endsAt: now + this.#layout.absoluteTimeoutMs, idleTimeoutMs: this.#layout.idleTimeoutMs, label: null, meta: null, persistent: true, ip: null, userAgent: null }
    const authenticatedAt = head?.userId === userId ? head.authenticatedAt : UNKNOWN
    return {
      ...begun,
      id,
      secretHash: '',
      kind: 'cookie',
      userId,
      authenticatedAt: userId === null ? null : authenticatedAt,
      lastSeenAt: ttlMs === null || ttlMs < 0 ? now : now - Math.max(0, begun.idleTimeoutMs - ttlMs),
      data: JSON.stringify(data)
    }
  }

  #isListed (stored: string, userId: string): boolean {
    const ours = parseObject(stored)?.[OURS] as { u?: unknown } | undefined
    return ours?.u === userId
  }

  /** Changes the data on top of whatever Express holds, and says what is ours. */
  async #rewrite (record: SessionRecord, change: Change): Promise<SessionRecord | null> {
    const key = this.keys.session(record.id)
    const seen = await this.link.run(key, (client) => client.get(key)).catch(absentIfWrongType)
    if (this.read(record.id, seen) === null || seen === null) return null
    let written: SessionRecord = record
    const text = await compareAndSet(this.link, key, {
      seen,
      mode: 'all',
      textOf: (stored) => this.decode(record.id, stored, null) === null ? null : stored,
      change: (stored) => {
        const { userId, data, endsAt } = this.decode(record.id, stored, null) as SessionRecord
        written = { ...record, userId, endsAt: Math.min(endsAt, record.endsAt), data: change(data) }
        // Listed is whom we saw; if Express signed in another since, the next look lists that one.
        return this.#encodeOver(parseObject(stored) as JsonObject, { ...written, userId: record.userId })
      }
    })
    return text === null ? null : written
  }

  /** The session that is there, or the `cookie` of one that begins, with the record's data and what is ours. */
  #encodeOver ({ cookie }: Record<string, unknown>, record: SessionRecord): string {
    const { cookie: _cookie, [OURS]: _ours, ...data } = JSON.parse(record.data) as JsonObject
    return JSON.stringify({ cookie, ...data, [OURS]: encodeHead(record) })
  }
}
