import { getEventListeners, setMaxListeners } from 'node:events'
import { SIGNAL_CHECK_EVERY_MS } from '../util/timings.ts'
import type { EventHub } from './events.ts'

/** Number of sessions that are read at once. */
const CHECK_AT_ONCE = 500

/** A signal that somebody may hold. */
interface Held {
  readonly signal: WeakRef<AbortSignal>
  /** The hash of the session's secret. */
  readonly secretHash: string | undefined
}

/**
 * Abort signals that fire when a session has ended, whatever ended it. A message of the process that ended it makes a
 * signal fire at once. Because messages can get lost, each held session is also read every five seconds, and whenever
 * messages may have been missed. An outage of the store is no end.
 *
 * A process holds one signal per session, for as long as somebody has it or listens to it. (A signal made by
 * `AbortSignal.any` does neither: Node takes for granted that the signal itself is kept.)
 */
export class EndSignals {
  /** Signals by the id of the session. */
  readonly #held = new Map<string, Held>()
  /** Signals with listeners, kept alive although nobody else holds them. */
  readonly #listenedTo = new Set<AbortSignal>()
  /** The controller of each signal. */
  readonly #controllers = new WeakMap<AbortSignal, AbortController>()
  readonly #isLive: (id: string, secretHash?: string) => Promise<boolean>
  readonly #events: EventHub
  #timer: NodeJS.Timeout | undefined
  #listening = false
  #checking = false
  #again = false
  #closed = false

  /** `isLive` rejects when the store does not answer. */
  constructor (events: EventHub, isLive: (id: string, secretHash?: string) => Promise<boolean>) {
    this.#events = events
    this.#isLive = isLive
  }

  /** Returns the signal of a session, which fires with the reason of its end. After `close` it never fires. */
  of (id: string, secretHash?: string): AbortSignal {
    const held = this.#held.get(id)?.signal.deref()
    if (held !== undefined) return held
    const controller = new AbortController()
    const { signal } = controller
    // One session may have any number of WebSockets.
    setMaxListeners(0, signal)
    if (this.#closed) return signal
    this.#controllers.set(signal, controller)
    this.#held.set(id, { signal: new WeakRef(signal), secretHash })
    onListener(signal, () => {
      if (this.#held.get(id)?.signal.deref() === signal) this.#listenedTo.add(signal)
    })
    this.#listen()
    this.#checkLater()
    // It may have ended since it was read.
    void this.#check(id)
    return signal
  }

  /** Number of sessions that are held. */
  get size (): number {
    return this.#held.size
  }

  close (): void {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#held.clear()
    this.#listenedTo.clear()
  }

  #listen (): void {
    if (this.#listening) return
    this.#listening = true
    this.#events.on('revoked', ({ id, reason }) => this.#fire(id, reason ?? 'revoked'))
    this.#events.on('expired', ({ id }) => this.#fire(id, 'expired'))
    this.#events.onGap(() => { void this.#checkAll() })
  }

  #checkLater (): void {
    if (this.#closed || this.#timer !== undefined || this.#held.size === 0) return
    this.#timer = setTimeout(() => {
      this.#letGo()
      void this.#checkAll().then(() => {
        this.#timer = undefined
        this.#checkLater()
      })
    }, SIGNAL_CHECK_EVERY_MS)
  }

  /** Forgets signals that nobody holds or listens to any more. */
  #letGo (): void {
    for (const signal of this.#listenedTo) {
      if (getEventListeners(signal, 'abort').length === 0) this.#listenedTo.delete(signal)
    }
    for (const [id, held] of this.#held) {
      if (held.signal.deref() === undefined) this.#held.delete(id)
    }
  }

  /** Checks all sessions, one round and some sessions at a time, so that a store in trouble is not overrun. */
  async #checkAll (): Promise<void> {
    this.#again = true
    if (this.#checking) return
    this.#checking = true
    while (this.#again) {
      this.#again = false
      const ids = [...this.#held.keys()]
      while (ids.length > 0 && await this.#check(...ids.splice(0, CHECK_AT_ONCE))) { /* the next ones */ }
    }
    this.#checking = false
  }

  /** Checks sessions, and fires the signals of those that have ended. `false` when the store does not answer. */
  async #check (...ids: string[]): Promise<boolean> {
    const answers = await Promise.all(ids.map(async (id) => {
      const isLive = await this.#isLive(id, this.#held.get(id)?.secretHash).catch(() => null)
      if (isLive === false) this.#fire(id, 'ended')
      return isLive
    }))
    return !answers.includes(null)
  }

  #fire (id: string, reason: string): void {
    const signal = this.#held.get(id)?.signal.deref()
    this.#held.delete(id)
    if (signal === undefined) return
    this.#listenedTo.delete(signal)
    this.#controllers.get(signal)?.abort(new DOMException(`The session has ended: ${reason}`, 'AbortError'))
  }
}

/**
 * Calls back whenever a listener is added to a signal, `onabort` included. Here that is a listener like any other: it
 * comes when it is assigned and goes with `null`, where Node's own leaves an empty one behind.
 */
function onListener (signal: AbortSignal, added: () => void): void {
  const { addEventListener } = AbortSignal.prototype
  let assigned: AbortSignal['onabort'] = null
  const call = (event: Event): void => { assigned?.call(signal, event) }
  Object.defineProperties(signal, {
    addEventListener: {
      configurable: true,
      writable: true,
      value (...args: Parameters<AbortSignal['addEventListener']>) {
        addEventListener.apply(signal, args)
        added()
      }
    },
    onabort: {
      configurable: true,
      get: () => assigned,
      set (handler: unknown) {
        assigned = typeof handler === 'function' ? handler as AbortSignal['onabort'] : null
        if (assigned === null) signal.removeEventListener('abort', call)
        else signal.addEventListener('abort', call)
      }
    }
  })
}
