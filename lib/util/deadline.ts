import { errors } from '../errors.ts'
import { BUSY_GRACE_MS, LATE_TIMER_MS, REQUEST_WAIT_MS } from './timings.ts'

/** Result of a wait that was too long. */
export const TIMED_OUT = Symbol('timed out')

/** Factor by which every wait is longer. 1, but for tests on a busy machine that are not about time. */
export const patience = { factor: 1 }

/**
 * Waits for `promise`, `ms` milliseconds at the most, and resolves with its result or with `TIMED_OUT`. A later
 * rejection is handled, and lost. A process that was busy itself waits a little longer.
 */
export function withDeadline<T> (promise: Promise<T>, ms: number): Promise<T | typeof TIMED_OUT> {
  // One promise and one timer: every request that reads its session waits here.
  return new Promise((resolve, reject) => {
    const startedAt = performance.now()
    // Where a caller's time is over. Node.js warns of negative timers.
    const longestMs = Math.max(0, ms) * patience.factor
    // Timers run before network input. Two turns of the event loop let an answer that has arrived be read and handled.
    const giveUp = (): void => { setImmediate(() => setImmediate(resolve, TIMED_OUT)) }
    let timer = setTimeout(() => {
      if (performance.now() - startedAt - longestMs < LATE_TIMER_MS) giveUp()
      else timer = setTimeout(giveUp, BUSY_GRACE_MS)
    }, longestMs)
    promise.then((result) => {
      clearTimeout(timer)
      resolve(result)
    }, (error: unknown) => {
      clearTimeout(timer)
      reject(error)
    })
  })
}

/**
 * Waits for an operation, `ms` milliseconds at the most. It goes on after that, and `late` is called with its result.
 * @throws ERR_SESSION_STORE_UNAVAILABLE when that was too long
 */
export async function inTime<T> (
  operation: Promise<T>, { ms = REQUEST_WAIT_MS, late = () => {} }: { ms?: number, late?: (result: T) => void } = {}
): Promise<T> {
  const result = await withDeadline(operation, ms)
  if (result !== TIMED_OUT) return result
  operation.then(late, () => {})
  throw new errors.STORE_UNAVAILABLE()
}
