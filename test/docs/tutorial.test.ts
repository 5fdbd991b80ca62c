import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { secret } from '../helpers/app.ts'
import { freePort, root, run, startProgram } from '../helpers/process.ts'
import type { Program } from '../helpers/process.ts'
import { startRedis } from '../helpers/redis.ts'
import type { TestRedis } from '../helpers/redis.ts'
import { curl, shape, stepsOf } from '../helpers/transcript.ts'
import type { Jars } from '../helpers/transcript.ts'

/*
 * Builds the application of the tutorial step by step, starts it after each, and does what the page says. Comments say
 * what a block is:
 *
 *     <!-- file: app.ts -->    a whole file
 *     <!-- add: app.ts -->     TypeScript: more for the end of it. A diff: lines of it that change
 *     <!-- restart -->         the server starts again, also with a variable more: `restart: NODE_ENV=production`
 *     <!-- later: 10 minutes -->   sessions are older by then
 *     <!-- transcript -->      commands, and what they print
 */

const page = readFileSync(join(root, 'docs/tutorial.md'), 'utf8')
const folder = join(root, '.tmp/tutorial')

const BLOCK = /<!-- (file|add|restart|later|transcript)(?:: (.*?))? -->(?:\n```(ts|diff|console)\n([^]*?)^```$)?/gm
const TSCONFIG = {
  compilerOptions: {
    strict: true,
    exactOptionalPropertyTypes: true,
    module: 'nodenext',
    target: 'es2022',
    noEmit: true,
    allowImportingTsExtensions: true,
    types: ['node']
  },
  include: ['*.ts']
}

interface Block { kind: string, about: string, language: string, text: string }

function blocksOf (text: string): Block[] {
  return [...text.matchAll(BLOCK)].map(([, kind = '', about = '', language = '', text = '']) => ({ kind, about, language, text }))
}

/** Returns a file as a block leaves it. */
function changed (code: string, { about, language, text }: Block): string {
  if (language === 'ts') return code === '' ? text : `${code}\n${text}`
  const of = (sign: '+' | '-'): string => text.split('\n').filter((line) => !line.startsWith(sign === '+' ? '-' : '+')).map((line) => line.slice(1)).join('\n')
  const before = of('-')
  if (code.split(before).length !== 2) throw new Error(`${about} has not exactly one place for:\n${text}`)
  return code.replace(before, () => of('+'))
}

/** The tutorial's reader: has files, a server and cookies. */
class Reader {
  readonly #t: Test
  readonly #redis: TestRedis
  readonly #files = new Map<string, string>()
  readonly #jars: Jars = new Map()
  #server: { program: Program, port: number } | undefined

  constructor (t: Test, redis: TestRedis) {
    this.#t = t
    this.#redis = redis
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(TSCONFIG))
  }

  async does (block: Block): Promise<void> {
    const { kind, about } = block
    if (kind === 'file' || kind === 'add') return await this.#write(block)
    if (kind === 'restart') {
      await this.#start(Object.fromEntries(about.split(' ').filter((each) => each !== '').map((each) => each.split('='))))
      return
    }
    if (kind === 'later') return await this.#waits(about)
    for (const step of stepsOf(block.text)) {
      const printed = step.command.startsWith('redis-cli ') ? await this.#redisCli(step.command) : await this.#curl(step)
      this.#t.strictSame(printed.map(shape), step.lines.filter((line) => line !== '').map(shape), step.command)
    }
  }

  async #write (block: Block): Promise<void> {
    const before = block.kind === 'file' ? '' : this.#files.get(block.about) ?? ''
    this.#files.set(block.about, changed(before, block))
    writeFileSync(join(folder, block.about), this.#files.get(block.about) as string)
    await this.stops()
  }

  async #start (env: NodeJS.ProcessEnv = {}): Promise<{ port: number }> {
    await this.stops()
    const port = await freePort()
    const program = await startProgram(this.#t, join(folder, 'server.ts'), port, {
      NODE_ENV: 'development', SESSION_SECRET: secret, REDIS_URL: this.#redis.url, ...env
    })
    this.#server = { program, port }
    return this.#server
  }

  async stops (): Promise<void> {
    const server = this.#server
    this.#server = undefined
    await server?.program.stop('SIGTERM')
  }

  async #curl (step: ReturnType<typeof stepsOf>[number]): Promise<string[]> {
    const { port } = this.#server ?? await this.#start()
    const printed = await curl(step, port, this.#jars)
    return printed.filter((line) => line !== '')
  }

  async #redisCli (command: string): Promise<string[]> {
    const [name = '', ...args] = command.split(' ').slice(1).map((word) => word.replaceAll("'", ''))
    return (await this.#redis.client.call(name, ...args) as string[]).map((line, index) => `${index + 1}) "${line}"`)
  }

  /** Makes all sessions older, as waiting does. */
  async #waits (time: string): Promise<void> {
    const minutes = Number(/^(\d+) minutes$/.exec(time)?.[1])
    for (const key of await this.#redis.client.keys('sess:*')) {
      const [head = '', ...data] = (await this.#redis.client.get(key) as string).split('\n')
      const session = JSON.parse(head) as { a: number }
      await this.#redis.client.set(key, [JSON.stringify({ ...session, a: session.a - minutes * 60_000 }), ...data].join('\n'), 'KEEPTTL')
    }
  }
}

t.test('the application of the tutorial does after each step what the page says', async (t) => {
  const reader = new Reader(t, await startRedis(t))
  const steps = page.split(/^## /m).slice(1)
  t.equal(steps.length, 9)
  for (const step of steps) {
    const blocks = blocksOf(step)
    t.ok(blocks.some(({ kind, about }) => kind === 'transcript' || about.endsWith('.test.ts')), step.split('\n', 1).join())
    for (const block of blocks) await reader.does(block)
  }
  await reader.stops()
})

// After the test above, in the files that it leaves.
t.test('the whole application compiles, and its own tests pass', async (t) => {
  const types = await run('npx', ['tsc', '-p', folder])
  t.equal(types.code, 0, types.output)
  // What tests run in says so to the tests that they start.
  const { code, output } = await run('env', [
    '-u', 'REDIS_URL', '-u', 'NODE_TEST_CONTEXT', '-u', 'NODE_OPTIONS', process.execPath, '--import', 'tsx', '--test', join(folder, 'app.test.ts')
  ], { env: { SESSION_SECRET: secret } })
  t.equal(code, 0, output)
  t.match(output, /pass 2\n/)
})

t.test('a block that has no place, and a result that differs, are found', async (t) => {
  const [diff] = blocksOf('<!-- add: a.ts -->\n```diff\n one\n-two\n+three\n```\n') as [Block]
  t.equal(changed('one\ntwo\nfour\n', diff), 'one\nthree\nfour\n')
  t.throws(() => changed('one\nfour\n', diff), { message: /^a\.ts has not exactly one place for/ })
  t.not(shape('location: /login'), shape('location: /'))
  // An id may begin and end with a dash, and a token too.
  for (const token of ['qKXBe4Smm7YGXl5OE4NP3B.HwK-x_y.abc', '-KXBe4Smm7YGXl5OE4NP3-.-wK.ab-']) {
    t.equal(shape(`sid=${token}; Path=/`), 'sid=ID; Path=/')
  }
})
