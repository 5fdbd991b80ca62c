import type { FastifyReply } from 'fastify'

/** The arguments of `writeHead`: the status, then perhaps a message and headers. */
export type Head = [status: number, ...rest: unknown[]]
type Raw = FastifyReply['raw']

const listeners = new WeakMap<Raw, Array<(head: Head) => void>>()

/** Calls back when the head of a reply goes out to the client, whoever writes it. A listener may change it. */
export function onHead ({ raw }: FastifyReply, listener: (head: Head) => void): void {
  const known = listeners.get(raw)
  if (known !== undefined) {
    known.push(listener)
    return
  }
  const all = [listener]
  listeners.set(raw, all)
  // Of its overloads nothing matters here but that all of them return the reply.
  const writeHead = raw.writeHead.bind(raw) as (...head: Head) => Raw
  raw.writeHead = (...head: Head) => {
    if (!raw.headersSent) for (const each of all) each(head)
    return writeHead(...head)
  }
}

/**
 * Moves the headers that `writeHead` was given to the reply itself, where they can be added to: those of `writeHead`
 * take the place of headers set before, as Node does it.
 */
export function liftHeaders (raw: Raw, head: Head): void {
  const headers = head.at(-1)
  if (typeof headers !== 'object' || headers === null) return
  head.pop()
  if (!Array.isArray(headers)) {
    for (const [name, value] of Object.entries(headers)) raw.setHeader(name, value as string)
    return
  }
  // Pairs, or names and values one after the other.
  const flat = headers.flat() as string[]
  for (let at = 0; at < flat.length; at += 2) raw.removeHeader(flat[at] as string)
  for (let at = 0; at < flat.length; at += 2) raw.appendHeader(flat[at] as string, flat[at + 1] as string)
}
