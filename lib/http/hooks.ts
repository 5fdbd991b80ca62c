import type { Readable } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { kReplied, kState, routeConfig } from './context.ts'
import type { PluginContext, SessionRequest } from './context.ts'
import { assertSameSite, opensWebSocket } from './cross-site.ts'
import { stateOf } from './state.ts'

/**
 * What happens to every request: its session is loaded if it carries a cookie that verifies, and stored
 * when the reply goes out if anything changed. Neither costs a request without a cookie anything.
 */
export function addHooks (app: FastifyInstance, context: PluginContext): void {
  let warned = false

  // Both hooks answer at once when there is nothing to wait for, and with a promise when there is:
  // Fastify catches what the rest of the request throws behind a promise of a hook, not behind a callback.
  app.addHook('onRequest', (request, _reply, done) => {
    if (request.headers.cookie === undefined && request.headers.authorization === undefined) return done()
    if (routeConfig(request).skip) return done()
    const credential = context.core.credentials.read(request.headers)
    if (credential === null) return done()
    assertSameSite(context, request)
    const { stored } = stateOf(context, request, { willLoad: true })
    const loading = stored.load(credential)
    // Its reply is over when the socket closes; it is used now.
    if (opensWebSocket(request)) return Promise.resolve(loading).then(() => stored.touchIfDue())
    if (loading !== undefined) return loading
    done()
  })

  app.addHook('onSend', (request, reply, payload, done) => {
    const state = (request as SessionRequest)[kState]
    const work = state?.settle(reply)
    const finish = (): void => {
      state?.stored.writeCookie(reply)
      ;(request as SessionRequest)[kReplied] = true
    }
    if (work === undefined) {
      finish()
      return done(null, payload)
    }
    const stream = watch(payload)
    return work.finally(finish).then(() => {
      if (stream?.failure !== undefined) throw stream.failure
    }, (error: unknown) => {
      // An error is sent in its place.
      stream?.destroy()
      throw error
    })
  })

  // Where Fastify did not send the reply (reply.hijack()), the hook above never ran.
  app.addHook('onResponse', (request, reply, done) => {
    const state = (request as SessionRequest)[kState]
    if (state !== null && reply.sent) {
      const { hasUnsaved } = state
      if (!warned && hasUnsaved) {
        warned = true
        request.log.warn('request.session was changed in a request whose reply is hijacked: nothing is saved without request.session.save()')
      }
      void state.stored.touchIfDue()
      // A later hook may have made an error of the reply: whom it signed in is not, though the cookie has gone out.
      if (reply.statusCode >= 400 && !hasUnsaved) state.settle(reply)?.catch(() => {})
    }
    done()
  })
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
