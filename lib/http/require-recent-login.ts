import type { FastifyRequest } from 'fastify'
import { timeoutMs } from '../util/duration.ts'
import type { Duration } from '../util/duration.ts'
import { errors } from '../errors.ts'
import { requireAuth } from './authenticate.ts'
import type { Authenticate } from './authenticate.ts'
import type { PluginContext } from './context.ts'
import type { RequestAuth } from './request-auth.ts'

export type RequireRecentLogin = (within: Duration) => Authenticate

/**
 * Checks for what needs a person who has proved who they are within this time.
 * @throws TypeError for what is no duration; as a check ERR_SESSION_UNAUTHENTICATED, ERR_SESSION_REAUTH_REQUIRED
 */
export function requireRecentLogin (context: PluginContext, within: Duration): (request: FastifyRequest) => void {
  const withinMs = timeoutMs('requireRecentLogin', within, NaN)
  if (Number.isNaN(withinMs)) throw new TypeError('requireRecentLogin needs a duration such as \'10m\'')
  return (request) => { assertRecent(context, requireAuth(context, request), withinMs) }
}

/** @throws ERR_SESSION_REAUTH_REQUIRED when the sign-in of a session is longer ago */
export function assertRecent (context: PluginContext, { authenticatedAt }: RequestAuth, withinMs: number): void {
  if (context.core.now() - authenticatedAt > withinMs) throw new errors.REAUTH_REQUIRED()
}
