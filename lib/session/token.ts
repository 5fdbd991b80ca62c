import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'

/** 128 bits name a session, 192 bits prove it (OWASP ASVS 5.0 7.2.3 asks for 128). */
const ID_BYTES = 16
const SECRET_BYTES = 24
const TOKEN = /^[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{32}$/
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
  return { token: `${id}.${secret}`, secretHash: hash(secret) }
}

/** Whether `value` has the shape of a token. Costs no store access. */
export function isToken (value: unknown): value is Token {
  return typeof value === 'string' && TOKEN.test(value)
}

/** The public half of a token. */
export function idOf (token: Token): string {
  return token.slice(0, ID_LENGTH)
}

/** Whether `token` carries the secret that `secretHash` was made of, in constant time. */
export function proves (token: Token, secretHash: string): boolean {
  const actual = Buffer.from(hash(token.slice(ID_LENGTH + 1)))
  const expected = Buffer.from(secretHash)
  return actual.length === expected.length && timingSafeEqual(actual, expected)
}

function hash (secret: string): string {
  return createHash('sha256').update(secret).digest('base64url')
}
