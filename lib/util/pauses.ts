import { PAUSE_MS } from './timings.ts'

let apart = Date.now() - performance.now()
let count = 0

/**
 * Returns how often this machine has been paused, as far as the calls of this function saw: asleep, or a virtual
 * machine that was stopped. The monotonic clock, by which ages and deadlines are measured, stands still then, and
 * `Date` does not. Setting the clock ahead by more than a second counts as well.
 */
export function pausesSoFar (): number {
  const now = Date.now() - performance.now()
  if (now - apart > PAUSE_MS) count++
  apart = now
  return count
}
