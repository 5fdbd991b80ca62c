import type { Acquaintance, AttemptCounters, AttemptLimit, PlaceOptions } from '../session/store.ts'
import { isWrongType } from './driver.ts'
import type { Keys } from './keys.ts'
import { script } from './link.ts'
import type { RedisLink, Script } from './link.ts'

/** Functions that the scripts below share. */
const functions = `
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
 * Attempts counted in Redis, by Redis' time, one key and one command for each. `RedisStore` lists the commands.
 *
 * A counter is a sorted set: attempts by their names, and places it knows as `@` and their name, each scored by when
 * it counts no more, in milliseconds since 1970. The key expires with the last of them.
 */
export class RedisAttempts implements AttemptCounters {
  readonly #link: RedisLink
  readonly #keys: Keys

  constructor (link: RedisLink, keys: Keys) {
    this.#link = link
    this.#keys = keys
  }

  /**
   * KEYS  the counter
   * ARGV  the attempt, or '' to ask only · how many may count · for how long each does, in ms · a place, or ''
   * Returns 0 it counts now, or may, or the place is known · else in how many ms there is room
   * ZADD is its first write: a full Redis refuses it, and nothing is counted.
   */
  static readonly #countScript = script<number>(1, `${functions}
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

  async count (key: string, attempt: string | null, { max, withinMs }: AttemptLimit, place = ''): Promise<number> {
    return await this.#run(RedisAttempts.#countScript, key, attempt ?? '', max, withinMs, place)
  }

  async giveBack (key: string, attempt: string): Promise<void> {
    const counter = this.#keys.tries(key)
    await this.#link.run(counter, (client) => client.zrem(counter, attempt))
  }

  /**
   * KEYS  the counter
   * ARGV  what the attempts to forget begin with, or '' for all
   * Returns how many these were
   * Needs no memory.
   */
  static readonly #clearScript = script<number>(1, `${functions}
local cleared = 0
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if not isPlace(member) and string.sub(member, 1, #ARGV[1]) == ARGV[1] then
    cleared = cleared + redis.call('ZREM', KEYS[1], member)
  end
end
return cleared`)

  async clear (key: string, beginning = ''): Promise<void> {
    await this.#run(RedisAttempts.#clearScript, key, beginning)
  }

  /**
   * KEYS  the counter
   * ARGV  a place · how many places it may know · for how long it does, in ms
   * Returns what was known of it: 'known' · 'first', of all places of this counter · 'new'
   */
  static readonly #rememberScript = script<Acquaintance>(1, `${functions}
local before = 'first'
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. text(now), '+inf')) do
  if member == '@' .. ARGV[1] then before = 'known' end
  if isPlace(member) and before == 'first' then before = 'new' end
end
keep('@' .. ARGV[1], tonumber(ARGV[3]))
local places = {}
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if isPlace(member) then places[#places + 1] = member end
end
for index = 1, #places - tonumber(ARGV[2]) do redis.call('ZREM', KEYS[1], places[index]) end
return before`)

  async remember (key: string, place: string, { most, forMs }: PlaceOptions): Promise<Acquaintance> {
    return await this.#run(RedisAttempts.#rememberScript, key, place, most, forMs)
  }

  /** Runs a script on a counter. A key of another type is no counter of ours: deletes it, and runs the script again. */
  async #run<Reply> (script: Script<Reply>, key: string, ...args: Array<string | number>): Promise<Reply> {
    const counter = this.#keys.tries(key)
    try {
      return await this.#link.script(script, [counter], ...args)
    } catch (error) {
      if (!isWrongType(error)) throw error
      await this.#link.run(counter, (client) => client.del(counter))
      return await this.#link.script(script, [counter], ...args)
    }
  }
}
