import type { SessionCore } from '../../session/core.ts'
import { inTime } from '../../util/deadline.ts'
import { COUNT_MS, COUNTS_KEPT_MS } from '../../util/timings.ts'

/** Most sessions that are looked at for one count. */
const MOST_COUNTED = 10_000

/** How many sessions live. */
export interface Counts {
  readonly signedIn: number
  readonly anonymous: number
  readonly users: number
  /** `false`: there are more than could be looked at, and each number is at least that. */
  readonly complete: boolean
  readonly countedAt: number
}

/**
 * Counts sessions that live. However often and by however many it is asked, the store is walked once in a while, and
 * never for long: a large store is counted in part.
 */
export class LiveCounts {
  readonly #core: SessionCore
  #counting: Promise<Counts> | null = null
  #last: Counts | null = null
  #keptUntil = 0

  constructor (core: SessionCore) {
    this.#core = core
  }

  /** @throws ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_UNSUPPORTED for a store without lists */
  async read (): Promise<Counts> {
    if (this.#last !== null && performance.now() < this.#keptUntil) return this.#last
    this.#counting ??= this.#count().finally(() => { this.#counting = null })
    return await inTime(this.#counting)
  }

  async #count (): Promise<Counts> {
    const until = performance.now() + COUNT_MS
    const users = new Set<string>()
    // A store that holds much besides sessions may go on for long without one.
    const signal = AbortSignal.timeout(COUNT_MS)
    let [signedIn, anonymous, complete] = [0, 0, true]
    for await (const { userId } of this.#core.listAll({ signal })) {
      if (signedIn + anonymous === MOST_COUNTED || performance.now() > until) {
        complete = false
        break
      }
      if (userId === null) anonymous++
      else {
        signedIn++
        users.add(userId)
      }
    }
    if (signal.aborted) complete = false
    const countedAt = Math.floor(this.#core.now())
    this.#last = { signedIn, anonymous, users: users.size, complete, countedAt }
    this.#keptUntil = performance.now() + COUNTS_KEPT_MS
    return this.#last
  }
}
