import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root } from './process.ts'
import type { Outcome } from './scale.ts'

/*
 * Runs the attacks, the races, the outages and the failovers of the tests with their full numbers, three files at a time,
 * and prints what came of each.
 *
 *     npm run test:soak [-- files…]
 */

/** The longest first. */
const FOLDERS = ['test/failover', 'test/races', 'test/attacks', 'test/outages']
const folder = mkdtempSync(join(tmpdir(), 'fus-soak-'))
const file = join(folder, 'outcomes')
writeFileSync(file, '')

const asked = process.argv.slice(2)
const args = ['--jobs=3', '--timeout=7200', ...asked.some((each) => !each.startsWith('-')) ? asked : [...FOLDERS.flatMap(testsIn), ...asked]]
const child = spawn(process.execPath, ['--import', 'tsx', join(root, 'test/helpers/run.ts'), ...args], { cwd: root, env: { ...process.env, SOAK: '1', SOAK_REPORT: file }, stdio: 'inherit' })
const [code] = await once(child, 'close') as [number | null]

const outcomes = readFileSync(file, 'utf8').split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as Outcome)
rmSync(folder, { recursive: true })

const COLUMNS: Array<[string, (outcome: Outcome) => unknown]> = [
  ['scenario', ({ scenario }) => scenario],
  ['on', ({ on }) => on],
  ['tries', ({ tries }) => tries.toLocaleString('en')],
  ['resurrected', ({ resurrected }) => resurrected],
  ['lost', ({ lost }) => lost],
  ['accepted', ({ accepted }) => accepted],
  ['5xx', ({ failed }) => failed],
  ['commands', ({ costly }) => costly],
  ['slowest answer', ({ slowestMs }) => slowestMs === undefined ? undefined : `${Math.round(slowestMs)} ms`],
  ['half within', ({ medianMs }) => medianMs === undefined ? undefined : `${medianMs.toFixed(1)} ms`],
  ['99 of 100', ({ p99Ms }) => p99Ms === undefined ? undefined : `${Math.round(p99Ms)} ms`],
  ['still served', ({ stalestMs }) => stalestMs === undefined ? undefined : `${Math.round(stalestMs)} ms`],
  ['heaps', ({ heapBytes }) => heapBytes?.map((bytes) => `${(bytes / 1e6).toFixed(1)} MB`).join(', ')],
  ['recovery', ({ recoveryMs }) => recoveryMs === undefined ? undefined : `${(recoveryMs / 1000).toFixed(1)} s`]
]
console.log(['', row(COLUMNS.map(([name]) => name)), row(COLUMNS.map(() => '---')), ...outcomes.map((outcome) => row(COLUMNS.map(([, cell]) => String(cell(outcome) ?? ''))))].join('\n'))
process.exitCode = code ?? 1

function testsIn (path: string): string[] {
  return readdirSync(join(root, path)).filter((name) => name.endsWith('.test.ts')).map((name) => join(path, name))
}

function row (cells: string[]): string {
  return `| ${cells.join(' | ')} |`
}
