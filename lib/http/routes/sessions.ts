import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyPluginAsync, FastifyRequest } from 'fastify'
import { errors } from '../../errors.ts'
import type { EndCause } from '../../session/end-cause.ts'
import { inTime } from '../../util/deadline.ts'
import { clientOf } from '../context.ts'
import type { PluginContext } from '../context.ts'
import { assertRecent, requireAuth } from '../guards.ts'
import type { RequestAuth } from '../request-auth.ts'
import { requestSessionOf } from '../request-session.ts'
import { useOwnCompilers } from './compilers.ts'
import { addEnding, endedAll, endingRedirects } from './endings.ts'
import type { EndingRoutes } from './endings.ts'
import { listPage } from './paging.ts'
import {
  errorReply, ListedSession, NoContent, Nobody, NotAllowed, NotRecent, PageQuery, PendingReply, RevokedReply,
  SessionParams, Unavailable
} from './schemas.ts'
import { checkSessionRoutesOptions } from './session-options.ts'
import type { SessionRoutesOptions } from './session-options.ts'
import { checked, contextOf, ignoreBodies, privateReplies, sameSiteOnly } from './shared.ts'

/** Hides a route from @fastify/swagger's pages. Fastify's own types do not know it. */
const HIDDEN = { hide: true }

const NotTheirs = errorReply('`ERR_SESSION_NOT_FOUND`: there is none, or it is somebody else\'s.')

const RECENT = 'may need a recent sign-in, and is 401 ERR_SESSION_REAUTH_REQUIRED without one. Who acts as the user' +
  ' cannot: 403 ERR_SESSION_IMPERSONATED.'

/**
 * `GET /` the caller's sessions, page by page, `DELETE /:id` one of them, `DELETE /` all others. `POST /:id/revoke` and
 * `POST /revoke-others` do the same for forms. Ending others than the one that asks needs a recent sign-in. Register it
 * after `sessionPlugin`, in its context or below.
 */
export const sessionRoutes: FastifyPluginAsync<SessionRoutesOptions> = async (app, options) => {
  const checkedOptions = checked('sessionRoutes', () => checkSessionRoutesOptions(options))
  const context = contextOf(app, 'sessionRoutes')
  const routes: Routes = {
    context,
    onRequest: [sameSiteOnly(context)],
    requireRecent: (request) => requireRecentAuth(context, request, checkedOptions),
    redirects: endingRedirects(context, checkedOptions.redirects)
  }
  await useOwnCompilers(app)
  privateReplies(app)
  ignoreBodies(app)
  addList(app, routes)
  addEndOne(app, routes)
  addEndOthers(app, routes)
  addNoIds(app, routes)
}

/** One registration of the routes. */
interface Routes extends EndingRoutes {
  /** Requires a recent login for ending others than the session that asks. */
  readonly requireRecent: (request: FastifyRequest) => RequestAuth
}

function addEndOne (app: FastifyInstance, routes: Routes): void {
  const { context, requireRecent } = routes
  addEnding(app, routes, {
    paths: { delete: '/:id', post: '/:id/revoke' },
    schema: {
      summary: 'End one of my sessions',
      description: `Ending another one than the one that asks ${RECENT}`,
      params: SessionParams,
      response: { 204: NoContent, 401: NotRecent, 403: NotAllowed, 404: NotTheirs, 503: Unavailable }
    },
    end: async (request) => {
      // As the schema has it.
      const { id: which } = request.params as { id: string }
      // One's own goes as by a logout: its cookie with it.
      if (which === requireAuth(request).id) {
        await requestSessionOf(context, request).end()
        return { status: 204, signsOut: true }
      }
      const { userId } = requireRecent(request)
      const cause: EndCause = { reason: 'revoked', ...clientOf(request) }
      if (!await inTime(context.core.revoke(which, userId, cause))) throw new errors.NOT_FOUND()
      return { status: 204 }
    }
  })
}

function addEndOthers (app: FastifyInstance, routes: Routes): void {
  addEnding(app, routes, {
    paths: { delete: '/', post: '/revoke-others' },
    schema: {
      summary: 'End all my other sessions',
      description: `It ${RECENT}`,
      response: { 200: RevokedReply, 202: PendingReply, 401: NotRecent, 403: NotAllowed, 503: Unavailable }
    },
    end: async (request) => {
      const { id, userId } = routes.requireRecent(request)
      return await endedAll(routes.context.core.endByUser(userId, id, { reason: 'revoked', ...clientOf(request) }))
    }
  })
}

/** Adds what is too long for a parameter, or has slashes: no session's id either. The router would repeat it. */
function addNoIds (app: FastifyInstance, routes: Routes): void {
  const { onRequest, requireRecent } = routes
  const schema = { ...HIDDEN, response: { 404: NotTheirs } }
  app.delete('/*', { onRequest, schema }, async (request) => {
    requireRecent(request)
    throw new errors.NOT_FOUND()
  })
}

function addList (app: FastifyInstance, { context, onRequest }: Routes): void {
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
    const mine = await listPage(context, reply, userId, request.query as PageQuery)
    return reply.send(mine.map((session) => ({ ...session, device: session.userAgent, current: session.id === id })))
  })
}

/** Requires a recent login for ending others than one's own session: else a stolen cookie could keep its owner out. */
function requireRecentAuth (
  context: PluginContext, request: FastifyRequest,
  { recentLoginMs, exemptBearer }: ReturnType<typeof checkSessionRoutesOptions>
): RequestAuth {
  const auth = requireAuth(request)
  const isExempt = exemptBearer && auth.kind === 'bearer' && auth.actor === null
  if (!isExempt) assertRecent(context, request, { withinMs: recentLoginMs })
  return auth
}
