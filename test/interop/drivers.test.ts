import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import Fastify from 'fastify'
import * as iovalkey from 'iovalkey'
import * as redis5 from 'redis5'
import * as redis6 from 'redis6'
import t from 'tap'
import type { Test } from 'tap'
import { RedisStore, sessionPlugin } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { connect, disconnectNow } from '../../lib/redis/connection.ts'
import { secret } from '../helpers/app.ts'
import { selfSigned } from '../helpers/certificate.ts'
import { idOf, startService } from '../helpers/outage.ts'
import { HOST, newDirectory, startCluster, startRedis } from '../helpers/redis.ts'
import { startTlsWire } from '../helpers/tls-wire.ts'
import { startSentinels } from '../helpers/topology.ts'

/*
 * Clients of other drivers, and what they were made of, as the `redis` option. No client is connected: only its options
 * are read.
 */

const directory = await newDirectory()
t.teardown(() => rm(directory, { recursive: true, force: true }))
const path = join(directory, 'redis.sock')
const server = await startRedis(t, { args: ['--unixsocket', path] })
const { port } = server
const user = { username: 'ada', password: 'the-password' }
await server.client.call('ACL', 'SETUSER', user.username, 'on', `>${user.password}`, '~*', '&*', '+@all')
const id = await server.client.client('ID')

/** Has somebody sign in with a `redis` option. Returns the key of the session. */
async function signedIn (t: Test, redis: SessionOptions['redis']): Promise<string> {
  const { keyPrefix, signIn } = await startService(t, { redis })
  const bob = await signIn('bob')
  t.equal((await bob.get('/me')).body, 'bob')
  return `${keyPrefix}${idOf(bob)}`
}

/** Says of each connection to the server whose it is, to which database, and whether by the Unix socket. */
async function connections (): Promise<string[]> {
  const lines = (await server.client.client('LIST') as string).trim().split('\n').map((line) => ` ${line} `)
  const others = lines.filter((line) => !line.includes(` id=${id} `))
  const value = (line: string, name: string) => new RegExp(` ${name}=(\\S*) `).exec(line)?.[1] ?? ''
  return others.map((line) => `${value(line, 'user')} ${value(line, 'db')}${value(line, 'addr').startsWith('/') ? ' by the socket' : ''}`)
}

/** What refuses a `redis` option, at boot. */
async function refusal (redis: unknown): Promise<string> {
  const app = Fastify()
  try {
    await app.register(sessionPlugin, { secret, redis: redis as string })
    return ''
  } catch (error) {
    return (error as Error).message
  } finally {
    await app.close()
  }
}

for (const [name, driver] of [['node-redis 5', redis5], ['node-redis 6', redis6]] as const) {
  // The two versions have types of their own for the same functions.
  const { createClient, createClientPool, createCluster, createSentinel } = driver as typeof redis6
  const socket = { host: HOST, port }

  for (const [how, options, where] of [
    ['a URL', { url: `redis://ada:the-password@${HOST}:${port}/2` }, 'ada 2'],
    ['a host, a user and a database', { socket, ...user, database: 3 }, 'ada 3'],
    ['a Unix socket', { socket: { path, tls: false } }, 'default 0 by the socket']
  ] as const) {
    t.test(`${name}: a client with ${how} says where sessions are, and stays out of use`, async (t) => {
      const client = createClient(options)
      await signedIn(t, client)
      t.strictSame([...new Set(await connections())], [where])
      t.equal(client.isOpen, false)
    })

    t.test(`${name}: so do the options of a client or a pool with ${how}`, async (t) => {
      await signedIn(t, options)
      t.strictSame([...new Set(await connections())], [where])
    })
  }

  t.test(`${name}: a client that is connected goes on, and stays open`, async (t) => {
    const client = createClient({ socket, ...user })
    await client.connect()
    t.teardown(() => client.close())
    t.ok(await client.get(await signedIn(t, client)))
    t.equal(await client.ping(), 'PONG')
  })

  t.test(`${name}: a client with TLS sends nothing in the open`, async (t) => {
    const { key, cert } = await selfSigned(['redis.example.com'])
    const wire = await startTlsWire(t, server, { key, cert })
    const tls = { host: HOST, port: wire.port, tls: true, ca: cert, servername: 'redis.example.com', connectTimeout: 1 } as const
    const client = createClient({ socket: tls, ...user })
    t.ok(await server.client.get(await signedIn(t, client)))
    t.match(wire.commands, 'the-password')
    t.equal(wire.plain, 0)
    // It takes the name from the host, and the certificate has another.
    const { servername, ...nameless } = tls
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(sessionPlugin, { secret, redis: createClient({ socket: nameless, ...user }) })
    await t.rejects(app.sessions.listByUser('bob'), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  })

  t.test(`${name}: a Cluster, by its client and by its options`, async (t) => {
    const cluster = await startCluster(t)
    await Promise.all(cluster.client.nodes().map((node) => node.config('SET', 'requirepass', user.password)))
    const options = {
      rootNodes: cluster.ports.slice(0, 1).map((port) => ({ url: `redis://${HOST}:${port}` })),
      defaults: { password: user.password }
    }
    const client = createCluster(options)
    for (const redis of [client, options]) t.ok(await cluster.client.get(await signedIn(t, redis)))
    t.equal(client.isOpen, false)
  })

  t.test(`${name}: behind Sentinel, by the options`, async (t) => {
    const topology = await startSentinels(t)
    const { sentinels, name } = topology.target
    const options = { name, sentinelRootNodes: sentinels, nodeClientOptions: { database: 1 } }
    const key = await signedIn(t, options)
    const { client } = await topology.master()
    t.strictSame(await client.multi().select(1).exists(key).select(0).exists(key).exec(), [[null, 'OK'], [null, 1], [null, 'OK'], [null, 0]])
    t.match(await refusal(createSentinel(options)), 'redis must be the options given to createClientPool or createSentinel')
  })

  t.test(`${name}: what hides its options, or cannot be carried over, is refused in words`, async (t) => {
    t.match(await refusal(createClientPool({ socket })), 'redis must be the options given to createClientPool or createSentinel')
    const credentialsProvider = { type: 'async-credentials-provider', credentials: async () => user } as const
    t.match(await refusal(createClient({ socket, credentialsProvider })), 'redis must have username and password')
    t.match(await refusal(createClient({ socket: { ...socket, localAddress: HOST } })), 'redis must have no socket.localAddress')
    for (const client of [createClient(), createClientPool(), createCluster({ rootNodes: [{ socket }] })]) {
      t.throws(() => new RedisStore({ client: client as never }), /the plugin takes one of node-redis as redis/)
    }
  })
}

t.test('node-redis 6: its prefix comes before ours, and it reads a URL of a Unix socket', async (t) => {
  const client = redis6.createClient({ url: `unix://ada:the-password@${path}?db=4`, keyPrefix: 'app:' })
  const key = await signedIn(t, client)
  t.strictSame([...new Set(await connections())], ['ada 4 by the socket'])
  const replies = await server.client.multi().select(4).exists(`app:${key}`).exists(key).select(0).exec()
  t.strictSame(replies?.slice(1, 3), [[null, 1], [null, 0]])
  const { rootNodes, ...options } = { rootNodes: [{ socket: { host: HOST, port } }], keyPrefix: Buffer.from('app:') }
  t.match(await refusal(redis6.createCluster({ rootNodes, ...options })), 'redis must have a string as keyPrefix')
})

t.test('iovalkey: the connection is of our driver, which does more', async (t) => {
  const options = { host: HOST, port, lazyConnect: true }
  for (const [client, theirs] of [
    [new iovalkey.Redis(options), iovalkey.Redis],
    [new iovalkey.Cluster([options], { lazyConnect: true }), iovalkey.Cluster]
  ] as const) {
    const { client: ours } = connect(client)
    t.teardown(() => disconnectNow(ours))
    t.notOk(ours instanceof theirs)
  }
})

t.test('iovalkey: a client says where sessions are, and stays out of use', async (t) => {
  for (const client of [
    new iovalkey.Redis({ host: HOST, port, ...user, db: 5, keyPrefix: 'app:', lazyConnect: true }),
    new iovalkey.Redis(`valkey://ada:the-password@${HOST}:${port}/5`, { keyPrefix: 'app:', lazyConnect: true })
  ]) {
    const key = await signedIn(t, client)
    t.strictSame([...new Set(await connections())], ['ada 5'])
    const replies = await server.client.multi().select(5).exists(`app:${key}`).exists(key).select(0).exec()
    t.strictSame(replies?.slice(1, 3), [[null, 1], [null, 0]])
    t.equal(client.status, 'wait')
  }
})

t.test('iovalkey: a Cluster', async (t) => {
  const cluster = await startCluster(t)
  const client = new iovalkey.Cluster(cluster.nodes, { lazyConnect: true, redisOptions: { keyPrefix: 'app:' } })
  t.ok(await cluster.client.get(`app:${await signedIn(t, client)}`))
  t.equal(client.status, 'wait')
})
