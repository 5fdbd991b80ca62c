import type { Acquaintance, AttemptCounters, AttemptLimit, PlaceOptions } from '../session/store.ts'
import { DueQueue } from './due-queue.ts'
import type { Due } from './due-queue.ts'

/** The attempts and places of one key, with the time until which each counts. It is due when none counts any more. */
interface Counter extends Due {
  readonly key: string
  readonly attempts: Map<string, number>
  readonly places: Map<string, number>
}

/**
 * Counts attempts in this process. Bounded: for one counter too many, counters with nothing left go, or else the one
 * that was used longest ago. No call takes longer because there are many counters.
 */
export class MemoryAttempts implements AttemptCounters {
  /** Counters by key. The one that was used longest ago is first. */
  readonly #counters = new Map<string, Counter>()
  /** The same in the order in which they will have nothing left. */
  readonly #ending = new DueQueue<Counter>()
  readonly #most: number
  readonly #now: () => number

  constructor ({ now = Date.now, most = 100_000 }: { now?: () => number, most?: number } = {}) {
    this.#now = now
    this.#most = most
  }

  async count (key: string, attempt: string | null, { max, withinMs }: AttemptLimit, place?: string): Promise<number> {
    const counter = this.#counterOf(key)
    const { attempts, places } = counter
    if (place !== undefined && places.has(place)) return 0
    // The oldest are first.
    const ends = [...attempts.values()].sort((a, b) => a - b)
    const free = ends[ends.length - max]
    if (free !== undefined) return Math.max(1, free - this.#now())
    if (attempt !== null) this.#add(counter, attempts, attempt, withinMs)
    return 0
  }

  async giveBack (key: string, attempt: string): Promise<void> {
    const counter = this.#counters.get(key)
    if (counter?.attempts.delete(attempt) === true) this.#reschedule(counter)
  }

  async clear (key: string, beginning = ''): Promise<void> {
    const counter = this.#counters.get(key)
    if (counter === undefined) return
    for (const attempt of counter.attempts.keys()) if (attempt.startsWith(beginning)) counter.attempts.delete(attempt)
    this.#reschedule(counter)
  }

  async remember (key: string, place: string, { most, forMs }: PlaceOptions): Promise<Acquaintance> {
    const counter = this.#counterOf(key)
    const { places } = counter
    const others = places.size === 0 ? 'first' : 'new'
    const before = places.delete(place) ? 'known' : others
    this.#add(counter, places, place, forMs)
    const [oldest] = places.keys()
    if (places.size > most && oldest !== undefined) places.delete(oldest)
    return before
  }

  /** Number of counters. */
  get size (): number {
    return this.#counters.size
  }

  /** Clears all counters. */
  clearAll (): void {
    this.#counters.clear()
    this.#ending.clear()
  }

  /** Returns the counter of a key, without attempts and places that count no more. It is now the one used last. */
  #counterOf (key: string): Counter {
    const counter = this.#counters.get(key)
    if (counter === undefined) return { key, attempts: new Map(), places: new Map(), dueAt: 0, slot: -1 }
    this.#counters.delete(key)
    this.#counters.set(key, counter)
    const now = this.#now()
    for (const held of [counter.attempts, counter.places]) {
      for (const [name, until] of held) if (until <= now) held.delete(name)
    }
    return counter
  }

  #add (counter: Counter, held: Map<string, number>, name: string, forMs: number): void {
    if (counter.slot === -1) this.#makeRoom()
    this.#counters.set(counter.key, counter)
    const until = this.#now() + forMs
    held.set(name, until)
    this.#ending.set(counter, Math.max(counter.dueAt, until))
  }

  /** Sets when a counter has nothing left, after a part of it was removed. */
  #reschedule (counter: Counter): void {
    const latest = Math.max(0, ...counter.attempts.values(), ...counter.places.values())
    if (latest === 0) this.#forget(counter)
    else this.#ending.set(counter, latest)
  }

  #makeRoom (): void {
    for (const counter of this.#ending.removeDue(this.#now())) this.#forget(counter)
    const [oldest] = this.#counters.values()
    if (this.#counters.size >= this.#most && oldest !== undefined) this.#forget(oldest)
  }

  #forget (counter: Counter): void {
    this.#counters.delete(counter.key)
    this.#ending.delete(counter)
  }
}
