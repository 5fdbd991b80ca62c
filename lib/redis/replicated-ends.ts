import type { SessionRecord } from '../session/record.ts'
import type { DeleteOptions } from '../session/store.ts'
import type { Keys } from './keys.ts'
import type { Records } from './records.ts'
import { UNCONFIRMED } from './replication.ts'
import type { Confirmation, Replication } from './replication.ts'

/** Ends single sessions so that replicas can confirm it. */
export class ReplicatedEnds {
  readonly #keys: Keys
  readonly #records: Records
  readonly #replication: Replication | null

  /** `replication`: who confirms what is ended; `null`: the master alone. */
  constructor ({ keys, records, replication }: { keys: Keys, records: Records, replication: Replication | null }) {
    this.#keys = keys
    this.#records = records
    this.#replication = replication
  }

  /** Makes a confirmation of what is written from now on about these sessions, and under the keys of these lists. */
  async confirmationOf (ids: Array<string | undefined>, lists: string[] = []): Promise<Confirmation> {
    const sessions = ids.filter((id) => id !== undefined).map((id) => this.#keys.session(id))
    return await this.#replication?.of([...sessions, ...lists]) ?? UNCONFIRMED
  }

  /** Ends one session. If it had ended before, or moved, writes something for a replica to confirm. */
  async end (id: string, confirmation: Confirmation, options?: DeleteOptions): Promise<SessionRecord | null> {
    const ended = await this.#records.end(id, options)
    if (this.#replication !== null && ended?.id !== id) {
      const ids = ended === null ? [id] : [id, ended.id]
      await confirmation.extend(ids.map((each) => this.#keys.session(each)))
      await Promise.all(ids.map(async (each) => await this.#records.leaveTrace(each)))
    }
    return ended
  }

  /** Deletes the value under an id that is no session of ours. */
  async discard (id: string): Promise<void> {
    const confirmation = await this.confirmationOf([id])
    await this.#records.discard(id)
    // A caller that asks again, because nobody confirmed, deletes nothing.
    if (this.#replication !== null) await this.#records.leaveTrace(id)
    await confirmation.wait()
  }
}
