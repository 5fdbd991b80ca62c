import type { FastifyReply, FastifyRequest } from 'fastify'
import { errors } from '../errors.ts'
import { cookieValues } from '../session/headers.ts'
import type { SessionRecord } from '../session/record.ts'
import type { Token } from '../session/token.ts'
import { kReply } from './context.ts'
import type { PluginContext, SessionRequest } from './context.ts'
import { keepPrivate } from './private-reply.ts'
import { liftHeaders } from './reply-head.ts'
import type { Head } from './reply-head.ts'

/** Whether the head of a request's reply has gone out: no cookie can be added to it. */
export function hasReplied (request: FastifyRequest): boolean {
  return (request as SessionRequest)[kReply]?.raw.headersSent === true
}

/**
 * @throws ERR_SESSION_INSECURE_CONNECTION when the browser would drop the cookie that has to be sent
 * @throws ERR_SESSION_UNSUPPORTED when the reply has gone without it
 */
export function assertCookieCanBeSet ({ options }: PluginContext, request: FastifyRequest): void {
  if (hasReplied(request)) throw new errors.UNSUPPORTED('a new session after the reply has gone: its cookie would be in none')
  if (options.cookie.secure && request.protocol !== 'https') throw new errors.INSECURE_CONNECTION()
}

/** How long a cookie lives that is set at this time; `null`: until the browser closes. */
function lifetimeMs ({ options }: PluginContext, { persistent, endsAt }: Pick<SessionRecord, 'persistent' | 'endsAt'>, setAt: number): number | null {
  return persistent ? Math.min(endsAt - setAt, options.cookieMaxAgeMs || Infinity) : null
}

/** How long a cookie lives, from when it was set and from now on, in milliseconds. */
export interface CookieLife {
  readonly totalMs: number
  readonly leftMs: number
}

/** Of the cookie of a request's session, or of one that would begin now; `null`: it lives until the browser closes. */
export function cookieLife (context: PluginContext, { record, isBorn }: { readonly record: SessionRecord | null, readonly isBorn: boolean }): CookieLife | null {
  const { core, options } = context
  const now = core.now()
  const session = record ?? { persistent: options.cookieMaxAgeMs !== false, endsAt: now + options.absoluteTimeoutMs, createdAt: now, lastSeenAt: now }
  // One that moved in this request is set by it; beside an Express app each use that is written down sets it.
  const setAt = isBorn || core.options.shared !== null ? session.lastSeenAt : session.createdAt
  const lifeFrom = (at: number): CookieLife | null => {
    const totalMs = lifetimeMs(context, session, at)
    return totalMs === null ? null : { totalMs, leftMs: at + totalMs - now }
  }
  const life = lifeFrom(setAt)
  // Over, and yet a request has brought it: it was set again, nobody knows when.
  return life !== null && life.leftMs <= 0 ? lifeFrom(now) : life
}

/** The `Set-Cookie` lines that send a session's token, and take back cookies under older names. */
export function sessionCookies (context: PluginContext, request: FastifyRequest, record: SessionRecord, token: Token): string[] {
  const { options, core } = context
  const lifeMs = lifetimeMs(context, record, core.now())
  const maxAge = lifeMs === null ? {} : { maxAge: Math.max(1, Math.round(lifeMs / 1000)) }
  const [name, ...older] = options.cookieNames as [string, ...string[]]
  return [line(context, request, name, core.credentials.sign(token), maxAge), ...takenBack(context, request, older)]
}

/** The `Set-Cookie` lines that take back every session cookie the request brought, and the one under today's name. */
export function clearingCookies (context: PluginContext, request: FastifyRequest): string[] {
  const [name, ...older] = context.options.cookieNames as [string, ...string[]]
  return [line(context, request, name, '', EXPIRED), ...takenBack(context, request, older)]
}

/** Puts `Set-Cookie` lines into a reply that Fastify will send. */
export function addCookies (reply: FastifyReply, lines: string[]): void {
  if (lines.length === 0) return
  for (const each of lines) reply.header('set-cookie', each)
  keepPrivate(reply)
}

/** Puts `Set-Cookie` lines into the head of a reply, at the last moment. */
export function addCookiesToHead (reply: FastifyReply, head: Head, lines: string[]): void {
  if (lines.length === 0) return
  const { raw } = reply
  liftHeaders(raw, head)
  raw.setHeader('set-cookie', [raw.getHeader('set-cookie') ?? [], lines].flat() as string[])
  // What is not there yet is taken from what Fastify would have sent.
  raw.setHeader('cache-control', 'no-store')
  if (raw.hasHeader('vary')) reply.header('vary', String(raw.getHeader('vary')))
  keepPrivate(reply)
}

function takenBack (context: PluginContext, request: FastifyRequest, names: string[]): string[] {
  return names
    .filter((name) => cookieValues(request.headers.cookie ?? '', name).length > 0)
    .map((name) => line(context, request, name, '', EXPIRED))
}

/** Whether a cookie client brought a cookie under one of our names, good or bad. */
export function hasSessionCookie ({ options, core }: PluginContext, request: FastifyRequest): boolean {
  const header = request.headers.cookie
  return header !== undefined && !core.credentials.isBearer(request.headers) && options.cookieNames.some((name) => cookieValues(header, name).length > 0)
}

const EXPIRED = { maxAge: 0, expires: new Date(0) }

/** The attributes are always today's configuration: a browser only takes a cookie back when path, domain and Secure are those it was set with. */
function line ({ options }: PluginContext, { server }: FastifyRequest, name: string, value: string, lifetime: { maxAge?: number, expires?: Date }): string {
  const { secure, sameSite, httpOnly, path, domain, partitioned } = options.cookie
  return server.serializeCookie(name, value, {
    ...lifetime, path, secure, sameSite, httpOnly, ...domain !== undefined && { domain }, ...partitioned && { partitioned }
  })
}
