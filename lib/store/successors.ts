import { MOVED_MS } from '../util/timings.ts'

/** Most moves that are remembered. */
const MOST = 10_000

/** The new ids of sessions that moved within the last hour, for callers who know only the old one. */
export class Successors {
  readonly #ids = new Map<string, { to: string, secretHash: string, until: number }>()

  /** Remembers a move, and forgets old ones. */
  add ({ id: from, secretHash }: { id: string, secretHash: string }, to: string, now: number): void {
    // The oldest are first.
    for (const [id, { until }] of this.#ids) {
      if (until > now && this.#ids.size < MOST) break
      this.#ids.delete(id)
    }
    this.#ids.set(from, { to, secretHash, until: now + MOVED_MS })
  }

  /** Returns the new id of a session, or `null`. `secretHash`: only if that is the hash that it had under this id. */
  of (id: string, now: number, secretHash?: string): string | null {
    const successor = this.#ids.get(id)
    if (successor === undefined || successor.until <= now) return null
    return secretHash === undefined || secretHash === successor.secretHash ? successor.to : null
  }

  /** Returns this id and those that its session has had since. */
  lineOf (id: string, now: number): Set<string> {
    const line = new Set<string>()
    for (let next: string | null = id; next !== null && !line.has(next); next = this.of(next, now)) line.add(next)
    return line
  }
}
