import type { FastifyBaseLogger } from 'fastify'

/** How a failure is told of, if nobody waits for what failed. */
interface Telling {
  /** The reply does the same again, and tells of it by itself. */
  isRepeated?: boolean
}

interface Failure {
  readonly error: unknown
  /** Whether somebody was told: by the promise, by a callback, or by the reply. */
  readonly isTold: () => boolean
  readonly isRepeated: boolean
}

/**
 * What the calls of one request came to. Of promises that nobody awaits and callbacks that throw, the reply is told
 * instead; after the reply, the log. None ends the process.
 */
export class Outcomes {
  readonly #running = new Set<Promise<void>>()
  #failures: Failure[] = []
  #log: FastifyBaseLogger | null = null

  /** Whether there is nothing to wait for, and nothing to tell. */
  get isClear (): boolean {
    return this.#running.size === 0 && this.#failures.length === 0
  }

  /** Hands out what `work` comes to. A failure that nobody takes is the reply's to tell. */
  promised<T> (work: Promise<T>, { isRepeated = false }: Telling = {}): Promise<T> {
    const promise = Heeded.of(work)
    this.#run(promise.settled((error) => {
      this.#add({ error, isTold: () => promise.isHeeded, isRepeated })
    }))
    return promise
  }

  /** Calls back with what `work` comes to. What the callback throws goes to `onThrow`. */
  calledBack (work: Promise<void>, callback: (error?: unknown) => unknown, { mustBeTold, onThrow }: { mustBeTold: boolean, onThrow: (error: unknown) => void }): void {
    const call = (...args: [error?: unknown]): void => {
      try {
        // Not waited for: it may be the callback that sends the reply, and waits for that.
        Promise.resolve(callback(...args)).catch(onThrow)
      } catch (error) {
        onThrow(error)
      }
    }
    this.#run(work.then(() => call(), (error: unknown) => {
      if (mustBeTold) this.#add({ error, isTold: () => false, isRepeated: false })
      call(error)
    }))
  }

  /** What went wrong where nobody waits. */
  add (error: unknown): void {
    this.#add({ error, isTold: () => false, isRepeated: false })
  }

  /** Waits for what is under way, and returns the first failure that nobody was told of. */
  async untold (): Promise<{ error: unknown } | null> {
    while (this.#running.size > 0) await Promise.all(this.#running)
    const failures = this.#failures
    this.#failures = failures.filter(({ isRepeated, isTold }) => isRepeated && !isTold())
    return failures.find(({ isRepeated, isTold }) => !isRepeated && !isTold()) ?? null
  }

  /** The reply has repeated what is repeated. */
  repeated (): void {
    this.#failures = this.#failures.filter(({ isRepeated }) => !isRepeated)
  }

  /** The reply has gone: from now on the log is told. */
  close (log: FastifyBaseLogger): void {
    this.#log = log
    for (const failure of this.#failures.splice(0)) this.#logIfUntold(failure)
  }

  #run (work: Promise<void>): void {
    this.#running.add(work)
    void work.then(() => this.#running.delete(work))
  }

  #add (failure: Failure): void {
    if (this.#log === null) this.#failures.push(failure)
    // Who awaits it does so a moment later at the latest.
    else setImmediate(() => this.#logIfUntold(failure))
  }

  #logIfUntold ({ error, isTold }: Failure): void {
    if (!isTold()) this.#log?.error({ err: error }, 'a call about the session failed, and nobody waited for it')
  }
}

/** A promise that knows whether anybody waits for it, and is no unhandled rejection when nobody does. */
class Heeded<T> extends Promise<T> {
  isHeeded = false

  static of<T> (work: Promise<T>): Heeded<T> {
    return new Heeded<T>((resolve) => resolve(work))
  }

  /** What `then` makes of it is a promise like any other. */
  static override get [Symbol.species] (): PromiseConstructor {
    return Promise
  }

  /** Resolves when it is settled; does not count as waiting for it. */
  settled (onFailure: (error: unknown) => void): Promise<void> {
    return super.then(() => {}, onFailure)
  }

  override then<A = T, B = never> (...on: Parameters<Promise<T>['then']>): Promise<A | B> {
    this.isHeeded = true
    return super.then(...on) as Promise<A | B>
  }
}
