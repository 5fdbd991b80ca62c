import type { Bus } from '../session/store.ts'
import { BUS_PING_EVERY_MS } from '../util/timings.ts'
import { disconnectNow } from './connection.ts'
import type { Client } from './connection.ts'
import { withoutCommand } from './driver.ts'
import type { RedisLink } from './link.ts'
import { published } from './publish.ts'

interface Listener {
  onMessage: (message: string) => void
  onGap: () => void
}

/**
 * Sends messages between processes by Redis' pub/sub. The connection is opened for the first listener and closed with
 * the last. It comes back by itself and then calls `onGap`, since messages were lost meanwhile. (In a Cluster the
 * driver does not tell when it comes back. Code that must not miss an end checks again by itself.)
 */
export class RedisBus implements Bus {
  readonly #link: RedisLink
  readonly #channel: string
  readonly #listeners = new Set<Listener>()
  #subscriber: Client | undefined
  /** The subscriber listens. */
  #isListening = false
  #ping: NodeJS.Timeout | undefined

  constructor (link: RedisLink, channel: string) {
    this.#link = link
    this.#channel = channel
  }

  /** Whether messages are heard, as far as the driver tells. */
  get hears (): boolean {
    return this.#isListening
  }

  async publish (message: string): Promise<void> {
    await published((text) => this.#link.publish(this.#channel, text), message)
  }

  subscribe (onMessage: (message: string) => void, onGap: () => void): () => Promise<void> {
    const listener = { onMessage, onGap }
    this.#listeners.add(listener)
    if (this.#subscriber === undefined) this.#open()
    else if (this.#isListening) queueMicrotask(() => { if (this.#listeners.has(listener)) onGap() })
    return async () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size === 0) await this.close()
    }
  }

  /** Stops listening. Twice is safe. */
  async close (): Promise<void> {
    clearInterval(this.#ping)
    if (this.#subscriber !== undefined) disconnectNow(this.#subscriber)
    this.#subscriber = undefined
    this.#isListening = false
  }

  #open (): void {
    const subscriber = this.#subscriber = this.#link.subscriber()
    subscriber.on('message', (_channel: string, message: string) => {
      for (const { onMessage } of this.#listeners) onMessage(message)
    })
    subscriber.on('ready', () => { void this.#subscribeAgain(subscriber) })
    subscriber.on('close', () => { if (subscriber === this.#subscriber) this.#isListening = false })
    subscriber.on('error', () => {})
    // Waits for Redis if that is down.
    void this.#subscribe(subscriber)
    // An unanswered PING makes the driver leave a connection that has gone silent.
    this.#ping = setInterval(() => { subscriber.ping().catch(() => {}) }, BUS_PING_EVERY_MS)
  }

  async #subscribeAgain (subscriber: Client): Promise<void> {
    await this.#subscribe(subscriber)
    this.#isListening = subscriber === this.#subscriber
    for (const { onGap } of this.#listeners) onGap()
  }

  /** Subscribes. Where Redis refuses, code that must not miss an end checks again by itself. */
  async #subscribe (subscriber: Client): Promise<void> {
    const report = (error: unknown): void => this.#link.reportRefusal(withoutCommand(error))
    await subscriber.subscribe(this.#channel).catch(report)
  }
}
