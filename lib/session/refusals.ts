import type { CredentialsOptions } from './credentials.ts'
import type { EndReason } from './events.ts'
import { bearerOf, cookieValues, isBearer } from './headers.ts'
import { BEARER_PREFIX } from './token.ts'

/** What the log says when a guard refuses a request, by reason. */
export const REFUSALS = {
  'no-cookie': 'not signed in: the request has no session cookie and no bearer token',
  'other-name': 'not signed in: the request has no cookie of the name cookieName, but one of another name',
  'two-cookies': 'not signed in: the request has two session cookies of one name',
  malformed: 'not signed in: the session cookie or the bearer token is none, or was cut off or changed',
  'other-library': 'not signed in: the session cookie has the form of another library, whose cookies are not read',
  'bad-signature': 'not signed in: none of the secrets has signed the session cookie',
  'bearer-in-cookie': 'not signed in: the session cookie holds a bearer token',
  'cookie-in-bearer': 'not signed in: the bearer token is the value of a session cookie',
  'bearer-off': 'not signed in: the request has a bearer token, and the option bearer is off',
  'unknown-session': 'not signed in: the store has no such session. It has expired, was ended, or lies elsewhere',
  ended: 'not signed in: the session was ended',
  ending: 'not signed in: this process has ended the session. The store has not confirmed that yet',
  'signed-out': 'not signed in: the request has signed out itself',
  'no-user': 'not signed in: the session holds data, and no user is signed in to it',
  'turned-away': 'not signed in: the request was turned away before, as cross-site or with two credentials',
  'device-mismatch': 'not signed in: the session is bound to a device, and the request came without its short cookie',
  'not-bound': 'the session is not bound to the device, or the request did not show that it is, and that is required',
  'old-sign-in': 'signed in, but longer ago than the route allows',
  forked: 'signed in, but two browsers use the session: nobody knows which of them is the user',
  impersonated: 'signed in, but somebody else acts as the user',
  'missing-methods': 'signed in, but not by all methods that the route asks for'
} as const

/** Why a guard refuses a request. Holds no token, no id and nothing else that the client wrote. */
export interface Refusal {
  readonly reason: keyof typeof REFUSALS
  /** Names of cookies that the request has, of those that session cookies often have. */
  readonly cookies?: readonly string[]
  /** Names of cookies that are read. */
  readonly cookieName?: readonly string[]
  /** How the session ended. */
  readonly ended?: EndReason
  /** When it ended. */
  readonly endedAt?: number | null
  /** Library that makes cookies of this form. */
  readonly library?: CookieForm
}

/** Whose cookie a value looks like. */
export type CookieForm = 'fastify-user-sessions' | 'express-session' | '@fastify/session'

/** Forms of signed values, with HMAC-SHA-256 at their end. The first that fits counts. */
const FORMS: ReadonlyArray<[CookieForm, RegExp]> = [
  ['fastify-user-sessions', /^[\w-]{22}\.[\w-]{32}\.[\w-]{43}$/],
  ['express-session', /^s:.+\.[A-Za-z0-9+/]{43}$/],
  // Those that an application signs by @fastify/cookie have it as well.
  ['@fastify/session', /^.+\.[A-Za-z0-9+/]{43}$/]
]

/** What a name can begin with (RFC 6265bis 4.1.3). */
const PREFIX = /^__(?:Host-Http|Http|Host|Secure)-/
const PREFIXES = ['', '__Host-', '__Secure-', '__Host-Http-', '__Http-']
/** Names of the session cookies of other libraries. */
const OTHER_NAMES = ['connect.sid', 'sessionId']

/** Says why a request carries no credential, where `Credentials.read` has found none. Asks no store. */
export function noCredential (
  { cookie = '', authorization }: { cookie?: string | undefined, authorization?: string | undefined },
  { cookieNames, cookieForms, bearer }: Pick<CredentialsOptions, 'cookieNames' | 'cookieForms' | 'bearer'>
): Refusal {
  if (bearer && isBearer(authorization)) return badBearer(bearerOf(authorization) ?? '')
  let refusal: Refusal | undefined
  for (const name of cookieNames) {
    const [value, ...others] = cookieValues(cookie, name)
    if (others.length > 0) return { reason: 'two-cookies' }
    if (value !== undefined) refusal ??= badCookie(value, cookieForms)
  }
  if (refusal !== undefined) return refusal
  if (isBearer(authorization)) return { reason: 'bearer-off' }
  const bases = cookieNames.map((name) => name.replace(PREFIX, ''))
  const similar = [...bases.flatMap((base) => PREFIXES.map((prefix) => `${prefix}${base}`)), ...OTHER_NAMES]
  const cookies = [...new Set(similar)].filter((name) => cookieValues(cookie, name).length > 0)
  return cookies.length === 0 ? { reason: 'no-cookie' } : { reason: 'other-name', cookies, cookieName: cookieNames }
}

function badCookie (value: string, forms: readonly CookieForm[]): Refusal {
  const text = decoded(value)
  if (text.startsWith(BEARER_PREFIX)) return { reason: 'bearer-in-cookie' }
  const form = FORMS.find(([, pattern]) => pattern.test(text))?.[0]
  if (form === undefined) return { reason: 'malformed' }
  return forms.includes(form) ? { reason: 'bad-signature' } : { reason: 'other-library', library: form }
}

function badBearer (sent: string): Refusal {
  return { reason: FORMS.some(([, pattern]) => pattern.test(decoded(sent))) ? 'cookie-in-bearer' : 'malformed' }
}

function decoded (value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    return value
  }
}
