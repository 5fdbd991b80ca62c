import type { Test } from 'tap'
import { MemoryStore, RedisStore } from '../../lib/index.ts'
import type { SessionLists, SessionOptions, SessionStore } from '../../lib/index.ts'
import { connect, disconnectNow } from '../../lib/redis/connection.ts'
import type { Client } from '../../lib/redis/connection.ts'
import type { RedisTarget } from '../../lib/redis/target.ts'
import { EVERYTHING, marking } from './everything.ts'
import { proxied } from './proxied.ts'
import { prefix, startCluster, startRedis, until } from './redis.ts'
import { openNear, Views } from './near.ts'
import { age, isPointer, keysOf, openStore } from './redis-store.ts'
import { PENDING_MS } from '../../lib/util/timings.ts'

/** A store that lists its sessions. */
export type ListedStore = SessionStore & SessionLists

/** Two processes' views of the same sessions. The commands of the second overtake each other where it does not wait for one. */
export interface Arena {
  views: readonly [ListedStore, ListedStore]
  /** `null`: the sessions are in this process. */
  client: Client | null
  keyPrefix: string
}

export interface Ground {
  name: string
  /** Of all tries, the share that is made here; in npm test the slow ones have less. */
  share: number
  inTests: number
  open: (t: Test) => Promise<Arena>
  /** The same as options of the plugin: applications that are given them use the same sessions. */
  options: () => Partial<SessionOptions>
  /** How many applications may be given them. Default 2. */
  processes?: 1
}

/** Where races are run: in this process's memory, on one Redis and on a Cluster of three. */
export async function startGrounds (t: Test): Promise<Ground[]> {
  const [redis, cluster] = await Promise.all([startRedis(t), startCluster(t)])
  return [
    {
      name: 'memory',
      share: 0.2,
      inTests: 0.6,
      open: async () => {
        const store = marking(new MemoryStore())
        return { views: [store, store], client: null, keyPrefix: '' }
      },
      options: () => ({ store: new MemoryStore() })
    },
    {
      name: 'Redis',
      share: 0.5,
      inTests: 0.25,
      open: inRedis(redis.url, redis.client),
      options: () => ({ redis: redis.url, keyPrefix: prefix() })
    },
    {
      name: 'Redis Cluster',
      share: 0.3,
      inTests: 0.15,
      open: inRedis({ cluster: cluster.nodes }, cluster.client),
      options: () => ({ redis: { cluster: cluster.nodes }, keyPrefix: prefix() })
    }
  ]
}

/** Opens a store, and another whose commands reach Redis through `wrap`. */
function inRedis (target: RedisTarget, client: Client, wrap = unordered): (t: Test) => Promise<Arena> {
  return async (t) => {
    const keyPrefix = prefix()
    const { client: own } = connect(target)
    const slow = new RedisStore({ client: wrap(own), prefix: keyPrefix })
    t.teardown(async () => {
      await slow.close()
      disconnectNow(own)
    })
    await until('the connection', () => own.status === 'ready')
    return { views: [marking(await openStore(t, target, { prefix: keyPrefix })), marking(slow)], client, keyPrefix }
  }
}

/** Two processes on one Redis, of which one begins sessions by one script, and the other in steps, as version 0.1 does. */
export async function startMixedGround (t: Test): Promise<Ground> {
  const redis = await startRedis(t)
  return {
    name: 'Redis, where one process takes steps',
    share: 0.2,
    inTests: 0.1,
    open: inRedis(redis.url, redis.client, (client) => proxied(unordered(client))),
    options: () => ({ redis: redis.url, keyPrefix: prefix() })
  }
}

/**
 * Two processes with near-caches on one Redis. What another process was answered a process has heard of before it reads
 * here (see `Views`); of what it was answered itself it is told nothing. Where requests read, there is one process: nobody
 * can tell it to wait.
 */
export async function startNearGround (t: Test): Promise<Ground> {
  const redis = await startRedis(t)
  return {
    name: 'Redis, near-cached',
    share: 0.2,
    inTests: 0.05,
    open: async (t) => {
      const keyPrefix = prefix()
      const nears = [await openNear(t, redis.url, { prefix: keyPrefix }), await openNear(t, redis.url, { prefix: keyPrefix, wrap: unordered })] as const
      const views = new Views()
      return { views: [marking(views.of(nears[0])), marking(views.of(nears[1]))], client: redis.client, keyPrefix }
    },
    options: () => ({ redis: redis.url, keyPrefix: prefix(), nearCache: true }),
    processes: 1
  }
}

/** Redis, or this process itself, was kept from running for so long that an answer was given up: nothing is known of the race. */
export class Interrupted extends Error {}

/**
 * Does a race `count` times, many at once, so that every order of events comes up; `after` each batch what is to be
 * looked at. One that was interrupted is done again, under a number of its own, once the store `isBack`. Gives the
 * numbers of those that were.
 * @throws when that is no exception
 */
export async function rounds (count: number, race: (round: number) => Promise<void>, { isBack, atOnce = 50, after }: { isBack: () => Promise<boolean> | boolean, atOnce?: number, after?: () => Promise<void> }): Promise<number[]> {
  const interrupted: number[] = []
  const untilDone = async (attempt: (round: number) => Promise<void> | undefined, first: number): Promise<void> => {
    for (let round = first; ; round += count) {
      try {
        return await attempt(round)
      } catch (error) {
        if (!(error instanceof Interrupted || isGivenUp(error)) || interrupted.push(round) > 100 + count / 10) throw error
        await until('the store to answer again', isBack)
      }
    }
  }
  for (let from = 0; from < count; from += atOnce) {
    await Promise.all(Array.from({ length: Math.min(atOnce, count - from) }, (_, each) => untilDone(race, from + each)))
    await untilDone(() => after?.(), -count)
  }
  return interrupted
}

/** Whether all of them answer. */
export async function answer (views: readonly SessionStore[]): Promise<boolean> {
  return (await Promise.allSettled(views.map(async (view) => await view.ping()))).every(({ status }) => status === 'fulfilled')
}

/** A client that sends each command after a while of its own, as to the nodes of a Cluster some of which are slow. */
function unordered (client: Client): Client {
  return new Proxy(client, {
    get: (target, name) => {
      const member: unknown = Reflect.get(target, name, target)
      if (typeof member !== 'function') return member
      if (!['evalsha', 'eval', 'set', 'call', 'del', 'get', 'mget', 'zrem', 'zrange', 'zscore', 'exists'].includes(String(name))) return member.bind(target) as unknown
      return async (...args: unknown[]): Promise<unknown> => {
        await hops()
        return await (member.apply(target, args) as Promise<unknown>)
      }
    }
  })
}

/** What a store says when an answer did not come in time, and for as long as it does not ask again. */
function isGivenUp (error: unknown): boolean {
  const { code, cause } = error as { code?: unknown, cause?: { message?: string } }
  return code === 'ERR_SESSION_STORE_UNAVAILABLE' && (cause === undefined || /^no answer within/.test(cause.message ?? ''))
}

/** Waits for any number of turns of the loop, often none: about as long as two answers of Redis take. */
export async function hops (most = 8): Promise<void> {
  for (let left = Math.floor(Math.random() * 2 * most) - most; left > 0; left--) await new Promise((resolve) => setImmediate(resolve))
}

export function pick<T> (choices: readonly T[]): T {
  return choices[Math.floor(Math.random() * choices.length)] as T
}

/** Starts all of them, in any order, each after a while of its own, and waits for all, also where one fails. */
export async function atOnce (racers: Array<() => Promise<unknown>>): Promise<void> {
  const order = racers.map((racer) => ({ racer, turn: Math.random() })).sort((a, b) => a.turn - b.turn)
  const outcomes = await Promise.allSettled(order.map(async ({ racer }) => {
    await hops()
    await racer()
  }))
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
}

/** Some of what is left under the prefix once what expires within moments has expired. What the users of interrupted races left does not count. */
export async function leftovers ({ client, keyPrefix, views: [view] }: Arena, interrupted: string[]): Promise<string[]> {
  if (client === null) return []
  const lists = async (): Promise<string[]> => (await Promise.all(['user', 'idp'].map(async (each) => await keysOf(client, `@${keyPrefix}${each}:`)))).flat()
  for await (const { id, userId } of view.listAll()) if (interrupted.length > 0 && (userId === null || interrupted.includes(userId))) await view.delete(id)
  for (const userId of interrupted) await view.deleteByUser(userId)
  // Taking a session off its list is not waited for where another took its place.
  await until('what is cleaned up in the background', async () => (await lists()).length === 0, 2_000).catch(() => {})
  await age(client, keyPrefix, PENDING_MS)
  // A list may hold what is gone until somebody looks at it.
  for (const userId of interrupted) await view.listByUser(userId)
  const left = await keysOf(client, keyPrefix)
  const pointers = await Promise.all(left.map(async (key) => await isPointer(client, key)))
  // Marks are to stay, and what says where a session has moved.
  return left.filter((key, index) => !(pointers[index] === true || (EVERYTHING && key.endsWith(':ended')))).slice(0, 5)
}
