import { pendingKey, readBoundKey } from '../session/bound-key.ts'
import type { BoundKey } from '../session/bound-key.ts'
import { isFromElsewhere } from '../session/device-check.ts'
import type { DeviceCheck, DeviceHeaders, Standing } from '../session/device-check.ts'
import { cookieValues } from '../session/headers.ts'
import type { SessionRecord } from '../session/record.ts'
import { Recent } from '../util/recent.ts'
import { DEVICE_OVERLAP_MS, JUST_BOUND_MS } from '../util/timings.ts'
import { readProof } from './proof.ts'
import { DeviceSeals } from './seals.ts'

/** Number of keys that are remembered. */
const REMEMBERED = 10_000
/** Longest `boundKey` that is remembered, in characters. One of RSA with 4,096 bits has 708 at most. */
const LONGEST_KEY = 768
/** Most cookies of one name that are looked at: each that is not good costs an HMAC for each secret. */
const MOST_COOKIES = 4

/** The option `deviceBound`, checked. */
export interface ResolvedDeviceBound {
  /** How long the short cookie lives. */
  readonly maxAgeMs: number
  /** Whether a user's sessions have to be bound. `null`: nobody's. */
  readonly required: ((userId: string) => boolean) | null
  /** For how long after a sign-in a session need not be bound. */
  readonly graceMs: number
  /** Whether a session ends when it is used without its device. */
  readonly revokes: boolean
  /** Whether browsers are asked to bind a session that began before. */
  readonly bindExisting: boolean
  /** Whether browsers are asked at all. */
  readonly asks: boolean
  /** Path of the routes, below the prefix of the plugin's context. `null`: the default. */
  readonly path: string | null
}

/** The short cookie, as it is to be set. */
export interface ShortCookie {
  readonly name: string
  readonly value: string
  readonly maxAgeSeconds: number
}

/** Outcome of a registration: the `boundKey` that the session is to get, or why not. */
export type Registration = { readonly boundKey: string } | 'bad-proof' | 'taken'

/**
 * Outcome of a refresh: the key, and whether the browser has signed a challenge by it or is to sign a new one.
 * `forget`: the browser is to forget its side. `bad-proof`: nobody who holds the key has sent this.
 */
export type Refresh = { readonly bound: BoundKey, readonly hasSigned: boolean } | 'forget' | 'bad-proof'

/** Whether a proof is for this endpoint, by the URL that it names. */
type FitsAudience = (url: string) => boolean

/**
 * Binds sessions to the key that a browser keeps (Device Bound Session Credentials). Nothing here is stored but the
 * key, in the session: the short cookie and the challenges are MACs.
 * @see https://w3c.github.io/webappsec-dbsc/
 */
export class DeviceBinding implements DeviceCheck {
  readonly options: ResolvedDeviceBound
  readonly #seals: DeviceSeals
  readonly #names: readonly string[]
  /** Every request of a bound session reads its key: those that were read last are not read again. */
  readonly #keys = new Recent<BoundKey>(REMEMBERED, LONGEST_KEY)

  /** `cookieNames`: those of the session cookie. */
  constructor (options: ResolvedDeviceBound, secrets: readonly string[], cookieNames: readonly string[]) {
    this.options = options
    this.#seals = new DeviceSeals(secrets)
    this.#names = cookieNames.map((name) => `${name}-bound`)
  }

  /** Names of the short cookie. The first is written, all are read. */
  get cookieNames (): readonly string[] {
    return this.#names
  }

  get revokes (): boolean {
    return this.options.revokes
  }

  standingOf (record: SessionRecord, headers: DeviceHeaders, now: number): Standing {
    const bound = record.boundKey === null ? null : this.#keys.of(record.boundKey, readBoundKey)
    if (bound !== null && this.#has(headers, (value) => this.#seals.verifyCookie(value, bound, now))) return 'proven'
    const isHeld = bound !== null && bound.isConfirmed && now - bound.boundAt > JUST_BOUND_MS
    const isSkipped = isHeld && skips(headers, bound)
    if (isHeld && !isSkipped) {
      // A sibling host can plant so many that the good one is not looked at. It is not to end the session by that.
      return isFromElsewhere(headers) || this.#hasTooMany(headers) ? 'elsewhere' : 'mismatch'
    }
    // Of one that another library began, nobody knows when its user signed in: that is 0.
    const since = record.authenticatedAt || record.createdAt
    const { required, graceMs } = this.options
    const isDue = isSkipped || now - since > graceMs
    if (required !== null && isDue && isRequired(required, record.userId ?? '')) {
      // Its browser gets the short cookie first, once the request is no more of another site.
      return bound !== null && isFromElsewhere(headers) ? 'elsewhere' : 'required'
    }
    return isSkipped ? 'skipped' : 'unproven'
  }

  /** Whether a browser may be asked to bind a session. */
  asksFor (record: SessionRecord, now: number): boolean {
    if (!this.options.asks || record.userId === null || record.kind !== 'cookie') return false
    return isFree(readBoundKey(record.boundKey), now)
  }

  /** Returns the header by which a browser is asked to bind a session. */
  registrationHeader ({ id }: SessionRecord, path: string, now: number): string {
    return `(ES256 RS256);path="${path}";challenge="${this.#seals.challenge(id, this.#challengeEnd(now))}"`
  }

  /** Checks what a browser sends to bind a session. The key of a repeated request is the one that the session has. */
  register (record: SessionRecord, header: unknown, { now, fits }: { now: number, fits: FitsAudience }): Registration {
    const proof = readProof(header)
    if (proof?.key == null || !proof.verify(proof.key)) return 'bad-proof'
    if (proof.audience !== null && !fits(proof.audience)) return 'bad-proof'
    if (!this.#seals.verifyChallenge(proof.challenge, record.id, now)) return 'bad-proof'
    const bound = readBoundKey(record.boundKey)
    if (record.boundKey !== null && bound?.key === proof.key) return { boundKey: record.boundKey }
    return isFree(bound, now) ? { boundKey: pendingKey(proof.key, Math.floor(now)) } : 'taken'
  }

  /** Checks what a browser sends for the next short cookie. */
  refresh (
    record: SessionRecord, { id, header, now, fits }: { id: unknown, header: unknown, now: number, fits: FitsAudience }
  ): Refresh {
    const bound = readBoundKey(record.boundKey)
    if (bound === null || unquoted(id) !== bound.identifier) return 'forget'
    if (header === undefined) return { bound, hasSigned: false }
    const proof = readProof(header)
    if (proof === null || !proof.verify(bound.key)) return 'bad-proof'
    if (proof.audience !== null && !fits(proof.audience)) return 'bad-proof'
    return { bound, hasSigned: this.#seals.verifyChallenge(proof.challenge, bound.identifier, now) }
  }

  /** Whether a request shows the short cookie of the binding of this identifier, whatever has become of its session. */
  isShown (id: unknown, headers: DeviceHeaders, now: number): boolean {
    const identifier = unquoted(id)
    return identifier !== null && this.#has(headers, (value) => this.#seals.verifyCookieOf(value, identifier, now))
  }

  /** Returns the header with the challenge that the browser signs next. */
  challengeHeader ({ identifier }: BoundKey, now: number): string {
    return `"${this.#seals.challenge(identifier, this.#challengeEnd(now))}";id="${identifier}"`
  }

  /** Makes the short cookie. Requests that were sent with the one before go on for a while. */
  shortCookie (bound: BoundKey, now: number): ShortCookie {
    const { maxAgeMs } = this.options
    return {
      name: this.#names[0] as string,
      value: this.#seals.cookie(bound, Math.floor(now + maxAgeMs + DEVICE_OVERLAP_MS)),
      maxAgeSeconds: Math.floor(maxAgeMs / 1000)
    }
  }

  /** A challenge that comes with one short cookie is signed for the next. */
  #challengeEnd (now: number): number {
    return Math.floor(now + this.options.maxAgeMs)
  }

  /** Whether a request carries more cookies of one name than are looked at. */
  #hasTooMany ({ cookie = '' }: DeviceHeaders): boolean {
    return this.#names.some((name) => cookieValues(cookie, name).length > MOST_COOKIES)
  }

  /** Whether a request carries a short cookie that is good. */
  #has ({ cookie = '' }: DeviceHeaders, isGood: (value: string) => boolean): boolean {
    return this.#names.some((name) => cookieValues(cookie, name).slice(0, MOST_COOKIES).some(isGood))
  }
}

/** Returns what binds the sessions of a registration; `null` where none is bound. */
export function deviceBinding (
  { deviceBound, secrets, cookieNames }: {
    deviceBound: ResolvedDeviceBound | null, secrets: readonly string[], cookieNames: readonly string[]
  }
): DeviceBinding | null {
  return deviceBound === null ? null : new DeviceBinding(deviceBound, secrets, cookieNames)
}

/**
 * Whether a session may be bound to another key. One whose browser has not shown that it holds it may be lost: the
 * reply to a registration does not always arrive.
 */
function isFree (bound: BoundKey | null, now: number): boolean {
  return bound === null || (!bound.isConfirmed && now - bound.boundAt > JUST_BOUND_MS)
}

/** @throws TypeError for what is no answer, such as a promise */
function isRequired (required: (userId: string) => boolean, userId: string): boolean {
  const answer: unknown = required(userId)
  if (typeof answer === 'boolean') return answer
  // A promise that rejects, and nobody looks at, ends the process.
  Promise.resolve(answer).catch(() => {})
  throw new TypeError('deviceBound.required must return true or false')
}

/** Whether a browser says that it has skipped this session. Its identifier is known to the browser alone. */
function skips (headers: DeviceHeaders, { identifier }: BoundKey): boolean {
  const skipped = headers['secure-session-skipped']
  return skipped !== undefined && String(skipped).includes(identifier)
}

/** Returns the text of a header, which browsers send with quotes or without. */
function unquoted (value: unknown): string | null {
  return typeof value === 'string' ? value.replace(/^"(.*)"$/, '$1') : null
}
