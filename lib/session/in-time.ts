import { TIMED_OUT, withDeadline } from '../util/deadline.ts'
import { errors } from '../errors.ts'

/** How long whoever asks waits for the store, whatever that takes: its commands wait for each other. */
export const WAIT_MS = 600

/**
 * What an operation gives within `ms` milliseconds. It goes on after that, and its result is given to `late`.
 * @throws ERR_SESSION_STORE_UNAVAILABLE
 */
export async function inTime<T> (operation: Promise<T>, { ms = WAIT_MS, late = () => {} }: { ms?: number, late?: (result: T) => void } = {}): Promise<T> {
  const result = await withDeadline(operation, ms)
  if (result !== TIMED_OUT) return result
  operation.then(late, () => {})
  throw new errors.STORE_UNAVAILABLE()
}
