import { createHmac, timingSafeEqual } from 'node:crypto'

/** base64url of HMAC-SHA-256. */
const MAC_LENGTH = 43

/** What a signed value held, and whether it must be signed again with today's secret. */
export interface Verified {
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

  sign (value: string): string {
    return `${value}.${mac(value, this.#secrets[0] ?? '')}`
  }

  /** The signed value, or `null` when no secret made this signature. */
  verify (signed: string): Verified | null {
    const dot = signed.length - MAC_LENGTH - 1
    if (dot < 1 || signed[dot] !== '.') return null
    const value = signed.slice(0, dot)
    const actual = Buffer.from(signed.slice(dot + 1))
    for (const [index, secret] of this.#secrets.entries()) {
      const expected = Buffer.from(mac(value, secret))
      if (actual.length === expected.length && timingSafeEqual(actual, expected)) return { value, renew: index > 0 }
    }
    return null
  }
}

function mac (value: string, secret: string): string {
  return createHmac('sha256', secret).update(value).digest('base64url')
}
