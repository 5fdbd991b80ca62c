import type { EventEmitter } from 'node:events'
import { errors } from '../errors.ts'
import { Breaker } from './breaker.ts'
import type { StoreEvents } from '../session/store.ts'
import { promised } from './foreign-store.ts'
import type { ExpressStore } from './foreign-store.ts'

/** How long one call may take, and how often a store that is stuck is asked again. */
const CALL_DEADLINE_MS = 500
const PROBE_EVERY_MS = 500

/** Calls a store in the way of express-session, under a deadline, and leaves one that does not answer alone. */
export class ExpressCalls {
  readonly #breaker: Breaker

  constructor (store: ExpressStore, events: EventEmitter<StoreEvents>) {
    this.#breaker = new Breaker({
      deadlineMs: CALL_DEADLINE_MS,
      probeEveryMs: PROBE_EVERY_MS,
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
