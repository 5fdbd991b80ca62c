import { EventEmitter } from 'node:events'
import { errors } from '../errors.ts'
import { frozenCopy } from '../session/frozen.ts'
import { expiresAt, isCounted, withTimeouts } from '../session/record.ts'
import type { NewTimeouts, SessionRecord } from '../session/record.ts'
import { LIST_LIMIT } from '../session/store.ts'
import type {
  BeginOptions, Change, DeleteByIdpOptions, DeleteByUserOptions, DeleteOptions, Ended, EndRecord, Limit,
  ListAllOptions, ListOptions, MoveOptions, ReplaceOptions, SessionStore, StoreEvents
} from '../session/store.ts'
import { DueQueue } from './due-queue.ts'
import type { Due } from './due-queue.ts'
import { EndMarks } from './end-marks.ts'
import { bound, carried, moved, sessionsAfter, tooMany, used } from './user-sessions.ts'
import { MemoryAttempts } from './memory-attempts.ts'
import { Successors } from './successors.ts'

/** Number of sessions that are ended at a time. The process answers nobody meanwhile. */
const AT_ONCE = 500

/** A session on a list. Only the list changes these members. */
interface Listed {
  newer: Held | null
  older: Held | null
}

/** Options of `MemoryStore`. */
export interface MemoryStoreOptions {
  /** Most sessions. One more is refused with ERR_SESSION_STORE_FULL. @default 100000 */
  maxSessions?: number | undefined
  /** The clock, in milliseconds since 1970. @default Date.now */
  now?: (() => number) | undefined
}

/** A user's sessions: those that a limit counts, and the others. */
type UserSessions = Record<'counted' | 'others', SessionList | null>

function placeOf (record: SessionRecord): keyof UserSessions {
  return isCounted(record) ? 'counted' : 'others'
}

/** A session that is held. It is due when it expires. */
interface Held extends Due, Listed {
  record: SessionRecord
}

/**
 * Keeps sessions in the memory of one process: for development, tests, and services of one process that may forget
 * their sessions when they stop. Bounded: expired sessions make room for new ones. No call takes longer because there
 * are many sessions.
 */
export class MemoryStore implements SessionStore {
  readonly events = new EventEmitter<StoreEvents>()
  readonly attempts: MemoryAttempts
  readonly #sessions = new Map<string, Held>()
  /** The same in the order in which they expire. */
  readonly #expiring = new DueQueue<Held>()
  readonly #users = new Map<string, UserSessions>()
  /** The ids of the sessions that began with each session at an identity provider. */
  readonly #idps = new Map<string, Set<string>>()
  readonly #maxSessions: number
  readonly #now: () => number
  readonly #successors = new Successors()
  readonly #marks = new EndMarks()

  constructor ({ maxSessions = 100_000, now = Date.now }: MemoryStoreOptions = {}) {
    const isSize = Number.isInteger(maxSessions) && maxSessions >= 1
    if (!isSize) throw new errors.INVALID_OPTIONS('maxSessions must be an integer of 1 or more')
    this.#maxSessions = maxSessions
    this.#now = now
    this.attempts = new MemoryAttempts({ now: () => this.#now() })
  }

  now (): number {
    return this.#now()
  }

  async find (id: string): Promise<SessionRecord | null> {
    return this.#live(id)
  }

  findNow (id: string): SessionRecord | undefined {
    return this.#live(id) ?? undefined
  }

  async begin (record: SessionRecord, { limit = null, markForMs }: BeginOptions = {}): Promise<SessionRecord | null> {
    const evicted = this.#tooMany(record.userId, limit)
    this.#makeRoom()
    for (const each of evicted) this.#end(each, 'evicted', markForMs)
    return this.#add(record)
  }

  async replace (
    record: SessionRecord, old: SessionRecord, { carry, limit = null, markForMs }: ReplaceOptions = {}
  ): Promise<SessionRecord | null> {
    const line = [...this.#successors.lineOf(old.id, this.#now())]
    const ended = this.#live(line.at(-1) ?? old.id)
    const evicted = this.#tooMany(record.userId, limit, line)
    this.#makeRoom(old)
    const stored = ended === null ? record : carried(record, { old, ended, carry })
    for (const each of evicted) this.#end(each, 'evicted', markForMs)
    if (ended !== null) this.#end(ended, 'replaced', markForMs)
    return this.#add(stored)
  }

  async move (
    record: SessionRecord, old: SessionRecord, { carry, markForMs }: MoveOptions = {}
  ): Promise<SessionRecord | null> {
    const ended = this.#live(old.id)
    if (ended === null) return null
    this.#makeRoom(old)
    const stored = moved(record, { old, ended, carry })
    this.#successors.add(ended, record.id, this.#now())
    this.#end(ended, 'replaced', markForMs)
    return this.#add(stored)
  }

  async update (record: SessionRecord, change: Change): Promise<SessionRecord | null> {
    const current = this.#live(record.id)
    if (current === null) return null
    return this.#put({ ...current, data: change(current.data) })
  }

  async touch (record: SessionRecord): Promise<boolean> {
    return this.#use(record)
  }

  async advance (record: SessionRecord, twin: string): Promise<boolean> {
    return this.#use(record, twin)
  }

  async setTimeouts ({ id }: SessionRecord, timeouts: NewTimeouts): Promise<SessionRecord | null> {
    const current = this.#live(id)
    if (current === null) return null
    this.#put(withTimeouts(current, timeouts))
    // Not any more, where they have run out.
    return this.#live(id)
  }

  async bind (record: SessionRecord, boundKey: string): Promise<SessionRecord | null> {
    const current = this.#live(record.id)
    return current === null ? null : this.#put(bound(current, record, boundKey))
  }

  async delete (id: string, { secretHash, mark }: DeleteOptions = {}): Promise<SessionRecord | null> {
    const current = this.#live(id)
    const successor = current === null ? this.#successors.of(id, this.#now(), secretHash) : null
    if (successor !== null) return await this.delete(successor, { mark })
    if (current === null || (secretHash !== undefined && secretHash !== current.secretHash)) return null
    this.#remove(id)
    if (mark !== undefined) this.#marks.add(current, mark, this.#now())
    return current
  }

  async ended (id: string): Promise<EndRecord | null> {
    return this.#marks.of(id, this.#now())
  }

  async successor (id: string): Promise<string | null> {
    return this.#successors.of(id, this.#now())
  }

  async listByUser (userId: string, { limit = LIST_LIMIT, before }: ListOptions = {}): Promise<SessionRecord[]> {
    const all = this.#liveOf(userId)
    return (before === undefined ? all : sessionsAfter(before, all)).slice(0, limit)
  }

  async deleteByUser (userId: string, options: DeleteByUserOptions = {}): Promise<string[]> {
    const { except, before = Infinity, mark, onEnded } = options
    const listed = this.#liveOf(userId).filter(({ createdAt }) => createdAt <= before).map(({ id }) => id)
    const spared = new Set<string>()
    const ended: string[] = []
    for (let from = 0; from < listed.length; from += AT_ONCE) {
      if (from > 0) await new Promise((resolve) => setImmediate(resolve))
      // Each may have moved meanwhile, the exception too.
      const kept = [...spared].at(-1) ?? except
      if (kept !== undefined) for (const id of this.#successors.lineOf(kept, this.#now())) spared.add(id)
      const portion = listed.slice(from, from + AT_ONCE).filter((id) => !spared.has(id))
      const records = await Promise.all(portion.map(async (id) => await this.delete(id, { mark })))
      const gone = records.filter((record) => record !== null)
      const ids = gone.map(({ id }) => id)
      ended.push(...ids)
      onEnded?.(ids, gone.map(({ kind }) => kind))
    }
    return ended
  }

  async deleteByIdp (idp: string, { before = Infinity, mark, onEnded }: DeleteByIdpOptions = {}): Promise<Ended[]> {
    const listed = [...this.#idps.get(idp) ?? []].filter((id) => (this.#live(id)?.createdAt ?? Infinity) <= before)
    const all: Ended[] = []
    for (let from = 0; from < listed.length; from += AT_ONCE) {
      if (from > 0) await new Promise((resolve) => setImmediate(resolve))
      const portion = listed.slice(from, from + AT_ONCE)
      const records = await Promise.all(portion.map(async (id) => await this.delete(id, { mark })))
      const ended = records.filter((record) => record !== null)
      all.push(...ended)
      onEnded?.(ended)
    }
    return all
  }

  async * listAll ({ signal }: ListAllOptions = {}): AsyncGenerator<SessionRecord> {
    for (const id of this.#sessions.keys()) {
      if (signal?.aborted === true) return
      const record = this.#live(id)
      if (record !== null) yield record
    }
  }

  async ping (): Promise<void> {}

  async close (): Promise<void> {
    this.#sessions.clear()
    this.#expiring.clear()
    this.#users.clear()
    this.#idps.clear()
    this.attempts.clearAll()
    this.#marks.clear()
  }

  /** Returns the sessions that a new one evicts. @throws ERR_SESSION_LIMIT_REACHED when the limit does not evict */
  #tooMany (userId: string | null, limit: Limit | null, line: string[] = []): SessionRecord[] {
    if (userId === null || limit === null) return []
    const counted = this.#users.get(userId)?.counted?.length ?? 0
    // Expired sessions are removed only where that matters.
    return counted < limit.max ? [] : tooMany(this.#liveOf(userId, ['counted']), limit, line)
  }

  /** Lists a user's live sessions, newest first, also among those of one millisecond. */
  #liveOf (userId: string, which: Array<keyof UserSessions> = ['others', 'counted']): SessionRecord[] {
    const known = this.#users.get(userId)
    const ids = which.flatMap((each) => known?.[each]?.toArray() ?? []).map(({ record: { id } }) => id)
    return ids.map((id) => this.#live(id)).filter((record) => record !== null).sort((a, b) => b.createdAt - a.createdAt)
  }

  #live (id: string): SessionRecord | null {
    const held = this.#sessions.get(id)
    if (held === undefined) return null
    if (held.dueAt > this.#now()) return held.record
    this.#end(held.record, 'expired')
    return null
  }

  #end (record: SessionRecord, reason: StoreEvents['ended'][2], markForMs?: number): void {
    const { id, userId, kind } = record
    if (!this.#sessions.has(id)) return
    this.#remove(id)
    if (markForMs !== undefined && reason !== 'expired') {
      this.#marks.add(record, { forMs: markForMs, reason }, this.#now())
    }
    if (userId !== null) this.events.emit('ended', id, userId, reason, kind)
  }

  #add (record: SessionRecord): SessionRecord {
    const { id, userId, idp } = record
    this.#remove(id)
    const stored = this.#put(record)
    const held = this.#sessions.get(id)
    if (userId !== null && held !== undefined) this.#listOf(userId, placeOf(record)).add(held)
    if (idp !== null) this.#idps.set(idp, (this.#idps.get(idp) ?? new Set()).add(id))
    return stored
  }

  #use (record: SessionRecord, twin?: string): boolean {
    const current = this.#live(record.id)
    if (current === null) return false
    this.#put(used(current, record, { at: this.#now(), twin }))
    return true
  }

  /** Stores a record. It is frozen, as callers get the stored object itself. */
  #put (record: SessionRecord): SessionRecord {
    const frozen = frozenCopy(record, record)
    let held = this.#sessions.get(record.id)
    if (held === undefined) this.#sessions.set(record.id, held = newHeld(frozen))
    held.record = frozen
    this.#expiring.set(held, expiresAt(frozen))
    return frozen
  }

  #remove (id: string): void {
    const held = this.#sessions.get(id)
    if (held === undefined) return
    this.#sessions.delete(id)
    this.#expiring.delete(held)
    const { userId, idp } = held.record
    if (idp !== null && this.#idps.get(idp)?.delete(id) === true && this.#idps.get(idp)?.size === 0) {
      this.#idps.delete(idp)
    }
    const known = userId === null ? undefined : this.#users.get(userId)
    if (userId === null || known === undefined) return
    known[placeOf(held.record)]?.delete(held)
    if ((known.counted?.length ?? 0) + (known.others?.length ?? 0) === 0) this.#users.delete(userId)
  }

  #listOf (userId: string, place: keyof UserSessions): SessionList {
    let known = this.#users.get(userId)
    if (known === undefined) this.#users.set(userId, known = { counted: null, others: null })
    const list = known[place] ?? new SessionList()
    known[place] = list
    return list
  }

  /**
   * Makes room for one more session. The session that it replaces leaves its place.
   * @throws ERR_SESSION_STORE_FULL
   */
  #makeRoom (old?: SessionRecord): void {
    for (const { record } of this.#expiring.removeDue(this.#now())) this.#end(record, 'expired')
    if (this.#sessions.size >= this.#maxSessions && !this.#sessions.has(old?.id ?? '')) throw new errors.STORE_FULL()
  }
}

function newHeld (record: SessionRecord): Held {
  return { record, dueAt: 0, slot: -1, newer: null, older: null }
}

/** Sessions from the newest to the oldest. Each knows its neighbours, which takes a quarter of the memory of a Set. */
class SessionList {
  length = 0
  #newest: Held | null = null

  add (held: Held): void {
    held.older = this.#newest
    if (this.#newest !== null) this.#newest.newer = held
    this.#newest = held
    this.length++
  }

  delete (held: Held): void {
    const { newer, older } = held
    if (newer === null) this.#newest = older
    else newer.older = older
    if (older !== null) older.newer = newer
    held.newer = held.older = null
    this.length--
  }

  toArray (): Held[] {
    const all: Held[] = []
    for (let held = this.#newest; held !== null; held = held.older) all.push(held)
    return all
  }
}
