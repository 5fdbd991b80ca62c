import t from 'tap'
import { storeContract } from '../contract/store-contract.ts'
import { nearSubject } from '../helpers/near.ts'
import { startRedis } from '../helpers/redis.ts'

const redis = await startRedis(t)
const target = { target: redis.url, client: redis.client }

storeContract(t, 'RedisStore, near-cached', (t) => nearSubject(t, target))
storeContract(t, 'RedisStore with encrypted data, near-cached', (t) => nearSubject(t, { ...target, encryption: { keys: ['k'.repeat(32)], acceptPlain: false } }), { isCombination: true })
for (const events of ['broadcast', 'sharded', 'both'] as const) {
  storeContract(t, `RedisStore, near-cached, told of ends alone, events: ${events}`, (t) => nearSubject(t, { ...target, events, invalidate: 'ends' }), { isCombination: events !== 'broadcast' })
}
