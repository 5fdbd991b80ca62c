import type { ClusterNode, NatMap, RedisOptions } from 'ioredis'
import { assertDatabase, isRedisUrl, isTlsUrl, partsOf, SCHEMES, TargetFault } from './place.ts'
import type { Place } from './place.ts'

/*
 * Options of node-redis, 5 and 6, in the words of the driver. Where a connection goes and as whom is carried over, or
 * it is a fault. How their connection behaves (timeouts, queues, caches, the version of the protocol) is left out: ours
 * behaves as sessions need it.
 */

/** Names of options of node-redis whose values have no type here. */
type Others =
  | 'RESP' | 'modules' | 'functions' | 'scripts' | 'commandsQueueMaxLength' | 'disableOfflineQueue' | 'readonly'
  | 'pingInterval' | 'commandOptions' | 'clientSideCache' | 'emitInvalidate' | 'maintNotifications'
  | 'maintEndpointType' | 'maintRelaxedCommandTimeout' | 'maintRelaxedSocketTimeout' | 'himportRegistry'
  | 'disableClientInfo' | 'clientInfoTag' | 'credentialsProvider'

/** Options of `createClient` and `createClientPool` of node-redis. */
export interface NodeRedisOptions extends Partial<Record<Others, unknown>> {
  /** URL of the server. What it says comes before the other options. */
  url?: string | undefined
  /** `host`, `port`, `path` and `family`; `tls: true` with the options of `tls.connect` beside it. */
  socket?: object | undefined
  /** User of the ACL. */
  username?: string | undefined
  /** Password of that user. */
  password?: string | undefined
  /** Number of the database. */
  database?: number | undefined
  /** Name of the connection in `CLIENT LIST`. */
  name?: string | undefined
  /** What all keys begin with: a string. */
  keyPrefix?: string | object | undefined
  /** Clients have it, options do not. */
  sendCommand?: never
}

/** Address of a server. */
interface Address {
  /** Name or number of its host. */
  host: string
  /** Its port. */
  port: number
}

/** Says where an address that Redis names is to be found. */
type NodeAddressMap = Record<string, Address> | ((address: string) => Address | undefined)

/** Options of `createCluster` of node-redis. */
export interface NodeRedisClusterOptions {
  /** Some of its nodes. */
  rootNodes: NodeRedisOptions[]
  /** Options of all nodes. */
  defaults?: NodeRedisOptions | undefined
  /** Where the addresses that the Cluster names are to be found. */
  nodeAddressMap?: NodeAddressMap | undefined
  /** What all keys begin with: a string. */
  keyPrefix?: string | object | undefined
}

/** Options of `createSentinel` of node-redis. */
export interface NodeRedisSentinelOptions {
  /** Name of the master. */
  name: string
  /** Some of the Sentinels. */
  sentinelRootNodes: Address[]
  /** Options of the servers. */
  nodeClientOptions?: NodeRedisOptions | undefined
  /** Options of the Sentinels. */
  sentinelClientOptions?: NodeRedisOptions | undefined
  /** Where the addresses that a Sentinel names are to be found. */
  nodeAddressMap?: NodeAddressMap | undefined
  /** What all keys begin with: a string. */
  keyPrefix?: string | object | undefined
}

/**
 * Returns where the server of these options is.
 * @throws TargetFault for what cannot be carried over
 */
export function serverPlace (options: NodeRedisOptions): Place {
  return { server: serverOf(options), keyPrefix: prefixOf(options) }
}

/**
 * Returns where the Cluster of these options is.
 * @throws TargetFault for what cannot be carried over
 */
export function clusterPlace (cluster: NodeRedisClusterOptions): Place {
  const { rootNodes, defaults = {}, nodeAddressMap } = cluster
  if (!Array.isArray(rootNodes) || rootNodes.length === 0) throw new TargetFault('must have some nodes as rootNodes')
  assertNoServer(cluster, 'defaults')
  // node-redis would go to its host for every node.
  if (defaults.url !== undefined) throw new TargetFault('must have URLs in rootNodes, and none in defaults')
  const nodes = rootNodes.map((root) => ofCluster({ ...defaults, ...root, socket: bothSockets(defaults, root) }))
  // Nodes that the Cluster names have no more than the defaults.
  const { host, port, ...redisOptions } = ofCluster(defaults)
  if (new Set([...nodes, redisOptions].map(({ tls }) => tls === undefined)).size > 1) {
    throw new TargetFault('must ask for TLS in defaults.socket and in every root node, or in none')
  }
  return { nodes, options: { redisOptions, ...natMapOf(nodeAddressMap) }, keyPrefix: prefixOf(cluster) }
}

/**
 * Returns where the servers behind Sentinel of these options are.
 * @throws TargetFault for what cannot be carried over
 */
export function sentinelPlace (sentinel: NodeRedisSentinelOptions): Place {
  const { name, sentinelRootNodes, nodeClientOptions = {}, sentinelClientOptions = {}, nodeAddressMap } = sentinel
  if (!Array.isArray(sentinelRootNodes) || sentinelRootNodes.length === 0) {
    throw new TargetFault('must have some Sentinels as sentinelRootNodes')
  }
  // The driver takes what it does not know for localhost.
  if (sentinelRootNodes.some((node) => typeof node?.host !== 'string' || !Number.isInteger(node.port))) {
    throw new TargetFault('must have { host, port } for each of sentinelRootNodes')
  }
  if (typeof name !== 'string' || name === '') throw new TargetFault('must have the name of the master as name')
  assertNoServer(sentinel, 'nodeClientOptions')
  if (nodeClientOptions.url !== undefined || sentinelClientOptions.url !== undefined) {
    throw new TargetFault('must have no url in nodeClientOptions and sentinelClientOptions')
  }
  const { host, port, path, family, ...server } = serverOf(nodeClientOptions)
  const { username, password, tls, family: sentinelFamily } = serverOf(sentinelClientOptions)
  if (family !== undefined && server.tls === undefined) throw cannot('socket.family of nodeClientOptions without TLS')
  const { natMap } = natMapOf(nodeAddressMap)
  const sentinels = sentinelRootNodes.map((node) => {
    const { host, port } = natMap?.(`${node.host}:${node.port}`) ?? node
    return { host, port, family: sentinelFamily }
  })
  return {
    server: {
      ...server,
      name,
      sentinels,
      natMap,
      enableTLSForSentinelMode: server.tls !== undefined,
      sentinelUsername: username,
      sentinelPassword: password,
      sentinelTLS: tls
    } as RedisOptions,
    keyPrefix: prefixOf(sentinel)
  }
}

/** Options of one server. Beside those of many nobody reads them. */
const OF_A_SERVER = ['url', 'socket', 'username', 'password', 'database', 'credentialsProvider', 'tls']

/** @throws TargetFault for options of one server that stand beside `inside` */
function assertNoServer (options: object, inside: string): void {
  const misplaced = OF_A_SERVER.find((name) => (options as Record<string, unknown>)[name] !== undefined)
  if (misplaced !== undefined) throw new TargetFault(`must have ${misplaced} in ${inside}`)
}

/** Options of the driver for one server. */
type Server = Pick<RedisOptions,
  'host' | 'port' | 'path' | 'family' | 'tls' | 'username' | 'password' | 'db' | 'connectionName' |
  'disableClientInfo' | 'clientInfoTag'>

function serverOf (given: NodeRedisOptions): Server {
  const read = withUrl(given)
  const { socket, username, password, database, name, disableClientInfo, clientInfoTag } = read
  const { host, port, path, family } = socket
  assertDatabase(database)
  if (usesProvider(read)) {
    throw new TargetFault('must have username and password: our connection cannot ask a credentialsProvider')
  }
  return defined({
    // With a path node-redis uses neither.
    host: path === undefined ? host : undefined,
    port: path === undefined ? port : undefined,
    path,
    family,
    tls: tlsOf(socket),
    username,
    // A user without a password signs in with an empty one.
    password: password ?? (username === undefined ? undefined : ''),
    db: database,
    connectionName: name,
    disableClientInfo,
    clientInfoTag
  }) as Server
}

/** Socket of node-redis, as far as it is read here. */
interface Socket extends Pick<Server, 'host' | 'port' | 'path' | 'family'> {
  tls?: boolean | undefined
  [option: string]: unknown
}

/** Options with what their URL says in its place. */
type Read = Omit<NodeRedisOptions, 'url' | 'socket'> & { socket: Socket }

/** Reads options. What a URL says comes before the others, as in node-redis. */
function withUrl ({ url, socket = {}, ...options }: NodeRedisOptions): Read {
  const { tls } = socket as Socket
  if (tls !== undefined && typeof tls !== 'boolean') throw new TargetFault('must have true or false as socket.tls')
  if (url === undefined) return { ...options, socket: { ...socket } }
  if (!isRedisUrl(url)) throw new TargetFault(`must have a ${SCHEMES} URL as url`)
  if (tls !== undefined && tls !== isTlsUrl(url)) throw new TargetFault('must ask for TLS in url and socket alike')
  const { username, password, database = options.database, ...parts } = partsOf(url)
  const user = username === undefined && password === undefined ? {} : { username, password }
  return { ...options, ...user, database, socket: { ...socket, ...parts } }
}

/** What of a socket says how to connect, and is no option of TLS. */
const NO_TLS_OPTIONS = new Set([
  'host', 'port', 'path', 'tls', 'connectTimeout', 'socketTimeout', 'reconnectStrategy', 'timeout', 'keepAlive',
  'keepAliveInitialDelay', 'noDelay', 'signal', 'onread', 'readable', 'writable'
])

/** What of a socket the driver cannot do without TLS. */
const TLS_ONLY = ['lookup', 'localAddress', 'localPort']

function tlsOf (socket: Socket): RedisOptions['tls'] {
  const lacking = (socket.tls === true ? ['socket'] : TLS_ONLY).find((name) => socket[name] !== undefined)
  if (lacking !== undefined) throw cannot(`socket.${lacking}`)
  if (socket.tls !== true) return undefined
  return Object.fromEntries(Object.entries(socket).filter(([name]) => !NO_TLS_OPTIONS.has(name)))
}

/**
 * Whether credentials come from a provider of the application alone. node-redis makes one of `username` and `password`,
 * and puts it into the options: beside them nobody can tell whose it is, so they are taken.
 */
function usesProvider ({ credentialsProvider, username, password }: Read): boolean {
  if (credentialsProvider == null) return false
  const isStreaming = (credentialsProvider as { type?: unknown }).type === 'streaming-credentials-provider'
  return isStreaming || (username === undefined && password === undefined)
}

/** Options of a node of a Cluster. */
function ofCluster (options: NodeRedisOptions): Exclude<ClusterNode, string | number> & Omit<Server, 'path' | 'db'> {
  const { path, db, ...node } = serverOf(options)
  if (path !== undefined) throw new TargetFault('must have hosts: the nodes of a Cluster have no Unix sockets')
  if (db !== undefined && db !== 0) throw new TargetFault('must have no database other than 0 in a Cluster')
  return node
}

function bothSockets (defaults: NodeRedisOptions, root: NodeRedisOptions): object {
  return { ...defaults.socket, ...root.socket }
}

/** Always a function: the driver writes into the addresses that it gets. */
function natMapOf (map: NodeAddressMap | undefined): { natMap?: Extract<NatMap, (key: string) => unknown> } {
  if (map === undefined) return {}
  return {
    natMap: (address) => {
      const found = typeof map === 'function' ? map(address) : map[address]
      return found === undefined ? null : { host: found.host, port: found.port }
    }
  }
}

function prefixOf ({ keyPrefix = '' }: { keyPrefix?: unknown }): string {
  if (typeof keyPrefix !== 'string') throw new TargetFault('must have a string as keyPrefix')
  return keyPrefix
}

function cannot (name: string): TargetFault {
  return new TargetFault(`must have no ${name}: our connection cannot do that`)
}

/** Leaves out what is undefined. */
function defined (options: object): object {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}
