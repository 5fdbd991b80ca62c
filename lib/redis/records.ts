import { errors } from '../errors.ts'
import { expiresAt } from '../session/record.ts'
import type { SessionRecord } from '../session/record.ts'
import { decode, encode, parseExpress } from '../store/codec.ts'
import type { Change, DeleteOptions } from '../session/store.ts'
import { MOVED_MS, PENDING_MS } from '../util/timings.ts'
import { compareAndSet } from './compare-and-set.ts'
import type { Keys } from './keys.ts'
import { isWrongType } from './driver.ts'
import type { RedisLink } from './link.ts'
import { Reads } from './reads.ts'
import { activateScript, endScript, leaveScript, touchScript, traceScript } from './scripts.ts'

/** What lies beside a session that has moved: this, its new id, a space and the hash of the secret it had. */
export const MOVED = '>'

/** The keys of single sessions: the authority on whether one lives. */
export class Records {
  protected readonly link: RedisLink
  protected readonly keys: Keys
  protected readonly persist: boolean
  protected readonly reads: Reads
  #isTelling = false

  /** `persist`: sessions do not expire. */
  constructor (link: RedisLink, keys: Keys, { persist }: { persist: boolean }) {
    this.link = link
    this.reads = new Reads(link)
    this.keys = keys
    this.persist = persist
  }

  /** `any`: it was not asked for by its id, and may be one of an Express app that waits to be adopted. */
  async find (id: string, { any = false }: { any?: boolean } = {}): Promise<SessionRecord | null> {
    const key = this.keys.session(id)
    try {
      const value = await this.reads.get(key)
      if (value === null) this.#tellForeign(id, key)
      return any && value !== null && parseExpress(value) !== null ? null : this.read(id, value)
    } catch (error) {
      if (!isWrongType(error)) throw error
      this.link.events.emit('unreadable', id)
      return null
    }
  }

  /** Closes what was opened for reading. Twice is safe. */
  async close (): Promise<void> {
    await this.reads.large.close()
  }

  /** Stores a session that is live at once. */
  async add (record: SessionRecord): Promise<void> {
    const key = this.keys.session(record.id)
    const value = this.encode(record)
    const ttl = this.ttl(record)
    const reply = await this.link.run(key, (client) => ttl === 'persist' ? client.set(key, value, 'NX') : client.set(key, value, 'PX', ttl, 'NX'))
    if (reply === null) throw new errors.STORE_UNAVAILABLE({ cause: new Error('the id of a new session is taken') })
  }

  /** Stores a session that nobody finds yet; `XX` replaces it. */
  async setPending (record: SessionRecord, mode: 'NX' | 'XX'): Promise<void> {
    const key = this.keys.pending(record.id)
    await this.link.run(key, (client) => client.call('SET', key, this.encode(record), 'PX', PENDING_MS, mode))
  }

  async discard (id: string): Promise<void> {
    const key = this.keys.session(id)
    await this.link.run(key, (client) => client.del(key))
  }

  async deletePending (id: string): Promise<void> {
    const key = this.keys.pending(id)
    await this.link.run(key, (client) => client.del(key))
  }

  /** Makes a pending session live. `false` when it was ended before. */
  async activate (record: SessionRecord): Promise<boolean> {
    return await this.link.script(activateScript, this.#both(record.id), this.ttl(record)) === 1
  }

  /** Whether a session is there, live or pending. */
  async exists (id: string): Promise<boolean> {
    const keys = this.#both(id)
    return await this.link.run(keys[0], (client) => client.exists(...keys)) > 0
  }

  /** Those of a user's sessions that are not there, or not theirs, neither live nor pending. */
  async missing (_userId: string, ids: string[]): Promise<string[]> {
    if (await this.reads.areThere(ids.map((id) => this.keys.session(id)))) return []
    const exist = await Promise.all(ids.map(async (id) => await this.exists(id)))
    return ids.filter((_id, index) => exist[index] === false)
  }

  async update (record: SessionRecord, change: Change): Promise<SessionRecord | null> {
    let stored: SessionRecord | null = record
    const data = await compareAndSet(this.link, this.keys.session(record.id), {
      seen: record.data,
      change,
      mode: 'head',
      textOf: (text) => {
        stored = decode(record.id, text)
        return stored === null ? null : stored.data
      }
    }).catch(absentIfWrongType)
    return data === null ? null : { ...stored, data }
  }

  async touch (record: SessionRecord): Promise<boolean> {
    return await this.link.script(touchScript, [this.keys.session(record.id)], record.idleTimeoutMs, record.endsAt, this.persist ? 'persist' : '').catch(absentIfWrongType) === 1
  }

  /** Takes a session away from its id, to go on under another. `null` when it was not there. */
  async leave (id: string, to: string): Promise<SessionRecord | null> {
    const value = await this.link.script(leaveScript, this.#both(id), MOVED + to, MOVED_MS).catch(absentIfWrongType)
    return this.read(id, value as string | null)
  }

  /** Puts a session on the list of whom it is of. Gives it as it is then, or `null`. All of ours are there. */
  async list (record: SessionRecord): Promise<SessionRecord | null> {
    return record
  }

  /** Whether a session on a user's list is not theirs, once no login is under way under its id. All of ours are. */
  async isOthers (_id: string, _userId: string): Promise<boolean> {
    return false
  }

  /** The new id of a session that has just moved from this one. */
  async successor (id: string): Promise<string | null> {
    const [pending] = this.#both(id)
    const beside = await this.link.run(pending, (client) => client.get(pending)).catch(absentIfWrongType)
    return beside?.startsWith(MOVED) === true ? movedTo(beside) : null
  }

  /**
   * Ends one session, wherever in its life it is, also if it has just moved to another id. Gives what was live.
   * `secretHash`: only what has that; of one that has moved, under the id that is asked for.
   */
  async take (id: string, options: DeleteOptions & { hasMoved?: boolean } = {}): Promise<SessionRecord | null> {
    const { secretHash, hasMoved = false } = options
    const args = secretHash === undefined ? [] : [secretHash]
    const [beside, value] = await this.link.script(endScript, this.#both(id), ...args) as [string | null, string | null]
    const ended = this.read(id, value)
    if (ended !== null || beside === null) return ended
    if (beside.startsWith(MOVED)) return await this.take(movedTo(beside), { hasMoved: true })
    // On its way to its new id it was live all the time.
    return hasMoved ? this.read(id, beside) : null
  }

  /** Writes what is gone at once: for who asks whether all that was written before is with a replica. */
  async leaveTrace (id: string): Promise<void> {
    await this.link.script(traceScript, [this.keys.trace(id)])
  }

  /** That what is not there is of another type is told after the answer, and of one at a time: nobody waits for it. */
  #tellForeign (id: string, key: string): void {
    if (this.#isTelling) return
    this.#isTelling = true
    this.reads.isForeign(key).catch(() => false).then((isForeign) => {
      this.#isTelling = false
      if (isForeign) this.link.events.emit('unreadable', id)
    })
  }

  #both (id: string): [pending: string, live: string] {
    return [this.keys.pending(id), this.keys.session(id)]
  }

  /** The stored form of a record. */
  protected encode (record: SessionRecord): string {
    return encode(record)
  }

  /** The record that `stored` holds, or `null`. `ttlMs`: how long its key lives, where that was asked for. */
  protected decode (id: string, stored: string, _ttlMs: number | null): SessionRecord | null {
    return decode(id, stored)
  }

  /** The live record that was read, if any. */
  protected read (id: string, value: string | null, ttlMs: number | null = null): SessionRecord | null {
    if (value === null) return null
    const record = this.decode(id, value, ttlMs)
    if (record === null) this.link.events.emit('unreadable', id)
    else if (!this.persist && expiresAt(record) <= this.link.now()) return null
    return record
  }

  protected ttl (record: SessionRecord): number | 'persist' {
    return this.persist ? 'persist' : Math.max(1, Math.ceil(expiresAt(record) - this.link.now()))
  }
}

function movedTo (beside: string): string {
  return beside.slice(MOVED.length).split(' ', 1)[0] as string
}

/** What is no session of ours is absent. */
export function absentIfWrongType (error: unknown): null {
  if (isWrongType(error)) return null
  throw error
}
