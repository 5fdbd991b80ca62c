import type { Test } from 'tap'
import type { SessionStore } from '../../lib/index.ts'
import { EncryptedStore } from '../../lib/store/encrypted.ts'
import { NearCacheStore } from '../../lib/near/cache.ts'
import type { NearCacheOptions } from '../../lib/near/cache.ts'
import { connect, disconnectNow } from '../../lib/redis/connection.ts'
import type { Client } from '../../lib/redis/connection.ts'
import type { RedisTarget } from '../../lib/redis/target.ts'
import { RedisStore } from '../../lib/redis/store.ts'
import type { Tracking } from '../../lib/redis/tracking.ts'
import type { TestedStore } from '../../lib/testing/index.ts'
import { prefix as newPrefix, until } from './redis.ts'
import { age } from './redis-store.ts'

/** A store with a near-cache before it, as one process has it. */
export interface Near {
  store: NearCacheStore
  changes: Tracking
  /** What is behind it. */
  redis: RedisStore
  /** How many sessions were read from Redis. */
  reads: () => number
}

export interface NearOptions extends Partial<NearCacheOptions> {
  prefix: string
  silenceMs?: number
  encryption?: { keys: string[], acceptPlain: boolean }
  /** Where the connection on which it hears of changes goes, if not where the others go. */
  linePort?: number
  /** What the commands go through that are not about hearing. */
  wrap?: (client: Client) => Client
}

/** One of its own, with connections of its own, stopped when the test ends. */
export async function openNear (t: Test, target: RedisTarget, { prefix, silenceMs = 1_000, encryption, linePort, wrap = (client) => client, maxEntries = 1_000, maxStaleMs = 5_000 }: NearOptions): Promise<Near> {
  const { client } = connect(target)
  const redis = new RedisStore({ client: wrap(client), prefix })
  t.teardown(async () => {
    await redis.close()
    disconnectNow(client)
  })
  await redis.ready(10_000)
  if (linePort !== undefined && 'port' in client.options) client.options.port = linePort
  let reads = 0
  const find = redis.find.bind(redis)
  redis.find = async (id) => {
    reads++
    return await find(id)
  }
  const changes = redis.changes(silenceMs)
  const store = new NearCacheStore(encryption === undefined ? redis : new EncryptedStore(redis, encryption), changes, { maxEntries, maxStaleMs })
  t.teardown(() => store.stop())
  void store.start()
  await until('changes to be heard', () => isHeard({ changes }))
  return { store, changes, redis, reads: () => reads }
}

export function isHeard ({ changes }: Pick<Near, 'changes'>): boolean {
  return changes.trustedUntil > performance.now()
}

/** Several processes' views of the same sessions. */
export class Views {
  /** How many changes were answered that another process made, and of how many of them each has heard. */
  readonly #foreign = new Map<Near, { changes: number, heard: number }>()

  /**
   * A view that reads as its process does, once it has heard of what others had been confirmed before: in a process
   * that is not the one that made a change, it shows when the message of it has arrived. Of its own it always knows.
   */
  of (near: Near): NearCacheStore {
    const foreign = { changes: 0, heard: 0 }
    this.#foreign.set(near, foreign)
    const wrote = <T extends unknown[], R>(call: (...args: T) => Promise<R>) => async (...args: T): Promise<R> => {
      try {
        return await call(...args)
      } finally {
        for (const [other, count] of this.#foreign) if (other !== near) count.changes++
      }
    }
    const { store } = near
    const changed: Partial<SessionStore> = {
      find: async (id) => {
        const { changes } = foreign
        if (foreign.heard < changes) {
          await near.changes.hear()
          foreign.heard = Math.max(foreign.heard, changes)
        }
        return await store.find(id)
      },
      begin: wrote(store.begin.bind(store)),
      replace: wrote(store.replace.bind(store)),
      move: wrote(store.move.bind(store)),
      update: wrote(store.update.bind(store)),
      touch: wrote(store.touch.bind(store)),
      delete: wrote(store.delete.bind(store)),
      deleteByUser: wrote(store.deleteByUser.bind(store))
    }
    return new Proxy(store, {
      get: (_target, name) => {
        const member = Object.hasOwn(changed, name) ? changed[name as keyof SessionStore] : Reflect.get(store, name, store) as unknown
        return typeof member === 'function' ? (member as (...args: unknown[]) => unknown).bind(store) : member
      }
    })
  }
}

/** Two processes with near-caches, for the contract. What is done behind their backs they have heard of when it is done. */
export async function nearSubject (t: Test, { target, client, encryption }: { target: RedisTarget, client: Client } & Pick<NearOptions, 'encryption'>): Promise<TestedStore> {
  const ours = newPrefix()
  const options = { prefix: ours, ...encryption !== undefined && { encryption } }
  const nears = [await openNear(t, target, options), await openNear(t, target, options)] as const
  const views = new Views()
  const heard = async (change: Promise<unknown>): Promise<void> => {
    await change
    await Promise.all(nears.map(async ({ changes }) => await changes.hear()))
  }
  return {
    store: views.of(nears[0]),
    other: views.of(nears[1]),
    age: async (ms) => await heard(age(client, ours, ms)),
    lose: async (id) => await heard(client.del(`${ours}${id}`))
  }
}

/** Someone who looks for sessions all the time, and knows when each was found last. */
export class Watcher {
  readonly #store: SessionStore
  readonly #ids: string[]
  /** When each was asked for last that was found. */
  readonly #foundAt = new Map<string, number>()
  #isWatching = true
  readonly #watch: Promise<void>
  /** How often nothing could be told. */
  refused = 0

  constructor (store: SessionStore, ids: string[]) {
    this.#store = store
    this.#ids = ids
    this.#watch = this.#watchAll()
  }

  /** For how long a session was found after it had ended, in milliseconds. */
  staleMs (id: string, endedAt: number): number {
    return Math.max(0, (this.#foundAt.get(id) ?? 0) - endedAt)
  }

  async stop (): Promise<void> {
    this.#isWatching = false
    await this.#watch
  }

  async #watchAll (): Promise<void> {
    while (this.#isWatching) {
      for (const id of this.#ids) void this.#look(id)
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  }

  async #look (id: string): Promise<void> {
    const askedAt = performance.now()
    try {
      if (await this.#store.find(id) !== null) this.#foundAt.set(id, Math.max(askedAt, this.#foundAt.get(id) ?? 0))
    } catch {
      this.refused++
    }
  }
}
