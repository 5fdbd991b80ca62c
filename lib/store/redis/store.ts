import { errors } from '../../errors.ts'
import { Rows } from '../../rows.ts'
import type { SessionRecord } from '../../session/record.ts'
import type { Change, CreateOptions, Limit, SessionStore } from '../contract.ts'
import { Adoption } from './adoption.ts'
import { RedisBus } from './bus.ts'
import { ExpressRecords } from './express-records.ts'
import type { ExpressLayout } from './express-records.ts'
import { ExpressSide } from './express-side.ts'
import type { RedisStoreOptions } from './express-side.ts'
import type { Names } from './keys.ts'
import { Records } from './records.ts'
import { UserLists } from './user-lists.ts'

export type { RedisStoreOptions } from './express-side.ts'

/** How an Express app names its sessions, and what they look like. */
export interface ExpressSessions {
  names: Names
  layout: ExpressLayout
}

/**
 * Sessions in Redis 7 or newer, one server, Sentinel or Cluster. The commands, with the default prefix:
 *
 *     find           GET sess:<id>
 *     create         anonymous: SET sess:<id> … PX <idle> NX
 *                    signed in: EVALSHA list @sess:user:<userId>      "+<id>": a login is under way
 *                               SET @{sess:<id>} … PX 10000 NX        at the same time
 *                               EVALSHA confirm @sess:user:<userId>   0 if the user was signed out everywhere meanwhile
 *                               GETDEL @{sess:<old id>}, GETDEL sess:<old id>, ZREM …   the sessions it evicts or replaces, if any;
 *                               for one that moves EVALSHA leave, which remembers the new id beside the old for 10 s
 *                               EVALSHA activate @{sess:<id>} sess:<id>
 *     update         EVALSHA update sess:<id>                         compare the data line, set it; again if it had changed
 *     touch          EVALSHA list @sess:user:<userId>, EVALSHA touch sess:<id>
 *     delete         GETDEL @{sess:<id>}, GETDEL sess:<id>, ZREM @sess:user:<userId> <id>
 *     listByUser     ZRANGE @sess:user:<userId> 0 -1, GET of each; of what is gone EXISTS, ZREM
 *     deleteByUser   EVALSHA take @sess:user:<userId>, GETDEL, GETDEL and ZREM of each
 *     listAll        SCAN for sess:*, GET of each
 *     bus            PUBLISH, SUBSCRIBE @sess:events
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
  readonly #records: Records
  readonly #lists: UserLists
  readonly #rows = new Rows()

  constructor (options: RedisStoreOptions)
  /** `express`: sessions are those of an Express app, in its layout and under its names. */
  constructor (options: RedisStoreOptions, express: ExpressSessions | undefined)
  constructor (options: RedisStoreOptions, express?: ExpressSessions) {
    super(options, express?.names)
    const persist = this.disableTTL
    this.bus = new RedisBus(this.link, this.keys.eventsOf(this.link.database))
    this.#lists = new UserLists(this.link, this.keys, {
      persist,
      untilEnd: express !== undefined,
      onExpired: (id, userId) => this.events.emit('ended', id, userId, 'expired')
    })
    this.#records = express === undefined
      ? new Records(this.link, this.keys, { persist })
      : new ExpressRecords(this.link, this.keys, { layout: express.layout, lists: this.#lists })
    this.adoption = new Adoption(this.link, this.keys, this.#records, this.#lists)
  }

  now (): number {
    return this.link.now()
  }

  async find (id: string): Promise<SessionRecord | null> {
    return await this.#records.find(id)
  }

  async create (record: SessionRecord, options: CreateOptions = {}): Promise<SessionRecord | null> {
    if (record.userId === null && options.replaces == null) {
      await this.#records.add(record)
      return record
    }
    return await this.#createInSteps(record, options)
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

  async delete (id: string): Promise<SessionRecord | null> {
    const ended = await this.#records.take(id)
    if (ended !== null) await this.#lists.remove(ended)
    return ended
  }

  async successor (id: string): Promise<string | null> {
    return await this.#records.successor(id)
  }

  async listByUser (userId: string): Promise<SessionRecord[]> {
    const members = await this.#lists.membersOf(userId)
    const records = await Promise.all(members.map(async (member) => await this.find(this.keys.idOfMember(member))))
    const gone = members.filter((_member, index) => records[index]?.userId !== userId)
    if (gone.length > 0) await this.#lists.clean(userId, gone, async (id) => await this.#records.exists(id))
    return records.filter((record) => record !== null).filter((record) => record.userId === userId).sort((a, b) => b.createdAt - a.createdAt)
  }

  async deleteByUser (userId: string, { except }: { except?: string | undefined } = {}): Promise<string[]> {
    const ids = (await this.#lists.callOff(userId)).filter((id) => id !== except)
    const ended = await Promise.all(ids.map(async (id) => await this.#records.isOthers(id, userId) ? null : await this.delete(id)))
    return ids.filter((_id, index) => ended[index] !== null)
  }

  async * listAll (): AsyncGenerator<SessionRecord> {
    for await (const page of this.link.scan(this.keys.pattern, this.scanCount)) {
      const records = await Promise.all(page.map(async (key) => await this.#records.find(this.keys.idOf(key), { any: true })))
      yield * records.filter((record) => record !== null)
    }
  }

  async ping (): Promise<void> {
    await this.link.ping()
  }

  /** Waits for Redis as long as `ms` milliseconds. Gives what keeps it from answering by then, or `null`. */
  async ready (ms: number): Promise<Error | null> {
    return await this.link.ready(ms)
  }

  async warnings (): Promise<string[]> {
    return await this.link.warnings()
  }

  async close (): Promise<void> {
    await this.bus.close()
    this.link.close()
  }

  /** The steps of a login, as the class comment lists them. */
  async #createInSteps (record: SessionRecord, { replaces = null, moves = false, carry, limit = null }: CreateOptions): Promise<SessionRecord | null> {
    const isOverwritten = replaces?.id === record.id
    try {
      await Promise.all([this.#lists.announce(record), this.#records.setPending(record, 'NX')])
      const tooMany = await this.#confirm(record, replaces, moves ? null : limit)
      let goesOn = tooMany !== null
      await Promise.all((tooMany ?? []).map(async (member) => await this.#end(record.userId, member, 'evicted')))
      let stored = record
      if (goesOn && replaces !== null && !isOverwritten) {
        const ended = await this.#end(replaces.userId, this.keys.memberOf(replaces), 'replaced', moves ? record.id : null)
        goesOn = ended !== null || !moves
        if (ended !== null && ended.data !== replaces.data && carry !== undefined) {
          stored = { ...record, data: carry(ended.data) }
          await this.#records.setPending(stored, 'XX')
        }
      }
      const live = goesOn && await this.#records.activate(record, { onto: moves && isOverwritten })
      if (live && isOverwritten && (replaces.userId !== record.userId || this.keys.memberOf(replaces) !== this.keys.memberOf(record))) await this.#lists.remove(replaces)
      if (!live) await this.#undo(record, isOverwritten)
      return live ? stored : null
    } catch (error) {
      // Best effort: what is left expires within PENDING_MS, and nobody holds its token.
      void this.#undo(record, isOverwritten).catch(() => {})
      throw error
    }
  }

  /** Lists a login that is under way; it stays so, and can be called off, until that is decided. */
  async #confirm (record: SessionRecord, replaces: SessionRecord | null, limit: Limit | null): Promise<string[] | null> {
    try {
      return await this.#lists.confirm(record, replaces, limit === null ? null : { ...limit, evicts: false })
    } catch (error) {
      if (!(error instanceof errors.LIMIT_REACHED) || record.userId === null) throw error
      // The list may count what is gone, for which nobody has to go: looking at it cleans it.
      await this.listByUser(record.userId)
      return await this.#lists.confirm(record, replaces, limit)
    }
  }

  /** Ends a session that has to go for another. */
  async #end (userId: string | null, member: string, reason: 'evicted' | 'replaced', movesTo: string | null = null): Promise<SessionRecord | null> {
    const id = this.keys.idOfMember(member)
    const spared = reason === 'evicted' && userId !== null && await this.#records.isOthers(id, userId)
    const ended = spared ? null : movesTo === null ? await this.#records.take(id) : await this.#records.leave(id, movesTo)
    // Not waited for: a list may hold what is gone.
    if (userId !== null) void this.#lists.removeMember(userId, member).catch(() => {})
    if (ended?.userId != null) this.events.emit('ended', ended.id, ended.userId, reason)
    return ended
  }

  /** A login has failed. Under its own id its predecessor lives on, and stays listed. */
  async #undo (record: SessionRecord, isOverwritten: boolean): Promise<void> {
    await Promise.all([
      this.#lists.withdraw(record),
      isOverwritten ? this.#records.deletePending(record.id) : this.#records.take(record.id),
      isOverwritten ? null : this.#lists.remove(record)
    ])
  }

  async #touch (record: SessionRecord): Promise<boolean> {
    if (this.disableTouch) return true
    // The list first: it may know an id for longer than its session lives, never shorter.
    await this.#lists.extend({ ...record, lastSeenAt: this.now() })
    const touched = await this.#records.touch(record)
    if (!touched) await this.#lists.remove(record)
    return touched
  }
}
