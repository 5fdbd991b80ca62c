import type { FastifyReply, FastifyRequest } from 'fastify'
import { errors } from '../errors.ts'
import { cookieValues } from '../session/cookie-header.ts'
import type { SessionRecord } from '../session/record.ts'
import type { Token } from '../session/token.ts'
import { kReplied } from './context.ts'
import type { PluginContext, SessionRequest } from './context.ts'
import { keepPrivate } from './private-reply.ts'

/**
 * @throws ERR_SESSION_INSECURE_CONNECTION when the browser would drop the cookie that has to be sent
 * @throws ERR_SESSION_UNSUPPORTED when the reply has gone without it
 */
export function assertCookieCanBeSet ({ options }: PluginContext, request: FastifyRequest): void {
  if ((request as SessionRequest)[kReplied]) throw new errors.UNSUPPORTED('a new session after the reply has gone: its cookie would be in none')
  if (options.cookie.secure && request.protocol !== 'https') throw new errors.INSECURE_CONNECTION()
}

/** @throws ERR_SESSION_UNSUPPORTED in a bearer request, whose client would never send a new session's cookie */
export function assertKeepsCookies ({ core }: PluginContext, request: FastifyRequest, what: string): void {
  if (core.credentials.isBearer(request.headers)) throw new errors.UNSUPPORTED(`${what} in a bearer request: its client keeps no cookies`)
}

/** Sends the session's token, and takes back cookies under older names. */
export function setSessionCookie (context: PluginContext, request: FastifyRequest, reply: FastifyReply, record: SessionRecord, token: Token): void {
  const { options, core } = context
  const leftMs = Math.min(record.endsAt - core.now(), options.cookieMaxAgeMs || Infinity)
  const maxAge = record.persistent ? { maxAge: Math.max(1, Math.round(leftMs / 1000)) } : {}
  const [name, ...older] = options.cookieNames as [string, ...string[]]
  append(context, reply, name, core.credentials.sign(token), maxAge)
  takeBack(context, request, reply, older)
}

/** Takes back every session cookie the request brought, and the one under today's name. */
export function clearSessionCookie (context: PluginContext, request: FastifyRequest, reply: FastifyReply): void {
  const [name, ...older] = context.options.cookieNames as [string, ...string[]]
  append(context, reply, name, '', EXPIRED)
  takeBack(context, request, reply, older)
}

function takeBack (context: PluginContext, request: FastifyRequest, reply: FastifyReply, names: string[]): void {
  for (const name of names) {
    if (cookieValues(request.headers.cookie ?? '', name).length > 0) append(context, reply, name, '', EXPIRED)
  }
}

/** Whether a cookie client brought a cookie under one of our names, good or bad. */
export function hasSessionCookie ({ options, core }: PluginContext, request: FastifyRequest): boolean {
  const header = request.headers.cookie
  return header !== undefined && !core.credentials.isBearer(request.headers) && options.cookieNames.some((name) => cookieValues(header, name).length > 0)
}

const EXPIRED = { maxAge: 0, expires: new Date(0) }

/** The attributes are always today's configuration: a browser only takes a cookie back when path, domain and Secure are those it was set with. */
function append (context: PluginContext, reply: FastifyReply, name: string, value: string, lifetime: { maxAge?: number, expires?: Date }): void {
  const { secure, sameSite, httpOnly, path, domain, partitioned } = context.options.cookie
  reply.header('set-cookie', reply.server.serializeCookie(name, value, {
    ...lifetime, path, secure, sameSite, httpOnly, ...domain !== undefined && { domain }, ...partitioned && { partitioned }
  }))
  keepPrivate(reply)
}
