import { TIMED_OUT, withDeadline } from '../util/deadline.ts'
import { REQUEST_WAIT_MS, RETRY_EVERY_MS } from '../util/timings.ts'
import { errors } from '../errors.ts'
import type { EndCause } from './end-cause.ts'
import type { SessionKind, SessionRecord } from './record.ts'
import { listsOf } from './store.ts'
import type { SessionStore } from './store.ts'
import { findMoved } from './moved.ts'

/** Ending all sessions of a user, and how far that is. */
export interface Revocation {
  /** Number of sessions that have ended so far. */
  readonly ended: number
  /** Number of steps so far: it grows while the work goes on. */
  readonly steps: number
  /**
   * Resolves with the number of ended sessions when all have ended.
   * @throws ERR_SESSION_STORE_UNAVAILABLE; work that has begun goes on, as long as the process runs
   */
  readonly done: Promise<number>
}

/** A revocation that is under way, or has to be tried again. */
interface Running {
  readonly userId: string
  readonly except: string | undefined
  readonly cause: EndCause
  /** Time when it began. Sessions that begin later go on. */
  readonly before: number
  /** Time when the exception began: the same under every id that it has. */
  keptAt: number | null
  ended: number
  steps: number
}

/** Tells of a session that has ended. `kind`: `null` where the store does not say it. */
type Tell = (session: { id: string, userId: string, kind: SessionKind | null }, cause: EndCause) => void

/**
 * Users whose sessions are being ended, which may take a while. This process refuses all of those sessions from the
 * first moment on. Where the store fails half-way, the work is repeated until it is done.
 */
export class Revocations {
  readonly #store: SessionStore
  readonly #tell: Tell
  readonly #users = new Map<string, Set<Running>>()
  /** Revocations that have to be tried again: the last one of each user and exception. */
  readonly #failed = new Map<string, Running>()
  #timer: NodeJS.Timeout | undefined
  #closed = false

  /** `tell` is called for each session that has ended. */
  constructor (store: SessionStore, tell: Tell) {
    this.#store = store
    this.#tell = tell
  }

  /** Begins to end the sessions of a user. */
  begin (userId: string, except: string | undefined, cause: EndCause): Revocation {
    const running: Running = { userId, except, cause, before: this.#store.now(), keptAt: null, ended: 0, steps: 0 }
    this.#users.set(userId, (this.#users.get(userId) ?? new Set()).add(running))
    const done = this.#run(running)
    // A caller who does not wait any more is not told.
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
    const { userId, except, cause } = running
    try {
      if (except !== undefined) running.keptAt ??= (await findMoved(this.#store, except))?.createdAt ?? null
      const onEnded = (ids: readonly string[], kinds?: readonly SessionKind[]): void => {
        running.ended += ids.length
        running.steps++
        for (const [index, id] of ids.entries()) this.#tell({ id, userId, kind: kinds?.[index] ?? null }, cause)
      }
      const from = running.ended
      const ids = await listsOf(this.#store).deleteByUser(userId, { except, before, onEnded })
      // A store may say it only at the end.
      if (running.ended - from < ids.length) onEnded(ids.slice(running.ended - from))
      this.#forget(running)
      return running.ended
    } catch (error) {
      if (error instanceof errors.STORE_UNAVAILABLE && running.steps > 0) this.#remember(running)
      else this.#forget(running)
      throw error
    }
  }

  /** Keeps a revocation to be tried again. Of two of one user, the later one ends all that the other would. */
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

  /** Tries one after the other, up to the first that fails. The next round comes to that one last. */
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
 * Waits for a revocation as long as it goes on. Resolves with the number of ended sessions.
 * @throws ERR_SESSION_STORE_UNAVAILABLE when there is no step for as long as a request waits for the store
 */
export async function finished (revocation: Revocation): Promise<number> {
  for (let seen = -1; seen !== revocation.steps;) {
    seen = revocation.steps
    const outcome = await withDeadline(revocation.done, REQUEST_WAIT_MS)
    if (outcome !== TIMED_OUT) return outcome
  }
  throw new errors.STORE_UNAVAILABLE()
}
