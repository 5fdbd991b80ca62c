import { inTime, WAIT_MS } from '../session/in-time.ts'

/** What the next operation gets in any case, if the last was answered: the time may have gone by in this process itself. */
const LEAST_MS = 100

/** What one request may wait for the store, all of its operations together. */
export class StoreBudget {
  #spentMs = 0
  #isAnswered = true

  /**
   * Waits as long as there is time left; what comes after that is given to `late`.
   * @throws ERR_SESSION_STORE_UNAVAILABLE
   */
  async within<T> (operation: Promise<T>, late?: (result: T) => void): Promise<T> {
    const startedAt = performance.now()
    const ms = Math.max(this.#isAnswered ? LEAST_MS : 0, WAIT_MS - this.#spentMs)
    this.#isAnswered = false
    try {
      const result = await inTime(operation, { ms, ...late !== undefined && { late } })
      this.#isAnswered = true
      return result
    } finally {
      this.#spentMs += performance.now() - startedAt
    }
  }
}
