import type { Redis } from 'ioredis'
import { errors, outage } from '../errors.ts'
import { patience } from '../util/deadline.ts'
import { CONFIRM_MS } from '../util/timings.ts'
import { isCluster } from './connection.ts'
import type { Client } from './connection.ts'
import { connectedMasters, ownerOf } from './cluster.ts'
import type { RedisLink } from './link.ts'

/** Warning at boot when they do not. */
const NOBODY_CONFIRMS = 'no replica of this Redis confirms what is written: with durability replicated, ' +
  'signing in and out is answered 503 until one does'

/** Confirmation by replicas of what is written after it was made. */
export interface Confirmation {
  /** Includes what is written to the masters of these keys. */
  extend (keys: string[]): Promise<void>
  /**
   * Resolves when every replica that follows has all of it, and there is one.
   * @throws ERR_SESSION_STORE_UNAVAILABLE when that is not known: a failover may undo it
   */
  wait (): Promise<void>
}

/** Confirmation for durability `'default'`: resolves at once. */
export const UNCONFIRMED: Confirmation = { extend: async () => {}, wait: async () => {} }

/**
 * Asks replicas whether they have what was written, by WAIT. WAIT counts what was written on its own connection, and
 * holds up the commands behind it. Hence a link of its own for what is to be confirmed, and one WAIT at a time, shared
 * by all who asked during the last one.
 */
export class Replication {
  readonly #link: RedisLink
  /** The WAIT under way on each master, and the one that follows it. */
  readonly #current = new Map<Redis, Promise<unknown>>()
  readonly #next = new Map<Redis, Promise<boolean>>()

  constructor (link: RedisLink) {
    this.#link = link
  }

  /** Makes a confirmation of what is written, after this, to the masters of these keys. */
  async of (keys: string[]): Promise<Confirmation> {
    const connections = new Map<Redis, { key: string, stream: unknown }>()
    const extend = async (more: string[]): Promise<void> => {
      for (const key of more) {
        const master = await this.#masterOf(key)
        if (connections.has(master)) continue
        if (master.status !== 'ready') await this.#link.run(key, () => master.ping())
        connections.set(master, { key, stream: master.stream })
      }
    }
    await extend(keys)
    return {
      extend,
      wait: async () => {
        await Promise.all([...connections].map(async ([master, { key, stream }]) => {
          const isConfirmed = await this.#wait(master, key).catch((error: unknown) => { throw withCause(error) })
          // WAIT on a new connection, or on a new master, does not count what was written before.
          const isSame = master.stream === stream && knownMasterOf(this.#link.client, key) === master
          if (!isConfirmed || !isSame) {
            const cause = outage('no replica has confirmed in time')
            this.#link.reportUnconfirmed(cause)
            throw new errors.STORE_UNAVAILABLE({ cause })
          }
        }))
      }
    }
  }

  /** Returns what to warn about at boot; nothing where Redis does not answer. */
  async warnings (): Promise<string[]> {
    const { client } = this.#link
    const answers = await Promise.all(connectedMasters(client).map(([, master]) => confirmed(master).catch(() => true)))
    return answers.includes(false) ? [NOBODY_CONFIRMS] : []
  }

  /**
   * Returns the server that answers for `key`.
   * @throws ERR_SESSION_STORE_UNAVAILABLE when it is not connected
   */
  async #masterOf (key: string): Promise<Redis> {
    const { client } = this.#link
    const known = knownMasterOf(client, key)
    if (known !== undefined) return known
    // Any command makes the driver look up which server answers by now.
    await this.#link.run(key, (node) => node.exists(key))
    const found = knownMasterOf(client, key)
    if (found !== undefined) return found
    throw new errors.STORE_UNAVAILABLE({ cause: outage('a master of the Cluster is not connected') })
  }

  /** Joins the WAIT that comes next on this master. */
  async #wait (master: Redis, key: string): Promise<boolean> {
    let next = this.#next.get(master)
    if (next === undefined) {
      next = this.#after(this.#current.get(master), master, key)
      this.#next.set(master, next)
    }
    return await next
  }

  async #after (current: Promise<unknown> | undefined, master: Redis, key: string): Promise<boolean> {
    await current
    this.#next.delete(master)
    const isConfirmed = this.#link.run(key, () => confirmed(master))
    const done = isConfirmed.catch(() => {}).then(() => {
      if (this.#current.get(master) === done) this.#current.delete(master)
    })
    this.#current.set(master, done)
    return await isConfirmed
  }
}

/** Gives an error a cause. Without one it says that nothing was sent, and here something was written before. */
function withCause (error: unknown): unknown {
  if (!(error instanceof errors.STORE_UNAVAILABLE) || error.cause !== undefined) return error
  return new errors.STORE_UNAVAILABLE({ cause: outage('the store went down before a replica was asked') })
}

/**
 * Whether all replicas that follow have what was written. Any of them may take over: what Sentinels know of which one
 * has most is seconds old.
 */
async function confirmed (master: Redis): Promise<boolean> {
  const [role, , followers] = await master.role() as [string, number, unknown[]]
  const replicas = role === 'master' ? Math.max(1, followers.length) : Infinity
  return replicas !== Infinity && await master.wait(replicas, CONFIRM_MS * patience.factor) >= replicas
}

/** Returns the server that answers for `key`, if it is connected. */
function knownMasterOf (client: Client, key: string): Redis | undefined {
  if (!isCluster(client)) return client
  const owner = ownerOf(client, key)
  return connectedMasters(client).find(([name]) => name === owner)?.[1]
}
