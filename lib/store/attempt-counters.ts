/** At most `max` in any `withinMs` milliseconds. */
export interface AttemptLimit {
  readonly max: number
  readonly withinMs: number
}

/**
 * Counts attempts: under each key those of some time, by the store's clock. Keys, attempts and places are short
 * texts that stand for something; what, no store needs to know. Whatever runs at once, each call is one step, and
 * what counts no more takes no room in the end. Rejects as a store does.
 */
export interface AttemptCounters {
  /**
   * Counts an attempt, for as long as `limit` says, and resolves with 0; or, where as many count already as
   * may, counts nothing and resolves with in how many milliseconds there will be room.
   * From a `place` that this counter knows nothing is counted and nothing refused: 0.
   * Without an attempt (`null`) it is only asked.
   */
  take (key: string, attempt: string | null, limit: AttemptLimit, place?: string): Promise<number>

  /** An attempt that counts no more. Nothing happens when it does not. Works in a full store. */
  giveBack (key: string, attempt: string): Promise<void>

  /** Attempts that count no more: all, or those whose names begin so. Places stay known. Works in a full store. */
  clear (key: string, beginning?: string): Promise<void>

  /** A place is known for `forMs` from now on; of more than `most` those that were remembered last. */
  remember (key: string, place: string, options: { most: number, forMs: number }): Promise<void>
}
