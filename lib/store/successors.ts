import { MOVED_MS } from '../util/timings.ts'

/** Of how many sessions that moved the new id is remembered. */
const MOST = 10_000

/** The new ids of sessions that have just moved, for who knows only the old one. */
export class Successors {
  readonly #ids = new Map<string, { to: string, secretHash: string, until: number }>()

  add ({ id: from, secretHash }: { id: string, secretHash: string }, to: string, now: number): void {
    // The oldest are first.
    for (const [id, { until }] of this.#ids) {
      if (until > now && this.#ids.size < MOST) break
      this.#ids.delete(id)
    }
    this.#ids.set(from, { to, secretHash, until: now + MOVED_MS })
  }

  /** `secretHash`: only for who proves the secret that it had under this id. */
  of (id: string, now: number, secretHash?: string): string | null {
    const successor = this.#ids.get(id)
    if (successor === undefined || successor.until <= now) return null
    return secretHash === undefined || secretHash === successor.secretHash ? successor.to : null
  }

  /** This id and those its session has gone on under. */
  lineOf (id: string, now: number): Set<string> {
    const line = new Set<string>()
    for (let next: string | null = id; next !== null && !line.has(next); next = this.of(next, now)) line.add(next)
    return line
  }
}
