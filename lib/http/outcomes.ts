import type { FastifyBaseLogger } from 'fastify'

interface PromiseOptions {
  /** The reply makes the call again, and reports its failure by itself. Default `false`. */
  isRepeated?: boolean
}

interface Failure {
  readonly error: unknown
  /** Whether the application knows of it, by its promise or its callback. */
  readonly isReported: () => boolean
  readonly isRepeated: boolean
}

/**
 * Results of the calls of one request. The reply reports failures of promises that nobody awaits and of callbacks that
 * throw; after the reply, the log does. None ends the process.
 */
export class Outcomes {
  readonly #running = new Set<Promise<void>>()
  #failures: Failure[] = []
  #log: FastifyBaseLogger | null = null

  /** Whether no call is under way, and no failure is to be reported. */
  get isClear (): boolean {
    return this.#running.size === 0 && this.#failures.length === 0
  }

  /** Returns the promise of a call. The reply reports a failure that nobody awaits. */
  promised<T> (work: Promise<T>, { isRepeated = false }: PromiseOptions = {}): Promise<T> {
    const promise = WatchedPromise.of(work)
    this.#run(promise.whenSettled((error) => {
      this.#add({ error, isReported: () => promise.isAwaited, isRepeated })
    }))
    return promise
  }

  /**
   * Calls back with the result of a call. `mustBeReported`: the reply reports a failure all the same. What the callback
   * throws goes to `onThrow`.
   */
  calledBack (
    work: Promise<void>, callback: (error?: unknown) => unknown,
    { mustBeReported, onThrow }: { mustBeReported: boolean, onThrow: (error: unknown) => void }
  ): void {
    const call = (...args: [error?: unknown]): void => {
      try {
        // Not waited for: it may be the callback that sends the reply, and waits for that.
        Promise.resolve(callback(...args)).catch(onThrow)
      } catch (error) {
        onThrow(error)
      }
    }
    this.#run(work.then(() => call(), (error: unknown) => {
      if (mustBeReported) this.#add({ error, isReported: () => false, isRepeated: false })
      call(error)
    }))
  }

  /** Has the reply wait for work whose failure concerns nobody. */
  alongside (work: Promise<unknown>): void {
    this.#run(work.then(() => {}, () => {}))
  }

  /** Adds a failure that nobody awaits. */
  add (error: unknown): void {
    this.#add({ error, isReported: () => false, isRepeated: false })
  }

  /** Waits for the calls that are under way. Resolves with the first failure that is to be reported, or `null`. */
  async unreported (): Promise<{ error: unknown } | null> {
    while (this.#running.size > 0) await Promise.all(this.#running)
    const failures = this.#failures
    this.#failures = failures.filter(({ isRepeated, isReported }) => isRepeated && !isReported())
    return failures.find(({ isRepeated, isReported }) => !isRepeated && !isReported()) ?? null
  }

  /** Forgets failures of calls that the reply has made again. */
  forgetRepeated (): void {
    this.#failures = this.#failures.filter(({ isRepeated }) => !isRepeated)
  }

  /** Notes that the reply has gone: from now on the log reports failures. */
  close (log: FastifyBaseLogger): void {
    this.#log = log
    for (const failure of this.#failures.splice(0)) this.#logIfUnreported(failure)
  }

  #run (work: Promise<void>): void {
    this.#running.add(work)
    void work.then(() => this.#running.delete(work))
  }

  #add (failure: Failure): void {
    if (this.#log === null) this.#failures.push(failure)
    // Whoever awaits it does so a moment later at the latest.
    else setImmediate(() => this.#logIfUnreported(failure))
  }

  #logIfUnreported ({ error, isReported }: Failure): void {
    if (!isReported()) this.#log?.error({ err: error }, 'a call about the session failed, and nobody waited for it')
  }
}

/** A promise that knows whether anybody waits for it, and is no unhandled rejection when nobody does. */
class WatchedPromise<T> extends Promise<T> {
  isAwaited = false

  static of<T> (work: Promise<T>): WatchedPromise<T> {
    return new WatchedPromise<T>((resolve) => resolve(work))
  }

  /** Class of the promises that `then` returns. */
  static override get [Symbol.species] (): PromiseConstructor {
    return Promise
  }

  /** Resolves when it is settled. Does not count as awaiting it. */
  whenSettled (onFailure: (error: unknown) => void): Promise<void> {
    return super.then(() => {}, onFailure)
  }

  override then<A = T, B = never> (...on: Parameters<Promise<T>['then']>): Promise<A | B> {
    this.isAwaited = true
    return super.then(...on) as Promise<A | B>
  }
}
