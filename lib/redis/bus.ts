import type { Bus } from '../session/store.ts'
import type { Client } from './client.ts'
import { withoutCommand } from './driver-errors.ts'
import type { RedisLink } from './link.ts'

/** How often a connection that may hear nothing for long is asked whether it still hears. */
const PING_EVERY_MS = 2_000

interface Listener {
  onMessage: (message: string) => void
  onGap: () => void
}

/**
 * Messages between processes by Redis' pub/sub. A connection of its own, opened for the first listener
 * and closed with the last; it comes back by itself, and says so, since what was published meanwhile is
 * lost. (Of a Cluster the driver does not tell when it comes back; what must not miss an end looks again
 * by itself.)
 */
export class RedisBus implements Bus {
  readonly #link: RedisLink
  readonly #channel: string
  readonly #listeners = new Set<Listener>()
  #subscriber: Client | undefined
  #ping: NodeJS.Timeout | undefined

  constructor (link: RedisLink, channel: string) {
    this.#link = link
    this.#channel = channel
  }

  async publish (message: string): Promise<void> {
    await this.#link.publish(this.#channel, message).catch(() => {})
  }

  subscribe (onMessage: (message: string) => void, onGap: () => void): () => Promise<void> {
    const listener = { onMessage, onGap }
    this.#listeners.add(listener)
    if (this.#subscriber === undefined) this.#open()
    return async () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size === 0) await this.close()
    }
  }

  /** Stops listening. Twice is safe. */
  async close (): Promise<void> {
    clearInterval(this.#ping)
    this.#subscriber?.disconnect()
    this.#subscriber = undefined
  }

  #open (): void {
    const subscriber = this.#subscriber = this.#link.subscriber()
    subscriber.on('message', (_channel: string, message: string) => {
      for (const { onMessage } of this.#listeners) onMessage(message)
    })
    subscriber.on('ready', () => { void this.#listenAgain(subscriber) })
    subscriber.on('error', () => {})
    // Waits for Redis if that is down.
    void this.#subscribe(subscriber)
    // An unanswered one makes the driver leave a connection that has gone silent.
    this.#ping = setInterval(() => { subscriber.ping().catch(() => {}) }, PING_EVERY_MS)
  }

  async #listenAgain (subscriber: Client): Promise<void> {
    await this.#subscribe(subscriber)
    for (const { onGap } of this.#listeners) onGap()
  }

  /** Where Redis refuses, what must not miss an end looks again by itself. */
  async #subscribe (subscriber: Client): Promise<void> {
    await subscriber.subscribe(this.#channel).catch((error: unknown) => this.#link.refused(withoutCommand(error)))
  }
}
