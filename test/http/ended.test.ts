import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { get } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import { text } from 'node:stream/consumers'
import { setImmediate } from 'node:timers/promises'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { LoginOptions, SessionOptions, UseAfterEnd } from '../../lib/index.ts'
import { newId, newToken, Signature, toBearer } from '../../lib/session/token.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import type { LogLine } from '../helpers/app.ts'
import { MINUTE } from '../helpers/record.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { keysOf } from '../helpers/redis-store.ts'
import { commandsDuring } from '../helpers/redis-commands.ts'
import { SpyStore } from '../helpers/spy-store.ts'

/*
 * What a request, a page and the application learn of how a session ended.
 */

const redis = await startRedis(t)
const FIREFOX = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:131.0) Gecko/20100101 Firefox/131.0'

interface Site {
  app: FastifyInstance & { lines: LogLine[] }
  store: SpyStore
  age: (ms: number) => void
  /** Each use after an end so far. */
  used: UseAfterEnd[]
  signIn: (options?: LoginOptions & { id?: string }) => Promise<Browser>
}

async function open (t: Test, options: Partial<SessionOptions> = {}): Promise<Site> {
  let now = Date.now()
  const store = new SpyStore({ now: () => now })
  const app = await startApp(t, { ...options.redis === undefined && { store }, bearer: true, endedFor: '1h', ...options })
  app.setErrorHandler(async (error: Error & { code?: string, statusCode?: number, extensions?: object }, _request, reply) => {
    return await reply.code(error.statusCode ?? 500).send({ ...error.extensions })
  })
  app.post<{ Body: LoginOptions & { id?: string } }>('/login', async (request) => {
    const { id = 'ada', ...others } = request.body ?? {}
    await app.login(request, { id }, others)
  })
  app.post('/logout', async (request) => { await app.logout(request) })
  app.post('/move', async (request) => { await request.session.regenerate(['userId']) })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth().userId)
  app.get('/public', async (request) => String(request.auth?.userId))
  app.get('/page', { preHandler: app.authenticatePage }, async () => 'a page')
  app.get('/ended', async (request) => await app.sessions.ended(request))
  const used: UseAfterEnd[] = []
  app.sessions.on('used-after-end', (event) => { used.push(event) })
  const signIn: Site['signIn'] = async (body = {}) => {
    const browser = new Browser(app)
    t.equal((await browser.post('/login', body)).statusCode, 200)
    return browser
  }
  return { app, store, age: (ms) => { now += ms }, used, signIn }
}

const idOf = (browser: Browser): string => browser.cookies.get('sid')?.split('.')[0] ?? ''
/** A browser that kept a cookie that another has lost or exchanged. */
const thiefOf = (app: FastifyInstance, browser: Browser): Browser => {
  const thief = new Browser(app)
  for (const [name, value] of browser.cookies) thief.cookies.set(name, value)
  return thief
}
/** What a refused request says of how its session ended. */
const told = async (browser: Browser): Promise<unknown> => {
  const response = await browser.get('/me')
  const { ended, code } = response.json<{ ended?: string, code: string }>()
  return `${response.statusCode} ${code} ${String(ended)}`
}
const refused = (ended: string | undefined): string => `401 ERR_SESSION_UNAUTHENTICATED ${String(ended)}`

for (const where of ['memory', 'Redis'] as const) {
  const optionsOf = (): Partial<SessionOptions> => where === 'Redis' ? { redis: redis.url, keyPrefix: prefix() } : {}

  t.test(`in ${where}: a refused request says how its session ended`, async (t) => {
    const { app, signIn } = await open(t, { ...optionsOf(), maxSessionsPerUser: 3 })
    const out = await signIn()
    const kept = thiefOf(app, out)
    await out.post('/logout')
    t.equal(await told(kept), refused('logout'))
    const revoked = await signIn()
    await app.sessions.revoke(idOf(revoked))
    t.equal(await told(revoked), refused('revoked'))
    const all = await signIn()
    await app.sessions.revokeUser('ada')
    t.equal(await told(all), refused('revoked'))
    const again = await signIn()
    const before = thiefOf(app, again)
    await again.post('/login')
    t.equal(await told(before), refused('replaced'))
    const moving = thiefOf(app, again)
    await again.post('/move')
    t.equal(await told(moving), refused('replaced'))
    t.equal((await again.get('/me')).statusCode, 200)
    const first = await signIn({ id: 'bob' })
    for (let each = 0; each < 3; each++) await signIn({ id: 'bob' })
    t.equal(await told(first), refused('evicted'))
    const { token } = await app.sessions.create({ userId: 'ada', kind: 'bearer' })
    await app.sessions.revokeUser('ada')
    const response = await app.inject({ url: '/me', headers: { authorization: `Bearer ${token}` } })
    t.match(response.json(), { ended: 'revoked' })
    t.equal(await told(new Browser(app)), refused(undefined), 'who has no cookie has no session that could have ended')
  })

  t.test(`in ${where}: the application asks how the session ended of a token, a cookie or a request`, async (t) => {
    const { app, signIn } = await open(t, optionsOf())
    const { sessions } = app
    const { token, session, headers } = await sessions.create({ userId: 'ada' })
    t.equal(await sessions.ended(token), null, 'it lives')
    await sessions.revoke(session.id, { reason: 'stolen', actor: 'eve' })
    const end = await sessions.ended(token)
    t.match(end, { id: session.id, reason: 'revoked', userId: 'ada', statedReason: 'stolen', actor: 'eve' })
    t.ok(Object.isFrozen(end) && Number.isInteger(end?.at))
    t.strictSame(await sessions.ended({ headers }), end)
    t.strictSame(await sessions.ended(new Request('http://localhost/', { headers: headers as Record<string, string> })), end)
    const bearer = await sessions.create({ userId: 'bob', kind: 'bearer' })
    await sessions.revokeUser('bob')
    t.match(await sessions.ended(bearer.token), { reason: 'revoked', userId: 'bob', statedReason: null, actor: null })
    const browser = await signIn()
    await app.sessions.revoke(idOf(browser), { reason: 'lunch' })
    t.match((await browser.get('/ended')).json(), { reason: 'revoked', statedReason: 'lunch' })
    for (const none of ['', 'x', 'a.b', null, undefined]) t.equal(await sessions.ended(none), null)
    // Type assertions because plain JavaScript can pass anything.
    for (const wrong of [1, true, [], {}, { headers: null }]) await t.rejects(sessions.ended(wrong as unknown as string), TypeError)
  })
}

t.test('a session that has run out has expired, and so has one that ended longer ago than endedFor', async (t) => {
  const { app, store, signIn, age, used } = await open(t, { endedFor: '10m' })
  const [expiring, out] = [await signIn(), await signIn()]
  const kept = thiefOf(app, out)
  await out.post('/logout')
  age(10 * MINUTE)
  t.equal(await told(kept), refused('expired'))
  age(20 * MINUTE)
  t.equal(await told(expiring), refused('expired'))
  const browser = new Browser(app)
  browser.cookies.set('sid', new Signature([secret]).sign(newToken(newId()).token))
  t.equal(await told(browser), refused('expired'), 'also one that never was')
  t.match(await app.sessions.ended(browser.cookies.get('sid')), { reason: 'expired', at: null, userId: null })
  t.strictSame(used, [], 'and none of that is told')
  t.ok(store.calls.length > 0)
})

t.test('who does not prove the session is told what is told of one that never was', async (t) => {
  const { app, signIn, used } = await open(t)
  const bearer = await app.sessions.create({ userId: 'ada', kind: 'bearer' })
  const ended = await app.sessions.create({ userId: 'ada', kind: 'bearer' })
  await app.sessions.revoke(ended.session.id)
  const cookie = await signIn()
  await app.sessions.revoke(idOf(cookie))
  const replies = await Promise.all([
    toBearer(newToken(bearer.session.id).token), toBearer(newToken(ended.session.id).token), toBearer(newToken(newId()).token),
    // The token of a cookie, as a bearer token.
    toBearer(cookie.cookies.get('sid')?.split('.').slice(0, 2).join('.') as ReturnType<typeof newToken>['token'])
  ].map(async (token) => (await app.inject({ url: '/me', headers: { authorization: `Bearer ${token}` } })).body))
  t.strictSame(new Set(replies), new Set(['{"code":"ERR_SESSION_UNAUTHENTICATED","ended":"expired"}']))
  t.strictSame(used, [])
})

t.test('a use after a logout or a revocation is told, once of each session', async (t) => {
  const { app, signIn, used, age } = await open(t)
  const heard: unknown[] = []
  const hear = (message: unknown): void => { heard.push(message) }
  subscribe('fastify-user-sessions:used-after-end', hear)
  t.teardown(() => unsubscribe('fastify-user-sessions:used-after-end', hear))
  const ada = await signIn()
  const thief = thiefOf(app, ada)
  await ada.post('/logout')
  age(MINUTE)
  for (const url of ['/public', '/me', '/me']) {
    await thief.get(url, { headers: { 'user-agent': FIREFOX }, remoteAddress: '2001:db8:1:2::7' })
  }
  await until('it to be told', () => used.length > 0)
  const revoked = await signIn()
  await app.sessions.revoke(idOf(revoked), { reason: 'stolen', actor: 'eve' })
  await Promise.all(Array.from({ length: 20 }, async () => await revoked.get('/me')))
  await until('the other to be told', () => used.length > 1)
  await setImmediate()
  t.equal(used.length, 2)
  const [first, second] = used
  t.match(first, { userId: 'ada', kind: 'cookie', reason: 'logout', statedReason: null, actor: null, network: '2001:db8:1:2::/64', device: 'Firefox 131 on Windows', requestId: /^req-/, local: true })
  t.ok(Number(first?.at) - Number(first?.endedAt) >= MINUTE)
  t.match(second, { id: idOf(revoked), reason: 'revoked', statedReason: 'stolen', actor: 'eve', network: '127.0.0.1', device: 'lightMyRequest' })
  t.strictSame(heard, used)
  t.ok(used.every(Object.isFrozen))
})

t.test('neither a returning visitor nor who signed in anew is told of, nor a logout that is sent again', async (t) => {
  const { app, signIn, used, age } = await open(t, { maxSessionsPerUser: 2 })
  const again = await signIn()
  const before = thiefOf(app, again)
  await again.post('/login')
  await told(before)
  const evicted = await signIn({ id: 'bob' })
  for (let each = 0; each < 2; each++) await signIn({ id: 'bob' })
  t.equal(await told(evicted), refused('evicted'))
  const expiring = await signIn()
  age(31 * MINUTE)
  t.equal(await told(expiring), refused('expired'))
  const out = await signIn()
  const lostReply = thiefOf(app, out)
  await out.post('/logout')
  t.equal((await thiefOf(app, lostReply).post('/logout')).statusCode, 200)
  const anonymous = new Browser(app)
  app.log.info('the last request')
  await anonymous.get('/public')
  await setImmediate()
  t.strictSame(used, [])
  await lostReply.get('/public')
  await until('what is no logout', () => used.length === 1)
})

t.test('the log says how the session of a refused request ended', async (t) => {
  const { app, signIn } = await open(t)
  const ada = await signIn()
  await app.sessions.revoke(idOf(ada))
  app.lines.length = 0
  await told(ada)
  const [line, ...more] = app.lines.filter(({ reason }) => reason !== undefined)
  t.match(line, { level: 20, reason: 'ended', ended: 'revoked', msg: 'not signed in: the session was ended' })
  t.equal(typeof line?.endedAt, 'number')
  t.strictSame(more, [])
  const other = new Browser(app)
  other.cookies.set('sid', new Signature([secret]).sign(newToken(newId()).token))
  await told(other)
  t.match(app.lines.filter(({ reason }) => reason !== undefined).at(-1), { reason: 'unknown-session' })
})

t.test('people are sent to the login page with how their session ended in its query', async (t) => {
  const { app, signIn } = await open(t, { pages: { login: '/sign-in?theme=dark' } })
  const page = async (browser: Browser): Promise<unknown> => (await browser.get('/page')).headers.location
  t.equal(await page(new Browser(app)), '/sign-in?theme=dark')
  const ada = await signIn()
  await app.sessions.revoke(idOf(ada))
  t.equal(await page(ada), '/sign-in?theme=dark&ended=revoked')
  t.match((await ada.get('/page', { headers: { 'sec-fetch-mode': 'cors' } })).json(), { ended: 'revoked' })
})

t.test('how a session ended is nothing that a request fails for', async (t) => {
  const { app, store, signIn, used } = await open(t)
  const ada = await signIn()
  await app.sessions.revoke(idOf(ada))
  const { ended } = store
  store.ended = async () => { throw new Error('down') }
  t.equal(await told(ada), refused(undefined))
  t.equal((await ada.get('/public')).body, 'undefined')
  store.ended = async () => await new Promise(() => {})
  t.equal(await told(ada), refused(undefined), 'nor that it waits for longer than its time')
  store.ended = ended
  t.equal(await told(ada), refused('revoked'))
  t.equal(used.length, 1)
})

t.test('an end that the store has not confirmed is not said to have happened', async (t) => {
  const { app, store, signIn } = await open(t)
  const ada = await signIn()
  store.failing.add('delete')
  await t.rejects(app.sessions.revoke(idOf(ada)), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  t.equal(await told(ada), refused(undefined))
  store.failing.clear()
  await until('the end', async () => await told(ada) === refused('revoked'))
})

t.test('without the option no request says how, nothing is stored, and Redis is sent what it was sent before', async (t) => {
  const keyPrefix = prefix()
  const site = await open(t, { redis: redis.url, keyPrefix, endedFor: undefined, maxSessionsPerUser: 1 })
  const scene = async ({ app, signIn }: Site): Promise<void> => {
    const ada = await signIn()
    await ada.post('/move')
    await signIn()
    await app.sessions.revokeUser('ada')
    await told(ada)
    await ada.get('/public')
  }
  const off = await commandsDuring(redis.client, async () => await scene(site))
  const marks = async (): Promise<string[]> => (await keysOf(redis.client, keyPrefix)).filter((key) => key.endsWith(':ended'))
  t.strictSame(await marks(), [])
  const ada = await site.signIn()
  await site.app.sessions.revoke(idOf(ada))
  t.equal(await told(ada), refused(undefined))
  t.equal(await site.app.sessions.ended(ada.cookies.get('sid')), null)
  t.strictSame(site.used, [])
  const on = await open(t, { redis: redis.url, keyPrefix, maxSessionsPerUser: 1 })
  const more = await commandsDuring(redis.client, async () => await scene(on))
  t.equal(Number(off.get ?? 0), Number(more.get ?? 0) - 2, 'with it one more for each request whose session is missing')
  t.equal(off.evalsha, more.evalsha)
  t.equal((await marks()).length, 3, 'one for what moved, one for what was evicted, one for what was revoked')
  t.ok((await marks()).every((key) => key.startsWith(`@{${keyPrefix}`)))
})

t.test('an outage says nothing of an end', async (t) => {
  const { app, store, signIn } = await open(t)
  const ada = await signIn()
  await app.sessions.revoke(idOf(ada))
  store.failing.add('find')
  t.equal(await told(ada), '503 ERR_SESSION_STORE_UNAVAILABLE undefined')
})

t.test('a use after the end is told once, also of a client that leaves before its reply, over HTTP/2, and of a WebSocket', async (t) => {
  for (const isHttp2 of [false, true]) {
    const app = await startApp(t, { endedFor: '1h' }, isHttp2 ? { http2: true } as FastifyServerOptions : {})
    const used: UseAfterEnd[] = []
    app.sessions.on('used-after-end', (event) => { used.push(event) })
    const arrived = new Set<string>()
    app.get('/public', async () => 'a page')
    app.get('/slow', async (_request, reply) => {
      arrived.add('/slow')
      await once(reply.raw, 'close')
      return 'too late'
    })
    const port = Number(new URL(await app.listen({ port: 0, host: '127.0.0.1' })).port)
    for (const path of ['/public', '/slow']) {
      used.length = 0
      const { session, headers } = await app.sessions.create({ userId: 'ada' })
      await app.sessions.revoke(session.id)
      if (isHttp2) {
        const client = connectHttp2(`http://127.0.0.1:${port}`)
        client.on('error', () => {})
        const stream = client.request({ ':path': path, ...headers })
        stream.on('error', () => {}).resume()
        if (path === '/public') await once(stream, 'end')
        else await until('the request', () => arrived.has(path))
        client.destroy()
      } else {
        const asked = get({ port, path, headers, agent: false })
        asked.on('error', () => {})
        if (path === '/public') await text((await once(asked, 'response') as [IncomingMessage])[0])
        else await until('the request', () => arrived.has(path))
        asked.destroy()
      }
      await until(`the use of ${path}`, () => used.length > 0)
      t.strictSame(used.map(({ network }) => network), ['127.0.0.1'], `${path}, ${isHttp2 ? 'HTTP/2' : 'HTTP/1.1'}`)
    }
    const { session, headers } = await app.sessions.create({ userId: 'ada' })
    await app.sessions.revoke(session.id)
    used.length = 0
    await app.inject({ url: '/public', headers: { ...headers, upgrade: 'websocket', origin: 'http://localhost:80' } })
    await until('the use by a WebSocket', () => used.length > 0)
  }
})
