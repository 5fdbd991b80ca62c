import { errors } from '../errors.ts'
import { isCounted, withTimeouts } from '../session/record.ts'
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

/** A session that ended for another: as it was seen, and as it was at its end. */
interface Ended {
  readonly old: SessionRecord
  readonly ended: SessionRecord
  readonly carry: Change | undefined
}

/** Returns the record of a session in the place of an old one, with data of that one where it has changed last. */
export function carried (record: SessionRecord, { old, ended, carry }: Ended): SessionRecord {
  return carry === undefined || ended.data === old.data ? record : { ...record, data: carry(ended.data) }
}

/** Returns the record of a session that has moved: as `carried`, with the timeouts, key and twin that it got last. */
export function moved (record: SessionRecord, end: Ended): SessionRecord {
  const { old, ended } = end
  const isBound = keepsKey(record, old) && !haveSameKey(old, ended)
  const isPaired = keepsTwin(record, old) && !haveSameTwin(old, ended)
  const stored = {
    ...carried(record, end), ...isBound && { boundKey: ended.boundKey }, ...isPaired && { twin: ended.twin }
  }
  // A new sign-in has its own. The deadline of a session that another library began is not known yet.
  const goesOn = haveSameTimeouts(record, old) && old.createdAt > 0
  return goesOn && !haveSameTimeouts(old, ended) ? withTimeouts(stored, ended) : stored
}

/** Whether a session that moves has the key of the one before. A new sign-in has its own. */
export function keepsKey (record: SessionRecord, old: SessionRecord): boolean {
  return isSameSignIn(record, old) && haveSameKey(record, old)
}

/** Whether a session that moves has the twin of the one before. A new sign-in has its own. */
export function keepsTwin (record: SessionRecord, old: SessionRecord): boolean {
  return isSameSignIn(record, old) && haveSameTwin(record, old)
}

function isSameSignIn (record: SessionRecord, old: SessionRecord): boolean {
  return record.authenticatedAt === old.authenticatedAt
}

/** Returns a session with another key, if it still has the one that it was known with; else the session itself. */
export function bound (present: SessionRecord, known: SessionRecord, boundKey: string): SessionRecord {
  return haveSameKey(present, known) ? { ...present, boundKey } : present
}

/** Returns a session that was used at `at`, with another twin if it still has the one that it was known with. */
export function used (present: SessionRecord, known: SessionRecord, { at, twin }: Use): SessionRecord {
  const lastSeenAt = Math.floor(at)
  if (twin === undefined || !haveSameTwin(present, known)) return { ...present, lastSeenAt }
  return { ...present, lastSeenAt, twin }
}

/** A use of a session. */
interface Use {
  readonly at: number
  /** The twin that it gets. Default: the one that it has. */
  readonly twin?: string | undefined
}

/** Whether two records have the same timeouts. */
export function haveSameTimeouts (one: SessionRecord, other: SessionRecord): boolean {
  return one.idleTimeoutMs === other.idleTimeoutMs && one.endsAt === other.endsAt
}

/** Whether two records have the same twin, or none. Those of before there were twins lack the member. */
function haveSameTwin (one: Partial<SessionRecord>, other: Partial<SessionRecord>): boolean {
  return (one.twin ?? null) === (other.twin ?? null)
}

/** Whether two records have the same key, or none. Those of before there were keys lack the member. */
function haveSameKey (one: Partial<SessionRecord>, other: Partial<SessionRecord>): boolean {
  return (one.boundKey ?? null) === (other.boundKey ?? null)
}
