import type { FastifyRequest } from 'fastify'
import { kState } from './context.ts'
import type { PluginContext, SessionRequest } from './context.ts'
import { RequestSession } from './request-session.ts'

/** The request's session, made when first asked for. */
export function stateOf (context: PluginContext, request: FastifyRequest): RequestSession {
  const holder = request as SessionRequest
  holder[kState] ??= new RequestSession(context, request)
  return holder[kState]
}
