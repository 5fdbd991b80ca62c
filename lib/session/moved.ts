import { LOOK_AGAIN_MS, MOVED_WAIT_MS } from '../util/timings.ts'
import type { SessionRecord } from './record.ts'
import type { Change, SessionStore } from './store.ts'

/** Changes the data of a session, under the id that it has by now. `null`: it has ended. */
export async function updateMoved (
  store: SessionStore, seen: SessionRecord, change: Change
): Promise<SessionRecord | null> {
  return await changeMoved(store, seen, async (session) => await store.update(session, change))
}

/** Changes a session, under the id that it has by now. `change` resolves with `null` where it is absent. */
export async function changeMoved (
  store: SessionStore, seen: SessionRecord, change: (session: SessionRecord) => Promise<SessionRecord | null>
): Promise<SessionRecord | null> {
  for (let session: SessionRecord | null = seen; session !== null; session = await successorOf(store, session)) {
    const changed = await change(session)
    if (changed !== null) return changed
  }
  return null
}

/** Finds a session under its id, or under the id to which it has moved. `get` finds a session by its id. */
export async function findMoved (
  store: SessionStore, id: string, get = store.find.bind(store)
): Promise<SessionRecord | null> {
  return await get(id) ?? await findSuccessor(store, id, get)
}

/**
 * Finds the session to which one has moved, however often. One that is on its way is nowhere for a moment: it is looked
 * for again. `null`: it has not moved, or has ended.
 */
export async function findSuccessor (
  store: SessionStore, id: string, get = store.find.bind(store)
): Promise<SessionRecord | null> {
  const seen = new Set<string>()
  const giveUpAt = performance.now() + MOVED_WAIT_MS
  for (let last = id; ;) {
    const next = await store.successor?.(last) ?? null
    if (next !== null && !seen.has(next)) {
      seen.add(next)
      last = next
    } else if (last === id || performance.now() > giveUpAt) return null
    else await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS))
    const found = await get(last)
    if (found !== null) return found
  }
}

/**
 * Finds the session that a session has moved to, or `null`. Checks that it is the same one: a broken connection may
 * return the answer to a different question.
 */
async function successorOf (store: SessionStore, session: SessionRecord): Promise<SessionRecord | null> {
  const found = await findSuccessor(store, session.id)
  return found !== null && isSame(found, session) ? found : null
}

/** Whether two records are of one session. A move keeps these members, and so does a sign-in of the same user. */
function isSame (one: SessionRecord, other: SessionRecord): boolean {
  if (one.userId !== other.userId || one.kind !== other.kind) return false
  return one.userId !== null || (one.createdAt === other.createdAt && one.endsAt === other.endsAt)
}
