import { Type } from '@sinclair/typebox'
import type { TObject } from '@sinclair/typebox'
import type { FastifyInstance, FastifyPluginAsync, FastifyRequest } from 'fastify'
import { errors } from '../../errors.ts'
import { assertObject } from '../../session/arguments.ts'
import type { AttemptLimits } from '../../session/attempts.ts'
import { userIdText } from '../../session/user-id.ts'
import { attemptLogin } from '../attempts.ts'
import type { PluginContext } from '../context.ts'
import { authOf } from '../guards.ts'
import { issueToken, login, logout, readLoginOptions } from '../login.ts'
import type { LoginOptions, LoginUser } from '../login.ts'
import { requestSessionOf } from '../request-session.ts'
import { takePath } from '../return-path.ts'
import { checkAuthRoutesOptions } from './auth-options.ts'
import type { AuthRoutesOptions } from './auth-options.ts'
import { useOwnCompilers } from './compilers.ts'
import { failedForms, isForm, seeOther, warnWithoutParser } from './forms.ts'
import { loginBodyOf, memberOf } from './login-body.ts'
import type { LoginBody } from './login-body.ts'
import {
  DefaultCredentials, DefaultUser, errorReply, NoContent, NotAllowed, OtherSite, Redirect, RemainingReply, SessionView,
  Token, Unavailable
} from './schemas.ts'
import { checked, contextOf, ignoreBodies, privateReplies, sameSiteOnly } from './shared.ts'

/** One registration of the routes. */
interface Routes {
  readonly context: PluginContext
  readonly options: AuthRoutesOptions
  readonly body: LoginBody
  readonly userSchema: TObject
  /** Pages that forms are sent to. `null`: they get JSON. */
  readonly redirects: { login: string, failure: string, logout: string } | null
  readonly onRequest: Array<ReturnType<typeof sameSiteOnly>>
  /** Picks the members of a user that may be shown. */
  readonly shown: (user: LoginUser) => object
  /** Verifies the credentials of a request, under the limits on failed logins. `null`: they are wrong. */
  readonly userOf: (request: FastifyRequest) => Promise<LoginUser | null>
  /** Header by which browsers clear what they keep of the site; `null`: they are not asked to. */
  readonly clearSiteData: string | null
  /** Returns the options of the login. */
  readonly optionsOf: (user: LoginUser, request: FastifyRequest) => Promise<LoginOptions>
}

/**
 * Adds `POST /login`, `GET /info`, `GET /remaining` and `POST /logout`; with `bearer` also `POST /token`. Register it
 * after `sessionPlugin`, in its context or below.
 */
export const authRoutes: FastifyPluginAsync<AuthRoutesOptions> = async (app, options) => {
  const context = contextOf(app, 'authRoutes')
  const routes = routesOf(context, options)
  if (routes.redirects !== null) warnWithoutParser(context, app)
  await useOwnCompilers(app)
  privateReplies(app)
  addLogin(app, routes)
  if (context.options.bearer) addToken(app, routes)
  addInfo(app, routes)
  addRemaining(app, routes)
  await app.register(async (scope) => {
    ignoreBodies(scope)
    addLogout(scope, routes)
  })
}

const BY_NETWORK_ONLY = 'authRoutes: failed logins are limited by network only: set account, which tells whom' +
  ' credentials name'

const FAULTY = 'The body does not fit its schema. `ERR_SESSION_AMBIGUOUS_CREDENTIALS`: a bearer token came along'

const LOGIN_ERRORS = {
  401: errorReply(
    '`ERR_SESSION_INVALID_CREDENTIALS`: the same whatever was wrong. `ERR_SESSION_UNAUTHENTICATED`: meanwhile the ' +
    'user was signed out everywhere, or newer logins ended the session.'
  ),
  403: OtherSite,
  409: errorReply('`ERR_SESSION_LIMIT_REACHED`: the user has as many sessions as they may.'),
  413: errorReply('The body is too large. `ERR_SESSION_DATA_TOO_LARGE`: the data that goes along is.'),
  429: errorReply('`ERR_SESSION_TOO_MANY_ATTEMPTS`: too many logins have failed. `Retry-After` has the seconds.'),
  503: errorReply(
    '`ERR_SESSION_STORE_UNAVAILABLE`: the store does not answer. `ERR_SESSION_STORE_FULL`: it has no room.'
  )
}

function routesOf (context: PluginContext, options: AuthRoutesOptions): Routes {
  const limits = checked('authRoutes', () => checkAuthRoutesOptions(options, context.options.attempts))
  const { verify, onLogin, credentials = DefaultCredentials, user: userSchema = DefaultUser } = options
  const body = loginBodyOf(credentials)
  const account = options.account ?? usernameOf(context, body, limits)
  const userOf = async (request: FastifyRequest): Promise<LoginUser | null> => {
    const given = request.body as DefaultCredentials
    // Checked before it counts as a success: what is no user is the server's fault, and no login.
    const verified = async (): Promise<LoginUser | null> => checkedUser(await verify(given, request))
    return await attemptLogin(context, request, account(given), verified, { limits, defaultStatus: 500 })
  }
  const optionsOf = async (user: LoginUser, request: FastifyRequest): Promise<LoginOptions> => {
    const given = request.body as DefaultCredentials
    const said = memberOf(body, given, 'remember')
    const remember = said === undefined ? undefined : said === true || said === 'on'
    const returned = await onLogin?.(user, given, request) ?? {}
    assertObject(returned, 'what onLogin returns')
    const loginOptions = readLoginOptions(returned)
    return { ...!('actor' in loginOptions) && { remember }, ...loginOptions }
  }
  const names = Object.keys(userSchema.properties as object)
  const shown = (user: LoginUser): object => options.user === undefined ? { id: String(user.id) } : pick(user, names)
  const onRequest = [sameSiteOnly(context)]
  const redirects = redirectsOf(context, options)
  const clearSiteData = siteDataOf(options)
  return { context, options, body, userSchema, redirects, onRequest, shown, userOf, optionsOf, clearSiteData }
}

/** Makes the default of `account`: `username`. Warns once that there is none: at boot if the schema can tell. */
function usernameOf (
  context: PluginContext, body: LoginBody, limits: AttemptLimits | null
): NonNullable<AuthRoutesOptions['account']> {
  let warns = limits !== null
  const warn = (): void => {
    if (warns) context.log.warn(BY_NETWORK_ONLY)
    warns = false
  }
  if (body.declares('username') === false) warn()
  return (credentials) => {
    const username = memberOf(body, credentials, 'username')
    if (username === undefined && body.declares('username') === null) warn()
    return username as DefaultCredentials['username'] | undefined
  }
}

function redirectsOf (context: PluginContext, { redirects }: AuthRoutesOptions): Routes['redirects'] {
  if (redirects === undefined) return null
  const { pages } = context.options
  const { login = pages.home, failure = pages.login, logout = pages.login } = redirects
  return { login, failure, logout }
}

/**
 * Returns the value of `Clear-Site-Data`. Not the cookies by default: those of sibling hosts would go with them, and
 * the session cookie is taken back anyway.
 */
function siteDataOf ({ clearSiteData = false }: AuthRoutesOptions): string | null {
  if (clearSiteData === false) return null
  return (clearSiteData === true ? ['cache', 'storage'] : clearSiteData).map((name) => `"${name}"`).join(', ')
}

/** Returns the error handler of a route that forms are sent to, as a part of its options. */
function onFailure ({ context, redirects }: Routes) {
  return redirects === null ? {} : { errorHandler: failedForms(context, () => redirects.failure) }
}

function addLogin (app: FastifyInstance, routes: Routes): void {
  const { context, body, userSchema, redirects, onRequest, shown, userOf, optionsOf } = routes
  const signedIn = Type.Object({ user: userSchema, session: SessionView }, {
    description: 'Who is signed in, and the session.'
  })
  app.post('/login', {
    onRequest,
    ...body.options,
    ...onFailure(routes),
    schema: {
      summary: 'Sign in',
      body: body.schema,
      response: { 200: signedIn, 303: Redirect, 400: errorReply(`${FAULTY}.`), ...LOGIN_ERRORS, 403: NotAllowed }
    }
  }, async (request, reply) => {
    // Its client keeps a token, and would not see the cookie.
    if (context.core.credentials.isBearer(request.headers)) throw new errors.AMBIGUOUS_CREDENTIALS()
    const user = await userOf(request)
    if (user === null) throw new errors.INVALID_CREDENTIALS()
    const view = shown(user)
    const session = await login(context, request, user, await optionsOf(user, request))
    if (redirects !== null && isForm(request)) return seeOther(reply, takePath(context, request) ?? redirects.login)
    return reply.send({ user: view, session })
  })
}

function addToken (app: FastifyInstance, routes: Routes): void {
  const { context, body, userSchema, onRequest, shown, userOf, optionsOf } = routes
  const issuedReply = Type.Object({ token: Token, user: userSchema, session: SessionView }, {
    description: 'The token, who it speaks for, and the session.'
  })
  app.post('/token', {
    onRequest,
    ...body.options,
    schema: {
      summary: 'Get a bearer token',
      description: 'Signs in a client that keeps no cookies. The token is in no other reply.',
      body: body.schema,
      response: { 200: issuedReply, 400: errorReply(`${FAULTY} with a session cookie.`), ...LOGIN_ERRORS }
    }
  }, async (request, reply) => {
    const user = await userOf(request)
    if (user === null) throw new errors.INVALID_CREDENTIALS()
    const view = shown(user)
    const issued = await issueToken(context, request, user, await optionsOf(user, request))
    return reply.send({ ...issued, user: view })
  })
}

function addInfo (app: FastifyInstance, { context, options: { findUser }, userSchema, shown }: Routes): void {
  app.get('/info', {
    schema: {
      summary: 'Who is signed in',
      response: {
        // Not a union of the two: that is chosen by a strict match, where a user's number for a string is none.
        200: Type.Object({
          authenticated: Type.Boolean({
            description: 'Whether somebody is signed in. If not, there is nothing else here.'
          }),
          user: Type.Optional(userSchema),
          session: Type.Optional(SessionView)
        }, { description: 'Whether somebody is signed in, and who.' }),
        503: Unavailable
      }
    }
  }, async (request, reply) => {
    const session = authOf(context, request)
    if (session === null) return reply.send({ authenticated: false })
    const user = findUser === undefined ? { id: session.userId } : await findUser(session.userId, request)
    if (user == null) {
      await requestSessionOf(context, request).end()
      return reply.send({ authenticated: false })
    }
    assertObject(user, 'what findUser returns')
    return reply.send({ authenticated: true, user: shown(user), session })
  })
}

function addRemaining (app: FastifyInstance, { context }: Routes): void {
  app.get('/remaining', {
    config: { session: { touch: false } },
    schema: {
      summary: 'What is left of the session',
      description: 'To be asked again and again: it does not extend the session.',
      response: { 200: RemainingReply, 503: Unavailable }
    }
  }, async (request, reply) => {
    const session = authOf(context, request)
    if (session === null) return reply.send({ authenticated: false })
    const { expiresAt, endsAt } = session
    const now = context.core.now()
    const until = (at: number): number => Math.max(0, at - now)
    const remaining: RemainingReply = {
      authenticated: true, remainingMs: until(expiresAt), longestMs: until(endsAt), expiresAt, endsAt
    }
    return reply.send(remaining)
  })
}

const NotConfirmed = errorReply(
  '`ERR_SESSION_STORE_UNAVAILABLE`: the store does not confirm it. The cookie is taken back all the same.'
)

function addLogout (app: FastifyInstance, routes: Routes): void {
  const { context, redirects, onRequest, clearSiteData } = routes
  app.post('/logout', {
    onRequest,
    ...onFailure(routes),
    schema: {
      summary: 'Sign out',
      description: 'Succeeds also when nobody was signed in.',
      response: { 204: NoContent, 303: Redirect, 403: OtherSite, 503: NotConfirmed }
    }
  }, async (request, reply) => {
    await logout(context, request)
    // Whatever the scheme is said to be: the browser knows better, and does it over https alone.
    if (clearSiteData !== null) reply.header('clear-site-data', clearSiteData)
    if (redirects !== null && isForm(request)) return seeOther(reply, redirects.logout)
    return reply.code(204).send()
  })
}

/**
 * Checks the user that `verify` returned. Returns `null` for anything falsy.
 * @throws TypeError for what is truthy and has no usable id
 */
function checkedUser (user: unknown): LoginUser | null {
  if (!user) return null
  assertObject(user, 'what verify returns')
  const { id } = user as { id?: unknown }
  userIdText(id, 'user.id')
  return user as LoginUser
}

function pick (user: object, names: string[]): object {
  const members = user as Record<string, unknown>
  return Object.fromEntries(names.filter((name) => name in members).map((name) => [name, members[name]]))
}
