import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { inspect } from 'node:util'
import v8 from 'node:v8'
import fastifyCookie from '@fastify/cookie'
import fastifySession from '@fastify/session'
import express from 'express'
import expressSession from 'express-session'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { RedisStore } from '../../lib/express/redis-store.ts'
import type { RedisStoreOptions } from '../../lib/express/redis-store.ts'
import { RedisStore as OwnStore } from '../../lib/index.ts'
import { storeContract } from '../contract/store-contract.ts'
import { Jar, startExpress, startShop } from '../helpers/express-app.ts'
import { openManager } from '../helpers/managers.ts'
import { DAY, record } from '../helpers/record.ts'
import { prefix, startCluster, startRedis } from '../helpers/redis.ts'
import { age, keysOf, openDropIn } from '../helpers/redis-store.ts'

const redis = await startRedis(t)
const cluster = await startCluster(t)
const SECRET = 'a secret of thirty-two characters'

/** What the two applications below put into their sessions. */
type Values = Record<string, unknown>

/** A request held up between reading its session and answering. */
class Gate {
  readonly reached: Promise<void>
  readonly opened: Promise<void>
  reach = () => {}
  open = () => {}
  constructor () {
    this.reached = new Promise((resolve) => { this.reach = resolve })
    this.opened = new Promise((resolve) => { this.open = resolve })
  }
}

interface App {
  url: string
  gates: Map<string, Gate>
}

/** What shows of a session where it is listed, copied, logged or looked at. */
function seen (session: object): { names: string[], copied: string[], logged: string, printed: string } {
  const names: string[] = []
  for (const name in session) names.push(name)
  return { names: names.sort(), copied: Object.keys({ ...session }).sort(), logged: JSON.stringify({ ...session, cookie: undefined }), printed: inspect({ ...session, ...Object.fromEntries(Object.getOwnPropertySymbols(session).map((symbol) => [symbol, null])) }) }
}

/** Signs out as some do: the session stays, and nothing is in it. */
function empty (session: Values): void {
  for (const name in session) if (name !== 'cookie') delete session[name]
}

/** The same small application, once on express and once on Fastify, each with its own session library. */
const apps: Record<string, (t: Test, store: RedisStore) => Promise<App>> = {
  'express-session': async (t, store) => {
    const gates = new Map<string, Gate>()
    const app = express()
    app.use(expressSession({ store, secret: SECRET, resave: false, saveUninitialized: false }))
    const values = (request: express.Request) => request.session as unknown as Values
    app.post('/login', (request, response) => {
      values(request).userId = 'ada'
      response.send('ok')
    })
    app.get('/me', (request, response) => { response.json({ ...values(request), cookie: undefined }) })
    app.post('/put/:key/:value', async (request, response) => {
      const gate = gates.get(request.params.key)
      gate?.reach()
      await gate?.opened
      values(request)[request.params.key] = request.params.value
      response.send('ok')
    })
    app.post('/put-twice/:key', (request, response, next) => {
      values(request)[`${request.params.key}1`] = 1
      request.session.save((error) => {
        if (error) return next(error)
        values(request)[`${request.params.key}2`] = 2
        response.send('ok')
      })
    })
    app.post('/begin-unawaited', (request, response) => {
      values(request).cart = 1
      request.session.save()
      values(request).userId = 'ada'
      response.send('ok')
    })
    app.get('/seen', (request, response) => { response.json(seen(request.session)) })
    app.post('/empty', (request, response) => {
      empty(values(request))
      response.send('ok')
    })
    app.post('/reload/:key', (request, response, next) => request.session.reload((error) => {
      if (error) return next(error)
      values(request)[request.params.key] = 1
      response.send('ok')
    }))
    app.post('/logout', (request, response, next) => request.session.destroy((error) => error ? next(error) : response.send('ok')))
    const server = app.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => {
      server.closeAllConnections()
      server.close()
    })
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, gates }
  },
  '@fastify/session': async (t, store) => {
    const gates = new Map<string, Gate>()
    const app = Fastify({ forceCloseConnections: true })
    await app.register(fastifyCookie)
    await app.register(fastifySession, { store, secret: SECRET, rolling: false, saveUninitialized: false, cookie: { secure: false } })
    app.post('/login', async (request) => {
      request.session.set('userId' as never, 'ada' as never)
      return 'ok'
    })
    app.get('/me', async (request) => {
      const { ...values } = request.session
      return JSON.parse(JSON.stringify({ ...values, cookie: undefined }))
    })
    app.post<{ Params: { key: string, value: string } }>('/put/:key/:value', async (request) => {
      const gate = gates.get(request.params.key)
      gate?.reach()
      await gate?.opened
      request.session.set(request.params.key as never, request.params.value as never)
      return 'ok'
    })
    app.post<{ Params: { key: string } }>('/put-twice/:key', async (request) => {
      request.session.set(`${request.params.key}1` as never, 1 as never)
      await request.session.save()
      request.session.set(`${request.params.key}2` as never, 2 as never)
      return 'ok'
    })
    app.post('/begin-unawaited', async (request) => {
      request.session.set('cart' as never, 1 as never)
      void request.session.save()
      request.session.set('userId' as never, 'ada' as never)
      return 'ok'
    })
    app.get('/seen', async (request) => seen(request.session))
    app.post('/empty', async (request) => {
      empty(request.session as unknown as Values)
      return 'ok'
    })
    app.post<{ Params: { key: string } }>('/reload/:key', async (request) => {
      await request.session.reload()
      request.session.set(request.params.key as never, 1 as never)
      return 'ok'
    })
    app.post('/logout', async (request) => {
      await request.session.destroy()
      return 'ok'
    })
    t.teardown(() => app.close())
    return { url: await app.listen({ port: 0, host: '127.0.0.1' }), gates }
  }
}

/** ada's browser: keeps the one cookie. */
class Browser {
  readonly #url: string
  cookie = ''
  constructor ({ url }: App) {
    this.#url = url
  }

  async post (path: string): Promise<number> {
    const { status } = await this.#fetch(path, 'POST')
    return status
  }

  async me (): Promise<Values> {
    return await this.ask('/me')
  }

  async ask (path: string): Promise<Values> {
    const { status, body } = await this.#fetch(path, 'GET')
    return status === 200 ? JSON.parse(body) : { status }
  }

  async #fetch (path: string, method: string): Promise<{ status: number, body: string }> {
    const response = await fetch(this.#url + path, { method, headers: this.cookie === '' ? {} : { cookie: this.cookie } })
    const set = response.headers.getSetCookie()[0]
    if (set !== undefined) this.cookie = set.split(';')[0] ?? ''
    // To its end: express-session saves between the head of a response and its last byte.
    return { status: response.status, body: await response.text() }
  }
}

for (const [library, start] of Object.entries(apps)) {
  const open = async (t: Test, options: Omit<RedisStoreOptions, 'client' | 'prefix'> = {}) => {
    const ours = prefix()
    const store = await openDropIn(t, redis.url, { prefix: ours, ...options })
    const app = await start(t, store)
    return { ours, store, app, ada: new Browser(app) }
  }

  t.test(`under ${library} ada logs in, is known and logs out`, async (t) => {
    const { ours, app, ada } = await open(t)
    t.strictSame(await ada.me(), {})
    t.strictSame(await keysOf(redis.client, ours), [], 'who has nothing to keep costs no key')
    t.equal(await ada.post('/login'), 200)
    t.strictSame(await ada.me(), { userId: 'ada' })
    t.equal((await keysOf(redis.client, ours)).length, 1)
    t.strictSame(await new Browser(app).me(), {})
    t.equal(await ada.post('/logout'), 200)
    t.strictSame(await keysOf(redis.client, ours), [])
    t.strictSame(await ada.me(), {})
  })

  t.test(`under ${library} a request that ends after a logout does not undo it`, async (t) => {
    const { ours, app, ada } = await open(t)
    await ada.post('/login')
    const gate = new Gate()
    app.gates.set('slow', gate)
    const slow = ada.post('/put/slow/1')
    await gate.reached
    t.equal(await ada.post('/logout'), 200)
    gate.open()
    t.equal(await slow, 200)
    t.strictSame(await keysOf(redis.client, ours), [])
    t.strictSame(await ada.me(), {})
  })

  t.test(`under ${library} requests at once that change different keys all keep their change`, async (t) => {
    const { app, ada } = await open(t)
    await ada.post('/login')
    const keys = Array.from({ length: 10 }, (_, each) => `key${each}`)
    const gates = keys.map((key) => {
      const gate = new Gate()
      app.gates.set(key, gate)
      return gate
    })
    const puts = keys.map((key) => ada.post(`/put/${key}/${key}`))
    await Promise.all(gates.map(({ reached }) => reached))
    for (const gate of gates) gate.open()
    await Promise.all(puts)
    t.same(await ada.me(), { userId: 'ada', ...Object.fromEntries(keys.map((key) => [key, key])) })
  })

  t.test(`under ${library} a request that saves twice loses nobody's change`, async (t) => {
    const { app, ada } = await open(t)
    await ada.post('/login')
    const gate = new Gate()
    app.gates.set('slow', gate)
    await Promise.all(Array.from({ length: 5 }, (_, each) => ada.post(`/put-twice/key${each}`)))
    const slow = ada.post('/put/slow/1')
    await gate.reached
    await ada.post('/put-twice/late')
    gate.open()
    await slow
    const values = await ada.me()
    t.same(new Set(Object.keys(values)), new Set(['userId', 'slow', 'late1', 'late2', ...[0, 1, 2, 3, 4].flatMap((each) => [`key${each}1`, `key${each}2`])]))
  })

  t.test(`under ${library} a save that nobody waits for and the one at the end both count, in a new session too`, async (t) => {
    const { ada } = await open(t)
    t.equal(await ada.post('/begin-unawaited'), 200)
    t.same(await ada.me(), { cart: 1, userId: 'ada' })
  })

  t.test(`under ${library} a corrupt or foreign value is no session`, async (t) => {
    const { ours, store, ada } = await open(t)
    const unreadable: string[] = []
    store.events.on('unreadable', (id) => unreadable.push(id))
    await ada.post('/login')
    const { cookie } = ada
    const [key = ''] = await keysOf(redis.client, ours)
    for (const value of ['x', '5', '"abc"', '[1]', '{}', 'null', '{"cookie":5}']) {
      await redis.client.set(key, value)
      unreadable.length = 0
      ada.cookie = cookie
      t.strictSame(await ada.me(), {}, value)
      t.strictSame(unreadable, [key.slice(ours.length)])
    }
    await redis.client.del(key)
    await redis.client.hset(key, 'a', '1')
    ada.cookie = cookie
    t.strictSame(await ada.me(), {}, 'a hash')
  })

  t.test(`under ${library} a session that was read shows what was put into it, and nothing beside it`, async (t) => {
    const { ada } = await open(t)
    await ada.post('/login')
    await ada.post('/put/cart/book')
    const { names, copied, logged, printed } = await ada.ask('/seen') as unknown as ReturnType<typeof seen>
    t.strictSame(names, ['cart', 'cookie', 'userId'])
    t.strictSame(copied, names)
    t.strictSame(JSON.parse(logged), { userId: 'ada', cart: 'book' })
    t.notMatch(printed, /version|stored|held/i)
  })

  t.test(`under ${library} who takes everything out of a session is signed out`, async (t) => {
    const { ada } = await open(t)
    await ada.post('/login')
    await ada.post('/put/cart/book')
    t.equal(await ada.post('/empty'), 200)
    t.strictSame(await ada.me(), {})
  })

  t.test(`under ${library} a session that was read again is saved as one that was read`, async (t) => {
    const { app, ada } = await open(t)
    await ada.post('/login')
    const gate = new Gate()
    app.gates.set('slow', gate)
    const slow = ada.post('/put/slow/1')
    await gate.reached
    t.equal(await ada.post('/reload/again'), 200)
    gate.open()
    t.equal(await slow, 200)
    t.same(await ada.me(), { userId: 'ada', again: 1, slow: '1' })
  })

  t.test(`under ${library} a record grows by what is put into it alone, also where a serializer looks into everything`, async (t) => {
    const { ours, ada } = await open(t, { serializer: byV8 })
    await ada.post('/login')
    const [key = ''] = await keysOf(redis.client, ours)
    const sizes: number[] = []
    for (let save = 0; save < 8; save++) {
      t.equal(await ada.post(`/put/step/${save}`), 200)
      sizes.push(await redis.client.strlen(key))
    }
    t.ok(Math.max(...sizes) - Math.min(...sizes) < 100, sizes.join())
    t.strictSame(await ada.me(), { userId: 'ada', step: '7' })
  })

  t.test(`under ${library} a serializer may be anything that makes text, and take its time`, async (t) => {
    const { app, ada } = await open(t, { serializer: { parse: async (text) => JSON.parse(text), stringify: (session) => JSON.stringify(session, null, 2) } })
    await ada.post('/login')
    const gate = new Gate()
    app.gates.set('slow', gate)
    const slow = ada.post('/put/slow/1')
    await gate.reached
    t.equal(await ada.post('/put/quick/1'), 200)
    gate.open()
    t.equal(await slow, 200)
    t.same(await ada.me(), { userId: 'ada', quick: '1', slow: '1' })
  })
}

/** Makes text of everything there is in a session, without asking for its `toJSON`. */
const byV8: NonNullable<RedisStoreOptions['serializer']> = {
  stringify: (session) => v8.serialize({ ...session, cookie: { ...session.cookie } }).toString('base64'),
  parse: (text) => v8.deserialize(Buffer.from(text, 'base64'))
}

t.test('what is read is what was set, and what is saved then what has become of it', async (t) => {
  const store = await openDropIn(t, redis.url, { prefix: prefix() })
  const session = sessionOf({ userId: 'ada', cart: ['book'] })
  await store.set('a', session)
  t.strictSame(Reflect.ownKeys(session), ['cookie', 'userId', 'cart'], 'nor has it become more')
  const read = await store.get('a')
  t.strictSame(read, session)
  t.strictSame(Reflect.ownKeys(read), ['cookie', 'userId', 'cart'])
  t.equal(JSON.stringify(read), JSON.stringify(session))
  t.equal(inspect(read), inspect(session))
  await store.set('a', { ...read, step: 1 })
  t.strictSame(await store.get('a'), { ...session, step: 1 }, 'also of a copy')
  const [emptied, late] = [await store.get('a'), await store.get('a')]
  for (const name in emptied) delete emptied[name]
  await store.set('a', emptied)
  late.step = 2
  await store.set('a', late)
  t.strictSame(await store.get('a'), { cookie: session.cookie, step: 2 })
})

t.test('what a serializer can keep is kept as it is, by every save', async (t) => {
  const store = await openDropIn(t, redis.url, { prefix: prefix(), serializer: byV8 })
  const values = { at: new Date(0), seen: new Map([['a', 1]]), balance: 10n ** 30n }
  await store.set('a', sessionOf(values))
  t.strictSame(await store.get('a'), sessionOf(values))
  const [first, second] = [await store.get('a'), await store.get('a')]
  first.seen.set('b', 2)
  second.at = new Date(1)
  second.balance += 1n
  await store.set('a', first)
  await store.set('a', second)
  t.strictSame(await store.get('a'), sessionOf({ at: new Date(1), seen: new Map([['a', 1], ['b', 2]]), balance: 10n ** 30n + 1n }))
})

t.test('as a store of others it takes what they give it, however large', async (t) => {
  const store = await openDropIn(t, redis.url, { prefix: prefix() })
  await store.set('a', sessionOf({ cart: 'x'.repeat(1_000_000) }))
  const session = await store.get('a')
  session.cart += 'y'
  await store.set('a', session)
  t.equal((await store.get('a')).cart.length, 1_000_001)
})

t.test('a session whose cookie cannot be changed is read as any other', async (t) => {
  const store = await openDropIn(t, redis.url, { prefix: prefix(), serializer: { parse: (text) => JSON.parse(text, (_name, value) => Object.freeze(value)), stringify: JSON.stringify } })
  await store.set('a', sessionOf({ step: 1 }))
  const session = await store.get('a')
  t.strictSame(session, sessionOf({ step: 1 }))
  await store.set('a', { ...session, step: 2 })
  t.equal((await store.get('a')).step, 2)
})

/** A session as express-session makes it. */
const sessionOf = (values: Values = {}, expiresInMs?: number) => ({
  cookie: { path: '/', ...(expiresInMs === undefined ? {} : { expires: new Date(Date.now() + expiresInMs).toISOString() }) },
  ...values
})

t.test('a session that exists and was not read first is not overwritten, unless asked for', async (t) => {
  const ours = prefix()
  const store = await openDropIn(t, redis.url, { prefix: ours })
  const overwriting = await openDropIn(t, redis.url, { prefix: ours, overwrite: true })
  await store.set('a', sessionOf({ step: 1 }))
  await t.rejects(store.set('a', sessionOf({ step: 2 })), { code: 'ERR_SESSION_UNSUPPORTED', message: /overwrite: true/ })
  t.equal((await store.get('a')).step, 1)
  await overwriting.set('a', sessionOf({ step: 3 }))
  t.equal((await store.get('a')).step, 3)
})

t.test('a session read and saved under another id is a new session', async (t) => {
  const store = await openDropIn(t, redis.url, { prefix: prefix() })
  await store.set('a', sessionOf({ step: 1 }))
  const session = await store.get('a')
  session.step = 2
  await store.set('b', session)
  t.equal((await store.get('a')).step, 1)
  t.equal((await store.get('b')).step, 2)
})

t.test('a save that meets a foreign value writes nothing', async (t) => {
  const ours = prefix()
  const store = await openDropIn(t, redis.url, { prefix: ours })
  await store.set('a', sessionOf({ step: 1 }))
  const session = await store.get('a')
  session.step = 2
  for (const value of ['x', '5', '{}', 'null']) {
    await redis.client.set(`${ours}a`, value)
    await t.resolves(store.set('a', session), value)
    t.equal(await redis.client.get(`${ours}a`), value)
  }
})

t.test('a deleted key stays deleted when another request saves, and two saves in one request lose nobody\'s change', async (t) => {
  const store = await openDropIn(t, redis.url, { prefix: prefix() })
  await store.set('a', sessionOf({ step: 1, cart: 1 }))
  const [first, second] = [await store.get('a'), await store.get('a')]
  second.note = 'x'
  delete second.cart
  await store.set('a', second)
  first.step = 2
  await store.set('a', first)
  first.step = 3
  await store.set('a', first)
  const { cookie, ...values } = await store.get('a')
  t.strictSame(values, { step: 3, note: 'x' })
})

t.test('sessions live as long as under connect-redis', async (t) => {
  const ours = prefix()
  const ttl = (id: string) => redis.client.pttl(ours + id)
  const near = (actual: number, expected: number) => actual <= expected && actual > expected - 5000
  const store = await openDropIn(t, redis.url, { prefix: ours })
  await store.set('day', sessionOf())
  t.ok(near(await ttl('day'), 86_400_000))
  await store.set('dated', sessionOf({}, 60_000))
  t.ok(near(await ttl('dated'), 60_000))
  await store.set('dead', sessionOf({}, -1000))
  t.equal(await ttl('dead'), -2)
  await redis.client.pexpire(`${ours}day`, 1000)
  await store.touch('day', sessionOf())
  t.ok(near(await ttl('day'), 86_400_000))
  const dated = await store.get('dated')
  dated.cookie.expires = new Date(Date.now() + 120_000).toISOString()
  await store.set('dated', dated)
  t.ok(near(await ttl('dated'), 120_000))
  dated.cookie.expires = new Date(0).toISOString()
  await store.set('dated', dated)
  t.equal(await ttl('dated'), -2, 'a save of an expired session ends it')
  await store.touch('gone', sessionOf())
  t.equal(await ttl('gone'), -2, 'touch makes nothing')
  await redis.client.set(`${ours}used`, JSON.stringify(sessionOf({ step: 1 }, -1000)), 'PX', 60_000)
  const used = await store.get('used')
  used.step = 2
  await store.set('used', used)
  t.equal((await store.get('used')).step, 2, 'use moves the end of the key only, and a save that changes no date leaves it')
  t.ok(near(await ttl('used'), 60_000))

  const short = await openDropIn(t, redis.url, { prefix: ours, ttl: 10 })
  await short.set('ten', sessionOf())
  t.ok(near(await ttl('ten'), 10_000))
  const asked = await openDropIn(t, redis.url, { prefix: ours, ttl: (session) => session.step * 10 })
  await asked.set('asked', sessionOf({ step: 3 }))
  t.ok(near(await ttl('asked'), 30_000))
  const endless = await openDropIn(t, redis.url, { prefix: ours, disableTTL: true })
  await endless.set('endless', sessionOf({}, 1000))
  t.equal(await ttl('endless'), -1)
  await endless.touch('endless', sessionOf())
  t.equal(await ttl('endless'), -1)
  const untouched = await openDropIn(t, redis.url, { prefix: ours, disableTouch: true })
  await redis.client.pexpire(`${ours}ten`, 5000)
  await untouched.touch('ten', sessionOf())
  t.ok(near(await ttl('ten'), 5000))
})

for (const [where, target, client] of [['one server', redis.url, redis.client], ['a Cluster', { cluster: cluster.nodes }, cluster.client]] as const) {
  t.test(`ids, all, length and clear see every session of their prefix and no other, on ${where}`, async (t) => {
    for (const before of ['', 'a*b?[c]\\', 'a[^b]', '{tag}']) {
      const ours = before + prefix()
      const store = await openDropIn(t, target, { prefix: ours, scanCount: 10 })
      // Each would match one of the prefixes above, were they patterns; `user:` keys lie outside of them.
      const others = [`aXbYc${ours.slice(before.length)}x`, `x${ours}x`, `@${ours}user:ada`, ours.slice(0, -1)]
      for (const key of others) await client.set(key, JSON.stringify(sessionOf()))
      t.strictSame(await store.ids(), [])
      t.equal(await store.length(), 0)
      t.strictSame(await store.all(), [])
      await t.resolves(store.clear())
      const ids = Array.from({ length: 60 }, (_, each) => `id${each}`).sort()
      await Promise.all(ids.map((id) => store.set(id, sessionOf({ name: `name of ${id}` }))))
      t.strictSame((await store.ids()).sort(), ids)
      t.equal(await store.length(), 60)
      await client.set(`${ours}corrupt`, 'x')
      const all = await store.all()
      t.strictSame(all.map(({ id }: { id: string }) => id).sort(), ids)
      t.ok(all.every((session: Values) => session.name === `name of ${String(session.id)}` && Object.keys(session).join() === 'cookie,name,id'))
      await store.clear()
      t.equal(await store.length(), 0)
      for (const key of others) t.equal(await client.del(key), 1)
    }
  })
}

t.test('callbacks are given what the promises resolve with', async (t) => {
  const store = await openDropIn(t, redis.url, { prefix: prefix() })
  const called = (call: (callback: (error?: unknown, result?: unknown) => void) => unknown) => new Promise<[unknown, unknown]>((resolve) => { call((error, result) => resolve([error, result])) })
  t.strictSame((await called((callback) => store.set('a', sessionOf({ step: 1 }), callback)))[0], null)
  const [error, session] = await called((callback) => store.get('a', callback))
  t.equal(error, null)
  t.equal((session as Values).step, 1)
  t.strictSame(await called((callback) => store.get('none', callback)), [null, null])
  t.equal((await called((callback) => store.touch('a', sessionOf(), callback)))[0], null)
  t.strictSame(await called((callback) => store.length(callback)), [null, 1])
  t.strictSame(await called((callback) => store.ids(callback)), [null, ['a']])
  t.equal((await called((callback) => store.all(callback)))[0], null)
  t.equal((await called((callback) => store.destroy('a', callback)))[0], null)
  t.equal((await called((callback) => store.clear(callback)))[0], null)
  await store.close()
  for (const call of [
    (callback: () => void) => store.get('a', callback),
    (callback: () => void) => store.set('a', sessionOf(), callback),
    (callback: () => void) => store.touch('a', sessionOf(), callback),
    (callback: () => void) => store.destroy('a', callback),
    (callback: () => void) => store.length(callback)
  ]) t.match(await called(call as never), [{ code: 'ERR_SESSION_STORE_UNAVAILABLE' }, undefined])
})

t.test('a callback that throws is called once, and what it threw is a warning that ends no process', async (t) => {
  // In a process of its own: nobody else is to hear of it.
  const program = `
    import { connect } from './lib/redis/connection.ts'
    import { RedisStore } from './lib/express/redis-store.ts'
    const { client } = connect(${JSON.stringify(redis.url)})
    const store = new RedisStore({ client, prefix: ${JSON.stringify(prefix())} })
    const calls = []
    process.on('uncaughtException', () => calls.push('uncaught'))
    process.on('warning', ({ message }) => calls.push(/threw: Error: (\\w+)/.exec(message)?.[1]))
    process.on('unhandledRejection', () => calls.push('unhandled'))
    await new Promise((resolve) => client.once('ready', resolve))
    const session = { cookie: {} }
    for (const [name, ...args] of [['set', 'a', session], ['get', 'a'], ['touch', 'a', session], ['ids'], ['length'], ['all'], ['destroy', 'a'], ['clear']]) {
      store[name](...args, () => { throw new Error(name) })
      // The answer to a later command comes after the answer to this one.
      await store.length()
      await new Promise((resolve) => setImmediate(resolve))
      await store.length()
      await new Promise((resolve) => setImmediate(resolve))
    }
    console.log(calls.join(' '))
    await store.close()
    client.disconnect()
  `
  const child = spawn(process.execPath, ['--import=tsx', '--input-type=module', '--eval', program], { cwd: new URL('../..', import.meta.url), stdio: ['ignore', 'pipe', 'inherit'] })
  const [output] = await Promise.all([buffer(child.stdout), once(child, 'exit')])
  t.equal(output.toString().trim(), 'set get touch ids length all destroy clear')
})

t.test('where sessions are not extended by use, a use still tells whether the session is there', async (t) => {
  const ours = prefix()
  const store = await openDropIn(t, redis.url, { prefix: ours, disableTouch: true })
  const session = record({ now: store.now() })
  await store.begin(session)
  await redis.client.pexpire(ours + session.id, 60_000)
  t.equal(await store.touch(session), true)
  t.ok(await redis.client.pttl(ours + session.id) <= 60_000)
  await store.delete(session.id)
  t.equal(await store.touch(session), false)
  t.equal(await store.touch(record()), false)
})

t.test('the other RedisStore, of the plugin itself, is refused with the name of this one', async (t) => {
  const client = new Redis({ lazyConnect: true })
  // By type it is refused as well: types/types.test.ts.
  const own = new OwnStore({ client }) as unknown as RedisStore
  t.teardown(() => own.close())
  const refusal = { code: 'ERR_SESSION_UNSUPPORTED', message: /'fastify-user-sessions\/express'/ }
  t.throws(() => expressSession({ store: own, secret: SECRET, resave: false, saveUninitialized: false }), refusal, 'at boot')
  for (const call of ['get', 'set', 'destroy'] as const) t.throws(() => own[call]('sid', {} as never), refusal)
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(fastifyCookie)
  await app.register(fastifySession, { store: own, secret: SECRET, cookie: { secure: false } })
  app.get('/', async (request) => { request.session.set('userId' as never, 'ada' as never) })
  const answer = await app.inject('/')
  t.match(answer.json(), { statusCode: 500, ...refusal }, 'at the first session')
})

t.test('options that mean nothing are told', async (t) => {
  const client = new Redis({ lazyConnect: true })
  const faults: Array<[() => unknown, RegExp]> = [
    [() => new RedisStore({ client, ttl: 60, disableTTL: true }), /ttl cannot be given together with disableTTL/],
    [() => new RedisStore({ client, prefx: 'sess:' } as never), /prefx is no option of this RedisStore/],
    [() => new OwnStore({ client, disableTTL: true, ttl: 60 } as never), /disableTTL is no option of this RedisStore.*; ttl is no option/]
  ]
  for (const [make, message] of faults) t.throws(make, { code: 'ERR_SESSION_INVALID_OPTIONS', message })
  new OwnStore({ client, prefix: undefined, ttl: undefined } as never).close()
})

t.test('one store object serves an Express app and the plugin, near-cached', async (t) => {
  const ours = prefix()
  const store = await openDropIn(t, redis.url, { prefix: ours })
  const express = await startExpress(t, { keyPrefix: ours, store: store as never })
  const shop = await startShop(t, { store, nearCache: true })
  const [there, here] = [new Jar(), new Jar()]
  await Promise.all([there.post(express, '/login/ada'), here.post(shop, '/in/bob')])
  await Promise.all([there.post(express, '/put/cart', 1), here.post(shop, '/put/cart', 2)])
  t.same((await there.get(express, '/data')).body, { userId: 'ada', cart: 1 })
  for (let time = 0; time < 2; time++) t.same((await here.get(shop, '/data')).body, { userId: 'bob', cart: 2 })
  t.same(shop.lines.filter(({ level }) => level >= 40), [])
  t.equal(await shop.sessions.revokeUser('bob'), 1)
  t.equal(await here.user(shop), null)
  t.same((await there.get(express, '/data')).body, { userId: 'ada', cart: 1 })
  await shop.close()
  t.equal(await store.length(), 1, 'the plugin leaves the store open')
})

t.test('a full Redis says that it gives a session no other twin, where that is its first write', async (t) => {
  const server = await startRedis(t)
  const store = await openDropIn(t, server.url, { prefix: prefix(), disableTTL: true })
  const { session: { id } } = await openManager(t, { store }).create({ userId: 'ada' })
  const record = await store.find(id)
  if (record === null) throw new Error('it is gone')
  await server.client.config('SET', 'maxmemory-policy', 'noeviction', 'maxmemory', '1')
  await t.rejects(store.advance(record, 'n 0 1'), { code: 'ERR_SESSION_STORE_FULL' })
  t.strictSame(await store.find(id), record)
  await server.client.config('SET', 'maxmemory', '0')
  t.equal(await store.advance(record, 'n 0 1'), true)
  t.equal((await store.find(id))?.twin, 'n 0 1')
})

t.test('a session that never expires says so', async (t) => {
  const ours = prefix()
  const store = await openDropIn(t, redis.url, { prefix: ours, disableTTL: true })
  const sessions = openManager(t, { store })
  const { session } = await sessions.create({ userId: 'ada' })
  t.equal(session.expiresAt, Date.UTC(9999, 11, 31))
  t.same(await sessions.listByUser('ada'), [session])
  t.equal(await redis.client.pttl(ours + session.id), -1)
  const shop = await startShop(t, { store })
  const jar = new Jar()
  const [cookie = ''] = (await jar.post(shop, '/in/bob')).setCookies
  t.ok(Number(/Max-Age=(\d+)/.exec(cookie)?.[1]) > 400 * DAY / 1000, 'the cookie stays for as long as a browser keeps any')
  t.equal((await jar.get(shop, '/me')).body.expiresAt, Date.UTC(9999, 11, 31))
  t.equal((await jar.get(shop, '/auth/info')).status, 200)
})

storeContract(t, 'RedisStore of fastify-user-sessions/express', async (t) => {
  const ours = prefix()
  const store = await openDropIn(t, redis.url, { prefix: ours })
  return {
    store,
    other: await openDropIn(t, redis.url, { prefix: ours }),
    age: async (ms) => await age(redis.client, ours, ms),
    lose: async (id) => { await redis.client.del(`${ours}${id}`) }
  }
})
