import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { errors } from '../../errors.ts'
import { warnOnce } from '../context.ts'
import type { PluginContext } from '../context.ts'
import { authOf } from '../guards.ts'
import { requestSessionOf } from '../request-session.ts'
import type { AdminGuard } from './admin-options.ts'

const VERDICT = 'a guard of adminRoutes has returned true or false: it must refuse by an error or a reply, and' +
  ' return nothing'
const WAITS = 'a guard of adminRoutes is not async, and has not called back: its requests wait until it does'

/** Whether something is a promise, or a reply, which Fastify waits for as well. */
function isThenable (value: unknown): value is PromiseLike<unknown> {
  return typeof (value as Partial<PromiseLike<unknown>> | null | undefined)?.then === 'function'
}

/**
 * Puts guards in front of every route of a scope. Nothing of a route runs before all of them let the request pass. A
 * guard that sends a reply, and that nobody waits for, has refused it as well: Fastify alone would go on, and end the
 * session while the client is told that it may not.
 */
export function guardAll (scope: FastifyInstance, context: PluginContext, guards: readonly AdminGuard[]): void {
  const replied = new WeakSet<FastifyReply>()
  scope.addHook('onRequest', (_request, reply, done) => {
    const { send } = reply
    // Fastify knows of a reply only once its last byte is written, which is after all hooks.
    reply.send = function (...payload) {
      replied.add(reply)
      return send.apply(reply, payload)
    }
    done()
  })
  scope.addHook('preHandler', async (request, reply) => {
    assertThemselves(context, request)
    for (const guard of guards) {
      await passed(guard, { context, request, reply })
      // A guard of this package that was called by hand, and not awaited.
      const session = requestSessionOf(context, request)
      const refusal = await session.outcomes.unreported()
      if (refusal !== null) throw refusal.error
      if (replied.has(reply) || session.turnedAwayTo !== null) return await new Promise(() => {})
    }
  })
}

/**
 * Refuses who acts as somebody else, before a guard could take them for that one.
 * @throws ERR_SESSION_IMPERSONATED
 */
function assertThemselves (context: PluginContext, request: FastifyRequest): void {
  if ((authOf(context, request)?.actor ?? null) !== null) throw new errors.IMPERSONATED()
}

/** What a guard is asked about. */
interface Asked { context: PluginContext, request: FastifyRequest, reply: FastifyReply }

/**
 * Waits until a guard lets a request pass. Rejects with its refusal. A guard that neither returns a promise nor calls
 * back lets nobody pass: how many parameters it declares does not say whether it still calls back.
 */
async function passed (guard: AdminGuard, { context, request, reply }: Asked): Promise<void> {
  const verdict = await new Promise<unknown>((resolve, reject) => {
    let calledBack = false
    const done = (error?: unknown): void => {
      calledBack = true
      if (error == null) resolve(undefined)
      else reject(error)
    }
    const result = guard.call(request.server, request, reply, done)
    if (isThenable(result)) result.then(resolve, reject)
    else if (guard.length < 3 && typeof result === 'boolean') resolve(result)
    else if (guard.length < 3 && !calledBack) warnOnce(context, WAITS)
  })
  if (typeof verdict === 'boolean') throw new TypeError(VERDICT)
}
