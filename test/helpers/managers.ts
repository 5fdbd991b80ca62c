import type { Test } from 'tap'
import { MemoryStore, SessionManager } from '../../lib/index.ts'
import type { SessionManagerOptions, SessionStore } from '../../lib/index.ts'
import { secret } from './app.ts'
import { withEverything } from './everything.ts'
import { prefix } from './redis.ts'
import type { TestRedis } from './redis.ts'
import { age, openStore } from './redis-store.ts'

export type ManagerOptions = Partial<SessionManagerOptions>

/** Sessions without Fastify, with nobody signed in yet. */
export interface Sessions {
  sessions: SessionManager
  store: SessionStore
  /** Makes every session this much older, as waiting would. */
  age: (ms: number) => Promise<void>
  /** Another manager of the same sessions; where they are in Redis, with connections of its own. */
  another: (options?: ManagerOptions) => Promise<SessionManager>
  /** What their keys in Redis begin with; of those in memory ''. */
  keyPrefix: string
}

/** A manager that is closed when the test ends. */
export function openManager (t: Test, options: ManagerOptions & Pick<SessionManagerOptions, 'store'>): SessionManager {
  const sessions = new SessionManager(withEverything({ secret, cookie: { secure: false }, ...options }))
  t.teardown(() => sessions.close())
  return sessions
}

/** Sessions in this process's memory, on a clock that only the test moves. */
export function inMemory (t: Test, options: ManagerOptions = {}): Sessions {
  let now = 1_700_000_000_000.5
  const store = new MemoryStore({ now: () => now })
  return {
    store,
    sessions: openManager(t, { store, ...options }),
    age: async (ms) => { now += ms },
    another: async (others = options) => openManager(t, { store, ...others }),
    keyPrefix: ''
  }
}

/** Sessions in Redis, under a prefix of their own. */
export async function inRedis (t: Test, redis: Pick<TestRedis, 'url' | 'client'>, options: ManagerOptions = {}): Promise<Sessions> {
  const keyPrefix = prefix()
  const open = async () => await openStore(t, redis.url, { prefix: keyPrefix })
  const store = await open()
  return {
    store,
    sessions: openManager(t, { store, ...options }),
    age: (ms) => age(redis.client, keyPrefix, ms),
    another: async (others = options) => openManager(t, { store: await open(), ...others }),
    keyPrefix
  }
}

export type Open = (options?: ManagerOptions) => Promise<Sessions>

/** The same sentence about sessions in memory and about sessions in Redis. */
export function onBothStores (t: Test, redis: TestRedis): (sentence: string, check: (t: Test, open: Open) => Promise<void>) => void {
  return (sentence, check) => {
    t.test(`in memory: ${sentence}`, async (t) => await check(t, async (options) => inMemory(t, options)))
    t.test(`in Redis: ${sentence}`, async (t) => await check(t, async (options) => await inRedis(t, redis, options)))
  }
}
