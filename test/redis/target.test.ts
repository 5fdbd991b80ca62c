import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { connect, disconnect } from '../../lib/redis/connection.ts'
import { placeOf, targetFault } from '../../lib/redis/target.ts'
import type { RedisTarget } from '../../lib/redis/target.ts'
import { HOST, newDirectory, startRedis, until } from '../helpers/redis.ts'

const directory = await newDirectory()
t.teardown(() => rm(directory, { recursive: true, force: true }))
const path = join(directory, '100%.sock')
const escaped = path.replace('%', '%25')
const redis = await startRedis(t, { args: ['--unixsocket', path] })
const { port } = redis
await redis.client.call('ACL', 'SETUSER', 'ada', 'on', '>p@ss/word', '~*', '&*', '+@all')
await redis.client.call('ACL', 'SETUSER', 'bob', 'on', 'nopass', '~*', '&*', '+@all')

/** Opens a connection, which is our driver's, and returns what the server says of it. */
async function arrival (t: Test, target: RedisTarget): Promise<Record<string, string>> {
  const { client } = connect(target)
  t.type(client, Redis)
  t.teardown(() => disconnect(client))
  await until('a connection', () => client.status === 'ready')
  const info = await (client as Redis).client('INFO') as string
  return Object.fromEntries(info.trim().split(' ').map((each) => each.split('=') as [string, string]))
}

t.test('a URL of every scheme names a server, a user and a database', async (t) => {
  for (const [url, user, db] of [
    [`redis://${HOST}:${port}`, 'default', '0'],
    [`valkey://${HOST}:${port}/2`, 'default', '2'],
    [`valkey://ada:p%40ss%2Fword@${HOST}:${port}/1`, 'ada', '1'],
    [`unix://${escaped}`, 'default', '0'],
    [`unix://ada:p%40ss%2Fword@${escaped}?db=3`, 'ada', '3'],
    [`${path}?db=4`, 'default', '4']
  ] as const) {
    const said = await arrival(t, url)
    t.match(said, { user, db }, url)
    t.equal(said.addr === `${path}:0`, !url.includes(HOST), url)
  }
})

t.test('valkeys:// asks for TLS as rediss:// does, also for the nodes of a Cluster', async (t) => {
  t.strictSame(placeOf('valkeys://h:1/2'), { url: 'rediss://h:1/2', keyPrefix: '' })
  const placeOfNode = (node: string, tls?: object) => placeOf({ cluster: [node], tls })
  const placeWith = (tls: object | undefined) => ({ options: { redisOptions: { tls } } })
  for (const node of ['valkeys://h', 'rediss://h']) t.match(placeOfNode(node), { nodes: ['rediss://h'], ...placeWith({}) })
  for (const node of ['valkey://h', 'redis://h']) t.match(placeOfNode(node), { nodes: ['redis://h'], ...placeWith(undefined) })
  t.match(placeOfNode('valkeys://h', { servername: 'n' }), placeWith({ servername: 'n' }))
})

t.test('options of node-redis lead where they lead node-redis', async (t) => {
  const user = { username: 'ada', password: 'p@ss/word' }
  const url = `redis://${HOST}:${port}`
  for (const [target, said] of [
    [{ socket: { host: HOST, port }, ...user, database: 2, name: 'shop' }, { user: 'ada', db: '2', name: 'shop' }],
    [{ socket: { path }, database: 1 }, { user: 'default', db: '1', addr: `${path}:0` }],
    [{ url, username: 'bob', RESP: 2, commandsQueueMaxLength: 1 }, { user: 'bob', db: '0' }],
    [{ url, database: 3, pingInterval: 1 }, { db: '3' }],
    [{ url: `${url}/1`, socket: { port: 1 }, database: 3 }, { db: '1' }],
    [{ url: `redis://ada:p%40ss%2Fword@${HOST}:${port}`, username: 'bob', password: 'x' }, { user: 'ada' }],
    [{ url: `unix://${escaped}?db=5`, socket: { host: 'nowhere' } }, { db: '5', addr: `${path}:0` }]
  ] satisfies Array<[RedisTarget, object]>) {
    t.match(await arrival(t, target), said)
  }
  // The user of the URL is `default`.
  t.match(placeOf({ url: 'redis://:pw@h', username: 'ada' }), { server: { username: undefined, password: 'pw' } })
  t.match(placeOf({ url, clientInfoTag: 'shop', disableClientInfo: true }), { server: { clientInfoTag: 'shop', disableClientInfo: true } })
})

t.test('TLS of node-redis is TLS, with its options and nothing of its socket', async (t) => {
  const tls = { ca: 'ca', servername: 'n', rejectUnauthorized: false, localAddress: '127.0.0.2' }
  const behaviour = { connectTimeout: 1, reconnectStrategy: () => 1, socketTimeout: 1, noDelay: true, keepAlive: true, signal: 1 }
  for (const given of [{ socket: { host: 'h', port: 1, tls: true, ...tls, ...behaviour } }, { url: 'rediss://h:1', socket: { ...tls, ...behaviour } }]) {
    t.strictSame(placeOf(given), { server: { host: 'h', port: 1, tls }, keyPrefix: '' })
  }
  for (const given of [{ url: 'redis://h', socket: { ca: 'ca' } }, { socket: { host: 'h', tls: false, ca: 'ca' } }]) {
    t.strictSame(placeOf(given), { server: { host: 'h' }, keyPrefix: '' }, 'node-redis uses none either')
  }
})

t.test('a Cluster of node-redis has the defaults in every node, and what a node has of its own in that one', async (t) => {
  const nodeAddressMap = { '10.0.0.1:1': { host: 'h', port: 1 } }
  const place = placeOf({
    rootNodes: [{ url: 'redis://a:1' }, { socket: { host: 'b', port: 2, servername: 'n' }, password: 'own' }],
    defaults: { username: 'ada', password: 'p', socket: { connectTimeout: 5, family: 6 }, name: 'shop' },
    useReplicas: true,
    nodeAddressMap,
    keyPrefix: 'app:'
  })
  const common = { username: 'ada', password: 'p', family: 6, connectionName: 'shop' }
  t.match(place, {
    nodes: [{ ...common, host: 'a', port: 1 }, { ...common, host: 'b', port: 2, password: 'own' }],
    options: { redisOptions: common },
    keyPrefix: 'app:'
  })
  const found = (target: object, address: string) => (placeOf(target) as { options: { natMap: (address: string) => unknown } }).options.natMap(address)
  const rootNodes = [{ url: 'redis://a:1' }]
  t.strictSame(found({ rootNodes, nodeAddressMap }, '10.0.0.1:1'), { host: 'h', port: 1 })
  t.not(found({ rootNodes, nodeAddressMap }, '10.0.0.1:1'), nodeAddressMap['10.0.0.1:1'], 'a copy: the driver writes into it')
  t.equal(found({ rootNodes, nodeAddressMap: () => undefined }, '10.0.0.1:1'), null)
})

t.test('behind Sentinel the servers and the Sentinels have options of their own', async (t) => {
  const place = placeOf({
    name: 'sessions',
    sentinelRootNodes: [{ host: 'a', port: 1 }, { host: '10.0.0.1', port: 2 }],
    nodeClientOptions: { username: 'ada', password: 'p', database: 2, socket: { tls: true, ca: 'ca' } },
    sentinelClientOptions: { password: 's', socket: { tls: true, ca: 'other', family: 4 } },
    nodeAddressMap: (address: string) => address === '10.0.0.1:2' ? { host: 'b', port: 3 } : undefined,
    keyPrefix: 'app:'
  })
  t.match(place, {
    server: {
      name: 'sessions',
      sentinels: [{ host: 'a', port: 1, family: 4 }, { host: 'b', port: 3, family: 4 }],
      username: 'ada',
      password: 'p',
      db: 2,
      tls: { ca: 'ca' },
      enableTLSForSentinelMode: true,
      sentinelPassword: 's',
      sentinelTLS: { ca: 'other' }
    },
    keyPrefix: 'app:'
  })
  const plain = placeOf({ name: 'sessions', sentinelRootNodes: [{ host: 'a', port: 1 }] })
  t.match(plain, { server: { enableTLSForSentinelMode: false, tls: undefined, sentinelTLS: undefined } })
})

const provider = { type: 'async-credentials-provider', credentials: async () => ({ username: 'ada', password: 'LEAKED' }) }
const rootNodes = [{ url: 'redis://h' }]
const sentinelRootNodes = [{ host: 'h', port: 1 }]
const methods = (...names: string[]) => Object.fromEntries(names.map((name) => [name, () => {}]))

t.test('a URL whose database or password cannot be read is a fault', async (t) => {
  t.match(targetFault('redis://h/LEAKED'), /^must have the number of the database/)
  t.match(targetFault('redis://:100%LEAKED@h'), /^must have % written as %25/)
})

t.test('what would lead elsewhere without a word is a fault, named', async (t) => {
  for (const [fault, target] of [
    [/username and password.*credentialsProvider/, { url: 'redis://h', credentialsProvider: provider }],
    [/username and password.*credentialsProvider/, { username: 'ada', password: 'LEAKED', credentialsProvider: { type: 'streaming-credentials-provider' } }],
    [/no socket\.lookup/, { socket: { host: 'h', lookup () {} } }],
    [/no socket\.localAddress/, { url: 'redis://h', socket: { localAddress: '127.0.0.1' } }],
    [/no socket\.localPort/, { rootNodes, defaults: { socket: { localPort: 1 } } }],
    [/no socket\.socket/, { socket: { host: 'h', tls: true, socket: {} } }],
    [/no socket\.family/, { name: 'n', sentinelRootNodes, nodeClientOptions: { socket: { family: 6 } } }],
    [/true or false as socket\.tls/, { socket: { host: 'h', tls: {} } }],
    [/TLS in url and socket alike/, { url: 'redis://h', socket: { tls: true } }],
    [/TLS in url and socket alike/, { url: 'rediss://h', socket: { tls: false } }],
    [/URL as url/, { url: 'http://LEAKED' }],
    [/number of the database/, { url: 'redis://h/LEAKED' }],
    [/string as keyPrefix/, { url: 'redis://h', keyPrefix: Buffer.from('LEAKED') }],
    [/no database other than 0/, { rootNodes, defaults: { database: 1 } }],
    [/no database other than 0/, { rootNodes: [{ url: 'redis://h/1' }] }],
    [/no Unix sockets/, { rootNodes: [{ socket: { path: '/LEAKED' } }] }],
    [/none in defaults/, { rootNodes, defaults: { url: 'redis://h' } }],
    [/no more than tls, username and password/, { cluster: [{ host: 'h' }], socket: { tls: true } }],
    [/no more than tls, username and password/, { cluster: [{ host: 'h' }], redisOptions: { tls: {}, password: 'LEAKED' } }],
    [/no more than tls, username and password/, { cluster: [{ host: 'h' }], keyPrefix: 'LEAKED' }],
    [/tls and the URLs of cluster alike/, { cluster: ['rediss://h'], tls: false }],
    ...['REDISS://:LEAKED@h', 'http://LEAKED', 'unix:///LEAKED', '/LEAKED', '', true, {}, { url: 'rediss://LEAKED' }, { host: 'h', socket: { tls: true } }]
      .map((node) => [/each node of cluster/, { cluster: [node] }] satisfies [RegExp, object]),
    [/% written as %25/, { cluster: ['rediss://:100%LEAKED@h'] }],
    [/TLS in defaults\.socket and in every root node/, { rootNodes: [{ url: 'rediss://:LEAKED@h' }], defaults: { password: 'LEAKED' } }],
    [/TLS in defaults\.socket and in every root node/, { rootNodes: [{ url: 'rediss://h' }, { url: 'redis://h' }] }],
    [/password in defaults/, { rootNodes, password: 'LEAKED' }],
    [/socket in nodeClientOptions/, { name: 'n', sentinelRootNodes, socket: { tls: true } }],
    [/database in nodeClientOptions/, { name: 'n', sentinelRootNodes, database: 4 }],
    [/each of sentinelRootNodes/, { name: 'n', sentinelRootNodes: ['LEAKED:1'] }],
    [/each of sentinelRootNodes/, { name: 'n', sentinelRootNodes: [{ url: 'rediss://LEAKED' }] }],
    [/name of the master/, { sentinelRootNodes }],
    [/number as database/, { url: 'redis://h', database: NaN }],
    [/number as database/, { host: 'h', db: -1 }],
    [/no parameter but db/, { url: 'unix:///LEAKED?db=1&password=LEAKED' }],
    [/% written as %25/, { url: 'redis://:100%LEAKED@h' }],
    [/as rootNodes/, { rootNodes: [] }],
    [/as sentinelRootNodes/, { name: 'n', sentinelRootNodes: {} }],
    [/no url in nodeClientOptions/, { name: 'n', sentinelRootNodes, sentinelClientOptions: { url: 'redis://h' } }],
    [/ioredis has no url, and node-redis has no tls/, { url: 'redis://h', tls: {} }],
    [/ioredis has no database, and node-redis has no host/, { host: 'h', database: 1 }],
    [/\{ cluster: \[\{ host, port \}\] \}.*GLIDE/, { addresses: [{ host: 'LEAKED' }], useTLS: true }],
    [/\{ cluster: \[\{ host, port \}\] \}.*GLIDE/, methods('get', 'customCommand', 'close')],
    [/given to createClientPool or createSentinel/, methods('connect', 'sendCommand', 'execute')],
    [/given to createClientPool or createSentinel/, methods('connect', 'sendCommand', 'acquire')],
    [/one of another driver will not do/, methods('connect', 'sendCommand', 'duplicate')],
    [/one of another driver will not do/, methods('get', 'defineCommand', 'duplicate')]
  ] satisfies Array<[RegExp, object]>) {
    const said = targetFault(target) ?? ''
    t.match(said, fault)
    t.match(said, /^must /)
    t.notMatch(said, 'LEAKED')
  }
})
