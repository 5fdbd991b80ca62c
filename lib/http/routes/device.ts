import type { FastifyInstance, FastifyReply, FastifyRequest, FastifySchema } from 'fastify'
import { errors } from '../../errors.ts'
import type { DeviceBinding } from '../../device/binding.ts'
import { isSameBinding, readBoundKey } from '../../session/bound-key.ts'
import type { BoundKey } from '../../session/bound-key.ts'
import type { Credential } from '../../session/credentials.ts'
import { isBelow } from '../../util/site-path.ts'
import type { PluginContext } from '../context.ts'
import { addCookies, setCookieLine } from '../cookie.ts'
import { isOwn } from '../cross-site.ts'
import { confirm } from '../device-confirming.ts'
import { keepPrivate } from '../reply-head.ts'
import { StoreBudget } from '../store-budget.ts'

const TAKEN = 'must be another: there is a route at that path, perhaps of another registration'
const OUTSIDE = 'must be below cookie.path, or browsers send no session cookie there'
/** Paths that Fastify takes as they are, and that a header can hold in quotes. */
const PLAIN = /^(?:\/[\w.~!$&'+,=@-]+)+$/
const NOT_PLAIN = "deviceBound needs a prefix and a cookie.path of letters, digits and / . _ ~ ! $ & ' + , = @ -"

/** Largest body. Browsers send none. */
const BODY_LIMIT = 1_024

/**
 * Adds the two routes by which browsers bind a session and get its next short cookie. Only browsers call them, and some
 * send neither `Origin` nor `Sec-Fetch-Site`: they rest on the proof alone, and are no use of the session.
 * @see https://w3c.github.io/webappsec-dbsc/
 * @throws ERR_SESSION_INVALID_OPTIONS where the path is taken, or cannot be told to browsers
 */
export function addDeviceRoutes (app: FastifyInstance, context: PluginContext): void {
  const { device } = context
  if (device === null) return
  const { binding, path } = device
  const { cookie } = context.options
  if (!PLAIN.test(path)) throw new errors.INVALID_OPTIONS(NOT_PLAIN)
  if (!isBelow(cookie.path, path)) throw new errors.INVALID_OPTIONS(`deviceBound.path ${OUTSIDE}`)
  if (app.hasRoute({ method: 'POST', url: path })) throw new errors.INVALID_OPTIONS(`deviceBound.path ${TAKEN}`)
  // In a context of their own: a guard that the application adds for all of its routes is not for these.
  app.register(async (own) => {
    // Of @fastify/swagger: nobody writes a client for these.
    const schema = { hide: true } as FastifySchema
    const options = { bodyLimit: BODY_LIMIT, config: { session: false as const }, schema }
    const url = path.slice(own.prefix.length)
    own.removeAllContentTypeParsers()
    own.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, _body, done) => done(null))
    own.post(url, options, (request, reply) => register(context, binding, { request, reply }))
    own.post(`${url}/refresh`, options, (request, reply) => refresh(context, binding, { request, reply }))
  })
}

/** A request to one of the routes. */
interface Exchange {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
}

async function register (
  context: PluginContext, binding: DeviceBinding, { request, reply }: Exchange
): Promise<unknown> {
  const { core } = context
  const budget = new StoreBudget()
  const credential = credentialOf(context, request)
  const record = credential === null ? null : await budget.within(core.load(credential, { fresh: true }))
  if (record === null) return answer(reply, 401)
  const header = request.headers['secure-session-response']
  const fits = (url: string): boolean => isHere(context, request, url)
  const registration = binding.register(record, header, { now: core.now(), fits })
  if (registration === 'bad-proof') return answer(reply, 400)
  if (registration === 'taken') return answer(reply, 409)
  const { boundKey } = registration
  const stored = boundKey === record.boundKey ? record : await budget.within(core.bind(record, boundKey))
  if (stored === null) return answer(reply, 401)
  const bound = readBoundKey(stored.boundKey)
  // Another request was faster.
  if (bound === null || stored.boundKey !== boundKey) return answer(reply, 409)
  return giveCookie(context, binding, { request, reply, bound })
}

async function refresh (
  context: PluginContext, binding: DeviceBinding, { request, reply }: Exchange
): Promise<unknown> {
  const { core } = context
  const budget = new StoreBudget()
  const credential = credentialOf(context, request)
  const { 'secure-session-response': header, 'sec-secure-session-id': id } = request.headers
  // A session that is gone may go on under another cookie, with the same key, and the browser does not know it yet. One
  // whose short cookie is still good asks again (4xx but 429 makes it forget its side).
  const gone = (): FastifyReply => answer(reply, binding.isShown(id, request.headers, core.now()) ? 429 : 401)
  if (credential === null) return answer(reply, 401)
  const record = await budget.within(core.loadMoved(credential))
  if (record === null) return gone()
  const fits = (url: string): boolean => isHere(context, request, url)
  const outcome = binding.refresh(record, { id, header, now: core.now(), fits })
  if (outcome === 'forget') return answer(reply, 401)
  if (outcome === 'bad-proof') return answer(reply, 400)
  const { bound, hasSigned } = outcome
  if (!hasSigned) {
    reply.header('secure-session-challenge', binding.challengeHeader(bound, core.now()))
    return answer(reply, 403)
  }
  const confirming = confirm(context, record)
  // The next request does it, if this one cannot.
  const stored = confirming === undefined ? record : await budget.within(confirming).catch(() => record)
  if (stored === null) return gone()
  if (!isSameBinding(stored.boundKey, record.boundKey)) return answer(reply, 401)
  return giveCookie(context, binding, { request, reply, bound })
}

function credentialOf ({ core }: PluginContext, request: FastifyRequest): Credential | null {
  return core.credentials.readCookie(request.headers.cookie ?? '')
}

function answer (reply: FastifyReply, status: number): FastifyReply {
  keepPrivate(reply)
  return reply.code(status).send()
}

function giveCookie (
  context: PluginContext, binding: DeviceBinding, { request, reply, bound }: Exchange & { bound: BoundKey }
): FastifyReply {
  const now = context.core.now()
  const { name, value, maxAgeSeconds: maxAge } = binding.shortCookie(bound, now)
  addCookies(reply, [setCookieLine(context, request, { name, value, maxAge, httpOnly: true })])
  reply.header('secure-session-challenge', binding.challengeHeader(bound, now))
  return reply.send(instructions(context, bound, name))
}

/** Values of `SameSite`, as @fastify/cookie writes them. */
const SITES = { lax: 'Lax', strict: 'Strict', none: 'None' }

/** Makes what a browser has to know: when a request needs the short cookie, and where that comes from. */
function instructions ({ options, device }: PluginContext, { identifier }: BoundKey, name: string): object {
  const { origins, cookie: { path, secure, sameSite } } = options
  const routes = device?.path ?? ''
  const attributes = `Path=${path}${secure ? '; Secure' : ''}; HttpOnly; SameSite=${SITES[sameSite]}`
  return {
    session_identifier: identifier,
    refresh_url: `${routes}/refresh`,
    scope: { include_site: false, scope_specification: [{ type: 'exclude', path: routes }] },
    // Those of the cookie as it is set, without how long it lives.
    credentials: [{ type: 'cookie', name, attributes }],
    ...origins.length > 0 && { allowed_refresh_initiators: origins.map((origin) => new URL(origin).hostname) }
  }
}

/** Whether a URL is that of this request. */
function isHere ({ options }: PluginContext, request: FastifyRequest, url: string): boolean {
  if (!URL.canParse(url)) return false
  const { origin, pathname } = new URL(url)
  const here = request.originalUrl.split('?', 1)[0]
  return pathname === here && (isOwn(origin, request) || options.origins.includes(origin))
}
