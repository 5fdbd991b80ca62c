import type { Test } from 'tap'
import { connect, disconnectNow } from '../../lib/redis/connection.ts'
import type { Client } from '../../lib/redis/connection.ts'
import type { RedisTarget } from '../../lib/redis/target.ts'
import { ForeignAdoption } from '../../lib/express/adoption.ts'
import { RedisStore as DropIn } from '../../lib/express/redis-store.ts'
import type { RedisStoreOptions as DropInOptions } from '../../lib/express/redis-store.ts'
import { RedisStore } from '../../lib/redis/store.ts'
import type { RedisStoreOptions, RedisStoreParts } from '../../lib/redis/store.ts'
import type { Adoption } from '../../lib/session/store.ts'
import { DAY, MINUTE } from './record.ts'

/** Moves what lies under one key into the past: its expiry, a list's scores and members, those of its index too, a session's instants. */
const AGE = `
local by = tonumber(ARGV[1])
local function shift (instant) return string.format('%.0f', tonumber(instant) - by) end
local function base36 (number)
  local text = ''
  repeat
    local digit = number % 36
    text = string.sub('0123456789abcdefghijklmnopqrstuvwxyz', digit + 1, digit + 1) .. text
    number = (number - digit) / 36
  until number == 0
  return text
end
local ttl = redis.call('PTTL', KEYS[1])
if redis.call('TYPE', KEYS[1]).ok == 'zset' then
  local members = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
  for i = 1, #members, 2 do
    redis.call('ZREM', KEYS[1], members[i])
    local member = string.gsub(members[i], ':(%w+)$', function (createdAt) return ':' .. base36(tonumber(createdAt, 36) - by) end)
    local score = tonumber(members[i + 1])
    redis.call('ZADD', KEYS[1], string.format('%.2f', score < 0 and score + by or score - by), member)
  end
else
  local value = redis.call('GET', KEYS[1])
  -- What a login leaves when it is refused goes by itself, also at this moment.
  if not value then return 0 end
  local newline = string.find(value, '\\n', 1, true) or #value + 1
  local head = string.gsub(string.sub(value, 1, newline - 1), '("[scea]":)(%d+)', function (name, instant) return name .. shift(instant) end)
  redis.call('SET', KEYS[1], head .. string.sub(value, newline), 'KEEPTTL')
end
if ttl >= 0 then redis.call('PEXPIRE', KEYS[1], ttl - by) end
return 1`

/** A store with a connection of its own, ready, and closed when the test ends. */
export async function openStore (t: Test, target: RedisTarget, options: Omit<RedisStoreOptions, 'client'>, parts: RedisStoreParts = {}): Promise<RedisStore> {
  return await ready(t, target, (client) => new RedisStore({ client, ...options }, parts))
}

/** A store that adopts sessions of another library. */
export async function openAdopting (t: Test, target: RedisTarget, options: Omit<RedisStoreOptions, 'client'>): Promise<RedisStore & { adoption: Adoption }> {
  const timeouts = { idleTimeoutMs: 30 * MINUTE, absoluteTimeoutMs: 7 * DAY }
  const store = await openStore(t, target, options, {
    adoption: (base) => new ForeignAdoption(base, { ...timeouts, cookieMaxAgeMs: null, userIdFrom: null, adopt: 'express-session' })
  })
  return Object.assign(store, { adoption: store.adoption as Adoption })
}

/** The one for express-session and @fastify/session. */
export async function openDropIn (t: Test, target: RedisTarget, options: Omit<DropInOptions, 'client'>): Promise<DropIn> {
  return await ready(t, target, (client) => new DropIn({ client, ...options }))
}

async function ready<Store extends Pick<RedisStore, 'ready' | 'close'>> (t: Test, target: RedisTarget, make: (client: Client) => Store): Promise<Store> {
  const { client } = connect(target)
  const store = make(client)
  t.teardown(async () => {
    await store.close()
    disconnectNow(client)
  })
  await store.ready(10_000)
  return store
}

/** Every key that has `prefix` in it, of all masters. */
export async function keysOf (client: Client, prefix: string): Promise<string[]> {
  const masters = 'nodes' in client ? client.nodes('master') : [client]
  const keys = await Promise.all(masters.map((master) => master.keys(`*${prefix.replace(/[\\*?[\]]/g, '\\$&')}*`)))
  return keys.flat().sort()
}

/** Whether a key says where its session has moved, and will be gone in time. */
export async function isPointer (client: Client, key: string): Promise<boolean> {
  if (await client.type(key) !== 'string' || (await client.get(key))?.startsWith('>') !== true) return false
  const ttlMs = await client.pttl(key)
  return ttlMs > 0 && ttlMs <= 3_600_000
}

/** Makes the sessions and lists of `prefix` older, as waiting would. */
export async function age (client: Client, prefix: string, ms: number): Promise<void> {
  await Promise.all((await keysOf(client, prefix)).map((key) => client.eval(AGE, 1, key, ms)))
}
