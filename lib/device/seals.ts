import type { BoundKey } from '../session/bound-key.ts'
import { Signature } from '../session/token.ts'
import { Recent } from '../util/recent.ts'

/** Number of verified cookies that are remembered. */
const REMEMBERED = 10_000
/** When it ends, in milliseconds since 1970 and in base 36, and a MAC over that and what it is for. */
const SEAL = /^(?<ends>[0-9a-z]{1,9})\.(?<mac>[\w-]{43})$/
const LONGEST = 53

/** A cookie that verified: for which key, and until when. */
interface Verified {
  readonly value: string
  readonly key: string
  readonly boundAt: number
  readonly endsAt: number
}

/**
 * The short cookie of a bound session, and the challenges that its browser has to sign. No store knows them: each is
 * `<end>.<mac>`, safe in a cookie and in a header without encoding, and says by its MAC alone what it is for. The first
 * secret makes them, all verify them. Instants are in milliseconds since 1970; an end is rounded down.
 */
export class DeviceSeals {
  readonly #cookies: Signature
  readonly #challenges: Signature
  readonly #verified = new Recent<Verified>(REMEMBERED)
  /** The last good cookie of a binding: most requests carry it again, and comparing it is cheaper than a look-up. */
  readonly #last = new WeakMap<BoundKey, Verified>()

  constructor (secrets: readonly string[]) {
    this.#cookies = Signature.of(secrets, 'device cookie')
    this.#challenges = Signature.of(secrets, 'device challenge')
  }

  /** Makes the short cookie of a binding, good before `endsAt`. */
  cookie (boundKey: BoundKey, endsAt: number): string {
    return seal(this.#cookies, boundKey.identifier, endsAt)
  }

  /**
   * Whether this is a short cookie of this very binding, and has not ended. A good one costs an HMAC once: the last
   * ones are remembered.
   */
  verifyCookie (value: string, boundKey: BoundKey, now: number): boolean {
    const last = this.#last.get(boundKey)
    if (last?.value === value) return now < last.endsAt
    if (value.length > LONGEST) return false
    const { key, boundAt } = boundKey
    const verified = this.#verified.of(value, (own) => {
      const endsAt = endOf(this.#cookies, own, () => boundKey.identifier)
      return endsAt === null ? null : { value: own, key, boundAt, endsAt }
    })
    // Remembered for another binding, it is not one of this: no MAC is good for two.
    if (verified === null || verified.key !== key || verified.boundAt !== boundAt) return false
    this.#last.set(boundKey, verified)
    return now < verified.endsAt
  }

  /** Whether this is a short cookie of the binding with this identifier, and has not ended. */
  verifyCookieOf (value: string, identifier: string, now: number): boolean {
    const endsAt = endOf(this.#cookies, value, () => identifier)
    return endsAt !== null && now < endsAt
  }

  /** Makes a challenge for one subject, a session or a binding of it, good before `endsAt`. */
  challenge (subject: string, endsAt: number): string {
    return seal(this.#challenges, subject, endsAt)
  }

  /** Whether this is a challenge for this subject, and has not ended. It may be answered more than once until then. */
  verifyChallenge (value: string, subject: string, now: number): boolean {
    const endsAt = endOf(this.#challenges, value, () => subject)
    return endsAt !== null && now < endsAt
  }
}

function seal (signature: Signature, subject: string, endsAt: number): string {
  const ends = Math.floor(endsAt).toString(36)
  return `${ends}.${signature.seal(sealed(ends, subject))}`
}

/** Returns when a seal ends, or `null` if it was not made for this subject. What has not its form costs no hash. */
function endOf (signature: Signature, value: string, subject: () => string): number | null {
  const { ends = '', mac = '' } = SEAL.exec(value)?.groups ?? {}
  return mac !== '' && signature.isSeal(mac, sealed(ends, subject())) ? Number.parseInt(ends, 36) : null
}

/** No two ends and subjects make the same text: an end has no space. */
function sealed (ends: string, subject: string): string {
  return `${ends} ${subject}`
}
