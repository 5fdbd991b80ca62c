import calculateSlot from 'cluster-key-slot'
import type { Cluster, Redis } from 'ioredis'
import { TIMED_OUT, withDeadline } from '../util/deadline.ts'
import { errors } from '../errors.ts'
import { isCluster } from './client.ts'
import type { Client } from './client.ts'
import { replyOf } from './driver-errors.ts'

/** How long it is looked for who answers, well within what one command may take, and how soon again, in milliseconds. */
const SEARCH_MS = 300
const SEARCH_AGAIN_MS = 20
/** What a node answers to a command that it did not run because of where the key is, or is about to be. */
const ELSEWHERE = /^(MOVED|ASK|TRYAGAIN|CLUSTERDOWN) /

/** How the driver gives up: nodes send it to each other, or there is none to answer. */
const TOO_MANY = 'Too many Cluster redirections'
/** All of them answer: the slot is on its way from one to the other. */
const ON_ITS_WAY = /Last error: ReplyError: (MOVED|ASK|TRYAGAIN) /

/**
 * The node that answers for `key`, as far as is known; `''` before anything is.
 * @throws ERR_SESSION_STORE_UNAVAILABLE when no node does, or only replicas are connected, which the driver would ask instead
 */
export function ownerOf (cluster: Cluster, key: string): string {
  if (cluster.slots.length === 0) return ''
  const owner = cluster.slots[calculateSlot((cluster.options.keyPrefix ?? '') + key)]?.[0]
  if (owner === undefined) throw new errors.STORE_UNAVAILABLE({ cause: new Error('no node of the Cluster answers for this slot') })
  if (cluster.nodes('master').length === 0) throw new errors.STORE_UNAVAILABLE({ cause: new Error('no master of the Cluster is connected') })
  return owner
}

/** The servers that hold keys, by their names, as far as there is a connection; where there is only one its name is ''. */
export function connected (client: Client): Array<[name: string, master: Redis]> {
  if (!isCluster(client)) return [['', client]]
  return client.nodes('master').map((node) => [`${node.options.host}:${node.options.port}`, node])
}

/**
 * All servers that hold keys: what is on one that is missing would seem not to be.
 * @throws ERR_SESSION_STORE_UNAVAILABLE
 */
export function mastersOf (client: Client): Array<[name: string, master: Redis]> {
  const masters = connected(client)
  if (!isCluster(client)) return masters
  const names = [...new Set(client.slots.map((slot) => slot?.[0] ?? ''))]
  const found = (names.length === 0 ? [''] : names).map((name) => masters.find(([each]) => each === name))
  if (found.includes(undefined)) throw new errors.STORE_UNAVAILABLE({ cause: new Error('a master of the Cluster is not connected') })
  return found.filter((each) => each !== undefined)
}

/**
 * Sends what concerns `key` to the node that answers for it, and where that says another does, there.
 *
 * Commands are joined node by node. Those that the driver itself joins for a Cluster it sends again all together to
 * where one of them was told to ask, which does not know the others' keys yet: a session would seem not to be.
 */
export async function sent<T> (cluster: Cluster, key: string, command: (client: Client) => Promise<T>): Promise<T> {
  const owner = ownerOf(cluster, key)
  const [, node] = connected(cluster).find(([name]) => name === owner) ?? []
  // One that is just being connected to has the command wait for that; through the Cluster it would fail.
  const isUsable = node !== undefined && node.status !== 'close' && node.status !== 'end' && (node.options.keyPrefix ?? '') === (cluster.options.keyPrefix ?? '')
  if (!isUsable) return await search(cluster, command)
  try {
    return await command(node)
  } catch (error) {
    if (!ELSEWHERE.test(replyOf(error))) throw error
    return await search(cluster, command)
  }
}

/** Has the driver find who answers. Nothing has happened so far, so the command may be sent again. */
async function search<T> (cluster: Cluster, command: (cluster: Cluster) => Promise<T>): Promise<T> {
  let onItsWay: Error | undefined
  for (const giveUpAt = performance.now() + SEARCH_MS; ;) {
    try {
      const reply = command(cluster)
      const answer = onItsWay === undefined ? await reply : await withDeadline(reply, giveUpAt - performance.now())
      // The nodes answer: this costs one command, and none is taken for down.
      if (answer === TIMED_OUT) throw new errors.STORE_UNAVAILABLE({ cause: onItsWay })
      return answer
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith(TOO_MANY)) throw error
      onItsWay = ON_ITS_WAY.test(error.message) ? error : undefined
      if (performance.now() > giveUpAt) throw onItsWay === undefined ? error : new errors.STORE_UNAVAILABLE({ cause: onItsWay })
    }
    // Two that send it to each other do so for milliseconds, in which the driver goes back and forth often.
    await new Promise((resolve) => setTimeout(resolve, SEARCH_AGAIN_MS))
  }
}

/** What TIME answers; of a Cluster the first of its masters to do so, as any of them may be down. */
export async function timeOf (client: Client): Promise<unknown> {
  // One that is being connected to has masters that answer before it passes any command on.
  const masters = isCluster(client) && client.status === 'ready' ? connected(client) : []
  if (masters.length === 0) return await client.time()
  return await Promise.any(masters.map(async ([, master]) => await master.time())).catch((error: AggregateError) => { throw error.errors[0] })
}

/** Asks some node which node answers for what. */
export async function refreshed (cluster: Cluster): Promise<void> {
  await new Promise<void>((resolve) => cluster.refreshSlotsCache(() => resolve()))
}
