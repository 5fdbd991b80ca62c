import { once } from 'node:events'
import expressSession from 'express-session'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, MemoryStore, sessionRoutes } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { Browser, startApp } from '../helpers/app.ts'
import type { TestResponse } from '../helpers/app.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { keysOf } from '../helpers/redis-store.ts'

const ADA = { username: 'ada', password: 'lovelace' }
const LIMIT_REACHED = { statusCode: 409, code: 'ERR_SESSION_LIMIT_REACHED', error: 'Conflict', message: 'Too many sessions' }

const redis = await startRedis(t)

async function open (t: Test, options: Partial<SessionOptions>) {
  const app = await startApp(t, { maxSessionsPerUser: 3, ...options })
  // Fifty logins at once are more than may fail.
  await app.register(authRoutes, { verify: ({ username }) => ({ id: username }), attempts: false })
  await app.register(sessionRoutes, { prefix: '/sessions' })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth())
  app.post('/assign', async ({ session }) => { session.userId = 'ada' })
  app.post('/cart', async ({ session }) => { session.cart = ['book'] })
  app.post('/rotate', async ({ session }) => { await session.regenerate(['userId']) })
  app.get('/data', async ({ session }) => ({ cart: session.cart }))
  return app
}
type App = Awaited<ReturnType<typeof open>>

/** Those who are signed in. A process that is too busy to tell is asked again. */
const signedIn = async (browsers: Browser[]): Promise<Browser[]> => {
  const statusOf = async (each: Browser): Promise<number> => {
    const { statusCode } = await each.get('/me')
    return statusCode === 503 ? await statusOf(each) : statusCode
  }
  const replies = await Promise.all(browsers.map(statusOf))
  return browsers.filter((_each, index) => replies[index] === 200)
}

/** Fifty logins of ada's at once. All over again where a process was too busy for them, as a small machine's may be. */
async function fifty ([one, two]: readonly [App, App]): Promise<{ browsers: Browser[], replies: TestResponse[] }> {
  for (;;) {
    const browsers = Array.from({ length: 50 }, (_, index) => new Browser(index % 2 === 0 ? one : two))
    const replies = await Promise.all(browsers.map((each) => each.post('/login', ADA)))
    if (replies.every(({ statusCode }) => statusCode !== 503)) return { browsers, replies }
    await until('a quiet moment', () => one.sessions.revokeUser('ada').then((revoked) => revoked === 0, () => false))
  }
}

const idOf = (browser: Browser): string => browser.cookies.get('sid')?.split('.')[0] ?? ''

/** Browsers in which ada signed in one after the other, each at a later moment. */
async function signIn (app: App, count: number): Promise<Browser[]> {
  const browsers = Array.from({ length: count }, () => new Browser(app))
  for (const each of browsers) {
    const before = Date.now()
    await until('the next moment', () => Date.now() > before + 1)
    await each.post('/login', ADA)
  }
  return browsers
}

/** Two processes that share their sessions, or one where that is not possible. */
const services: Record<string, (t: Test, options?: Partial<SessionOptions>) => Promise<[App, App]>> = {
  MemoryStore: async (t, options) => {
    const app = await open(t, { store: new MemoryStore(), ...options })
    return [app, app]
  },
  Redis: async (t, options) => {
    const shared = { redis: redis.url, keyPrefix: prefix(), ...options }
    return [await open(t, shared), await open(t, shared)]
  },
  'an express-session store': async (t, options) => {
    const app = await open(t, { store: new expressSession.MemoryStore(), ...options })
    return [app, app]
  }
}

for (const [name, start] of Object.entries(services)) {
  t.test(`[7.1.2] ${name}: of fifty logins at once exactly three cookies are worth anything, and three sessions are listed`, async (t) => {
    const [one, two] = await start(t)
    const bob = new Browser(one)
    await bob.post('/login', { ...ADA, username: 'bob' })
    const { browsers, replies } = await fifty([one, two])
    // Whose place was taken before the login was done is told that at once, and is given no cookie.
    for (const { statusCode, setCookies } of replies) t.equal(setCookies.length, statusCode === 200 ? 1 : 0)
    t.strictSame(replies.filter(({ statusCode }) => statusCode !== 200 && statusCode !== 401), [])
    const live = await signedIn(browsers)
    t.equal(live.length, 3)
    for (const app of [one, two]) t.strictSame((await app.sessions.listByUser('ada')).map(({ id }) => id).sort(), live.map(idOf).sort())
    t.equal((await live[0]?.get('/sessions'))?.json().length, 3)
    t.strictSame(await signedIn([bob]), [bob])
  })

  t.test(`[7.1.2] ${name}: a fourth login ends the oldest session, and the others go on`, async (t) => {
    const [app] = await start(t)
    const told: unknown[] = []
    app.sessions.on('revoked', ({ id, userId, reason, local }) => told.push({ id, userId, reason, local }))
    const [oldest, ...others] = await signIn(app, 4) as [Browser, ...Browser[]]
    t.strictSame(await signedIn([oldest, ...others]), others)
    t.strictSame(told, [{ id: idOf(oldest), userId: 'ada', reason: 'evicted', local: true }])
    t.strictSame((await oldest.get('/info')).json(), { authenticated: false })
  })

  t.test(`[7.1.2] ${name}: where the limit rejects, a fourth login is refused and nobody is signed out`, async (t) => {
    const [one, two] = await start(t, { onLimit: 'reject' })
    const browsers = await signIn(one, 3)
    for (const app of [one, two]) {
      for (const url of ['/login', '/assign']) {
        const late = new Browser(app)
        const refused: TestResponse = await late.post(url, ADA)
        t.strictSame(refused.json(), LIMIT_REACHED, url)
        t.equal(refused.statusCode, 409)
        t.strictSame(refused.setCookies, [])
        t.equal((await late.get('/me')).statusCode, 401)
      }
    }
    t.strictSame(await signedIn(browsers), browsers)
    await browsers[0]?.post('/logout')
    const next = new Browser(two)
    t.equal((await next.post('/login', ADA)).statusCode, 200, 'who signs out makes room')
    t.strictSame(await signedIn([...browsers, next]), [...browsers.slice(1), next])
  })

  t.test(`[7.1.2] ${name}: where the limit rejects, of fifty logins at once three are let in`, async (t) => {
    const { browsers, replies } = await fifty(await start(t, { onLimit: 'reject' }))
    t.equal(replies.filter(({ statusCode }) => statusCode === 200).length, 3)
    t.equal(replies.filter(({ statusCode, setCookies }) => statusCode === 409 && setCookies.length === 0).length, 47)
    t.strictSame(await signedIn(browsers), browsers.filter((_each, index) => replies[index]?.statusCode === 200))
  })

  t.test(`[7.1.2] ${name}: where the limit rejects, who is signed in may sign in again, and may be given a new id`, async (t) => {
    const [app] = await start(t, { onLimit: 'reject' })
    const browsers = await signIn(app, 3)
    const [ada] = browsers as [Browser]
    for (const [url, payload] of [['/login', ADA], ['/assign', undefined], ['/rotate', undefined], ['/login', ADA]] as const) {
      const before = idOf(ada)
      t.equal((await ada.post(url, payload)).statusCode, 200, url)
      t.not(idOf(ada), before)
      t.strictSame(await signedIn(browsers), browsers)
    }
    t.equal((await app.sessions.listByUser('ada')).length, 3)
  })

  t.test(`[7.1.2] ${name}: a visitor whose login is refused keeps what was in the cart`, async (t) => {
    const [app] = await start(t, { onLimit: 'reject' })
    await signIn(app, 3)
    const visitor = new Browser(app)
    await visitor.post('/cart')
    const before = visitor.header
    t.strictSame((await visitor.post('/login', ADA)).json(), LIMIT_REACHED)
    t.equal(visitor.header, before)
    t.strictSame((await visitor.get('/data')).json(), { cart: ['book'] })
  })

  t.test(`[7.1.2] ${name}: tokens do not count: none is refused, or ended, and none signs a browser out`, async (t) => {
    for (const onLimit of ['reject', 'evict-oldest'] as const) {
      const [app] = await start(t, { bearer: true, onLimit })
      const replies = await Promise.all(Array.from({ length: 5 }, async () => await new Browser(app).post('/token', ADA)))
      const browsers = await signIn(app, 3)
      replies.push(await new Browser(app).post('/token', ADA))
      t.strictSame(replies.map(({ statusCode }) => statusCode), Array(6).fill(200))
      t.strictSame(await signedIn(browsers), browsers)
      const fourth = await new Browser(app).post('/login', ADA)
      t.equal(fourth.statusCode, onLimit === 'reject' ? 409 : 200, 'cookies do')
      t.strictSame(await signedIn(browsers), browsers.slice(onLimit === 'reject' ? 0 : 1))
      for (const reply of replies) {
        t.equal((await new Browser(app).get('/me', { headers: { authorization: `Bearer ${reply.json().token}` } })).statusCode, 200)
      }
      t.equal((await app.sessions.listByUser('ada')).length, 9)
    }
  })
}

t.test('[7.1.2] in Redis a user\'s index holds three after fifty logins, and nothing is left of the others', async (t) => {
  for (const onLimit of ['evict-oldest', 'reject'] as const) {
    const keyPrefix = prefix()
    const apps = [await open(t, { redis: redis.url, keyPrefix, onLimit }), await open(t, { redis: redis.url, keyPrefix, onLimit })] as const
    const { browsers } = await fifty(apps)
    const live = (await signedIn(browsers)).map(idOf).sort()
    await until('what is cleaned up in the background', async () => (await keysOf(redis.client, keyPrefix)).length === 4 && await redis.client.zcard(`@${keyPrefix}user:ada`) === 3)
    t.strictSame((await redis.client.zrange(`@${keyPrefix}user:ada`, '0', '-1')).map((member) => member.split(':')[0]).sort(), live)
    t.strictSame(await keysOf(redis.client, keyPrefix), [`@${keyPrefix}user:ada`, ...live.map((id) => `${keyPrefix}${id}`)].sort())
  }
})

t.test('[7.1.2] another process hears of a session that was ended by the limit, and counts it as that one\'s', async (t) => {
  const shared = { redis: redis.url, keyPrefix: prefix(), maxSessionsPerUser: 1 }
  const [here, there] = [await open(t, shared), await open(t, shared)]
  const told: unknown[] = []
  for (const [where, app] of [['here', here], ['there', there]] as const) {
    app.sessions.on('revoked', ({ id, reason, local }) => told.push(`${where} ${id} ${reason} ${local}`))
  }
  await until('both to listen', async () => {
    const [, count] = await redis.client.pubsub('NUMSUB', `@${shared.keyPrefix}events`) as [string, number]
    return count === 2
  })
  const [first] = await signIn(here, 2) as [Browser]
  await until('both to be told', () => told.length === 2)
  t.strictSame(told.sort(), [`here ${idOf(first)} evicted true`, `there ${idOf(first)} evicted false`])
})

t.test('[7.1.2] what waits for the end of a session hears that a limit ended it', async (t) => {
  const app = await open(t, { store: new MemoryStore(), maxSessionsPerUser: 1 })
  let signal: AbortSignal | undefined
  app.get('/stream', async (request) => { signal = request.requireAuth().signal })
  const [first] = await signIn(app, 1) as [Browser]
  await first.get('/stream')
  const aborted = once(signal as AbortSignal, 'abort')
  await signIn(app, 1)
  await aborted
  t.match(signal?.reason, { name: 'AbortError', message: /evicted/ })
})

t.test('[7.1.2] without a word of it a user has a thousand sessions at the most, with false any number', async (t) => {
  for (const [limit, left] of [[undefined, 1_000], [false, 1_002]] as const) {
    const app = await startApp(t, { store: new MemoryStore(), maxSessionsPerUser: limit })
    for (let each = 0; each < 1_002; each++) await app.sessions.create({ userId: 'ada' })
    let listed = await app.sessions.listByUser('ada')
    listed = [...listed, ...await app.sessions.listByUser('ada', { before: listed.at(-1) })]
    t.equal(listed.length, left)
  }
})

t.test('[7.1.2] a limit that the store cannot keep is a boot error', async (t) => {
  const store = new expressSession.MemoryStore()
  const withoutAll = { get: store.get.bind(store), set: store.set.bind(store), destroy: store.destroy.bind(store) } as never
  for (const onLimit of ['evict-oldest', 'reject'] as const) {
    await t.rejects(async () => { await startApp(t, { store: withoutAll, maxSessionsPerUser: 3, onLimit }) }, {
      code: 'ERR_SESSION_INVALID_OPTIONS', message: 'Invalid session options: maxSessionsPerUser needs a store that can list its sessions: this one has no all()'
    })
  }
  await t.resolves(startApp(t, { store: withoutAll }).then(() => {}), 'without a limit it will do')
})
