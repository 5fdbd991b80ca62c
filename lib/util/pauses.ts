/** How much longer than the monotonic clock `Date` may have gone on since somebody last looked, in milliseconds. */
const APART_MS = 1_000

let apart = Date.now() - performance.now()
let count = 0

/**
 * How often this machine has been paused, as far as anybody looked: asleep, or a virtual machine that was stopped. The
 * monotonic clock, which ages and deadlines go by, stands still then, and `Date` does not. One that was set ahead by
 * more than a second counts as well.
 */
export function pausesSoFar (): number {
  const now = Date.now() - performance.now()
  if (now - apart > APART_MS) count++
  apart = now
  return count
}
