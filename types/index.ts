import type {} from '@fastify/cookie'
import type {} from '@fastify/session'
import type { Authenticate } from '../lib/http/authenticate.ts'
import type { RouteSessionConfig } from '../lib/http/context.ts'
import type { Login } from '../lib/http/login.ts'
import type { Logout } from '../lib/http/logout.ts'
import type { SessionInfo } from '../lib/session/record.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** A `preHandler` or `onRequest` that lets only signed-in requests through; else 401 `ERR_SESSION_UNAUTHENTICATED`. */
    authenticate: Authenticate
    /** Signs `user` in, under a new session id. Resolves when the session is stored; the cookie goes out with the reply. */
    login: Login
    /** Ends the request's session and has its cookie taken back. Does nothing for whoever is not signed in. */
    logout: Logout
  }

  interface FastifyRequest {
    /**
     * The signed-in session, or `null`.
     * @throws ERR_SESSION_STORE_UNAVAILABLE when the session could not be loaded
     */
    readonly auth: SessionInfo | null
    /**
     * The signed-in session.
     * @throws ERR_SESSION_UNAUTHENTICATED when nobody is signed in
     */
    requireAuth (): SessionInfo
  }

  interface FastifyContextConfig {
    /** `false`: this route loads no session. `{ csrf: false }`: the cross-site check leaves it alone. */
    session?: false | RouteSessionConfig
  }
}
