import { Cluster, Redis } from 'ioredis'
import type { ClusterNode, ClusterOptions, RedisOptions } from 'ioredis'
import { withDeadline } from '../util/deadline.ts'
import { keepTrying, leaveReplicas, stayClosed } from './driver-mends.ts'
import { followSentinels } from './sentinels.ts'

/** How long closing waits for commands under way, in milliseconds. */
const QUIT_MS = 500

/** A connection of the driver: one server (or Sentinel), or a Cluster. */
export type Client = Redis | Cluster

/** A Cluster, named by some of its nodes. */
export interface RedisClusterOptions {
  cluster: ClusterNode[]
  tls?: RedisOptions['tls']
  username?: string | undefined
  password?: string | undefined
}

/** As much of an ioredis `Redis` or `Cluster` as its types have in common over the versions. */
export interface ClientLike {
  readonly options: object
  duplicate: (...options: never[]) => unknown
  /** Other drivers' clients have none. */
  defineCommand: (...args: never[]) => unknown
  get: (...args: never[]) => unknown
}

/** What the `redis` option takes. */
export type RedisTarget = string | RedisOptions | RedisClusterOptions | ClientLike

/**
 * Behind Sentinel. What was master and does not know better answers with sessions that have ended, for as long as
 * somebody asks: the Sentinels are listened to, and when they name another master the old one is left.
 */
const sentinelOptions = {
  role: 'master' as const,
  // By it the driver sees whether a server has that role.
  enableReadyCheck: true,
  failoverDetector: true,
  // Without it a frozen Sentinel is waited for without end, though the next one knows.
  sentinelCommandTimeout: 300,
  sentinelRetryStrategy: (times: number) => Math.min(50 * times, 500),
  // For listening; the default is a minute.
  sentinelReconnectStrategy: (times: number) => Math.min(100 * times, 1000)
} satisfies RedisOptions

/**
 * What a request path needs of a connection: fail at once when the link is down (the default waits
 * for more than a minute), leave a socket that has gone silent, never send a command twice, and join
 * the commands of one tick.
 */
const nodeOptions = ({ sentinels }: Pick<RedisOptions, 'sentinels'> = {}) => ({
  // `mended` connects it.
  lazyConnect: true,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  connectTimeout: 1000,
  // Those of one turn have been joined already.
  autoPipeliningIgnoredCommands: ['mget'],
  // This and the longest pause between two attempts are what service may take to resume behind a link that was half-open.
  socketTimeout: 1400,
  autoResendUnfulfilledCommands: false,
  keepAlive: 5000,
  retryStrategy: (times: number) => Math.min(50 * times, 250) + Math.random() * 50,
  reconnectOnError: leaveReplicas(),
  // A frozen server says no goodbye; the default waits two seconds for it, also when a Sentinel has named another.
  disconnectTimeout: 100,
  ...sentinels != null && sentinelOptions
}) satisfies RedisOptions

/**
 * Of a Cluster, masters alone are asked, also where a client handed in asks replicas. A command whose connection
 * was lost is not sent again: it may have happened.
 */
const clusterOptions = {
  enableOfflineQueue: false,
  // Each node does that for itself: see `sent` in cluster.ts.
  enableAutoPipelining: false,
  lazyConnect: false,
  scaleReads: 'master',
  clusterRetryStrategy: (times: number) => Math.min(100 * times, 500),
  slotsRefreshTimeout: 200,
  slotsRefreshInterval: 5000,
  retryDelayOnFailover: 0,
  // While a slot moves, what concerns two keys has to wait until both have moved, and while a replica takes over
  // nobody may know who answers. `search` in cluster.ts goes on with it, and ends it.
  retryDelayOnClusterDown: 20,
  retryDelayOnTryAgain: 20,
  maxRedirections: 4,
  // ElastiCache's certificates name hosts, not addresses.
  dnsLookup: (address: string, callback: (error: null, address: string) => void) => callback(null, address)
} satisfies ClusterOptions

/** ASKING is about the very next command. */
const clusterNodeOptions = () => ({ ...nodeOptions(), enableAutoPipelining: true, autoPipeliningIgnoredCommands: ['asking', 'readwrite'], keyPrefix: '' }) satisfies RedisOptions

/** Whether `value` is a client of the driver, also of another copy of it. */
export function isClient (value: unknown): value is Client {
  const client = value as Partial<Client> | null
  // Other drivers' clients have the first two as well.
  return typeof client === 'object' && client !== null && [client.duplicate, client.get, client.defineCommand].every((method) => typeof method === 'function')
}

/** Whether a client speaks to a Cluster. */
export function isCluster (client: Client): client is Cluster {
  return 'isCluster' in client && client.isCluster === true
}

/**
 * A connection of our own to `target`, with our options, and what its keys have to begin with.
 * Of a client only its options are read: it stays its owner's, to use and to close.
 */
export function connect (target: RedisTarget): { client: Client, keyPrefix: string } {
  const { client, keyPrefix } = open(target)
  if (!isCluster(client)) mended(client)
  return { client, keyPrefix }
}

/** One more connection like this one, but for `options`, of our own as well. */
export function another (client: Client, options: { enableOfflineQueue?: boolean, enableAutoPipelining?: boolean } = {}, nodes: Partial<RedisOptions> = {}): Client {
  // Each leaves its server for itself.
  const reconnectOnError = leaveReplicas()
  if (isCluster(client)) return client.duplicate([], { ...options, redisOptions: merged(client.options.redisOptions, { reconnectOnError }) })
  return mended(client.duplicate({ ...options, ...nodes, reconnectOnError }))
}

/** Connects a client that is made lazy, to be mended before it asks a Sentinel. */
function mended (client: Redis): Redis {
  keepTrying(client)
  followSentinels(client)
  client.connect().catch(() => {})
  return client
}

function open (target: RedisTarget): { client: Client, keyPrefix: string } {
  if (typeof target === 'string') return { client: new Redis(target, { ...nodeOptions(), enableAutoPipelining: true }), keyPrefix: '' }
  if (isClient(target)) {
    const keyPrefix = target.options.keyPrefix ?? ''
    const client = isCluster(target)
      ? target.duplicate([], { ...clusterOptions, keyPrefix: '', redisOptions: merged(target.options.redisOptions, clusterNodeOptions()) })
      : target.duplicate({ ...nodeOptions(target.options), enableAutoPipelining: true, keyPrefix: '' })
    return { client, keyPrefix }
  }
  if ('cluster' in target) {
    const { cluster, tls, username, password } = target
    return { client: new Cluster(cluster, { ...clusterOptions, redisOptions: merged({ tls, username, password }, clusterNodeOptions()) }), keyPrefix: '' }
  }
  // Neither a URL nor a client nor a Cluster: plain options.
  const { keyPrefix = '', ...options } = target as RedisOptions
  return { client: new Redis(merged(options, { ...nodeOptions(options), enableAutoPipelining: true })), keyPrefix }
}

/** Closes a connection of our own. Answers under way may arrive; a server that does not answer is not waited for. */
export async function disconnect (client: Client): Promise<void> {
  if (client.status === 'ready') await withDeadline(client.quit().catch(() => {}), QUIT_MS)
  if (isCluster(client)) stayClosed(client)
  client.disconnect()
}

/** Where a client's commands go, to tell whether two go to the same place; a Cluster not reached yet is like no other. */
export function backendOf (client: Client): unknown {
  if (isCluster(client)) return client.nodes().length === 0 ? Symbol('unknown') : JSON.stringify(client.nodes().map(({ options: { host, port } }) => [host, port]).sort())
  const { host, port, path, db, sentinels, name } = client.options
  return JSON.stringify([path ?? sentinels ?? [host, port], name, db])
}

type NodeOptions = Omit<RedisOptions, 'replyMapping'>

/** Theirs under ours. The driver's types refuse `undefined` where its code takes it. */
function merged (theirs: object | undefined, ours: RedisOptions): NodeOptions {
  return { ...theirs, ...ours } as NodeOptions
}
