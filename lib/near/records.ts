import { expiresAt } from '../session/record.ts'
import type { SessionRecord } from '../session/record.ts'

/** What a record takes besides its data and meta, in characters, about. */
const HEAD_SIZE = 500
/** How much text there is room for per entry, and at the least, in characters. */
const SIZE_PER_ENTRY = 4_000
const LEAST_SIZE = 1_000_000

/** A record as it was read. */
export interface Entry {
  readonly record: SessionRecord
  /** When it was asked for, by the monotonic clock. */
  readonly readAt: number
  /** When it expires, by the store's clock. */
  readonly expiresAt: number
  readonly size: number
  /** Where in the ring it stands. */
  readonly slot: number
}

/**
 * The records that were read last, so many and so much text of them at the most. What was read first goes first: it
 * is the first not to be served any more, however often it was asked for. Each call takes the same time, however many
 * there are.
 */
export class RecentRecords {
  readonly #entries = new Map<string, Entry>()
  /** Their ids in the order in which they were read; `''` where one has been dropped. */
  readonly #ring: string[] = []
  readonly #max: number
  readonly #maxSize: number
  #size = 0
  /** The oldest place in use, and how many there are, dropped ones too. */
  #tail = 0
  #used = 0

  constructor (maxEntries: number) {
    this.#max = maxEntries
    this.#maxSize = Math.max(LEAST_SIZE, maxEntries * SIZE_PER_ENTRY)
  }

  get (id: string): Entry | undefined {
    return this.#entries.get(id)
  }

  has (id: string): boolean {
    return this.#entries.has(id)
  }

  /** Whether one more would take the place of another. */
  get isFull (): boolean {
    return this.#entries.size >= this.#max || this.#size >= this.#maxSize
  }

  get length (): number {
    return this.#entries.size
  }

  /** How much text they hold, in characters, about. */
  get size (): number {
    return this.#size
  }

  set (record: SessionRecord, readAt: number): void {
    const { id } = record
    this.delete(id)
    const size = HEAD_SIZE + record.data.length + (record.meta?.length ?? 0)
    if (size > this.#maxSize) return
    if (this.#used === this.#max) this.#dropOldest()
    while (this.#used > 0 && this.#size + size > this.#maxSize) this.#dropOldest()
    const slot = (this.#tail + this.#used++) % this.#max
    this.#ring[slot] = id
    this.#size += size
    this.#entries.set(id, { record: Object.freeze(record), readAt, expiresAt: expiresAt(record), size, slot })
  }

  delete (id: string): void {
    const entry = this.#entries.get(id)
    if (entry === undefined) return
    this.#ring[entry.slot] = ''
    this.#entries.delete(id)
    this.#size -= entry.size
  }

  clear (): void {
    if (this.#used === 0) return
    this.#entries.clear()
    this.#ring.length = this.#tail = this.#used = this.#size = 0
  }

  #dropOldest (): void {
    const id = this.#ring[this.#tail] as string
    if (id !== '') this.delete(id)
    this.#tail = (this.#tail + 1) % this.#max
    this.#used--
  }
}
