import { errors } from '../errors.ts'
import { expiresAt, withTimeouts } from '../session/record.ts'
import type { NewTimeouts, SessionKind, SessionRecord } from '../session/record.ts'
import { LIST_LIMIT } from '../session/store.ts'
import type {
  BeginOptions, DeleteByIdpOptions, DeleteByUserOptions, DeleteOptions, Ended, EndMark, Limit, MoveOptions,
  ReplaceOptions
} from '../session/store.ts'
import { carried, haveSameTimeouts, moved } from '../store/user-sessions.ts'
import type { Keys } from './keys.ts'
import type { Records } from './records.ts'
import type { Confirmation, Replication } from './replication.ts'
import { ReplicatedEnds } from './replicated-ends.ts'
import type { OneServer } from './one-server.ts'
import { SignIns } from './sign-ins.ts'
import type { SignedIn, SignInOptions } from './sign-ins.ts'
import { UserEndings } from './user-endings.ts'
import type { UserLists } from './user-lists.ts'

export interface LifecycleParts {
  keys: Keys
  records: Records
  lists: UserLists
  /** The lists of sessions by their session at an identity provider. */
  idpLists: UserLists
  /** Has replicas confirm beginnings and ends; `null`: the master alone does. */
  replication: Replication | null
  /** Where sessions may begin by one script; `null`: nowhere. */
  oneServer: OneServer | null
  /** An anonymous session has ended for another. */
  onDropped: (id: string) => void
  onEnded: (id: string, userId: string, reason: 'replaced' | 'evicted' | 'expired', kind: SessionKind) => void
}

/**
 * How sessions begin and end: steps over keys of several Cluster slots, in an order that holds wherever it is
 * cut short and whatever crosses it. Where one server has all keys, one script does what it can. `RedisStore` lists the
 * commands.
 */
export class Lifecycle {
  readonly #keys: Keys
  readonly #records: Records
  readonly #lists: UserLists
  readonly #idpLists: UserLists
  readonly #ends: ReplicatedEnds
  readonly #userEndings: UserEndings
  readonly #idpEndings: UserEndings
  readonly #signIns: SignIns | null
  readonly #onDropped: LifecycleParts['onDropped']
  readonly #onEnded: LifecycleParts['onEnded']

  constructor ({ keys, records, lists, idpLists, replication, oneServer, onDropped, onEnded }: LifecycleParts) {
    this.#keys = keys
    this.#records = records
    this.#lists = lists
    this.#idpLists = idpLists
    this.#ends = new ReplicatedEnds({ keys, records, replication })
    const parts = { keys, records, ends: this.#ends }
    this.#userEndings = new UserEndings({ ...parts, lists, others: idpLists })
    this.#idpEndings = new UserEndings({ ...parts, lists: idpLists, others: lists })
    this.#signIns = oneServer === null ? null : new SignIns(oneServer, { keys, records, lists, idpLists })
    this.#onDropped = onDropped
    this.#onEnded = onEnded
  }

  async begin (record: SessionRecord, { limit = null, markForMs }: BeginOptions): Promise<SessionRecord | null> {
    const begun = this.#beginsAtOnce ? await this.#beginAtOnce(record, { limit, markForMs }) : undefined
    if (begun !== undefined) return begun
    return await this.#beginning(record, {}, async (confirmation) => {
      const evicted = await this.#list(record, { limit })
      if (evicted === null) return null
      await this.#evict(record.userId, evicted, { confirmation, markForMs })
      return record
    })
  }

  async replace (
    record: SessionRecord, old: SessionRecord, { carry, limit = null, markForMs }: ReplaceOptions
  ): Promise<SessionRecord | null> {
    const options = { old, carry, limit, markForMs }
    const begun = this.#beginsAtOnce ? await this.#beginAtOnce(record, options) : undefined
    if (begun !== undefined) return begun
    return await this.#beginning(record, { old }, async (confirmation) => {
      const evicted = await this.#list(record, { limit, replaces: old })
      if (evicted === null) return null
      await this.#evict(record.userId, evicted, { confirmation, markForMs })
      const ended = await this.#ends.end(old.id, confirmation, { mark: markOf('replaced', markForMs) })
      this.#noteEnded(old.userId, this.#keys.memberOf(old), ended, 'replaced')
      return ended === null ? record : await this.#rewritten(record, carried(record, { old, ended, carry }))
    })
  }

  async move (
    record: SessionRecord, old: SessionRecord, { carry, markForMs }: MoveOptions
  ): Promise<SessionRecord | null> {
    const options = { old, moves: true, carry, markForMs }
    const begun = this.#beginsAtOnce ? await this.#beginAtOnce(record, options) : undefined
    if (begun !== undefined) return begun
    return await this.#beginning(record, { old, from: old }, async (confirmation) => {
      if (await this.#lists.confirm(record, { from: old }) === null) return null
      await assured(confirmation)
      const ended = await this.#records.leave(old.id, record.id, markForMs)
      this.#noteEnded(old.userId, this.#keys.memberOf(old), ended, 'replaced')
      if (ended === null) return null
      return await this.#rewritten(record, moved(record, { old, ended, carry }))
    })
  }

  async setTimeouts (record: SessionRecord, timeouts: NewTimeouts): Promise<SessionRecord | null> {
    const confirmation = await this.#ends.confirmationOf([record.id])
    for (let present = record; ;) {
      const asked = withTimeouts(present, timeouts)
      // The list first, and again if the session was used meanwhile: it never knows an id for shorter.
      await this.#extend(asked)
      const outcome = await this.#records.setTimeouts(record.id, timeouts, expiresAt(asked))
      if (outcome === null) {
        await this.#unlist(record)
        return null
      }
      present = outcome.session
      if (outcome.status === 'untold') continue
      await confirmation.wait()
      if (outcome.status === 'set') return present
      await this.#unlist(present)
      if (present.userId !== null) this.#onEnded(present.id, present.userId, 'expired', present.kind)
      return null
    }
  }

  async bind (record: SessionRecord, boundKey: string): Promise<SessionRecord | null> {
    const confirmation = await this.#ends.confirmationOf([record.id])
    const stored = await this.#records.bind(record, boundKey)
    if (stored !== null) await confirmation.wait()
    return stored
  }

  async delete (id: string, options?: DeleteOptions): Promise<SessionRecord | null> {
    const confirmation = await this.#ends.confirmationOf([id])
    const ended = await this.#ends.end(id, confirmation, options)
    await confirmation.wait()
    // Not before: a caller that asks again, because nobody confirmed, finds it there.
    if (ended !== null) await this.#unlist(ended)
    return ended
  }

  async deleteByUser (userId: string, options: DeleteByUserOptions): Promise<string[]> {
    const idsOf = (ended: SessionRecord[]): string[] => ended.map(({ id }) => id)
    const onEnded = (ended: SessionRecord[]): void => options.onEnded?.(idsOf(ended), ended.map(({ kind }) => kind))
    return idsOf(await this.#userEndings.end(userId, { ...options, onEnded }))
  }

  async deleteByIdp (idp: string, { before, mark, onEnded = () => {} }: DeleteByIdpOptions): Promise<Ended[]> {
    return await this.#idpEndings.end(idp, { before, mark, onEnded })
  }

  /** Deletes the value under an id that is no session of ours. */
  async discard (id: string): Promise<void> {
    await this.#ends.discard(id)
  }

  /**
   * Whether one script may do it. Asked without a wait: what is called first is sent first, and a sign-in that was
   * called before its user is signed out everywhere is announced before that.
   */
  get #beginsAtOnce (): boolean {
    return this.#signIns?.arePossible === true
  }

  /** Begins a session of a user by one script. `undefined`: nothing was written, it takes steps. */
  async #beginAtOnce (record: SessionRecord, options: SignInOptions): Promise<SessionRecord | null | undefined> {
    try {
      const done = await this.#signIns?.begin(record, options)
      if (done == null) return undefined
      if (done.status === 'refused') throw new errors.LIMIT_REACHED()
      return done.status === 'gone' ? null : await this.#concluded(record, done, options)
    } catch (error) {
      // Best effort: what is left expires within PENDING_MS, or lives and is listed, and nobody holds its token.
      if (!(error instanceof errors.LIMIT_REACHED)) void this.#undo(record, null).catch(() => {})
      throw error
    }
  }

  /** Reports what ended for a session that has begun, and carries over what the one before it has changed last. */
  async #concluded (
    record: SessionRecord, { status, ended, before }: SignedIn, { old, moves = false, carry }: SignInOptions
  ): Promise<SessionRecord | null> {
    for (const { session, reason } of ended) {
      if (session.userId !== record.userId) void this.#lists.remove(session).catch(() => {})
      void this.#idpLists.remove(session).catch(() => {})
      this.#tellEnded(session, reason)
    }
    if (status === 'live') return record
    let stored: SessionRecord | null = null
    if (old !== undefined && before !== null) {
      const end = { old, ended: before, carry }
      stored = await this.#rewritten(record, moves ? moved(record, end) : carried(record, end))
    } else if (!moves) stored = record
    if (stored !== null && await this.#records.activate(stored)) return stored
    await this.#undo(record, null)
    return null
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
    const lists = [this.#lists, this.#idpLists]
    const keys = lists.flatMap((each) => [record, ...old === undefined ? [] : [old]].flatMap((one) => each.keysOf(one)))
    const confirmation = await this.#ends.confirmationOf([record.id, old?.id], keys)
    try {
      const announced = lists.map((each) => each.announce(record, from))
      await Promise.all([...announced, this.#records.setPending(record, 'NX')])
      // It is listed before it can be used: who ends all of a list from now on ends it.
      const isListed = await this.#idpLists.confirm(record, { from }) !== null
      const stored = isListed ? await finish(confirmation) : null
      const isLive = stored !== null && await this.#records.activate(stored)
      if (!isLive) await this.#undo(record, from)
      // Not waited for: an announcement goes by itself.
      else if (from !== null) void this.#withdraw(record, from).catch(() => {})
      await confirmation.wait()
      return isLive ? stored : null
    } catch (error) {
      // Best effort: what is left expires within PENDING_MS, and nobody holds its token.
      void this.#undo(record, from).catch(() => {})
      throw error
    }
  }

  /** Writes a new session again where the one before it has changed. Returns it. */
  async #rewritten (record: SessionRecord, stored: SessionRecord): Promise<SessionRecord> {
    // It may have been given longer.
    if (!haveSameTimeouts(record, stored)) await this.#extend(stored)
    if (stored !== record) await this.#records.setPending(stored, 'XX')
    return stored
  }

  /** Lists a login that is under way; it stays so, and can be called off, until that is decided. */
  async #list (
    record: SessionRecord, options: { limit: Limit | null, replaces?: SessionRecord }
  ): Promise<string[] | null> {
    const { limit } = options
    try {
      const refusing = limit === null ? null : { ...limit, evicts: false }
      return await this.#lists.confirm(record, { ...options, limit: refusing })
    } catch (error) {
      if (!(error instanceof errors.LIMIT_REACHED) || record.userId === null) throw error
      await this.#forgetMissing(record.userId, limit?.max ?? 0)
      return await this.#lists.confirm(record, options)
    }
  }

  /**
   * Takes sessions that are gone off a list, until the newest are there, as many as the limit lets live (and the one
   * that is replaced). All older ones are too many, or gone. Nobody has to end for a session that is gone.
   */
  async #forgetMissing (userId: string, max: number): Promise<void> {
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
  async #evict (
    userId: string | null, members: string[],
    { confirmation, markForMs }: { confirmation: Confirmation, markForMs: number | undefined }
  ): Promise<void> {
    const mark = markOf('evicted', markForMs)
    await assured(confirmation)
    await confirmation.extend(members.map((member) => this.#keys.session(this.#keys.idOfMember(member))))
    await Promise.all(members.map(async (member) => {
      const id = this.#keys.idOfMember(member)
      const isOthers = userId !== null && await this.#records.isOthers(id, userId)
      const ended = isOthers ? null : await this.#ends.end(id, confirmation, { mark })
      this.#noteEnded(userId, member, ended, 'evicted')
    }))
  }

  /** Takes a session that ended for another off its list, and reports it. `ended`: `null` where it had gone before. */
  #noteEnded (
    userId: string | null, member: string, ended: SessionRecord | null, reason: 'evicted' | 'replaced'
  ): void {
    // Not waited for: a list may hold sessions that are gone.
    if (userId !== null) void this.#lists.removeMember(userId, member).catch(() => {})
    if (ended !== null) void this.#idpLists.remove(ended).catch(() => {})
    if (ended !== null) this.#tellEnded(ended, reason)
  }

  #tellEnded ({ id, userId, kind }: SessionRecord, reason: 'evicted' | 'replaced'): void {
    if (userId === null) this.#onDropped(id)
    else this.#onEnded(id, userId, reason, kind)
  }

  /** Deletes what was written about a session that does not begin. */
  async #undo (record: SessionRecord, from: SessionRecord | null): Promise<void> {
    await Promise.all([this.#withdraw(record, from), this.#records.end(record.id)])
    await this.#unlist(record)
  }

  async #withdraw (record: SessionRecord, from: SessionRecord | null): Promise<void> {
    await Promise.all([this.#lists, this.#idpLists].map(async (each) => await each.withdraw(record, from)))
  }

  /** Keeps a session listed for as long as it is to live. */
  async #extend (record: SessionRecord): Promise<void> {
    await Promise.all([this.#lists, this.#idpLists].map(async (each) => await each.extend(record)))
  }

  /** Takes a session off its lists. */
  async #unlist (record: SessionRecord): Promise<void> {
    await Promise.all([this.#lists, this.#idpLists].map(async (each) => await each.remove(record)))
  }
}

/** Returns what is to be remembered of a session that ends for another. */
function markOf (reason: EndMark['reason'], forMs: number | undefined): EndMark | undefined {
  return forMs === undefined ? undefined : { forMs, reason }
}

/**
 * Waits for the confirmation of a new session, before anything ends for it. Where nobody confirms, nobody is signed
 * out, and what is left goes by itself.
 * @throws ERR_SESSION_STORE_UNAVAILABLE
 */
async function assured (confirmation: Confirmation): Promise<void> {
  await confirmation.wait().catch(() => { throw new errors.STORE_UNAVAILABLE() })
}
