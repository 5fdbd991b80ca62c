import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { root } from './helpers/process.ts'

/** How long a program may be that people read before they copy it. */
const MAX_LINES = 120

interface Example {
  name: string
  readme: string
  server: string
  /** The text of every TypeScript file that people copy. */
  programs: Record<string, string>
}

const read = (...path: string[]) => readFileSync(join(root, 'examples', ...path), 'utf8')

/** Every folder of examples with a `server.ts`, but for the demo: that is a whole application, for `npm run demo`. */
const examples: Example[] = readdirSync(join(root, 'examples'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && entry.name !== 'demo')
  .filter(({ name }) => existsSync(join(root, 'examples', name, 'server.ts')))
  .map(({ name }) => {
    const files = readdirSync(join(root, 'examples', name)).filter((file) => file.endsWith('.ts'))
    const programs = Object.fromEntries(files.map((file) => [file, read(name, file)]))
    return { name, readme: read(name, 'README.md'), server: programs['server.ts'] ?? '', programs }
  })

/** The packages that a program imports, but for Node's own. */
function packagesOf (program: string): string[] {
  const names = [...program.matchAll(/\bfrom '([^'.][^']*)'/g)].map(([, name = '']) => name)
  return [...new Set(names.filter((name) => !name.startsWith('node:')).map((name) => name.split('/').slice(0, name.startsWith('@') ? 2 : 1).join('/')))]
}

t.test('every example says how to run it, what to install and where its guide is, and has a test', async (t) => {
  t.ok(examples.length >= 4)
  for (const { name, readme, programs } of examples) {
    t.match(readme, /^# \w/, name)
    t.match(readme, `\nnpx tsx examples/${name}/server.ts`)
    t.match(readme, /\]\(\.\.\/\.\.\/docs\/guides\/[a-z-]+\.md\)/, name)
    const installed = [...readme.matchAll(/^npm install (.*)$/gm)].flatMap(([, names = '']) => names.split(' '))
    const imported = Object.values(programs).flatMap(packagesOf)
    t.strictSame(imported.filter((each) => !installed.includes(each)), [], `${name}: what its README installs`)
    t.ok(existsSync(join(root, `examples/test/${name}.test.ts`)), `examples/test/${name}.test.ts`)
  }
})

t.test('every example is short enough to read before it is copied', async (t) => {
  for (const { name, readme, programs } of examples) {
    t.ok(readme.split('\n').length <= 30, `${name}/README.md`)
    for (const [file, program] of Object.entries(programs)) {
      const lines = program.split('\n')
      t.ok(lines.length <= MAX_LINES, `${name}/${file}: ${lines.length} lines`)
      t.strictSame(lines.filter((line) => line.length > 120), [], `${name}/${file}`)
    }
  }
})

t.test('the programs use the package as applications do, by its name', async (t) => {
  for (const { name, server, programs } of examples) {
    t.ok(packagesOf(server).includes('fastify-user-sessions'), name)
    for (const [file, program] of Object.entries(programs)) t.notMatch(program, /from '\.\.\//, `${name}/${file}`)
  }
})
