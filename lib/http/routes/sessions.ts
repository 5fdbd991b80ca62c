import { Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import { errors } from '../../errors.ts'
import { requireAuth } from '../authenticate.ts'
import { stateOf } from '../state.ts'
import { ErrorReply, ListedSession, NoContent, RevokedReply, SessionParams } from './schemas.ts'
import { checked, contextOf, ignoreBodies, privateReplies, sameSiteOnly } from './shared.ts'

/** A word for @fastify/swagger, which Fastify's own types do not know. */
const HIDDEN = { hide: true }

const NAMES = ['prefix', 'logLevel', 'logSerializers']

/**
 * `GET /` the caller's sessions, `DELETE /:id` one of them, `DELETE /` all others. Register it after
 * `sessionPlugin`, in its context or below.
 */
export const sessionRoutes: FastifyPluginAsync = async (app, options) => {
  const unknown = checked('sessionRoutes', () => Object.keys(options)).filter((name) => !NAMES.includes(name))
  if (unknown.length > 0) throw new errors.INVALID_OPTIONS(unknown.map((name) => `sessionRoutes: ${name} is not an option`).join('; '))
  const context = contextOf(app, 'sessionRoutes')
  const { sessions } = context
  const onRequest = [sameSiteOnly(context)]
  privateReplies(app)
  ignoreBodies(app)

  app.get('/', {
    onRequest,
    schema: {
      summary: 'My sessions',
      response: { 200: Type.Array(ListedSession, { description: 'The caller\'s sessions, newest first.' }), 401: ErrorReply, 503: ErrorReply }
    }
  }, async (request, reply) => {
    const { id, userId } = requireAuth(context, request)
    const mine = await sessions.listByUser(userId)
    return reply.send(mine.map((session) => ({ ...session, device: session.userAgent, current: session.id === id })))
  })

  app.delete('/:id', {
    onRequest,
    schema: {
      summary: 'End one of my sessions',
      params: SessionParams,
      response: { 204: NoContent, 401: ErrorReply, 403: ErrorReply, 404: ErrorReply, 503: ErrorReply }
    }
  }, async (request, reply) => {
    const { id, userId } = requireAuth(context, request)
    // As the schema has it.
    const { id: which } = request.params as { id: string }
    // One's own goes as by a logout: its cookie with it.
    if (which === id) await stateOf(context, request).end()
    else if (!await sessions.revoke(which, { userId })) throw new errors.NOT_FOUND()
    return reply.code(204).send()
  })

  // What is too long for a parameter, or has slashes, is no session's id either; the router would repeat it.
  app.delete('/*', { onRequest, schema: { ...HIDDEN, response: { 404: ErrorReply } } }, async (request) => {
    requireAuth(context, request)
    throw new errors.NOT_FOUND()
  })

  app.delete('/', {
    onRequest,
    schema: {
      summary: 'End all my other sessions',
      response: { 200: RevokedReply, 401: ErrorReply, 403: ErrorReply, 503: ErrorReply }
    }
  }, async (request, reply) => {
    const { id, userId } = requireAuth(context, request)
    return reply.send({ revoked: await sessions.revokeUser(userId, { except: id }) })
  })
}
