import { errors } from '../errors.ts'
import { TIMED_OUT, withDeadline } from '../util/deadline.ts'

export interface BreakerOptions {
  /** How long one operation may take, in milliseconds. */
  deadlineMs: number
  /** How often a backend that is down is asked whether it is back, in milliseconds. */
  probeEveryMs: number
  /** An operation that tells by resolving that the backend answers. */
  probe: () => Promise<unknown>
  /** Whether an error means that the backend is out of reach (as opposed to: it answered with an error). */
  isOutage: (error: unknown) => boolean
  onDown: (cause: unknown) => void
  onUp: () => void
}

/**
 * Keeps one backend from making requests wait: an operation past its deadline fails, and from then on
 * every operation fails at once until a probe in the background has succeeded. So an outage costs
 * each process one wait, not one per request.
 */
export class Breaker {
  readonly #options: BreakerOptions
  #down = false
  #closed = false
  #timer: NodeJS.Timeout | undefined

  constructor (options: BreakerOptions) {
    this.#options = options
  }

  /** @throws ERR_SESSION_STORE_UNAVAILABLE when the backend is down, out of reach or too slow; else what the operation throws. */
  async run<T> (operation: () => Promise<T>): Promise<T> {
    if (this.#down || this.#closed) throw new errors.STORE_UNAVAILABLE()
    try {
      const result = await withDeadline(operation(), this.#options.deadlineMs)
      if (result !== TIMED_OUT) return result
    } catch (error) {
      if (!this.#options.isOutage(error)) throw error
      this.trip(error)
      throw new errors.STORE_UNAVAILABLE({ cause: error })
    }
    const cause = new Error(`no answer within ${this.#options.deadlineMs} ms`)
    this.trip(cause)
    throw new errors.STORE_UNAVAILABLE({ cause })
  }

  /** The backend is known to be down: nothing more is sent until a probe has succeeded. */
  trip (cause: unknown): void {
    if (this.#down || this.#closed) return
    this.#down = true
    this.#options.onDown(cause)
    this.#probeLater()
  }

  close (): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  #probeLater (): void {
    this.#timer = setTimeout(async () => {
      const answer = await withDeadline(this.#options.probe(), this.#options.deadlineMs).catch(() => TIMED_OUT)
      if (this.#closed) return
      if (answer === TIMED_OUT) return this.#probeLater()
      this.#down = false
      this.#options.onUp()
    }, this.#options.probeEveryMs)
  }
}
