import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, MemoryStore, sessionRoutes } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { prefix, startRedis } from '../helpers/redis.ts'

const redis = await startRedis(t)
const PASSWORD = 'right'

async function open (t: Test, options: Partial<SessionOptions>): Promise<FastifyInstance> {
  const app = await startApp(t, { bearer: true, ...options })
  await app.register(authRoutes, { verify: ({ username, password }) => password === PASSWORD ? { id: username } : null })
  await app.register(sessionRoutes, { prefix: '/sessions' })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth().userId)
  app.post('/out', async (request) => { await app.logout(request) })
  app.post('/password', { preHandler: app.requireRecentLogin('10m') }, async (request) => {
    const { userId, id } = request.requireAuth()
    return { signedOut: await app.sessions.revokeUser(userId, { except: id }) }
  })
  // As an administrator's page would.
  app.post<{ Params: { id: string } }>('/admin/:id', async ({ params }) => ({ signedOut: await app.sessions.revokeUser(params.id) }))
  return app
}

const stores: Record<string, () => Partial<SessionOptions>> = {
  memory: () => ({ store: new MemoryStore() }),
  Redis: () => ({ redis: redis.url, keyPrefix: prefix() })
}

async function signIn (app: FastifyInstance, ...names: string[]): Promise<Browser[]> {
  return await Promise.all(names.map(async (username) => {
    const browser = new Browser(app)
    await browser.post('/login', { username, password: PASSWORD })
    return browser
  }))
}

const statuses = async (browsers: Browser[]): Promise<number[]> => await Promise.all(browsers.map(async (each) => (await each.get('/me')).statusCode))
const idOf = (browser: Browser | undefined): string => browser?.cookies.get('sid')?.split('.')[0] ?? ''

/** With Redis at its memory's end, if that is where sessions are. */
async function whileFull (name: string, work: () => Promise<void>): Promise<void> {
  if (name === 'Redis') await redis.client.config('SET', 'maxmemory', '1')
  try {
    await work()
  } finally {
    await redis.client.config('SET', 'maxmemory', '0')
  }
}

for (const [name, options] of Object.entries(stores)) {
  t.test(`[7.4.5, 7.4.2] ${name}: an administrator signs a user out everywhere, tokens too, and nobody else`, async (t) => {
    for (const isFull of [false, true]) {
      const app = await open(t, options())
      const adas = await signIn(app, 'ada', 'ada', 'ada')
      const [bob] = await signIn(app, 'bob')
      const { headers } = await app.sessions.create({ userId: 'ada', kind: 'bearer' })
      t.strictSame(await statuses(adas), [200, 200, 200])
      const end = async () => { t.strictSame((await app.inject({ method: 'POST', url: '/admin/ada' })).json(), { signedOut: 4 }) }
      await (isFull ? whileFull(name, end) : end())
      t.strictSame(await statuses(adas), [401, 401, 401])
      t.equal((await app.inject({ url: '/me', headers })).statusCode, 401)
      t.equal((await bob?.get('/me'))?.body, 'bob')
      t.strictSame(await app.sessions.listByUser('ada'), [])
    }
  })

  t.test(`[7.4.3] ${name}: a changed password signs out all other sessions, whoever holds them`, async (t) => {
    for (const isFull of [false, true]) {
      const app = await open(t, options())
      const [ada, mallory, tablet] = await signIn(app, 'ada', 'ada', 'ada')
      const change = async () => { t.strictSame((await ada?.post('/password'))?.json(), { signedOut: 2 }) }
      await (isFull ? whileFull(name, change) : change())
      t.strictSame(await statuses([ada, mallory, tablet] as Browser[]), [200, 401, 401])
    }
  })

  t.test(`[7.5.2, 7.4.5] ${name}: people see and end their own sessions, and nobody else's`, async (t) => {
    const app = await open(t, options())
    const [ada, phone, bob] = await signIn(app, 'ada', 'ada', 'bob')
    for (const id of [idOf(ada), idOf(phone), 'nobodys', '../x', `${idOf(ada)}x`]) {
      const response = await bob?.request('DELETE', `/sessions/${encodeURIComponent(id)}`)
      t.same([response?.statusCode, response?.json().code], [404, 'ERR_SESSION_NOT_FOUND'], 'hers and none are told alike')
    }
    t.strictSame((await bob?.get('/sessions'))?.json().map(({ id }: { id: string }) => id), [idOf(bob)])
    t.strictSame(await statuses([ada, phone, bob] as Browser[]), [200, 200, 200])
    t.strictSame((await ada?.get('/sessions'))?.json().map(({ id }: { id: string }) => id).sort(), [idOf(ada), idOf(phone)].sort())
    t.equal((await ada?.request('DELETE', `/sessions/${idOf(phone)}`))?.statusCode, 204)
    t.strictSame(await statuses([ada, phone, bob] as Browser[]), [200, 401, 200])
    t.equal((await ada?.request('DELETE', `/sessions/${idOf(ada)}`))?.statusCode, 204)
    t.equal(ada?.cookies.size, 0, 'one\'s own goes as by a logout')
    t.strictSame(await statuses([ada, bob] as Browser[]), [401, 200])
  })

  t.test(`[7.4.4, 7.4.1] ${name}: signing out is one POST away, ends the session for every copy of its cookie, and may be repeated by anybody`, async (t) => {
    for (const url of ['/logout', '/out']) {
      const app = await open(t, options())
      const [ada] = await signIn(app, 'ada') as [Browser]
      const { header } = ada
      const [set] = (await new Browser(app).post('/login', { username: 'ada', password: PASSWORD })).setCookies
      const end = await ada.post(url)
      t.ok([200, 204].includes(end.statusCode))
      const attributes = (line = '') => line.split('; ').slice(1).filter((each) => !/^(Max-Age|Expires)=/.test(each))
      t.strictSame(end.setCookies.map(attributes), [attributes(set)])
      const mallory = new Browser(app)
      t.equal((await mallory.get('/me', { headers: { cookie: header } })).statusCode, 401)
      for (const cookie of [header, 'sid=forged', 'sid=', 'other=1', undefined]) {
        const again = await new Browser(app).post(url, undefined, { headers: cookie === undefined ? {} : { cookie } })
        t.equal(again.statusCode, end.statusCode, String(cookie))
        t.equal(again.setCookies.length, cookie?.startsWith('sid=') === true ? 1 : 0)
      }
    }
  })
}

t.test('[3.5.3, 7.4.4] what is not POST signs nobody out, and nobody in', async (t) => {
  const app = await open(t, { store: new MemoryStore() })
  const [ada] = await signIn(app, 'ada') as [Browser]
  for (const method of ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const) {
    const response = await ada.request(method, '/logout')
    t.ok([404, 405].includes(response.statusCode), method)
    t.strictSame(response.setCookies, [])
    const login = await ada.request(method, '/login?username=mallory&password=right')
    t.ok([404, 405].includes(login.statusCode), method)
    t.strictSame(login.setCookies, [])
  }
  // No header or field makes another method of one.
  for (const name of ['x-http-method-override', 'x-http-method', 'x-method-override']) await ada.get('/logout?_method=POST', { headers: { [name]: 'POST' } })
  t.equal((await ada.get('/me')).body, 'ada')
})
