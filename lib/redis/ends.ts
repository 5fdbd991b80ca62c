import type { Changes } from '../near/cache.ts'
import { droppedMessage, endedIn } from '../session/events.ts'
import type { Bus } from '../session/store.ts'
import type { LineBus } from './line-bus.ts'
import type { RedisLink } from './link.ts'

interface EndsOptions {
  /** How long nothing may be heard before it is not trusted. */
  readonly silenceMs: number
  /** Where messages are sent. */
  readonly sending: Bus
  /** Hears more, of processes that send in another way. Nobody knows whether it misses any. */
  readonly besides?: Bus | undefined
}

/**
 * Hears which sessions have ended, by the messages of the processes that ended them. It costs nothing for a session
 * that is only used or changed, and needs no `CLIENT TRACKING`. What no process tells of, such as a key that somebody
 * deletes by hand, is not heard.
 */
export class Ends implements Changes {
  readonly isOfEnds = true
  readonly #link: RedisLink
  readonly #lines: LineBus
  readonly #options: EndsOptions
  #stop: Array<() => Promise<void>> = []
  /** Resolves `listen`; `null` once that is done. */
  #onOutcome: ((outcome: Error | null) => void) | null = null

  constructor (link: RedisLink, lines: LineBus, options: EndsOptions) {
    this.#link = link
    this.#lines = lines
    this.#options = options
  }

  get trustedUntil (): number {
    return this.#stop.length === 0 ? 0 : this.#lines.trustedUntil
  }

  async listen (onChange: (id: string) => void, onGap: () => void): Promise<Error | null> {
    const outcome = new Promise<Error | null>((resolve) => { this.#onOutcome = resolve })
    const onMessage = (message: string): void => { for (const id of endedIn(message)) onChange(id) }
    const { silenceMs, besides } = this.#options
    this.#lines.trust(silenceMs)
    this.#stop = [this.#lines.listen({
      onMessage,
      onGap,
      subjects: ['ends'],
      onRefused: (error) => {
        // At boot the caller of `listen` reports it.
        if (this.#onOutcome === null) this.#link.reportRefusal(error)
        this.#endListen(error)
      },
      onTrust: (until) => { if (until > 0) this.#endListen(null) }
    })]
    if (besides !== undefined) this.#stop.push(besides.subscribe(onMessage, onGap, 'ends'))
    return await outcome
  }

  /** Tells others that a session may not be served from a copy any more, where no event does. Best effort. */
  tell (id: string): void {
    const { sending } = this.#options
    void sending.publish(droppedMessage(id), sending.channelOf?.('ends', id))
  }

  /** Resolves when all earlier messages have been heard. Rejects where a line is lost. */
  async hear (): Promise<void> {
    await this.#lines.hear()
  }

  async close (): Promise<void> {
    const stop = this.#stop
    this.#stop = []
    await Promise.all(stop.map(async (each) => await each()))
    this.#endListen(null)
  }

  #endListen (outcome: Error | null): void {
    this.#onOutcome?.(outcome)
    this.#onOutcome = null
  }
}
