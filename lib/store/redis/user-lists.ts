import { expiresAt } from '../../session/record.ts'
import type { SessionRecord } from '../../session/record.ts'
import type { Keys } from './keys.ts'
import { isWrongType } from './link.ts'
import type { RedisLink } from './link.ts'
import { confirmScript, listScript, takeScript } from './scripts.ts'
import type { Script } from './scripts.ts'

/** How long a login may take between its first and its last command. */
export const PENDING_MS = 10_000
/** A list keeps an id a little longer than its session, so that clocks and round trips cannot hide a live one. */
const SLACK_MS = 1_000

/**
 * The sorted sets that say which sessions a user has. They may for moments hold what is gone, never
 * miss what is live. An anonymous session is on none.
 */
export class UserLists {
  readonly #link: RedisLink
  readonly #keys: Keys
  readonly #persist: boolean

  /** `persist`: sessions do not expire, and so their lists do not. */
  constructor (link: RedisLink, keys: Keys, { persist }: { persist: boolean }) {
    this.#link = link
    this.#keys = keys
    this.#persist = persist
  }

  /** A login of the user is under way. */
  async announce ({ id, userId }: SessionRecord): Promise<void> {
    if (userId !== null) await this.#script(listScript, userId, `+${id}`, Math.ceil(this.#link.now()) + PENDING_MS)
  }

  /** Lists a session whose login was announced. `false` when it was called off. */
  async confirm (record: SessionRecord): Promise<boolean> {
    return record.userId === null || await this.#script(confirmScript, record.userId, record.id, this.#score(record)) === 1
  }

  /** The announced login has failed. */
  async withdraw ({ id, userId }: SessionRecord): Promise<void> {
    if (userId !== null) await this.#remove(userId, `+${id}`)
  }

  /** Keeps a session listed for as long as it lives now. */
  async extend (record: SessionRecord): Promise<void> {
    if (record.userId !== null) await this.#script(listScript, record.userId, record.id, this.#score(record))
  }

  /** A session is no more. */
  async remove ({ id, userId }: SessionRecord): Promise<void> {
    if (userId !== null) await this.#remove(userId, id)
  }

  /** The sessions of a user; some may be gone. */
  async idsOf (userId: string): Promise<string[]> {
    const list = this.#keys.user(userId)
    const members = await this.#link.run(list, (client) => client.zrange(list, '0', '-1')).catch((error: unknown) => {
      if (isWrongType(error)) return []
      throw error
    })
    return members.filter((member) => !member.startsWith('+'))
  }

  /** Calls off the logins of a user that are under way. Gives the ids of theirs and of all sessions listed. */
  async callOff (userId: string): Promise<string[]> {
    const members = await this.#script(takeScript, userId) as string[]
    return members.map((member) => member.replace('+', ''))
  }

  /** Takes off what was not found, unless it is being activated this very moment. */
  async clean (userId: string, ids: string[]): Promise<void> {
    await Promise.all(ids.map(async (id) => {
      const keys = [this.#keys.pending(id), this.#keys.session(id)] as const
      if (await this.#link.run(keys[0], (client) => client.exists(...keys)) === 0) await this.#remove(userId, id)
    }))
  }

  async #remove (userId: string, member: string): Promise<void> {
    const list = this.#keys.user(userId)
    await this.#link.run(list, (client) => client.zrem(list, member)).catch((error: unknown) => {
      if (!isWrongType(error)) throw error
    })
  }

  /** Runs a script on a user's list. What is no list of ours under its key is thrown away. */
  async #script (script: Script, userId: string, ...args: Array<string | number>): Promise<unknown> {
    const list = this.#keys.user(userId)
    try {
      return await this.#link.script(script, [list], ...args)
    } catch (error) {
      if (!isWrongType(error)) throw error
      await this.#link.run(list, (client) => client.del(list))
      return await this.#link.script(script, [list], ...args)
    }
  }

  #score (record: SessionRecord): number | string {
    return this.#persist ? '+inf' : Math.ceil(expiresAt(record)) + SLACK_MS
  }
}
