import { TIMED_OUT, withDeadline } from '../deadline.ts'

/** How often unconfirmed endings are tried again, and how long one try may take, in milliseconds. */
const RETRY_EVERY_MS = 500
/** How many failures end a round of tries: one may be of a session that cannot be ended, or of a part of the store that is down. */
const FAILURES = 16
/** How many refused logins are remembered. */
const MAX_REFUSED = 10_000

/**
 * Sessions that are being ended. From the first moment on they are refused here; and where the store
 * does not confirm it, they are ended again and again until it does: a timed-out deletion may or may
 * not have happened.
 *
 * What somebody was promised is never forgotten, and tried first. Of logins that were refused, whose
 * sessions nobody holds and which expire by themselves, the last ten thousand are remembered: a store
 * that refuses to write for days must not fill the memory of this process.
 */
export class Endings {
  readonly #end: (id: string) => Promise<unknown>
  readonly #promised = new Set<string>()
  readonly #refused = new Set<string>()
  #timer: NodeJS.Timeout | undefined
  #closed = false

  /** `end` resolves once the store confirms that a session is gone. */
  constructor (end: (id: string) => Promise<unknown>) {
    this.#end = end
  }

  /** Refuses a session while `ending` is under way, and goes on ending it if that fails. */
  async during<T> (id: string, ending: () => Promise<T>): Promise<T> {
    this.#promised.add(id)
    try {
      const ended = await ending()
      this.#promised.delete(id)
      return ended
    } catch (error) {
      this.#retryLater()
      throw error
    }
  }

  /** Goes on ending the session of a login that was refused, whatever became of it in the store. */
  addRefused (id: string): void {
    this.#refused.add(id)
    const [oldest] = this.#refused
    if (this.#refused.size > MAX_REFUSED && oldest !== undefined) this.#refused.delete(oldest)
    this.#retryLater()
  }

  has (id: string): boolean {
    return this.size > 0 && (this.#promised.has(id) || this.#refused.has(id))
  }

  /** How many sessions are refused. */
  get size (): number {
    return this.#promised.size + this.#refused.size
  }

  close (): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  #retryLater (): void {
    if (this.#closed || this.#timer !== undefined) return
    this.#timer = setTimeout(() => {
      void this.#retry(this.#promised).then(() => this.#retry(this.#refused)).then(() => {
        this.#timer = undefined
        if (this.size > 0) this.#retryLater()
      })
    }, RETRY_EVERY_MS)
  }

  /** One after the other: a store that is just coming back is not to be overrun. Ends early where it is not back. */
  async #retry (ids: Set<string>): Promise<void> {
    let failures = 0
    for (const id of [...ids]) {
      const outcome = await withDeadline(this.#end(id).then(() => true, () => false), RETRY_EVERY_MS)
      const isRemembered = ids.delete(id)
      if (outcome === true) continue
      // The next round begins with another one.
      if (isRemembered) ids.add(id)
      if (outcome === TIMED_OUT || ++failures === FAILURES) return
    }
  }
}
