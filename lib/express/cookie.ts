import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Token } from '../session/token.ts'

/** Longer ones are nobody's session id. */
const MAX_LENGTH = 1024

/** Express-session's cookie: `s:<session id>.<base64 of HMAC-SHA-256>`, as the package cookie-signature makes it. */
export function signExpressCookie (sid: string, secret: string): string {
  return `s:${sid}.${mac(sid, secret)}`
}

/** The session id in a cookie's value, still encoded, and which of the secrets signed it; `null` when none did. */
export function unsignExpressCookie (value: string, secrets: readonly string[]): { sid: string, by: number } | null {
  const signed = decoded(value)
  const dot = signed.lastIndexOf('.')
  if (!signed.startsWith('s:') || signed.length > MAX_LENGTH || dot < 3) return null
  const sid = signed.slice(2, dot)
  const actual = Buffer.from(signed.slice(dot + 1))
  for (const [by, secret] of secrets.entries()) {
    const expected = Buffer.from(mac(sid, secret))
    if (actual.length === expected.length && timingSafeEqual(actual, expected)) return { sid, by }
  }
  return null
}

/** Reads an Express cookie whose session is adopted. `null` if none of the secrets signed it. */
export function adoptedCredential (value: string, secrets: readonly string[]): { sid: string, token: Token } | null {
  const verified = unsignExpressCookie(value, secrets)
  return verified === null ? null : { sid: verified.sid, token: adoptedToken(verified.sid, secrets[verified.by] as string) }
}

/**
 * The token that an adopted session goes by, the same for all who hold the Express cookie: its signature
 * was made with `secret`, and only who knows that can make the token of a session id.
 */
export function adoptedToken (sid: string, secret: string): Token {
  const part = (use: string): string => createHmac('sha256', secret).update(`fastify-user-sessions adopt ${use} ${sid}`).digest('base64url')
  return `${part('id').slice(0, 22)}.${part('secret').slice(0, 32)}`
}

function mac (sid: string, secret: string): string {
  return createHmac('sha256', secret).update(sid).digest('base64').replace(/=+$/, '')
}

function decoded (value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    return ''
  }
}
