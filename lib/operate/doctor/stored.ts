import type { Stored } from './census.ts'
import { finding, ok, short } from './findings.ts'
import type { Finding } from './findings.ts'
import { bytes } from './server.ts'

/** Default of maxSessionsPerUser. */
const MANY_SESSIONS = 1_000
/** Share of list entries without a session that no sign-out under way explains. */
const MANY_ORPHANS = 0.05
/** Fewer of them say nothing. */
const FEW = 10

/** What it means that this lies under the prefix. `adopts`: sessions of another library are expected there. */
export function storedFindings (
  stored: Stored, { prefix, adopts }: { prefix: string, adopts: boolean }
): Finding[] {
  return [
    ...counted(stored, prefix), ...orphans(stored), ...unlisted(stored), ...foreign(stored, short(prefix), adopts),
    ...users(stored)
  ]
}

function counted ({ isSample, lookedAt, keys, ...stored }: Stored, prefix: string): Finding[] {
  const about = isSample ? 'about ' : ''
  const { sessions, signedIn, anonymous, bearer } = stored
  const found = `${about}${inWords(sessions, 'session')} under ${short(prefix)} (${bytes(stored.bytes)}): ` +
    `${number(signedIn)} signed in, ${number(bearer)} of them by bearer tokens, and ${number(anonymous)} anonymous; ` +
    `${about}${inWords(stored.lists, 'user')}`
  if (!isSample) return [ok('sessions', found)]
  const all = keys === null ? '' : ` of ${number(keys)}`
  return [ok('sessions', `${found}. By a sample of ${number(lookedAt)}${all} keys: --full counts all`)]
}

function orphans ({ entries: { checked, orphans } }: Stored): Finding[] {
  if (checked === 0) return []
  const found = `${number(orphans)} of ${number(checked)} entries looked up in lists of users have no session`
  if (orphans === 0) return [ok('lists', found)]
  const isMuch = orphans >= FEW && orphans / checked > MANY_ORPHANS
  return [finding(isMuch ? 'warning' : 'note', 'lists', found, 'They do no harm, and come off when a list is read. ' +
    'Many of them say that something else deletes sessions: eviction, or a script')]
}

function unlisted ({ listed: { checked, missing } }: Stored): Finding[] {
  if (missing === 0) return []
  return [finding('warning', 'lists', `${number(missing)} of ${number(checked)} sessions looked up are not on their ` +
    'user\'s list: until their next use they are not listed, and revokeUser does not end them',
  'Find out what deletes lists: eviction (set maxmemory-policy to noeviction), or a script')]
}

function foreign ({ foreign: { express, unreadable, other } }: Stored, prefix: string, adopts: boolean): Finding[] {
  const findings: Finding[] = []
  if (express > 0 && adopts) {
    findings.push(ok('foreign keys', `${inWords(express, 'session')} of another library wait to be taken over`))
  } else if (express > 0) {
    findings.push(finding('note', 'foreign keys', `${inWords(express, 'session')} of express-session or ` +
      `@fastify/session under ${prefix}: nobody is signed in by them`,
    'Take them over with adopt (docs/migration), or give each application a keyPrefix of its own'))
  }
  for (const [count, what] of [[unreadable, 'texts'], [other, 'hashes, lists or sets']] as const) {
    if (count === 0) continue
    findings.push(finding('warning', 'foreign keys', `${number(count)} ${what} under ${prefix} that are no sessions`,
      'Something else writes there: give each application a keyPrefix of its own'))
  }
  return findings
}

function users ({ users }: Stored): Finding[] {
  const [most] = users
  if (most === undefined) return []
  const named = users.map(({ userId, sessions }) => `${short(userId, 40)} ${number(sessions)}`)
  const found = `most sessions: ${named.join(', ')}`
  if (most.sessions <= MANY_SESSIONS) return [ok('users', found)]
  return [finding('note', 'users', found, 'Does a script sign in for each request? maxSessionsPerUser limits it')]
}

function number (count: number): string {
  return count.toLocaleString('en')
}

function inWords (count: number, noun: string): string {
  return `${number(count)} ${noun}${count === 1 ? '' : 's'}`
}
