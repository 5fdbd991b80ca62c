import type { FastifyRequest } from 'fastify'
import { isObject } from '../session/arguments.ts'
import { kState } from './context.ts'
import type { PluginContext, SessionRequest } from './context.ts'
import { RequestSession } from './request-session.ts'
import type { StateOptions } from './stored-session.ts'

/**
 * The request's session, made when first asked for.
 * @throws TypeError for what is no request, or one of a context that has no sessions
 */
export function stateOf (context: PluginContext, request: FastifyRequest, options: StateOptions = {}): RequestSession {
  if (!isRequest(request)) throw new TypeError('request must be a Fastify request of a context that the plugin is registered in')
  request[kState] ??= new RequestSession(context, request, options)
  return request[kState]
}

/** Whether a value is a request of a context that has sessions. What cannot be looked at is none. */
export function isRequest (request: unknown): request is SessionRequest {
  try {
    // A copy of a request has the one, but not the other, and none of its headers.
    return isObject(request) && kState in request && 'server' in request
  } catch {
    return false
  }
}
