import t from 'tap'
import type { Test } from 'tap'
import type { FastifyRequest } from 'fastify'
import { MemoryStore } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import type { ExpressStore } from '../../lib/store/foreign.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { prefix, startRedis } from '../helpers/redis.ts'
import { Gate } from '../helpers/spy-store.ts'

const redis = await startRedis(t)

/** Any store in the way of express-session, one turn of the loop away. */
function expressStore (): ExpressStore {
  const sessions = new Map<string, string>()
  const later = (done: ((error?: unknown, session?: unknown) => void) | undefined, answer: () => unknown = () => undefined): void => {
    setImmediate(() => done?.(null, answer()))
  }
  return {
    get: (id, done) => later(done, () => JSON.parse(sessions.get(id) ?? 'null')),
    set: (id, session, done) => {
      const text = JSON.stringify(session)
      later(done, () => { sessions.set(id, text) })
    },
    destroy: (id, done) => later(done, () => { sessions.delete(id) })
  }
}

const stores: Record<string, () => Partial<SessionOptions>> = {
  memory: () => ({ store: new MemoryStore() }),
  Redis: () => ({ redis: redis.url, keyPrefix: prefix() }),
  'an express store': () => ({ store: expressStore() })
}

type Action = (request: FastifyRequest) => unknown

/** Waits for what a method of the session tells its callback. */
async function called (method: (callback: (error?: unknown) => void) => void): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    method((error) => {
      if (error == null) resolve()
      else reject(error instanceof Error ? error : new Error('no error', { cause: error }))
    })
  })
}

/** An application whose `POST /do/:name` does an action; a `held` one has its session and waits at the gate before it. */
async function startService (t: Test, options: Partial<SessionOptions>) {
  const app = await startApp(t, options)
  const actions: Record<string, Action> = {}
  let gate = new Gate()
  app.get('/me', async (request) => ({ userId: request.auth?.userId ?? null, data: request.session }))
  app.get('/private', { preHandler: app.authenticate }, async (request) => request.requireAuth().userId)
  app.post('/cart', async ({ session }) => {
    session.cart = ['book']
    return 'kept'
  })
  app.post('/logout', async (request) => { await app.logout(request) })
  app.post<{ Params: { name: string } }>('/do/:name', async (request) => { await actions[request.params.name]?.(request) })
  app.post<{ Params: { name: string } }>('/held/:name', async (request) => {
    void request.session.userId
    await gate.pass()
    await actions[request.params.name]?.(request)
  })
  /** Has `browser` do an action, and `meanwhile` happen when that has its session and did nothing yet. */
  const during = async (browser: Browser, name: string, meanwhile: () => Promise<void>) => {
    gate = new Gate()
    const asked = browser.post(`/held/${name}`)
    await gate.reached
    await meanwhile()
    gate.open()
    return await asked
  }
  const copyOf = (browser: Browser): Browser => {
    const copy = new Browser(app)
    for (const [name, value] of browser.cookies) copy.cookies.set(name, value)
    return copy
  }
  return { app, actions, during, copyOf }
}

for (const [name, makeOptions] of Object.entries(stores)) {
  t.test(`a save nobody waits for, and two at once, store one session that the cookie of the reply opens, on ${name}`, async (t) => {
    const { app, actions } = await startService(t, makeOptions())
    const saves: Record<string, Action> = {
      unawaited: ({ session }) => { session.save(() => {}) },
      unawaitedPromise: ({ session }) => { void session.save() },
      twoAtOnce: ({ session }) => Promise.all([session.save(), session.save()]),
      callbackOnly: ({ session }) => called((callback) => session.save(callback)),
      awaitedAndNot: async ({ session }) => {
        await session.save()
        session.visits = 2
        session.save(() => {})
      }
    }
    for (const [kind, save] of Object.entries(saves)) {
      for (const userId of [null, 'ada']) {
        actions[kind] = async (request) => {
          request.session.cart = ['book']
          if (userId !== null) request.session.userId = userId
          await save(request)
        }
        const seen: unknown[] = []
        // Which of the two is first differs from time to time.
        for (let visitor = 0; visitor < 10; visitor++) {
          const browser = new Browser(app)
          const response = await browser.post(`/do/${kind}`)
          const first = (await browser.get('/me')).json()
          const { statusCode } = await browser.post(`/do/${kind}`)
          const again = (await browser.get('/me')).json()
          seen.push([response.statusCode, response.setCookies.length, first.userId, first.data.cart, statusCode, again.userId, again.data.cart])
        }
        t.strictSame(seen, Array(10).fill([200, 1, userId, ['book'], 200, userId, ['book']]), kind)
      }
    }
  })

  t.test(`a cart that was kept while the session's owner signed in is there afterwards, on ${name}`, async (t) => {
    const { app, actions, during, copyOf } = await startService(t, makeOptions())
    const signIns: Record<string, Action> = {
      assigned: ({ session }) => { session.userId = 'ada' },
      assignedAndSaved: async ({ session }) => {
        session.userId = 'ada'
        await session.save()
      },
      login: async (request) => await app.login(request, { id: 'ada' }, { keep: true }),
      loginWithKeys: async (request) => await app.login(request, { id: 'ada' }, { keep: ['cart', 'visits'] }),
      loginWithData: async (request) => await app.login(request, { id: 'ada' }, { keep: ['cart'], data: { visits: 1 } }),
      regenerated: async ({ session }) => { await session.regenerate(['cart', 'visits']) },
      regeneratedAndSignedIn: async (request) => {
        await request.session.regenerate(['cart', 'visits'])
        request.session.userId = 'ada'
      }
    }
    actions.visit = ({ session }) => { session.visits = 1 }
    for (const [kind, signIn] of Object.entries(signIns)) {
      actions[kind] = signIn
      const ada = new Browser(app)
      await ada.post('/do/visit')
      const otherTab = copyOf(ada)
      const response = await during(ada, kind, async () => {
        const kept = await otherTab.post('/cart')
        t.strictSame([kept.statusCode, kept.body], [200, 'kept'])
      })
      t.equal(response.statusCode, 200, kind)
      const { userId, data } = (await ada.get('/me')).json()
      t.strictSame([userId, data.cart, data.visits], [kind === 'regenerated' ? null : 'ada', ['book'], 1], kind)
      t.strictSame((await otherTab.get('/me')).json(), { userId: null, data: {} }, 'and the old session is over')
    }
  })

  t.test(`what both the sign-in and another request wrote is the sign-in's, and what it does not keep is nobody's, on ${name}`, async (t) => {
    const { app, actions, during, copyOf } = await startService(t, makeOptions())
    actions.visit = ({ session }) => { session.visits = 1 }
    actions.signIn = (request) => {
      request.session.cart = ['pen']
      request.session.userId = 'ada'
    }
    actions.loginWithout = async (request) => await app.login(request, { id: 'ada' })
    actions.loginWithData = async (request) => await app.login(request, { id: 'ada' }, { keep: true, data: { cart: ['pen'] } })
    for (const [kind, cart] of [['signIn', ['pen']], ['loginWithout', undefined], ['loginWithData', ['pen']]] as const) {
      const ada = new Browser(app)
      await ada.post('/do/visit')
      const otherTab = copyOf(ada)
      await during(ada, kind, async () => { await otherTab.post('/cart') })
      const { userId, data } = (await ada.get('/me')).json()
      t.strictSame([userId, data.cart], ['ada', cart])
    }
  })

  t.test(`a CSRF secret planted while somebody signs in does not outlive that, on ${name}`, async (t) => {
    const { app, actions, during, copyOf } = await startService(t, makeOptions())
    actions.visit = ({ session }) => { session.visits = 1 }
    actions.plant = ({ session }) => { session._csrf = 'planted' }
    actions.assigned = ({ session }) => { session.userId = 'ada' }
    actions.login = async (request) => await app.login(request, { id: 'ada' }, { keep: true })
    for (const kind of ['assigned', 'login']) {
      const ada = new Browser(app)
      await ada.post('/do/visit')
      const mallory = copyOf(ada)
      await during(ada, kind, async () => { await mallory.post('/do/plant') })
      const { userId, data } = (await ada.get('/me')).json()
      t.strictSame([userId, data._csrf, data.visits], ['ada', undefined, 1], kind)
    }
  })

  t.test(`a session that is regenerated while it is signed out stays signed out, on ${name}`, async (t) => {
    const { app, actions, during, copyOf } = await startService(t, makeOptions())
    actions.login = ({ session }) => { session.userId = 'ada' }
    actions.regenerate = async ({ session }) => { await session.regenerate(['userId']) }
    actions.regenerateAndSave = async (request) => {
      await request.session.regenerate(['userId', 'cart'])
      request.session.cart = ['book']
      await request.session.save()
    }
    for (const kind of ['regenerate', 'regenerateAndSave']) {
      const ada = new Browser(app)
      await ada.post('/do/login')
      const otherTab = copyOf(ada)
      const before = copyOf(ada)
      const response = await during(otherTab, kind, async () => {
        t.equal((await ada.post('/logout')).statusCode, 200)
      })
      t.ok(response.statusCode < 500, kind)
      for (const cookie of [otherTab.header, before.header, ...response.setCookies.map((line) => line.split(';')[0] ?? '')]) {
        t.equal((await app.inject({ url: '/private', headers: { cookie } })).statusCode, 401, kind)
      }
    }
  })

  t.test(`who signs out with a cookie of a moment ago is signed out, on ${name}`, async (t) => {
    const { app, actions, copyOf } = await startService(t, makeOptions())
    actions.login = ({ session }) => { session.userId = 'ada' }
    actions.regenerate = async ({ session }) => { await session.regenerate(['userId']) }
    const ada = new Browser(app)
    await ada.post('/do/login')
    const otherTab = copyOf(ada)
    await ada.post('/do/regenerate')
    t.equal((await ada.get('/private')).statusCode, 200)
    const response = await otherTab.post('/logout')
    t.equal(response.statusCode, 200)
    t.equal((await ada.get('/private')).statusCode, 401)
  })

  t.test(`who keeps something in a session that has moved meanwhile keeps it there, and signs out there, on ${name}`, async (t) => {
    const { app, actions, copyOf } = await startService(t, makeOptions())
    actions.login = ({ session }) => { session.userId = 'ada' }
    actions.regenerate = async ({ session }) => { await session.regenerate(['userId']) }
    const ada = new Browser(app)
    await ada.post('/do/login')
    const otherTab = copyOf(ada)
    actions.keep = async ({ session }) => {
      await ada.post('/do/regenerate')
      session.cart = ['book']
    }
    const kept = await otherTab.post('/do/keep')
    t.strictSame([kept.statusCode, kept.headers['set-cookie']], [200, undefined], 'who moved it has the cookie')
    t.strictSame((await ada.get('/me')).json().data.cart, ['book'])

    const thirdTab = copyOf(ada)
    actions.keepAndLeave = async (request) => {
      await ada.post('/do/regenerate')
      request.session.cart = []
      await request.session.save()
      t.equal(request.requireAuth().userId, 'ada')
      await app.logout(request)
    }
    t.equal((await thirdTab.post('/do/keepAndLeave')).statusCode, 200)
    t.equal((await ada.get('/private')).statusCode, 401)
  })

  t.test(`a session that has just moved is revoked by its old id, as that of its user alone, on ${name}`, async (t) => {
    const { app, actions } = await startService(t, makeOptions())
    actions.login = ({ session }) => { session.userId = 'ada' }
    actions.regenerate = async ({ session }) => { await session.regenerate(['userId']) }
    const ada = new Browser(app)
    await ada.post('/do/login')
    const old = [...ada.cookies.values()][0]?.slice(0, 22) as string
    await ada.post('/do/regenerate')
    t.equal(await app.sessions.revoke(old, { userId: 'mallory' }), false)
    t.equal((await ada.get('/private')).statusCode, 200)
    t.equal(await app.sessions.revoke(old, { userId: 'ada' }), true)
    t.equal((await ada.get('/private')).statusCode, 401)
  })
}
