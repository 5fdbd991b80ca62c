import type { Readable } from 'node:stream'

/**
 * The payload of a reply that waits until the changes of its request are stored. An async route that does not return
 * its reply, or throws after it, sends it again meanwhile: status and headers are then those of the second send, and so
 * is the payload, if it has one.
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

  /** Returns the payload. Throws the error that its stream had while it waited. */
  release (): unknown {
    if (this.#failure !== undefined) throw this.#failure
    return this.#payload
  }

  /** Lets go of the payload: something else is sent in its place. */
  destroy (): void {
    this.#stream?.destroy?.()
    const { body = this.#payload } = isResponse(this.#payload) ? this.#payload : {}
    // One that somebody else reads is theirs to cancel.
    if (body instanceof ReadableStream) body.cancel().catch(() => {})
  }
}

/** Whether a payload is a `Response` of the web, as Fastify looks at it: there are several classes of that name. */
export function isResponse (payload: unknown): payload is Response {
  return Object.prototype.toString.call(payload) === '[object Response]'
}
