import type { FastifyInstance, FastifyRequest } from 'fastify'
import { errors } from '../errors.ts'
import type { EndOptions } from '../session/end-cause.ts'
import { attemptLogin } from './attempts.ts'
import { kContext, kReply, kRequestSession, kStoredSession } from './context.ts'
import type { PluginContext } from './context.ts'
import { authenticate, authOf, requireAuth, requireDeviceBound, requireRecentLogin } from './guards.ts'
import { login, logout } from './login.ts'
import type { LoginOptions, LoginUser } from './login.ts'
import { authenticatePage, guestOnly } from './pages.ts'
import { reported, requestSessionOf } from './request-session.ts'
import { takeReturnPath } from './return-path.ts'

/** Members of a request in other libraries, with what to use instead. TypeScript knows the first. */
const GONE = {
  sessionStore: 'app.sessions finds, lists, changes and ends sessions',
  sessionID: 'request.session.sessionId is the public id of the session'
}

/** Puts what applications use on the instance and on the request: `app.authenticate`, `request.auth` … */
export function addDecorators (app: FastifyInstance, context: PluginContext): void {
  const names = context.options.decorators
  // Not enumerable: it holds the secrets of the options, and applications get logged and inspected.
  Object.defineProperty(app, kContext, { value: context })
  app.decorateRequest(kStoredSession, null)
  app.decorateRequest(kRequestSession, null)
  app.decorateRequest(kReply, null)
  app.decorateRequest('session', {
    getter () { return requestSessionOf(context, this).session as FastifyRequest['session'] },
    setter () {
      throw new TypeError('request.session cannot be replaced: assign its members, or end it with destroy()')
    }
  })
  for (const [name, instead] of Object.entries(GONE)) {
    if (app.hasRequestDecorator(name)) continue
    app.decorateRequest(name, {
      getter () { throw new errors.UNSUPPORTED(`request.${name}: ${instead}`) },
      // An application may have one of its own.
      setter (value: unknown) {
        Object.defineProperty(this, name, { value, writable: true, configurable: true, enumerable: true })
      }
    })
  }
  if (!app.hasDecorator('decryptSession')) {
    app.decorate('decryptSession', () => {
      throw new errors.UNSUPPORTED('app.decryptSession: app.sessions.fromCookieHeader finds the session of a cookie')
    })
  }
  app.decorateRequest(names.auth, { getter () { return authOf(context, this) } })
  app.decorateRequest(names.requireAuth, function (this: FastifyRequest) { return requireAuth(this) })
  app.decorate(names.authenticate, authenticate)
  app.decorate(names.login, (request: FastifyRequest, user: LoginUser, options?: LoginOptions) =>
    reported(context, request, () => login(context, request, user, options)))
  app.decorate(names.logout, (request: FastifyRequest, reply?: unknown, options?: EndOptions) =>
    reported(context, request, () => logout(context, request, { reply, options })))
  app.decorate(names.attemptLogin, (request: FastifyRequest, account: unknown, verify: () => unknown) =>
    reported(context, request, () => attemptLogin(context, request, account, verify)))
  app.decorate(names.requireRecentLogin, requireRecentLogin)
  app.decorate(names.requireDeviceBound, requireDeviceBound)
  app.decorate(names.authenticatePage, authenticatePage)
  app.decorate(names.guestOnly, guestOnly)
  app.decorate(names.takeReturnPath, takeReturnPath)
  app.decorate(names.sessions, context.sessions)
}
