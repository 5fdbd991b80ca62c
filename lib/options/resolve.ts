import { FormatRegistry, TypeGuard } from '@sinclair/typebox'
import type { ResolvedDeviceBound } from '../device/binding.ts'
import type { ResolvedForkDetection } from '../device/forks.ts'
import { durationMs } from '../util/duration.ts'
import { sitePath } from '../util/site-path.ts'
import type { NearCacheOptions as NearCacheSize } from '../near/cache.ts'
import { isClusterTarget, targetFault } from '../redis/target.ts'
import type { AttemptLimits } from '../session/attempts.ts'
import { DataSchema } from '../session/data-schema.ts'
import { RESERVED_NAMES } from '../session/data.ts'
import { endedForFault } from '../session/end-cause.ts'
import type { ResolvedSecurityLog } from '../session/security-log.ts'
import { hasLists, isSessionStore } from '../session/store.ts'
import type { AttemptLimit } from '../session/store.ts'
import { isExpressStore } from '../store/foreign.ts'
import { canBeNear, canBeNearByEnds } from '../store/open.ts'
import { DEFAULTS, ENCRYPTION_DEFAULTS, NEAR_CACHE_DEFAULTS, SECURITY_LOG_DEFAULTS } from './defaults.ts'
import { deviceBoundOf } from './device-bound.ts'
import { forkDetectionOf } from './fork-detection.ts'
import { attempted, Faults, fitting } from './faults.ts'
import { adoptOf, cookieNameByDefault, expressSessionOf, warnOfConnectRedis } from './other-libraries.ts'
import { AttemptsSchema, SessionOptionsSchema } from './schema.ts'
import { hasOption, timeoutsOf, warnOfCookieMaxAge, warnOfLongCookies, warnOfShortTimeouts } from './timeouts.ts'
import type { ResolvedTimeouts } from './timeouts.ts'
import type { AttemptOptions, DecoratorOptions, PagesOptions, SessionOptions } from './types.ts'

interface CookieAttributes {
  secure: boolean
  sameSite: 'lax' | 'strict' | 'none'
  httpOnly: boolean
  path: string
  domain: string | undefined
  partitioned: boolean
}

/** The options, checked, with every default in place and every duration in milliseconds. */
export interface ResolvedOptions extends ResolvedTimeouts {
  secrets: string[]
  redis: SessionOptions['redis']
  store: SessionOptions['store']
  keyPrefix: string
  durability: 'default' | 'replicated'
  events: 'broadcast' | 'sharded' | 'both'
  /** `null`: session data is stored as it is. */
  encryption: { keys: string[], acceptPlain: boolean } | null
  /** `null`: every session is read from the store. */
  nearCache: NearCacheSize | null
  /** The first is written, all are read. */
  cookieNames: string[]
  cookie: CookieAttributes
  /** `null`: as long as the session's absolute timeout. `false`: until the browser closes. */
  cookieMaxAgeMs: number | null | false
  userIdFrom: ((data: Record<string, unknown>) => unknown) | null
  dataSchema: DataSchema | null
  maxDataSize: number
  /** `null`: no devices are remembered. */
  knownDevicesMs: number | null
  /** How long it is remembered how a session ended. `null`: not at all. */
  endedForMs: number | null
  /** `null`: sessions are not bound to devices. */
  deviceBound: ResolvedDeviceBound | null
  forkDetection: ResolvedForkDetection | null
  /** Origins besides the server's own. */
  origins: string[]
  csrf: boolean
  bearer: boolean
  /** Library whose sessions are taken over. `null`: none are. */
  adopt: 'express-session' | '@fastify/session' | null
  /** `null`: no Express app shares the sessions. */
  expressSession: 'share' | null
  /** Limit of sessions per user, and whether a new session ends the oldest. `null`: no limit. */
  limit: { max: number, evicts: boolean } | null
  /** Limits on failed logins. `null`: none. */
  attempts: AttemptLimits | null
  /** `null`: there is none. */
  securityLog: ResolvedSecurityLog | null
  /** Pages that browsers are sent to: paths of this site. */
  pages: Record<keyof PagesOptions, string>
  decorators: Record<keyof DecoratorOptions, string>
  /** Warnings, to be logged once at boot. */
  warnings: Array<{ message: string }>
}

/** Options of which each fits its schema. */
type Given = Partial<SessionOptions>

/**
 * Checks and completes the plugin's options.
 * @throws ERR_SESSION_INVALID_OPTIONS that names every fault and shows no value
 */
export function resolveOptions (input: unknown): ResolvedOptions {
  const faults = new Faults()
  // What the schema lets through has the types of the interface that it is held equal to.
  const options = fitting(input, SessionOptionsSchema, faults) as Given
  const cookie = cookieOf(options, faults)
  // It gets what is stored, whatever type the application declares.
  const userIdFrom = (options.userIdFrom ?? null) as ResolvedOptions['userIdFrom']
  const timeouts = timeoutsOf(options, faults)
  const resolved: ResolvedOptions = {
    secrets: secretsOf(options, faults),
    ...backendOf(options, faults),
    encryption: encryptionOf(options, faults),
    nearCache: nearCacheOf(options, faults),
    cookieNames: cookieNamesOf(options, cookie, faults),
    cookie,
    cookieMaxAgeMs: cookieMaxAgeOf(options, faults),
    ...timeouts,
    userIdFrom,
    dataSchema: dataSchemaOf(options, userIdFrom, faults),
    maxDataSize: options.maxDataSize ?? DEFAULTS.maxDataSize,
    knownDevicesMs: options.knownDevices === undefined ? null : faults.duration('knownDevices', options.knownDevices),
    bearer: options.bearer ?? DEFAULTS.bearer,
    adopt: adoptOf(options, faults),
    expressSession: expressSessionOf(options, faults),
    limit: limitOf(options, faults),
    endedForMs: endedForOf(options, faults),
    deviceBound: deviceBoundOf(options, faults),
    forkDetection: forkDetectionOf(options, timeouts.touchAfterMs, faults),
    origins: originsOf(options, faults),
    csrf: options.csrf ?? DEFAULTS.csrf,
    attempts: attemptsOf(options.attempts, faults),
    securityLog: securityLogOf(options, input, faults),
    pages: pagesOf(options, faults),
    decorators: decoratorsOf(options, faults),
    warnings: faults.warnings
  }
  addMeaningless(options, resolved, faults)
  if (options.userIdFrom !== undefined && typeof options.userIdFrom !== 'function') {
    faults.add('userIdFrom', 'must be a function')
  }
  faults.throwIfAny()
  warnOfShortTimeouts(options, faults)
  warnOfCookieMaxAge(options, faults)
  warnOfLongCookies(resolved, faults)
  attempted(() => warnOfConnectRedis(options, faults), undefined)
  if (hasOption(options.store, 'disableTTL')) {
    faults.warn('sessions never expire in a RedisStore with disableTTL: ending them is the application\'s work')
  }
  return resolved
}

/** Adds a fault for each option that means nothing together with the others. */
function addMeaningless (options: Given, { limit }: ResolvedOptions, faults: Faults): void {
  const { store, csrf, origins, onLimit, touchAfter } = options
  if (origins !== undefined && csrf === false) {
    faults.add('origins', 'cannot be given together with csrf: false, which checks none')
  }
  if (onLimit !== undefined && limit === null) faults.add('onLimit', 'needs maxSessionsPerUser: there is no limit')
  if (touchAfter !== undefined && hasOption(store, 'disableTouch')) {
    faults.add('touchAfter', 'cannot be given together with a store with disableTouch: it never extends a session')
  }
  if (!hasOption(store, 'disableTTL')) return
  for (const name of ['idleTimeout', 'absoluteTimeout', 'remember', 'assurance'] as const) {
    if (options[name] === undefined) continue
    faults.add(name, 'cannot be given together with a store with disableTTL: its sessions never expire')
  }
}

const MIN_SECRET_LENGTH = 32
const TOO_SHORT = 'must have 32 characters or more: put a new one before it, as in [new, old], and nobody is signed out'
const NO_SIGNER = 'must be a string or an array of strings: what a signer of your own has signed is not read'

/** Whether a secret is a signer, as @fastify/session takes one. */
function isSigner (secret: unknown): boolean {
  return typeof secret === 'object' && secret !== null && attempted(() => 'sign' in secret && 'unsign' in secret, false)
}

function secretsOf ({ secret }: Given, faults: Faults): string[] {
  const isShort = (each: string): boolean => each.length < MIN_SECRET_LENGTH
  const secrets: unknown[] = Array.isArray(secret) ? Array.from(secret) : [secret]
  if (secret === undefined) faults.add('secret', 'is required: 32 characters or more from a random source')
  else if (isSigner(secret)) faults.add('secret', NO_SIGNER)
  else if (!areStrings(secrets)) faults.add('secret', 'must be a string or an array of strings')
  else if (secrets.includes('')) faults.add('secret', 'must not be empty')
  else if (isShort(secrets[0])) {
    faults.add('secret', `${Array.isArray(secret) ? '(the first) ' : ''}${TOO_SHORT}`)
  } else if (secrets.some(isShort)) {
    faults.warn('an older secret has fewer than 32 characters: remove it as soon as its sessions have ended')
  }
  // Whatever is no string is a fault by now.
  return secrets as string[]
}

function areStrings (values: unknown[]): values is [string, ...string[]] {
  return values.length > 0 && values.every((each) => typeof each === 'string')
}

const IN_PRODUCTION = 'is required in production; pass store: new MemoryStore() to keep sessions in memory on purpose'
const STORE = 'must be a MemoryStore, a RedisStore or an express-session compatible store'

function backendOf (
  { redis, store, keyPrefix, durability, events }: Given, faults: Faults
): Pick<ResolvedOptions, 'redis' | 'store' | 'keyPrefix' | 'durability' | 'events'> {
  if (redis !== undefined && store !== undefined) faults.add('store', 'cannot be given together with redis')
  if (redis === undefined && store === undefined && process.env.NODE_ENV === 'production') {
    faults.add('redis', IN_PRODUCTION)
  }
  const fault = redis === undefined ? null : attempted(() => targetFault(redis), 'cannot be read')
  if (fault !== null) faults.add('redis', fault)
  if (store !== undefined && !attempted(() => isSessionStore(store) || isExpressStore(store), false)) {
    faults.add('store', STORE)
  }
  if (keyPrefix !== undefined) addPrefixFault(keyPrefix, store, faults)
  if (durability !== undefined && store !== undefined) {
    faults.add('durability', 'goes with redis: a RedisStore has its own')
  } else if (durability === 'replicated' && redis === undefined) {
    faults.add('durability', 'needs redis, with a replica')
  }
  if (events !== undefined && store !== undefined) {
    faults.add('events', 'goes with redis: a RedisStore has its own')
  } else if (events !== undefined && events !== 'broadcast' && redis === undefined) {
    faults.add('events', 'needs redis')
  }
  return {
    redis,
    store,
    keyPrefix: keyPrefix ?? DEFAULTS.keyPrefix,
    durability: durability ?? DEFAULTS.durability,
    events: events ?? DEFAULTS.events
  }
}

function addPrefixFault (keyPrefix: string, store: Given['store'], faults: Faults): void {
  if (store !== undefined) faults.add('keyPrefix', 'goes with redis: a store has its own')
  if (!/^[\x21-\x3F\x41-\x7E][\x21-\x7E]{0,127}$/.test(keyPrefix)) {
    faults.add('keyPrefix', 'must be 1 to 128 printable characters, the first not @')
  } else if (/[{}]/.test(keyPrefix)) {
    faults.add('keyPrefix', 'must not contain braces: they would put all sessions on one Cluster node')
  }
}

/**
 * RFC 6265bis 5.6: browsers leave out an attribute of more than 1,024 characters, which makes another cookie of it. A
 * comma may end the cookie where somebody on the way joins header lines; @fastify/cookie writes no `<`.
 */
const PATH = /^\/[\x21-\x2B\x2D-\x3A\x3D-\x7E]{0,1023}$/
const PATH_RULE = 'must begin with / and be at most 1,024 characters of ASCII without space, comma, semicolon or <'
const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?'
/** RFC 1035 2.3.4: labels of at most 63 characters, 253 in all. */
const DOMAIN = new RegExp(`^(?=.{1,253}$)\\.?${LABEL}(?:\\.${LABEL})*$`, 'i')

function cookieOf ({ cookie = {} }: Given, faults: Faults): CookieAttributes {
  const {
    secure = DEFAULTS.cookie.secure,
    sameSite = DEFAULTS.cookie.sameSite,
    httpOnly = DEFAULTS.cookie.httpOnly,
    path = DEFAULTS.cookie.path,
    domain,
    partitioned = DEFAULTS.cookie.partitioned
  } = cookie
  if (sameSite === 'none' && !secure) faults.add('cookie.sameSite', 'none needs cookie.secure')
  if (partitioned && !secure) faults.add('cookie.partitioned', 'needs cookie.secure')
  if (!PATH.test(path)) faults.add('cookie.path', PATH_RULE)
  if (domain !== undefined && !DOMAIN.test(domain)) faults.add('cookie.domain', 'must be a host name')
  if (!httpOnly) faults.warn('cookie.httpOnly is false: any script in a page can read the session')
  return { secure, sameSite, httpOnly, path, domain, partitioned }
}

function cookieMaxAgeOf ({ cookie }: Given, faults: Faults): number | null | false {
  const maxAge = cookie?.maxAge
  if (maxAge === false) return false
  return maxAge === undefined ? null : faults.duration('cookie.maxAge', maxAge)
}

/** RFC 6265bis 4.1.1: a cookie name is a token. */
const COOKIE_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}$/

function isHostOnly ({ secure, path, domain }: CookieAttributes): boolean {
  return secure && path === '/' && domain === undefined
}

/**
 * Beginnings of names, in upper or lower case, whose cookies browsers drop without these attributes: RFC 6265bis 4.1.3
 * and, from Chromium 140 on, those with `Http`, which no script can set. The first that fits counts.
 */
const COOKIE_PREFIXES = [
  {
    prefix: '__Host-Http-',
    isMet: (cookie: CookieAttributes) => isHostOnly(cookie) && cookie.httpOnly,
    says: 'cookie.secure, cookie.httpOnly, path / and no domain'
  },
  { prefix: '__Host-', isMet: isHostOnly, says: 'cookie.secure, path / and no domain' },
  {
    prefix: '__Http-',
    isMet: ({ secure, httpOnly }: CookieAttributes) => secure && httpOnly,
    says: 'cookie.secure and cookie.httpOnly'
  },
  { prefix: '__Secure-', isMet: ({ secure }: CookieAttributes) => secure, says: 'cookie.secure' }
]

function cookieNamesOf (options: Given, cookie: CookieAttributes, faults: Faults): string[] {
  const ours = isHostOnly(cookie) ? '__Host-sid' : 'sid'
  const { cookieName = cookieNameByDefault(options, ours) } = options
  const cookieNames = [cookieName].flat()
  const [written = ''] = cookieNames
  const need = COOKIE_PREFIXES.find(({ prefix }) => written.toLowerCase().startsWith(prefix.toLowerCase()))
  if (cookieNames.length === 0 || !cookieNames.every((name) => COOKIE_NAME.test(name))) {
    faults.add('cookieName', 'must be a cookie name or an array of them')
  } else if (new Set(cookieNames).size !== cookieNames.length) {
    faults.add('cookieName', 'must not name one twice')
  } else if (need?.isMet(cookie) === false) {
    faults.add('cookieName', `${need.prefix} needs ${need.says}`)
  }
  return cookieNames
}

/** Resolves how long ends are remembered. */
function endedForOf ({ endedFor, store, expressSession }: Given, faults: Faults): number | null {
  if (endedFor === undefined) return null
  const fault = endedForFault(endedFor)
  if (fault !== null) faults.add('endedFor', fault)
  const remembers = attempted(() => store === undefined || (isSessionStore(store) && 'ended' in store), true)
  if (!remembers) faults.add('endedFor', 'needs a store that remembers ends: this one has no ended()')
  // What Express deletes leaves no mark, and would be taken for what has run out.
  if (expressSession === 'share') faults.add('endedFor', 'cannot be given together with expressSession share')
  return durationMs(endedFor)
}

/** Resolves the limit of sessions per user. A store that has to read all sessions for it has one only on request. */
function limitOf (options: Given, faults: Faults): ResolvedOptions['limit'] {
  const { maxSessionsPerUser: max, onLimit = DEFAULTS.onLimit, store } = options
  const isIndexed = attempted(() => store === undefined || (isSessionStore(store) && hasLists(store)), true)
  if (max === false || (max === undefined && !isIndexed)) return null
  const lacking = attempted(() => isIndexed ? null : lackingMethod(store), null)
  if (lacking !== null) {
    faults.add('maxSessionsPerUser', `needs a store that can list its sessions: this one has no ${lacking}`)
  }
  return { max: max ?? DEFAULTS.maxSessionsPerUser, evicts: onLimit === 'evict-oldest' }
}

/** Names what a store without lists needs to find a user's sessions. Returns `null` if it has that. */
function lackingMethod (store: Given['store']): string | null {
  if (isSessionStore(store)) return 'listByUser()'
  return isExpressStore(store) && typeof store.all !== 'function' ? 'all()' : null
}

/** Resolves what `sessionSchema` and `migrate` say of session data. */
function dataSchemaOf (
  { sessionSchema, migrate }: Given, userIdFrom: ResolvedOptions['userIdFrom'], faults: Faults
): DataSchema | null {
  if (migrate !== undefined && typeof migrate !== 'function') faults.add('migrate', 'must be a function')
  else if (migrate !== undefined && sessionSchema === undefined) faults.add('migrate', 'goes with sessionSchema')
  if (sessionSchema === undefined) return null
  try {
    if (!TypeGuard.IsObject(sessionSchema)) throw new TypeError('no object')
    const unknown = formatsIn(sessionSchema).find((format) => !FormatRegistry.Has(format))
    if (unknown !== undefined) {
      const name = JSON.stringify(unknown)
      faults.add('sessionSchema', `uses the format ${name}, which TypeBox has to be told of: FormatRegistry.Set(…)`)
      return null
    }
    const reserved = Object.keys(sessionSchema.properties).find((name) => RESERVED_NAMES.has(name))
    if (reserved !== undefined) {
      faults.add('sessionSchema', `has ${reserved}, a name that is reserved on request.session`)
    }
    return new DataSchema(sessionSchema, { migrate: migrate ?? null, userIdFrom })
  } catch {
    faults.add('sessionSchema', 'must be a Type.Object(…) of @sinclair/typebox: it declares which data is kept')
    return null
  }
}

/** Returns the formats that a schema names. Nothing fits a format that TypeBox does not know. */
function formatsIn (schema: unknown): string[] {
  if (typeof schema !== 'object' || schema === null) return []
  const { format } = schema as { format?: unknown }
  return [...typeof format === 'string' ? [format] : [], ...Object.values(schema).flatMap(formatsIn)]
}

function encryptionOf ({ encryption, expressSession, adopt }: Given, faults: Faults): ResolvedOptions['encryption'] {
  if (encryption === undefined) return null
  // A member that is a fault is left out.
  const { keys = [], acceptPlain = ENCRYPTION_DEFAULTS.acceptPlain } = encryption as Partial<typeof encryption>
  if (keys.some((key) => key.length < MIN_SECRET_LENGTH)) {
    faults.add('encryption.keys', 'must each have 32 characters or more')
  }
  if (expressSession !== undefined) {
    faults.add('encryption', 'cannot be given together with expressSession: an Express app reads what is stored')
  } else if (adopt !== undefined) {
    faults.add('encryption', 'cannot be given together with adopt: what is taken over is stored as it is')
  }
  return { keys, acceptPlain }
}

/** Shorter, and a busy process takes a server that answers for silent. Longer, and it is no bound. */
const MAX_STALE = { least: '1s', most: '1m' }

function nearCacheOf (options: Given, faults: Faults): ResolvedOptions['nearCache'] {
  const { nearCache = DEFAULTS.nearCache, store } = options
  if (nearCache === false) return null
  const given = nearCache === true ? {} : nearCache
  const { maxEntries = NEAR_CACHE_DEFAULTS.maxEntries, maxStale = NEAR_CACHE_DEFAULTS.maxStale } = given
  const maxStaleMs = faults.duration('nearCache.maxStale', maxStale)
  if (maxStaleMs < durationMs(MAX_STALE.least) || maxStaleMs > durationMs(MAX_STALE.most)) {
    faults.add('nearCache.maxStale', `must be from ${MAX_STALE.least} to ${MAX_STALE.most}`)
  }
  if (store !== undefined && !attempted(() => canBeNear(store), true)) {
    faults.add('nearCache', 'needs redis or a RedisStore: another store does not tell what others change in it')
  }
  const { invalidate = NEAR_CACHE_DEFAULTS.invalidate } = given
  if (invalidate === 'ends') {
    const fault = endsFault(options)
    if (fault !== null) faults.add('nearCache.invalidate', fault)
  }
  return { maxEntries, maxStaleMs, invalidate }
}

/** Says why a near-cache cannot be told of ends alone, or returns `null`. */
function endsFault ({ redis, store, events, expressSession }: Given): string | null {
  if (expressSession === 'share') return 'cannot be given together with expressSession: an Express app tells of no end'
  const isBroadcast = (events ?? DEFAULTS.events) === 'broadcast'
  if (redis !== undefined && isBroadcast && attempted(() => isClusterTarget(redis), false)) return ENDS_IN_CLUSTER
  if (store === undefined || !attempted(() => canBeNear(store), true)) return null
  return attempted(() => canBeNearByEnds(store), true) ? null : ENDS_OF_STORE
}

const ENDS_IN_CLUSTER = '\'ends\' needs events: \'sharded\' in a Cluster'
const ENDS_OF_STORE = '\'ends\' needs redis or a RedisStore of \'fastify-user-sessions\', in a Cluster one with ' +
  'events: \'sharded\''

const ORIGINS = 'must be origins such as https://app.example.com, without path or trailing slash'

function originsOf ({ origins = [] }: Given, faults: Faults): string[] {
  if (!origins.every(isOrigin)) faults.add('origins', ORIGINS)
  return origins
}

/** Whether a text is an origin as browsers send it. That of an app's own scheme has no other form. */
function isOrigin (origin: string): boolean {
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^/\\?#@*\s]+$/.test(origin) || !URL.canParse(origin)) return false
  const { protocol, origin: normal } = new URL(origin)
  return protocol.startsWith('http') ? normal === origin : !/^(file|data|blob|javascript):/.test(protocol)
}

const inMilliseconds = ({ max, within }: { max: number, within: string }): AttemptLimit => {
  return { max, withinMs: durationMs(within) }
}

const ATTEMPTS = {
  network: inMilliseconds(DEFAULTS.attempts.network),
  accountNetwork: inMilliseconds(DEFAULTS.attempts.accountNetwork),
  account: inMilliseconds(DEFAULTS.attempts.account)
}

/** Resolves the limits on failed logins. `null`: there are none. What is left out is as in `base`. */
function attemptsOf (
  given: AttemptOptions | false | undefined, faults: Faults, base: AttemptLimits | null = ATTEMPTS
): AttemptLimits | null {
  if (given === false) return null
  if (given === undefined) return base
  const limit = (name: keyof AttemptLimits): AttemptLimit | null => {
    const [of, otherwise] = [given[name], (base ?? ATTEMPTS)[name]]
    if (of === false) return null
    if (of === undefined) return otherwise
    const { max, withinMs } = otherwise ?? ATTEMPTS[name]
    const within = of.within === undefined ? withinMs : faults.duration(`attempts.${name}.within`, of.within)
    return { max: of.max ?? max, withinMs: within }
  }
  return { network: limit('network'), accountNetwork: limit('accountNetwork'), account: limit('account') }
}

/** Checks and resolves an `attempts` option of routes. What it leaves out is as in `base`. */
export function resolveAttempts (
  input: unknown, base: AttemptLimits | null
): { limits: AttemptLimits | null, faults: string[] } {
  const faults = new Faults()
  const { attempts } = fitting({ attempts: input }, AttemptsSchema, faults) as Given
  const limits = attemptsOf(attempts, faults, base)
  return { limits, faults: faults.texts }
}

function securityLogOf (
  { securityLog = DEFAULTS.securityLog }: Given, input: unknown, faults: Faults
): ResolvedOptions['securityLog'] {
  if (securityLog === false) return null
  const options = securityLog === true ? {} : securityLog
  const { write = null, accounts = SECURITY_LOG_DEFAULTS.accounts } =
    typeof options === 'function' ? { write: options } : options
  // Options are copied without the methods of their class.
  const given = (): unknown => (input as { securityLog: { write?: unknown } }).securityLog.write
  if (write === null && typeof attempted(given, null) === 'function') {
    faults.add('securityLog.write', 'must not be a method of a class: wrap it, as in (entry) => audit.write(entry)')
  }
  return { write, accounts }
}

const PAGE = 'must be a path of this site, such as /login, in ASCII: the plugin sends nobody to another site'

function pagesOf ({ pages = {} }: Given, faults: Faults): ResolvedOptions['pages'] {
  const { login = DEFAULTS.pages.login, home = DEFAULTS.pages.home } = pages
  const resolved = { login, home }
  for (const [name, path] of Object.entries(resolved)) if (sitePath(path) === null) faults.add(`pages.${name}`, PAGE)
  return resolved
}

const IDENTIFIER = /^[A-Za-z_$][\w$]*$/

function decoratorsOf ({ decorators = {} }: Given, faults: Faults): ResolvedOptions['decorators'] {
  const defined = Object.entries(decorators).filter(([, name]) => name !== undefined)
  const resolved: ResolvedOptions['decorators'] = { ...DEFAULTS.decorators, ...Object.fromEntries(defined) }
  for (const [name, value] of Object.entries(resolved)) {
    if (!IDENTIFIER.test(value)) faults.add(`decorators.${name}`, 'must be an identifier')
  }
  const { auth, requireAuth, ...ofInstance } = resolved
  const areDifferent = (...names: string[]): boolean => new Set(names).size === names.length
  // A request has a session as well.
  if (!areDifferent(...Object.values(ofInstance)) || !areDifferent(auth, requireAuth, 'session')) {
    faults.add('decorators', 'must differ')
  }
  return resolved
}
