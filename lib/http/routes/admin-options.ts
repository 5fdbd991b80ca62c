import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { errors } from '../../errors.ts'
import { FASTIFY_OPTIONS } from '../../options/faults.ts'
import { redirectFaults } from './forms.ts'

/**
 * Lets a request pass, or refuses it by an error or a reply, as a `preHandler` of Fastify: `async`, or with a callback.
 */
export type AdminGuard = (
  this: FastifyInstance, request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void
) => unknown

/** Options of `adminRoutes`, besides `prefix`. Wrong ones fail at `register`, with one error that names all of them. */
export interface AdminRoutesOptions {
  /**
   * **Required.** Lets administrators pass and refuses everybody else, before anything is read or ended: one
   * `preHandler`, or several in turn: `async`, or with a callback. It refuses by an error or a reply. One that returns
   * `true` or `false` is an error for everybody: Fastify would ignore what it returns.
   * @see [Administrators](docs/guides/admin.md)
   */
  guard: AdminGuard | readonly AdminGuard[]
  /**
   * Returns who ends a session, at most 255 characters, for the events. Default: the `userId` of who is signed in.
   * For `null` ending is 401 `ERR_SESSION_UNAUTHENTICATED`, and reading is allowed.
   */
  actor?: ((request: FastifyRequest) => ActorName | Promise<ActorName>) | undefined
  /**
   * Pages to which a browser's form is sent with 303, whatever came of it: `{ done, failure }`, fixed paths or URLs.
   * Who has to sign in, or to sign in again, is sent to the `login` of the plugin's `pages`, and then back to `done`.
   * `userId` in the query says whose sessions it was about. Needs `@fastify/formbody`. Default: forms get JSON.
   */
  redirects?: AdminRedirects | undefined
}

type ActorName = string | number | bigint | null | undefined

/** Fixed paths or URLs to which forms are sent that end sessions of others. */
export interface AdminRedirects {
  /** Target after sessions have ended, or are being ended. Default: the `home` of the plugin's `pages`. */
  done?: string | undefined
  /** Target after any other failure. `error` in its query says why, such as `error=not_found`. Default: as `done`. */
  failure?: string | undefined
}

const REDIRECTS: Record<keyof AdminRedirects, true> = { done: true, failure: true }
const NAMES = ['guard', 'actor', 'redirects', ...FASTIFY_OPTIONS]

const NO_GUARD = 'guard is required: a preHandler that refuses who is no administrator, or an array of them, such as' +
  ' [app.requireRecentLogin(\'1h\'), async (request) => { … throw }]'

interface Checked extends Pick<AdminRoutesOptions, 'actor' | 'redirects'> {
  readonly guards: readonly AdminGuard[]
}

/**
 * Returns the options. The guards are a copy: nobody adds or takes away one later.
 * @throws ERR_SESSION_INVALID_OPTIONS
 */
export function checkAdminRoutesOptions (options: AdminRoutesOptions): Checked {
  const { guard, actor, redirects } = options
  const guards: unknown[] = Array.isArray(guard) ? [...guard] : [guard]
  const faults: string[] = []
  if (guards.length === 0 || !guards.every(isFunction)) faults.push(NO_GUARD)
  if (actor !== undefined && typeof actor !== 'function') faults.push('actor must be a function')
  faults.push(...redirectFaults(redirects, Object.keys(REDIRECTS)))
  for (const name of Object.keys(options)) if (!NAMES.includes(name)) faults.push(`${name} is not an option`)
  if (faults.length > 0) throw new errors.INVALID_OPTIONS(faults.map((each) => `adminRoutes: ${each}`).join('; '))
  return { guards: guards.filter(isFunction), actor, redirects }
}

function isFunction (value: unknown): value is AdminGuard {
  return typeof value === 'function'
}
