import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import type { Redis } from 'ioredis'

/** Where figures come from: without it they say nothing. */
export interface Machine {
  node: string
  redis: string
  cpu: string
}

export async function machineOf (admin: Redis): Promise<Machine> {
  const [, version = ''] = /(?:redis|valkey)_version:(\S+)/.exec(await admin.info('server')) ?? []
  const [first] = cpus()
  return { node: process.version, redis: version, cpu: `${cpus().length} × ${first?.model}` }
}

export function sayMachine ({ node, redis, cpu }: Machine): string {
  return `Node ${node} · Redis ${redis} · ${cpu}`
}

/** The first and the last core that this process was started on; `null` where that cannot be told. */
let cores: { first: number, last: number } | null | undefined

/** Puts these processes on the last core that this one may use, or on the first. Returns which; `null` where that cannot be done. */
export function pin (pids: readonly number[], which: 'first' | 'last' = 'last'): number | null {
  // Asked once: later this process is on one core itself.
  cores ??= allowedCores()
  if (cores === null) return null
  const core = cores[which]
  return pids.every((pid) => spawnSync('taskset', ['-acp', String(core), String(pid)]).status === 0) ? core : null
}

function allowedCores (): { first: number, last: number } | null {
  const allowed = spawnSync('taskset', ['-cp', String(process.pid)], { encoding: 'utf8' })
  const [, first, last = first] = /: (\d+)(?:.*\D(\d+))?\s*$/.exec(allowed.stdout ?? '') ?? []
  return first === undefined ? null : { first: Number(first), last: Number(last) }
}

/** Writes bench/results/<name>. */
export function writeResult (name: string, content: string | object): void {
  const folder = new URL('results/', import.meta.url)
  mkdirSync(folder, { recursive: true })
  writeFileSync(new URL(name, folder), typeof content === 'string' ? content : JSON.stringify(content, null, 2) + '\n')
}
