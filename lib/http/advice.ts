import type { FastifyRequest } from 'fastify'
import type { ResolvedOptions } from '../options/resolve.ts'

/*
 * Causes of errors that a wrong configuration may explain: what the request said, and what to change. They are for the
 * log and for tests. The client gets the message of the error alone.
 */

/** Longest part of a header that is repeated. */
const MAX_LENGTH = 100

const NAME_IT = 'If this page is yours, name its origin in the option origins. If it is a provider that posts' +
  ' here, set csrf to false for this route, and check its own proof.'
const USE_TLS = 'Behind a TLS proxy set Fastify\'s trustProxy to its address. For local development and for' +
  ' app.inject(), which is http, set cookie.secure to false.'
const TRUST_IT = 'came from an address that is not trusted. Set Fastify\'s trustProxy to that of your proxy.'

/** Says why a request counts as one of another site. */
export function otherSite ({ origins }: Pick<ResolvedOptions, 'origins'>, request: FastifyRequest): Error {
  const { origin, 'sec-fetch-site': site } = request.headers
  const own = [shown(`${request.protocol}://${request.host}`), ...origins.map(shown)].join(', ')
  const said = `Origin is ${shown(origin)}, Sec-Fetch-Site is ${shown(site)}. Pages of these origins may act: ${own}.`
  const advice = untrusted(request, ['host', 'proto']) ?? NAME_IT
  return new Error(`${said} ${advice}`)
}

/** Says why a browser would drop a `Secure` cookie. */
export function plainHttp (request: FastifyRequest): Error {
  const advice = untrusted(request, ['proto']) ?? USE_TLS
  return new Error(`The request came by ${shown(request.protocol)}, and cookie.secure is true. ${advice}`)
}

/** Names the forwarded headers that say something else than what Fastify takes for true, if there are any. */
function untrusted (request: FastifyRequest, names: ReadonlyArray<'host' | 'proto'>): string | null {
  const believed = { host: request.host, proto: request.protocol }
  const others = names.map((name) => ({ name, header: lastOf(request.headers[`x-forwarded-${name}`]) }))
    .filter(({ name, header }) => header !== undefined && header !== believed[name])
  if (others.length === 0) return null
  const said = others.map(({ name, header }) => `X-Forwarded-${name === 'host' ? 'Host' : 'Proto'} ${shown(header)}`)
  return `${said.join(' and ')} ${TRUST_IT}`
}

/** Returns the entry that the nearest proxy added to a header: the last. */
function lastOf (header: string | string[] | undefined): string | undefined {
  return header === undefined ? undefined : String(header).split(',').at(-1)?.trim()
}

/** Returns a value as it can stand in a log: not long, in quotes, of printable ASCII alone. */
function shown (value: unknown): string {
  if (value === undefined) return 'absent'
  const text = String(value)
  const part = text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH)}…` : text
  return JSON.stringify(part).replace(/[^ -~…]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
