import { createHash } from 'node:crypto'
import type { SessionRecord } from '../session/record.ts'
import type { Change, Limit } from '../session/store.ts'
import { keyMember, twinMember } from '../store/codec.ts'
import { haveSameTimeouts, keepsKey, keepsTwin } from '../store/user-sessions.ts'
import { LIST_SLACK_MS, MOVED_MS, PENDING_MS } from '../util/timings.ts'
import type { Keys } from './keys.ts'
import { script } from './link.ts'
import { LIST_BASICS, SMALL } from './list-lua.ts'
import { LEAVE_MARK, markArgs } from './marks.ts'
import type { OneServer } from './one-server.ts'
import { MOVED, PLACE_OF_MEMBER, SECRET_HASHES, VALUE_OF } from './records.ts'
import type { Records } from './records.ts'
import type { UserLists } from './user-lists.ts'

interface SignInParts {
  keys: Keys
  records: Records
  lists: UserLists
  idpLists: UserLists
}

/** How a session begins. */
export interface SignInOptions {
  readonly limit?: Limit | null | undefined
  readonly markForMs?: number | undefined
  /** The session in whose place it begins. */
  readonly old?: SessionRecord
  /** Whether `old` goes on in it. It then has to be there. */
  readonly moves?: boolean
  readonly carry?: Change | undefined
}

/** A session that ended for another, as it was at its end. */
interface EndedFor {
  readonly reason: 'evicted' | 'replaced'
  readonly session: SessionRecord
}

/** What one script has done. */
export interface SignedIn {
  /**
   * `live`: the session has begun. `pending`: the one before it had other data, timeouts, key or twin than known;
   * nobody finds the new one until it is activated. `gone`: there is none to move. `refused`: the user has as many as
   * may be.
   */
  readonly status: 'live' | 'pending' | 'gone' | 'refused'
  readonly ended: readonly EndedFor[]
  /** The session before, as it was at its end; `null`: it had ended. */
  readonly before: SessionRecord | null
}

const STATUS = { 1: 'live', 2: 'pending', 0: 'gone', [-1]: 'refused' } as const

/** Reply: what was done · the session before, by its name and value · those evicted, likewise · those that expired. */
type Reply = [status: keyof typeof STATUS, before?: string[], evicted?: string[], expired?: string[]]

/** Lua that the script begins with. */
const BASICS = `${LIST_BASICS}${SECRET_HASHES}${VALUE_OF}${PLACE_OF_MEMBER}${LEAVE_MARK}`

/** Returns the Lua text of the last members of a mark. */
function restOf (reason: EndedFor['reason']): string {
  return `'${markArgs({ forMs: 0, reason })[1]}'`
}

/**
 * Begins sessions by one script, where one server has all keys: what `Lifecycle` else does in steps. Only for users
 * with few sessions: larger lists are worked off in portions.
 */
export class SignIns {
  readonly #oneServer: OneServer
  readonly #keys: Keys
  readonly #records: Records
  readonly #lists: UserLists
  readonly #idpLists: UserLists

  constructor (oneServer: OneServer, { keys, records, lists, idpLists }: SignInParts) {
    this.#oneServer = oneServer
    this.#keys = keys
    this.#records = records
    this.#lists = lists
    this.#idpLists = idpLists
  }

  /** Whether Redis has not refused it yet. */
  get arePossible (): boolean {
    return this.#oneServer.holdsAll
  }

  /**
   * KEYS  the user's list · the session being created · the session · of the old one, if any, the same two · the list
   *       of its session at an identity provider, if any
   * ARGV  the record · time to live in ms · its member · score · score on the other list, or '' · how many the user may
   *       have, or 0 · 'evict' or 'reject' · what the keys of sessions begin with · what those beside them begin with ·
   *       and end with · for how long ends are marked, in ms, or '' · of the old one, if any: its name · its member,
   *       if it is on the same list, or '' · 'ends', or 'moves' if it goes on in the new one · sha1 of the data it is
   *       known with, or '' for any · its absolute deadline and its idle timeout, or '' and '' for any · the member of
   *       its key, and of its twin, each '' for none, or 'any'
   * Returns false: nothing was written, it takes steps · 0, there is no session to move · -1, the user has as many as
   *         they may · 1, it is live · 2, the old one had changed, and it waits beside to be written again
   *         with 1 and 2: the old one, as its name and value, or '' and '' · the same of those that it evicts · members
   *         that had expired
   *
   * It reads under every key before it writes: what refuses it does so before anything has happened. SET is its first
   * write: a full Redis refuses that, and nothing that follows. What Redis' user may not do is asked before, or fails
   * before anything ends: of an end that a failing script has made nobody would hear.
   */
  static readonly signInScript = script<Reply | null>(3, `${BASICS}
local new, max, sessions, before, after, markMs = ARGV[3], tonumber(ARGV[6]), ARGV[8], ARGV[9], ARGV[10], ARGV[11]
local old, oldMember, moves, seen = ARGV[12], ARGV[13], ARGV[14] == 'moves', ARGV[15]
local function nameOf (member) return string.match(member, '^=?(.*):%w+$') end

-- Members and their scores, and those that have expired; nil for a list that is large, or has an index.
local function read (key)
  local found = redis.call('ZRANGE', key, 0, ${SMALL}, 'WITHSCORES')
  if #found > 2 * ${SMALL} or tonumber(found[2] or 0) < 0 then return nil end
  local members, scores, expired = {}, {}, {}
  for at = 1, #found, 2 do
    local member, score = found[at], found[at + 1]
    if tonumber(score) < time[1] * 1000 then expired[#expired + 1] = member
    else members[#members + 1] = member end
    scores[member] = score
  end
  return members, scores, expired
end

-- Plans the end of a session, wherever it has moved. Returns its name and its value, '' and '' if it is not there.
local doomed, marks, planned = {}, {}, {}
local function plan (name, reason)
  local hasMoved = false
  while not planned[name] do
    planned[name] = true
    local pending, session = before .. name .. after, sessions .. name
    local beside, present = valueOf(pending), valueOf(session)
    local to = beside and string.match(beside, '^>(%S*)')
    if not to then doomed[#doomed + 1] = pending end
    doomed[#doomed + 1] = session
    if present then
      marks[#marks + 1] = { pending .. ':ended', present, reason }
      return name, present
    end
    -- On its way to its new id it was live all the time.
    if not to then return name, hasMoved and beside or '' end
    name, hasMoved = to, true
  end
  return '', ''
end

local members, scores, expired = read(list)
if not members then return false end
local idp, _, expiredThere = ARGV[5] ~= '' and KEYS[#KEYS], nil, nil
if idp then
  _, _, expiredThere = read(idp)
  if not expiredThere then return false end
end

-- The members that a limit counts, the newest first: not the new one, the one it replaces, those that move.
local function counted ()
  local skipped, origin, found = { [new] = true, [oldMember or ''] = true }, {}, {}
  for _, member in ipairs(members) do
    local to, from = string.match(member, '^%+([^\\n]+)\\n(.*)$')
    if to and scores[to] and scores[from] and createdAtOf(from) then origin[to], skipped[from] = from, true end
  end
  for _, member in ipairs(members) do
    local createdAt = createdAtOf(member)
    local counts = createdAt and not isUncounted(scores[member]) and not skipped[member]
    if counts then found[#found + 1] = { member, createdAt } end
  end
  table.sort(found, function (a, b) return a[2] > b[2] or (a[2] == b[2] and a[1] < b[1]) end)
  return found, origin
end

local gone, evicted = { oldMember ~= '' and oldMember or nil }, {}
if max > 0 then
  local found, origin = counted()
  local kept, surplus = 0, {}
  for _, each in ipairs(#found >= max and found or {}) do
    local member, name = each[1], nameOf(each[1])
    if string.find(name, '[{}]') then return false end
    -- Nobody has to end for one that is gone.
    if redis.call('EXISTS', sessions .. name, before .. name .. after) == 0 then
      gone[#gone + 1] = member
      if scores[member] - ${LIST_SLACK_MS} <= now then expired[#expired + 1] = member end
    elseif kept < max - 1 then kept = kept + 1
    else
      -- First where it comes from: that may be live still, or point to this one.
      if origin[member] then surplus[#surplus + 1] = origin[member] end
      surplus[#surplus + 1] = member
    end
  end
  if #surplus > 0 and ARGV[7] == 'reject' then return { -1 } end
  for _, member in ipairs(surplus) do
    local name, value = plan(nameOf(member), ${restOf('evicted')})
    gone[#gone + 1] = member
    evicted[#evicted + 1] = name
    evicted[#evicted + 1] = value
  end
end

local ended, hasChanged, pointer = { '', '' }, false, nil
if old and moves then
  local present = valueOf(KEYS[5])
  if not present then return { 0 } end
  local used, hash, ends, idle = string.match(present, '^{"s":(%d+),"h":"([^"]*)","c":%d+,"e":(%d+),"i":(%d+)')
  if not used or math.min(used + idle, tonumber(ends)) <= now then return false end
  ended, doomed, marks = { old, present }, { KEYS[5] }, { { KEYS[4] .. ':ended', present, ${restOf('replaced')} } }
  pointer = '${MOVED}' .. nameOf(new) .. ' ' .. hash
  hasChanged = ARGV[16] ~= '' and (ARGV[16] ~= ends or ARGV[17] ~= idle)
elseif old then
  ended = { plan(old, ${restOf('replaced')}) }
end
local head = string.match(ended[2], '^{"s":%d+,"h":"[^\\n]*}\\n')
if old and seen ~= '' and head and redis.sha1hex(string.sub(ended[2], #head + 1)) ~= seen then hasChanged = true end
for at, member in ipairs(old and head and { 'd', 'f' } or {}) do
  local known = ARGV[17 + at]
  if known ~= 'any' and not placeOf(head, member, known) then hasChanged = true end
end

if not redis.acl_check_cmd('RENAME', KEYS[2], KEYS[3]) or not redis.acl_check_cmd('PEXPIRE', KEYS[3], '1') then
  return false
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ${PENDING_MS})
local function enter (key, score, past)
  -- '' is no member: it asks whether members may be taken off, before any has ended.
  if #past > 0 or #doomed > 0 then redis.call('ZREM', key, '', unpack(past)) end
  redis.call('ZADD', key, 'GT', score, new)
  keep(key)
end
enter(list, ARGV[4], expired)
if idp then enter(idp, ARGV[5], expiredThere) end
for _, mark in ipairs(markMs ~= '' and marks or {}) do leaveMark(mark[1], mark[2], markMs, mark[3]) end
if pointer then redis.pcall('SET', KEYS[4], pointer, 'PX', ${MOVED_MS}) end
if #doomed > 0 then redis.call('DEL', unpack(doomed)) end
if #gone > 0 then redis.call('ZREM', list, unpack(gone)) end
if not hasChanged then
  redis.call('RENAME', KEYS[2], KEYS[3])
  redis.call('PEXPIRE', KEYS[3], ARGV[2])
end
local past = {}
for at, member in ipairs(expired) do past[at] = told(member, scores[member]) end
return { hasChanged and 2 or 1, ended, evicted, past }`)

  /**
   * Begins a session of a user, in the place of another or not. Resolves with `null` where it takes steps: nothing was
   * written then.
   * @throws ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL
   */
  async begin (
    record: SessionRecord, { limit = null, markForMs, old, moves = false, carry }: SignInOptions
  ): Promise<SignedIn | null> {
    const entry = this.#lists.entryOf(record)
    const other = this.#idpLists.entryOf(record)
    if (entry === null || record.id === old?.id) return null
    const ids = old === undefined ? [record.id] : [record.id, old.id]
    const keys = ids.flatMap((id) => [this.#keys.pending(id), this.#keys.session(id)])
    const reply = await this.#oneServer.script(
      SignIns.signInScript, [entry.key, ...keys, ...other === null ? [] : [other.key]],
      this.#records.encode(record), this.#records.ttl(record), entry.member, entry.score, other?.score ?? '',
      limit?.max ?? 0, limit?.evicts === false ? 'reject' : 'evict', this.#keys.beginning, ...this.#keys.besides,
      markForMs ?? '', ...old === undefined ? [] : this.#argsOf(old, { record, moves, carry })
    )
    if (reply === null) return null
    const [status, before = [], evicted = [], expired = []] = reply
    this.#lists.reportExpired(entry.name, expired)
    const [replaced = null] = this.#recordsOf(before)
    const ended = this.#recordsOf(evicted).map((session) => ({ reason: 'evicted' as const, session }))
    return {
      status: STATUS[status],
      before: replaced,
      ended: replaced === null ? ended : [...ended, { reason: 'replaced', session: replaced }]
    }
  }

  #argsOf (
    old: SessionRecord, { record, moves, carry }: { record: SessionRecord, moves: boolean, carry: Change | undefined }
  ): Array<string | number> {
    // Of a new sign-in with timeouts of its own those of the old one do not matter.
    const goesOn = moves && haveSameTimeouts(record, old) && old.createdAt > 0
    return [
      old.id,
      old.userId === record.userId ? this.#keys.memberOf(old) : '',
      moves ? 'moves' : 'ends',
      carry === undefined ? '' : createHash('sha1').update(old.data).digest('hex'),
      ...goesOn ? [old.endsAt, old.idleTimeoutMs] : ['', ''],
      moves && keepsKey(record, old) ? keyMember(old) : 'any',
      moves && keepsTwin(record, old) ? twinMember(old) : 'any'
    ]
  }

  /** Decodes names and values by turns. What is no session, or past its time, is left out. */
  #recordsOf (pairs: string[]): SessionRecord[] {
    const values = pairs.filter((_each, at) => at % 2 === 1)
    const records = values.map((value, at) => value === '' ? null : this.#records.read(pairs[2 * at] as string, value))
    return records.filter((session) => session !== null)
  }
}
