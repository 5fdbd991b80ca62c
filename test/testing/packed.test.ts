import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { root, run } from '../helpers/process.ts'

/*
 * What a store author does: installs the package, and runs its suite by node:test. It is the built package, as it is
 * published. What it depends on is found in the folders above.
 */
const folder = `${root}.tmp/packed/`
rmSync(folder, { recursive: true, force: true })
mkdirSync(`${folder}node_modules`, { recursive: true })
// Else the package's name would be that of the repository, and not of what is installed.
writeFileSync(`${folder}package.json`, '{ "type": "module" }')
const packed = await run('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', folder])
const extracted = await run('tar', ['-xzf', folder + packed.output.trim(), '-C', `${folder}node_modules`])
await run('mv', [`${folder}node_modules/package`, `${folder}node_modules/fastify-user-sessions`])

/** Runs a file of tests. Returns how many passed, failed and were skipped, and what was said. */
async function nodeTest (file: string) {
  const { code, output } = await run('node', ['--import', 'tsx', '--test', '--test-reporter=tap', folder + file])
  const count = (name: string) => Number(new RegExp(`^# ${name} (\\d+)$`, 'm').exec(output)?.[1])
  return { code, output, pass: count('pass'), fail: count('fail'), skipped: count('skipped') }
}

const onMemory = (Store: string) => `
  import { test } from 'node:test'
  import { MemoryStore } from 'fastify-user-sessions'
  import { testStore } from 'fastify-user-sessions/testing'
  ${Store}
  testStore({
    test,
    open: () => {
      let now = Date.now()
      return { store: new Store({ now: () => now }), age: (ms) => { now += ms } }
    }
  })`

t.test('the package is packed', async (t) => {
  t.equal(packed.code, 0, packed.output)
  t.equal(extracted.code, 0, extracted.output)
})

t.test('a memory store passes the suite, with node:test alone', async (t) => {
  writeFileSync(`${folder}memory.test.js`, onMemory('const Store = MemoryStore'))
  const { code, output, pass, fail, skipped } = await nodeTest('memory.test.js')
  t.strictSame([code, fail], [0, 0], output)
  t.ok(pass > 70)
  // Those that fill the store, or lose its sessions, and what only a store of several processes has.
  t.ok(skipped < 13)
  t.match(output, /^ok \d+ - a full store refuses .* # SKIP this store has no fill$/m)
})

t.test('a store that revives what has ended, and one that forgets to list, fail it', async (t) => {
  writeFileSync(`${folder}broken.test.js`, onMemory(`class Store extends MemoryStore {
    async update (record, change) {
      return await super.update(record, change) ?? await this.begin({ ...record, data: change(record.data) })
    }
    async listByUser (userId, options) {
      return (await super.listByUser(userId, options)).slice(1)
    }
  }`))
  const { code, output, pass } = await nodeTest('broken.test.js')
  t.equal(code, 1)
  t.match(output, /^not ok \d+ - an ended session is neither changed nor touched$/m)
  t.match(output, /^not ok \d+ - a session ended while it is changed or touched stays ended$/m)
  t.match(output, /^not ok \d+ - a user's sessions are listed newest first, and nobody else's$/m)
  t.ok(pass > 20, 'and what has nothing to do with either passes')
})

t.test('the store of docs/guides/writing-a-store.md compiles under strict, and passes the suite', async (t) => {
  const page = readFileSync(`${folder}node_modules/fastify-user-sessions/docs/guides/writing-a-store.md`, 'utf8')
  const programs = [...page.matchAll(/<!-- module: (\S+) -->\n```ts\n([^]*?)```/g)]
  t.equal(programs.length, page.match(/^```ts$/gm)?.length, 'every ts block has a name')
  for (const [, name, code = ''] of programs) writeFileSync(`${folder}${name}`, code)
  writeFileSync(`${folder}tsconfig.json`, JSON.stringify({
    compilerOptions: {
      strict: true,
      exactOptionalPropertyTypes: true,
      module: 'nodenext',
      target: 'es2022',
      noEmit: true,
      types: ['node'],
      allowImportingTsExtensions: true,
      erasableSyntaxOnly: true,
      skipLibCheck: true
    },
    include: ['*.ts']
  }))
  const compiled = await run('npx', ['tsc', '-p', folder])
  t.equal(compiled.code, 0, compiled.output)
  const { code, output, pass, fail } = await nodeTest('sqlite-store.test.ts')
  t.strictSame([code, fail], [0, 0], output)
  t.ok(pass > 25)
  t.match(output, /^ok \d+ - .* # SKIP this store has no lists$/m)
})
