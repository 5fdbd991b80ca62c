import { isConfirmed } from '../session/bound-key.ts'
import type { SessionRecord } from '../session/record.ts'
import { REFUSALS } from '../session/refusals.ts'
import type { Refusal } from '../session/refusals.ts'
import type { EndRecord } from '../session/store.ts'
import { isSameHash, secretHashOf } from '../session/token.ts'
import type { Presented } from './credential.ts'

/** Whether a credential signs somebody in, why not, and what to do. */
export interface Verdict {
  readonly signedIn: boolean
  /** Why not: as in the log of the application. */
  readonly reason: Refusal['reason'] | null
  /** Whether the session of this id that lives, or has ended, is that of the token. `null`: nothing is known of one. */
  readonly isProven: boolean | null
  readonly says: string
  readonly todo: string | null
}

/** What to do where a request carries no credential that could be one. */
const ADVICE: Partial<Record<Refusal['reason'], string>> = {
  'other-name': 'give --cookie-name, if the application has a cookieName. Otherwise the browser has the cookie of ' +
    'another application, or of one with another cookie.secure, which changes the default name',
  'two-cookies': 'one of them is of another domain or path. Was cookie.domain or cookie.path changed? Then change ' +
    'cookieName as well',
  malformed: 'copy all of it. If all of it is here, another program has made it',
  'other-library': 'the option adopt takes over the sessions of express-session and @fastify/session',
  'bearer-in-cookie': 'send it as Authorization: Bearer …',
  'cookie-in-bearer': 'send it as a cookie'
}

/** Returns the verdict on a request without a credential. */
export function refused ({ reason, library, cookies }: Refusal): Verdict {
  const whose = library === undefined ? '' : `. It looks like one of ${library}`
  const names = cookies === undefined ? '' : `: ${cookies.join(', ')}`
  const says = `${REFUSALS[reason]}${whose}${names}`
  return { signedIn: false, reason, isProven: null, says, todo: ADVICE[reason] ?? null }
}

/** How a session ended, in people's words. */
const ENDS: Readonly<Record<EndRecord['reason'], string>> = {
  logout: 'its user has signed out',
  revoked: 'the application, an operator, or its user on another device has ended it',
  replaced: 'another has taken its place: a later sign-in in the same browser, or the same session under a new id',
  evicted: 'its user has signed in more often than maxSessionsPerUser allows'
}

/** Of a session that is gone and has left no mark, no more is known. */
const GONE = 'not signed in: the store has no such session. It has expired, or was ended longer ago than the ' +
  'endedFor of the application, or without endedFor, or lies elsewhere'

const LIES_ELSEWHERE = 'if it should live: are --redis, the number of the database in it, and --prefix those of the ' +
  'application?'

/** What the store has of an id: its session, or else how that ended. */
export interface Kept {
  readonly record: SessionRecord | null
  readonly end: EndRecord | null
}

/** Returns the verdict on a credential, with what the store has of its id. */
export function judged ({ kind, token, signedBy }: Presented, { record, end }: Kept): Verdict {
  const kept = record ?? end
  const isProven = kept === null ? null : isSameHash(kept.secretHash, secretHashOf(token))
  const state = record === null ? 'has ended' : 'lives'
  const no = (reason: Refusal['reason'], says: string, todo: string | null = null): Verdict => {
    return { signedIn: false, reason, isProven, says: `${REFUSALS[reason]}${says}`, todo }
  }
  if (signedBy === null) return no('bad-signature', ...signatureText(isProven, state))
  if (isProven === false) {
    return no('unknown-session', `. One of this id ${state}, with another secret half`, 'somebody has put this ' +
      'together from an id, which is no secret')
  }
  if (kept !== null && kept.kind !== kind) {
    return no('unknown-session', `. One of this id ${state}, of the kind ${kept.kind}`, record && 'send it as that')
  }
  if (end !== null) return no('ended', `: ${ENDS[end.reason]}`)
  if (record === null) return { signedIn: false, reason: 'unknown-session', isProven, says: GONE, todo: LIES_ELSEWHERE }
  if (record.userId === null) return no('no-user', '')
  const notes = [
    ...kind === 'bearer' ? ['the application needs the option bearer'] : [],
    ...kind === 'cookie' && signedBy === undefined ? [UNCHECKED] : [],
    ...isConfirmed(record.boundKey) ? [BOUND] : [],
    ...typeof signedBy === 'number' && signedBy > 1 ? ['the next reply signs it with the first secret'] : []
  ]
  return { signedIn: true, reason: null, isProven, says: 'signed in', todo: notes.join('. ') || null }
}

const BOUND = 'it is bound to a device: an application with deviceBound asks for the short cookie as well'

const UNCHECKED = 'the signature was not checked: set SESSION_SECRET'

/** Says of a cookie that no secret has signed what that means, and what to do. */
function signatureText (isProven: boolean | null, state: string): [says: string, todo: string] {
  if (isProven === true) {
    return [`. All else is right: its session ${state}`, 'has the application another secret than SESSION_SECRET, or ' +
      'had it another before? Then give it both: secret: [present, former]']
  }
  if (isProven === false) return [`. One of its id ${state}, with another secret half`, 'somebody has made it up']
  return ['. The store has no session of its id either', `it is of another application, or changed. ${LIES_ELSEWHERE}`]
}
