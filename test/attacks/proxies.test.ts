import Fastify from 'fastify'
import type { FastifyServerOptions, InjectOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, MemoryStore, sessionPlugin } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { secret, startApp } from '../helpers/app.ts'
import { prefix, startRedis } from '../helpers/redis.ts'

const PROXY = '10.0.0.5'
const MALLORY = '203.0.113.9'

/** Who connects to the server, and what they say they pass on. */
type From = Required<Pick<InjectOptions, 'remoteAddress'>> & { headers?: Record<string, string> }

/** What a proxy says, and whoever wants to pass for one. */
const FORWARDED = {
  'x-forwarded-for': '198.51.100.1',
  'x-forwarded-host': 'app.example',
  'x-forwarded-proto': 'https',
  'x-forwarded-port': '443',
  'x-forwarded-ssl': 'on',
  'x-real-ip': '198.51.100.1',
  'x-client-ip': '198.51.100.1',
  'true-client-ip': '198.51.100.1',
  'x-original-host': 'app.example',
  'x-url-scheme': 'https',
  forwarded: 'for=198.51.100.1;host=app.example;proto=https'
}

async function behindProxy (t: Test, trustProxy: FastifyServerOptions['trustProxy'], options: Partial<SessionOptions> = {}) {
  const app = await startApp(t, { store: new MemoryStore(), cookie: {}, ...options }, trustProxy === undefined ? {} : { trustProxy })
  await app.register(authRoutes, { verify: ({ username, password }) => password === 'right' ? { id: username } : null })
  const login = async ({ remoteAddress, headers = {} }: From, password = 'right') => await app.inject({ method: 'POST', url: '/login', payload: { username: 'ada', password }, remoteAddress, headers: { host: 'internal:3000', ...headers } })
  return { app, login }
}

t.test('[4.1.3, 15.3.4, CVE-2026-3635] who does not come by the proxy changes nothing by forwarded headers: neither protocol, host nor address', async (t) => {
  for (const trustProxy of [undefined, false, PROXY, '10.0.0.0/29', [PROXY, '127.0.0.1']]) {
    const { app, login } = await behindProxy(t, trustProxy)
    const reply = await login({ remoteAddress: MALLORY, headers: FORWARDED })
    t.same([reply.statusCode, reply.json().code], [500, 'ERR_SESSION_INSECURE_CONNECTION'], 'plain http stays plain http')
    t.equal(reply.headers['set-cookie'], undefined)
    t.equal((await login({ remoteAddress: MALLORY, headers: { ...FORWARDED, origin: 'https://app.example' } })).statusCode, 403, 'nor is the host what is said')
    const plain = await behindProxy(t, trustProxy, { cookie: { secure: false } })
    t.equal((await plain.login({ remoteAddress: MALLORY, headers: FORWARDED })).statusCode, 200)
    t.strictSame((await plain.app.sessions.listByUser('ada')).map(({ ip }) => ip), [MALLORY], 'nor the address')
    t.strictSame(await app.sessions.listByUser('ada'), [])
  }
})

t.test('[4.1.3, 15.3.4] who comes by the proxy has the protocol, the host and the address that it passes on', async (t) => {
  for (const trustProxy of [PROXY, '10.0.0.0/29', [PROXY, '127.0.0.1']]) {
    const { app, login } = await behindProxy(t, trustProxy)
    const reply = await login({ remoteAddress: PROXY, headers: { ...FORWARDED, origin: 'https://app.example' } })
    t.equal(reply.statusCode, 200)
    t.match(reply.headers['set-cookie'], /^__Host-sid=.*; Secure;/)
    t.strictSame((await app.sessions.listByUser('ada')).map(({ ip }) => ip), ['198.51.100.1'])
    for (const origin of ['https://evil.example', 'http://internal:3000', 'http://app.example']) t.equal((await login({ remoteAddress: PROXY, headers: { ...FORWARDED, origin } })).statusCode, 403, origin)
  }
})

t.test('[4.1.3, 6.3.1] guesses are counted by the address that connects, whatever it says it forwards', async (t) => {
  const { login } = await behindProxy(t, PROXY, { cookie: { secure: false }, attempts: { accountNetwork: { max: 3 }, account: false, network: false } })
  const guess = async (remoteAddress: string, index: number) => (await login({ remoteAddress, headers: { ...FORWARDED, 'x-forwarded-for': `192.0.2.${index}, 192.0.2.${100 + index}` } }, 'wrong')).statusCode
  const statuses: number[] = []
  for (let index = 0; index < 6; index++) statuses.push(await guess(MALLORY, index))
  t.strictSame(statuses, [401, 401, 401, 429, 429, 429])
  t.equal(await guess(PROXY, 7), 401, 'who comes by the proxy is another')
})

t.test('[4.1.3] where everybody is believed, a forged address is none: its sign-in works, and nothing of it is kept', async (t) => {
  const redis = await startRedis(t)
  const { app, login } = await behindProxy(t, true, { store: undefined, redis: redis.url, keyPrefix: prefix(), cookie: { secure: false } })
  app.get('/me', { preHandler: app.authenticate }, async (request) => ({ ip: request.auth?.ip }))
  const signIn = async (forwarded: string): Promise<unknown> => {
    const { cookies: [cookie] } = await login({ remoteAddress: MALLORY, headers: { 'x-forwarded-for': forwarded } })
    const { statusCode, body } = await app.inject({ url: '/me', cookies: { sid: cookie?.value ?? '' } })
    return statusCode === 200 ? (JSON.parse(body) as { ip: unknown }).ip : statusCode
  }
  const forged = ['x'.repeat(5_000), 'unknown', 'not an address', `fe80::1%${'x'.repeat(5_000)}`, '198.51.100.1:8080', '[::1]']
  for (const each of forged) t.equal(await signIn(each), null, each.slice(0, 20))
  for (const each of ['198.51.100.1', '2001:db8::1']) t.equal(await signIn(each), each)
  t.strictSame((await app.sessions.listByUser('ada')).filter(({ ip }) => ip === null).length, forged.length)
})

t.test('[3.5.1, 4.1.3] own beside named origins is what the proxy says, and nobody else', async (t) => {
  const { login } = await behindProxy(t, PROXY, { origins: ['https://front.example'], cookie: { secure: false } })
  const statuses = async (origin: string): Promise<number[]> => {
    const from = async (remoteAddress: string) => await login({ remoteAddress, headers: { ...FORWARDED, origin } })
    return [(await from(PROXY)).statusCode, (await from(MALLORY)).statusCode]
  }
  t.strictSame(await statuses('https://app.example'), [200, 403])
  t.strictSame(await statuses('http://internal:3000'), [403, 200])
  t.strictSame(await statuses('https://front.example'), [200, 200])
  for (const origin of ['https://evil.example', 'http://app.example', 'http://front.example', 'null']) {
    t.strictSame(await statuses(origin), [403, 403], origin)
  }
})

t.test('[4.1.3, 15.3.4, CVE-2026-3635] a server that believes everybody is told so at boot, once, and no other', async (t) => {
  const warnings = async (server: FastifyServerOptions): Promise<number> => {
    let told = 0
    const stream = { write: (line: string) => { if (/"level":40.*trustProxy is true: /.test(line)) told++ } }
    const app = Fastify({ logger: { stream }, ...server })
    t.teardown(() => app.close())
    for (const cookieName of ['admins', 'customers']) {
      await app.register(async (child) => { await child.register(sessionPlugin, { secret, store: new MemoryStore(), cookieName }) })
    }
    await app.ready()
    return told
  }
  t.equal(await warnings({ trustProxy: true }), 1, 'though the plugin is registered twice')
  for (const trustProxy of [false, PROXY, [PROXY], () => false]) t.equal(await warnings({ trustProxy }), 0, String(trustProxy))
  t.equal(await warnings({}), 0)
})
