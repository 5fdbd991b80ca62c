/** A near-cache, as metrics see it. */
export interface NearCache {
  readonly tally: NearTally
  /** Does not count the last hit: its session is asked for once more. */
  asksAgain (): void
}

/** What a near-cache holds, and has done so far. */
interface NearTally {
  /** Number of sessions that it holds. */
  readonly entries: number
  /** How often it had the session that was asked for. */
  readonly hits: number
  /** How often it had not. */
  readonly misses: number
  /** How often it dropped a session because that had changed, or ended. */
  readonly invalidations: number
}

/** Counts of one registration, for metrics: of what happens too often to be told each time. */
export class Counts {
  /** How often a session was found in this process's memory. */
  found = 0
  /** How often there was one that was not to be found any more, or was not proven. */
  none = 0

  /** Counts an answer from this process's memory, and returns it. */
  known<T> (answer: T | null): T | null {
    if (answer === null) this.none++
    else this.found++
    return answer
  }
}
