import { errors } from '../errors.ts'
import { bearerOf, isBearer } from './bearer-header.ts'
import { cookieValues } from './cookie-header.ts'
import { adoptedToken, unsignExpressCookie } from './express-cookie.ts'
import type { SessionKind } from './record.ts'
import { fromBearer } from './token.ts'
import type { Token } from './token.ts'
import type { TokenFormat } from './token-format.ts'

export interface CredentialsOptions {
  tokens: TokenFormat
  /** The first is written, all are read. */
  cookieNames: readonly string[]
  /** Whether `Authorization: Bearer` is read. */
  bearer: boolean
  /** The secrets of an Express app whose cookies are taken for their sessions to be adopted. */
  adopts: readonly string[] | null
}

/** A token that is one of ours by its form; whether its session lives is another question. */
export interface Credential {
  readonly kind: SessionKind
  readonly token: Token
  /** It came under an old name or an old secret: to be issued again. */
  readonly renew: boolean
  /** The Express session that the token's session may still have to be made of. */
  readonly adopts?: string
}

/** The headers of a request that can carry a session. */
export interface CredentialHeaders {
  readonly cookie?: string | undefined
  readonly authorization?: string | undefined
}

/** How tokens travel: signed in a cookie, or as they are under the scheme Bearer. Nothing here asks the store. */
export class Credentials {
  readonly #options: CredentialsOptions

  constructor (options: CredentialsOptions) {
    this.#options = options
  }

  /**
   * What a request's headers carry, or `null`.
   * @throws ERR_SESSION_AMBIGUOUS_CREDENTIALS for the scheme Bearer beside a cookie that verifies
   */
  read (headers: CredentialHeaders): Credential | null {
    const byCookie = headers.cookie === undefined ? null : this.readCookie(headers.cookie)
    if (!this.isBearer(headers)) return byCookie
    if (byCookie !== null) throw new errors.AMBIGUOUS_CREDENTIALS()
    return this.readBearer(headers.authorization)
  }

  /** Whether a request speaks for a bearer client, whatever its token is worth. */
  isBearer ({ authorization }: CredentialHeaders): boolean {
    return this.#options.bearer && isBearer(authorization)
  }

  /**
   * The session cookie of a `Cookie` header, or `null` when there is none that verifies. Two cookies of
   * one name are none, and nor is one under an older name then: who planted one may have planted the other.
   */
  readCookie (header: string): Credential | null {
    for (const [index, name] of this.#options.cookieNames.entries()) {
      const values = cookieValues(header, name)
      if (values.length > 1) return null
      const credential = values.length === 1 ? this.unsign(values[0] as string) ?? this.#adopted(values[0] as string) : null
      if (credential !== null) return { ...credential, renew: credential.renew || index > 0 }
    }
    return null
  }

  #adopted (value: string): Credential | null {
    const { adopts } = this.#options
    const verified = adopts === null ? null : unsignExpressCookie(value, adopts)
    if (verified === null) return null
    return { kind: 'cookie', token: adoptedToken(verified.sid, adopts?.[verified.by] as string), renew: true, adopts: verified.sid }
  }

  /** The token of an `Authorization` header under the scheme Bearer, or `null`. */
  readBearer (header: string | undefined): Credential | null {
    const token = fromBearer(bearerOf(header) ?? '')
    return token === null ? null : { kind: 'bearer', token, renew: false }
  }

  /** What goes into the cookie for `token`. */
  sign (token: Token): string {
    return this.#options.tokens.sign(token)
  }

  /** The credential that a cookie's value is, or `null`. */
  unsign (value: string): Credential | null {
    const verified = this.#options.tokens.unsign(value)
    return verified === null ? null : { kind: 'cookie', ...verified }
  }

  /** A `Cookie` header that carries `token`. */
  cookieOf (token: Token): string {
    return `${this.#options.cookieNames[0] as string}=${encodeURIComponent(this.sign(token))}`
  }
}
