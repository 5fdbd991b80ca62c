import type { ResolvedForkDetection } from '../device/forks.ts'
import { isSessionStore } from '../session/store.ts'
import { TURN_EVERY_MS } from '../util/timings.ts'
import { FORK_DETECTION_DEFAULTS } from './defaults.ts'
import { attempted } from './faults.ts'
import type { Faults } from './faults.ts'
import type { SessionOptions } from './types.ts'

/** Resolves how forked sessions are noticed; `null`: not at all. */
export function forkDetectionOf (
  { forkDetection = false, store, expressSession }: Partial<SessionOptions>,
  { touchAfterMs, idleTimeoutMs }: { touchAfterMs: number | null | false, idleTimeoutMs: number }, faults: Faults
): ResolvedForkDetection | null {
  if (forkDetection === false) return null
  const { onFork = FORK_DETECTION_DEFAULTS.onFork } = forkDetection === true ? {} : forkDetection
  if (expressSession === 'share') {
    faults.add('forkDetection', 'cannot be given together with expressSession share: an Express app does not check it')
  }
  const moves = attempted(() => store === undefined || !isSessionStore(store) || 'advance' in store, true)
  if (!moves) faults.add('forkDetection', 'needs a store that keeps twins: this one has no advance()')
  if (touchAfterMs === false || (touchAfterMs ?? idleTimeoutMs / 10) < TURN_EVERY_MS) {
    faults.add('forkDetection', 'needs a touchAfter of a minute or more: unless given, it is a tenth of idleTimeout')
  }
  return { onFork }
}
