import { createHash } from 'node:crypto'
import type { Began, BusSubject } from '../session/store.ts'

/** Beginning of the keys of sessions, where no other is given. */
export const DEFAULT_PREFIX = 'sess:'

/** Part of a key from which a Cluster calculates the slot, if there: what the first braces hold, unless empty. */
const HASH_TAG = /^[^{]*\{[^}]+\}/

/** Hash tags of the channels of events: each lies in the middle of another sixteenth of a Cluster's slots. */
const TAGS = [18, 3, 65, 140, 19, 2, 64, 141, 106, 1, 70, 49, 107, 0, 66, 48]

/** Maps ids of sessions to their names in Redis, and back. */
export interface Names {
  ofId (id: string): string
  toId (name: string): string
}

/** Returns the MATCH pattern for all keys with a beginning. */
function patternOf (beginning: string): string {
  return `${beginning.replace(/[\\*?[\]]/g, '\\$&')}*`
}

const SAME: Names = { ofId: (id) => id, toId: (name) => name }

/**
 * Every key this package uses in Redis.
 *
 * - `<prefix><id>`: a session. (Beside an Express app its own session id, of which our id is another form.)
 * - `@{<prefix><id>}`: a session being created, for seconds, or where it has moved to, for an hour; the braces put it
 *   on its session's Cluster slot. (`@<prefix><id>` where the prefix has a hash tag of its own, such as `{app}:sess:`.)
 * - `@{<prefix><id>}:trace`: with `durability: 'replicated'`, for a millisecond.
 * - `@{<prefix><id>}:ended`: with the option `endedFor`, how a session ended, for as long as that says.
 * - `@<prefix>user:<userId>`: a sorted set of that user's sessions, scored by expiry: `<id>:<createdAt in base 36>`;
 *   `+<id>` is a login under way, `+<member>\n<member>` a session on its way to another id. Half a millisecond in a
 *   score says that the session is a bearer token's, a quarter that it has an actor: no limit counts those. Where there
 *   are more than a hundred, there is an index by age as well: `+\n<member>`, with a negative score (`list-lua.ts`).
 * - `@<prefix>idp:<hash>`: the same of the sessions that began with one session at an identity provider, scored by
 *   absolute deadline, so that no use changes it. The hash is base64url of SHA-256 of `[issuer, sid]` as JSON.
 * - `@<prefix>tries:<what>:<hash>`: a sorted set of failed logins, scored by when each counts no more: of an account,
 *   from a network, or of that account from that network. One of an account also holds the networks that it is known
 *   from, as `@<hash>`. `known-device` and `known-network` hold those of a user, with `knownDevices`.
 * - `@<prefix>events`: not a key but the channel on which processes tell each other what happened to sessions. With
 *   `events: 'sharded'` these are `@<prefix>events:{<tag>}:<subject>`, 16 tags that spread them over a Cluster. A
 *   process that has to know whether it hears one has another beside it, `<channel>:<uuid>`, for itself.
 *
 * Nothing but sessions lies under the prefix, so that counting or clearing `<prefix>*` means sessions.
 */
export class Keys {
  readonly prefix: string
  readonly #clientPrefix: string
  readonly #names: Names

  /** `clientPrefix`: put by the driver itself before every key of a command (but not of SCAN). */
  constructor (prefix: string, clientPrefix = '', names: Names = SAME) {
    this.prefix = prefix
    this.#clientPrefix = clientPrefix
    this.#names = names
  }

  /** Key of a session. */
  session (id: string): string {
    return this.prefix + this.#names.ofId(id)
  }

  /** Key beside a session's: of one being created, and of where one has moved. */
  pending (id: string): string {
    const key = this.#clientPrefix + this.session(id)
    return HASH_TAG.test(key) ? `@${this.session(id)}` : `@{${key}}`
  }

  /**
   * Returns what stands before and after the name of a session in the keys beside sessions, as Redis sees them: for
   * names without braces, which could make a hash tag of their own.
   */
  get besides (): [before: string, after: string] {
    const [before = '', after = ''] = (this.#clientPrefix + this.pending('\n')).split('\n')
    return [before, after]
  }

  /** Key written for replicas to confirm, on the session's slot. */
  trace (id: string): string {
    return `${this.pending(id)}:trace`
  }

  /** Key that says how a session ended, on its slot. */
  ended (id: string): string {
    return `${this.pending(id)}:ended`
  }

  /** Key of a user's list of sessions. */
  user (userId: string): string {
    return `@${this.prefix}user:${userId}`
  }

  /** Key of the list of sessions that began with a session at an identity provider. */
  idp (idp: string): string {
    return `@${this.prefix}idp:${createHash('sha256').update(idp).digest('base64url')}`
  }

  /** Key of a counter of failed logins. */
  tries (counter: string): string {
    return `@${this.prefix}tries:${counter}`
  }

  /** Channel of a database: `@<prefix>events`, in database 2 `@2:<prefix>events`. All of a server share channels. */
  eventsOf (database: number): string {
    return `@${database === 0 ? '' : `${database}:`}${this.#clientPrefix}${this.prefix}events`
  }

  /** Channels of a database for one subject, where there are several. */
  shardsOf (database: number, subject: BusSubject): string[] {
    return TAGS.map((tag) => `${this.eventsOf(database)}:{${tag}}:${subject}`)
  }

  /** MATCH pattern for all sessions. */
  get pattern (): string {
    return patternOf(this.beginning)
  }

  /** MATCH pattern for the lists of all users. */
  get userPattern (): string {
    return patternOf(this.#clientPrefix + this.user(''))
  }

  /** Id of the user with this list, by its key as SCAN returns it. `null` for a key that is no list's. */
  userOf (key: string): string | null {
    const start = this.#clientPrefix + this.user('')
    return key.startsWith(start) ? key.slice(start.length) : null
  }

  /** Start of every session's key, as Redis sees it. */
  get beginning (): string {
    return this.#clientPrefix + this.prefix
  }

  /** Turns a key as SCAN returns it into one that commands take. */
  fromScan (key: string): string {
    return key.slice(this.#clientPrefix.length)
  }

  /** Id of the session with this key, as SCAN returns it. */
  idOf (key: string): string {
    return this.#names.toId(key.slice(this.beginning.length))
  }

  /**
   * Member of a user's list for a session: its name, and when it began, by which a limit counts. A name may begin with
   * what marks a login under way: Express apps choose their own. A session that is overwritten under its own id is
   * listed twice meanwhile, and longer where that was broken off.
   */
  memberOf ({ id, createdAt }: Began): string {
    return this.memberStartOf(id) + createdAt.toString(36)
  }

  /** Start of the members for this session, up to when it began. */
  memberStartOf (id: string): string {
    const name = this.#names.ofId(id)
    return `${/^[+=]/.test(name) ? '=' : ''}${name}:`
  }

  /** Returns when the session of a member began; 0 if the member does not tell. */
  createdAtOf (member: string): number {
    const createdAt = Number.parseInt(member.slice(member.lastIndexOf(':') + 1), 36)
    return Number.isFinite(createdAt) ? createdAt : 0
  }

  /** Id of the session of a member, and when it began. */
  beganOf (member: string): Began {
    return { id: this.idOfMember(member), createdAt: this.createdAtOf(member) }
  }

  /** Member for a login under way, or, with `from`, for a session on its way from that one's id. */
  announcementOf (record: Began, from: Began | null): string {
    return `+${from === null ? this.#names.ofId(record.id) : `${this.memberOf(record)}\n${this.memberOf(from)}`}`
  }

  /** Member of the index by age for this one. */
  indexedAs (member: string): string {
    return `+\n${member}`
  }

  /** Id of the session of a member, also of a login under way. */
  idOfMember (member: string): string {
    if (member.includes('\n') && member.startsWith('+')) return this.idOfMember(member.slice(1, member.indexOf('\n')))
    if (member.startsWith('+')) return this.#names.toId(member.slice(1))
    return this.#names.toId(member.slice(member.startsWith('=') ? 1 : 0, member.lastIndexOf(':')))
  }
}
