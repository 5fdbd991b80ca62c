import type { Static, TObject } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import { errors } from '../../errors.ts'
import { FASTIFY_OPTIONS } from '../../options/faults.ts'
import { resolveAttempts } from '../../options/resolve.ts'
import type { AttemptOptions } from '../../options/types.ts'
import { isObject } from '../../session/arguments.ts'
import type { AttemptLimits } from '../../session/attempts.ts'
import type { LoginOptions, LoginUser } from '../login.ts'
import { redirectFaults } from './forms.ts'
import type { DefaultCredentials, DefaultUser } from './schemas.ts'
import { isStandardSchema } from './standard-schema.ts'
import type { OutputOf, StandardSchema } from './standard-schema.ts'

type Awaitable<T> = T | Promise<T>

/** Options of `authRoutes`, besides `prefix`. Wrong ones fail at `register`, with one error that names all of them. */
export interface AuthRoutesOptions<Credentials = DefaultCredentials, User extends LoginUser = LoginUser> {
  /**
   * **Required.** Checks the credentials. Gets them and the request. Returns the user, an object with an `id`, or
   * `null`. Anything else that is truthy is a 500, and counts neither as a login nor as a failed one. Let it take as
   * long for an unknown user as for a wrong password. An error with a `statusCode` goes to the client as it is, unless
   * `redirects` send its form to a page; one below 500 counts as a failed login.
   * @see [Failed logins](docs/guides/rate-limits.md)
   */
  verify: (credentials: Credentials, request: FastifyRequest) => Awaitable<User | null | undefined>
  /**
   * Schema of the body of a login: of TypeBox, or of any library that implements Standard Schema (Zod, Valibot,
   * ArkType). `verify`, `account` and `onLogin` get what it gives out, an object. Default: `{ username, password,
   * remember? }`. `remember` counts only if the schema declares it.
   * @see [Schemas](docs/guides/signing-in.md#schemas-of-zod-valibot-or-arktype)
   */
  credentials?: TObject | StandardSchema<unknown, object> | undefined
  /** Limits on failed logins. What is left out is as in the `attempts` of the plugin. `false`: no limits. */
  attempts?: AttemptOptions | false | undefined
  /**
   * Returns the name by which credentials mean an account, whether there is such an account or not. For `null`, failed
   * logins are limited by network only. Default: `username`; if `credentials` declares none, `null`, with a warning.
   */
  account?: ((credentials: Credentials) => string | number | bigint | null | undefined) | undefined
  /** Finds the user of a session, for `GET /info`. `null` ends the session. Required with `user`. */
  findUser?: ((id: string, request: FastifyRequest) => Awaitable<LoginUser | null | undefined>) | undefined
  /**
   * TypeBox schema of what replies show of a user: an allow-list, which `verify` and `findUser` have to fit. Default:
   * `{ id }`.
   * @see OWASP ASVS 5.0 15.3.1
   */
  user?: TObject | undefined
  /**
   * Returns how the session of a login begins, as the options of `app.login`: label, meta, timeouts, `keep`,
   * `data`. Gets the user, the credentials and the request. What it leaves out is as without it: `remember` is that of
   * the body, if `credentials` declares it.
   */
  onLogin?: (
    (user: User, credentials: Credentials, request: FastifyRequest) => Awaitable<LoginOptions | undefined>
  ) | undefined
  /**
   * Pages to which a browser's form is sent with 303, whatever came of it: `{ login, failure, logout }`, fixed paths or
   * URLs. `{}`: those of the plugin's `pages`. Requests with JSON get JSON. Default: forms get JSON as well.
   * @see [Plain HTML forms](docs/guides/forms.md)
   */
  redirects?: AuthRedirects | undefined
  /**
   * Data of the site that browsers clear after a logout, by the header `Clear-Site-Data`; `true`: `['cache',
   * 'storage']`. `'cookies'` are those of all hosts of the registrable domain, and device-bound sessions go with them.
   * `'cache'` can take Chromium seconds. Default: `false`.
   * @see [Clear what the browser keeps](docs/guides/signing-in.md#clear-what-the-browser-keeps)
   */
  clearSiteData?: boolean | readonly SiteData[] | undefined
}

/**
 * Kinds of data that the header `Clear-Site-Data` names. `'*'`: all of them, and what is added to them later.
 * @see https://w3c.github.io/webappsec-clear-site-data/
 */
export type SiteData =
  | 'cache' | 'cookies' | 'storage' | 'executionContexts' | 'clientHints' | 'prefetchCache' | 'prerenderCache' | '*'

/** Fixed paths or URLs to which forms are sent. */
export interface AuthRedirects {
  /**
   * Target after a login, if `app.authenticatePage` remembers none. Default: the `home` of the plugin's `pages`.
   */
  login?: string | undefined
  /**
   * Target after a login or a logout that failed. `error` in its query says why, such as `error=invalid_credentials`.
   * Default: the `login` of the plugin's `pages`.
   */
  failure?: string | undefined
  /** Target after a logout. Default: the `login` of the plugin's `pages`. */
  logout?: string | undefined
}

/** Values that fit a schema: also a date for a text, and for the text of an `id` whatever a user may have. */
type Shown<T> = {
  [K in keyof T]:
    | (K extends 'id' ? string extends T[K] ? LoginUser['id'] : never : never)
    | ShownValue<T[K]>
    | (object extends Pick<T, K> ? undefined : never)
}
type ShownValue<T> =
  T extends string ? T | (string extends T ? Date : never)
    : T extends ReadonlyArray<infer Each> ? ReadonlyArray<ShownValue<Each>>
      : T extends object ? Shown<T> : T

type FindUser<Found> = (id: string, request: FastifyRequest) => Awaitable<(LoginUser & Found) | null | undefined>

type CredentialsSchema = NonNullable<AuthRoutesOptions['credentials']>
type CredentialsOf<Schema extends CredentialsSchema> =
  Schema extends StandardSchema ? OutputOf<Schema> : Schema extends TObject ? Schema['static'] : never

/** `AuthRoutesOptions`, and what the schemas say of them. */
interface WithSchemas<Schema extends CredentialsSchema, View extends TObject, User extends LoginUser>
  extends Omit<AuthRoutesOptions<CredentialsOf<Schema>, User>, 'credentials' | 'user' | 'findUser'> {
  /**
   * Schema of the body of a login: of TypeBox, or of any library that implements Standard Schema (Zod, Valibot,
   * ArkType). Default: `{ username, password, remember? }`.
   */
  credentials?: Schema | undefined
  /** TypeBox schema of what replies show of a user: an allow-list. Default: `{ id }`. */
  user?: View | undefined
  /** Finds the user of a session, for `GET /info`. `null` ends the session. Required with `user`. */
  findUser?: FindUser<Shown<Static<View>>> | undefined
  /** Path that all routes begin with. */
  prefix?: string | undefined
}

interface WithPrefix {
  /** Path that all routes begin with. */
  prefix?: string
}

/**
 * Infers types: those of `verify` and `onLogin` from a `credentials` schema, and what `verify` and `findUser` have to
 * return from a `user` schema.
 * `app.register(authRoutes, authRoutesOptions({ credentials: MyBody, verify: async ({ email }) => … }))`.
 */
export function authRoutesOptions<
  User extends LoginUser & Shown<Static<View>>,
  Schema extends CredentialsSchema = typeof DefaultCredentials,
  View extends TObject = typeof DefaultUser
> (options: WithSchemas<Schema, View, User>): AuthRoutesOptions & WithPrefix {
  // Fastify's register is not generic over a plugin's options: the body's type is known here only.
  return options as unknown as AuthRoutesOptions
}

type Fault = string | null

const functionFault = (value: unknown): Fault => typeof value === 'function' ? null : 'must be a function'
const credentialsFault = (value: unknown): Fault => isStandardSchema(value) || isObjectSchema(value)
  ? null
  : 'must be a TypeBox object schema, or implement Standard Schema'
/** Compiles only with all that there are. */
const SITE_DATA: Record<SiteData, true> = {
  cache: true,
  cookies: true,
  storage: true,
  executionContexts: true,
  clientHints: true,
  prefetchCache: true,
  prerenderCache: true,
  '*': true
}
const siteDataFault = (value: unknown): Fault => {
  const isList = Array.isArray(value) && value.length > 0
  const isKnown = isList && value.every((each) => typeof each === 'string' && Object.hasOwn(SITE_DATA, each))
  return isKnown || typeof value === 'boolean'
    ? null
    : `must be true, false or a list of ${Object.keys(SITE_DATA).map((name) => `"${name}"`).join(', ')}`
}
const userFault = (value: unknown): Fault => isObjectSchema(value)
  ? null
  : 'must be a TypeBox object schema: it declares what replies may show'

type Checked = Exclude<keyof AuthRoutesOptions, 'verify' | 'attempts' | 'redirects'>

/** Says what is wrong with the value of an option. Compiles only with the options that the interface has. */
const CHECKS: Record<Checked, (value: unknown) => Fault> = {
  findUser: functionFault,
  onLogin: functionFault,
  account: functionFault,
  credentials: credentialsFault,
  user: userFault,
  clearSiteData: siteDataFault
}
const REDIRECTS: Record<keyof AuthRedirects, true> = { login: true, failure: true, logout: true }
const NAMES = ['verify', 'attempts', 'redirects', ...Object.keys(CHECKS), ...FASTIFY_OPTIONS]

/**
 * Checks the options. Returns the limits on failed logins; what they leave out is as in `base`, the plugin's.
 * @throws ERR_SESSION_INVALID_OPTIONS
 */
export function checkAuthRoutesOptions (options: AuthRoutesOptions, base: AttemptLimits | null): AttemptLimits | null {
  const { limits, faults } = resolveAttempts(options.attempts, base)
  if (typeof options.verify !== 'function') faults.push('verify is required: a function')
  for (const [name, faultOf] of Object.entries(CHECKS)) {
    const value = options[name as Checked]
    const fault = value === undefined ? null : faultOf(value)
    if (fault !== null) faults.push(`${name} ${fault}`)
  }
  if (options.user !== undefined && options.findUser === undefined) {
    faults.push('findUser is required with user: a session knows no more of its user than the id')
  }
  faults.push(...redirectFaults(options.redirects, Object.keys(REDIRECTS)))
  for (const name of Object.keys(options)) if (!NAMES.includes(name)) faults.push(`${name} is not an option`)
  if (faults.length > 0) throw new errors.INVALID_OPTIONS(faults.map((fault) => `authRoutes: ${fault}`).join('; '))
  return limits
}

function isObjectSchema (value: unknown): value is TObject {
  if (!isObject(value) || !('type' in value) || !('properties' in value)) return false
  return value.type === 'object' && isObject(value.properties)
}
