import { createHash } from 'node:crypto'
import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { RedisStore } from '../../lib/express/redis-store.ts'
import { ExpressRecords } from '../../lib/express/shared-records.ts'
import type { AuthRoutesOptions, SessionInfo, SessionOptions, SessionRecord } from '../../lib/index.ts'
import { signExpressCookie, unsignExpressCookie } from '../../lib/express/tokens.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import { Gate, Jar, startExpress, startShop } from '../helpers/express-app.ts'
import type { ExpressApp, ExpressOptions, Shop } from '../helpers/express-app.ts'
import { prefix, startCluster, startRedis, until } from '../helpers/redis.ts'
import { commandsDuring, contentsOf } from '../helpers/redis-commands.ts'
import { keysOf, openStore } from '../helpers/redis-store.ts'

const redis = await startRedis(t)

interface Subject { keyPrefix: string, express: ExpressApp, shop: Shop }

/** An Express app and a Fastify app that share sessions. */
async function open (t: Test, options: Parameters<typeof startShop>[1] = {}, express: Partial<ExpressOptions> = {}): Promise<Subject> {
  const keyPrefix = prefix()
  return {
    keyPrefix,
    express: await startExpress(t, { client: redis.client, keyPrefix, ...express }),
    shop: await startShop(t, { redis: redis.url, keyPrefix, expressSession: 'share', ...options })
  }
}

/** The one session id in a jar. */
function sidOf (jar: Jar): string {
  return unsignExpressCookie(jar.cookies.get('connect.sid') ?? '', [secret])?.sid ?? ''
}

/** What Express and we store. */
async function stored ({ keyPrefix }: Subject, jar: Jar): Promise<any> {
  return JSON.parse(await redis.client.get(keyPrefix + sidOf(jar)) ?? 'null')
}

const signIns: Array<[where: string, signIn: (subject: Subject, jar: Jar) => Promise<{ status: number }>]> = [
  ['in Express under a new id', ({ express }, jar) => jar.post(express, '/login/ada')],
  ['in Express by assignment', ({ express }, jar) => jar.post(express, '/assign/ada')],
  ['here by login', ({ shop }, jar) => jar.post(shop, '/in/ada')],
  ['here by assignment', ({ shop }, jar) => jar.post(shop, '/assign/ada')],
  ['here by the routes', ({ shop }, jar) => jar.post(shop, '/auth/login', { username: 'ada', password: 'x' })]
]

const signOuts: Array<[where: string, signOut: (subject: Subject, jar: Jar) => Promise<unknown>, keeps?: boolean]> = [
  ['in Express by destroy', ({ express }, jar) => jar.post(express, '/out')],
  ['in Express by deleting the user', ({ express }, jar) => jar.post(express, '/forget'), true],
  ['here by logout', ({ shop }, jar) => jar.post(shop, '/out')],
  ['here by destroy', ({ shop }, jar) => jar.post(shop, '/destroy')],
  ['here by the route', ({ shop }, jar) => jar.post(shop, '/auth/logout')],
  ['here by deleting the user', ({ shop }, jar) => jar.post(shop, '/delete/userId')],
  ['here by revoke', async ({ shop }, jar) => await shop.sessions.revoke((await jar.get(shop, '/me')).body.id)],
  ['here by revokeUser', async ({ shop }, jar) => {
    await jar.get(shop, '/me')
    await shop.sessions.revokeUser('ada')
  }],
  ['from another device', async ({ shop }, jar) => {
    await jar.get(shop, '/me')
    const phone = new Jar()
    await phone.post(shop, '/in/ada')
    await phone.request(shop, 'DELETE', '/auth/sessions')
  }]
]

for (const [where, signIn] of signIns) {
  t.test(`whoever signs in ${where} is signed in to both, and signed out of both however they leave`, async (t) => {
    const subject = await open(t)
    const { express, shop } = subject
    for (const [how, signOut, keeps = false] of signOuts) {
      const jar = new Jar()
      t.equal((await signIn(subject, jar)).status, 200)
      t.strictSame([...jar.cookies.keys()], ['connect.sid'])
      t.equal(await jar.user(shop), 'ada', `known here, ${how}`)
      t.equal((await jar.get(express, '/data')).body.userId, 'ada')
      const before = jar.copy()
      await signOut(subject, jar)
      for (const each of [jar, before]) {
        t.equal(await each.user(shop), null, `unknown here, signed out ${how}`)
        t.notOk('userId' in (await each.get(express, '/data')).body, `unknown in Express, signed out ${how}`)
      }
      if (!keeps) t.equal(await redis.client.exists(subject.keyPrefix + sidOf(before)), 0)
      t.same((await shop.sessions.listByUser('ada')).map(({ userAgent }) => userAgent), how === 'from another device' ? ['node'] : [])
      await shop.sessions.revokeUser('ada')
    }
    t.strictSame(express.failures, [])
  })
}

for (const session of [{ resave: true }, { rolling: true, cookie: { maxAge: 600_000 } }, { saveUninitialized: true }, { resave: true, rolling: true, saveUninitialized: true }]) {
  t.test(`what either writes the other reads, with Express' ${JSON.stringify(session)}`, async (t) => {
    const subject = await open(t, {}, { session })
    const { express, shop } = subject
    const jar = new Jar()
    await jar.get(express, '/data')
    await jar.post(express, '/login/ada')
    await jar.post(express, '/put/cart', { apples: 1 })
    t.same((await jar.get(shop, '/data')).body, { userId: 'ada', cart: { apples: 1 } })
    await jar.post(shop, '/put/theme', 'dark')
    await jar.post(shop, '/delete/cart')
    t.same((await jar.get(express, '/data')).body, { userId: 'ada', theme: 'dark' })
    await jar.post(express, '/put/seen', 1)
    t.same((await jar.get(shop, '/data')).body, { userId: 'ada', theme: 'dark', seen: 1 })
    t.equal(await jar.user(shop), 'ada')
    t.strictSame(express.failures, [])
    t.strictSame(shop.lines.filter(({ level }) => level >= 40), [])
  })
}

t.test('what Express made larger than ours may be is read here, and may shrink but not grow', async (t) => {
  const subject = await open(t)
  const { express, shop } = subject
  const jar = new Jar()
  await jar.post(express, '/login/ada')
  await jar.post(express, '/put/cart', ['x'.repeat(90_000)])
  for (let visit = 0; visit < 3; visit++) t.equal((await jar.get(shop, '/data')).body.cart[0].length, 90_000)
  t.match(await jar.post(shop, '/put/wishes', 1), { status: 413, body: { code: 'ERR_SESSION_DATA_TOO_LARGE' } })
  t.equal((await stored(subject, jar)).cart[0].length, 90_000)
  t.equal((await jar.post(shop, '/put/cart', ['book'])).status, 200)
  t.strictSame((await stored(subject, jar)).cart, ['book'])
  for (let visit = 0; visit < 3; visit++) t.strictSame((await jar.get(shop, '/data')).body, { userId: 'ada', cart: ['book'] })
})

t.test('nobody is signed in by a session that Express began for everybody', async (t) => {
  const subject = await open(t, {}, { session: { saveUninitialized: true } })
  const { express, shop, keyPrefix } = subject
  const jar = new Jar()
  await jar.get(express, '/data')
  const before = await redis.client.get(keyPrefix + sidOf(jar))
  t.equal(await jar.user(shop), null)
  t.same((await jar.get(shop, '/data')).body, {})
  t.equal(await redis.client.get(keyPrefix + sidOf(jar)), before, 'reading writes nothing')
  await jar.post(shop, '/put/cart', 1)
  t.same((await jar.get(express, '/data')).body, { cart: 1 })
  const planted = sidOf(jar)
  await jar.post(shop, '/in/ada')
  t.not(sidOf(jar), planted, 'a sign-in here is under a new id')
  t.equal(await redis.client.exists(keyPrefix + planted), 0)
  t.equal((await jar.get(express, '/data')).body.userId, 'ada')
})

t.test('a reader here changes nothing of what Express keeps, whatever it is called', async (t) => {
  const subject = await open(t)
  const { express, shop } = subject
  const jar = new Jar()
  await jar.post(express, '/login/ada')
  const odd = ['options', 'get', 'set', 'toJSON', 'constructor', 'sessionId', '__proto__', 'isSaved']
  const deep = JSON.parse('['.repeat(150) + ']'.repeat(150))
  const value = await stored(subject, jar)
  await redis.client.set(subject.keyPrefix + sidOf(jar), JSON.stringify({ ...value, ...JSON.parse(`{${odd.map((name) => `"${name}":{"admin":true}`).join(',')}}`), deep, fine: 1 }), 'KEEPTTL')
  t.same((await jar.get(shop, '/data')).body, { userId: 'ada', fine: 1 })
  for (const step of [() => jar.get(shop, '/data'), () => jar.post(shop, '/put/cart', 1)]) {
    await step()
    const kept = await stored(subject, jar)
    for (const name of odd) t.same(Object.getOwnPropertyDescriptor(kept, name)?.value, { admin: true }, name)
    t.same(kept.deep, deep)
    t.equal(kept.userId, 'ada')
  }
  t.equal((await stored(subject, jar)).cart, 1)
})

t.test('nothing an application puts into request.session passes for what this package knows of a session', async (t) => {
  const subject = await open(t)
  const { express, shop } = subject
  const jar = new Jar()
  await jar.post(express, '/login/ada')
  await jar.get(shop, '/me')
  const forged = { ...(await stored(subject, jar))._session, a: Date.now(), e: Date.now() + 1e12 }
  t.match(await jar.post(shop, '/put/_session', forged), { status: 500, body: { code: 'ERR_SESSION_RESERVED_KEY' } })
  const [{ id = '' } = {}] = await shop.sessions.listByUser('ada')
  await t.rejects(shop.sessions.update(id, (data) => ({ ...data, _session: forged })), { code: 'ERR_SESSION_RESERVED_KEY' })
  t.equal((await jar.get(shop, '/recent')).status, 401)
})

t.test('a session that Express copies another one\'s members to is a session of its own', async (t) => {
  const { express, shop } = await open(t)
  const jar = new Jar()
  await jar.post(shop, '/in/ada')
  t.equal((await jar.get(shop, '/recent')).status, 200)
  await jar.post(express, '/keep/ada')
  t.equal(await jar.user(shop), 'ada')
  t.equal((await jar.get(shop, '/recent')).status, 401, 'Express signed them in: nobody knows how')
  t.equal((await shop.sessions.listByUser('ada')).length, 1)
  t.equal(await shop.sessions.revokeUser('ada'), 1)
  t.equal(await jar.user(shop), null)
})

t.test('a session that becomes another\'s under its old id is theirs alone', async (t) => {
  const { express, shop, keyPrefix } = await open(t, { maxSessionsPerUser: 1 })
  const jar = new Jar()
  await jar.post(shop, '/in/ada')
  await jar.post(express, '/assign/bob')
  t.equal(await shop.sessions.revokeUser('ada'), 0)
  t.equal(await jar.user(shop), 'bob', 'revokeUser of who it was before does not end it')
  t.strictSame(await shop.sessions.listByUser('ada'), [])
  t.equal(await redis.client.exists(`@${keyPrefix}user:ada`), 0, 'and is off their list')
  t.equal((await shop.sessions.listByUser('bob')).length, 1)
  t.equal((await jar.get(shop, '/recent')).status, 401, 'what ada proved is not what bob proved')

  await jar.post(express, '/assign/ada')
  t.equal(await jar.user(shop), 'ada')
  await jar.post(express, '/assign/bob')
  await new Jar().post(shop, '/in/ada')
  t.equal(await jar.user(shop), 'bob', 'nor does ada\'s limit')
  t.equal(await shop.sessions.revokeUser('bob'), 1)
  t.equal(await jar.user(shop), null)
})

t.test('a list that holds what Express has made another\'s hands it over when it is looked at, or when its limit is reached', async (t) => {
  const looks: Array<(shop: Shop) => Promise<unknown>> = [
    (shop) => shop.sessions.listByUser('ada'),
    (shop) => shop.sessions.revokeUser('ada'),
    (shop) => new Jar().post(shop, '/in/ada')
  ]
  for (const [index, look] of looks.entries()) {
    const { express, shop, keyPrefix } = await open(t, { maxSessionsPerUser: 1 })
    const jar = new Jar()
    await jar.post(shop, '/in/ada')
    await jar.post(express, '/assign/bob')
    await look(shop)
    t.equal(await redis.client.zcard(`@${keyPrefix}user:ada`), index === 2 ? 1 : 0)
    t.equal((await shop.sessions.listByUser('bob')).length, 1)
    t.equal(await shop.sessions.revokeUser('bob'), 1)
    t.equal(await jar.user(shop), null)
  }
})

t.test('who was signed out and in again by Express under one id is listed', async (t) => {
  const { express, shop } = await open(t)
  const jar = new Jar()
  await jar.post(shop, '/in/ada')
  await jar.post(express, '/forget')
  t.equal(await jar.user(shop), null)
  t.strictSame(await shop.sessions.listByUser('ada'), [])
  await jar.post(express, '/assign/ada')
  t.equal(await jar.user(shop), 'ada')
  t.equal((await jar.get(shop, '/recent')).status, 401)
  t.equal((await shop.sessions.listByUser('ada')).length, 1)
})

t.test('while Express changes users under one id, every answer here is about one of them, and the lists end right', async (t) => {
  const { express, shop } = await open(t)
  const jar = new Jar()
  await jar.post(shop, '/in/ada')
  for (let round = 0; round < 20; round++) {
    const users = round % 2 === 0 ? ['bob', 'ada'] : ['ada', 'bob']
    const answers = await Promise.all([
      ...Array.from({ length: 5 }, (_, each) => each === 2 ? jar.copy().post(express, `/assign/${users[0]}`).then(() => ({ status: 200, body: null })) : jar.copy().get(shop, '/me')),
      jar.copy().post(shop, `/put/key${round}`, round)
    ])
    for (const { status, body } of answers) t.ok(status === 200 && (body === null || body === 'ok' || users.includes(body.userId)), JSON.stringify(body))
    await jar.post(express, `/assign/${users[0]}`)
    t.equal(await jar.user(shop), users[0])
    t.equal((await shop.sessions.listByUser(users[0] as string)).length, 1)
    t.equal((await shop.sessions.listByUser(users[1] as string)).length, 0)
    t.equal(await shop.sessions.revokeUser(users[1] as string), 0)
  }
  t.equal((await jar.get(shop, '/recent')).status, 401)
})

t.test('a change here beside a slow request of Express is not undone there unless Express saves, and then nothing of Express\' is lost', async (t) => {
  const { express, shop } = await open(t)
  const jar = new Jar()
  await jar.post(express, '/login/ada')
  await jar.get(shop, '/me')
  const gate = new Gate()
  express.gates.set('slow', gate)
  const slow = jar.copy().post(express, '/slow/slow', 1)
  await gate.reached
  await jar.copy().post(express, '/put/quick', 1)
  await jar.post(shop, '/put/cart', 1)
  t.same((await jar.get(shop, '/data')).body, { userId: 'ada', quick: 1, cart: 1 }, 'ours keeps what Express wrote since')
  gate.open()
  t.equal((await slow).status, 200)
  // connect-redis writes the whole session as it was when the request began: that is Express' own promise to keep.
  t.same((await jar.get(shop, '/data')).body, { userId: 'ada', slow: 1 })
  t.equal(await jar.user(shop), 'ada')
  t.equal((await shop.sessions.listByUser('ada')).length, 1)
})

t.test('a request here that was slow does not bring back what Express ended', async (t) => {
  const subject = await open(t)
  const { express, shop, keyPrefix } = subject
  const jar = new Jar()
  await jar.post(express, '/login/ada')
  await jar.get(shop, '/me')
  for (const path of ['/me', '/put/cart', '/assign/ada']) {
    const gone = jar.copy()
    const answers = await Promise.all([gone.request(shop, path === '/me' ? 'GET' : 'POST', path, path === '/me' ? undefined : 1), jar.post(express, '/out'), ...Array.from({ length: 5 }, () => jar.copy().post(shop, '/put/cart', 1))])
    t.strictSame(answers.filter(({ status }) => status >= 500), [])
    t.equal(await redis.client.exists(keyPrefix + sidOf(jar)), 0)
    await jar.post(express, '/login/ada')
  }
})

t.test('with our RedisStore in the Express app too, its slow requests undo nothing', async (t) => {
  const keyPrefix = prefix()
  const store = new RedisStore({ client: redis.client, prefix: keyPrefix })
  t.teardown(() => store.close())
  const express = await startExpress(t, { keyPrefix, store: store as never })
  const shop = await startShop(t, { redis: redis.url, keyPrefix, expressSession: 'share' })
  const hold = async (jar: Jar) => {
    const gate = new Gate()
    express.gates.set('slow', gate)
    const answer = jar.copy().post(express, '/slow/slow', 1)
    await gate.reached
    return async () => {
      gate.open()
      return (await answer).status
    }
  }
  const jar = new Jar()
  await jar.post(express, '/login/ada')
  t.equal(await jar.user(shop), 'ada')
  const saved = await hold(jar)
  await jar.post(shop, '/put/cart', 1)
  t.equal(await saved(), 200)
  t.same((await jar.get(shop, '/data')).body, { userId: 'ada', cart: 1, slow: 1 })
  for (const end of [() => jar.post(shop, '/out'), () => shop.sessions.revokeUser('ada')]) {
    const ended = jar.copy()
    const late = await hold(jar)
    await end()
    t.equal(await late(), 200)
    t.equal(await ended.user(shop), null)
    t.notOk('userId' in (await ended.get(express, '/data')).body)
    await jar.post(shop, '/in/ada')
    t.equal((await jar.get(express, '/data')).body.userId, 'ada')
  }
  await jar.post(express, '/login/bob')
  t.equal(await jar.user(shop), 'bob')
  t.strictSame(express.failures, [])
})

t.test('requests at once of two processes that change different keys all keep their change', async (t) => {
  const { express, shop, keyPrefix } = await open(t)
  const second = await startShop(t, { redis: redis.url, keyPrefix, expressSession: 'share' })
  const jar = new Jar()
  await jar.post(express, '/login/ada')
  const all = Array.from({ length: 100 }, (_, each) => `key${each}`)
  const keys = [...all]
  // As many at once as a page may send; more would be a matter of the time a request has.
  while (keys.length > 0) {
    const answers = await Promise.all(keys.splice(0, 20).map((key, each) => jar.copy().post(each % 2 === 0 ? shop : second, `/put/${key}`, 1)))
    t.strictSame(answers.filter(({ status }) => status !== 200), [])
  }
  t.same((await jar.get(express, '/data')).body, { userId: 'ada', ...Object.fromEntries(all.map((key) => [key, 1])) })
})

t.test('a session that Express began is listed once seen here, and once only', async (t) => {
  const { express, shop } = await open(t)
  const jar = new Jar()
  await jar.post(express, '/login/ada')
  t.strictSame(await shop.sessions.listByUser('ada'), [], 'not before')
  const answers = await Promise.all(Array.from({ length: 10 }, () => jar.copy().get(shop, '/me')))
  t.equal(new Set(answers.map(({ body }) => JSON.stringify({ ...body, lastSeenAt: 0, expiresAt: 0 }))).size, 1)
  t.match(answers[0], { status: 200, body: { userId: 'ada', createdAt: 0, authenticatedAt: 0 } })
  t.equal((await shop.sessions.listByUser('ada')).length, 1)
  await jar.post(express, '/out')
  t.strictSame(await shop.sessions.listByUser('ada'), [])
})

t.test('finding a session that Express began, or changed the user of, writes nothing; using it lists it before the route runs', async (t) => {
  for (const nearCache of [false, true]) {
    const { express, shop, keyPrefix } = await open(t, { nearCache })
    const jar = new Jar()
    const ids: string[] = []
    for (const [user, signIn] of [['ada', '/login/ada'], ['bob', '/assign/bob']] as const) {
      await jar.post(express, signIn)
      const before = await contentsOf(redis.client)
      const request = { headers: { cookie: jar.header } }
      const value = decodeURIComponent(jar.cookies.get('connect.sid') ?? '')
      const commands = await commandsDuring(redis.client, async () => {
        const { id } = await shop.sessions.fromRequest(request) ?? { id: '' }
        ids.push(id)
        for (const found of [await shop.sessions.find(value), await shop.sessions.fromCookieHeader(jar.header, { touch: false }), await shop.sessions.get(id)]) t.equal(found?.userId, user)
        t.same(await shop.sessions.data(id), { userId: user })
      })
      t.strictSame(Object.keys(commands).filter((name) => !['get', 'pttl', 'ping', 'subscribe'].includes(name)), [])
      t.strictSame(await contentsOf(redis.client), before)

      const { body } = await jar.get(shop, '/auth/sessions')
      t.strictSame(body.map(({ id, current }: { id: string, current: boolean }) => [id, current]), [[ids.at(-1), true]], 'the request that uses it first finds it listed')
    }
    t.strictSame(await shop.sessions.listByUser('ada'), [], 'and it is on no other list')
    t.equal(await redis.client.exists(`@${keyPrefix}user:ada`), 0)
    await jar.post(express, '/assign/mallory')
    t.match(await shop.sessions.fromRequest({ headers: { cookie: jar.header } }, { touch: true }), { userId: 'mallory' })
    t.equal((await shop.sessions.listByUser('mallory')).length, 1, 'nor where a use without a route is one')
    t.equal(await redis.client.exists(`@${keyPrefix}user:bob`), 0)
    await shop.close()
  }
})

t.test('whoever ends all of a user\'s sessions in the first request here ends the one that asks as well', async (t) => {
  const { express, shop } = await open(t, { touchAfter: false })
  const jar = new Jar()
  await jar.post(express, '/login/ada')
  const ttl = await redis.client.pttl((await redis.client.keys(`*${sidOf(jar)}`))[0] ?? '')
  t.equal(await jar.user(shop), 'ada')
  t.ok(await redis.client.pttl((await redis.client.keys(`*${sidOf(jar)}`))[0] ?? '') <= ttl, 'being listed extends nothing')
  const other = new Jar()
  await other.post(express, '/login/ada')
  t.equal((await other.post(shop, '/everywhere')).body, '2')
  for (const each of [jar, other]) t.equal(await each.user(shop), null)
})

t.test('sessions of every name an Express app may choose can be listed and ended', async (t) => {
  let next = ''
  const { express, shop } = await open(t, {}, { session: { genid: () => next } })
  for (const sid of ['+/a=b:c', '=x', 'a.b.c', 'ä€', ':', 'sess:' + 'x'.repeat(300)]) {
    next = sid
    const jar = new Jar()
    await jar.post(express, '/login/ada')
    const { body } = await jar.get(shop, '/me')
    t.equal(body.userId, 'ada', sid)
    t.same((await shop.sessions.listByUser('ada')).map(({ id }) => id), [body.id])
    t.equal(await shop.sessions.revokeUser('ada'), 1, sid)
    t.equal(await jar.user(shop), null)
  }
})

t.test('sessions that Express began count against the limit, and those it ended do not', async (t) => {
  for (const onLimit of ['evict-oldest', 'reject'] as const) {
    const { express, shop } = await open(t, { maxSessionsPerUser: 2, onLimit })
    const [first, second, third] = [new Jar(), new Jar(), new Jar()]
    await first.post(express, '/login/ada')
    await first.get(shop, '/me')
    await second.post(shop, '/in/ada')
    await second.post(express, '/out')
    t.equal((await third.post(shop, '/in/ada')).status, 200)
    t.equal(await first.user(shop), 'ada', 'two are two')
    t.equal((await second.post(shop, '/in/ada')).status, onLimit === 'reject' ? 409 : 200)
    t.equal(await first.user(shop), onLimit === 'reject' ? 'ada' : null)
    t.equal((await shop.sessions.listByUser('ada')).length, 2)
  }
})

t.test('the user may be kept elsewhere', async (t) => {
  const byUser = await open(t, { userIdFrom: (data: any) => data.user?.id })
  const jar = new Jar()
  await jar.post(byUser.express, '/user/ada')
  t.equal(await jar.user(byUser.shop), 'ada')
  t.equal((await byUser.shop.sessions.listByUser('ada')).length, 1)
  await jar.post(byUser.shop, '/user/bob')
  t.equal((await jar.get(byUser.express, '/data')).body.user.id, 'bob')
  t.equal((await byUser.shop.sessions.listByUser('bob')).length, 1)

  const byPassport = await open(t, { userIdFrom: (data: any) => data.passport?.user })
  await jar.post(byPassport.express, '/passport/ada')
  t.equal(await jar.user(byPassport.shop), 'ada')
  await jar.post(byPassport.express, '/put/passport', {})
  t.equal(await jar.user(byPassport.shop), null)
})

t.test('a login that Express would not see is refused, and says how to do it', async (t) => {
  const refused = await open(t, { userIdFrom: (data: any) => data.user?.id })
  const jar = new Jar()
  await jar.post(refused.express, '/put/cart', 1)
  for (const [path, body] of [['/in/ada'], ['/auth/login', { username: 'ada', password: 'x' }]] as const) {
    const answer = await jar.post(refused.shop, path, body)
    t.match(answer, { status: 500, body: { code: 'ERR_SESSION_UNSUPPORTED', message: /request\.session\.user = \{ id \}, or data: \{ user: \{ id \} \} for app\.login/ } })
    t.strictSame(answer.setCookies, [])
  }
  t.same((await jar.get(refused.express, '/data')).body, { cart: 1 }, 'nothing has ended')

  type OnLogin = NonNullable<AuthRoutesOptions['onLogin']>
  const assigned: OnLogin = ({ id }, _credentials, request) => {
    request.session.user = { id }
    return { keep: ['user'], label: 'phone' }
  }
  const given: OnLogin = ({ id }) => ({ data: { user: { id } }, label: 'phone' })
  for (const onLogin of [assigned, given]) {
    const right = await open(t, { userIdFrom: (data) => data.user?.id, onLogin })
    t.equal((await jar.post(right.shop, '/auth/login', { username: 'ada', password: 'x' })).status, 200)
    t.same((await jar.get(right.express, '/data')).body, { user: { id: 'ada' } })
    t.match(await jar.get(right.shop, '/me'), { body: { userId: 'ada', label: 'phone' } })
  }
})

t.test('numbers and texts of one user are one user', async (t) => {
  const { express, shop } = await open(t)
  const jar = new Jar()
  await jar.post(express, '/number/42')
  t.equal(await jar.user(shop), '42')
  await jar.post(express, '/assign/42')
  t.equal(await jar.user(shop), '42')
  t.equal((await shop.sessions.listByUser(42)).length, 1)
  t.equal((await shop.sessions.listByUser('42')).length, 1)
  await jar.post(shop, '/put/cart', 1)
  t.equal((await jar.get(express, '/data')).body.userId, '42')
  t.equal(await shop.sessions.revokeUser(42n), 1)
  t.equal(await jar.user(shop), null)
})

t.test('a short secret of the Express app verifies here, and Express takes what is signed with the new one', async (t) => {
  const { express, shop } = await open(t, { secret: [secret, 'short'] }, { session: { secret: ['short', secret] } })
  const jar = new Jar()
  await jar.post(express, '/login/ada')
  const before = jar.cookies.get('connect.sid') ?? ''
  t.ok(unsignExpressCookie(before, ['short']))
  t.equal(await jar.user(shop), 'ada')
  const after = jar.cookies.get('connect.sid') ?? ''
  t.ok(unsignExpressCookie(after, [secret]))
  t.equal(unsignExpressCookie(after, [secret])?.sid, unsignExpressCookie(before, ['short'])?.sid)
  t.equal((await jar.get(express, '/data')).body.userId, 'ada')
  t.match(shop.lines.find(({ level }) => level === 40)?.msg, /fewer than 32 characters/)
})

t.test('rotating the secret keeps people signed in, and handles usable', async (t) => {
  const { express, shop, keyPrefix } = await open(t)
  const jar = new Jar()
  await jar.post(express, '/login/ada')
  const { id } = (await jar.get(shop, '/me')).body
  const rotated = await startShop(t, { redis: redis.url, keyPrefix, expressSession: 'share', secret: ['the next secret of 32 characters or more', secret] })
  const kept = jar.copy()
  const next = (await kept.get(rotated, '/me')).body
  t.equal(next.userId, 'ada')
  t.not(next.id, id)
  t.equal((await rotated.sessions.get(id))?.id, next.id, 'known by its new name')
  t.same(await rotated.sessions.data(id), { userId: 'ada' })
  t.equal(await rotated.sessions.revokeUser('ada', { except: id }), 0)
  t.equal(await rotated.sessions.revoke(id, { userId: 'ada' }), true)
  t.equal(await jar.user(shop), null)
})

t.test('handles find, show, change and end their session; anything else is no session', async (t) => {
  const { express, shop } = await open(t)
  const jar = new Jar()
  await jar.post(express, '/login/ada')
  const { id } = (await jar.get(shop, '/me')).body
  t.match(await shop.sessions.get(id), { id, userId: 'ada' })
  t.same(await shop.sessions.data(id), { userId: 'ada' })
  t.same(await shop.sessions.update(id, (data) => ({ ...data, cart: 1 })), { userId: 'ada', cart: 1 })
  t.same((await jar.get(express, '/data')).body, { userId: 'ada', cart: 1 })
  t.equal(await shop.sessions.touch(id), true)
  const garbage = ['', '\0', 'x', sidOf(jar), `${id}x`, id.slice(1), id.replace(/^./, (c: string) => c === 'A' ? 'B' : 'A'), 'A'.repeat(64), 'A'.repeat(100_000), `${id}=`, jar.cookies.get('connect.sid'), null, undefined, 5, {}, [id]]
  for (const each of garbage as string[]) {
    t.equal(await shop.sessions.get(each), null)
    t.equal(await shop.sessions.data(each), null)
    t.equal(await shop.sessions.touch(each), false)
    t.equal(await shop.sessions.update(each, (data) => data), null)
    t.equal(await shop.sessions.revoke(each), false)
  }
  const nobodys = `/auth/sessions/${'A'.repeat(64)}`
  const { status, body } = await jar.request(shop, 'DELETE', nobodys)
  t.strictSame([status, body.code], [401, 'ERR_SESSION_REAUTH_REQUIRED'], 'a sign-in at Express is never recent')
  const here = new Jar()
  await here.post(shop, '/in/ada')
  t.equal((await here.request(shop, 'DELETE', nobodys)).status, 404)
  t.equal(await shop.sessions.revoke(id, { userId: 'mallory' }), false)
  t.equal(await jar.user(shop), 'ada')
  t.equal(await shop.sessions.revoke(id), true)
  t.equal(await shop.sessions.revoke(id), false)
  t.equal(await jar.user(shop), null)
})

t.test('the session id is in cookies and keys alone, and nowhere that people look', async (t) => {
  const subject = await open(t)
  const { express, shop, keyPrefix } = subject
  const jars: Jar[] = []
  const secrets: string[] = []
  const remember = (jar: Jar) => {
    const value = decodeURIComponent(jar.cookies.get('connect.sid') ?? '')
    secrets.push(sidOf(jar), value.slice(value.indexOf('.')))
  }
  for (const signIn of [(jar: Jar) => jar.post(express, '/login/ada'), (jar: Jar) => jar.post(shop, '/in/ada'), (jar: Jar) => jar.post(shop, '/assign/ada')]) {
    const jar = new Jar()
    jars.push(jar)
    await jar.post(express, '/put/cart', 1)
    remember(jar)
    await signIn(jar)
    remember(jar)
    for (const path of ['/me', '/data', '/auth/info', '/auth/sessions', '/recent']) await jar.get(shop, path)
  }
  const shown: unknown[] = [await shop.sessions.listByUser('ada')]
  for await (const session of shop.sessions.listAll()) shown.push(session)
  t.equal(shown.length, 4, 'every session is among all')
  await redis.client.set(`${keyPrefix}${secrets[0]}`, 'broken')
  await jars[0]?.get(shop, '/data')
  t.match(await jars[1]?.request(shop, 'DELETE', '/auth/sessions'), { status: 200 })
  await jars[0]?.post(shop, '/out')
  await shop.sessions.revokeUser('ada')
  await until('the events', () => shop.events.length >= 4)
  const seen = JSON.stringify([shown, shop.events, shop.lines, ...jars.flatMap((jar) => jar.seen)])
  t.ok(secrets.length >= 12 && secrets.every((each) => each.length > 20))
  t.strictSame(secrets.filter((each) => seen.includes(each)), [])
  t.equal(new Set((shown[0] as Array<{ id: string }>).map(({ id }) => id)).size, 3)
})

t.test('when the key expires the session has ended: Express extends it, and so do we, and nobody shortens it', async (t) => {
  const subject = await open(t, { touchAfter: 0, idleTimeout: '10m' }, { ttl: 3600 })
  const { express, shop, keyPrefix } = subject
  const jar = new Jar()
  await jar.post(express, '/login/ada')
  const key = keyPrefix + sidOf(jar)
  await jar.get(shop, '/me')
  t.ok(await redis.client.pttl(key) > 3_500_000, 'as long as Express gave it')
  await redis.client.pexpire(key, 1_000)
  await jar.get(express, '/data')
  t.ok(await redis.client.pttl(key) > 3_500_000)
  await redis.client.pexpire(key, 1_000)
  t.equal(await jar.user(shop), 'ada')
  const ttl = await redis.client.pttl(key)
  t.ok(ttl > 590_000 && ttl <= 600_000, 'as long as we give one')
  await redis.client.persist(key)
  t.equal(await jar.user(shop), 'ada')
  t.equal(await redis.client.pttl(key), -1, 'what Express keeps for ever')
  await redis.client.pexpire(key, 1)
  await until('its end', async () => await redis.client.exists(key) === 0)
  t.equal(await jar.user(shop), null)
  t.strictSame(await shop.sessions.listByUser('ada'), [])
})

t.test('a session that Express lets in is bound to no browser', async (t) => {
  const keyPrefix = prefix()
  const timeouts = { idleTimeoutMs: 60_000, absoluteTimeoutMs: 3_600_000 }
  const cookie = { secure: false, httpOnly: true, sameSite: 'lax', path: '/', partitioned: false }
  const layout = { ...timeouts, cookie, userOf: () => null, presentable: (data: Record<string, unknown>) => data }
  const store = await openStore(t, redis.url, { prefix: keyPrefix }, { records: (base) => new ExpressRecords(base, layout) })
  const value = '{"cookie":{},"cart":1}'
  await redis.client.set(`${keyPrefix}sid`, value)
  const session = await store.find('sid') as SessionRecord
  t.equal(session.data, '{"cart":1}')
  await t.rejects(store.bind(session, 'ES256 one'), { code: 'ERR_SESSION_UNSUPPORTED', message: 'Not supported: binding sessions to a browser that an Express app shares' })
  t.equal(await redis.client.get(`${keyPrefix}sid`), value)
})

t.test('a use or a change that is under way undoes no timeouts of meanwhile', async (t) => {
  const keyPrefix = prefix()
  const app = await startApp(t, { redis: redis.url, keyPrefix, expressSession: 'share', touchAfter: 0, idleTimeout: '1d' })
  const DAY_MS = 86_400_000
  app.post('/in', async (request) => await app.login(request, { id: 'ada' }))
  app.post<{ Body: { cart?: number, timeouts: { idleTimeout?: string, absoluteTimeout?: string } } }>('/change', async (request) => {
    const { cart, timeouts } = request.body
    if (cart !== undefined) request.session.cart = cart
    return String(await app.sessions.setTimeouts(request.requireAuth().id, timeouts))
  })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.auth)
  const ada = new Browser(app)
  await ada.request('POST', '/in')
  const [key = ''] = await redis.client.keys(`${keyPrefix}*`)
  const change = async (payload: object) => t.equal((await ada.request('POST', '/change', { payload })).body, 'true')
  const left = async () => await redis.client.pttl(key)
  const lifetime = async () => {
    const { endsAt, createdAt } = (await ada.request('GET', '/me')).json<SessionInfo>()
    return (endsAt - createdAt) / DAY_MS
  }
  await change({ timeouts: { idleTimeout: '1m' } })
  t.ok(await left() <= 60_000, `a use: ${await left()} ms`)
  await change({ timeouts: { idleTimeout: '1h' } })
  t.ok(await left() > 3_000_000, 'a use extends it by the new ones')
  await change({ cart: 1, timeouts: { absoluteTimeout: '20d' } })
  t.equal(await lifetime(), 20, 'a change')
  await change({ cart: 2, timeouts: { absoluteTimeout: '2h', idleTimeout: '5m' } })
  t.ok(await left() <= 300_000)
  t.equal(await lifetime(), 2 / 24)
  t.match(JSON.parse(await redis.client.get(key) ?? ''), { cart: 2 })
})

t.test('a session that Express extends ends here at its absolute deadline', async (t) => {
  const subject = await open(t, { absoluteTimeout: '1h', idleTimeout: '10m' })
  const { express, shop, keyPrefix } = subject
  const jar = new Jar()
  await jar.post(express, '/login/ada')
  await jar.get(shop, '/me')
  const key = keyPrefix + sidOf(jar)
  const value = await stored(subject, jar)
  const left = value._session.e - Date.now()
  t.ok(left > 3_500_000 && left <= 3_600_000)
  value._session.e = Date.now() - 1
  await redis.client.set(key, JSON.stringify(value), 'KEEPTTL')
  await jar.get(express, '/data')
  t.equal(await jar.user(shop), null)
  await jar.post(shop, '/in/ada')
  t.equal(await jar.user(shop), 'ada')
})

t.test('another user whom Express signs in under the same id has all the time', async (t) => {
  const subject = await open(t, { absoluteTimeout: '1h', idleTimeout: '10m' })
  const { express, shop, keyPrefix } = subject
  const jar = new Jar()
  await jar.post(express, '/login/ada')
  await jar.get(shop, '/me')
  const value = await stored(subject, jar)
  value._session.e = Date.now() - 1
  await redis.client.set(keyPrefix + sidOf(jar), JSON.stringify(value), 'KEEPTTL')
  t.equal(await jar.user(shop), null)
  const before = sidOf(jar)
  await jar.post(express, '/put/userId', 'bob')
  t.equal(sidOf(jar), before, 'Express goes on with the session')
  t.equal(await jar.user(shop), 'bob')
  const left = (await stored(subject, jar))._session.e - Date.now()
  t.ok(left > 3_500_000 && left <= 3_600_000)
})

t.test('a recent sign-in is one that was made here', async (t) => {
  const { express, shop } = await open(t)
  const jar = new Jar()
  await jar.post(express, '/login/ada')
  t.match(await jar.get(shop, '/recent'), { status: 401, body: { code: 'ERR_SESSION_REAUTH_REQUIRED' } })
  await jar.post(shop, '/in/ada')
  t.equal((await jar.get(shop, '/recent')).status, 200)
  await jar.post(express, '/put/cart', 1)
  t.equal((await jar.get(shop, '/recent')).status, 200, 'what Express saves changes nothing about it')
})

t.test('who is active here keeps the cookie that Express set to end with the idle timeout', async (t) => {
  const { express, shop } = await open(t, { touchAfter: 0 })
  const jar = new Jar()
  t.match((await jar.post(shop, '/in/ada')).setCookies[0], /Max-Age=604800/)
  const [byExpress = ''] = (await jar.post(express, '/put/cart', 1)).setCookies
  const left = Date.parse(/Expires=([^;]+)/.exec(byExpress)?.[1] ?? '') - Date.now()
  t.ok(left > 0 && left <= 30 * 60_000)
  t.match((await jar.get(shop, '/me')).setCookies[0], /Max-Age=604(800|799)/)
  const theirs = new Jar()
  await theirs.post(express, '/login/bob')
  t.strictSame((await theirs.get(shop, '/me')).setCookies, [], 'the cookie of a session that Express began is its own')
})

t.test('Express keeps every attribute of our cookie, or a browser would have two', async (t) => {
  const { express, shop } = await open(t, { cookie: { secure: false, domain: 'example.com', path: '/', sameSite: 'strict' } })
  const jar = new Jar()
  await jar.post(shop, '/in/ada')
  const attributes = (line = '') => line.split('; ').slice(1).filter((each) => !/^(Max-Age|Expires)=/.test(each)).sort()
  const [again] = (await jar.post(express, '/put/cart', 1)).setCookies
  t.strictSame(attributes(again), ['Domain=example.com', 'HttpOnly', 'Path=/', 'SameSite=Strict'])
})

t.test('a cookie that was tampered with, planted or signed otherwise is nobody\'s', async (t) => {
  const subject = await open(t)
  const { express, shop, keyPrefix } = subject
  const ada = new Jar()
  await ada.post(express, '/login/ada')
  const cookie = ada.cookies.get('connect.sid') ?? ''
  const sid = sidOf(ada)
  const mallory = new Jar()
  const unsigned = [sid, `s:${sid}`, `s:${sid}.`, `s:${sid}.AAAA`, `s:.${cookie.split('.')[1]}`, `j:${JSON.stringify({ userId: 'ada' })}`, cookie.slice(0, -1), `${cookie}x`, cookie.replace('s%3A', ''), signExpressCookie(sid, 'another'), `${sid}.${createHash('sha256').update(sid).digest('base64url')}`, '%', 's:%00', 's:' + 'x'.repeat(5000)]
  for (const value of unsigned) {
    mallory.cookies.set('connect.sid', value)
    t.equal(await mallory.user(shop), null, value.slice(0, 80))
  }
  mallory.cookies.set('connect.sid', `${cookie}; connect.sid=${cookie}`)
  t.equal(await mallory.user(shop), null, 'two of one name')
  for (const name of ['sid', '__Host-sid', 'Connect.sid']) {
    mallory.cookies.clear()
    mallory.cookies.set(name, cookie)
    t.equal(await mallory.user(shop), null, name)
  }
  // Mallory plants a session of their own in ada's browser, and waits for a sign-in.
  const planted = new Jar()
  await planted.post(express, '/put/cart', 'poisoned')
  const victim = planted.copy()
  await victim.post(shop, '/auth/login', { username: 'ada', password: 'x' })
  t.equal(await planted.user(shop), null)
  t.same((await planted.get(express, '/data')).body, {})
  t.equal(await redis.client.exists(keyPrefix + sidOf(planted)), 0)
  // What verifies but was never stored.
  mallory.cookies.clear()
  mallory.cookies.set('connect.sid', encodeURIComponent(signExpressCookie('never', secret)))
  t.equal(await mallory.user(shop), null)
})

t.test('whatever lies under a session\'s key, nobody is signed in by it and nothing breaks', async (t) => {
  const subject = await open(t)
  const { express, shop, keyPrefix } = subject
  const jar = new Jar()
  await jar.post(shop, '/in/ada')
  const key = keyPrefix + sidOf(jar)
  const good = JSON.parse(await redis.client.get(key) as string)
  const { cookie, _session: ours } = good
  const with_ = (members: object) => JSON.stringify({ cookie, ...members })
  const nobody = [
    '', 'x', '5', 'null', '[]', '"ada"', '{}', '{"userId":"ada"}', '{"cookie":null,"userId":"ada"}', '{"cookie":5,"userId":"ada"}', JSON.stringify([{ cookie, userId: 'ada' }]),
    ...[null, true, {}, [], ['ada'], '', 'x'.repeat(256), { toString: 'ada' }].map((userId) => with_({ userId, _session: ours })),
    with_({ _session: ours }), with_({ _session: { ...ours, u: 'ada' }, user: 'ada' }), '{"cookie":{},"__proto__":{"userId":"ada"}}', '{"cookie":{},"constructor":{"userId":"ada"},"a":1}',
    '{"cookie":'.repeat(100_000), `{"cookie":{},"userId":"ada","deep":${'['.repeat(20_000)}${']'.repeat(20_000)}}`, Buffer.from([0xff, 0xfe, 0x7b])
  ]
  for (const value of nobody) {
    await redis.client.set(key, value)
    const label = value.toString().slice(0, 60)
    t.equal(await jar.copy().user(shop), null, label)
    for (const [method, path] of [['GET', '/data'], ['GET', '/auth/info'], ['GET', '/recent'], ['POST', '/put/cart'], ['POST', '/auth/logout']] as const) {
      await redis.client.set(key, value)
      const { status } = await jar.copy().request(shop, method, path, method === 'POST' ? 1 : undefined)
      t.ok(status < 500, `${path} ${status}: ${label}`)
    }
    await redis.client.set(key, value)
    t.strictSame(await shop.sessions.listByUser('ada'), [])
  }
  const strange = [5, 'x', [], [1], null, true, {}, { c: 'x' }, { ...ours, n: 5 }, { ...ours, n: 'x' }, { ...ours, c: 'x' }, { ...ours, u: 5 }, { ...ours, m: '[' }, { ...ours, m: 'x'.repeat(9000) }, { ...ours, i: 1e15, e: 9e15 }, { ...ours, a: 'now' }, { ...ours, l: {} }]
  for (const each of strange) {
    for (const [method, path] of [['GET', '/me'], ['GET', '/auth/sessions'], ['POST', '/put/cart'], ['POST', '/assign/ada']] as const) {
      await redis.client.set(key, with_({ userId: 'ada', _session: each }), 'PX', 60_000)
      t.equal((await jar.copy().request(shop, method, path, method === 'POST' ? 1 : undefined)).status, 200, `${path}: ${JSON.stringify(each).slice(0, 80)}`)
    }
  }
  for (const each of [{ ...ours, e: -1 }, { ...ours, i: 0 }, { ...ours, i: -5 }, { ...ours, e: 0 }]) {
    await redis.client.set(key, with_({ userId: 'ada', _session: each }), 'PX', 60_000)
    t.equal(await jar.copy().user(shop), null, 'ended')
  }
  await redis.client.del(key)
  await redis.client.hset(key, 'userId', 'ada')
  t.equal(await jar.copy().user(shop), null)
  t.equal((await jar.copy().post(shop, '/put/cart', 1)).status, 200)
  await redis.client.set(key, with_({ userId: 'ada', big: 'x'.repeat(5_000_000) }))
  t.equal(await jar.user(shop), 'ada', 'large is not hostile')
  t.strictSame(express.failures, [])
})

t.test('what cannot be together is told at boot', async (t) => {
  const boot = (options: Partial<SessionOptions>) => startApp(t, options)
  await t.rejects(boot({ expressSession: 'share', redis: redis.url, bearer: true }), { code: 'ERR_SESSION_INVALID_OPTIONS', message: /bearer/ })
  for (const expressSession of ['share', 'adopt'] as const) await t.rejects(boot({ expressSession }), { code: 'ERR_SESSION_INVALID_OPTIONS', message: /expressSession needs redis/ })
  await t.rejects(boot({ expressSession: 'other' as never, redis: redis.url }), { code: 'ERR_SESSION_INVALID_OPTIONS', message: /expressSession/ })
})

t.test('on a Cluster it is the same', async (t) => {
  const cluster = await startCluster(t)
  const keyPrefix = prefix()
  const store = new RedisStore({ client: cluster.client, prefix: keyPrefix })
  t.teardown(() => store.close())
  const express = await startExpress(t, { keyPrefix, store: store as never })
  const shop = await startShop(t, { redis: { cluster: cluster.nodes }, keyPrefix, expressSession: 'share', maxSessionsPerUser: 5 })
  const jars = Array.from({ length: 4 }, () => new Jar())
  for (const [each, jar] of jars.entries()) {
    await jar.post(each % 2 === 0 ? express : shop, each % 2 === 0 ? '/login/ada' : '/in/ada')
    await jar.post(shop, '/put/cart', each)
    t.same((await jar.get(express, '/data')).body, { userId: 'ada', cart: each })
  }
  t.equal((await shop.sessions.listByUser('ada')).length, 4)
  await jars[0]?.post(express, '/assign/bob')
  t.equal(await shop.sessions.revokeUser('ada'), 3)
  t.strictSame(await Promise.all(jars.map((jar) => jar.user(shop))), ['bob', null, null, null])
  t.equal(await shop.sessions.revokeUser('bob'), 1)
  t.strictSame((await keysOf(cluster.client, keyPrefix)).filter((key) => key.startsWith(keyPrefix)), [])
})

t.test('an ioredis client with a prefix of its own is that of the Express app', async (t) => {
  const outer = prefix()
  const client = new Redis(redis.port, { keyPrefix: outer })
  t.teardown(() => client.disconnect())
  const express = await startExpress(t, { client, keyPrefix: 'sess:' })
  const shop = await startShop(t, { redis: client, expressSession: 'share' })
  const jar = new Jar()
  await jar.post(express, '/login/ada')
  t.equal(await jar.user(shop), 'ada')
  t.equal(await shop.sessions.revokeUser('ada'), 1)
  t.notOk('userId' in (await jar.get(express, '/data')).body)
})
