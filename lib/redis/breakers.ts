import { Breaker } from '../store/breaker.ts'
import type { BreakerOptions } from '../store/breaker.ts'
import { isCluster } from './client.ts'
import type { Client } from './client.ts'
import { connected, ownerOf, refreshed } from './cluster.ts'
import { isOutage, withoutCommand } from './driver-errors.ts'

/** How long one command may take, and how often a server that is down is asked again. */
const COMMAND_DEADLINE_MS = 500
const PROBE_EVERY_MS = 100

/** A breaker for each server of a Redis, by its name: one that is down keeps nobody from the others. */
export class Breakers {
  readonly #client: Client
  readonly #told: Pick<BreakerOptions, 'onDown' | 'onUp'>
  readonly #breakers = new Map<string, Breaker>()
  /** Of each node of a Cluster, the key it was asked for last. */
  readonly #asked = new Map<string, string>()
  #isClosed = false

  constructor (client: Client, told: Pick<BreakerOptions, 'onDown' | 'onUp'>) {
    this.#client = client
    this.#told = told
  }

  /** That of a server, or, by the name `''`, of the only one and of a Cluster of which no node is known yet. */
  of (node: string): Breaker {
    let breaker = this.#breakers.get(node)
    if (breaker === undefined) {
      breaker = new Breaker({
        deadlineMs: COMMAND_DEADLINE_MS,
        probeEveryMs: PROBE_EVERY_MS,
        probe: () => this.#probe(node),
        isOutage: (error) => isOutage(withoutCommand(error)),
        ...this.#told
      })
      this.#breakers.set(node, breaker)
      // Something may still be under way: nobody is to hear of it, and no server to be asked for ever.
      if (this.#isClosed) breaker.close()
    }
    return breaker
  }

  /**
   * That of the server that answers for a key.
   * @throws ERR_SESSION_STORE_UNAVAILABLE when no node of a Cluster can answer
   */
  for (key: string): Breaker {
    const node = isCluster(this.#client) ? ownerOf(this.#client, key) : ''
    this.#asked.set(node, key)
    return this.of(node)
  }

  close (): void {
    this.#isClosed = true
    for (const breaker of this.#breakers.values()) breaker.close()
  }

  /** Rejects while a node that has slots does not answer for them, and while no node of a Cluster is known. */
  async #probe (node: string): Promise<void> {
    const client = this.#client
    const key = this.#asked.get(node)
    if (isCluster(client)) await refreshed(client)
    if (isCluster(client) && !client.slots.some((owners) => owners?.[0] === node)) {
      if (client.slots.length === 0) throw new Error('no node of the Cluster is known')
      return
    }
    const [, master] = connected(client).find(([name]) => name === node) ?? []
    if (master === undefined) throw new Error('a master of the Cluster is not connected')
    if (key === undefined || (isCluster(client) && ownerOf(client, key) !== node)) await master.ping()
    else await master.exists(key)
  }
}
