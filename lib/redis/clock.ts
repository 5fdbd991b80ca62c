import { pausesSoFar } from '../util/pauses.ts'
import { CLOCK_ANSWER_MS, CLOCK_TRUST_MS } from '../util/timings.ts'

/** Redis' time: read now and then, and carried on by this process's monotonic clock. */
export class RedisClock {
  readonly #time: () => Promise<unknown>
  #offset = performance.timeOrigin
  #readAt = -Infinity
  #isRead = false
  /** How often the machine had been paused when Redis was asked. */
  #pauses = pausesSoFar()
  #catchingUp: Promise<void> | undefined

  /** `time` asks Redis. TIME answers seconds, and microseconds of the current second. */
  constructor (time: () => Promise<unknown>) {
    this.#time = time
  }

  /** Redis' time, in milliseconds since 1970. */
  now (): number {
    const now = performance.now()
    if (now - this.#readAt > CLOCK_TRUST_MS) void this.read().catch(() => {})
    return now + this.#offset
  }

  /** Whether the machine has been paused since Redis was asked. `now` is then late by as much. */
  get isBehind (): boolean {
    return pausesSoFar() !== this.#pauses
  }

  /** Asks Redis until `now` is not behind. Rejects as asking does. */
  async catchUp (): Promise<void> {
    this.#catchingUp ??= this.#readWhileBehind().finally(() => { this.#catchingUp = undefined })
    await this.#catchingUp
  }

  /** Asks Redis once. Rejects as asking does. */
  async read (): Promise<void> {
    const pauses = pausesSoFar()
    const sentAt = performance.now()
    this.#readAt = sentAt
    const [seconds, micros] = await this.#time() as [string, string]
    const answeredAt = performance.now()
    if (answeredAt - sentAt > CLOCK_ANSWER_MS && this.#isRead && pauses === this.#pauses) return
    const redisMs = Number(seconds) * 1000 + Number(micros) / 1000
    this.#offset = redisMs - (sentAt + answeredAt) / 2
    this.#isRead = true
    // A pause after the question was sent counts as a new one.
    this.#pauses = pauses
  }

  async #readWhileBehind (): Promise<void> {
    while (this.isBehind) await this.read()
  }
}
