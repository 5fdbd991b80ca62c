import type { Test } from 'tap'
import type { SessionStore } from '../../lib/index.ts'
import { EncryptedStore } from '../../lib/store/encrypted.ts'
import { NearCacheStore } from '../../lib/store/near-cache.ts'
import type { NearCacheOptions } from '../../lib/store/near-cache.ts'
import type { RedisTarget } from '../../lib/store/redis/client.ts'
import type { RedisStore } from '../../lib/store/redis/store.ts'
import type { Tracking } from '../../lib/store/redis/tracking.ts'
import { until } from './redis.ts'
import { openStore } from './redis-store.ts'

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
  /** Whether to wait until it hears of changes. Default `true`. */
  ready?: boolean
}

/** One of its own, with connections of its own, stopped when the test ends. */
export async function openNear (t: Test, target: RedisTarget, { prefix, silenceMs = 1_000, encryption, ready = true, maxEntries = 1_000, maxStaleMs = 5_000 }: NearOptions): Promise<Near> {
  const redis = await openStore(t, target, { prefix })
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
  if (ready) await until('changes to be heard', () => isHeard({ changes }))
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
  of (near: Near): SessionStore {
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
      create: wrote(store.create.bind(store)),
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
