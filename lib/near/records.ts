import { expiresAt } from '../session/record.ts'
import type { SessionRecord } from '../session/record.ts'

/** Size of a record without its data and meta, in characters, about. */
const HEAD_SIZE = 500
/** Room for text per entry, in characters, and the least room in all. */
const SIZE_PER_ENTRY = 4_000
const LEAST_SIZE = 1_000_000

/** A record as it was read. */
interface Entry {
  readonly record: SessionRecord
  /** The time when it was asked for, by the monotonic clock. */
  readonly readAt: number
  /** The time when it expires, by the store's clock. */
  readonly expiresAt: number
  readonly size: number
  /** Its place in the ring. */
  readonly slot: number
}

/**
 * The records that were read last, up to a number and up to an amount of text. The one that was read first goes first,
 * however often it was asked for, as it is the first that may not be served any more. Each call takes the same time,
 * however many there are.
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

  /** Number of records. */
  get length (): number {
    return this.#entries.size
  }

  /** Size of all records, in characters, about. */
  get size (): number {
    return this.#size
  }

  /** Adds a record, or replaces it. */
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
