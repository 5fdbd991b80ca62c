import { TIMED_OUT, withDeadline } from '../deadline.ts'
import { errors } from '../errors.ts'

/** How long all waiting for the store may take within one request. */
const BUDGET_MS = 600
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
  async within<T> (operation: Promise<T>, late: (result: T) => void = () => {}): Promise<T> {
    const startedAt = performance.now()
    const givenMs = Math.max(this.#isAnswered ? LEAST_MS : 0, BUDGET_MS - this.#spentMs)
    this.#isAnswered = false
    try {
      const result = await withDeadline(operation, givenMs)
      if (result !== TIMED_OUT) {
        this.#isAnswered = true
        return result
      }
    } finally {
      this.#spentMs += performance.now() - startedAt
    }
    operation.then(late, () => {})
    throw new errors.STORE_UNAVAILABLE()
  }
}
