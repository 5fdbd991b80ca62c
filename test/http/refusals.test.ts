import { Signer } from '@fastify/cookie'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { signExpressCookie } from '../../lib/express/tokens.ts'
import { authenticate, MemoryStore, requireAuth, requireRecentLogin, sessionRoutes } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { REFUSALS } from '../../lib/session/refusals.ts'
import type { Refusal } from '../../lib/session/refusals.ts'
import { newId, newToken, Signature, toBearer } from '../../lib/session/token.ts'
import { secret, startApp } from '../helpers/app.ts'
import type { LogLine } from '../helpers/app.ts'
import { BoundBrowser } from '../helpers/bound-browser.ts'
import { MINUTE } from '../helpers/record.ts'
import { prefix, startRedis } from '../helpers/redis.ts'
import { SpyStore } from '../helpers/spy-store.ts'
import { listen, Visitor } from '../helpers/visitor.ts'

/*
 * What the log says at debug when a guard refuses a request. Every application here is of startApp, whose log must
 * show no token, hash or secret.
 */

const OTHER_SECRET = 'another secret of the tests with 32 characters'
const redis = await startRedis(t)

interface Site {
  app: FastifyInstance & { lines: LogLine[] }
  store: SpyStore
  ada: Visitor
  /** The reasons in the log since it was asked last. Fails if a line holds an id of a session. */
  reasons: () => Array<Omit<Refusal, 'level'>>
  age: (ms: number) => void
}

/** An application with Ada signed in. */
async function open (t: Test, options: Partial<SessionOptions> = {}): Promise<Site> {
  let now = Date.now()
  const store = new SpyStore({ now: () => now })
  const app = await startApp(t, { ...options.redis === undefined && { store }, bearer: options.expressSession === undefined, ...options })
  const ids = new Set<string>()
  app.post('/login', async (request) => { ids.add((await app.login(request, { id: 'ada' }, { keep: true })).id) })
  app.post('/assigned', async (request) => {
    request.session.user = { id: 'ada' }
    await request.session.save()
    ids.add(request.requireAuth().id)
  })
  app.post('/cart', async ({ session }) => {
    session.cart = ['book']
    await session.save()
    ids.add(session.sessionId)
  })
  app.post('/logout', async (request) => {
    await app.logout(request)
    return requireAuth(request)
  })
  app.post('/nobody', async (request) => {
    request.session.userId = null
    return requireAuth(request)
  })
  app.get('/me', { preHandler: authenticate }, async (request) => request.requireAuth().userId)
  app.get('/recent', { onRequest: requireRecentLogin('10m') }, async () => 'ok')
  app.get('/code', { onRequest: requireRecentLogin('10m', { methods: ['otp'] }) }, async () => 'ok')
  app.post('/act', async (request) => { ids.add((await app.login(request, { id: 'ada' }, { actor: 'carol' })).id) })
  app.setErrorHandler(async (error: Error & { code?: string, statusCode?: number }, request, reply) => {
    if (error.code === 'ERR_SESSION_CSRF_REJECTED') await authenticate(request, reply).catch(() => {})
    return await reply.code(error.statusCode ?? 500).send(error.code ?? error.message)
  })
  const ada = new Visitor(await listen(app))
  await ada.post(options.expressSession === 'share' ? '/assigned' : '/login')
  const reasons = (): Refusal[] => {
    const said = app.lines.splice(0).filter((line) => 'reason' in line)
    return said.map(({ level, msg, time: _time, pid: _pid, hostname: _hostname, reqId: _reqId, ...refusal }) => {
      t.equal(level, 20)
      t.equal(msg, REFUSALS[refusal.reason as Refusal['reason']])
      for (const id of ids) t.notOk(JSON.stringify(refusal).includes(id), 'no id')
      return refusal as unknown as Refusal
    })
  }
  reasons()
  return { app, store, ada, reasons, age: (ms) => { now += ms } }
}

/** What the log says of a request with these headers. */
async function why ({ ada, reasons }: Pick<Site, 'ada' | 'reasons'>, headers: Record<string, string>, path = '/me'): Promise<Refusal | string | undefined> {
  const { status } = await new Visitor(ada.url).get(path, headers)
  const [first, ...more] = reasons()
  return more.length > 0 ? 'more than one line' : status === 401 ? first : `${status}`
}

const valueOf = (visitor: Visitor, name = 'sid'): string => visitor.cookies.get(name) ?? ''
const forged = (id = newId(), by = secret): string => new Signature([by]).sign(newToken(id).token)

/** The reasons that tests have seen. */
const seen = new Set<string>()
const is = (t: Test, actual: Refusal | string | undefined, expected: Refusal, message: string = expected.reason): void => {
  seen.add(expected.reason)
  t.strictSame(actual, expected, message)
}

t.test('[16.3.1] the log says what is wrong with a cookie', async (t) => {
  const site = await open(t)
  const value = valueOf(site.ada)
  t.equal(await why(site, { cookie: `sid=${value}` }), '200')
  const cases: Array<[cookie: string, expected: Refusal]> = [
    ['theme=dark', { reason: 'no-cookie' }],
    ['theme=sid', { reason: 'no-cookie' }],
    [`__Host-sid=${value}; theme=dark`, { reason: 'other-name', cookies: ['__Host-sid'], cookieName: ['sid'] }],
    [`connect.sid=x; __Secure-sid=${value}`, { reason: 'other-name', cookies: ['__Secure-sid', 'connect.sid'], cookieName: ['sid'] }],
    [`sid=${value}; sid=${value}`, { reason: 'two-cookies' }],
    [`sid=${value}; a=b; sid=x`, { reason: 'two-cookies' }],
    ['sid=', { reason: 'malformed' }],
    [`sid=${value.slice(0, -1)}`, { reason: 'malformed' }],
    [`sid="${value}"`, { reason: 'malformed' }],
    ['sid=%', { reason: 'malformed' }],
    [`sid=${value.slice(0, 10)}${value[10] === 'x' ? 'y' : 'x'}${value.slice(11)}`, { reason: 'bad-signature' }],
    [`sid=${forged(newId(), OTHER_SECRET)}`, { reason: 'bad-signature' }],
    [`sid=${encodeURIComponent(signExpressCookie('x'.repeat(32), secret))}`, { reason: 'other-library', library: 'express-session' }],
    [`sid=${encodeURIComponent(new Signer(secret).sign('x'.repeat(32)))}`, { reason: 'other-library', library: '@fastify/session' }],
    [`sid=${toBearer(newToken(newId()).token)}`, { reason: 'bearer-in-cookie' }],
    [`sid=${forged()}`, { reason: 'unknown-session' }],
    [`sid=${forged(value.split('.')[0])}`, { reason: 'unknown-session' }]
  ]
  is(t, await why(site, {}), { reason: 'no-cookie' })
  for (const [cookie, expected] of cases) is(t, await why(site, { cookie }), expected, cookie)
  t.equal(await why(site, { cookie: `sid=${value}` }), '200')
})

t.test('[16.3.1] the log says what is wrong with a bearer token, or that none is read', async (t) => {
  const site = await open(t)
  const token = toBearer(newToken(newId()).token)
  for (const [sent, expected] of [
    [`Bearer ${token}`, { reason: 'unknown-session' }],
    [`Bearer ${token.slice(0, -1)}`, { reason: 'malformed' }],
    ['Bearer', { reason: 'malformed' }],
    ['Bearer %', { reason: 'malformed' }],
    [`bearer ${valueOf(site.ada)}`, { reason: 'cookie-in-bearer' }],
    ['Basic YWRhOmxvdmVsYWNl', { reason: 'no-cookie' }]
  ] satisfies Array<[string, Refusal]>) is(t, await why(site, { authorization: sent }), expected, sent)
  is(t, await why(site, { authorization: 'Bearer x', cookie: 'sid=x; sid=y' }), { reason: 'malformed' }, 'as its cookie does not count')
  const without = await open(t, { bearer: false })
  is(t, await why(without, { authorization: `Bearer ${token}` }), { reason: 'bearer-off' })
  is(t, await why(without, { authorization: `Bearer ${token}`, cookie: 'sid=x' }), { reason: 'malformed' }, 'of the cookie, which does')
})

t.test('[16.3.1] the log says that a session has ended, or is about to', async (t) => {
  const site = await open(t)
  const { app, ada, store, age } = site
  const headers = { cookie: `sid=${valueOf(ada)}` }
  age(31 * MINUTE)
  is(t, await why(site, headers), { reason: 'unknown-session' }, 'expired')
  await ada.post('/login')
  const everywhere = { cookie: `sid=${valueOf(ada)}` }
  await app.sessions.revokeUser('ada')
  is(t, await why(site, everywhere), { reason: 'unknown-session' }, 'signed out everywhere')
  await ada.post('/login')
  const ending = { cookie: `sid=${valueOf(ada)}` }
  store.failing.add('delete')
  t.equal((await ada.copy().post('/logout')).status, 503)
  is(t, await why(site, ending), { reason: 'ending' })
  store.failing.clear()
})

t.test('[16.3.1] the log says that nobody is signed in to a session, or not any more', async (t) => {
  const { app, ada, reasons } = await open(t)
  const visitor = new Visitor(ada.url)
  await visitor.post('/cart')
  t.equal((await visitor.get('/me')).status, 401)
  is(t, reasons()[0], { reason: 'no-user' })
  for (const path of ['/nobody', '/logout']) {
    t.equal((await ada.post(path)).status, 401)
    is(t, reasons()[0], { reason: 'signed-out' }, path)
    await ada.post('/login')
  }
  t.equal((await ada.post('/cart', { origin: 'https://evil.example' })).status, 403)
  is(t, reasons()[0], { reason: 'turned-away' })
  t.equal((await app.sessions.listByUser('ada')).length, 1)
})

t.test('[16.3.1, 7.5.1] the log says that a sign-in is too long ago', async (t) => {
  const { ada, age, reasons } = await open(t)
  age(11 * MINUTE)
  t.equal((await ada.get('/recent')).status, 401)
  is(t, reasons()[0], { reason: 'old-sign-in' })
  t.equal((await new Visitor(ada.url).get('/recent')).status, 401)
  is(t, reasons()[0], { reason: 'no-cookie' })
})

t.test('the log says that two browsers use the session', async (t) => {
  const { ada, age, reasons } = await open(t, { forkDetection: { onFork: 'reauthenticate' } })
  const thief = new Visitor(ada.url)
  for (const [name, value] of ada.cookies) thief.cookies.set(name, value)
  for (const each of [ada, thief, ada]) {
    age(3 * MINUTE)
    await each.get('/recent')
  }
  is(t, reasons()[0], { reason: 'forked' })
})

t.test('[7.5.1, 7.5.3] the log says that a sign-in was by other methods, or that somebody acts as the user', async (t) => {
  const { ada, reasons } = await open(t)
  t.equal((await ada.get('/code')).status, 401)
  is(t, reasons()[0], { reason: 'missing-methods' })
  t.equal((await ada.post('/act')).status, 200)
  t.equal((await ada.get('/code')).status, 403)
  is(t, reasons()[0], { reason: 'impersonated' })
})

t.test('old names of the cookie, and rotated secrets, change no reason', async (t) => {
  const names = { cookieName: ['__Host-id', 'sid'], cookie: { secure: true }, secret: [secret, OTHER_SECRET] }
  const app = await startApp(t, names, { trustProxy: '127.0.0.1' })
  app.get('/me', { preHandler: authenticate }, async () => 'ok')
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  const https = { 'x-forwarded-proto': 'https' }
  const ada = new Visitor(await listen(app))
  await ada.post('/login', https)
  const value = valueOf(ada, '__Host-id')
  const reasons = (): Refusal[] => app.lines.splice(0).flatMap(({ reason, cookies, cookieName }) => reason === undefined ? [] : [{ reason, ...cookies !== undefined && { cookies, cookieName } } as Refusal])
  const ask = async (cookie: string): Promise<unknown> => await why({ ada, reasons }, { ...https, cookie })
  reasons()
  for (const name of ['__Host-id', 'sid']) t.equal(await ask(`${name}=${value}`), '200')
  t.same(await ask(`sid=${forged(newId(), OTHER_SECRET)}`), { reason: 'unknown-session' })
  t.same(await ask(`sid=${forged(newId(), 'a secret that is gone, of 32 characters')}`), { reason: 'bad-signature' })
  t.same(await ask(`__Host-id=x; sid=${forged(newId(), 'a secret that is gone, of 32 characters')}`), { reason: 'malformed' }, 'that of the first')
  t.same(await ask(`__Host-id=x; sid=${value}; sid=${value}`), { reason: 'two-cookies' })
  t.same(await ask(`id=${value}; __Host-sid=${value}`), { reason: 'other-name', cookies: ['id', '__Host-sid'], cookieName: ['__Host-id', 'sid'] })
})

t.test('where sessions are taken over or shared, the reason is that of the cookie\'s own library', async (t) => {
  const sid = 'x'.repeat(32)
  const express = (by: string) => `connect.sid=${encodeURIComponent(signExpressCookie(sid, by))}`
  const fastify = (by: string, name = 'sessionId') => `${name}=${encodeURIComponent(new Signer(by).sign(sid))}`
  const own = forged()
  const cases: Array<[options: Partial<SessionOptions>, cookie: string, expected: Refusal]> = [
    [{ adopt: 'express-session' }, express(secret), { reason: 'unknown-session' }],
    [{ adopt: 'express-session' }, express(OTHER_SECRET), { reason: 'bad-signature' }],
    [{ adopt: 'express-session' }, fastify(secret, 'connect.sid'), { reason: 'other-library', library: '@fastify/session' }],
    [{ adopt: 'express-session' }, `sid=${forged(newId(), OTHER_SECRET)}`, { reason: 'bad-signature' }],
    [{ adopt: 'express-session' }, fastify(secret), { reason: 'other-name', cookies: ['sessionId'], cookieName: ['sid', 'connect.sid'] }],
    [{ adopt: '@fastify/session' }, fastify(secret), { reason: 'unknown-session' }],
    [{ adopt: '@fastify/session' }, fastify(OTHER_SECRET), { reason: 'bad-signature' }],
    [{ adopt: '@fastify/session' }, express(secret).replace('connect.sid', 'sid'), { reason: 'other-library', library: 'express-session' }],
    [{ expressSession: 'share' }, express(secret), { reason: 'unknown-session' }],
    [{ expressSession: 'share' }, express(OTHER_SECRET), { reason: 'bad-signature' }],
    [{ expressSession: 'share' }, `connect.sid=${own}`, { reason: 'other-library', library: 'fastify-user-sessions' }],
    [{ nearCache: true }, `sid=${own}`, { reason: 'unknown-session' }]
  ]
  const sites = new Map<string, Site>()
  for (const [options, cookie, expected] of cases) {
    const key = JSON.stringify(options)
    const site = sites.get(key) ?? await open(t, { redis: redis.url, keyPrefix: prefix(), ...options })
    sites.set(key, site)
    is(t, await why(site, { cookie }), expected, `${key} ${cookie}`)
  }
  for (const { ada } of sites.values()) t.equal((await ada.get('/me')).body, 'ada')
})

t.test('a guard of pages says it as well, where it redirects', async (t) => {
  const app = await startApp(t)
  app.get('/', { preHandler: app.authenticatePage }, async () => 'ok')
  const visitor = new Visitor(await listen(app))
  for (const [mode, status] of [['navigate', 303], ['cors', 401]] as const) {
    t.equal((await app.inject({ url: '/', headers: { 'sec-fetch-mode': mode } })).statusCode, status)
  }
  t.equal((await visitor.get('/', { cookie: 'sid=x' })).status, 401)
  t.strictSame(app.lines.flatMap(({ reason }) => reason ?? []), ['no-cookie', 'no-cookie', 'malformed'])
})

t.test('where ends are remembered, the log says how a session ended', async (t) => {
  const site = await open(t, { endedFor: '1h' })
  const cookie = `sid=${valueOf(site.ada)}`
  await site.app.sessions.revokeUser('ada')
  const line = await why(site, { cookie })
  const endedAt = typeof line === 'object' ? line.endedAt : undefined
  t.ok(Number.isInteger(endedAt))
  is(t, line, { reason: 'ended', ended: 'revoked', endedAt: Number(endedAt) })
  is(t, await why(site, { cookie: `sid=${forged()}` }), { reason: 'unknown-session' })
})

t.test('sessionRoutes say it as guards do', async (t) => {
  const app = await startApp(t)
  await app.register(sessionRoutes, { prefix: '/sessions' })
  const visitor = new Visitor(await listen(app))
  t.equal((await visitor.get('/sessions')).status, 401)
  t.equal((await visitor.request('DELETE', '/sessions')).status, 401)
  t.strictSame(app.lines.flatMap(({ reason }) => reason ?? []), ['no-cookie', 'no-cookie'])
})

t.test('[16.2.5] no reason is looked for, and none is said, where the log does not show debug', async (t) => {
  const store = new SpyStore()
  const said: string[] = []
  let isShown: boolean | undefined = false
  const log: Record<string, unknown> = { level: 'info' }
  for (const level of ['fatal', 'error', 'warn', 'info', 'debug', 'trace']) log[level] = (line?: { reason?: string }) => { said.push(`${level} ${line?.reason}`) }
  log.child = () => log
  log.isLevelEnabled = function (level: string) {
    t.equal(this, log)
    return level !== 'debug' || isShown
  }
  const app = await startApp(t, { store }, { loggerInstance: log as unknown as FastifyBaseLogger, logger: undefined } as never)
  app.get('/me', { preHandler: authenticate }, async () => 'ok')
  const visitor = new Visitor(await listen(app))
  const headers = { cookie: `sid=${forged()}` }
  const calls = async (): Promise<unknown[]> => {
    store.calls.length = said.length = 0
    t.equal((await visitor.get('/me', headers)).status, 401)
    return [store.calls.length, ...said.filter((line) => line.startsWith('debug'))]
  }
  t.strictSame(await calls(), [1])
  isShown = true
  t.strictSame(await calls(), [1, 'debug unknown-session'], 'and it costs no command where it does')
  isShown = undefined
  delete log.isLevelEnabled
  t.strictSame(await calls(), [1, 'debug unknown-session'], 'a logger that cannot say what it shows decides by itself')
})

t.test('a reply says nothing of the reason, and without a log the guard refuses as well', async (t) => {
  const app = await startApp(t, { store: new MemoryStore() }, { logger: false })
  app.get('/me', { preHandler: authenticate }, async () => 'ok')
  const visitor = new Visitor(await listen(app))
  const { status, body } = await visitor.get('/me', { cookie: 'sid=x' })
  t.equal(status, 401)
  t.strictSame(JSON.parse(body), { statusCode: 401, code: 'ERR_SESSION_UNAUTHENTICATED', error: 'Unauthorized', message: 'Authentication required' })
})

t.test('a session that its request may not use, for want of the device, is named as such', async (t) => {
  let aged = 0
  const store = new MemoryStore({ now: () => Date.now() + aged })
  const app = await startApp(t, { store, cookie: { secure: true }, deviceBound: true }, { trustProxy: '127.0.0.1' })
  app.post('/login', async (request) => await app.login(request, { id: 'ada' }))
  app.get('/me', { preHandler: authenticate }, async () => 'ok')
  app.get('/money', { preHandler: app.requireDeviceBound }, async () => 'ok')
  const browser = new BoundBrowser(app)
  await browser.post('/login')
  app.lines.splice(0)
  await browser.get('/money')
  await browser.register()
  await browser.get('/me')
  aged = 60_000
  browser.loseShortCookie()
  await browser.get('/me')
  const reasons = app.lines.flatMap(({ reason }) => reason as keyof typeof REFUSALS ?? [])
  t.strictSame(reasons, ['not-bound', 'device-mismatch'])
  for (const reason of reasons) seen.add(reason)
})

t.test('every reason was seen', async (t) => {
  t.strictSame(Object.keys(REFUSALS).filter((reason) => !seen.has(reason)), [])
})
