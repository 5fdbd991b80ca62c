/** How long an offset between our clock and Redis' is trusted. */
const TRUST_MS = 60_000
/** An answer that took longer says too little about the time: it may be wrong by half of that. */
const ANSWER_MS = 100

/** Redis' time, asked for now and then and carried on by this process's monotonic clock. */
export class RedisClock {
  readonly #time: () => Promise<unknown>
  #offset = performance.timeOrigin
  #readAt = -Infinity
  #isRead = false

  /** `time` is what TIME answers: seconds, and microseconds of the present one. */
  constructor (time: () => Promise<unknown>) {
    this.#time = time
  }

  /** In milliseconds since 1970. */
  now (): number {
    if (performance.now() - this.#readAt > TRUST_MS) void this.read().catch(() => {})
    return performance.now() + this.#offset
  }

  async read (): Promise<void> {
    const sentAt = performance.now()
    this.#readAt = sentAt
    const [seconds, micros] = await this.#time() as [string, string]
    const answeredAt = performance.now()
    if (answeredAt - sentAt > ANSWER_MS && this.#isRead) return
    const redisMs = Number(seconds) * 1000 + Number(micros) / 1000
    this.#offset = redisMs - (sentAt + answeredAt) / 2
    this.#isRead = true
  }
}
