import type { FastifyRequest } from 'fastify'
import { errors } from '../errors.ts'
import { assertMembers, isObject, membersOf } from '../session/arguments.ts'
import { apply, diff, jsonOf, parseData, picked } from '../session/changes.ts'
import type { Data } from '../session/changes.ts'
import { storedData } from '../session/data.ts'
import { END_OPTIONS, statedCause } from '../session/end-cause.ts'
import type { EndOptions } from '../session/end-cause.ts'
import { idpText } from '../session/idp.ts'
import type { IdpSession } from '../session/idp.ts'
import type { NewSession } from '../session/new-record.ts'
import { toInfo } from '../session/record.ts'
import { methodsText, useOf } from '../session/sign-in.ts'
import type { JsonObject, SessionInfo } from '../session/record.ts'
import { toBearer } from '../session/token.ts'
import { assertOfUser, ofUser, userIdText, userMember } from '../session/user-id.ts'
import type { Duration } from '../util/duration.ts'
import type { AnyReply, AnyRequest, PluginContext } from './context.ts'
import { assertSameSite } from './cross-site.ts'
import type { RequestAuth } from './request-auth.ts'
import { requestSessionOf, storedSessionOf } from './request-session.ts'
import type { SessionData } from './session-data.ts'
import { CSRF_SECRET } from './session-object.ts'

/** Who signs in. Only `id` is read, and nothing else is stored. */
export interface LoginUser {
  /** The user's id: 1 to 255 characters, a finite number, or a bigint. A number and its text name the same user. */
  readonly id: string | number | bigint
}

/** How a session is begun. */
export interface LoginOptions {
  /** A name for people, at most 200 characters: "Ada's phone". */
  label?: string | null | undefined
  /** What the application wants to know about the session, at most 4,096 bytes of JSON. */
  meta?: Readonly<JsonObject> | null | undefined
  /** `true`: the timeouts of the `remember` option. `false`: the cookie ends with the browser session. */
  remember?: boolean | undefined
  /**
   * Keys of `request.session` that go along when the user changes; `true`: all. Default: none. The same user keeps
   * all.
   */
  keep?: readonly string[] | true | undefined
  /**
   * Data that `request.session` has from then on, key by key over what goes along. Stored together with the session.
   * Must be JSON, and must not name another user.
   * @see [Session data](docs/guides/session-data.md#data-of-a-sign-in)
   */
  data?: SessionData | undefined
  /**
   * The session at an OpenID Connect provider that it begins with, by which `revokeIdp` ends it; `null`: none. Default:
   * that of the session before, if the same user signs in again.
   * @see [OpenID Connect](docs/guides/openid-connect.md)
   */
  idp?: IdpSession | null | undefined
  /**
   * How the user has proved who they are, at most ten names such as `['pwd', 'otp']`, each of 1 to 32 characters of
   * ASCII without a space. `requireRecentLogin` can ask for them. Each sign-in names all of its own. Default: none.
   * @see RFC 8176
   */
  methods?: readonly string[] | undefined
  /**
   * Who acts as the user, where that is somebody else, such as a colleague who helps them: 1 to 255 characters. The
   * session then lives an hour at most, unless timeouts say otherwise, which cannot be longer than the plugin's.
   * `remember` is not possible. Must not be given and be `undefined`. Default: the user.
   * @see [Acting as a user](docs/guides/impersonation.md)
   */
  actor?: string
  /** Milliseconds or a string such as `'30m'`; default the plugin's. Never longer than the absolute timeout. */
  idleTimeout?: Duration | undefined
  /** Milliseconds or a string such as `'7d'`; default the plugin's. */
  absoluteTimeout?: Duration | undefined
}

const NAMES = [
  'label', 'meta', 'remember', 'keep', 'data', 'idp', 'methods', 'actor', 'idleTimeout', 'absoluteTimeout'
] as const satisfies ReadonlyArray<keyof LoginOptions>

/** Reads options of a login, also those that an object of a class has. @throws TypeError */
export function readLoginOptions (options: LoginOptions): LoginOptions {
  return membersOf(options, 'options', NAMES)
}

/** Signs a user in: `app.login`. */
export type Login = (request: AnyRequest, user: LoginUser, options?: LoginOptions) => Promise<RequestAuth>

/** Signs out who is signed in, if anybody is: `app.logout`. */
export type Logout = (request: AnyRequest, reply?: AnyReply, options?: EndOptions) => Promise<void>

/**
 * Signs a user in: a new session takes the place of the request's, and the reply sets its cookie.
 * @throws TypeError when the user has no usable id, or an option is of the wrong type; the errors of `userIdFrom`
 * @throws ERR_SESSION_RESERVED_KEY for such a key of `data`
 * @throws ERR_SESSION_UNSUPPORTED in a bearer request; for `idp` in a store that cannot find sessions by it
 * @throws ERR_SESSION_IMPERSONATED for the user whom the request's session acts as, where `actor` is not given
 * @throws ERR_SESSION_INSECURE_CONNECTION, ERR_SESSION_CSRF_REJECTED, ERR_SESSION_LIMIT_REACHED
 * @throws ERR_SESSION_DATA_TOO_LARGE, ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL
 */
export async function login (
  context: PluginContext, request: FastifyRequest, user: LoginUser, given: LoginOptions = {}
): Promise<RequestAuth> {
  const { userId, own } = checkedUser(context, user)
  const options = readLoginOptions(given)
  const keep = checkedKeep(options.keep)
  const session = requestSessionOf(context, request)
  session.stored.assertKeepsCookies('login')
  const previous = session.stored.record
  // A colleague who passes a route that signs the same user in again, such as for a second factor, is still not them.
  const goesOn = previous?.userId === userId && previous.actor !== null
  if (goesOn && !('actor' in options)) throw new errors.IMPERSONATED()
  const keys = previous?.userId === userId || keep === true ? null : keep
  const users = { userId, previous: previous?.userId ?? null, userIdFrom: context.options.userIdFrom }
  const begunWith = checkedData(options.data, users)
  const kept = (present: Data): Data => {
    return { ...ofUser(withoutCsrfSecret({ ...picked(present, keys), ...begunWith }), users), ...own }
  }
  const changes = diff(session.stored.data, session.data)
  const data = jsonOf(kept(session.data))
  await session.begin({
    userId,
    ...newSessionOptions(context, options),
    data,
    carry: (endedData) => JSON.stringify(kept(apply(parseData(endedData) ?? {}, changes)))
  })
  return session.stored.auth as RequestAuth
}

/**
 * Begins a session for a client that keeps its token itself. The token is shown here and nowhere else.
 * @throws as `login`, but for ERR_SESSION_IMPERSONATED and ERR_SESSION_INSECURE_CONNECTION
 */
export async function issueToken (
  context: PluginContext, request: FastifyRequest, user: LoginUser, given: LoginOptions = {}
): Promise<{ token: string, session: SessionInfo }> {
  const { userId, own } = checkedUser(context, user)
  const options = readLoginOptions(given)
  checkedKeep(options.keep)
  const data = checkedData(options.data, { userId, previous: null, userIdFrom: context.options.userIdFrom })
  const begun = { userId, ...newSessionOptions(context, options), data: JSON.stringify({ ...data, ...own }) }
  const { record, token } = await storedSessionOf(context, request).issue(begun)
  return { token: toBearer(token), session: toInfo(record) as SessionInfo }
}

/** What `app.logout` is called with, after the request. */
interface LogoutArguments { reply?: unknown, options?: EndOptions | undefined }

/**
 * Ends the request's session, if it has one, and takes the cookie back, also where the store does not confirm the end.
 * @throws TypeError for what is no request or no reply, and for a `reason` or an `actor` that is no such text
 * @throws ERR_SESSION_CSRF_REJECTED, ERR_SESSION_STORE_UNAVAILABLE
 */
export async function logout (
  context: PluginContext, request: FastifyRequest, { reply, options = {} }: LogoutArguments = {}
): Promise<void> {
  assertMembers(options, 'options', END_OPTIONS)
  const cause = statedCause(options)
  const session = requestSessionOf(context, request)
  assertReply(reply)
  assertSameSite(context, request)
  await session.end(cause)
}

/** Checks that options do not stand where a reply does: they would have no effect. @throws TypeError */
function assertReply (reply: unknown): void {
  if (reply === undefined) return
  const isReply = isObject(reply) && ('send' in reply || 'raw' in reply)
  if (!isReply) throw new TypeError('reply must be the reply of the request, or undefined: options come after it')
}

/** Checks who signs in. `own`: what the data says of them, where this package says it. */
function checkedUser (context: PluginContext, user: LoginUser): { userId: string, own: Data } {
  if (typeof user !== 'object' || user === null) throw new TypeError('login needs a user: an object with an id')
  const { id } = user
  const userId = userIdText(id, 'user.id')
  return { userId, own: userMember(id, context.options.userIdFrom) }
}

function checkedKeep (keep: LoginOptions['keep'] = []): readonly string[] | true {
  // A text would be taken for the list of its letters.
  const isKeys = Array.isArray(keep) && keep.every((key) => typeof key === 'string')
  if (keep !== true && !isKeys) throw new TypeError('keep must be true or an array of strings')
  return keep
}

/** Returns the data that the session begins with, as it is stored. */
function checkedData (data: LoginOptions['data'], users: Parameters<typeof assertOfUser>[1]): Data {
  if (data === undefined) return {}
  const given = storedData(data)
  assertOfUser(given, users, 'user.id')
  return given
}

type NewSessionOptions = Pick<NewSession, 'label' | 'meta' | 'idp' | 'methods'> & ReturnType<typeof useOf>

function newSessionOptions (
  { options: timeouts }: PluginContext, { label, meta, idp, methods, ...use }: LoginOptions
): NewSessionOptions {
  const named = { label, meta, idp: idp == null ? idp : idpText(idp), methods: methodsText(methods) }
  return { ...named, ...useOf(use, timeouts) }
}

/** Leaves out the secret of CSRF tokens that were made before a sign-in (CVE-2023-29020). */
function withoutCsrfSecret ({ [CSRF_SECRET]: _secret, ...data }: Data): Data {
  return data
}
