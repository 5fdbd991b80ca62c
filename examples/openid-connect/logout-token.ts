// Checks the tokens of OpenID Connect Back-Channel Logout 1.0, by which a provider says that a session has ended there.
import { Redis } from 'ioredis'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import type { JWTVerifyGetKey } from 'jose'

const LOGOUT_EVENT = 'http://schemas.openid.net/event/backchannel-logout'
/** Oldest token that is taken, in seconds, and how far the clocks of both sides may be apart. */
const MAX_AGE_S = 120
const CLOCK_TOLERANCE_S = 30
/** Time after which a token of any `jti` is too old, in milliseconds. */
const REMEMBER_MS = (MAX_AGE_S + 2 * CLOCK_TOLERANCE_S) * 1000

/** Who is signed out: a session at the provider, or, where `sid` is missing, all of a user. */
export interface LogoutToken { jti: string, issuer: string, sid: string | undefined, sub: string | undefined }

/** Thrown for a token that says nothing. */
export class InvalidLogoutToken extends Error {}

export class LogoutTokens {
  readonly #keys: JWTVerifyGetKey
  readonly #issuer: string
  readonly #clientId: string

  constructor ({ jwksUri, issuer, clientId }: { jwksUri: string, issuer: string, clientId: string }) {
    this.#keys = createRemoteJWKSet(new URL(jwksUri))
    this.#issuer = issuer
    this.#clientId = clientId
  }

  /** Checks a token as section 2.6 of the specification asks, but for whether it was seen before. */
  async verify (token: unknown): Promise<LogoutToken> {
    if (typeof token !== 'string' || token.length > 8_192) throw new InvalidLogoutToken('no logout_token')
    const { payload } = await jwtVerify(token, this.#keys, {
      // Signed with a key of the provider, for this application. jose refuses the algorithm "none".
      issuer: this.#issuer,
      audience: this.#clientId,
      algorithms: ['RS256', 'PS256', 'ES256', 'EdDSA'],
      // An ID token is signed with the same key, and is no logout token.
      typ: 'logout+jwt',
      requiredClaims: ['iat', 'exp', 'jti', 'events'],
      maxTokenAge: MAX_AGE_S,
      clockTolerance: CLOCK_TOLERANCE_S
    }).catch((cause: unknown) => { throw new InvalidLogoutToken('the token is not valid', { cause }) })
    const { jti, sid, sub, events, nonce } = payload
    if (!isObject(events) || !Object.hasOwn(events, LOGOUT_EVENT) || !isObject(events[LOGOUT_EVENT])) {
      throw new InvalidLogoutToken('the token is about another event')
    }
    if (nonce !== undefined) throw new InvalidLogoutToken('a logout token has no nonce')
    if (!isText(jti) || !isTextOrAbsent(sid) || !isTextOrAbsent(sub)) throw new InvalidLogoutToken('not a text')
    if (sid === undefined && sub === undefined) throw new InvalidLogoutToken('the token names nobody')
    return { jti, issuer: this.#issuer, sid, sub }
  }
}

/** The tokens that were seen before: in Redis, where several processes share them, or else in memory. */
export class SeenTokens {
  readonly #redis: Redis | null
  readonly #seen = new Map<string, number>()

  constructor (url: string | undefined) {
    this.#redis = url === undefined ? null : new Redis(url, { maxRetriesPerRequest: 1, commandTimeout: 2_000 })
    // Each command tells of it as well.
    this.#redis?.on('error', () => {})
  }

  /** Remembers a token for as long as it could be used again. Returns false if it was seen before. */
  async add (jti: string): Promise<boolean> {
    if (this.#redis !== null) return await this.#redis.set(keyOf(jti), '', 'PX', REMEMBER_MS, 'NX') === 'OK'
    const now = Date.now()
    // The oldest are first.
    for (const [each, until] of this.#seen) {
      if (until > now) break
      this.#seen.delete(each)
    }
    if (this.#seen.has(jti)) return false
    this.#seen.set(jti, now + REMEMBER_MS)
    return true
  }

  /** Forgets a token: what it asked for has failed, and the provider may send it again. */
  async remove (jti: string): Promise<void> {
    this.#seen.delete(jti)
    await this.#redis?.del(keyOf(jti)).catch(() => {})
  }

  close (): void {
    this.#redis?.disconnect()
  }
}

function keyOf (jti: string): string {
  return `logout-token:${jti}`
}

function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isText (value: unknown): value is string {
  return typeof value === 'string' && value.length >= 1 && value.length <= 512
}

function isTextOrAbsent (value: unknown): value is string | undefined {
  return value === undefined || isText(value)
}
