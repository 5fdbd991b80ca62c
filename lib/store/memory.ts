import { EventEmitter } from 'node:events'
import { errors } from '../errors.ts'
import { expiresAt } from '../session/record.ts'
import type { SessionRecord } from '../session/record.ts'
import type { Change, CreateOptions, DeleteOptions, SessionStore, StoreEvents } from './contract.ts'
import { DueQueue } from './due-queue.ts'
import type { Due } from './due-queue.ts'
import { MemoryAttempts } from './memory-attempts.ts'
import { Successors } from './successors.ts'

export interface MemoryStoreOptions {
  /** How many sessions are held at most; one more is refused with ERR_SESSION_STORE_FULL. Default 100,000. */
  maxSessions?: number | undefined
  /** The clock, in milliseconds since 1970. Default `Date.now`. */
  now?: (() => number) | undefined
}

interface Held extends Due {
  record: SessionRecord
}

/**
 * Sessions of one process: for development, tests and single-process services that may forget their
 * sessions when they stop. Bounded; expired sessions make room for new ones. No call takes longer because many
 * sessions are held.
 */
export class MemoryStore implements SessionStore {
  readonly events = new EventEmitter<StoreEvents>()
  readonly bus = null
  readonly attempts: MemoryAttempts
  readonly #sessions = new Map<string, Held>()
  /** The same in the order in which they expire. */
  readonly #expiring = new DueQueue<Held>()
  readonly #users = new Map<string, Set<string>>()
  readonly #maxSessions: number
  readonly #now: () => number
  readonly #successors = new Successors()

  constructor ({ maxSessions = 100_000, now = Date.now }: MemoryStoreOptions = {}) {
    if (!Number.isInteger(maxSessions) || maxSessions < 1) throw new errors.INVALID_OPTIONS('maxSessions must be an integer of 1 or more')
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

  async create (record: SessionRecord, { replaces = null, moves = false, carry, limit = null }: CreateOptions = {}): Promise<SessionRecord | null> {
    const line = replaces === null ? [] : [...moves ? [replaces.id] : this.#successors.lineOf(replaces.id, this.#now())]
    const ended = this.#live(line.at(-1) ?? '')
    if (moves && ended === null) return null
    const others = record.userId === null || limit === null || moves ? [] : this.#liveOf(record.userId).filter(({ id }) => !line.includes(id))
    const evicted = limit === null ? [] : others.slice(limit.max - 1)
    if (evicted.length > 0 && limit?.evicts === false) throw new errors.LIMIT_REACHED()
    this.#makeRoom(replaces)
    for (const each of evicted) this.#end(each, 'evicted')
    if (moves && ended !== null && ended.id !== record.id) this.#successors.add(ended, record.id, this.#now())
    const hasChanged = ended !== null && ended.data !== replaces?.data && carry !== undefined
    const stored = hasChanged ? { ...record, data: carry(ended.data) } : record
    if (ended !== null && ended.id !== record.id) this.#end(ended, 'replaced')
    else if (ended !== null) this.#remove(ended.id)
    if (record.userId !== null) this.#idsOf(record.userId).add(record.id)
    return this.#put(stored)
  }

  async update (record: SessionRecord, change: Change): Promise<SessionRecord | null> {
    const current = this.#live(record.id)
    if (current === null) return null
    return this.#put({ ...current, data: change(current.data) })
  }

  async touch (record: SessionRecord): Promise<boolean> {
    const current = this.#live(record.id)
    if (current === null) return false
    this.#put({ ...current, lastSeenAt: Math.floor(this.#now()) })
    return true
  }

  async delete (id: string, { secretHash }: DeleteOptions = {}): Promise<SessionRecord | null> {
    const current = this.#live(id)
    const successor = current === null ? this.#successors.of(id, this.#now(), secretHash) : null
    if (successor !== null) return await this.delete(successor)
    if (current === null || (secretHash !== undefined && secretHash !== current.secretHash)) return null
    this.#remove(id)
    return current
  }

  async successor (id: string): Promise<string | null> {
    return this.#successors.of(id, this.#now())
  }

  async listByUser (userId: string): Promise<SessionRecord[]> {
    return this.#liveOf(userId)
  }

  async deleteByUser (userId: string, { except }: { except?: string | undefined } = {}): Promise<string[]> {
    const spared = except === undefined ? null : this.#successors.lineOf(except, this.#now())
    const ended = this.#liveOf(userId).map((record) => record.id).filter((id) => spared?.has(id) !== true)
    for (const id of ended) this.#remove(id)
    return ended
  }

  async * listAll (): AsyncGenerator<SessionRecord> {
    for (const id of this.#sessions.keys()) {
      const record = this.#live(id)
      if (record !== null) yield record
    }
  }

  async ping (): Promise<void> {}

  async close (): Promise<void> {
    this.#sessions.clear()
    this.#expiring.clear()
    this.#users.clear()
    this.attempts.clearAll()
  }

  /** Newest first, also among those of one millisecond. */
  #liveOf (userId: string): SessionRecord[] {
    const ids = [...this.#users.get(userId) ?? []].reverse()
    return ids.map((id) => this.#live(id)).filter((record) => record !== null).sort((a, b) => b.createdAt - a.createdAt)
  }

  #live (id: string): SessionRecord | null {
    const held = this.#sessions.get(id)
    if (held === undefined) return null
    if (held.dueAt > this.#now()) return held.record
    this.#end(held.record, 'expired')
    return null
  }

  #end ({ id, userId }: SessionRecord, reason: StoreEvents['ended'][2]): void {
    if (!this.#sessions.has(id)) return
    this.#remove(id)
    if (userId !== null) this.events.emit('ended', id, userId, reason)
  }

  /** Frozen: what is handed out is what is held. */
  #put (record: SessionRecord): SessionRecord {
    const frozen = Object.freeze({ ...record })
    let held = this.#sessions.get(record.id)
    if (held === undefined) this.#sessions.set(record.id, held = { record: frozen, dueAt: 0, slot: -1 })
    held.record = frozen
    this.#expiring.set(held, expiresAt(frozen))
    return frozen
  }

  #remove (id: string): void {
    const held = this.#sessions.get(id)
    if (held === undefined) return
    this.#sessions.delete(id)
    this.#expiring.delete(held)
    const { userId } = held.record
    if (userId === null) return
    const ids = this.#users.get(userId)
    ids?.delete(id)
    if (ids?.size === 0) this.#users.delete(userId)
  }

  #idsOf (userId: string): Set<string> {
    let ids = this.#users.get(userId)
    if (ids === undefined) this.#users.set(userId, ids = new Set())
    return ids
  }

  /** @throws ERR_SESSION_STORE_FULL */
  #makeRoom (replaces: SessionRecord | null): void {
    for (const { record } of this.#expiring.takeDue(this.#now())) this.#end(record, 'expired')
    if (this.#sessions.size >= this.#maxSessions && !this.#sessions.has(replaces?.id ?? '')) throw new errors.STORE_FULL()
  }
}
