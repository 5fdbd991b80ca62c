import type { EventEmitter } from 'node:events'
import type { NewTimeouts, SessionRecord } from '../session/record.ts'
import { advance, bind, fullPage, listsOf, setTimeouts } from '../session/store.ts'
import type {
  AttemptCounters, BeginOptions, Bus, Change, DeleteByUserOptions, DeleteOptions, EndRecord, ListAllOptions,
  ListOptions, MoveOptions, ReplaceOptions, SessionStore, StoreEvents
} from '../session/store.ts'
import { Sealer } from './sealer.ts'

/** Thrown through a change when stored data cannot be decrypted. */
const UNREADABLE = Symbol('unreadable')

/** Options of an `EncryptedStore`. */
export interface EncryptionOptions {
  keys: readonly string[]
  acceptPlain: boolean
}

/**
 * A store around a store that encrypts the data of sessions. Data is bound to the id, user and token of its session: if
 * it was moved to a different session, or its session was given a different user or token, it is unreadable. That is no
 * session.
 */
export class EncryptedStore implements SessionStore {
  readonly events: EventEmitter<StoreEvents>
  readonly bus: Bus | undefined
  readonly attempts: AttemptCounters | undefined
  readonly deleteByIdp: SessionStore['deleteByIdp']
  readonly #store: SessionStore
  readonly #sealer: Sealer
  readonly #acceptPlain: boolean

  /** `acceptPlain`: data that was stored before there was encryption is read as it is. */
  constructor (store: SessionStore, { keys, acceptPlain }: EncryptionOptions) {
    this.#store = store
    this.#sealer = new Sealer(keys)
    this.#acceptPlain = acceptPlain
    this.events = store.events
    this.bus = store.bus
    this.attempts = store.attempts
    this.deleteByIdp = store.deleteByIdp?.bind(store)
  }

  now (): number {
    return this.#store.now()
  }

  async nowForCertain (): Promise<number> {
    return await this.#store.nowForCertain?.() ?? this.#store.now()
  }

  async find (id: string): Promise<SessionRecord | null> {
    return this.#opened(await this.#store.find(id))
  }

  async begin (record: SessionRecord, options?: BeginOptions): Promise<SessionRecord | null> {
    return this.#opened(await this.#store.begin(this.#sealed(record), options))
  }

  async replace (
    record: SessionRecord, old: SessionRecord, options: ReplaceOptions = {}
  ): Promise<SessionRecord | null> {
    const carry = this.#sealedCarry(record, old, options.carry)
    return this.#opened(await this.#store.replace(this.#sealed(record), this.#sealed(old), { ...options, carry }))
  }

  async move (record: SessionRecord, old: SessionRecord, options: MoveOptions = {}): Promise<SessionRecord | null> {
    const carry = this.#sealedCarry(record, old, options.carry)
    return this.#opened(await this.#store.move(this.#sealed(record), this.#sealed(old), { ...options, carry }))
  }

  async update (record: SessionRecord, change: Change): Promise<SessionRecord | null> {
    try {
      return this.#opened(await this.#store.update(this.#sealed(record), (present) => {
        const data = this.#open(record, present)
        if (data === null) throw UNREADABLE
        return this.#seal(record, change(data))
      }))
    } catch (error) {
      if (error !== UNREADABLE) throw error
      const stored = await this.find(record.id)
      return stored === null || ownerOf(stored) === ownerOf(record) ? null : await this.update(stored, change)
    }
  }

  async touch (record: SessionRecord): Promise<boolean> {
    return await this.#store.touch(record)
  }

  async advance (record: SessionRecord, twin: string): Promise<boolean> {
    return await advance(this.#store, record, twin)
  }

  async delete (id: string, options?: DeleteOptions): Promise<SessionRecord | null> {
    const ended = await this.#store.delete(id, options)
    return ended === null ? null : { ...ended, data: this.#open(ended, ended.data) ?? '{}' }
  }

  async setTimeouts (record: SessionRecord, timeouts: NewTimeouts): Promise<SessionRecord | null> {
    return this.#opened(await setTimeouts(this.#store, record, timeouts))
  }

  async bind (record: SessionRecord, boundKey: string): Promise<SessionRecord | null> {
    return this.#opened(await bind(this.#store, record, boundKey))
  }

  async successor (id: string): Promise<string | null> {
    return await this.#store.successor?.(id) ?? null
  }

  async ended (id: string): Promise<EndRecord | null> {
    return await this.#store.ended?.(id) ?? null
  }

  async listByUser (userId: string, options: ListOptions = {}): Promise<SessionRecord[]> {
    const lists = listsOf(this.#store)
    return await fullPage(lists.listByUser.bind(lists, userId), options, (record) => this.#opened(record))
  }

  async deleteByUser (userId: string, options?: DeleteByUserOptions): Promise<string[]> {
    return await listsOf(this.#store).deleteByUser(userId, options)
  }

  async * listAll (options?: ListAllOptions): AsyncGenerator<SessionRecord> {
    for await (const stored of listsOf(this.#store).listAll(options)) {
      const record = this.#opened(stored)
      if (record !== null) yield record
    }
  }

  async ping (): Promise<void> {
    await this.#store.ping()
  }

  async close (): Promise<void> {
    await this.#store.close()
  }

  /** Makes sealed data of a new session out of the sealed data of the one before it. */
  #sealedCarry (record: SessionRecord, old: SessionRecord, carry: Change | undefined): Change | undefined {
    return carry && ((ended) => this.#seal(record, carry(this.#open(old, ended) ?? '{}')))
  }

  #sealed (record: SessionRecord): SessionRecord {
    return { ...record, data: this.#seal(record, record.data) }
  }

  #opened (record: SessionRecord | null): SessionRecord | null {
    if (record === null) return null
    const data = this.#open(record, record.data)
    if (data === null) this.events.emit('unreadable', record.id)
    return data === null ? null : { ...record, data }
  }

  #seal (record: SessionRecord, data: string): string {
    return this.#sealer.seal(ownerOf(record), data)
  }

  #open (record: SessionRecord, stored: string): string | null {
    const data = this.#sealer.open(ownerOf(record), stored)
    return data === null && this.#acceptPlain && !stored.startsWith('{"sealed":') ? stored : data
  }
}

/** Returns the members of a session that its data is bound to. */
function ownerOf ({ id, secretHash, kind, userId }: SessionRecord): string {
  return JSON.stringify([id, secretHash, kind, userId])
}
