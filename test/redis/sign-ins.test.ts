import type { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import type { SessionRecord } from '../../lib/session/record.ts'
import { RedisAttempts } from '../../lib/redis/attempts.ts'
import { connect, disconnectNow } from '../../lib/redis/connection.ts'
import { Keys } from '../../lib/redis/keys.ts'
import { RedisLink } from '../../lib/redis/link.ts'
import { OneServer } from '../../lib/redis/one-server.ts'
import { RedisStore } from '../../lib/redis/store.ts'
import { record } from '../helpers/record.ts'
import { freePort, prefix, startRedis, until } from '../helpers/redis.ts'

/*
 * Where one server has all keys, a session begins by one script. A Cluster of one master, spoken to as if it were one
 * server, refuses that as one behind a proxy does.
 */

const redis = await startRedis(t)
const bus = await freePort()
const proxied = await startRedis(t, { args: ['--cluster-enabled', 'yes', '--cluster-port', String(bus)] })
const { client: cluster } = proxied
await cluster.call('CLUSTER', 'ADDSLOTSRANGE', 0, 16383)
await until('the Cluster', async () => (await cluster.call('CLUSTER', 'INFO') as string).includes('cluster_state:ok'))

const LIMIT = { limit: { max: 2, evicts: true }, markForMs: 60_000 }

/** A store for which what reads several keys is asked of each: a proxy does that. */
async function openSplitting (t: Test, url: string, ours: string): Promise<RedisStore> {
  const { client } = connect(url)
  if ('nodes' in client) throw new Error('a Cluster')
  const splitting = new Proxy(client, {
    get: (target, name) => {
      if (name === 'mget') return async (keys: string[]) => await Promise.all(keys.map(async (key) => await target.get(key)))
      if (name === 'exists') return async (...keys: string[]) => (await Promise.all(keys.map(async (key) => await target.exists(key)))).reduce((sum, each) => sum + each, 0)
      const member: unknown = Reflect.get(target, name, target)
      return typeof member === 'function' ? member.bind(target) as unknown : member
    }
  })
  const store = new RedisStore({ client: splitting, prefix: ours })
  t.teardown(async () => {
    await store.close()
    disconnectNow(client)
  })
  await until('the connection', () => client.status === 'ready')
  return store
}

/** What everybody sees of sessions that begin, are evicted, replaced and moved. */
async function play (t: Test, { url }: { url: string }, ours: string): Promise<unknown[]> {
  const store = await openSplitting(t, url, ours)
  const now = Math.floor(store.now())
  const make = (at: number): SessionRecord => record({ now, createdAt: now - 10_000 + at, data: '{"cart":1}' })
  const [first, second, third, fourth] = [make(1), make(2), make(3), make(4)]
  const [cart, moved] = [record({ now, userId: null }), { ...fourth, id: record().id }]
  const all = [first, second, third, fourth, cart, moved]
  const nameOf = (id: string | undefined): number => all.findIndex((each) => each.id === id)
  const told: string[] = []
  store.events.on('ended', (id, userId, reason, kind) => told.push(`${nameOf(id)} ${userId} ${reason} ${kind}`))
  const seen: unknown[] = []
  const look = async (): Promise<void> => {
    const listed = await store.listByUser('ada')
    const data: unknown[] = []
    for (const { id } of all) data.push((await store.find(id))?.data)
    seen.push(data, told.splice(0), listed.map(({ id }) => nameOf(id)).sort())
  }
  await store.begin(cart)
  await store.begin(first, LIMIT)
  await store.replace(second, cart, { ...LIMIT, carry: () => '{"carried":1}' })
  await look()
  await store.begin(third, LIMIT)
  await look()
  await store.update(third, () => '{"cart":2}')
  await store.replace(fourth, third, { ...LIMIT, carry: (data) => data })
  await look()
  await store.update(fourth, () => '{"cart":3}')
  await store.move(moved, fourth, { carry: (data) => data, markForMs: 60_000 })
  await look()
  seen.push(await store.move(record({ now }), fourth), await store.successor(fourth.id) === moved.id)
  for (const { id } of all) seen.push((await store.ended(id))?.reason)
  await t.rejects(store.begin(record({ now }), { limit: { max: 2, evicts: false } }), { code: 'ERR_SESSION_LIMIT_REACHED' })
  await look()
  // By its old id.
  seen.push(nameOf((await store.replace(record({ now, id: first.id }), fourth, LIMIT))?.id))
  await look()
  return seen
}

/** How many scripts a server has refused to run. */
async function refusedBy (client: Redis): Promise<number> {
  return Number(/cmdstat_evalsha:.*rejected_calls=(\d+)/.exec(await client.info('commandstats'))?.[1] ?? 0)
}

t.test('behind a proxy of a Cluster sessions begin, end and move as on one server, and it is asked for a script over several slots once', async (t) => {
  const before = await refusedBy(cluster)
  t.strictSame(await play(t, proxied, prefix()), await play(t, redis, prefix()))
  t.equal(await refusedBy(cluster), before + 1)
})

t.test('where a hash tag puts all keys on one slot, nothing is refused there either', async (t) => {
  const before = await refusedBy(cluster)
  t.strictSame(await play(t, proxied, `{app}${prefix()}`), await play(t, redis, `{app}${prefix()}`))
  t.equal(await refusedBy(cluster), before)
})

t.test('a session evicts another also where only its list is on its own slot, behind a proxy', async (t) => {
  const ours = prefix()
  const store = await openSplitting(t, proxied.url, ours)
  const session = record({ now: store.now() })
  // By chance the list of a user is on the slot of their new session.
  // The driver declares the replies of CLUSTER as unknown.
  const slotOf = async (key: string): Promise<number> => await cluster.cluster('KEYSLOT', key) as unknown as number
  const slot = await slotOf(ours + session.id)
  let userId = ''
  for (let each = 0; userId === ''; each += 1000) {
    const slots = await Promise.all(Array.from({ length: 1000 }, async (_, index) => await slotOf(`@${ours}user:${each + index}`)))
    const found = slots.indexOf(slot)
    if (found !== -1) userId = String(each + found)
  }
  const old = record({ now: store.now() - 1_000, userId })
  const told: string[] = []
  store.events.on('ended', (id, _userId, reason) => told.push(`${id} ${reason}`))
  const other = await openSplitting(t, proxied.url, ours)
  await other.begin(old)
  t.ok(await store.begin({ ...session, userId }, { limit: { max: 1, evicts: true } }))
  t.equal(await store.find(old.id), null)
  t.strictSame(await store.find(session.id), { ...session, userId })
  t.strictSame(told, [`${old.id} evicted`])
  t.equal(await cluster.zcard(`@${ours}user:${userId}`), 1)
})

t.test('failed logins are counted in several counters at once, in all or in none, or not at all behind a proxy', async (t) => {
  const limit = { max: 2, withinMs: 60_000 }
  const open = (client: Redis) => {
    const link = new RedisLink(client)
    t.teardown(() => link.close())
    return new RedisAttempts(link, new Keys(prefix()), new OneServer(link))
  }
  const here = open(redis.client)
  const counters = [{ key: 'network:1', limit }, { key: 'account:ada', limit, place: 'home' }]
  t.equal(await here.countTogether('a/1', counters), 0)
  t.equal(await here.countTogether('a/2', counters), 0)
  const waitMs = await here.countTogether('a/3', [{ key: 'network:2', limit }, ...counters])
  t.ok(waitMs !== null && waitMs > 50_000 && waitMs <= 60_000)
  t.equal(await here.count('network:2', null, { ...limit, max: 1 }), 0, 'what is refused by one counts in none')
  t.equal(await here.settle({ clears: [{ key: 'network:1', beginning: 'a/1' }], remembers: { key: 'account:ada', place: 'home', most: 2, forMs: 60_000 } }), true)
  t.equal(await here.count('network:1', null, limit), 0)
  t.ok(await here.count('account:ada', null, limit) > 0, 'which is not cleared')
  t.equal(await here.count('account:ada', null, limit, 'home'), 0)
  const there = open(cluster)
  t.equal(await there.countTogether('a/1', counters), null)
  t.equal(await there.settle({ clears: counters.map(({ key }) => ({ key, beginning: '' })), remembers: null }), false)
  t.equal(await there.count('account:ada', null, { ...limit, max: 1 }), 0, 'and nothing is counted')
})

for (const right of ['rename', 'pexpire', 'del', 'zrem', 'pexpireat', 'zadd']) {
  t.test(`who may not ${right} ends no session by a sign-in that fails, or says that it has ended`, async (t) => {
    const ours = prefix()
    const user = `${ours}user`.replaceAll(/\W/g, '')
    await redis.client.call('ACL', 'SETUSER', user, 'on', '>secret', '~*', '&*', '+@all', `-${right}`)
    t.teardown(() => redis.client.call('ACL', 'DELUSER', user))
    const url = new URL(redis.url)
    Object.assign(url, { username: user, password: 'secret' })
    const store = await openSplitting(t, url.href, ours)
    const old = record({ now: Math.floor(store.now()) - 1_000 })
    const whole = await openSplitting(t, redis.url, ours)
    t.ok(await whole.begin(old))
    const told: string[] = []
    store.events.on('ended', (id, _userId, reason) => told.push(`${id} ${reason}`))
    await t.rejects(store.begin(record({ now: store.now() }), { limit: { max: 1, evicts: true } }), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
    const isThere = await whole.find(old.id) !== null
    t.strictSame(told, isThere ? [] : [`${old.id} evicted`])
  })
}
