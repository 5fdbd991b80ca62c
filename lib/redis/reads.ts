import { errors } from '../errors.ts'
import { isCluster } from './connection.ts'
import { LargeReads } from './large-reads.ts'
import type { RedisLink } from './link.ts'

/** How many keys one command reads at the most: Redis answers nobody else meanwhile. */
const MOST = 500

interface Asked {
  readonly value: Promise<string | null>
  readonly resolve: (value: string | null) => void
  readonly reject: (error: unknown) => void
}

/**
 * Reads keys: of one server those that are asked for in one turn of the event loop with one command, under one
 * deadline, which under load is less than half of the work of a command for each. In a Cluster each has its own, and
 * so has what was large when it was read last.
 */
export class Reads {
  readonly #link: RedisLink
  readonly large: LargeReads
  #asked = new Map<string, Asked>()
  #isDue = false

  constructor (link: RedisLink) {
    this.#link = link
    this.large = new LargeReads(link)
  }

  /**
   * The text under a key, `null` where there is none. What is of another type may be `null` as well.
   * @throws as `RedisLink.run`
   */
  get (key: string): Promise<string | null> {
    if (this.large.has(key)) return this.large.get(key)
    if (isCluster(this.#link.client)) return this.#one(key)
    const known = this.#asked.get(key)
    if (known !== undefined) return known.value.catch((error: unknown) => { throw another(error) })
    if (this.#asked.size === MOST) void this.#flush()
    if (!this.#isDue) {
      this.#isDue = true
      setImmediate(() => {
        this.#isDue = false
        void this.#flush()
      })
    }
    const how = {} as { resolve: Asked['resolve'], reject: Asked['reject'] }
    const value = new Promise<string | null>((resolve, reject) => Object.assign(how, { resolve, reject }))
    this.#asked.set(key, { value, ...how })
    return value
  }

  /**
   * Whether what is under a key, of which `get` gave `null`, is no text. In a Cluster it would have said so.
   * @throws as `RedisLink.run`
   */
  async isForeign (key: string): Promise<boolean> {
    return !isCluster(this.#link.client) && !['none', 'string'].includes(await this.#link.run(key, (client) => client.type(key)))
  }

  #one (key: string): Promise<string | null> {
    return this.#link.run(key, async (client) => this.large.saw(key, await client.get(key)))
  }

  /**
   * Whether there is something under each of the keys, of which `MOST` are asked for with one command where one server
   * has all.
   * @throws as `RedisLink.run`
   */
  async areThere (keys: string[]): Promise<boolean> {
    const size = isCluster(this.#link.client) ? 1 : MOST
    const counts = await Promise.all(portions(keys, size).map(async (some) => {
      return await this.#link.run(some[0] as string, (client) => client.exists(...some))
    }))
    return counts.reduce((sum, count) => sum + count, 0) === keys.length
  }

  async #flush (): Promise<void> {
    const asked = this.#asked
    this.#asked = new Map()
    const keys = [...asked.keys()]
    try {
      const values = await this.#link.run(keys[0] as string, async (client) => {
        const read: unknown = await client.mget(keys)
        // What is no list is the answer to somebody else's question. Also what comes too late is seen: else it would come
        // too late each time.
        return keys.map((key, index) => this.large.saw(key, (Array.isArray(read) ? read[index] : null) as string | null))
      })
      let index = 0
      for (const { resolve } of asked.values()) resolve(values[index++] ?? null)
    } catch (error) {
      for (const { reject } of asked.values()) reject(another(error))
    }
  }
}

function portions<T> (all: T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(all.length / size) }, (_, index) => all.slice(index * size, (index + 1) * size))
}

/** Each request has an error of its own: applications put things on them. */
function another (error: unknown): unknown {
  if (!(error instanceof errors.STORE_UNAVAILABLE)) return error
  return error.cause === undefined ? new errors.STORE_UNAVAILABLE() : new errors.STORE_UNAVAILABLE({ cause: error.cause })
}
