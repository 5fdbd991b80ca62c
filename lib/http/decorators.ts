import type { FastifyInstance, FastifyRequest } from 'fastify'
import { errors } from '../errors.ts'
import { attemptLogin } from './attempts.ts'
import { authOf, requireAuth } from './authenticate.ts'
import type { Authenticate } from './authenticate.ts'
import { kContext, kReply, kState } from './context.ts'
import type { PluginContext } from './context.ts'
import { login } from './login.ts'
import type { LoginOptions, LoginUser } from './login.ts'
import { logout } from './logout.ts'
import { requireRecentLogin } from './require-recent-login.ts'
import type { Duration } from '../util/duration.ts'
import { isRequest, stateOf } from './state.ts'

/** Puts what applications use on the instance and on the request. */
export function addDecorators (app: FastifyInstance, context: PluginContext): void {
  const names = context.options.decorators
  // Not enumerable: it holds the secrets of the options, and applications get logged and inspected.
  Object.defineProperty(app, kContext, { value: context })
  app.decorateRequest(kState, null)
  app.decorateRequest(kReply, null)
  app.decorateRequest('session', {
    getter () { return stateOf(context, this).session as FastifyRequest['session'] },
    setter () { throw new TypeError('request.session cannot be replaced: assign its members, or end it with destroy()') }
  })
  // TypeScript knows it from @fastify/session, and so does code that comes from there.
  if (!app.hasRequestDecorator('sessionStore')) {
    app.decorateRequest('sessionStore', {
      getter () { throw new errors.UNSUPPORTED('request.sessionStore: app.sessions finds, lists, changes and ends sessions') }
    })
  }
  app.decorateRequest(names.auth, { getter () { return authOf(context, this) } })
  app.decorateRequest(names.requireAuth, function (this: FastifyRequest) { return requireAuth(context, this) })
  app.decorate(names.authenticate, guard(context, (request) => { requireAuth(context, request) }))
  app.decorate(names.login, (request: FastifyRequest, user: LoginUser, options?: LoginOptions) => told(context, request, () => login(context, request, user, options)))
  app.decorate(names.logout, (request: FastifyRequest) => told(context, request, () => logout(context, request)))
  app.decorate(names.attemptLogin, (request: FastifyRequest, account: unknown, verify: () => unknown) => told(context, request, () => attemptLogin(context, request, account, verify)))
  app.decorate(names.requireRecentLogin, (within: Duration) => guard(context, requireRecentLogin(context, within)))
  app.decorate(names.sessions, context.sessions)
}

/** @throws ERR_SESSION_INVALID_OPTIONS when the application has a name already that we would take */
export function assertFree (app: FastifyInstance, names: PluginContext['options']['decorators']): void {
  const taken = [
    ...[names.authenticate, names.login, names.logout, names.attemptLogin, names.requireRecentLogin, names.sessions].filter((name) => app.hasDecorator(name)).map((name) => `app.${name}`),
    ...['session', names.auth, names.requireAuth].filter((name) => app.hasRequestDecorator(name)).map((name) => `request.${name}`)
  ]
  if (taken.length === 0) return
  const advice = taken.includes('request.session') ? 'do not register another session plugin, or this one twice, in one context' : 'give the decorator another name here'
  throw new errors.INVALID_OPTIONS(`decorators: ${taken.join(', ')} ${taken.length === 1 ? 'exists' : 'exist'} already; ${advice}`)
}

/** What a call about a request's session comes to. Where nobody awaits it, the request's reply tells of its failure. */
function told<T> (context: PluginContext, request: FastifyRequest, call: () => Promise<T>): Promise<T> {
  const work = call()
  // What is no request has no reply, either.
  return isRequest(request) ? stateOf(context, request).outcomes.promised(work) : work
}

const PASSED = Promise.resolve()

/** A hook that lets through whom `check` does not refuse; also one that is called by hand, and not awaited. */
function guard (context: PluginContext, check: (request: FastifyRequest) => void): Authenticate {
  return (request) => {
    try {
      check(request)
      return PASSED
    } catch (error) {
      return told(context, request, async () => { throw error })
    }
  }
}
