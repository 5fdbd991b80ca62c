import type { FastifyInstance, FastifyRequest } from 'fastify'
import { errors } from '../../errors.ts'
import { kContext } from '../context.ts'
import type { PluginContext } from '../context.ts'
import { assertSameSite } from '../cross-site.ts'
import { keepPrivate } from '../reply-head.ts'

/**
 * Returns the registration of the plugin that routes mounted here belong to.
 * @throws ERR_SESSION_INVALID_OPTIONS outside of the plugin's context
 */
export function contextOf (app: FastifyInstance, routes: string): PluginContext {
  const context = (app as { [kContext]?: PluginContext })[kContext]
  if (context === undefined) {
    throw new errors.INVALID_OPTIONS(`${routes} must be registered after sessionPlugin, in its context or below`)
  }
  return context
}

/**
 * Checks options of routes.
 * @throws ERR_SESSION_INVALID_OPTIONS also where a getter or a proxy among them throws
 */
export function checked<T> (routes: string, check: () => T): T {
  try {
    return check()
  } catch (error) {
    if (error instanceof errors.INVALID_OPTIONS) throw error
    throw new errors.INVALID_OPTIONS(`${routes}: options cannot be read`, { cause: error })
  }
}

/** Makes an `onRequest` hook that refuses what pages of other sites send, also without a session cookie. */
export function sameSiteOnly (context: PluginContext) {
  return async (request: FastifyRequest): Promise<void> => { assertSameSite(context, request) }
}

/** Forbids caches to keep the replies of a scope, which are about one person, errors too (ASVS 5.0 14.3.2). */
export function privateReplies (scope: FastifyInstance): void {
  scope.addHook('onSend', (_request, reply, payload, done) => {
    keepPrivate(reply)
    done(null, payload)
  })
}

/** Has the routes of a scope read no body, whatever a client sends: empty JSON, or a form. */
export function ignoreBodies (scope: FastifyInstance): void {
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('*', (_request, payload, done) => {
    payload.resume()
    done(null)
  })
}
