import type { FastifyReply, FastifyRequest } from 'fastify'
import { errors } from '../errors.ts'
import { cookieValues } from '../session/headers.ts'
import type { SessionRecord } from '../session/record.ts'
import type { Token } from '../session/token.ts'
import { plainHttp } from './advice.ts'
import { askingFor, REGISTRATION } from './device-asking.ts'
import { kReply } from './context.ts'
import type { PluginContext, SessionRequest } from './context.ts'
import { keepPrivate, liftHeaders, onHead } from './reply-head.ts'
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
  if (hasReplied(request)) {
    throw new errors.UNSUPPORTED('a new session after the reply has gone: its cookie would be in none')
  }
  if (!options.cookie.secure || request.protocol === 'https') return
  throw new errors.INSECURE_CONNECTION({ cause: plainHttp(request) })
}

/** How long a cookie lives, from when it was set and from now on, in milliseconds. */
export interface CookieLife {
  readonly totalMs: number
  readonly leftMs: number
}

/**
 * Returns how long the cookie lives of a request's session, or of one that would begin now; `null`: until the browser
 * closes. `isNew`: the session was begun by this request.
 */
export function cookieLife (
  context: PluginContext, { record, isNew }: { readonly record: SessionRecord | null, readonly isNew: boolean }
): CookieLife | null {
  const { core, options } = context
  const now = core.now()
  const session = record ?? {
    persistent: options.cookieMaxAgeMs !== false,
    endsAt: now + options.absoluteTimeoutMs,
    createdAt: now,
    lastSeenAt: now
  }
  // One that moved in this request is set by it; beside an Express app each use that is written down sets it.
  const setAt = isNew || core.options.shared !== null ? session.lastSeenAt : session.createdAt
  const lifeFrom = (at: number): CookieLife | null => {
    const totalMs = lifetimeMs(context, session, at)
    return totalMs === null ? null : { totalMs, leftMs: at + totalMs - now }
  }
  const life = lifeFrom(setAt)
  // Over, and yet a request has brought it: it was set again, nobody knows when.
  return life !== null && life.leftMs <= 0 ? lifeFrom(now) : life
}

/** Returns a request's session and its token, as they are when the cookie is written. */
type CurrentSession = () => { record: SessionRecord, token: Token, isNew: boolean } | null

/**
 * The change of the session cookie that a reply still has to carry. It goes out when Fastify sends the reply, or else
 * with the head, whoever writes that: a hijacked reply meets no hook.
 */
export class PendingCookie {
  readonly #context: PluginContext
  readonly #request: FastifyRequest
  readonly #session: CurrentSession
  #change: 'set' | 'clear' | null = null
  /** The reply has a session cookie already. */
  #isSent = false
  #watchesHead = false
  /** Header by which the browser is asked to bind the session to its device. */
  #asks: string | null = null
  #sentStatus: number | null = null

  constructor (context: PluginContext, request: FastifyRequest, session: CurrentSession) {
    this.#context = context
    this.#request = request
    this.#session = session
  }

  /** Has the client sent the session's token. */
  set (): void {
    this.#plan('set')
  }

  /** Has the client's cookie taken back, if there is one. */
  clear (): void {
    this.#plan(this.#isSent || hasSessionCookie(this.#context, this.#request) ? 'clear' : null)
  }

  get isPending (): boolean {
    return this.#change !== null
  }

  /** Puts the cookie into a reply that Fastify will send. */
  write (reply: FastifyReply): void {
    addCookies(reply, this.#takeLines())
  }

  /** Returns the status that the client sees: one that went out with a cookie, else the reply's of now. */
  statusOf (reply: FastifyReply): number {
    return this.#sentStatus ?? reply.statusCode
  }

  #plan (change: 'set' | 'clear' | null): void {
    this.#change = change
    const reply = (this.#request as SessionRequest)[kReply]
    if (reply === null || this.#watchesHead) return
    this.#watchesHead = true
    onHead(reply, (head) => {
      this.#sentStatus = head[0]
      addToHead(reply, head, this.#takeLines())
      if (this.#asks !== null) reply.raw.setHeader(REGISTRATION, this.#asks)
    })
  }

  /** Returns the `Set-Cookie` lines of the change, once. */
  #takeLines (): string[] {
    const change = this.#change
    const session = this.#session()
    this.#change = null
    if (change === 'clear') return clearingLines(this.#context, this.#request)
    if (change !== 'set' || session === null) return []
    this.#isSent = true
    this.#asks = session.isNew ? askingFor(this.#context, this.#request, session.record) : null
    return settingLines(this.#context, this.#request, session)
  }
}

/** Adds `Set-Cookie` lines to a reply. Those that somebody has put into its raw head stay: Fastify's replace them. */
export function addCookies (reply: FastifyReply, lines: string[]): void {
  if (lines.length === 0) return
  const all = [reply.getHeader('set-cookie') ?? [], lines].flat() as string[]
  reply.removeHeader('set-cookie').header('set-cookie', all)
  keepPrivate(reply)
}

/** Puts `Set-Cookie` lines into the head of a reply, at the last moment. */
export function addToHead (reply: FastifyReply, head: Head, lines: string[]): void {
  if (lines.length === 0) return
  const { raw } = reply
  liftHeaders(raw, head)
  raw.setHeader('set-cookie', [raw.getHeader('set-cookie') ?? [], lines].flat() as string[])
  // What is not there yet is taken from what Fastify would have sent.
  raw.setHeader('cache-control', 'no-store')
  if (raw.hasHeader('vary')) reply.header('vary', String(raw.getHeader('vary')))
  keepPrivate(reply)
}

/** Returns the `Set-Cookie` lines that send a session's token, and take back cookies under older names. */
function settingLines (
  context: PluginContext, request: FastifyRequest, { record, token }: { record: SessionRecord, token: Token }
): string[] {
  const { options, core } = context
  const lifeMs = lifetimeMs(context, record, core.now())
  const maxAge = lifeMs === null ? {} : { maxAge: Math.max(1, Math.round(lifeMs / 1000)) }
  const [name, ...older] = options.cookieNames as [string, ...string[]]
  const line = setCookieLine(context, request, { name, value: core.credentials.sign(token), ...maxAge })
  return [line, ...clearingLinesOf(context, request, older)]
}

/**
 * Returns the `Set-Cookie` lines that take back all session cookies of the request, and today's in any case. Without
 * its short cookie, a browser asks for another, and learns that the session has ended.
 */
function clearingLines (context: PluginContext, request: FastifyRequest): string[] {
  const [name, ...older] = context.options.cookieNames as [string, ...string[]]
  const others = [...older, ...context.device?.binding.cookieNames ?? [], ...context.forks?.cookieNames ?? []]
  return [setCookieLine(context, request, { name, ...EXPIRED }), ...clearingLinesOf(context, request, others)]
}

/** Returns the `Set-Cookie` lines that take back those of these cookies that a request carries. */
export function clearingLinesOf (
  context: PluginContext, request: FastifyRequest, names: readonly string[]
): string[] {
  return names
    .filter((name) => cookieValues(request.headers.cookie ?? '', name).length > 0)
    .map((name) => setCookieLine(context, request, { name, ...EXPIRED }))
}

/** Whether a cookie client brought a cookie under one of our names, good or bad. */
function hasSessionCookie ({ options, core }: PluginContext, request: FastifyRequest): boolean {
  const header = request.headers.cookie
  if (header === undefined || core.credentials.isBearer(request.headers)) return false
  return options.cookieNames.some((name) => cookieValues(header, name).length > 0)
}

/** Returns how long a cookie lives that is set at this time; `null`: until the browser closes. */
function lifetimeMs (
  { options }: PluginContext, { persistent, endsAt }: Pick<SessionRecord, 'persistent' | 'endsAt'>, setAt: number
): number | null {
  return persistent ? Math.min(endsAt - setAt, options.cookieMaxAgeMs || Infinity) : null
}

const EXPIRED = { value: '', maxAge: 0, expires: new Date(0) }

/** Returns a `Set-Cookie` line with the attributes of the session cookie. */
export function setCookieLine (
  { options }: PluginContext, { server }: FastifyRequest,
  { name, value, ...others }: { name: string, value: string, maxAge?: number, expires?: Date, httpOnly?: true }
): string {
  // Today's attributes always: a browser takes a cookie back only if path, domain and Secure are those it was set with.
  const { secure, sameSite, httpOnly, path, domain, partitioned } = options.cookie
  return server.serializeCookie(name, value, {
    path,
    secure,
    sameSite,
    httpOnly,
    ...others,
    ...domain !== undefined && { domain },
    ...partitioned && { partitioned }
  })
}
