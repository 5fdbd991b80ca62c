import t from 'tap'
import { storeContract } from '../contract/store-contract.ts'
import { prefix } from '../helpers/redis.ts'
import { age, openStore } from '../helpers/redis-store.ts'
import { startSentinels } from '../helpers/topology.ts'

const topology = await startSentinels(t)
const { client } = await topology.master()

storeContract(t, 'RedisStore behind Sentinel', async (t) => {
  const ours = prefix()
  const store = await openStore(t, topology.target, { prefix: ours })
  return {
    store,
    other: await openStore(t, topology.target, { prefix: ours }),
    age: (ms) => age(client, ours, ms),
    lose: async (id) => { await client.del(`${ours}${id}`) }
  }
}, { isCombination: true })
