import { errors } from '../errors.ts'
import type { SessionRecord } from '../session/record.ts'
import { LIST_LIMIT } from '../session/store.ts'
import type { Change, CreateOptions, DeleteByUserOptions, DeleteOptions, Limit } from '../session/store.ts'
import type { Keys } from './keys.ts'
import type { Records } from './records.ts'
import type { Confirmation, Replication } from './replication.ts'
import { Taking } from './taking.ts'
import { UserEndings } from './user-endings.ts'
import type { UserLists } from './user-lists.ts'

export interface LifecycleParts {
  keys: Keys
  records: Records
  lists: UserLists
  /** Who confirms what is begun and ended; `null`: the master alone. */
  replication: Replication | null
  onEnded: (id: string, userId: string, reason: 'replaced' | 'evicted') => void
}

/**
 * How sessions begin and end: steps over keys of several Cluster slots, in an order that holds wherever it is
 * cut short and whatever crosses it. `RedisStore` lists the commands.
 */
export class Lifecycle {
  readonly #keys: Keys
  readonly #records: Records
  readonly #lists: UserLists
  readonly #taking: Taking
  readonly #userEndings: UserEndings
  readonly #onEnded: LifecycleParts['onEnded']

  constructor ({ keys, records, lists, replication, onEnded }: LifecycleParts) {
    this.#keys = keys
    this.#records = records
    this.#lists = lists
    this.#taking = new Taking({ keys, records, replication })
    this.#userEndings = new UserEndings({ keys, records, lists, taking: this.#taking })
    this.#onEnded = onEnded
  }

  async create (record: SessionRecord, { replaces = null, moves = false, carry, limit = null }: CreateOptions): Promise<SessionRecord | null> {
    const isOverwritten = replaces?.id === record.id
    const from = moves && !isOverwritten ? replaces : null
    const confirmation = await this.#taking.confirmationOf([record.id, replaces?.id], [record.userId, replaces?.userId])
    try {
      await Promise.all([this.#lists.announce(record, from), this.#records.setPending(record, 'NX')])
      const tooMany = await this.#list(record, { replaces, from, limit: moves ? null : limit })
      // Before anything ends: where nobody confirms, nobody is signed out, and nothing is left that would not go by itself.
      if (tooMany !== null) await confirmation.wait().catch(() => { throw new errors.STORE_UNAVAILABLE() })
      await confirmation.extend((tooMany ?? []).map((member) => this.#keys.session(this.#keys.idOfMember(member))))
      await Promise.all((tooMany ?? []).map(async (member) => await this.#end(record.userId, member, 'evicted', { confirmation })))
      const stored = tooMany === null || replaces === null || isOverwritten ? record : await this.#replace(replaces, record, { carry, moves, confirmation })
      const live = tooMany !== null && stored !== null && await this.#records.activate(record, { onto: isOverwritten })
      if (live && isOverwritten && (replaces.userId !== record.userId || this.#keys.memberOf(replaces) !== this.#keys.memberOf(record))) await this.#lists.remove(replaces)
      if (!live) await this.#undo(record, { isOverwritten, from })
      // Not waited for: an announcement goes by itself.
      else if (from !== null) void this.#lists.withdraw(record, from).catch(() => {})
      await confirmation.wait()
      return live ? stored : null
    } catch (error) {
      // Best effort: what is left expires within PENDING_MS, and nobody holds its token.
      void this.#undo(record, { isOverwritten, from }).catch(() => {})
      throw error
    }
  }

  async delete (id: string, options?: DeleteOptions): Promise<SessionRecord | null> {
    const confirmation = await this.#taking.confirmationOf([id])
    const ended = await this.#taking.take(id, confirmation, options)
    await confirmation.wait()
    // Not before: who asks again because nobody confirmed finds it there.
    if (ended !== null) await this.#lists.remove(ended)
    return ended
  }

  async deleteByUser (userId: string, options: DeleteByUserOptions): Promise<string[]> {
    return await this.#userEndings.end(userId, options)
  }

  /** Deletes what is under an id, and no session of ours. */
  async discard (id: string): Promise<void> {
    await this.#taking.discard(id)
  }

  /** Ends the session that another one replaces. Gives that one as it is to be, or `null` when it may not begin. */
  async #replace (replaces: SessionRecord, record: SessionRecord, { carry, moves, confirmation }: { carry: Change | undefined, moves: boolean, confirmation: Confirmation }): Promise<SessionRecord | null> {
    const ended = await this.#end(replaces.userId, this.#keys.memberOf(replaces), 'replaced', { confirmation, movesTo: moves ? record.id : null })
    if (ended === null && moves) return null
    if (ended === null || ended.data === replaces.data || carry === undefined) return record
    const carrying = { ...record, data: carry(ended.data) }
    await this.#records.setPending(carrying, 'XX')
    return carrying
  }

  /** Lists a login that is under way; it stays so, and can be called off, until that is decided. */
  async #list (record: SessionRecord, options: { replaces: SessionRecord | null, from: SessionRecord | null, limit: Limit | null }): Promise<string[] | null> {
    const { limit } = options
    try {
      return await this.#lists.confirm(record, { ...options, limit: limit === null ? null : { ...limit, evicts: false } })
    } catch (error) {
      if (!(error instanceof errors.LIMIT_REACHED) || record.userId === null) throw error
      await this.#look(record.userId, limit?.max ?? 0)
      return await this.#lists.confirm(record, options)
    }
  }

  /**
   * The list may count what is gone, for which nobody has to go: takes that off, until the newest are there, as many as
   * the limit lets live (and the one that is replaced). Whatever is older is too much, or gone.
   */
  async #look (userId: string, max: number): Promise<void> {
    for (;;) {
      const members = await this.#lists.page(userId, { limit: Math.min(max + 1, LIST_LIMIT), cookies: true })
      if (members === null) continue
      const idOf = (member: string): string => this.#keys.idOfMember(member)
      const missing = new Set(await this.#records.missing(userId, members.map(idOf)))
      if (missing.size === 0) return
      await this.#lists.forget(userId, members.filter((member) => missing.has(idOf(member))))
    }
  }

  /** Ends a session that has to go for another. */
  async #end (userId: string | null, member: string, reason: 'evicted' | 'replaced', { confirmation, movesTo = null }: { confirmation: Confirmation, movesTo?: string | null }): Promise<SessionRecord | null> {
    const id = this.#keys.idOfMember(member)
    const spared = reason === 'evicted' && userId !== null && await this.#records.isOthers(id, userId)
    const ended = spared ? null : movesTo === null ? await this.#taking.take(id, confirmation) : await this.#records.leave(id, movesTo)
    // Not waited for: a list may hold what is gone.
    if (userId !== null) void this.#lists.removeMember(userId, member).catch(() => {})
    if (ended?.userId != null) this.#onEnded(ended.id, ended.userId, reason)
    return ended
  }

  /** A login has failed. Under its own id its predecessor lives on, and stays listed, unless it was ended. */
  async #undo (record: SessionRecord, { isOverwritten, from }: { isOverwritten: boolean, from: SessionRecord | null }): Promise<void> {
    await Promise.all([this.#lists.withdraw(record, from), isOverwritten ? this.#records.deletePending(record.id) : this.#records.take(record.id)])
    if (!isOverwritten) await this.#lists.remove(record)
    else if (!await this.#records.exists(record.id)) await this.#lists.remove(record)
  }
}
