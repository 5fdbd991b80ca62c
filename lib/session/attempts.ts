import { createHash, randomBytes } from 'node:crypto'
import { errors } from '../errors.ts'
import { KNOWN_NETWORK_MS } from '../util/timings.ts'
import type { AttemptCounters, AttemptLimit } from './store.ts'

/** How many logins may fail; `null`: any number of that kind. */
export interface AttemptLimits {
  /** From one network, whatever the account. */
  readonly network: AttemptLimit | null
  /** From one network, of one account. */
  readonly accountNetwork: AttemptLimit | null
  /** Of one account, from all networks that it is not known from (NIST SP 800-63B-4 3.2.2). */
  readonly account: AttemptLimit | null
}

/** From which networks an account is known: those it signed in from during the last thirty days, the newest twenty. */
const KNOWN = { most: 20, forMs: KNOWN_NETWORK_MS }

/** More of a name is not looked at. */
const MAX_NAME_LENGTH = 1_024

interface Counter {
  readonly key: string
  readonly limit: AttemptLimit
  /** From where nothing is counted if it is known there. */
  readonly place?: string
}

/**
 * One login as it is counted: while it goes on it counts as failed, so that many at once are no more than one after
 * the other. Whether there is such an account makes no difference to any of it.
 */
export class LoginAttempt {
  readonly #counters: AttemptCounters
  readonly #id: string
  /** What the attempts of this account begin with; `null`: nobody knows whose it is. */
  readonly #account: string | null
  readonly #ofNetwork: Counter | null = null
  readonly #ofBoth: Counter | null = null
  readonly #ofAccount: Counter & { place: string } | null = null

  /** `account`: whatever was typed in. `network`: as `networkOf` gives it. */
  constructor (counters: AttemptCounters, { account, network, limits }: { account: unknown, network: string, limits: AttemptLimits | null }) {
    const name = accountText(account)
    this.#counters = counters
    this.#account = name === null ? null : `${hash('account', name).slice(0, 16)}/`
    this.#id = `${this.#account ?? '/'}${randomBytes(8).toString('base64url')}`
    if (limits === null) return
    if (limits.network !== null) this.#ofNetwork = { key: `network:${hash('network', network)}`, limit: limits.network }
    if (name === null) return
    if (limits.accountNetwork !== null) this.#ofBoth = { key: `account-network:${hash('account-network', name, network)}`, limit: limits.accountNetwork }
    if (limits.account !== null) this.#ofAccount = { key: `account:${hash('account', name)}`, limit: limits.account, place: hash('network', network).slice(0, 16) }
  }

  /**
   * Counts the attempt before it is made. The account is asked last: who is refused anyway takes no slot of it, not
   * even for a moment, so that one network cannot keep an account from others. What is refused counts nowhere.
   * @throws ERR_SESSION_TOO_MANY_ATTEMPTS, with the seconds after which there is room in its `Retry-After`
   * @throws ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL
   */
  async reserve (): Promise<void> {
    const [near, far] = [[this.#ofNetwork, this.#ofBoth], [this.#ofAccount]]
    const waitMs = await this.#take(near)
    const accountWaitMs = await this.#take(far, waitMs > 0 ? { attempt: null } : { before: near })
    const longestMs = Math.max(waitMs, accountWaitMs)
    if (longestMs > 0) throw Object.assign(new errors.TOO_MANY_ATTEMPTS(), { headers: { 'retry-after': String(Math.ceil(longestMs / 1000)) } })
  }

  /** It was no attempt: it counts no more. */
  async giveBack (counters = [this.#ofNetwork, this.#ofBoth, this.#ofAccount]): Promise<void> {
    await Promise.all(counters.map(async (counter) => { if (counter !== null) await this.#counters.giveBack(counter.key, this.#id) }))
  }

  /**
   * It has succeeded: of this account nothing counts any more from this network, nor from those where it was not
   * known, and from now on it is known here.
   */
  async succeed (): Promise<void> {
    const { key, place = '' } = this.#ofAccount ?? {}
    await Promise.all([
      // Only what is this account's: else signing in to one's own would buy guesses at others.
      this.#ofNetwork !== null && (this.#account === null ? this.giveBack([this.#ofNetwork]) : this.#counters.clear(this.#ofNetwork.key, this.#account)),
      this.#ofBoth !== null && this.#counters.clear(this.#ofBoth.key),
      key !== undefined && this.#counters.clear(key),
      key !== undefined && this.#counters.remember(key, place, KNOWN)
    ])
  }

  /** Counts the attempt where there is room everywhere; else it counts nowhere, nor in those `before`. Gives how long there is no room. */
  async #take (counters: Array<Counter | null>, { attempt = this.#id, before = [] }: { attempt?: string | null, before?: Array<Counter | null> } = {}): Promise<number> {
    const answers = await Promise.allSettled(counters.map(async (counter) => counter === null ? 0 : await this.#counters.take(counter.key, attempt, counter.limit, counter.place)))
    const waits = answers.map((answer) => answer.status === 'fulfilled' ? answer.value : 0)
    const failure = answers.find((answer) => answer.status === 'rejected')?.reason as Error | undefined
    if (failure === undefined && Math.max(...waits) === 0) return 0
    // Best effort: what stays counted is one guess less.
    const givenBack = this.giveBack([...before, ...counters.filter((_counter, index) => waits[index] === 0)]).catch(() => {})
    if (failure !== undefined) throw failure
    await givenBack
    return Math.max(...waits)
  }
}

/** Forgets the failed logins of an account from networks it is not known from. */
export async function forgetAttempts (counters: AttemptCounters, account: unknown): Promise<void> {
  const name = accountText(account)
  if (name !== null) await counters.clear(`account:${hash('account', name)}`)
}

/** What nobody sees in a name: control and format characters, what Unicode says to leave out, the empty Braille cell. */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\u2800]/gu

/**
 * What an account goes by, however it is typed: `Ada`, `ada ` and `ａｄａ` are one, as they are to many a database,
 * and `['ada']` is as well. `null` when there is none.
 */
function accountText (account: unknown): string | null {
  if (account === undefined || account === null) return null
  // Before a name is cut: else so many of them would make another name of it.
  const text = textOf(account).replace(HIDDEN, '').slice(0, MAX_NAME_LENGTH)
  // Upper case makes Σ of ς and SS of ß, of ẞ only after lower case; what it takes apart is joined again.
  return text.normalize('NFKC').toLowerCase().toUpperCase().normalize('NFKC').trim()
}

/** What is no text may be without any. */
function textOf (value: unknown): string {
  try {
    return String(value)
  } catch {
    return ''
  }
}

function hash (...parts: string[]): string {
  return createHash('sha256').update(JSON.stringify(['fastify-user-sessions', ...parts])).digest('base64url').slice(0, 22)
}
