import type { Redis } from 'ioredis'
import { errors } from '../errors.ts'
import { isCluster } from './client.ts'
import type { Client } from './client.ts'
import { connected, ownerOf } from './cluster.ts'
import type { RedisLink } from './link.ts'

/** How long replicas have to confirm, in milliseconds: a sign-in asks twice within what a request may wait. */
const CONFIRM_MS = 200
/** What is said at boot when they do not. */
const NOBODY_CONFIRMS = 'no replica of this Redis confirms what is written: with durability replicated, signing in and out is answered 503 until one does'

/** What is written from now on, and whether replicas have it. */
export interface Confirmation {
  /** Also what is written to where these keys are. */
  extend (keys: string[]): Promise<void>
  /**
   * Resolves when every replica that follows has all of it, and there is one.
   * @throws ERR_SESSION_STORE_UNAVAILABLE when that cannot be told: a failover may undo it
   */
  wait (): Promise<void>
}

/** Where nobody asked for it. */
export const UNCONFIRMED: Confirmation = { extend: async () => {}, wait: async () => {} }

/**
 * Asks replicas whether they have what was written, by WAIT. That tells of what was written on its own
 * connection, and holds up what follows there: hence a link of its own for what is to be confirmed, and
 * one WAIT at a time, shared by all who came to ask during the last one.
 */
export class Replication {
  readonly #link: RedisLink
  /** Of each master, the WAIT that is under way and the one that follows it. */
  readonly #current = new Map<Redis, Promise<unknown>>()
  readonly #next = new Map<Redis, Promise<boolean>>()

  constructor (link: RedisLink) {
    this.#link = link
  }

  /** Begin with this, then write. */
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
          const isConfirmed = await this.#wait(master, key)
          // Another connection, or another master, knows nothing of what was written on this one.
          if (!isConfirmed || master.stream !== stream || knownMasterOf(this.#link.client, key) !== master) {
            const cause = new Error('no replica has confirmed in time')
            this.#link.unconfirmed(cause)
            throw new errors.STORE_UNAVAILABLE({ cause })
          }
        }))
      }
    }
  }

  /** What to say at boot; nothing where Redis does not answer. */
  async warnings (): Promise<string[]> {
    const { client } = this.#link
    const answers = await Promise.all(connected(client).map(([, master]) => confirmed(master).catch(() => true)))
    return answers.includes(false) ? [NOBODY_CONFIRMS] : []
  }

  /** @throws ERR_SESSION_STORE_UNAVAILABLE when there is no connection to it */
  async #masterOf (key: string): Promise<Redis> {
    const { client } = this.#link
    const known = knownMasterOf(client, key)
    if (known !== undefined) return known
    // Asked for anything, the driver looks who answers by now.
    await this.#link.run(key, (node) => node.exists(key))
    const found = knownMasterOf(client, key)
    if (found === undefined) throw new errors.STORE_UNAVAILABLE({ cause: new Error('a master of the Cluster is not connected') })
    return found
  }

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
    const settled = isConfirmed.catch(() => {}).then(() => { if (this.#current.get(master) === settled) this.#current.delete(master) })
    this.#current.set(master, settled)
    return await isConfirmed
  }
}

/** Whichever replica is to take over has to have it: Sentinels know which has most only as of seconds ago. */
async function confirmed (master: Redis): Promise<boolean> {
  const [role, , followers] = await master.role() as [string, number, unknown[]]
  const replicas = role === 'master' ? Math.max(1, followers.length) : Infinity
  return replicas !== Infinity && await master.wait(replicas, CONFIRM_MS) >= replicas
}

/** The server that answers for `key`, if there is a connection to it. */
function knownMasterOf (client: Client, key: string): Redis | undefined {
  if (!isCluster(client)) return client
  const owner = ownerOf(client, key)
  return connected(client).find(([name]) => name === owner)?.[1]
}
