import type { Faults } from './faults.ts'
import type { ResolvedOptions } from './resolve.ts'
import type { SessionOptions } from './types.ts'

/*
 * What the options say of other session libraries: `expressSession` and `adopt`.
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
