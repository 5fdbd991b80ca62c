import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Credential } from '../session/credentials.ts'
import { kReply, kState, routeConfig } from './context.ts'
import type { PluginContext, SessionRequest } from './context.ts'
import { assertSameSite, opensWebSocket } from './cross-site.ts'
import { stateOf } from './state.ts'
import { WaitingPayload } from './waiting-payload.ts'

/**
 * What happens to every request: its session is loaded if it carries a cookie that verifies, and stored
 * when the reply goes out if anything changed. Neither costs a request without a cookie anything.
 */
export function addHooks (app: FastifyInstance, context: PluginContext): void {
  // Both hooks answer at once when there is nothing to wait for, and with a promise when there is:
  // Fastify catches what the rest of the request throws behind a promise of a hook, not behind a callback.
  app.addHook('onRequest', (request, reply, done) => {
    (request as SessionRequest)[kReply] = reply
    if (request.headers.cookie === undefined && request.headers.authorization === undefined) return done()
    if (routeConfig(request).skip) return done()
    const credential = admitted(context, request)
    if (credential === null) return done()
    const { stored } = stateOf(context, request, { willLoad: true })
    const loading = stored.load(credential)
    // Its reply is over when the socket closes; it is used now.
    if (opensWebSocket(request)) return Promise.resolve(loading).then(() => stored.touchIfDue())
    if (loading !== undefined) return loading
    done()
  })

  app.addHook('onSend', (request, reply, payload, done) => {
    const state = (request as SessionRequest)[kState]
    // Fastify waits for none of them: the one that waits is the reply.
    if (state?.waiting != null) return state.waiting.replace(payload)
    const work = state?.settle(reply)
    if (state === null || work === undefined) {
      state?.stored.writeCookie(reply)
      return done(null, payload)
    }
    const waiting = state.waiting = new WaitingPayload(payload)
    return work.finally(() => {
      state.waiting = null
      state.stored.writeCookie(reply)
    }).then(() => waiting.release(), (error: unknown) => {
      waiting.destroy()
      throw error
    })
  })

  app.addHook('onResponse', (request, reply, done) => {
    (request as SessionRequest)[kState]?.close(reply)
    done()
  })
}

/**
 * The credential of a request, if it may use that.
 * @throws ERR_SESSION_CSRF_REJECTED, ERR_SESSION_AMBIGUOUS_CREDENTIALS; nobody is signed in by such a request
 */
function admitted (context: PluginContext, request: FastifyRequest): Credential | null {
  try {
    const credential = context.core.credentials.read(request.headers)
    if (credential !== null) assertSameSite(context, request)
    return credential
  } catch (refusal) {
    stateOf(context, request, { refusal: refusal as Error })
    throw refusal
  }
}
