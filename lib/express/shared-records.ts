import { createHash } from 'node:crypto'
import { errors } from '../errors.ts'
import { expiresAt, withTimeouts } from '../session/record.ts'
import type { JsonObject, NewTimeouts, SessionRecord } from '../session/record.ts'
import { decodeHead, encodeHead, parseExpress } from '../store/codec.ts'
import type { Change } from '../session/store.ts'
import { compareAndSet } from '../redis/compare-and-set.ts'
import { script } from '../redis/link.ts'
import { absentIfWrongType, Records } from '../redis/records.ts'
import type { Retimed } from '../redis/records.ts'
import type { RedisStoreBase } from '../redis/store.ts'
import type { UserLists } from '../redis/user-lists.ts'

/** The member of an Express session that holds what only this package knows. Reserved on `request.session`. */
const OURS = '_session'

/** Time of what happened and was not noted: long ago. */
const UNKNOWN = 0
/** The last instant that a Date can be. */
const LAST = 8.64e15

/** Form of the sessions of the Express app. */
export interface ExpressLayout {
  /** Returns the user that the data names, or `null`. */
  userOf: (data: Record<string, unknown>) => string | null
  /** Returns the part of the data that `request.session` can hold. The rest stays in Redis as it is. */
  presentable: (data: Record<string, unknown>) => Record<string, unknown>
  /** The timeouts of sessions that Express began. */
  idleTimeoutMs: number
  absoluteTimeoutMs: number
  /** The attributes of the cookie that express-session sends. */
  cookie: {
    secure: boolean
    httpOnly: boolean
    sameSite: string
    path: string
    domain?: string | undefined
    partitioned: boolean
  }
}

/**
 * KEYS  session
 * ARGV  sha1 of the value that was seen · the new value · idle timeout in ms, as it was · as it is to be · absolute
 *       deadline in ms since 1970
 * Returns 1 written · 0 absent · 2 it is another value by now · -1 they have run out, and it is deleted
 * When it was used last, its time to live tells.
 */
const retimeScript = script<1 | 0 | 2 | -1>(1, `
local present = redis.call('GET', KEYS[1])
if not present then return 0 end
if redis.sha1hex(present) ~= ARGV[1] then return 2 end
local time = redis.call('TIME')
local left = redis.call('PTTL', KEYS[1])
left = left < 0 and tonumber(ARGV[4]) or math.min(left - ARGV[3] + ARGV[4], tonumber(ARGV[4]))
left = math.min(left, ARGV[5] - time[1] * 1000 - math.floor(time[2] / 1000))
if left <= 0 then
  redis.call('DEL', KEYS[1])
  return -1
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', left))
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1`)

/**
 * KEYS  session
 * ARGV  time to live in ms · what says which session a head of ours was written for · idle timeout in ms · absolute
 *       deadline in ms since 1970
 * Returns 1 touched · 0 absent · the deadline and the idle timeout that its head has, where those are not the given
 *         ones: nothing is written
 * Only ever extends. One that has no head of ours is not compared.
 */
const touchScript = script<1 | 0 | [endsAt: string, idleTimeoutMs: string]>(1, `
local present = redis.call('GET', KEYS[1])
if not present then return 0 end
local isJson, session = pcall(cjson.decode, present)
local ours = isJson and type(session) == 'table' and session['${OURS}']
local function isInstant (value) return type(value) == 'number' and math.abs(value) < 2 ^ 53 end
if type(ours) == 'table' and ours.n == ARGV[2] and isInstant(ours.e) and isInstant(ours.i) then
  if ours.e ~= tonumber(ARGV[4]) or ours.i ~= tonumber(ARGV[3]) then
    return { string.format('%.17g', ours.e), string.format('%.17g', ours.i) }
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1], 'GT')
return 1`)

/**
 * Sessions in the form of express-session and connect-redis: `{ cookie, …data }`, with a member `_session` of this
 * package. The data says who is signed in. The expiry of the key says when an unused session ends. The Express app
 * changes both whenever it likes.
 *
 * `_session` is `{ n, …head }`, with the members of a head as in `codec.ts`. `u` is the user on whose list the session
 * is. `n` says which session it was written for: Express apps copy the members of one session to another.
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
        : await this.link.run(key, async (client) => {
          return await Promise.all([client.get(key).then((read) => large.saw(key, read)), client.pttl(key)])
        })
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

  /**
   * Only ever extends a session: Express may have given it longer than this package does. If it was given other
   * timeouts since it was read, returns these, and it is to be touched again.
   */
  override async touch (record: SessionRecord): Promise<boolean | NewTimeouts> {
    const { id, idleTimeoutMs, endsAt } = record
    const key = this.keys.session(id)
    const ttl = this.ttl({ ...record, lastSeenAt: this.link.now() })
    const touching = this.link.script(touchScript, [key], ttl, this.#markOf(id), idleTimeoutMs, endsAt)
    const reply = await touching.catch(absentIfWrongType)
    return Array.isArray(reply) ? { endsAt: Number(reply[0]), idleTimeoutMs: Number(reply[1]) } : reply === 1
  }

  /**
   * Gives a session other timeouts. Express extends it by the new idle timeout, if its cookie says by how much at all.
   * The list has it up to its deadline.
   */
  override async setTimeouts (id: string, timeouts: NewTimeouts): Promise<Retimed | null> {
    const key = this.keys.session(id)
    for (;;) {
      const stored = await this.link.run(key, (client) => client.get(key)).catch(absentIfWrongType)
      const present = stored === null ? null : this.decode(id, stored, null)
      if (stored === null || present === null) return null
      // `decode` has seen that it is a session.
      const session = parseExpress(stored) as JsonObject & { cookie: JsonObject }
      const { listedAs: _listedAs, ...set } = withTimeouts(present, timeouts)
      const { originalMaxAge } = session.cookie
      const cookie = typeof originalMaxAge === 'number'
        ? { ...session.cookie, originalMaxAge: set.idleTimeoutMs }
        : session.cookie
      const userId = this.#headOf(id, session)?.userId ?? null
      const text = this.#encodeOver({ ...session, cookie }, { ...set, userId })
      const seen = createHash('sha1').update(stored).digest('hex')
      const args = [seen, text, present.idleTimeoutMs, set.idleTimeoutMs, set.endsAt]
      const reply = await this.link.script(retimeScript, [key], ...args)
      if (reply === 0) return null
      if (reply !== 2) return { status: reply === 1 ? 'set' : 'ended', session: set }
    }
  }

  /**
   * Refuses: whom Express lets in, no key keeps out.
   * @throws ERR_SESSION_UNSUPPORTED
   */
  override async bind (): Promise<SessionRecord | null> {
    throw new errors.UNSUPPORTED('binding sessions to a browser that an Express app shares')
  }

  /** Express may have signed in another user: looking puts the session on that user's list. */
  override async missing (userId: string, ids: string[]): Promise<string[]> {
    const records = await Promise.all(ids.map(async (id) => await this.#handedOver(id)))
    return await super.missing(userId, ids.filter((_id, index) => records[index]?.userId !== userId))
  }

  /** Express may have signed in another user, whose session must not end with those of the first. */
  override async isOthers (id: string, userId: string): Promise<boolean> {
    if (await this.successor(id) === null) await this.deletePending(id)
    const record = await this.#handedOver(id)
    return record !== null && record.userId !== userId
  }

  /** Finds a session and puts it on the list of the user that Express has given it by now. */
  async #handedOver (id: string): Promise<SessionRecord | null> {
    const record = await this.find(id)
    return record === null ? null : await this.ensureListed(record)
  }

  /** Adds before it removes, and notes it last: a session may be on a list too many, never on one too few. */
  override async ensureListed (record: SessionRecord): Promise<SessionRecord | null> {
    const { listedAs, ...listed } = record
    if (listedAs === undefined) return record
    await this.#lists.extend(listed)
    await this.#lists.remove({ ...listed, userId: listedAs })
    return await this.#rewrite(listed, { change: (data) => data, listed: listed.userId }).catch(absentIfWrongType)
  }

  override encode (record: SessionRecord): string {
    const { domain, ...attributes } = this.#layout.cookie
    // At each of its own requests Express extends the session by `originalMaxAge`.
    const cookie = {
      originalMaxAge: record.idleTimeoutMs,
      expires: new Date(Math.min(expiresAt(record), LAST)).toISOString(),
      ...attributes,
      ...domain !== undefined && { domain }
    }
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
    // Nobody knows when Express signed the user in: it never counts as a recent sign-in.
    const begun = head ?? {
      createdAt: UNKNOWN,
      endsAt: now + this.#layout.absoluteTimeoutMs,
      idleTimeoutMs: this.#layout.idleTimeoutMs,
      label: null,
      meta: null,
      // parseExpress has seen that it is an object.
      persistent: (cookie as JsonObject).expires != null,
      methods: null,
      actor: null,
      idp: null,
      boundKey: null,
      twin: null,
      ip: null,
      userAgent: null
    }
    const listedAs = head?.userId ?? null
    // Express has signed in somebody else under the same id: that is a session of its own.
    const endsAt = userId === null || head?.userId === userId ? begun.endsAt : now + this.#layout.absoluteTimeoutMs
    const authenticatedAt = head?.userId === userId ? head.authenticatedAt : UNKNOWN
    return {
      ...begun,
      endsAt,
      id,
      secretHash: '',
      kind: 'cookie',
      userId,
      authenticatedAt: userId === null ? null : authenticatedAt,
      methods: head?.userId === userId ? begun.methods : null,
      lastSeenAt: ttlMs === null || ttlMs < 0 ? now : now - Math.max(0, begun.idleTimeoutMs - ttlMs),
      data: JSON.stringify(data),
      ...listedAs !== userId && { listedAs }
    }
  }

  /** The head that was written into this session; `null` for one that Express copied from another session. */
  #headOf (id: string, { [OURS]: ours }: Record<string, unknown>): ReturnType<typeof decodeHead> {
    if (typeof ours !== 'object' || ours === null || (ours as JsonObject).n !== this.#markOf(id)) return null
    return decodeHead(ours as JsonObject)
  }

  #markOf (id: string): string {
    return createHash('sha256').update(this.keys.session(id)).digest('base64url').slice(0, 16)
  }

  /** Changes the data on top of what Express holds, and the head. `listed`: the user on whose list it is now. */
  async #rewrite (
    record: SessionRecord, { change, listed }: { change: Change, listed?: string | null }
  ): Promise<SessionRecord | null> {
    const key = this.keys.session(record.id)
    const seen = await this.link.run(key, (client) => client.get(key))
    if (this.read(record.id, seen) === null || seen === null) return null
    let written: SessionRecord = record
    const text = await compareAndSet(this.link, key, {
      seen,
      mode: 'all',
      textOf: (stored) => this.decode(record.id, stored, null) === null ? null : stored,
      change: (stored) => {
        // `textOf` has seen that it is a session.
        const session = parseExpress(stored) as JsonObject
        const { listedAs: _listedAs, ...present } = this.decode(record.id, stored, null) as SessionRecord
        // A deadline that stands nowhere is the one it had when it was read.
        const head = this.#headOf(record.id, session)
        const endsAt = head === null ? Math.min(present.endsAt, record.endsAt) : present.endsAt
        written = { ...present, lastSeenAt: record.lastSeenAt, endsAt, data: change(present.data) }
        // If Express has signed in another user since, the next look puts the session on that user's list.
        const userId = listed === undefined ? head?.userId ?? null : listed
        return this.#encodeOver(session, { ...written, userId })
      }
    })
    return text === null ? null : written
  }

  /** Encodes a record over the session that is there, or over the `cookie` of one that begins. */
  #encodeOver ({ cookie, [OURS]: _ours, ...rest }: Record<string, unknown>, record: SessionRecord): string {
    const shown = this.#layout.presentable(rest)
    const hidden = Object.fromEntries(Object.entries(rest).filter(([name]) => !Object.hasOwn(shown, name)))
    const data = this.#layout.presentable(JSON.parse(record.data) as JsonObject)
    return JSON.stringify({ cookie, ...hidden, ...data, [OURS]: { n: this.#markOf(record.id), ...encodeHead(record) } })
  }
}
