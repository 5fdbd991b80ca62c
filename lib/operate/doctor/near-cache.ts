import { connectedMasters } from '../../redis/cluster.ts'
import { disconnectNow, duplicate } from '../../redis/connection.ts'
import type { Keys } from '../../redis/keys.ts'
import type { RedisLink } from '../../redis/link.ts'
import { Tracking } from '../../redis/tracking.ts'
import { TIMED_OUT, withDeadline } from '../../util/deadline.ts'
import { NEAR_SILENCE_MS, OPERATOR_WAIT_MS } from '../../util/timings.ts'
import { finding, ok, short } from './findings.ts'
import type { Finding } from './findings.ts'

const GRANT = 'Grant +client|id, +client|tracking and &__redis__:invalidate (docs/guides/production.md). ' +
  'docs/guides/managed-redis.md says which services cannot do it. ' +
  'nearCache: { invalidate: \'ends\' } needs none of that'

/** Whether the near-cache works here: begins to listen as it does (CLIENT TRACKING with REDIRECT), and stops. */
export async function nearCacheFindings (link: RedisLink, keys: Keys, isUsed: boolean): Promise<Finding[]> {
  const tracking = new Tracking(link, keys, NEAR_SILENCE_MS)
  try {
    const outcome = await withDeadline(tracking.listen(() => {}, () => {}), OPERATOR_WAIT_MS)
    if (outcome === null) return [ok('near-cache', 'Redis tells what changes (CLIENT TRACKING): nearCache works here')]
    const reason = outcome === TIMED_OUT ? `no answer within ${OPERATOR_WAIT_MS / 1_000} s` : short(outcome.message)
    const other = await tracksOnResp3(link, keys) ? '. It would on one connection of RESP3, which is not used' : ''
    const found = `Redis does not tell a second connection what changes (${reason})${other}: nearCache `
    if (isUsed) return [finding('warning', 'near-cache', `${found}is off, and each session is read from Redis`, GRANT)]
    return [finding('note', 'near-cache', `${found}would not work here`, `${GRANT}. Nothing else needs it`)]
  } finally {
    await tracking.close()
  }
}

/** Whether a server takes CLIENT TRACKING on a connection of RESP3, which needs no second one. */
async function tracksOnResp3 (link: RedisLink, keys: Keys): Promise<boolean> {
  const [, master] = connectedMasters(link.client)[0] ?? []
  if (master === undefined) return false
  const line = duplicate(master, { enableOfflineQueue: true, enableAutoPipelining: false }, { protocol: 3 })
  line.on('error', () => {})
  try {
    const answer = line.call('CLIENT', 'TRACKING', 'ON', 'BCAST', 'PREFIX', keys.beginning)
    return await withDeadline(answer.then(() => true, () => false), OPERATOR_WAIT_MS) === true
  } finally {
    disconnectNow(line)
  }
}
