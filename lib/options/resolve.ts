import { attempted } from './attempted.ts'
import { Faults, redisFault, shapeOf } from './faults.ts'
import type { SessionOptions } from './schema.ts'
import { attemptsOf } from './attempts.ts'
import { limitOf } from './limit.ts'
import { nearCacheOf } from './near-cache.ts'
import { dataSchemaOf } from './session-schema.ts'
import { hasOption, timeoutsOf, timeoutWarnings } from './timeouts.ts'
import type { ResolvedTimeouts } from './timeouts.ts'
import type { AttemptLimits } from '../session/attempts.ts'
import type { DataSchema } from '../session/data-schema.ts'
import { isSessionStore } from '../session/store.ts'
import { isExpressStore } from '../store/foreign-store.ts'
import type { NearCacheOptions } from '../near/cache.ts'

const MIN_SECRET_LENGTH = 32
/** RFC 6265bis 4.1.1: a cookie name is a token. */
const COOKIE_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
/**
 * RFC 6265bis 5.6: browsers leave out an attribute of more than 1,024 characters, which makes another cookie of it. A
 * comma may end the cookie where somebody on the way joins header lines; @fastify/cookie writes no `<`.
 */
const PATH = /^\/[\x21-\x2B\x2D-\x3A\x3D-\x7E]{0,1023}$/
/** RFC 1035 2.3.4: labels of at most 63 characters, 253 in all. */
const DOMAIN = /^(?=.{1,253}$)\.?[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/i
const IDENTIFIER = /^[A-Za-z_$][\w$]*$/

export interface CookieAttributes {
  secure: boolean
  sameSite: 'lax' | 'strict' | 'none'
  httpOnly: boolean
  path: string
  domain: string | undefined
  partitioned: boolean
}

export interface Decorators {
  authenticate: string
  login: string
  logout: string
  attemptLogin: string
  requireRecentLogin: string
  sessions: string
  auth: string
  requireAuth: string
}

/** The options, checked, with every default in place and every duration in milliseconds. */
export interface ResolvedOptions extends ResolvedTimeouts {
  secrets: string[]
  redis: SessionOptions['redis']
  store: SessionOptions['store']
  keyPrefix: string
  durability: 'default' | 'replicated'
  /** `null`: session data is stored as it is. */
  encryption: { keys: string[], acceptPlain: boolean } | null
  /** `null`: every session is read from the store. */
  nearCache: NearCacheOptions | null
  cookieNames: string[]
  cookie: CookieAttributes
  /** `null`: as long as the session's absolute timeout; `false`: until the browser closes. */
  cookieMaxAgeMs: number | null | false
  userIdFrom: ((data: Record<string, unknown>) => unknown) | null
  dataSchema: DataSchema | null
  maxDataSize: number
  /** Besides the own one. */
  origins: string[]
  csrf: boolean
  bearer: boolean
  expressSession: 'share' | 'adopt' | null
  /** How many sessions a user may have, and whether a new one ends the oldest. */
  limit: { max: number, evicts: boolean } | null
  /** How many logins may fail; `null`: any number. */
  attempts: AttemptLimits | null
  decorators: Decorators
  /** Things to say once, at boot. */
  warnings: Array<{ message: string }>
}

/**
 * Checks and completes the plugin's options.
 * @throws ERR_SESSION_INVALID_OPTIONS that names every fault and repeats no value
 */
export function resolveOptions (input: unknown): ResolvedOptions {
  const faults = new Faults()
  const options = shapeOf(input, faults)
  const warnings: ResolvedOptions['warnings'] = []
  const cookie = cookieOf(options, faults, warnings)
  const resolved: ResolvedOptions = {
    secrets: secretsOf(options, faults, warnings),
    ...backendOf(options, faults),
    encryption: encryptionOf(options, faults),
    nearCache: nearCacheOf(options, faults),
    cookieNames: cookieNamesOf(options, cookie, faults),
    cookie,
    cookieMaxAgeMs: maxAgeOf(options, faults),
    ...timeoutsOf(options, faults),
    userIdFrom: options.userIdFrom ?? null,
    dataSchema: dataSchemaOf(options, faults),
    maxDataSize: options.maxDataSize ?? 65_536,
    bearer: options.bearer ?? false,
    expressSession: expressSessionOf(options, faults),
    limit: limitOf(options, faults),
    origins: originsOf(options, faults),
    csrf: options.csrf ?? true,
    attempts: attemptsOf(options.attempts, faults),
    decorators: decoratorsOf(options, faults),
    warnings
  }
  addMeaningless(options, resolved, faults)
  if (options.userIdFrom !== undefined && typeof options.userIdFrom !== 'function') faults.add('userIdFrom', 'must be a function')
  faults.throwIfAny()
  warnings.push(...timeoutWarnings(options))
  if (hasOption(options.store, 'disableTTL')) warnings.push({ message: 'sessions never expire in a RedisStore with disableTTL: ending them is the application\'s work' })
  return resolved
}

/** Adds a fault for each option that means nothing together with the others. */
function addMeaningless (options: Partial<SessionOptions>, { limit }: ResolvedOptions, faults: Faults): void {
  const { store, csrf, origins, onLimit, touchAfter } = options
  if (origins !== undefined && csrf === false) faults.add('origins', 'cannot be given together with csrf: false, which checks none')
  if (onLimit !== undefined && limit === null) faults.add('onLimit', 'needs maxSessionsPerUser: there is no limit')
  if (touchAfter !== undefined && hasOption(store, 'disableTouch')) faults.add('touchAfter', 'cannot be given together with a store with disableTouch: it never extends a session')
  if (!hasOption(store, 'disableTTL')) return
  for (const name of ['idleTimeout', 'absoluteTimeout', 'remember', 'assurance'] as const) {
    if (options[name] !== undefined) faults.add(name, 'cannot be given together with a store with disableTTL: its sessions never expire')
  }
}

function secretsOf ({ secret }: Partial<SessionOptions>, faults: Faults, warnings: ResolvedOptions['warnings']): string[] {
  const secrets: unknown[] = Array.isArray(secret) ? Array.from(secret) : [secret]
  if (secret === undefined) faults.add('secret', 'is required: 32 characters or more from a random source')
  else if (!secrets.every((each) => typeof each === 'string') || secrets.length === 0) faults.add('secret', 'must be a string or an array of strings')
  else if (secrets.includes('')) faults.add('secret', 'must not be empty')
  else if ((secrets[0] as string).length < MIN_SECRET_LENGTH) faults.add('secret', `${Array.isArray(secret) ? '(the first) ' : ''}must have 32 characters or more`)
  else if (secrets.some((each) => (each as string).length < MIN_SECRET_LENGTH)) warnings.push({ message: 'an older secret has fewer than 32 characters: remove it as soon as its sessions have ended' })
  return secrets as string[]
}

function backendOf ({ redis, store, keyPrefix, durability }: Partial<SessionOptions>, faults: Faults): Pick<ResolvedOptions, 'redis' | 'store' | 'keyPrefix' | 'durability'> {
  if (redis !== undefined && store !== undefined) faults.add('store', 'cannot be given together with redis')
  if (redis === undefined && store === undefined && process.env.NODE_ENV === 'production') faults.add('redis', 'is required in production; pass store: new MemoryStore() to keep sessions in memory on purpose')
  const fault = redis === undefined ? null : attempted(() => redisFault(redis), 'cannot be read')
  if (fault !== null) faults.add('redis', fault)
  if (store !== undefined && !attempted(() => isSessionStore(store) || isExpressStore(store), false)) faults.add('store', 'must be a MemoryStore, a RedisStore or an express-session compatible store')
  if (keyPrefix !== undefined && store !== undefined) faults.add('keyPrefix', 'goes with redis: a store has its own')
  if (keyPrefix !== undefined && !/^[\x21-\x3F\x41-\x7E][\x21-\x7E]{0,127}$/.test(keyPrefix)) faults.add('keyPrefix', 'must be 1 to 128 printable characters, the first not @')
  else if (keyPrefix !== undefined && /[{}]/.test(keyPrefix)) faults.add('keyPrefix', 'must not contain braces: they would put all sessions on one Cluster node')
  if (durability !== undefined && store !== undefined) faults.add('durability', 'goes with redis: a RedisStore has its own')
  else if (durability === 'replicated' && redis === undefined) faults.add('durability', 'needs redis, with a replica')
  return { redis, store, keyPrefix: keyPrefix ?? 'sess:', durability: durability ?? 'default' }
}

function cookieOf ({ cookie = {} }: Partial<SessionOptions>, faults: Faults, warnings: ResolvedOptions['warnings']): CookieAttributes {
  const { secure = true, sameSite = 'lax', httpOnly = true, path = '/', domain, partitioned = false } = cookie
  if (sameSite === 'none' && !secure) faults.add('cookie.sameSite', 'none needs cookie.secure')
  if (partitioned && !secure) faults.add('cookie.partitioned', 'needs cookie.secure')
  if (!PATH.test(path)) faults.add('cookie.path', 'must begin with / and be at most 1,024 characters of ASCII without space, comma, semicolon or <')
  if (domain !== undefined && !DOMAIN.test(domain)) faults.add('cookie.domain', 'must be a host name')
  if (!httpOnly) warnings.push({ message: 'cookie.httpOnly is false: any script in a page can read the session' })
  return { secure, sameSite, httpOnly, path, domain, partitioned }
}

function expressSessionOf ({ expressSession, redis, bearer }: Partial<SessionOptions>, faults: Faults): ResolvedOptions['expressSession'] {
  if (expressSession !== undefined && redis === undefined) faults.add('expressSession', 'needs redis: that of the Express app')
  if (expressSession === 'share' && bearer === true) faults.add('bearer', 'cannot be given together with expressSession share: an Express session has no place for it')
  return expressSession ?? null
}

function encryptionOf ({ encryption, expressSession }: Partial<SessionOptions>, faults: Faults): ResolvedOptions['encryption'] {
  if (encryption === undefined) return null
  const { keys = [], acceptPlain = false } = encryption as Partial<typeof encryption>
  if (keys.some((key) => key.length < MIN_SECRET_LENGTH)) faults.add('encryption.keys', 'must each have 32 characters or more')
  if (expressSession !== undefined) faults.add('encryption', 'cannot be given together with expressSession: an Express app reads what is stored')
  return { keys, acceptPlain }
}

function maxAgeOf ({ cookie }: Partial<SessionOptions>, faults: Faults): number | null | false {
  const maxAge = cookie?.maxAge
  if (maxAge === false) return false
  return maxAge === undefined ? null : faults.duration('cookie.maxAge', maxAge)
}

/** Express-session's own. */
const EXPRESS_COOKIE = 'connect.sid'

function cookieNamesOf ({ cookieName, expressSession }: Partial<SessionOptions>, { secure, path, domain }: CookieAttributes, faults: Faults): string[] {
  const hostOnly = secure && path === '/' && domain === undefined
  const ours = hostOnly ? '__Host-sid' : 'sid'
  const byDefault = expressSession === 'share' ? [EXPRESS_COOKIE] : expressSession === 'adopt' ? [ours, EXPRESS_COOKIE] : [ours]
  const cookieNames = cookieName === undefined ? byDefault : [cookieName].flat()
  const [written = ''] = cookieNames
  if (cookieNames.length === 0 || !cookieNames.every((name) => COOKIE_NAME.test(name) && name.length <= 128)) faults.add('cookieName', 'must be a cookie name or an array of them')
  else if (new Set(cookieNames).size !== cookieNames.length) faults.add('cookieName', 'must not name one twice')
  else if (/^__Host-/i.test(written) && !hostOnly) faults.add('cookieName', '__Host- needs cookie.secure, path / and no domain')
  else if (/^__Secure-/i.test(written) && !secure) faults.add('cookieName', '__Secure- needs cookie.secure')
  return cookieNames
}

/** An origin as browsers send it. That of an app's own scheme has no other form. */
function isOrigin (origin: string): boolean {
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^/\\?#@*\s]+$/.test(origin) || !URL.canParse(origin)) return false
  const { protocol, origin: normal } = new URL(origin)
  return protocol.startsWith('http') ? normal === origin : !/^(file|data|blob|javascript):/.test(protocol)
}

function originsOf ({ origins = [] }: Partial<SessionOptions>, faults: Faults): string[] {
  if (!origins.every(isOrigin)) faults.add('origins', 'must be origins such as https://app.example.com, without path or trailing slash')
  return origins
}

function decoratorsOf ({ decorators = {} }: Partial<SessionOptions>, faults: Faults): ResolvedOptions['decorators'] {
  const { authenticate = 'authenticate', login = 'login', logout = 'logout', attemptLogin = 'attemptLogin', requireRecentLogin = 'requireRecentLogin', sessions = 'sessions', auth = 'auth', requireAuth = 'requireAuth' } = decorators
  const onInstance = { authenticate, login, logout, attemptLogin, requireRecentLogin, sessions }
  const onRequest = { auth, requireAuth }
  const resolved = { ...onInstance, ...onRequest }
  for (const [name, value] of Object.entries(resolved)) {
    if (!IDENTIFIER.test(value)) faults.add(`decorators.${name}`, 'must be an identifier')
  }
  if (new Set(Object.values(onInstance)).size < 6 || new Set([auth, requireAuth, 'session']).size < 3) faults.add('decorators', 'must differ')
  return resolved
}
