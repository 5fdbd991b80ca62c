/** How many items one call takes out at most: where many are due at once, no caller waits for all of them. */
export const PORTION = 100

/** An item of a queue. Both members are the queue's to change. */
export interface Due {
  /** When it is due. */
  dueAt: number
  /** Where it stands in the queue; -1 where it does not. */
  slot: number
}

/**
 * Items in the order in which they are due: a binary heap in which each item knows its place. Every call takes a time
 * that grows with the logarithm of how many there are.
 */
export class DueQueue<T extends Due> {
  readonly #items: T[] = []

  /** Puts an item in, or moves one that is in it to where `dueAt` says. */
  set (item: T, dueAt: number): void {
    item.dueAt = dueAt
    if (item.slot === -1) item.slot = this.#items.push(item) - 1
    this.#settle(item)
  }

  /** Takes an item out. Nothing happens when it is not in. */
  delete (item: T): void {
    const last = this.#items.at(-1)
    if (item.slot === -1 || last === undefined) return
    this.#items.pop()
    if (last !== item) {
      this.#place(last, item.slot)
      this.#settle(last)
    }
    item.slot = -1
  }

  /** Takes out what is due at `now`, a portion of it at most. */
  takeDue (now: number): T[] {
    const taken: T[] = []
    for (let [first] = this.#items; first !== undefined && first.dueAt <= now && taken.length < PORTION; [first] = this.#items) {
      this.delete(first)
      taken.push(first)
    }
    return taken
  }

  clear (): void {
    for (const item of this.#items) item.slot = -1
    this.#items.length = 0
  }

  #settle (item: T): void {
    for (let above = this.#above(item); above !== undefined && item.dueAt < above.dueAt; above = this.#above(item)) this.#swap(item, above)
    for (let below = this.#below(item); below !== undefined && below.dueAt < item.dueAt; below = this.#below(item)) this.#swap(item, below)
  }

  #above ({ slot }: T): T | undefined {
    return slot === 0 ? undefined : this.#items[(slot - 1) >> 1]
  }

  /** The one of the two below that is due first. */
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
