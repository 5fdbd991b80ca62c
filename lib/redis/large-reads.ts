import { errors } from '../errors.ts'
import { Rows } from '../util/rows.ts'
import { REQUEST_WAIT_MS } from '../util/timings.ts'
import { disconnect, isCluster } from './connection.ts'
import type { Client } from './connection.ts'
import type { RedisLink } from './link.ts'

/** How long a text is that others are not to wait for, in characters, and of how many keys that is remembered. */
const LARGE = 65_536
const MOST_KEYS = 1_000
/** How much of one key may be on its way at once: more of it waits, where else the process would do nothing but read it. */
const AT_ONCE = 1_000_000

/**
 * Reads what was large when it was read last, each key by itself and on a second connection: on the first one every
 * answer would come after it. That connection is opened when something large is seen, its troubles are its own, and
 * it goes with the first: a server that the first has left is asked nothing any more.
 */
export class LargeReads {
  readonly #link: RedisLink
  /** How long what is under a key was, the one seen last at the end. */
  readonly #lengths = new Map<string, number>()
  readonly #rows = new Rows()
  #beside: { readonly link: RedisLink, readonly of: unknown } | null = null
  #asked = 0
  #isClosed = false

  constructor (link: RedisLink) {
    this.#link = link
  }

  has (key: string): boolean {
    return this.#lengths.size > 0 && this.#lengths.has(key)
  }

  /** Hears of everything that was read, and gives it. */
  saw (key: string, value: string | null): string | null {
    const isLarge = value !== null && value.length > LARGE
    if (isLarge || this.#lengths.size > 0) this.#lengths.delete(key)
    if (isLarge) this.#remember(key, value.length)
    return value
  }

  /**
   * The text under a key, `null` where there is none.
   * @throws as `RedisLink.run`
   */
  async get (key: string): Promise<string | null> {
    const giveUpAt = performance.now() + REQUEST_WAIT_MS
    const atOnce = Math.max(1, Math.floor(AT_ONCE / (this.#lengths.get(key) ?? AT_ONCE)))
    return await this.#rows.run(`${this.#asked++ % atOnce} ${key}`, async () => {
      // Nobody waits for it any more.
      if (performance.now() > giveUpAt) throw new errors.STORE_UNAVAILABLE()
      return await this.#way().run(key, async (client) => this.saw(key, await client.get(key)))
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

  /** The second connection; the first one until that is there. */
  #way (): RedisLink {
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

/** What the first connection is now. In a Cluster each node says itself whose keys it has. */
function connectionOf (client: Client): unknown {
  return isCluster(client) ? null : client.stream
}
