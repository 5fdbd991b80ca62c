import type { FastifyRequest } from 'fastify'
import { errors } from '../errors.ts'
import { timeoutMs } from '../util/duration.ts'
import type { Duration } from '../util/duration.ts'
import type { AnyReply, AnyRequest, PluginContext } from './context.ts'
import type { RequestAuth } from './request-auth.ts'
import { reported, requestSessionOf } from './request-session.ts'

/** A hook that refuses a request, or lets it through. */
export type Authenticate = (request: AnyRequest, reply: AnyReply) => Promise<void>

/** Makes a hook for what needs a person who has signed in within this time. */
export type RequireRecentLogin = (within: Duration) => Authenticate

/**
 * Returns who is signed in, or `null`.
 * @throws ERR_SESSION_STORE_UNAVAILABLE when that cannot be told, ERR_SESSION_SKIPPED on a route without sessions
 */
export function authOf (context: PluginContext, request: FastifyRequest): RequestAuth | null {
  const session = requestSessionOf(context, request)
  const { auth } = session.stored
  return auth !== null && session.signsOut ? null : auth
}

/**
 * Returns who is signed in.
 * @throws ERR_SESSION_UNAUTHENTICATED when nobody is, ERR_SESSION_STORE_UNAVAILABLE when that cannot be told
 */
export function requireAuth (context: PluginContext, request: FastifyRequest): RequestAuth {
  const auth = authOf(context, request)
  if (auth === null) throw new errors.UNAUTHENTICATED()
  return auth
}

/** Makes the `authenticate` hook. */
export function authenticate (context: PluginContext): Authenticate {
  return guard(context, (request) => { requireAuth(context, request) })
}

/**
 * Makes a `requireRecentLogin` hook. It refuses with ERR_SESSION_UNAUTHENTICATED or ERR_SESSION_REAUTH_REQUIRED.
 * @throws TypeError when `within` is no duration
 */
export function requireRecentLogin (context: PluginContext, within: Duration): Authenticate {
  const withinMs = timeoutMs('requireRecentLogin', within, NaN)
  if (Number.isNaN(withinMs)) throw new TypeError('requireRecentLogin needs a duration such as \'10m\'')
  return guard(context, (request) => { assertRecent(context, requireAuth(context, request), withinMs) })
}

/** @throws ERR_SESSION_REAUTH_REQUIRED when the sign-in of a session is longer ago than this */
export function assertRecent (context: PluginContext, { authenticatedAt }: RequestAuth, withinMs: number): void {
  if (context.core.now() - authenticatedAt > withinMs) throw new errors.REAUTH_REQUIRED()
}

const PASSED = Promise.resolve()

/** Makes a hook that lets through whom `check` does not refuse. It may also be called by hand, and not awaited. */
function guard (context: PluginContext, check: (request: FastifyRequest) => void): Authenticate {
  return (request) => {
    try {
      check(request)
      return PASSED
    } catch (error) {
      return reported(context, request, async () => { throw error })
    }
  }
}
