import type { FastifyInstance } from 'fastify'
import { serverOptionsOf } from './server-options.ts'

const TRUSTS_ALL = 'trustProxy is true: whoever reaches this server says what its address, host and protocol are, and limits on failed logins and the cross-site check stand on these. Set it to the address of your proxy'

/** Applications, by their servers, that were told. */
const told = new WeakSet<object>()

/** What there is to say, once at boot, about whom Fastify believes its forwarded headers (ASVS 5.0 4.1.3). */
export function proxyWarnings (app: FastifyInstance): Array<{ message: string }> {
  if (serverOptionsOf(app)?.trustProxy !== true || told.has(app.server)) return []
  told.add(app.server)
  return [{ message: TRUSTS_ALL }]
}
