import t from 'tap'
import { storeContract } from '../contract/store-contract.ts'
import { openNear, Views } from '../helpers/near.ts'
import { prefix, startRedis } from '../helpers/redis.ts'
import { age } from '../helpers/redis-store.ts'

const redis = await startRedis(t)
const KEY = 'k'.repeat(32)

for (const [name, encryption] of [['RedisStore, near-cached', undefined], ['RedisStore with encrypted data, near-cached', { keys: [KEY], acceptPlain: false }]] as const) {
  storeContract(t, name, async (t) => {
    const ours = prefix()
    const options = { prefix: ours, ...encryption && { encryption: { ...encryption, keys: [...encryption.keys] } } }
    const [near, other] = [await openNear(t, redis.url, options), await openNear(t, redis.url, options)]
    const views = new Views()
    const heard = async (): Promise<void> => { await Promise.all([near, other].map(async ({ changes }) => await changes.hear())) }
    return {
      store: views.of(near),
      other: views.of(other),
      age: async (ms) => {
        await age(redis.client, ours, ms)
        await heard()
      },
      atomic: 'everywhere',
      lists: true,
      lose: async (id) => {
        await redis.client.del(`${ours}${id}`)
        await heard()
      }
    }
  })
}
