import { hash, randomBytes, timingSafeEqual } from 'node:crypto'

/** 128 bits name a session, 192 bits prove it (OWASP ASVS 5.0 7.2.3 asks for 128). */
const ID_BYTES = 16
const SECRET_BYTES = 24
const TOKEN = /^[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{32}$/
const ID = /^[A-Za-z0-9_-]{22}$/
const ID_LENGTH = 22

/** `<id>.<secret>`, what a client holds. */
export type Token = string

/** A fresh public handle from the system's CSPRNG; throws when that fails, never returns a weaker one. */
export function newId (): string {
  return randomBytes(ID_BYTES).toString('base64url')
}

/** A fresh token for `id`, and the hash of its secret that the store keeps. */
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

/** What tells a bearer token from other strings, also to a scanner for leaked secrets. */
const BEARER_PREFIX = 'fus_'
const CHECKSUM_LENGTH = 6

/**
 * A token as a bearer client holds it: `fus_<id>.<secret>.<checksum>`. It is not signed, so that
 * rotating the cookie's secret does not end it; the checksum keeps typing errors and garbage away
 * from the store.
 */
export function toBearer (token: Token): string {
  return `${BEARER_PREFIX}${token}.${checksum(token)}`
}

/** The token that a bearer client sent, or `null` when it is none. Costs no store access. */
export function fromBearer (sent: string): Token | null {
  const token = sent.slice(BEARER_PREFIX.length, -CHECKSUM_LENGTH - 1)
  return isToken(token) && sent === toBearer(token) ? token : null
}

/** The public half of a token. */
export function idOf (token: Token): string {
  return token.slice(0, ID_LENGTH)
}

/** What the store keeps of a token's secret. */
export function secretHashOf (token: Token): string {
  return hashOf(token.slice(ID_LENGTH + 1))
}

/** Whether two secrets are the same by their hashes, in constant time. */
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
