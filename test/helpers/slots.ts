import calculateSlot from 'cluster-key-slot'
import type { Cluster, Redis } from 'ioredis'

/** A slot on its way from one master to another. */
export interface Move {
  /** Brings one key over. */
  bring (key: string): Promise<void>
  /** What is left stays, and the slot as well. */
  callOff (): Promise<void>
}

/** Begins to give the slot of `key` to another master. */
export async function beginMove (client: Cluster, key: string): Promise<Move> {
  const slot = calculateSlot(key)
  const owner = client.slots[slot]?.[0]
  const [from, to] = [true, false].map((owns) => client.nodes('master').find(({ options: { host, port } }) => (`${host}:${port}` === owner) === owns) as Redis) as [Redis, Redis]
  const [fromId, toId] = [await from.call('CLUSTER', 'MYID') as string, await to.call('CLUSTER', 'MYID') as string]
  await to.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', fromId)
  await from.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', toId)
  return {
    bring: async (key) => { await from.call('MIGRATE', to.options.host as string, to.options.port as number, key, 0, 5_000) },
    callOff: async () => { await Promise.all([from, to].map(async (node) => await node.call('CLUSTER', 'SETSLOT', slot, 'STABLE'))) }
  }
}
