/*
 * How long the way of a request is: the files and functions of this package that one warmed request enters.
 *
 *     npm run bench:path               one row per kind of request
 *     npm run bench:path -- strict     also the names of what that one enters
 *
 * Counted by V8 over a real socket and a real Redis. A report, not a target: inlining what has a name of its own
 * makes the number smaller and the code worse.
 */
import { Session } from 'node:inspector/promises'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import { prefix, startRedis } from '../test/helpers/redis.ts'
import { lib } from './lib.ts'
import { markdown } from './numbers.ts'

const SECRET = 'a secret of more than 32 characters, for the bench'
const WARMUP = 50

interface Path {
  name: string
  nearCache?: boolean
  /** Sends the request with a signed-in cookie; each must be answered below 400. */
  send: (origin: string, cookie: string) => Promise<Response>
}

const json = { 'content-type': 'application/json' }
const get = async (origin: string, cookie: string): Promise<Response> => await fetch(`${origin}/me`, { headers: { cookie } })
const login = async (origin: string): Promise<Response> =>
  await fetch(`${origin}/login`, { method: 'POST', headers: json, body: '{"username":"ada","password":"lovelace"}' })

const PATHS: Path[] = [
  { name: 'strict', send: get },
  { name: 'near-cache', nearCache: true, send: get },
  { name: 'session', send: async (origin, cookie) => await fetch(`${origin}/session`, { headers: { cookie } }) },
  { name: 'save', send: async (origin, cookie) => await fetch(`${origin}/count`, { method: 'POST', headers: { cookie } }) },
  { name: 'login', send: login },
  { name: 'logout', send: async (origin, cookie) => await fetch(`${origin}/logout`, { method: 'POST', headers: { cookie } }) },
  { name: 'anonymous', send: async (origin) => await fetch(`${origin}/open`) }
]

const teardowns: Array<() => unknown> = []
const inspector = new Session()
try {
  const redis = await startRedis({ teardown: (callback: () => unknown) => { teardowns.push(callback) } })
  inspector.connect()
  await inspector.post('Profiler.enable')
  await inspector.post('Profiler.startPreciseCoverage', { callCount: true, detailed: false })
  const rows: string[][] = []
  for (const path of PATHS) {
    const entered = await enteredBy(path, redis.url)
    rows.push([path.name, String(entered.size), String([...entered.values()].reduce((sum, names) => sum + names.length, 0))])
    if (process.argv.includes(path.name)) for (const [file, names] of [...entered].sort()) console.log(`${file}: ${names.join(', ')}`)
  }
  console.log(markdown(['path', 'files', 'functions'], rows))
} finally {
  inspector.disconnect()
  for (const teardown of teardowns.reverse()) await teardown()
}

/** The functions that one request enters, by file. */
async function enteredBy ({ send, nearCache = false }: Path, redis: string): Promise<Map<string, string[]>> {
  const app = Fastify()
  await app.register(lib.sessionPlugin, { secret: SECRET, redis, keyPrefix: prefix(), nearCache, cookie: { secure: false } })
  await app.register(lib.authRoutes, { verify: async () => ({ id: 'ada' }) })
  app.get('/me', { preHandler: app.authenticate }, async (request) => ({ user: request.auth?.userId }))
  app.get('/session', async ({ session }) => ({ user: session.userId }))
  app.get('/open', async () => ({ open: true }))
  app.post('/count', async (request) => {
    const session = request.session as { count?: number }
    session.count = (session.count ?? 0) + 1
    return { count: session.count }
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  try {
    const origin = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
    const asked = async (): Promise<void> => {
      const [cookie = ''] = (await login(origin)).headers.get('set-cookie')?.split(';') ?? []
      // Read once before: what is near is there then, and what a first use costs is paid.
      await get(origin, cookie)
      await inspector.post('Profiler.takePreciseCoverage')
      const response = await send(origin, cookie)
      if (response.status >= 400) throw new Error(`${response.status} ${await response.text()}`)
      await response.text()
    }
    for (let turn = 0; turn < WARMUP; turn++) await asked()
    await asked()
    const { result } = await inspector.post('Profiler.takePreciseCoverage')
    return ofThisPackage(result)
  } finally {
    await app.close()
  }
}

function ofThisPackage (scripts: Array<{ url: string, functions: Array<{ functionName: string, ranges: Array<{ count: number }> }> }>): Map<string, string[]> {
  const entered = new Map<string, string[]>()
  for (const { url, functions } of scripts) {
    const [, file] = /\/\.tmp\/bench\/lib\/(.+)\.js$/.exec(url) ?? []
    const names = functions.filter(({ ranges: [range] }) => (range?.count ?? 0) > 0).map(({ functionName }) => functionName || '(anonymous)')
    if (file !== undefined && names.length > 0) entered.set(file, names)
  }
  return entered
}
