import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { PEERS } from './helpers/peers.ts'
import { root } from './helpers/process.ts'

const require = createRequire(import.meta.url)

/** The part of a package-lock.json that says what is installed. */
interface Lock { packages: Record<string, { peer?: true, link?: true }> }

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

t.test('packages of other folders bring no second Fastify, and no second copy of what is tested', async (t) => {
  const once = ['fastify', '@fastify/session', 'fastify-user-sessions', '@types/node', 'tap', 'typescript']
  for (const folder of PEERS) {
    const { packages } = JSON.parse(readFileSync(join(root, folder, 'package-lock.json'), 'utf8')) as Lock
    t.match(readFileSync(join(root, folder, '.npmrc'), 'utf8'), /^omit=peer$/m)
    const installed = Object.keys(packages).filter((path) => packages[path]?.peer !== true && packages[path]?.link !== true)
    t.strictSame(installed.filter((path) => once.includes(path.replace(/^.*node_modules\//, ''))), [], folder)
  }
})
