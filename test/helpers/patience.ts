import { patience } from '../../lib/util/deadline.ts'
import type { Owner } from './redis.ts'

/*
 * Loaded before every test file: on a busy machine an answer may take longer than a request should wait for it, which is
 * no fault of what is tested. Tests about time say so with `withRealLimits`.
 */
patience.factor = 10

/** Has everything waited for as long as applications do, until the test ends. */
export function withRealLimits (t: Owner): void {
  setFactor(t, 1)
}

/** In a file that has the real limits: has a test that is not about time wait for longer. */
export function withPatience (t: Owner): void {
  setFactor(t, 10)
}

function setFactor (t: Owner, factor: number): void {
  const before = patience.factor
  patience.factor = factor
  t.teardown(() => { patience.factor = before })
}
