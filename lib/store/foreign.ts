import { EventEmitter } from 'node:events'
import { errors } from '../errors.ts'
import { TaskQueues } from '../util/task-queues.ts'
import { expiresAt, withTimeouts } from '../session/record.ts'
import type { NewTimeouts, SessionRecord } from '../session/record.ts'
import { FOREIGN_CALL_MS, FOREIGN_PROBE_EVERY_MS } from '../util/timings.ts'
import { Breaker } from './breaker.ts'
import { decode, encode } from './codec.ts'
import { LIST_LIMIT } from '../session/store.ts'
import type {
  BeginOptions, Change, DeleteByUserOptions, DeleteOptions, Limit, ListOptions, MoveOptions, ReplaceOptions,
  SessionStore, StoreEvents
} from '../session/store.ts'
import { Successors } from './successors.ts'
import { bound, carried, moved, sessionsAfter, tooMany, used } from './user-sessions.ts'

/** A store of express-session. `all` is the only optional method that is used here. */
export interface ExpressStore {
  // Every such store types its sessions in its own way.
  /** Reads a session. */
  get (id: string, callback: (error?: any, session?: any) => void): unknown
  /** Writes a session. */
  set (id: string, session: any, callback?: (error?: any) => void): unknown
  /** Deletes a session. */
  destroy (id: string, callback?: (error?: any) => void): unknown
  /** Reads all sessions. Without it, sessions cannot be listed or ended by user. */
  all? (callback: (error?: any, sessions?: any) => void): unknown
}

/** Whether a value is a store of express-session. */
export function isExpressStore (value: unknown): value is ExpressStore {
  const store = value as Partial<ExpressStore> | null
  if (typeof store !== 'object' || store === null) return false
  return [store.get, store.set, store.destroy].every((method) => typeof method === 'function')
}

/** Number of sessions that are ended at a time. */
const AT_ONCE = 100

/**
 * Makes a `SessionStore` of any store of express-session. It stores `{ cookie, id, record }`: the cookie's dates tell
 * the store when the session ends, the record is ours.
 *
 * Such a store can only read and overwrite. Calls about one session run one after the other, so that the contract holds
 * in this process. A write that the store did not answer in time may still be carried out: until it is answered, the
 * session is not written again, and its end is not confirmed. A second process on the same store can still bring a
 * session back, between this one's read and write. A user's sessions are found by reading all sessions.
 */
export class ExpressStoreAdapter implements SessionStore {
  readonly events = new EventEmitter<StoreEvents>()
  readonly #store: ExpressStore
  readonly #now: () => number
  readonly #queues = new TaskQueues()
  readonly #successors = new Successors()
  /** New sessions that nobody finds yet, as those that they replace still live. */
  readonly #pending = new Set<string>()
  readonly #calls: ExpressCalls

  constructor (store: ExpressStore, { now = Date.now }: { now?: () => number } = {}) {
    this.#store = store
    this.#now = now
    this.#calls = new ExpressCalls(store, this.events)
  }

  now (): number {
    return this.#now()
  }

  async find (id: string): Promise<SessionRecord | null> {
    const stored = await this.#calls.run<unknown>((done) => this.#store.get(id, done)).catch(absentIfNoEntry)
    if (stored == null) return null
    const record = this.#read(stored, id)
    if (record === null) this.events.emit('unreadable', id)
    return record !== null && this.#isLive(record) ? record : null
  }

  async begin (record: SessionRecord, { limit = null }: BeginOptions = {}): Promise<SessionRecord | null> {
    return await this.#inRowOf(record.userId, async () => {
      const evicted = await this.#tooMany(record.userId, limit)
      return await this.#beginning(record, async () => {
        await this.#evict(evicted)
        return record
      })
    })
  }

  async replace (
    record: SessionRecord, old: SessionRecord, { carry, limit = null }: ReplaceOptions = {}
  ): Promise<SessionRecord | null> {
    return await this.#inRowOf(record.userId, async () => {
      const evicted = await this.#tooMany(record.userId, limit, [old.id])
      return await this.#beginning(record, async () => {
        await this.#evict(evicted)
        const ended = await this.delete(old.id)
        if (ended === null) return record
        this.#tell(ended, 'replaced')
        return await this.#rewritten(record, carried(record, { old, ended, carry }))
      })
    })
  }

  async move (record: SessionRecord, old: SessionRecord, { carry }: MoveOptions = {}): Promise<SessionRecord | null> {
    return await this.#inRowOf(record.userId, async () => await this.#beginning(record, async () => {
      const ended = await this.#destroy(old.id)
      if (ended === null) {
        await this.delete(record.id)
        return null
      }
      this.#tell(ended, 'replaced')
      this.#successors.add(ended, record.id, this.#now())
      return await this.#rewritten(record, moved(record, { old, ended, carry }))
    }))
  }

  async update (record: SessionRecord, change: Change): Promise<SessionRecord | null> {
    return await this.#rewrite(record.id, (present) => ({ ...present, data: change(present.data) }))
  }

  async touch (record: SessionRecord): Promise<boolean> {
    return await this.#use(record)
  }

  async advance (record: SessionRecord, twin: string): Promise<boolean> {
    return await this.#use(record, twin)
  }

  async setTimeouts ({ id }: SessionRecord, timeouts: NewTimeouts): Promise<SessionRecord | null> {
    const stored = await this.#rewrite(id, (present) => withTimeouts(present, timeouts))
    if (stored === null || this.#isLive(stored)) return stored
    await this.#destroy(id)
    return null
  }

  async bind (record: SessionRecord, boundKey: string): Promise<SessionRecord | null> {
    return await this.#rewrite(record.id, (present) => bound(present, record, boundKey))
  }

  async delete (id: string, { secretHash }: DeleteOptions = {}): Promise<SessionRecord | null> {
    const ended = await this.#destroy(id, secretHash)
    const successor = ended === null ? this.#successors.of(id, this.#now(), secretHash) : null
    return successor === null ? ended : await this.delete(successor)
  }

  async successor (id: string): Promise<string | null> {
    return this.#successors.of(id, this.#now())
  }

  /** @throws ERR_SESSION_UNSUPPORTED when the store has no `all` */
  async listByUser (userId: string, { limit = LIST_LIMIT, before }: ListOptions = {}): Promise<SessionRecord[]> {
    const all = await this.#allOf(userId)
    return (before === undefined ? all : sessionsAfter(before, all)).slice(0, limit)
  }

  async deleteByUser (userId: string, options: DeleteByUserOptions = {}): Promise<string[]> {
    const { except, before = Infinity, onEnded } = options
    return await this.#queues.run(`user ${userId}`, async () => {
      const spared = except === undefined ? null : this.#successors.lineOf(except, this.#now())
      const all = (await this.#allOf(userId)).filter(({ createdAt }) => createdAt <= before)
      const listed = all.filter(({ id }) => spared?.has(id) !== true)
      const ended: string[] = []
      for (let from = 0; from < listed.length; from += AT_ONCE) {
        const portion = listed.slice(from, from + AT_ONCE)
        const outcomes = await Promise.all(portion.map(async ({ id }) => await this.delete(id)))
        const gone = outcomes.filter((each) => each !== null)
        const ids = gone.map(({ id }) => id)
        ended.push(...ids)
        onEnded?.(ids, gone.map(({ kind }) => kind))
      }
      return ended
    })
  }

  /** Reads all sessions at once, as such a store does. @throws ERR_SESSION_UNSUPPORTED when it has no `all` */
  async * listAll (): AsyncGenerator<SessionRecord> {
    yield * await this.#readAll()
  }

  async ping (): Promise<void> {
    await this.#calls.run((done) => this.#store.get(unusedId(), done)).catch(absentIfNoEntry)
  }

  async close (): Promise<void> {
    this.#calls.close()
  }

  /** Begins a session of a user after those that began before, so that it counts them. */
  async #inRowOf<T> (userId: string | null, begin: () => Promise<T>): Promise<T> {
    return await (userId === null ? begin() : this.#queues.run(`user ${userId}`, begin))
  }

  /** Writes a new session. Nobody finds it before `finish` has ended those that have to end for it. */
  async #beginning (record: SessionRecord, finish: () => Promise<SessionRecord | null>): Promise<SessionRecord | null> {
    this.#pending.add(record.id)
    try {
      await this.#queues.run(record.id, () => this.#write(record))
      return await finish()
    } catch (error) {
      void this.#undo(record.id)
      throw error
    } finally {
      this.#pending.delete(record.id)
    }
  }

  /** Ends a session that nobody knows of, now, and once a write of it is answered. */
  async #undo (id: string): Promise<void> {
    await this.delete(id).catch(() => {})
    if (await this.#calls.lateWrite(id)) await this.delete(id).catch(() => {})
  }

  /** Writes a new session again where the one before it has changed. Returns it. */
  async #rewritten (record: SessionRecord, stored: SessionRecord): Promise<SessionRecord> {
    if (stored !== record) await this.#queues.run(record.id, () => this.#write(stored))
    return stored
  }

  /** Returns the sessions that a new one evicts. Called while no other begins. */
  async #tooMany (userId: string | null, limit: Limit | null, uncounted: string[] = []): Promise<SessionRecord[]> {
    return userId === null || limit === null ? [] : tooMany(await this.#allOf(userId), limit, uncounted)
  }

  /** Lists a user's sessions, newest first, and by id within a millisecond, as a store may list them in any order. */
  async #allOf (userId: string): Promise<SessionRecord[]> {
    const theirs = (await this.#readAll()).filter((record) => record.userId === userId)
    return theirs.sort((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? -1 : 1))
  }

  async #evict (sessions: SessionRecord[]): Promise<void> {
    await Promise.all(sessions.map(async ({ id }) => {
      const ended = await this.delete(id)
      if (ended !== null) this.#tell(ended, 'evicted')
    }))
  }

  #tell ({ id, userId, kind }: SessionRecord, reason: 'evicted' | 'replaced'): void {
    if (userId !== null) this.events.emit('ended', id, userId, reason, kind)
  }

  /** Reads every live session. */
  async #readAll (): Promise<SessionRecord[]> {
    const all = this.#store.all
    if (typeof all !== 'function') throw new errors.UNSUPPORTED('listing sessions on a store that has no all()')
    const stored = await this.#calls.run<object | null>((done) => all.call(this.#store, done))
    const records = Object.values(stored ?? {}).map((each) => this.#read(each))
    return records.filter((record) => record !== null).filter((record) => this.#isLive(record))
  }

  /** Removes a session. `secretHash`: only a session of this hash. */
  async #destroy (id: string, secretHash?: string): Promise<SessionRecord | null> {
    return await this.#queues.run(id, async () => {
      const present = await this.find(id)
      const isMeant = secretHash === undefined || secretHash === present?.secretHash
      if (isMeant) await this.#calls.run((done) => this.#store.destroy(id, done)).catch(absentIfNoEntry)
      this.#calls.assertAnswered(id)
      return isMeant ? present : null
    })
  }

  async #use (record: SessionRecord, twin?: string): Promise<boolean> {
    return await this.#rewrite(record.id, (present) => used(present, record, { at: this.#now(), twin })) !== null
  }

  async #rewrite (id: string, change: (present: SessionRecord) => SessionRecord): Promise<SessionRecord | null> {
    return await this.#queues.run(id, async () => {
      const present = await this.find(id)
      if (present === null) return null
      const next = change(present)
      if (next !== present) await this.#write(next)
      return next
    })
  }

  async #write (record: SessionRecord): Promise<void> {
    const maxAge = Math.max(1, Math.ceil(expiresAt(record) - this.#now()))
    const cookie = { originalMaxAge: maxAge, maxAge, expires: new Date(Date.now() + maxAge), httpOnly: true, path: '/' }
    const stored = { cookie, id: record.id, record: encode(record) }
    this.#calls.assertAnswered(record.id)
    await this.#calls.run((done) => this.#store.set(record.id, stored, done), { writes: record.id })
  }

  #isLive (record: SessionRecord): boolean {
    return expiresAt(record) > this.#now() && !this.#pending.has(record.id)
  }

  #read (stored: unknown, id?: string): SessionRecord | null {
    if (typeof stored !== 'object' || stored === null) return null
    const { id: storedId, record } = stored as { id?: unknown, record?: unknown }
    const areTexts = typeof storedId === 'string' && typeof record === 'string'
    return areTexts && (id === undefined || id === storedId) ? decode(storedId, record) : null
  }
}

/** Calls a store of express-session under a deadline. A store that does not answer is not called for a while. */
class ExpressCalls {
  readonly #breaker: Breaker
  /** Writes that the store has not answered, by the session's id. */
  readonly #writes = new Map<string, Promise<void>>()

  constructor (store: ExpressStore, events: EventEmitter<StoreEvents>) {
    this.#breaker = new Breaker({
      deadlineMs: FOREIGN_CALL_MS,
      probeEveryMs: FOREIGN_PROBE_EVERY_MS,
      // An error is an answer to this call. Only a store that does not answer is down.
      probe: () => promised((done) => store.get(unusedId(), done)).catch(() => {}),
      isOutage: () => false,
      onDown: (cause) => events.emit('down', cause),
      onUp: () => events.emit('up')
    })
  }

  /**
   * Makes one call. `writes`: id of the session that it writes.
   * @throws ERR_SESSION_STORE_UNAVAILABLE, with the store's own error as its cause
   */
  async run<T> (
    call: (done: (error?: unknown, result?: T) => void) => unknown, { writes }: { writes?: string } = {}
  ): Promise<T> {
    try {
      return await this.#breaker.run(() => {
        const answer = promised(call)
        if (writes !== undefined) this.#note(writes, answer)
        return answer
      })
    } catch (error) {
      if (error instanceof errors.STORE_UNAVAILABLE) throw error
      throw new errors.STORE_UNAVAILABLE({ cause: writes === undefined ? error : withoutSession(error, writes) })
    }
  }

  /** @throws ERR_SESSION_STORE_UNAVAILABLE while a write of the session may still be carried out */
  assertAnswered (id: string): void {
    if (!this.#writes.has(id)) return
    throw new errors.STORE_UNAVAILABLE({ cause: new Error('an earlier write of this session is not answered yet') })
  }

  /** Waits for the answer to a write of the session. Resolves with whether there was one to wait for. */
  async lateWrite (id: string): Promise<boolean> {
    const write = this.#writes.get(id)
    await write
    return write !== undefined
  }

  close (): void {
    this.#breaker.close()
  }

  #note (id: string, answer: Promise<unknown>): void {
    const forget = (): void => { this.#writes.delete(id) }
    this.#writes.set(id, answer.then(forget, forget))
  }
}

/**
 * Copies the error of a write without the session that was to be written: those of SQL have the whole statement in
 * their message, and the row in members of their own. Errors end up in logs.
 */
function withoutSession (error: unknown, id: string): Error {
  const { message = error, name, code, stack } = (error ?? {}) as Record<keyof NodeJS.ErrnoException, unknown>
  const [said, kind, trace] = [textOr(message, 'no message'), textOr(name, 'Error'), textOr(stack, '')]
  const isStatement = said.includes(id)
  const shown = isStatement ? 'its message holds the session, and is left out' : said
  const frames = isStatement ? '' : trace.slice(trace.indexOf(said) + said.length)
  const copy = Object.assign(new Error(shown), code === undefined ? {} : { code })
  return Object.defineProperties(copy, {
    name: { value: kind, configurable: true, writable: true },
    stack: { value: `${kind}: ${shown}${frames}`, configurable: true, writable: true }
  })
}

function textOr (value: unknown, other: string): string {
  return typeof value === 'string' ? value : other
}

/** Makes an id that no session has. */
function unusedId (): string {
  return crypto.randomUUID()
}

/** Returns `null` for the error by which stores of files say that a session is absent. Throws any other. */
function absentIfNoEntry (error: unknown): null {
  if ((error as { cause?: { code?: unknown } }).cause?.code === 'ENOENT') return null
  throw error
}

/** Waits for the outcome of a call, by callback or by promise. */
function promised<T> (call: (done: (error?: unknown, result?: T) => void) => unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    const returned = call((error, result) => error ? reject(error) : resolve(result as T))
    // Some stores return a promise besides. The callback may never get the error that it rejects with.
    if (returned instanceof Promise) returned.catch(reject)
  })
}
