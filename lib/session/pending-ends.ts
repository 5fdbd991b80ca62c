import { AsyncResource } from 'node:async_hooks'
import { TIMED_OUT, withDeadline } from '../util/deadline.ts'
import { RETRY_EVERY_MS } from '../util/timings.ts'
import type { EndCause } from './end-cause.ts'

/**
 * Number of failures that end a round of tries. One failure may be of a single session that cannot be ended, or of a
 * part of the store that is down.
 */
const FAILURES = 16
/** Number of refused logins that are remembered. */
const MAX_REFUSED = 10_000

/** The end of a session, as it is asked for. */
export interface SessionEnd {
  readonly id: string
  readonly cause: EndCause
  /** The hash that the session's secret must have, where a credential asks. Absent: any session of this id ends. */
  readonly secretHash?: string | undefined
  /** The other library's session that it was made of, or would have been. */
  readonly adopts?: string | undefined
}

/** An end that is not confirmed yet. */
interface Pending {
  readonly end: SessionEnd
  /** Number of tries that are under way. */
  running: number
  /** A try has failed: the session may have ended by it. */
  hasFailed: boolean
}

/**
 * Sessions whose end the store has not confirmed yet. This process refuses them from the first moment on, and repeats
 * the deletion until the store confirms it: a deletion that has timed out may or may not have happened. An end by a
 * credential refuses the session of that secret, and no other.
 *
 * Ends that somebody was promised are never forgotten, and are tried first. Sessions of refused logins are held by
 * nobody and expire by themselves. Of those the last ten thousand are remembered: a store that refuses to write for
 * days must not fill the memory of this process.
 */
export class PendingEnds {
  readonly #delete: (end: SessionEnd, hasFailed: boolean) => Promise<boolean>
  readonly #promised = new Map<string, Pending>()
  readonly #refused = new Map<string, Pending>()
  /** A round of tries, in the asynchronous context of this object: not in that of the request that was last to fail. */
  readonly #round = AsyncResource.bind(() => {
    void this.#retry(this.#promised).then(() => this.#retry(this.#refused)).then(() => {
      this.#timer = undefined
      if (this.size > 0) this.#retryLater()
    })
  })

  #timer: NodeJS.Timeout | undefined
  #closed = false

  /**
   * `deleteSession` resolves once the store confirms that a session is gone. `hasFailed`: a try before had no known
   * outcome.
   */
  constructor (deleteSession: (end: SessionEnd, hasFailed: boolean) => Promise<boolean>) {
    this.#delete = deleteSession
  }

  /** Ends a session, and refuses it meanwhile. Repeats the deletion if that fails. */
  async end (end: SessionEnd): Promise<boolean> {
    return await this.#try(this.#promised, end)
  }

  /** Ends the session of a login that was refused, until the store confirms that it is gone. */
  addRefused (id: string): void {
    const end: SessionEnd = { id, cause: { reason: 'revoked' } }
    this.#refused.set(keyOf(end), { end, running: 0, hasFailed: false })
    const [oldest] = this.#refused.keys()
    if (this.#refused.size > MAX_REFUSED && oldest !== undefined) this.#refused.delete(oldest)
    this.#retryLater()
  }

  /** Whether a session is refused, by its id or by its secret. */
  has (id: string, secretHash?: string): boolean {
    if (this.size === 0) return false
    const keys = secretHash === undefined ? [keyOf({ id })] : [keyOf({ id }), keyOf({ id, secretHash })]
    return keys.some((key) => this.#promised.has(key) || this.#refused.has(key))
  }

  /** Number of ends that are not confirmed yet. */
  get size (): number {
    return this.#promised.size + this.#refused.size
  }

  close (): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  #retryLater (): void {
    if (this.#closed || this.#timer !== undefined) return
    this.#timer = setTimeout(this.#round, RETRY_EVERY_MS)
  }

  /** Tries one after the other, so that a store that is just coming back is not overrun. Stops early if it is not. */
  async #retry (pending: Map<string, Pending>): Promise<void> {
    let failures = 0
    for (const [key, { end, running }] of [...pending]) {
      // A caller who tries it already waits for the outcome.
      if (running > 0 || !pending.has(key)) continue
      const outcome = await withDeadline(this.#try(pending, end).then(() => true, () => false), RETRY_EVERY_MS)
      if (outcome === TIMED_OUT || (outcome === false && ++failures === FAILURES)) return
    }
  }

  async #try (pending: Map<string, Pending>, end: SessionEnd): Promise<boolean> {
    const key = keyOf(end)
    const held = pending.get(key) ?? { end, running: 0, hasFailed: false }
    pending.set(key, held)
    held.running++
    try {
      const ended = await this.#delete(end, held.hasFailed)
      pending.delete(key)
      return ended
    } catch (error) {
      held.hasFailed = true
      // It goes to the end, so that the next round begins with the others.
      if (pending.delete(key)) pending.set(key, held)
      this.#retryLater()
      throw error
    } finally {
      held.running--
    }
  }
}

function keyOf ({ id, secretHash }: Pick<SessionEnd, 'id' | 'secretHash'>): string {
  return secretHash === undefined ? id : `${id} ${secretHash}`
}
