import type { FastifyReply, FastifyRequest } from 'fastify'
import { errors } from '../errors.ts'
import { assertMembers } from '../session/arguments.ts'
import { methodNames } from '../session/sign-in.ts'
import { timeoutMs } from '../util/duration.ts'
import type { Duration } from '../util/duration.ts'
import { REFUSALS } from '../session/refusals.ts'
import type { Refusal } from '../session/refusals.ts'
import { kRequestSession } from './context.ts'
import type { AnyReply, AnyRequest, PluginContext, SessionRequest } from './context.ts'
import type { RequestAuth } from './request-auth.ts'
import { registrationOf, reported, storedSessionOf } from './request-session.ts'

/*
 * The guards are the same functions where they are imported and where they are on the application. Each finds the
 * registration of the plugin by the request, so they can be named before there is one.
 */

/** A hook that refuses a request, or lets it through. */
export type Authenticate = (request: AnyRequest, reply: AnyReply) => Promise<void>

/** Options of `requireRecentLogin`. */
export interface RecentLoginOptions {
  /**
   * Methods by which the user has to have signed in, all of them: at most ten names, as `methods` of `app.login` has
   * them. Default: any will do.
   * @see [A second factor](docs/guides/signing-in.md#ask-for-a-second-factor)
   */
  methods?: readonly string[] | undefined
}

/** Makes a hook for what needs a person who has signed in within this time, and by these methods. */
export type RequireRecentLogin = (within: Duration, options?: RecentLoginOptions) => Authenticate

/**
 * Returns who is signed in, or `null`.
 * @throws ERR_SESSION_STORE_UNAVAILABLE when that cannot be told, ERR_SESSION_SKIPPED on a route without sessions
 */
export function authOf (context: PluginContext, request: FastifyRequest): RequestAuth | null {
  const { auth } = storedSessionOf(context, request)
  const { [kRequestSession]: session } = request as SessionRequest
  return auth !== null && session?.signsOut === true ? null : auth
}

/** Returns who is signed in, or refuses the request. Throws as `requireAuth` does. */
function authOrRefusal (context: PluginContext, request: FastifyRequest): RequestAuth {
  const auth = authOf(context, request)
  if (auth !== null) return auth
  explainNobody(context, request)
  throw unauthenticated(context, request)
}

/**
 * Makes the error of a request by which nobody is signed in. It says how the session ended, or that its device is
 * missing, where that is known.
 */
export function unauthenticated (context: PluginContext, request: FastifyRequest): Error {
  const { ended, withheld } = storedSessionOf(context, request)
  if (withheld === 'device-mismatch') return new errors.DEVICE_MISMATCH()
  if (withheld === 'not-bound') return new errors.DEVICE_BOUND_REQUIRED()
  const error = new errors.UNAUTHENTICATED()
  if (ended !== null) error.extensions.ended = ended.reason
  return error
}

/**
 * Returns who is signed in, in handlers and resolvers. It is `request.requireAuth()`.
 * @throws ERR_SESSION_UNAUTHENTICATED when nobody is, ERR_SESSION_STORE_UNAVAILABLE when that cannot be told
 * @throws ERR_SESSION_SKIPPED where `sessionPlugin` is not registered, TypeError for what is no request
 */
export const requireAuth: (request: AnyRequest) => RequestAuth = (request, ...others: unknown[]) => {
  const auth = authOrRefusal(registrationOf(request), request)
  // Given as a hook, in place of `authenticate`: Fastify waits for one that returns no promise to call back.
  const done = others.at(-1)
  if (typeof done === 'function') done()
  return auth
}

/**
 * A `preHandler` or `onRequest` that lets only signed-in requests pass. Others get 401 `ERR_SESSION_UNAUTHENTICATED`.
 * It is `app.authenticate`, and can be named before there is an application.
 * @throws ERR_SESSION_SKIPPED where `sessionPlugin` is not registered
 */
export const authenticate: Authenticate = guard((context, request) => { authOrRefusal(context, request) })

/**
 * Makes a `preHandler` that lets only those pass who signed in within a time: `requireRecentLogin('10m')`, and by these
 * methods: `requireRecentLogin('5m', { methods: ['otp'] })`. Others get 401 `ERR_SESSION_UNAUTHENTICATED` or
 * `ERR_SESSION_REAUTH_REQUIRED`, which has `methods` in its `extensions`. Who acts as a user gets 403
 * `ERR_SESSION_IMPERSONATED`. It is `app.requireRecentLogin`, and can be called before there is an application. The
 * hook throws ERR_SESSION_SKIPPED where `sessionPlugin` is not registered.
 * @throws TypeError when `within` is no duration, or an option is wrong
 */
export const requireRecentLogin: RequireRecentLogin = (within, options = {}) => {
  const withinMs = timeoutMs('requireRecentLogin', within, NaN)
  if (Number.isNaN(withinMs)) throw new TypeError('requireRecentLogin needs a duration such as \'10m\'')
  assertMembers(options, 'options', ['methods'])
  const { methods: given } = options
  const methods = given === undefined ? [] : methodNames(given)
  if (given !== undefined && methods.length === 0) throw new TypeError('methods must name one, or be left out')
  return guard((context, request) => { assertRecent(context, request, { withinMs, methods }) })
}

/**
 * A `preHandler` or `onRequest` for what a stolen cookie must not do: it lets only requests pass that show the device
 * to which their session is bound. Others get 401 `ERR_SESSION_UNAUTHENTICATED` or `ERR_SESSION_DEVICE_MISMATCH`, or
 * 403 `ERR_SESSION_DEVICE_BOUND_REQUIRED`: also bearer clients, and browsers that cannot do it. It is
 * `app.requireDeviceBound`, and can be named before there is an application.
 * @throws ERR_SESSION_UNSUPPORTED without the option `deviceBound`: nobody would pass
 * @throws ERR_SESSION_SKIPPED where `sessionPlugin` is not registered
 */
export const requireDeviceBound: Authenticate = guard((context, request) => {
  if (context.device === null) throw new errors.UNSUPPORTED('requireDeviceBound without the option deviceBound')
  if (authOrRefusal(context, request).deviceBound) return
  explain(request, () => ({ reason: 'not-bound' }))
  throw new errors.DEVICE_BOUND_REQUIRED()
})

/**
 * Requires a sign-in of this time, and by these methods. `methods`: none, where any will do.
 * @throws ERR_SESSION_UNAUTHENTICATED when nobody is signed in
 * @throws ERR_SESSION_IMPERSONATED when somebody acts as the user
 * @throws ERR_SESSION_REAUTH_REQUIRED when the sign-in is another, or two browsers use the session
 */
export function assertRecent (
  context: PluginContext, request: FastifyRequest,
  { withinMs, methods = [] }: { withinMs: number, methods?: readonly string[] }
): void {
  const auth = authOrRefusal(context, request)
  if (auth.actor !== null) {
    explain(request, () => ({ reason: 'impersonated' }))
    throw new errors.IMPERSONATED()
  }
  const isForked = storedSessionOf(context, request).hasToSignInAgain
  const isRecent = context.core.now() - auth.authenticatedAt <= withinMs
  if (!isForked && isRecent && methods.every((method) => auth.methods.includes(method))) return
  explain(request, () => ({ reason: isForked ? 'forked' : isRecent ? 'missing-methods' : 'old-sign-in' }))
  const error = new errors.REAUTH_REQUIRED()
  if (methods.length > 0) error.extensions.methods = [...methods]
  throw error
}

/** Logs at `debug` why nobody is signed in by a request, where a guard refuses it or sends it to the login page. */
export function explainNobody (context: PluginContext, request: FastifyRequest): void {
  explain(request, () => storedSessionOf(context, request).whyNobody())
}

/** Logs at `debug` why a guard refuses a request. The reason is looked for only where the log shows it. */
function explain ({ log }: FastifyRequest, find: () => Refusal): void {
  // Not every logger can say what it shows.
  const { isLevelEnabled } = log as { isLevelEnabled?: (level: string) => boolean }
  if (isLevelEnabled?.call(log, 'debug') === false) return
  const refusal = find()
  log.debug(refusal, REFUSALS[refusal.reason])
}

const PASSED = Promise.resolve()

/** Refuses a request by throwing, or by a reply: then it returns a promise that does not resolve. */
type Check = (context: PluginContext, request: FastifyRequest, reply: FastifyReply) => Promise<never> | void

/**
 * Makes a hook that lets through whom `check` does not refuse. It may also be called by hand, and not awaited. Where
 * no reply could tell of a failure, it throws: nobody would hear of a promise.
 */
export function guard (check: Check): Authenticate {
  // Fastify's callback is left alone: a wrapper that passes its arguments on is to have its own say after this.
  return (request, reply) => {
    const context = registrationOf(request)
    try {
      return check(context, request, reply) ?? PASSED
    } catch (error) {
      return reported(context, request, async () => { throw error })
    }
  }
}
