import { createHash, randomBytes } from 'node:crypto'
import { errors } from '../errors.ts'
import type { ResolvedOptions } from '../options/resolve.ts'
import { expiresAt } from '../session/record.ts'
import type { SessionRecord } from '../session/record.ts'
import { presentable } from '../session/data.ts'
import { newRecord } from '../session/new-record.ts'
import type { Adoption } from '../session/store.ts'
import { userOf } from '../session/user-id.ts'
import type { UserIdFrom } from '../session/user-id.ts'
import { encode, parseExpress } from '../store/codec.ts'
import type { Keys } from '../redis/keys.ts'
import { script } from '../redis/link.ts'
import type { RedisLink } from '../redis/link.ts'
import { absentIfWrongType, MOVED } from '../redis/records.ts'
import type { Records } from '../redis/records.ts'
import type { AdoptionBase } from '../redis/store.ts'
import type { UserLists } from '../redis/user-lists.ts'
import { ADOPTION_WAIT_MS, LOOK_AGAIN_MS, PENDING_MS } from '../util/timings.ts'

/** Options of adopted sessions. */
export interface AdoptionOptions {
  idleTimeoutMs: number
  absoluteTimeoutMs: number
  /** `false`: cookies end with the browser session. */
  cookieMaxAgeMs: number | null | false
  userIdFrom: UserIdFrom
  /** Library whose sessions are adopted. `null`: none are. */
  adopt: ResolvedOptions['adopt']
}

/** The id of the session that is made, and the proof of it. */
type Made = Pick<SessionRecord, 'id' | 'secretHash'>

/** How many times to look while another process adopts the same session. */
const LOOKS = ADOPTION_WAIT_MS / LOOK_AGAIN_MS

/**
 * KEYS  the claimed session · the session that is made of it
 * ARGV  sha1 of the claim · the new session, or '' to give the claim up · its time to live in ms
 * Returns 1 done · 0 there is another claim, or none
 * RENAME comes first: a full Redis refuses what needs memory only as a script's first write.
 */
const concludeScript = script(2, `
local present = redis.call('GET', KEYS[1])
if not present or redis.sha1hex(present) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('DEL', KEYS[1]) end
redis.call('RENAME', KEYS[1], KEYS[2])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1`)

/**
 * Moves sessions that express-session or @fastify/session left under `<prefix><its session id>` to sessions of this
 * package, each on its first use. Of all requests that try at once one claims the session. The others wait for the
 * session that it makes.
 *
 * The one that claims it then takes the old session, and makes the new one live only if its claim still stands. A
 * logout deletes the old session, then the claim, then the new session: it meets the session wherever it is.
 */
export class ForeignAdoption implements Adoption {
  readonly #link: RedisLink
  readonly #keys: Keys
  readonly #records: Records
  readonly #lists: UserLists
  readonly #options: AdoptionOptions
  readonly discard: (sid: string) => Promise<void>

  constructor ({ link, keys, records, lists, discard }: AdoptionBase, options: AdoptionOptions) {
    this.#options = options
    this.#link = link
    this.#keys = keys
    this.#records = records
    this.#lists = lists
    this.discard = discard
  }

  /** @throws ERR_SESSION_STORE_UNAVAILABLE while another process that claimed the session does not go on */
  async adopt (sid: string, made: Made): Promise<SessionRecord | null> {
    const { id } = made
    const key = this.#keys.session(sid)
    for (let look = 0; look < LOOKS; look++) {
      const stored = await this.#link.run(key, (client) => client.get(key)).catch(absentIfWrongType)
      const session = this.#recordOf(stored, made)
      if (session === null) {
        const adopted = await this.#records.find(id)
        if (adopted !== null) return adopted
        // A session that is no longer claimed has arrived, or has ended.
        if (!await this.#isClaimed(id)) return await this.#records.find(id)
      } else {
        const adopted = await this.#move(sid, session)
        if (adopted !== undefined) return adopted
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS))
    }
    const cause = new Error('a session to adopt was claimed by a process that does not go on')
    throw new errors.STORE_UNAVAILABLE({ cause })
  }

  /** The steps of a login in place of the old session. Resolves with `undefined` when another request has that. */
  async #move (sid: string, seen: SessionRecord): Promise<SessionRecord | null | undefined> {
    const claim = await this.#claim(seen)
    if (claim === null) return undefined
    const key = this.#keys.session(sid)
    let taken: SessionRecord | null
    try {
      await this.#lists.announce(seen)
      if (await this.#lists.confirm(seen) === null) {
        // All sessions of the user were ended in the meantime, and this is one of them.
        await this.discard(sid)
        await this.#conclude(seen, claim, '')
        return null
      }
      taken = this.#recordOf(await this.#link.run(key, (client) => client.getdel(key)), seen)
    } catch (error) {
      // Best effort: spares the next request the wait until the claim expires.
      void this.#conclude(seen, claim, '').catch(() => {})
      throw error
    }
    if (taken === null) {
      await Promise.all([this.#lists.remove(seen), this.#conclude(seen, claim, '')])
      return undefined
    }
    // The other library may have changed the session since, and signed in another user.
    const record = { ...taken, createdAt: seen.createdAt }
    const isOthers = record.userId !== seen.userId
    if (isOthers) await this.#lists.extend(record)
    const isLive = await this.#conclude(record, claim, encode(record))
    if (isOthers || !isLive) await this.#lists.remove(seen)
    return isLive ? record : null
  }

  async list (record: SessionRecord): Promise<SessionRecord | null> {
    return await this.#records.ensureListed(record)
  }

  /** Makes a session of what the other library stored. Returns `null` if that is no session, or one that has ended. */
  #recordOf (stored: string | null, made: Made): SessionRecord | null {
    const session = stored === null ? null : parseExpress(stored)
    const now = this.#link.now()
    if (session === null || this.#hasEnded(session, now)) return null
    return adoptedRecord(session, { ...made, ...this.#options, now })
  }

  /**
   * Whether @fastify/session would refuse a session that Redis still holds: `expires` has passed. In a session of
   * Express the date says nothing. Its use moves the end in Redis alone.
   */
  #hasEnded ({ cookie }: Record<string, unknown>, now: number): boolean {
    // parseExpress has seen that it is an object.
    const { expires } = cookie as { expires?: unknown }
    return this.#options.adopt === '@fastify/session' && typeof expires === 'string' && Date.parse(expires) <= now
  }

  async #isClaimed (id: string): Promise<boolean> {
    const key = this.#keys.pending(id)
    const claim = await this.#link.run(key, (client) => client.get(key))
    return claim !== null && !claim.startsWith(MOVED)
  }

  /** Stores a session that nobody finds yet. Resolves with the proof of this claim, or `null` if there is another. */
  async #claim (record: SessionRecord): Promise<string | null> {
    const key = this.#keys.pending(record.id)
    const value = `${randomBytes(12).toString('base64url')} ${encode(record)}`
    const reply = await this.#link.run(key, (client) => client.set(key, value, 'PX', PENDING_MS, 'NX'))
    return reply === null ? null : createHash('sha1').update(value).digest('hex')
  }

  /** Makes the claimed session live as `value`; gives the claim up if that is ''. `false`: the session had ended. */
  async #conclude (record: SessionRecord, claim: string, value: string): Promise<boolean> {
    const ttl = Math.max(1, Math.ceil(expiresAt(record) - this.#link.now()))
    const keys = [this.#keys.pending(record.id), this.#keys.session(record.id)]
    return await this.#link.script(concludeScript, keys, claim, value, ttl) === 1
  }
}

/**
 * Makes a session that goes on where an old one ends. Nobody knows when the user signed in there: it never counts as a
 * recent sign-in. It goes on however large its data is.
 */
function adoptedRecord (
  { cookie, ...data }: Record<string, unknown>, options: AdoptionOptions & Made & { now: number }
): SessionRecord {
  const kept = presentable(data)
  const userId = userOf(kept, options.userIdFrom)
  // parseExpress has seen that it is an object. With `expires` it outlives the browser.
  const persistent = (cookie as { expires?: unknown }).expires != null && options.cookieMaxAgeMs !== false
  const session = { userId, data: JSON.stringify(kept), persistent, replaces: null }
  const record = newRecord(session, { ...options, maxDataSize: Infinity })
  return { ...record, authenticatedAt: userId === null ? null : 0 }
}
