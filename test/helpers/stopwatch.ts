/** How often the process is looked at, and how late a look may be without its having been kept from running, in ms. */
const LOOK_EVERY_MS = 5
const ON_TIME_MS = 1

/** How long something took. */
export interface Lap<T> {
  result: T
  ms: number
  /** Without the time that this process was kept from running, by its own work or by others on this machine. */
  ownMs: number
}

/** Measures how long `task` takes. */
export async function timed<T> (task: () => Promise<T>): Promise<Lap<T>> {
  let keptMs = 0
  let lookedAt = performance.now()
  const look = (): void => {
    const now = performance.now()
    const lateMs = now - lookedAt - LOOK_EVERY_MS
    if (lateMs > ON_TIME_MS) keptMs += lateMs
    lookedAt = now
  }
  const looks = setInterval(look, LOOK_EVERY_MS)
  const startedAt = performance.now()
  try {
    const result = await task()
    look()
    const ms = performance.now() - startedAt
    return { result, ms, ownMs: ms - keptMs }
  } finally {
    clearInterval(looks)
  }
}
