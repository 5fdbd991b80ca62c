import expressSession from 'express-session'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, MemoryStore } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { prefix, startRedis } from '../helpers/redis.ts'
import { keysOf } from '../helpers/redis-store.ts'

const redis = await startRedis(t)

/** Where sessions may be. */
const stores: Record<string, () => Partial<SessionOptions>> = {
  memory: () => ({ store: new MemoryStore() }),
  Redis: () => ({ redis: redis.url, keyPrefix: prefix() }),
  'an express-session store': () => ({ store: new expressSession.MemoryStore() })
}

/** Every way there is to sign in. */
const WAYS = ['/login', '/hand-written', '/keep', '/keep-cart', '/assigned', '/assigned-and-saved', '/regenerated', '/regenerated-with-cart']

/** What lies in a session before somebody signs in with it. */
const PLANTED = { cart: ['trap'], theme: 'dark' }
/** What of that a sign-in takes along: from a session of nobody, and from one of another user. */
const TAKEN: Record<string, { fromVisitor: object, fromUser: object }> = {
  '/login': { fromVisitor: {}, fromUser: {} },
  '/hand-written': { fromVisitor: {}, fromUser: {} },
  '/keep-cart': { fromVisitor: { cart: ['trap'] }, fromUser: { cart: ['trap'] } },
  '/keep': { fromVisitor: PLANTED, fromUser: PLANTED },
  '/assigned': { fromVisitor: PLANTED, fromUser: {} },
  '/assigned-and-saved': { fromVisitor: PLANTED, fromUser: {} },
  '/regenerated': { fromVisitor: {}, fromUser: {} },
  '/regenerated-with-cart': { fromVisitor: { cart: ['trap'] }, fromUser: { cart: ['trap'] } }
}

async function open (t: Test, options: Partial<SessionOptions>): Promise<FastifyInstance> {
  const app = await startApp(t, options)
  await app.register(authRoutes, { verify: () => ({ id: 'ada' }) })
  app.get('/me', async (request) => ({ userId: request.auth?.userId ?? null, cart: request.session.cart ?? null }))
  app.get('/data', async ({ session }) => session)
  app.post('/cart', async ({ session }) => { session.cart = ['trap'] })
  app.post('/plant', async ({ session }) => { Object.assign(session, PLANTED) })
  app.post('/hand-written', async (request) => { await app.login(request, { id: 'ada' }) })
  app.post('/keep', async (request) => { await app.login(request, { id: 'ada' }, { keep: true }) })
  app.post('/keep-cart', async (request) => { await app.login(request, { id: 'ada' }, { keep: ['cart'] }) })
  app.post('/assigned', async ({ session }) => { session.userId = 'ada' })
  app.post('/assigned-and-saved', async ({ session }) => {
    session.userId = 'ada'
    await session.save()
  })
  app.post('/regenerated', async (request) => {
    await request.session.regenerate()
    request.session.userId = 'ada'
  })
  app.post('/regenerated-with-cart', async (request) => {
    await request.session.regenerate(['cart'])
    request.session.userId = 'ada'
  })
  app.post('/logout-here', async (request) => { await app.logout(request) })
  return app
}

const CREDENTIALS = { username: 'ada', password: 'lovelace' }
const halves = (browser: Browser): string[] => (browser.cookies.get('sid') ?? '').split('.').slice(0, 2)
const me = async (browser: Browser): Promise<{ userId: string | null, cart: unknown }> => (await browser.get('/me')).json()

async function signedInMallory (app: FastifyInstance): Promise<Browser> {
  const mallory = new Browser(app)
  const { headers } = await app.sessions.create({ userId: 'mallory' })
  mallory.cookies.set('sid', (headers.cookie ?? '').slice('sid='.length))
  return mallory
}

function copyOf (app: FastifyInstance, browser: Browser): Browser {
  const copy = new Browser(app)
  for (const [name, value] of browser.cookies) copy.cookies.set(name, value)
  return copy
}

for (const [name, options] of Object.entries(stores)) {
  t.test(`[7.2.4, CVE-2023-29019, CVE-2022-25896] ${name}: an id planted before a sign-in is worthless after it, however one signs in`, async (t) => {
    const app = await open(t, options())
    for (const url of WAYS) {
      const mallory = new Browser(app)
      await mallory.post('/cart')
      t.strictSame(await me(mallory), { userId: null, cart: ['trap'] })
      const ada = copyOf(app, mallory)
      t.equal((await ada.post(url, CREDENTIALS)).statusCode, 200, url)
      t.equal((await me(ada)).userId, 'ada')
      const [[id, key], [planted, plantedKey]] = [halves(ada), halves(mallory)]
      t.not(id, planted, 'another id')
      t.not(key, plantedKey, 'and another secret')
      t.strictSame(await me(mallory), { userId: null, cart: null }, 'who planted it has nothing')
    }
  })

  t.test(`[7.2.4] ${name}: signing in over mallory's signed-in session, or again, ends the one before`, async (t) => {
    const app = await open(t, options())
    for (const url of WAYS) {
      const ada = copyOf(app, await signedInMallory(app))
      for (let time = 0; time < 2; time++) {
        const before = copyOf(app, ada)
        t.equal((await ada.post(url, CREDENTIALS)).statusCode, 200, url)
        t.equal((await me(ada)).userId, 'ada')
        for (const half of [0, 1]) t.not(halves(ada)[half], halves(before)[half])
        t.equal((await me(before)).userId, null)
      }
    }
  })

  t.test(`[7.2.4] ${name}: data planted before a sign-in goes along as far as keep says, and at an assignment all of a visitor's and none of another user's`, async (t) => {
    const app = await open(t, options())
    t.strictSame(Object.keys(TAKEN).sort(), [...WAYS].sort())
    for (const [url, { fromVisitor, fromUser }] of Object.entries(TAKEN)) {
      for (const [mallory, taken] of [[new Browser(app), fromVisitor], [await signedInMallory(app), fromUser]] as const) {
        await mallory.post('/plant')
        t.match((await mallory.get('/data')).json(), PLANTED)
        const ada = copyOf(app, mallory)
        t.equal((await ada.post(url, CREDENTIALS)).statusCode, 200, url)
        t.strictSame((await ada.get('/data')).json(), { ...taken, userId: 'ada' }, url)
        await mallory.post('/plant')
        t.strictSame((await ada.get('/data')).json(), { ...taken, userId: 'ada' }, 'and nothing of what is planted later')
      }
    }
  })

  t.test(`[7.2.4, CVE-2024-38513] ${name}: the cookie of an ended session, or of none, does not choose the next one's id`, async (t) => {
    const app = await open(t, options())
    for (const url of WAYS) {
      const ada = new Browser(app)
      await ada.post(url, CREDENTIALS)
      const dead = copyOf(app, ada)
      await ada.post('/logout-here')
      const planted = halves(dead)
      t.equal((await dead.post(url, CREDENTIALS)).statusCode, 200, url)
      t.not(halves(dead)[0], planted[0])
      t.equal((await me(dead)).userId, 'ada')
    }
  })
}

/** Each: an application in which a session cannot be ended, for as long as the returned function was not called. */
const unending: Record<string, (t: Test) => Promise<{ app: FastifyInstance, fail: () => Promise<void>, mend: () => Promise<void>, count: () => Promise<number> }>> = {
  Redis: async (t) => {
    const keyPrefix = prefix()
    const app = await open(t, { redis: redis.url, keyPrefix })
    return {
      app,
      // Of what a sign-in asks of Redis, only the end of the session before needs it.
      fail: async () => { await redis.client.call('ACL', 'SETUSER', 'default', '-del') },
      mend: async () => { await redis.client.call('ACL', 'SETUSER', 'default', '+del') },
      count: async () => (await keysOf(redis.client, keyPrefix)).filter((key) => key.startsWith(keyPrefix)).length
    }
  },
  'an express-session store': async (t) => {
    const store = new expressSession.MemoryStore()
    const { destroy } = store
    const app = await open(t, { store })
    return {
      app,
      fail: async () => { store.destroy = (_sid, callback) => { callback?.(new Error('no')) } },
      mend: async () => { store.destroy = destroy },
      count: async () => await new Promise((resolve) => store.all?.((_error, sessions) => resolve(Object.keys(sessions ?? {}).length)))
    }
  }
}

for (const [name, start] of Object.entries(unending)) {
  t.test(`[7.2.4] ${name}: where the planted session cannot be ended, the sign-in fails`, async (t) => {
    const { app, fail, mend, count } = await start(t)
    t.teardown(mend)
    for (const url of WAYS) {
      const mallory = new Browser(app)
      await mallory.post('/cart')
      const before = await count()
      const ada = copyOf(app, mallory)
      await fail()
      const response = await ada.post(url, CREDENTIALS)
      t.equal(response.statusCode, 503, url)
      t.strictSame(response.setCookies, [], 'and gives no cookie')
      await mend()
      t.equal((await me(ada)).userId, null)
      t.equal((await me(mallory)).userId, null)
      t.strictSame(await app.sessions.listByUser('ada'), [], 'nobody is signed in')
      t.ok(await count() <= before, 'and nothing is left')
    }
  })
}
