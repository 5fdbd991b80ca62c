import type { FastifyBaseLogger, FastifyReply, FastifyRequest } from 'fastify'
import type { ResolvedOptions } from '../options/resolve.ts'
import type { SessionCore } from '../session/core.ts'
import type { SessionManager } from '../session/manager.ts'
import type { RequestSession } from './request-session.ts'
import type { BuildSession } from './session-object.ts'

/** What every request of one registration of the plugin shares. */
export interface PluginContext {
  readonly options: ResolvedOptions
  readonly core: SessionCore
  readonly sessions: SessionManager
  readonly log: FastifyBaseLogger
  /** Builds session objects. Set once @fastify/session is there. */
  build: BuildSession
  /** Warnings that were given: each is given once. */
  readonly warned: Set<string>
}

/** Warns of what an application does wrong, once. */
export function warnOnce ({ warned, log }: PluginContext, message: string): void {
  if (warned.has(message)) return
  warned.add(message)
  log.warn(message)
}

/** On the instance: the registration that routes mounted there belong to. */
export const kContext = Symbol('fastify-user-sessions.context')
/** On the request: its session, once something asked for it. */
export const kState = Symbol('fastify-user-sessions.state')
/** On the request: its reply. */
export const kReply = Symbol('fastify-user-sessions.reply')

/** A request as the inside of this package sees it. */
export type SessionRequest = FastifyRequest & { [kState]: RequestSession | null, [kReply]: FastifyReply | null }

/** What `config.session` of a route says. */
export interface RouteSessionConfig {
  /** `false`: the cross-site check leaves this route alone. */
  csrf?: boolean | undefined
}

/** The route's own word about sessions: `false`, or an object, or nothing. */
export function routeConfig (request: FastifyRequest): { skip: boolean, csrf: boolean } {
  const session = (request.routeOptions.config as { session?: false | RouteSessionConfig } | undefined)?.session
  return { skip: session === false, csrf: session === false || session?.csrf !== false }
}
