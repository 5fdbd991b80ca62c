import { createHmac, hash, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'

/** 128 bits name a session, 192 bits prove it (OWASP ASVS 5.0 7.2.3 asks for 128). */
const ID_BYTES = 16
const SECRET_BYTES = 24
const TOKEN = /^[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{32}$/
const ID = /^[A-Za-z0-9_-]{22}$/
const ID_LENGTH = 22

/** A token, `<id>.<secret>`, as a client holds it. */
export type Token = string

/** Makes a new public handle by the system's CSPRNG. Throws when that fails, and never returns a weaker one. */
export function newId (): string {
  return randomBytes(ID_BYTES).toString('base64url')
}

/** Makes a new token for an id, and the hash of its secret that the store keeps. */
export function newToken (id: string): { token: Token, secretHash: string } {
  const secret = randomBytes(SECRET_BYTES).toString('base64url')
  return { token: `${id}.${secret}`, secretHash: hashOf(secret) }
}

/** Whether `value` has the shape of a token. Costs no store access. */
export function isToken (value: unknown): value is Token {
  return typeof value === 'string' && TOKEN.test(value)
}

/** Whether `value` has the shape of a session's id. */
export function isId (value: unknown): value is string {
  return typeof value === 'string' && ID.test(value)
}

/** Prefix that tells a bearer token from other strings, also to a scanner for leaked secrets. */
export const BEARER_PREFIX = 'fus_'
const CHECKSUM_LENGTH = 6

/**
 * Returns a token as a bearer client holds it: `fus_<id>.<secret>.<checksum>`. It is not signed, so that rotating the
 * cookie's secret does not end it. The checksum keeps typing errors and garbage away from the store.
 */
export function toBearer (token: Token): string {
  return `${BEARER_PREFIX}${token}.${checksum(token)}`
}

/** Returns the token that a bearer client sent, or `null` when it is none. Costs no store access. */
export function fromBearer (sent: string): Token | null {
  const token = sent.slice(BEARER_PREFIX.length, -CHECKSUM_LENGTH - 1)
  return isToken(token) && sent === toBearer(token) ? token : null
}

/** Returns the public half of a token. */
export function idOf (token: Token): string {
  return token.slice(0, ID_LENGTH)
}

/** Returns the hash of a token's secret, as the store keeps it. */
export function secretHashOf (token: Token): string {
  return hashOf(token.slice(ID_LENGTH + 1))
}

/** Whether two hashes of secrets are the same, compared in constant time. */
export function isSameHash (one: string, other: string): boolean {
  const [actual, expected] = [Buffer.from(one), Buffer.from(other)]
  return actual.length === expected.length && timingSafeEqual(actual, expected)
}

function checksum (token: Token): string {
  return hashOf(`bearer ${token}`).slice(0, CHECKSUM_LENGTH)
}

function hashOf (text: string): string {
  return hash('sha256', text, 'base64url')
}

/** Length of HMAC-SHA-256 in base64url. */
const MAC_LENGTH = 43

/** A verified value, and whether it has to be signed again with today's secret. */
interface Verified {
  readonly value: string
  readonly renew: boolean
}

/**
 * Signs with the first secret and verifies with all of them, so that rotating a secret signs nobody
 * out. A signed value is `<value>.<mac>`, all of it safe in a cookie without encoding.
 */
export class Signature {
  readonly #secrets: readonly string[]

  constructor (secrets: readonly string[]) {
    this.#secrets = secrets
  }

  /** Makes a signature for one purpose: what it signs is no token, and nothing that another one verifies. */
  static of (secrets: readonly string[], purpose: string): Signature {
    const info = `fastify-user-sessions ${purpose}`
    return new Signature(secrets.map((secret) => Buffer.from(hkdfSync('sha256', secret, '', info, 32)).toString('hex')))
  }

  sign (value: string): string {
    return `${value}.${this.seal(value)}`
  }

  /** Returns the signed value, or `null` when no secret made this signature. */
  verify (signed: string): Verified | null {
    const dot = signed.length - MAC_LENGTH - 1
    if (dot < 1 || signed[dot] !== '.') return null
    const value = signed.slice(0, dot)
    const index = this.#signerOf(value, signed.slice(dot + 1))
    return index < 0 ? null : { value, renew: index > 0 }
  }

  /** Returns the signature alone, for a value that whoever verifies it knows. */
  seal (value: string): string {
    return mac(value, this.#secrets[0] ?? '')
  }

  /** Whether a secret made this signature of the value. */
  isSeal (seal: string, value: string): boolean {
    return this.#signerOf(value, seal) >= 0
  }

  /** Returns which secret made this signature of the value; -1: none did. */
  #signerOf (value: string, signature: string): number {
    return this.#secrets.findIndex((secret) => isSameHash(mac(value, secret), signature))
  }
}

function mac (value: string, secret: string): string {
  return createHmac('sha256', secret).update(value).digest('base64url')
}

/** The form of tokens, and of the cookie that carries them. Nothing here asks the store. */
export interface TokenFormat {
  /** Makes a new public handle. Throws when the system's random source fails. */
  newId (): string
  /** Returns a public handle as it is written today, also for one of an older secret. `null` when it is none. */
  idFrom (value: unknown): string | null
  /** Makes a new token for a handle, and the hash that the store keeps to prove it. */
  newToken (id: string): { token: Token, secretHash: string }
  /** Returns the public handle of a token. */
  idOf (token: Token): string
  /** Returns the hash that the store keeps to prove a token. */
  secretHashOf (token: Token): string
  /** Returns the cookie's value for a token. */
  sign (token: Token): string
  /** Returns the token of a cookie's value, and whether to sign it with today's secret. `null` if it is not good. */
  unsign (value: string): { token: Token, renew: boolean } | null
}

/** The tokens of this package: `<id>.<secret>`, signed in the cookie. */
export class SignedTokens implements TokenFormat {
  readonly #signature: Signature
  readonly newId = newId
  readonly newToken = newToken
  readonly idOf = idOf
  readonly secretHashOf = secretHashOf

  /** The first secret signs, all verify. */
  constructor (secrets: readonly string[]) {
    this.#signature = new Signature(secrets)
  }

  idFrom (value: unknown): string | null {
    return isId(value) ? value : null
  }

  sign (token: Token): string {
    return this.#signature.sign(token)
  }

  unsign (value: string): { token: Token, renew: boolean } | null {
    const verified = this.#signature.verify(value)
    return verified !== null && isToken(verified.value) ? { token: verified.value, renew: verified.renew } : null
  }
}
