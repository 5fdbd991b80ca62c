/** What a wait that was too long gives. */
export const TIMED_OUT = Symbol('timed out')

/** What `promise` gives within `ms` milliseconds, else `TIMED_OUT`; a later rejection is nobody's concern. */
export async function withDeadline<T> (promise: Promise<T>, ms: number): Promise<T | typeof TIMED_OUT> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<typeof TIMED_OUT>((resolve) => { timer = setTimeout(resolve, ms, TIMED_OUT) })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
