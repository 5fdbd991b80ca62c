/** Longest text that is remembered by default, in characters: nobody is to fill the memory with longer ones. */
const LONGEST = 256

/**
 * Remembers results computed from texts, for the texts that were used last: for `most` of them at the least, and for
 * twice as many at the most.
 */
export class Recent<T> {
  readonly #most: number
  readonly #longest: number
  /** When there are `most` newer results they become the older ones, and the older ones are forgotten. */
  #newer = new Map<string, T>()
  #older = new Map<string, T>()

  constructor (most: number, longest = LONGEST) {
    this.#most = most
    this.#longest = longest
  }

  /** Returns what `compute` returns, now or when this text was used before. `null` is not remembered. */
  of (text: string, compute: (text: string) => T | null): T | null {
    const known = this.#newer.get(text)
    if (known !== undefined) return known
    if (text.length > this.#longest) return compute(text)
    // A substring keeps the whole text in memory: here the whole header.
    const own = Buffer.from(text).toString()
    const value = this.#older.get(own) ?? compute(own)
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
