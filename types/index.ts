import type {} from '@fastify/cookie'
import type {} from '@fastify/session'
import type { SessionDecorators } from 'fastify'
import type { AttemptLogin } from '../lib/http/attempts.ts'
import type { Authenticate } from '../lib/http/guards.ts'
import type { RouteSessionConfig } from '../lib/http/context.ts'
import type { Login } from '../lib/http/login.ts'
import type { Logout } from '../lib/http/login.ts'
import type { RequestAuth } from '../lib/http/request-auth.ts'
import type { SessionData } from '../lib/http/session-data.ts'
import type { RequireRecentLogin } from '../lib/http/guards.ts'
import type { TakeReturnPath } from '../lib/http/return-path.ts'
import type { SessionManager } from '../lib/session/manager.ts'

/** What the plugin adds to the Fastify instance. */
interface InstanceDecorators {
  /**
   * A `preHandler` or `onRequest` that lets only signed-in requests pass; others get 401
   * `ERR_SESSION_UNAUTHENTICATED`.
   */
  authenticate: Authenticate
  /**
   * Signs `user` in, under a new session id. Resolves when the session is stored and the one before it has ended. The
   * cookie goes out with the reply, whatever its status.
   * @throws TypeError for a user without an id, or a wrong option
   * @throws ERR_SESSION_RESERVED_KEY for such a key of `data`
   * @throws ERR_SESSION_LIMIT_REACHED, ERR_SESSION_CSRF_REJECTED, ERR_SESSION_INSECURE_CONNECTION
   * @throws ERR_SESSION_UNSUPPORTED in a request with a bearer token
   * @throws ERR_SESSION_DATA_TOO_LARGE, ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL
   * @see [Signing in](docs/guides/signing-in.md)
   */
  login: Login
  /**
   * Ends the request's session and takes its cookie back. Does nothing if nobody is signed in. `options`: your word for
   * why, and who does it, for events.
   * @throws TypeError for what is no reply, and for a `reason` or an `actor` that is no such text
   * @throws ERR_SESSION_STORE_UNAVAILABLE if the store does not confirm it. The cookie is taken back all the same
   */
  logout: Logout
  /**
   * Checks credentials under the limits on failed logins, for login routes of your own and for resolvers. Calls
   * `verify` if there is room, and resolves with what that returns. Anything falsy is a failed login.
   * @throws ERR_SESSION_TOO_MANY_ATTEMPTS. `verify` was not called
   * @see [Failed logins](docs/guides/rate-limits.md)
   */
  attemptLogin: AttemptLogin
  /**
   * Makes a `preHandler` that lets only those pass who signed in within a time: `requireRecentLogin('10m')`, and by
   * these methods: `requireRecentLogin('5m', { methods: ['otp'] })`. Others get 401 `ERR_SESSION_REAUTH_REQUIRED`,
   * which has `methods` in its `extensions`. Who acts as a user gets 403 `ERR_SESSION_IMPERSONATED`.
   * @throws TypeError for what is no duration, or a wrong option
   */
  requireRecentLogin: RequireRecentLogin
  /**
   * A `preHandler` or `onRequest` for what a stolen cookie must not do: lets only requests pass that show the device to
   * which their session is bound. Others get 403 `ERR_SESSION_DEVICE_BOUND_REQUIRED`, or 401 as by `authenticate`. Needs
   * the option `deviceBound`.
   */
  requireDeviceBound: Authenticate
  /**
   * A `preHandler` or `onRequest` for pages: it lets only signed-in requests pass. Others are sent to `pages.login`,
   * with 303, and the page that they asked for is remembered. A script or a bearer client gets 401
   * `ERR_SESSION_UNAUTHENTICATED` instead. Nothing that follows runs for them.
   * @see [Plain HTML forms](docs/guides/forms.md)
   */
  authenticatePage: Authenticate
  /**
   * A `preHandler` or `onRequest` for the pages of a sign-in: it lets only requests pass that are not signed in. Others
   * are sent to `pages.home`, with 303; but for who is told of a failure on the login page, by `error=` in its query.
   */
  guestOnly: Authenticate
  /**
   * Returns the page that a person asked for before `authenticatePage` sent them to the login page: a path of this
   * site, with its query. If there is none, it is `pages.home`. For login routes of your own: call it after
   * `app.login`. The reply makes the browser forget the page, which it otherwise remembers for ten minutes.
   */
  takeReturnPath: TakeReturnPath
  /**
   * All sessions of all users: lists, ends, creates and watches them.
   * @see [Sessions](docs/reference/sessions.md)
   */
  sessions: SessionManager<SessionData>
}

/** What the plugin adds to requests, besides `session`. */
interface RequestDecorators {
  /**
   * The signed-in session, or `null`.
   * @throws ERR_SESSION_STORE_UNAVAILABLE if the session could not be loaded
   */
  readonly auth: RequestAuth | null
  /**
   * Returns the signed-in session.
   * @throws ERR_SESSION_UNAUTHENTICATED if nobody is signed in
   */
  requireAuth (): RequestAuth
}

/** Names that an application has declared for a decorator. */
type NamesOf<Name> = Name extends keyof SessionDecorators ? Extract<SessionDecorators[Name], string> : never

/** The decorator's own name, unless it is called otherwise. */
type Kept<Name> = Name extends keyof SessionDecorators ? Extract<SessionDecorators[Name], Name> : Name

/** Decorators under their names. `Pick` keeps the documentation that editors show. */
type Named<Decorators> = Pick<Decorators, Kept<keyof Decorators>> & {
  [Name in keyof Decorators as NamesOf<Name>]: Decorators[Name]
}

declare module 'fastify' {
  /**
   * Other names of decorators, as the option `decorators` has them: `{ authenticate: 'requireLogin' }`. TypeScript then
   * knows `app.requireLogin`, and `app.authenticate` no more. A union has several names, one for each registration.
   */
  interface SessionDecorators {}

  interface FastifyInstance extends Named<InstanceDecorators> {}
  interface FastifyRequest extends Named<RequestDecorators> {}

  interface FastifyContextConfig {
    /**
     * Sessions on this route. `false`: none is loaded. `{ csrf: false }`: the cross-site check leaves the route alone.
     * `{ touch: false }`: requests to it do not extend the session.
     */
    session?: false | RouteSessionConfig
  }
}
