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

/** Puts these processes on the last core that this one may use, which it names; `null` where that cannot be done. */
export function pin (pids: readonly number[]): number | null {
  const allowed = spawnSync('taskset', ['-cp', String(process.pid)], { encoding: 'utf8' })
  const last = allowed.status === 0 ? /(\d+)\s*$/.exec(allowed.stdout)?.[1] : undefined
  if (last === undefined) return null
  return pids.every((pid) => spawnSync('taskset', ['-acp', last, String(pid)]).status === 0) ? Number(last) : null
}

/** Writes bench/results/<name>. */
export function writeResult (name: string, content: string | object): void {
  const folder = new URL('results/', import.meta.url)
  mkdirSync(folder, { recursive: true })
  writeFileSync(new URL(name, folder), typeof content === 'string' ? content : JSON.stringify(content, null, 2) + '\n')
}
