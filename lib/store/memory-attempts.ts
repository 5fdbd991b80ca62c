import type { AttemptCounters, AttemptLimit } from './contract.ts'

/** What one key holds: until when each of it counts. */
interface Counter {
  readonly attempts: Map<string, number>
  readonly places: Map<string, number>
}

/**
 * Attempts counted in this process. Bounded: for one counter too many, those that have nothing left go, or else
 * the one that was used longest ago.
 */
export class MemoryAttempts implements AttemptCounters {
  readonly #counters = new Map<string, Counter>()
  readonly #most: number
  readonly #now: () => number
  #sweepAt = 1024

  constructor ({ now = Date.now, most = 100_000 }: { now?: () => number, most?: number } = {}) {
    this.#now = now
    this.#most = most
  }

  async take (key: string, attempt: string | null, { max, withinMs }: AttemptLimit, place?: string): Promise<number> {
    const { attempts, places } = this.#counterOf(key)
    if (place !== undefined && places.has(place)) return 0
    // The oldest are first.
    const ends = [...attempts.values()].sort((a, b) => a - b)
    const free = ends[ends.length - max]
    if (free !== undefined) return Math.max(1, free - this.#now())
    if (attempt !== null) attempts.set(attempt, this.#now() + withinMs)
    return 0
  }

  async giveBack (key: string, attempt: string): Promise<void> {
    this.#counters.get(key)?.attempts.delete(attempt)
  }

  async clear (key: string, beginning = ''): Promise<void> {
    const attempts = this.#counters.get(key)?.attempts
    for (const attempt of attempts?.keys() ?? []) if (attempt.startsWith(beginning)) attempts?.delete(attempt)
  }

  async remember (key: string, place: string, { most, forMs }: { most: number, forMs: number }): Promise<void> {
    const { places } = this.#counterOf(key)
    places.delete(place)
    places.set(place, this.#now() + forMs)
    const [oldest] = places.keys()
    if (places.size > most && oldest !== undefined) places.delete(oldest)
  }

  /** How many counters are held. */
  get size (): number {
    return this.#counters.size
  }

  clearAll (): void {
    this.#counters.clear()
  }

  /** Without what counts no more; now the one that was used last. */
  #counterOf (key: string): Counter {
    const counter = this.#counters.get(key) ?? { attempts: new Map<string, number>(), places: new Map<string, number>() }
    this.#counters.delete(key)
    this.#makeRoom()
    this.#counters.set(key, counter)
    this.#drop(counter)
    return counter
  }

  #drop ({ attempts, places }: Counter): boolean {
    for (const held of [attempts, places]) for (const [name, until] of held) if (until <= this.#now()) held.delete(name)
    return attempts.size + places.size === 0
  }

  /** Sweeps when there are twice as many as after the last time or as many as may be, so that counting stays cheap. */
  #makeRoom (): void {
    if (this.#counters.size < Math.min(this.#sweepAt, this.#most)) return
    for (const [key, counter] of this.#counters) if (this.#drop(counter)) this.#counters.delete(key)
    this.#sweepAt = Math.max(1024, this.#counters.size * 2)
    const [oldest] = this.#counters.keys()
    if (this.#counters.size >= this.#most && oldest !== undefined) this.#counters.delete(oldest)
  }
}
