import { Rows } from '../util/rows.ts'
import type { SessionRecord } from '../session/record.ts'
import { LIST_LIMIT } from '../session/store.ts'
import type {
  Began, Change, CreateOptions, DeleteByUserOptions, DeleteOptions, ListOptions, SessionStore
} from '../session/store.ts'
import { Adoption } from '../express/adoption.ts'
import { RedisAttempts } from './attempts.ts'
import { RedisBus } from './bus.ts'
import { disconnect } from './client.ts'
import { ExpressRecords } from '../express/shared-records.ts'
import type { ExpressLayout } from '../express/shared-records.ts'
import { ExpressSide } from '../express/redis-store.ts'
import type { RedisStoreOptions } from '../express/redis-store.ts'
import type { Names } from './keys.ts'
import { Lifecycle } from './lifecycle.ts'
import type { RedisLink } from './link.ts'
import { Records } from './records.ts'
import { Replication } from './replication.ts'
import { Tracking } from './tracking.ts'
import { UserLists } from './user-lists.ts'

export type { RedisStoreOptions } from '../express/redis-store.ts'

/** How an Express app names its sessions, and what they look like. */
export interface ExpressSessions {
  names: Names
  layout: ExpressLayout
}

/**
 * Sessions in Redis 7 or newer, one server, Sentinel or Cluster. The commands, with the default prefix:
 *
 *     find           MGET sess:<id> …, of all that are asked for in one turn; TYPE of what is not there; GET of each in a Cluster,
 *                    and of what was large, on a connection of its own
 *     create         anonymous: SET sess:<id> … PX <idle> NX
 *                    signed in: EVALSHA list @sess:user:<userId>      "+<id>": a login is under way
 *                               SET @{sess:<id>} … PX 10000 NX        at the same time
 *                               EVALSHA confirm @sess:user:<userId>   0 if the user was signed out everywhere meanwhile
 *                               EVALSHA end @{sess:<old id>} sess:<old id>, ZREM …   the sessions it evicts or replaces, if any;
 *                               for one that moves EVALSHA leave, which remembers the new id beside the old for 10 s,
 *                               and the hash of the secret it had
 *                               EVALSHA activate @{sess:<id>} sess:<id>
 *                               for one that moves ZREM of "+<member>\n<member>", by which it was under way
 *                               at the limit before confirm ZRANGE, find of each; where the replaced data changed SET @{sess:<id>} … XX
 *     update         EVALSHA update sess:<id>                         compare the data line, set it; again if it had changed
 *     touch          EVALSHA list @sess:user:<userId>, EVALSHA touch sess:<id>
 *     delete         EVALSHA end @{sess:<id>} sess:<id>, by a credential with the secret's hash; ZREM @sess:user:<userId> <id>
 *     listByUser     ZRANGE @sess:user:<userId> 0 -1, find of each; of what is gone EXISTS, ZREM
 *     deleteByUser   EVALSHA take @sess:user:<userId>, EVALSHA end and ZREM of each; with an exception GET @{sess:<its id>}
 *     listAll        SCAN for sess:*, find of each
 *     attempts       take and giveBack: EVALSHA takeAttempt and ZREM @sess:tries:<what>:<hash>, for an account also a network it may
 *                    be known from; clear and remember: EVALSHA clearAttempts and rememberPlace of the same key
 *     with durability 'replicated' ROLE and WAIT before a login ends anything and when it is live, and after a deletion;
 *                    of what had ended already EVALSHA trace @{sess:<id>}:trace before that
 *     bus            PUBLISH, SUBSCRIBE @sess:events
 *     changes        on a connection to each master CLIENT ID, INFO, CLIENT TRACKING ON REDIRECT <id> BCAST PREFIX sess:, SUBSCRIBE
 *                    __redis__:invalidate, PING three times within the silence allowed; INFO beside it
 *     adopt          GET sess:<Express id>, the steps of a login (which one process takes on), GETDEL it before the last
 *
 * The session's key is the authority, the user's list a broom: it may for moments hold what is gone,
 * never miss what is live. No script touches two Cluster slots, and none of those that end a session
 * needs memory.
 *
 * It is connect-redis' `RedisStore` too, for express-session and @fastify/session.
 */
export class RedisStore extends ExpressSide implements SessionStore {
  readonly bus: RedisBus
  readonly adoption: Adoption
  readonly attempts: RedisAttempts
  readonly #records: Records
  readonly #lists: UserLists
  readonly #lifecycle: Lifecycle
  /** The connection on which sessions begin and end, where replicas are to confirm that. */
  readonly #confirmed: RedisLink | null = null
  readonly #replication: Replication | null
  readonly #rows = new Rows()
  readonly #opened: Records[] = []

  constructor (options: RedisStoreOptions)
  /** `express`: sessions are those of an Express app, in its layout and under its names. */
  constructor (options: RedisStoreOptions, express: ExpressSessions | undefined)
  constructor (options: RedisStoreOptions, express?: ExpressSessions) {
    super(options, express?.names)
    this.bus = new RedisBus(this.link, this.keys.eventsOf(this.link.database))
    this.attempts = new RedisAttempts(this.link, this.keys)
    const { records, lists } = this.#over(this.link, express)
    this.#records = records
    this.#lists = lists
    if (options.durability === 'replicated') this.#confirmed = this.link.another()
    this.#replication = this.#confirmed === null ? null : new Replication(this.#confirmed)
    this.#lifecycle = new Lifecycle({
      keys: this.keys,
      ...this.#confirmed === null ? { records, lists } : this.#over(this.#confirmed, express),
      replication: this.#replication,
      onEnded: (id, userId, reason) => this.events.emit('ended', id, userId, reason)
    })
    this.adoption = new Adoption(this.link, { keys: this.keys, records, lists, discard: async (sid) => { await this.#lifecycle.discard(sid) } })
  }

  now (): number {
    return this.link.now()
  }

  async nowForCertain (): Promise<number> {
    return await this.link.nowForCertain()
  }

  find (id: string): Promise<SessionRecord | null> {
    return this.#records.find(id)
  }

  async create (record: SessionRecord, options: CreateOptions = {}): Promise<SessionRecord | null> {
    if (record.userId === null && options.replaces == null) {
      await this.#records.add(record)
      return record
    }
    return await this.#lifecycle.create(record, options)
  }

  async update (record: SessionRecord, change: Change): Promise<SessionRecord | null> {
    // Writers of one session in this process follow each other: they would only make each other try again.
    return await this.#rows.run(record.id, () => this.#records.update(record, change))
  }

  // connect-redis' touch has other parameters: an id and a session. Records are told by their own.
  override touch (record: SessionRecord): Promise<boolean>
  override touch (...args: Parameters<ExpressSide['touch']>): ReturnType<ExpressSide['touch']>
  override async touch (subject: SessionRecord | string, ...rest: unknown[]): Promise<unknown> {
    if (typeof subject === 'string') return await super.touch(...[subject, ...rest] as Parameters<ExpressSide['touch']>)
    return await this.#touch(subject)
  }

  async delete (id: string, options?: DeleteOptions): Promise<SessionRecord | null> {
    return await this.#lifecycle.delete(id, options)
  }

  async successor (id: string): Promise<string | null> {
    return await this.#records.successor(id)
  }

  async listByUser (userId: string, { limit = LIST_LIMIT, before }: ListOptions = {}): Promise<SessionRecord[]> {
    const listed = new Map<string, SessionRecord>()
    for (let last: Began | undefined = before; ;) {
      const size = limit - listed.size
      const members = await this.#lists.page(userId, { limit: size, before: last })
      if (members === null) continue
      const found = await this.#foundOf(userId, members)
      // One that is overwritten under its own id is listed twice meanwhile.
      for (const record of found) if (!listed.has(record.id)) listed.set(record.id, record)
      if (members.length < size || listed.size === limit) return [...listed.values()]
      last = this.keys.beganOf(members.at(-1) as string)
    }
  }

  async deleteByUser (userId: string, options: DeleteByUserOptions = {}): Promise<string[]> {
    return await this.#lifecycle.deleteByUser(userId, options)
  }

  async * listAll (): AsyncGenerator<SessionRecord> {
    for await (const page of this.link.scan(this.keys.pattern, this.scanCount)) {
      const records = await Promise.all(page.map(async (key) => await this.#records.find(this.keys.idOf(key), { any: true })))
      yield * records.filter((record) => record !== null)
    }
  }

  /** Tells what changes here, to this process alone. `silenceMs`: how long nothing may be heard of a server before it is not trusted. */
  changes (silenceMs: number): Tracking {
    return new Tracking(this.link, this.keys, silenceMs)
  }

  async ping (): Promise<void> {
    await this.link.ping()
  }

  /** Waits for Redis as long as `ms` milliseconds. Gives what keeps it from answering by then, or `null`. */
  async ready (ms: number): Promise<Error | null> {
    const failures = await Promise.all([this.link, this.#confirmed].map(async (link) => await link?.ready(ms)))
    return failures.find((failure) => failure != null) ?? null
  }

  async warnings (): Promise<string[]> {
    const warnings = await Promise.all([this.link, this.#replication].map(async (each) => await each?.warnings()))
    return warnings.flatMap((each) => each ?? [])
  }

  async close (): Promise<void> {
    await this.bus.close()
    await Promise.all(this.#opened.map((records) => records.close()))
    this.link.close()
    this.#confirmed?.close()
    if (this.#confirmed !== null) await disconnect(this.#confirmed.client)
  }

  /** The sessions of these members of a user's list. What is gone comes off, unless it is just being activated. */
  async #foundOf (userId: string, members: string[]): Promise<SessionRecord[]> {
    const ids = members.map((member) => this.keys.idOfMember(member))
    const records = await Promise.all(ids.map(async (id) => {
      const record = await this.find(id)
      return record === null ? null : await this.#records.list(record)
    }))
    const unseen = ids.filter((_id, index) => records[index]?.userId !== userId)
    const missing = new Set(unseen.length === 0 ? [] : await this.#records.missing(userId, unseen))
    await this.#lists.forget(userId, members.filter((_member, index) => missing.has(ids[index] as string)))
    return records.filter((record) => record?.userId === userId) as SessionRecord[]
  }

  #over (link: RedisLink, express: ExpressSessions | undefined): { records: Records, lists: UserLists } {
    const persist = this.disableTTL
    const lists = new UserLists(link, this.keys, {
      persist,
      untilEnd: express !== undefined,
      onExpired: (id, userId) => this.events.emit('ended', id, userId, 'expired')
    })
    const records = express === undefined ? new Records(link, this.keys, { persist }) : new ExpressRecords(link, this.keys, { layout: express.layout, lists })
    this.#opened.push(records)
    return { lists, records }
  }

  async #touch (record: SessionRecord): Promise<boolean> {
    if (this.disableTouch) return await this.find(record.id) !== null
    // The list first: it may know an id for longer than its session lives, never shorter.
    await this.#lists.extend({ ...record, lastSeenAt: this.now() })
    const touched = await this.#records.touch(record)
    if (!touched) await this.#lists.remove(record)
    return touched
  }
}
