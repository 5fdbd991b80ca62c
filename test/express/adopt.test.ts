import { Signer } from '@fastify/cookie'
import t from 'tap'
import type { Test } from 'tap'
import { encode } from '../../lib/store/codec.ts'
import { adoptedToken, signExpressCookie, unsignExpressCookie, unsignFastifyCookie } from '../../lib/express/tokens.ts'
import { RedisStore } from '../../lib/express/redis-store.ts'
import type { RedisStore as OwnStore } from '../../lib/redis/store.ts'
import type { Adoption } from '../../lib/session/store.ts'
import { secret } from '../helpers/app.ts'
import { Gate, Jar, startExpress, startShop } from '../helpers/express-app.ts'
import type { ExpressApp, Shop } from '../helpers/express-app.ts'
import { startFastifySession } from '../helpers/fastify-session-app.ts'
import { DAY, MINUTE, record } from '../helpers/record.ts'
import { prefix, startCluster, startRedis, until } from '../helpers/redis.ts'
import type { TestRedis } from '../helpers/redis.ts'
import { age, keysOf, openAdopting } from '../helpers/redis-store.ts'

const redis = await startRedis(t)
const OLD = 'short'

interface PeerOptions {
  client?: object
  store?: RedisStore
  keyPrefix: string
  ttl?: number
  /** Name of the cookie. */
  name?: string
  secret?: string
  maxAge?: number
  saveUninitialized?: boolean
}

/** The libraries whose sessions are adopted: an application of each, the name of its cookie, and how that is signed. */
const LIBRARIES = {
  'express-session': {
    cookie: 'connect.sid',
    start: async (t: Test, { store, name, secret: own = OLD, maxAge, saveUninitialized = false, ...rest }: PeerOptions): Promise<ExpressApp> => await startExpress(t, {
      ...rest,
      ...store !== undefined && { store: store as never },
      session: { secret: own, saveUninitialized, ...name !== undefined && { name }, ...maxAge !== undefined && { cookie: { maxAge } } }
    }),
    sign: signExpressCookie,
    unsign: unsignExpressCookie
  },
  '@fastify/session': {
    cookie: 'sessionId',
    start: async (t: Test, { store, name, secret: own = OLD, maxAge, saveUninitialized = false, ...rest }: PeerOptions): Promise<ExpressApp> => await startFastifySession(t, {
      ...rest,
      ...store !== undefined && { store: store as never },
      // Not a string: that may not be short.
      session: { secret: [own], saveUninitialized, ...name !== undefined && { cookieName: name }, ...maxAge !== undefined && { cookie: { maxAge } } }
    }),
    sign: (sid: string, own: string) => new Signer(own).sign(sid),
    unsign: unsignFastifyCookie
  }
}
type Library = keyof typeof LIBRARIES

/** A test that both libraries have to pass. */
function ofEach (name: string, test: (t: Test, library: Library) => Promise<void>): void {
  for (const library of ['express-session', '@fastify/session'] as const) void t.test(`${library}: ${name}`, (t) => test(t, library))
}

interface Subject { library: Library, keyPrefix: string, peer: ExpressApp, shop: Shop }

/** An application that was, and one with this package in its place. */
async function open (t: Test, library: Library, options: Parameters<typeof startShop>[1] = {}, peer: Partial<PeerOptions> = {}, server: TestRedis = redis): Promise<Subject> {
  const keyPrefix = prefix()
  return {
    library,
    keyPrefix,
    peer: await LIBRARIES[library].start(t, { client: server.client, keyPrefix, ...peer }),
    shop: await startShop(t, { redis: server.url, keyPrefix, adopt: library, secret: [secret, OLD], ...options })
  }
}

function sidOf (library: Library, jar: Jar): string {
  const { cookie, unsign } = LIBRARIES[library]
  return unsign(jar.cookies.get(cookie) ?? '', [secret, OLD])?.sid ?? ''
}

/** Somebody who is signed in at the old application. */
async function signedIn ({ peer }: Pick<Subject, 'peer'>, user = 'ada'): Promise<Jar> {
  const jar = new Jar()
  await jar.post(peer, `/login/${user}`)
  return jar
}

ofEach('all who are signed in stay signed in, under a cookie of ours', async (t, library) => {
  const { peer, shop, keyPrefix } = await open(t, library)
  const people = ['ada', 'bob', 'mallory', 'ada']
  const jars = await Promise.all(people.map((user) => signedIn({ peer }, user)))
  for (const [each, jar] of jars.entries()) {
    const old = sidOf(library, jar)
    const first = await jar.get(shop, '/me')
    t.match(first, { status: 200, body: { userId: people[each], authenticatedAt: 0 } })
    t.strictSame([...jar.cookies.keys()], ['sid'], 'the old cookie is taken back')
    t.equal(await redis.client.exists(keyPrefix + old), 0)
    const again = await jar.get(shop, '/me')
    t.match(again, { status: 200, body: { id: first.body.id, userId: people[each] } })
    t.strictSame(again.setCookies, [])
  }
  t.equal((await shop.sessions.listByUser('ada')).length, 2)
  t.match(await jars[0]?.get(shop, '/recent'), { status: 401, body: { code: 'ERR_SESSION_REAUTH_REQUIRED' } })
  t.equal(await shop.sessions.revokeUser('ada'), 2)
  t.strictSame(await Promise.all(jars.map((jar) => jar.user(shop))), [null, 'bob', 'mallory', null])
})

ofEach('the data of a session comes along, but for what request.session cannot hold', async (t, library) => {
  const { peer, shop, keyPrefix } = await open(t, library)
  const jar = await signedIn({ peer })
  await jar.post(peer, '/put/cart', { apples: [1, { fresh: true }] })
  const key = keyPrefix + sidOf(library, jar)
  const value = JSON.parse(await redis.client.get(key) as string)
  const deep = '['.repeat(300) + ']'.repeat(300)
  await redis.client.set(key, `${JSON.stringify(value).slice(0, -1)},"get":1,"options":{"x":1},"sessionId":"x","_session":{"a":9000000000000,"u":"ada"},"__proto__":{"admin":true},"constructor":1,"toJSON":1,"deep":${deep}}`, 'KEEPTTL')
  t.same((await jar.get(shop, '/data')).body, { userId: 'ada', cart: { apples: [1, { fresh: true }] } })
  t.equal((await jar.get(shop, '/recent')).status, 401)
  const [{ id = '' } = {}] = await shop.sessions.listByUser('ada')
  t.same(Object.keys(await shop.sessions.data(id) ?? {}).sort(), ['cart', 'userId'])
  t.equal((await jar.post(shop, '/put/cart', 2)).status, 200)
  t.same((await jar.get(shop, '/data')).body, { userId: 'ada', cart: 2 })
})

ofEach('a session that is larger than ours may be comes along whole, and may shrink', async (t, library) => {
  const { peer, shop } = await open(t, library)
  const jar = await signedIn({ peer })
  await jar.post(peer, '/put/cart', ['x'.repeat(90_000)])
  t.equal((await jar.get(shop, '/data')).body.cart[0].length, 90_000)
  t.match(await jar.post(shop, '/put/wishes', 1), { status: 413, body: { code: 'ERR_SESSION_DATA_TOO_LARGE' } })
  t.equal((await jar.post(shop, '/put/cart', ['book'])).status, 200)
  t.same((await jar.get(shop, '/data')).body, { userId: 'ada', cart: ['book'] })
})

ofEach('fifty first requests at once to two processes make one session and one cookie', async (t, library) => {
  const { peer, shop, keyPrefix } = await open(t, library)
  const second = await startShop(t, { redis: redis.url, keyPrefix, adopt: library, secret: [secret, OLD] })
  for (let round = 0; round < 5; round++) {
    const jar = await signedIn({ peer })
    await jar.post(peer, '/put/cart', round)
    const jars = Array.from({ length: 50 }, () => jar.copy())
    const answers = await Promise.all(jars.map((each, index) => each.get(index % 2 === 0 ? shop : second, '/me')))
    t.strictSame(answers.filter(({ status }) => status !== 200), [])
    t.equal(new Set(answers.map(({ body }) => body.id)).size, 1)
    t.equal(new Set(jars.map((each) => each.header)).size, 1)
    t.equal((await shop.sessions.listByUser('ada')).length, 1)
    t.same((await keysOf(redis.client, keyPrefix)).length, 2, 'the session and the list')
    t.same((await jars[7]?.get(second, '/data'))?.body, { userId: 'ada', cart: round })
    await jars[3]?.post(shop, '/out')
    t.equal(await jars[9]?.user(second), null)
    t.equal(await jar.user(second), null)
  }
})

ofEach('the value of the old cookie is found by app.sessions as its header is', async (t, library) => {
  const { peer, shop } = await open(t, library)
  const [ada, bob] = [await signedIn({ peer }), await signedIn({ peer }, 'bob')]
  const [value = ''] = ada.cookies.values()
  t.match(await shop.sessions.find(value), { userId: 'ada', authenticatedAt: 0 })
  t.match(await shop.sessions.fromCookieHeader(bob.header), { userId: 'bob', authenticatedAt: 0 })
  t.equal(await shop.sessions.find(`${value}x`), null)
  t.equal((await shop.sessions.listByUser('ada')).length, 1)
})

ofEach('the old cookie stands for the session until that ends, and is worthless then', async (t, library) => {
  for (const end of [
    ({ shop }: Subject, jar: Jar) => jar.post(shop, '/out'),
    ({ shop }: Subject) => shop.sessions.revokeUser('ada'),
    async ({ shop }: Subject, jar: Jar) => await shop.sessions.revoke((await jar.get(shop, '/me')).body.id),
    ({ shop }: Subject, jar: Jar) => jar.post(shop, '/in/bob'),
    async ({ keyPrefix }: Subject) => {
      await age(redis.client, keyPrefix, 31 * MINUTE)
      await until('its end', async () => (await redis.client.keys(`${keyPrefix}*`)).length === 0)
    }
  ]) {
    const subject = await open(t, library)
    const { shop } = subject
    const jar = await signedIn(subject)
    const old = jar.copy()
    const { body: { id } } = await jar.get(shop, '/me')
    const alias = await old.copy().get(shop, '/me')
    t.match(alias, { status: 200, body: { id } })
    t.equal(alias.setCookies.length, 2, 'the new one, and the old one taken back')
    await end(subject, jar.copy())
    t.equal(await old.copy().user(shop), null)
    t.equal(await jar.copy().user(shop), null)
    t.same((await old.copy().get(shop, '/data')).body, {})
  }
})

ofEach('a logout by the old cookie ends the session, adopted or not', async (t, library) => {
  const subject = await open(t, library)
  const { shop, peer } = subject
  const jar = await signedIn(subject)
  const [fresh, used] = [jar.copy(), jar.copy()]
  await used.get(shop, '/me')
  const out = await jar.post(shop, '/auth/logout')
  t.equal(out.status, 204)
  t.strictSame([...jar.cookies.keys()], [])
  for (const each of [fresh, used]) t.equal(await each.user(shop), null)
  const other = await signedIn(subject)
  const kept = other.copy()
  await other.post(shop, '/auth/logout')
  t.equal(await kept.copy().user(shop), null)
  t.notOk('userId' in (await kept.get(peer, '/data')).body)
})

ofEach('a logout that races the first requests leaves no session, in two hundred rounds', async (t, library) => {
  const { peer, shop, keyPrefix } = await open(t, library)
  const second = await startShop(t, { redis: redis.url, keyPrefix, adopt: library, secret: [secret, OLD] })
  const alive: number[] = []
  const failed: unknown[] = []
  for (let round = 0; round < 200; round++) {
    const jar = await signedIn({ peer })
    const first = (index: number) => jar.copy().get(index % 2 === 0 ? shop : second, '/me')
    const answers = await Promise.all([first(0), first(1), jar.copy().post(round % 2 === 0 ? shop : second, '/out'), first(2), first(3)])
    failed.push(...answers.filter(({ status }) => status >= 500))
    if (await jar.user(shop) !== null || (await shop.sessions.listByUser('ada')).length > 0) alive.push(round)
  }
  t.strictSame(alive, [])
  t.strictSame(failed, [])
  t.strictSame((await keysOf(redis.client, keyPrefix)).filter((key) => key.startsWith(keyPrefix)), [])
})

t.test('nobody makes a session of one that was ended while it was on its way, however the commands fall', async (t) => {
  // The commands of two adoptions and a logout, each in its own order, take turns that are drawn.
  const keyPrefix = prefix()
  let underWay = 0
  const open = async () => {
    const store = await openAdopting(t, redis.url, { prefix: keyPrefix })
    const turns: Array<() => void> = []
    const run = store['link'].run.bind(store['link'])
    const script = store['link'].script.bind(store['link'])
    const inTurn = async <T>(command: () => Promise<T>): Promise<T> => {
      await new Promise<void>((resolve) => turns.push(resolve))
      underWay++
      return await command().finally(() => { underWay-- })
    }
    Object.assign(store['link'], {
      run: async (...args: Parameters<typeof run>) => await inTurn(() => run(...args)),
      script: async (...args: Parameters<typeof script>) => await inTurn(() => script(...args))
    })
    return { store, turns }
  }
  const [first, second, leaving] = [await open(), await open(), await open()]
  let seed = 1
  const draw = (below: number) => {
    seed = (seed * 48271) % 2147483647
    return Math.floor(seed / 2147483647 * below)
  }
  let lived = 0
  const alive: number[] = []
  for (let round = 0; round < 300; round++) {
    const sid = `sid${round}`
    const made = record({ data: '{"userId":"ada"}' })
    await redis.client.set(keyPrefix + sid, '{"cookie":{},"userId":"ada"}')
    const adopt = ({ store }: typeof first) => store.adoption.adopt(sid, made).catch(() => null)
    const all = { done: false }
    const adoptions = [adopt(first), adopt(second)]
    const logout = leaving.store.adoption.discard(sid).then(() => leaving.store.delete(made.id))
    void Promise.all([...adoptions, logout]).then(() => { all.done = true })
    // One goes ahead of the others for a while, then another.
    let order = [first, second, leaving]
    while (!all.done) {
      if (underWay === 0 && draw(4) === 0) order = [[first, second, leaving][draw(3)] as typeof first, ...order]
      if (underWay === 0) order.find(({ turns }) => turns.length > 0)?.turns.shift()?.()
      await new Promise((resolve) => setImmediate(resolve))
    }
    if ((await Promise.all(adoptions)).some((each) => each !== null)) lived++
    if (await redis.client.exists(keyPrefix + made.id, keyPrefix + sid) > 0) alive.push(round)
  }
  t.strictSame(alive, [])
  t.ok(lived > 10 && lived < 290, `in some rounds it lived first, in ${lived}`)
})

t.test('a session that was adopted is bound, and is found so by who comes for it again', async (t) => {
  const keyPrefix = prefix()
  const [store, other] = [await openAdopting(t, redis.url, { prefix: keyPrefix }), await openAdopting(t, redis.url, { prefix: keyPrefix })]
  await redis.client.set(`${keyPrefix}sid`, '{"cookie":{},"userId":"ada","d":"ES256 none"}')
  const made = record()
  const adopted = await store.adoption.adopt('sid', made) ?? made
  t.equal(adopted.boundKey, null)
  const bound = { ...adopted, boundKey: 'ES256 one' }
  t.strictSame(await store.bind(adopted, 'ES256 one'), bound)
  t.strictSame(await other.adoption.adopt('sid', made), bound)
  t.strictSame(await other.bind(adopted, 'ES256 another'), bound)
  t.strictSame(await other.listByUser('ada'), [bound])
})

/** A store that does something else before its nth command. */
async function interrupted (t: Test, keyPrefix: string, nth: number, interrupt: () => Promise<unknown>): Promise<OwnStore & { adoption: Adoption }> {
  const store = await openAdopting(t, redis.url, { prefix: keyPrefix })
  const run = store['link'].run.bind(store['link'])
  const script = store['link'].script.bind(store['link'])
  let commands = 0
  const count = async (): Promise<void> => { if (++commands === nth) await interrupt() }
  Object.assign(store['link'], {
    run: async (...args: Parameters<typeof run>) => {
      await count()
      return await run(...args)
    },
    script: async (...args: Parameters<typeof script>) => {
      await count()
      return await script(...args)
    }
  })
  return store
}

t.test('at whatever moment of its adoption Express signs in another, it is theirs and on their list alone', async (t) => {
  const keyPrefix = prefix()
  const plain = await openAdopting(t, redis.url, { prefix: keyPrefix })
  const made = record()
  const users: unknown[] = []
  for (let nth = 1; nth <= 5; nth++) {
    await redis.client.set(`${keyPrefix}sid`, '{"cookie":{},"userId":"ada"}')
    const store = await interrupted(t, keyPrefix, nth, () => redis.client.set(`${keyPrefix}sid`, '{"cookie":{},"userId":"bob"}', 'XX'))
    const adopted = await store.adoption.adopt('sid', made)
    users.push(adopted?.userId)
    t.same(await plain.find(made.id), adopted)
    t.equal(adopted?.data, `{"userId":"${adopted?.userId}"}`)
    for (const user of ['ada', 'bob']) {
      t.equal((await plain.listByUser(user)).length, user === adopted?.userId ? 1 : 0, `${user}, before command ${nth}`)
      t.equal((await redis.client.zcard(`@${keyPrefix}user:${user}`)), user === adopted?.userId ? 1 : 0)
    }
    await plain.delete(made.id)
  }
  t.strictSame(users, ['bob', 'bob', 'bob', 'bob', 'bob'])
})

t.test('a session that was ended while it was adopted stays ended when somebody else claims it since', async (t) => {
  const keyPrefix = prefix()
  const plain = await openAdopting(t, redis.url, { prefix: keyPrefix })
  for (let nth = 1; nth <= 7; nth++) {
    const made = record()
    await redis.client.set(`${keyPrefix}sid`, '{"cookie":{},"userId":"ada"}')
    const pending = `@{${keyPrefix}${made.id}}`
    const store = await interrupted(t, keyPrefix, nth, async () => {
      await plain.adoption.discard('sid')
      await plain.delete(made.id)
      // Who looked before the end, and comes to claim after it.
      await redis.client.set(pending, `of another ${encode(made)}`, 'PX', 50)
    })
    const adopted = await store.adoption.adopt('sid', made).catch(() => null)
    t.equal(await redis.client.exists(made.id, `${keyPrefix}sid`), 0)
    t.same(await plain.find(made.id), nth === 7 ? adopted : null, `before command ${nth}`)
    await redis.client.del(pending)
  }
})

t.test('at whatever moment of its adoption the user is signed out everywhere, it is ended or listed', async (t) => {
  const keyPrefix = prefix()
  const plain = await openAdopting(t, redis.url, { prefix: keyPrefix })
  const outcomes: string[] = []
  for (let nth = 1; nth <= 6; nth++) {
    const made = record()
    await redis.client.set(`${keyPrefix}sid`, '{"cookie":{},"userId":"ada"}')
    const store = await interrupted(t, keyPrefix, nth, () => plain.deleteByUser('ada'))
    const adopted = await store.adoption.adopt('sid', made)
    t.equal((await plain.listByUser('ada')).length, adopted === null ? 0 : 1)
    t.equal(await redis.client.exists(`${keyPrefix}sid`, `@{${keyPrefix}${made.id}}`), 0)
    outcomes.push(adopted === null ? 'ended' : 'lives')
    await plain.deleteByUser('ada')
    t.equal(await plain.find(made.id), null)
  }
  // Not known here, not known here, not known here, announced, confirmed, taken.
  t.strictSame(outcomes, ['lives', 'lives', 'lives', 'ended', 'ended', 'ended'])
})

ofEach('a logout while Redis is down ends the session when it is back, also one not adopted yet', async (t, library) => {
  const own = await startRedis(t)
  const subject = await open(t, library, {}, {}, own)
  const { shop, keyPrefix } = subject
  const jar = await signedIn(subject)
  const old = jar.copy()
  own.pause()
  t.equal((await jar.post(shop, '/out')).status, 503)
  t.strictSame([...jar.cookies.keys()], [], 'the cookie is gone at once')
  own.resume()
  await until('Redis to be back', async () => (await new Jar().get(shop, '/public')).status === 200 && (await shop.sessions.health()).ok)
  await until('the end', async () => (await own.client.keys(`${keyPrefix}*`)).length === 0)
  t.equal(await old.user(shop), null)
})

ofEach('while Redis is down nobody is taken for signed out', async (t, library) => {
  const own = await startRedis(t)
  const subject = await open(t, library, {}, {}, own)
  const jar = await signedIn(subject)
  own.pause()
  const answer = await jar.get(subject.shop, '/me')
  t.match(answer, { status: 503, body: { code: 'ERR_SESSION_STORE_UNAVAILABLE' } })
  t.strictSame(answer.setCookies, [])
  own.resume()
  await until('Redis to be back', async () => (await subject.shop.sessions.health()).ok)
  t.equal(await jar.user(subject.shop), 'ada')
})

ofEach('while another process holds the claim nobody is taken for signed out', async (t, library) => {
  const { shop, keyPrefix, peer } = await open(t, library)
  const jar = await signedIn({ peer })
  const id = adoptedToken(sidOf(library, jar), OLD).slice(0, 22)
  await redis.client.set(`@{${keyPrefix}${id}}`, 'of a process that stopped', 'PX', 10_000)
  t.match(await jar.get(shop, '/me'), { status: 503, body: { code: 'ERR_SESSION_STORE_UNAVAILABLE' } })
  await redis.client.del(`@{${keyPrefix}${id}}`)
  t.equal(await jar.user(shop), 'ada')
})

ofEach('an old cookie whose session has expired or was destroyed is nobody\'s, and answered at once', async (t, library) => {
  const subject = await open(t, library)
  const { peer, shop, keyPrefix } = subject
  const expired = await signedIn(subject)
  await redis.client.del(keyPrefix + sidOf(library, expired))
  const destroyed = await signedIn(subject)
  const cookie = destroyed.copy()
  await destroyed.post(peer, '/out')
  for (const jar of [expired, cookie]) {
    const startedAt = performance.now()
    t.equal(await jar.user(shop), null)
    t.ok(performance.now() - startedAt < 250, 'without waiting')
    t.same((await jar.get(shop, '/data')).body, {})
    t.equal((await jar.post(shop, '/auth/login', { username: 'bob', password: 'x' })).status, 200)
    t.equal(await jar.user(shop), 'bob')
    t.strictSame([...jar.cookies.keys()], ['sid'])
  }
  t.equal((await keysOf(redis.client, keyPrefix)).filter((key) => key.startsWith(keyPrefix)).length, 2)
})

ofEach('an anonymous session comes along with its data, and is of nobody', async (t, library) => {
  const { peer, shop, keyPrefix } = await open(t, library, {}, { saveUninitialized: true })
  const jar = new Jar()
  await jar.post(peer, '/put/cart', 3)
  t.equal(await jar.user(shop), null)
  t.same((await jar.get(shop, '/data')).body, { cart: 3 })
  t.equal((await jar.get(peer, '/data')).body.cart, undefined)
  t.strictSame((await redis.client.keys(`@${keyPrefix}*`)), [])
  const planted = jar.copy()
  await jar.post(shop, '/in/ada')
  t.equal(await planted.user(shop), null, 'a session from before the sign-in is worthless')
})

ofEach('the user may have been kept elsewhere', async (t, library) => {
  const ofPassport = library === 'express-session' ? (data: any) => data.passport?.user : (data: any) => data.passport
  for (const [path, userIdFrom] of [['/user/ada', (data: any) => data.user?.id], ['/passport/ada', ofPassport]] as const) {
    const { peer, shop } = await open(t, library, { userIdFrom })
    const jar = new Jar()
    await jar.post(peer, path)
    t.equal(await jar.user(shop), 'ada')
    t.equal((await shop.sessions.listByUser('ada')).length, 1)
  }
  const { peer, shop } = await open(t, library)
  const number = new Jar()
  await number.post(peer, '/number/42')
  t.equal(await number.user(shop), '42')
  t.equal((await shop.sessions.listByUser(42)).length, 1)
})

ofEach('a cookie of another name is read by it, and every secret verifies', async (t, library) => {
  for (const [each, old] of [OLD, secret, 'the one between them'].entries()) {
    const { peer, shop } = await open(t, library, { cookieName: ['id', 'app.sid'], secret: [secret, OLD, 'the one between them'] }, { name: 'app.sid', secret: old })
    const jar = await signedIn({ peer })
    t.ok(jar.cookies.has('app.sid'))
    t.equal(await jar.user(shop), 'ada', `secret ${each}`)
    t.strictSame([...jar.cookies.keys()], ['id'])
    t.equal(await jar.user(shop), 'ada')
  }
})

ofEach('an adopted session has our timeouts from then on', async (t, library) => {
  const { peer, shop, keyPrefix } = await open(t, library, { idleTimeout: '20m', absoluteTimeout: '2h' }, { ttl: 50 })
  const jar = await signedIn({ peer })
  const { body } = await jar.get(shop, '/me')
  const left = await redis.client.pttl(keyPrefix + body.id)
  t.ok(left > 19 * MINUTE && left <= 20 * MINUTE)
  t.equal(body.expiresAt - body.lastSeenAt, 20 * MINUTE)
  for (let aged = 0; aged < 105; aged += 15) {
    await age(redis.client, keyPrefix, 15 * MINUTE)
    t.equal(await jar.user(shop), 'ada')
  }
  await age(redis.client, keyPrefix, 15 * MINUTE)
  t.equal(await jar.user(shop), null, 'however busy it is')
})

ofEach('a cookie that ended with the browser does so still', async (t, library) => {
  for (const [maxAge, own, persists] of [[undefined, undefined, false], [DAY, undefined, true], [DAY, false, false]] as const) {
    const { peer, shop } = await open(t, library, { cookie: { secure: false, ...own !== undefined && { maxAge: own } } }, { ...maxAge !== undefined && { maxAge } })
    const jar = await signedIn({ peer })
    const [cookie = ''] = (await jar.get(shop, '/me')).setCookies
    t.match(cookie, /^sid=/)
    t.equal(/Max-Age/.test(cookie), persists, cookie)
  }
})

ofEach('sessions that wait to be adopted are no sessions of ours, and nothing to tell of', async (t, library) => {
  const { peer, shop, keyPrefix } = await open(t, library)
  const jars = await Promise.all(['ada', 'bob', 'mallory'].map((user) => signedIn({ peer }, user)))
  await jars[0]?.get(shop, '/me')
  for (let each = 0; each < 3; each++) {
    const listed: string[] = []
    for await (const { userId } of shop.sessions.listAll()) listed.push(userId)
    t.strictSame(listed, ['ada'])
  }
  t.strictSame(shop.lines.filter(({ msg }) => /cannot be read/.test(msg)), [])
  t.strictSame(await shop.sessions.listByUser('bob'), [])
  await redis.client.set(`${keyPrefix}broken`, 'x')
  for await (const session of shop.sessions.listAll()) t.ok(session)
  t.equal(shop.lines.filter(({ msg }) => /cannot be read/.test(msg)).length, 1)
})

ofEach('nothing that is shown holds an old session id, a token or a cookie', async (t, library) => {
  const { peer, shop } = await open(t, library)
  const jar = await signedIn({ peer })
  const secrets = [sidOf(library, jar), decodeURIComponent(jar.cookies.get(LIBRARIES[library].cookie) ?? '')]
  const waiting = await signedIn({ peer }, 'bob')
  secrets.push(sidOf(library, waiting))
  for (const path of ['/me', '/data', '/auth/info', '/auth/sessions', '/recent']) await jar.get(shop, path)
  secrets.push(jar.cookies.get('sid') ?? '', (jar.cookies.get('sid') ?? '').split('.')[1] ?? '')
  const shown: unknown[] = [await shop.sessions.listByUser('ada')]
  for await (const session of shop.sessions.listAll()) shown.push(session)
  await jar.post(shop, '/out')
  await until('the events', () => shop.events.length > 0)
  const seen = JSON.stringify([shown, shop.events, shop.lines, ...jar.seen])
  t.ok(secrets.every((each) => each.length > 20))
  t.strictSame(secrets.filter((each) => seen.includes(each)), [])
})

ofEach('bearer clients are served beside, and never both ways at once', async (t, library) => {
  const { peer, shop } = await open(t, library, { bearer: true })
  const jar = await signedIn({ peer })
  const { headers } = await shop.sessions.create({ userId: 'bob', kind: 'bearer' })
  const me = (more: Record<string, string>) => shop.inject({ url: '/me', headers: { ...headers, ...more } as Record<string, string> })
  t.match((await me({})).json(), { userId: 'bob', kind: 'bearer' })
  t.match(await me({ cookie: jar.header }), { statusCode: 400 })
  t.equal(await jar.user(shop), 'ada')
  t.match((await jar.get(shop, '/me')).body, { kind: 'cookie' })
  t.equal((await shop.inject({ url: '/me', headers: { authorization: `Bearer ${jar.cookies.get('sid') ?? ''}` } })).statusCode, 401)
})

ofEach('a cookie that nobody signed adopts nothing', async (t, library) => {
  const { peer, shop, keyPrefix } = await open(t, library)
  const ada = await signedIn({ peer })
  const sid = sidOf(library, ada)
  const { id } = (await (await signedIn({ peer }, 'bob')).get(shop, '/me')).body
  const mallory = new Jar()
  const { cookie, sign } = LIBRARIES[library]
  const other = library === 'express-session' ? LIBRARIES['@fastify/session'] : LIBRARIES['express-session']
  const own = ada.cookies.get(cookie) ?? ''
  for (const value of [sid, `s:${sid}`, `s:${sid}.x`, `${sid}.x`, `${sid}.`, sign(sid, 'guess'), other.sign(sid, OLD), decodeURIComponent(`${own}x`), decodeURIComponent(own).slice(0, -1), '%', 's:.', '.', adoptedToken(sid, 'guess')]) {
    for (const name of [cookie, 'sid']) {
      mallory.cookies.clear()
      mallory.cookies.set(name, encodeURIComponent(value))
      t.equal(await mallory.user(shop), null, value)
    }
  }
  t.equal(await redis.client.exists(keyPrefix + sid), 1)
  // A public handle, signed as if it were a session id of the other library: the record there is none of its.
  mallory.cookies.clear()
  mallory.cookies.set(cookie, encodeURIComponent(sign(id, OLD)))
  t.equal(await mallory.user(shop), null)
  await mallory.copy().post(shop, '/auth/logout')
  t.ok(await shop.sessions.get(id), 'and nothing has ended')
  mallory.cookies.set(cookie, `${own}; ${cookie}=${own}`)
  t.equal(await mallory.user(shop), null, 'two of one name')
  t.equal(await ada.user(shop), 'ada')
})

ofEach('whatever lies under an old session id, nobody is signed in by it and nothing breaks', async (t, library) => {
  const { peer, shop, keyPrefix } = await open(t, library)
  const jar = await signedIn({ peer })
  const key = keyPrefix + sidOf(library, jar)
  const hostile = ['', 'x', '5', 'null', '[]', '{}', '{"userId":"ada"}', '{"cookie":5,"userId":"ada"}', '{"cookie":null,"userId":"ada"}', '{"cookie":'.repeat(100_000), `{"cookie":{},"userId":"ada","deep":${'['.repeat(20_000)}${']'.repeat(20_000)}}`,
    '{"cookie":{},"userId":{"a":1}}', '{"cookie":{},"userId":true}', '{"cookie":{},"userId":["ada"]}', '{"cookie":{},"userId":""}', `{"cookie":{},"userId":"${'x'.repeat(256)}"}`, '{"cookie":{},"__proto__":{"userId":"ada"}}', encode(record({ id: sidOf(library, jar) })), Buffer.from([0xff, 0xfe])]
  for (const value of hostile) {
    for (const [method, path] of [['GET', '/me'], ['GET', '/data'], ['POST', '/put/cart'], ['POST', '/auth/logout']] as const) {
      await redis.client.set(key, value)
      const visitor = jar.copy()
      const { status } = await visitor.request(shop, method, path, method === 'POST' ? 1 : undefined)
      t.ok(status < 500 && (path !== '/me' || status === 401), `${path} ${status}: ${value.toString().slice(0, 60)}`)
      await visitor.post(shop, '/out')
    }
  }
  await redis.client.del(key)
  await redis.client.hset(key, 'userId', 'ada')
  t.equal(await jar.copy().user(shop), null)
})

ofEach('whoever is signed in while a session is adopted is who was signed in last', async (t, library) => {
  const { peer, shop } = await open(t, library)
  for (let round = 0; round < 40; round++) {
    const jar = await signedIn({ peer })
    await Promise.all([jar.copy().get(shop, '/me'), jar.copy().post(peer, '/assign/bob'), jar.copy().get(shop, '/me')])
    const { body } = await jar.copy().get(shop, '/me')
    t.same(await shop.sessions.data(body.id), { userId: body.userId }, 'the data says the same')
    const lists = await Promise.all(['ada', 'bob'].map(async (user) => (await shop.sessions.listByUser(user)).map(({ id }) => id)))
    t.same(lists, body.userId === 'ada' ? [[body.id], []] : [[], [body.id]])
    await shop.sessions.revoke(body.id)
  }
})

ofEach('signing a user out everywhere ends a session of theirs that is just being adopted', async (t, library) => {
  const { peer, shop } = await open(t, library)
  for (let round = 0; round < 50; round++) {
    const jar = await signedIn({ peer })
    const first = jar.copy().get(shop, '/me')
    await shop.sessions.revokeUser('ada')
    const { status } = await first
    t.ok(status < 500)
    // It was revoked, or it was not yet known here.
    const listed = await shop.sessions.listByUser('ada')
    t.equal(listed.length, await jar.copy().user(shop) === null ? 0 : 1)
    await shop.sessions.revokeUser('ada')
    t.equal(await jar.copy().user(shop), null)
  }
})

ofEach('with our RedisStore in an old application that goes on, its slow request does not bring back an ended session', async (t, library) => {
  const keyPrefix = prefix()
  const store = new RedisStore({ client: redis.client, prefix: keyPrefix })
  t.teardown(() => store.close())
  const peer = await LIBRARIES[library].start(t, { keyPrefix, store })
  const shop = await startShop(t, { redis: redis.url, keyPrefix, adopt: library, secret: [secret, OLD] })
  const jar = await signedIn({ peer })
  const gate = new Gate()
  peer.gates.set('slow', gate)
  const slow = jar.copy().post(peer, '/slow/slow', 1)
  await gate.reached
  const old = jar.copy()
  t.equal(await jar.user(shop), 'ada')
  await jar.post(shop, '/out')
  gate.open()
  t.equal((await slow).status, 200)
  t.equal(await old.user(shop), null)
})

ofEach('requests at once of two processes to a session just adopted all keep their change', async (t, library) => {
  const { peer, shop, keyPrefix } = await open(t, library)
  const second = await startShop(t, { redis: redis.url, keyPrefix, adopt: library, secret: [secret, OLD] })
  const jar = await signedIn({ peer })
  const all = Array.from({ length: 100 }, (_, each) => `key${each}`)
  const keys = [...all]
  // As many at once as a page may send; more would be a matter of the time a request has.
  while (keys.length > 0) {
    const answers = await Promise.all(keys.splice(0, 20).map((key, each) => jar.copy().post(each % 2 === 0 ? shop : second, `/put/${key}`, 1)))
    t.strictSame(answers.filter(({ status }) => status !== 200), [])
  }
  t.same((await jar.get(shop, '/data')).body, { userId: 'ada', ...Object.fromEntries(all.map((key) => [key, 1])) })
})

ofEach('on a Cluster it is the same', async (t, library) => {
  const cluster = await startCluster(t)
  const keyPrefix = prefix()
  const store = new RedisStore({ client: cluster.client, prefix: keyPrefix })
  t.teardown(() => store.close())
  const peer = await LIBRARIES[library].start(t, { keyPrefix, store })
  const shop = await startShop(t, { redis: { cluster: cluster.nodes }, keyPrefix, adopt: library, secret: [secret, OLD] })
  for (let round = 0; round < 10; round++) {
    const jar = await signedIn({ peer })
    const answers = await Promise.all(Array.from({ length: 10 }, () => jar.copy().get(shop, '/me')))
    t.equal(new Set(answers.map(({ status, body }) => `${status} ${body.id}`)).size, 1)
    t.equal(answers[0]?.status, 200)
    await jar.copy().post(shop, '/out')
    t.equal(await jar.user(shop), null)
  }
  t.strictSame((await keysOf(cluster.client, keyPrefix)).filter((key) => key.startsWith(keyPrefix)), [])
})

ofEach('with a near-cache in every process it is the same', async (t, library) => {
  const { peer, shop, keyPrefix } = await open(t, library, { nearCache: true })
  const second = await startShop(t, { redis: redis.url, keyPrefix, adopt: library, secret: [secret, OLD], nearCache: true })
  for (let round = 0; round < 10; round++) {
    const jar = await signedIn({ peer })
    const old = jar.copy()
    const answers = await Promise.all(Array.from({ length: 10 }, (_, each) => jar.copy().get(each % 2 === 0 ? shop : second, '/me')))
    t.equal(new Set(answers.map(({ status, body }) => `${status} ${body.id}`)).size, 1)
    t.equal(answers[0]?.status, 200)
    t.equal(await jar.user(second), 'ada')
    await old.copy().post(shop, '/out')
    await until('its end', async () => await jar.copy().user(second) === null && await old.copy().user(second) === null)
    t.equal(await old.user(shop), null)
  }
  t.strictSame((await keysOf(redis.client, keyPrefix)).filter((key) => key.startsWith(keyPrefix)), [])
})

ofEach('an end that the old application has written down counts if it would refuse the session for it', async (t, library) => {
  const { peer, shop, keyPrefix } = await open(t, library, {}, { maxAge: DAY })
  const [here, there] = [await signedIn({ peer }), await signedIn({ peer })]
  for (const jar of [here, there]) {
    const key = keyPrefix + sidOf(library, jar)
    const { cookie, ...data } = JSON.parse(await redis.client.get(key) as string)
    t.type(cookie.expires, 'string')
    await redis.client.set(key, JSON.stringify({ cookie: { ...cookie, expires: new Date(Date.now() - MINUTE) }, ...data }), 'KEEPTTL')
  }
  const user = (await there.get(peer, '/data')).body.userId ?? null
  // Use of a session of Express moves its end in Redis alone.
  t.equal(user, library === 'express-session' ? 'ada' : null)
  t.equal(await here.user(shop), user)
})

ofEach('after a rollback all are signed in who were not taken over yet, and deployed again each is whoever signed in last', async (t, library) => {
  const { peer, shop, keyPrefix } = await open(t, library)
  const there = async (jar: Jar): Promise<unknown> => (await jar.get(peer, '/data')).body.userId ?? null
  const [ada, bob, carol] = [await signedIn({ peer }), await signedIn({ peer }, 'bob'), await signedIn({ peer }, 'carol')]
  await bob.post(peer, '/put/cart', 1)
  const carols = carol.copy()
  t.strictSame([await ada.user(shop), await carol.user(shop)], ['ada', 'carol'])

  t.strictSame([await there(ada), await there(carol), await there(carols), await there(bob)], [null, null, null, 'bob'])
  await ada.post(peer, '/login/mallory')
  await bob.post(peer, '/put/cart', 2)
  t.strictSame([await there(ada), await there(bob)], ['mallory', 'bob'])

  // Under another name, so that what browsers still hold of the first time is not read.
  const again = await startShop(t, { redis: redis.url, keyPrefix, adopt: library, secret: [secret, OLD], cookieName: ['sid2', LIBRARIES[library].cookie] })
  t.strictSame([await ada.user(again), await bob.user(again), await carol.user(again)], ['mallory', 'bob', null])
  t.same((await bob.get(again, '/data')).body, { userId: 'bob', cart: 2 })
})

t.test('a cookie that an application signed for another purpose names a session if its value is the id of one, as at @fastify/session', async (t) => {
  const { peer, shop } = await open(t, '@fastify/session')
  const [ada, bob, mallory] = [await signedIn({ peer }), await signedIn({ peer }, 'bob'), new Jar()]
  const { body: { id } } = await ada.get(shop, '/me')
  const signed = async (value: string): Promise<void> => {
    mallory.cookies.clear()
    await mallory.post(peer, `/prefer/${value}`)
    const cookie = mallory.cookies.get('preference') ?? ''
    t.ok(unsignFastifyCookie(cookie, [OLD]), 'the signature is good')
    mallory.cookies.clear()
    for (const name of ['sessionId', 'sid']) mallory.cookies.set(name, cookie)
  }
  for (const value of ['dark', 'ada', id, `${id}.`]) {
    await signed(value)
    t.equal(await mallory.copy().user(shop), null, value)
    for (const path of ['/auth/logout', '/out', '/destroy']) await mallory.copy().post(shop, path)
  }
  t.equal(await ada.user(shop), 'ada')
  await signed(sidOf('@fastify/session', bob))
  t.equal((await mallory.get(peer, '/data')).body.userId, 'bob')
  t.equal(await mallory.user(shop), 'bob')
})

t.test('sessions of @fastify/session with the cookiePrefix of Express are taken over as those of express-session', async (t) => {
  const keyPrefix = prefix()
  const peer = await startFastifySession(t, { client: redis.client, keyPrefix, session: { secret: [OLD], cookiePrefix: 's:' } })
  const shop = await startShop(t, { redis: redis.url, keyPrefix, adopt: 'express-session', cookieName: ['sid', 'sessionId'], secret: [secret, OLD] })
  const jar = await signedIn({ peer })
  t.equal(await jar.user(shop), 'ada')
  t.strictSame([...jar.cookies.keys()], ['sid'])
})

t.test('expressSession: \'adopt\' is adopt: \'express-session\' by its former name, with one warning', async (t) => {
  const warnings = ({ lines }: Shop) => lines.filter(({ level }) => level === 40).map(({ msg }) => msg).filter((msg) => msg.includes('adopt'))
  const { peer, shop } = await open(t, 'express-session', { adopt: undefined, expressSession: 'adopt' })
  t.strictSame(warnings(shop), ['expressSession: \'adopt\' is called adopt: \'express-session\' now'])
  const jar = await signedIn({ peer })
  t.equal(await jar.user(shop), 'ada')
  t.strictSame([...jar.cookies.keys()], ['sid'])
  t.strictSame(warnings((await open(t, 'express-session')).shop), [])
})
