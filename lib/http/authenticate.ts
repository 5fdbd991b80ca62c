import type { FastifyRequest } from 'fastify'
import { errors } from '../errors.ts'
import type { AnyReply, AnyRequest } from './any-server.ts'
import type { PluginContext } from './context.ts'
import type { RequestAuth } from './request-auth.ts'
import { stateOf } from './state.ts'

export type Authenticate = (request: AnyRequest, reply: AnyReply) => Promise<void>

/**
 * Who is signed in, or `null`.
 * @throws ERR_SESSION_STORE_UNAVAILABLE when that cannot be told, ERR_SESSION_SKIPPED on a route without sessions
 */
export function authOf (context: PluginContext, request: FastifyRequest): RequestAuth | null {
  const state = stateOf(context, request)
  const { auth } = state.stored
  return auth !== null && state.signsOut ? null : auth
}

/** @throws ERR_SESSION_UNAUTHENTICATED when nobody is signed in, ERR_SESSION_STORE_UNAVAILABLE when that cannot be told */
export function requireAuth (context: PluginContext, request: FastifyRequest): RequestAuth {
  const auth = authOf(context, request)
  if (auth === null) throw new errors.UNAUTHENTICATED()
  return auth
}
