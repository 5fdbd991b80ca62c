import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify'
import { requestIdText } from '../session/end-cause.ts'
import type { ResolvedOptions } from '../options/resolve.ts'
import type { SessionCore } from '../session/core.ts'
import type { DeviceBinding } from '../device/binding.ts'
import type { ForkDetection } from '../device/forks.ts'
import type { SessionManager } from '../session/manager.ts'
import type { Signature } from '../session/token.ts'
import type { RequestSession } from './request-session.ts'
import type { BuildSession } from './session-object.ts'
import type { StoredSession } from './stored-session.ts'

/** A request of any route and any server. Fastify's types of HTTP/1 do not fit those of HTTP/2. */
export type AnyRequest = FastifyRequest<any, any, any, any, any, any, any>
/** A reply of any route and any server. */
export type AnyReply = FastifyReply<any, any, any, any, any, any, any>

/** One registration of the plugin, as its requests share it. */
export interface PluginContext {
  readonly options: ResolvedOptions
  readonly core: SessionCore
  readonly sessions: SessionManager
  readonly log: FastifyBaseLogger
  /** Binds sessions to devices, and the path at which it does. `null`: none is bound. */
  readonly device: { readonly binding: DeviceBinding, readonly path: string } | null
  /** Notices sessions that two browsers hold. `null`: nothing does. */
  readonly forks: ForkDetection | null
  /** Signs the paths that people are sent back to. */
  readonly pathSignature: Signature
  /** Builds session objects. Set once @fastify/session is registered. */
  build: BuildSession
  /** Warnings given so far. */
  readonly warned: Set<string>
}

/** Logs a warning about what an application does wrong. Each is logged once. */
export function warnOnce ({ warned, log }: PluginContext, message: string): void {
  if (warned.has(message)) return
  warned.add(message)
  log.warn(message)
}

/** Name on the instance of the registration that routes mounted there belong to. */
export const kContext = Symbol('fastify-user-sessions.context')
/** Name on the request of its stored session, where it carries a credential or something asked for it. */
export const kStoredSession = Symbol('fastify-user-sessions.stored')
/** Name on the request of its session as its route sees it, once something asked for that. */
export const kRequestSession = Symbol('fastify-user-sessions.session')
/** Name on the request of its reply. */
export const kReply = Symbol('fastify-user-sessions.reply')

/** Who sends a request. */
export interface RequestClient {
  readonly ip: string
  readonly userAgent: string | null
  readonly requestId: string | null
}

/** A request as the inside of this package sees it. */
export type SessionRequest = FastifyRequest & {
  [kStoredSession]: StoredSession | null
  [kRequestSession]: RequestSession | null
  [kReply]: FastifyReply | null
}

/** A route's `config.session`, unless it is `false`. */
export interface RouteSessionConfig {
  /** `false`: the cross-site check leaves this route alone. */
  csrf?: boolean | undefined
  /**
   * `false`: a request to this route is no use of its session, which it reads and does not extend. For what a page asks
   * by itself. Changed data is stored all the same.
   */
  touch?: boolean | undefined
}

/** Returns who sends a request, as far as that is known. A client that has gone has an address only if it was noted. */
export function clientOf (request: FastifyRequest): RequestClient {
  const ip = (request as Partial<SessionRequest>)[kStoredSession]?.address ?? request.ip
  return { ip, requestId: requestIdText(request.id), userAgent: request.headers['user-agent'] ?? null }
}

/** Reads a route's `config.session`. `skip`: it is `false`. */
export function routeConfig (request: FastifyRequest): { skip: boolean, csrf: boolean, touch: boolean } {
  const session = (request.routeOptions.config as { session?: false | RouteSessionConfig } | undefined)?.session
  if (session === false) return { skip: true, csrf: true, touch: false }
  return { skip: false, csrf: session?.csrf !== false, touch: session?.touch !== false }
}
