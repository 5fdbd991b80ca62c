import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto'
import { signExpressCookie, unsignExpressCookie } from './cookie.ts'
import type { Token, TokenFormat } from '../session/token.ts'

/** As express-session's own, whose ids have 192 bits. */
const SID_BYTES = 24
const IV_BYTES = 16
/** Of a session id of 1,024 characters. */
const MAX_ID_LENGTH = 1400

/**
 * The tokens of an Express app with express-session, whose whole session id is the key in the store.
 *
 * The public handle is that id encrypted with a key made of the secret, always to the same text: safe to
 * show, and the store needs no table to find the session of a handle (RFC 5297 is the model: the IV is a
 * MAC of what is encrypted, and is checked).
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
    // There is a first secret: the options say so.
    const key = this.#keys[0] as { mac: Buffer, cipher: Buffer }
    const iv = ivOf(sid, key.mac)
    const cipher = createCipheriv('aes-256-ctr', key.cipher, iv)
    return Buffer.concat([iv, cipher.update(sid, 'utf8'), cipher.final()]).toString('base64url')
  }

  /** The session id behind a public handle, also one made with an older secret; `null` when it is none. */
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

  /** Nothing: it is found under what it is. */
  secretHashOf (): string {
    return ''
  }

  sign (sid: Token): string {
    return signExpressCookie(sid, this.#secrets[0] as string)
  }

  unsign (value: string): { token: Token, renew: boolean } | null {
    const verified = unsignExpressCookie(value, this.#secrets)
    return verified === null ? null : { token: verified.sid, renew: verified.by > 0 }
  }
}

function derived (secret: string, use: string): Buffer {
  return createHmac('sha256', secret).update(`fastify-user-sessions handle ${use}`).digest()
}

function ivOf (sid: string, key: Buffer): Buffer {
  return createHmac('sha256', key).update(sid).digest().subarray(0, IV_BYTES)
}
