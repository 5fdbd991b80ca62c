import type { AttemptCounters, AttemptLimit } from '../session/store.ts'
import { DueQueue } from './due-queue.ts'
import type { Due } from './due-queue.ts'

/** What one key holds, until when each of it counts, and when the last of it does no more. */
interface Counter extends Due {
  readonly key: string
  readonly attempts: Map<string, number>
  readonly places: Map<string, number>
}

/**
 * Attempts counted in this process. Bounded: for one counter too many, those that have nothing left go, or else
 * the one that was used longest ago. No call takes longer because there are many counters.
 */
export class MemoryAttempts implements AttemptCounters {
  /** The one that was used longest ago is first. */
  readonly #counters = new Map<string, Counter>()
  /** The same in the order in which they have nothing left. */
  readonly #ending = new DueQueue<Counter>()
  readonly #most: number
  readonly #now: () => number

  constructor ({ now = Date.now, most = 100_000 }: { now?: () => number, most?: number } = {}) {
    this.#now = now
    this.#most = most
  }

  async take (key: string, attempt: string | null, { max, withinMs }: AttemptLimit, place?: string): Promise<number> {
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
    if (counter?.attempts.delete(attempt) === true) this.#settle(counter)
  }

  async clear (key: string, beginning = ''): Promise<void> {
    const counter = this.#counters.get(key)
    if (counter === undefined) return
    for (const attempt of counter.attempts.keys()) if (attempt.startsWith(beginning)) counter.attempts.delete(attempt)
    this.#settle(counter)
  }

  async remember (key: string, place: string, { most, forMs }: { most: number, forMs: number }): Promise<void> {
    const counter = this.#counterOf(key)
    const { places } = counter
    places.delete(place)
    this.#add(counter, places, place, forMs)
    const [oldest] = places.keys()
    if (places.size > most && oldest !== undefined) places.delete(oldest)
  }

  /** How many counters are held. */
  get size (): number {
    return this.#counters.size
  }

  clearAll (): void {
    this.#counters.clear()
    this.#ending.clear()
  }

  /** Without what counts no more; now the one that was used last, if there was one. */
  #counterOf (key: string): Counter {
    const counter = this.#counters.get(key)
    if (counter === undefined) return { key, attempts: new Map(), places: new Map(), dueAt: 0, slot: -1 }
    this.#counters.delete(key)
    this.#counters.set(key, counter)
    const now = this.#now()
    for (const held of [counter.attempts, counter.places]) for (const [name, until] of held) if (until <= now) held.delete(name)
    return counter
  }

  #add (counter: Counter, held: Map<string, number>, name: string, forMs: number): void {
    if (counter.slot === -1) this.#makeRoom()
    this.#counters.set(counter.key, counter)
    const until = this.#now() + forMs
    held.set(name, until)
    this.#ending.set(counter, Math.max(counter.dueAt, until))
  }

  /** After something of it was taken away. */
  #settle (counter: Counter): void {
    const latest = Math.max(0, ...counter.attempts.values(), ...counter.places.values())
    if (latest === 0) this.#forget(counter)
    else this.#ending.set(counter, latest)
  }

  #makeRoom (): void {
    for (const counter of this.#ending.takeDue(this.#now())) this.#forget(counter)
    const [oldest] = this.#counters.values()
    if (this.#counters.size >= this.#most && oldest !== undefined) this.#forget(oldest)
  }

  #forget (counter: Counter): void {
    this.#counters.delete(counter.key)
    this.#ending.delete(counter)
  }
}
