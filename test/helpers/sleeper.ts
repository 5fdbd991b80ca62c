import type { Test } from 'tap'

/** A machine that can be put to sleep: its monotonic clock then misses what passes on every other clock. */
export interface Sleeper {
  /** `ms` of sleep, an hour at the most in all. */
  sleep (ms: number): void
  /** Sets the clock of the day, ahead or back. */
  setClock (ms: number): void
}

const MOST_MS = 3_600_000

/** Makes this process's machine one, for the rest of the test. What it did not miss so far is made up for beforehand. */
export function startSleeper (t: Test): Sleeper {
  const monotonic = performance.now.bind(performance)
  const date = Date.now
  let leftMs = MOST_MS
  let setMs = 0
  t.intercept(performance, 'now', { value: () => monotonic() + leftMs })
  t.intercept(Date, 'now', { value: () => date() + setMs })
  return {
    sleep: (ms) => { leftMs -= ms },
    setClock: (ms) => { setMs += ms }
  }
}
