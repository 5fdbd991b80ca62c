import t from 'tap'
import type { Test } from 'tap'
import { SessionManager } from '../../lib/index.ts'
import type { SessionEvent } from '../../lib/index.ts'
import type { Client } from '../../lib/redis/connection.ts'
import type { RedisStoreOptions } from '../../lib/redis/store.ts'
import { secret } from '../helpers/app.ts'
import { HOUR, MINUTE } from '../helpers/record.ts'
import { prefix, startCluster, startRedis, until } from '../helpers/redis.ts'
import { age, openStore } from '../helpers/redis-store.ts'

/*
 * How processes tell each other of events where there are many of them: within shards, and while they change to that.
 */

const redis = await startRedis(t)
const cluster = await startCluster(t)

const PLACES = [
  { place: 'one server', target: redis.url, client: redis.client as Client },
  { place: 'a Cluster', target: { cluster: cluster.nodes }, client: cluster.client as Client }
] as const
type Place = typeof PLACES[number]
type Events = RedisStoreOptions['events']

const NAMES = ['created', 'revoked', 'expired'] as const

/** A process: its sessions, and what it hears of. */
async function openProcess (t: Test, { target }: Place, { keyPrefix, events, hears = NAMES }: { keyPrefix: string, events: Events, hears?: ReadonlyArray<typeof NAMES[number]> }) {
  const store = await openStore(t, target as Parameters<typeof openStore>[1], { prefix: keyPrefix, events })
  const sessions = new SessionManager({ secret, store })
  t.teardown(() => sessions.close())
  const told: string[] = []
  for (const name of hears) sessions.on(name, ({ id, local }: SessionEvent) => { told.push([name, id, local ? 'here' : 'elsewhere'].join(' ')) })
  return { store, sessions, told }
}

/** Channels to which somebody subscribes, of all servers. */
async function channelsOf (client: Client, keyPrefix: string, command: 'CHANNELS' | 'SHARDCHANNELS'): Promise<string[]> {
  const masters = 'nodes' in client ? client.nodes('master') : [client]
  const all = await Promise.all(masters.map(async (master) => await master.call('PUBSUB', command, `@${keyPrefix}*`) as string[]))
  // In a Cluster processes may listen at different nodes.
  return [...new Set(all.flat())].sort()
}

/** The least number of processes that subscribe to one of these channels. */
async function listenersOf (client: Client, channels: string[], command: 'NUMSUB' | 'SHARDNUMSUB'): Promise<number> {
  const masters = 'nodes' in client ? client.nodes('master') : [client]
  const all = await Promise.all(masters.map(async (master) => await master.call('PUBSUB', command, ...channels) as Array<string | number>))
  const counts = channels.map((_channel, index) => all.reduce((sum, counted) => sum + Number(counted[2 * index + 1]), 0))
  return Math.min(...counts)
}

/** Resolves when so many processes listen to so many channels. */
async function listening (client: Client, keyPrefix: string, { sharded = 0, plain = 0, processes = 1 }): Promise<void> {
  await until('to listen', async () => {
    const [shards, all] = [await channelsOf(client, keyPrefix, 'SHARDCHANNELS'), await channelsOf(client, keyPrefix, 'CHANNELS')]
    return shards.length === sharded && all.length === plain &&
      await listenersOf(client, shards, 'SHARDNUMSUB') >= processes && await listenersOf(client, all, 'NUMSUB') >= processes
  })
}

for (const place of PLACES) {
  for (const events of ['sharded', 'both'] as const) {
    t.test(`on ${place.place}, ${events}: what happens in one process is heard in the others, once`, async (t) => {
      const keyPrefix = prefix()
      const [here, there] = [await openProcess(t, place, { keyPrefix, events }), await openProcess(t, place, { keyPrefix, events })]
      await listening(place.client, keyPrefix, { sharded: 32, plain: events === 'both' ? 1 : 0, processes: 2 })
      const created = await Promise.all(Array.from({ length: 40 }, async () => await here.sessions.create({ userId: 'ada', idleTimeout: MINUTE })))
      const bob = await there.sessions.create({ userId: 'bob', idleTimeout: HOUR })
      await here.sessions.revoke(bob.session.id)
      await age(place.client, keyPrefix, 30 * MINUTE)
      await here.sessions.listByUser('ada')
      const [local, foreign] = [here, there].map(() => new Set<string>())
      for (const { session } of created) {
        local?.add(`created ${session.id} here`).add(`expired ${session.id} here`)
        foreign?.add(`created ${session.id} elsewhere`).add(`expired ${session.id} elsewhere`)
      }
      local?.add(`created ${bob.session.id} elsewhere`).add(`revoked ${bob.session.id} here`)
      foreign?.add(`created ${bob.session.id} here`).add(`revoked ${bob.session.id} elsewhere`)
      await until('all events', () => here.told.length >= 82 && there.told.length >= 82)
      await here.sessions.create({ userId: 'eve' })
      await until('one more', () => here.told.length >= 83 && there.told.length >= 83)
      t.strictSame(here.told.slice(0, -1).sort(), [...local ?? []].sort())
      t.strictSame(there.told.slice(0, -1).sort(), [...foreign ?? []].sort())
    })
  }

  t.test(`on ${place.place}: a process subscribes to what somebody in it listens to, and to nothing else`, async (t) => {
    const keyPrefix = prefix()
    const { sessions, told } = await openProcess(t, place, { keyPrefix, events: 'sharded', hears: [] })
    sessions.on('store-down', () => {})
    sessions.on('login-failed', () => {})
    await sessions.create({ userId: 'ada' })
    t.strictSame(await channelsOf(place.client, keyPrefix, 'SHARDCHANNELS'), [])
    const { session } = await sessions.create({ userId: 'ada' })
    sessions.on('revoked', ({ id }) => { told.push(id) })
    await listening(place.client, keyPrefix, { sharded: 16 })
    t.ok((await channelsOf(place.client, keyPrefix, 'SHARDCHANNELS')).every((name) => name.endsWith(':ends')))
    const other = await openProcess(t, place, { keyPrefix, events: 'sharded', hears: ['created'] })
    await listening(place.client, keyPrefix, { sharded: 32 })
    await other.sessions.revoke(session.id)
    await until('the end', () => told.includes(session.id))
    await sessions.create({ userId: 'bob' })
    await until('the beginning', () => other.told.length === 1)
  })

  t.test(`on ${place.place}: while processes change to sharded events, those with both hear all once, and all hear them`, async (t) => {
    const keyPrefix = prefix()
    const [old, both, next] = [
      await openProcess(t, place, { keyPrefix, events: 'broadcast' }),
      await openProcess(t, place, { keyPrefix, events: 'both' }),
      await openProcess(t, place, { keyPrefix, events: 'sharded' })
    ]
    await listening(place.client, keyPrefix, { sharded: 32, plain: 1 })
    const [first, second, third] = [await old.sessions.create({ userId: 'a' }), await both.sessions.create({ userId: 'b' }), await next.sessions.create({ userId: 'c' })]
    const ids = (told: string[]): string[] => told.map((line) => line.split(' ')[1] ?? '').sort()
    const known = (...sessions: Array<{ session: { id: string } }>): string[] => sessions.map(({ session }) => session.id).sort()
    await until('the events', () => old.told.length >= 2 && both.told.length >= 3 && next.told.length >= 2)
    const last = await both.sessions.create({ userId: 'd' })
    await until('the last', () => [old, both, next].every(({ told }) => ids(told).includes(last.session.id)))
    t.strictSame(ids(both.told), known(first, second, third, last))
    t.strictSame(ids(old.told), known(first, second, last), 'an old process does not hear a new one')
    t.strictSame(ids(next.told), known(second, third, last))
  })
}

t.test('messages of events are as they were for processes of older versions', async (t) => {
  const keyPrefix = prefix()
  const heard: Array<Record<string, unknown>> = []
  const subscriber = redis.client.duplicate()
  t.teardown(() => subscriber.disconnect())
  subscriber.on('message', (_channel: string, message: string) => { heard.push(JSON.parse(message) as Record<string, unknown>) })
  await subscriber.subscribe(`@${keyPrefix}events`)
  const { sessions } = await openProcess(t, PLACES[0], { keyPrefix, events: undefined })
  const { session } = await sessions.create({ userId: 'ada' })
  await until('the message', () => heard.length === 1)
  t.match(heard[0], { origin: String, name: 'created', id: session.id, userId: 'ada', reason: null })
  await Promise.all(Array.from({ length: 3 }, async () => await sessions.create({ userId: 'ada' })))
  await sessions.revokeUser('ada')
  await until('the ends', () => heard.some(({ events }) => Array.isArray(events) && events.length > 1))
  t.ok(heard.every(({ origin, name, events }) => typeof origin === 'string' && (name === 'created' || Array.isArray(events))))
})
