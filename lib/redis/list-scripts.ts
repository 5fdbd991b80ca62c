import { LIST_SLACK_MS, PENDING_MS } from '../util/timings.ts'
import { lists } from './list-lua.ts'
import { script } from './link.ts'

/** How many sessions one login ends at the most because they are too many. */
const MOST_EVICTED = 100

/**
 * KEYS  the user's list
 * ARGV  member · score, in ms since 1970 or +inf
 * Returns a portion of the members that had expired
 * Adds the member, or moves it to a later score; never to an earlier one.
 */
export const listScript = script(1, `${lists}
local dropped = drop()
add(ARGV[1], ARGV[2])
return dropped`)

/**
 * KEYS  the user's list
 * ARGV  the login under way · its member · score · how many the user may have, or 0 · 'evict' or 'reject' · the member it
 *       replaces, or '' · 'moves' if it is a session on its way to another id, which stays announced, or ''
 * Returns 1, the members to end to keep the limit, a portion of those that had expired: the login is listed · 0 it was
 *         called off · -1, nothing, those that had expired: the user has as many as they may, and the login is still
 *         under way
 *
 * What is to be ended stays listed until it has ended. A session on its way counts once, and has to go under both ids.
 * While an index is being made, of a list that was large before there were any, nothing is too much.
 */
export const confirmScript = script(1, `${lists}
if not redis.call('ZSCORE', list, ARGV[1]) then return { 0 } end
local dropped = drop()
local max, evicted = tonumber(ARGV[4]), {}
local small = isSmall()
-- Also where there is no limit: it grows with its list.
local canTell = small or indexed()

-- What does not count: the new one itself, what it replaces, what is on its way; and where that came from.
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

-- Of a small list: how many count, and the oldest of them.
local function looked (skipped)
  local oldest, members = {}, redis.call('ZRANGEBYSCORE', list, 0, '+inf', 'WITHSCORES')
  for at = 1, #members, 2 do
    local member, createdAt = members[at], createdAtOf(members[at])
    local counts = createdAt and not isBearer(members[at + 1]) and not skipped[member]
    if counts then oldest[#oldest + 1] = { member, createdAt } end
  end
  table.sort(oldest, function (a, b) return a[2] < b[2] or (a[2] == b[2] and a[1] > b[1]) end)
  for at, each in ipairs(oldest) do oldest[at] = each[1] end
  return #oldest, oldest
end

-- The same by the index.
local function told (skipped)
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
  local count, oldest = (small and looked or told)(skipped)
  if count >= max and ARGV[5] == 'reject' then return { -1, {}, dropped } end
  for at = 1, math.min(count - max + 1, ${MOST_EVICTED}) do
    evicted[#evicted + 1] = oldest[at]
    evicted[#evicted + 1] = origin[oldest[at]]
  end
end
if ARGV[7] ~= 'moves' then redis.call('ZREM', list, ARGV[1]) end
add(ARGV[2], ARGV[3])
return { 1, evicted, dropped }`)

/**
 * KEYS  the user's list
 * ARGV  how many · 'all', or 'cookies' for those that a limit counts · '', or of the session before the first one that is
 *       asked for when it began · and its member, or '' for any of that moment
 * Returns a portion of those that had expired · the members, the newest first, of either kind so many; of a small list all
 *         in no order; nothing when there is more to be done before that can be told: to be called again
 */
export const pageScript = script(1, `${lists}
local dropped = drop()
if #dropped == portion then return { dropped } end
local members = {}
if isSmall() then
  local found = redis.call('ZRANGEBYSCORE', list, 0, '+inf', 'WITHSCORES')
  for at = 1, #found, 2 do
    local isSession = string.sub(found[at], 1, 1) ~= '+'
    if isSession and (ARGV[2] == 'all' or not isBearer(found[at + 1])) then members[#members + 1] = found[at] end
  end
  return { dropped, members }
end
if not indexed() then return { dropped } end

-- Those of one kind, which have the scores from low to high; base: that of one that began in 1970.
local function page (low, high, base)
  local found
  if ARGV[3] == '' then
    found = redis.call('ZRANGEBYSCORE', list, low, high, 'WITHSCORES', 'LIMIT', 0, ARGV[1])
  else
    -- Where it is, or would be.
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
 * KEYS  the user's list
 * ARGV  the last member of the call before this one, or '' · its score · what the members of a session begin with that
 *       goes on, also under another id, or ''
 * Returns the logins under way that are called off by this · the members to which that session is on its way · the
 *         last member, and its score, to go on with; nothing when all is done
 */
export const callOffScript = script(1, `${lists}
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
 * KEYS  the user's list
 * ARGV  members
 * Returns those that were listed, and were not to be any more. None is afterwards.
 */
export const forgetScript = script(1, `${lists}
local past = {}
for _, member in ipairs(ARGV) do
  local score = redis.call('ZSCORE', list, member)
  if score and score - ${LIST_SLACK_MS} <= now then past[#past + 1] = member end
end
remove(ARGV)
return past`)
