import { createHash } from 'node:crypto'
import { expiresAt } from '../session/record.ts'
import type { JsonObject, SessionRecord } from '../session/record.ts'
import { decodeHead, encodeHead, parseExpress } from '../store/codec.ts'
import type { Change } from '../session/store.ts'
import { compareAndSet } from '../redis/compare-and-set.ts'
import { absentIfWrongType, Records } from '../redis/records.ts'
import type { RedisStoreBase } from '../redis/store.ts'
import type { UserLists } from '../redis/user-lists.ts'

/** The member of an Express session in which we keep what it has no place for. Reserved on `request.session`. */
const OURS = '_session'

/** An instant long ago, the same for all who ask. */
const UNKNOWN = 0
/** The last one that a Date can be. */
const LAST = 8.64e15

/** What has to be known of the Express app's side. */
export interface ExpressLayout {
  /** Whom the data names, or `null`. */
  userOf: (data: Record<string, unknown>) => string | null
  /** What of the data `request.session` can hold. The rest stays in Redis as it is. */
  presentable: (data: Record<string, unknown>) => Record<string, unknown>
  /** For sessions that Express began. */
  idleTimeoutMs: number
  absoluteTimeoutMs: number
  /** The attributes that go into `cookie`, which express-session builds its own cookie from. */
  cookie: { secure: boolean, httpOnly: boolean, sameSite: string, path: string, domain?: string | undefined, partitioned: boolean }
}

/**
 * Sessions as express-session and connect-redis keep them: `{ cookie, …data }`, and in the member
 * `_session` what is ours. Whoever the data names is signed in, and when the key expires decides when
 * a session that nobody uses ends: the Express app changes the one and extends the other as it does.
 *
 * `_session` is `{ n, …head }` as `codec.ts` names the members of a head: `u` is whose list the session is
 * on, `n` says which session it was written for, because Express apps copy one session's members to another.
 */
export class ExpressRecords extends Records {
  readonly #layout: ExpressLayout
  readonly #lists: UserLists

  constructor ({ link, keys, lists }: RedisStoreBase, layout: ExpressLayout) {
    super(link, keys, { persist: false })
    this.#layout = layout
    this.#lists = lists
  }

  override async find (id: string): Promise<SessionRecord | null> {
    const key = this.keys.session(id)
    try {
      const { large } = this.reads
      const [value, ttlMs] = large.has(key)
        ? await Promise.all([large.get(key), this.link.run(key, (client) => client.pttl(key))])
        : await this.link.run(key, (client) => Promise.all([client.get(key).then((read) => large.saw(key, read)), client.pttl(key)]))
      return this.read(id, value, ttlMs)
    } catch (error) {
      absentIfWrongType(error)
      this.link.events.emit('unreadable', id)
      return null
    }
  }

  override async update (record: SessionRecord, change: Change): Promise<SessionRecord | null> {
    return await this.#rewrite(record, { change }).catch(absentIfWrongType)
  }

  /** Express may have given it longer than we do: it is only ever extended. */
  override async touch (record: SessionRecord): Promise<boolean> {
    const key = this.keys.session(record.id)
    const ttl = this.ttl({ ...record, lastSeenAt: this.link.now() })
    const [, exists] = await this.link.run(key, (client) => Promise.all([ttl === 'persist' ? null : client.pexpire(key, ttl, 'GT'), client.exists(key)]))
    return exists === 1
  }

  /** Express may have signed in another, and whoever looks puts the session on the other's list. */
  override async missing (userId: string, ids: string[]): Promise<string[]> {
    const records = await Promise.all(ids.map(async (id) => await this.#handedOver(id)))
    return await super.missing(userId, ids.filter((_id, index) => records[index]?.userId !== userId))
  }

  /** Express may have signed in another: theirs is not to end with what was on the list of the first. */
  override async isOthers (id: string, userId: string): Promise<boolean> {
    if (await this.successor(id) === null) await this.deletePending(id)
    const record = await this.#handedOver(id)
    return record !== null && record.userId !== userId
  }

  /** A session, on the list of whoever Express has made it by now. */
  async #handedOver (id: string): Promise<SessionRecord | null> {
    const record = await this.find(id)
    return record === null ? null : await this.list(record)
  }

  /** On the one before off the other, and both before it says so: it may be on one too many, never on one too few. */
  override async list (record: SessionRecord): Promise<SessionRecord | null> {
    const { listedAs, ...listed } = record
    if (listedAs === undefined) return record
    await this.#lists.extend(listed)
    await this.#lists.remove({ ...listed, userId: listedAs })
    return await this.#rewrite(listed, { change: (data) => data, listed: listed.userId }).catch(absentIfWrongType)
  }

  protected override encode (record: SessionRecord): string {
    const { domain, ...attributes } = this.#layout.cookie
    // Express extends the session by `originalMaxAge` at each of its own requests.
    const cookie = { originalMaxAge: record.idleTimeoutMs, expires: new Date(Math.min(expiresAt(record), LAST)).toISOString(), ...attributes, ...domain !== undefined && { domain } }
    return this.#encodeOver({ cookie }, record)
  }

  protected override decode (id: string, stored: string, ttlMs: number | null): SessionRecord | null {
    const session = parseExpress(stored)
    if (session === null) return null
    const { cookie, [OURS]: _ours, ...rest } = session
    const data = this.#layout.presentable(rest)
    const userId = this.#layout.userOf(data)
    const now = Math.floor(this.link.now())
    const head = this.#headOf(id, session)
    // When Express signed them in is not known: too long ago for what asks for a recent sign-in.
    const begun = head ?? { createdAt: UNKNOWN, endsAt: now + this.#layout.absoluteTimeoutMs, idleTimeoutMs: this.#layout.idleTimeoutMs, label: null, meta: null, persistent: (cookie as JsonObject).expires != null, ip: null, userAgent: null }
    const listedAs = head?.userId ?? null
    const authenticatedAt = head?.userId === userId ? head.authenticatedAt : UNKNOWN
    return {
      ...begun,
      id,
      secretHash: '',
      kind: 'cookie',
      userId,
      authenticatedAt: userId === null ? null : authenticatedAt,
      lastSeenAt: ttlMs === null || ttlMs < 0 ? now : now - Math.max(0, begun.idleTimeoutMs - ttlMs),
      data: JSON.stringify(data),
      ...listedAs !== userId && { listedAs }
    }
  }

  /** What we wrote into this session, and not into another that Express copied the members of. */
  #headOf (id: string, { [OURS]: ours }: Record<string, unknown>): ReturnType<typeof decodeHead> {
    if (typeof ours !== 'object' || ours === null || (ours as JsonObject).n !== this.#markOf(id)) return null
    return decodeHead(ours as JsonObject)
  }

  #markOf (id: string): string {
    return createHash('sha256').update(this.keys.session(id)).digest('base64url').slice(0, 16)
  }

  /** Changes the data on top of whatever Express holds, and says what is ours. `listed`: whose list it is on now. */
  async #rewrite (record: SessionRecord, { change, listed }: { change: Change, listed?: string | null }): Promise<SessionRecord | null> {
    const key = this.keys.session(record.id)
    const seen = await this.link.run(key, (client) => client.get(key))
    if (this.read(record.id, seen) === null || seen === null) return null
    let written: SessionRecord = record
    const text = await compareAndSet(this.link, key, {
      seen,
      mode: 'all',
      textOf: (stored) => this.decode(record.id, stored, null) === null ? null : stored,
      change: (stored) => {
        const session = parseExpress(stored) as JsonObject
        const { listedAs: _listedAs, ...present } = this.decode(record.id, stored, null) as SessionRecord
        written = { ...present, lastSeenAt: record.lastSeenAt, endsAt: Math.min(present.endsAt, record.endsAt), data: change(present.data) }
        // If Express signed in another since, the next look lists that one.
        return this.#encodeOver(session, { ...written, userId: listed === undefined ? this.#headOf(record.id, session)?.userId ?? null : listed })
      }
    })
    return text === null ? null : written
  }

  /** The session that is there, or the `cookie` of one that begins, with the record's data and what is ours. */
  #encodeOver ({ cookie, [OURS]: _ours, ...rest }: Record<string, unknown>, record: SessionRecord): string {
    const shown = this.#layout.presentable(rest)
    const hidden = Object.fromEntries(Object.entries(rest).filter(([name]) => !Object.hasOwn(shown, name)))
    return JSON.stringify({ cookie, ...hidden, ...this.#layout.presentable(JSON.parse(record.data) as JsonObject), [OURS]: { n: this.#markOf(record.id), ...encodeHead(record) } })
  }
}
