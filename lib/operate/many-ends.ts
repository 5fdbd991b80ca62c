import type { SessionRecord } from '../session/record.ts'
import { isUserIdText } from '../session/record.ts'
import type { EndOptions } from '../session/end-cause.ts'
import type { Call } from './command.ts'
import { SCAN_COUNT } from './connection.ts'
import type { Connection } from './connection.ts'
import { assertGoesOn, Failure } from './exit.ts'

/** How many ends are under way at once. */
const AT_ONCE = 16

/**
 * Ends many sessions, page by page, with bounded memory. What has ended is gone from what is looked at, so a run that
 * was broken off is made again, and goes on.
 */
export class ManyEnds {
  /** Sessions that this run has ended. */
  ended = 0
  readonly #call: Call
  readonly #connection: Connection
  readonly #cause: EndOptions
  readonly #running = new Set<Promise<void>>()
  #looked = 0
  #failure: { error: unknown } | undefined

  constructor (call: Call, connection: Connection, cause: EndOptions) {
    this.#call = call
    this.#connection = connection
    this.#cause = cause
  }

  /**
   * Ends all sessions: of each user first, with their logins under way. Sessions that begin meanwhile may go on.
   * @throws Failure
   */
  async all (): Promise<void> {
    const { store, link, keys } = this.#connection
    await this.#said(async () => {
      const startedAt = await store.nowForCertain()
      for await (const page of link.scan(keys.userPattern, SCAN_COUNT)) {
        assertGoesOn(this.#call.surroundings.signal)
        for (const key of page) {
          const userId = keys.userOf(key)
          // Anybody may have written such a key.
          if (userId === null || !isUserIdText(userId)) continue
          this.#look()
          await this.#start(() => this.#endUser(userId))
        }
      }
      await this.#settled()
      // Those of nobody, and those that are on no list.
      await this.#passes(({ createdAt }) => createdAt <= startedAt)
    })
  }

  /**
   * Ends the sessions of users that began before an instant.
   * @throws Failure
   */
  async before (at: number): Promise<void> {
    await this.#said(async () => { await this.#passes(({ userId, createdAt }) => userId !== null && createdAt < at) })
  }

  /** Looks at all sessions, until there is none to end: one that gets a new id meanwhile may be seen under neither. */
  async #passes (isMeant: (record: SessionRecord) => boolean): Promise<void> {
    const { signal } = this.#call.surroundings
    for (let before = -1; before !== this.ended;) {
      before = this.ended
      for await (const record of this.#connection.store.listAll({ signal })) {
        this.#look()
        if (isMeant(record)) await this.#start(() => this.#end(record.id))
      }
      await this.#settled()
      assertGoesOn(signal)
    }
  }

  async #end (id: string): Promise<void> {
    if (await this.#connection.sessions.revoke(id, this.#cause)) this.ended++
  }

  async #endUser (userId: string): Promise<void> {
    const ended = await this.#connection.sessions.revokeUser(userId, this.#cause)
    this.ended += ended
  }

  /** Counts one more that was looked at. @throws Failure when the program is to end */
  #look (): void {
    this.#looked++
    this.#call.output.progress(() => `${this.ended} ended, ${this.#looked} looked at`)
    assertGoesOn(this.#call.surroundings.signal)
  }

  /** Starts a piece of the work, as soon as there is room for it. @throws the error of one before */
  async #start (work: () => Promise<void>): Promise<void> {
    const running = work().catch((error: unknown) => { this.#failure ??= { error } }).finally(() => {
      this.#running.delete(running)
    })
    this.#running.add(running)
    while (this.#running.size >= AT_ONCE) await Promise.race(this.#running)
    if (this.#failure !== undefined) throw this.#failure.error
  }

  /** Waits for what is under way. @throws the error of one of it */
  async #settled (): Promise<void> {
    await Promise.all(this.#running)
    if (this.#failure !== undefined) throw this.#failure.error
  }

  /** Does the work. An error says how much was done before. */
  async #said (work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      await Promise.all(this.#running)
      const explained = this.#connection.explained(error)
      if (!(explained instanceof Failure)) throw explained
      const done = `${this.ended} sessions were ended before. Run it again, and it goes on`
      throw new Failure(explained.exit, `${explained.message}. ${done}`)
    }
  }
}
