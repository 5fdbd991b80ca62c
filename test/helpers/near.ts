import type { Test } from 'tap'
import type { Bus, SessionRecord, SessionStore } from '../../lib/index.ts'
import { EncryptedStore } from '../../lib/store/encrypted.ts'
import { NearCacheStore } from '../../lib/near/cache.ts'
import type { NearCacheOptions } from '../../lib/near/cache.ts'
import { connect, disconnectNow } from '../../lib/redis/connection.ts'
import type { Client } from '../../lib/redis/connection.ts'
import type { Ends } from '../../lib/redis/ends.ts'
import type { RedisTarget } from '../../lib/redis/target.ts'
import { RedisStore } from '../../lib/redis/store.ts'
import type { RedisStoreOptions } from '../../lib/redis/store.ts'
import type { Tracking } from '../../lib/redis/tracking.ts'
import type { TestedStore } from '../../lib/testing/index.ts'
import { prefix as newPrefix, until } from './redis.ts'
import { age } from './redis-store.ts'

/** A store with a near-cache before it, as one process has it. */
export interface Near {
  store: NearCacheStore
  changes: Tracking | Ends
  /** What is behind it. */
  redis: RedisStore
  /** How many sessions were read from Redis. */
  reads: () => number
  /** Forgets all that it has, as waiting for `maxStale` would. */
  forget: () => void
  /** Resolves when all that this process has published is with Redis. */
  told: () => Promise<void>
}

export interface NearOptions extends Partial<NearCacheOptions> {
  prefix: string
  silenceMs?: number
  events?: RedisStoreOptions['events']
  encryption?: { keys: string[], acceptPlain: boolean }
  /** Where the connection on which it hears of changes goes, if not where the others go. */
  linePort?: number
  /** What the commands go through that are not about hearing. */
  wrap?: (client: Client) => Client
}

/** One of its own, with connections of its own, stopped when the test ends. */
export async function openNear (t: Test, target: RedisTarget, { prefix, silenceMs = 1_000, events, encryption, linePort, wrap = (client) => client, maxEntries = 1_000, maxStaleMs = 5_000, invalidate = 'all' }: NearOptions): Promise<Near> {
  const { client } = connect(target)
  const redis = new RedisStore({ client: wrap(client), prefix, events })
  const told = tracked(redis.bus)
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
  const changes = invalidate === 'ends' ? redis.ends(silenceMs) : redis.changes(silenceMs)
  let forget = (): void => {}
  const listen = changes.listen.bind(changes)
  changes.listen = async (onChange, onGap) => {
    forget = onGap
    return await listen(onChange, onGap)
  }
  const store = new NearCacheStore(encryption === undefined ? redis : new EncryptedStore(redis, encryption), changes, { maxEntries, maxStaleMs, invalidate })
  t.teardown(() => store.stop())
  void store.start()
  await until('changes to be heard', () => isHeard({ changes }))
  return { store, changes, redis, reads: () => reads, forget: () => forget(), told }
}

/** Resolves when all that was published on a bus up to then is with Redis. */
function tracked (bus: Bus): () => Promise<void> {
  const untold = new Set<Promise<void>>()
  const publish = bus.publish.bind(bus)
  bus.publish = async (...args) => {
    const telling = publish(...args)
    untold.add(telling)
    await telling
    untold.delete(telling)
  }
  return async () => { await Promise.all(untold) }
}

/** A store as a process uses it that tells of the ends of its users' sessions. What it is asked for is done when that is told. */
export function telling<Store extends SessionStore> (store: Store, bus: Bus, told = tracked(bus)): Store {
  const tell = (id: string, name = 'revoked'): void => {
    void bus.publish(JSON.stringify({ origin: 'another process', name, id, userId: 'ada', at: 0, reason: null }), bus.channelOf?.('ends', id))
  }
  store.events.on('ended', (id, _userId, reason) => tell(id, reason === 'expired' ? 'expired' : 'revoked'))
  const unsure = new Set<unknown>()
  // Each method has an answer of its own type.
  const ends: Record<string, (answer: any, id: unknown) => void> = {
    delete: (ended: SessionRecord | null, id) => {
      if (ended?.userId != null) tell(ended.id)
      else if (unsure.delete(id)) tell(id as string)
    },
    deleteByUser: (ids: string[]) => ids.forEach((id) => tell(id)),
    deleteByIdp: (ended: SessionRecord[]) => ended.forEach(({ id }) => tell(id)),
    begin: () => {},
    replace: () => {},
    move: () => {},
    setTimeouts: () => {},
    listByUser: () => {}
  }
  return new Proxy(store, {
    get: (_target, name) => {
      const member = Reflect.get(store, name, store) as unknown
      if (typeof member !== 'function') return member
      const note = ends[name as string]
      if (note === undefined) return member.bind(store) as unknown
      return async (...args: unknown[]) => {
        const answer = await (member as (...args: unknown[]) => Promise<unknown>).apply(store, args).catch((error: unknown) => {
          unsure.add(args[0])
          throw error
        })
        note(answer, args[0])
        await told()
        return answer
      }
    }
  })
}

export function isHeard ({ changes }: Pick<Near, 'changes'>): boolean {
  return changes.trustedUntil > performance.now()
}

/** Several processes' views of the same sessions. */
export class Views {
  /** How many changes were answered that another process made, of how many of them each has heard, and what was changed that ends nothing. */
  readonly #foreign = new Map<Near, { changes: number, heard: number, running: number, changed: Set<string> }>()

  /**
   * A view that reads as its process does, once it has heard of what others had been confirmed before: in a process
   * that is not the one that made a change, it shows when the message of it has arrived. Of its own it always knows.
   * Where only ends are told, what else others have changed is read as it is after `maxStale`, and an end that another
   * change brings with it is heard before what comes after that is looked for.
   */
  of (near: Near): NearCacheStore {
    const foreign = { changes: 0, heard: 0, running: 0, changed: new Set<string>() }
    this.#foreign.set(near, foreign)
    const isByEnds = 'isOfEnds' in near.changes
    const store = isByEnds ? telling(near.store, near.redis.bus, near.told) : near.store
    const wrote = <T extends unknown[], R>(call: (...args: T) => Promise<R>, isEnd = false) => async (...args: T): Promise<R> => {
      const others = [...this.#foreign].filter(([other]) => other !== near).map(([, count]) => count)
      for (const count of others) count.running++
      try {
        return await call(...args)
      } finally {
        // The methods that are wrapped here are given a record first.
        const [record] = args as unknown as [SessionRecord]
        for (const count of others) {
          count.running--
          count.changes++
          if (isByEnds && !isEnd) count.changed.add(record.id)
        }
        await near.told()
      }
    }
    const changed: Partial<SessionStore> = {
      find: async (id, options) => {
        const { changes } = foreign
        if (foreign.heard < changes || (isByEnds && foreign.running > 0)) {
          await near.changes.hear()
          foreign.heard = Math.max(foreign.heard, changes)
        }
        return await store.find(id, foreign.changed.delete(id) ? { fresh: true } : options)
      },
      begin: wrote(store.begin.bind(store)),
      replace: wrote(store.replace.bind(store), true),
      move: wrote(store.move.bind(store), true),
      update: wrote(store.update.bind(store)),
      touch: wrote(store.touch.bind(store)),
      setTimeouts: wrote(store.setTimeouts.bind(store), true),
      bind: wrote(store.bind.bind(store)),
      delete: wrote(store.delete.bind(store), true),
      deleteByUser: wrote(store.deleteByUser.bind(store), true),
      ...store.deleteByIdp !== undefined && { deleteByIdp: wrote(store.deleteByIdp.bind(store), true) }
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
export async function nearSubject (t: Test, { target, client, encryption, ...mode }: { target: RedisTarget, client: Client } & Pick<NearOptions, 'encryption' | 'events' | 'invalidate'>): Promise<TestedStore> {
  const ours = newPrefix()
  const options = { prefix: ours, ...mode, ...encryption !== undefined && { encryption } }
  const nears = [await openNear(t, target, options), await openNear(t, target, options)] as const
  const views = new Views()
  const heard = async (change: Promise<unknown>): Promise<void> => {
    await change
    // Nobody tells of it where only ends are told.
    if (mode.invalidate === 'ends') for (const { forget } of nears) forget()
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
  /** When each may be looked for again. On a machine that is busy, looks would else come faster than answers. */
  readonly #nextAt = new Map<string, number>()
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
      for (const id of this.#ids) if (performance.now() >= (this.#nextAt.get(id) ?? 0)) void this.#look(id)
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  }

  async #look (id: string): Promise<void> {
    const askedAt = performance.now()
    this.#nextAt.set(id, Infinity)
    let isThere = true
    try {
      isThere = await this.#store.find(id) !== null
      if (isThere) this.#foundAt.set(id, Math.max(askedAt, this.#foundAt.get(id) ?? 0))
    } catch {
      this.refused++
    } finally {
      // Nobody remembers who is gone: each look asks Redis.
      this.#nextAt.set(id, isThere ? 0 : performance.now() + 50)
    }
  }
}
