import type { FastifyRequest } from 'fastify'
import { kState } from './context.ts'
import type { PluginContext, SessionRequest } from './context.ts'
import { RequestSession } from './request-session.ts'

/**
 * The request's session, made when first asked for. `willLoad`: the one who asks is about to load it;
 * whoever asks before that, on a request that carries a session, asks too early.
 */
export function stateOf (context: PluginContext, request: FastifyRequest, options = { willLoad: false }): RequestSession {
  const holder = request as SessionRequest
  holder[kState] ??= new RequestSession(context, request, options)
  return holder[kState]
}
