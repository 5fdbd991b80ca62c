import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

export function quantile (values: Iterable<number>, share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? NaN
}

export function median (values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** What is left of the heap when the garbage is gone. */
export function liveBytes (): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  // What the first leaves to finalizers is gone with the second.
  collect()
  collect()
  return process.memoryUsage().heapUsed
}

/** One of what `INFO` of Redis says. */
export function infoNumber (info: string, name: string): number {
  return Number(new RegExp(`^${name}:(\\S+)`, 'm').exec(info)?.[1] ?? NaN)
}

/** A table in Markdown. */
export function markdown (head: readonly string[], rows: ReadonlyArray<readonly string[]>): string {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}
