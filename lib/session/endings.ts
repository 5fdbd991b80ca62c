/** How often an unconfirmed ending is tried again, in milliseconds. */
const RETRY_EVERY_MS = 500

/**
 * Sessions whose ending is not confirmed by the store. They are refused here and now, and ended again
 * and again until the store says that they are gone: a timed-out deletion may or may not have happened.
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

  add (id: string): void {
    if (this.#closed) return
    this.#ids.add(id)
    this.#timer ??= setTimeout(() => { this.#retry() }, RETRY_EVERY_MS)
  }

  has (id: string): boolean {
    return this.#ids.size > 0 && this.#ids.has(id)
  }

  close (): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  async #retry (): Promise<void> {
    await Promise.all([...this.#ids].map(async (id) => {
      try {
        await this.#end(id)
        this.#ids.delete(id)
      } catch {
        // Stays on the list.
      }
    }))
    this.#timer = undefined
    const [next] = this.#ids
    if (next !== undefined) this.add(next)
  }
}
