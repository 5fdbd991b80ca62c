import type { SessionRecord } from '../session/record.ts'
import type { Began, DeleteByUserOptions } from '../session/store.ts'
import type { Keys } from './keys.ts'
import { Kept } from './kept.ts'
import type { Records } from './records.ts'
import type { Confirmation } from './replication.ts'
import type { Taking } from './taking.ts'
import type { UserLists } from './user-lists.ts'

/** How many sessions are ended at a time, between which others have their turn. */
const AT_ONCE = 100

/** What became of a session on a user's list: `null` was gone, `'other'` is not theirs. */
type Outcome = SessionRecord | null | 'other'

/**
 * Ends all sessions of a user, those that began last first: what begins meanwhile is newer than all that is still to
 * end. What has ended comes off the list, portion by portion.
 */
export class UserEndings {
  readonly #keys: Keys
  readonly #records: Records
  readonly #lists: UserLists
  readonly #taking: Taking

  constructor ({ keys, records, lists, taking }: { keys: Keys, records: Records, lists: UserLists, taking: Taking }) {
    this.#keys = keys
    this.#records = records
    this.#lists = lists
    this.#taking = taking
  }

  async end (userId: string, { except, before, onEnded = () => {} }: DeleteByUserOptions): Promise<string[]> {
    const confirmation = await this.#taking.confirmationOf([], [userId])
    const { called, spared } = await this.#lists.callOff(userId, except)
    const parts = { userId, records: this.#records, lists: this.#lists, onItsWayTo: spared }
    const kept = except === undefined ? null : await Kept.of(except, parts)
    const ended: string[] = []
    const endAll = async (members: string[]): Promise<boolean> => {
      await kept?.follow()
      const { ids, isAnyGone } = await this.#endEach(userId, members, kept, confirmation)
      ended.push(...ids)
      onEnded(ids)
      return isAnyGone
    }
    // Who began one of these would undo it; where that was broken off, this does.
    while (called.length > 0) await endAll(called.splice(0, AT_ONCE))
    for (let last: Began | undefined = before === undefined ? undefined : { id: '', createdAt: before }; ;) {
      const members = await this.#lists.page(userId, { limit: AT_ONCE, before: last })
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

  /** Ends the sessions of these members, and takes them off the list. Gives who lived, and whether any is off. */
  async #endEach (
    userId: string, members: string[], kept: Kept | null, confirmation: Confirmation
  ): Promise<{ ids: string[], isAnyGone: boolean }> {
    const outcomes = new Map<string, Outcome>()
    const ending = await Promise.all(members.map(async (member) => {
      const { id, createdAt } = this.#keys.beganOf(member)
      return await kept?.is(id, createdAt) === true ? [] : [{ member, id }]
    }))
    const all = ending.flat()
    await Promise.all([...new Set(all.map(({ id }) => id))].map(async (id) => {
      outcomes.set(id, await this.#end(userId, id, confirmation))
    }))
    // Before what is done comes off the list: who asks again because nobody confirmed finds it there.
    await confirmation.wait()
    const done = all.filter(({ id }) => outcomes.get(id) !== 'other')
    const gone = done.filter(({ id }) => outcomes.get(id) === null)
    await this.#lists.forget(userId, done.map(({ member }) => member), new Set(gone.map(({ member }) => member)))
    const ids = [...outcomes.values()].flatMap((outcome) => outcome === null || outcome === 'other' ? [] : [outcome.id])
    return { ids, isAnyGone: done.length > 0 }
  }

  async #end (userId: string, id: string, confirmation: Confirmation): Promise<Outcome> {
    if (await this.#records.isOthers(id, userId)) return 'other'
    await confirmation.extend([this.#keys.session(id)])
    return await this.#taking.take(id, confirmation)
  }
}
