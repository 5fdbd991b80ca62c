import t from 'tap'
import { storeContract } from '../contract/store-contract.ts'
import { nearSubject } from '../helpers/near.ts'
import { startSentinels } from '../helpers/topology.ts'

const topology = await startSentinels(t)
const { client } = await topology.master()

storeContract(t, 'RedisStore behind Sentinel, near-cached', (t) => nearSubject(t, { target: topology.target, client }), { isCombination: true })
