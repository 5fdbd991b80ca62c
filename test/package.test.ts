import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { linksOf } from './helpers/pages.ts'
import { PEERS } from './helpers/peers.ts'
import { root, run } from './helpers/process.ts'

const require = createRequire(import.meta.url)

/*
 * How large the package may be: little above what it was when these were set. Raise one only on purpose. Last time:
 * sessions that are bound to a device, and those that two browsers use, with their pages.
 */
const MAX_TARBALL_BYTES = 1_150_000
const MAX_FILES = 1_050
/** CPU time of importing the package, as a multiple of importing Fastify. */
const MAX_IMPORT_RATIO = 5
/** How often each import is measured. The smallest of all counts: on a busy machine it takes longer to see it. */
const IMPORTS = { least: 5, most: 25 }

/** The part of a package-lock.json that says what is installed. */
interface Lock { packages: Record<string, { peer?: true, link?: true }> }

/** What `npm pack` says of the package. */
interface Packed { size: number, files: Array<{ path: string }> }

async function pack (): Promise<Packed> {
  const { stdout } = await promisify(execFile)('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root })
  return (Object.values(JSON.parse(stdout) as object) as Packed[])[0] as Packed
}

/** Measures the CPU time, in microseconds, that a process of its own needs to import a package. */
async function importMicros (name: string): Promise<number> {
  // Coverage and tap, which puts itself into what a test starts, would be measured too.
  const alone = ['-u', 'NODE_OPTIONS', '-u', 'NODE_V8_COVERAGE']
  const { stdout } = await promisify(execFile)('env', [...alone, process.execPath, '--input-type=module', '--eval', `
    const before = process.cpuUsage()
    await import('${name}')
    const { user, system } = process.cpuUsage(before)
    console.log(user + system)
  `], { cwd: import.meta.dirname })
  return Number(stdout)
}

/** The part of package.json that says what can be imported, and run. */
interface Manifest {
  scripts: Record<string, string>
  exports: Record<string, unknown>
  /** Paths of types for those who read no `exports`. */
  typesVersions: { '*': Record<string, [string]> }
}

/** Returns the files that a process of its own loads for `program`. */
async function loadedBy (program: string): Promise<string[]> {
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', `
    import { Session } from 'node:inspector'
    const loaded = []
    const session = new Session()
    session.connect()
    session.on('Debugger.scriptParsed', ({ params }) => loaded.push(params.url))
    session.post('Debugger.enable')
    ${program}
    session.disconnect()
    console.log(JSON.stringify(loaded))
  `], { cwd: import.meta.dirname, env: { ...process.env, NODE_OPTIONS: '' } })
  return JSON.parse(stdout) as string[]
}

const files = /dist\/lib\/express\/(.*)\.js$/
const packages = /node_modules\/(connect-redis|express-session)\//
const of = (pattern: RegExp, loaded: string[]) => [...new Set(loaded.map((url) => pattern.exec(url)?.[1]).filter((found) => found !== undefined))].sort()

t.test('who uses no other library loads nothing for one', async (t) => {
  const boot = (beside: string) => `
    const { default: sessionPlugin } = await import('fastify-user-sessions')
    const { default: Fastify } = await import('fastify')
    const app = Fastify()
    await app.register(sessionPlugin, { secret: 'x'.repeat(32), redis: 'redis://127.0.0.1:1', ${beside} })
    await app.close()`
  const [alone, beside, adopting, dropIn] = await Promise.all([boot(''), boot('expressSession: "share"'), boot('adopt: "@fastify/session"'), "await import('fastify-user-sessions/express')"].map(loadedBy)) as [string[], string[], string[], string[]]
  t.ok(alone.some((url) => url.endsWith('/dist/lib/redis/store.js')))
  t.strictSame([of(files, alone), of(packages, alone)], [[], []])
  t.ok(of(files, beside).includes('shared-records'))
  t.ok(of(files, adopting).includes('adoption'))
  t.strictSame([of(packages, beside), of(packages, adopting)], [[], []])
  t.strictSame(of(packages, dropIn), ['connect-redis', 'express-session'])
  t.strictSame(dropIn.filter((url) => /dist\/lib\/(http|options)\//.test(url)), [])
})

t.test('the store for express-session has an entry point of its own', async (t) => {
  const { RedisStore } = require('fastify-user-sessions/express') as typeof import('fastify-user-sessions/express')
  t.ok(RedisStore.prototype instanceof require('express-session').Store)
})

// The built package, under its own name, as an application loads it.
t.test('require gives a plugin that Fastify registers', async (t) => {
  const { default: sessionPlugin, authRoutes, MemoryStore, RedisStore } = require('fastify-user-sessions') as typeof import('fastify-user-sessions')
  for (const each of [sessionPlugin, authRoutes, MemoryStore, RedisStore]) t.type(each, 'function')
  const { default: Fastify } = await import('fastify')
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(require('fastify-user-sessions') as typeof sessionPlugin, { secret: 'only for tests, and 32 characters long', store: new MemoryStore() })
  t.type(app.authenticate, 'function')
})

t.test('packages of other folders bring no second Fastify, and no second copy of what is tested', async (t) => {
  const once = ['fastify', '@fastify/session', 'fastify-user-sessions', '@types/node', 'tap', 'typescript']
  for (const folder of PEERS) {
    const { packages } = JSON.parse(readFileSync(join(root, folder, 'package-lock.json'), 'utf8')) as Lock
    t.match(readFileSync(join(root, folder, '.npmrc'), 'utf8'), /^omit=peer$/m)
    const installed = Object.keys(packages).filter((path) => packages[path]?.peer !== true && packages[path]?.link !== true)
    t.strictSame(installed.filter((path) => once.includes(path.replace(/^.*node_modules\//, ''))), [], folder)
  }
})

t.test('every file that a page of the package links to is in the package', async (t) => {
  const paths = (await pack()).files.map(({ path }) => path)
  const isThere = (link: string): boolean => paths.includes(link) || paths.some((path) => path.startsWith(`${link}/`))
  for (const page of paths.filter((path) => path.endsWith('.md'))) {
    const links = linksOf({ path: page, text: readFileSync(join(root, page), 'utf8') })
    // Pictures that the README does not show are on the site only.
    const needed = links.filter(({ path }) => page === 'README.md' || !path.startsWith('docs/images/'))
    t.strictSame(needed.filter(({ path }) => !isThere(path)).map(({ target }) => target), [], page)
  }
  t.ok(['README.md', 'CHANGELOG.md', 'LICENSE', 'llms.txt'].every((path) => paths.includes(path)))
  t.strictSame(paths.filter((path) => /^docs\/(?!.*\.md$)(?!images\/)|node_modules/.test(path)), [], 'no source of the site')
})

t.test('every entry point has types where exports are not read', async (t) => {
  const { exports, typesVersions } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest
  const entries = Object.keys(exports).filter((entry) => !entry.endsWith('.json'))
  t.strictSame(Object.keys(typesVersions['*']), entries.map((entry) => entry.slice(2)).filter((name) => name !== ''))

  const folder = join(root, '.tmp/classic')
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(join(folder, 'node_modules'), { recursive: true })
  symlinkSync(root, join(folder, 'node_modules/fastify-user-sessions'))
  const imports = entries.map((entry, index) => `import * as entry${index} from '${join('fastify-user-sessions', entry)}'`)
  writeFileSync(join(folder, 'app.ts'), [
    ...imports,
    "import sessionPlugin, { MemoryStore } from 'fastify-user-sessions'",
    'new MemoryStore()',
    '// @ts-expect-error: with types, nothing is any',
    'sessionPlugin.nothing',
    ...entries.flatMap((_, index) => ['// @ts-expect-error: nor is an entry point', `entry${index}.nothing`])
  ].join('\n'))
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({
    compilerOptions: {
      module: 'commonjs',
      moduleResolution: 'node10',
      ignoreDeprecations: '6.0',
      esModuleInterop: true,
      strict: true,
      skipLibCheck: true,
      types: [],
      noEmit: true
    },
    files: ['app.ts']
  }))
  const { code, output } = await run('npx', ['tsc', '-p', folder])
  t.equal(code, 0, output)
})

t.test('the package stays small, and quick to import', async (t) => {
  const { size, files } = await pack()
  t.ok(size <= MAX_TARBALL_BYTES, `a tarball of ${size} bytes`)
  t.ok(files.length <= MAX_FILES, `${files.length} files`)
  const [ours, theirs]: [number[], number[]] = [[], []]
  let ratio = Infinity
  for (let each = 0; each < IMPORTS.least || (ratio > MAX_IMPORT_RATIO && each < IMPORTS.most); each++) {
    ours.push(await importMicros('fastify-user-sessions'))
    theirs.push(await importMicros('fastify'))
    ratio = Math.min(...ours) / Math.min(...theirs)
  }
  t.comment(`${size} bytes, ${files.length} files, imported in ${ratio.toFixed(1)} times the CPU time of Fastify`)
  t.ok(ratio <= MAX_IMPORT_RATIO, `${ratio.toFixed(1)} times the CPU time of importing Fastify`)
})

t.test('what cannot be traced is not published: without a repository, a date or the tag of its version', async (t) => {
  const folder = join(root, '.tmp/release')
  const check = async (manifest: object, heading: string, tag?: string): Promise<string[]> => {
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ version: '1.2.3', ...manifest }))
    writeFileSync(join(folder, 'CHANGELOG.md'), `# Changelog\n\n${heading}\n`)
    const env = { ...process.env, GITHUB_REF_NAME: tag }
    return await promisify(execFile)(process.execPath, [join(root, '.ci/release-check.js')], { cwd: folder, env })
      .then(() => [], ({ code, stderr }) => code === 1 ? stderr.trim().split('\n') : [String(stderr)])
  }
  const [repository, dated] = ['github:ada/sessions', '## 1.2.3 (2026-01-31)']
  t.strictSame(await check({ repository }, dated, 'v1.2.3'), [])
  t.strictSame(await check({ repository }, dated), [], 'by hand')
  t.match(await check({}, dated, 'v1.2.3'), [/`repository`/])
  t.match(await check({ repository }, '## 1.2.3 (unreleased)', 'v1.2.3'), [/unreleased/])
  t.match(await check({ repository }, '## 1.2.2 (2026-01-30)', 'v1.2.3'), [/no section/])
  t.match(await check({ repository }, dated, 'v1.2.4'), [/the tag is v1.2.4/])
  t.equal((await check({}, '', 'main')).length, 3)
})

t.test('Dependabot looks after every folder with packages, and the workflows call scripts that exist', async (t) => {
  const github = join(root, '.github')
  const dependabot = readFileSync(join(github, 'dependabot.yml'), 'utf8')
  for (const folder of PEERS) t.match(dependabot, new RegExp(`^ +- /${folder}$`, 'm'))
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest
  const workflows = readdirSync(join(github, 'workflows')).map((name) => readFileSync(join(github, 'workflows', name), 'utf8')).join('\n')
  const named = [...workflows.matchAll(/npm run ([\w:-]+)/g)].map(([, name = '']) => name)
  t.strictSame(named.filter((name) => scripts[name] === undefined), [])
  const files = [...workflows.matchAll(/\.ci\/[\w.-]+/g)].map(([file]) => file)
  t.ok(named.length > 2 && files.length > 2)
  for (const file of files) t.ok(existsSync(join(root, file)), file)
})
