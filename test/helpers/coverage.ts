import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from './process.ts'

/*
 * Runs test files as run.ts does, and records which lines of lib they and the processes that they start reach. c8 says
 * how many these are, and fails where they are fewer than .c8rc.json asks for.
 *
 *     tsx test/helpers/coverage.ts [--all] [files…] && npx c8 report
 *     COVERAGE="$PWD/.tmp/coverage" npm test && npm run test:coverage
 *
 * `--add`: what was recorded there before counts as well.
 *
 * A process that is killed leaves nothing, as one does that ran a file with a failed test.
 */

/** What Node.js writes when a process ends. */
interface Coverage {
  result: Array<{ url: string }>
  'source-map-cache'?: Record<string, unknown>
}

/** Where c8 looks, as .c8rc.json says. */
const folder = join(root, '.tmp/coverage')
const lib = pathToFileURL(join(root, 'lib/')).href

const given = process.argv.slice(2)
if (!given.includes('--add')) rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })
const args = ['--import', 'tsx', join(root, 'test/helpers/run.ts'), ...given.filter((each) => each !== '--add')]
const env = { ...process.env, COVERAGE: folder }
const [code] = await once(spawn(process.execPath, args, { cwd: root, env, stdio: 'inherit' }), 'close') as [number | null]
for (const name of readdirSync(folder)) keepLib(join(folder, name))
process.exitCode = code ?? 1

/** Takes all but lib out of a file: many processes load the same packages, and c8 cannot read what is no file. */
function keepLib (path: string): void {
  const { result, 'source-map-cache': maps = {} } = read(path)
  const ours = result.filter(({ url }) => url.startsWith(lib))
  if (ours.length === 0) return rmSync(path)
  const oursMaps = Object.fromEntries(Object.entries(maps).filter(([url]) => url.startsWith(lib)))
  writeFileSync(path, JSON.stringify({ result: ours, 'source-map-cache': oursMaps } satisfies Coverage))
}

function read (path: string): Coverage {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Coverage
  } catch {
    // Its process was killed as it wrote.
    return { result: [] }
  }
}
