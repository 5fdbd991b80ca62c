import { expiresAt, publicMembers } from '../session/record.ts'
import type { JsonObject, SessionInfo, SessionRecord } from '../session/record.ts'
import type { EndRecord } from '../session/store.ts'

/** A session, as it is printed as JSON: instants in milliseconds since 1970. No data of the application. */
export type Shown = SessionInfo | (Pick<SessionInfo, 'id' | 'kind' | 'createdAt' | 'lastSeenAt' | 'expiresAt'> & {
  readonly userId: null
})

/** Returns what is shown of a session. */
export function shown (record: SessionRecord): Shown {
  const { id, kind, createdAt, lastSeenAt } = record
  return publicMembers(record) ?? { id, kind, userId: null, createdAt, lastSeenAt, expiresAt: expiresAt(record) }
}

/** Returns an instant for people, in UTC. */
export function instantText (at: number): string {
  const date = new Date(at)
  return Number.isNaN(date.getTime()) || at <= 0 ? 'unknown' : `${date.toISOString().slice(0, 19)}Z`
}

const UNITS: ReadonlyArray<[ms: number, name: string]> = [
  [86_400_000, 'd'], [3_600_000, 'h'], [60_000, 'min'], [1_000, 's']
]

/** Returns a length of time for people: the largest unit that it has two of, or nearly. */
function lengthText (ms: number): string {
  const [unit, name] = UNITS.find(([each]) => ms >= 1.95 * each) ?? [1_000, 's']
  return `${Math.round(ms / unit)} ${name}`
}

/** Returns an instant, and how far it is from now. */
function awayText (at: number, now: number): string {
  const text = instantText(at)
  if (text === 'unknown') return text
  return `${text} (${at <= now ? `${lengthText(now - at)} ago` : `in ${lengthText(at - now)}`})`
}

/** User of an anonymous session, for people. */
const NOBODY = '(nobody: an anonymous session)'

/** Returns a session as lines for people. `now`: by Redis' clock. */
export function sessionLines (session: Shown, now: number): string[] {
  const { id, kind, userId, createdAt, lastSeenAt, expiresAt: endsIdle } = session
  const rows: Array<[string, string | null]> = [
    ['session', id],
    ['user', userId ?? NOBODY],
    ['kind', kind],
    ['began', awayText(createdAt, now)],
    ...userId === null ? [] : [['signed in', awayText(session.authenticatedAt, now)] satisfies [string, string]],
    ['last used', awayText(lastSeenAt, now)],
    ['ends', `${awayText(endsIdle, now)}, if it is not used`],
    ...userId === null ? [] : [['at latest', awayText(session.endsAt, now)] satisfies [string, string]],
    ...userId === null ? [] : detailRows(session)
  ]
  return rowLines(rows)
}

/** Returns rows as lines. A row without a text is left out. */
function rowLines (rows: ReadonlyArray<[name: string, text: string | null]>): string[] {
  return rows.filter(([, text]) => text !== null).map(([name, text]) => `${name.padEnd(10)} ${text}`)
}

/** What is shown of how a session ended. */
export type ShownEnd = Omit<EndRecord, 'secretHash'>

/** Returns what is shown of how a session ended. */
export function shownEnd ({ kind, userId, at, reason, statedReason, actor }: EndRecord): ShownEnd {
  return { kind, userId, at, reason, statedReason, actor }
}

/** Returns how a session ended, if that is known, as lines for people. `now`: by Redis' clock. */
export function endLines (id: string, end: ShownEnd | null, now: number): string[] {
  if (end === null) return rowLines([['session', id]])
  const { kind, userId, at, statedReason, actor } = end
  return rowLines([
    ['session', id],
    ['user', userId ?? NOBODY],
    ['kind', kind],
    ['ended', awayText(at, now)],
    ['ended by', actor],
    ['reason', statedReason]
  ])
}

function detailRows (session: SessionInfo): Array<[string, string | null]> {
  const { userAgent, ip, label, meta, methods, actor } = session
  const noted: Readonly<JsonObject> | null = meta
  return [
    ['methods', methods.length === 0 ? null : methods.join(', ')], ['actor', actor],
    ['device', userAgent], ['address', ip], ['label', label], ['meta', noted === null ? null : JSON.stringify(noted)]
  ]
}

/** Returns a session as one line for people. */
export function sessionLine (session: Shown, now: number): string {
  const { id, kind, createdAt, lastSeenAt, expiresAt: endsIdle } = session
  const about = session.userId === null ? [] : [session.userAgent, session.ip, session.label]
  const used = `used ${lengthText(now - lastSeenAt)} ago`
  const times = [`began ${instantText(createdAt)}`, used, `ends in ${lengthText(endsIdle - now)}`]
  return [id, kind, ...times, ...about.filter((each) => each !== null)].join('  ')
}
