import { apply, diff, isEmpty, parseData, picked } from '../session/changes.ts'
import type { Changes, Data } from '../session/changes.ts'
import { isUserId, namedIn, userIdText, userOrNull } from '../session/user-id.ts'
import type { UserIdFrom } from '../session/user-id.ts'
import { CSRF_SECRET } from './session-object.ts'

/** A session object that is to be saved. */
interface SaveSituation {
  /** Data that it held when it was built, or that a regeneration carried over. */
  readonly base: Data
  /** Data that it holds now. */
  readonly data: Data
  /** Whether there is a stored session. */
  readonly exists: boolean
  /** Whether somebody is signed in by it, whatever its data says. */
  readonly isSignedIn: boolean
  /** Whether it was regenerated, and goes under a new id. */
  readonly rotates: boolean
  /** The secret of CSRF tokens that was there before this request. */
  readonly oldCsrfSecret: unknown
  /** Whether somebody was named by an assignment that signs in, maybe who it was. */
  readonly signsInByAssignment: boolean
  /** Whether a save has failed in this request: it may have happened all the same. */
  readonly isUncertain: boolean
  /** Whether the reply is an error: nobody is signed in by it. */
  readonly undo: boolean
  readonly userIdFrom: UserIdFrom
}

/** The change of the stored session that a save means. */
export type SavePlan =
  | { readonly does: 'nothing' }
  | BeginPlan
  | { readonly does: 'move', readonly data: Data }
  | { readonly does: 'change', readonly changes: Changes }
  | { readonly does: 'end' }

export interface BeginPlan {
  readonly does: 'begin'
  readonly userId: string | null
  readonly data: Data
  /** Whether changes by others meanwhile go along: they are of the same person, or of nobody. */
  readonly carries: boolean
  /** Whether it is the same user again: then only in place of a session that still lives. */
  readonly renews: boolean
}

/**
 * Decides what a save means. A user who appears, changes or was assigned is a sign-in and begins a session; one who
 * disappears has signed out. One whom a regeneration carried over did neither: the session moves to the new id, if it
 * still lives. Without a user, a session begins with the first data that is not empty.
 *
 * @throws TypeError when the data names its user by something that is no id
 */
export function planSave (situation: SaveSituation): SavePlan {
  const { base, exists, isSignedIn, rotates, signsInByAssignment, isUncertain, undo, userIdFrom } = situation
  const data = { ...situation.data }
  const [named, after] = usersOf(base, data, userIdFrom)
  const before = isSignedIn ? named : null
  const signsIn = after !== null && (after !== named || signsInByAssignment)
  if (signsIn && !undo) {
    // A token of the page before the sign-in must not work after it (CVE-2023-29020); one made since may.
    if (data[CSRF_SECRET] === situation.oldCsrfSecret) delete data[CSRF_SECRET]
    const isSame = before === after
    const renews = isSame && exists && !rotates && !isUncertain
    return { does: 'begin', userId: after, data, carries: isSame || before === null, renews }
  }
  if (signsIn) {
    // Where the user is kept elsewhere, what to take back is not known; a regeneration was part of the sign-in.
    if (userIdFrom !== null || rotates) return { does: 'nothing' }
    for (const key of ['userId', 'user']) takeBack(key, base, data)
  } else if (before !== null && after === null) {
    return { does: 'end' }
  }
  if (exists && !rotates) return { does: 'change', changes: diff(base, data) }
  const user = signsIn ? before : after
  if (user !== null) return exists ? { does: 'move', data } : { does: 'nothing' }
  if (!isEmpty(data)) return { does: 'begin', userId: null, data, carries: true, renews: false }
  return exists ? { does: 'end' } : { does: 'nothing' }
}

/**
 * Makes the data of a new session out of the data of the one that it replaces, as it was at its end: other requests may
 * have changed it. `keys`: those that go along; `null`: all.
 */
export function carryOver (base: Data, data: Data, keys: readonly string[] | null): (endedData: string) => string {
  const changes = diff(base, data)
  return (endedData) => {
    const carried = apply(picked(parseData(endedData) ?? {}, keys), changes)
    if (!Object.hasOwn(data, CSRF_SECRET)) delete carried[CSRF_SECRET]
    return JSON.stringify(carried)
  }
}

/**
 * Whether data that named its user names nobody now, or names nobody after a regeneration: whoever was signed in signs
 * out when it is saved.
 */
export function signsOut (
  { base, data, rotates, userIdFrom }: Pick<SaveSituation, 'base' | 'data' | 'rotates' | 'userIdFrom'>
): boolean {
  return userOrNull(data, userIdFrom, base) === null && (rotates || userOrNull(base, userIdFrom) !== null)
}

/** Has a member of the data name whom it named before, or nobody. */
function takeBack (key: string, base: Data, data: Data): void {
  if (key === 'user' && userOrNull({ user: data.user }, null) === null) return
  if (Object.hasOwn(base, key)) data[key] = base[key]
  else delete data[key]
}

/** Returns whom the data named before, and whom it names now. */
function usersOf (base: Data, data: Data, userIdFrom: UserIdFrom): [before: string | null, after: string | null] {
  const old = namedIn(base, userIdFrom)
  const present = namedIn(data, userIdFrom, base)
  // Stored data may be anybody's work; only what is new has to be an id.
  const before = isUserId(old) ? String(old) : null
  const isSame = present === old || (typeof present === 'object' && JSON.stringify(present) === JSON.stringify(old))
  if (isSame) return [before, before]
  return [before, present == null ? null : userIdText(present, 'userId')]
}
