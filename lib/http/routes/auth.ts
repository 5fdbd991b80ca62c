import { Type } from '@sinclair/typebox'
import type { FastifyInstance, FastifyPluginAsync, FastifyRequest } from 'fastify'
import { errors } from '../../errors.ts'
import type { SessionInfo } from '../../session/record.ts'
import { kContext } from '../context.ts'
import type { PluginContext } from '../context.ts'
import { keepPrivate } from '../cookie.ts'
import { assertSameSite } from '../cross-site.ts'
import { login } from '../login.ts'
import type { LoginUser } from '../login.ts'
import { logout } from '../logout.ts'
import { stateOf } from '../state.ts'
import { checkAuthRoutesOptions } from './auth-options.ts'
import type { AuthRoutesOptions } from './auth-options.ts'
import { DefaultCredentials, DefaultUser, ErrorReply, NoContent, Redirect, SessionView } from './schemas.ts'

/** `POST /login`, `GET /info` and `POST /logout`. Register it after `sessionPlugin`, in its context or below. */
export const authRoutes: FastifyPluginAsync<AuthRoutesOptions> = async (app, options) => {
  checkAuthRoutesOptions(options)
  const context = contextOf(app)
  const { verify, findUser, onLogin, redirects = {}, credentials = DefaultCredentials, user: userSchema = DefaultUser } = options
  const shown = (user: LoginUser): object => options.user === undefined ? { id: String(user.id) } : pick(user, Object.keys(userSchema.properties as object))
  const onRequest = async (request: FastifyRequest): Promise<void> => { assertSameSite(context, request) }
  const signedIn = Type.Object({ user: userSchema, session: SessionView }, { description: 'Who is signed in, and the session.' })

  app.post('/login', {
    onRequest,
    schema: {
      summary: 'Sign in',
      body: credentials,
      response: { 200: signedIn, 303: Redirect, 400: ErrorReply, 401: ErrorReply, 403: ErrorReply, 503: ErrorReply }
    }
  }, async (request, reply) => {
    const body = request.body as DefaultCredentials
    const user = await verify(body, request)
    if (user == null || user as unknown === false) {
      if (redirects.failure !== undefined && isForm(request)) return keepPrivate(reply).redirect(redirects.failure, 303)
      throw new errors.INVALID_CREDENTIALS()
    }
    const remember = body.remember === undefined ? undefined : body.remember === true || body.remember === 'on'
    const view = shown(user)
    const session = await login(context, request, user, { remember, ...await onLogin?.(user, body, request) })
    if (redirects.login !== undefined && isForm(request)) return reply.redirect(redirects.login, 303)
    return keepPrivate(reply).send({ user: view, session })
  })

  app.get('/info', {
    schema: {
      summary: 'Who is signed in',
      response: {
        // Not a union of the two: that is chosen by a strict match, where a user's number for a string is none.
        200: Type.Object({
          authenticated: Type.Boolean({ description: 'Whether somebody is signed in. If not, there is nothing else here.' }),
          user: Type.Optional(userSchema),
          session: Type.Optional(SessionView)
        }, { description: 'Whether somebody is signed in, and who.' }),
        503: ErrorReply
      }
    }
  }, async (request, reply) => {
    const state = stateOf(context, request)
    const session: SessionInfo | null = state.stored.auth
    if (session === null) return keepPrivate(reply).send({ authenticated: false })
    const user = findUser === undefined ? { id: session.userId } : await findUser(session.userId, request)
    if (user == null) {
      await state.end()
      return keepPrivate(reply).send({ authenticated: false })
    }
    return keepPrivate(reply).send({ authenticated: true, user: shown(user), session })
  })

  await app.register(async (scope) => {
    // Whatever a client sends along, empty JSON or a form, signing out succeeds: the body is not read.
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('*', (_request, payload, done) => {
      payload.resume()
      done(null)
    })
    scope.post('/logout', {
      onRequest,
      schema: {
        summary: 'Sign out',
        description: 'Succeeds also when nobody was signed in.',
        response: { 204: NoContent, 303: Redirect, 403: ErrorReply, 503: ErrorReply }
      }
    }, async (request, reply) => {
      await logout(context, request)
      return redirects.logout !== undefined && isForm(request) ? reply.redirect(redirects.logout, 303) : reply.code(204).send()
    })
  })
}

/** Whether a browser's form was sent, and not something of a script. */
function isForm (request: FastifyRequest): boolean {
  return /^(application\/x-www-form-urlencoded|multipart\/form-data)\b/i.test(request.headers['content-type'] ?? '')
}

/** @throws ERR_SESSION_INVALID_OPTIONS outside of the plugin's context */
function contextOf (app: FastifyInstance): PluginContext {
  const context = (app as { [kContext]?: PluginContext })[kContext]
  if (context === undefined) throw new errors.INVALID_OPTIONS('authRoutes must be registered after sessionPlugin, in its context or below')
  return context
}

function pick (user: object, names: string[]): object {
  return Object.fromEntries(names.filter((name) => name in user).map((name) => [name, (user as Record<string, unknown>)[name]]))
}
