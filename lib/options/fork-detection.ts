import type { ResolvedForkDetection } from '../device/forks.ts'
import { isSessionStore } from '../session/store.ts'
import { FORK_DETECTION_DEFAULTS } from './defaults.ts'
import { attempted } from './faults.ts'
import type { Faults } from './faults.ts'
import type { SessionOptions } from './types.ts'

/** Resolves how forked sessions are noticed; `null`: not at all. */
export function forkDetectionOf (
  { forkDetection = false, store, expressSession }: Partial<SessionOptions>,
  touchAfterMs: number | null | false, faults: Faults
): ResolvedForkDetection | null {
  if (forkDetection === false) return null
  const { onFork = FORK_DETECTION_DEFAULTS.onFork } = forkDetection === true ? {} : forkDetection
  if (expressSession === 'share') {
    faults.add('forkDetection', 'cannot be given together with expressSession share: an Express app does not check it')
  }
  const keepsTwins = attempted(() => store === undefined || !isSessionStore(store) || 'advance' in store, true)
  if (!keepsTwins) faults.add('forkDetection', 'needs a store that keeps twins: this one has no advance()')
  if (touchAfterMs === false) {
    faults.add('forkDetection', 'needs touchAfter: forks are noticed when use is written down')
  }
  return { onFork }
}
