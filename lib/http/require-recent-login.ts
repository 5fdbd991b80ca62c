import type { FastifyReply, FastifyRequest } from 'fastify'
import { timeoutMs } from '../duration.ts'
import type { Duration } from '../duration.ts'
import { errors } from '../errors.ts'
import { requireAuth } from './authenticate.ts'
import type { PluginContext } from './context.ts'

export type RequireRecentLogin = (within: Duration) => (request: FastifyRequest, reply: FastifyReply) => Promise<void>

/**
 * A `preHandler` or `onRequest` for what needs a person who has proved who they are within this time.
 * @throws TypeError for what is no duration; as a hook ERR_SESSION_UNAUTHENTICATED, ERR_SESSION_REAUTH_REQUIRED
 */
export function requireRecentLogin (context: PluginContext, within: Duration): ReturnType<RequireRecentLogin> {
  const withinMs = timeoutMs('requireRecentLogin', within, NaN)
  if (Number.isNaN(withinMs)) throw new TypeError('requireRecentLogin needs a duration such as \'10m\'')
  return async (request) => {
    if (context.core.now() - requireAuth(context, request).authenticatedAt > withinMs) throw new errors.REAUTH_REQUIRED()
  }
}
