import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyPluginAsync, FastifyRequest } from 'fastify'
import { errors } from '../../errors.ts'
import { finished } from '../../session/revocations.ts'
import { TIMED_OUT, withDeadline } from '../../util/deadline.ts'
import { REVOCATION_WAIT_MS } from '../../util/timings.ts'
import type { PluginContext } from '../context.ts'
import { assertRecent, requireAuth } from '../guards.ts'
import type { RequestAuth } from '../request-auth.ts'
import { requestSessionOf } from '../request-session.ts'
import { useOwnCompilers } from './compilers.ts'
import {
  errorReply, ListedSession, NoContent, Nobody, NotRecent, OtherSite, PageQuery, PendingReply, RevokedReply,
  SessionParams, Unavailable
} from './schemas.ts'
import { checkSessionRoutesOptions } from './session-options.ts'
import type { SessionRoutesOptions } from './session-options.ts'
import { checked, contextOf, ignoreBodies, privateReplies, sameSiteOnly } from './shared.ts'

/** Hides a route from @fastify/swagger's pages. Fastify's own types do not know it. */
const HIDDEN = { hide: true }

const NotTheirs = errorReply('`ERR_SESSION_NOT_FOUND`: there is none, or it is somebody else\'s.')

const RECENT = 'may need a recent sign-in, and is 401 ERR_SESSION_REAUTH_REQUIRED without one.'

/**
 * `GET /` the caller's sessions, page by page, `DELETE /:id` one of them, `DELETE /` all others. Ending others than
 * the one that asks needs a recent sign-in. Register it after `sessionPlugin`, in its context or below.
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

  addList(app, context, onRequest)

  app.delete('/:id', {
    onRequest,
    schema: {
      summary: 'End one of my sessions',
      description: `Ending another one than the one that asks ${RECENT}`,
      params: SessionParams,
      response: { 204: NoContent, 401: NotRecent, 403: OtherSite, 404: NotTheirs, 503: Unavailable }
    }
  }, async (request, reply) => {
    // As the schema has it.
    const { id: which } = request.params as { id: string }
    // One's own goes as by a logout: its cookie with it.
    if (which === requireAuth(request).id) await requestSessionOf(context, request).end()
    else if (!await sessions.revoke(which, { userId: requireRecent(request).userId })) throw new errors.NOT_FOUND()
    return reply.code(204).send()
  })

  // What is too long for a parameter, or has slashes, is no session's id either; the router would repeat it.
  app.delete('/*', { onRequest, schema: { ...HIDDEN, response: { 404: NotTheirs } } }, async (request) => {
    requireRecent(request)
    throw new errors.NOT_FOUND()
  })

  app.delete('/', {
    onRequest,
    schema: {
      summary: 'End all my other sessions',
      description: `It ${RECENT}`,
      response: { 200: RevokedReply, 202: PendingReply, 401: NotRecent, 403: OtherSite, 503: Unavailable }
    }
  }, async (request, reply) => {
    const { id, userId } = requireRecent(request)
    const revocation = context.core.endByUser(userId, id)
    const revoked = await withDeadline(revocation.done, REVOCATION_WAIT_MS)
    if (revoked !== TIMED_OUT) return reply.send({ revoked })
    if (revocation.steps === 0) return reply.send({ revoked: await finished(revocation) })
    return reply.code(202).send({ revoked: revocation.ended, pending: true })
  })
}

type OnRequest = Array<ReturnType<typeof sameSiteOnly>>

function addList (app: FastifyInstance, context: PluginContext, onRequest: OnRequest): void {
  app.get('/', {
    onRequest,
    schema: {
      summary: 'My sessions',
      querystring: PageQuery,
      response: {
        200: Type.Array(ListedSession, {
          description: 'The caller\'s sessions, newest first. Where there may be more, the header Link says where.'
        }),
        400: errorReply('The query does not fit its schema.'),
        401: Nobody,
        503: Unavailable
      }
    }
  }, async (request, reply) => {
    const { id, userId } = requireAuth(request)
    // As the schema has it.
    const { limit, before } = request.query as PageQuery
    const mine = await context.sessions.listByUser(userId, { limit, before: placeOf(before) })
    const last = mine.at(-1)
    if (last !== undefined && mine.length === limit) {
      void reply.header('link', `<?limit=${limit}&before=${last.createdAt}.${last.id}>; rel="next"`)
    }
    return reply.send(mine.map((session) => ({ ...session, device: session.userAgent, current: session.id === id })))
  })
}

/** Requires a recent login for ending others than one's own session: else a stolen cookie could keep its owner out. */
function requireRecentAuth (
  context: PluginContext, request: FastifyRequest,
  { recentLoginMs, exemptBearer }: ReturnType<typeof checkSessionRoutesOptions>
): RequestAuth {
  const auth = requireAuth(request)
  if (!exemptBearer || auth.kind !== 'bearer') assertRecent(context, auth, recentLoginMs)
  return auth
}

/** Parses `before`: the time at which a session began, and its id. */
function placeOf (before: string | undefined): { id: string, createdAt: number } | undefined {
  if (before === undefined) return undefined
  const dot = before.indexOf('.')
  return { createdAt: Number(before.slice(0, dot)), id: before.slice(dot + 1) }
}
