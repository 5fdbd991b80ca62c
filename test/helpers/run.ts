import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/*
 * Runs tap and says in its last line how it went: `8 passed, 1 failed`.
 *
 *     tsx test/helpers/run.ts [files or options of tap…]
 *
 * One line per file as it ends; of a file that failed, everything said in its tests that failed.
 */

const tap = fileURLToPath(new URL('../../node_modules/.bin/tap', import.meta.url))
const child = spawn(tap, ['--reporter=tap', ...process.argv.slice(2)], { stdio: ['inherit', 'pipe', 'inherit'] })
const ended = once(child, 'close')

/** What the last line of tap's report counts; a suite that says nothing has run nothing. */
const counts = { total: 0, pass: 0, fail: 0, skip: 0, todo: 0 }
let said: string[] = []
let failing = false

for await (const line of createInterface({ input: child.stdout })) {
  const result = /^(not ok|ok) \d+ - (.*)$/.exec(line)
  const summary = /^# \{ (.*) \}$/.exec(line)
  if (result !== null) {
    failing = result[1] === 'not ok'
    if (failing) console.log(failuresOf(said).join('\n'))
    console.log(line)
    said = []
  } else if (summary !== null) {
    for (const [, name, count] of (summary[1] ?? '').matchAll(/(\w+): (\d+)/g)) Object.assign(counts, { [name ?? '']: Number(count) })
  } else if (failing && line.startsWith('  ')) {
    // The diagnosis below a file's own `not ok`: how it ended.
    console.log(line)
  } else {
    said.push(line)
  }
}
const [code] = await ended as [number | null]

const { pass, fail } = counts
const skipped = counts.skip + counts.todo
if (code !== 0 && fail === 0) console.log(said.join('\n'))
console.log(`${pass} passed, ${fail} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = counts.total === 0 ? code || 1 : code ?? 1

/** A file's lines without those of its tests that passed. */
function failuresOf (lines: string[]): string[] {
  const kept: string[] = []
  let test: string[] = []
  for (const line of lines) {
    if (line.startsWith('    # Subtest: ')) kept.push(...test.splice(0))
    if (line.trim() !== '') test.push(line)
    if (/^ {4}ok \d/.test(line)) test = []
  }
  return [...kept, ...test]
}
