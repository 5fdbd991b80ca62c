import t from 'tap'
import { storeContract } from '../contract/store-contract.ts'
import { nearSubject } from '../helpers/near.ts'
import type { NearOptions } from '../helpers/near.ts'
import { startRedis } from '../helpers/redis.ts'
import { isAll } from '../helpers/scale.ts'

const redis = await startRedis(t)

function nearContract (name: string, options: Pick<NearOptions, 'encryption' | 'events' | 'invalidate'>, isCombination = true): void {
  storeContract(t, `RedisStore, near-cached${name}`, (t) => nearSubject(t, { target: redis.url, client: redis.client, ...options }), { isCombination })
}

nearContract('', {}, false)
nearContract(', told of ends alone', { invalidate: 'ends' }, !isAll)
if (isAll) {
  nearContract(', with encrypted data', { encryption: { keys: ['k'.repeat(32)], acceptPlain: false } })
  for (const events of ['sharded', 'both'] as const) nearContract(`, told of ends alone, events: ${events}`, { invalidate: 'ends', events })
}
