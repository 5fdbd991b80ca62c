import { Cluster, Redis } from 'ioredis'
import type { ClusterNode, ClusterOptions, RedisOptions } from 'ioredis'
import { withDeadline } from '../../deadline.ts'

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
  get: (...args: never[]) => unknown
}

/** What the `redis` option takes. */
export type RedisTarget = string | RedisOptions | RedisClusterOptions | ClientLike

/**
 * What a request path needs of a connection: fail at once when the link is down (the default waits
 * for more than a minute), leave a socket that has gone silent, never send a command twice, and join
 * the commands of one tick.
 */
const nodeOptions = () => ({
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  connectTimeout: 1000,
  // This and the longest pause between two attempts are what service may take to resume behind a link that was half-open.
  socketTimeout: 1400,
  autoResendUnfulfilledCommands: false,
  keepAlive: 5000,
  retryStrategy: (times: number) => Math.min(50 * times, 250) + Math.random() * 50,
  reconnectOnError: leaveReplicas()
}) satisfies RedisOptions

/** How long to stay with a server that takes no writes, when a new connection has led to it again. */
const STAY_MS = 1_500

const leftAt = new WeakMap<object, number>()

/** A demoted master must be left, or it answers with sessions that have ended. */
function leaveReplicas (): (error: Error) => 1 | false {
  const leave = (error: Error): 1 | false => {
    if (!error.message.startsWith('READONLY') || performance.now() - (leftAt.get(leave) ?? -Infinity) < STAY_MS) return false
    leftAt.set(leave, performance.now())
    // Reconnect, and do not resend.
    return 1
  }
  return leave
}

/** When a connection of ours last left a server for taking no writes, on the monotonic clock. */
export function lastLeftAt (client: Client): number {
  const { reconnectOnError } = (isCluster(client) ? client.options.redisOptions : client.options) ?? {}
  return leftAt.get(reconnectOnError ?? {}) ?? -Infinity
}

const clusterOptions = {
  enableOfflineQueue: false,
  enableAutoPipelining: true,
  // ElastiCache's certificates name hosts, not addresses.
  dnsLookup: (address: string, callback: (error: null, address: string) => void) => callback(null, address)
} satisfies ClusterOptions

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
  if (typeof target === 'string') return { client: new Redis(target, { ...nodeOptions(), enableAutoPipelining: true }), keyPrefix: '' }
  if (isClient(target)) {
    const keyPrefix = target.options.keyPrefix ?? ''
    const client = isCluster(target)
      ? target.duplicate([], { ...clusterOptions, keyPrefix: '', redisOptions: merged(target.options.redisOptions, nodeOptions()) })
      : target.duplicate({ ...nodeOptions(), enableAutoPipelining: true, keyPrefix: '', lazyConnect: false })
    return { client, keyPrefix }
  }
  if ('cluster' in target) {
    const { cluster, tls, username, password } = target
    return { client: new Cluster(cluster, { ...clusterOptions, redisOptions: merged({ tls, username, password }, nodeOptions()) }), keyPrefix: '' }
  }
  // Neither a URL nor a client nor a Cluster: plain options.
  const { keyPrefix = '', ...options } = target as RedisOptions
  return { client: new Redis(merged(options, { ...nodeOptions(), enableAutoPipelining: true, lazyConnect: false })), keyPrefix }
}

/** Closes a connection of our own. Answers under way may arrive; a server that does not answer is not waited for. */
export async function disconnect (client: Client): Promise<void> {
  if (client.status === 'ready') await withDeadline(client.quit().catch(() => {}), QUIT_MS)
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
