import { attempted } from './attempted.ts'
import { durationMs } from '../util/duration.ts'
import type { Faults } from './faults.ts'
import type { SessionOptions } from './schema.ts'
import type { NearCacheOptions } from '../near/cache.ts'
import { canBeNear } from '../store/open.ts'

/** Shorter, and a busy process would take a server that answers for silent; longer, and it would be no bound. */
const MAX_STALE = { least: '1s', most: '1m' }

/** The near-cache that the options ask for; `null`: every session is read from the store. */
export function nearCacheOf ({ nearCache = false, store }: Partial<SessionOptions>, faults: Faults): NearCacheOptions | null {
  if (nearCache === false) return null
  const { maxEntries = 10_000, maxStale = '5s' } = nearCache === true ? {} : nearCache
  const maxStaleMs = faults.duration('nearCache.maxStale', maxStale)
  if (maxStaleMs < durationMs(MAX_STALE.least) || maxStaleMs > durationMs(MAX_STALE.most)) faults.add('nearCache.maxStale', `must be from ${MAX_STALE.least} to ${MAX_STALE.most}`)
  if (store !== undefined && !attempted(() => canBeNear(store), true)) faults.add('nearCache', 'needs redis or a RedisStore: another store does not tell what others change in it')
  return { maxEntries, maxStaleMs }
}
