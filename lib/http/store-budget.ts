import { errors } from '../errors.ts'
import { inTime } from '../util/deadline.ts'
import { LEAST_WAIT_MS, REQUEST_WAIT_MS } from '../util/timings.ts'

/**
 * The time that one request may wait for the store, for all of its operations together. Waits that overlap count once.
 * A request that lives long, as an open stream does, has all of it again for what it asks later.
 */
export class StoreBudget {
  #spentMs = 0
  /** Number of operations under way. */
  #running = 0
  /** Time since which there has been one. */
  #since = 0
  #endedAt = 0
  #isAnswered = true

  /**
   * Waits for an operation as long as there is time left. Calls `late` with a result that comes after that.
   * @throws ERR_SESSION_STORE_UNAVAILABLE
   */
  async within<T> (operation: Promise<T>, late?: (result: T) => void): Promise<T> {
    const startedAt = performance.now()
    if (this.#running === 0) {
      if (startedAt - this.#endedAt > REQUEST_WAIT_MS) [this.#spentMs, this.#isAnswered] = [0, true]
      this.#since = startedAt
    }
    const spentMs = this.#spentMs + startedAt - this.#since
    // Where the last one was answered, the time may have gone by in this process itself.
    const ms = Math.max(this.#isAnswered ? LEAST_WAIT_MS : 0, REQUEST_WAIT_MS - spentMs)
    this.#running++
    try {
      const result = await inTime(operation, { ms, ...late !== undefined && { late } })
      this.#isAnswered = true
      return result
    } catch (error) {
      this.#isAnswered = !(error instanceof errors.STORE_UNAVAILABLE)
      throw error
    } finally {
      this.#endedAt = performance.now()
      if (--this.#running === 0) this.#spentMs += this.#endedAt - this.#since
    }
  }
}
