import { isSessionStore } from '../session/store.ts'
import type { Faults } from './faults.ts'
import type { ResolvedOptions } from './resolve.ts'
import type { SessionOptions } from './types.ts'

/*
 * What the options say of other session libraries: `expressSession: 'share'`, `adopt`, and options of theirs.
 */

/** Options of which each fits its schema. */
type Given = Partial<SessionOptions>

/** The cookie of each library, by its default name. */
const COOKIES = { 'express-session': 'connect.sid', '@fastify/session': 'sessionId' }

/** Returns the library whose sessions are taken over. `null`: none are. */
function adoptedLibrary ({ adopt, expressSession }: Given): ResolvedOptions['adopt'] {
  return adopt ?? (expressSession === 'adopt' ? 'express-session' : null)
}

/** Resolves `adopt`, and its former name. */
export function adoptOf (options: Given, faults: Faults): ResolvedOptions['adopt'] {
  const { adopt, expressSession, redis, cookieName } = options
  const library = adoptedLibrary(options)
  if (library === null) return null
  if (adopt === undefined) faults.warn('expressSession: \'adopt\' is called adopt: \'express-session\' now')
  else if (expressSession !== undefined) faults.add('expressSession', 'cannot be given together with adopt')
  if (redis === undefined) {
    faults.add(adopt === undefined ? 'expressSession' : 'adopt', 'needs redis: that of the application before')
  }
  if (typeof cookieName === 'string' && cookieName !== COOKIES[library]) {
    faults.warn('cookieName is one name, and the cookie of the application before is read under that alone: write ' +
      `[your name, its name], such as ['__Host-sid', '${COOKIES[library]}']`)
  }
  return library
}

/**
 * Warns of a store of connect-redis, as it stands in the registration of another library.
 * @throws what getters of the store throw
 */
export function warnOfConnectRedis ({ store }: Given, faults: Faults): void {
  if (!isConnectRedis(store)) return
  faults.warn('store is one of connect-redis: it keeps fewer promises, and finds nobody who signed in with another ' +
    'library. Write redis with its client, keyPrefix with its prefix, and adopt with the name of that library')
}

function isConnectRedis (store: Given['store']): boolean {
  if (store === undefined || isSessionStore(store)) return false
  return store.constructor.name === 'RedisStore' && 'prefix' in store && 'client' in store
}

/** Resolves whether an Express app shares the sessions. */
export function expressSessionOf (
  { expressSession, redis, bearer, assurance }: Given, faults: Faults
): ResolvedOptions['expressSession'] {
  if (expressSession !== 'share') return null
  if (redis === undefined) faults.add('expressSession', 'needs redis: that of the Express app')
  if (bearer === true) {
    faults.add('bearer', 'cannot be given together with expressSession share: an Express session has no place for it')
  }
  if (assurance !== undefined) {
    faults.add('assurance', 'cannot be given together with expressSession share: Express says how long sessions live')
  }
  return expressSession
}

/** Returns the default of `cookieName`. `ours`: that without another library. */
export function cookieNameByDefault (options: Given, ours: string): string | string[] {
  if (options.expressSession === 'share') return COOKIES['express-session']
  const library = adoptedLibrary(options)
  return library === null ? ours : [ours, COOKIES[library]]
}

const TIMEOUTS = 'write idleTimeout, and absoluteTimeout for the end of a session that is in use. A number is in ' +
  'milliseconds'

const INSTEAD = new Map(Object.entries({
  rolling: 'use extends a session, as touchAfter says (false: never)',
  saveUninitialized: 'a session is stored when it gets data or a user, never before. Leave it out',
  resave: 'a session is written when its data has changed. Leave it out',
  unset: 'call app.logout(request) to end a session, or request.session.destroy()',
  idGenerator: 'ids are of the package\'s own making. Leave it out',
  genid: 'ids are of the package\'s own making. Leave it out',
  cookiePrefix: 'leave it out. Sessions whose cookiePrefix was \'s:\' are taken over with adopt: \'express-session\'',
  algorithm: 'cookies are signed with HMAC-SHA-256. Leave it out',
  name: 'write cookieName',
  ttl: TIMEOUTS,
  maxAge: TIMEOUTS,
  expiry: TIMEOUTS,
  client: 'write redis',
  prefix: 'write keyPrefix. The prefix that Fastify takes begins with /',
  key: 'write secret, of 32 characters or more',
  salt: 'the secret is used without one. Leave it out',
  sessionName: 'the session is request.session. For a second one register the plugin in another context',
  cookieOptions: 'write cookie',
  proxy: 'set trustProxy in the options of Fastify',
  'cookie.expires': 'write absoluteTimeout for the end of a session that is in use',
  'cookie.signed': 'the cookie is always signed. Leave it out'
}))

/** Says what to write in place of an option that other libraries have. Returns `null` for any other. */
export function insteadOf (option: string): string | null {
  return INSTEAD.get(option) ?? null
}

const NOT_AUTO = 'must be true or false: \'auto\' sends the cookie over plain http to whoever asks; set it to false ' +
  'in development and use trustProxy behind a TLS proxy'

const STATELESS = 'takes over no cookies of @fastify/secure-session: a copy would outlive a logout. Leave it out'

const SAME_SITE = 'must be "lax" or "strict" or "none"'

/** Says what to write for a value that other libraries take. Returns `null` for any other. */
export function meantBy (option: string, value: unknown): string | null {
  if (option === 'cookie.secure' && value === 'auto') return NOT_AUTO
  if (option === 'adopt' && value === '@fastify/secure-session') return STATELESS
  if (option !== 'cookie.sameSite') return null
  if (value === true) return `${SAME_SITE}: "strict" is what true means elsewhere`
  if (value === false) return `${SAME_SITE}: leave it out for "lax", the default of browsers`
  return typeof value === 'string' && /^(lax|strict|none)$/i.test(value) ? `${SAME_SITE}, in lower case` : null
}
