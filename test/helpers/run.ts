import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startChecks } from './checks.ts'
import { installPeers, PEERS } from './peers.ts'
import { root } from './process.ts'

/*
 * Runs test files and says in its last line how many tests passed: `8 passed, 1 failed`.
 *
 *     tsx test/helpers/run.ts [--jobs=2] [--timeout=300] [--all [--rest]] [--checks] [files…]
 *
 * Without files: those of `npm test`, or of `npm run test:all`, which tries more often what depends on chance. Files
 * share a few processes, as starting one takes longer than most of them. What a file's folder needs of packages of its
 * own is installed first. One line per file as it ends; of a file that failed, everything said in its tests that failed.
 * `--rest`: of all files, those that `npm test` leaves out, or in which it tries less: for a machine that has run it. Not
 * those of `npm run test:coverage`, nor those of `npm run test:everything`, which EVERYTHING=1 in the environment asks
 * for. With COVERAGE in the environment tests note there which lines they reach: see coverage.ts. `--checks`: lint, types
 * and the package too, as one of the jobs; those that fail count as failed.
 * One file in a process of its own: `npx tap <file>`.
 */

/**
 * What `npm test` leaves to `npm run test:all`: other people's packages, servers that fail, what is published, the
 * programs of the docs, and the near-cache before what `npm test` tries without it.
 */
const LONG = /^test\/(browser|express|failover|interop|outages|runtimes)\/|^test\/(docs\/(programs|tutorial)|near\/(cluster|sentinel)|package|readme|testing\/packed)\.|^examples\//
/** Tests with commands of their own: `npm run test:browser`, `npm run test:runtimes`. */
const APART = /^test\/(browser|runtimes)\//
/** Where what is off by default can be on, as in `npm run test:everything`: the races, and the contract of stores. */
const WITH_EVERYTHING = /^test\/(near\/cache|races\/(http|requests|store)|redis\/(cluster|store)|store\/memory)\.test\.ts$/
/** The room of lib that `npm test` leaves out, and without which its coverage is not whole: `npm run test:coverage`. */
const COVERED = /^test\/express\//
/** What takes longest begins first: who is done early has something to do. */
const EARLY = /^test\/(attacks\/(cross-site|fuzz)|browser\/(demo|documentation)|docs\/tutorial|documented|http\/signal|near|operate\/doctor|package|races|readme|redis|session\/events|store|testing)/
/** What counts bytes: what V8 learns from the files before changes how many an object takes. */
const ALONE = /\/memory-bytes\.test\.ts$/
/** How long a process may take to end when all its files have. */
const ENDS_WITHIN_MS = 20_000

const { COVERAGE, EVERYTHING } = process.env
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    jobs: { type: 'string', default: '2' },
    timeout: { type: 'string', default: '300' },
    all: { type: 'boolean', default: false },
    rest: { type: 'boolean', default: false },
    checks: { type: 'boolean', default: false }
  }
})
const files = positionals.length > 0 ? positionals : filesOf(values.all ? APART : LONG).filter(isAsked)
const counts = { passed: 0, failed: 0, skipped: 0 }
installPeers(PEERS.filter((folder) => files.some((file) => file.startsWith(`${folder}/`))))

/** A process that runs test files, and what it said about the one it is at. */
class Worker {
  readonly #child: ChildProcess
  readonly #ended: Promise<[number | null]>
  readonly #lines: AsyncIterator<string>
  readonly #files: string[] = []

  constructor () {
    this.#child = fork(fileURLToPath(new URL('worker.ts', import.meta.url)), [String(Number(values.timeout) * 1_000)], {
      // As tap itself starts them: the mock is for t.mockImport.
      execArgv: ['--import=tsx', '--import=./test/helpers/worker-hooks.ts', '--import=@tapjs/mock/import', '--import=./test/helpers/patience.ts'],
      env: { ...process.env, TAP_TIMEOUT: '0', ...values.all && { TEST_ALL: '1' }, ...COVERAGE !== undefined && { NODE_V8_COVERAGE: COVERAGE } },
      stdio: ['ignore', 'pipe', 'inherit', 'ipc']
    })
    this.#ended = once(this.#child, 'exit') as Promise<[number | null]>
    // That it cannot be sent to: then it has ended, as its output tells.
    this.#child.on('error', () => {})
    this.#lines = createInterface({ input: this.#child.stdout as Readable })[Symbol.asyncIterator]()
  }

  /** Runs a file and returns whether it passed. */
  async run (file: string): Promise<boolean> {
    this.#child.send(file)
    this.#files.push(file)
    // It looks at the time itself, unless it stands still.
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), Number(values.timeout) * 1_000 + ENDS_WITHIN_MS)
    try {
      return await this.#concluded(file)
    } finally {
      clearTimeout(timer)
    }
  }

  async #concluded (file: string): Promise<boolean> {
    const said: string[] = []
    for (let next = await this.#lines.next(); next.done !== true; next = await this.#lines.next()) {
      const [, result, about] = /^(ok|not ok) \d+ - (.*)$/.exec(next.value) ?? []
      if (result !== undefined) return conclude(`${result} - ${about}`, said)
      said.push(next.value)
    }
    return conclude(`not ok - ${file} # its process ended`, said)
  }

  /** Waits for its end. What a test left open holds it up. */
  async end (): Promise<void> {
    this.#child.disconnect()
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), ENDS_WITHIN_MS)
    const said: string[] = []
    for (let next = await this.#lines.next(); next.done !== true; next = await this.#lines.next()) said.push(next.value)
    const [code] = await this.#ended
    clearTimeout(timer)
    if (code === 0) return
    const reason = code === null ? 'did not end: one left something open' : 'failed after their end'
    conclude(`not ok - the process of ${this.#files.join(', ')}: ${reason}`, said)
  }

  async kill (): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#ended
  }
}

const checks = values.checks ? await startChecks() : undefined
const queue = checks?.isBuilt === false ? [] : [...files]
await Promise.all(Array.from({ length: Math.min(Number(values.jobs), files.length) }, async (_, job) => {
  if (job === 0 && checks !== undefined) {
    // Files that fail meanwhile are counted meanwhile.
    const failed = await checks.failed
    counts.failed += failed
  }
  await runQueue()
}))

const { passed, failed, skipped } = counts
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = failed > 0 || passed + skipped === 0 ? 1 : 0

/** Runs the files that are left, in one process as long as they pass and share it. */
async function runQueue (): Promise<void> {
  let worker: Worker | undefined
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
    const isAlone = ALONE.test(file)
    if (isAlone) await worker?.end()
    if (isAlone || worker === undefined) worker = new Worker()
    const passes = await worker.run(file)
    // Whatever it left behind is no matter of the files to come.
    if (!passes) await worker.kill()
    else if (isAlone) await worker.end()
    if (isAlone || !passes) worker = undefined
  }
  await worker?.end()
}

function filesOf (leftOut: RegExp): string[] {
  return ['examples/test', 'test'].flatMap(filesIn)
    .filter((name) => name.endsWith('.test.ts') && !leftOut.test(name))
    .sort((a, b) => Number(EARLY.test(b)) - Number(EARLY.test(a)) || (a < b ? -1 : 1))
}

/** Whether a file belongs to what was asked for. */
function isAsked (file: string): boolean {
  if (EVERYTHING === '1') return WITH_EVERYTHING.test(file)
  if (values.rest) return !COVERED.test(file) && (LONG.test(file) || (triesMore(file) && !WITH_EVERYTHING.test(file)))
  return true
}

/** Whether a file tries more in `npm run test:all`: it asks test/helpers/scale.ts, or what it imports does. */
function triesMore (file: string, seen = new Set<string>()): boolean {
  if (file === 'test/helpers/scale.ts') return true
  // What tests write down as programs imports what is not here.
  if (seen.has(file) || !/^(test|examples)\//.test(file) || !existsSync(join(root, file))) return false
  seen.add(file)
  const imports = [...readFileSync(join(root, file), 'utf8').matchAll(/^(?:import|export|\}) .*from '(\.[^']+\.ts)'$/gm)]
  return imports.some(([, path = '']) => triesMore(join(dirname(file), path), seen))
}

/** All files below a folder, from the repository's, but for those of packages. */
function filesIn (folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true })
    .filter(({ name }) => name !== 'node_modules')
    .flatMap((entry) => entry.isDirectory() ? filesIn(`${folder}/${entry.name}`) : [`${folder}/${entry.name}`])
}

/** Counts the tests of a file, prints its line, and before it what failed. Returns whether the file passed. */
function conclude (line: string, said: string[]): boolean {
  const isOk = line.startsWith('ok')
  const results = said.filter((each) => /^ {4}(not )?ok \d/.test(each))
  const skipped = results.filter((each) => / # (SKIP|TODO)/.test(each)).length
  const failed = results.filter((each) => each.startsWith('    not ok') && !/ # TODO/.test(each)).length
  const passes = isOk && results.length > 0
  counts.skipped += skipped
  counts.passed += results.length - skipped - failed
  // A file may also fail outside of its tests.
  counts.failed += passes ? 0 : Math.max(1, failed)
  if (!passes) console.log(failuresOf(said).join('\n'))
  console.log(isOk && !passes ? `not ${line} # no tests` : line)
  return passes
}

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
