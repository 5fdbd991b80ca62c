import type { OutgoingHttpHeader } from 'node:http'
import type { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'

/**
 * The payload of a reply that waits until the changes of its request are stored. What is sent first goes out, with its
 * status, as in Fastify where nothing waits: hooks and routes that do not return their reply are followed by others,
 * which send as well. A route that returns nothing has sent nothing yet: it gives way to what its callback sends.
 */
export class WaitingPayload {
  #payload: unknown
  #stream: Partial<Readable> | null = null
  #failure: Error | undefined
  /** The status that was sent, `null` while nothing was. */
  status: number | null = null
  /** The headers that were sent with it. */
  #headers: Record<string, OutgoingHttpHeader | undefined> = {}

  constructor (payload: unknown, reply: FastifyReply) {
    this.replace(payload, reply)
  }

  /** Takes what is sent as well, if nothing was sent before; else lets go of it. Returns whether it was taken. */
  offer (payload: unknown, reply: FastifyReply): boolean {
    const isFirst = this.status === null && payload !== undefined
    if (isFirst) this.replace(payload, reply)
    // A route may send a stream and return it.
    else if (payload !== this.#payload) discard(payload)
    return isFirst
  }

  /** Takes a payload, whatever was sent before. */
  replace (payload: unknown, reply: FastifyReply): void {
    discard(this.#payload)
    this.#payload = payload
    this.#stream = isStream(payload) ? payload : null
    // Fastify listens to its errors only after its hooks: until then one would be nobody's, and end the process.
    this.#stream?.once?.('error', (error: Error) => { if (payload === this.#stream) this.#failure = error })
    const { statusCode } = reply
    // A redirect and a refusal say something by their status alone.
    const isNothing = payload === undefined && statusCode < 300 && statusCode !== 204 && statusCode !== 205
    this.status = isNothing ? null : statusCode
    this.#headers = reply.getHeaders()
  }

  /**
   * Returns the payload, and gives the reply its status and headers; all cookies stay. Throws the error that its stream
   * had while it waited.
   */
  release (reply: FastifyReply): unknown {
    if (this.#failure !== undefined) throw this.#failure
    if (this.status === null) return this.#payload
    if (this.status !== reply.statusCode) reply.code(this.status)
    const { 'set-cookie': _cookies, ...headers } = this.#headers
    for (const name of Object.keys(reply.getHeaders())) {
      if (name !== 'set-cookie' && !(name in headers)) reply.removeHeader(name)
    }
    for (const [name, value] of Object.entries(headers)) if (reply.getHeader(name) !== value) reply.header(name, value)
    return this.#payload
  }

  /** Lets go of the payload: something else is sent in its place. */
  destroy (): void {
    discard(this.#payload)
  }
}

/** Lets go of a payload that is not sent. */
export function discard (payload: unknown): void {
  if (isStream(payload)) {
    payload.once?.('error', () => {})
    payload.destroy?.()
  }
  const { body = payload } = isResponse(payload) ? payload : {}
  // One that somebody else reads is theirs to cancel.
  if (body instanceof ReadableStream) body.cancel().catch(() => {})
}

/** Whether Fastify takes a payload for a stream. */
function isStream (payload: unknown): payload is Partial<Readable> {
  const stream = payload as Partial<Readable> | null | undefined
  return typeof stream?.pipe === 'function' && typeof stream.once === 'function'
}

/** Whether a payload is a `Response` of the web, as Fastify looks at it: there are several classes of that name. */
export function isResponse (payload: unknown): payload is Response {
  return Object.prototype.toString.call(payload) === '[object Response]'
}
