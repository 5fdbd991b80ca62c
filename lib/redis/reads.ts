import { errors } from '../errors.ts'
import { READ_TOGETHER_MS } from '../util/timings.ts'
import { isCluster } from './connection.ts'
import { LargeReads } from './large-reads.ts'
import type { RedisLink } from './link.ts'

/** How many keys one command reads at the most: Redis answers nobody else meanwhile. */
const MOST_KEYS = 500

/** A key that the next command reads. */
interface PendingRead {
  readonly value: Promise<string | null>
  readonly resolve: (value: string | null) => void
  readonly reject: (error: unknown) => void
}

/**
 * Reads keys: of one server those that are asked for in one turn of the event loop with one command, under one
 * deadline, which under load is less than half of the work of a command for each. While an answer is under way what is
 * asked for waits for it, or for a moment. In a Cluster each has its own, and so has what was large when it was read
 * last.
 */
export class Reads {
  readonly #link: RedisLink
  readonly large: LargeReads
  #pending = new Map<string, PendingRead>()
  /** The end of this turn is waited for, and maybe more. */
  #isDue = false
  /** Number of commands that are not answered. */
  #underWay = 0
  /** It is waited for an answer, and no longer than this. */
  #timer: NodeJS.Timeout | undefined

  constructor (link: RedisLink) {
    this.#link = link
    this.large = new LargeReads(link)
  }

  /**
   * Resolves with the text under a key, `null` where there is none. A key of another type may be `null` as well.
   * @throws as `RedisLink.run`
   */
  get (key: string): Promise<string | null> {
    if (this.large.has(key)) return this.large.get(key)
    if (isCluster(this.#link.client)) return this.#one(key)
    const known = this.#pending.get(key)
    if (known !== undefined) return known.value.catch((error: unknown) => { throw copied(error) })
    if (this.#pending.size === MOST_KEYS) void this.#flush()
    if (!this.#isDue) {
      this.#isDue = true
      setImmediate(() => {
        if (this.#underWay === 0) void this.#read()
        else this.#timer = setTimeout(() => { void this.#read() }, READ_TOGETHER_MS)
      })
    }
    const how = {} as { resolve: PendingRead['resolve'], reject: PendingRead['reject'] }
    const value = new Promise<string | null>((resolve, reject) => Object.assign(how, { resolve, reject }))
    this.#pending.set(key, { value, ...how })
    return value
  }

  /**
   * Whether a key that looked absent is of another type. In a Cluster `get` rejects for it.
   * @throws as `RedisLink.run`
   */
  async isForeign (key: string): Promise<boolean> {
    if (isCluster(this.#link.client)) return false
    return !['none', 'string'].includes(await this.#link.run(key, (client) => client.type(key)))
  }

  #one (key: string): Promise<string | null> {
    return this.#link.run(key, async (client) => this.large.saw(key, await client.get(key)))
  }

  /**
   * Whether all of these keys exist. On one server a command asks for `MOST_KEYS` of them.
   * @throws as `RedisLink.run`
   */
  async areThere (keys: string[]): Promise<boolean> {
    const size = isCluster(this.#link.client) ? 1 : MOST_KEYS
    const counts = await Promise.all(portions(keys, size).map(async (some) => {
      return await this.#link.run(some[0] as string, (client) => client.exists(...some))
    }))
    return counts.reduce((sum, count) => sum + count, 0) === keys.length
  }

  /** Reads what is pending, and then what waited for the answer. */
  async #read (): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#isDue = false
    this.#underWay++
    await this.#flush()
    this.#underWay--
    if (this.#timer !== undefined) void this.#read()
  }

  /** Reads what is pending. Never rejects. */
  async #flush (): Promise<void> {
    const pending = this.#pending
    this.#pending = new Map()
    const keys = [...pending.keys()]
    try {
      const values = await this.#link.run(keys[0] as string, async (client) => {
        const read: unknown = await client.mget(keys)
        // No list is the answer to another command. A late answer is looked at, too: else it would be late each time.
        const texts = (Array.isArray(read) ? read : []) as Array<string | null>
        return keys.map((key, index) => this.large.saw(key, texts[index] ?? null))
      })
      let index = 0
      for (const { resolve } of pending.values()) resolve(values[index++] ?? null)
    } catch (error) {
      for (const { reject } of pending.values()) reject(copied(error))
    }
  }
}

function portions<T> (all: T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(all.length / size) }, (_, index) => all.slice(index * size, (index + 1) * size))
}

/** Copies an error, so that each request has its own: applications put things on them. */
function copied (error: unknown): unknown {
  if (!(error instanceof errors.STORE_UNAVAILABLE)) return error
  const { cause } = error
  return cause === undefined ? new errors.STORE_UNAVAILABLE() : new errors.STORE_UNAVAILABLE({ cause })
}
