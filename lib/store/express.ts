import { EventEmitter } from 'node:events'
import { errors } from '../errors.ts'
import { expiresAt } from '../session/record.ts'
import type { SessionRecord } from '../session/record.ts'
import { Breaker } from './breaker.ts'
import { decode, encode } from './codec.ts'
import type { Change, CreateOptions, SessionStore, StoreEvents } from './contract.ts'
import { Rows } from './rows.ts'

/** What express-session asks of a store; `all` is its only optional method used here. */
export interface ExpressStore {
  // Every such store types its sessions in its own way.
  get (id: string, callback: (error?: any, session?: any) => void): unknown
  set (id: string, session: any, callback?: (error?: any) => void): unknown
  destroy (id: string, callback?: (error?: any) => void): unknown
  all? (callback: (error?: any, sessions?: any) => void): unknown
}

/** How long one call may take, and how often a store that is stuck is asked again. */
const CALL_DEADLINE_MS = 500
const PROBE_EVERY_MS = 500

/** Whether `value` is a store in the way of express-session. */
export function isExpressStore (value: unknown): value is ExpressStore {
  const store = value as Partial<ExpressStore> | null
  return typeof store === 'object' && store !== null && [store.get, store.set, store.destroy].every((method) => typeof method === 'function')
}

/**
 * Any express-session compatible store behind our contract. What it stores is
 * `{ cookie, id, record }`: the cookie's dates tell the store when the session ends, the record is ours.
 *
 * Such a store can only read and overwrite. Calls about one session are put in a row, so that the
 * contract holds among everything in this process; another process on the same store can still bring
 * back a session between this one's read and write. A user's sessions are found by reading all of them.
 */
export class ExpressStoreAdapter implements SessionStore {
  readonly events = new EventEmitter<StoreEvents>()
  readonly #store: ExpressStore
  readonly #now: () => number
  readonly #rows = new Rows()
  /** New sessions whose predecessors still live: nobody finds them yet. */
  readonly #pending = new Set<string>()
  readonly #breaker: Breaker

  constructor (store: ExpressStore, { now = Date.now }: { now?: () => number } = {}) {
    this.#store = store
    this.#now = now
    this.#breaker = new Breaker({
      deadlineMs: CALL_DEADLINE_MS,
      probeEveryMs: PROBE_EVERY_MS,
      // An error is an answer, if only to this call; a store that does not answer is down.
      probe: () => promised((done) => store.get('probe', done)).catch(() => {}),
      isOutage: () => false,
      onDown: (cause) => this.events.emit('down', cause),
      onUp: () => this.events.emit('up')
    })
  }

  now (): number {
    return this.#now()
  }

  async find (id: string): Promise<SessionRecord | null> {
    const stored = await this.#call<unknown>((done) => this.#store.get(id, done)).catch(absentIfNoEntry)
    if (stored == null) return null
    const record = this.#read(stored, id)
    if (record === null) this.events.emit('unreadable', id)
    return record !== null && this.#isLive(record) ? record : null
  }

  async create (record: SessionRecord, options: CreateOptions = {}): Promise<SessionRecord | null> {
    const create = async (): Promise<SessionRecord | null> => await this.#create(record, options)
    return await (record.userId === null ? create() : this.#rows.run(`user ${record.userId}`, create))
  }

  async update (record: SessionRecord, change: Change): Promise<SessionRecord | null> {
    return await this.#rewrite(record.id, (present) => ({ ...present, data: change(present.data) }))
  }

  async touch (record: SessionRecord): Promise<boolean> {
    return await this.#rewrite(record.id, (present) => ({ ...present, lastSeenAt: Math.floor(this.#now()) })) !== null
  }

  async delete (id: string): Promise<SessionRecord | null> {
    return await this.#rows.run(id, async () => {
      const present = await this.find(id)
      await this.#call((done) => this.#store.destroy(id, done)).catch(absentIfNoEntry)
      return present
    })
  }

  /** @throws ERR_SESSION_UNSUPPORTED when the store has no `all` */
  async listByUser (userId: string): Promise<SessionRecord[]> {
    const all = this.#store.all
    if (typeof all !== 'function') throw new errors.UNSUPPORTED('listing sessions on a store that has no all()')
    const stored = await this.#call<object | null>((done) => all.call(this.#store, done))
    return Object.values(stored ?? {}).map((each) => this.#read(each))
      .filter((record) => record !== null && record.userId === userId && this.#isLive(record))
      .sort((a, b) => (b as SessionRecord).createdAt - (a as SessionRecord).createdAt) as SessionRecord[]
  }

  async deleteByUser (userId: string, { except }: { except?: string | undefined } = {}): Promise<string[]> {
    return await this.#rows.run(`user ${userId}`, async () => {
      const ids = (await this.listByUser(userId)).map((record) => record.id).filter((id) => id !== except)
      const ended = await Promise.all(ids.map(async (id) => await this.delete(id)))
      return ids.filter((_id, index) => ended[index] !== null)
    })
  }

  async close (): Promise<void> {
    this.#breaker.close()
  }

  async #create (record: SessionRecord, { replaces = null, moves = false, carry }: CreateOptions): Promise<SessionRecord | null> {
    if (replaces === null || replaces.id === record.id) {
      return await this.#rows.run(record.id, async () => {
        if (moves && await this.find(record.id) === null) return null
        await this.#write(record)
        return record
      })
    }
    this.#pending.add(record.id)
    try {
      await this.#rows.run(record.id, () => this.#write(record))
      const ended = await this.delete(replaces.id)
      if (ended === null && moves) {
        await this.delete(record.id)
        return null
      }
      if (ended === null || ended.data === replaces.data || carry === undefined) return record
      const stored = { ...record, data: carry(ended.data) }
      await this.#rows.run(record.id, () => this.#write(stored))
      return stored
    } catch (error) {
      this.delete(record.id).catch(() => {})
      throw error
    } finally {
      this.#pending.delete(record.id)
    }
  }

  async #rewrite (id: string, change: (present: SessionRecord) => SessionRecord): Promise<SessionRecord | null> {
    return await this.#rows.run(id, async () => {
      const present = await this.find(id)
      if (present === null) return null
      const next = change(present)
      await this.#write(next)
      return next
    })
  }

  async #write (record: SessionRecord): Promise<void> {
    const maxAge = Math.max(1, Math.ceil(expiresAt(record) - this.#now()))
    const cookie = { originalMaxAge: maxAge, maxAge, expires: new Date(Date.now() + maxAge), httpOnly: true, path: '/' }
    await this.#call((done) => this.#store.set(record.id, { cookie, id: record.id, record: encode(record) }, done))
  }

  #isLive (record: SessionRecord): boolean {
    return expiresAt(record) > this.#now() && !this.#pending.has(record.id)
  }

  #read (stored: unknown, id?: string): SessionRecord | null {
    const { id: storedId, record } = (typeof stored === 'object' && stored !== null ? stored : {}) as { id?: unknown, record?: unknown }
    if (typeof storedId !== 'string' || typeof record !== 'string' || (id !== undefined && id !== storedId)) return null
    return decode(storedId, record)
  }

  /** @throws ERR_SESSION_STORE_UNAVAILABLE, the store's own error as its cause */
  async #call<T> (call: (done: (error?: unknown, result?: T) => void) => unknown): Promise<T> {
    try {
      return await this.#breaker.run(() => promised(call))
    } catch (error) {
      throw error instanceof errors.STORE_UNAVAILABLE ? error : new errors.STORE_UNAVAILABLE({ cause: error })
    }
  }
}

/** Stores of files say so of a session that is not there. */
function absentIfNoEntry (error: unknown): null {
  if ((error as { cause?: { code?: unknown } }).cause?.code === 'ENOENT') return null
  throw error
}

function promised<T> (call: (done: (error?: unknown, result?: T) => void) => unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    const returned = call((error, result) => error ? reject(error) : resolve(result as T))
    // Some stores give a promise besides; what it rejects with, the callback may never hear of.
    if (returned instanceof Promise) returned.catch(reject)
  })
}
