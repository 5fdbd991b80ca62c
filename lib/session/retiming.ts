import type { SessionTimeouts } from '../util/duration.ts'
import type { NewTimeouts, SessionRecord } from './record.ts'
import type { Began, ListOptions } from './store.ts'

/** How many sessions of a user get other timeouts at a time. */
const AT_ONCE = 100

/** Timeouts for sessions that live. What is left out stays as it is. */
export type GivenTimeouts = Partial<SessionTimeouts>

/**
 * Returns the timeouts that a session gets: that of somebody who acts as the user only shorter ones. Where nobody knows
 * when it began, the absolute one counts from `now`.
 */
export function timeoutsFor (session: SessionRecord, given: GivenTimeouts, now: number): NewTimeouts {
  const { createdAt, actor } = session
  const begun = createdAt > 0 ? createdAt : Math.floor(now)
  const { idleTimeoutMs, absoluteTimeoutMs } = given
  const endsAt = absoluteTimeoutMs === undefined ? undefined : begun + absoluteTimeoutMs
  if (actor === null) return { idleTimeoutMs, endsAt }
  return { idleTimeoutMs: ifShorter(idleTimeoutMs, session.idleTimeoutMs), endsAt: ifShorter(endsAt, session.endsAt) }
}

/** Returns what is given if it is shorter. Else `undefined`: what is there stays, also if it is shortened meanwhile. */
function ifShorter (given: number | undefined, present: number): number | undefined {
  return given !== undefined && given < present ? given : undefined
}

/** Giving all sessions of a user other timeouts, and how far that is. */
export interface Retiming {
  /** Number of steps so far: it grows while the work goes on. */
  readonly steps: number
  /** Resolves with the number of sessions that have the timeouts. */
  readonly done: Promise<number>
}

/** What gives the sessions of a user other timeouts. */
interface Sessions {
  /** Lists them. */
  readonly list: (options: ListOptions) => Promise<SessionRecord[]>
  /** Gives one of them the timeouts. `null` when it has ended. */
  readonly set: (session: SessionRecord) => Promise<SessionRecord | null>
}

/**
 * Gives all sessions of a user other timeouts, portion by portion. Later sign-ins are left alone. A session that was on
 * its way to another id may have been overlooked, so the list is read until it holds none that is new.
 */
export function retime (
  { list, set }: Sessions, given: GivenTimeouts, now: number
): Retiming {
  const progress = { steps: 0 }
  const seen = new Set<string>()
  const having = new Set<string>()
  const retimeOne = async (session: SessionRecord): Promise<void> => {
    seen.add(session.id)
    const stored = has(session, given) ? session : await set(session)
    if (stored !== null) having.add(stored.id)
  }
  const pass = async (): Promise<{ found: number, count: number }> => {
    let [found, count] = [0, 0]
    for (let before: Began | undefined; ;) {
      const page = await list({ limit: AT_ONCE, before })
      const theirs = page.filter(({ createdAt }) => createdAt <= now)
      const fresh = theirs.filter(({ id }) => !seen.has(id))
      await Promise.all(fresh.map(retimeOne))
      found += fresh.length
      count += theirs.filter(({ id }) => having.has(id)).length
      progress.steps++
      if (page.length < AT_ONCE) return { found, count }
      before = page.at(-1)
    }
  }
  const run = async (): Promise<number> => {
    for (;;) {
      const { found, count } = await pass()
      if (found === 0) return count
    }
  }
  const done = run()
  // A caller who does not wait any more is not told.
  done.catch(() => {})
  return Object.assign(progress, { done })
}

/** Whether a session has the timeouts already. */
function has (session: SessionRecord, given: GivenTimeouts): boolean {
  const { idleTimeoutMs = session.idleTimeoutMs, endsAt = session.endsAt } = timeoutsFor(session, given, 0)
  return session.idleTimeoutMs === idleTimeoutMs && session.endsAt === endsAt
}
