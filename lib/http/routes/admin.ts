import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyPluginAsync, FastifyRequest } from 'fastify'
import { errors } from '../../errors.ts'
import { oneLine, shortText } from '../../session/arguments.ts'
import { ACTOR_LENGTH, REASON_LENGTH } from '../../session/end-cause.ts'
import type { EndCause } from '../../session/end-cause.ts'
import { isUserIdText } from '../../session/record.ts'
import type { SessionInfo } from '../../session/record.ts'
import { userIdText } from '../../session/user-id.ts'
import { inTime } from '../../util/deadline.ts'
import { clientOf, warnOnce } from '../context.ts'
import { authOf } from '../guards.ts'
import { requestSessionOf } from '../request-session.ts'
import { guardAll } from './admin-guard.ts'
import { checkAdminRoutesOptions } from './admin-options.ts'
import type { AdminRoutesOptions } from './admin-options.ts'
import { useOwnCompilers } from './compilers.ts'
import { addEnding, endedAll, endingRedirects } from './endings.ts'
import type { EndingRoutes } from './endings.ts'
import { warnWithoutParser } from './forms.ts'
import { LiveCounts } from './live-counts.ts'
import { listPage } from './paging.ts'
import {
  AdminSession, AllRevokedReply, EndAll, EndOne, errorReply, LiveCountsReply, NoContent, PendingReply, SessionParams,
  Unavailable, UserPageQuery
} from './schemas.ts'
import { checked, contextOf, ignoreBodies, privateReplies, sameSiteOnly } from './shared.ts'

const REFUSED = {
  401: errorReply('Of the guard, such as `ERR_SESSION_UNAUTHENTICATED`. Also where nobody can be named who ends it.'),
  403: errorReply(
    'Of the guard. `ERR_SESSION_CSRF_REJECTED`: a page of another site asks. `ERR_SESSION_IMPERSONATED`: somebody' +
    ' acts as the administrator.'
  )
}
const FAULTY = errorReply('The query or the body does not fit its schema.')
const NoSuchSession = errorReply('`ERR_SESSION_NOT_FOUND`: there is no such session.')

const NOBODY = 'adminRoutes: the guard lets requests pass that nobody is signed in by. They can read, and end' +
  ' nothing, unless the option actor says who they are'

/**
 * `GET /sessions` of any user, page by page, and `GET /sessions/:id`; `DELETE /sessions/:id` ends one, and
 * `DELETE /sessions` all of a user; `GET /stats` says how many live. `POST /sessions/:id/revoke` and
 * `POST /sessions/revoke` do the same for forms. The guard stands in front of all of them. Register it after
 * `sessionPlugin`, in its context or below.
 */
export const adminRoutes: FastifyPluginAsync<AdminRoutesOptions> = async (app, options) => {
  const { guards, actor, redirects } = checked('adminRoutes', () => checkAdminRoutesOptions(options))
  const context = contextOf(app, 'adminRoutes')
  const causeOf = async (request: FastifyRequest): Promise<EndCause> => {
    const named = actor === undefined ? authOf(context, request)?.userId : await actor(request)
    const name = 'what actor returns'
    if (named != null) return { ...stated(request), actor: shortText(userIdText(named, name), name, ACTOR_LENGTH) }
    warnOnce(context, NOBODY)
    throw new errors.UNAUTHENTICATED()
  }
  const onRequest = [sameSiteOnly(context)]
  const routes: Routes = { context, onRequest, causeOf, redirects: endingRedirects(context, redirects) }
  if (redirects !== undefined) warnWithoutParser(context, app)
  await useOwnCompilers(app)
  privateReplies(app)
  guardAll(app, context, guards)
  await app.register(async (scripts) => {
    ignoreBodies(scripts)
    addReading(scripts, routes)
    addStats(scripts, routes)
    addEndOne(scripts, app, routes)
    addEndAll(scripts, app, routes)
  })
}

/** One registration of the routes. */
interface Routes extends EndingRoutes {
  /** Returns by whom a session is ended, and why. @throws ERR_SESSION_UNAUTHENTICATED */
  readonly causeOf: (request: FastifyRequest) => Promise<EndCause>
}

/** What a request says of an end, as the schemas have it: in the body of a form, in the query of a script. */
function sentBy ({ method, body, query }: FastifyRequest): { userId: string, reason?: string } {
  return (method === 'POST' ? body ?? {} : query) as { userId: string, reason?: string }
}

function stated (request: FastifyRequest): Omit<EndCause, 'actor'> {
  // Half a character or a new line would be something else in logs, and in Redis.
  const line = oneLine(sentBy(request).reason ?? '')
  const word = line.slice(0, REASON_LENGTH).toWellFormed().trim()
  return { reason: 'revoked', statedReason: word === '' ? null : word, ...clientOf(request) }
}

/** Picks what is shown of a session: all but its data. The schema drops the rest. */
function shown (session: SessionInfo): object {
  return { ...session, device: session.userAgent }
}

function addReading (app: FastifyInstance, { context }: Routes): void {
  app.get('/sessions', {
    schema: {
      summary: 'Sessions of a user',
      querystring: UserPageQuery,
      response: {
        200: Type.Array(AdminSession, {
          description: 'The user\'s sessions, newest first. Where there may be more, the header Link says where.'
        }),
        400: FAULTY,
        ...REFUSED,
        503: Unavailable
      }
    }
  }, async (request, reply) => {
    // As the schema has it.
    const { userId, ...page } = request.query as UserPageQuery
    if (!isUserIdText(userId)) return reply.send([])
    return reply.send((await listPage(context, reply, userId, page, { userId })).map(shown))
  })
  app.get('/sessions/:id', {
    schema: {
      summary: 'One session',
      params: SessionParams,
      response: { 200: AdminSession, ...REFUSED, 404: NoSuchSession, 503: Unavailable }
    }
  }, async (request, reply) => {
    const session = await context.sessions.get((request.params as { id: string }).id)
    if (session === null) throw new errors.NOT_FOUND()
    return reply.send(shown(session))
  })
}

function addStats (app: FastifyInstance, { context }: Routes): void {
  const counts = new LiveCounts(context.core)
  app.get('/stats', {
    schema: {
      summary: 'How many sessions live',
      description: 'At most 10,000 sessions are counted, every five seconds.',
      response: { 200: LiveCountsReply, ...REFUSED, 503: Unavailable }
    }
  }, async (_request, reply) => reply.send(await counts.read()))
}

function addEndOne (scripts: FastifyInstance, forms: FastifyInstance, routes: Routes): void {
  const { context, causeOf, redirects } = routes
  const { core } = context
  addEnding(scripts, routes, {
    paths: { delete: '/sessions/:id', post: '/sessions/:id/revoke' },
    schema: {
      summary: 'End a session',
      description: 'Of any user.',
      params: SessionParams,
      response: { 204: NoContent, 400: FAULTY, ...REFUSED, 404: NoSuchSession, 503: Unavailable }
    },
    sent: EndOne,
    end: async (request) => {
      const cause = await causeOf(request)
      const id = core.tokens.idFrom((request.params as { id: string }).id)
      const auth = authOf(context, request)
      // A page is told whose it was.
      const userId = id === null || redirects === null ? null : await inTime(core.userOf(id))
      if (id === null || !await inTime(core.revoke(id, null, cause))) throw new errors.NOT_FOUND()
      const signsOut = auth?.id === id
      if (signsOut) await requestSessionOf(context, request).end()
      return { status: 204, userId, signsOut }
    }
  }, { forms })
}

function addEndAll (scripts: FastifyInstance, forms: FastifyInstance, routes: Routes): void {
  const { context, causeOf } = routes
  addEnding(scripts, routes, {
    paths: { delete: '/sessions', post: '/sessions/revoke' },
    schema: {
      summary: 'End all sessions of a user',
      description: 'Sessions of bearer tokens and sign-ins under way too.',
      response: { 200: AllRevokedReply, 202: PendingReply, 400: FAULTY, ...REFUSED, 503: Unavailable }
    },
    sent: EndAll,
    end: async (request) => {
      const cause = await causeOf(request)
      const { userId } = sentBy(request)
      if (!isUserIdText(userId)) return { status: 200, body: { revoked: 0 } }
      const signsOut = authOf(context, request)?.userId === userId
      const ended = await endedAll(context.core.endByUser(userId, undefined, cause))
      if (signsOut) await requestSessionOf(context, request).end()
      return { ...ended, userId, signsOut }
    }
  }, { forms })
}
