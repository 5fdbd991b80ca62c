import type { SessionRecord } from '../session/record.ts'
import type { EndMark, EndRecord } from '../session/store.ts'

/** Most ends that are remembered. */
const MOST = 10_000

/** How sessions ended, for as long as each is to be remembered: the last ten thousand. */
export class EndMarks {
  readonly #marks = new Map<string, { end: EndRecord, until: number }>()

  /** Remembers an end, and forgets old ones. */
  add ({ id, userId, secretHash, kind }: SessionRecord, mark: EndMark, now: number): void {
    // The oldest are first.
    for (const [each, { until }] of this.#marks) {
      if (until > now && this.#marks.size < MOST) break
      this.#marks.delete(each)
    }
    const { forMs, reason, statedReason = null, actor = null } = mark
    const end = Object.freeze({ secretHash, kind, userId, reason, at: Math.floor(now), statedReason, actor })
    this.#marks.set(id, { end, until: now + forMs })
  }

  /** Returns how a session ended, or `null`. */
  of (id: string, now: number): EndRecord | null {
    const mark = this.#marks.get(id)
    return mark === undefined || mark.until <= now ? null : mark.end
  }

  clear (): void {
    this.#marks.clear()
  }
}
