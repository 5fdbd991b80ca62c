import calculateSlot from 'cluster-key-slot'
import type { Cluster, Redis } from 'ioredis'
import { errors, outage } from '../errors.ts'
import { TIMED_OUT, withDeadline } from '../util/deadline.ts'
import { SEARCH_AGAIN_MS, SEARCH_MS } from '../util/timings.ts'
import { isCluster } from './connection.ts'
import type { Client } from './connection.ts'
import { replyOf, withoutCommand } from './driver.ts'

/** Answers of a node that did not run a command because of where the key is, or is about to be. */
const ELSEWHERE = /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN) /

/** Start of the driver's error when it gives up: nodes send the command to each other, or none answers. */
const TOO_MANY = 'Too many Cluster redirections'
/** End of that error when all nodes answer, and the slot is moving from one to the other. */
const MOVING = /Last error: ReplyError: (MOVED|ASK|TRYAGAIN) /

/**
 * Returns the name of the node that answers for `key`, as far as is known; `''` before anything is known.
 * @throws ERR_SESSION_STORE_UNAVAILABLE when no node does, or only replicas are connected, which the driver would ask
 */
export function ownerOf (cluster: Cluster, key: string): string {
  if (cluster.slots.length === 0) return ''
  const owner = cluster.slots[calculateSlot((cluster.options.keyPrefix ?? '') + key)]?.[0]
  if (owner === undefined) throw unavailable('no node of the Cluster answers for this slot')
  if (cluster.nodes('master').length === 0) throw unavailable('no master of the Cluster is connected')
  return owner
}

/** Returns the connected servers that hold keys, by their names. A server that is no Cluster has the name `''`. */
export function connectedMasters (client: Client): Array<[name: string, master: Redis]> {
  if (!isCluster(client)) return [['', client]]
  return client.nodes('master').map((node) => [`${node.options.host}:${node.options.port}`, node])
}

/** Returns the connected server that answers for a key or channel, with its name; `null` where none is known. */
export function masterOf (client: Client, key: string): [name: string, master: Redis] | null {
  const masters = connectedMasters(client)
  if (!isCluster(client)) return masters[0] ?? null
  const owner = client.slots[calculateSlot(key)]?.[0]
  return masters.find(([name]) => name === owner) ?? null
}

/**
 * Returns all servers that hold keys, by their names.
 * @throws ERR_SESSION_STORE_UNAVAILABLE when one is not connected: what it holds would seem not to exist
 */
export function allMasters (client: Client): Array<[name: string, master: Redis]> {
  const masters = connectedMasters(client)
  if (!isCluster(client)) return masters
  const names = [...new Set(client.slots.map((slot) => slot?.[0] ?? ''))]
  const found = (names.length === 0 ? [''] : names).map((name) => masters.find(([each]) => each === name))
  if (found.includes(undefined)) throw unavailable('a master of the Cluster is not connected')
  return found.filter((each) => each !== undefined)
}

/**
 * Sends a command to the node that answers for `key`, and where that node names another, to that one.
 *
 * Commands are pipelined node by node. The driver's pipelines over a whole Cluster are sent again all together when
 * one command was told to ask another node. That node does not know the other keys yet: a session would seem not to
 * exist.
 */
export async function sendTo<T> (cluster: Cluster, key: string, command: (client: Client) => Promise<T>): Promise<T> {
  const owner = ownerOf(cluster, key)
  const [, node] = connectedMasters(cluster).find(([name]) => name === owner) ?? []
  if (node === undefined || !isUsable(node, cluster)) return await search(cluster, command)
  try {
    return await command(node)
  } catch (error) {
    if (!ELSEWHERE.test(replyOf(error))) throw error
    return await search(cluster, command)
  }
}

/**
 * Whether a command may be given to this node itself. While the node connects the command waits for that; given to the
 * Cluster it would fail.
 */
function isUsable (node: Redis, cluster: Cluster): boolean {
  if (node.status === 'close' || node.status === 'end') return false
  return (node.options.keyPrefix ?? '') === (cluster.options.keyPrefix ?? '')
}

/** Has the driver find the node that answers. Nothing has happened so far, so the command may be sent again. */
async function search<T> (cluster: Cluster, command: (cluster: Cluster) => Promise<T>): Promise<T> {
  let moving: Error | undefined
  for (const giveUpAt = performance.now() + SEARCH_MS; ;) {
    try {
      const reply = command(cluster)
      const answer = moving === undefined ? await reply : await withDeadline(reply, giveUpAt - performance.now())
      // The nodes answer: only this command fails, and no node is taken for down.
      if (answer === TIMED_OUT) throw new errors.STORE_UNAVAILABLE({ cause: moving })
      return answer
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith(TOO_MANY)) throw error
      moving = MOVING.test(error.message) ? withoutCommand(error) : undefined
      if (performance.now() > giveUpAt) {
        throw moving === undefined ? error : new errors.STORE_UNAVAILABLE({ cause: moving })
      }
    }
    // Two nodes send a command to each other for milliseconds, in which the driver goes back and forth often.
    await new Promise((resolve) => setTimeout(resolve, SEARCH_AGAIN_MS))
  }
}

/** Returns what TIME answers; in a Cluster the first answer of any master, as one may be down. */
export async function readTime (client: Client): Promise<unknown> {
  // While a Cluster connects, its masters answer before it passes any command on.
  const masters = isCluster(client) && client.status === 'ready' ? connectedMasters(client) : []
  if (masters.length === 0) return await client.time()
  const answers = masters.map(async ([, master]) => await master.time())
  return await Promise.any(answers).catch((error: AggregateError) => { throw error.errors[0] })
}

/** Asks some node which node answers for which slot. */
export async function refreshSlots (cluster: Cluster): Promise<void> {
  await new Promise<void>((resolve) => cluster.refreshSlotsCache(() => resolve()))
}

function unavailable (message: string): Error {
  return new errors.STORE_UNAVAILABLE({ cause: outage(message) })
}
