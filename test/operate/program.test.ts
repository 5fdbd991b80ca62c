import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { inRedis } from '../helpers/managers.ts'
import { root } from '../helpers/process.ts'
import { startRedis, until } from '../helpers/redis.ts'

const redis = await startRedis(t)
const file = join(root, 'lib/operate/cli.ts')

/** Starts the program in a process of its own, which nobody types into. */
function launch (t: Test, args: string[]) {
  const child = spawn(process.execPath, ['--import', 'tsx', file, ...args], { cwd: root, env: { ...process.env, REDIS_URL: redis.url }, stdio: ['pipe', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  const texts = { out: '', err: '' }
  child.stdout.on('data', (chunk) => { texts.out += String(chunk) })
  child.stderr.on('data', (chunk) => { texts.err += String(chunk) })
  const ended = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>
  return { child, texts, ended }
}

t.test('it runs by its name, and ends by itself, with its input open', async (t) => {
  t.match(readFileSync(file, 'utf8'), /^#!\/usr\/bin\/env node\n/)
  const { bin, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { bin: Record<string, string>, version: string }
  t.strictSame(bin, { 'fastify-user-sessions': 'dist/lib/operate/cli.js' })
  const [shown, missing] = [launch(t, ['--version']), launch(t, ['show', 'x'.repeat(22)])]
  t.equal((await shown.ended)[0], 0)
  t.equal(shown.texts.out, `${version}\n`)
  t.equal((await missing.ended)[0], 1)
})

t.test('who reads no more of a list, as head does, is no error', async (t) => {
  const { sessions, keyPrefix } = await inRedis(t, redis)
  // More than a pipe holds.
  for (let each = 0; each < 300; each++) await sessions.create({ userId: 'ada', label: 'x'.repeat(200) })
  const { child, texts, ended } = launch(t, ['list', '--user', 'ada', '--json', '--prefix', keyPrefix])
  await until('the first lines', () => texts.out !== '')
  child.stdout.destroy()
  t.strictSame(await ended, [0, null])
  t.equal(texts.err, '')
})

t.test('Ctrl+C ends it, and closes its connections', async (t) => {
  const { sessions, keyPrefix } = await inRedis(t, redis)
  const { child, texts, ended } = launch(t, ['tail', '--prefix', keyPrefix])
  await until('to listen', () => texts.err.includes('listening to'))
  await sessions.create({ userId: 'ada' })
  await until('an event', () => texts.out.includes('created'))
  child.kill('SIGINT')
  t.strictSame(await ended, [0, null])
})
