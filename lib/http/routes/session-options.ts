import { durationFault, durationMs } from '../../util/duration.ts'
import type { Duration } from '../../util/duration.ts'
import { errors } from '../../errors.ts'

/** What `sessionRoutes` takes besides `prefix`. */
export interface SessionRoutesOptions {
  /**
   * How long ago the caller may have signed in to end sessions other than the one that asks: milliseconds or a string
   * such as `'30m'`. After that the answer is 401 `ERR_SESSION_REAUTH_REQUIRED`. `false`: any sign-in will do, and a
   * stolen cookie can keep its owner signed out.
   * @default '10m'
   * @see OWASP ASVS 5.0 7.5.2
   */
  recentLogin?: Duration | false | undefined
  /**
   * `true`: callers with a bearer token need no recent sign-in. For services, whose tokens come from
   * `app.sessions.create` and have no sign-in to repeat.
   * @default false
   */
  exemptBearer?: boolean | undefined
}

const NAMES = ['recentLogin', 'exemptBearer', 'prefix', 'logLevel', 'logSerializers']

interface Resolved {
  /** `Infinity`: any sign-in will do. */
  recentLoginMs: number
  exemptBearer: boolean
}

/**
 * Returns the options with their defaults.
 * @throws ERR_SESSION_INVALID_OPTIONS
 */
export function checkSessionRoutesOptions (options: SessionRoutesOptions): Resolved {
  const { recentLogin = '10m', exemptBearer = false } = options
  const faults: string[] = []
  const fault = recentLogin === false ? null : durationFault(recentLogin)
  if (fault !== null) faults.push(`recentLogin ${fault}, or false`)
  if (typeof exemptBearer !== 'boolean') faults.push('exemptBearer must be true or false')
  for (const name of Object.keys(options)) if (!NAMES.includes(name)) faults.push(`${name} is not an option`)
  if (faults.length > 0) throw new errors.INVALID_OPTIONS(faults.map((each) => `sessionRoutes: ${each}`).join('; '))
  return { recentLoginMs: recentLogin === false ? Infinity : durationMs(recentLogin), exemptBearer }
}
