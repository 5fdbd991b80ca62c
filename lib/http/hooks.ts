import type { Readable } from 'node:stream'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Credential } from '../session/credentials.ts'
import { kReply, kState, routeConfig } from './context.ts'
import type { PluginContext, SessionRequest } from './context.ts'
import { assertSameSite, opensWebSocket } from './cross-site.ts'
import { stateOf } from './state.ts'

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
    // Another reply is on its way. Fastify waits for none, so this one is left here.
    if (state?.isSettling === true) {
      watch(payload)?.destroy()
      return
    }
    const work = state?.settle(reply)
    if (work === undefined) {
      state?.stored.writeCookie(reply)
      return done(null, payload)
    }
    const stream = watch(payload)
    return work.finally(() => state?.stored.writeCookie(reply)).then(() => {
      if (stream?.failure !== undefined) throw stream.failure
    }, (error: unknown) => {
      // An error is sent in its place.
      stream?.destroy()
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

/**
 * Fastify listens to a stream's errors only after its hooks: until then an error would be nobody's,
 * and end the process. Holds what went wrong so far.
 */
function watch (payload: unknown): { failure: Error | undefined, destroy: () => void } | null {
  const stream = payload as Partial<Readable> | null
  if (typeof stream?.pipe !== 'function' || typeof stream.once !== 'function') return null
  const watched = { failure: undefined as Error | undefined, destroy: () => { stream.destroy?.() } }
  stream.once('error', (error: Error) => { watched.failure = error })
  return watched
}
