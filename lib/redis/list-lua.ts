import { LIST_GRACE_MS } from '../util/timings.ts'

/** How many members of a list one command handles at the most: Redis answers nobody else meanwhile. */
const PORTION = 200

/** Lists of more members than this have an index by age. */
export const SMALL = 100

/** Greatest score that is a time. Redis refuses later ones as an expiry. */
const MAX_SCORE = Number.MAX_SAFE_INTEGER

/** End of a member that a script tells of, where that is a bearer token's. No time in base 36 has it. */
export const BEARER = '!'

/** Start of the members of an index. */
const INDEX = '+\\n'

/**
 * Lua functions about a user's list, small or large.
 *
 * Members are scored by their expiry, so a list tells at once which have expired. A small list is read as a whole to
 * find the oldest or the newest. A larger one has an index, of one more member for each session: `+\n<member>`, scored
 * by age below zero, the newest first, and those that no limit counts apart:
 *
 *     -(createdAt + 1)      of a session that counts
 *     -(2e13 + createdAt)   of a bearer token's, and of one with an actor
 *     -(1e14 + expiry)      `+\n\n<member>`: it is being made, and holds all that come before this one by expiry
 *
 * The first script that needs it makes it, in portions. From then on all that add and remove keep it. Version 0.1 takes
 * scores below zero for expired, and so throws the whole index away; then it is made again.
 */
export const LIST_BASICS = `
local list, index, portion = KEYS[1], '${INDEX}', ${PORTION}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function text (score) return string.format('%.2f', score) end
local function isBearer (score) return tonumber(score) % 1 == 0.5 end
-- The fraction of a score that no limit counts: a half of a bearer token's, a quarter of one with an actor.
local function isUncounted (score) return tonumber(score) % 1 > 0 end

-- Returns when a session began; nil for other members.
local function createdAtOf (member)
  local createdAt = tonumber(string.match(member, '^[^+].*:(%w+)$') or '', 36)
  return createdAt and createdAt < 1e13 and createdAt
end

-- A member as it is told of: with a mark where it is a bearer token's.
local function told (member, score) return isBearer(score) and member .. '${BEARER}' or member end

-- Keeps a list for a day after its last member.
local function keep (list)
  local last = redis.call('ZRANGE', list, -1, -1, 'WITHSCORES')[2]
  if last == 'inf' or last and tonumber(last) > ${MAX_SCORE} then redis.call('PERSIST', list)
  elseif last then redis.call('PEXPIREAT', list, string.format('%.0f', last + ${LIST_GRACE_MS})) end
end`

/**
 * Lua functions that all scripts on a user's list share.
 *
 * A script that empties a list asks for nothing of it afterwards. While the slot of the list moves to another node of a
 * Cluster, the node that it leaves answers for keys that are there: for others it fails, in the middle of the script.
 */
export const LIST_FUNCTIONS = `${LIST_BASICS}
local function hasIndex () return redis.call('ZCOUNT', list, '-inf', '(0') > 0 end
local function isSmall () return redis.call('ZCOUNT', list, 0, '+inf') <= ${SMALL} and not hasIndex() end

-- Takes members off, and off the index. Writes in any case, and needs no memory: a full Redis refuses a write that
-- needs it only if that is the first of a script.
local function remove (members)
  local gone = { '' }
  for _, member in ipairs(members) do
    gone[#gone + 1] = member
    gone[#gone + 1] = index .. member
  end
  redis.call('ZREM', list, unpack(gone))
end

-- Takes a portion of the members that have expired off the list, but not the one that is kept, and returns it, to be
-- told of.
local function drop (kept)
  local found = redis.call('ZRANGEBYSCORE', list, 0, '(' .. time[1] * 1000, 'WITHSCORES', 'LIMIT', 0, portion)
  local dropped, expired = {}, {}
  for at = 1, #found, 2 do
    if found[at] ~= kept then
      dropped[#dropped + 1] = found[at]
      expired[#expired + 1] = told(found[at], found[at + 1])
    end
  end
  remove(dropped)
  return expired
end

-- Returns a portion by expiry, with scores: the members after one that had this score. Where that has gone, or expires
-- later by now, all that expire when it did come again.
local function following (member, score)
  local rank
  if tonumber(redis.call('ZSCORE', list, member) or '') == score then rank = redis.call('ZRANK', list, member) + 1
  else rank = redis.call('ZCOUNT', list, '-inf', '(' .. text(score)) end
  return redis.call('ZRANGE', list, rank, rank + portion - 1, 'WITHSCORES')
end

local function note (member, score)
  local createdAt = createdAtOf(member)
  if not createdAt then return end
  redis.call('ZADD', list, text(isUncounted(score) and -2e13 - createdAt or -1 - createdAt), index .. member)
end

-- Whether there is a whole index. Adds a portion to one that is not whole.
local function indexed ()
  local mark = redis.call('ZRANGEBYSCORE', list, '-inf', '-1e14', 'WITHSCORES', 'LIMIT', 0, 1)
  if #mark == 0 and hasIndex() then return true end
  local found = following(string.sub(mark[1] or '', #index + 2), mark[2] and -mark[2] - 1e14 or 0)
  for at = 1, #found, 2 do note(found[at], found[at + 1]) end
  redis.call('ZREM', list, mark[1] or '')
  if #found < 2 * portion then return true end
  redis.call('ZADD', list, text(-1e14 - found[#found]), index .. '\\n' .. found[#found - 1])
  return false
end

-- Adds a member, or moves it to a later score, never to an earlier one.
local function add (member, score)
  redis.call('ZADD', list, 'GT', score, member)
  if hasIndex() then note(member, score) end
  keep(list)
end`
