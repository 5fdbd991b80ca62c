import { errors } from '../errors.ts'
import { expiresAt } from '../session/record.ts'
import type { SessionRecord } from '../session/record.ts'
import type { Began, Limit } from '../session/store.ts'
import { LIST_SLACK_MS, PENDING_MS } from '../util/timings.ts'
import { isWrongType } from './driver.ts'
import type { Keys } from './keys.ts'
import type { RedisLink, Script } from './link.ts'
import { callOffScript, confirmScript, forgetScript, listScript, pageScript } from './list-scripts.ts'
import { absentIfWrongType } from './records.ts'

/** The score of a bearer token's session that never expires: a number that is large, and has room for a half. */
const NEVER = '4000000000000000.5'

/** Which of a user's sessions are asked for: so many, the newest first, but for those up to one of them. */
export interface Page {
  readonly limit: number
  readonly before?: Began | undefined
  /** Only those that a limit counts. */
  readonly cookies?: boolean | undefined
}

/** A member, and when its session began. */
interface Place {
  readonly member: string
  readonly createdAt: number
}

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
    if (record.userId !== null) await this.removeMember(record.userId, this.#keys.announcementOf(record, from))
  }

  /** Keeps a session listed for as long as it lives now. */
  async extend (record: SessionRecord): Promise<void> {
    if (record.userId !== null) await this.#add(record.userId, this.#keys.memberOf(record), this.#score(record))
  }

  /** A session is no more. */
  async remove (record: SessionRecord): Promise<void> {
    if (record.userId !== null) await this.removeMember(record.userId, this.#keys.memberOf(record))
  }

  /** A member's session is no more. */
  async removeMember (userId: string, member: string): Promise<void> {
    const list = this.#keys.user(userId)
    const members = [member, this.#keys.indexedAs(member)]
    await this.#link.run(list, (client) => client.zrem(list, ...members)).catch(absentIfWrongType)
  }

  /**
   * The members of a user's list that are about sessions, the newest first; some may be gone. `null`: a portion of what
   * has to be done before that can be told is done; ask again.
   */
  async page (userId: string, { limit, before, cookies = false }: Page): Promise<string[] | null> {
    const after = before === undefined ? null : this.#placeOf(before)
    const args = [limit, cookies ? 'cookies' : 'all', after?.createdAt ?? '', after?.member ?? '']
    const [dropped, members] = await this.#script(pageScript, userId, ...args) as [string[], string[]?]
    this.#tellExpired(userId, dropped)
    if (members === undefined) return null
    const places = members.map((member) => ({ member, createdAt: this.#keys.createdAtOf(member) })).sort(newestFirst)
    const page = after === null ? places : places.filter((each) => newestFirst(after, each) < 0)
    return page.slice(0, limit).map(({ member }) => member)
  }

  /**
   * Calls off the logins of a user that are under way, but for the session `except` on its way to another id. Gives the
   * members of what was called off, and the ids to which that one is on its way.
   */
  async callOff (userId: string, except: string | undefined): Promise<{ called: string[], spared: string[] }> {
    const all = { called: [] as string[], spared: [] as string[] }
    const start = except === undefined ? '' : this.#keys.memberStartOf(except)
    // The last member that was looked at, and its score.
    for (let last = ['', '']; ;) {
      const reply = await this.#script(callOffScript, userId, ...last, start) as [string[], string[], ...string[]]
      const [called, spared, ...next] = reply
      all.called.push(...called)
      all.spared.push(...spared.map((member) => this.#keys.idOfMember(member)))
      if (next.length === 0) return all
      last = next
    }
  }

  /** Whether a session is on its way from one id to another. */
  async isMoving (record: { userId: string, createdAt: number }, from: string, to: string): Promise<boolean> {
    const list = this.#keys.user(record.userId)
    const [before, after] = [from, to].map((id) => ({ id, createdAt: record.createdAt })) as [Began, Began]
    const announcement = this.#keys.announcementOf(after, before)
    return await this.#link.run(list, (client) => client.zscore(list, announcement)) !== null
  }

  /**
   * Takes members off. Of those that are `gone`, by default all, what has run out is told, once; the others were ended
   * by whoever could not take them off.
   */
  async forget (userId: string, members: string[], gone = new Set(members)): Promise<void> {
    if (members.length === 0) return
    const past = await this.#script(forgetScript, userId, ...members) as string[]
    this.#tellExpired(userId, past.filter((member) => gone.has(member)))
  }

  #placeOf (before: Began): Place {
    return { createdAt: Math.floor(before.createdAt), member: before.id === '' ? '' : this.#keys.memberOf(before) }
  }

  async #add (userId: string, member: string, score: number | string): Promise<void> {
    this.#tellExpired(userId, await this.#script(listScript, userId, member, score) as string[])
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

  /** Half a millisecond says that no limit counts it. */
  #score (record: SessionRecord): number | string {
    const isBearer = record.kind === 'bearer'
    if (this.#persist) return isBearer ? NEVER : '+inf'
    return Math.ceil(this.#untilEnd ? record.endsAt : expiresAt(record)) + LIST_SLACK_MS + (isBearer ? 0.5 : 0)
  }
}

/** As the scripts have it. */
function newestFirst (one: Place, other: Place): number {
  return other.createdAt - one.createdAt || (one.member < other.member ? -1 : Number(one.member > other.member))
}
