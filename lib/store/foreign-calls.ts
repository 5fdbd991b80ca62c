import type { EventEmitter } from 'node:events'
import { errors } from '../errors.ts'
import { FOREIGN_CALL_MS, FOREIGN_PROBE_EVERY_MS } from '../util/timings.ts'
import { Breaker } from './breaker.ts'
import type { StoreEvents } from '../session/store.ts'
import { promised } from './foreign-store.ts'
import type { ExpressStore } from './foreign-store.ts'

/** Calls a store in the way of express-session, under a deadline, and leaves one that does not answer alone. */
export class ExpressCalls {
  readonly #breaker: Breaker

  constructor (store: ExpressStore, events: EventEmitter<StoreEvents>) {
    this.#breaker = new Breaker({
      deadlineMs: FOREIGN_CALL_MS,
      probeEveryMs: FOREIGN_PROBE_EVERY_MS,
      // An error is an answer, if only to this call; a store that does not answer is down.
      probe: () => promised((done) => store.get(nobodys(), done)).catch(() => {}),
      isOutage: () => false,
      onDown: (cause) => events.emit('down', cause),
      onUp: () => events.emit('up')
    })
  }

  /** @throws ERR_SESSION_STORE_UNAVAILABLE, the store's own error as its cause */
  async run<T> (call: (done: (error?: unknown, result?: T) => void) => unknown): Promise<T> {
    try {
      return await this.#breaker.run(() => promised(call))
    } catch (error) {
      throw error instanceof errors.STORE_UNAVAILABLE ? error : new errors.STORE_UNAVAILABLE({ cause: error })
    }
  }

  close (): void {
    this.#breaker.close()
  }
}

/** The id of no session. */
export function nobodys (): string {
  return crypto.randomUUID()
}
