import { expiresAt } from '../../session/record.ts'
import type { SessionRecord } from '../../session/record.ts'
import { errors } from '../../errors.ts'
import type { Limit } from '../contract.ts'
import type { Keys } from './keys.ts'
import { isWrongType } from './driver-errors.ts'
import type { RedisLink } from './link.ts'
import { PENDING_MS } from './records.ts'
import { confirmScript, listScript, takeScript } from './scripts.ts'
import type { Script } from './scripts.ts'

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
  readonly #untilEnd: boolean
  readonly #onExpired: (id: string, userId: string) => void

  /**
   * `persist`: sessions do not expire, and so their lists do not. `untilEnd`: others may extend a session, so it is
   * listed up to its absolute deadline. `onExpired` hears once of each that was still listed.
   */
  constructor (link: RedisLink, keys: Keys, { persist, untilEnd, onExpired }: { persist: boolean, untilEnd: boolean, onExpired: (id: string, userId: string) => void }) {
    this.#link = link
    this.#keys = keys
    this.#persist = persist
    this.#untilEnd = untilEnd
    this.#onExpired = onExpired
  }

  /** A login of the user is under way; `from`: a session on its way from that one's id. */
  async announce (record: SessionRecord, from: SessionRecord | null = null): Promise<void> {
    if (record.userId !== null) await this.#add(record.userId, this.#keys.announcementOf(record, from), Math.ceil(this.#link.now()) + PENDING_MS)
  }

  /**
   * Lists a session whose login was announced; of one on its way the announcement stays until it is withdrawn.
   * Gives the members that have to end for it, which stay
   * listed until they have; `null` when it was called off.
   * @throws ERR_SESSION_LIMIT_REACHED; the login is still announced then
   */
  async confirm (record: SessionRecord, { replaces = null, from = null, limit = null }: { replaces?: SessionRecord | null, from?: SessionRecord | null, limit?: Limit | null } = {}): Promise<string[] | null> {
    const { userId } = record
    if (userId === null) return []
    const [status, evicted = [], dropped = []] = await this.#script(confirmScript, userId, this.#keys.announcementOf(record, from), this.#keys.memberOf(record), this.#score(record),
      limit?.max ?? 0, limit?.evicts === false ? 'reject' : 'evict', replaces === null ? '' : this.#keys.memberOf(replaces), from === null ? '' : 'moves') as [number, string[]?, string[]?]
    this.#tellExpired(userId, dropped)
    if (status === -1) throw new errors.LIMIT_REACHED()
    return status === 1 ? evicted : null
  }

  /** The announced login has failed, or the session has arrived. */
  async withdraw (record: SessionRecord, from: SessionRecord | null = null): Promise<void> {
    if (record.userId !== null) await this.#remove(record.userId, this.#keys.announcementOf(record, from))
  }

  /** Keeps a session listed for as long as it lives now. */
  async extend (record: SessionRecord): Promise<void> {
    if (record.userId !== null) await this.#add(record.userId, this.#keys.memberOf(record), this.#score(record))
  }

  /** A session is no more. */
  async remove (record: SessionRecord): Promise<void> {
    if (record.userId !== null) await this.#remove(record.userId, this.#keys.memberOf(record))
  }

  /** A member's session is no more. */
  async removeMember (userId: string, member: string): Promise<void> {
    await this.#remove(userId, member)
  }

  /** The members of a user's list that are about sessions; some may be gone. */
  async membersOf (userId: string): Promise<string[]> {
    const list = this.#keys.user(userId)
    const members = await this.#link.run(list, (client) => client.zrange(list, '0', '-1')).catch((error: unknown) => {
      if (isWrongType(error)) return []
      throw error
    })
    return members.filter((member) => !member.startsWith('+'))
  }

  /**
   * Calls off the logins of a user that are under way. Gives the ids of theirs and of all sessions listed, but
   * `except` and that to which it is on its way.
   */
  async callOff (userId: string, except: string | undefined): Promise<string[]> {
    const members = await this.#script(takeScript, userId, except === undefined ? '' : this.#keys.memberStartOf(except)) as string[]
    return [...new Set(members.map((member) => this.#keys.idOfMember(member)))].filter((id) => id !== except)
  }

  /** Takes off what was not found, unless it `exists`: it is being activated this very moment. */
  async clean (userId: string, members: string[], exists: (id: string) => Promise<boolean>): Promise<void> {
    const list = this.#keys.user(userId)
    await Promise.all(members.map(async (member) => {
      if (await exists(this.#keys.idOfMember(member))) return
      const score = await this.#link.run(list, (client) => client.zscore(list, member))
      const isMine = await this.#remove(userId, member)
      // Else it was ended, and whoever did that could not take it off.
      if (isMine && Number(score) - SLACK_MS <= this.#link.now()) this.#tellExpired(userId, [member])
    }))
  }

  async #add (userId: string, member: string, score: number | string): Promise<void> {
    this.#tellExpired(userId, await this.#script(listScript, userId, member, score) as string[])
  }

  /** `false` when it was not on the list. */
  async #remove (userId: string, member: string): Promise<boolean> {
    const list = this.#keys.user(userId)
    return await this.#link.run(list, (client) => client.zrem(list, member)).catch((error: unknown) => {
      if (isWrongType(error)) return 0
      throw error
    }) === 1
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

  #tellExpired (userId: string, members: string[]): void {
    for (const member of members) {
      if (!member.startsWith('+')) this.#onExpired(this.#keys.idOfMember(member), userId)
    }
  }

  #score (record: SessionRecord): number | string {
    if (this.#persist) return '+inf'
    return Math.ceil(this.#untilEnd ? record.endsAt : expiresAt(record)) + SLACK_MS
  }
}
