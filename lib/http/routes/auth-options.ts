import type { Static, TObject, TSchema } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import { errors } from '../../errors.ts'
import type { AttemptOptions } from '../../options/schema.ts'
import { checkedAttempts } from '../../options/attempts.ts'
import { isObject } from '../../session/arguments.ts'
import type { AttemptLimits } from '../../session/attempts.ts'
import type { LoginOptions, LoginUser } from '../login.ts'
import type { DefaultCredentials, DefaultUser } from './schemas.ts'

type Awaitable<T> = T | Promise<T>

/** What `authRoutes` takes besides `prefix`. */
export interface AuthRoutesOptions<Credentials = DefaultCredentials, User extends LoginUser = LoginUser> {
  /**
   * Checks the credentials: the user (an object with an `id`), or `null`. Something else that is truthy is a 500 and
   * counts as no login. Should take as long for an unknown user as for a wrong password. An error with a `statusCode`
   * goes to the client as it is; one below 500 counts as a failed login.
   */
  verify: (credentials: Credentials, request: FastifyRequest) => Awaitable<User | null | undefined>
  /**
   * TypeBox schema of `POST /login`'s body. Default `{ username, password, remember? }`. `remember` counts only where
   * the schema has it.
   */
  credentials?: TObject | undefined
  /** Limits on failed logins; what is left out is as the plugin's `attempts` says. `false`: none. */
  attempts?: AttemptOptions | false | undefined
  /**
   * What credentials name the account by, for those limits: what was typed in, whether there is such an account or
   * not. Default `username`, where the credentials have that; else, and for `null`, logins are limited by network only.
   */
  account?: ((credentials: Credentials) => string | number | bigint | null | undefined) | undefined
  /** Finds the user of a session for `GET /info`; `null` ends the session. Required with `user`. */
  findUser?: ((id: string, request: FastifyRequest) => Awaitable<LoginUser | null | undefined>) | undefined
  /** TypeBox schema of what may be shown of a user: an allow-list. Default `{ id }`. */
  user?: TObject | undefined
  /**
   * How to begin the session: label, meta, timeouts… Default: what the body says of `remember`, where `credentials`
   * declares that.
   */
  onLogin?: ((user: User, credentials: Credentials, request: FastifyRequest) => Awaitable<LoginOptions | undefined>) | undefined
  /** Where a browser's form is sent afterwards (303), instead of a JSON reply. Fixed targets, never from input. */
  redirects?: { login?: string | undefined, failure?: string | undefined, logout?: string | undefined } | undefined
}

/** What may be given where a schema shows it: also a date for a text, and for that of an `id` any that a user can have. */
type Shown<T> = { [K in keyof T]: (K extends 'id' ? string extends T[K] ? LoginUser['id'] : never : never) | ShownValue<T[K]> | (object extends Pick<T, K> ? undefined : never) }
type ShownValue<T> = T extends string ? T | (string extends T ? Date : never) : T extends ReadonlyArray<infer Each> ? ReadonlyArray<ShownValue<Each>> : T extends object ? Shown<T> : T

/** `AuthRoutesOptions` of which the schemas say the rest. */
type WithSchemas<Credentials extends TObject, View extends TObject, User extends LoginUser> = Omit<AuthRoutesOptions<Static<Credentials>, User>, 'credentials' | 'user' | 'findUser'> & {
  credentials?: Credentials | undefined
  user?: View | undefined
  findUser?: ((id: string, request: FastifyRequest) => Awaitable<(LoginUser & Shown<Static<View>>) | null | undefined>) | undefined
  prefix?: string | undefined
}

/**
 * Gives `verify` and `onLogin` the types of a `credentials` schema, and holds what `verify` and `findUser` give against
 * a `user` schema:
 * `app.register(authRoutes, authRoutesOptions({ credentials: MyBody, verify: async ({ email }) => … }))`.
 */
export function authRoutesOptions<User extends LoginUser & Shown<Static<View>>, Credentials extends TObject = typeof DefaultCredentials, View extends TObject = typeof DefaultUser> (
  options: WithSchemas<Credentials, View, User>
): AuthRoutesOptions & { prefix?: string } {
  // Fastify's register is not generic over a plugin's options: the body's type is known here only.
  return options as unknown as AuthRoutesOptions
}

const NAMES = ['verify', 'credentials', 'findUser', 'user', 'onLogin', 'redirects', 'attempts', 'account', 'prefix', 'logLevel', 'logSerializers']
const REDIRECTS = ['login', 'failure', 'logout']

/**
 * Gives the limits on failed logins; `base`: the plugin's.
 * @throws ERR_SESSION_INVALID_OPTIONS
 */
export function checkAuthRoutesOptions (options: AuthRoutesOptions, base: AttemptLimits | null): AttemptLimits | null {
  const { limits, faults } = checkedAttempts(options.attempts, base)
  const isSchema = (value: unknown): value is TSchema => isObject(value) && 'type' in value && value.type === 'object' && 'properties' in value && isObject(value.properties)
  if (typeof options.verify !== 'function') faults.push('verify is required: a function')
  for (const name of ['findUser', 'onLogin', 'account'] as const) {
    if (options[name] !== undefined && typeof options[name] !== 'function') faults.push(`${name} must be a function`)
  }
  for (const name of ['credentials', 'user'] as const) {
    if (options[name] !== undefined && !isSchema(options[name])) faults.push(`${name} must be a TypeBox object schema`)
  }
  if (options.user !== undefined && options.findUser === undefined) faults.push('findUser is required with user: a session knows no more of its user than the id')
  const { redirects = {} } = options
  for (const [name, target] of typeof redirects === 'object' && redirects !== null ? Object.entries(redirects) : [['login', null] as const]) {
    if (!REDIRECTS.includes(name)) faults.push(`redirects.${name} is not an option`)
    else if (target !== undefined && (typeof target !== 'string' || target.length === 0)) faults.push('redirects must be paths or URLs')
  }
  for (const name of Object.keys(options)) if (!NAMES.includes(name)) faults.push(`${name} is not an option`)
  if (faults.length > 0) throw new errors.INVALID_OPTIONS(faults.map((fault) => `authRoutes: ${fault}`).join('; '))
  return limits
}
