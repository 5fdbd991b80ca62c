import type { FastifyInstance } from 'fastify'

const TRUSTS_ALL = 'trustProxy is true: whoever reaches this server says what its address, host and protocol are, and limits on failed logins and the cross-site check stand on these. Set it to the address of your proxy'

/** Applications, by their servers, that were told. */
const told = new WeakSet<object>()

/** What there is to say, once at boot, about whom Fastify believes its forwarded headers (ASVS 5.0 4.1.3). */
export function proxyWarnings (app: FastifyInstance): Array<{ message: string }> {
  if (trustProxyOf(app) !== true || told.has(app.server)) return []
  told.add(app.server)
  return [{ message: TRUSTS_ALL }]
}

/** Fastify has no public place for this: where it is not found, nothing is said. */
function trustProxyOf (app: object): unknown {
  for (let each: object | null = app; each !== null; each = Object.getPrototypeOf(each) as object | null) {
    const options = Object.getOwnPropertySymbols(each).find(({ description }) => description === 'fastify.options')
    // What is under it is Fastify's own affair.
    if (options !== undefined) return (each as Record<symbol, { trustProxy?: unknown } | undefined>)[options]?.trustProxy
  }
  return undefined
}
