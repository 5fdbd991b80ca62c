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
    if (user == null) throw new errors.INVALID_CREDENTIALS()
    const session = await login(context, request, user, { remember: body.remember, ...await onLogin?.(user, body, request) })
    return redirects.login === undefined ? keepPrivate(reply).send({ user: shown(user), session }) : reply.redirect(redirects.login, 303)
  })

  app.get('/info', {
    schema: {
      summary: 'Who is signed in',
      response: {
        200: Type.Union([
          Type.Object({ authenticated: Type.Literal(false, { description: 'Nobody is signed in.' }) }),
          Type.Object({ authenticated: Type.Literal(true, { description: 'Somebody is signed in.' }), ...signedIn.properties })
        ], { description: 'Whether somebody is signed in, and who.' }),
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

  app.post('/logout', {
    onRequest,
    schema: {
      summary: 'Sign out',
      description: 'Succeeds also when nobody was signed in.',
      response: { 204: NoContent, 303: Redirect, 403: ErrorReply, 503: ErrorReply }
    }
  }, async (request, reply) => {
    await logout(context, request)
    return redirects.logout === undefined ? reply.code(204).send() : reply.redirect(redirects.logout, 303)
  })
}

/** @throws ERR_SESSION_INVALID_OPTIONS outside of the plugin's context */
function contextOf (app: FastifyInstance): PluginContext {
  const context = (app as { [kContext]?: PluginContext })[kContext]
  if (context === undefined) throw new errors.INVALID_OPTIONS('authRoutes must be registered after sessionPlugin, in its context or below')
  return context
}

function pick (user: object, names: string[]): object {
  return Object.fromEntries(Object.entries(user).filter(([name]) => names.includes(name)))
}
