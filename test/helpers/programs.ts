import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Test } from 'tap'
import ts from 'typescript'
import { secret } from './app.ts'
import type { Page } from './pages.ts'
import { freePort, root, run, startCommand } from './process.ts'
import type { Program } from './process.ts'
import { startRedis } from './redis.ts'

/*
 * Programs of the pages. A comment above each ts or diff block says what it is:
 *
 *     <!-- program: app.ts -->            a whole one, which listens on PORT; `program: app.ts interop`: it needs the packages of test/interop
 *     <!-- script: clean-up.ts -->        a whole one, which ends
 *     <!-- module: sqlite-store.ts -->    a whole file that is compiled and not run; other programs of the page can import it
 *     <!-- continues: app.ts -->          stands before the `listen` of that program, of this page or else of the README
 *     <!-- after: app.ts -->              a diff: what it leaves is a whole program
 *     <!-- from: examples/trpc/server.ts -->   lines of that file; `// …` stands for what is left out
 *     <!-- file: app.ts -->, <!-- add: … -->    of the tutorial, which test/docs/tutorial.test.ts builds
 */

export interface PageProgram {
  /** Path of the page and name of the program. */
  about: string
  /** Where it is written, in a folder of the page's. */
  file: string
  code: string
  kind: 'program' | 'script' | 'module'
  needsInterop: boolean
}

const COMPILER_OPTIONS: ts.CompilerOptions = {
  strict: true,
  exactOptionalPropertyTypes: true,
  erasableSyntaxOnly: true,
  module: ts.ModuleKind.NodeNext,
  moduleDetection: ts.ModuleDetectionKind.Force,
  target: ts.ScriptTarget.ES2022,
  types: ['node'],
  typeRoots: [join(root, 'node_modules/@types')],
  allowImportingTsExtensions: true,
  noEmit: true
}

const BLOCK = /^(?:<!-- (?<kind>program|script|module|continues|after|from|file|add): (?<name>\S+?),?(?: (?<rest>.*?))? -->\n)?```(?<language>ts|diff)\n(?<code>[^]*?)^```$/gm

interface Block { kind: string, name: string, rest: string, language: string, code: string }

/** Finds the blocks of a page, and throws for one that does not say what it is. */
function blocksOf ({ path, text }: Page): Block[] {
  return [...text.matchAll(BLOCK)].map(({ groups = {} }) => {
    const { kind, name = '', rest = '', language = '', code = '' } = groups
    if (kind === undefined) throw new Error(`${path}: a ${language} block has no comment that says what it is: ${code.slice(0, 80)}`)
    return { kind, name, rest, language, code }
  })
}

/** Finds the programs of a page. */
export function programsOf (page: Page): PageProgram[] {
  const found: PageProgram[] = []
  const wholes = new Map<string, string>()
  for (const { kind, name, rest, code } of blocksOf(page)) {
    if (kind === 'from' || kind === 'file' || kind === 'add') continue
    const whole = kind === 'continues' ? continued(wholes.get(name) ?? programOfReadme(name), code) : kind === 'after' ? after(code) : code
    if (kind !== 'continues') wholes.set(name, whole)
    found.push({
      about: `${page.path}: ${name}${kind === 'continues' ? `, continued (${found.length})` : ''}`,
      file: `${page.path.replace(/\.md$/, '').replaceAll('/', '-')}/${kind === 'continues' ? `${found.length}-` : ''}${name}`,
      code: whole,
      kind: kind === 'script' || kind === 'module' ? kind : 'program',
      needsInterop: rest === 'interop'
    })
  }
  return found
}

/** Finds the lines that a page shows of a file and that are not there, or not in a row. */
export function falseQuotes (page: Page): string[] {
  return blocksOf(page).filter(({ kind }) => kind === 'from').flatMap(({ name, code }) => {
    const path = join(root, name)
    const file = existsSync(path) ? trimmed(readFileSync(path, 'utf8')) : ''
    return code.split(/^\s*\/\/ …\n/m).map((part) => trimmed(part).trim()).filter((part) => part !== '' && !file.includes(part)).map((part) => `${page.path}, of ${name}: ${part}`)
  })
}

/** What adds to the types of others: a declaration, or a package besides Fastify, this one and Node's. */
const ADDS = /^\s*declare (module|global)\b|^import\b[^'"]*['"](?!\.|node:|fastify['"]|fastify-user-sessions['"/])/m

/**
 * Writes programs into a folder, and returns what the compiler says against them. A page that adds to Fastify's types what
 * it likes is compiled apart from the others. `skipLibCheck`: types of packages, ours too, are not checked in themselves,
 * which takes seconds each time.
 */
export function compile (folder: string, programs: PageProgram[], { skipLibCheck = true } = {}): string {
  write(folder, programs)
  const options = { ...COMPILER_OPTIONS, skipLibCheck }
  const host = ts.createCompilerHost(options)
  const read = host.getSourceFile.bind(host)
  const sources = new Map<string, ts.SourceFile | undefined>()
  host.getSourceFile = (name, ...rest) => {
    if (!sources.has(name)) sources.set(name, read(name, ...rest))
    return sources.get(name)
  }
  const adding = new Set(programs.filter(({ code }) => ADDS.test(code)).map(({ file }) => dirname(file)))
  const groups = new Map<string, string[]>()
  for (const { file } of programs) {
    const group = adding.has(dirname(file)) ? dirname(file) : ''
    groups.set(group, [...groups.get(group) ?? [], join(folder, file)])
  }
  const diagnostics = [...groups.values()].flatMap((rootNames) => ts.getPreEmitDiagnostics(ts.createProgram({ rootNames, options, host })))
  return ts.formatDiagnostics(diagnostics, host)
}

/** Starts each program and waits until it listens, or a script ends; `use` may ask it something. Returns what failed. */
export async function runAll (t: Test, folder: string, programs: PageProgram[], use: (program: PageProgram, port: number) => Promise<void> = async () => {}): Promise<string[]> {
  write(folder, programs)
  emit(folder, programs)
  const redis = await startRedis(t)
  const failed: string[] = []
  const queue = programs.filter(({ kind }) => kind !== 'module')
  // As a reader starts it. What tap and coverage put into a process takes it longer than all the rest, and nobody reads
  // the coverage of one that is killed.
  const env = { NODE_ENV: 'development', SESSION_SECRET: secret, REDIS_URL: redis.url, NODE_OPTIONS: undefined, NODE_V8_COVERAGE: undefined }
  await Promise.all([1, 2].map(async () => {
    for (let program = queue.shift(); program !== undefined; program = queue.shift()) {
      const port = await freePort()
      let started: Program | undefined
      const file = emitted(join(folder, program.file))
      try {
        if (program.kind === 'script') {
          const { code, output } = await run(process.execPath, [file], { env, cwd: dirname(file) })
          if (code !== 0) failed.push(`${program.about}: ended with ${code}: ${output}`)
          continue
        }
        // What it writes stays in its folder.
        started = await startCommand(t, [process.execPath, file], port, { env, cwd: dirname(file) })
        await use(program, port)
      } catch (error) {
        failed.push(`${program.about}: ${String(error)}`)
      }
      await started?.stop('SIGKILL')
    }
  }))
  return failed
}

function write (folder: string, programs: PageProgram[]): void {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  for (const { file, code } of programs) {
    mkdirSync(dirname(join(folder, file)), { recursive: true })
    writeFileSync(join(folder, file), code)
  }
}

/** Writes programs as JavaScript, beside themselves: what transforms them as they run transforms all that they import. */
function emit (folder: string, programs: PageProgram[]): void {
  const compilerOptions = { ...COMPILER_OPTIONS, allowImportingTsExtensions: false, rewriteRelativeImportExtensions: true, noEmit: false, module: ts.ModuleKind.ES2022 }
  for (const { file, code } of programs) writeFileSync(emitted(join(folder, file)), ts.transpileModule(code, { compilerOptions, fileName: file }).outputText)
}

const emitted = (file: string): string => file.replace(/\.ts$/, '.js')

function continued (whole: string, code: string): string {
  if (!whole.includes('await app.listen')) throw new Error(`there is no program to continue: ${code.slice(0, 80)}`)
  return whole.replace(/(?=await app\.listen)/, () => `${code}\n`)
}

function programOfReadme (name: string): string {
  const readme = { path: 'README.md', text: readFileSync(join(root, 'README.md'), 'utf8') }
  return blocksOf(readme).find((block) => block.kind === 'program' && block.name === name)?.code ?? ''
}

/** What a diff leaves. */
function after (diff: string): string {
  return diff.split('\n').filter((line) => !line.startsWith('-')).map((line) => line.slice(1)).join('\n')
}

function trimmed (code: string): string {
  return code.split('\n').map((line) => line.trim()).join('\n')
}
