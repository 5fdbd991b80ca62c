import type { Cluster, Redis } from 'ioredis'

// What the driver does not do by itself, or does wrong.

/** How soon a connection is tried again that the driver has given up, in milliseconds. */
const TRY_AGAIN_MS = 100
/** How long to stay with a server that takes no writes, when a new connection has led to it again. */
const STAY_MS = 1_500

const leftAt = new WeakMap<object, number>()

/** A demoted master must be left, or it answers with sessions that have ended. */
export function leaveReplicas (): (error: Error) => 1 | false {
  const leave = (error: Error): 1 | false => {
    if (!error.message.startsWith('READONLY') || performance.now() - (leftAt.get(leave) ?? -Infinity) < STAY_MS) return false
    leftAt.set(leave, performance.now())
    // Reconnect, and do not resend.
    return 1
  }
  return leave
}

/** When a connection of ours last left a server for taking no writes, on the monotonic clock. */
export function lastLeftAt (client: Redis | Cluster): number {
  const { reconnectOnError } = ('nodes' in client ? client.options.redisOptions : client.options) ?? {}
  return leftAt.get(reconnectOnError ?? {}) ?? -Infinity
}

/**
 * A failover that is told while a Sentinel is being asked for the master makes the driver give up for good. Unless
 * it was told to leave, it tries again.
 */
export function keepTrying (client: Redis): void {
  if (client.options.sentinels == null) return
  let left = false
  let wasClosed = false
  let timer: NodeJS.Timeout | undefined
  const { disconnect } = client
  client.disconnect = (reconnect = false) => {
    left ||= !reconnect
    clearTimeout(timer)
    disconnect.call(client, reconnect)
  }
  client.on('connecting', () => { wasClosed = false })
  client.on('close', () => { wasClosed = true })
  client.on('end', () => {
    // After `close` the end was asked for.
    if (!left && !wasClosed) timer = setTimeout(() => { client.connect().catch(() => {}) }, TRY_AGAIN_MS)
  })
}

/** A Cluster that is closed while it asks for its slots connects when it hears of them, and forgets that it was closed. */
export function stayClosed (cluster: Cluster): void {
  cluster.options.clusterRetryStrategy = () => null
  cluster.on('ready', () => { cluster.disconnect() })
}

/**
 * Where a slot is on its way to another node the driver asks that one, and drops the promise of what it says to
 * being asked: refused, or lost, that would end the process. The command that follows fails as well, and is heard.
 * Returns what stops that.
 */
export function hearAsking (cluster: Cluster): () => void {
  const mended = new WeakSet<Redis>()
  const mend = (node: Redis): void => {
    if (mended.has(node)) return
    mended.add(node)
    const asking = node.asking.bind(node) as (...args: unknown[]) => Promise<'OK'>
    node.asking = (...args: unknown[]) => {
      const answer = asking(...args)
      answer.catch(() => {})
      return answer
    }
  }
  cluster.nodes().forEach(mend)
  cluster.on('+node', mend)
  return () => { cluster.off('+node', mend) }
}
