import { TIMED_OUT, withDeadline } from '../util/deadline.ts'
import { errors } from '../errors.ts'
import { isSessionStore } from '../session/store.ts'
import type { AttemptCounters, SessionStore } from '../session/store.ts'
import { EncryptedStore } from './encrypted.ts'
import type { EncryptionOptions } from './encrypted.ts'
import { ExpressStoreAdapter } from './foreign.ts'
import type { ExpressStore } from './foreign-store.ts'
import { MemoryAttempts } from './memory-attempts.ts'
import { MemoryStore } from './memory.ts'
import { NearCacheStore } from '../near/cache.ts'
import type { NearCacheOptions } from '../near/cache.ts'
import { backendOf, connect, disconnect } from '../redis/client.ts'
import type { RedisTarget } from '../redis/client.ts'
import { RedisStore } from '../redis/store.ts'
import type { RedisStoreParts } from '../redis/store.ts'

export type { RedisTarget } from '../redis/client.ts'

/** How long starting up waits for Redis before it goes on without. */
const READY_MS = 1_000

/** How long starting up waits for the near-cache, which begins whenever it can. */
const NEAR_MS = 250

/** How long Redis may tell nothing before the near-cache is not trusted. */
const SILENCE_MS = 1_000

const NOT_TOLD = 'Redis does not tell its user what changes, so each session is read from there: README, "What is in Redis", has the ACL'

export interface OpenOptions {
  redis?: RedisTarget | undefined
  store?: SessionStore | ExpressStore | undefined
  keyPrefix: string
  durability: 'default' | 'replicated'
  encryption: EncryptionOptions | null
  nearCache: NearCacheOptions | null
  /** What is different in Redis, beside another session library. */
  parts?: RedisStoreParts | undefined
}

type Warnings = Array<{ message: string, err?: Error }>

export interface OpenedStore {
  store: SessionStore
  /**
   * Waits for the store, as long as starting up may. Gives what there is to say once, at boot.
   * @throws ERR_SESSION_INVALID_OPTIONS when Redis refuses the credentials
   */
  ready: () => Promise<Warnings>
  /**
   * What holds the sessions, and what their keys there begin with, to tell two registrations that meet; `null`: nobody
   * else can. Of a Cluster that is known once it is ready.
   */
  backend: () => { of: unknown, prefix: string } | null
  /** Closes what was opened here, and nothing else. Twice is safe. */
  close: () => Promise<void>
}

/**
 * The store that the options ask for.
 * @throws ERR_SESSION_INVALID_OPTIONS for what cannot be opened
 */
export function openStore (options: OpenOptions): OpenedStore {
  const opened = open(options)
  const near = nearCached(opened.store, options)
  if (near === null) return { ...opened, store: encrypted(opened.store, options) }
  const ready = async (): Promise<Warnings> => {
    const warnings = await opened.ready()
    const started = near.start()
    const refusal = await withDeadline(started, NEAR_MS)
    if (refusal === TIMED_OUT) tellRefusal(near, started)
    return refusal === null || refusal === TIMED_OUT ? warnings : [...warnings, { message: `nearCache is off: ${NOT_TOLD}`, err: refusal }]
  }
  const close = async (): Promise<void> => {
    await near.stop()
    await opened.close()
  }
  return { ...opened, store: near, ready, close }
}

/** Tells of a near-cache that does not begin, for whoever does not wait for it. */
export function tellRefusal ({ events }: Pick<SessionStore, 'events'>, started: Promise<Error | null>): void {
  void started.then((refusal) => { if (refusal !== null) events.emit('refused', NOT_TOLD, refusal) })
}

/** A store in Redis: ours, or one that holds it. */
type InRedis = SessionStore & Pick<RedisStore, 'ready' | 'warnings' | 'changes'>

function isInRedis (store: unknown): store is InRedis {
  return isSessionStore(store) && ['ready', 'warnings', 'changes'].every((name) => name in store)
}

/** Whether sessions in this store can be kept near: it tells of changes, or is as near as can be. */
export function canBeNear (store: unknown): boolean {
  return isInRedis(store) || store instanceof MemoryStore
}

/** The store with a near-cache before it, to be started and stopped; `null` where none is asked for, or of use. */
export function nearCached (store: SessionStore, { nearCache, encryption }: Pick<OpenOptions, 'nearCache' | 'encryption'>): NearCacheStore | null {
  if (nearCache === null || !isInRedis(store)) return null
  return new NearCacheStore(encrypted(store, { encryption }), store.changes(Math.min(SILENCE_MS, nearCache.maxStaleMs / 4)), nearCache)
}

/** What counts attempts for a store: itself, or where it cannot this process. */
export function countersOf ({ attempts }: Pick<SessionStore, 'attempts'>): AttemptCounters {
  return attempts ?? new MemoryAttempts()
}

/** The store, with what is in it encrypted if that is asked for. */
export function encrypted (store: SessionStore, { encryption }: Pick<OpenOptions, 'encryption'>): SessionStore {
  return encryption === null ? store : new EncryptedStore(store, encryption)
}

function open ({ redis, store, keyPrefix, durability, parts }: OpenOptions): OpenedStore {
  if (isInRedis(store)) return { store, ready: async () => await readiness(store), backend: () => ({ of: store, prefix: '' }), close: async () => {} }
  if (isSessionStore(store)) return { store, ready: async () => [], backend: () => ({ of: store, prefix: '' }), close: async () => {} }
  if (store !== undefined) {
    const adapter = new ExpressStoreAdapter(store)
    return { store: adapter, ready: async () => [], backend: () => ({ of: store, prefix: '' }), close: () => adapter.close() }
  }
  if (redis !== undefined) return openRedis(redis, { prefix: keyPrefix, durability }, parts)
  const memory = new MemoryStore()
  return { store: memory, ready: async () => [{ message: 'sessions are kept in this process\'s memory and end with it: set the redis option' }], backend: () => null, close: () => memory.close() }
}

/** One of our stores as it is, another behind our contract. */
export function asSessionStore (store: SessionStore | ExpressStore): SessionStore {
  return isSessionStore(store) ? store : new ExpressStoreAdapter(store)
}

/** @throws ERR_SESSION_INVALID_OPTIONS when Redis refuses the credentials */
async function readiness (store: InRedis): Promise<Warnings> {
  const failure = await store.ready(READY_MS)
  if (failure !== null) return [{ message: 'Redis does not answer: sessions cannot be read until it does', err: failure }]
  const warnings = await withDeadline(store.warnings(), READY_MS)
  return warnings === TIMED_OUT ? [] : warnings.map((message) => ({ message }))
}

/** @throws ERR_SESSION_INVALID_OPTIONS for what the driver does not take */
function openRedis (target: RedisTarget, options: { prefix: string, durability: OpenOptions['durability'] }, parts: RedisStoreParts = {}): OpenedStore {
  const { client, keyPrefix } = connected(target)
  const prefix = keyPrefix + options.prefix
  const store = new RedisStore({ client, ...options, prefix }, parts)
  const close = async (): Promise<void> => {
    await store.close()
    await disconnect(client)
  }
  return { store, ready: async () => await readiness(store).catch(unusable), backend: () => ({ of: backendOf(client), prefix }), close }
}

/** @throws ERR_SESSION_INVALID_OPTIONS for what the driver does not take */
function connected (target: RedisTarget): ReturnType<typeof connect> {
  try {
    return connect(target)
  } catch (error) {
    return unusable(error)
  }
}

/** @throws ERR_SESSION_INVALID_OPTIONS */
function unusable (error: unknown): never {
  throw error instanceof errors.INVALID_OPTIONS ? error : new errors.INVALID_OPTIONS('redis: cannot be used', { cause: error })
}
