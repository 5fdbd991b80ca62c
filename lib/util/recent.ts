/** Longer texts are worked out anew each time, in characters: nobody is to fill the memory with them. */
const LONGEST = 256

/**
 * What was worked out of a text, remembered for the texts that were asked for last: for `most` of them for certain,
 * and for twice as many at the most.
 */
export class Recent<T> {
  readonly #most: number
  /** When the newer ones are `most` they become the older ones, and those are forgotten. */
  #newer = new Map<string, T>()
  #older = new Map<string, T>()

  constructor (most: number) {
    this.#most = most
  }

  /** What `workOut` gives, now or when this text was asked for before. `null` is not remembered. */
  of (text: string, workOut: (text: string) => T | null): T | null {
    const known = this.#newer.get(text)
    if (known !== undefined) return known
    if (text.length > LONGEST) return workOut(text)
    // A part of a text keeps all of it in memory: here the whole header, with everything that is in it.
    const own = Buffer.from(text).toString()
    const value = this.#older.get(own) ?? workOut(own)
    if (value !== null) this.#add(own, value)
    return value
  }

  #add (text: string, value: T): void {
    if (this.#newer.size >= this.#most) {
      this.#older = this.#newer
      this.#newer = new Map()
    }
    this.#newer.set(text, value)
  }
}
