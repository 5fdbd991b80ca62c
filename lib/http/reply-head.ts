import type { FastifyReply } from 'fastify'

/** Arguments of `writeHead`: the status, then perhaps a message and headers. */
export type Head = [status: number, ...rest: unknown[]]
type Raw = FastifyReply['raw']

const listeners = new WeakMap<Raw, Array<(head: Head) => void>>()

/** Calls a listener when the head of a reply goes out to the client, whoever writes it. It may change the head. */
export function onHead ({ raw }: FastifyReply, listener: (head: Head) => void): void {
  const known = listeners.get(raw)
  if (known !== undefined) {
    known.push(listener)
    return
  }
  const all = [listener]
  listeners.set(raw, all)
  // All of its overloads return the reply.
  const writeHead = raw.writeHead.bind(raw) as (...head: Head) => Raw
  raw.writeHead = (...head: Head) => {
    if (!raw.headersSent) for (const each of all) each(head)
    return writeHead(...head)
  }
}

/**
 * Moves the headers that `writeHead` was given to the reply itself, where others can be added. As in Node they take the
 * place of headers that were set before.
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

/** Whether a reply says that caches may keep it, be it the browser's. */
export function isCacheable ({ raw }: FastifyReply, head: Head): boolean {
  liftHeaders(raw, head)
  return /\b(?:public|immutable|(?:s-)?max-?age=[1-9])/i.test(String(raw.getHeader('cache-control') ?? ''))
}

/**
 * Headers that caches of one kind or vendor obey in place of `Cache-Control` (RFC 9213, Edge Architecture
 * Specification, nginx, Akamai).
 */
const FOR_SOME_CACHES = /^((surrogate|(.+-)?cdn-cache|edge)-control|x-accel-expires)$/

const privateReplies = new WeakSet<FastifyReply>()

/**
 * Forbids caches to keep a reply, which is one person's: with a session cookie in it, nobody else may get it
 * (CVE-2023-30861). It holds whatever a later hook of the application sets.
 */
export function keepPrivate (reply: FastifyReply): void {
  forbidCaches(reply)
  if (privateReplies.has(reply)) return
  privateReplies.add(reply)
  const { raw } = reply
  onHead(reply, () => {
    forbidCaches(reply)
    // Of a stream, and of a head that others write, the headers are there already.
    if (!raw.hasHeader('cache-control')) return
    for (const name of ['cache-control', 'vary']) raw.setHeader(name, String(reply.getHeader(name)))
    for (const name of raw.getHeaderNames()) if (FOR_SOME_CACHES.test(name)) raw.removeHeader(name)
  })
}

function forbidCaches (reply: FastifyReply): void {
  reply.header('cache-control', 'no-store')
  for (const name of Object.keys(reply.getHeaders())) if (FOR_SOME_CACHES.test(name)) reply.removeHeader(name)
  const vary = reply.getHeader('vary')
  if (vary === undefined) reply.header('vary', 'Cookie')
  else if (!/(^|,)\s*(\*|cookie)\s*(,|$)/i.test(String(vary))) reply.header('vary', `${String(vary)}, Cookie`)
}
