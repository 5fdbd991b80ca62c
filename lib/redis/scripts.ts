import { script } from './link.ts'

/**
 * KEYS  session
 * ARGV  sha1 of the data the change was made on · the new data · 'head', 'all', 'persist' or a time to live in ms
 * Returns 1 written · 0 absent · the present value, when its data is not what the change was made on
 *
 * With 'head' it is a session of ours, and its data what follows the first line; else one of
 * express-session, and data all of it. 'head' and 'all' keep the time to live.
 */
export const updateScript = script(1, `
local present = redis.call('GET', KEYS[1])
if not present then return 0 end
local head = ARGV[3] ~= 'head' and '' or string.match(present, '^{"s":%d+,"h":"[^\\n]*}\\n')
if not head then return 0 end
if redis.sha1hex(string.sub(present, #head + 1)) ~= ARGV[1] then return present end
local value = head .. ARGV[2]
if ARGV[3] == 'head' or ARGV[3] == 'all' then redis.call('SET', KEYS[1], value, 'KEEPTTL')
elseif ARGV[3] == 'persist' then redis.call('SET', KEYS[1], value)
else redis.call('SET', KEYS[1], value, 'PX', ARGV[3]) end
return 1`)

/**
 * KEYS  session
 * ARGV  idle timeout in ms · absolute deadline in ms since 1970 · 'persist' for a session without expiry, or ''
 * Returns 1 touched · 0 absent
 *
 * The expiry comes first and lastSeenAt is only tried: a full Redis takes an expiry but no SET.
 */
export const touchScript = script(1, `
local present = redis.call('GET', KEYS[1])
local head, rest = string.match(present or '', '^({"s":)%d%d%d%d%d%d%d%d%d%d%d%d%d(,"h":"[^\\n]*}\\n{.*)$')
if not head then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[3] ~= 'persist' then
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', math.min(now + ARGV[1], tonumber(ARGV[2]))))
  if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
end
redis.pcall('SET', KEYS[1], head .. string.format('%.0f', now) .. rest, 'KEEPTTL')
return 1`)

/**
 * KEYS  the session being created · the session
 * ARGV  time to live in ms, or 'persist'
 * Returns 1 the session is live · 0 it was ended before it began
 * RENAME and expiry need no memory, so that nothing can fail here that has not failed before.
 */
export const activateScript = script(2, `
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('RENAME', KEYS[1], KEYS[2])
if ARGV[1] == 'persist' then redis.call('PERSIST', KEYS[2]) else redis.call('PEXPIRE', KEYS[2], ARGV[1]) end
return 1`)

/** `hashOf` a session, also one claimed to be adopted: what its secret hashes to; '' of one of an Express app. */
const secretHashes = `
local function hashOf (value)
  return string.match(value, '^[%w_-]* ?{"s":%d+,"h":"([^"]*)"') or ''
end`

/**
 * KEYS  the session being created, of the old id · the session, of the old id
 * ARGV  '>' and the new id · how long to remember it, in ms
 * Returns the session, which is gone under the old id; false when it was not there
 * Remembers with it the hash of the secret that it had. A full Redis does not: what was asked for is the end of the
 * old one.
 */
export const leaveScript = script(2, `${secretHashes}
local present = redis.call('GET', KEYS[2])
if not present then return false end
redis.pcall('SET', KEYS[1], ARGV[1] .. ' ' .. hashOf(present), 'PX', ARGV[2])
redis.call('DEL', KEYS[2])
return present`)

/**
 * KEYS  the session being created · the session
 * ARGV  what the session's secret has to hash to; absent: anything
 * Returns what lay beside the session, or false · the session, or false; false for what is another's
 * Ends both, in one step: it may be about to move. That it has moved stays known, others may be ending it
 * at the same time. Needs no memory.
 */
export const endScript = script(2, `${secretHashes}
local function text (key)
  local value = redis.pcall('GET', key)
  if type(value) == 'table' and not string.find(value.err, 'WRONGTYPE') then error(value.err) end
  return type(value) == 'string' and value
end
local beside, present = text(KEYS[1]), text(KEYS[2])
local movedBy = beside and string.match(beside, '^>%S* ?(.*)$')
local function isMine (value, hash) return not ARGV[1] or value and (hash or hashOf(value)) == ARGV[1] end
if movedBy and not isMine(beside, movedBy) then beside = false end
if not isMine(present) and (movedBy or not isMine(beside)) then return { movedBy and beside, false } end
if not movedBy then redis.call('DEL', KEYS[1]) end
redis.call('DEL', KEYS[2])
return { beside, present }`)

/**
 * KEYS  a key of nobody's
 * Writes, whatever there is room for: a full Redis refuses what needs memory only as a script's first write.
 */
export const traceScript = script(1, `
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], '', 'PX', 1)
return 1`)
