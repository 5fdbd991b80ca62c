import { TIMED_OUT, withDeadline } from '../util/deadline.ts'
import { BOOT_WAIT_MS, NEAR_BOOT_WAIT_MS, NEAR_SILENCE_MS } from '../util/timings.ts'
import { errors } from '../errors.ts'
import { isSessionStore } from '../session/store.ts'
import type { AttemptCounters, SessionStore } from '../session/store.ts'
import { EncryptedStore } from './encrypted.ts'
import type { EncryptionOptions } from './encrypted.ts'
import { ExpressStoreAdapter } from './foreign.ts'
import type { ExpressStore } from './foreign.ts'
import { MemoryAttempts } from './memory-attempts.ts'
import { MemoryStore } from './memory.ts'
import { NearCacheStore } from '../near/cache.ts'
import type { NearCacheOptions } from '../near/cache.ts'
import { backendOf, connect, disconnect } from '../redis/connection.ts'
import { RedisStore } from '../redis/store.ts'
import type { RedisStoreParts } from '../redis/store.ts'
import type { RedisTarget } from '../redis/target.ts'

export type { RedisTarget } from '../redis/target.ts'

const NOT_TOLD = 'Redis does not tell its user what changes, so each session is read from there: ' +
  'docs/guides/production.md has the ACL'

const IN_MEMORY = 'sessions are kept in this process\'s memory and end with it: set the redis option'

/** Options that say where sessions live. */
interface OpenOptions {
  redis?: RedisTarget | undefined
  store?: SessionStore | ExpressStore | undefined
  keyPrefix: string
  durability: 'default' | 'replicated'
  events: 'broadcast' | 'sharded' | 'both'
  encryption: EncryptionOptions | null
  nearCache: NearCacheOptions | null
  /** Parts of the Redis store that are different beside another session library. */
  parts?: RedisStoreParts | undefined
}

/** Lines to log at boot. */
type Warnings = Array<{ message: string, err?: Error }>

/** A store that was opened, with what belongs to it. */
interface OpenedStore {
  store: SessionStore
  /** The near-cache, where there is one: `store` then. */
  near: NearCacheStore | null
  /**
   * Waits for the store, as long as starting up may. Resolves with what there is to log once, at boot.
   * @throws ERR_SESSION_INVALID_OPTIONS when Redis refuses the credentials
   */
  ready: () => Promise<Warnings>
  /**
   * Returns what holds the sessions, and what their keys begin with: it tells whether two registrations share sessions.
   * `null`: this one shares them with nobody. A Cluster is known once it is ready.
   */
  backend: () => { of: unknown, prefix: string } | null
  /** Closes what was opened here, and nothing else. Twice is safe. */
  close: () => Promise<void>
}

/** A store that was opened, with nothing before it. */
type BackendStore = Omit<OpenedStore, 'near'>

/**
 * Opens the store that the options ask for.
 * @throws ERR_SESSION_INVALID_OPTIONS for what cannot be opened
 */
export function openStore (options: OpenOptions): OpenedStore {
  const opened = open(options)
  const near = nearCached(opened.store, options)
  if (near === null) return { ...opened, store: encrypted(opened.store, options), near }
  const ready = async (): Promise<Warnings> => {
    const warnings = await opened.ready()
    const started = near.start()
    const refusal = await withDeadline(started, NEAR_BOOT_WAIT_MS)
    if (refusal === TIMED_OUT) tellRefusal(near, started)
    if (refusal === null || refusal === TIMED_OUT) return warnings
    return [...warnings, { message: `nearCache is off: ${NOT_TOLD}`, err: refusal }]
  }
  const close = async (): Promise<void> => {
    await near.stop()
    await opened.close()
  }
  return { ...opened, store: near, near, ready, close }
}

/** Emits an event when Redis refuses what a near-cache needs. For callers that do not wait for that. */
export function tellRefusal ({ events }: Pick<SessionStore, 'events'>, started: Promise<Error | null>): void {
  void started.then((refusal) => { if (refusal !== null) events.emit('refused', NOT_TOLD, refusal) })
}

/** A store in Redis: this package's, or one that holds it. */
type InRedis = SessionStore & Pick<RedisStore, 'ready' | 'warnings' | 'changes'>

function isInRedis (store: unknown): store is InRedis {
  return isSessionStore(store) && ['ready', 'warnings', 'changes'].every((name) => name in store)
}

/** Whether a near-cache can stand before this store: it tells of changes, or needs no near-cache. */
export function canBeNear (store: unknown): boolean {
  return isInRedis(store) || store instanceof MemoryStore
}

/** Whether it can be one that is told of ends alone. */
export function canBeNearByEnds (store: unknown): boolean {
  return store instanceof MemoryStore || (store instanceof RedisStore && store.canTellEnds)
}

/** Puts a near-cache before a store, to be started and stopped. Returns `null` if none is asked for, or of use. */
export function nearCached (
  store: SessionStore, { nearCache, encryption }: Pick<OpenOptions, 'nearCache' | 'encryption'>
): NearCacheStore | null {
  if (nearCache === null || !isInRedis(store)) return null
  const silenceMs = Math.min(NEAR_SILENCE_MS, nearCache.maxStaleMs / 4)
  const isByEnds = nearCache.invalidate === 'ends' && store instanceof RedisStore
  const changes = isByEnds ? store.ends(silenceMs) : store.changes(silenceMs)
  return new NearCacheStore(encrypted(store, { encryption }), changes, nearCache)
}

/** Returns the counters of failed logins of a store. Where it has none, this process counts. */
export function countersOf ({ attempts }: Pick<SessionStore, 'attempts'>): AttemptCounters {
  return attempts ?? new MemoryAttempts()
}

/** Puts encryption before a store, if that is asked for. */
export function encrypted (store: SessionStore, { encryption }: Pick<OpenOptions, 'encryption'>): SessionStore {
  return encryption === null ? store : new EncryptedStore(store, encryption)
}

function open ({ redis, store, keyPrefix, durability, events, parts }: OpenOptions): BackendStore {
  if (store !== undefined) return openGiven(store)
  if (redis !== undefined) return openRedis(redis, { prefix: keyPrefix, durability, events }, parts)
  const memory = new MemoryStore()
  return {
    store: memory,
    ready: async () => [{ message: IN_MEMORY }],
    backend: () => null,
    close: () => memory.close()
  }
}

function openGiven (given: SessionStore | ExpressStore): BackendStore {
  const store = asSessionStore(given)
  return {
    store,
    ready: async () => isInRedis(store) ? await readiness(store) : [],
    backend: () => ({ of: given, prefix: '' }),
    close: async () => { if (store !== given) await store.close() }
  }
}

/** Returns a store with this package's contract: the given one, or one that stands before it. */
export function asSessionStore (store: SessionStore | ExpressStore): SessionStore {
  return isSessionStore(store) ? store : new ExpressStoreAdapter(store)
}

/** @throws ERR_SESSION_INVALID_OPTIONS when Redis refuses the credentials */
async function readiness (store: InRedis): Promise<Warnings> {
  const failure = await store.ready(BOOT_WAIT_MS)
  if (failure !== null) {
    return [{ message: 'Redis does not answer: sessions cannot be read until it does', err: failure }]
  }
  const warnings = await withDeadline(store.warnings(), BOOT_WAIT_MS)
  return warnings === TIMED_OUT ? [] : warnings.map((message) => ({ message }))
}

/** @throws ERR_SESSION_INVALID_OPTIONS for what the driver does not take */
function openRedis (
  target: RedisTarget, options: { prefix: string } & Pick<OpenOptions, 'durability' | 'events'>,
  parts: RedisStoreParts = {}
): BackendStore {
  const { client, keyPrefix } = connected(target)
  const prefix = keyPrefix + options.prefix
  const store = new RedisStore({ client, ...options, prefix }, parts)
  const close = async (): Promise<void> => {
    await store.close()
    await disconnect(client)
  }
  return {
    store,
    ready: async () => await readiness(store).catch(unusable),
    backend: () => ({ of: backendOf(client), prefix }),
    close
  }
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
  if (error instanceof errors.INVALID_OPTIONS) throw error
  throw new errors.INVALID_OPTIONS('redis: cannot be used', { cause: error })
}
