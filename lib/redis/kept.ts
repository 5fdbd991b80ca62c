import type { Records } from './records.ts'
import type { UserLists } from './user-lists.ts'

export interface KeptParts {
  userId: string
  records: Records
  lists: UserLists
  /** Ids to which it is on its way. */
  onItsWayTo: string[]
}

/**
 * The session that goes on while all others of its user end, however often it goes on under another id meanwhile. It
 * keeps the moment in which it began.
 */
export class Kept {
  readonly #userId: string
  readonly #records: Records
  readonly #lists: UserLists
  readonly #ids: Set<string>
  /** The last id that it is known to have had. */
  #last: string
  #createdAt: number | null = null

  private constructor (id: string, { userId, records, lists, onItsWayTo }: KeptParts) {
    this.#userId = userId
    this.#records = records
    this.#lists = lists
    this.#ids = new Set([id, ...onItsWayTo])
    this.#last = id
  }

  static async of (id: string, parts: KeptParts): Promise<Kept> {
    const kept = new Kept(id, parts)
    await kept.follow()
    for (const each of kept.#ids) kept.#createdAt ??= (await parts.records.find(each))?.createdAt ?? null
    return kept
  }

  /** Follows it. What it moved to is remembered for ten seconds: to be called again within that time. */
  async follow (): Promise<void> {
    for (const seen = new Set<string>(); !seen.has(this.#last);) {
      seen.add(this.#last)
      this.#last = await this.#records.successor(this.#last) ?? this.#last
      this.#ids.add(this.#last)
    }
  }

  /** Whether it is this one. */
  async is (id: string, createdAt: number): Promise<boolean> {
    if (this.#ids.has(id) || createdAt !== this.#createdAt) return this.#ids.has(id)
    await this.follow()
    // In this order: when it is not on its way any more, what it moved to is known.
    if (await this.#lists.isMoving({ userId: this.#userId, createdAt }, this.#last, id)) this.#ids.add(id)
    else await this.follow()
    return this.#ids.has(id)
  }
}
