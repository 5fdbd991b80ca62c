import { frozenCopy } from '../session/frozen.ts'
import type { SessionRecord } from '../session/record.ts'

/** Size of a record without its data, meta and key, in characters, about. */
const HEAD_SIZE = 500
/** Room for text per entry, in characters, and the least room in all. */
const SIZE_PER_ENTRY = 4_000
const LEAST_SIZE = 1_000_000
/** Room at first for the times when records were read. */
const FIRST_ROOM = 1_024

/**
 * The records that were read last, up to a number and up to an amount of text. The one that was read first goes first,
 * however often it was asked for, as it is the first that may not be served any more. Each call takes the same time,
 * however many there are.
 *
 * They stand in a ring, and so does what is known of each: an object for each would take a quarter as much again.
 */
export class RecentRecords {
  /** The place of each record in the ring, by its id. */
  readonly #places = new Map<string, number>()
  /** The records in the order in which they were read; `null` where one has been dropped. */
  readonly #ring: Array<SessionRecord | null> = []
  /** When each was asked for, by the monotonic clock. */
  #readAt = new Float64Array(FIRST_ROOM)
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

  /** The place of a record, if it is here. The place is its own up to the next call that changes something. */
  placeOf (id: string): number | undefined {
    return this.#places.get(id)
  }

  /** The record at a place that is in use. */
  recordAt (place: number): SessionRecord {
    return this.#ring[place] as SessionRecord
  }

  /** The time when the record at a place was asked for, by the monotonic clock. */
  readAt (place: number): number {
    return this.#readAt[place] as number
  }

  has (id: string): boolean {
    return this.#places.has(id)
  }

  /** Whether one more would take the place of another. */
  get isFull (): boolean {
    return this.#places.size >= this.#max || this.#size >= this.#maxSize
  }

  /** Number of records. */
  get length (): number {
    return this.#places.size
  }

  /** Size of all records, in characters, about. */
  get size (): number {
    return this.#size
  }

  /** Adds a record, or replaces it. Keeps a copy. */
  set (record: SessionRecord, readAt: number): void {
    this.delete(record.id)
    const size = sizeOf(record)
    if (size > this.#maxSize) return
    if (this.#used === this.#max) this.#dropOldest()
    while (this.#used > 0 && this.#size + size > this.#maxSize) this.#dropOldest()
    const place = (this.#tail + this.#used++) % this.#max
    const kept = ownCopy(record)
    this.#ring[place] = kept
    if (place >= this.#readAt.length) this.#grow()
    this.#readAt[place] = readAt
    this.#size += size
    this.#places.set(kept.id, place)
  }

  /** Drops a record. Returns whether it was here. */
  delete (id: string): boolean {
    const place = this.#places.get(id)
    if (place === undefined) return false
    this.#size -= sizeOf(this.recordAt(place))
    this.#ring[place] = null
    return this.#places.delete(id)
  }

  clear (): void {
    if (this.#used === 0) return
    this.#places.clear()
    this.#ring.length = this.#tail = this.#used = this.#size = 0
  }

  #dropOldest (): void {
    const record = this.#ring[this.#tail]
    if (record != null) this.delete(record.id)
    this.#tail = (this.#tail + 1) % this.#max
    this.#used--
  }

  #grow (): void {
    const room = new Float64Array(Math.min(2 * this.#readAt.length, this.#max))
    room.set(this.#readAt)
    this.#readAt = room
  }
}

function sizeOf ({ data, meta, boundKey, twin }: SessionRecord): number {
  return HEAD_SIZE + data.length + (meta?.length ?? 0) + (boundKey?.length ?? 0) + (twin?.length ?? 0)
}

/**
 * Copies a record, and those of its texts that are parts of larger ones: the id of a header of the request, the data of
 * what was stored. As parts they would hold those in memory.
 */
function ownCopy (record: SessionRecord): SessionRecord {
  return frozenCopy(record, { id: ownText(record.id), data: ownText(record.data) })
}

/** Copies text that is well-formed: what came over the network is. */
function ownText (text: string): string {
  return Buffer.from(text).toString()
}
