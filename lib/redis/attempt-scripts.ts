import { script } from './script.ts'

/*
 * A counter is a sorted set, scored by when each member counts no more, in ms since 1970: attempts by their names,
 * and places it knows as "@" and their name. It goes with the last of them.
 */

const upkeep = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text (number) return string.format('%.0f', number) end
local function keep (member, ms)
  redis.call('ZADD', KEYS[1], text(now + ms), member)
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now))
  redis.call('PEXPIREAT', KEYS[1], text(tonumber(redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2])))
end
local function isPlace (member) return string.sub(member, 1, 1) == '@' end`

/**
 * KEYS  the counter
 * ARGV  the attempt, or '' to ask only · how many may count · for how long each does, in ms · a place, or ''
 * Returns 0 it counts now, or may, or the place is known · else in how many ms there is room
 * ZADD is its first write: a full Redis refuses it, and nothing is counted.
 */
export const takeAttemptScript = script(1, `${upkeep}
if ARGV[4] ~= '' then
  local known = redis.call('ZSCORE', KEYS[1], '@' .. ARGV[4])
  if known and tonumber(known) > now then return 0 end
end
local max = tonumber(ARGV[2])
if redis.call('ZCOUNT', KEYS[1], '(' .. text(now), '+inf') >= max then
  local members = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. text(now), '+inf', 'WITHSCORES')
  local ends = {}
  for index = 1, #members, 2 do
    if not isPlace(members[index]) then ends[#ends + 1] = tonumber(members[index + 1]) end
  end
  if #ends >= max then return ends[#ends - max + 1] - now end
end
if ARGV[1] ~= '' then keep(ARGV[1], tonumber(ARGV[3])) end
return 0`)

/**
 * KEYS  the counter
 * ARGV  what the attempts begin with that are to be forgotten, or '' for all
 * Returns how many these were
 * Needs no memory.
 */
export const clearAttemptsScript = script(1, `${upkeep}
local cleared = 0
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if not isPlace(member) and string.sub(member, 1, #ARGV[1]) == ARGV[1] then cleared = cleared + redis.call('ZREM', KEYS[1], member) end
end
return cleared`)

/**
 * KEYS  the counter
 * ARGV  a place · how many places it may know · for how long it does, in ms
 * Returns 1
 */
export const rememberPlaceScript = script(1, `${upkeep}
keep('@' .. ARGV[1], tonumber(ARGV[3]))
local places = {}
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if isPlace(member) then places[#places + 1] = member end
end
for index = 1, #places - tonumber(ARGV[2]) do redis.call('ZREM', KEYS[1], places[index]) end
return 1`)
