import { TIMED_OUT, withDeadline } from '../deadline.ts'

/** How often unconfirmed endings are tried again, and how long one try may take, in milliseconds. */
const RETRY_EVERY_MS = 500

/**
 * Sessions that are being ended. From the first moment on they are refused here; and where the store
 * does not confirm it, they are ended again and again until it does: a timed-out deletion may or may
 * not have happened.
 */
export class Endings {
  readonly #end: (id: string) => Promise<unknown>
  readonly #ids = new Set<string>()
  #timer: NodeJS.Timeout | undefined
  #closed = false

  /** `end` resolves once the store confirms that a session is gone. */
  constructor (end: (id: string) => Promise<unknown>) {
    this.#end = end
  }

  /** Refuses a session while `ending` is under way, and goes on ending it if that fails. */
  async during<T> (id: string, ending: () => Promise<T>): Promise<T> {
    this.#ids.add(id)
    try {
      const ended = await ending()
      this.#ids.delete(id)
      return ended
    } catch (error) {
      this.#retryLater()
      throw error
    }
  }

  /** Refuses a session, and goes on ending it. */
  add (id: string): void {
    this.#ids.add(id)
    this.#retryLater()
  }

  has (id: string): boolean {
    return this.#ids.size > 0 && this.#ids.has(id)
  }

  close (): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  #retryLater (): void {
    if (this.#closed || this.#timer !== undefined) return
    this.#timer = setTimeout(() => {
      void this.#retry().then(() => {
        this.#timer = undefined
        if (this.#ids.size > 0) this.#retryLater()
      })
    }, RETRY_EVERY_MS)
  }

  /** One after the other, up to the first that fails: a store that is just coming back is not to be overrun. */
  async #retry (): Promise<void> {
    for (const id of [...this.#ids]) {
      const isConfirmed = await withDeadline(this.#end(id), RETRY_EVERY_MS).then((answer) => answer !== TIMED_OUT, () => false)
      if (!isConfirmed) {
        // The next round begins with another one.
        this.#ids.delete(id)
        this.#ids.add(id)
        return
      }
      this.#ids.delete(id)
    }
  }
}
