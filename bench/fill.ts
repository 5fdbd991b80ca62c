import type { Redis } from 'ioredis'
import { secretHashOf, Signature } from '../lib/session/token.ts'
import { encode } from '../lib/store/codec.ts'
import { Keys } from '../lib/redis/keys.ts'
import { record } from '../test/helpers/record.ts'

/** How many sessions each user has. */
export const PER_USER = 3
/** How long they live if nobody uses them, in milliseconds. */
export const IDLE_MS = 60 * 60_000
/** How many sessions one EVAL makes. */
const PAGE = 5_000
/** When all sessions began, so that filling in again changes nothing. */
const BEGAN_AT = Date.now()
/** In place of a session's id, which has this length, and of its user. */
const ID = '$'.repeat(22)
const USER = '%user%'
/** One for all: it is never guessed here. */
const TOKEN_SECRET = 'x'.repeat(32)

/**
 * KEYS  none: it names them itself, for the one server that this is
 * ARGV  first · last number of a session · sessions per user · key, value, member of ours with their placeholders ·
 *       score · ttl in ms · key and value of connect-redis, empty for none
 */
const FILL = `
local function put (text, place, value) return (string.gsub(text, place, value)) end
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local id = string.format('%022d', number)
  local user = string.format('%d', math.floor(number / ARGV[3]))
  local list, member = put(ARGV[6], '%%user%%', user), put(ARGV[7], '%$+', id)
  redis.call('SET', put(ARGV[4], '%$+', id), put(ARGV[5], '%%user%%', user), 'PX', ARGV[9])
  redis.call('ZADD', list, ARGV[8], member)
  redis.call('PEXPIREAT', list, ARGV[8])
  if ARGV[10] ~= '' then
    redis.call('SELECT', 1)
    redis.call('SET', put(ARGV[10], '%$+', id), put(ARGV[11], '%%user%%', user), 'PX', ARGV[9])
    redis.call('SELECT', 0)
  end
end`

/** `beside`: the same for connect-redis, in database 1. */
export interface FillOptions { beside?: boolean, perUser?: number }

/** Adds the sessions `from` to `to`. Users are numbers, from 0 on. */
export async function fill (admin: Redis, from: number, to: number, options: FillOptions = {}): Promise<void> {
  const { beside = false, perUser = PER_USER } = options
  const keys = new Keys('sess:')
  const model = record({ now: BEGAN_AT, id: ID, secretHash: secretHashOf(tokenOf(ID)), userId: USER, data: JSON.stringify({ userId: USER }), idleTimeoutMs: IDLE_MS, ip: '203.0.113.7', userAgent: 'Firefox 131 on Windows' })
  const expires = new Date(model.createdAt + IDLE_MS)
  const theirs = JSON.stringify({ cookie: { originalMaxAge: IDLE_MS, expires, secure: true, httpOnly: true, path: '/', sameSite: 'lax' }, userId: USER })
  for (let first = from; first < to; first += PAGE) {
    const last = Math.min(first + PAGE, to) - 1
    await admin.eval(FILL, 0, first, last, perUser, keys.session(ID), encode(model), keys.user(USER), keys.memberOf(model), expires.getTime(), IDLE_MS, beside ? `sess:${ID}` : '', beside ? theirs : '')
  }
}

/** Whose the session of this number is. */
export function userOf (number: number): string {
  return String(Math.floor(number / PER_USER))
}

/** What the cookie of this session holds, signed with the plugin's secret. */
export function cookieOf (number: number, secret: string): string {
  return new Signature([secret]).sign(tokenOf(String(number).padStart(ID.length, '0')))
}

function tokenOf (id: string): string {
  return `${id}.${TOKEN_SECRET}`
}
