import { durationFault, durationMs } from '../../util/duration.ts'
import type { Duration } from '../../util/duration.ts'
import { errors } from '../../errors.ts'
import { FASTIFY_OPTIONS } from '../../options/faults.ts'

/**
 * Options of `sessionRoutes`, besides `prefix`. Wrong ones fail at `register`, with one error that names all of them.
 */
export interface SessionRoutesOptions {
  /**
   * How long ago the caller may have signed in to end another session than the one that asks, in milliseconds or as
   * `'30m'`. After that the answer is 401 `ERR_SESSION_REAUTH_REQUIRED`. `false`: any login will do, and a stolen
   * cookie can keep its owner signed out.
   * @default '10m'
   * @see OWASP ASVS 5.0 7.5.2
   */
  recentLogin?: Duration | false | undefined
  /**
   * Exempts callers with a bearer token from that. For services, whose tokens come from `app.sessions.create` and have
   * no login to repeat.
   * @default false
   */
  exemptBearer?: boolean | undefined
}

/** Default of every option. */
export const SESSION_ROUTES_DEFAULTS = {
  recentLogin: '10m',
  exemptBearer: false
} as const satisfies Record<keyof SessionRoutesOptions, unknown>

interface Resolved {
  /** `Infinity`: any login will do. */
  recentLoginMs: number
  exemptBearer: boolean
}

/**
 * Returns the options with their defaults.
 * @throws ERR_SESSION_INVALID_OPTIONS
 */
export function checkSessionRoutesOptions (options: SessionRoutesOptions): Resolved {
  const {
    recentLogin = SESSION_ROUTES_DEFAULTS.recentLogin,
    exemptBearer = SESSION_ROUTES_DEFAULTS.exemptBearer
  } = options
  const faults: string[] = []
  const fault = recentLogin === false ? null : durationFault(recentLogin)
  if (fault !== null) faults.push(`recentLogin ${fault}, or false`)
  if (typeof exemptBearer !== 'boolean') faults.push('exemptBearer must be true or false')
  const names = [...Object.keys(SESSION_ROUTES_DEFAULTS), ...FASTIFY_OPTIONS]
  for (const name of Object.keys(options)) if (!names.includes(name)) faults.push(`${name} is not an option`)
  if (faults.length > 0) throw new errors.INVALID_OPTIONS(faults.map((each) => `sessionRoutes: ${each}`).join('; '))
  return { recentLoginMs: recentLogin === false ? Infinity : durationMs(recentLogin), exemptBearer }
}
