import { Type } from '@sinclair/typebox'
import type { FastifyPluginAsync, FastifyRequest } from 'fastify'
import { errors } from '../../errors.ts'
import { requireAuth } from '../authenticate.ts'
import type { PluginContext } from '../context.ts'
import type { RequestAuth } from '../request-auth.ts'
import { assertRecent } from '../require-recent-login.ts'
import { stateOf } from '../state.ts'
import { useOwnCompilers } from './compilers.ts'
import { ErrorReply, ListedSession, NoContent, RevokedReply, SessionParams } from './schemas.ts'
import { checkSessionRoutesOptions } from './session-options.ts'
import type { SessionRoutesOptions } from './session-options.ts'
import { checked, contextOf, ignoreBodies, privateReplies, sameSiteOnly } from './shared.ts'

/** A word for @fastify/swagger, which Fastify's own types do not know. */
const HIDDEN = { hide: true }

const RECENT = 'may need a recent sign-in, and is 401 ERR_SESSION_REAUTH_REQUIRED without one.'

/**
 * `GET /` the caller's sessions, `DELETE /:id` one of them, `DELETE /` all others. Ending others than the one that asks
 * needs a recent sign-in. Register it after `sessionPlugin`, in its context or below.
 */
export const sessionRoutes: FastifyPluginAsync<SessionRoutesOptions> = async (app, options) => {
  const limits = checked('sessionRoutes', () => checkSessionRoutesOptions(options))
  const context = contextOf(app, 'sessionRoutes')
  const { sessions } = context
  const requireRecent = (request: FastifyRequest): RequestAuth => requireRecentAuth(context, request, limits)
  const onRequest = [sameSiteOnly(context)]
  await useOwnCompilers(app)
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
      description: `Ending another one than the one that asks ${RECENT}`,
      params: SessionParams,
      response: { 204: NoContent, 401: ErrorReply, 403: ErrorReply, 404: ErrorReply, 503: ErrorReply }
    }
  }, async (request, reply) => {
    // As the schema has it.
    const { id: which } = request.params as { id: string }
    // One's own goes as by a logout: its cookie with it.
    if (which === requireAuth(context, request).id) await stateOf(context, request).end()
    else if (!await sessions.revoke(which, { userId: requireRecent(request).userId })) throw new errors.NOT_FOUND()
    return reply.code(204).send()
  })

  // What is too long for a parameter, or has slashes, is no session's id either; the router would repeat it.
  app.delete('/*', { onRequest, schema: { ...HIDDEN, response: { 404: ErrorReply } } }, async (request) => {
    requireRecent(request)
    throw new errors.NOT_FOUND()
  })

  app.delete('/', {
    onRequest,
    schema: {
      summary: 'End all my other sessions',
      description: `It ${RECENT}`,
      response: { 200: RevokedReply, 401: ErrorReply, 403: ErrorReply, 503: ErrorReply }
    }
  }, async (request, reply) => {
    const { id, userId } = requireRecent(request)
    return reply.send({ revoked: await sessions.revokeUser(userId, { except: id }) })
  })
}

/** Who may end other sessions than the one that asks: else a stolen cookie could keep its owner out. */
function requireRecentAuth (context: PluginContext, request: FastifyRequest, { recentLoginMs, exemptBearer }: ReturnType<typeof checkSessionRoutesOptions>): RequestAuth {
  const auth = requireAuth(context, request)
  if (!exemptBearer || auth.kind !== 'bearer') assertRecent(context, auth, recentLoginMs)
  return auth
}
