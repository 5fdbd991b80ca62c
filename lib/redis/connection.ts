import { Cluster, Redis } from 'ioredis'
import type { ClusterOptions, RedisOptions } from 'ioredis'
import { withDeadline } from '../util/deadline.ts'
import {
  CLUSTER_RECONNECT, CONNECT_TIMEOUT_MS, DISCONNECT_MS, KEEP_ALIVE_MS, LISTENER_RECONNECT, QUIT_MS, RECONNECT,
  SEARCH_AGAIN_MS, SENTINEL_COMMAND_MS, SENTINEL_RECONNECT, SENTINEL_RETRY, SLOTS_REFRESH_EVERY_MS, SLOTS_REFRESH_MS,
  SOCKET_TIMEOUT_MS
} from '../util/timings.ts'
import { followSentinels, keepTrying, leaveReplicas, stayClosed, stopRefreshing } from './driver.ts'
import { placeOf } from './target.ts'
import type { RedisTarget } from './target.ts'

/** A connection of the driver: one server (or Sentinel), or a Cluster. */
export type Client = Redis | Cluster

/** Returns how long to wait before the next attempt. */
function pause ({ stepMs, mostMs }: { stepMs: number, mostMs: number }, times: number): number {
  return Math.min(stepMs * times, mostMs)
}

/** Returns how long to wait before connecting again. Processes that lost Redis together come back one by one. */
export function reconnectPause (times: number): number {
  return pause(RECONNECT, times) + Math.random() * RECONNECT.jitterMs
}

/** The same for a connection that only listens: nobody waits for it. */
export function listenerPause (times: number): number {
  return pause(LISTENER_RECONNECT, times) + Math.random() * LISTENER_RECONNECT.jitterMs
}

/**
 * Options behind Sentinel. A former master that does not know of the failover answers with sessions that have ended.
 * So we listen to the Sentinels, and leave the old master when they name another.
 */
const sentinelOptions = {
  role: 'master' as const,
  // The ready check is where the driver looks whether a server has that role.
  enableReadyCheck: true,
  failoverDetector: true,
  // Without it the driver waits for a frozen Sentinel without end, though the next one knows the master.
  sentinelCommandTimeout: SENTINEL_COMMAND_MS,
  sentinelRetryStrategy: (times: number) => pause(SENTINEL_RETRY, times),
  // For the connection that listens; the default is a minute.
  sentinelReconnectStrategy: (times: number) => pause(SENTINEL_RECONNECT, times)
} satisfies RedisOptions

/**
 * Options of each connection. Requests need it to fail at once when the connection is down (the default waits for more
 * than a minute), to leave a socket that has gone silent, never to send a command twice, and to send the commands of
 * one tick together.
 */
const nodeOptions = ({ sentinels }: Pick<RedisOptions, 'sentinels'> = {}) => ({
  // `start` connects it.
  lazyConnect: true,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  connectTimeout: CONNECT_TIMEOUT_MS,
  // `Reads` has joined those of one tick already.
  autoPipeliningIgnoredCommands: ['mget'],
  // Behind a half-open connection, service resumes after this and the longest pause between two attempts to connect.
  socketTimeout: SOCKET_TIMEOUT_MS,
  autoResendUnfulfilledCommands: false,
  keepAlive: KEEP_ALIVE_MS,
  retryStrategy: reconnectPause,
  reconnectOnError: leaveReplicas(),
  // A frozen server never closes its side. The default waits two seconds, also when a Sentinel has named another.
  disconnectTimeout: DISCONNECT_MS,
  ...sentinels != null && sentinelOptions
}) satisfies RedisOptions

/**
 * Options of a Cluster. Commands go to masters only, also where the client handed in asks replicas. A command whose
 * connection was lost is not sent again: it may have happened.
 */
const clusterOptions = {
  enableOfflineQueue: false,
  // Each node pipelines for itself: see `sendTo` in cluster.ts.
  enableAutoPipelining: false,
  lazyConnect: false,
  scaleReads: 'master',
  clusterRetryStrategy: (times: number) => pause(CLUSTER_RECONNECT, times),
  slotsRefreshTimeout: SLOTS_REFRESH_MS,
  slotsRefreshInterval: SLOTS_REFRESH_EVERY_MS,
  retryDelayOnFailover: 0,
  // While a slot moves, a command on two keys waits until both have moved. While a replica takes over, nobody may know
  // the owner. `search` in cluster.ts goes on with such a command, and gives up in time.
  retryDelayOnClusterDown: SEARCH_AGAIN_MS,
  retryDelayOnTryAgain: SEARCH_AGAIN_MS,
  maxRedirections: 4,
  // ElastiCache's certificates name hosts, not addresses.
  dnsLookup: (address: string, callback: (error: null, address: string) => void) => callback(null, address)
} satisfies ClusterOptions

/** Options of each node of a Cluster. */
const clusterNodeOptions = () => ({
  ...nodeOptions(),
  enableAutoPipelining: true,
  // ASKING is about the very next command.
  autoPipeliningIgnoredCommands: ['asking', 'readwrite'],
  keyPrefix: ''
}) satisfies RedisOptions

/** Options of a connection to one server. Commands of one turn share a round trip; reads share a command: `Reads`. */
const pipelining = { enableAutoPipelining: true, autoPipeliningIgnoredCommands: ['mget'] } satisfies RedisOptions

/** Whether a client is connected to a Cluster. */
export function isCluster (client: Client): client is Cluster {
  return 'isCluster' in client && client.isCluster === true
}

/**
 * Opens a connection of our own to `target`, with our options. Returns it with what keys have to begin with.
 * Only the options of a client are read: its owner uses and closes it.
 */
export function connect (target: RedisTarget): { client: Client, keyPrefix: string } {
  const { client, keyPrefix } = open(target)
  if (!isCluster(client)) start(client)
  return { client, keyPrefix }
}

/** Opens one more connection with the options of this one, but for those given. It is ours to close. */
export function duplicate (
  client: Client,
  options: { enableOfflineQueue?: boolean, enableAutoPipelining?: boolean } = {},
  serverOptions: Partial<RedisOptions> = {}
): Client {
  // Each connection leaves its server for itself.
  const reconnectOnError = leaveReplicas()
  if (isCluster(client)) {
    return client.duplicate([], { ...options, redisOptions: merged(client.options.redisOptions, { reconnectOnError }) })
  }
  return start(client.duplicate({ ...options, ...serverOptions, reconnectOnError }))
}

/** Connects a client. It is made lazy so that the driver is mended before it asks a Sentinel. */
function start (client: Redis): Redis {
  keepTrying(client)
  followSentinels(client)
  client.connect().catch(() => {})
  return client
}

function open (target: RedisTarget): { client: Client, keyPrefix: string } {
  const place = placeOf(target)
  const { keyPrefix } = place
  if ('url' in place) {
    return { client: new Redis(place.url, { ...nodeOptions(), ...pipelining }), keyPrefix }
  }
  if ('nodes' in place) {
    const redisOptions = merged(place.options.redisOptions, clusterNodeOptions())
    const options = { ...place.options, ...clusterOptions, keyPrefix: '', redisOptions }
    return { client: new Cluster(place.nodes, options), keyPrefix }
  }
  const options = { ...nodeOptions(place.server), ...pipelining, keyPrefix: '' }
  return { client: new Redis(merged(place.server, options)), keyPrefix }
}

/**
 * Closes a connection of our own. Answers under way may still arrive, for a moment; a server that does not answer is
 * not waited for.
 */
export async function disconnect (client: Client): Promise<void> {
  if (client.status === 'ready') await withDeadline(client.quit().catch(() => {}), QUIT_MS)
  disconnectNow(client)
}

/** Closes a connection of our own. Answers under way do not arrive. */
export function disconnectNow (client: Client): void {
  if (isCluster(client)) stayClosed(client)
  client.disconnect()
  if (isCluster(client)) stopRefreshing(client)
}

/**
 * Identifies where a client's commands go. Equal values mean the same place; a Cluster not reached yet equals no other.
 */
export function backendOf (client: Client): unknown {
  if (isCluster(client)) {
    const nodes = client.nodes().map(({ options: { host, port } }) => [host, port])
    return nodes.length === 0 ? Symbol('unknown') : JSON.stringify(nodes.sort())
  }
  const { host, port, path, db, sentinels, name } = client.options
  return JSON.stringify([path ?? sentinels ?? [host, port], name, db])
}

/** Merges connection options; ours win. The driver's types refuse `undefined` where its code takes it. */
function merged (theirs: object | undefined, ours: RedisOptions): Omit<RedisOptions, 'replyMapping'> {
  return { ...theirs, ...ours } as Omit<RedisOptions, 'replyMapping'>
}
