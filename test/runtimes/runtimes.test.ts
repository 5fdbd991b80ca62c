import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { RedisStore, SessionManager } from '../../lib/index.ts'
import { secret } from '../helpers/app.ts'
import { freePort, root, run, startCommand } from '../helpers/process.ts'
import type { Program } from '../helpers/process.ts'
import { programsOf } from '../helpers/programs.ts'
import { startRedis, until } from '../helpers/redis.ts'
import type { TestRedis } from '../helpers/redis.ts'
import { curl, shape, stepsOf } from '../helpers/transcript.ts'

/*
 * The built package, as it is published, under the newest Bun and the newest Deno, which come from npm; and under this
 * Node.js, so that a fault of the test is not taken for one of theirs.
 */
const ENCRYPTION_KEY = 'a-key-of-the-tests-with-32-characters-or-more'
const folder = join(root, '.tmp/runtimes')
const bin = join(folder, 'node_modules/.bin')

/** Starts each runtime with the arguments that a TypeScript file's name comes after. */
const RUNTIMES = {
  node: [process.execPath, '--import', 'tsx'],
  bun: [join(bin, 'bun')],
  deno: [join(bin, 'deno'), 'run', '--allow-all', '--node-modules-dir=manual']
}

const readme = { path: 'README.md', text: readFileSync(join(root, 'README.md'), 'utf8') }

rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })
writeFileSync(join(folder, 'package.json'), '{ "type": "module", "private": true }')
const quiet = ['--no-audit', '--no-fund', '--loglevel=error']
const packed = await run('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', folder])
// What the package depends on is found in the folders above.
for (const [command, ...args] of [
  ['npm', 'install', '--no-save', ...quiet, 'bun@latest', 'deno@latest'],
  ['tar', '-xzf', packed.output.trim(), '-C', 'node_modules'],
  ['mv', 'node_modules/package', 'node_modules/fastify-user-sessions']
] as const) {
  const { code, output } = await run(command, args, { cwd: folder })
  if (code !== 0) throw new Error(`${command} failed: ${output}`)
}
writeFileSync(join(folder, 'app.ts'), programsOf(readme)[0]?.code ?? '')
cpSync(join(import.meta.dirname, 'service.ts'), join(folder, 'service.ts'))

/** Starts a program of the folder, with a Redis of its own. */
async function start (t: Test, command: string[], file: string): Promise<{ program: Program, port: number, redis: TestRedis }> {
  const [redis, port] = [await startRedis(t), await freePort()]
  const env = { NODE_ENV: 'development', SESSION_SECRET: secret, ENCRYPTION_KEY, REDIS_URL: redis.url }
  return { program: await startCommand(t, [...command, file], port, { env, cwd: folder }), port, redis }
}

/** Returns what asks a server, with the headers of a signed-in client. */
function client (port: number, headers: Record<string, string> = {}) {
  return async (method: string, path: string): Promise<{ status: number, body: unknown, headers: Record<string, string> }> => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, headers })
    const text = await response.text()
    const [cookie = ''] = response.headers.getSetCookie().map((line) => line.split(';')[0] ?? '')
    return { status: response.status, body: text === '' ? null : JSON.parse(text), headers: { cookie } }
  }
}

for (const [name, command] of Object.entries(RUNTIMES)) {
  // Beside the results: which versions they are of.
  console.error(`${name}: ${(await run(command[0] as string, ['--version'])).output.split('\n')[0] ?? ''}`)

  t.test(`${name} runs the program of the README, which answers as its transcript says`, async (t) => {
    const { port } = await start(t, command, 'app.ts')
    const steps = stepsOf(/<!-- transcript -->\n```console\n([^]*?)```/.exec(readme.text)?.[1] ?? '')
    t.equal(steps.length, 4, 'sign in, use it, sign out, use it')
    const jars = new Map()
    for (const step of steps) t.strictSame((await curl(step, port, jars)).map(shape), step.lines.map(shape), step.command)
  })

  t.test(`${name} keeps data and tokens, hears of an end elsewhere, and ends when its application is closed`, async (t) => {
    const { program, port, redis } = await start(t, command, 'service.ts')
    const login = async () => client(port, (await client(port)('POST', '/login')).headers)
    const ada = await login()
    t.strictSame((await ada('POST', '/cart/tea')).body, ['tea'])
    t.match(await ada('GET', '/me'), { status: 200, body: { userId: 'ada', cart: ['tea'] } })
    const { token } = (await ada('POST', '/token')).body as { token: string }
    const phone = client(port, { authorization: `Bearer ${token}` })
    t.match(await phone('GET', '/me'), { status: 200, body: { userId: 'ada', cart: [] } })

    const store = new RedisStore({ client: redis.client })
    const elsewhere = new SessionManager({ secret, store, encryption: { keys: [ENCRYPTION_KEY] } })
    t.teardown(async () => {
      await elsewhere.close()
      await store.close()
    })
    const { headers: cookie } = await client(port)('POST', '/login')
    const live = await fetch(`http://127.0.0.1:${port}/live`, { headers: cookie })
    const reader = (live.body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream()).getReader()
    t.equal((await reader.read()).value, 'listening')
    t.equal(await elsewhere.revokeUser('ada'), 3)
    t.equal((await reader.read()).value, ', ended')
    for (const each of [ada, phone, client(port, cookie)]) t.match(await each('GET', '/me'), { status: 401 })

    const again = await login()
    t.match(await again('GET', '/me'), { status: 200 })
    t.match(await again('POST', '/logout'), { status: 204 })
    t.match(await again('GET', '/me'), { status: 401 })

    const third = await login()
    redis.pause()
    t.match(await third('POST', '/cart/tea'), { status: 503, body: { code: 'ERR_SESSION_STORE_UNAVAILABLE' } })
    redis.resume()
    await until('Redis to be back', async () => (await third('POST', '/cart/milk')).status === 200)
    t.equal(await program.stop('SIGTERM'), 0, program.output())
  })
}
