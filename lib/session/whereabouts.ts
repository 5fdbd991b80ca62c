import type { CoreStore } from './core-store.ts'
import type { SessionRecord } from './record.ts'

/** How often, and how many times, a session is looked for that is on its way to another id. */
const LOOK_AGAIN_MS = 10
const LOOKS = 10

/** Changes the data of a session where that is by now: it may have moved to another id since it was seen. `null`: it has ended. */
export async function updateWhereItIs (store: CoreStore, seen: SessionRecord, change: (data: string) => string): Promise<SessionRecord | null> {
  for (let session: SessionRecord | null = seen; session !== null; session = await successorOf(store, session.id)) {
    const updated = await store.update(session, change)
    if (updated !== null) return updated
  }
  return null
}

async function successorOf (store: CoreStore, id: string): Promise<SessionRecord | null> {
  const successor = await store.successor(id)
  if (successor === null) return null
  for (let look = 1; ; look++) {
    const session = await store.find(successor)
    if (session !== null || look === LOOKS) return session
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS))
  }
}
