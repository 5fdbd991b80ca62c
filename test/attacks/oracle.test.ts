import { Signer } from '@fastify/cookie'
import expressSession from 'express-session'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, MemoryStore, sessionRoutes } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { signExpressCookie } from '../../lib/express/tokens.ts'
import { newId, newToken, Signature } from '../../lib/session/token.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { SpyStore } from '../helpers/spy-store.ts'

// Mallory has the application sign whatever she likes: its own cookies have the same secret. She knows ada's public id.

const redis = await startRedis(t)
const OLD_SECRET = 'the secret of an old application, 32 characters'

async function open (t: Test, options: Partial<SessionOptions>): Promise<FastifyInstance> {
  const app = await startApp(t, options)
  await app.register(authRoutes, { verify: ({ username }) => ({ id: username }), attempts: false })
  await app.register(sessionRoutes, { prefix: '/sessions' })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth().userId)
  app.post('/out', async (request) => { await app.logout(request) })
  app.post('/destroy', async (request) => { await request.session.destroy() })
  app.post('/move', async (request) => { await request.session.regenerate(['userId']) })
  return app
}

const LOGOUTS = ['/logout', '/out', '/destroy']

const stores: Record<string, () => Partial<SessionOptions>> = {
  memory: () => ({ store: new MemoryStore() }),
  Redis: () => ({ redis: redis.url, keyPrefix: prefix() }),
  'Redis behind a near-cache': () => ({ redis: redis.url, keyPrefix: prefix(), nearCache: true }),
  'Redis, encrypted': () => ({ redis: redis.url, keyPrefix: prefix(), encryption: { keys: ['a key of the tests with 32 characters'] } }),
  'Redis that takes over from express-session': () => ({ redis: redis.url, keyPrefix: prefix(), adopt: 'express-session', secret: [secret, OLD_SECRET] }),
  'Redis that takes over from @fastify/session': () => ({ redis: redis.url, keyPrefix: prefix(), adopt: '@fastify/session', secret: [secret, OLD_SECRET] }),
  'a store of express-session': () => ({ store: new expressSession.MemoryStore() })
}

async function signIn (app: FastifyInstance, username: string): Promise<Browser> {
  const browser = new Browser(app)
  await browser.post('/login', { username, password: 'lovelace' })
  return browser
}

const idOf = ({ cookies }: Browser): string => cookies.get('sid')?.split('.')[0] ?? ''

/** A cookie that verifies, with a secret half that is none. */
function forged (id: string): string {
  return `sid=${encodeURIComponent(new Signature([secret]).sign(newToken(id).token))}`
}

async function signOut (app: FastifyInstance, url: string, cookie: string): Promise<number> {
  return (await new Browser(app).post(url, undefined, { headers: { cookie } })).statusCode
}

for (const [name, options] of Object.entries(stores)) {
  t.test(`${name}: a signature and a public id sign nobody out`, async (t) => {
    const app = await open(t, options())
    const ada = await signIn(app, 'ada')
    const seen: string[] = []
    for (const url of [...LOGOUTS, ...LOGOUTS]) {
      seen.push(await signOut(app, url, forged(idOf(ada))) === await signOut(app, url, forged(newId())) ? (await ada.get('/me')).body : `another answer at ${url}`)
    }
    t.strictSame(seen, Array(6).fill('ada'), 'and the answer is that of a session that is not there')
    t.equal((await new Browser(app).request('DELETE', `/sessions/${idOf(ada)}`, { headers: { cookie: forged(idOf(ada)) } })).statusCode, 401)
    const { header } = ada
    await ada.post('/logout')
    t.equal((await new Browser(app).get('/me', { headers: { cookie: header } })).statusCode, 401, 'her own cookie does')
  })

  t.test(`${name}: nor while their session moves, or when it has moved`, async (t) => {
    const app = await open(t, options())
    const ada = await signIn(app, 'ada')
    const seen: string[] = []
    for (let round = 0; round < 20; round++) {
      const before = idOf(ada)
      await Promise.all([ada.post('/move'), ...LOGOUTS.map((url) => signOut(app, url, forged(before)))])
      await Promise.all(LOGOUTS.map((url) => signOut(app, url, forged(before))))
      seen.push(idOf(ada) === before ? 'she has not moved' : (await ada.get('/me')).body)
    }
    t.strictSame(seen, Array(20).fill('ada'))
    const { header } = ada
    await ada.post('/move')
    await ada.post('/move')
    t.equal((await ada.get('/me')).body, 'ada')
    t.equal(await signOut(app, '/logout', header), 204)
    t.equal((await ada.get('/me')).statusCode, 401, 'her own cookie of before does')
  })
}

t.test('a public id signs nobody out where sessions are taken over, signed as the other library signs its ids', async (t) => {
  for (const [adopt, cookie] of [
    ['express-session', (id: string) => `connect.sid=${encodeURIComponent(signExpressCookie(id, OLD_SECRET))}`],
    ['@fastify/session', (id: string) => `sessionId=${encodeURIComponent(new Signer(OLD_SECRET).sign(id))}`]
  ] as const) {
    const app = await open(t, { redis: redis.url, keyPrefix: prefix(), adopt, secret: [secret, OLD_SECRET] })
    const ada = await signIn(app, 'ada')
    for (const url of LOGOUTS) {
      t.ok(await signOut(app, url, cookie(idOf(ada))) < 300)
      t.equal((await ada.get('/me')).body, 'ada', `${adopt} ${url}`)
    }
  }
})

t.test('beside an Express app, whose session ids are secrets, a public id signs nobody out', async (t) => {
  const app = await startApp(t, { redis: redis.url, keyPrefix: prefix(), expressSession: 'share' })
  app.post('/login', async (request) => { request.session.userId = 'ada' })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth().id)
  app.post('/logout', async (request) => { await app.logout(request) })
  const ada = new Browser(app)
  await ada.post('/login')
  const { body: id } = await ada.get('/me')
  t.equal(await signOut(app, '/logout', `connect.sid=${encodeURIComponent(signExpressCookie(id, secret))}`), 200)
  t.equal((await ada.get('/me')).body, id)
  await ada.post('/logout')
  t.equal((await ada.get('/me')).statusCode, 401)
})

t.test('a sign-out that nobody confirms keeps out who proves the session, and nobody else', async (t) => {
  const store = new SpyStore()
  const app = await open(t, { store })
  const [ada, bob] = [await signIn(app, 'ada'), await signIn(app, 'bob')]
  store.failing.add('delete')
  for (const url of LOGOUTS) t.equal(await signOut(app, url, forged(idOf(ada))), 503)
  t.equal((await ada.get('/me')).body, 'ada', 'while it is tried again')
  t.strictSame((await app.sessions.listByUser('ada')).map(({ id }) => id), [idOf(ada)])
  t.ok(await app.sessions.get(idOf(ada)))
  const { header } = bob
  t.equal((await bob.post('/logout')).statusCode, 503)
  t.equal((await new Browser(app).get('/me', { headers: { cookie: header } })).statusCode, 401)
  t.strictSame(await app.sessions.listByUser('bob'), [])
  store.failing.clear()
  await until('bob to be signed out, which is tried after the others', async () => (await store.listByUser('bob')).length === 0)
  t.equal((await ada.get('/me')).body, 'ada')
})

for (const [name, isNear] of Object.entries({ Redis: false, 'Redis behind a near-cache': true })) {
  t.test(`${name}: nor during an outage, or after it`, async (t) => {
    const own = await startRedis(t)
    const app = await open(t, { redis: own.url, keyPrefix: prefix(), nearCache: isNear })
    const [ada, moved, bob] = [await signIn(app, 'ada'), await signIn(app, 'ada'), await signIn(app, 'bob')]
    const before = idOf(moved)
    await moved.post('/move')
    own.pause()
    await until('the outage', async () => !(await app.sessions.health()).ok)
    for (const url of LOGOUTS) {
      for (const id of [idOf(ada), idOf(moved), before]) t.equal(await signOut(app, url, forged(id)), 503)
    }
    const { header } = bob
    t.equal((await bob.post('/logout')).statusCode, 503)
    own.resume()
    await until('bob to be signed out, which is tried after the others', async () => (await app.sessions.health()).ok && (await app.sessions.listByUser('bob')).length === 0)
    t.equal((await new Browser(app).get('/me', { headers: { cookie: header } })).statusCode, 401)
    t.equal((await ada.get('/me')).body, 'ada')
    t.equal((await moved.get('/me')).body, 'ada')
  })
}
