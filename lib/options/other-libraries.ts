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
  const { adopt, expressSession, redis } = options
  const library = adoptedLibrary(options)
  if (library === null) return null
  if (adopt === undefined) faults.warn('expressSession: \'adopt\' is called adopt: \'express-session\' now')
  else if (expressSession !== undefined) faults.add('expressSession', 'cannot be given together with adopt')
  if (redis === undefined) {
    faults.add(adopt === undefined ? 'expressSession' : 'adopt', 'needs redis: that of the application before')
  }
  return library
}

/** Resolves whether an Express app shares the sessions. */
export function expressSessionOf (
  { expressSession, redis, bearer }: Given, faults: Faults
): ResolvedOptions['expressSession'] {
  if (expressSession !== 'share') return null
  if (redis === undefined) faults.add('expressSession', 'needs redis: that of the Express app')
  if (bearer === true) {
    faults.add('bearer', 'cannot be given together with expressSession share: an Express session has no place for it')
  }
  return expressSession
}

/** Returns the default of `cookieName`. `ours`: that without another library. */
export function cookieNameByDefault (options: Given, ours: string): string | string[] {
  if (options.expressSession === 'share') return COOKIES['express-session']
  const library = adoptedLibrary(options)
  return library === null ? ours : [ours, COOKIES[library]]
}

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
  ttl: 'write idleTimeout, and absoluteTimeout for the end of a session that is in use',
  maxAge: 'write idleTimeout, and absoluteTimeout for the end of a session that is in use',
  client: 'write redis',
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

const SAME_SITE = 'must be "lax" or "strict" or "none"'

/** Says what to write for a value that other libraries take. Returns `null` for any other. */
export function meantBy (option: string, value: unknown): string | null {
  if (option === 'cookie.secure' && value === 'auto') return NOT_AUTO
  if (option !== 'cookie.sameSite') return null
  if (value === true) return `${SAME_SITE}: "strict" is what true means elsewhere`
  if (value === false) return `${SAME_SITE}: leave it out for "lax", the default of browsers`
  return typeof value === 'string' && /^(lax|strict|none)$/i.test(value) ? `${SAME_SITE}, in lower case` : null
}
