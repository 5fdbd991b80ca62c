import { AsyncResource } from 'node:async_hooks'
import { TIMED_OUT, withDeadline } from '../util/deadline.ts'
import { REQUEST_WAIT_MS, RETRY_EVERY_MS } from '../util/timings.ts'
import { errors } from '../errors.ts'
import { markOf } from './end-cause.ts'
import type { EndCause } from './end-cause.ts'
import type { SessionKind, SessionRecord } from './record.ts'
import { listsOf } from './store.ts'
import type { DeleteByUserOptions, Ended, SessionStore } from './store.ts'
import { findMoved } from './moved.ts'

/** Ending all sessions of a user, or others that end together, and how far that is. */
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

/** A session that has ended, and whose it was. `kind`: `null` where the store does not say it. */
export type EndedSession = Omit<Ended, 'kind'> & { readonly kind: SessionKind | null }
/** Tells of a session that has ended. */
type Tell = (session: EndedSession, cause: EndCause) => void

/** How sessions that have something in common end together. */
export interface Togetherness {
  /** Returns what a session has in common with others, or `null`. */
  readonly nameOf: (record: SessionRecord) => string | null
  /** Ends all sessions of this name in a store. */
  readonly end: (store: SessionStore, name: string, options: EndTogetherOptions) => Promise<readonly EndedSession[]>
  /** Whether it is tried again also where the store has failed before anything ended: nobody else asks again. */
  readonly isPromised: boolean
}

type EndTogetherOptions =
  Omit<DeleteByUserOptions, 'onEnded'> & { readonly onEnded: (ended: readonly EndedSession[]) => void }

/** The sessions of one user. */
const OF_USER: Togetherness = {
  nameOf: ({ userId }) => userId,
  end: async (store, userId, { onEnded, ...options }) => {
    const endedOf = (ids: readonly string[], kinds: readonly SessionKind[] = []): EndedSession[] => {
      return ids.map((id, index) => ({ id, userId, kind: kinds[index] ?? null }))
    }
    const { deleteByUser } = listsOf(store)
    const tell = (...some: Parameters<typeof endedOf>): void => onEnded(endedOf(...some))
    return endedOf(await deleteByUser.call(store, userId, { ...options, onEnded: tell }))
  },
  isPromised: false
}

/** The sessions of one session at an identity provider, which says once that it has ended. */
export const OF_IDP: Togetherness = {
  nameOf: ({ idp }) => idp,
  end: async (store, idp, { except: _except, ...options }) => await store.deleteByIdp?.(idp, options) ?? [],
  isPromised: true
}

/** A revocation that is under way, or has to be tried again. */
interface Running {
  readonly name: string
  readonly except: string | undefined
  readonly cause: EndCause
  /** Time when it began. Sessions that begin later go on. */
  readonly before: number
  /** Time when the exception began: the same under every id that it has. */
  keptAt: number | null
  ended: number
  steps: number
}

interface RevocationsOptions {
  /** Called for each session that has ended. */
  tell: Tell
  /** How long the store remembers how each ended. `null`: not at all. */
  markForMs: number | null
  /** What the sessions have in common. Default: their user. */
  together?: Togetherness
}

/**
 * Users whose sessions are being ended, or sessions at a provider, which may take a while. This process refuses all of
 * those sessions from the first moment on; where one is to go on, from when that was found. Where the store fails
 * half-way, the work is repeated until it is done.
 */
export class Revocations {
  readonly #store: SessionStore
  readonly #tell: Tell
  readonly #together: Togetherness
  readonly #markForMs: number | null
  readonly #running = new Map<string, Set<Running>>()
  /** Revocations that have to be tried again: the last one of each name and exception. */
  readonly #failed = new Map<string, Running>()
  /** A round of tries, in the asynchronous context of this object: not in that of the request that was last to fail. */
  readonly #round = AsyncResource.bind(() => {
    void this.#retry().then(() => {
      this.#timer = undefined
      if (this.#failed.size > 0) this.#retryLater()
    })
  })

  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor (store: SessionStore, { tell, markForMs, together = OF_USER }: RevocationsOptions) {
    this.#store = store
    this.#tell = tell
    this.#markForMs = markForMs
    this.#together = together
  }

  /** Begins to end the sessions of a name. */
  begin (name: string, except: string | undefined, cause: EndCause): Revocation {
    const running: Running = { name, except, cause, before: this.#store.now(), keptAt: null, ended: 0, steps: 0 }
    if (except === undefined) this.#refuseFrom(running)
    const done = this.#run(running)
    // A caller who does not wait any more is not told.
    done.catch(() => {})
    return Object.assign(running, { done })
  }

  /** Whether a session is one of those that are being ended. */
  refuses (record: SessionRecord): boolean {
    if (this.#running.size === 0) return false
    const { id, createdAt } = record
    const name = this.#together.nameOf(record)
    if (name === null) return false
    for (const { before, except, keptAt } of this.#running.get(name) ?? []) {
      if (createdAt < before && id !== except && createdAt !== keptAt) return true
    }
    return false
  }

  close (): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  async #run (running: Running, before?: number): Promise<number> {
    const { name, except, cause } = running
    try {
      if (except !== undefined) {
        running.keptAt ??= (await findMoved(this.#store, except))?.createdAt ?? null
        // Not before: the session that goes on may have another id by now.
        this.#refuseFrom(running)
      }
      const onEnded = (ended: readonly EndedSession[]): void => {
        running.ended += ended.length
        running.steps++
        for (const each of ended) this.#tell(each, cause)
      }
      const from = running.ended
      const mark = markOf(cause, this.#markForMs)
      const all = await this.#together.end(this.#store, name, { except, before, onEnded, ...mark })
      // A store may say it only at the end.
      if (running.ended - from < all.length) onEnded(all.slice(running.ended - from))
      this.#forget(running)
      return running.ended
    } catch (error) {
      const isPromised = this.#together.isPromised || running.steps > 0
      if (error instanceof errors.STORE_UNAVAILABLE && isPromised) this.#remember(running)
      else this.#forget(running)
      throw error
    }
  }

  /** Keeps a revocation to be tried again. Of two of one name, the later one ends all that the other would. */
  #remember (running: Running): void {
    const key = JSON.stringify([running.name, running.except])
    const known = this.#failed.get(key) ?? running
    const later = known.before > running.before ? known : running
    if (known !== running) this.#forget(later === known ? running : known)
    this.#failed.delete(key)
    this.#failed.set(key, later)
    this.#retryLater()
  }

  #retryLater (): void {
    if (this.#closed || this.#timer !== undefined) return
    this.#timer = setTimeout(this.#round, RETRY_EVERY_MS)
  }

  /** Tries one after the other, up to the first that fails. The next round comes to that one last. */
  async #retry (): Promise<void> {
    for (const [key, running] of [...this.#failed]) {
      this.#failed.delete(key)
      if (await this.#run(running, running.before).then(() => false, () => true)) return
    }
  }

  /** Has this process refuse the sessions that are to end. */
  #refuseFrom (running: Running): void {
    this.#running.set(running.name, (this.#running.get(running.name) ?? new Set()).add(running))
  }

  #forget (running: Running): void {
    const all = this.#running.get(running.name)
    if (all?.delete(running) === true && all.size === 0) this.#running.delete(running.name)
  }
}

/**
 * Waits for long work as long as it goes on, such as a revocation. Resolves with its number of sessions.
 * @throws ERR_SESSION_STORE_UNAVAILABLE when there is no step for as long as a request waits for the store
 */
export async function finished (work: Pick<Revocation, 'steps' | 'done'>): Promise<number> {
  for (let seen = -1; seen !== work.steps;) {
    seen = work.steps
    const outcome = await withDeadline(work.done, REQUEST_WAIT_MS)
    if (outcome !== TIMED_OUT) return outcome
  }
  throw new errors.STORE_UNAVAILABLE()
}
