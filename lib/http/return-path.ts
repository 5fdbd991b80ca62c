import type { FastifyReply, FastifyRequest } from 'fastify'
import type { ResolvedOptions } from '../options/resolve.ts'
import { cookieValues } from '../session/headers.ts'
import { Signature } from '../session/token.ts'
import { isBelow, sitePath } from '../util/site-path.ts'
import { kReply } from './context.ts'
import type { AnyRequest, PluginContext, SessionRequest } from './context.ts'
import { addCookies } from './cookie.ts'
import { registrationOf } from './request-session.ts'

/*
 * The page that somebody asked for who was sent to the login page, so that they go on there. It is in a cookie: who is
 * signed out costs no command of the store. Where a redirect leads is never what a request says (ASVS 5.0 3.7.2): this
 * server has signed that it was asked for this path of its own. It is checked when it is signed, and when it is used.
 */

/** Returns where to go after a login: `app.takeReturnPath`. */
export type TakeReturnPath = (request: AnyRequest) => string

/** How long a path is remembered, in seconds. */
const MAX_AGE = 600
/** How long a path may be, in characters. A browser keeps cookies of 4,096 bytes (RFC 6265bis 5.6). */
const MAX_LENGTH = 2_048

/**
 * Makes the signature of the paths of a registration. What signs a session verifies no path, and the other way round;
 * nor does what another registration signs with the same secret.
 */
export function pathSignature (options: Pick<ResolvedOptions, 'secrets' | 'cookieNames'>): Signature {
  return Signature.of(options.secrets, `return path ${cookieName(options)}`)
}

/** Has the client remember a page of this site, for ten minutes. It forgets an earlier one in any case. */
export function rememberPath (
  context: PluginContext, request: FastifyRequest, reply: FastifyReply, path: string | null
): void {
  if (path === null || !isReturnPath(context, path)) return forgetPath(context, request, reply)
  // By the clock of this process: to ask the store's can be a command.
  const until = Math.floor(Date.now() / 1000) + MAX_AGE
  const value = context.pathSignature.sign(`${until}.${Buffer.from(path).toString('base64url')}`)
  setPathCookie(context, request, reply, { value, maxAge: MAX_AGE })
}

/** Returns where to go after a login. Throws a TypeError for what is no request. */
export const takeReturnPath: TakeReturnPath = (request) => {
  const context = registrationOf(request)
  return takePath(context, request) ?? context.options.pages.home
}

/** Returns the path that the client remembers, once: the reply takes it back. `null` if there is none. */
export function takePath (context: PluginContext, request: FastifyRequest): string | null {
  const values = pathCookies(context, request)
  const reply = (request as SessionRequest)[kReply]
  if (reply !== null) forgetPath(context, request, reply)
  // Of two, one is planted.
  return values.length === 1 ? verifiedPath(context, values[0] as string) : null
}

/** Returns the path in a cookie's value. `null` for one that was not signed here, is too old or is none. */
function verifiedPath (context: PluginContext, signed: string): string | null {
  const [until = '', encoded = ''] = context.pathSignature.verify(signed)?.value.split('.') ?? []
  const path = Buffer.from(encoded, 'base64url').toString()
  return Number(until) * 1000 > Date.now() && isReturnPath(context, path) ? path : null
}

/** Whether people may be sent back to a path: one of this site that the session cookie reaches, not the login page. */
function isReturnPath ({ options: { cookie, pages } }: PluginContext, path: string): boolean {
  const url = path.length > MAX_LENGTH ? null : sitePath(path)
  return url !== null && isBelow(cookie.path, url.pathname) && url.pathname !== sitePath(pages.login)?.pathname
}

/** Takes the cookie back, if there is one. */
function forgetPath (context: PluginContext, request: FastifyRequest, reply: FastifyReply): void {
  if (pathCookies(context, request).length === 0) return
  setPathCookie(context, request, reply, { value: '', maxAge: 0, expires: new Date(0) })
}

function setPathCookie (
  { options }: PluginContext, request: FastifyRequest, reply: FastifyReply,
  { value, ...lifetime }: { value: string, maxAge: number, expires?: Date }
): void {
  const { path, secure } = options.cookie
  // A browser would drop it.
  if (secure && request.protocol !== 'https') return
  // Without a domain: the login page is on this host.
  const attributes = { ...lifetime, path, secure, sameSite: 'lax', httpOnly: true } as const
  const line = request.server.serializeCookie(cookieName(options), value, attributes)
  if ([reply.getHeader('set-cookie')].flat().includes(line)) return
  addCookies(reply, [line])
}

function pathCookies ({ options }: PluginContext, { headers }: FastifyRequest): string[] {
  return cookieValues(headers.cookie ?? '', cookieName(options))
}

function cookieName ({ cookieNames }: Pick<ResolvedOptions, 'cookieNames'>): string {
  return `${cookieNames[0] as string}-return`
}
