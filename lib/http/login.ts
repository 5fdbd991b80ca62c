import type { FastifyRequest } from 'fastify'
import { sessionTimeouts } from '../util/duration.ts'
import type { Duration } from '../util/duration.ts'
import { assertBoolean, assertMembers } from '../session/arguments.ts'
import { apply, assertShallow, diff, parseData, picked } from '../session/changes.ts'
import type { Data } from '../session/changes.ts'
import type { NewSession } from '../session/new-record.ts'
import { toInfo } from '../session/record.ts'
import type { JsonObject, SessionInfo } from '../session/record.ts'
import { toBearer } from '../session/token.ts'
import { ofUser, userIdText } from '../session/user-id.ts'
import type { AnyRequest } from './any-server.ts'
import type { PluginContext } from './context.ts'
import type { RequestAuth } from './request-auth.ts'
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

export type Login = (request: AnyRequest, user: LoginUser, options?: LoginOptions) => Promise<RequestAuth>

/**
 * @throws TypeError when the user has no usable id, or an option is of the wrong type
 * @throws ERR_SESSION_UNSUPPORTED in a bearer request
 * @throws ERR_SESSION_INSECURE_CONNECTION, ERR_SESSION_CSRF_REJECTED, ERR_SESSION_LIMIT_REACHED, ERR_SESSION_DATA_TOO_LARGE, ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL
 */
export async function login (context: PluginContext, request: FastifyRequest, user: LoginUser, options: LoginOptions = {}): Promise<RequestAuth> {
  const { userId, own } = checked(context, user, options)
  const keep = checkedKeep(options.keep)
  const state = stateOf(context, request)
  state.stored.assertKeepsCookies('login')
  const previous = state.stored.record
  const keys = previous?.userId === userId || keep === true ? null : keep
  const whose = { userId, previous: previous?.userId ?? null, userIdFrom: context.options.userIdFrom }
  const kept = (present: Data): Data => ({ ...ofUser(withoutCsrfSecret(picked(present, keys)), whose), ...own })
  const changes = diff(state.stored.data, state.data)
  const data = kept(state.data)
  assertShallow(data)
  await state.begin({
    userId,
    ...sessionOptions(context, options),
    data: JSON.stringify(data),
    carry: (endedData) => JSON.stringify(kept(apply(parseData(endedData) ?? {}, changes)))
  })
  return state.stored.auth as RequestAuth
}

/**
 * Begins a session for a client that keeps its token itself; nothing else ever shows it.
 * @throws as `login`, but for ERR_SESSION_INSECURE_CONNECTION
 */
export async function issueToken (context: PluginContext, request: FastifyRequest, user: LoginUser, options: LoginOptions = {}): Promise<{ token: string, session: SessionInfo }> {
  const { userId, own } = checked(context, user, options)
  checkedKeep(options.keep)
  const { record, token } = await stateOf(context, request).stored.issue({ userId, ...sessionOptions(context, options), data: JSON.stringify(own) })
  return { token: toBearer(token), session: toInfo(record) as SessionInfo }
}

/** Who signs in, and what a session's data says of them, where that is where the application keeps it. */
function checked (context: PluginContext, user: LoginUser, options: LoginOptions): { userId: string, own: Data } {
  if (typeof user !== 'object' || user === null) throw new TypeError('login needs a user: an object with an id')
  assertMembers(options, 'options', NAMES)
  const { id } = user
  const userId = userIdText(id, 'user.id')
  return { userId, own: context.options.userIdFrom === null ? { userId: typeof id === 'bigint' ? userId : id } : {} }
}

/** A text would be taken for the list of all its parts. */
function checkedKeep (keep: LoginOptions['keep'] = []): readonly string[] | true {
  if (keep !== true && !(Array.isArray(keep) && keep.every((key) => typeof key === 'string'))) throw new TypeError('keep must be true or an array of strings')
  return keep
}

function sessionOptions (context: PluginContext, options: LoginOptions): Pick<NewSession, 'label' | 'meta' | 'idleTimeoutMs' | 'absoluteTimeoutMs' | 'persistent'> {
  const { label, meta, remember } = options
  assertBoolean(remember, 'remember')
  const { options: all } = context
  return { label, meta, ...sessionTimeouts(options, remember === true ? all.remember : all, all.longest), ...remember !== undefined && { persistent: remember } }
}

/** The secret of CSRF tokens made before a sign-in does not go along (CVE-2023-29020). */
function withoutCsrfSecret ({ [CSRF_SECRET]: _secret, ...data }: Data): Data {
  return data
}
