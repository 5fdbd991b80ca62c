import type { SessionRecord } from '../../session/record.ts'
import { parseObject } from '../codec.ts'
import type { Keys } from './keys.ts'
import { isWrongType } from './link.ts'
import type { RedisLink } from './link.ts'
import type { Records } from './records.ts'
import type { UserLists } from './user-lists.ts'

/** How often, and how many times, one looks again while another process adopts the same session. */
const LOOK_AGAIN_MS = 10
const LOOKS = 30

/**
 * Sessions that an Express app left under `<prefix><its session id>`, moved to ours on first use. Of all
 * who try at once one takes it; the others find what that one made of it.
 */
export class Adoption {
  readonly #link: RedisLink
  readonly #keys: Keys
  readonly #records: Records
  readonly #lists: UserLists

  constructor (link: RedisLink, keys: Keys, records: Records, lists: UserLists) {
    this.#link = link
    this.#keys = keys
    this.#records = records
    this.#lists = lists
  }

  /** The session of this id, made by `make` of the Express session `sid` if it is not there yet; `null` when there is neither. */
  async adopt (sid: string, id: string, make: (data: Record<string, unknown>) => SessionRecord): Promise<SessionRecord | null> {
    for (let look = 0; look < LOOKS; look++) {
      const session = dataOf(await this.#get(sid))
      const adopted = session === null ? await this.#records.find(id) : await this.#move(sid, make(session), make)
      if (adopted !== null) return adopted
      // Neither the old one nor the new one: unless it is on its way, there is none.
      if (session === null && !await this.#records.exists(id)) return null
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS))
    }
    return null
  }

  /** Ends the Express session, adopted or not. */
  async discard (sid: string): Promise<void> {
    const key = this.#keys.session(sid)
    await this.#link.run(key, (client) => client.del(key))
  }

  /** The steps of a login; what it takes the place of is the Express session. `null` when somebody else took that. */
  async #move (sid: string, seen: SessionRecord, make: (data: Record<string, unknown>) => SessionRecord): Promise<SessionRecord | null> {
    await Promise.all([this.#lists.announce(seen), this.#records.setPending(seen, 'NX')])
    if (await this.#lists.confirm(seen, null, null) === null) return null
    const key = this.#keys.session(sid)
    const taken = dataOf(await this.#link.run(key, (client) => client.getdel(key)))
    if (taken === null) return null
    // Express may have changed it since, and who lost may have stored theirs.
    const record = { ...seen, data: make(taken).data }
    await this.#records.setPending(record, 'XX')
    return await this.#records.activate(record, { onto: false }) ? record : null
  }

  async #get (sid: string): Promise<string | null> {
    const key = this.#keys.session(sid)
    return await this.#link.run(key, (client) => client.get(key)).catch((error: unknown) => {
      if (isWrongType(error)) return null
      throw error
    })
  }
}

/** The data of an Express session, or `null` for what is none. */
function dataOf (stored: string | null): Record<string, unknown> | null {
  const session = stored === null ? null : parseObject(stored)
  if (session === null || typeof session.cookie !== 'object' || session.cookie === null) return null
  const { cookie: _cookie, ...data } = session
  return data
}
