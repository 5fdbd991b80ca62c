import { createCipheriv, createDecipheriv, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { ResolvedOptions } from '../options/resolve.ts'
import type { ForeignCredential } from '../session/credentials.ts'
import type { Token, TokenFormat } from '../session/token.ts'

/** The longest session id that is accepted, with its signature. */
const MAX_LENGTH = 1024
/** The length of a public id that stands for such a session id. */
const MAX_ID_LENGTH = 1400
/** How many random bytes a new session id has: as many as express-session's own. */
const SID_BYTES = 24
const IV_BYTES = 16

/** A session id whose signature is good, and the index of the secret that signed it. */
interface SignedId { sid: string, by: number }

/** Reads the value of a library's cookie, as it is in the header. Returns `null` if none of the secrets signed it. */
type Unsign = (value: string, secrets: readonly string[]) => SignedId | null

/** Signs a session id as express-session does: `s:<session id>.<base64 of HMAC-SHA-256>`. */
export function signExpressCookie (sid: string, secret: string): string {
  return `s:${sid}.${mac(sid, secret)}`
}

/** Reads the value of express-session's cookie. Returns `null` if none of the secrets signed it. */
export const unsignExpressCookie: Unsign = (value, secrets) => unsigned(value, secrets, 's:')

/**
 * Reads the value of @fastify/session's cookie: `<session id>.<base64 of HMAC-SHA-256>`. Returns `null` if none of the
 * secrets signed it. @fastify/cookie signs the application's other cookies in the same form. One of them names a
 * session here as it does there: if its value is the id of one.
 */
export const unsignFastifyCookie: Unsign = (value, secrets) => unsigned(value, secrets, '')

function unsigned (value: string, secrets: readonly string[], prefix: string): SignedId | null {
  const signed = decoded(value)
  const dot = signed.lastIndexOf('.')
  if (!signed.startsWith(prefix) || signed.length > MAX_LENGTH || dot <= prefix.length) return null
  const sid = signed.slice(prefix.length, dot)
  const actual = Buffer.from(signed.slice(dot + 1))
  for (const [by, secret] of secrets.entries()) {
    const expected = Buffer.from(mac(sid, secret))
    if (actual.length === expected.length && timingSafeEqual(actual, expected)) return { sid, by }
  }
  return null
}

/** Reads the cookie of a session that is adopted. Returns `null` if none of the secrets signed it. */
export function adoptedCredential (
  value: string, { secrets, adopt }: Pick<ResolvedOptions, 'secrets' | 'adopt'>
): ForeignCredential | null {
  const verified = (adopt === '@fastify/session' ? unsignFastifyCookie : unsignExpressCookie)(value, secrets)
  if (verified === null) return null
  return { sid: verified.sid, token: adoptedToken(verified.sid, secrets[verified.by] as string) }
}

/**
 * The token of the session that is made of the other library's session `sid`. It is the same for everybody who holds
 * the old cookie as `secret` signed it, and cannot be made without that.
 */
export function adoptedToken (sid: string, secret: string): Token {
  const part = (use: string): string => {
    return createHmac('sha256', secret).update(`fastify-user-sessions adopt ${use} ${sid}`).digest('base64url')
  }
  return `${part('id').slice(0, 22)}.${part('secret').slice(0, 32)}`
}

/**
 * The tokens of an Express app with express-session: a token is the session id, which is also the key in the store.
 *
 * The public id is the session id encrypted with a key that is made of the secret. One session id always becomes the
 * same public id, and the store needs no table to find a session by it. RFC 5297 is the model: the IV is a MAC of the
 * plain text, and is checked.
 */
export class ExpressTokens implements TokenFormat {
  readonly #secrets: readonly string[]
  readonly #keys: ReadonlyArray<{ mac: Buffer, cipher: Buffer }>

  /** The first secret signs, all verify. */
  constructor (secrets: readonly string[]) {
    this.#secrets = secrets
    this.#keys = secrets.map((secret) => ({ mac: derived(secret, 'mac'), cipher: derived(secret, 'cipher') }))
  }

  newId (): string {
    return this.idOf(randomBytes(SID_BYTES).toString('base64url'))
  }

  idFrom (value: unknown): string | null {
    const sid = typeof value === 'string' ? this.sidOf(value) : null
    return sid === null ? null : this.idOf(sid)
  }

  newToken (id: string): { token: Token, secretHash: string } {
    const token = this.sidOf(id)
    if (token === null) throw new TypeError('not the id of a session')
    return { token, secretHash: this.secretHashOf() }
  }

  idOf (sid: Token): string {
    // The options have checked that there is a first secret.
    const key = this.#keys[0] as { mac: Buffer, cipher: Buffer }
    const iv = ivOf(sid, key.mac)
    const cipher = createCipheriv('aes-256-ctr', key.cipher, iv)
    return Buffer.concat([iv, cipher.update(sid, 'utf8'), cipher.final()]).toString('base64url')
  }

  /** The session id behind a public id, also one made with an older secret. Returns `null` if it is none. */
  sidOf (id: string): string | null {
    if (id.length > MAX_ID_LENGTH) return null
    const bytes = Buffer.from(id, 'base64url')
    const iv = bytes.subarray(0, IV_BYTES)
    if (bytes.length <= IV_BYTES || bytes.toString('base64url') !== id) return null
    for (const { mac, cipher: key } of this.#keys) {
      const cipher = createDecipheriv('aes-256-ctr', key, iv)
      const sid = Buffer.concat([cipher.update(bytes.subarray(IV_BYTES)), cipher.final()]).toString('utf8')
      if (ivOf(sid, mac).equals(iv)) return sid
    }
    return null
  }

  /** Always empty: a session is found by its token, so there is nothing to compare. */
  secretHashOf (): string {
    return ''
  }

  sign (sid: Token): string {
    // As above.
    return signExpressCookie(sid, this.#secrets[0] as string)
  }

  unsign (value: string): { token: Token, renew: boolean } | null {
    const verified = unsignExpressCookie(value, this.#secrets)
    return verified === null ? null : { token: verified.sid, renew: verified.by > 0 }
  }
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

function derived (secret: string, use: string): Buffer {
  return createHmac('sha256', secret).update(`fastify-user-sessions handle ${use}`).digest()
}

function ivOf (sid: string, key: Buffer): Buffer {
  return createHmac('sha256', key).update(sid).digest().subarray(0, IV_BYTES)
}
