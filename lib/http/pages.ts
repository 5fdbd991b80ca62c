import type { FastifyReply, FastifyRequest } from 'fastify'
import { sitePath, withQuery } from '../util/site-path.ts'
import { kReply, warnOnce } from './context.ts'
import type { PluginContext, SessionRequest } from './context.ts'
import { opensWebSocket } from './cross-site.ts'
import { authOf, explainNobody, guard, unauthenticated } from './guards.ts'
import type { Authenticate } from './guards.ts'
import { keepPrivate } from './reply-head.ts'
import { requestSessionOf, storedSessionOf } from './request-session.ts'
import { rememberPath } from './return-path.ts'

const GUARDED_LOGIN = 'authenticatePage guards the login page: people who are signed out cannot get there. Take it' +
  ' off that route, or set pages.login to the path of another'
const GUARDED_HOME = 'guestOnly guards the home page: people who are signed in would be sent there again and again.' +
  ' Set pages.home to the path of a page for them'

/**
 * A `preHandler` or `onRequest` for pages: it lets only signed-in requests pass. Others are sent to `pages.login`, with
 * 303, and the page that they asked for is remembered. With `endedFor`, `ended=` in the query says how their session
 * ended. A script or a bearer client gets 401
 * `ERR_SESSION_UNAUTHENTICATED`. It is `app.authenticatePage`, and can be named before there is an application.
 * Called by hand, its promise does not resolve for people whom it redirects: what follows an `await` does not run, and
 * nor does a `finally`.
 * @throws ERR_SESSION_SKIPPED where `sessionPlugin` is not registered
 */
export const authenticatePage: Authenticate = guard((context, request, reply) => {
  if (authOf(context, request) !== null) return
  explainNobody(context, request)
  const { ended, withheld } = storedSessionOf(context, request)
  // To sign in again would not help.
  if (!asksForPage(context, request) || withheld === 'not-bound') throw unauthenticated(context, request)
  const { login } = context.options.pages
  if (isPage(request, login)) {
    warnOnce(context, GUARDED_LOGIN)
    throw unauthenticated(context, request)
  }
  rememberPath(context, request, replyOf(request, reply), pageOf(request))
  const page = ended === null ? login : withQuery(login, { ended: ended.reason })
  return turnedAway(context, request, reply, { page, isFailure: true })
})

/**
 * A `preHandler` or `onRequest` for the pages of a sign-in: it lets only requests pass that are not signed in. Others
 * are sent to `pages.home`, with 303; but for who is told of a failure on the login page, by `error=` in its query. It
 * is `app.guestOnly`, and can be named before there is an application.
 * @throws ERR_SESSION_SKIPPED where `sessionPlugin` is not registered
 */
export const guestOnly: Authenticate = guard((context, request, reply) => {
  const { home, login } = context.options.pages
  if ((isPage(request, login) && tellsOfFailure(request)) || authOf(context, request) === null) return
  if (!isPage(request, home)) return turnedAway(context, request, reply, { page: home, isFailure: false })
  warnOnce(context, GUARDED_HOME)
})

/**
 * Whether a request is for a page that somebody looks at. A script would follow a redirect and take the login page for
 * its answer: browsers say what a script asks for, and a bearer client is none.
 * @see W3C Fetch Metadata 2.2, Sec-Fetch-Mode
 */
function asksForPage ({ core }: PluginContext, request: FastifyRequest): boolean {
  const mode = request.headers['sec-fetch-mode'] ?? 'navigate'
  return mode === 'navigate' && !core.credentials.isBearer(request.headers) && !opensWebSocket(request)
}

/** Returns the page that a request is for. `null` for what a form posts to, or a script. */
function pageOf ({ method, originalUrl }: FastifyRequest): string | null {
  return method === 'GET' || method === 'HEAD' ? originalUrl : null
}

/** Whether a page is to say what went wrong, as the ready routes have it do. */
function tellsOfFailure ({ originalUrl }: FastifyRequest): boolean {
  return sitePath(originalUrl)?.searchParams.has('error') === true
}

/** Whether a request is for this page itself, whatever its query: a redirect there would go in a circle. */
function isPage (request: FastifyRequest, page: string): boolean {
  return sitePath(request.originalUrl)?.pathname === sitePath(page)?.pathname
}

/** Returns the reply of a request, whatever a caller by hand gave. `given`: that of a hook before the plugin's own. */
function replyOf (request: FastifyRequest, given: FastifyReply): FastifyReply {
  return (request as SessionRequest)[kReply] ?? given
}

/**
 * Sends a request to another page. Returns a promise that does not resolve: nothing that follows may run. Waiting for
 * the reply would not do, which is over as well when its client closes the connection.
 */
function turnedAway (
  context: PluginContext, request: FastifyRequest, given: FastifyReply,
  { page, isFailure }: { page: string, isFailure: boolean }
): Promise<never> {
  const reply = replyOf(request, given)
  requestSessionOf(context, request).turnAway(page, { isFailure })
  keepPrivate(reply)
  reply.redirect(page, 303)
  return new Promise(() => {})
}
