/** What a Cluster calculates a key's slot from, where a key has it: the first braces, unless empty. */
const HASH_TAG = /^[^{]*\{[^}]+\}/

/** How sessions are named in Redis, of their ids and back. */
export interface Names {
  ofId (id: string): string
  toId (name: string): string
}

const SAME: Names = { ofId: (id) => id, toId: (name) => name }

/**
 * Every key this package uses in Redis.
 *
 * - `<prefix><id>`: a session. (Beside an Express app its own session id, of which our id is another form.)
 * - `@{<prefix><id>}`: a session being created, for seconds; the braces put it on its session's Cluster slot.
 *   (`@<prefix><id>` where the prefix has a hash tag of its own, such as `{app}:sess:`.)
 * - `@{<prefix><id>}:trace`: with `durability: 'replicated'`, for a millisecond.
 * - `@<prefix>user:<userId>`: a sorted set of that user's sessions, scored by expiry: `<id>:<createdAt in base 36>`;
 *   `+<id>` is a login under way, `+<member>\n<member>` a session on its way to another id. Half a millisecond in a score
 *   says that the session is a bearer token's. Where there are more than a hundred, there is an index by age as well:
 *   `+\n<member>`, with a negative score (`list-lua.ts`).
 * - `@<prefix>tries:<what>:<hash>`: a sorted set of failed logins of an account, from a network, or of one from the other,
 *   scored by when each counts no more. Of an account also the networks it is known from, as `@<hash>`.
 * - `@<prefix>events`: not a key but the channel on which processes tell each other what happened to sessions.
 *
 * Nothing but sessions lies under the prefix, so that counting or clearing `<prefix>*` means sessions.
 */
export class Keys {
  readonly prefix: string
  readonly #clientPrefix: string
  readonly #names: Names

  /** `clientPrefix`: what the driver itself puts before every key of a command (but not of SCAN). */
  constructor (prefix: string, clientPrefix = '', names: Names = SAME) {
    this.prefix = prefix
    this.#clientPrefix = clientPrefix
    this.#names = names
  }

  session (id: string): string {
    return this.prefix + this.#names.ofId(id)
  }

  pending (id: string): string {
    const key = this.#clientPrefix + this.session(id)
    return HASH_TAG.test(key) ? `@${this.session(id)}` : `@{${key}}`
  }

  /** On the session's slot, and for a millisecond. */
  trace (id: string): string {
    return `${this.pending(id)}:trace`
  }

  user (userId: string): string {
    return `@${this.prefix}user:${userId}`
  }

  /** A counter of failed logins. */
  tries (counter: string): string {
    return `@${this.prefix}tries:${counter}`
  }

  /** Channels are one for all databases of a server: `@<prefix>events`, and in database 2 `@2:<prefix>events`. */
  eventsOf (database: number): string {
    return `@${database === 0 ? '' : `${database}:`}${this.#clientPrefix}${this.prefix}events`
  }

  /** A MATCH pattern for all sessions. */
  get pattern (): string {
    return this.beginning.replace(/[\\*?[\]]/g, '\\$&') + '*'
  }

  /** What every session's key begins with, as Redis sees it. */
  get beginning (): string {
    return this.#clientPrefix + this.prefix
  }

  /** The key as commands take it, of a key as SCAN returns it. */
  fromScan (key: string): string {
    return key.slice(this.#clientPrefix.length)
  }

  /** The session whose key, as SCAN returns it, this is. */
  idOf (key: string): string {
    return this.#names.toId(key.slice(this.beginning.length))
  }

  /**
   * What a user's list holds of a session: its name, and when it began, which is what a limit goes by. A name may
   * begin with what marks a login under way: Express apps choose their own. A session that is overwritten under its
   * own id is listed twice meanwhile, and longer where that was broken off.
   */
  memberOf ({ id, createdAt }: { id: string, createdAt: number }): string {
    return this.memberStartOf(id) + createdAt.toString(36)
  }

  /** What the members about this session begin with, up to when it began. */
  memberStartOf (id: string): string {
    const name = this.#names.ofId(id)
    return `${/^[+=]/.test(name) ? '=' : ''}${name}:`
  }

  /** When the session of a member began; 0 for what says nothing of it. */
  createdAtOf (member: string): number {
    const createdAt = Number.parseInt(member.slice(member.lastIndexOf(':') + 1), 36)
    return Number.isFinite(createdAt) ? createdAt : 0
  }

  /** The session that a member is about, and when that began. */
  beganOf (member: string): { id: string, createdAt: number } {
    return { id: this.idOfMember(member), createdAt: this.createdAtOf(member) }
  }

  /** What it holds of a login under way. One that is a session on its way to another id says from which. */
  announcementOf (record: { id: string, createdAt: number }, from: { id: string, createdAt: number } | null): string {
    return `+${from === null ? this.#names.ofId(record.id) : `${this.memberOf(record)}\n${this.memberOf(from)}`}`
  }

  /** The member of an index by age that stands for this one. */
  indexedAs (member: string): string {
    return `+\n${member}`
  }

  /** The session that a member, also one of a login under way, is about. */
  idOfMember (member: string): string {
    if (member.includes('\n') && member.startsWith('+')) return this.idOfMember(member.slice(1, member.indexOf('\n')))
    if (member.startsWith('+')) return this.#names.toId(member.slice(1))
    return this.#names.toId(member.slice(member.startsWith('=') ? 1 : 0, member.lastIndexOf(':')))
  }
}
