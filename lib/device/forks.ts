import { randomBytes } from 'node:crypto'
import { cookieValues } from '../session/headers.ts'
import type { SessionRecord } from '../session/record.ts'
import { Signature } from '../session/token.ts'
import { Recent } from '../util/recent.ts'
import { TURN_EVERY_MS, TURN_LATEST_MS, TURN_REPLY_MS } from '../util/timings.ts'

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
/** `<nonce> <shown> <given> <at>`, with the last turn's time in base 36, or `<nonce> forked`. */
const TWIN = new RegExp(
  `^(?<nonce>[\\w-]{12}) (?:forked|(?<shown>${NUMBER}) (?<given>${NUMBER}) (?<at>[0-9a-z]{1,9}))$`
)
/** `<number>.<MAC>` */
const COOKIE = new RegExp(`^(?<number>${NUMBER})\\.(?<mac>[\\w-]{43})$`)
const FORKED = ' forked'
/** Number of verified cookies that are remembered. */
const REMEMBERED = 10_000

/** A cookie that verified. */
interface Verified {
  readonly nonce: string
  readonly number: number
}

/**
 * Notices that two browsers hold the cookie of one session. A second cookie, the twin, has a number that grows with
 * uses that are written down. The record says which number was `shown` last, and which was `given` since.
 *
 * | the cookie has | then | since |
 * |---|---|---|
 * | `given` | it is `shown`, and the next number is given | the last reply has arrived |
 * | `shown`, or no number | the next number is given | the last reply was lost |
 * | a greater number | as `given` | Redis has lost its last writes |
 * | another one | the session is forked | another browser was given a newer number |
 *
 * Requests at once, in whatever process, find the same record and give the same number.
 */
export class ForkDetection {
  readonly options: ResolvedForkDetection
  readonly #signature: Signature
  readonly #names: readonly string[]
  /** Every use looks at the cookie: a good one is verified once. */
  readonly #verified = new Recent<Verified>(REMEMBERED)

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

  /** Whether a use has to be written down for the next number: nothing else has for long. */
  isTurnLate ({ userId, kind, lastSeenAt }: SessionRecord, now: number): boolean {
    return userId !== null && kind === 'cookie' && now - lastSeenAt >= TURN_LATEST_MS
  }

  /** Returns what a use makes of a session. `gives`: it is written down, and gives a number. `null`: nothing. */
  turn (
    record: SessionRecord, { cookie = '' }: { readonly cookie?: string | undefined },
    { now, gives }: { now: number, gives: boolean }
  ): Turn | null {
    if (record.userId === null || record.kind !== 'cookie') return null
    const known = record.twin == null ? undefined : TWIN.exec(record.twin)?.groups
    if (known === undefined && !gives) return null
    const { nonce = randomBytes(9).toString('base64url') } = known ?? {}
    const give = (shown: number, given: number): Turn => {
      const value = `${given}.${this.#signature.seal(sealed(nonce, given))}`
      return { twin: `${nonce} ${shown} ${given} ${Math.floor(now).toString(36)}`, value }
    }
    if (known === undefined) return give(0, 1)
    const forked = { twin: nonce + FORKED, value: null }
    if (isForked(record)) return forked
    const age = now - Number.parseInt(known.at ?? '', 36)
    // A reply of before may still bring the number that was shown then.
    if (age < TURN_REPLY_MS) return null
    const [last, given] = [Number(known.shown), Number(known.given)]
    const shown = this.#shownIn(cookie, nonce) ?? last
    if (shown !== last && shown < given) return forked
    // Else replies could pass each other, and the browser would keep the older number.
    if (!gives || age < TURN_EVERY_MS) return null
    return shown === last ? give(last, given + 1) : give(shown, shown + 1)
  }

  /** Returns the greatest number that was given in this session. A planted cookie has none. */
  #shownIn (cookie: string, nonce: string): number | null {
    const verify = (value: string): Verified | null => {
      const { number = '', mac = '' } = COOKIE.exec(value)?.groups ?? {}
      const isGood = mac !== '' && this.#signature.isSeal(mac, sealed(nonce, Number(number)))
      return isGood ? { nonce, number: Number(number) } : null
    }
    const shown = this.#names.flatMap((name) => cookieValues(cookie, name))
      .map((value) => this.#verified.of(value, verify))
      // Remembered for another session, it is none of this: no MAC is good for two.
      .filter((each) => each?.nonce === nonce)
    return shown.reduce<number | null>((most, each) => Math.max(most ?? 0, each?.number ?? 0), null)
  }
}

/** Whether two browsers were seen to hold a session. */
export function isForked ({ twin }: SessionRecord): boolean {
  return twin != null && twin.endsWith(FORKED)
}

function sealed (nonce: string, number: number): string {
  return `${nonce} ${number}`
}
