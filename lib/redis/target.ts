import type { ClusterNode, ClusterOptions, RedisOptions } from 'ioredis'
import { clusterPlace, sentinelPlace, serverPlace } from './node-redis.ts'
import type { NodeRedisClusterOptions, NodeRedisOptions, NodeRedisSentinelOptions } from './node-redis.ts'
import { assertDatabase, inDriversWords, isRedisUrl, isTlsUrl, partsOf, SCHEMES, TargetFault } from './place.ts'
import type { Place } from './place.ts'
import type { Client } from './connection.ts'

/** A Cluster, named by some of its nodes. */
interface RedisClusterOptions {
  /** Some of its nodes: URLs, ports, or `{ host, port }`. */
  cluster: ClusterNode[]
  /** TLS to every node. `{}`: with Node's defaults. Default: where the URL of a node asks for it. */
  tls?: RedisOptions['tls']
  /** User of the ACL. */
  username?: string | undefined
  /** Password of that user. */
  password?: string | undefined
}

/** A `Redis` or `Cluster` of ioredis or iovalkey: the part of its types that all versions share. */
export interface ClientLike {
  /** Its options. */
  readonly options: object
  /** Makes another client with the same options. */
  duplicate: (...options: never[]) => unknown
  /** Defines a script as a command. Clients of other drivers do not have this. */
  defineCommand: (...args: never[]) => unknown
  /** Reads a key. */
  get: (...args: never[]) => unknown
}

/** What `createClient` of node-redis returns: the part of its types that all versions share. */
interface NodeRedisClient {
  /** Its options. */
  readonly options: object | undefined
  /** Makes another client with the same options. */
  duplicate: (...options: never[]) => unknown
  /** Sends a command. */
  sendCommand: (...args: never[]) => unknown
}

/** What `createCluster` of node-redis returns: the part of its types that all versions share. */
interface NodeRedisCluster {
  /** Its nodes. */
  readonly nodeByAddress: object
  /** Makes another client with the same options. */
  duplicate: (...options: never[]) => unknown
  /** Sends a command. */
  sendCommand: (...args: never[]) => unknown
}

/** Value of the `redis` option: a URL, options of a driver, nodes of a Cluster, or a client to copy the options of. */
export type RedisTarget =
  | string | RedisOptions | RedisClusterOptions | ClientLike
  | NodeRedisOptions | NodeRedisClusterOptions | NodeRedisSentinelOptions | NodeRedisClient | NodeRedisCluster

const ANY = `must be a ${SCHEMES} URL, the options or a client of ioredis, iovalkey or node-redis, ` +
  'or { cluster: [...] }'
const NODE = 'must have a URL, a port or { host, port } for each node of cluster'
const OTHER_DRIVER = 'must be a client of ioredis, iovalkey or node-redis: one of another driver will not do, ' +
  'but its URL will'
const HIDES = 'must be the options given to createClientPool or createSentinel: what these return does not show them'
const GLIDE = 'must be { host, port } or { cluster: [{ host, port }] }, with tls, username and password: ' +
  'what GLIDE is given does not say which of the two it is'

/** Says what is wrong with a `redis` option, or returns `null`. A driver takes what it does not know for localhost. */
export function targetFault (target: unknown): string | null {
  try {
    placeOf(target)
    return null
  } catch (error) {
    if (error instanceof TargetFault) return error.message
    throw error
  }
}

/** Whether a `redis` option names a Cluster. One behind a proxy looks like one server. */
export function isClusterTarget (target: unknown): boolean {
  return 'nodes' in placeOf(target)
}

/**
 * Returns where Redis is, by a `redis` option. Of a client only the options are read.
 * @throws TargetFault for an option that will not do
 */
export function placeOf (target: unknown): Place {
  if (typeof target === 'string') return placeOfUrl(target)
  if (typeof target !== 'object' || target === null || Array.isArray(target)) throw new TargetFault(ANY)
  if (isClient(target)) return placeOfClient(target)
  if (isNodeRedis(target)) return placeOfNodeRedis(target)
  if (has(target, 'customCommand') || 'addresses' in target) throw new TargetFault(GLIDE)
  if (['get', 'connect', 'sendCommand'].some((name) => has(target, name))) throw new TargetFault(OTHER_DRIVER)
  return placeOfOptions(target)
}

/** Whether `value` is a client of ioredis, also of another copy of the package, or of iovalkey. */
export function isClient (value: unknown): value is Client {
  // Other drivers' clients have the first two as well. A mock has no `call`.
  return isObject(value) && ['duplicate', 'get', 'defineCommand', 'call'].every((name) => has(value, name))
}

/** Whether `value` is a client of node-redis: of one server or a Cluster, behind Sentinel, or a pool. */
export function isNodeRedis (value: unknown): value is object {
  return isObject(value) && ['connect', 'sendCommand'].every((name) => has(value, name)) && !isClient(value)
}

function isObject (value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

/** Whether an object has a method of this name. */
function has (value: object, name: string): boolean {
  return typeof (value as Record<string, unknown>)[name] === 'function'
}

function placeOfUrl (url: string): Place {
  if (!isRedisUrl(url) && !isSocketPath(url)) throw new TargetFault(ANY)
  // Only for its faults: the driver would make another database of what is no number.
  if (isRedisUrl(url)) partsOf(url)
  return url.startsWith('unix:') ? serverPlace({ url }) : { url: inDriversWords(url), keyPrefix: '' }
}

/** Whether a text is the path of a Unix socket, as ioredis takes it. It takes two slashes for the start of a host. */
function isSocketPath (text: string): boolean {
  return /^\/[^/]/.test(text)
}

function placeOfClient (client: Client): Place {
  const { options } = client
  const { keyPrefix = '' } = options
  // A Cluster's: private by the driver's types, and in all versions.
  const { startupNodes } = client as unknown as { startupNodes?: ClusterNode[] }
  if (startupNodes === undefined) return { server: options as RedisOptions, keyPrefix }
  return { nodes: [...startupNodes], options: options as ClusterOptions, keyPrefix }
}

function placeOfNodeRedis (client: object): Place {
  // Private by the types of node-redis. Those of Sentinels and pools are private in JavaScript as well.
  const { options, _options } = client as { options?: object, _options?: object }
  if (isObject(_options) && 'rootNodes' in _options) return clusterPlace(_options as NodeRedisClusterOptions)
  if (isObject(options) && has(client, 'duplicate')) return serverPlace(options)
  throw new TargetFault(has(client, 'execute') || has(client, 'acquire') ? HIDES : OTHER_DRIVER)
}

/** Names by which options of node-redis are told from those of ioredis, and the other way round. */
const OF_NODE_REDIS = ['url', 'socket', 'database', 'credentialsProvider']
const OF_IOREDIS = ['host', 'port', 'path', 'family', 'tls', 'db', 'sentinels']

function placeOfOptions (options: object): Place {
  if ('cluster' in options) return placeOfNodes(options as RedisClusterOptions)
  if ('rootNodes' in options) return clusterPlace(options as NodeRedisClusterOptions)
  if ('sentinelRootNodes' in options) return sentinelPlace(options as NodeRedisSentinelOptions)
  const isDefined = (name: string): boolean => (options as Record<string, unknown>)[name] !== undefined
  const [theirs, ours] = [OF_NODE_REDIS, OF_IOREDIS].map((names) => names.find(isDefined))
  if (theirs !== undefined && ours !== undefined) {
    throw new TargetFault(`must be options of one driver: ioredis has no ${theirs}, and node-redis has no ${ours}`)
  }
  if (theirs !== undefined) return serverPlace(options)
  const { keyPrefix = '', ...others } = options as RedisOptions
  assertDatabase(others.db)
  return { server: others, keyPrefix }
}

function placeOfNodes ({ cluster, tls, username, password, ...others }: RedisClusterOptions): Place {
  if (!Array.isArray(cluster) || cluster.length === 0 || cluster.some((node) => node == null)) {
    throw new TargetFault(ANY)
  }
  // What is left out without a word may be what asks for TLS.
  if (Object.values(others).some((value) => value !== undefined)) {
    throw new TargetFault('must have no more than tls, username and password beside cluster')
  }
  for (const node of cluster) assertNode(node)
  // The driver looks for hosts and passwords in URLs, and not for TLS.
  const asked = cluster.some((node) => typeof node === 'string' && isTlsUrl(node)) ? {} : undefined
  if (asked !== undefined && (tls as unknown) === false) {
    throw new TargetFault('must ask for TLS in tls and the URLs of cluster alike')
  }
  return {
    nodes: cluster.map((node) => typeof node === 'string' ? inDriversWords(node) : node),
    options: { redisOptions: { tls: tls ?? asked, username, password } as RedisOptions },
    keyPrefix: ''
  }
}

/** @throws TargetFault for a node that the driver would take for localhost, or without TLS */
function assertNode (node: unknown): void {
  if (typeof node === 'number') return
  if (typeof node === 'string') {
    // Without a scheme it is `host:port`.
    if (!node.includes('://') && node !== '' && !node.startsWith('/')) return
    if (!isRedisUrl(node) || node.startsWith('unix:')) throw new TargetFault(NODE)
    partsOf(node)
    return
  }
  const { host, port, url, socket } = Object(node) as Record<string, unknown>
  if ((host ?? port) == null || (url ?? socket) !== undefined) throw new TargetFault(NODE)
}
