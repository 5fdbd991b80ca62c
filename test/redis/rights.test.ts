import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import type { SessionEvent, SessionOptions } from '../../lib/index.ts'
import { neededRules } from '../../lib/redis/needs.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import { operate } from '../helpers/operate.ts'
import { startCluster, startRedis, until } from '../helpers/redis.ts'

/*
 * What is written in a way that never keeps an end or a sign-in from happening fails in silence: so it is tried as a
 * user of the ACL who may do just what the guide says.
 */

const PAGE = await readFile(join(import.meta.dirname, '../../docs/guides/production.md'), 'utf8')
const [, RULES = ''] = /^ACL SETUSER sessions on >password (.*)$/m.exec(PAGE) ?? []
const user = { username: 'sessions', password: 'of-the-tests' }
const granted = [...RULES.split(' '), ...neededRules({ prefix: 'sess:', uses: ['cluster'] }).commands]
const FIREFOX = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:131.0) Gecko/20100101 Firefox/131.0'

/** Signs people in and out, and looks whether all of it is known afterwards. */
async function tryAll (t: Test, redis: SessionOptions['redis'], where: string[], options: Partial<SessionOptions> = {}): Promise<void> {
  const app = await startApp(t, { redis, endedFor: '1h', knownDevices: '90d', maxSessionsPerUser: 2, ...options })
  const other = await startApp(t, { redis, ...options })
  const heard: string[] = []
  for (const name of ['created', 'revoked'] as const) other.sessions.on(name, ({ id }) => { heard.push(`${name} ${id}`) })
  const created: SessionEvent[] = []
  app.sessions.on('created', (event) => { if (event.local) created.push(event) })
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  app.post('/logout', async (request) => { await app.logout(request) })
  const signIn = async (browser = new Browser(app), userAgent = FIREFOX) => {
    await browser.post('/login', {}, { headers: { 'user-agent': userAgent } })
    return { browser, token: browser.cookies.get('sid') ?? '' }
  }
  const reasonOf = async (token: string) => (await app.sessions.ended(token))?.reason

  const [first] = [await signIn(), await signIn(), await signIn(new Browser(app), '')]
  t.equal(await reasonOf(first.token), 'evicted')
  const { browser, token } = await signIn()
  const again = await signIn(browser)
  t.equal(await reasonOf(token), 'replaced')
  await browser.post('/logout')
  t.equal(await reasonOf(again.token), 'logout')
  const fourth = await signIn()
  await app.sessions.revokeUser('ada', { reason: 'password changed' })
  t.match(await app.sessions.ended(fourth.token), { reason: 'revoked', statedReason: 'password changed' })
  await until('the events', () => created.length === 6)
  t.strictSame(created.map(({ newDevice }) => newDevice).sort(), [false, false, false, false, false, true])
  t.strictSame(created.map(({ newNetwork }) => newNetwork), created.map(() => false))

  // Subscribing is not waited for.
  await until('another process to hear of a beginning and its end', async () => {
    const { session: { id } } = await app.sessions.create({ userId: 'bob' })
    await app.sessions.revoke(id)
    return await until('both', () => heard.includes(`created ${id}`) && heard.includes(`revoked ${id}`), 500).then(() => true, () => false)
  })
  const { session, token: last } = await app.sessions.create({ userId: 'ada' })
  const env = { SESSION_SECRET: secret, REDIS_USERNAME: user.username, REDIS_PASSWORD: user.password }
  t.equal((await operate(['revoke', session.id, '--reason', 'lost laptop', ...where], { env })).code, 0)
  const { out } = await operate(['why', ...where, '--json'], { env, stdin: last })
  t.match(JSON.parse(out), { reason: 'ended', ended: { statedReason: 'lost laptop', actor: 'cli:ada' } })
  t.strictSame(app.lines.filter(({ level, msg }) => level >= 40 && msg.includes('refuses')), [])
}

t.test('the rights of the guide are enough for endedFor and knownDevices', async (t) => {
  const redis = await startRedis(t)
  await redis.client.call('ACL', 'SETUSER', user.username, 'on', `>${user.password}`, ...RULES.split(' '))
  await tryAll(t, { host: '127.0.0.1', port: redis.port, ...user }, ['--redis', redis.url])
})

t.test('they are in a Cluster too', async (t) => {
  const { nodes, client } = await startCluster(t, { masters: 2 })
  for (const node of client.nodes('master')) await node.call('ACL', 'SETUSER', user.username, 'on', `>${user.password}`, ...granted)
  await tryAll(t, { cluster: nodes, ...user } as SessionOptions['redis'], ['--cluster', '--redis', `redis://127.0.0.1:${nodes[0]?.port}`])
})

const FLEET: Partial<SessionOptions> = { events: 'sharded', nearCache: { invalidate: 'ends' } }

t.test('with what sharded events need besides they are enough for these, and for a near-cache that is told of ends', async (t) => {
  const redis = await startRedis(t)
  const { commands } = neededRules({ prefix: 'sess:', uses: ['events'] })
  await redis.client.call('ACL', 'SETUSER', user.username, 'on', `>${user.password}`, ...RULES.split(' '), ...commands)
  await tryAll(t, { host: '127.0.0.1', port: redis.port, ...user }, ['--redis', redis.url], FLEET)
})

t.test('those in a Cluster too', async (t) => {
  const { nodes, client } = await startCluster(t, { masters: 2 })
  const { commands } = neededRules({ prefix: 'sess:', uses: ['events', 'cluster'] })
  for (const node of client.nodes('master')) await node.call('ACL', 'SETUSER', user.username, 'on', `>${user.password}`, ...RULES.split(' '), ...commands)
  await tryAll(t, { cluster: nodes, ...user } as SessionOptions['redis'], ['--cluster', '--redis', `redis://127.0.0.1:${nodes[0]?.port}`], FLEET)
})
