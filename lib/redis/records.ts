import { errors } from '../errors.ts'
import { expiresAt } from '../session/record.ts'
import type { NewTimeouts, SessionRecord } from '../session/record.ts'
import { decode, encode, keyMember, parseExpress, twinMember } from '../store/codec.ts'
import type { Change, DeleteOptions, EndRecord } from '../session/store.ts'
import { MOVED_MS, PENDING_MS } from '../util/timings.ts'
import { compareAndSet } from './compare-and-set.ts'
import type { Keys } from './keys.ts'
import { isWrongType } from './driver.ts'
import { script } from './link.ts'
import type { RedisLink } from './link.ts'
import { decodeMark, LEAVE_MARK, markArgs } from './marks.ts'
import { Reads } from './reads.ts'

/** Lua: `hashOf` returns the hash of a session's secret, also of one claimed to be adopted; '' for one of Express. */
export const SECRET_HASHES = `
local function hashOf (value)
  return string.match(value, '^[%w_-]* ?{"s":%d+,"h":"([^"]*)"') or ''
end`

/** Lua: `valueOf` returns the text under a key, or false. What is no text is no session. */
export const VALUE_OF = `
local function valueOf (key)
  local value = redis.pcall('GET', key)
  if type(value) == 'table' and not string.find(value.err, 'WRONGTYPE') then error(value) end
  return type(value) == 'string' and value
end`

/**
 * Lua: `placeOf` returns where a member of this name stands in a first line, or belongs where that has none and '' is
 * asked for: its first and last place. nil: the line has another one of this name. The quotes of texts are escaped
 * there, so that `,"d":"` is that member alone.
 */
export const PLACE_OF_MEMBER = `
local function placeOf (line, name, member)
  if member ~= '' then return string.find(line, member, 1, true) end
  if string.find(line, ',"' .. name .. '":"', 1, true) then return nil end
  return #line + 1, #line
end`

/** What a touch returns: see `touchScript`. */
type Touched = 1 | 0 | -1 | [endsAt: string, idleTimeoutMs: string]

/** Lua of `touchScript`. `change`: changes `rest`, the session without its beginning. */
function touchLua (change = ''): string {
  return `${change && PLACE_OF_MEMBER}
local present = redis.call('GET', KEYS[1])
local head, seen, rest = string.match(present or '', '^({"s":)(%d%d%d%d%d%d%d%d%d%d%d%d%d)(,"h":"[^\\n]*}\\n{.*)$')
if not head then return 0 end
local ends, idle = string.match(rest, '^,"h":"[^"]*","c":%d+,"e":(%d+),"i":(%d+)')
if ends and (ends ~= ARGV[2] or idle ~= ARGV[1]) then return { ends, idle } end
local time = redis.call('TIME')
local now = math.min(time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[4]))
now = math.max(now, tonumber(seen))
if ARGV[3] ~= 'persist' then
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', math.min(now + ARGV[1], tonumber(ARGV[2]))))
  if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
end${change && `\n${change}`}
local set = redis.pcall('SET', KEYS[1], head .. string.format('%.0f', now) .. rest, 'KEEPTTL')
return ${change === '' ? '1' : 'set.err and -1 or 1'}`
}

const ADVANCING = `local line, data = string.match(rest, '^([^\\n]*)(}\\n{.*)$')
local first, last = placeOf(line, 'f', ARGV[5])
if first then rest = string.sub(line, 1, first - 1) .. ARGV[6] .. string.sub(line, last + 1) .. data end`

/** Lua of `leaveScript`. `mark`: leaves a mark of what is `present`. */
function leaveLua (mark = ''): string {
  return `${SECRET_HASHES}${mark && LEAVE_MARK}
local present = redis.call('GET', KEYS[2])
if not present then return false end
redis.pcall('SET', KEYS[1], ARGV[1] .. ' ' .. hashOf(present), 'PX', ARGV[2])${mark && `\n${mark}`}
redis.call('DEL', KEYS[2])
return present`
}

/** Lua of `endScript`. `hash`: the argument that is the hash; `mark`: leaves a mark of what is `present`. */
function endLua (hash: string, mark = ''): string {
  const marking = mark && `\n${mark}`
  return `${SECRET_HASHES}${VALUE_OF}${mark && LEAVE_MARK}
local beside, present = valueOf(KEYS[1]), valueOf(KEYS[2])
local movedBy = beside and string.match(beside, '^>%S* ?(.*)$')
local function isMine (value, hash) return not ${hash} or value and (hash or hashOf(value)) == ${hash} end
if movedBy and not isMine(beside, movedBy) then beside = false end
if not isMine(present) and (movedBy or not isMine(beside)) then return { movedBy and beside, false } end${marking}
if not movedBy then redis.call('DEL', KEYS[1]) end
redis.call('DEL', KEYS[2])
return { beside, present }`
}

const MARK_END = 'leaveMark(KEYS[3], present, ARGV[1], ARGV[2])'
const MARK_LEAVING = 'leaveMark(KEYS[3], present, ARGV[3], ARGV[4])'

/** Reply to an end: the value beside the session, and the session. */
type EndReply = [beside: string | null, session: string | null]

/** Start of the value beside a session that has moved. Its new id follows, a space, and the hash of its old secret. */
export const MOVED = '>'

/**
 * Outcome of giving a session other timeouts, with the session as it is, or was at its end. `untold`: nothing was
 * written, as it was used meanwhile and would live for longer than its user's list was told.
 */
export interface Retimed {
  readonly status: 'set' | 'ended' | 'untold'
  readonly session: SessionRecord
}

/** The keys of single sessions: the authority on whether one lives. */
export class Records {
  protected readonly link: RedisLink
  protected readonly keys: Keys
  protected readonly persist: boolean
  protected readonly reads: Reads
  #isReporting = false

  /** `persist`: sessions do not expire. */
  constructor (link: RedisLink, keys: Keys, { persist }: { persist: boolean }) {
    this.link = link
    this.reads = new Reads(link)
    this.keys = keys
    this.persist = persist
  }

  /** Finds a live session. `any`: its id comes from a scan, and may be another library's that waits to be adopted. */
  async find (id: string, { any = false }: { any?: boolean } = {}): Promise<SessionRecord | null> {
    const key = this.keys.session(id)
    try {
      const value = await this.reads.get(key)
      if (value === null) this.#reportForeign(id, key)
      return any && value !== null && parseExpress(value) !== null ? null : this.read(id, value)
    } catch (error) {
      if (!isWrongType(error)) throw error
      this.link.events.emit('unreadable', id)
      return null
    }
  }

  /** Closes what was opened for reading. Twice is safe. */
  async close (): Promise<void> {
    await this.reads.large.close()
  }

  /** Stores a session that is live at once. */
  async add (record: SessionRecord): Promise<void> {
    const key = this.keys.session(record.id)
    const value = this.encode(record)
    const ttl = this.ttl(record)
    const reply = await this.link.run(key, (client) => {
      return ttl === 'persist' ? client.set(key, value, 'NX') : client.set(key, value, 'PX', ttl, 'NX')
    })
    if (reply === null) throw new errors.STORE_UNAVAILABLE({ cause: new Error('the id of a new session is taken') })
  }

  /** Stores a session that nobody finds yet; `XX` replaces it. */
  async setPending (record: SessionRecord, mode: 'NX' | 'XX'): Promise<void> {
    const key = this.keys.pending(record.id)
    await this.link.run(key, (client) => client.call('SET', key, this.encode(record), 'PX', PENDING_MS, mode))
  }

  /**
   * KEYS  the session
   * Returns 1 it was deleted · 0 there is none, or it is one of this package
   */
  static readonly discardScript = script<1 | 0>(1, `
local value = redis.pcall('GET', KEYS[1])
if type(value) == 'string' and string.match(value, '^{"s":%d+,"h":"[^\\n]*\\n') then return 0 end
return redis.call('DEL', KEYS[1])`)

  /** Deletes a session of another library. One of this package under that id stays: its secret ends it, not its id. */
  async discard (id: string): Promise<void> {
    await this.link.script(Records.discardScript, [this.keys.session(id)])
  }

  async deletePending (id: string): Promise<void> {
    const key = this.keys.pending(id)
    await this.link.run(key, (client) => client.del(key))
  }

  /**
   * KEYS  the session being created · the session
   * ARGV  time to live in ms, or 'persist'
   * Returns 1 the session is live · 0 it was ended before it began
   * RENAME and expiry need no memory, so that nothing can fail here that has not failed before.
   */
  static readonly activateScript = script<1 | 0>(2, `
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('RENAME', KEYS[1], KEYS[2])
if ARGV[1] == 'persist' then redis.call('PERSIST', KEYS[2]) else redis.call('PEXPIRE', KEYS[2], ARGV[1]) end
return 1`)

  /** Makes a pending session live. `false` when it was ended before. */
  async activate (record: SessionRecord): Promise<boolean> {
    return await this.link.script(Records.activateScript, this.#both(record.id), this.ttl(record)) === 1
  }

  /** Whether a session is there, live or pending. */
  async exists (id: string): Promise<boolean> {
    const keys = this.#both(id)
    return await this.link.run(keys[0], (client) => client.exists(...keys)) > 0
  }

  /** Returns those of a user's sessions that are absent or not theirs, neither live nor pending. */
  async missing (_userId: string, ids: string[]): Promise<string[]> {
    if (await this.reads.areThere(ids.map((id) => this.keys.session(id)))) return []
    const exist = await Promise.all(ids.map(async (id) => await this.exists(id)))
    return ids.filter((_id, index) => exist[index] === false)
  }

  async update (record: SessionRecord, change: Change): Promise<SessionRecord | null> {
    let stored: SessionRecord | null = record
    const data = await compareAndSet(this.link, this.keys.session(record.id), {
      seen: record.data,
      change,
      mode: 'head',
      textOf: (text) => {
        stored = decode(record.id, text)
        return stored === null ? null : stored.data
      }
    }).catch(absentIfWrongType)
    return data === null ? null : { ...stored, data }
  }

  /**
   * KEYS  session
   * ARGV  idle timeout in ms · absolute deadline in ms since 1970 · 'persist' for a session without expiry, or '' · the
   *       latest instant that this counts as, in ms since 1970
   * Returns 1 touched · 0 absent · the deadline and the idle timeout that it has, where those are not the given ones:
   *         nothing is written
   *
   * A touch that was long on its way counts from when it was sent: the user's list was told of no later use.
   * The expiry comes first and lastSeenAt is only tried: a full Redis takes an expiry but no SET.
   */
  static readonly touchScript = script<Touched>(1, touchLua())

  /**
   * The same, and gives the session another twin, if it still has this one.
   * KEYS  as above
   * ARGV  as above · the member of its twin in the first line as it was, with the comma before it, '' for none · as
   *       it is to be
   * Returns as above · -1 touched, but for the twin: Redis is full
   */
  static readonly advanceScript = script<Touched>(1, touchLua(ADVANCING))

  /**
   * Extends a session. `latest`: the latest instant that it counts as. `twin`: the one that it gets. Returns whether
   * the session was there. If it was given other timeouts since it was read, returns these, and it is to be touched
   * again.
   * @throws ERR_SESSION_STORE_FULL where it was touched, and could not get the twin
   */
  async touch (record: SessionRecord, latest: number, twin?: string): Promise<boolean | NewTimeouts> {
    const { id, idleTimeoutMs, endsAt } = record
    const args = [idleTimeoutMs, endsAt, this.persist ? 'persist' : '', Math.floor(latest)]
    const keys = [this.keys.session(id)]
    const touching = twin === undefined
      ? this.link.script(Records.touchScript, keys, ...args)
      : this.link.script(Records.advanceScript, keys, ...args, twinMember(record), twinMember({ twin }))
    const reply = await touching.catch(absentIfWrongType)
    if (reply === -1) throw new errors.STORE_FULL()
    return Array.isArray(reply) ? { endsAt: Number(reply[0]), idleTimeoutMs: Number(reply[1]) } : reply === 1
  }

  /**
   * KEYS  session
   * ARGV  idle timeout in ms, or '' as it is · absolute deadline in ms since 1970, or '' as it is · 'persist' for a
   *       session without expiry, or '' · the latest expiry that the user's list was told, in ms since 1970
   * Returns false: absent · 1, the session as it is now · 0, the session: nothing is written, it was used meanwhile
   *         and the list was told of no such expiry · -1, the session: they have run out, and it is deleted
   *
   * The expiry comes first: a full Redis refuses what needs memory only as a script's first write.
   */
  static readonly timeoutsScript = script<[status: 1 | 0 | -1, session: string] | null>(1, `
local present = redis.call('GET', KEYS[1])
local start, seen, hash, ends, between, idle, rest =
  string.match(present or '', '^({"s":)(%d+)(,"h":"[^"]*","c":%d+,"e":)(%d+)(,"i":)(%d+)(.*)$')
if not start then return false end
if ARGV[1] ~= '' then idle = ARGV[1] end
if ARGV[2] ~= '' then ends = ARGV[2] end
if ARGV[3] ~= 'persist' then
  local expiry = math.min(seen + idle, tonumber(ends))
  if expiry > tonumber(ARGV[4]) then return { 0, present } end
  local time = redis.call('TIME')
  if expiry <= time[1] * 1000 + math.floor(time[2] / 1000) then
    redis.call('DEL', KEYS[1])
    return { -1, present }
  end
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', expiry))
end
local value = start .. seen .. hash .. ends .. between .. idle .. rest
redis.call('SET', KEYS[1], value, 'KEEPTTL')
return { 1, value }`)

  /** Gives a session other timeouts. `told`: the latest expiry that its list was told. `null` when it is absent. */
  async setTimeouts (
    id: string, { idleTimeoutMs = '', endsAt = '' }: { [Name in keyof NewTimeouts]: NewTimeouts[Name] | '' },
    told: number
  ): Promise<Retimed | null> {
    const args = [idleTimeoutMs, endsAt, this.persist ? 'persist' : '', Math.floor(told)]
    const setting = this.link.script(Records.timeoutsScript, [this.keys.session(id)], ...args)
    const reply = await setting.catch(absentIfWrongType)
    const session = reply === null ? null : this.decode(id, reply[1], null)
    if (reply === null || session === null) return null
    return { status: reply[0] === 1 ? 'set' : reply[0] === 0 ? 'untold' : 'ended', session }
  }

  /**
   * KEYS  session
   * ARGV  the member of its key in the first line as it was, with the comma before it, '' for none · as it is to be
   * Returns false: absent · the session as it is now: where it has another key by then, nothing is written
   */
  static readonly bindScript = script<string | null>(1, `${PLACE_OF_MEMBER}
local present = redis.call('GET', KEYS[1])
local line, rest = string.match(present or '', '^({"s":%d+,"h":"[^"]*","c":%d+,"e":%d+,"i":%d+[^\\n]*)(}\\n{.*)$')
if not line then return false end
local first, last = placeOf(line, 'd', ARGV[1])
if not first then return present end
local value = string.sub(line, 1, first - 1) .. ARGV[2] .. string.sub(line, last + 1) .. rest
redis.call('SET', KEYS[1], value, 'KEEPTTL')
return value`)

  /** Gives a session another key, if it still has the one of `record`. Returns it as it is then, `null` if absent. */
  async bind (record: SessionRecord, boundKey: string): Promise<SessionRecord | null> {
    const args = [keyMember(record), keyMember({ boundKey })]
    const binding = this.link.script(Records.bindScript, [this.keys.session(record.id)], ...args)
    return this.read(record.id, await binding.catch(absentIfWrongType))
  }

  /**
   * KEYS  the session being created, of the old id · the session, of the old id
   * ARGV  '>' and the new id · how long to remember it, in ms
   * Returns the session, which is gone under the old id; false when it was not there
   * Remembers with it the hash of the secret that it had. A full Redis does not: what was asked for is the end of the
   * old one.
   */
  static readonly leaveScript = script<string | null>(2, leaveLua())

  /**
   * The same, and leaves a mark.
   * KEYS  as above · the mark
   * ARGV  as above · how long the mark stays, in ms · its last members
   * Returns as above
   */
  static readonly leaveMarkedScript = script<string | null>(3, leaveLua(MARK_LEAVING))

  /** Takes a session away from its id, to go on under another. `null` when it was not there. */
  async leave (id: string, to: string, markForMs?: number): Promise<SessionRecord | null> {
    const [keys, args] = [this.#both(id), [MOVED + to, MOVED_MS]]
    const mark = markForMs === undefined ? null : markArgs({ forMs: markForMs, reason: 'replaced' })
    const left = mark === null
      ? this.link.script(Records.leaveScript, keys, ...args)
      : this.link.script(Records.leaveMarkedScript, [...keys, this.keys.ended(id)], ...args, ...mark)
    return this.read(id, await left.catch(absentIfWrongType))
  }

  /** Reads how a session ended. `null` where that is not remembered. */
  async ended (id: string): Promise<EndRecord | null> {
    const key = this.keys.ended(id)
    const text = await this.link.run(key, (client) => client.get(key)).catch(absentIfWrongType)
    return text === null ? null : decodeMark(text)
  }

  /** Puts a session on the list of its user. Returns it as it is then, or `null`. All of ours are listed. */
  async ensureListed (record: SessionRecord): Promise<SessionRecord | null> {
    return record
  }

  /** Whether a session on a user's list is not theirs, once no login is under way under its id. None of ours is. */
  async isOthers (_id: string, _userId: string): Promise<boolean> {
    return false
  }

  /** Returns the new id of a session that has just moved from this one, or `null`. */
  async successor (id: string): Promise<string | null> {
    const [pending] = this.#both(id)
    const beside = await this.link.run(pending, (client) => client.get(pending)).catch(absentIfWrongType)
    return beside?.startsWith(MOVED) === true ? movedTo(beside) : null
  }

  /**
   * KEYS  the session being created · the session
   * ARGV  the hash that the session's secret must have; absent: any
   * Returns the value beside the session, or false · the session, or false; false for those of another secret
   * Ends both, in one step: it may be about to move. That it has moved stays known: others may be ending it at the same
   * time. Needs no memory.
   */
  static readonly endScript = script<EndReply>(2, endLua('ARGV[1]'))

  /**
   * The same, and leaves a mark of the session that was live.
   * KEYS  the session being created · the session · the mark
   * ARGV  how long the mark stays, in ms · its last members · the hash, or absent
   * Returns as above
   */
  static readonly endMarkedScript = script<EndReply>(3, endLua('ARGV[3]', MARK_END))

  /**
   * Ends one session, wherever in its life it is, also if it has just moved to another id. Returns the session that was
   * live. `secretHash`: the one it must have; if it has moved, under the id that is asked for.
   */
  async end (id: string, options: DeleteOptions & { hasMoved?: boolean } = {}): Promise<SessionRecord | null> {
    const { secretHash, mark, hasMoved = false } = options
    const args = secretHash === undefined ? [] : [secretHash]
    const keys = this.#both(id)
    const [beside, value] = mark === undefined
      ? await this.link.script(Records.endScript, keys, ...args)
      : await this.link.script(Records.endMarkedScript, [...keys, this.keys.ended(id)], ...markArgs(mark), ...args)
    const ended = this.read(id, value)
    if (ended !== null || beside === null) return ended
    if (beside.startsWith(MOVED)) return await this.end(movedTo(beside), { mark, hasMoved: true })
    // On its way to its new id it was live all the time.
    return hasMoved ? this.read(id, beside) : null
  }

  /**
   * KEYS  a key of nobody's
   * Writes, whatever there is room for: a full Redis refuses what needs memory only as a script's first write.
   */
  static readonly traceScript = script<1>(1, `
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], '', 'PX', 1)
return 1`)

  /** Writes a key that is gone at once: WAIT needs a write behind which to ask. */
  async leaveTrace (id: string): Promise<void> {
    await this.link.script(Records.traceScript, [this.keys.trace(id)])
  }

  /** Reports that a key that looked absent is of another type. After the answer, one at a time: nobody waits for it. */
  #reportForeign (id: string, key: string): void {
    if (this.#isReporting) return
    this.#isReporting = true
    this.reads.isForeign(key).catch(() => false).then((isForeign) => {
      this.#isReporting = false
      if (isForeign) this.link.events.emit('unreadable', id)
    })
  }

  #both (id: string): [pending: string, live: string] {
    return [this.keys.pending(id), this.keys.session(id)]
  }

  /** Returns the stored form of a record. */
  encode (record: SessionRecord): string {
    return encode(record)
  }

  /** Decodes a stored session, `null` if it is none. `ttlMs`: how long its key lives, where that was asked for. */
  protected decode (id: string, stored: string, _ttlMs: number | null): SessionRecord | null {
    return decode(id, stored)
  }

  /** Returns the live record of a value that was read, if any. */
  read (id: string, value: string | null, ttlMs: number | null = null): SessionRecord | null {
    if (value === null) return null
    const record = this.decode(id, value, ttlMs)
    if (record === null) this.link.events.emit('unreadable', id)
    else if (!this.persist && expiresAt(record) <= this.link.now()) return null
    return record
  }

  ttl (record: SessionRecord): number | 'persist' {
    return this.persist ? 'persist' : Math.max(1, Math.ceil(expiresAt(record) - this.link.now()))
  }
}

function movedTo (beside: string): string {
  return beside.slice(MOVED.length).split(' ', 1)[0] as string
}

/** Turns the error for a key of another type into absence. */
export function absentIfWrongType (error: unknown): null {
  if (isWrongType(error)) return null
  throw error
}
