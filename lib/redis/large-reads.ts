import { errors } from '../errors.ts'
import { TaskQueues } from '../util/task-queues.ts'
import { REQUEST_WAIT_MS } from '../util/timings.ts'
import { disconnect, isCluster } from './connection.ts'
import type { Client } from './connection.ts'
import type { RedisLink } from './link.ts'

/** Length of a text that others are not to wait for, in characters. */
const LARGE = 65_536
/** How many keys of such texts are remembered. */
const MOST_KEYS = 1_000
/** How many characters of one key may be read at once. More of it waits: else the process would do nothing else. */
const AT_ONCE = 1_000_000

/**
 * Reads keys that were large when they were read last, each by itself and on a second connection: on the first one all
 * other answers would wait behind it. That connection is opened when a large text is seen, its troubles are its own,
 * and it closes with the first: a server that the first has left is asked nothing any more.
 */
export class LargeReads {
  readonly #link: RedisLink
  /** Lengths of the texts of keys, the one read last at the end. */
  readonly #lengths = new Map<string, number>()
  readonly #queues = new TaskQueues()
  #beside: { readonly link: RedisLink, readonly of: unknown } | null = null
  #asked = 0
  #isClosed = false

  constructor (link: RedisLink) {
    this.#link = link
  }

  has (key: string): boolean {
    return this.#lengths.size > 0 && this.#lengths.has(key)
  }

  /** Notes how long a text is that was read. Returns the text. */
  saw (key: string, value: string | null): string | null {
    const isLarge = value !== null && value.length > LARGE
    if (isLarge || this.#lengths.size > 0) this.#lengths.delete(key)
    if (isLarge) this.#remember(key, value.length)
    return value
  }

  /**
   * Resolves with the text under a key, `null` where there is none.
   * @throws as `RedisLink.run`
   */
  async get (key: string): Promise<string | null> {
    const giveUpAt = performance.now() + REQUEST_WAIT_MS
    const atOnce = Math.max(1, Math.floor(AT_ONCE / (this.#lengths.get(key) ?? AT_ONCE)))
    return await this.#queues.run(`${this.#asked++ % atOnce} ${key}`, async () => {
      // Nobody waits for it any more.
      if (performance.now() > giveUpAt) throw new errors.STORE_UNAVAILABLE()
      return await this.#readyLink().run(key, async (client) => this.saw(key, await client.get(key)))
    })
  }

  /** Twice is safe. */
  async close (): Promise<void> {
    this.#isClosed = true
    await this.#drop()
  }

  #remember (key: string, length: number): void {
    this.#lengths.set(key, length)
    const [oldest] = this.#lengths.keys()
    if (this.#lengths.size > MOST_KEYS && oldest !== undefined) this.#lengths.delete(oldest)
    this.#open()
  }

  /** Returns the second connection, or the first one until that is ready. */
  #readyLink (): RedisLink {
    this.#open()
    return this.#beside?.link.client.status === 'ready' ? this.#beside.link : this.#link
  }

  #open (): void {
    const of = connectionOf(this.#link.client)
    if (this.#beside !== null && this.#beside.of !== of) void this.#drop()
    if (!this.#isClosed) this.#beside ??= { link: this.#link.duplicate({ isSilent: true }), of }
  }

  async #drop (): Promise<void> {
    const link = this.#beside?.link
    this.#beside = null
    if (link === undefined) return
    link.close()
    await disconnect(link.client)
  }
}

/** Returns the identity of a connection, `null` in a Cluster: there each node tells itself which keys it has. */
function connectionOf (client: Client): unknown {
  return isCluster(client) ? null : client.stream
}
