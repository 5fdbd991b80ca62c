import t from 'tap'
import { storeContract } from '../contract/store-contract.ts'
import { nearSubject } from '../helpers/near.ts'
import { startCluster } from '../helpers/redis.ts'

const cluster = await startCluster(t)

storeContract(t, 'RedisStore on a Cluster, near-cached', (t) => nearSubject(t, { target: { cluster: cluster.nodes }, client: cluster.client }), { isCombination: true })
storeContract(t, 'RedisStore on a Cluster, near-cached, told of ends alone', (t) => nearSubject(t, { target: { cluster: cluster.nodes }, client: cluster.client, invalidate: 'ends', events: 'sharded' }), { isCombination: true })
