import t from 'tap'
import { storeContract } from '../contract/store-contract.ts'
import { prefix, startCluster } from '../helpers/redis.ts'
import { age, openStore } from '../helpers/redis-store.ts'

const cluster = await startCluster(t)
const target = { cluster: cluster.nodes }

for (const [name, before] of [['RedisStore on a Cluster', ''], ['RedisStore on a Cluster under one hash tag', '{app}']] as const) {
  storeContract(t, name, async (t) => {
    const ours = before + prefix()
    const store = await openStore(t, target, { prefix: ours })
    return {
      store,
      other: await openStore(t, target, { prefix: ours }),
      age: (ms) => age(cluster.client, ours, ms),
      atomic: 'everywhere',
      lists: true,
      lose: async (id) => { await cluster.client.del(`${ours}${id}`) }
    }
  })
}
