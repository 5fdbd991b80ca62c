import type { AttemptCounters, AttemptLimit } from '../session/store.ts'
import { clearAttemptsScript, rememberPlaceScript, takeAttemptScript } from './attempt-scripts.ts'
import { isWrongType } from './driver-errors.ts'
import type { Keys } from './keys.ts'
import type { RedisLink } from './link.ts'
import type { Script } from './script.ts'

/** Attempts counted in Redis, by Redis' time, one key and one command for each. `RedisStore` lists them. */
export class RedisAttempts implements AttemptCounters {
  readonly #link: RedisLink
  readonly #keys: Keys

  constructor (link: RedisLink, keys: Keys) {
    this.#link = link
    this.#keys = keys
  }

  async take (key: string, attempt: string | null, { max, withinMs }: AttemptLimit, place = ''): Promise<number> {
    return await this.#script(takeAttemptScript, key, attempt ?? '', max, withinMs, place)
  }

  async giveBack (key: string, attempt: string): Promise<void> {
    const counter = this.#keys.tries(key)
    await this.#link.run(counter, (client) => client.zrem(counter, attempt))
  }

  async clear (key: string, beginning = ''): Promise<void> {
    await this.#script(clearAttemptsScript, key, beginning)
  }

  async remember (key: string, place: string, { most, forMs }: { most: number, forMs: number }): Promise<void> {
    await this.#script(rememberPlaceScript, key, place, most, forMs)
  }

  /** What is no counter of ours under its key is thrown away. */
  async #script (script: Script, key: string, ...args: Array<string | number>): Promise<number> {
    const counter = this.#keys.tries(key)
    try {
      return await this.#link.script(script, [counter], ...args) as number
    } catch (error) {
      if (!isWrongType(error)) throw error
      await this.#link.run(counter, (client) => client.del(counter))
      return await this.#link.script(script, [counter], ...args) as number
    }
  }
}
