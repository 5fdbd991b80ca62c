import { attempted } from './attempted.ts'
import type { Faults } from './faults.ts'
import { MAX_SESSIONS_PER_USER } from './schema.ts'
import type { SessionOptions } from './schema.ts'
import type { ResolvedOptions } from './resolve.ts'
import { isSessionStore } from '../session/store.ts'
import { isExpressStore } from '../store/foreign-store.ts'

/** How many sessions a user may have; `null`: any number. */
export function limitOf ({ maxSessionsPerUser, onLimit = 'evict-oldest', store }: Partial<SessionOptions>, faults: Faults): ResolvedOptions['limit'] {
  // Of another store all sessions would be read at each sign-in: that is to be asked for.
  const isIndexed = attempted(() => store === undefined || isSessionStore(store), true)
  if (maxSessionsPerUser === false || (maxSessionsPerUser === undefined && !isIndexed)) return null
  const canList = attempted(() => isIndexed || !isExpressStore(store) || typeof store.all === 'function', true)
  if (!canList) faults.add('maxSessionsPerUser', 'needs a store that can list its sessions: this one has no all()')
  return { max: maxSessionsPerUser ?? MAX_SESSIONS_PER_USER, evicts: onLimit === 'evict-oldest' }
}
