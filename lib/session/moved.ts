import { LOOK_AGAIN_MS, MOVED_WAIT_MS } from '../util/timings.ts'
import type { SessionRecord } from './record.ts'
import type { SessionStore } from './store.ts'

/** How many times a session is looked for that is on its way to another id. */
const LOOKS = MOVED_WAIT_MS / LOOK_AGAIN_MS

/** Changes the data of a session where that is by now: it may have moved to another id since it was seen. `null`: it has ended. */
export async function updateMoved (store: SessionStore, seen: SessionRecord, change: (data: string) => string): Promise<SessionRecord | null> {
  for (let session: SessionRecord | null = seen; session !== null; session = await successorOf(store, session)) {
    const updated = await store.update(session, change)
    if (updated !== null) return updated
  }
  return null
}

/** The session that this id is, or has become; `get` finds one. */
export async function findMoved (store: SessionStore, id: string, get = store.find.bind(store)): Promise<SessionRecord | null> {
  const seen = new Set<string>()
  for (let next: string | null = id; next !== null && !seen.has(next); next = await store.successor?.(next) ?? null) {
    seen.add(next)
    const record = await get(next)
    if (record !== null) return record
  }
  return null
}

/** What a session has moved to. What is said to be, and is another one, is none: a store may answer one what another asked. */
async function successorOf (store: SessionStore, session: SessionRecord): Promise<SessionRecord | null> {
  const successor = await store.successor?.(session.id) ?? null
  if (successor === null) return null
  for (let look = 1; ; look++) {
    const found = await store.find(successor)
    if (found !== null) return isSame(found, session) ? found : null
    if (look === LOOKS) return null
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS))
  }
}

/** Whether one session goes on in the other. A move changes nothing of these; who signed in again is the same user. */
function isSame (one: SessionRecord, other: SessionRecord): boolean {
  if (one.userId !== other.userId || one.kind !== other.kind) return false
  return one.userId !== null || (one.createdAt === other.createdAt && one.endsAt === other.endsAt)
}
