import type { Keys } from '../../redis/keys.ts'
import type { RedisLink } from '../../redis/link.ts'
import { Tracking } from '../../redis/tracking.ts'
import { TIMED_OUT, withDeadline } from '../../util/deadline.ts'
import { NEAR_SILENCE_MS } from '../../util/timings.ts'
import { finding, ok, short } from './findings.ts'
import type { Finding } from './findings.ts'

/** How long Redis may take to begin. */
const WITHIN_MS = 3_000
const TODO = 'Grant +client|id, +client|tracking and &__redis__:invalidate (docs/guides/production.md). ' +
  'docs/guides/managed-redis.md says which services cannot do it'

/** Whether the near-cache works here: begins to listen as it does (CLIENT TRACKING with REDIRECT), and stops. */
export async function nearCacheFindings (link: RedisLink, keys: Keys, isUsed: boolean): Promise<Finding[]> {
  const tracking = new Tracking(link, keys, NEAR_SILENCE_MS)
  try {
    const outcome = await withDeadline(tracking.listen(() => {}, () => {}), WITHIN_MS)
    if (outcome === null) return [ok('near-cache', 'Redis tells what changes (CLIENT TRACKING): nearCache works here')]
    const reason = outcome === TIMED_OUT ? `no answer within ${WITHIN_MS / 1_000} s` : short(outcome.message)
    const found = `Redis does not tell what changes (${reason}): nearCache `
    if (isUsed) return [finding('warning', 'near-cache', `${found}is off, and each session is read from Redis`, TODO)]
    return [finding('note', 'near-cache', `${found}would not work here`, `${TODO}. Nothing else needs it`)]
  } finally {
    await tracking.close()
  }
}
