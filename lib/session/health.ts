import { TIMED_OUT, withDeadline } from '../util/deadline.ts'
import { WAIT_MS } from './in-time.ts'
import type { Health } from './manager-types.ts'

/** Whether the store answers, and how soon, within what anything is waited for. */
export async function healthOf (ping: Promise<void>): Promise<Health> {
  const startedAt = performance.now()
  const ok = await withDeadline(ping, WAIT_MS - 50).then((answer) => answer !== TIMED_OUT, () => false)
  return { ok, latencyMs: Math.round(performance.now() - startedAt) }
}
