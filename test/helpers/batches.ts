/** How many requests are under way at a time. */
const AT_ONCE = 100

/** Runs `each` for 0, 1, 2… up to `count`, some at a time. */
export async function inBatches (count: number, each: (index: number) => Promise<void>): Promise<void> {
  for (let from = 0; from < count; from += AT_ONCE) {
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - from) }, async (_, index) => await each(from + index)))
  }
}
