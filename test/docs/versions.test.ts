import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { root } from '../helpers/process.ts'

const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const page = read('docs/reference/versions.md')
const workflow = read('.github/workflows/test.yml')

/** Returns a row of the first table: which versions are supported, and what is said to be tested. */
function row (name: string): { versions: string, tested: string } {
  const [, versions = '', tested = ''] = new RegExp(`^\\| ${name} \\| ([^|]*) \\| ([^|]*) \\|$`, 'm').exec(page) ?? []
  return { versions, tested }
}

/** Returns a list of the workflow's matrix. */
function matrix (name: string): string[] {
  const [, list = ''] = new RegExp(`^ +${name}: \\[(.*)\\]$`, 'm').exec(workflow) ?? []
  return list.split(', ').map((each) => each.replaceAll("'", ''))
}

const numbersOf = (text: string): string[] => text.match(/\d+(\.\d+)*/g) ?? []

t.test('package, workflows and documentation name the same versions of Node.js and Fastify', async (t) => {
  const { engines, peerDependencies } = JSON.parse(read('package.json'))
  const nodes = matrix('node')
  t.strictSame(numbersOf(row('Node.js').tested), nodes)
  t.equal(engines.node, `>=${nodes[0]}`)
  t.equal(row('Node.js').versions, `${nodes[0]} or newer`)
  t.match(read('README.md'), `Node.js ${nodes[0]} or newer`)
  t.match(read('CONTRIBUTING.md'), `Node.js ${nodes[0]} or newer`)
  t.equal(peerDependencies.fastify, `^${row('Fastify').versions}.0.0`)
  t.match(read('lib/plugin.ts'), `fastify: '${row('Fastify').versions}.x'`)
})

t.test('servers of the workflows and compilers of the tests are those of the documentation', async (t) => {
  const servers = matrix('server')
  const versionsOf = (image: string) => servers.filter((each) => each.startsWith(image)).map((each) => each.split(':')[1])
  t.strictSame(numbersOf(row('Redis').tested), versionsOf('redis:'))
  t.strictSame(numbersOf(row('Valkey').tested), versionsOf('valkey/'))
  const { devDependencies } = JSON.parse(read('package.json'))
  const { dependencies } = JSON.parse(read('test/interop/package.json'))
  const compilers = ['typescript50', 'typescript58', 'typescript7'].map((name) => dependencies[name]) as string[]
  const named = [...compilers, devDependencies.typescript as string].map((range) => numbersOf(range)[0] ?? '')
  const tested = numbersOf(row('TypeScript').tested)
  for (const version of tested) t.ok(named.some((each) => each.startsWith(`${version}.`)), version)
  t.equal(tested.length, named.length)
})
