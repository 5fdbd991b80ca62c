import { errors, outage } from '../errors.ts'
import { TIMED_OUT, withDeadline } from '../util/deadline.ts'

/** Options of a `Breaker`. */
export interface BreakerOptions {
  /** Longest time of one operation, in milliseconds. */
  deadlineMs: number
  /** Time between two probes of a backend that is down, in milliseconds. */
  probeEveryMs: number
  /** Resolves if the backend answers. */
  probe: () => Promise<unknown>
  /** Whether an error means that the backend is out of reach. Else it is an answer. */
  isOutage: (error: unknown) => boolean
  /** Returns an error as callers may see it. Default: as it is. */
  shown?: (error: unknown) => unknown
  /** Called when the backend goes down. */
  onDown: (cause: unknown) => void
  /** Called when the backend is up again. */
  onUp: () => void
}

/**
 * Keeps a backend that is down from making requests wait. An operation past its deadline fails, and then every
 * operation fails at once, until a probe in the background has succeeded. So an outage costs each process one wait,
 * not one for each request.
 */
export class Breaker {
  readonly #options: BreakerOptions
  #isDown = false
  #isClosed = false
  #timer: NodeJS.Timeout | undefined

  constructor (options: BreakerOptions) {
    this.#options = options
  }

  /**
   * Runs an operation.
   * @throws ERR_SESSION_STORE_UNAVAILABLE when the backend is down, out of reach or too slow; else as the operation
   */
  async run<T> (operation: () => Promise<T>): Promise<T> {
    if (this.#isDown || this.#isClosed) throw new errors.STORE_UNAVAILABLE()
    try {
      const result = await withDeadline(operation(), this.#options.deadlineMs)
      if (result !== TIMED_OUT) return result
    } catch (thrown) {
      const error = this.#options.shown === undefined ? thrown : this.#options.shown(thrown)
      if (!this.#options.isOutage(error)) throw error
      this.trip(error)
      throw new errors.STORE_UNAVAILABLE({ cause: error })
    }
    const cause = outage(`no answer within ${this.#options.deadlineMs} ms`)
    this.trip(cause)
    throw new errors.STORE_UNAVAILABLE({ cause })
  }

  /** Notes that the backend is down: every operation fails until a probe has succeeded. */
  trip (cause: unknown): void {
    if (this.#isDown || this.#isClosed) return
    this.#isDown = true
    this.#options.onDown(cause)
    this.#probeLater()
  }

  /** Fails all operations from now on, and stops probing. */
  close (): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
  }

  #probeLater (): void {
    this.#timer = setTimeout(async () => {
      const answer = await withDeadline(this.#options.probe(), this.#options.deadlineMs).catch(() => TIMED_OUT)
      if (this.#isClosed) return
      if (answer === TIMED_OUT) return this.#probeLater()
      this.#isDown = false
      this.#options.onUp()
    }, this.#options.probeEveryMs)
  }
}
