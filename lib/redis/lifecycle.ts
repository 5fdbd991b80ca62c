import { errors } from '../errors.ts'
import type { SessionRecord } from '../session/record.ts'
import { LIST_LIMIT } from '../session/store.ts'
import type {
  BeginOptions, Change, DeleteByUserOptions, DeleteOptions, Limit, MoveOptions, ReplaceOptions
} from '../session/store.ts'
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

  async begin (record: SessionRecord, { limit = null }: BeginOptions): Promise<SessionRecord | null> {
    return await this.#beginning(record, {}, async (confirmation) => {
      const evicted = await this.#list(record, { limit })
      if (evicted === null) return null
      await this.#evict(record.userId, evicted, confirmation)
      return record
    })
  }

  async replace (
    record: SessionRecord, old: SessionRecord, { carry, limit = null }: ReplaceOptions
  ): Promise<SessionRecord | null> {
    return await this.#beginning(record, { old }, async (confirmation) => {
      const evicted = await this.#list(record, { limit, replaces: old })
      if (evicted === null) return null
      await this.#evict(record.userId, evicted, confirmation)
      const ended = await this.#taking.take(old.id, confirmation)
      this.#gone(old.userId, this.#keys.memberOf(old), ended, 'replaced')
      return ended === null ? record : await this.#carried(record, { old, ended, carry })
    })
  }

  async move (record: SessionRecord, old: SessionRecord, { carry }: MoveOptions): Promise<SessionRecord | null> {
    return await this.#beginning(record, { old, from: old }, async (confirmation) => {
      if (await this.#lists.confirm(record, { from: old }) === null) return null
      await assured(confirmation)
      const ended = await this.#records.leave(old.id, record.id)
      this.#gone(old.userId, this.#keys.memberOf(old), ended, 'replaced')
      return ended === null ? null : await this.#carried(record, { old, ended, carry })
    })
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

  /**
   * Writes a session that nobody finds, and makes it live once `finish` has listed it and ended what has to end for it.
   * `finish` returns the session as it is to be, `null` when it may not begin. `old`: the session that ends for it.
   * `from`: the session that goes on in it.
   */
  async #beginning (
    record: SessionRecord, { old, from = null }: { old?: SessionRecord, from?: SessionRecord | null },
    finish: (confirmation: Confirmation) => Promise<SessionRecord | null>
  ): Promise<SessionRecord | null> {
    const confirmation = await this.#taking.confirmationOf([record.id, old?.id], [record.userId, old?.userId])
    try {
      await Promise.all([this.#lists.announce(record, from), this.#records.setPending(record, 'NX')])
      const stored = await finish(confirmation)
      const isLive = stored !== null && await this.#records.activate(record)
      if (!isLive) await this.#undo(record, from)
      // Not waited for: an announcement goes by itself.
      else if (from !== null) void this.#lists.withdraw(record, from).catch(() => {})
      await confirmation.wait()
      return isLive ? stored : null
    } catch (error) {
      // Best effort: what is left expires within PENDING_MS, and nobody holds its token.
      void this.#undo(record, from).catch(() => {})
      throw error
    }
  }

  /** Returns a new session as it is to be, written again where the data of the one before it had changed. */
  async #carried (
    record: SessionRecord,
    { old, ended, carry }: { old: SessionRecord, ended: SessionRecord, carry: Change | undefined }
  ): Promise<SessionRecord> {
    if (ended.data === old.data || carry === undefined) return record
    const stored = { ...record, data: carry(ended.data) }
    await this.#records.setPending(stored, 'XX')
    return stored
  }

  /** Lists a login that is under way; it stays so, and can be called off, until that is decided. */
  async #list (
    record: SessionRecord, options: { limit: Limit | null, replaces?: SessionRecord }
  ): Promise<string[] | null> {
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

  /** Ends the sessions that a new one makes too many. */
  async #evict (userId: string | null, members: string[], confirmation: Confirmation): Promise<void> {
    await assured(confirmation)
    await confirmation.extend(members.map((member) => this.#keys.session(this.#keys.idOfMember(member))))
    await Promise.all(members.map(async (member) => {
      const id = this.#keys.idOfMember(member)
      const isOthers = userId !== null && await this.#records.isOthers(id, userId)
      const ended = isOthers ? null : await this.#taking.take(id, confirmation)
      this.#gone(userId, member, ended, 'evicted')
    }))
  }

  /** Takes off its list, and tells of, a session that went for another; `ended` is `null` where it had gone before. */
  #gone (userId: string | null, member: string, ended: SessionRecord | null, reason: 'evicted' | 'replaced'): void {
    // Not waited for: a list may hold what is gone.
    if (userId !== null) void this.#lists.removeMember(userId, member).catch(() => {})
    if (ended?.userId != null) this.#onEnded(ended.id, ended.userId, reason)
  }

  /** Takes back what was written of a session that does not begin. */
  async #undo (record: SessionRecord, from: SessionRecord | null): Promise<void> {
    await Promise.all([this.#lists.withdraw(record, from), this.#records.take(record.id)])
    await this.#lists.remove(record)
  }
}

/**
 * Waits, before anything ends, for what confirms a new session: where nobody does, nobody is signed out, and nothing is
 * left that would not go by itself.
 * @throws ERR_SESSION_STORE_UNAVAILABLE
 */
async function assured (confirmation: Confirmation): Promise<void> {
  await confirmation.wait().catch(() => { throw new errors.STORE_UNAVAILABLE() })
}
