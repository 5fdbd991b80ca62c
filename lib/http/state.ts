import type { FastifyRequest } from 'fastify'
import { isObject } from '../session/arguments.ts'
import { kState } from './context.ts'
import type { PluginContext, SessionRequest } from './context.ts'
import { RequestSession } from './request-session.ts'

/**
 * The request's session, made when first asked for. `willLoad`: the one who asks is about to load it;
 * whoever asks before that, on a request that carries a session, asks too early.
 * @throws TypeError for what is no request, or one of a context that has no sessions
 */
export function stateOf (context: PluginContext, request: FastifyRequest, options = { willLoad: false }): RequestSession {
  // A copy of a request has the one, but not the other, and none of its headers.
  if (!isObject(request) || !(kState in request && 'server' in request)) throw new TypeError('request must be a Fastify request of a context that the plugin is registered in')
  const holder = request as SessionRequest
  holder[kState] ??= new RequestSession(context, request, options)
  return holder[kState]
}
