import { errors } from '../errors.ts'
import type { SessionRecord } from '../session/record.ts'
import type { Began, Change, Limit } from '../session/store.ts'

/** How many sessions a new one ends at the most. */
const MOST_EVICTED = 100

/**
 * Which of a user's sessions, given newest first, have to go for a new one: of those that a limit counts, but for
 * `uncounted`, the oldest.
 * @throws ERR_SESSION_LIMIT_REACHED when there are as many as may be, and none has to go for another
 */
export function tooMany (sessions: SessionRecord[], { max, evicts }: Limit, uncounted: string[]): SessionRecord[] {
  const others = sessions.filter(({ id, kind }) => kind === 'cookie' && !uncounted.includes(id))
  if (others.length >= max && !evicts) throw new errors.LIMIT_REACHED()
  return others.slice(max - 1).slice(-MOST_EVICTED)
}

/**
 * Tells what comes after a session in a list of them, newest first. Where it has ended since, those that began in the
 * same millisecond come twice rather than not at all.
 */
export function isAfter ({ id, createdAt }: Began, sessions: SessionRecord[]): (each: SessionRecord, index: number) => boolean {
  const at = sessions.findIndex((each) => each.id === id)
  return at === -1 ? (each) => each.createdAt <= createdAt : (_each, index) => index > at
}

/** The record of a session that takes another's place: with the data that this one had at its end, where that has changed. */
export function carried (
  record: SessionRecord,
  { old, ended, carry }: { old: SessionRecord, ended: SessionRecord, carry: Change | undefined }
): SessionRecord {
  return carry === undefined || ended.data === old.data ? record : { ...record, data: carry(ended.data) }
}
