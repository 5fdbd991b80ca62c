import { errors } from '../errors.ts'
import { expiresAt, isCounted } from '../session/record.ts'
import type { SessionKind, SessionRecord } from '../session/record.ts'
import type { Began, Limit } from '../session/store.ts'
import { LIST_SLACK_MS, PENDING_MS } from '../util/timings.ts'
import { isWrongType } from './driver.ts'
import type { Keys } from './keys.ts'
import { script } from './link.ts'
import type { RedisLink, Script } from './link.ts'
import { BEARER, LIST_FUNCTIONS } from './list-lua.ts'
import { absentIfWrongType } from './records.ts'

/** How many sessions one login ends at the most because they are too many. */
const MOST_EVICTED = 100

/** The scores of sessions that never expire, and that no limit counts: large, with room for their fraction. */
const NEVER = { bearer: '4000000000000000.5', actor: '2000000000000000.25' }

/** A page of a user's sessions: so many, the newest first, that come after one of them. */
export interface Page {
  readonly limit: number
  readonly before?: Began | undefined
  /** Whether only those are asked for that a limit counts. */
  readonly cookies?: boolean | undefined
}

interface ListOptions {
  /** Returns the name of the list of a session; `null` if it is on none. Default: its user. */
  readonly nameOf?: (record: SessionRecord) => string | null
  /** Returns the key of a list. Default: that of a user's. */
  readonly keyOf?: (name: string) => string
  /** Sessions do not expire, and so their lists do not. */
  readonly persist: boolean
  /** Others may extend a session, so it is listed up to its absolute deadline. */
  readonly untilEnd: boolean
  /** Called once for each session that expired while it was listed. */
  readonly onExpired: (id: string, name: string, kind: SessionKind) => void
}

/** Reply to a confirmation: its status, the members that have to end, and a portion of those that had expired. */
type Confirmed = [status: 1 | 0 | -1, evicted?: string[], dropped?: string[]]

/** How a session is confirmed on its list. */
interface ConfirmOptions {
  /** The session that it replaces, which no limit counts. */
  readonly replaces?: SessionRecord | null
  /** The session that moves to its id. */
  readonly from?: SessionRecord | null
  readonly limit?: Limit | null
}

/** Where a session is listed, and how. */
interface ListEntry {
  readonly name: string
  readonly key: string
  readonly member: string
  readonly score: number | string
}

/** A member of a list, and when its session began. */
interface Place {
  readonly member: string
  readonly createdAt: number
}

/**
 * The sorted sets that say which sessions a user has. Others of the same form say which began with one session at an
 * identity provider. For a moment they may hold sessions that are gone. They never miss one that lives. An anonymous
 * session is on none.
 */
export class UserLists {
  readonly #link: RedisLink
  readonly #keys: Keys
  readonly #persist: boolean
  readonly #untilEnd: boolean
  readonly #onExpired: ListOptions['onExpired']
  readonly #nameOf: (record: SessionRecord) => string | null
  /** Returns the key of a list. */
  readonly keyOf: (name: string) => string

  constructor (link: RedisLink, keys: Keys, options: ListOptions) {
    const { persist, untilEnd, onExpired, nameOf = ({ userId }) => userId, keyOf = (name) => keys.user(name) } = options
    this.#link = link
    this.#keys = keys
    this.#persist = persist
    this.#untilEnd = untilEnd
    this.#onExpired = onExpired
    this.#nameOf = nameOf
    this.keyOf = keyOf
  }

  /** Returns the key of the list of a session, if it is on any. */
  keysOf (record: SessionRecord): string[] {
    const name = this.#nameOf(record)
    return name === null ? [] : [this.keyOf(name)]
  }

  /** Announces a login of the user; `from`: a session that moves from that one's id. */
  async announce (record: SessionRecord, from: SessionRecord | null = null): Promise<void> {
    const name = this.#nameOf(record)
    if (name === null) return
    const endsAt = Math.ceil(this.#link.now()) + PENDING_MS
    await this.#add(name, this.#keys.announcementOf(record, from), endsAt)
  }

  /**
   * KEYS  the user's list
   * ARGV  the login under way · its member · score · how many the user may have, or 0 · 'evict' or 'reject' · the
   *       member it replaces, or '' · 'moves' if it is a session that moves, which stays announced, or ''
   * Returns 1, the members to end to keep the limit, a portion of those that had expired: the login is listed · 0 it
   *         was called off · -1, nothing, those that had expired: the user has as many as they may, and the login is
   *         still under way
   *
   * Sessions that are to end stay listed until they have ended. One that moves counts once, and ends under both ids.
   * While an index is being made, of a list that was large before there were any, nothing is too much.
   */
  static readonly confirmScript = script<Confirmed>(1, `${LIST_FUNCTIONS}
if not redis.call('ZSCORE', list, ARGV[1]) then return { 0 } end
local dropped = drop(ARGV[1])
local max, evicted = tonumber(ARGV[4]), {}
local small = isSmall()
-- Also where there is no limit: it grows with its list.
local canTell = small or indexed()

-- Members that do not count: the new one, the one it replaces, those that move; and where these come from.
local function uncounted (members)
  local skipped, origin = { [ARGV[2]] = true, [ARGV[6]] = true }, {}
  for _, member in ipairs(members) do
    local to, from = string.match(member, '^%+([^\\n]+)\\n(.*)$')
    if to and redis.call('ZSCORE', list, to) and redis.call('ZSCORE', list, from) then
      origin[to], skipped[from] = from, true
    end
  end
  return skipped, origin
end

-- How many count, and the oldest of them, of a small list.
local function countAll (skipped)
  local oldest, members = {}, redis.call('ZRANGEBYSCORE', list, 0, '+inf', 'WITHSCORES')
  for at = 1, #members, 2 do
    local member, createdAt = members[at], createdAtOf(members[at])
    local counts = createdAt and not isUncounted(members[at + 1]) and not skipped[member]
    if counts then oldest[#oldest + 1] = { member, createdAt } end
  end
  table.sort(oldest, function (a, b) return a[2] < b[2] or (a[2] == b[2] and a[1] > b[1]) end)
  for at, each in ipairs(oldest) do oldest[at] = each[1] end
  return #oldest, oldest
end

-- The same by the index.
local function countByIndex (skipped)
  local count, surplus, oldest = redis.call('ZCOUNT', list, '-1e13', '(0'), ${MOST_EVICTED}, {}
  for member in pairs(skipped) do
    local score = redis.call('ZSCORE', list, index .. member)
    if score and tonumber(score) >= -1e13 then count, surplus = count - 1, surplus + 1 end
  end
  for _, each in ipairs(redis.call('ZRANGE', list, '(0', '-1e13', 'BYSCORE', 'REV', 'LIMIT', 0, surplus)) do
    local member = string.sub(each, #index + 1)
    if not skipped[member] then oldest[#oldest + 1] = member end
  end
  return count, oldest
end

if max > 0 and canTell then
  -- Logins under way expire soon.
  local from, to = small and 0 or now, small and '+inf' or now + ${PENDING_MS + LIST_SLACK_MS}
  local skipped, origin = uncounted(redis.call('ZRANGEBYSCORE', list, from, to, 'LIMIT', 0, portion))
  local count, oldest = (small and countAll or countByIndex)(skipped)
  if count >= max and ARGV[5] == 'reject' then return { -1, {}, dropped } end
  for at = 1, math.min(count - max + 1, ${MOST_EVICTED}) do
    evicted[#evicted + 1] = oldest[at]
    evicted[#evicted + 1] = origin[oldest[at]]
  end
end
add(ARGV[2], ARGV[3])
if ARGV[7] ~= 'moves' then redis.call('ZREM', list, ARGV[1]) end
return { 1, evicted, dropped }`)

  /**
   * Lists a session whose login was announced. The announcement of one that moves stays until it is withdrawn. Returns
   * the members that have to end for it, which stay listed until they have; `null` when it was called off.
   * @throws ERR_SESSION_LIMIT_REACHED; the login is still announced then
   */
  async confirm (
    record: SessionRecord, { replaces = null, from = null, limit = null }: ConfirmOptions = {}
  ): Promise<string[] | null> {
    const name = this.#nameOf(record)
    if (name === null) return []
    const [status, evicted = [], dropped = []] = await this.#script(
      UserLists.confirmScript, name, this.#keys.announcementOf(record, from), this.#keys.memberOf(record),
      this.#score(record), limit?.max ?? 0, limit?.evicts === false ? 'reject' : 'evict',
      replaces === null ? '' : this.#keys.memberOf(replaces), from === null ? '' : 'moves'
    )
    this.reportExpired(name, dropped)
    if (status === -1) throw new errors.LIMIT_REACHED()
    return status === 1 ? evicted : null
  }

  /** Takes an announcement back: the login has failed, or the session has moved. */
  async withdraw (record: SessionRecord, from: SessionRecord | null = null): Promise<void> {
    const name = this.#nameOf(record)
    if (name !== null) await this.removeMember(name, this.#keys.announcementOf(record, from))
  }

  /** Keeps a session listed for as long as it lives now. */
  async extend (record: SessionRecord): Promise<void> {
    const name = this.#nameOf(record)
    if (name !== null) await this.#add(name, this.#keys.memberOf(record), this.#score(record))
  }

  /** Takes a session off its list. */
  async remove (record: SessionRecord): Promise<void> {
    const name = this.#nameOf(record)
    if (name !== null) await this.removeMember(name, this.#keys.memberOf(record))
  }

  /** Takes a member off a list. */
  async removeMember (name: string, member: string): Promise<void> {
    const list = this.keyOf(name)
    const members = [member, this.#keys.indexedAs(member)]
    await this.#link.run(list, (client) => client.zrem(list, ...members)).catch(absentIfWrongType)
  }

  /**
   * KEYS  the user's list
   * ARGV  how many · 'all', or 'cookies' for those that a limit counts · when the session before the first one began,
   *       or '' · its member, or '' for any of that moment
   * Returns a portion of those that had expired · the members, the newest first, of either kind so many; of a small
   *         list all in no order; nothing while an index is being made: to be called again
   */
  static readonly pageScript = script<[dropped: string[], members?: string[]]>(1, `${LIST_FUNCTIONS}
local last = redis.call('ZRANGE', list, -1, -1, 'WITHSCORES')[2] or 0
local dropped = drop()
if #dropped == portion then return { dropped } end
local members = {}
-- All have expired.
if last ~= 'inf' and tonumber(last) < time[1] * 1000 then return { dropped, members } end
if isSmall() then
  local found = redis.call('ZRANGEBYSCORE', list, 0, '+inf', 'WITHSCORES')
  for at = 1, #found, 2 do
    local isSession = string.sub(found[at], 1, 1) ~= '+'
    if isSession and (ARGV[2] == 'all' or not isUncounted(found[at + 1])) then members[#members + 1] = found[at] end
  end
  return { dropped, members }
end
if not indexed() then return { dropped } end

-- Adds a page of one kind, with scores from low to high; base: the score of one that began in 1970.
local function page (low, high, base)
  local found
  if ARGV[3] == '' then
    found = redis.call('ZRANGEBYSCORE', list, low, high, 'WITHSCORES', 'LIMIT', 0, ARGV[1])
  else
    -- The place where it is, or would be.
    local cursor = index .. ARGV[4]
    local score = redis.call('ZSCORE', list, cursor)
    redis.call('ZADD', list, text(base - ARGV[3]), cursor)
    local rank = redis.call('ZRANK', list, cursor)
    found = redis.call('ZRANGE', list, rank + 1, rank + ARGV[1], 'WITHSCORES')
    if score then redis.call('ZADD', list, score, cursor) else redis.call('ZREM', list, cursor) end
  end
  for at = 1, #found, 2 do
    if tonumber(found[at + 1]) <= high then members[#members + 1] = string.sub(found[at], #index + 1) end
  end
end
if ARGV[2] == 'all' then page(-3e13, -2e13, -2e13) end
page(-1e13, -1, -1)
return { dropped, members }`)

  /**
   * Returns the members of a user's list that are about sessions, the newest first. Some may be gone. `null`: a portion
   * of the work is done that comes before the answer; ask again.
   */
  async page (name: string, { limit, before, cookies = false }: Page): Promise<string[] | null> {
    const after = before === undefined ? null : this.#placeOf(before)
    const args = [limit, cookies ? 'cookies' : 'all', after?.createdAt ?? '', after?.member ?? '']
    const [dropped, members] = await this.#script(UserLists.pageScript, name, ...args)
    this.reportExpired(name, dropped)
    if (members === undefined) return null
    const places = members.map((member) => ({ member, createdAt: this.#keys.createdAtOf(member) })).sort(newestFirst)
    const page = after === null ? places : places.filter((each) => newestFirst(after, each) < 0)
    return page.slice(0, limit).map(({ member }) => member)
  }

  /**
   * KEYS  the user's list
   * ARGV  the last member of the call before this one, or '' · its score · the start of the members of a session that
   *       goes on, also under another id, or ''
   * Returns the logins under way that this calls off · the members to which that session moves · the last member, and
   *         its score, to go on with; nothing when all is done
   */
  static readonly callOffScript = script<[called: string[], spared: string[], ...next: string[]]>(1, `${LIST_FUNCTIONS}
-- Logins under way expire soon.
local small = isSmall()
local found = following(ARGV[1], ARGV[1] ~= '' and tonumber(ARGV[2]) or small and 0 or now - ${PENDING_MS})
local called, spared, last = {}, {}, found[#found]
local goesOn = not small and #found == 2 * portion and tonumber(last) <= now + ${2 * PENDING_MS}
for at = 1, #found, 2 do
  local member = found[at]
  local to, from = string.match(member, '^%+([^\\n]+)\\n(.*)$')
  local isIts = to and ARGV[3] ~= '' and string.sub(from, 1, #ARGV[3]) == ARGV[3]
  if isIts and string.match(string.sub(from, #ARGV[3] + 1), '^%w+$') then
    spared[#spared + 1] = to
  elseif string.sub(member, 1, 1) == '+' then
    called[#called + 1] = member
  end
end
remove(called)
return { called, spared, goesOn and found[#found - 1] or nil, goesOn and last or nil }`)

  /**
   * Calls off the logins of a user that are under way, but not the session `except` that moves to another id. Returns
   * the members that were called off, and the ids to which that session moves.
   */
  async callOff (name: string, except: string | undefined): Promise<{ called: string[], spared: string[] }> {
    const all = { called: [] as string[], spared: [] as string[] }
    const start = except === undefined ? '' : this.#keys.memberStartOf(except)
    // The last member of the portion before, and its score.
    for (let last = ['', '']; ;) {
      const [called, spared, ...next] = await this.#script(UserLists.callOffScript, name, ...last, start)
      all.called.push(...called)
      all.spared.push(...spared.map((member) => this.#keys.idOfMember(member)))
      if (next.length === 0) return all
      last = next
    }
  }

  /** Whether a session is moving from one id to another. */
  async isMoving (name: string, createdAt: number, { from, to }: { from: string, to: string }): Promise<boolean> {
    const list = this.keyOf(name)
    const [before, after] = [from, to].map((id) => ({ id, createdAt })) as [Began, Began]
    const announcement = this.#keys.announcementOf(after, before)
    return await this.#link.run(list, (client) => client.zscore(list, announcement)) !== null
  }

  /**
   * KEYS  the user's list
   * ARGV  members
   * Returns those that were listed, and were not to be any more. None is afterwards.
   */
  static readonly forgetScript = script<string[]>(1, `${LIST_FUNCTIONS}
local past = {}
for _, member in ipairs(ARGV) do
  local score = redis.call('ZSCORE', list, member)
  if score and score - ${LIST_SLACK_MS} <= now then past[#past + 1] = told(member, score) end
end
remove(ARGV)
return past`)

  /**
   * Takes members off. Reports those that had expired and are `gone` (default: all), once. The others were ended by a
   * process that could not take them off.
   */
  async forget (name: string, members: string[], gone = new Set(members)): Promise<void> {
    if (members.length === 0) return
    const past = await this.#script(UserLists.forgetScript, name, ...members)
    this.reportExpired(name, past.filter((member) => gone.has(keptOf(member))))
  }

  #placeOf (before: Began): Place {
    return { createdAt: Math.floor(before.createdAt), member: before.id === '' ? '' : this.#keys.memberOf(before) }
  }

  /**
   * KEYS  the user's list
   * ARGV  member · score, in ms since 1970 or +inf
   * Returns a portion of the members that had expired
   * Adds the member, or moves it to a later score; never to an earlier one.
   */
  static readonly listScript = script<string[]>(1, `${LIST_FUNCTIONS}
remove({})
add(ARGV[1], ARGV[2])
return drop(ARGV[1])`)

  async #add (name: string, member: string, score: number | string): Promise<void> {
    this.reportExpired(name, await this.#script(UserLists.listScript, name, member, score))
  }

  /** Runs a script on a user's list. A value of another type under its key is deleted. */
  async #script<Reply> (script: Script<Reply>, name: string, ...args: Array<string | number>): Promise<Reply> {
    const list = this.keyOf(name)
    try {
      return await this.#link.script(script, [list], ...args)
    } catch (error) {
      if (!isWrongType(error)) throw error
      await this.#link.run(list, (client) => client.del(list))
      return await this.#link.script(script, [list], ...args)
    }
  }

  /** Reports members that had expired, as a script tells of them. */
  reportExpired (name: string, members: string[]): void {
    for (const member of members) {
      if (member.startsWith('+')) continue
      this.#onExpired(this.#keys.idOfMember(keptOf(member)), name, member.endsWith(BEARER) ? 'bearer' : 'cookie')
    }
  }

  /** Returns how a session is listed: the name of its list, its key, the member and its score. `null`: on none. */
  entryOf (record: SessionRecord): ListEntry | null {
    const name = this.#nameOf(record)
    if (name === null) return null
    return { name, key: this.keyOf(name), member: this.#keys.memberOf(record), score: this.#score(record) }
  }

  /** Returns the score of a session: its expiry. A fraction of a millisecond says that no limit counts the session. */
  #score (record: SessionRecord): number | string {
    const isBearer = record.kind === 'bearer'
    const counts = isCounted(record)
    if (this.#persist) return counts ? '+inf' : isBearer ? NEVER.bearer : NEVER.actor
    const fraction = counts ? 0 : isBearer ? 0.5 : 0.25
    return Math.ceil(this.#untilEnd ? record.endsAt : expiresAt(record)) + LIST_SLACK_MS + fraction
  }
}

/** Returns a member as its list keeps it, of one that a script tells of. */
function keptOf (member: string): string {
  return member.endsWith(BEARER) ? member.slice(0, -BEARER.length) : member
}

/** Compares places in the order of the scripts. */
function newestFirst (one: Place, other: Place): number {
  return other.createdAt - one.createdAt || (one.member < other.member ? -1 : Number(one.member > other.member))
}
