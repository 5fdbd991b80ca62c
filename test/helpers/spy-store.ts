import { errors } from '../../lib/errors.ts'
import type { SessionRecord } from '../../lib/session/record.ts'
import type { Change, DeleteOptions } from '../../lib/session/store.ts'
import { MemoryStore } from '../../lib/store/memory.ts'

/** `begin`: whatever stores a new session. */
export type Operation = 'find' | 'begin' | 'update' | 'touch' | 'delete'

/** Holds somebody up until it is opened. */
export class Gate {
  /** Resolves when somebody has come as far as the gate. */
  readonly reached: Promise<void>
  readonly #opened: Promise<void>
  #arrive = (): void => {}
  #open = (): void => {}

  constructor () {
    this.reached = new Promise((resolve) => { this.#arrive = resolve })
    this.#opened = new Promise((resolve) => { this.#open = resolve })
  }

  open (): void {
    this.#open()
  }

  async pass (): Promise<void> {
    this.#arrive()
    await this.#opened
  }
}

/** A memory store that tells what it was asked, and that can be made to fail or to be slow. */
export class SpyStore extends MemoryStore {
  /** Every operation so far, in the order in which they began. */
  readonly calls: Operation[] = []
  /** Operations that fail as if the backend were gone: nothing happens. */
  readonly failing = new Set<Operation>()
  /** Operations that wait here before they happen. */
  readonly gates = new Map<Operation, Gate>()

  /** What is asked while `action` runs. */
  async during (action: () => Promise<unknown>): Promise<Operation[]> {
    const from = this.calls.length
    await action()
    return this.calls.slice(from)
  }

  /** Every look at a session is asked for and can be made to wait. */
  override findNow (): undefined {}

  override async find (id: string): Promise<SessionRecord | null> {
    return await this.#asked('find', () => super.find(id))
  }

  override async begin (...args: Parameters<MemoryStore['begin']>): Promise<SessionRecord | null> {
    return await this.#asked('begin', () => super.begin(...args))
  }

  override async replace (...args: Parameters<MemoryStore['replace']>): Promise<SessionRecord | null> {
    return await this.#asked('begin', () => super.replace(...args))
  }

  override async move (...args: Parameters<MemoryStore['move']>): Promise<SessionRecord | null> {
    return await this.#asked('begin', () => super.move(...args))
  }

  override async update (record: SessionRecord, change: Change): Promise<SessionRecord | null> {
    return await this.#asked('update', () => super.update(record, change))
  }

  override async touch (record: SessionRecord): Promise<boolean> {
    return await this.#asked('touch', () => super.touch(record))
  }

  override async delete (id: string, options?: DeleteOptions): Promise<SessionRecord | null> {
    return await this.#asked('delete', () => super.delete(id, options))
  }

  /** The session as it is stored, without counting as asked. */
  async peek (id: string | undefined): Promise<SessionRecord | null> {
    return id === undefined ? null : await super.find(id)
  }

  async #asked<T> (operation: Operation, answer: () => Promise<T>): Promise<T> {
    this.calls.push(operation)
    await this.gates.get(operation)?.pass()
    if (this.failing.has(operation)) throw new errors.STORE_UNAVAILABLE()
    return await answer()
  }
}

/** Makes a store that has begun to end the sessions of a user, and goes on when the gate is open. */
export function slowToEnd (): { store: MemoryStore, gate: Gate } {
  const store = new MemoryStore()
  const gate = new Gate()
  const end = store.deleteByUser.bind(store)
  store.deleteByUser = async (userId, options) => {
    options?.onEnded?.([])
    await gate.pass()
    return await end(userId, options)
  }
  return { store, gate }
}
