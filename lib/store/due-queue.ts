/** Most items that one call removes: where many are due at once, no caller waits for all of them. */
export const PORTION = 100

/** An item of a queue. Only the queue changes these members. */
export interface Due {
  /** The time when it is due. */
  dueAt: number
  /** Its place in the queue, or -1 while it is in none. */
  slot: number
}

/**
 * A queue of items in the order in which they are due: a binary heap in which each item knows its place. The time of a
 * call grows with the logarithm of the number of items.
 */
export class DueQueue<T extends Due> {
  readonly #items: T[] = []

  /** Adds an item, or moves it to the place for a new `dueAt`. */
  set (item: T, dueAt: number): void {
    item.dueAt = dueAt
    if (item.slot === -1) item.slot = this.#items.push(item) - 1
    this.#sift(item)
  }

  /** Removes an item. Nothing happens when it is not in the queue. */
  delete (item: T): void {
    const last = this.#items.at(-1)
    if (item.slot === -1 || last === undefined) return
    this.#items.pop()
    if (last !== item) {
      this.#place(last, item.slot)
      this.#sift(last)
    }
    item.slot = -1
  }

  /** Removes items that are due at `now`, a portion of them at most. Returns them. */
  removeDue (now: number): T[] {
    const due: T[] = []
    for (let [first] = this.#items; first !== undefined && first.dueAt <= now; [first] = this.#items) {
      if (due.length === PORTION) break
      this.delete(first)
      due.push(first)
    }
    return due
  }

  /** Removes all items. */
  clear (): void {
    for (const item of this.#items) item.slot = -1
    this.#items.length = 0
  }

  /** Moves an item up or down, to where it is in order. */
  #sift (item: T): void {
    for (let above = this.#above(item); above !== undefined && item.dueAt < above.dueAt; above = this.#above(item)) {
      this.#swap(item, above)
    }
    for (let below = this.#below(item); below !== undefined && below.dueAt < item.dueAt; below = this.#below(item)) {
      this.#swap(item, below)
    }
  }

  #above ({ slot }: T): T | undefined {
    return slot === 0 ? undefined : this.#items[(slot - 1) >> 1]
  }

  /** Returns the one of the two below that is due first. */
  #below ({ slot }: T): T | undefined {
    const [left, right] = [this.#items[2 * slot + 1], this.#items[2 * slot + 2]]
    return left !== undefined && right !== undefined && right.dueAt < left.dueAt ? right : left
  }

  #swap (one: T, other: T): void {
    const { slot } = one
    this.#place(one, other.slot)
    this.#place(other, slot)
  }

  #place (item: T, slot: number): void {
    item.slot = slot
    this.#items[slot] = item
  }
}
