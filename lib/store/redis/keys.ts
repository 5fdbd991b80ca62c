/** What a Cluster calculates a key's slot from, where a key has it: the first braces, unless empty. */
const HASH_TAG = /^[^{]*\{[^}]+\}/

/**
 * Every key this package uses in Redis.
 *
 * - `<prefix><id>`: a session.
 * - `@{<prefix><id>}`: a session being created, for seconds; the braces put it on its session's Cluster slot.
 *   (`@<prefix><id>` where the prefix has a hash tag of its own, such as `{app}:sess:`.)
 * - `@<prefix>user:<userId>`: a sorted set of that user's sessions, scored by expiry: `<id>:<createdAt in base 36>`;
 *   `+<id>` is a login under way.
 * - `@<prefix>events`: not a key but the channel on which processes tell each other what happened to sessions.
 *
 * Nothing but sessions lies under the prefix, so that counting or clearing `<prefix>*` means sessions.
 */
export class Keys {
  readonly prefix: string
  readonly #clientPrefix: string

  /** `clientPrefix`: what the driver itself puts before every key of a command (but not of SCAN). */
  constructor (prefix: string, clientPrefix = '') {
    this.prefix = prefix
    this.#clientPrefix = clientPrefix
  }

  session (id: string): string {
    return this.prefix + id
  }

  pending (id: string): string {
    const key = this.#clientPrefix + this.prefix + id
    return HASH_TAG.test(key) ? `@${this.prefix}${id}` : `@{${key}}`
  }

  user (userId: string): string {
    return `@${this.prefix}user:${userId}`
  }

  get events (): string {
    return `@${this.#clientPrefix}${this.prefix}events`
  }

  /** A MATCH pattern for all sessions. */
  get pattern (): string {
    return (this.#clientPrefix + this.prefix).replace(/[\\*?[\]]/g, '\\$&') + '*'
  }

  /** The key as commands take it, of a key as SCAN returns it. */
  fromScan (key: string): string {
    return key.slice(this.#clientPrefix.length)
  }

  /** The session whose key, as SCAN returns it, this is. */
  idOf (key: string): string {
    return key.slice(this.#clientPrefix.length + this.prefix.length)
  }
}
