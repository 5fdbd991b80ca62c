import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { LoginUser, SessionOptions } from '../../lib/index.ts'
import { Browser, startApp } from '../helpers/app.ts'
import type { LogLine, TestResponse } from '../helpers/app.ts'
import { prefix, startCluster, startRedis } from '../helpers/redis.ts'

const redis = await startRedis(t)

type Action = (request: FastifyRequest) => unknown

interface Shop { app: FastifyInstance & { lines: LogLine[] }, act: (browser: Browser, action: Action) => Promise<TestResponse> }

async function open (t: Test, options: Partial<SessionOptions> = {}): Promise<Shop> {
  const app = await startApp(t, options)
  const actions = new Map<string, Action>()
  app.get('/me', async (request) => ({ userId: request.auth?.userId ?? null, data: request.session }))
  app.post('/do/:which', async (request, reply) => {
    const result = await actions.get((request.params as { which: string }).which)?.(request)
    if (typeof result === 'number') reply.code(result)
    return {}
  })
  return {
    app,
    act: async (browser, action) => {
      const which = String(actions.size)
      actions.set(which, action)
      return await browser.post(`/do/${which}`)
    }
  }
}

async function me (browser: Browser): Promise<unknown> {
  return (await browser.get('/me')).json()
}

/** A browser in which somebody has signed in with this data. */
async function signedIn ({ app, act }: Shop, data: Record<string, unknown>): Promise<Browser> {
  const browser = new Browser(app)
  await act(browser, ({ session }) => { Object.assign(session, data) })
  return browser
}

const BY_ACCOUNT: Partial<SessionOptions> = { userIdFrom: ({ account }) => (account as { id?: number } | undefined)?.id }

// -- one person's data is not another's ---------------------------------------------------------------------

t.test('another user by assignment has nothing of what was loaded, and all that was assigned', async (t) => {
  const shop = await open(t)
  const ways: Record<string, [Action, unknown]> = {
    'userId alone': [({ session }) => { session.userId = 2 }, { userId: 2 }],
    'what is assigned after it': [({ session }) => {
      session.userId = 2
      session.role = 'admin'
      session.theme = 'dark'
    }, { userId: 2, role: 'admin', theme: 'dark' }],
    'what is assigned before it': [({ session }) => {
      session.theme = 'dark'
      session.userId = 2
    }, { userId: 2, theme: 'dark' }],
    'what is changed in place goes': [({ session }) => {
      (session.cart as string[]).push('pen')
      session.userId = 2
    }, { userId: 2 }],
    'saved in between': [async ({ session }) => {
      session.userId = 2
      await session.save()
      session.theme = 'dark'
    }, { userId: 2, theme: 'dark' }],
    set: [({ session }) => { session.set('userId', 2) }, { userId: 2 }],
    'by regenerate, which is told what to keep': [async (request) => {
      await request.session.regenerate(['cart'])
      request.session.userId = 2
    }, { userId: 2, cart: ['book'] }]
  }
  for (const [name, [action, data]] of Object.entries(ways)) {
    const browser = await signedIn(shop, { userId: 1, role: 'admin', cart: ['book'] })
    await shop.act(browser, action)
    t.strictSame(await me(browser), { userId: '2', data }, name)
  }
})

t.test('the object shows at once that the other user\'s data has gone', async (t) => {
  const shop = await open(t)
  const browser = await signedIn(shop, { userId: 1, role: 'admin' })
  const seen: unknown[] = []
  await shop.act(browser, ({ session }) => {
    session.userId = 2
    seen.push({ ...session }, session.role, 'role' in session)
  })
  t.strictSame(seen, [{ userId: 2 }, undefined, false])
})

t.test('an anonymous visitor\'s data and the same user\'s stay', async (t) => {
  const shop = await open(t)
  const visitor = await signedIn(shop, { cart: ['book'] })
  await shop.act(visitor, ({ session }) => { session.userId = 1 })
  t.strictSame(await me(visitor), { userId: '1', data: { cart: ['book'], userId: 1 } })
  await shop.act(visitor, ({ session }) => { session.userId = 1 })
  t.strictSame(await me(visitor), { userId: '1', data: { cart: ['book'], userId: 1 } })
})

t.test('what another request of the first user saves meanwhile does not go along either', async (t) => {
  for (const options of [{}, { redis: redis.url, keyPrefix: prefix() }]) {
    const shop = await open(t, options)
    const browser = await signedIn(shop, { userId: 1, role: 'user' })
    const other = new Browser(shop.app)
    for (const [name, value] of browser.cookies) other.cookies.set(name, value)
    await shop.act(browser, async ({ session }) => {
      session.userId = 2
      await shop.app.inject({ method: 'GET', url: '/me', headers: { cookie: other.header } })
      const [mine] = await shop.app.sessions.listByUser(1)
      await shop.app.sessions.update(mine?.id ?? '', (data) => ({ ...data, secret: 'of one' }))
    })
    t.strictSame(await me(browser), { userId: '2', data: { userId: 2 } })
  }
})

t.test('an error reply leaves the first user with all that was theirs', async (t) => {
  const shop = await open(t)
  const browser = await signedIn(shop, { userId: 1, role: 'admin' })
  t.equal((await shop.act(browser, ({ session }) => {
    session.userId = 2
    session.attempts = 1
    return 401
  })).statusCode, 401)
  t.strictSame(await me(browser), { userId: '1', data: { userId: 1, role: 'admin', attempts: 1 } })
})

t.test('where the user is kept elsewhere, what names the new one stays, and what was assigned after it', async (t) => {
  const shop = await open(t, BY_ACCOUNT)
  const ways: Record<string, [Action, unknown]> = {
    assigned: [({ session }) => {
      session.account = { id: 2, name: 'Bob' }
      session.role = 'admin'
    }, { account: { id: 2, name: 'Bob' }, role: 'admin' }],
    alone: [({ session }) => { session.account = { id: 2 } }, { account: { id: 2 } }],
    'changed in place': [({ session }) => { session.account.id = 2 }, { account: { id: 2, name: 'Ada' } }]
  }
  for (const [name, [action, data]] of Object.entries(ways)) {
    const browser = await signedIn(shop, { account: { id: 1, name: 'Ada' }, role: 'admin', cart: ['book'] })
    await shop.act(browser, action)
    t.strictSame(await me(browser), { userId: '2', data }, name)
  }
})

t.test('what a login keeps does not name somebody else', async (t) => {
  const kept: unknown[] = []
  for (const [options, data] of [[{}, { userId: 1, user: { id: 1 }, cart: ['book'] }], [BY_ACCOUNT, { account: { id: 1 }, cart: ['book'] }]] as const) {
    const shop = await open(t, options)
    const browser = await signedIn(shop, data)
    await shop.act(browser, (request) => shop.app.login(request, { id: 2 }, { keep: true }))
    kept.push(await me(browser))
    const again = await signedIn(shop, data)
    await shop.act(again, (request) => shop.app.login(request, { id: 1 } as LoginUser, { keep: true }))
    kept.push(await me(again))
  }
  t.strictSame(kept, [
    { userId: '2', data: { cart: ['book'], userId: 2 } },
    { userId: '1', data: { userId: 1, user: { id: 1 }, cart: ['book'] } },
    { userId: '2', data: { cart: ['book'] } },
    { userId: '1', data: { account: { id: 1 }, cart: ['book'] } }
  ])
})

t.test('a session is not created with data that names somebody else', async (t) => {
  const { app } = await open(t, BY_ACCOUNT)
  await t.rejects(app.sessions.create({ userId: 2, data: { account: { id: 1 } } }), new TypeError('data must not name another user than userId'))
  await app.sessions.create({ userId: 1, data: { account: { id: 1 } } })
  await app.sessions.create({ userId: 2, data: { cart: [] } })
  t.equal((await app.sessions.listByUser(1)).length + (await app.sessions.listByUser(2)).length, 2)
})

t.test('assigning the same userId on every request, also in five at once, leaves one session', async (t) => {
  const { nodes } = await startCluster(t)
  for (const options of [{}, { redis: redis.url, keyPrefix: prefix() }, { redis: { cluster: nodes }, keyPrefix: prefix() }]) {
    const shop = await open(t, options)
    const browser = await signedIn(shop, { userId: 1, cart: ['book'] })
    const changes = (visit: number): Action => ({ session }) => {
      session.userId = 1
      session[`visit${visit}`] = true
    }
    for (let round = 0; round < 3; round++) {
      // Each goes out before the first answers, with the cookie that all have.
      await Promise.all([0, 1, 2, 3, 4].map((each) => shop.act(browser, changes(each))))
      t.equal((await shop.app.sessions.listByUser(1)).length, 1)
    }
    const visits = Object.fromEntries([0, 1, 2, 3, 4].map((each) => [`visit${each}`, true]))
    t.strictSame(await me(browser), { userId: '1', data: { cart: ['book'], userId: 1, ...visits } }, 'and no change is lost')
  }
})
