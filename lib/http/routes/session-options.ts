import { durationFault, durationMs } from '../../util/duration.ts'
import type { Duration } from '../../util/duration.ts'
import { errors } from '../../errors.ts'
import { FASTIFY_OPTIONS } from '../../options/faults.ts'
import { redirectFaults } from './forms.ts'

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
  /**
   * Pages to which a browser's form is sent with 303, whatever came of it: `{ done, failure }`, fixed paths or URLs.
   * Who has to sign in, or to sign in again, is sent to the `login` of the plugin's `pages`, and then back to `done`.
   * Default: forms get JSON.
   * @see [Your devices](docs/guides/devices.md)
   */
  redirects?: SessionRedirects | undefined
}

/** Fixed paths or URLs to which forms are sent that end sessions. */
export interface SessionRedirects {
  /** Target after other sessions have ended, or are being ended. Default: the `home` of the plugin's `pages`. */
  done?: string | undefined
  /** Target after any other failure. `error` in its query says why, such as `error=not_found`. Default: as `done`. */
  failure?: string | undefined
}

/** Default of every option that has one. */
export const SESSION_ROUTES_DEFAULTS = {
  recentLogin: '10m',
  exemptBearer: false
} as const satisfies Record<Exclude<keyof SessionRoutesOptions, 'redirects'>, unknown>
const REDIRECTS: Record<keyof SessionRedirects, true> = { done: true, failure: true }
const NAMES = ['redirects', ...Object.keys(SESSION_ROUTES_DEFAULTS), ...FASTIFY_OPTIONS]

interface Resolved {
  /** `Infinity`: any login will do. */
  recentLoginMs: number
  exemptBearer: boolean
  redirects: SessionRedirects | undefined
}

/**
 * Returns the options with their defaults.
 * @throws ERR_SESSION_INVALID_OPTIONS
 */
export function checkSessionRoutesOptions (options: SessionRoutesOptions): Resolved {
  const {
    recentLogin = SESSION_ROUTES_DEFAULTS.recentLogin,
    exemptBearer = SESSION_ROUTES_DEFAULTS.exemptBearer,
    redirects
  } = options
  const faults: string[] = []
  const fault = recentLogin === false ? null : durationFault(recentLogin)
  if (fault !== null) faults.push(`recentLogin ${fault}, or false`)
  if (typeof exemptBearer !== 'boolean') faults.push('exemptBearer must be true or false')
  faults.push(...redirectFaults(redirects, Object.keys(REDIRECTS)))
  for (const name of Object.keys(options)) if (!NAMES.includes(name)) faults.push(`${name} is not an option`)
  if (faults.length > 0) throw new errors.INVALID_OPTIONS(faults.map((each) => `sessionRoutes: ${each}`).join('; '))
  return { recentLoginMs: recentLogin === false ? Infinity : durationMs(recentLogin), exemptBearer, redirects }
}
