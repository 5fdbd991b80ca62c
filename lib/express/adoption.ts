import { createHash, randomBytes } from 'node:crypto'
import { errors } from '../errors.ts'
import { expiresAt } from '../session/record.ts'
import type { SessionRecord } from '../session/record.ts'
import type { Adoption, MakeAdopted } from '../session/store.ts'
import { encode, parseExpress } from '../store/codec.ts'
import type { Keys } from '../redis/keys.ts'
import type { RedisLink } from '../redis/link.ts'
import { absentIfWrongType, MOVED, PENDING_MS } from '../redis/records.ts'
import type { Records } from '../redis/records.ts'
import { settleClaimScript } from '../redis/scripts.ts'
import type { AdoptionBase } from '../redis/store.ts'
import type { UserLists } from '../redis/user-lists.ts'

/** How often, and how many times, one looks again while another process adopts the same session. */
const LOOK_AGAIN_MS = 10
const LOOKS = 30

/**
 * Sessions that an Express app left under `<prefix><its session id>`, moved to ours on first use. Of all
 * who try at once one claims it; the others wait for what that one makes of it.
 *
 * Whoever claims it takes the Express session only then, and makes ours live only if the claim still stands:
 * a logout deletes the one, then the claim, then ours, and so meets it wherever it is.
 */
export class ExpressAdoption implements Adoption {
  readonly #link: RedisLink
  readonly #keys: Keys
  readonly #records: Records
  readonly #lists: UserLists
  /** Ends the Express session, adopted or not. */
  readonly discard: (sid: string) => Promise<void>

  constructor ({ link, keys, records, lists, discard }: AdoptionBase) {
    this.#link = link
    this.#keys = keys
    this.#records = records
    this.#lists = lists
    this.discard = discard
  }

  /**
   * The session of this id, made by `make` of the Express session `sid` if it is not there yet; `null` when there is neither.
   * @throws ERR_SESSION_STORE_UNAVAILABLE while another process that claimed it does not go on
   */
  async adopt (sid: string, id: string, make: MakeAdopted): Promise<SessionRecord | null> {
    const key = this.#keys.session(sid)
    for (let look = 0; look < LOOKS; look++) {
      const session = madeBy(make, await this.#link.run(key, (client) => client.get(key)).catch(absentIfWrongType))
      if (session === null) {
        const adopted = await this.#records.find(id)
        // What is not on its way any more has arrived, or was ended.
        if (adopted !== null || !await this.#isClaimed(id)) return adopted ?? await this.#records.find(id)
      } else {
        const adopted = await this.#move(sid, session, make)
        if (adopted !== undefined) return adopted
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS))
    }
    throw new errors.STORE_UNAVAILABLE({ cause: new Error('an Express session was claimed by a process that does not go on') })
  }

  /** The steps of a login; what it takes the place of is the Express session. `undefined` when somebody else claimed or took that. */
  async #move (sid: string, seen: SessionRecord, make: MakeAdopted): Promise<SessionRecord | null | undefined> {
    const claim = await this.#claim(seen)
    if (claim === null) return undefined
    const key = this.#keys.session(sid)
    let taken: SessionRecord | null
    try {
      await this.#lists.announce(seen)
      if (await this.#lists.confirm(seen) === null) {
        // All of the user's sessions were ended meanwhile, and this is one.
        await this.discard(sid)
        await this.#settle(seen, claim, '')
        return null
      }
      taken = madeBy(make, await this.#link.run(key, (client) => client.getdel(key)))
    } catch (error) {
      // Best effort: the next one need not wait until the claim expires.
      void this.#settle(seen, claim, '').catch(() => {})
      throw error
    }
    if (taken === null) {
      await Promise.all([this.#lists.remove(seen), this.#settle(seen, claim, '')])
      return undefined
    }
    // Express may have changed it since, and signed in another.
    const record = { ...taken, createdAt: seen.createdAt }
    const isOthers = record.userId !== seen.userId
    if (isOthers) await this.#lists.extend(record)
    const isLive = await this.#settle(record, claim, encode(record))
    if (isOthers || !isLive) await this.#lists.remove(seen)
    return isLive ? record : null
  }

  /** Puts a session on the list of whom it is of, where an Express app has signed them in. Gives it as it is then, or `null`. */
  async list (record: SessionRecord): Promise<SessionRecord | null> {
    return await this.#records.list(record)
  }

  async #isClaimed (id: string): Promise<boolean> {
    const key = this.#keys.pending(id)
    const claim = await this.#link.run(key, (client) => client.get(key))
    return claim !== null && !claim.startsWith(MOVED)
  }

  /** Stores a session that nobody finds yet. Gives what proves that it was this call, `null` when it was another. */
  async #claim (record: SessionRecord): Promise<string | null> {
    const key = this.#keys.pending(record.id)
    const value = `${randomBytes(12).toString('base64url')} ${encode(record)}`
    const reply = await this.#link.run(key, (client) => client.set(key, value, 'PX', PENDING_MS, 'NX'))
    return reply === null ? null : createHash('sha1').update(value).digest('hex')
  }

  /** Makes what was claimed live as `value`, or gives it up. `false` when it was ended before. */
  async #settle (record: SessionRecord, claim: string, value: string): Promise<boolean> {
    const ttl = Math.max(1, Math.ceil(expiresAt(record) - this.#link.now()))
    return await this.#link.script(settleClaimScript, [this.#keys.pending(record.id), this.#keys.session(record.id)], claim, value, ttl) === 1
  }
}

/** The part of a store that adopts Express sessions. */
export const adopting = { adoption: (base: AdoptionBase) => new ExpressAdoption(base) }

/** A session of ours, of what Express stored; `null` when that is no session. */
function madeBy (make: MakeAdopted, stored: string | null): SessionRecord | null {
  const session = stored === null ? null : parseExpress(stored)
  if (session === null) return null
  const { cookie, ...data } = session
  return make(data, { persistent: (cookie as { expires?: unknown }).expires != null })
}
