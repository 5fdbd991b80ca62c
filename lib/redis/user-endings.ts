import type { SessionRecord } from '../session/record.ts'
import type { Began, EndMark } from '../session/store.ts'
import type { Keys } from './keys.ts'
import type { Records } from './records.ts'
import type { Confirmation } from './replication.ts'
import type { ReplicatedEnds } from './replicated-ends.ts'
import type { UserLists } from './user-lists.ts'

/** How many sessions are ended at a time, between which others have their turn. */
const AT_ONCE = 100

/** Outcome for a session on a user's list: the session that ended; `null` if it was gone; `'other'`: not theirs. */
type Outcome = SessionRecord | null | 'other'

/** How the sessions of a list are ended. */
export interface EndingOptions {
  /** The id of a session that goes on. */
  readonly except?: string | undefined
  /** Ends only sessions that began up to this time. */
  readonly before?: number | undefined
  /** What is to be remembered of each end. */
  readonly mark?: EndMark | undefined
  /** Called with the sessions that have ended, portion by portion. */
  readonly onEnded: (ended: SessionRecord[]) => void
}

/**
 * Ends all sessions of a list, those that began last first: what begins meanwhile is newer than all that is still to
 * end. What has ended comes off the list, portion by portion.
 */
export class UserEndings {
  readonly #keys: Keys
  readonly #records: Records
  readonly #lists: UserLists
  readonly #others: UserLists
  readonly #ends: ReplicatedEnds

  /** `others`: the lists that its sessions are on as well. */
  constructor ({ keys, records, lists, others, ends }: EndingParts) {
    this.#keys = keys
    this.#records = records
    this.#lists = lists
    this.#others = others
    this.#ends = ends
  }

  /** Ends the sessions on a list. Resolves with those that ended. */
  async end (name: string, { except, before, mark, onEnded }: EndingOptions): Promise<SessionRecord[]> {
    const confirmation = await this.#ends.confirmationOf([], [this.#lists.keyOf(name)])
    const { called, spared } = await this.#lists.callOff(name, except)
    const parts = { name, records: this.#records, lists: this.#lists, onItsWayTo: spared }
    const survivor = except === undefined ? null : await SurvivingSession.of(except, parts)
    const ended: SessionRecord[] = []
    const tell = (records: SessionRecord[]): void => {
      ended.push(...records)
      onEnded(records)
    }
    const endAll = async (members: string[]): Promise<boolean> => {
      await survivor?.follow()
      const isAnyGone = await this.#endEach(name, members, { survivor, confirmation, mark, tell })
      onEnded([])
      return isAnyGone
    }
    // The process that began one of these undoes it. Where that was broken off, this does.
    while (called.length > 0) await endAll(called.splice(0, AT_ONCE))
    for (let last: Began | undefined = before === undefined ? undefined : { id: '', createdAt: before }; ;) {
      const members = await this.#lists.page(name, { limit: AT_ONCE, before: last })
      if (members === null) {
        onEnded([])
        continue
      }
      const isAnyGone = await endAll(members)
      if (members.length < AT_ONCE) return ended
      const { id, createdAt } = this.#keys.beganOf(members.at(-1) as string)
      // Of those that began in the same millisecond one may have moved to before it meanwhile.
      last = { id: isAnyGone ? '' : id, createdAt }
    }
  }

  /**
   * Ends the sessions of these members, and takes them off the list. Resolves with whether any is gone by now. Calls
   * `tell` with those that lived, also where the end of others fails, or nobody confirms it: who asks again finds them
   * gone.
   */
  async #endEach (name: string, members: string[], { survivor, tell, ...how }: EndEachOptions): Promise<boolean> {
    const outcomes = new Map<string, Outcome>()
    const ending = await Promise.all(members.map(async (member) => {
      const { id, createdAt } = this.#keys.beganOf(member)
      return await survivor?.is(id, createdAt) === true ? [] : [{ member, id }]
    }))
    const all = ending.flat()
    const ends = await Promise.allSettled([...new Set(all.map(({ id }) => id))].map(async (id) => {
      outcomes.set(id, await this.#end(name, id, how))
    }))
    const records = [...outcomes.values()].filter((outcome) => outcome !== null && outcome !== 'other')
    if (records.length > 0) tell(records)
    const failed = ends.find(({ status }) => status === 'rejected')
    if (failed?.status === 'rejected') throw failed.reason
    // Before they come off the list: a caller that asks again, because nobody confirmed, finds them there.
    await how.confirmation.wait()
    const done = all.filter(({ id }) => outcomes.get(id) !== 'other')
    const gone = done.filter(({ id }) => outcomes.get(id) === null)
    await Promise.all([
      this.#lists.forget(name, done.map(({ member }) => member), new Set(gone.map(({ member }) => member))),
      ...records.map(async (record) => await this.#others.remove(record))
    ])
    return done.length > 0
  }

  async #end (
    name: string, id: string, { confirmation, mark }: { confirmation: Confirmation, mark: EndMark | undefined }
  ): Promise<Outcome> {
    if (await this.#records.isOthers(id, name)) return 'other'
    await confirmation.extend([this.#keys.session(id)])
    return await this.#ends.end(id, confirmation, { mark })
  }
}

interface EndEachOptions {
  survivor: SurvivingSession | null
  confirmation: Confirmation
  mark: EndMark | undefined
  tell: (ended: SessionRecord[]) => void
}

interface EndingParts {
  keys: Keys
  records: Records
  lists: UserLists
  others: UserLists
  ends: ReplicatedEnds
}

interface SurvivorParts {
  /** Name of its list. */
  name: string
  records: Records
  lists: UserLists
  /** Ids to which it is moving. */
  onItsWayTo: string[]
}

/**
 * The session that goes on while all others of its user end, however often it goes on under another id meanwhile. It
 * keeps the moment in which it began.
 */
class SurvivingSession {
  readonly #name: string
  readonly #records: Records
  readonly #lists: UserLists
  readonly #ids: Set<string>
  /** Last id that it is known to have had. */
  #last: string
  #createdAt: number | null = null

  private constructor (id: string, { name, records, lists, onItsWayTo }: SurvivorParts) {
    this.#name = name
    this.#records = records
    this.#lists = lists
    this.#ids = new Set([id, ...onItsWayTo])
    this.#last = id
  }

  static async of (id: string, parts: SurvivorParts): Promise<SurvivingSession> {
    const survivor = new SurvivingSession(id, parts)
    await survivor.follow()
    for (const each of survivor.#ids) survivor.#createdAt ??= (await parts.records.find(each))?.createdAt ?? null
    return survivor
  }

  /** Follows its moves. Redis remembers one for an hour: call this again within that time. */
  async follow (): Promise<void> {
    for (const seen = new Set<string>(); !seen.has(this.#last);) {
      seen.add(this.#last)
      this.#last = await this.#records.successor(this.#last) ?? this.#last
      this.#ids.add(this.#last)
    }
  }

  /** Whether a session is this one. */
  async is (id: string, createdAt: number): Promise<boolean> {
    if (this.#ids.has(id) || createdAt !== this.#createdAt) return this.#ids.has(id)
    await this.follow()
    // In this order: when it is not on its way any more, what it moved to is known.
    if (await this.#lists.isMoving(this.#name, createdAt, { from: this.#last, to: id })) this.#ids.add(id)
    else await this.follow()
    return this.#ids.has(id)
  }
}
