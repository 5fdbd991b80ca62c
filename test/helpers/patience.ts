import { patience } from '../../lib/util/deadline.ts'
import type { Owner } from './redis.ts'

/*
 * Loaded before every test file: on a busy machine an answer may take longer than a request should wait for it, which is
 * no fault of what is tested. Tests about time say so with `withRealLimits`.
 */
patience.factor = 10

/** Has everything waited for as long as applications do, until the test ends. */
export function withRealLimits (t: Owner): void {
  patience.factor = 1
  t.teardown(() => { patience.factor = 10 })
}
