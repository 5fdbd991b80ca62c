import type { FastifyReply } from 'fastify'
import { onHead } from './reply-head.ts'

/** What caches of one kind or vendor obey in place of `Cache-Control` (RFC 9213, Edge Architecture Specification, nginx, Akamai). */
const FOR_SOME_CACHES = /^((surrogate|(.+-)?cdn-cache|edge)-control|x-accel-expires)$/

const kept = new WeakSet<FastifyReply>()

/**
 * Tells caches that a reply is one person's: with a session cookie in it, nobody else may get it (CVE-2023-30861).
 * Whatever a later hook tells them, of the application or of the page that was not found, this holds.
 */
export function keepPrivate (reply: FastifyReply): void {
  tellCaches(reply)
  if (kept.has(reply)) return
  kept.add(reply)
  const { raw } = reply
  onHead(reply, () => {
    tellCaches(reply)
    // Of a stream, and of a head that others write, the headers are there already.
    if (!raw.hasHeader('cache-control')) return
    for (const name of ['cache-control', 'vary']) raw.setHeader(name, String(reply.getHeader(name)))
    for (const name of raw.getHeaderNames()) if (FOR_SOME_CACHES.test(name)) raw.removeHeader(name)
  })
}

function tellCaches (reply: FastifyReply): void {
  reply.header('cache-control', 'no-store')
  for (const name of Object.keys(reply.getHeaders())) if (FOR_SOME_CACHES.test(name)) reply.removeHeader(name)
  const vary = reply.getHeader('vary')
  if (vary === undefined) reply.header('vary', 'Cookie')
  else if (!/(^|,)\s*(\*|cookie)\s*(,|$)/i.test(String(vary))) reply.header('vary', `${String(vary)}, Cookie`)
}
