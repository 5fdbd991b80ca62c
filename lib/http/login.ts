import type { FastifyRequest } from 'fastify'
import { durationFault, durationMs } from '../duration.ts'
import { apply, assertShallow, diff, parseData, picked } from '../session/changes.ts'
import type { Data } from '../session/changes.ts'
import type { JsonObject, SessionInfo } from '../session/record.ts'
import { userIdText } from '../session/user-id.ts'
import type { PluginContext } from './context.ts'
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
  idleTimeout?: number | string | undefined
  /** Milliseconds or a string such as `'7d'`; default the plugin's. */
  absoluteTimeout?: number | string | undefined
}

const NAMES = ['label', 'meta', 'remember', 'keep', 'idleTimeout', 'absoluteTimeout']

export type Login = (request: FastifyRequest, user: LoginUser, options?: LoginOptions) => Promise<SessionInfo>

/**
 * @throws TypeError when the user has no usable id, or an option is of the wrong type
 * @throws ERR_SESSION_INSECURE_CONNECTION, ERR_SESSION_CSRF_REJECTED, ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL
 */
export async function login (context: PluginContext, request: FastifyRequest, user: LoginUser, options: LoginOptions = {}): Promise<SessionInfo> {
  if (typeof user !== 'object' || user === null) throw new TypeError('login needs a user: an object with an id')
  const unknown = Object.keys(options).find((name) => !NAMES.includes(name))
  if (unknown !== undefined) throw new TypeError('login was given an option it does not have')
  const state = stateOf(context, request)
  const userId = userIdText(user.id, 'user.id')
  const previous = state.stored.record
  const keys = previous?.userId === userId ? null : options.keep === true ? null : options.keep ?? []
  const own = state.ownsUserId ? { userId: typeof user.id === 'bigint' ? userId : user.id } : {}
  const kept = (present: Data): Data => ({ ...withoutCsrfSecret(picked(present, keys)), ...own })
  const changes = diff(state.stored.data, state.data)
  const data = kept(state.data)
  assertShallow(data)
  const { remember, label, meta } = options
  await state.begin({
    userId,
    label,
    meta,
    data: JSON.stringify(data),
    carry: (endedData) => JSON.stringify(kept(apply(parseData(endedData) ?? {}, changes))),
    ...timeouts(context, options),
    ...remember !== undefined && { persistent: remember }
  })
  return state.stored.auth as SessionInfo
}

/** The secret of CSRF tokens made before a sign-in does not go along (CVE-2023-29020). */
function withoutCsrfSecret ({ [CSRF_SECRET]: _secret, ...data }: Data): Data {
  return data
}

function timeouts ({ options }: PluginContext, { remember, idleTimeout, absoluteTimeout }: LoginOptions): { idleTimeoutMs: number, absoluteTimeoutMs: number } {
  const defaults = remember === true ? options.remember : options
  const absoluteTimeoutMs = timeoutMs('absoluteTimeout', absoluteTimeout, defaults.absoluteTimeoutMs)
  const idleTimeoutMs = timeoutMs('idleTimeout', idleTimeout, defaults.idleTimeoutMs)
  return { idleTimeoutMs: Math.min(idleTimeoutMs, absoluteTimeoutMs), absoluteTimeoutMs }
}

function timeoutMs (name: string, value: number | string | undefined, fallback: number): number {
  if (value === undefined) return fallback
  const fault = durationFault(value)
  if (fault !== null) throw new TypeError(`${name} ${fault}`)
  return durationMs(value)
}
