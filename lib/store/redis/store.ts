import { expiresAt } from '../../session/record.ts'
import type { SessionRecord } from '../../session/record.ts'
import { decode, encode } from '../codec.ts'
import type { Change, SessionStore } from '../contract.ts'
import { ExpressSide } from './express-side.ts'
import { isWrongType } from './link.ts'
import { activateScript, confirmScript, listScript, takeScript, touchScript } from './scripts.ts'

export type { RedisStoreOptions } from './express-side.ts'

/** How long a login may take between its first and its last command. */
const PENDING_MS = 10_000
/** A list keeps an id a little longer than its session, so that clocks and round trips cannot hide a live one. */
const LIST_SLACK_MS = 1_000

/**
 * Sessions in Redis 7 or newer, one server, Sentinel or Cluster. The commands, with the default prefix:
 *
 *     find           GET sess:<id>
 *     create         anonymous: SET sess:<id> … PX <idle> NX
 *                    signed in: EVALSHA list @sess:user:<userId>      "+<id>": a login is under way
 *                               SET @{sess:<id>} … PX 10000
 *                               EVALSHA confirm @sess:user:<userId>   0 if the user was signed out everywhere meanwhile
 *                               DEL, GETDEL sess:<old id>, ZREM …     the session it replaces, if any
 *                               EVALSHA activate @{sess:<id>} sess:<id>
 *     update         EVALSHA update sess:<id>                         compare the data line, set it; again if it had changed
 *     touch          EVALSHA list @sess:user:<userId>, EVALSHA touch sess:<id>
 *     delete         DEL @{sess:<id>}, GETDEL sess:<id>, ZREM @sess:user:<userId> <id>
 *     listByUser     ZRANGE @sess:user:<userId> 0 -1, GET of each, ZREM of what is gone
 *     deleteByUser   EVALSHA take @sess:user:<userId>, DEL and GETDEL of each, ZREM
 *
 * The session's key is the authority, the user's list a broom: it may for moments hold what is gone,
 * never miss what is live. No script touches two Cluster slots, and none of those that end a session
 * needs memory.
 *
 * It is connect-redis' `RedisStore` too, for express-session and @fastify/session.
 */
export class RedisStore extends ExpressSide implements SessionStore {
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

  async create (record: SessionRecord, { replaces }: { replaces?: SessionRecord | null | undefined } = {}): Promise<boolean> {
    const key = this.keys.session(record.id)
    const value = encode(record)
    const ttl = this.#ttl(record)
    if (record.userId === null && replaces == null) {
      await this.link.run(key, (client) => ttl === 'persist' ? client.set(key, value, 'NX') : client.set(key, value, 'PX', ttl, 'NX'))
      return true
    }
    const pending = this.keys.pending(record.id)
    const list = record.userId === null ? null : this.keys.user(record.userId)
    try {
      if (list !== null) await this.link.script(listScript, [list], `+${record.id}`, Math.ceil(this.now()) + PENDING_MS)
      await this.link.run(pending, (client) => client.set(pending, value, 'PX', PENDING_MS))
      const confirmed = list === null || await this.link.script(confirmScript, [list], record.id, this.#score(record)) === 1
      if (!confirmed) await this.link.run(pending, (client) => client.del(pending))
      if (confirmed && replaces != null && replaces.id !== record.id) await this.#end(replaces.id, replaces.userId)
      const live = confirmed && await this.link.script(activateScript, [pending, key], ttl) === 1
      if (live && replaces?.id === record.id && replaces.userId !== null && replaces.userId !== record.userId) await this.#unlist(replaces.userId, replaces.id)
      return live
    } catch (error) {
      // Best effort: what is left expires within PENDING_MS, and nobody holds its token.
      if (list !== null) void this.link.run(list, (client) => client.zrem(list, `+${record.id}`)).catch(() => {})
      // Under its own id the predecessor lives on, and stays listed.
      const undone = replaces?.id === record.id ? this.link.run(pending, (client) => client.del(pending)) : this.#end(record.id, record.userId)
      void undone.catch(() => {})
      throw error
    }
  }

  async update (record: SessionRecord, change: Change): Promise<SessionRecord | null> {
    let stored: SessionRecord | null = record
    const data = await this.updateData(this.keys.session(record.id), record.data, change, 'keep', (text) => {
      stored = decode(record.id, text)
      return stored === null ? null : stored.data
    }).catch(absentIfWrongType)
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
    return await this.#end(id, null)
  }

  async listByUser (userId: string): Promise<SessionRecord[]> {
    const list = this.keys.user(userId)
    const members = await this.link.run(list, (client) => client.zrange(list, '0', '-1')).catch(absentIfWrongType) ?? []
    const ids = members.filter((member) => !member.startsWith('+'))
    const records = await Promise.all(ids.map(async (id) => await this.find(id)))
    const gone: string[] = []
    const live: SessionRecord[] = []
    for (const [index, record] of records.entries()) {
      if (record !== null && record.userId === userId) live.push(record)
      else gone.push(ids[index] as string)
    }
    // A session being activated right now is not found yet, but it is not gone either.
    if (gone.length > 0) await this.#cleanList(list, gone)
    return live.sort((a, b) => b.createdAt - a.createdAt)
  }

  async deleteByUser (userId: string, { except = '' }: { except?: string | undefined } = {}): Promise<string[]> {
    const taken = await this.link.script(takeScript, [this.keys.user(userId)], except) as string[]
    const ended = await Promise.all(taken.map(async (member) => {
      const id = member.startsWith('+') ? member.slice(1) : member
      return await this.#end(id, null) === null ? null : id
    }))
    return ended.filter((id) => id !== null)
  }

  /** Waits for Redis as long as `ms` milliseconds; `false` when it has not answered by then. */
  async ready (ms: number): Promise<boolean> {
    return await this.link.ready(ms)
  }

  async close (): Promise<void> {
    this.link.close()
  }

  async #touch (record: SessionRecord): Promise<boolean> {
    if (this.disableTouch) return true
    const list = record.userId === null ? null : this.keys.user(record.userId)
    // The list first: it may know an id for longer than its session lives, never shorter.
    if (list !== null) await this.link.script(listScript, [list], record.id, this.#score({ ...record, lastSeenAt: this.now() }))
    const touched = await this.link.script(touchScript, [this.keys.session(record.id)], record.idleTimeoutMs, record.endsAt, this.disableTTL ? 'persist' : '').catch(absentIfWrongType) === 1
    if (!touched && record.userId !== null) await this.#unlist(record.userId, record.id)
    return touched
  }

  /** Ends one session, wherever in its life it is. Its user is read from what is ended, or known already. */
  async #end (id: string, userId: string | null): Promise<SessionRecord | null> {
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
    const owner = ended?.userId ?? userId
    if (owner !== null) await this.#unlist(owner, id)
    return ended
  }

  async #unlist (userId: string, id: string): Promise<void> {
    const list = this.keys.user(userId)
    await this.link.run(list, (client) => client.zrem(list, id)).catch(absentIfWrongType)
  }

  async #cleanList (list: string, ids: string[]): Promise<void> {
    const pending = await Promise.all(ids.map(async (id) => await this.link.run(this.keys.pending(id), (client) => client.exists(this.keys.pending(id), this.keys.session(id)))))
    const gone = ids.filter((_id, index) => pending[index] === 0)
    if (gone.length > 0) await this.link.run(list, (client) => client.zrem(list, ...gone))
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

  #score (record: SessionRecord): number | string {
    return this.disableTTL ? '+inf' : Math.ceil(expiresAt(record)) + LIST_SLACK_MS
  }
}

function absentIfWrongType (error: unknown): null {
  if (isWrongType(error)) return null
  throw error
}
