import type { FastifyRequest } from 'fastify'
import { errors } from '../errors.ts'
import { assertFunction } from '../session/arguments.ts'
import { LoginAttempt } from '../session/attempts.ts'
import type { AttemptLimits } from '../session/attempts.ts'
import type { LoginFailure } from '../session/events.ts'
import { networkOf } from '../session/network.ts'
import { clientOf } from './context.ts'
import type { AnyRequest, PluginContext } from './context.ts'
import { requestSessionOf, storedSessionOf } from './request-session.ts'

/**
 * Checks a login under the limits on failed logins: `app.attemptLogin`. `account`: the text that was typed in as the
 * user's name, whether there is such a user or not; `null`: only the network counts.
 */
export type AttemptLogin = <T>(
  request: AnyRequest, account: string | number | bigint | null | undefined, verify: () => T | Promise<T>
) => Promise<T>

interface AttemptOptions {
  /** Default: those of the plugin's option `attempts`. */
  limits?: AttemptLimits | null
  /** Status of an error that has none. Default 400. */
  defaultStatus?: number
}

/**
 * Runs `verify` if fewer logins have failed than the limits allow, and resolves with its result. The login counts as
 * failed from before `verify` runs until it has succeeded. An error is a failed login, too, unless its status says
 * that it is the server's: a wrong code may well be thrown.
 *
 * That it has succeeded is noted while the application goes on; the reply waits for that. Where the store cannot note
 * it, the login counts as one that has failed.
 *
 * @throws TypeError when `verify` is no function: nothing is counted then
 * @throws ERR_SESSION_TOO_MANY_ATTEMPTS: `verify` was not run
 * @throws ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL: `verify` was not run
 */
export async function attemptLogin<T> (
  context: PluginContext, request: FastifyRequest, account: unknown, verify: () => T | Promise<T>,
  { limits = context.options.attempts, defaultStatus = 400 }: AttemptOptions = {}
): Promise<T> {
  assertFunction(verify, 'verify')
  const { core } = context
  const { budget } = storedSessionOf(context, request)
  // Who leaves while the password is checked has no address any more.
  const client = clientOf(request)
  const network = networkOf(client.ip)
  const attempt = new LoginAttempt(core.options.counters, { account, network, limits })
  const emitFailure = (reason: LoginFailure['reason']): void => {
    const limit = reason === 'limit' ? attempt.refusedBy : null
    core.events.emitFailure({ network, at: Math.floor(core.now()), reason, limit }, { ...client, account })
  }
  try {
    // One that comes after the deadline was answered 503: it counts for nothing.
    await budget.within(attempt.reserve(), () => { attempt.giveBack().catch(() => {}) })
  } catch (error) {
    if (error instanceof errors.TOO_MANY_ATTEMPTS) emitFailure('limit')
    throw error
  }
  let result: T
  try {
    result = await verify()
  } catch (error) {
    if (statusOf(error, defaultStatus) < 500) emitFailure('credentials')
    else await budget.within(attempt.giveBack()).catch(() => {})
    throw error
  }
  if (result) requestSessionOf(context, request).outcomes.alongside(budget.within(attempt.succeed()))
  else emitFailure('credentials')
  return result
}

function statusOf (error: unknown, byDefault: number): number {
  const { statusCode, status = byDefault } = (error ?? {}) as { statusCode?: unknown, status?: unknown }
  return Number(statusCode ?? status)
}
