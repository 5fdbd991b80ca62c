import type {} from '@fastify/cookie'
import type {} from '@fastify/session'
import type { AttemptLogin } from '../lib/http/attempts.ts'
import type { Authenticate } from '../lib/http/guards.ts'
import type { RouteSessionConfig } from '../lib/http/context.ts'
import type { Login } from '../lib/http/login.ts'
import type { Logout } from '../lib/http/login.ts'
import type { RequestAuth } from '../lib/http/request-auth.ts'
import type { RequireRecentLogin } from '../lib/http/guards.ts'
import type { SessionManager } from '../lib/session/manager.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** A `preHandler` or `onRequest` that lets only signed-in requests through; else 401 `ERR_SESSION_UNAUTHENTICATED`. */
    authenticate: Authenticate
    /** Signs `user` in, under a new session id. Resolves when the session is stored; the cookie goes out with the reply. */
    login: Login
    /** Ends the request's session and has its cookie taken back. Does nothing for whoever is not signed in. */
    logout: Logout
    /**
     * Checks credentials under the limits on failed logins: `verify` is called if there is room, and what it gives
     * is handed on; anything falsy is a failed login. For login routes of your own, and resolvers.
     * @throws ERR_SESSION_TOO_MANY_ATTEMPTS; `verify` was not called
     */
    attemptLogin: AttemptLogin
    /** `requireRecentLogin('10m')` is a `preHandler` that lets only those through who signed in within that time; else 401 `ERR_SESSION_REAUTH_REQUIRED`. */
    requireRecentLogin: RequireRecentLogin
    /** Every session of every user: list, revoke, create, watch. */
    sessions: SessionManager
  }

  interface FastifyRequest {
    /**
     * The signed-in session, or `null`.
     * @throws ERR_SESSION_STORE_UNAVAILABLE when the session could not be loaded
     */
    readonly auth: RequestAuth | null
    /**
     * The signed-in session.
     * @throws ERR_SESSION_UNAUTHENTICATED when nobody is signed in
     */
    requireAuth (): RequestAuth
  }

  interface FastifyContextConfig {
    /** `false`: this route loads no session. `{ csrf: false }`: the cross-site check leaves it alone. */
    session?: false | RouteSessionConfig
  }
}
