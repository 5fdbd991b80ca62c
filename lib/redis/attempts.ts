import type {
  Acquaintance, AttemptCounter, AttemptCounters, AttemptLimit, AttemptSuccess, PlaceOptions
} from '../session/store.ts'
import { isWrongType } from './driver.ts'
import type { Keys } from './keys.ts'
import { script } from './link.ts'
import type { RedisLink, Script } from './link.ts'
import type { OneServer } from './one-server.ts'

/** Functions that the scripts below share. */
const functions = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text (number) return string.format('%.0f', number) end
local function keep (key, member, ms)
  redis.call('ZADD', key, text(now + ms), member)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', text(now))
  redis.call('PEXPIREAT', key, text(tonumber(redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2])))
end
local function isPlace (member) return string.sub(member, 1, 1) == '@' end
-- Takes away attempts that begin so, and returns how many these were.
local function clear (key, beginning)
  local cleared = 0
  for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
    if not isPlace(member) and string.sub(member, 1, #beginning) == beginning then
      cleared = cleared + redis.call('ZREM', key, member)
    end
  end
  return cleared
end
-- Adds a place, of which so many are known, and returns what was known of it.
local function remember (key, place, most, ms)
  local before = 'first'
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', key, '(' .. text(now), '+inf')) do
    if member == '@' .. place then before = 'known' end
    if isPlace(member) and before == 'first' then before = 'new' end
  end
  keep(key, '@' .. place, tonumber(ms))
  local places = {}
  for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
    if isPlace(member) then places[#places + 1] = member end
  end
  for at = 1, #places - tonumber(most) do redis.call('ZREM', key, places[at]) end
  return before
end`

/**
 * Attempts counted in Redis, by Redis' time. Each counter is one key. `RedisStore` lists the commands.
 *
 * A counter is a sorted set: attempts by their names, and places it knows as `@` and their name, each scored by when
 * it counts no more, in milliseconds since 1970. The key expires with the last of them.
 */
export class RedisAttempts implements AttemptCounters {
  readonly #link: RedisLink
  readonly #keys: Keys
  readonly #oneServer: OneServer

  constructor (link: RedisLink, keys: Keys, oneServer: OneServer) {
    this.#link = link
    this.#keys = keys
    this.#oneServer = oneServer
  }

  /**
   * KEYS  the counters
   * ARGV  the attempt, or '' to ask only · of each counter: how many may count · for how long each does, in ms · a
   *       place, or ''
   * Returns in how many ms there is room, or 0: it counts now, or may, in each where its place is not known · which
   *         counter has no room for longest, from 0 on, or -1
   * ZADD is its first write: a full Redis refuses it, and nothing is counted.
   */
  static readonly #countScript = script<[waitMs: number, at: number]>(1, `${functions}
-- In how many ms there is room; -1 where the place is known.
local function waitOf (key, max, place)
  if place ~= '' then
    local known = redis.call('ZSCORE', key, '@' .. place)
    if known and tonumber(known) > now then return -1 end
  end
  if redis.call('ZCOUNT', key, '(' .. text(now), '+inf') < max then return 0 end
  local members = redis.call('ZRANGEBYSCORE', key, '(' .. text(now), '+inf', 'WITHSCORES')
  local ends = {}
  for index = 1, #members, 2 do
    if not isPlace(members[index]) then ends[#ends + 1] = tonumber(members[index + 1]) end
  end
  return #ends >= max and ends[#ends - max + 1] - now or 0
end
local wait, longest, counts = 0, 0, {}
for at, key in ipairs(KEYS) do
  local each = waitOf(key, tonumber(ARGV[3 * at - 1]), ARGV[3 * at + 1])
  if each == 0 then counts[#counts + 1] = at end
  if each > wait then wait, longest = each, at end
end
if wait > 0 or ARGV[1] == '' then return { wait, longest - 1 } end
for _, at in ipairs(counts) do keep(KEYS[at], ARGV[1], tonumber(ARGV[3 * at])) end
return { 0, -1 }`)

  async count (key: string, attempt: string | null, { max, withinMs }: AttemptLimit, place = ''): Promise<number> {
    const [waitMs] = await this.#run(RedisAttempts.#countScript, key, attempt ?? '', max, withinMs, place)
    return waitMs
  }

  async countTogether (
    attempt: string, counters: readonly AttemptCounter[], onRefused?: (at: number) => void
  ): Promise<number | null> {
    if (counters.length === 0) return 0
    const args = counters.flatMap(({ limit: { max, withinMs }, place = '' }) => [max, withinMs, place])
    const keys = counters.map(({ key }) => this.#keys.tries(key))
    const counted = await this.#oneServer.script(RedisAttempts.#countScript, keys, attempt, ...args)
    if (counted === null) return null
    const [waitMs, at] = counted
    if (waitMs > 0) onRefused?.(at)
    return waitMs
  }

  /**
   * KEYS  the counters to clear · the one that remembers, where there is a place
   * ARGV  of each counter to clear, what the attempts to forget begin with, or '' for all · the place, how many places
   *       may be known, for how long it is, in ms; or nothing
   * Returns 1
   */
  static readonly #settleScript = script<1>(1, `${functions}
for at, beginning in ipairs(ARGV) do
  if at == #KEYS and #ARGV > #KEYS then
    remember(KEYS[at], ARGV[at], ARGV[at + 1], ARGV[at + 2])
    break
  end
  clear(KEYS[at], beginning)
end
return 1`)

  async settle ({ clears, remembers }: AttemptSuccess): Promise<boolean> {
    const places = remembers === null ? [] : [remembers]
    const keys = [...clears, ...places].map(({ key }) => this.#keys.tries(key))
    if (keys.length === 0) return true
    const args = [
      ...clears.map(({ beginning }) => beginning),
      ...places.flatMap(({ place, most, forMs }) => [place, most, forMs])
    ]
    return await this.#oneServer.script(RedisAttempts.#settleScript, keys, ...args) !== null
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
return clear(KEYS[1], ARGV[1])`)

  async clear (key: string, beginning = ''): Promise<void> {
    await this.#run(RedisAttempts.#clearScript, key, beginning)
  }

  /**
   * KEYS  the counter
   * ARGV  a place · how many places it may know · for how long it does, in ms
   * Returns what was known of it: 'known' · 'first', of all places of this counter · 'new'
   */
  static readonly #rememberScript = script<Acquaintance>(1, `${functions}
return remember(KEYS[1], ARGV[1], ARGV[2], ARGV[3])`)

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
