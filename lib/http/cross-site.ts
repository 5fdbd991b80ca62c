import type { FastifyRequest } from 'fastify'
import { errors } from '../errors.ts'
import { otherSite } from './advice.ts'
import { clientOf, routeConfig } from './context.ts'
import type { PluginContext } from './context.ts'

/** Methods that change nothing (RFC 9110 9.2.1). */
const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])

/** An origin: scheme, host and perhaps port (RFC 6454 7). */
const ORIGIN = /^https?:\/\/[^/\\?#@\s]+$/i

/** Requests whose refusal was told. */
const refused = new WeakSet<FastifyRequest>()

/** Whether a request can change something: by its method, or by opening a WebSocket, which no CORS rule guards. */
function isUnsafe (request: FastifyRequest): boolean {
  return !SAFE_METHODS.has(request.method) || opensWebSocket(request)
}

/** Whether a request opens a WebSocket, where its reply is over when the socket closes. */
export function opensWebSocket (request: FastifyRequest): boolean {
  return request.headers.upgrade?.toLowerCase() === 'websocket'
}

/** Whether a WebSocket takes the place of a request's reply: no cookie can be set. */
export function isUpgraded (request: FastifyRequest): boolean {
  // Node's own word, which its types leave out. A server without WebSockets answers such a request as any other.
  const { upgrade } = request.raw as { upgrade?: boolean | null }
  return opensWebSocket(request) && upgrade !== false
}

/**
 * Refuses an unsafe request that a page of another site made. `Sec-Fetch-Site`, which no page can
 * set, decides where the browser sends it; else `Origin`. A request with neither comes from no
 * browser: browsers send `Origin` with every cross-site request that can change something.
 *
 * @throws ERR_SESSION_CSRF_REJECTED; its cause says what was compared
 */
export function assertSameSite ({ options, core }: PluginContext, request: FastifyRequest): void {
  // No page of another site can send a bearer token it does not have.
  if (core.credentials.isBearer(request.headers)) return
  if (!options.csrf || !isUnsafe(request) || !routeConfig(request).csrf) return
  const site = request.headers['sec-fetch-site']
  const { origin } = request.headers
  if (site === 'same-origin' || (origin !== undefined && options.origins.includes(origin))) return
  // Where the browser says that it is another site, what the host says is nothing.
  if ((site === undefined || site === 'none') && (origin === undefined || isOwn(origin, request))) return
  // A route may try again.
  if (!refused.has(request)) core.tellIncident('cross-site', null, clientOf(request))
  refused.add(request)
  throw new errors.CSRF_REJECTED({ cause: otherSite(options, request) })
}

/** Whether an origin is the request's own protocol and host. */
export function isOwn (origin: string, request: FastifyRequest): boolean {
  const own = `${request.protocol}://${request.host}`
  if (!ORIGIN.test(origin) || !URL.canParse(own) || !URL.canParse(origin)) return false
  return new URL(own).origin === new URL(origin).origin
}
