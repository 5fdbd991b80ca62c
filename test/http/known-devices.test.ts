import t from 'tap'
import type { Test } from 'tap'
import { MemoryStore } from '../../lib/index.ts'
import type { LoginOptions, SessionEvent, SessionOptions } from '../../lib/index.ts'
import { startApp } from '../helpers/app.ts'
import { DAY } from '../helpers/record.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'

const agent = (version: number, os: string) => `Mozilla/5.0 (${os}; rv:${version}.0) Gecko/20100101 Firefox/${version}.0`
const WINDOWS = 'Windows NT 10.0; Win64; x64'
const LINUX = 'X11; Linux x86_64'

/** An application whose sign-ins say what is new about them. */
async function open (t: Test, options: Partial<SessionOptions> = {}) {
  let now = Date.now()
  const store = new MemoryStore({ now: () => now })
  const app = await startApp(t, { ...options.redis === undefined && { store }, bearer: true, knownDevices: '90d', ...options })
  const told: SessionEvent[] = []
  app.sessions.on('created', (event) => { if (event.local) told.push(event) })
  app.post<{ Body: LoginOptions & { id: string } }>('/login', async (request) => {
    const { id, ...given } = request.body
    return await app.login(request, { id }, given)
  })
  app.post('/rotate', async ({ session }) => { await session.regenerate(['userId']) })
  const login = async (userAgent: string, remoteAddress: string, body: object = { id: 'ada' }): Promise<string> => {
    const reply = await app.inject({ method: 'POST', url: '/login', payload: body, remoteAddress, headers: { 'user-agent': userAgent } })
    t.equal(reply.statusCode, 200)
    return String(reply.headers['set-cookie']).split(';')[0] ?? ''
  }
  /** What is new about a sign-in: its device and its network. */
  const news = async (...given: Parameters<typeof login>): Promise<unknown> => {
    const before = told.length
    await login(...given)
    await until('the event', () => told.length > before)
    return [told.at(-1)?.newDevice, told.at(-1)?.newNetwork]
  }
  return { app, store, told, login, news, age: (ms: number) => { now += ms } }
}

t.test('a sign-in says whether its device and its network are new for the user', async (t) => {
  const redis = await startRedis(t)
  for (const options of [{}, { redis: redis.url, keyPrefix: prefix() }, { redis: redis.url, keyPrefix: prefix(), nearCache: true, encryption: { keys: ['k'.repeat(32)] } }]) {
    const { news } = await open(t, options)
    t.strictSame(await news(agent(131, WINDOWS), '10.0.0.1'), [false, false], 'not the very first')
    t.strictSame(await news(agent(132, WINDOWS), '10.0.0.1'), [false, false], 'an update is no device')
    t.strictSame(await news(agent(132, LINUX), '10.0.0.1'), [true, false])
    t.strictSame(await news(agent(140, LINUX), '10.0.0.2'), [false, true])
    t.strictSame(await news('', '2001:db8::1'), [true, true])
    t.strictSame(await news('', '2001:db8::2'), [false, false])
    t.strictSame(await news('App/1.2.3 (9)', '10.0.0.1'), [true, false])
    t.strictSame(await news('App/1.10.0 (12)', '10.0.0.1'), [false, false])
    t.strictSame(await news(agent(131, LINUX), '10.0.0.9', { id: 'bob' }), [false, false], 'each user has their own')
  }
})

t.test('devices are known for as long as the option says, from their last sign-in', async (t) => {
  const { news, age } = await open(t)
  await news(agent(131, WINDOWS), '10.0.0.1')
  age(60 * DAY)
  t.strictSame(await news(agent(131, LINUX), '10.0.0.1'), [true, false])
  age(60 * DAY)
  t.strictSame(await news(agent(131, WINDOWS), '10.0.0.1'), [true, false])
})

t.test('of two sign-ins at once from one new device one is new', async (t) => {
  const { told, login, news } = await open(t)
  await news(agent(131, WINDOWS), '10.0.0.1')
  await Promise.all(Array.from({ length: 4 }, () => login(agent(131, LINUX), '10.0.0.1')))
  await until('all events', () => told.length === 5)
  t.strictSame(told.map(({ newDevice }) => newDevice).sort(), [false, false, false, false, true])
})

t.test('nothing is said of what is no sign-in of the user in a request', async (t) => {
  const { app, told, login, news } = await open(t)
  await news(agent(131, WINDOWS), '10.0.0.1')
  const cookie = await login(agent(131, WINDOWS), '10.0.0.1', { id: 'ada', actor: 'carol' })
  await app.inject({ method: 'POST', url: '/rotate', headers: { cookie } })
  await app.sessions.create({ userId: 'ada' })
  await app.sessions.create({ userId: 'ada', kind: 'bearer' })
  await until('all events', () => told.length === 5)
  t.strictSame(told.slice(1).map(({ newDevice, newNetwork }) => [newDevice, newNetwork]), Array(4).fill([null, null]))
})

t.test('the sign-in waits for nothing of it, and a failure is nobody\'s', async (t) => {
  const { app, store, told, login } = await open(t)
  let fail = (): void => {}
  store.attempts.remember = async () => await new Promise((_resolve, reject) => { fail = () => reject(new Error('down')) })
  await login(agent(131, WINDOWS), '10.0.0.1')
  t.strictSame(told, [], 'its reply is there before the event')
  fail()
  store.attempts.remember = async () => { throw new Error('down') }
  await login(agent(131, WINDOWS), '10.0.0.1')
  await app.close()
  await until('the events', () => told.length === 2)
  t.match(told, [{ newDevice: null }, { newDevice: null, newNetwork: null }])
})

t.test('without the option nothing is remembered', async (t) => {
  const { store, news } = await open(t, { knownDevices: undefined })
  store.attempts.remember = () => { throw new Error('asked') }
  t.strictSame(await news(agent(131, WINDOWS), '10.0.0.1'), [null, null])
})
