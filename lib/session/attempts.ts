import { createHash, randomBytes } from 'node:crypto'
import { errors } from '../errors.ts'
import { KNOWN_NETWORK_MS } from '../util/timings.ts'
import type { AttemptCounter, AttemptCounters, AttemptLimit } from './store.ts'

/** Limits of failed logins. `null`: any number of that kind. */
export interface AttemptLimits {
  /** Limit of one network, whatever the account. */
  readonly network: AttemptLimit | null
  /** Limit of one account from one network. */
  readonly accountNetwork: AttemptLimit | null
  /** Limit of one account from all networks that it is not known from (NIST SP 800-63B-4 3.2.2). */
  readonly account: AttemptLimit | null
}

/** Name of a limit. */
type LimitName = keyof AttemptLimits

/** How long there is no room for an attempt. */
interface Wait {
  readonly ms: number
  /** The limit that it is for. `null`: there is room, or the store does not say it. */
  readonly limit: LimitName | null
}

/** The networks an account is known from: the newest twenty that it signed in from in the last thirty days. */
const KNOWN = { most: 20, forMs: KNOWN_NETWORK_MS }

/** Longest name that is read, in characters. The rest is ignored. */
const MAX_NAME_LENGTH = 1_024

/**
 * A login, as it is counted. It counts as failed while it goes on, so that many at once are no more than one after
 * the other. Whether there is such an account makes no difference.
 */
export class LoginAttempt {
  readonly #counters: AttemptCounters
  readonly #id: string
  /** The beginning of all attempts of this account. `null`: the account is not known. */
  readonly #account: string | null
  readonly #ofNetwork: AttemptCounter | null = null
  readonly #ofBoth: AttemptCounter | null = null
  /** Its place is the network. Where the account is known from it, nothing is counted. */
  readonly #ofAccount: AttemptCounter & { place: string } | null = null
  #refusedBy: LimitName | null = null

  /** `account` is what was typed in, `network` what `networkOf` returns. */
  constructor (
    counters: AttemptCounters,
    { account, network, limits }: { account: unknown, network: string, limits: AttemptLimits | null }
  ) {
    const name = accountText(account)
    this.#counters = counters
    this.#account = name === null ? null : `${hash('account', name).slice(0, 16)}/`
    this.#id = `${this.#account ?? '/'}${randomBytes(8).toString('base64url')}`
    if (limits === null) return
    const place = hash('network', network)
    if (limits.network !== null) this.#ofNetwork = { key: `network:${place}`, limit: limits.network }
    if (name === null) return
    if (limits.accountNetwork !== null) {
      const key = `account-network:${hash('account-network', name, network)}`
      this.#ofBoth = { key, limit: limits.accountNetwork }
    }
    if (limits.account !== null) {
      this.#ofAccount = { key: `account:${hash('account', name)}`, limit: limits.account, place: place.slice(0, 16) }
    }
  }

  /**
   * Counts the attempt before it is made. The account is counted last: an attempt that is refused for its network
   * uses up nothing of the account, not even for a moment. So one network cannot keep others from an account. An
   * attempt that is refused counts nowhere.
   * @throws ERR_SESSION_TOO_MANY_ATTEMPTS, with the seconds until there is room in its `Retry-After`
   * @throws ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL
   */
  async reserve (): Promise<void> {
    const { ms, limit } = await this.#countTogether() ?? await this.#countInTurn()
    const seconds = Math.ceil(ms / 1000)
    if (seconds === 0) return
    this.#refusedBy = limit
    throw Object.assign(new errors.TOO_MANY_ATTEMPTS(), { headers: { 'retry-after': String(seconds) } })
  }

  /** The limit that refused the attempt: of several the one with the longest wait. `null`: none, or not known. */
  get refusedBy (): LimitName | null {
    return this.#refusedBy
  }

  /** Stops counting this attempt, as it turned out to be none. */
  async giveBack (counters = this.#all): Promise<void> {
    await Promise.all(counters.map(async ({ key }) => await this.#counters.giveBack(key, this.#id)))
  }

  /**
   * Notes that the login has succeeded. Failed logins of this account from this network, and from those that it was
   * not known from, stop counting. From now on the account is known from here.
   */
  async succeed (): Promise<void> {
    const account = this.#ofAccount
    // Of the network what is this account's: signing in to one's own account must not buy guesses at others.
    const clears = this.#all.map(({ key }) => {
      return { key, beginning: key === this.#ofNetwork?.key ? this.#account ?? this.#id : '' }
    })
    const remembers = account === null ? null : { key: account.key, place: account.place, ...KNOWN }
    if (await this.#counters.settle?.({ clears, remembers }) === true) return
    await Promise.all([
      ...clears.map(async ({ key, beginning }) => await this.#counters.clear(key, beginning)),
      remembers !== null && this.#counters.remember(remembers.key, remembers.place, KNOWN)
    ])
  }

  /** All counters that it counts in. */
  get #all (): AttemptCounter[] {
    return [this.#ofNetwork, this.#ofBoth, this.#ofAccount].filter((counter) => counter !== null)
  }

  /** Returns the name of a counter's limit. */
  #limitOf (counter: AttemptCounter | undefined): LimitName | null {
    if (counter === undefined) return null
    return counter === this.#ofNetwork ? 'network' : counter === this.#ofBoth ? 'accountNetwork' : 'account'
  }

  /** Counts in all counters at once. Resolves with `null` where that is not possible. */
  async #countTogether (): Promise<Wait | null> {
    const all = this.#all
    let limit: LimitName | null = null
    const onRefused = (at: number): void => { limit = this.#limitOf(all[at]) }
    const ms = await this.#counters.countTogether?.(this.#id, all, onRefused) ?? null
    return ms === null ? null : { ms, limit }
  }

  /** Counts in one step after the other. */
  async #countInTurn (): Promise<Wait> {
    const near = [this.#ofNetwork, this.#ofBoth].filter((counter) => counter !== null)
    const far = this.#ofAccount === null ? [] : [this.#ofAccount]
    const wait = await this.#count(near)
    const other = await this.#count(far, wait.ms > 0 ? { attempt: null } : { before: near })
    return other.ms > wait.ms ? other : wait
  }

  /**
   * Counts the attempt if there is room in all counters. Else it counts in none of them, and not in those `before`.
   */
  async #count (
    counters: AttemptCounter[],
    { attempt = this.#id, before = [] }: { attempt?: string | null, before?: AttemptCounter[] } = {}
  ): Promise<Wait> {
    const answers = await Promise.allSettled(counters.map(async ({ key, limit, place }) => {
      return await this.#counters.count(key, attempt, limit, place)
    }))
    const waits = answers.map((answer) => answer.status === 'fulfilled' ? answer.value : 0)
    const failure = answers.find((answer) => answer.status === 'rejected')?.reason as Error | undefined
    const ms = Math.max(0, ...waits)
    if (failure === undefined && ms === 0) return { ms, limit: null }
    const counted = counters.filter((_counter, index) => waits[index] === 0)
    // Best effort: what stays counted is one guess less.
    const givenBack = this.giveBack([...before, ...counted]).catch(() => {})
    if (failure !== undefined) throw failure
    await givenBack
    return { ms, limit: this.#limitOf(counters[waits.indexOf(ms)]) }
  }
}

/**
 * Clears the failed logins of an account from networks that it is not known from. Resolves with `false` where none is
 * named.
 */
export async function forgetAttempts (counters: AttemptCounters, account: unknown): Promise<boolean> {
  const name = accountText(account)
  if (name === null) return false
  await counters.clear(`account:${hash('account', name)}`)
  return true
}

/** Invisible characters: control and format characters, those that Unicode ignores, the empty Braille cell. */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\u2800]/gu

/**
 * Returns the name of an account, however it is typed: `Ada`, `ada ` and `ａｄａ` are one, as to many a database.
 * So is `['ada']`. Returns `null` when there is none.
 */
export function accountText (account: unknown): string | null {
  if (account === undefined || account === null) return null
  // Before a name is cut: enough invisible characters would make a different name of it.
  const text = textOf(account).replace(HIDDEN, '').slice(0, MAX_NAME_LENGTH)
  // Upper case makes Σ of ς and SS of ß, of ẞ only after lower case. The last step joins what it takes apart.
  return text.normalize('NFKC').toLowerCase().toUpperCase().normalize('NFKC').trim()
}

/** Returns the text of a value, or none where it has no text. */
function textOf (value: unknown): string {
  try {
    return String(value)
  } catch {
    return ''
  }
}

function hash (...parts: string[]): string {
  const text = JSON.stringify(['fastify-user-sessions', ...parts])
  return createHash('sha256').update(text).digest('base64url').slice(0, 22)
}
