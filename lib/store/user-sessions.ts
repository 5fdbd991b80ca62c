import { errors } from '../errors.ts'
import { isCounted } from '../session/record.ts'
import type { SessionRecord } from '../session/record.ts'
import type { Began, Change, Limit } from '../session/store.ts'

/** Most sessions that a new one evicts. */
const MOST_EVICTED = 100

/**
 * Returns those of a user's sessions that a new one evicts: the oldest of those that the limit counts. `sessions` has
 * the newest first. `uncounted` are ids of sessions that do not count.
 * @throws ERR_SESSION_LIMIT_REACHED when there are as many as the limit allows, and it does not evict
 */
export function tooMany (sessions: SessionRecord[], { max, evicts }: Limit, uncounted: string[]): SessionRecord[] {
  const others = sessions.filter((each) => isCounted(each) && !uncounted.includes(each.id))
  if (others.length >= max && !evicts) throw new errors.LIMIT_REACHED()
  return others.slice(max - 1).slice(-MOST_EVICTED)
}

/**
 * Returns the sessions that come after one of them in a list, newest first. If that one has ended since, sessions of
 * the same millisecond come twice rather than not at all.
 */
export function sessionsAfter ({ id, createdAt }: Began, sessions: SessionRecord[]): SessionRecord[] {
  const at = sessions.findIndex((each) => each.id === id)
  return at === -1 ? sessions.filter((each) => each.createdAt <= createdAt) : sessions.slice(at + 1)
}

/** Returns the record of a session in the place of an old one, with data of that one where it has changed last. */
export function carried (
  record: SessionRecord,
  { old, ended, carry }: { old: SessionRecord, ended: SessionRecord, carry: Change | undefined }
): SessionRecord {
  return carry === undefined || ended.data === old.data ? record : { ...record, data: carry(ended.data) }
}
