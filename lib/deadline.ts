/** What a wait that was too long gives. */
export const TIMED_OUT = Symbol('timed out')

/**
 * What `promise` gives within `ms` milliseconds, else `TIMED_OUT`; a later rejection is nobody's concern.
 * A process that was busy itself first looks whether the answer has come meanwhile.
 */
export async function withDeadline<T> (promise: Promise<T>, ms: number): Promise<T | typeof TIMED_OUT> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<typeof TIMED_OUT>((resolve) => {
    // Timers run before what the network brought: two turns of the loop let an answer that waits be read and handled.
    timer = setTimeout(() => setImmediate(() => setImmediate(resolve, TIMED_OUT)), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
