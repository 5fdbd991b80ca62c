import { createHash } from 'node:crypto'
import type { Bus, BusSubject } from '../session/store.ts'
import type { RedisBus } from './bus.ts'
import type { LineBus, Listener } from './line-bus.ts'

/** How many messages are remembered that came over one bus, until they come over the other. */
const REMEMBERED = 1_000

/**
 * Sends each message in both ways, to all and within a shard, and hears it once, whichever of the two its sender uses.
 * For the time in which the processes of an application change from one to the other, and for the command line, which
 * does not know.
 */
export class BothBuses implements Bus {
  readonly #plain: RedisBus
  readonly #sharded: LineBus
  readonly #onRefused: (error: Error) => void

  /** `onRefused`: called when Redis refuses the sharded one. */
  constructor (plain: RedisBus, sharded: LineBus, onRefused: (error: Error) => void) {
    this.#plain = plain
    this.#sharded = sharded
    this.#onRefused = onRefused
  }

  async publish (message: string, channel?: string): Promise<void> {
    await Promise.all([this.#plain.publish(message), this.#sharded.publish(message, channel)])
  }

  subscribe (onMessage: (message: string) => void, onGap: () => void, subject?: BusSubject): () => Promise<void> {
    const seen = new Seen()
    let [isGap, isRefused] = [true, false]
    /** Tells of a gap when it is over on both. */
    const tell = (): void => {
      if (!isGap || !this.#plain.hears || !(isRefused || this.#sharded.hears(listener))) return
      isGap = false
      onGap()
    }
    const gap = (): void => {
      isGap = true
      tell()
    }
    const heardOn = (name: string) => (message: string): void => { if (seen.isNew(message, name)) onMessage(message) }
    const listener: Listener = {
      onMessage: heardOn('sharded'),
      onGap: gap,
      subjects: subject === undefined ? ['beginnings', 'ends'] : [subject],
      onRefused: (error) => {
        isRefused = true
        this.#onRefused(error)
        tell()
      }
    }
    const ends = [this.#plain.subscribe(heardOn('plain'), gap), this.#sharded.listen(listener)]
    return async () => { await Promise.all(ends.map(async (end) => await end())) }
  }

  channelOf (subject: BusSubject, id: string): string {
    return this.#sharded.channelOf?.(subject, id) ?? ''
  }
}

/** The messages that came over one of two buses, and not over the other yet: their hashes, as a message can be long. */
class Seen {
  readonly #by = new Map<string, string>()

  /** Whether a message has not come over the other bus before. */
  isNew (message: string, bus: string): boolean {
    const hash = createHash('sha1').update(message).digest('base64')
    const before = this.#by.get(hash)
    if (before !== undefined && before !== bus) {
      this.#by.delete(hash)
      return false
    }
    this.#by.set(hash, bus)
    const [oldest] = this.#by.keys()
    if (this.#by.size > REMEMBERED && oldest !== undefined) this.#by.delete(oldest)
    return true
  }
}
