import type { FastifyRequest } from 'fastify'
import { sessionTimeouts } from '../duration.ts'
import type { Duration } from '../duration.ts'
import { apply, assertShallow, diff, parseData, picked } from '../session/changes.ts'
import type { Data } from '../session/changes.ts'
import type { NewSession } from '../session/new-record.ts'
import { toInfo } from '../session/record.ts'
import type { JsonObject, SessionInfo } from '../session/record.ts'
import { toBearer } from '../session/token.ts'
import { userIdText } from '../session/user-id.ts'
import type { PluginContext } from './context.ts'
import { assertKeepsCookies } from './cookie.ts'
import { CSRF_SECRET } from './session-object.ts'
import { stateOf } from './state.ts'

/** Who signs in. Only `id` is read, and nothing else is stored. */
export interface LoginUser {
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
  /** What of `request.session` goes along when the user changes: these keys, or all. Default none; the same user keeps all. */
  keep?: readonly string[] | true | undefined
  /** Milliseconds or a string such as `'30m'`; default the plugin's. Never longer than the absolute timeout. */
  idleTimeout?: Duration | undefined
  /** Milliseconds or a string such as `'7d'`; default the plugin's. */
  absoluteTimeout?: Duration | undefined
}

const NAMES = ['label', 'meta', 'remember', 'keep', 'idleTimeout', 'absoluteTimeout']

export type Login = (request: FastifyRequest, user: LoginUser, options?: LoginOptions) => Promise<SessionInfo>

/**
 * @throws TypeError when the user has no usable id, or an option is of the wrong type
 * @throws ERR_SESSION_UNSUPPORTED in a bearer request
 * @throws ERR_SESSION_INSECURE_CONNECTION, ERR_SESSION_CSRF_REJECTED, ERR_SESSION_LIMIT_REACHED, ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL
 */
export async function login (context: PluginContext, request: FastifyRequest, user: LoginUser, options: LoginOptions = {}): Promise<SessionInfo> {
  const userId = checkedUserId(user, options)
  const state = stateOf(context, request)
  assertKeepsCookies(context, request, 'login')
  const previous = state.stored.record
  const keys = previous?.userId === userId ? null : options.keep === true ? null : options.keep ?? []
  const own = ownData(context, user)
  const kept = (present: Data): Data => ({ ...withoutCsrfSecret(picked(present, keys)), ...own })
  const changes = diff(state.stored.data, state.data)
  const data = kept(state.data)
  assertShallow(data)
  await state.begin({
    userId,
    ...sessionOptions(context, options),
    data: JSON.stringify(data),
    carry: (endedData) => JSON.stringify(kept(apply(parseData(endedData) ?? {}, changes)))
  })
  return state.stored.auth as SessionInfo
}

/**
 * Begins a session for a client that keeps its token itself; nothing else ever shows it.
 * @throws as `login`, but for ERR_SESSION_INSECURE_CONNECTION
 */
export async function issueToken (context: PluginContext, request: FastifyRequest, user: LoginUser, options: LoginOptions = {}): Promise<{ token: string, session: SessionInfo }> {
  const userId = checkedUserId(user, options)
  const { record, token } = await stateOf(context, request).stored.issue({ userId, ...sessionOptions(context, options), data: JSON.stringify(ownData(context, user)) })
  return { token: toBearer(token), session: toInfo(record) as SessionInfo }
}

function checkedUserId (user: LoginUser, options: LoginOptions): string {
  if (typeof user !== 'object' || user === null) throw new TypeError('login needs a user: an object with an id')
  if (Object.keys(options).some((name) => !NAMES.includes(name))) throw new TypeError('login was given an option it does not have')
  return userIdText(user.id, 'user.id')
}

/** What a session's data says of its user, where that is where the application keeps it. */
function ownData ({ options }: PluginContext, { id }: LoginUser): Data {
  if (options.userIdFrom !== null) return {}
  return { userId: typeof id === 'bigint' ? String(id) : id }
}

function sessionOptions (context: PluginContext, options: LoginOptions): Pick<NewSession, 'label' | 'meta' | 'idleTimeoutMs' | 'absoluteTimeoutMs' | 'persistent'> {
  const { label, meta, remember } = options
  const { options: all } = context
  return { label, meta, ...sessionTimeouts(options, remember === true ? all.remember : all, all.longest), ...remember !== undefined && { persistent: remember } }
}

/** The secret of CSRF tokens made before a sign-in does not go along (CVE-2023-29020). */
function withoutCsrfSecret ({ [CSRF_SECRET]: _secret, ...data }: Data): Data {
  return data
}
