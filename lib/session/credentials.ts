import { errors } from '../errors.ts'
import { bearerOf, cookieValues, isBearer } from './headers.ts'
import { Recent } from '../util/recent.ts'
import type { SessionKind, SessionRecord } from './record.ts'
import type { CookieForm } from './refusals.ts'
import { fromBearer, isSameHash } from './token.ts'
import type { Token, TokenFormat } from './token.ts'

/** Options of `Credentials`. */
export interface CredentialsOptions {
  tokens: TokenFormat
  /** Names of the cookie. The first is written, all are read. */
  cookieNames: readonly string[]
  /** Whether bearer tokens are read. */
  bearer: boolean
  /** Reads the cookie of another session library whose sessions are taken over; `null`: none are. */
  readForeignCookie: ((value: string) => ForeignCredential | null) | null
  /** Forms of cookies that are read. */
  cookieForms: readonly CookieForm[]
}

/** A verified cookie of another session library: the id of its session, and the token that stands for it here. */
export interface ForeignCredential {
  readonly sid: string
  readonly token: Token
}

/** A token of the right form. Whether its session lives, the store knows. */
export interface Credential {
  readonly kind: SessionKind
  readonly token: Token
  /** The public handle of its session. */
  readonly id: string
  /** The hash of the token's secret, which the store has to hold. */
  readonly secretHash: string
  /** Whether it came under an old name or an old secret, and has to be issued again. */
  readonly renew: boolean
  /** The other library's session that the token's session may still have to be made of. */
  readonly adopts?: string
  /** Whether it has proven its session before. */
  hasProven: boolean
}

/** Returns the record if the credential proves it, else `null`. */
export function proven (record: SessionRecord | null, credential: Credential): SessionRecord | null {
  if (record === null || record.kind !== credential.kind) return null
  const { secretHash } = credential
  // Who has proven it once knows the hash: the time that a second comparison takes tells them nothing.
  const isSame = credential.hasProven ? record.secretHash === secretHash : isSameHash(record.secretHash, secretHash)
  if (!isSame) return null
  credential.hasProven = true
  return record
}

/** The headers of a request that can carry a session. */
interface CredentialHeaders {
  readonly cookie?: string | undefined
  readonly authorization?: string | undefined
}

/** Number of verified cookies, and of tokens, that are remembered. */
const REMEMBERED = 10_000

/**
 * Reads and writes tokens as they travel: signed in a cookie, or as they are under the scheme Bearer. Nothing here asks
 * the store. A good signature is verified once: the last ones are remembered with what was read from them.
 */
export class Credentials {
  readonly #options: CredentialsOptions
  readonly #cookies = new Recent<Credential>(REMEMBERED)
  readonly #bearers = new Recent<Credential>(REMEMBERED)

  constructor (options: CredentialsOptions) {
    this.#options = options
  }

  /**
   * Reads the credential of a request, or `null`.
   * @throws ERR_SESSION_AMBIGUOUS_CREDENTIALS for the scheme Bearer beside a cookie that verifies
   */
  read (headers: CredentialHeaders): Credential | null {
    const byCookie = headers.cookie === undefined ? null : this.readCookie(headers.cookie)
    if (!this.isBearer(headers)) return byCookie
    if (byCookie !== null) throw new errors.AMBIGUOUS_CREDENTIALS()
    return this.readBearer(headers.authorization)
  }

  /** Whether a request is of a bearer client, whatever its token is worth. */
  isBearer ({ authorization }: CredentialHeaders): boolean {
    return this.#options.bearer && isBearer(authorization)
  }

  /**
   * Reads the session cookie of a `Cookie` header, or `null` when none verifies. Two cookies of one name are none, and
   * nor is one under an older name then: who planted one may have planted the other.
   */
  readCookie (header: string): Credential | null {
    for (const [index, name] of this.#options.cookieNames.entries()) {
      const values = cookieValues(header, name)
      if (values.length > 1) return null
      const credential = values.length === 1 ? this.unsign(values[0] as string) : null
      if (credential !== null) return index === 0 ? credential : { ...credential, renew: true }
    }
    return null
  }

  /** Reads the token of an `Authorization` header under the scheme Bearer, or `null`. */
  readBearer (header: string | undefined): Credential | null {
    const sent = bearerOf(header)
    return sent === null ? null : this.ofBearer(sent)
  }

  /** Returns the cookie's value for a token. */
  sign (token: Token): string {
    return this.#options.tokens.sign(token)
  }

  /** Verifies a cookie's value. Returns its credential, or `null`. */
  unsign (value: string): Credential | null {
    return this.#cookies.of(value, (own) => this.#verified(own) ?? this.#adopted(own))
  }

  /** Verifies a bearer token. Returns its credential, or `null`; always `null` without the `bearer` option. */
  ofBearer (sent: string): Credential | null {
    if (!this.#options.bearer) return null
    return this.#bearers.of(sent, (own) => {
      const token = fromBearer(own)
      return token === null ? null : this.credential(token, { kind: 'bearer', renew: false })
    })
  }

  /** Makes a credential of a token. */
  credential (token: Token, how: Pick<Credential, 'kind' | 'renew' | 'adopts'>): Credential {
    const { tokens } = this.#options
    return { token, id: tokens.idOf(token), secretHash: tokens.secretHashOf(token), hasProven: false, ...how }
  }

  /** Returns a `Cookie` header that carries a token. */
  cookieOf (token: Token): string {
    return `${this.#options.cookieNames[0] as string}=${encodeURIComponent(this.sign(token))}`
  }

  #verified (value: string): Credential | null {
    const verified = this.#options.tokens.unsign(value)
    return verified === null ? null : this.credential(verified.token, { kind: 'cookie', renew: verified.renew })
  }

  /** Returns a credential for the other library's session that a cookie names, if those are taken over. */
  #adopted (value: string): Credential | null {
    const foreign = this.#options.readForeignCookie?.(value) ?? null
    if (foreign === null) return null
    return this.credential(foreign.token, { kind: 'cookie', renew: true, adopts: foreign.sid })
  }
}
