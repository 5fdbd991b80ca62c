import { TIMED_OUT, withDeadline } from '../util/deadline.ts'
import { REQUEST_WAIT_MS, RETRY_EVERY_MS } from '../util/timings.ts'
import { errors } from '../errors.ts'
import type { SessionRecord } from './record.ts'
import { listsOf } from './store.ts'
import type { SessionStore } from './store.ts'
import { findMoved } from './moved.ts'

/** The end of all sessions of a user, as far as it is. */
export interface Revocation {
  /** How many have ended so far. */
  readonly ended: number
  /** Grows as it goes on. */
  readonly steps: number
  /**
   * Resolves with how many have ended when all have.
   * @throws ERR_SESSION_STORE_UNAVAILABLE; what was begun by then goes on, as long as the process runs
   */
  readonly done: Promise<number>
}

/** One that is under way, or to be tried again. */
interface Running {
  readonly userId: string
  readonly except: string | undefined
  /** When it began: what begins later is left alone. */
  readonly before: number
  /** When the exception began, which it keeps under every id. */
  keptAt: number | null
  ended: number
  steps: number
}

/**
 * Users whose sessions are being ended, which may take a while. All of those are refused here from the first moment on.
 * Where the store fails half-way, it is gone on with until it does not: what somebody was told goes on does so.
 */
export class Revocations {
  readonly #store: SessionStore
  readonly #tell: (id: string, userId: string) => void
  readonly #users = new Map<string, Set<Running>>()
  /** To be tried again, the last one of each user and exception. */
  readonly #failed = new Map<string, Running>()
  #timer: NodeJS.Timeout | undefined
  #closed = false

  /** `tell` hears of each session that has ended. */
  constructor (store: SessionStore, tell: (id: string, userId: string) => void) {
    this.#store = store
    this.#tell = tell
  }

  begin (userId: string, except: string | undefined): Revocation {
    const running: Running = { userId, except, before: this.#store.now(), keptAt: null, ended: 0, steps: 0 }
    this.#users.set(userId, (this.#users.get(userId) ?? new Set()).add(running))
    const done = this.#run(running)
    // Who does not wait for it any more is not told.
    done.catch(() => {})
    return Object.assign(running, { done })
  }

  /** Whether a session is one of those that are being ended. */
  refuses ({ id, userId, createdAt }: SessionRecord): boolean {
    if (this.#users.size === 0 || userId === null) return false
    for (const { before, except, keptAt } of this.#users.get(userId) ?? []) {
      if (createdAt < before && id !== except && createdAt !== keptAt) return true
    }
    return false
  }

  close (): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  async #run (running: Running, before?: number): Promise<number> {
    const { userId, except } = running
    try {
      if (except !== undefined) running.keptAt ??= (await findMoved(this.#store, except))?.createdAt ?? null
      const onEnded = (ids: readonly string[]): void => {
        running.ended += ids.length
        running.steps++
        for (const id of ids) this.#tell(id, userId)
      }
      const from = running.ended
      const ids = await listsOf(this.#store).deleteByUser(userId, { except, before, onEnded })
      // A store that says so at the end only.
      if (running.ended - from < ids.length) onEnded(ids.slice(running.ended - from))
      this.#forget(running)
      return running.ended
    } catch (error) {
      if (error instanceof errors.STORE_UNAVAILABLE && running.steps > 0) this.#remember(running)
      else this.#forget(running)
      throw error
    }
  }

  /** Of two of one user, the later one ends what the other would. */
  #remember (running: Running): void {
    const key = JSON.stringify([running.userId, running.except])
    const known = this.#failed.get(key) ?? running
    const later = known.before > running.before ? known : running
    if (known !== running) this.#forget(later === known ? running : known)
    this.#failed.delete(key)
    this.#failed.set(key, later)
    this.#retryLater()
  }

  #retryLater (): void {
    if (this.#closed || this.#timer !== undefined) return
    this.#timer = setTimeout(() => {
      void this.#retry().then(() => {
        this.#timer = undefined
        if (this.#failed.size > 0) this.#retryLater()
      })
    }, RETRY_EVERY_MS)
  }

  /** One after the other, up to the first that fails, with which the next round ends. */
  async #retry (): Promise<void> {
    for (const [key, running] of [...this.#failed]) {
      this.#failed.delete(key)
      if (await this.#run(running, running.before).then(() => false, () => true)) return
    }
  }

  #forget (running: Running): void {
    const all = this.#users.get(running.userId)
    if (all?.delete(running) === true && all.size === 0) this.#users.delete(running.userId)
  }
}

/**
 * Waits for the end of all sessions of a user as long as it goes on.
 * @throws ERR_SESSION_STORE_UNAVAILABLE when it does not, for as long as anything else is waited for
 */
export async function finished (revocation: Revocation): Promise<number> {
  for (let seen = -1; seen !== revocation.steps;) {
    seen = revocation.steps
    const outcome = await withDeadline(revocation.done, REQUEST_WAIT_MS)
    if (outcome !== TIMED_OUT) return outcome
  }
  throw new errors.STORE_UNAVAILABLE()
}
