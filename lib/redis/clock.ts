import { pausesSoFar } from '../util/pauses.ts'

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
  /** How often the machine had been paused when Redis was asked. */
  #pauses = pausesSoFar()
  #catchingUp: Promise<void> | undefined

  /** `time` is what TIME answers: seconds, and microseconds of the present one. */
  constructor (time: () => Promise<unknown>) {
    this.#time = time
  }

  /** In milliseconds since 1970. */
  now (): number {
    const now = performance.now()
    if (now - this.#readAt > TRUST_MS) void this.read().catch(() => {})
    return now + this.#offset
  }

  /** Whether the machine has been paused since Redis was asked: `now` is late by as much. */
  get isBehind (): boolean {
    return pausesSoFar() !== this.#pauses
  }

  /** Asks Redis again until `now` is not behind; rejects as asking does. */
  async catchUp (): Promise<void> {
    this.#catchingUp ??= this.#readWhileBehind().finally(() => { this.#catchingUp = undefined })
    await this.#catchingUp
  }

  async read (): Promise<void> {
    const pauses = pausesSoFar()
    const sentAt = performance.now()
    this.#readAt = sentAt
    const [seconds, micros] = await this.#time() as [string, string]
    const answeredAt = performance.now()
    if (answeredAt - sentAt > ANSWER_MS && this.#isRead && pauses === this.#pauses) return
    const redisMs = Number(seconds) * 1000 + Number(micros) / 1000
    this.#offset = redisMs - (sentAt + answeredAt) / 2
    this.#isRead = true
    // One while it was on its way shows as another.
    this.#pauses = pauses
  }

  async #readWhileBehind (): Promise<void> {
    while (this.isBehind) await this.read()
  }
}
