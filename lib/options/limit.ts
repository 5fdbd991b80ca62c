import { attempted } from './attempted.ts'
import type { Faults } from './faults.ts'
import { MAX_SESSIONS_PER_USER } from './schema.ts'
import type { SessionOptions } from './schema.ts'
import type { ResolvedOptions } from './resolve.ts'
import { hasLists, isSessionStore } from '../session/store.ts'
import { isExpressStore } from '../store/foreign-store.ts'

/** How many sessions a user may have; `null`: any number. */
export function limitOf ({ maxSessionsPerUser, onLimit = 'evict-oldest', store }: Partial<SessionOptions>, faults: Faults): ResolvedOptions['limit'] {
  // Of another store all sessions would be read at each sign-in: that is to be asked for.
  const isIndexed = attempted(() => store === undefined || (isSessionStore(store) && hasLists(store)), true)
  if (maxSessionsPerUser === false || (maxSessionsPerUser === undefined && !isIndexed)) return null
  const lacking = attempted(() => isIndexed ? null : lackingOf(store), null)
  if (lacking !== null) faults.add('maxSessionsPerUser', `needs a store that can list its sessions: this one has no ${lacking}`)
  return { max: maxSessionsPerUser ?? MAX_SESSIONS_PER_USER, evicts: onLimit === 'evict-oldest' }
}

/** What a store would need to list its sessions, `null` where it can. */
function lackingOf (store: SessionOptions['store']): string | null {
  if (isSessionStore(store)) return hasLists(store) ? null : 'listByUser()'
  return isExpressStore(store) && typeof store.all !== 'function' ? 'all()' : null
}
