import type { EventEmitter } from 'node:events'
import { expiresAt } from '../session/record.ts'
import type { NewTimeouts, SessionRecord } from '../session/record.ts'
import { advance, bind, listsOf, setTimeouts } from '../session/store.ts'
import type {
  Adoption, AttemptCounters, BeginOptions, Bus, Change, DeleteByUserOptions, DeleteOptions, EndRecord, ListAllOptions,
  ListOptions, MoveOptions, ReplaceOptions, SessionStore, StoreEvents
} from '../session/store.ts'
import { RecentRecords } from './records.ts'

/** Share of reads answered from here above which each record that was read is kept, also where there is no room. */
const WORTH = 1 / 8
/** Below that share, one record in so many is kept. */
const SAMPLE = 8
/** Number of reads over which the share is measured. */
const WINDOW = 8_192

/** Changes in the backend of a store, by any process. */
export interface Changes {
  /**
   * Time, by `performance.now()`, up to which this process has heard, or is about to hear, of every change. 0 while it
   * hears nothing.
   */
  readonly trustedUntil: number
  /**
   * Begins to listen, and goes on however often the connection is lost. `onChange`: a session was written, has ended
   * or expired. `onGap`: any may have. Resolves once it hears, or with what the backend refuses.
   */
  listen (onChange: (id: string) => void, onGap: () => void): Promise<Error | null>
  /** Only ends are told, by the processes that make them. Default: every change is. */
  readonly isOfEnds?: boolean
  /** Stops listening. Twice is safe. */
  close (): Promise<void>
}

/** Options of a `NearCacheStore`. */
export interface NearCacheOptions {
  readonly maxEntries: number
  readonly maxStaleMs: number
  /** What this process is told of: every change, or only ends. Default: every change. */
  readonly invalidate?: 'all' | 'ends'
}

/**
 * A store around a store: a session that was read a moment ago is answered from this process's memory, without a round
 * trip, for as long as the backend would tell of a change. The store itself does everything but `find`.
 *
 * Why nothing is served that has ended, longer than the message of it takes:
 *
 * - What is kept was asked for while changes were heard. A change that the backend made before it answered is in the
 *   answer. One that it made after is told, and the message comes either before the answer has been handled, then
 *   the count of changes has moved and the answer is not kept; or later, then it takes away what was kept. Which of the
 *   two connections is faster does not matter.
 * - What this process changes itself counts as changed before it is sent, and once more when the outcome is
 *   known: what was asked for in between may have been answered before it happened.
 * - When changes are not heard any more, or not for certain, nothing is kept or served, and whatever was is
 *   forgotten if messages may have been lost.
 * - Whatever went wrong with all this: what was asked for longer than `maxStale` ago is asked for again.
 *
 * Where only ends are told, all this holds for ends. Anything else that another process has changed is seen when it is
 * asked for again. No change is lost by that: `update` compares what it was given with what is there.
 */
export class NearCacheStore implements SessionStore {
  readonly events: EventEmitter<StoreEvents>
  readonly bus: Bus | undefined
  readonly attempts: AttemptCounters | undefined
  readonly adoption: Adoption | undefined
  readonly deleteByIdp: SessionStore['deleteByIdp']
  readonly #store: SessionStore
  readonly #changes: Changes
  readonly #maxStaleMs: number
  readonly #recent: RecentRecords
  readonly #counts = new ChangeCounts()
  #gaps = 0
  /**
   * Users, and sessions at an identity provider, of whom all sessions were ended here, and when. Records that were read
   * before are not served. A user of the name of the other costs a round trip, no more.
   */
  readonly #ended = new Map<string, number>()
  /** How often a record was answered from here. */
  #hits = 0
  /** How often one was asked for and not here. */
  #missed = 0
  /** How many records were dropped because they had changed or ended. */
  #invalidations = 0
  /** Part of the hits that no longer counts for what is worth keeping, and the reads that do count. */
  #earlierHits = 0
  #misses = 0
  readonly #onEnded = (id: string): void => this.#changed(id)

  constructor (store: SessionStore, changes: Changes, { maxEntries, maxStaleMs }: NearCacheOptions) {
    this.#store = store
    this.#changes = changes
    this.#maxStaleMs = maxStaleMs
    this.#recent = new RecentRecords(maxEntries)
    this.events = store.events
    this.bus = store.bus
    this.attempts = store.attempts
    this.adoption = store.adoption
    const deleteByIdp = store.deleteByIdp?.bind(store)
    this.deleteByIdp = deleteByIdp && ((idp, options) => this.#endingAll(idp, () => deleteByIdp(idp, options)))
    this.events.on('ended', this.#onEnded)
  }

  /** Begins to keep what is read, as soon as changes are heard. Resolves then, or with what the backend refuses. */
  async start (): Promise<Error | null> {
    return await this.#changes.listen((id) => this.#changed(id), () => {
      this.#gaps++
      this.#recent.clear()
    })
  }

  /** What it has done so far, for metrics. */
  get tally (): { entries: number, hits: number, misses: number, invalidations: number } {
    return {
      entries: this.#recent.length,
      hits: this.#hits,
      misses: this.#missed,
      invalidations: this.#invalidations
    }
  }

  asksAgain (): void {
    this.#hits--
  }

  now (): number {
    return this.#store.now()
  }

  async nowForCertain (): Promise<number> {
    return await this.#store.nowForCertain?.() ?? this.#store.now()
  }

  async find (id: string, { fresh = false }: { fresh?: boolean } = {}): Promise<SessionRecord | null> {
    const known = fresh ? undefined : this.findNow(id)
    if (known !== undefined) return known
    if (!fresh) this.#missed++
    return await this.#read(id)
  }

  findNow (id: string): SessionRecord | undefined {
    const now = performance.now()
    if (now >= this.#changes.trustedUntil) return undefined
    const place = this.#recent.placeOf(id)
    if (place === undefined) return undefined
    const readAt = this.#recent.readAt(place)
    if (now - readAt >= this.#maxStaleMs) return undefined
    const record = this.#recent.recordAt(place)
    if (expiresAt(record) <= this.#store.now() || this.#endedSince(record, readAt)) return undefined
    this.#hits++
    return record
  }

  async begin (record: SessionRecord, options?: BeginOptions): Promise<SessionRecord | null> {
    return await this.#changing([record.id], () => this.#store.begin(record, options))
  }

  async replace (record: SessionRecord, old: SessionRecord, options?: ReplaceOptions): Promise<SessionRecord | null> {
    return await this.#changing([record.id, old.id], () => this.#store.replace(record, old, options))
  }

  async move (record: SessionRecord, old: SessionRecord, options?: MoveOptions): Promise<SessionRecord | null> {
    return await this.#changing([record.id, old.id], () => this.#store.move(record, old, options))
  }

  async update (record: SessionRecord, change: Change): Promise<SessionRecord | null> {
    return await this.#changing([record.id], () => this.#store.update(record, change))
  }

  async touch (record: SessionRecord): Promise<boolean> {
    return await this.#use(record, (present) => this.#store.touch(present))
  }

  async advance (record: SessionRecord, twin: string): Promise<boolean> {
    return await this.#use(record, (present) => advance(this.#store, present, twin))
  }

  async delete (id: string, options?: DeleteOptions): Promise<SessionRecord | null> {
    const ended = await this.#changing([id], () => this.#store.delete(id, options))
    // It may have moved.
    if (ended !== null) this.#changed(ended.id)
    return ended
  }

  async setTimeouts (record: SessionRecord, timeouts: NewTimeouts): Promise<SessionRecord | null> {
    return await this.#changing([record.id], () => setTimeouts(this.#store, record, timeouts))
  }

  async bind (record: SessionRecord, boundKey: string): Promise<SessionRecord | null> {
    return await this.#changing([record.id], () => bind(this.#store, record, boundKey))
  }

  async successor (id: string): Promise<string | null> {
    return await this.#store.successor?.(id) ?? null
  }

  async ended (id: string): Promise<EndRecord | null> {
    return await this.#store.ended?.(id) ?? null
  }

  async listByUser (userId: string, options?: ListOptions): Promise<SessionRecord[]> {
    return await listsOf(this.#store).listByUser(userId, options)
  }

  async deleteByUser (userId: string, options?: DeleteByUserOptions): Promise<string[]> {
    return await this.#endingAll(userId, () => listsOf(this.#store).deleteByUser(userId, options))
  }

  listAll (options?: ListAllOptions): AsyncIterable<SessionRecord> {
    return listsOf(this.#store).listAll(options)
  }

  async ping (): Promise<void> {
    await this.#store.ping()
  }

  /** Ends listening. Twice is safe. */
  async stop (): Promise<void> {
    this.events.off('ended', this.#onEnded)
    await this.#changes.close()
    this.#recent.clear()
  }

  async close (): Promise<void> {
    await this.stop()
    await this.#store.close()
  }

  async #read (id: string): Promise<SessionRecord | null> {
    const readAt = performance.now()
    if (readAt >= this.#changes.trustedUntil) return await this.#store.find(id)
    const count = this.#counts.of(id)
    const gaps = this.#gaps
    const record = await this.#store.find(id)
    const isCurrent = count === this.#counts.of(id) && gaps === this.#gaps
    if (record !== null && isCurrent && this.#isWorthKeeping(id)) this.#recent.set(record, readAt)
    return record
  }

  /** Whether to keep a record. Where each takes the place of one that is not read again either, that is no use. */
  #isWorthKeeping (id: string): boolean {
    this.#misses++
    if (this.#hits - this.#earlierHits + this.#misses > WINDOW) {
      this.#earlierHits = this.#hits - ((this.#hits - this.#earlierHits) >> 1)
      this.#misses >>= 1
    }
    if (!this.#recent.isFull || this.#recent.has(id)) return true
    return this.#hits - this.#earlierHits >= this.#misses * WORTH || this.#misses % SAMPLE === 0
  }

  #changed (id: string): void {
    this.#counts.add(id)
    if (this.#recent.delete(id)) this.#invalidations++
  }

  async #changing<T> (ids: string[], change: () => Promise<T>): Promise<T> {
    for (const id of ids) this.#changed(id)
    try {
      return await change()
    } finally {
      for (const id of ids) this.#changed(id)
    }
  }

  async #use (record: SessionRecord, use: (present: SessionRecord) => Promise<boolean>): Promise<boolean> {
    const present = this.#changes.isOfEnds === true ? await this.#untouched(record) : record
    if (typeof present === 'boolean') return present
    return await this.#changing([record.id], () => use({ ...present, twin: record.twin }))
  }

  /**
   * Returns a session that is to be touched as it is now, or what `touch` is to resolve with. Where other processes
   * have it in memory too, each of them sees that a touch is due: one of them is enough.
   */
  async #untouched (record: SessionRecord): Promise<SessionRecord | boolean> {
    if (!this.#recent.has(record.id)) return record
    const present = await this.#read(record.id)
    if (present === null) return false
    const isTouched = present.lastSeenAt > record.lastSeenAt &&
      this.#store.now() - present.lastSeenAt < this.#maxStaleMs
    return isTouched ? true : present
  }

  async #endingAll<T> (name: string, end: () => Promise<T>): Promise<T> {
    try {
      return await end()
    } finally {
      // Also sessions that others have ended meanwhile, whose ids it does not return.
      this.#endedNow(name)
    }
  }

  #endedNow (name: string): void {
    const now = performance.now()
    this.#ended.delete(name)
    this.#ended.set(name, now)
    // Records that were read before the first of them are not served any more.
    for (const [each, at] of this.#ended) {
      if (now - at < this.#maxStaleMs) break
      this.#ended.delete(each)
    }
  }

  #endedSince ({ userId, idp }: SessionRecord, readAt: number): boolean {
    if (this.#ended.size === 0) return false
    return [userId, idp].some((name) => name !== null && readAt <= (this.#ended.get(name) ?? -Infinity))
  }
}

/** Number of groups of ids. A power of two. */
const GROUPS = 4_096

/**
 * Counts how often sessions have changed, in groups, so that it takes little memory however many there are. Ids are
 * random. A session in the group of one that has changed is read again, no more.
 */
class ChangeCounts {
  readonly #counts = new Uint32Array(GROUPS)

  of (id: string): number {
    return this.#counts[groupOf(id)] as number
  }

  add (id: string): void {
    const group = groupOf(id)
    this.#counts[group] = (this.#counts[group] as number) + 1
  }
}

function groupOf (id: string): number {
  let hash = 0
  for (let at = 0; at < 8; at++) hash = (hash * 31 + id.charCodeAt(at)) | 0
  return hash & (GROUPS - 1)
}
