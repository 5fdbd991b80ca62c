import { execFile } from 'node:child_process'
import { createRequire } from 'node:module'
import { promisify } from 'node:util'
import t from 'tap'

const require = createRequire(import.meta.url)

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

t.test('who uses no Express app loads nothing for one', async (t) => {
  const boot = (expressSession: string) => `
    const { default: sessionPlugin } = await import('fastify-user-sessions')
    const { default: Fastify } = await import('fastify')
    const app = Fastify()
    await app.register(sessionPlugin, { secret: 'x'.repeat(32), redis: 'redis://127.0.0.1:1', expressSession: ${expressSession} })
    await app.close()`
  const [alone, beside, dropIn] = await Promise.all([boot('undefined'), boot('"share"'), "await import('fastify-user-sessions/express')"].map(loadedBy)) as [string[], string[], string[]]
  t.ok(alone.some((url) => url.endsWith('/dist/lib/redis/store.js')))
  t.strictSame([of(files, alone), of(packages, alone)], [[], []])
  t.ok(of(files, beside).includes('shared-records'))
  t.strictSame(of(packages, beside), [])
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
