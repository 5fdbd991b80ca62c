import calculateSlot from 'cluster-key-slot'
import t from 'tap'
import type { Test } from 'tap'
import { connect, disconnectNow } from '../../lib/redis/connection.ts'
import { Keys } from '../../lib/redis/keys.ts'
import { LineBus } from '../../lib/redis/line-bus.ts'
import { RedisLink } from '../../lib/redis/link.ts'
import { RedisStore } from '../../lib/redis/store.ts'
import type { RedisTarget } from '../../lib/redis/target.ts'
import type { BusSubject } from '../../lib/session/store.ts'
import { newId } from '../../lib/session/token.ts'
import { prefix, startCluster, startRedis, until } from '../helpers/redis.ts'
import type { Owner } from '../helpers/redis.ts'
import { startReplicatedCluster } from '../helpers/topology.ts'

const redis = await startRedis(t)

/** A bus over connections of its own, what it hears, and how often it may have missed something. */
async function open (t: Owner & Pick<Test, 'teardown'>, target: RedisTarget, keys: Keys, { isSharded = true } = {}) {
  const { client } = connect(target)
  const link = new RedisLink(client)
  await link.ready(10_000)
  const bus = new LineBus(link, keys, { isSharded })
  t.teardown(async () => {
    await bus.close()
    link.close()
    disconnectNow(client)
  })
  const heard: string[] = []
  const state = { gaps: 0, refused: [] as string[] }
  const listen = () => bus.listen({
    onMessage: (message) => { heard.push(message) },
    onGap: () => { state.gaps++ },
    subjects: ['ends'],
    onRefused: ({ message }) => { state.refused.push(message) }
  })
  const send = async (message: string, id = newId()) => await bus.publish(message, bus.channelOf?.('ends', id))
  return { bus, link, client, heard, state, listen, send }
}

/** Sends a message for each channel, and again until all have come. */
async function heardOnAll (keys: Keys, from: Awaited<ReturnType<typeof open>>, to: Awaited<ReturnType<typeof open>>, ms = 20_000): Promise<void> {
  for (const channel of keys.shardsOf(0, 'ends')) {
    let tries = 0
    await until(`a message on ${channel}`, async () => {
      const message = `${channel} ${tries++}`
      await from.bus.publish(message, channel)
      await new Promise((resolve) => setTimeout(resolve, 20))
      return to.heard.some((each) => each.startsWith(`${channel} `))
    }, ms)
  }
}

t.test('channels lie in all sixteenths of a Cluster, those of a subject and of another together', async (t) => {
  const keys = new Keys('sess:')
  const [ends, beginnings] = [keys.shardsOf(0, 'ends'), keys.shardsOf(0, 'beginnings')]
  t.strictSame(ends.map((channel) => Math.floor(calculateSlot(channel) / 1_024)), Array.from({ length: 16 }, (_, part) => part))
  t.strictSame(ends.map((channel) => calculateSlot(channel)), beginnings.map((channel) => calculateSlot(channel)))
  t.equal(new Set([...ends, ...beginnings, ...keys.shardsOf(2, 'ends')]).size, 48)
  const { bus } = await open(t, redis.url, keys)
  const used = new Set(Array.from({ length: 1_000 }, () => bus.channelOf?.('ends', newId())))
  t.equal(used.size, 16)
})

t.test('a client with a prefix of its own uses the same channels', async (t) => {
  const name = prefix()
  const plain = await open(t, redis.url, new Keys(`app:${name}`))
  const client = redis.client.duplicate({ keyPrefix: 'app:' })
  const link = new RedisLink(client)
  const bus = new LineBus(link, new Keys(name, 'app:'), { isSharded: true })
  t.teardown(async () => {
    await bus.close()
    link.close()
    client.disconnect()
  })
  const stop = plain.listen()
  await until('to listen', () => plain.state.gaps === 1)
  await bus.publish('hello', bus.channelOf?.('ends', 'x'))
  await until('the message', () => plain.heard.includes('hello'))
  await stop()
})

for (const isSharded of [true, false]) {
  t.test(`it knows that it hears, and from when on it may not, ${isSharded ? 'sharded' : 'plain'}`, async (t) => {
    const keys = new Keys(prefix())
    const there = await open(t, redis.url, keys, { isSharded })
    there.bus.trust(300)
    t.equal(there.bus.trustedUntil, 0)
    const stop = there.listen()
    await until('trust', () => there.bus.trustedUntil > performance.now())
    t.equal(there.state.gaps, 1)
    const { trustedUntil } = there.bus
    await there.bus.hear()
    t.ok(there.bus.trustedUntil > trustedUntil)
    await redis.client.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
    await until('the loss', () => there.bus.trustedUntil === 0 || there.state.gaps === 2)
    await until('trust again', () => there.bus.trustedUntil > performance.now() && there.state.gaps === 2)
    await there.send('hello')
    await until('the message', () => there.heard.includes('hello'))
    redis.pause()
    await until('silence', () => there.bus.trustedUntil <= performance.now())
    redis.resume()
    await until('trust after the silence', () => there.bus.trustedUntil > performance.now())
    await stop()
    t.equal(there.bus.trustedUntil, 0)
  })
}

t.test('a line that is to hear more is not trusted until it does', async (t) => {
  const keys = new Keys(prefix())
  await redis.client.call('ACL', 'SETUSER', 'narrow', 'on', '>right', '~*', 'resetchannels', '&*:ends*', '+@all')
  const all = await open(t, redis.url, keys)
  const narrow = await open(t, { host: '127.0.0.1', port: redis.port, username: 'narrow', password: 'right' }, keys)
  for (const there of [all, narrow]) {
    there.bus.trust(1_000)
    there.listen()
    await until('trust', () => there.bus.trustedUntil > performance.now())
    there.bus.listen({
      onMessage: () => {},
      onGap: () => {},
      subjects: ['beginnings'],
      onRefused: ({ message }) => { there.state.refused.push(message) }
    })
    t.equal(there.bus.trustedUntil, 0)
  }
  await until('trust again', () => all.bus.trustedUntil > performance.now())
  await until('the refusal', () => narrow.state.refused.length > 0)
  // An echo would come: its own channel may be heard.
  await narrow.bus.hear()
  t.equal(narrow.bus.trustedUntil, 0)
})

t.test('of several who trust a bus the strictest counts, and all can', async (t) => {
  const { bus, listen } = await open(t, redis.url, new Keys(prefix()))
  bus.trust(60_000)
  listen()
  await until('trust', () => bus.trustedUntil > performance.now() + 30_000)
  bus.trust(400)
  t.equal(bus.trustedUntil, 0)
  await until('trust in the shorter time', () => bus.trustedUntil > performance.now())
  t.ok(bus.trustedUntil < performance.now() + 401)
  bus.trust(60_000)
  const { trustedUntil } = bus
  // Nobody asks for the echo but itself.
  await until('trust to go on', () => bus.trustedUntil > trustedUntil)
  t.ok(bus.trustedUntil < performance.now() + 401)
})

t.test('two near-caches on one store both go on hearing of ends', async (t) => {
  const { client } = connect(redis.url)
  const store = new RedisStore({ client, prefix: prefix(), events: 'sharded' })
  await store.ready(10_000)
  const caches = [400, 60_000].map((silenceMs) => ({ ends: store.ends(silenceMs), heard: [] as string[] }))
  t.teardown(async () => {
    for (const { ends } of caches) await ends.close()
    await store.close()
    disconnectNow(client)
  })
  for (const { ends, heard } of caches) t.equal(await ends.listen((id) => { heard.push(id) }, () => {}), null)
  for (const { ends } of caches) {
    const { trustedUntil } = ends
    await until('trust to go on', () => ends.trustedUntil > trustedUntil && ends.trustedUntil > performance.now())
    const id = newId()
    ends.tell(id)
    await until('the end', () => caches.every(({ heard }) => heard.includes(id)))
  }
})

t.test('nobody waits for an echo on a channel that is not wanted any more', async (t) => {
  const { bus } = await open(t, redis.url, new Keys(prefix()))
  const listen = (subject: BusSubject) => bus.listen({ onMessage: () => {}, onGap: () => {}, subjects: [subject] })
  bus.trust(1_000)
  const stop = listen('beginnings')
  listen('ends')
  await until('trust', () => bus.trustedUntil > performance.now())
  await stop()
  let isSettled = false
  bus.hear().catch(() => {}).finally(() => { isSettled = true })
  // Its own channel is named after the first one that it wants.
  listen('ends')
  await new Promise((resolve) => { setImmediate(resolve) })
  t.ok(isSettled)
  await until('trust again', () => bus.trustedUntil > performance.now())
})

t.test('a line to another server than the one that is read from is never trusted', async (t) => {
  const other = await startRedis(t)
  const keys = new Keys(prefix())
  const there = await open(t, redis.url, keys)
  there.bus.trust(300)
  if ('port' in there.client.options) there.client.options.port = other.port
  there.listen()
  await until('to listen there', () => there.state.gaps > 0)
  await t.rejects(until('trust', () => there.bus.trustedUntil > 0, 1_000))
})

t.test('what Redis refuses is told, and nothing is trusted', async (t) => {
  await redis.client.call('ACL', 'SETUSER', 'deaf', 'on', '>right', '~*', 'resetchannels', '+@all')
  const there = await open(t, { host: '127.0.0.1', port: redis.port, username: 'deaf', password: 'right' }, new Keys(prefix()))
  there.bus.trust(300)
  there.listen()
  await until('the refusal', () => there.state.refused.length > 0)
  t.match(there.state.refused[0], /NOPERM/)
  t.equal(there.bus.trustedUntil, 0)
  t.equal(there.state.gaps, 0)
})

t.test('when a slot moves to another master its channel is heard from there', async (t) => {
  const cluster = await startCluster(t)
  const keys = new Keys(prefix())
  const target = { cluster: cluster.nodes }
  const [here, there] = [await open(t, target, keys), await open(t, target, keys)]
  there.bus.trust(1_000)
  there.listen()
  await until('trust', () => there.bus.trustedUntil > performance.now())
  await heardOnAll(keys, here, there)
  const masters = cluster.client.nodes('master')
  // By the last, its line does not hear itself.
  const [first = '', , last = ''] = keys.shardsOf(0, 'ends')
  for (const [channel, isToldByDriver] of [[first, true], [last, false]] as const) {
    // By itself the driver tells seconds later; the server ends the subscription at once.
    if (!isToldByDriver) for (const name of ['+node', '-node', 'refresh']) there.client.removeAllListeners(name)
    const slot = calculateSlot(channel)
    const owner = cluster.client.slots[slot]?.[0]
    const to = masters.find(({ options: { host, port } }) => `${host}:${port}` !== owner)
    const toId = await to?.call('CLUSTER', 'MYID') as string
    const { gaps } = there.state
    for (const node of [to, ...masters.filter((master) => master !== to)]) await node?.call('CLUSTER', 'SETSLOT', slot, 'NODE', toId)
    await until('the gap', () => there.state.gaps > gaps)
    there.heard.length = 0
    await heardOnAll(keys, here, there)
    await until('trust again', () => there.bus.trustedUntil > performance.now())
  }
})

t.test('when a replica takes over, asked to or because its master has died, all channels are heard again', { timeout: 120_000 }, async (t) => {
  const topology = await startReplicatedCluster(t)
  const keys = new Keys(prefix())
  const [here, there] = [await open(t, topology.target, keys), await open(t, topology.target, keys)]
  there.bus.trust(1_000)
  there.listen()
  await heardOnAll(keys, here, there)
  for (const isKilled of [false, true]) {
    const master = await topology.masterOfKey(keys.shardsOf(0, 'ends')[0] ?? '')
    // Asked to, the old master stays in its shard: nothing is missed, and it is left when the driver knows.
    if (isKilled) await master.kill()
    else await topology.failover(master)
    if (isKilled) await topology.takeover(master, topology.members)
    there.heard.length = 0
    await heardOnAll(keys, here, there)
    await until('trust again', () => there.bus.trustedUntil > performance.now(), 20_000)
    if (isKilled) await topology.repair()
    else await topology.healthy()
  }
})
