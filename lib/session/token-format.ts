import { Signature } from './signature.ts'
import { idOf, isId, isToken, newId, newToken, secretHashOf } from './token.ts'
import type { Token } from './token.ts'

/** What a client holds and how a cookie carries it. Nothing here asks the store. */
export interface TokenFormat {
  /** A fresh public handle. Throws when the system's random source fails. */
  newId (): string
  /** A public handle as it is written today, though it may be made with an older secret; `null` when it is none. */
  idFrom (value: unknown): string | null
  /** A fresh token for a handle, and what the store keeps to prove it. */
  newToken (id: string): { token: Token, secretHash: string }
  /** The public handle of a token. */
  idOf (token: Token): string
  /** What the store keeps to prove it. */
  secretHashOf (token: Token): string
  /** What goes into the cookie. */
  sign (token: Token): string
  /** The token that a cookie's value carries, and whether it is to be signed anew with today's secret; `null` when it does not verify. */
  unsign (value: string): { token: Token, renew: boolean } | null
}

/** This package's own: `<id>.<secret>`, signed. */
export class OwnTokens implements TokenFormat {
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
