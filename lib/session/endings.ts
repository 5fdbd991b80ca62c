import { TIMED_OUT, withDeadline } from '../util/deadline.ts'
import { RETRY_EVERY_MS } from '../util/timings.ts'
import type { EndReason } from './events.ts'

/** How many failures end a round of tries: one may be of a session that cannot be ended, or of a part of the store that is down. */
const FAILURES = 16
/** How many refused logins are remembered. */
const MAX_REFUSED = 10_000

/** The end of a session, as it is asked for. */
export interface Ending {
  readonly id: string
  readonly reason: EndReason
  /** Of a credential: what the session's secret has to hash to. Absent: whoever asks may end it. */
  readonly secretHash?: string | undefined
  /** The Express session that it was or would have been made of. */
  readonly adopts?: string | undefined
}

/** An ending, and how many tries of it are under way. */
interface Held {
  readonly ending: Ending
  running: number
}

/**
 * Sessions that are being ended. From the first moment on they are refused here; and where the store
 * does not confirm it, they are ended again and again until it does: a timed-out deletion may or may
 * not have happened. A credential keeps out whoever has the same secret, and nobody else.
 *
 * What somebody was promised is never forgotten, and tried first. Of logins that were refused, whose
 * sessions nobody holds and which expire by themselves, the last ten thousand are remembered: a store
 * that refuses to write for days must not fill the memory of this process.
 */
export class Endings {
  readonly #end: (ending: Ending) => Promise<boolean>
  readonly #promised = new Map<string, Held>()
  readonly #refused = new Map<string, Held>()
  #timer: NodeJS.Timeout | undefined
  #closed = false

  /** `end` resolves once the store confirms that a session is gone. */
  constructor (end: (ending: Ending) => Promise<boolean>) {
    this.#end = end
  }

  /** Ends a session, and refuses it meanwhile. Goes on with it if that fails. */
  async end (ending: Ending): Promise<boolean> {
    return await this.#try(this.#promised, ending)
  }

  /** Goes on ending the session of a login that was refused, whatever became of it in the store. */
  addRefused (id: string): void {
    const ending: Ending = { id, reason: 'revoked' }
    this.#refused.set(keyOf(ending), { ending, running: 0 })
    const [oldest] = this.#refused.keys()
    if (this.#refused.size > MAX_REFUSED && oldest !== undefined) this.#refused.delete(oldest)
    this.#retryLater()
  }

  /** Whether a session is refused: by its id, or its secret. */
  has (id: string, secretHash?: string): boolean {
    if (this.size === 0) return false
    const keys = secretHash === undefined ? [keyOf({ id })] : [keyOf({ id }), keyOf({ id, secretHash })]
    return keys.some((key) => this.#promised.has(key) || this.#refused.has(key))
  }

  /** How many endings are not confirmed yet. */
  get size (): number {
    return this.#promised.size + this.#refused.size
  }

  close (): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  #retryLater (): void {
    if (this.#closed || this.#timer !== undefined) return
    this.#timer = setTimeout(() => {
      void this.#retry(this.#promised).then(() => this.#retry(this.#refused)).then(() => {
        this.#timer = undefined
        if (this.size > 0) this.#retryLater()
      })
    }, RETRY_EVERY_MS)
  }

  /** One after the other: a store that is just coming back is not to be overrun. Ends early where it is not back. */
  async #retry (endings: Map<string, Held>): Promise<void> {
    let failures = 0
    for (const [key, { ending, running }] of [...endings]) {
      // Whoever tries it already hears what becomes of it.
      if (running > 0 || !endings.has(key)) continue
      const outcome = await withDeadline(this.#try(endings, ending).then(() => true, () => false), RETRY_EVERY_MS)
      if (outcome === TIMED_OUT || (outcome === false && ++failures === FAILURES)) return
    }
  }

  async #try (endings: Map<string, Held>, ending: Ending): Promise<boolean> {
    const key = keyOf(ending)
    const held = endings.get(key) ?? { ending, running: 0 }
    endings.set(key, held)
    held.running++
    try {
      const ended = await this.#end(ending)
      endings.delete(key)
      return ended
    } catch (error) {
      // The next round begins with another one.
      if (endings.delete(key)) endings.set(key, held)
      this.#retryLater()
      throw error
    } finally {
      held.running--
    }
  }
}

function keyOf ({ id, secretHash }: Pick<Ending, 'id' | 'secretHash'>): string {
  return secretHash === undefined ? id : `${id} ${secretHash}`
}
