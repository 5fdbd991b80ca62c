import { inspect } from 'node:util'
import Fastify from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, sessionPlugin } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import type { TestResponse } from '../helpers/app.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import type { TestRedis } from '../helpers/redis.ts'
import { keysOf } from '../helpers/redis-store.ts'

withRealLimits(t)

const ADA = { username: 'ada', password: 'lovelace' }
const UNAVAILABLE = { statusCode: 503, code: 'ERR_SESSION_STORE_UNAVAILABLE', error: 'Service Unavailable', message: 'The session store is unavailable' }
/** What no reply may say: the driver's words, and where Redis is. */
const DRIVER = /redis|econn|wrongtype|oom|stream isn|enableofflinequeue|timed? ?out|127\.0\.0\.1|socket|evalsha|command|reply/i
const DOWN = 'the session store does not answer'
const UP = 'the session store answers again'

/** An application like any other: public pages, pages for who is signed in, and pages that keep something in the session. */
async function startService (t: Test, redis: Pick<TestRedis, 'url'>, options: Partial<SessionOptions> = {}) {
  const keyPrefix = prefix()
  const app = await startApp(t, { redis: redis.url, keyPrefix, ...options })
  // A login that cannot be counted goes no further: here the session itself is to be in trouble.
  await app.register(authRoutes, { verify: ({ username, password }) => password === 'lovelace' ? { id: username } : null, attempts: false })
  app.get('/public', async () => 'welcome')
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth().userId)
  app.get('/read', async (request) => ({ cart: request.session.cart ?? null }))
  app.post('/write', async (request) => { request.session.cart = ['book'] })
  app.get('/skipping', { config: { session: false } }, async () => 'welcome')
  /** The plugin's own lines, not Fastify's of each request. */
  const said = () => app.lines.filter(({ reqId, level }) => reqId === undefined && level >= 30).map(({ msg }) => msg)
  return { app, keyPrefix, said, ada: new Browser(app) }
}

function isUnavailable (t: Test, response: TestResponse, message = 'the store is unavailable'): void {
  t.strictSame(response.json(), UNAVAILABLE, message)
  t.equal(response.statusCode, 503)
  t.equal(response.headers['retry-after'], '1')
  t.notMatch(response.body, DRIVER)
}

/** How long it takes, in milliseconds. */
async function timed<T> (task: () => Promise<T>): Promise<[T, number]> {
  const startedAt = performance.now()
  const result = await task()
  return [result, performance.now() - startedAt]
}

t.test('an application starts without Redis, serves what needs no session, and all of it once Redis is there', async (t) => {
  const redis = await startRedis(t)
  const first = await startService(t, redis)
  await first.ada.post('/login', ADA)
  await redis.stop()
  const [{ app, said }, took] = await timed(() => startService(t, redis))
  t.ok(took < 3000, `started after ${took} ms`)
  t.strictSame(said(), ['Redis does not answer: sessions cannot be read until it does'])

  const nobody = new Browser(app)
  t.equal((await nobody.get('/public')).statusCode, 200)
  t.equal((await nobody.get('/me')).statusCode, 401, 'who brings no cookie is nobody, Redis or not')
  t.strictSame((await nobody.get('/read')).json(), { cart: null })
  t.strictSame((await nobody.get('/info')).json(), { authenticated: false })
  t.equal((await nobody.post('/logout')).statusCode, 204)
  isUnavailable(t, await nobody.post('/login', ADA), 'nobody can sign in')
  isUnavailable(t, await nobody.post('/write'))
  t.equal(nobody.cookies.size, 0)

  const holder = new Browser(app)
  holder.cookies.set('sid', first.ada.cookies.get('sid') as string)
  t.equal((await holder.get('/public')).statusCode, 200, 'a cookie is no reason to fail')
  t.equal((await holder.get('/skipping')).statusCode, 200)
  for (const url of ['/me', '/read', '/info']) isUnavailable(t, await holder.get(url), url)
  t.equal(holder.cookies.size, 1)

  await redis.restart()
  const ada = new Browser(app)
  await until('service', async () => (await ada.post('/login', ADA)).statusCode === 200)
  t.equal((await ada.get('/me')).body, 'ada')
  t.strictSame(said().slice(1), [UP], 'that it is down was said at boot')
})

t.test('an application starts beside a frozen Redis, and uses it once that answers', async (t) => {
  const redis = await startRedis(t)
  redis.pause()
  const startedAt = performance.now()
  const app = await startApp(t, { redis: redis.url, keyPrefix: prefix() })
  t.ok(performance.now() - startedAt < 10_000, 'it does not wait for it')
  t.ok(app.lines.some(({ msg }) => msg.startsWith('Redis does not answer')))
  app.post('/login', async (request) => await app.login(request, { id: 'ada' }))
  app.get('/me', async (request) => request.requireAuth().userId)
  const ada = new Browser(app)
  t.equal((await ada.post('/login')).statusCode, 503)
  redis.resume()
  await until('the login', async () => (await ada.post('/login')).statusCode === 200)
  t.equal((await ada.get('/me')).body, 'ada')
})

t.test('Redis killed while it is asked', async (t) => {
  const redis = await startRedis(t)
  const { app, ada, said } = await startService(t, redis)
  await ada.post('/login', ADA)
  redis.pause()
  const asked = Array.from({ length: 20 }, (_, index) => ada.get(index % 2 === 0 ? '/me' : '/read'))
  const logins = Array.from({ length: 5 }, () => new Browser(app).post('/login', ADA))
  await redis.stop()
  for (const response of await Promise.all(asked)) isUnavailable(t, response)
  for (const response of await Promise.all(logins)) {
    isUnavailable(t, response)
    t.strictSame(response.setCookies, [])
  }
  t.equal((await ada.get('/public')).statusCode, 200)
  t.equal(ada.cookies.size, 1, 'nobody\'s cookie is taken')
  for (let request = 0; request < 20; request++) isUnavailable(t, await ada.get('/me'))
  await redis.restart()
  await until('service', async () => (await ada.get('/me')).statusCode !== 503)
  t.equal((await ada.get('/me')).statusCode, 401, 'this Redis is another and empty')
  await ada.post('/login', ADA)
  t.equal((await ada.get('/me')).body, 'ada')
  t.strictSame(said(), [DOWN, UP], 'one line each time it changes')
})

t.test('Redis frozen: one request waits a little, the next not at all, and nobody is signed out', async (t) => {
  const redis = await startRedis(t)
  const { ada, said } = await startService(t, redis)
  await ada.post('/login', ADA)
  const cookie = ada.header
  redis.pause()
  const [first, waited] = await timed(() => ada.get('/me'))
  isUnavailable(t, first)
  for (let request = 0; request < 10; request++) {
    const [next, took] = await timed(() => ada.get(request % 2 === 0 ? '/me' : '/info'))
    isUnavailable(t, next)
    t.ok(took < waited, `the next after ${took} ms, the first after ${waited} ms`)
  }
  const [open, took] = await timed(() => ada.get('/public'))
  t.equal(open.statusCode, 200)
  t.ok(took < waited)
  t.strictSame(said(), [DOWN])
  redis.resume()
  await until('service', async () => (await ada.get('/me')).statusCode === 200)
  t.equal(ada.header, cookie, 'with the cookie of before')
  t.strictSame((await ada.get('/me')).body, 'ada')
  t.strictSame(said(), [DOWN, UP])
})

t.test('a page that reads no session is answered in time while Redis is frozen, and what it is not asked never waits', async (t) => {
  const redis = await startRedis(t)
  const { app, ada } = await startService(t, redis)
  await ada.post('/login', ADA)
  redis.pause()
  const [skipped, skippedAfter] = await timed(() => ada.get('/skipping'))
  t.equal(skipped.statusCode, 200)
  t.ok(skippedAfter < 300, `${skippedAfter} ms`)
  const [anonymous, anonymousAfter] = await timed(() => app.inject({ url: '/read' }))
  t.equal(anonymous.statusCode, 200)
  t.ok(anonymousAfter < 300, `${anonymousAfter} ms`)
  const [open, openAfter] = await timed(() => ada.get('/public'))
  t.equal(open.statusCode, 200)
  t.ok(openAfter < 1500, `${openAfter} ms`)
  redis.resume()
})

t.test('a login while Redis is frozen gives no cookie, and leaves no session behind', async (t) => {
  const redis = await startRedis(t)
  const { app, keyPrefix } = await startService(t, redis)
  redis.pause()
  const browsers = Array.from({ length: 5 }, () => new Browser(app))
  const [responses, took] = await timed(() => Promise.all(browsers.map((browser) => browser.post('/login', ADA))))
  t.ok(took < 2000, `${took} ms`)
  for (const response of responses) {
    isUnavailable(t, response)
    t.strictSame(response.setCookies, [])
  }
  redis.resume()
  const ada = new Browser(app)
  await until('service', async () => (await ada.post('/login', ADA)).statusCode === 200)
  const id = (await ada.get('/info')).json().session.id
  // What was sent before the freeze is done after it; nobody holds a token of it.
  await until('the others to be gone', async () => (await keysOf(redis.client, keyPrefix)).filter((key) => key.startsWith(keyPrefix)).join() === `${keyPrefix}${id}`, 15_000)
  t.pass('only the one that was confirmed is there')
})

t.test('a logout during an outage takes the cookie, says that it is not confirmed, and is done when Redis is back', async (t) => {
  const redis = await startRedis(t)
  const { app, ada, keyPrefix } = await startService(t, redis)
  await ada.post('/login', ADA)
  const cookie = ada.header
  const key = `${keyPrefix}${(await ada.get('/info')).json().session.id}`
  t.equal(await redis.client.exists(key), 1)
  redis.pause()
  const logout = await ada.post('/logout')
  isUnavailable(t, logout)
  t.equal(logout.setCookies.length, 1)
  t.equal(ada.cookies.size, 0, 'the cookie is taken back')
  t.equal(logout.headers['cache-control'], 'no-store')
  const again = await app.inject({ url: '/me', headers: { cookie } })
  t.not(again.statusCode, 200, 'this process refuses it at once')
  redis.resume()
  await until('the session, and what lists it, to be gone', async () => (await keysOf(redis.client, keyPrefix)).length === 0)
  await until('service', async () => (await app.inject({ url: '/me', headers: { cookie } })).statusCode !== 503)
  t.equal((await app.inject({ url: '/me', headers: { cookie } })).statusCode, 401)
})

t.test('a session that was logged out while Redis was away for a moment is not back with it', async (t) => {
  const redis = await startRedis(t, { args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
  const { app, ada, keyPrefix } = await startService(t, redis)
  const bob = new Browser(app)
  await bob.post('/login', { ...ADA, username: 'bob' })
  await ada.post('/login', ADA)
  const cookie = ada.header
  const key = `${keyPrefix}${(await ada.get('/info')).json().session.id}`
  await redis.stop()
  isUnavailable(t, await ada.post('/logout'))
  await redis.restart()
  await until('the session to be gone', async () => await redis.client.exists(key) === 0)
  await until('service', async () => (await bob.get('/me')).statusCode === 200)
  t.equal((await bob.get('/me')).body, 'bob', 'who did not sign out is signed in')
  t.not((await app.inject({ url: '/me', headers: { cookie } })).statusCode, 200)
})

t.test('an outage signs nobody out', async (t) => {
  const redis = await startRedis(t)
  const { app } = await startService(t, redis)
  const people = ['ada', 'bob', 'mallory'].map((username) => ({ username, browser: new Browser(app) }))
  for (const { username, browser } of people) await browser.post('/login', { ...ADA, username })
  for (let outage = 0; outage < 3; outage++) {
    redis.pause()
    for (const { browser } of people) {
      for (const url of ['/me', '/info', '/read', '/public']) t.strictSame((await browser.get(url)).setCookies, [])
      t.strictSame((await browser.post('/write')).setCookies, [])
    }
    redis.resume()
    for (const { username, browser } of people) {
      await until('service', async () => (await browser.get('/me')).statusCode === 200)
      t.equal((await browser.get('/me')).body, username)
    }
  }
})

t.test('one who signs in again during an outage stays who they were', async (t) => {
  const redis = await startRedis(t)
  const { ada } = await startService(t, redis)
  await ada.post('/login', ADA)
  redis.pause()
  const response = await ada.post('/login', { ...ADA, username: 'bob' })
  isUnavailable(t, response)
  t.strictSame(response.setCookies, [])
  redis.resume()
  await until('service', async () => (await ada.get('/me')).statusCode === 200)
  t.equal((await ada.get('/me')).body, 'ada')
})

t.test('what is no session under a session\'s key is nobody, said once, and never a 500', async (t) => {
  const redis = await startRedis(t)
  const { app, keyPrefix, said } = await startService(t, redis)
  const foreign: Array<[name: string, write: (key: string) => Promise<unknown>]> = [
    ...['', ' ', '5', 'null', '"abc"', '[1]', '{}', '{"cookie":{},"userId":"ada"}', '{"s":', '\n', '\n{}', '{}\n{}', '{"s":1}\n5', '\u0000\u0001\u0002', 'x'.repeat(100_000), '{"s":1234567890123,"h":5,"c":1,"e":9e15,"i":9e9,"u":"ada"}\n{}', '{"s":1234567890123,"h":"x","c":1,"e":9e15,"i":9e15,"u":{"id":"ada"}}\n{}', '{"__proto__":{"u":"ada"}}\n{}'
    ].map((value): [string, (key: string) => Promise<unknown>] => [JSON.stringify(value).slice(0, 60), (key) => redis.client.set(key, value)]),
    ['a list', (key) => redis.client.lpush(key, 'x')],
    ['a hash', (key) => redis.client.hset(key, 'userId', 'ada')],
    ['a set', (key) => redis.client.sadd(key, 'x')],
    ['a sorted set', (key) => redis.client.zadd(key, 1, 'x')],
    ['a stream', (key) => redis.client.xadd(key, '*', 'x', 'y')],
    ['no text', (key) => redis.client.set(key, Buffer.from([0xff, 0xfe, 0x0a, 0xff]))]
  ]
  for (const [name, write] of foreign) {
    const ada = new Browser(app)
    const { id } = (await ada.post('/login', ADA)).json().session
    await redis.client.del(`${keyPrefix}${id}`)
    await write(`${keyPrefix}${id}`)
    const before = app.lines.length
    const expected: Array<[url: string, status: number]> = [['/me', 401], ['/info', 200], ['/read', 200], ['/public', 200]]
    for (const [url, status] of expected) {
      const response = await ada.get(url)
      t.equal(response.statusCode, status, `${url}: ${name}`)
      t.notMatch(response.body, DRIVER)
      // What is of another type is told of after the answer.
      await until('the line', () => app.lines.slice(before).some(({ level }) => level >= 40))
      const lines = app.lines.splice(before).filter(({ level }) => level >= 40)
      t.match(lines, [{ level: 40, sessionId: id, msg: 'what is stored for a session cannot be read; treated as no session' }], name)
      t.equal(lines.length, 1)
    }
    t.strictSame((await ada.get('/info')).json(), { authenticated: false })
    t.equal((await ada.post('/write')).statusCode, 200, `a new session begins beside: ${name}`)
    t.strictSame((await ada.get('/read')).json(), { cart: ['book'] })
    t.not((await ada.post('/login', ADA)).json().session.id, id)
    t.equal((await ada.get('/me')).body, 'ada')

    const holder = new Browser(app)
    holder.cookies.set('sid', ada.cookies.get('sid') as string)
    const { id: next } = (await holder.get('/info')).json().session
    await redis.client.del(`${keyPrefix}${next}`)
    await write(`${keyPrefix}${next}`)
    t.equal((await holder.post('/logout')).statusCode, 204, `and can be signed out of: ${name}`)
    t.equal(holder.cookies.size, 0)
    app.lines.length = 0
  }
  t.strictSame(said(), [])
})

t.test('a full Redis signs nobody in and nobody out', async (t) => {
  const redis = await startRedis(t)
  const { app, ada } = await startService(t, redis)
  await ada.post('/login', ADA)
  await redis.client.config('SET', 'maxmemory-policy', 'noeviction', 'maxmemory', '1')
  const full = await new Browser(app).post('/login', ADA)
  t.strictSame(full.json(), { ...UNAVAILABLE, code: 'ERR_SESSION_STORE_FULL', message: 'The session store is full' })
  t.equal(full.headers['retry-after'], '1')
  t.strictSame(full.setCookies, [])
  t.equal((await ada.get('/me')).body, 'ada')
  const again = await ada.post('/login', { ...ADA, username: 'bob' })
  t.equal(again.statusCode, 503)
  t.equal((await ada.get('/me')).body, 'ada')
  t.equal((await ada.post('/logout')).statusCode, 204, 'signing out needs no room')
  t.equal((await ada.get('/me')).statusCode, 401)
  for (const { body } of [full, again]) t.notMatch(body, /maxmemory|OOM/)
})

t.test('a wrong password for Redis is a boot error that tells nobody the password', async (t) => {
  const redis = await startRedis(t)
  await redis.client.config('SET', 'requirepass', 'the-right-one')
  for (const url of [`redis://:LEAKED@127.0.0.1:${redis.port}`, `redis://bob:LEAKED@127.0.0.1:${redis.port}`, redis.url]) {
    const app = Fastify()
    const error = await app.register(sessionPlugin, { secret, redis: url }).then(() => null, (error: unknown) => error as Error & { code: string })
    t.equal(error?.code, 'ERR_SESSION_INVALID_OPTIONS')
    t.match(error?.message, /^Invalid session options: redis: the server refused the user name, the password[a-z, ]*$/)
    t.notMatch(inspect(error, { depth: 9, showHidden: true }), 'LEAKED', 'also not in what a terminal shows of it')
    t.notMatch(error?.stack, 'LEAKED')
    await app.close()
  }
  const { ada } = await startService(t, { url: `redis://:the-right-one@127.0.0.1:${redis.port}` })
  t.equal((await ada.post('/login', ADA)).statusCode, 200)
})

t.test('neither the password of Redis nor what proves a session is in any log line of an outage', async (t) => {
  const redis = await startRedis(t)
  await redis.client.config('SET', 'requirepass', 'THE-PASSWORD')
  const { app, ada, keyPrefix } = await startService(t, { url: `redis://:THE-PASSWORD@127.0.0.1:${redis.port}` })
  await ada.post('/login', ADA)
  const { id } = (await ada.get('/info')).json().session
  const [, secretHash] = /"h":"([^"]+)"/.exec(await redis.client.get(`${keyPrefix}${id}`) as string) as unknown as [string, string]
  const tokenSecret = (ada.cookies.get('sid') as string).split('.')[1] as string
  await redis.client.config('SET', 'requirepass', 'ANOTHER')
  await redis.client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await until('a refusal', async () => (await redis.client.call('ACL', 'LOG') as unknown[]).length > 0)
  t.equal((await ada.get('/me')).statusCode, 503)
  await redis.client.config('SET', 'requirepass', 'THE-PASSWORD')
  await until('service', async () => (await ada.get('/me')).statusCode === 200)
  redis.pause()
  await Promise.all([ada.post('/write'), ada.get('/me'), ada.post('/login', ADA), new Browser(app).post('/login', ADA), new Browser(app).post('/write')])
  await redis.stop()
  await until('the outage', async () => (await ada.post('/write')).statusCode === 503)
  const log = JSON.stringify(app.lines)
  t.match(log, DOWN)
  for (const [name, text] of Object.entries({ password: 'THE-PASSWORD', secretHash, tokenSecret })) t.notOk(log.includes(text), name)
})

t.test('an application closes while Redis is frozen or gone', async (t) => {
  const redis = await startRedis(t)
  const frozen = await startService(t, redis)
  const gone = await startService(t, redis)
  await frozen.ada.post('/login', ADA)
  await gone.ada.post('/login', ADA)
  redis.pause()
  await frozen.ada.post('/logout')
  const [, frozenAfter] = await timed(() => frozen.app.close())
  t.ok(frozenAfter < 2000, `${frozenAfter} ms`)
  await redis.stop()
  await gone.ada.post('/logout')
  const [, goneAfter] = await timed(() => gone.app.close())
  t.ok(goneAfter < 2000, `${goneAfter} ms`)
  await gone.app.close()
})
