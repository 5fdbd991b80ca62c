import { errors } from '../errors.ts'
import { isCluster } from './connection.ts'
import { replyOf } from './driver.ts'
import type { RedisLink, Script } from './link.ts'

/** Refusals that do not last, and that of a key of another type: other ways to do it fail too, or mend it. */
const PASSING = /^(?:LOADING|MASTERDOWN|CLUSTERDOWN|READONLY|MISCONF|NOREPLICAS|BUSY|TRYAGAIN|UNKILLABLE|WRONGTYPE)\b/

/**
 * Scripts over keys of several Cluster slots, for where one server has all keys. A Cluster behind a proxy looks like
 * one server, and refuses them: keys that are named, with CROSSSLOT; keys that a script makes up, when it first uses
 * them. So such a script reads under every key before it writes.
 */
export class OneServer {
  readonly #link: RedisLink
  #holdsAll: boolean

  constructor (link: RedisLink) {
    this.#link = link
    this.#holdsAll = !isCluster(link.client)
  }

  /** Whether one server may have all keys: it is none of a Cluster, and has refused no script for its keys. */
  get holdsAll (): boolean {
    return this.#holdsAll
  }

  /**
   * Runs a script. Resolves with `null` where that is not possible: it is to be done in another way. Once Redis has
   * refused one, for a reason that lasts, none is tried again.
   * @throws ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL
   */
  async script<Reply> (
    script: Script<Reply>, keys: readonly string[], ...args: Array<string | number>
  ): Promise<Reply | null> {
    if (!this.#holdsAll) return null
    try {
      return await this.#link.tryScript(script, keys, ...args)
    } catch (error) {
      const refusal = replyOf((error as { cause?: unknown }).cause)
      if (refusal === '' || error instanceof errors.STORE_FULL) throw error
      if (!PASSING.test(refusal)) this.#holdsAll = false
      return null
    }
  }
}
