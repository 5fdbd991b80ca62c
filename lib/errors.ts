import createError from '@fastify/error'
import type { FastifyError } from '@fastify/error'
import type { EndReason } from './session/events.ts'

/** The page that says of each code what it means and what to do, as a path that begins with the package's name. */
const HELP = 'fastify-user-sessions/docs/reference/errors.md'

interface DefinedError extends FastifyError {
  /** Status of the reply. */
  statusCode: number
  /** Reply headers, such as `retry-after`. Fastify's error handler sends them; one of your own has to. */
  headers?: Record<string, string>
  /** A copy of `code` for GraphQL servers, which drop that. */
  extensions: {
    /** The code. */
    code: string
    /** Of `ERR_SESSION_REAUTH_REQUIRED`: the methods of sign-in that the route asks for, if it does. */
    methods?: readonly string[]
    /** ERR_SESSION_UNAUTHENTICATED, with the option `endedFor`: how the session of the request's credential ended. */
    ended?: EndReason | 'expired'
  }
  /**
   * Section of the documentation about the code: what it means, the likeliest causes, what to do. A path that begins
   * with the package's name. Not enumerable: no reply and no log line holds it.
   */
  readonly help: string
}

interface SessionErrorConstructor {
  new (...args: unknown[]): DefinedError
  /** The prototype of the errors, for `instanceof`. */
  readonly prototype: DefinedError
}

/** Every code that an error of this package can have. */
export type SessionErrorCode = `ERR_SESSION_${keyof typeof errors}`

/** An error of this package. Match on `code`, never on `message`. */
export interface SessionError extends DefinedError {
  /** The code, which names what happened. */
  code: SessionErrorCode
  /** A copy of `code` for GraphQL servers, which drop that. */
  extensions: {
    /** The code. */
    code: SessionErrorCode
    /** Of `ERR_SESSION_REAUTH_REQUIRED`: the methods of sign-in that the route asks for, if it does. */
    methods?: readonly string[]
    /** ERR_SESSION_UNAUTHENTICATED, with the option `endedFor`: how the session of the request's credential ended. */
    ended?: EndReason | 'expired'
  }
}

/** After how many seconds a client may ask again. */
const RETRY_AFTER = { 'retry-after': '1' }

interface DefineOptions {
  headers?: Record<string, string>
  /** Whether `stack` says where the error was made. */
  hasFrames?: boolean
}

function define (
  name: string, message: string, statusCode: number, { headers, hasFrames = true }: DefineOptions = {}
): SessionErrorConstructor {
  const code = `ERR_SESSION_${name}`
  const Base = createError(code, message, statusCode, Error, hasFrames)
  class SessionError extends Base {
    extensions: DefinedError['extensions'] = { code }
    constructor (...args: unknown[]) {
      super(...args as [])
      if (headers !== undefined) Object.assign(this, { headers: { ...headers } })
      // Not enumerable, as that of other errors.
      if (!hasFrames) Object.defineProperty(this, 'stack', { value: String(this), writable: true, configurable: true })
    }

    // Of the prototype: an error costs no more for it, and nothing that copies members shows it.
    get help (): string {
      return `${HELP}#${code.toLowerCase()}`
    }

    // Without it, who gives errors a `help` of their own gets a TypeError.
    set help (value: string) {
      Object.defineProperty(this, 'help', { value, writable: true, configurable: true })
    }
  }
  // It has every member of the interface; @fastify/error's own type cannot be extended by name.
  return SessionError as unknown as SessionErrorConstructor
}

/**
 * The closed list of errors. Messages go to clients, and hold no input, no id, no secret and no text of a driver. The
 * `cause`, if there is one, is the original error, or says what was compared and what to change.
 */
export const errors = {
  /** At boot, options are wrong. The message names each of them and shows no value. */
  INVALID_OPTIONS: define('INVALID_OPTIONS', 'Invalid session options: %s', 500),
  /** Nobody is signed in. */
  UNAUTHENTICATED: define('UNAUTHENTICATED', 'Authentication required', 401),
  /** A login failed. The same for an unknown user as for a wrong password: nobody learns who has an account. */
  INVALID_CREDENTIALS: define('INVALID_CREDENTIALS', 'Invalid credentials', 401),
  /** Too many logins have failed. The credentials were not checked. `Retry-After`: in how many seconds they will be. */
  TOO_MANY_ATTEMPTS: define('TOO_MANY_ATTEMPTS', 'Too many failed logins', 429),
  /** The client closed its connection before its session began. Nobody is signed in. Only logs show this. */
  CLIENT_GONE: define('CLIENT_GONE', 'The client has gone', 499),
  /** A request from another site would have used the session cookie, or signed somebody in or out. */
  CSRF_REJECTED: define('CSRF_REJECTED', 'Cross-site request rejected', 403),
  /** A `Secure` cookie has to be sent, but the request came over plain http: the browser would drop it. */
  INSECURE_CONNECTION: define('INSECURE_CONNECTION', 'A session cookie cannot be sent over plain http', 500),
  /** The user has as many sessions as they may, and new ones are refused. */
  LIMIT_REACHED: define('LIMIT_REACHED', 'Too many sessions', 409),
  /** One request carries a bearer token and a session cookie: whose is it? */
  AMBIGUOUS_CREDENTIALS: define(
    'AMBIGUOUS_CREDENTIALS', 'A request carries either a bearer token or a session cookie', 400
  ),
  /** The login is too long ago for this, or was not by the methods that this asks for. */
  REAUTH_REQUIRED: define('REAUTH_REQUIRED', 'A recent sign-in is required', 401),
  /** Somebody acts as the user, and may not do that. */
  IMPERSONATED: define('IMPERSONATED', 'Not while acting as somebody else', 403),
  /** The session is bound to a device, and was used without it. Its owner goes on; who sent this is not signed in. */
  DEVICE_MISMATCH: define('DEVICE_MISMATCH', 'This session belongs to another device', 401),
  /** A session that is bound to the device is required, and this one is not, or the request did not show that it is. */
  DEVICE_BOUND_REQUIRED: define('DEVICE_BOUND_REQUIRED', 'A session that is bound to this device is required', 403),
  /** The data of a session would be larger than `maxDataSize`. Nothing was stored. */
  DATA_TOO_LARGE: define('DATA_TOO_LARGE', 'Too much data for one session', 413),
  /** There is no such session, or it is not the caller's. */
  NOT_FOUND: define('NOT_FOUND', 'Session not found', 404),
  /** A name that belongs to the session object itself was used for data. */
  RESERVED_KEY: define('RESERVED_KEY', 'This name is reserved on request.session: %s', 500),
  /** The session was read where none is loaded: with `config: { session: false }`, or before the plugin's own hook. */
  SKIPPED: define('SKIPPED', 'The session is not loaded %s', 500),
  /** This store, or this session, cannot do that. */
  UNSUPPORTED: define('UNSUPPORTED', 'Not supported: %s', 500),
  /**
   * The store did not answer, or not in time. Says nothing about who is signed in. In an outage each request has one,
   * and where in here that was made tells nobody anything: its `stack` is one line.
   */
  STORE_UNAVAILABLE: define('STORE_UNAVAILABLE', 'The session store is unavailable', 503, {
    headers: RETRY_AFTER, hasFrames: false
  }),
  /** The store has no room for another session. Nobody was signed in or out. */
  STORE_FULL: define('STORE_FULL', 'The session store is full', 503, { headers: RETRY_AFTER })
}

/** Returns the `stack` of an error without where it was made: the error is about a server, and not about code. */
export function withoutFrames (error: Error): string {
  const { stack, message }: { stack?: unknown, message: string } = error
  if (typeof stack !== 'string') return String(error)
  // Lines of a message may look like those after it.
  const end = stack.includes(message) ? stack.indexOf(message) + message.length : 0
  return `${stack.slice(0, end)}${stack.slice(end).split(/\n\s+at /)[0]}`
}

/** Makes an error that says why a store is unavailable. */
export function outage (message: string): Error {
  const error = new Error(message)
  error.stack = withoutFrames(error)
  return error
}
