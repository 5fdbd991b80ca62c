import type { EventEmitter } from 'node:events'
import type { StoreEvents } from '../session/store.ts'

/** How long a connection that was left on purpose may take to come back before that is an outage to be told. */
const LEAVE_MS = 1_000

/** Tells once that Redis is out of reach, and once that it answers again, however many servers it has. */
export class Reach {
  readonly #events: EventEmitter<StoreEvents>
  readonly #leftAt: Array<() => number> = []
  #missing = 0
  #isTold = false
  #timer: NodeJS.Timeout | undefined

  constructor (events: EventEmitter<StoreEvents>) {
    this.#events = events
  }

  /** `leftAt`: when one of its connections was last left on purpose. */
  watch (leftAt: () => number): void {
    this.#leftAt.push(leftAt)
  }

  /** A server is out of reach. */
  lost (cause: unknown): void {
    if (this.#missing++ > 0) return
    const tell = (): void => {
      this.#isTold = true
      this.#events.emit('down', cause)
    }
    if (performance.now() - Math.max(...this.#leftAt.map((each) => each())) > LEAVE_MS) tell()
    else this.#timer = setTimeout(tell, LEAVE_MS)
  }

  /** It answers again. */
  found (): void {
    if (--this.#missing > 0) return
    clearTimeout(this.#timer)
    if (this.#isTold) this.#events.emit('up')
    this.#isTold = false
  }

  close (): void {
    clearTimeout(this.#timer)
  }
}
