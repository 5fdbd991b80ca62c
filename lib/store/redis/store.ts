import { errors } from '../../errors.ts'
import { expiresAt } from '../../session/record.ts'
import type { SessionRecord } from '../../session/record.ts'
import { decode, encode } from '../codec.ts'
import type { Change, CreateOptions, SessionStore } from '../contract.ts'
import { Rows } from '../rows.ts'
import { ExpressSide } from './express-side.ts'
import type { RedisStoreOptions } from './express-side.ts'
import { isWrongType } from './link.ts'
import { activateScript, touchScript } from './scripts.ts'
import { PENDING_MS, UserLists } from './user-lists.ts'

export type { RedisStoreOptions } from './express-side.ts'

/**
 * Sessions in Redis 7 or newer, one server, Sentinel or Cluster. The commands, with the default prefix:
 *
 *     find           GET sess:<id>
 *     create         anonymous: SET sess:<id> … PX <idle> NX
 *                    signed in: EVALSHA list @sess:user:<userId>      "+<id>": a login is under way
 *                               SET @{sess:<id>} … PX 10000 NX        at the same time
 *                               EVALSHA confirm @sess:user:<userId>   0 if the user was signed out everywhere meanwhile
 *                               DEL, GETDEL sess:<old id>, ZREM …     the session it replaces, if any
 *                               EVALSHA activate @{sess:<id>} sess:<id>
 *     update         EVALSHA update sess:<id>                         compare the data line, set it; again if it had changed
 *     touch          EVALSHA list @sess:user:<userId>, EVALSHA touch sess:<id>
 *     delete         DEL @{sess:<id>}, GETDEL sess:<id>, ZREM @sess:user:<userId> <id>
 *     listByUser     ZRANGE @sess:user:<userId> 0 -1, GET of each; of what is gone EXISTS, ZREM
 *     deleteByUser   EVALSHA take @sess:user:<userId>, DEL, GETDEL and ZREM of each
 *
 * The session's key is the authority, the user's list a broom: it may for moments hold what is gone,
 * never miss what is live. No script touches two Cluster slots, and none of those that end a session
 * needs memory.
 *
 * It is connect-redis' `RedisStore` too, for express-session and @fastify/session.
 */
export class RedisStore extends ExpressSide implements SessionStore {
  readonly #lists: UserLists
  readonly #rows = new Rows()

  constructor (options: RedisStoreOptions) {
    super(options)
    this.#lists = new UserLists(this.link, this.keys, { persist: this.disableTTL })
  }

  now (): number {
    return this.link.now()
  }

  async find (id: string): Promise<SessionRecord | null> {
    const key = this.keys.session(id)
    try {
      return this.#decode(id, await this.link.run(key, (client) => client.get(key)))
    } catch (error) {
      if (!isWrongType(error)) throw error
      this.events.emit('unreadable', id)
      return null
    }
  }

  async create (record: SessionRecord, options: CreateOptions = {}): Promise<SessionRecord | null> {
    if (record.userId !== null || options.replaces != null) return await this.#createInSteps(record, options)
    const key = this.keys.session(record.id)
    const value = encode(record)
    const ttl = this.#ttl(record)
    const reply = await this.link.run(key, (client) => ttl === 'persist' ? client.set(key, value, 'NX') : client.set(key, value, 'PX', ttl, 'NX'))
    if (reply === null) throw new errors.STORE_UNAVAILABLE({ cause: new Error('the id of a new session is taken') })
    return record
  }

  async update (record: SessionRecord, change: Change): Promise<SessionRecord | null> {
    let stored: SessionRecord | null = record
    // Writers of one session in this process follow each other: they would only make each other try again.
    const data = await this.#rows.run(record.id, () => this.updateData(this.keys.session(record.id), record.data, change, 'keep', (text) => {
      stored = decode(record.id, text)
      return stored === null ? null : stored.data
    })).catch(absentIfWrongType)
    return data === null ? null : { ...stored, data }
  }

  // connect-redis' touch has other parameters: an id and a session. Records are told by their own.
  override touch (record: SessionRecord): Promise<boolean>
  override touch (...args: Parameters<ExpressSide['touch']>): ReturnType<ExpressSide['touch']>
  override async touch (subject: SessionRecord | string, ...rest: unknown[]): Promise<unknown> {
    if (typeof subject === 'string') return await super.touch(...[subject, ...rest] as Parameters<ExpressSide['touch']>)
    return await this.#touch(subject)
  }

  async delete (id: string): Promise<SessionRecord | null> {
    const ended = await this.#take(id)
    if (ended !== null) await this.#lists.remove(ended)
    return ended
  }

  async listByUser (userId: string): Promise<SessionRecord[]> {
    const ids = await this.#lists.idsOf(userId)
    const records = await Promise.all(ids.map(async (id) => await this.find(id)))
    const gone = ids.filter((_id, index) => records[index]?.userId !== userId)
    if (gone.length > 0) await this.#lists.clean(userId, gone)
    return records.filter((record) => record !== null).filter((record) => record.userId === userId).sort((a, b) => b.createdAt - a.createdAt)
  }

  async deleteByUser (userId: string, { except }: { except?: string | undefined } = {}): Promise<string[]> {
    const ids = (await this.#lists.callOff(userId)).filter((id) => id !== except)
    const ended = await Promise.all(ids.map(async (id) => await this.delete(id)))
    return ids.filter((_id, index) => ended[index] !== null)
  }

  /** Waits for Redis as long as `ms` milliseconds. Gives what keeps it from answering by then, or `null`. */
  async ready (ms: number): Promise<Error | null> {
    return await this.link.ready(ms)
  }

  async close (): Promise<void> {
    this.link.close()
  }

  /** The steps of a login, as the class comment lists them. */
  async #createInSteps (record: SessionRecord, { replaces = null, moves = false, carry }: CreateOptions): Promise<SessionRecord | null> {
    const keys = [this.keys.pending(record.id), this.keys.session(record.id)] as const
    const isOverwritten = replaces?.id === record.id
    try {
      await Promise.all([this.#lists.announce(record), this.#setPending(record, 'NX')])
      let goesOn = await this.#lists.confirm(record)
      let stored = record
      if (goesOn && replaces !== null && !isOverwritten) {
        const ended = await this.#take(replaces.id)
        // Not waited for: a list may hold what is gone.
        void this.#lists.remove(replaces).catch(() => {})
        goesOn = ended !== null || !moves
        if (ended !== null && ended.data !== replaces.data && carry !== undefined) {
          stored = { ...record, data: carry(ended.data) }
          await this.#setPending(stored, 'XX')
        }
      }
      const live = goesOn && await this.link.script(activateScript, keys, this.#ttl(record), moves && isOverwritten ? 'moves' : '') === 1
      if (live && isOverwritten && replaces.userId !== record.userId) await this.#lists.remove(replaces)
      if (!live) await this.#undo(record, isOverwritten)
      return live ? stored : null
    } catch (error) {
      // Best effort: what is left expires within PENDING_MS, and nobody holds its token.
      void this.#undo(record, isOverwritten).catch(() => {})
      throw error
    }
  }

  async #setPending (record: SessionRecord, mode: 'NX' | 'XX'): Promise<void> {
    const key = this.keys.pending(record.id)
    await this.link.run(key, (client) => client.call('SET', key, encode(record), 'PX', PENDING_MS, mode))
  }

  /** A login has failed. Under its own id its predecessor lives on, and stays listed. */
  async #undo (record: SessionRecord, isOverwritten: boolean): Promise<void> {
    const pending = this.keys.pending(record.id)
    await Promise.all([
      this.#lists.withdraw(record),
      isOverwritten ? this.link.run(pending, (client) => client.del(pending)) : this.#take(record.id),
      isOverwritten ? null : this.#lists.remove(record)
    ])
  }

  /** Ends one session, wherever in its life it is. */
  async #take (id: string): Promise<SessionRecord | null> {
    const key = this.keys.session(id)
    const pending = this.keys.pending(id)
    // In this order: a login activated in between is then found under its key.
    const [, ended] = await Promise.all([
      this.link.run(pending, (client) => client.del(pending)),
      this.link.run(key, (client) => client.getdel(key)).then((value) => this.#decode(id, value), async (error: unknown) => {
        if (!isWrongType(error)) throw error
        await this.link.run(key, (client) => client.del(key))
        return null
      })
    ])
    return ended
  }

  async #touch (record: SessionRecord): Promise<boolean> {
    if (this.disableTouch) return true
    // The list first: it may know an id for longer than its session lives, never shorter.
    await this.#lists.extend({ ...record, lastSeenAt: this.now() })
    const touched = await this.link.script(touchScript, [this.keys.session(record.id)], record.idleTimeoutMs, record.endsAt, this.disableTTL ? 'persist' : '').catch(absentIfWrongType) === 1
    if (!touched) await this.#lists.remove(record)
    return touched
  }

  #decode (id: string, value: string | null): SessionRecord | null {
    if (value === null) return null
    const record = decode(id, value)
    if (record === null) this.events.emit('unreadable', id)
    else if (!this.disableTTL && expiresAt(record) <= this.now()) return null
    return record
  }

  #ttl (record: SessionRecord): number | 'persist' {
    return this.disableTTL ? 'persist' : Math.max(1, Math.ceil(expiresAt(record) - this.now()))
  }
}

function absentIfWrongType (error: unknown): null {
  if (isWrongType(error)) return null
  throw error
}
