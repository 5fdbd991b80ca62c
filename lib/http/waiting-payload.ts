import type { Readable } from 'node:stream'

/**
 * What a reply sends once it has waited for what its request changed. An async route that does not return its reply,
 * or throws after it, sends it again meanwhile, and status and headers are then of that: so is what is sent, if
 * anything was given.
 */
export class WaitingPayload {
  #payload: unknown
  #stream: Partial<Readable> | null = null
  #failure: Error | undefined

  constructor (payload: unknown) {
    this.replace(payload)
  }

  replace (payload: unknown): void {
    if (payload === undefined) return
    this.destroy()
    this.#payload = payload
    const stream = payload as Partial<Readable> | null
    this.#stream = typeof stream?.pipe === 'function' && typeof stream.once === 'function' ? stream : null
    // Fastify listens to its errors only after its hooks: until then one would be nobody's, and end the process.
    this.#stream?.once?.('error', (error: Error) => { if (stream === this.#stream) this.#failure = error })
  }

  /** @throws what went wrong with it while it waited */
  release (): unknown {
    if (this.#failure !== undefined) throw this.#failure
    return this.#payload
  }

  /** Something else is sent in its place. */
  destroy (): void {
    this.#stream?.destroy?.()
  }
}
