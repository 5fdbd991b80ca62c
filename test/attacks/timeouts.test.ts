import websocket from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, MemoryStore, SessionManager } from '../../lib/index.ts'
import type { CreatedSession, SessionOptions } from '../../lib/index.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import { freePort, startProgram } from '../helpers/process.ts'
import { DAY, HOUR, MINUTE } from '../helpers/record.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { age, keysOf, openStore } from '../helpers/redis-store.ts'
import { SpyStore } from '../helpers/spy-store.ts'
import { startService, TIMEOUTS } from '../helpers/timed-service.ts'

const redis = await startRedis(t)
const SECOND = 1_000

interface Place {
  app: FastifyInstance
  /** Beside the application: without Fastify, on the same sessions. */
  worker: SessionManager
  age: (ms: number) => Promise<void>
  /** How much is stored. */
  count: () => Promise<number>
  /** How near to its end a session is looked at; in Redis time goes on while a test runs. */
  nearly: number
}

const places: Record<string, (t: Test) => Promise<Place>> = {
  memory: async (t) => {
    let now = 1_700_000_000_000
    const store = new MemoryStore({ now: () => now })
    const count = async (): Promise<number> => {
      let number = 0
      for await (const record of store.listAll()) if (record !== null) number++
      return number
    }
    return { app: await service(t, { store }), worker: manager(t, store), age: async (ms) => { now += ms }, count, nearly: SECOND }
  },
  Redis: async (t) => {
    const keyPrefix = prefix()
    const count = async (): Promise<number> => (await keysOf(redis.client, keyPrefix)).filter((key) => key.startsWith(keyPrefix)).length
    return { app: await service(t, { redis: redis.url, keyPrefix }), worker: manager(t, await openStore(t, redis.url, { prefix: keyPrefix })), age: (ms) => age(redis.client, keyPrefix, ms), count, nearly: 10 * SECOND }
  }
}

async function service (t: Test, options: Partial<SessionOptions>): Promise<FastifyInstance> {
  const app = await startService(options)
  t.teardown(() => app.close())
  return app
}

function manager (t: Test, store: NonNullable<SessionOptions['store']>): SessionManager {
  const sessions = new SessionManager({ secret, cookie: { secure: false }, bearer: true, store, ...TIMEOUTS })
  t.teardown(() => sessions.close())
  return sessions
}

type Way = (place: Place, held: CreatedSession) => Promise<unknown>

const asked: Way = async ({ app }, { headers }) => (await app.inject({ url: '/me', headers })).statusCode === 200

/** Every way to be told who is signed in; `true`, or what there is, where somebody is. */
const LOOKS: Record<string, { kind?: 'bearer', look: Way }> = {
  'a request with the cookie': { look: asked },
  'a request with a bearer token': { kind: 'bearer', look: asked },
  'sessions.find': { look: ({ app }, { token }) => app.sessions.find(token) },
  'sessions.find of a bearer token': { kind: 'bearer', look: ({ app }, { token }) => app.sessions.find(token) },
  'sessions.find without Fastify': { look: ({ worker }, { token }) => worker.find(token) },
  'sessions.fromRequest': { look: ({ worker }, { headers }) => worker.fromRequest({ headers: headers as Record<string, string> }) },
  'sessions.fromCookieHeader': { look: ({ worker }, { headers }) => worker.fromCookieHeader(headers.cookie) },
  'sessions.fromBearer': { kind: 'bearer', look: ({ worker }, { headers }) => worker.fromBearer(headers.authorization) },
  'sessions.get': { look: ({ app }, { session }) => app.sessions.get(session.id) },
  'sessions.data': { look: ({ app }, { session }) => app.sessions.data(session.id) },
  'sessions.update': { look: ({ app }, { session }) => app.sessions.update(session.id, (data) => ({ ...data, seen: true })) },
  'sessions.touch': { look: ({ app }, { session }) => app.sessions.touch(session.id) },
  'sessions.listByUser': { look: async ({ app }, { session }) => (await app.sessions.listByUser(session.userId)).some(({ id }) => id === session.id) },
  'sessions.listAll': {
    look: async ({ worker }, { session }) => {
      for await (const { id } of worker.listAll()) if (id === session.id) return true
      return false
    }
  },
  'sessions.revoke': { look: ({ app }, { session }) => app.sessions.revoke(session.id) }
}

/** Those of them that count as use. */
const USES: Record<string, { kind?: 'bearer', look: Way }> = {
  'a request with the cookie': { look: asked },
  'a request with a bearer token': { kind: 'bearer', look: asked },
  'sessions.find': { look: ({ worker }, { token }) => worker.find(token, { touch: true }) },
  'sessions.fromRequest': { look: ({ worker }, { headers }) => worker.fromRequest({ headers: headers as Record<string, string> }, { touch: true }) },
  'sessions.touch': { look: ({ app }, { session }) => app.sessions.touch(session.id) }
}

for (const [name, open] of Object.entries(places)) {
  t.test(`[7.3.1] ${name}: a session that nobody uses ends at its idle timeout, whoever asks`, async (t) => {
    const place = await open(t)
    for (const [way, { kind = 'cookie', look }] of Object.entries(LOOKS)) {
      const live = await place.app.sessions.create({ userId: 'ada', kind })
      await place.age(30 * MINUTE - place.nearly)
      t.ok(await look(place, live), `${way}: just before`)
      await place.app.sessions.revoke(live.session.id)
      const ended = await place.app.sessions.create({ userId: 'ada', kind })
      await place.age(30 * MINUTE + place.nearly)
      t.notOk(await look(place, ended), `${way}: just after`)
      t.equal(await place.count(), 0, 'and nothing is left of it')
    }
  })

  t.test(`[7.3.2] ${name}: a session that is used all the time ends at its absolute timeout, however it is used`, async (t) => {
    const place = await open(t)
    for (const [way, { kind = 'cookie', look }] of Object.entries(USES)) {
      const held = await place.app.sessions.create({ userId: 'ada', kind })
      const uses: unknown[] = []
      for (let time = 0; time < 7; time++) {
        await place.age(15 * MINUTE)
        uses.push(Boolean(await look(place, held)))
      }
      t.strictSame(uses, Array(7).fill(true), way)
      await place.age(15 * MINUTE - place.nearly)
      t.ok(await look(place, held), `${way}: just before`)
      await place.age(2 * place.nearly)
      t.notOk(await look(place, held), `${way}: just after`)
      t.equal(await place.count(), 0, 'and nothing is left of it')
    }
  })

  t.test(`[7.3.1, 7.3.2] ${name}: a WebSocket is not opened in the name of a session that has run out, and one that is open hears of the end`, async (t) => {
    const place = await open(t)
    const { app } = place
    await app.register(websocket)
    const signals: AbortSignal[] = []
    app.get('/live', { websocket: true, onRequest: app.authenticate }, (socket, request) => {
      const { userId, signal } = request.requireAuth()
      signals.push(signal)
      // Of a socket that is injected the other end never answers, which is waited for half a minute.
      t.teardown(() => socket.terminate())
      signal.addEventListener('abort', () => socket.close(4401))
      socket.send(userId)
    })
    await app.ready()
    const upgrade = async ({ headers }: CreatedSession): Promise<string> => {
      try {
        await app.injectWS('/live', { headers: headers as Record<string, string> })
        return 'open'
      } catch (error) {
        return (error as Error).message
      }
    }
    for (const kind of ['cookie', 'bearer'] as const) {
      const idle = await app.sessions.create({ userId: 'ada', kind })
      t.equal(await upgrade(idle), 'open')
      await place.age(30 * MINUTE + place.nearly)
      t.match(await upgrade(idle), /401/)
      const busy = await app.sessions.create({ userId: 'ada', kind })
      for (let time = 0; time < 5; time++) {
        await place.age(20 * MINUTE)
        t.equal(await upgrade(busy), 'open')
      }
      await place.age(20 * MINUTE + place.nearly)
      t.match(await upgrade(busy), /401/)
    }
    await until('every socket to hear of it', () => signals.every(({ aborted }) => aborted))
    t.equal(signals.length, 12)
  })
}

t.test('[7.3.1, 7.3.2] by whichever clock an application goes, an hour ahead or behind, sessions end by Redis\' own', async (t) => {
  const keyPrefix = prefix()
  const SKEWS = [-HOUR, 0, HOUR]
  const urls = await Promise.all(SKEWS.map(async (skew) => {
    const port = await freePort()
    await startProgram(t, 'test/helpers/skewed-service.ts', port, { SKEW_MS: String(skew), REDIS_URL: redis.url, KEY_PREFIX: keyPrefix })
    return `http://127.0.0.1:${port}`
  }))
  /** Somebody who signed in at each of them, for each of them to be asked about. */
  const signIns = async () => await Promise.all(urls.flatMap((begun) => urls.map(async (url) => {
    const response = await fetch(`${begun}/login`, { method: 'POST' })
    const [line = ''] = response.headers.getSetCookie()
    return { url, line, cookie: line.split(';')[0] ?? '' }
  })))
  const statuses = async (path: string, people: Array<{ url: string, cookie: string }>) => await Promise.all(people.map(async ({ url, cookie }) => (await fetch(url + path, { headers: { cookie } })).status))
  const NINE = (status: number): number[] => Array(9).fill(status)

  const people = await signIns()
  for (const [index, { url, line, cookie }] of people.entries()) {
    t.match(line, /; Max-Age=7200;/)
    const me = await (await fetch(`${url}/me`, { headers: { cookie } })).json() as Record<string, number>
    const [seconds] = await redis.client.time()
    const now = Number(seconds) * SECOND
    t.ok(Math.abs((me.clock as number) - now - (SKEWS[index % 3] as number)) < MINUTE, 'the machine is as far off as it should be')
    for (const [instant, left] of [['createdAt', 0], ['authenticatedAt', 0], ['lastSeenAt', 0], ['expiresAt', 30 * MINUTE]] as const) t.ok(Math.abs((me[instant] as number) - now - left) < MINUTE, instant)
  }
  t.strictSame(await statuses('/recent', people), NINE(200))
  await age(redis.client, keyPrefix, 11 * MINUTE)
  t.strictSame(await statuses('/recent', people), NINE(401), 'eleven minutes are eleven minutes')
  for (let minutes = 11; minutes < 111; minutes += 20) {
    t.strictSame(await statuses('/me', people), NINE(200))
    await age(redis.client, keyPrefix, 20 * MINUTE)
  }
  t.strictSame(await statuses('/me', people), NINE(200), 'not before the absolute timeout')
  await age(redis.client, keyPrefix, 10 * MINUTE)
  t.strictSame(await statuses('/me', people), NINE(401))

  const idle = await signIns()
  await age(redis.client, keyPrefix, 29 * MINUTE)
  t.strictSame(await statuses('/me', idle), NINE(200), 'not before the idle timeout')
  await age(redis.client, keyPrefix, 31 * MINUTE)
  t.strictSame(await statuses('/me', idle), NINE(401))
})

t.test('[7.1.1] timeouts that make no sense are refused at boot', async (t) => {
  for (const option of ['idleTimeout', 'absoluteTimeout'] as const) {
    for (const value of [0, -1, NaN, Infinity, '0', '-5m', 'soon', '', '20y', null, true, {}, ['30m']]) {
      for (const options of [{ [option]: value }, { remember: { [option]: value } }]) {
        await t.rejects(startApp(t, { store: new MemoryStore(), ...options } as never), { code: 'ERR_SESSION_INVALID_OPTIONS', message: new RegExp(option) }, `${option} ${String(value)}`)
      }
    }
  }
  for (const options of [{ idleTimeout: '2h', absoluteTimeout: '1h' }, { idleTimeout: '8d' }, { remember: { absoluteTimeout: '1d' } }]) {
    await t.rejects(startApp(t, { store: new MemoryStore(), ...options }), { code: 'ERR_SESSION_INVALID_OPTIONS', message: /idleTimeout must not be longer than/ })
  }
})

/** A browser that has signed in, what it was told of its cookie, and what is stored. */
async function remembered (t: Test, options: Partial<SessionOptions>, remember: boolean | undefined) {
  const store = new SpyStore()
  const app = await startApp(t, { store, ...options })
  await app.register(authRoutes, { verify: () => ({ id: 'ada' }) })
  app.post('/hand-written', async (request) => { await app.login(request, { id: 'ada' }, remember === undefined ? {} : { remember }) })
  return await Promise.all(['/login', '/hand-written'].map(async (url) => {
    const ada = new Browser(app)
    const { setCookies: [line = ''] } = await ada.post(url, { username: 'ada', password: 'x', ...remember !== undefined && { remember } })
    const record = await store.peek(ada.cookies.get('sid')?.split('.')[0])
    return { maxAge: /; Max-Age=(\d+);/.exec(line)?.[1] ?? null, idle: record?.idleTimeoutMs, absolute: (record?.endsAt ?? 0) - (record?.createdAt ?? 0), persistent: record?.persistent }
  }))
}

t.test('[7.1.1, NIST 3.2.2] what remember gives: true the long timeouts, false a cookie that ends with the browser, nothing the ordinary ones', async (t) => {
  for (const [options, remember, expected] of [
    [{}, undefined, { maxAge: '604800', idle: 30 * MINUTE, absolute: 7 * DAY, persistent: true }],
    [{}, false, { maxAge: null, idle: 30 * MINUTE, absolute: 7 * DAY, persistent: false }],
    [{}, true, { maxAge: '7776000', idle: 30 * DAY, absolute: 90 * DAY, persistent: true }],
    [{ remember: { idleTimeout: '1d', absoluteTimeout: '14d' } }, true, { maxAge: '1209600', idle: DAY, absolute: 14 * DAY, persistent: true }],
    [{ cookie: { secure: false, maxAge: false } }, undefined, { maxAge: null, idle: 30 * MINUTE, absolute: 7 * DAY, persistent: false }],
    [{ cookie: { secure: false, maxAge: false } }, true, { maxAge: '7776000', idle: 30 * DAY, absolute: 90 * DAY, persistent: true }],
    [{ assurance: 'aal2' }, undefined, { maxAge: '86400', idle: 30 * MINUTE, absolute: 24 * HOUR, persistent: true }],
    [{ assurance: 'aal2' }, true, { maxAge: '86400', idle: HOUR, absolute: 24 * HOUR, persistent: true }],
    [{ assurance: 'aal3' }, undefined, { maxAge: '43200', idle: 15 * MINUTE, absolute: 12 * HOUR, persistent: true }],
    [{ assurance: 'aal3' }, true, { maxAge: '43200', idle: 15 * MINUTE, absolute: 12 * HOUR, persistent: true }],
    [{ assurance: 'aal3' }, false, { maxAge: null, idle: 15 * MINUTE, absolute: 12 * HOUR, persistent: false }]
  ] as Array<[Partial<SessionOptions>, boolean | undefined, object]>) {
    t.strictSame(await remembered(t, options, remember), [expected, expected], `${JSON.stringify(options)} ${remember}`)
  }
})

t.test('[7.1.1] an assurance level refuses whatever is longer, at boot and at every sign-in', async (t) => {
  for (const [assurance, idle, absolute] of [['aal2', HOUR, 24 * HOUR], ['aal3', 15 * MINUTE, 12 * HOUR]] as const) {
    for (const longer of [{ idleTimeout: idle + 1, absoluteTimeout: absolute }, { absoluteTimeout: absolute + 1 }, { remember: { idleTimeout: idle + 1 } }, { remember: { absoluteTimeout: absolute + 1 } }]) {
      await t.rejects(startApp(t, { store: new MemoryStore(), assurance, ...longer }), { code: 'ERR_SESSION_INVALID_OPTIONS', message: new RegExp(`for assurance ${assurance}$`) })
    }
    let now = 1_700_000_000_000
    const app = await startApp(t, { store: new MemoryStore({ now: () => now }), assurance, idleTimeout: idle, absoluteTimeout: absolute, touchAfter: 0 })
    app.get('/me', { preHandler: app.authenticate }, async () => 'ada')
    for (const longer of [{ idleTimeout: idle + 1 }, { absoluteTimeout: absolute + 1 }]) await t.rejects(app.sessions.create({ userId: 'ada', ...longer }), TypeError)
    const { headers } = await app.sessions.create({ userId: 'ada' })
    const status = async (ms: number) => {
      now += ms
      return (await app.inject({ url: '/me', headers })).statusCode
    }
    for (let time = 0; time < absolute / idle * 2 - 1; time++) t.equal(await status(idle / 2), 200)
    t.equal(await status(idle / 2), 401, 'busy to the end')
  }
})

t.test('[7.3.1] a second registration on the same store does not lengthen what the first began', async (t) => {
  let now = 1_700_000_000_000
  const store = new MemoryStore({ now: () => now })
  const [strict, lax] = await Promise.all([startApp(t, { store, idleTimeout: '10m', absoluteTimeout: '1h', touchAfter: 0 }), startApp(t, { store, idleTimeout: '30d', absoluteTimeout: '90d', touchAfter: 0 })])
  for (const app of [strict, lax]) app.get('/me', { preHandler: app.authenticate }, async () => 'ada')
  const { headers } = await strict.sessions.create({ userId: 'ada' })
  for (const ms of [...Array(6).fill(9 * MINUTE), 5 * MINUTE]) {
    now += ms
    t.equal((await lax.inject({ url: '/me', headers })).statusCode, 200)
  }
  now += MINUTE
  t.equal((await lax.inject({ url: '/me', headers })).statusCode, 401)
})
