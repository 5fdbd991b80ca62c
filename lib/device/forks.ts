import { randomBytes } from 'node:crypto'
import { cookieValues } from '../session/headers.ts'
import type { SessionRecord } from '../session/record.ts'
import { Signature } from '../session/token.ts'
import { TURN_EVERY_MS } from '../util/timings.ts'

/** The option `forkDetection`, checked. */
export interface ResolvedForkDetection {
  /** Effect of a fork, beside its event. */
  readonly onFork: 'report' | 'reauthenticate' | 'revoke'
}

/** What a use of a session makes of its twin. */
export interface Turn {
  /** The `twin` that the record is to get. */
  readonly twin: string
  /** The value of the twin cookie that the browser is to get. `null`: two browsers hold the session. */
  readonly value: string | null
}

/** Numbers of a twin, in base 10. */
const NUMBER = '(?:0|[1-9]\\d{0,9})'
/** `<nonce> <shown> <given>`, or `<nonce> forked`. */
const TWIN = new RegExp(`^(?<nonce>[\\w-]{12}) (?:forked|(?<shown>${NUMBER}) (?<given>${NUMBER}))$`)
/** `<number>.<MAC>` */
const COOKIE = new RegExp(`^(?<number>${NUMBER})\\.(?<mac>[\\w-]{43})$`)
const FORKED = ' forked'

/**
 * Notices that two browsers hold the cookie of one session. A second cookie, the twin, has a number that grows with
 * each use that is written down. The record says which number was `shown` last, and which was `given` since.
 *
 * - Whoever shows the one that was given gets the next one.
 * - Whoever shows again what was shown last, or nothing, gets the next one as well: the reply may have been lost, and
 *   it was never shown.
 * - Whoever shows another older one is not alone: somebody else has shown a newer one, or was given one in between.
 *
 * So lost replies and requests at once never look like a fork, and of two browsers that both go on, one shows an older
 * one at its second use. A number greater than any given is of a Redis that has lost its last writes.
 */
export class ForkDetection {
  readonly options: ResolvedForkDetection
  readonly #signature: Signature
  readonly #names: readonly string[]

  /** `cookieNames`: those of the session cookie. */
  constructor (options: ResolvedForkDetection, secrets: readonly string[], cookieNames: readonly string[]) {
    this.options = options
    this.#signature = Signature.of(secrets, 'twin cookie')
    this.#names = cookieNames.map((name) => `${name}-twin`)
  }

  /** Names of the twin cookie. The first is written, all are read. */
  get cookieNames (): readonly string[] {
    return this.#names
  }

  /** Returns what a use that is written down makes of a session. `null`: nothing. */
  turn (record: SessionRecord, { cookie = '' }: { readonly cookie?: string | undefined }, now: number): Turn | null {
    if (record.userId === null || record.kind !== 'cookie') return null
    // One reply follows the other then: a browser may get the newer cookie first.
    if (now - record.lastSeenAt < TURN_EVERY_MS) return null
    const known = record.twin === null ? undefined : TWIN.exec(record.twin)?.groups
    if (known === undefined) return this.#given(randomBytes(9).toString('base64url'), 0, 1)
    const { nonce = '' } = known
    const forked = { twin: nonce + FORKED, value: null }
    if (isForked(record)) return forked
    const [last, given] = [Number(known.shown), Number(known.given)]
    const shown = this.#shownIn(cookie, nonce) ?? last
    if (shown === last) return this.#given(nonce, last, given + 1)
    return shown >= given ? this.#given(nonce, shown, shown + 1) : forked
  }

  #given (nonce: string, shown: number, given: number): Turn {
    const value = `${given}.${this.#signature.seal(sealed(nonce, given))}`
    return { twin: `${nonce} ${shown} ${given}`, value }
  }

  /** Returns the greatest number that was given in this session. A planted cookie has none. */
  #shownIn (cookie: string, nonce: string): number | null {
    const numbers = this.#names.flatMap((name) => cookieValues(cookie, name)).map((value) => {
      const { number = '', mac = '' } = COOKIE.exec(value)?.groups ?? {}
      return mac !== '' && this.#signature.isSeal(mac, sealed(nonce, Number(number))) ? Number(number) : -1
    })
    const greatest = Math.max(-1, ...numbers)
    return greatest < 0 ? null : greatest
  }
}

/** Returns what notices forks in a registration; `null`: nothing does. */
export function forkDetection (
  { forkDetection: options, secrets, cookieNames }: {
    forkDetection: ResolvedForkDetection | null, secrets: readonly string[], cookieNames: readonly string[]
  }
): ForkDetection | null {
  return options === null ? null : new ForkDetection(options, secrets, cookieNames)
}

/** Whether two browsers were seen to hold a session. */
export function isForked ({ twin }: SessionRecord): boolean {
  return twin != null && twin.endsWith(FORKED)
}

function sealed (nonce: string, number: number): string {
  return `${nonce} ${number}`
}
