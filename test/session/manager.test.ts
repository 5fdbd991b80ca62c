import { AsyncLocalStorage, createHook } from 'node:async_hooks'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { inspect } from 'node:util'
import expressSession from 'express-session'
import t from 'tap'
import { withDeadline } from '../../lib/util/deadline.ts'
import { MemoryStore, RedisStore, SessionManager } from '../../lib/index.ts'
import type { Bus, CreateSession, JsonObject, SessionData, SessionEvent, SessionInfo, SessionManagerOptions, SessionRecord } from '../../lib/index.ts'
import { errors } from '../../lib/errors.ts'
import { connect, disconnectNow } from '../../lib/redis/connection.ts'
import { RESERVED_NAMES } from '../../lib/session/data.ts'
import { fromBearer, newId, newToken, Signature, toBearer } from '../../lib/session/token.ts'
import { secret } from '../helpers/app.ts'
import { inMemory, inRedis, onBothStores, openManager } from '../helpers/managers.ts'
import type { Sessions } from '../helpers/managers.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { proxied } from '../helpers/proxied.ts'
import { DAY, HOUR, MINUTE, record } from '../helpers/record.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { keysOf, openStore } from '../helpers/redis-store.ts'
import { Gate, SpyStore } from '../helpers/spy-store.ts'

const redis = await startRedis(t)
const both = onBothStores(t, redis)

/** What can be no id of a session. */
const NO_IDS = [undefined, null, '', 0, 42, true, {}, [], () => {}, Symbol('id'), '__proto__', 'constructor', '*', 'x'.repeat(22) + '\n', 'x'.repeat(21), 'x'.repeat(23), 'x'.repeat(1e5), '\0'.repeat(22)]

/** Plain JavaScript can pass anything. */
function any (value: unknown): never {
  return value as never
}

async function collected<T> (items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

/** The ids, in an order that does not matter. */
function ids (infos: SessionInfo[]): string[] {
  return infos.map(({ id }) => id).sort()
}

/** The secret half of what a client holds. */
function tokenOf (sessions: { token: string }): string {
  return fromBearer(sessions.token) ?? sessions.token.split('.').slice(0, 2).join('.')
}

// -- create -------------------------------------------------------------------------------------------

both('whoever is given a session is signed in by it', async (t, open) => {
  const { sessions, store } = await open()
  const { token, session, headers } = await sessions.create({ userId: 'ada', label: 'phone', meta: { app: ['2.1'] }, data: { cart: ['book'] } })
  const now = Math.floor(store.now())
  t.match(session, { userId: 'ada', kind: 'cookie', label: 'phone', meta: { app: ['2.1'] }, ip: null, userAgent: null })
  t.strictSame(Object.keys(session).sort(), ['actor', 'authenticatedAt', 'createdAt', 'deviceBound', 'endsAt', 'expiresAt', 'id', 'idp', 'ip', 'kind', 'label', 'lastSeenAt', 'meta', 'methods', 'remembered', 'userAgent', 'userId'])
  t.ok(Math.abs(session.createdAt - now) < 5000)
  t.equal(session.authenticatedAt, session.createdAt)
  t.equal(session.lastSeenAt, session.createdAt)
  t.equal(session.expiresAt, session.createdAt + 30 * MINUTE)
  t.ok([session, session.meta, session.meta?.app].every(Object.isFrozen), 'nobody changes it by accident')
  t.strictSame(headers, { cookie: `sid=${token}` })
  t.strictSame(await sessions.find(token), session)
  t.strictSame(await sessions.get(session.id), session)
  t.strictSame(await sessions.data(session.id), { cart: ['book'], userId: 'ada' }, 'where request.session has it')
})

both('a bearer token is for clients without cookies', async (t, open) => {
  const { sessions } = await open({ bearer: true })
  const { token, session, headers } = await sessions.create({ userId: 'ada', kind: 'bearer' })
  t.equal(session.kind, 'bearer')
  t.match(token, /^fus_[\w-]{22}\.[\w-]{32}\.[\w-]{6}$/)
  t.strictSame(headers, { authorization: `Bearer ${token}` })
  t.strictSame(await sessions.find(token), session)
  t.strictSame(await sessions.fromRequest({ headers }), session)
})

both('a user\'s id may be a string, a number or a bigint, and is listed as text', async (t, open) => {
  const { sessions } = await open()
  for (const [userId, text] of [['ada', 'ada'], [42, '42'], [0, '0'], [-1.5, '-1.5'], [2n ** 70n, String(2n ** 70n)], ['x'.repeat(255), 'x'.repeat(255)], ['__proto__', '__proto__'], ['a:b{c}*\n☃', 'a:b{c}*\n☃']] as const) {
    const { session } = await sessions.create({ userId })
    t.equal(session.userId, text)
    t.strictSame(ids(await sessions.listByUser(userId)), [session.id])
    t.strictSame(ids(await sessions.listByUser(text)), [session.id])
    t.strictSame(await sessions.data(session.id), { userId: typeof userId === 'bigint' ? text : userId })
  }
})

both('what cannot be kept is refused, and nobody is signed in', async (t, open) => {
  const { sessions } = await open()
  const cyclic: JsonObject = {}
  cyclic.self = cyclic
  const deep = JSON.parse('{"a":'.repeat(101) + '1' + '}'.repeat(101)) as JsonObject
  for (const wrong of [
    ...[undefined, null, '', NaN, Infinity, true, {}, [], ['ada'], Symbol('ada'), () => 'ada', 'x'.repeat(256), 10n ** 255n].map((userId) => ({ userId })),
    ...['', 'Cookie', 'jwt', null, 1, ['bearer']].map((kind) => ({ kind })),
    ...['x'.repeat(201), 1, {}, ['phone']].map((label) => ({ label })),
    ...['x', 1, [], { a: 'x'.repeat(4096) }, { a: 1n }, cyclic, new Date(NaN), { toJSON: () => 'x' }].map((meta) => ({ meta })),
    ...['x', 1, true, [], ['book'], null, () => {}, { a: 1n }, cyclic, deep].map((data) => ({ data })),
    ...[0, -1, NaN, Infinity, '', 'soon', '11 years', null, {}, '1'.repeat(101)].flatMap((timeout) => [{ idleTimeout: timeout }, { absoluteTimeout: timeout }])
  ]) {
    await t.rejects(sessions.create({ userId: 'ada', ...wrong } as unknown as CreateSession), TypeError, inspect(wrong, { depth: 1, maxStringLength: 30, breakLength: Infinity }))
  }
  t.strictSame(await collected(sessions.listAll()), [])
})

both('data cannot take the place of what request.session itself has', async (t, open) => {
  const { sessions } = await open()
  const { session } = await sessions.create({ userId: 'ada' })
  for (const name of RESERVED_NAMES) {
    const data = JSON.parse(`{"${name}":1}`) as JsonObject
    await t.rejects(sessions.create({ userId: 'bob', data }), { code: 'ERR_SESSION_RESERVED_KEY', statusCode: 500 }, name)
    await t.rejects(sessions.update(session.id, () => data), { code: 'ERR_SESSION_RESERVED_KEY' }, name)
  }
  t.strictSame(await sessions.listByUser('bob'), [])
  t.strictSame(await sessions.data(session.id), { userId: 'ada' })
})

both('data says who is signed in, whatever it was given', async (t, open) => {
  const { sessions } = await open()
  const { session } = await sessions.create({ userId: 'ada', data: { userId: 'bob', cart: 1 } })
  t.equal(session.userId, 'ada')
  t.strictSame(await sessions.data(session.id), { userId: 'ada', cart: 1 })
  const { sessions: others } = await open({ userIdFrom: (data) => data.user })
  const { session: other } = await others.create({ userId: 'ada', data: { user: 'ada' } })
  t.strictSame(await others.data(other.id), { user: 'ada' }, 'elsewhere where that is kept elsewhere')
})

both('a session has the timeouts it was given, never longer than its absolute one', async (t, open) => {
  const { sessions, age } = await open({ idleTimeout: '20m', absoluteTimeout: '2h' })
  const lasting = async (timeouts: Partial<CreateSession>) => {
    const { session, token } = await sessions.create({ userId: 'ada', ...timeouts })
    return { token, ms: session.expiresAt - session.createdAt }
  }
  t.equal((await lasting({})).ms, 20 * MINUTE)
  t.equal((await lasting({ idleTimeout: '5m' })).ms, 5 * MINUTE)
  t.equal((await lasting({ idleTimeout: 1500.7 })).ms, 1500)
  t.equal((await lasting({ idleTimeout: '3h' })).ms, 2 * HOUR, 'at most the absolute one')
  t.equal((await lasting({ absoluteTimeout: '10m' })).ms, 10 * MINUTE)
  const { token } = await lasting({ idleTimeout: '40m', absoluteTimeout: '1h' })
  await age(30 * MINUTE)
  t.ok(await sessions.find(token, { touch: true }))
  await age(29 * MINUTE)
  t.ok(await sessions.find(token, { touch: true }))
  await age(MINUTE)
  t.equal(await sessions.find(token), null, 'a busy session still ends at its absolute timeout')
})

both('one session too many ends the oldest, or is refused', async (t, open) => {
  const evicting = await open({ maxSessionsPerUser: 2 })
  const made: string[] = []
  for (const label of ['first', 'second', 'third']) {
    made.push((await evicting.sessions.create({ userId: 'ada', label })).session.id)
    await evicting.age(1000)
  }
  t.strictSame((await evicting.sessions.listByUser('ada')).map(({ label }) => label), ['third', 'second'])
  t.equal(await evicting.sessions.get(made[0] as string), null)

  const refusing = await open({ maxSessionsPerUser: 1, onLimit: 'reject' })
  const { session } = await refusing.sessions.create({ userId: 'ada' })
  await t.rejects(refusing.sessions.create({ userId: 'ada' }), { code: 'ERR_SESSION_LIMIT_REACHED', statusCode: 409 })
  t.ok((await refusing.sessions.create({ userId: 'bob' })).session, 'each user has a limit of their own')
  t.strictSame(ids(await refusing.sessions.listByUser('ada')), [session.id])
  const { session: bearer } = await refusing.sessions.create({ userId: 'ada', kind: 'bearer' })
  t.strictSame(ids(await refusing.sessions.listByUser('ada')), [session.id, bearer.id].sort(), 'a bearer token does not count')
  await refusing.sessions.revoke(session.id)
  t.ok((await refusing.sessions.create({ userId: 'ada' })).session)
})

// -- find ---------------------------------------------------------------------------------------------

both('what proves no session finds none', async (t, open) => {
  const { sessions } = await open({ bearer: true })
  const cookie = await sessions.create({ userId: 'ada' })
  const bearer = await sessions.create({ userId: 'ada', kind: 'bearer' })
  const ours = new Signature([secret])
  for (const [what, wrong] of [
    ['another secret of the same session', ours.sign(newToken(cookie.session.id).token)],
    ['another secret of the same session', toBearer(newToken(bearer.session.id).token)],
    ['another session', ours.sign(newToken(newId()).token)],
    ['another session', toBearer(newToken(newId()).token)],
    ['a cookie\'s token as a bearer token', toBearer(tokenOf(cookie))],
    ['a bearer token as a cookie', ours.sign(tokenOf(bearer))],
    ['no signature', tokenOf(cookie)],
    ['somebody else\'s signature', new Signature(['mallory has a secret of her own, 32']).sign(tokenOf(cookie))],
    ['the id alone', cookie.session.id],
    ['a changed checksum', bearer.token.slice(0, -1) + (bearer.token.endsWith('A') ? 'B' : 'A')],
    ['a changed signature', (cookie.token.at(0) === 'A' ? 'B' : 'A') + cookie.token.slice(1)],
    ['something before', `x${bearer.token}`],
    ['something behind', `${bearer.token} `],
    ['something behind', `${cookie.token}\n`],
    ['the whole header', `Bearer ${bearer.token}`],
    ['the whole header', `sid=${cookie.token}`],
    ...NO_IDS.map((each) => ['garbage', each] as const)
  ] as const) {
    t.equal(await sessions.find(any(wrong)), null, what)
    t.equal(await sessions.fromRequest({ headers: { cookie: any(`sid=${String(wrong)}`) } }), null, `${what}, in a cookie`)
    t.equal(await sessions.fromRequest({ headers: { authorization: `Bearer ${what === 'something behind' ? `${String(wrong)}x` : String(wrong)}` } }), null, `${what}, as bearer`)
  }
  t.ok(await sessions.find(cookie.token))
  t.ok(await sessions.find(bearer.token))
})

t.test('garbage costs the store nothing', async (t) => {
  const store = new SpyStore()
  const sessions = openManager(t, { store, bearer: true })
  const asked = await store.during(async () => {
    for (const garbage of [...NO_IDS, newToken(newId()).token, `fus_${newToken(newId()).token}.aaaaaa`]) {
      await sessions.find(any(garbage))
      await sessions.fromCookieHeader(any(garbage))
      await sessions.fromBearer(any(garbage))
      await sessions.fromRequest({ headers: { cookie: any(garbage), authorization: `Bearer ${String(garbage)}` } })
    }
    for (const garbage of NO_IDS) {
      await sessions.get(any(garbage))
      await sessions.data(any(garbage))
      await sessions.update(any(garbage), () => ({}))
      await sessions.touch(any(garbage))
      await sessions.revoke(any(garbage))
      await sessions.revoke(any(garbage), { userId: 'ada' })
    }
  })
  t.strictSame(asked, [])
})

both('a session that nobody uses ends, and nothing finds it then', async (t, open) => {
  const { sessions, age } = await open()
  const { token, session, headers } = await sessions.create({ userId: 'ada' })
  await age(30 * MINUTE - 5000)
  t.ok(await sessions.find(token))
  await age(5000)
  t.equal(await sessions.find(token), null)
  t.equal(await sessions.find(token, { touch: true }), null)
  t.equal(await sessions.fromRequest({ headers }), null)
  t.equal(await sessions.get(session.id), null)
  t.equal(await sessions.data(session.id), null)
  t.equal(await sessions.update(session.id, () => ({})), null)
  t.equal(await sessions.touch(session.id), false)
  t.equal(await sessions.revoke(session.id), false)
  t.equal(await sessions.revokeUser('ada'), 0)
  t.strictSame(await sessions.listByUser('ada'), [])
  t.strictSame(await collected(sessions.listAll()), [])
})

both('looking for a session is no use of it unless it is said to be', async (t, open) => {
  const { sessions, age } = await open({ bearer: true })
  for (const kind of ['cookie', 'bearer'] as const) {
    const { token, session, headers } = await sessions.create({ userId: 'ada', kind })
    const lookups = [
      (touch?: boolean) => sessions.find(token, { touch }),
      (touch?: boolean) => sessions.fromRequest({ headers }, { touch }),
      (touch?: boolean) => kind === 'cookie' ? sessions.fromCookieHeader(headers.cookie, { touch }) : sessions.fromBearer(headers.authorization, { touch })
    ]
    for (const lookup of lookups) {
      await age(10 * MINUTE)
      const before = await sessions.get(session.id)
      t.strictSame(await lookup(), before)
      t.strictSame(await lookup(false), before)
      t.strictSame(await sessions.get(session.id), before, 'a look')
      t.ok(await lookup(true))
      const after = await sessions.get(session.id) as SessionInfo
      t.ok(after.lastSeenAt - (before?.lastSeenAt ?? 0) >= 10 * MINUTE - 1000, 'a use')
      t.equal(after.expiresAt, after.lastSeenAt + 30 * MINUTE)
    }
  }
})

t.test('a use is written down once a tenth of the idle timeout has passed, as for requests', async (t) => {
  let now = 0
  const store = new SpyStore({ now: () => now })
  const sessions = openManager(t, { store })
  const { token } = await sessions.create({ userId: 'ada' })
  t.strictSame(await store.during(() => sessions.find(token, { touch: true })), ['find'])
  now += 3 * MINUTE
  t.strictSame(await store.during(() => sessions.find(token)), ['find'])
  t.strictSame(await store.during(() => sessions.find(token, { touch: true })), ['find', 'touch'])
})

t.test('a session that ends while its use is written down is not found', async (t) => {
  const { sessions, store, age } = inMemory(t)
  const { token, session } = await sessions.create({ userId: 'ada' })
  await age(5 * MINUTE)
  const touch = store.touch.bind(store)
  store.touch = async (record) => {
    await store.delete(session.id)
    return await touch(record)
  }
  t.equal(await sessions.find(token, { touch: true }), null)
})

both('a session is found in requests of Node, of Fastify and of fetch', async (t, open) => {
  const { sessions } = await open({ bearer: true })
  const cookie = await sessions.create({ userId: 'ada' })
  const bearer = await sessions.create({ userId: 'bob', kind: 'bearer' })
  const server = createServer(async (request, response) => {
    const found = await sessions.fromRequest(request).catch((error: Error & { code?: string }) => error)
    response.end(found instanceof Error ? found.code : found?.userId ?? 'nobody')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise((resolve) => server.close(resolve)))
  const { port } = server.address() as AddressInfo
  /** A request of `fetch` as the other side sees it, and as this one does. */
  const both = async (headers: Record<string, string>): Promise<string[]> => {
    const response = await fetch(`http://127.0.0.1:${port}/`, { headers })
    const found = await sessions.fromRequest(new Request('http://127.0.0.1/', { headers })).catch((error: { code?: string }) => ({ userId: error.code }))
    return [await response.text(), found?.userId ?? 'nobody']
  }
  t.strictSame(await both({ ...cookie.headers }), ['ada', 'ada'])
  t.strictSame(await both({ ...bearer.headers }), ['bob', 'bob'])
  t.strictSame(await both({ authorization: `bEARER   ${bearer.token}` }), ['bob', 'bob'])
  t.strictSame(await both({}), ['nobody', 'nobody'])
  t.strictSame(await both({ cookie: `a=b; sid=${cookie.token}; c=d`, authorization: 'Basic YWRhOmxvdmVsYWNl' }), ['ada', 'ada'], 'Basic is not ours')
  t.strictSame(await both({ ...cookie.headers, ...bearer.headers }), Array(2).fill('ERR_SESSION_AMBIGUOUS_CREDENTIALS'), 'whose is it?')
  t.strictSame(await both({ ...cookie.headers, authorization: 'Bearer garbage' }), Array(2).fill('ERR_SESSION_AMBIGUOUS_CREDENTIALS'))
  t.strictSame(await both({ cookie: 'sid=garbage', ...bearer.headers }), ['bob', 'bob'], 'a cookie that does not verify is nobody\'s')
})

both('a request may come with Headers of another implementation', async (t, open) => {
  const { sessions } = await open()
  const { token } = await sessions.create({ userId: 'ada' })
  class Other {
    readonly #cookie = `sid=${token}`
    get (name: string): string | null {
      return name.toLowerCase() === 'cookie' ? this.#cookie : null
    }
  }
  t.match(await sessions.fromRequest({ headers: new Other() }), { userId: 'ada' })
})

both('headers of an odd type carry nothing', async (t, open) => {
  const { sessions } = await open({ bearer: true })
  const { token } = await sessions.create({ userId: 'ada' })
  for (const odd of [undefined, null, 0, 1, true, {}, [], [`sid=${token}`], { toString: () => `sid=${token}` }, () => `sid=${token}`]) {
    t.equal(await sessions.fromRequest({ headers: { cookie: odd, authorization: odd, get: 'a header' } }), null)
    t.equal(await sessions.fromCookieHeader(any(odd)), null)
    t.equal(await sessions.fromBearer(any(odd)), null)
  }
  for (const headers of [{}, new Headers(), Object.create(null) as object]) t.equal(await sessions.fromRequest({ headers }), null)
})

both('a bearer token is read only where that is an option, whoever asks for it', async (t, open) => {
  const { sessions } = await open()
  const bearer = await sessions.create({ userId: 'bob', kind: 'bearer' })
  const cookie = await sessions.create({ userId: 'ada' })
  t.equal(await sessions.fromRequest({ headers: bearer.headers }), null)
  t.match(await sessions.fromRequest({ headers: { ...bearer.headers, ...cookie.headers } }), { userId: 'ada' })
  t.equal(await sessions.fromBearer(bearer.headers.authorization), null)
  t.equal(await sessions.find(bearer.token), null)
  t.match(await sessions.find(cookie.token), { userId: 'ada' }, 'a cookie is')
  t.match(await sessions.get(bearer.session.id), { userId: 'bob' }, 'though there is such a session')
})

both('a Cookie header is read as browsers write it, and two cookies of one name are none', async (t, open) => {
  const { sessions } = await open({ cookieName: ['sid', 'old'] })
  const { token } = await sessions.create({ userId: 'ada' })
  const { token: bobs } = await sessions.create({ userId: 'bob' })
  for (const header of [`sid=${token}`, `a=b; sid=${token}`, `a=b;sid=${token};c`, ` sid = ${token} `, `old=${token}`, `old=${bobs}; sid=${token}`]) {
    t.match(await sessions.fromCookieHeader(header), { userId: 'ada' }, header.replaceAll(token, '…'))
  }
  for (const header of ['', 'sid', 'sid=', ';', `SID=${token}`, `xsid=${token}`, `sid=${token}; sid=${token}`, `sid=${token}; sid=${bobs}`, `sid=; sid=${token}`, `sid=${token}x`, `sid="${token}"`, 'sid=' + 'x'.repeat(1e5), ';sid=x'.repeat(1e4)]) {
    t.equal(await sessions.fromCookieHeader(header), null, header.slice(0, 40))
  }
  t.equal(await sessions.fromCookieHeader(null), null)
  t.equal(await sessions.fromCookieHeader(undefined), null)
})

both('an Authorization header is read in any case and with any spaces, but of no other scheme', async (t, open) => {
  const { sessions } = await open({ bearer: true })
  const { token } = await sessions.create({ userId: 'ada', kind: 'bearer' })
  for (const header of [`Bearer ${token}`, `bearer ${token}`, `BEARER    ${token}`, `Bearer ${token}  `]) {
    t.match(await sessions.fromBearer(header), { userId: 'ada' }, header.replaceAll(token, '…'))
  }
  for (const header of ['', 'Bearer', 'Bearer ', token, `Basic ${token}`, `Token ${token}`, `Bearer${token}`, ` Bearer ${token}`, `Bearer ${token} ${token}`, `Bearer "${token}"`, `Bearer ${token.toUpperCase()}`, `Bearer ${' '.repeat(1e5)}x y`, `Bearer ${'x'.repeat(1e5)}`]) {
    t.equal(await sessions.fromBearer(header), null, header.slice(0, 40))
  }
  t.equal(await sessions.fromBearer(null), null)
})

both('rotating the secret signs nobody out', async (t, open) => {
  const { sessions, another } = await open({ bearer: true })
  const cookie = await sessions.create({ userId: 'ada' })
  const bearer = await sessions.create({ userId: 'ada', kind: 'bearer' })
  const tomorrow = 'the secret of tomorrow, of 32 characters or more'
  const rotated = await another({ bearer: true, secret: [tomorrow, secret] })
  t.strictSame(await rotated.find(cookie.token), cookie.session)
  t.ok(rotated.find((await rotated.create({ userId: 'bob' })).token))
  const forgotten = await another({ bearer: true, secret: tomorrow })
  t.equal(await forgotten.find(cookie.token), null)
  t.strictSame(await forgotten.find(bearer.token), bearer.session, 'bearer tokens are not signed')
})

// -- one session --------------------------------------------------------------------------------------

both('what is no session\'s id names no session', async (t, open) => {
  const { sessions } = await open()
  const { session } = await sessions.create({ userId: 'ada' })
  for (const id of [...NO_IDS, newId(), `${session.id}.`, ` ${session.id}`, 'user:ada']) {
    const what = inspect(id, { maxStringLength: 30 })
    t.equal(await sessions.get(any(id)), null, what)
    t.equal(await sessions.data(any(id)), null, what)
    t.equal(await sessions.update(any(id), () => { t.fail('there is nothing to change') }), null, what)
    t.equal(await sessions.touch(any(id)), false, what)
    t.equal(await sessions.revoke(any(id)), false, what)
    t.equal(await sessions.revoke(any(id), { userId: 'ada' }), false, what)
  }
  t.strictSame(await sessions.data(session.id), { userId: 'ada' })
})

both('what foreign hands stored under reserved names is not shown, and hinders no update', async (t, open) => {
  const { sessions, store } = await open()
  const { session } = await sessions.create({ userId: 'ada', data: { cart: 1 } })
  await store.update(await store.find(session.id) as SessionRecord, () => '{"cart":1,"constructor":2,"cookie":{},"userId":"ada"}')
  t.strictSame(await sessions.data(session.id), { cart: 1, userId: 'ada' })
  t.strictSame(await sessions.update(session.id, (data) => ({ ...data, cart: 2 })), { cart: 2, userId: 'ada' })
})

both('an anonymous session has data, but nobody is signed in by it', async (t, open) => {
  const { sessions, store } = await open()
  const { id, secretHash: _hash, ...anonymous } = record({ now: store.now(), userId: null, data: '{"cart":1}' })
  const { token, secretHash } = newToken(id)
  await store.begin({ ...anonymous, id, secretHash })
  t.equal(await sessions.get(id), null)
  t.equal(await sessions.find(new Signature([secret]).sign(token)), null)
  t.strictSame(await collected(sessions.listAll()), [])
  t.strictSame(await sessions.data(id), { cart: 1 })
  t.strictSame(await sessions.update(id, () => ({ cart: 2 })), { cart: 2 })
  await t.rejects(sessions.update(id, () => ({ userId: 'mallory' })), TypeError, 'nor can anybody be')
  t.equal(await sessions.touch(id), true)
  t.equal(await sessions.revoke(id, { userId: 'ada' }), false)
  t.equal(await sessions.revoke(id), true)
})

both('the data given out is a copy', async (t, open) => {
  const { sessions } = await open()
  const given = { cart: ['book'] }
  const { session } = await sessions.create({ userId: 'ada', data: given })
  given.cart.push('stolen')
  const data = await sessions.data(session.id) as { cart: string[] }
  t.strictSame(data, { cart: ['book'], userId: 'ada' })
  data.cart.push('stolen')
  let seen: { cart: string[] } = { cart: [] }
  const updated = await sessions.update(session.id, (present) => { seen = present as typeof seen }) as { cart: string[] }
  updated.cart.push('stolen')
  seen.cart.push('stolen')
  t.strictSame(await sessions.data(session.id), { cart: ['book'], userId: 'ada' })
})

both('data is changed by what the change returns, or by what it does', async (t, open) => {
  const { sessions, age } = await open()
  const { session } = await sessions.create({ userId: 7, data: { cart: ['book'] } })
  await age(MINUTE)
  const before = await sessions.get(session.id)
  t.strictSame(await sessions.update(session.id, (data) => { data.visits = 1 }), { cart: ['book'], userId: 7, visits: 1 })
  t.strictSame(await sessions.update(session.id, ({ cart: _cart, ...rest }) => ({ ...rest, theme: undefined as never, when: new Date(0) as never })), { userId: 7, visits: 1, when: '1970-01-01T00:00:00.000Z' }, 'as JSON has it')
  t.strictSame(await sessions.data(session.id), { userId: 7, visits: 1, when: '1970-01-01T00:00:00.000Z' })
  t.strictSame(await sessions.get(session.id), before, 'that was no use of the session')
})

both('no change of data signs anybody in or out', async (t, open) => {
  for (const [options, data, same] of [
    [{}, { userId: 7 }, { userId: '7' }],
    [{ userIdFrom: ({ passport }) => (passport as JsonObject | undefined)?.user }, { passport: { user: 7 } }, { passport: { user: '7' } }]
  ] satisfies Array<[Partial<SessionManagerOptions>, JsonObject, JsonObject]>) {
    const { sessions } = await open(options)
    const { session } = await sessions.create({ userId: 7, data })
    for (const wrong of [{}, { userId: 'bob', passport: { user: 'bob' } }, { userId: null, passport: { user: null } }, { userId: [7], passport: { user: [7] } }, { userId: 8, passport: { user: 8 } }]) {
      // Types refuse some of it.
      await t.rejects(sessions.update(session.id, () => wrong as SessionData), TypeError)
      await t.rejects(sessions.update(session.id, (present) => {
        for (const key of Object.keys(present)) delete present[key]
        Object.assign(present, wrong)
      }), TypeError, 'nor where it lies')
    }
    t.strictSame(await sessions.data(session.id), data)
    t.match(await sessions.get(session.id), { userId: '7' })
    t.strictSame(await sessions.update(session.id, () => same), same, 'who is the same as text is the same')
  }
})

both('what is no object is no data', async (t, open) => {
  const { sessions } = await open({ userIdFrom: () => 'ada' })
  const { session } = await sessions.create({ userId: 'ada', data: { cart: 1 } })
  const cyclic: JsonObject = {}
  cyclic.self = cyclic
  for (const wrong of ['x', 1, true, [], ['book'], () => {}, Symbol('x'), 1n, { a: 1n }, cyclic, JSON.parse('{"a":'.repeat(101) + '1' + '}'.repeat(101)), new Date(), Promise.resolve({ cart: 2 })]) {
    await t.rejects(sessions.update(session.id, () => any(wrong)), TypeError, inspect(wrong, { depth: 1, breakLength: Infinity }))
  }
  const failure = new Error('the application\'s own')
  t.equal(await sessions.update(session.id, () => { throw failure }).catch((error: unknown) => error), failure)
  t.strictSame(await sessions.data(session.id), { cart: 1 })
})

both('of a hundred changes at once none is lost', async (t, open) => {
  const { sessions, another } = await open()
  const others = [sessions, await another(), await another()]
  const { session } = await sessions.create({ userId: 'ada' })
  const results = await Promise.all(Array.from({ length: 100 }, async (_, each) => await (others[each % 3] as SessionManager).update(session.id, (data) => { data[`key${each}`] = each })))
  t.ok(results.every((data, each) => data?.[`key${each}`] === each))
  const data = await sessions.data(session.id) as JsonObject
  t.equal(Object.keys(data).length, 101)
  await Promise.all(Array.from({ length: 50 }, async (_, each) => await (others[each % 3] as SessionManager).update(session.id, (data) => ({ ...data, count: Number(data.count ?? 0) + 1 }))))
  t.equal((await sessions.data(session.id))?.count, 50, 'of one key neither')
})

both('changes and uses bring back no session that ended meanwhile', async (t, open) => {
  const { sessions, store } = await open()
  const { session, token } = await sessions.create({ userId: 'ada' })
  for (const method of ['update', 'touch'] as const) {
    const { session } = await sessions.create({ userId: 'ada' })
    const original = store[method].bind(store) as (...args: unknown[]) => Promise<never>
    // Between its being looked up and its being written.
    store[method] = async (...args: unknown[]) => {
      await sessions.revoke(session.id)
      return await original(...args)
    }
    t.equal(await (method === 'update' ? sessions.update(session.id, (data) => { data.cart = 1 }) : sessions.touch(session.id)), method === 'update' ? null : false)
    t.equal(await sessions.get(session.id), null)
    store[method] = original as never
  }
  await sessions.revoke(session.id)
  await Promise.all(Array.from({ length: 50 }, async () => await Promise.all([sessions.update(session.id, (data) => { data.cart = 1 }), sessions.touch(session.id), sessions.find(token, { touch: true })])))
  t.equal(await sessions.find(token), null)
  t.strictSame(await collected(sessions.listAll()), [])
})

both('touch counts as use', async (t, open) => {
  const { sessions, age } = await open()
  const { session } = await sessions.create({ userId: 'ada' })
  for (let hour = 0; hour < 3; hour++) {
    await age(20 * MINUTE)
    t.equal(await sessions.touch(session.id), true)
  }
  const { createdAt, lastSeenAt, expiresAt } = await sessions.get(session.id) as SessionInfo
  t.ok(lastSeenAt - createdAt >= HOUR - 1000)
  t.equal(expiresAt, lastSeenAt + 30 * MINUTE)
  await age(30 * MINUTE)
  t.equal(await sessions.touch(session.id), false)
})

// -- lists --------------------------------------------------------------------------------------------

both('a user\'s sessions are listed newest first, whatever was used last', async (t, open) => {
  const { sessions, age } = await open()
  const made: SessionInfo[] = []
  for (const kind of ['cookie', 'bearer', 'cookie'] as const) {
    made.unshift((await sessions.create({ userId: 'ada', kind, label: kind, meta: { kind } })).session)
    await age(1000)
  }
  await sessions.create({ userId: 'bob' })
  await sessions.create({ userId: 'ad' })
  await sessions.touch(made[2]?.id as string)
  const listed = await sessions.listByUser('ada')
  t.strictSame(listed.map(({ id }) => id), made.map(({ id }) => id))
  t.match(listed[1], { userId: 'ada', kind: 'bearer', label: 'bearer', meta: { kind: 'bearer' } })
  for (const info of listed) t.strictSame(info, await sessions.get(info.id))
  t.ok(listed.every(Object.isFrozen))
  await sessions.revoke(made[0]?.id as string)
  t.strictSame((await sessions.listByUser('ada')).map(({ id }) => id), [made[1]?.id, made[2]?.id])
  t.strictSame(await sessions.listByUser('nobody'), [])
})

both('which of them are listed is said by a number and a session, and by nothing else', async (t, open) => {
  const { sessions, age } = await open()
  const made: string[] = []
  for (let each = 0; each < 5; each++) {
    made.unshift((await sessions.create({ userId: 'ada' })).session.id)
    await age(1000)
  }
  const first = await sessions.listByUser('ada', { limit: 2 })
  t.strictSame(first.map(({ id }) => id), made.slice(0, 2))
  const [, last] = first as [SessionInfo, SessionInfo]
  for (const before of [last, { id: last.id, createdAt: last.createdAt }]) {
    t.strictSame((await sessions.listByUser('ada', { limit: 2, before })).map(({ id }) => id), made.slice(2, 4))
  }
  await sessions.revoke(last.id)
  t.strictSame((await sessions.listByUser('ada', { before: last })).map(({ id }) => id), made.slice(2), 'also where it has ended since')
  t.strictSame(await sessions.listByUser('bob', { limit: 1, before: last }), [])
  for (const wrong of [
    null, 1, [], 'x', { limits: 1 }, ...[0, -1, 1.5, 1001, NaN, '1', null].map((limit) => ({ limit })),
    ...[null, 1, 'x', [], {}, last.id, { id: last.id }, { createdAt: 1 }, { id: 1, createdAt: 1 }, { id: 'x', createdAt: -1 }, { id: 'x', createdAt: NaN }, { id: 'x', createdAt: '1' }].map((before) => ({ before }))
  ]) {
    await t.rejects(sessions.listByUser('ada', any(wrong)), TypeError, inspect(wrong))
  }
})

t.test('a user with more sessions than are listed at once has a next page', async (t) => {
  const { sessions } = await inRedis(t, redis, { maxSessionsPerUser: false })
  for (let from = 0; from < 1_010; from += 101) await Promise.all(Array.from({ length: 101 }, async () => await sessions.create({ userId: 'ada' })))
  const first = await sessions.listByUser('ada')
  t.equal(first.length, 1_000)
  const rest = await sessions.listByUser('ada', { before: first.at(-1) })
  t.equal(new Set([...first, ...rest].map(({ id }) => id)).size, 1_010)
})

both('sessions are asked for by nothing but a user\'s id', async (t, open) => {
  const { sessions } = await open()
  const { session } = await sessions.create({ userId: 'ada' })
  for (const wrong of [undefined, null, '', NaN, {}, [], ['ada'], true, 'x'.repeat(256), { toString: () => 'ada' }]) {
    await t.rejects(sessions.listByUser(any(wrong)), TypeError)
    await t.rejects(sessions.revokeUser(any(wrong)), TypeError)
    if (wrong !== undefined) await t.rejects(sessions.revoke(session.id, { userId: any(wrong) }), TypeError)
  }
  t.ok(await sessions.get(session.id))
})

both('all signed-in sessions can be gone through', async (t, open) => {
  const { sessions, store } = await open()
  const made: string[] = []
  for (let each = 0; each < 30; each++) made.push((await sessions.create({ userId: each % 7 })).session.id)
  for (let each = 0; each < 10; each++) await store.begin(record({ now: store.now(), userId: null }))
  const all = await collected(sessions.listAll())
  t.strictSame(ids(all), made.sort())
  t.ok(all.every(Object.isFrozen))
  for await (const { id } of sessions.listAll()) await sessions.revoke(id)
  t.strictSame(await collected(sessions.listAll()), [], 'also while they are being ended')
  const left = []
  for await (const info of (await open()).sessions.listAll()) left.push(info)
  t.strictSame(left, [], 'each application has its own')
})

// -- ending -------------------------------------------------------------------------------------------

both('a revoked session has ended, and it says whether there was one', async (t, open) => {
  const { sessions, another } = await open({ bearer: true })
  for (const kind of ['cookie', 'bearer'] as const) {
    const { session, token } = await sessions.create({ userId: 'ada', kind })
    const { token: other } = await sessions.create({ userId: 'ada', kind })
    t.equal(await sessions.revoke(session.id), true)
    t.equal(await sessions.revoke(session.id), false)
    t.equal(await sessions.find(token), null)
    t.equal(await (await another()).find(token), null)
    t.ok(await sessions.find(other))
  }
})

both('nobody ends what is somebody else\'s', async (t, open) => {
  const { sessions } = await open()
  const { session } = await sessions.create({ userId: 7 })
  for (const userId of ['mallory', 70, '07', 7.5, '7 ']) t.equal(await sessions.revoke(session.id, { userId }), false)
  t.ok(await sessions.get(session.id))
  for (const userId of [7, '7', 7n]) {
    const { session } = await sessions.create({ userId: 7 })
    t.equal(await sessions.revoke(session.id, { userId }), true)
    t.equal(await sessions.get(session.id), null)
  }
})

both('all sessions of a user are ended at once, but one if that is said', async (t, open) => {
  const { sessions } = await open()
  const made: string[] = []
  for (let each = 0; each < 4; each++) made.push((await sessions.create({ userId: 'ada' })).session.id)
  const bobs = await sessions.create({ userId: 'bob' })
  t.equal(await sessions.revokeUser('ada', { except: made[1] }), 3)
  t.strictSame(ids(await sessions.listByUser('ada')), [made[1]])
  t.equal(await sessions.revokeUser('ada', { except: bobs.session.id }), 1, 'the exception is theirs or none')
  t.equal(await sessions.revokeUser('ada'), 0)
  t.equal(await sessions.revokeUser('nobody'), 0)
  t.ok(await sessions.find(bobs.token))
  await sessions.create({ userId: 'ada' })
  t.equal(await sessions.revokeUser('ada', { except: undefined }), 1)
})

t.test('where the end of all of a user\'s was begun and fails, they are refused here all the same, and end when the store is back', async (t) => {
  const store = new MemoryStore()
  const sessions = openManager(t, { store, bearer: true })
  const here = await sessions.create({ userId: 'ada' })
  await until('the next moment', () => Date.now() > here.session.createdAt)
  const [elsewhere, bobs] = [await sessions.create({ userId: 'ada', kind: 'bearer' }), await sessions.create({ userId: 'bob' })]
  await until('the next moment', () => Date.now() > elsewhere.session.createdAt)
  const end = store.deleteByUser.bind(store)
  store.deleteByUser = async (_userId, options) => {
    options?.onEnded?.([])
    throw new errors.STORE_UNAVAILABLE()
  }
  await t.rejects(sessions.revokeUser('ada', { except: here.session.id }), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  t.ok(await store.find(elsewhere.session.id))
  t.equal(await sessions.find(elsewhere.token), null)
  t.equal(await sessions.get(elsewhere.session.id), null)
  t.strictSame(ids(await sessions.listByUser('ada')), [here.session.id])
  for (const { token } of [here, bobs]) t.ok(await sessions.find(token))
  await until('the next moment', () => Date.now() > elsewhere.session.createdAt + 1)
  const later = await sessions.create({ userId: 'ada' })
  t.ok(await sessions.find(later.token), 'who signs in afterwards')
  store.deleteByUser = end
  await until('its end', async () => await store.find(elsewhere.session.id) === null)
  t.strictSame(ids(await sessions.listByUser('ada')), [here.session.id, later.session.id].sort())
})

t.test('a session whose end is not confirmed is refused all the same', async (t) => {
  const store = new SpyStore()
  const sessions = openManager(t, { store })
  const { session, token } = await sessions.create({ userId: 'ada' })
  const { session: other } = await sessions.create({ userId: 'ada' })
  store.failing.add('delete')
  await t.rejects(sessions.revoke(session.id), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  t.ok(await store.peek(session.id))
  t.equal(await sessions.find(token), null)
  t.equal(await sessions.get(session.id), null)
  t.equal(await sessions.data(session.id), null)
  t.equal(await sessions.touch(session.id), false)
  t.equal(await sessions.update(session.id, () => ({})), null)
  t.strictSame(ids(await sessions.listByUser('ada')), [other.id])
  t.strictSame(ids(await collected(sessions.listAll())), [other.id])
  store.failing.clear()
  await until('its end', async () => await store.peek(session.id) === null)
})

t.test('where some sessions of a page are refused, it is filled up by the next ones, and none is overlooked', async (t) => {
  const store = new SpyStore()
  const sessions = openManager(t, { store, maxSessionsPerUser: false })
  const all: string[] = []
  for (let index = 0; index < 150; index++) all.unshift((await sessions.create({ userId: 'ada' })).session.id)
  store.failing.add('delete')
  for (const id of [all[5], all[149]]) await t.rejects(sessions.revoke(any(id)), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  const live = all.filter((_id, index) => index !== 5 && index !== 149)
  const pages: string[][] = []
  for (let before: SessionInfo | undefined; ;) {
    const page = await sessions.listByUser('ada', { limit: 50, before })
    pages.push(page.map(({ id }) => id))
    before = page.at(-1)
    if (page.length < 50) break
  }
  t.strictSame(pages.map(({ length }) => length), [50, 50, 48])
  t.strictSame(pages.flat().sort(), live.sort())
  t.equal(await sessions.setTimeouts({ userId: 'ada' }, { idleTimeout: '5m' }), 148)
})

t.test('an end that is repeated after a long outage ends a session that has moved meanwhile, and keeps one that is to go on', async (t) => {
  let aged = 0
  const store = new MemoryStore({ now: () => Date.now() + aged })
  const sessions = openManager(t, { store })
  const [hers, his, kept] = [await sessions.create({ userId: 'ada' }), await sessions.create({ userId: 'bob' }), await sessions.create({ userId: 'bob' })]
  const { delete: end, deleteByUser: endAll } = store
  store.delete = async () => { throw new errors.STORE_UNAVAILABLE() }
  store.deleteByUser = async (_userId, options) => {
    options?.onEnded?.([])
    throw new errors.STORE_UNAVAILABLE()
  }
  await t.rejects(sessions.revoke(hers.session.id), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  await t.rejects(sessions.revokeUser('bob', { except: kept.session.id }), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  // In another process, which reaches the store.
  const move = async (id: string): Promise<string> => {
    const old = await store.find(id)
    if (old === null) throw new Error('it lives')
    await store.move({ ...old, id: newId() }, old)
    return await store.successor(id) ?? ''
  }
  const moved = { hers: await move(hers.session.id), kept: await move(kept.session.id) }
  aged = 10 * MINUTE
  Object.assign(store, { delete: end, deleteByUser: endAll })
  await until('their ends', async () => await store.find(moved.hers) === null && await store.find(his.session.id) === null)
  t.ok(await store.find(moved.kept))
})

// -- health, options, closing -------------------------------------------------------------------------

both('health says that the store answers, and how fast', async (t, open) => {
  const { sessions } = await open()
  const { ok, latencyMs, ...rest } = await sessions.health()
  t.equal(ok, true)
  t.ok(latencyMs >= 0 && latencyMs < 600)
  t.strictSame(rest, {})
})

t.test('health answers also when Redis does not', async (t) => {
  withRealLimits(t)
  const redis = await startRedis(t)
  const { sessions } = await inRedis(t, redis)
  const { token, session } = await sessions.create({ userId: 'ada' })
  const isDown = async (what: string): Promise<void> => {
    const startedAt = performance.now()
    const { ok, latencyMs } = await sessions.health()
    t.equal(ok, false, what)
    t.ok(performance.now() - startedAt < 1000, 'soon')
    t.ok(latencyMs < 1000)
  }
  redis.pause()
  await isDown('frozen')
  await isDown('still frozen')
  const calls: Array<() => Promise<unknown>> = [
    () => sessions.create({ userId: 'ada' }), () => sessions.find(token), () => sessions.get(session.id), () => sessions.data(session.id),
    () => sessions.update(session.id, () => ({})), () => sessions.touch(session.id), () => sessions.listByUser('ada'),
    () => collected(sessions.listAll()), () => sessions.revokeUser('nobody')
  ]
  for (const asked of calls) {
    await t.rejects(asked(), { code: 'ERR_SESSION_STORE_UNAVAILABLE', statusCode: 503 }, String(asked))
  }
  redis.resume()
  await until('Redis', async () => (await sessions.health()).ok)
  t.ok(await sessions.find(token), 'nobody was signed out by that')
  await redis.stop()
  await until('the loss of the connection', async () => !(await sessions.health()).ok)
  await isDown('killed')
  await redis.restart()
  await until('Redis', async () => (await sessions.health()).ok)
})

t.test('health answers also when a store of another kind never does', async (t) => {
  withRealLimits(t)
  const sessions = openManager(t, { store: { get () {}, set () {}, destroy () {} } })
  t.match(await sessions.health(), { ok: false })
})

t.test('health answers also when a store of one\'s own never does', async (t) => {
  withRealLimits(t)
  const store = new MemoryStore()
  store.ping = async () => await new Promise(() => {})
  const { ok, latencyMs } = await openManager(t, { store }).health()
  t.equal(ok, false)
  t.ok(latencyMs > 400 && latencyMs < 1000)
})

t.test('health answers although the store fails without being asked properly', async (t) => {
  const store = new MemoryStore()
  store.ping = () => { throw new Error('broken') }
  t.match(await openManager(t, { store }).health(), { ok: false })
})

t.test('options that cannot be meant are refused, and none is repeated', async (t) => {
  const store = new MemoryStore()
  const failing = (options: unknown): Error & { code?: string } => {
    try {
      void new SessionManager(any(options)).close()
    } catch (error) {
      return error as Error
    }
    return new Error('none')
  }
  for (const [options, fault] of [
    [undefined, /options must be an object/],
    [null, /options must be an object/],
    [{ secret }, /store is required/],
    [{ secret, redis: 'redis://127.0.0.1:1' }, /store is required/],
    [{ store }, /secret is required/],
    [{ store, secret: 'short' }, /secret must have 32 characters or more/],
    [{ store, secret, idleTimeOut: 1 }, /idleTimeOut is not an option/],
    [{ store, secret, idleTimeout: '8d' }, /idleTimeout must not be longer than absoluteTimeout/],
    [{ store, secret, cookieName: 'a b' }, /cookieName must be a cookie name/],
    [{ store, secret, maxSessionsPerUser: 0 }, /maxSessionsPerUser must be an integer of 1 or more, or false/],
    [{ store, secret, onLimit: 'ask' }, /onLimit must be/],
    [{ store, secret, bearer: 'yes' }, /bearer must be true or false/],
    [{ store, secret, userIdFrom: 'userId' }, /userIdFrom must be a function/],
    [{ store: 'redis://127.0.0.1', secret }, /store must be a MemoryStore, a RedisStore or an express-session compatible store/],
    [{ store: {}, secret }, /store must be/],
    [{ store: { get () {}, set () {}, destroy () {} }, secret, maxSessionsPerUser: 1 }, /maxSessionsPerUser needs a store that can list/]
  ] as const) {
    const error = failing(options)
    t.equal(error.code, 'ERR_SESSION_INVALID_OPTIONS', String(fault))
    t.match(error.message, fault)
    t.notMatch(error.message, secret)
  }
})

t.test('the cookie has the name that the plugin gives it', async (t) => {
  const store = new MemoryStore()
  for (const [options, name] of [[{}, '__Host-sid'], [{ cookie: { secure: false } }, 'sid'], [{ cookieName: ['app', 'old'] }, 'app']] satisfies Array<[Partial<SessionManagerOptions>, string]>) {
    const sessions = new SessionManager({ store, secret, ...options })
    t.teardown(() => sessions.close())
    const { headers, token } = await sessions.create({ userId: 'ada' })
    t.equal(headers.cookie, `${name}=${token}`)
    t.match(await sessions.fromRequest({ headers }), { userId: 'ada' })
  }
})

both('a closed manager leaves nothing running, its store stays open, and closing it twice is safe', async (t, open) => {
  const { sessions, store, another } = await open()
  const { token } = await sessions.create({ userId: 'ada' })
  const other = await another()
  const heard: string[] = []
  for (const each of [sessions, other]) {
    each.on('revoked', ({ id }) => { heard.push(id) })
    each.on('expired', () => {})
  }
  await sessions.close()
  await sessions.close()
  t.strictSame(['ended', 'down', 'up'].map((name) => store.events.listenerCount(any(name))), store.bus === undefined ? [1, 1, 1] : [0, 0, 0], 'but the other manager\'s')
  await store.ping()
  t.match(await other.find(token), { userId: 'ada' })
})

t.test('a closed manager listens to nobody, also when it was closed at once', async (t) => {
  for (const waits of [true, false]) {
    const { sessions, store, keyPrefix } = await inRedis(t, redis)
    const bus = store.bus as Bus
    const subscribe = bus.subscribe.bind(bus)
    let stopped = 0
    bus.subscribe = (...listeners) => {
      const stop = subscribe(...listeners)
      return async () => {
        await stop()
        stopped++
      }
    }
    const subscribers = async (): Promise<number> => Number((await redis.client.pubsub('NUMSUB', `@${keyPrefix}events`))[1])
    sessions.on('revoked', () => {})
    if (waits) await until('the subscription', async () => await subscribers() === 1)
    await sessions.close()
    await until('its end', () => stopped === 1)
    await until('Redis to notice', async () => await subscribers() === 0)
  }
})

t.test('sessions in an express-session store', async (t) => {
  const store = new expressSession.MemoryStore()
  const sessions = openManager(t, { store, bearer: true, maxSessionsPerUser: 3 })
  const cookie = await sessions.create({ userId: 'ada', label: 'phone', meta: { a: 1 }, data: { cart: 1 } })
  const bearer = await sessions.create({ userId: 'ada', kind: 'bearer' })
  t.strictSame(await sessions.find(cookie.token), cookie.session)
  t.strictSame(await sessions.fromRequest({ headers: bearer.headers }), bearer.session)
  t.equal(await sessions.find(toBearer(tokenOf(cookie))), null)
  await Promise.all(Array.from({ length: 100 }, async (_, each) => await sessions.update(cookie.session.id, (data) => { data[`key${each}`] = each })))
  t.equal(Object.keys(await sessions.data(cookie.session.id) as JsonObject).length, 102)
  t.equal(await sessions.touch(cookie.session.id), true)
  t.strictSame(ids(await sessions.listByUser('ada')), [cookie.session.id, bearer.session.id].sort())
  t.strictSame(ids(await collected(sessions.listAll())), [cookie.session.id, bearer.session.id].sort())
  t.equal(await sessions.revoke(cookie.session.id, { userId: 'mallory' }), false)
  t.equal(await sessions.revoke(cookie.session.id, { userId: 'ada' }), true)
  t.equal(await sessions.update(cookie.session.id, () => ({})), null)
  t.equal(await sessions.revokeUser('ada'), 1)
  t.strictSame(await collected(sessions.listAll()), [])
  t.match(await sessions.health(), { ok: true })
  await sessions.close()
})

t.test('an express-session store without all() can do everything but list', async (t) => {
  const { get, set, destroy } = new expressSession.MemoryStore()
  const store = Object.assign(Object.create(new expressSession.MemoryStore()) as object, { get, set, destroy, all: undefined, sessions: Object.create(null) as object })
  const sessions = openManager(t, { store: any(store) })
  const { token, session } = await sessions.create({ userId: 'ada' })
  t.ok(await sessions.find(token))
  const lists: Array<() => Promise<unknown>> = [() => sessions.listByUser('ada'), () => collected(sessions.listAll()), () => sessions.revokeUser('nobody')]
  for (const asked of lists) {
    await t.rejects(asked(), { code: 'ERR_SESSION_UNSUPPORTED', statusCode: 500 })
  }
  t.equal(await sessions.revoke(session.id), true)
})

t.test('a closed manager no longer asks a store that is stuck whether it is back', async (t) => {
  withRealLimits(t)
  // Timers of this test alone: what shares the process with it has others.
  const mine = new AsyncLocalStorage<true>()
  const begun: Array<{ _destroyed: boolean }> = []
  const hook = createHook({
    init: (_id, type, _trigger, timer) => {
      // That a timer has run or was cleared is known to itself alone.
      if (type === 'Timeout' && mine.getStore() === true) begun.push(timer as typeof begun[number])
    }
  }).enable()
  t.teardown(() => hook.disable())
  const timers = (): number => begun.filter(({ _destroyed }) => !_destroyed).length
  const sessions = await mine.run(true, async () => {
    const sessions = openManager(t, { store: { get () {}, set () {}, destroy () {} } })
    await t.rejects(sessions.get(newId()), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
    return sessions
  })
  t.equal(timers(), 1)
  await sessions.close()
  t.equal(timers(), 0)
})

t.test('in memory: also sessions of one millisecond are listed newest first', async (t) => {
  const { sessions } = inMemory(t)
  for (const label of ['first', 'second', 'third']) await sessions.create({ userId: 'ada', label })
  t.strictSame((await sessions.listByUser('ada')).map(({ label }) => label), ['third', 'second', 'first'])
})

// -- secrets ------------------------------------------------------------------------------------------

both('nothing but what create gives shows how a session is proved', async (t, open) => {
  const opened: Sessions = await open({ bearer: true, maxSessionsPerUser: 2 })
  const { sessions, age } = opened
  const sent: string[] = []
  if (opened.keyPrefix !== '') {
    const monitor = await redis.client.monitor()
    t.teardown(() => monitor.disconnect())
    monitor.on('monitor', (_time: string, args: string[]) => { if (args.some((arg) => arg.includes(opened.keyPrefix))) sent.push(args.join(' ')) })
  }
  const events: SessionEvent[] = []
  for (const name of ['created', 'revoked', 'expired'] as const) sessions.on(name, (event) => { events.push(event) })
  const errors: unknown[] = []
  const shown: unknown[] = []
  const proofs: string[] = []
  for (const kind of ['cookie', 'bearer', 'cookie', 'bearer'] as const) {
    const { token, session, headers } = await sessions.create({ userId: 'ada', kind, label: 'phone', meta: { a: 1 }, data: { cart: 1 } })
    proofs.push(token, tokenOf({ token }).slice(23))
    shown.push(session, await sessions.find(token, { touch: true }), await sessions.fromRequest({ headers }), await sessions.get(session.id), await sessions.data(session.id), await sessions.update(session.id, (data) => { data.cart = 2 }), await sessions.touch(session.id))
    errors.push(await sessions.update(session.id, () => ({})).catch((error: unknown) => error))
    await age(1000)
    shown.push(await sessions.listByUser('ada'), await collected(sessions.listAll()))
    if (opened.keyPrefix === '') continue
    for (const key of await keysOf(redis.client, opened.keyPrefix)) {
      shown.push(key, await redis.client.type(key) === 'zset' ? await redis.client.zrange(key, '0', '-1') : await redis.client.get(key))
    }
  }
  const [first] = await sessions.listByUser('ada')
  shown.push(await sessions.revoke(first?.id as string), await sessions.revokeUser('ada'), await sessions.health())
  await until('the events', () => events.filter(({ reason }) => reason !== null).length === 4)
  shown.push(events, errors.map((error) => inspect(error)), inspect(sessions, { depth: 10, showHidden: true }))
  if (opened.keyPrefix !== '') await until('what Redis was told', () => sent.some((line) => line.startsWith('publish') || line.startsWith('PUBLISH')))
  const all = JSON.stringify([shown, sent])
  t.ok(all.includes(first?.id as string), 'there is much to see')
  t.equal(proofs.length, 8)
  for (const proof of proofs) t.notOk(all.includes(proof))
})

t.test('a login that is under way when its user is signed out everywhere is refused', async (t) => {
  const store = new SpyStore()
  const sessions = openManager(t, { store })
  const gate = new Gate()
  store.gates.set('begin', gate)
  store.begin = async () => {
    await gate.pass()
    return null
  }
  const login = sessions.create({ userId: 'ada' })
  await gate.reached
  await sessions.revokeUser('ada')
  gate.open()
  await t.rejects(login, { code: 'ERR_SESSION_UNAUTHENTICATED', statusCode: 401 })
})

// One script is before that or after it.
t.test('in Redis, in steps: a login that is under way when its user is signed out everywhere is refused', async (t) => {
  const ours = prefix()
  const { client } = connect(redis.url)
  t.teardown(() => disconnectNow(client))
  await until('the connection', () => client.status === 'ready')
  const sessions = openManager(t, { store: new RedisStore({ client: proxied(client), prefix: ours }) })
  const other = openManager(t, { store: await openStore(t, redis.url, { prefix: ours }) })
  let refused = 0
  for (let round = 0; round < 30; round++) {
    const login = sessions.create({ userId: 'ada' }).then(() => {}, (error: { code?: string }) => {
      t.equal(error.code, 'ERR_SESSION_UNAUTHENTICATED')
      refused++
    })
    for (let turn = 0; turn < round % 5; turn++) await new Promise((resolve) => setImmediate(resolve))
    await other.revokeUser('ada')
    await login
  }
  t.ok(refused > 0)
  t.comment(`${refused} of 30`)
})

t.test('a session lasts by the store\'s clock, not by this machine\'s', async (t) => {
  const { sessions, age } = inMemory(t)
  const { token } = await sessions.create({ userId: 'ada', idleTimeout: DAY })
  await age(DAY - 1)
  t.ok(await sessions.find(token))
  await age(1)
  t.equal(await sessions.find(token), null)
})

t.test('whatever is asked of a store that does not answer is answered in time', async (t) => {
  withRealLimits(t)
  const stuck = async (): Promise<never> => await new Promise(() => {})
  let isStuck = false
  const store = new Proxy(new MemoryStore(), {
    get: (target, name) => {
      if (name === 'attempts') return { clear: stuck }
      // Nor does it know anything at once.
      if (name === 'findNow') return undefined
      if (isStuck && ['find', 'begin', 'replace', 'move', 'update', 'touch', 'delete', 'listByUser', 'deleteByUser'].includes(String(name))) return stuck
      const member: unknown = Reflect.get(target, name)
      return typeof member === 'function' ? member.bind(target) : member
    }
  })
  const sessions = openManager(t, { store, touchAfter: 0, bearer: true })
  const { session, token, headers } = await sessions.create({ userId: 'ada' })
  const service = await sessions.create({ userId: 'ada', kind: 'bearer' })
  isStuck = true
  const asked: Record<string, () => Promise<unknown>> = {
    get: () => sessions.get(session.id),
    data: () => sessions.data(session.id),
    update: () => sessions.update(session.id, (data) => data),
    touch: () => sessions.touch(session.id),
    listByUser: () => sessions.listByUser('ada'),
    find: () => sessions.find(token, { touch: true }),
    fromRequest: () => sessions.fromRequest({ headers }),
    fromCookieHeader: () => sessions.fromCookieHeader(headers.cookie),
    fromBearer: () => sessions.fromBearer(service.headers.authorization),
    unlock: () => sessions.unlock('ada'),
    create: () => sessions.create({ userId: 'ada' }),
    revoke: () => sessions.revoke(session.id),
    revokeUser: () => sessions.revokeUser('ada')
  }
  const outcomes = await Promise.all(Object.entries(asked).map(async ([name, ask]) => [name, await withDeadline(ask().then(() => 'answered', ({ code }) => code as string), 5_000)]))
  t.strictSame(outcomes, Object.keys(asked).map((name) => [name, 'ERR_SESSION_STORE_UNAVAILABLE']))
})

t.test('who asks a store that does not answer is told so, and what was asked goes on', async (t) => {
  withRealLimits(t)
  const store = new SpyStore()
  const sessions = await openManager(t, { store })
  const { session } = await sessions.create({ userId: 'ada' })
  const [deletion, creation] = [new Gate(), new Gate()]
  store.gates.set('delete', deletion)
  store.gates.set('begin', creation)
  await Promise.all([
    t.rejects(sessions.revoke(session.id), { code: 'ERR_SESSION_STORE_UNAVAILABLE' }),
    t.rejects(sessions.create({ userId: 'bob' }), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  ])
  t.equal(await sessions.get(session.id), null, 'refused from now on')
  creation.open()
  deletion.open()
  await until('the end of both', async () => (await store.listByUser('ada')).length + (await store.listByUser('bob')).length === 0)
})

t.test('any number of managers may share a store, and leave it as it was', async (t) => {
  const warnings: string[] = []
  const onWarning = ({ message }: Error): void => { warnings.push(message) }
  process.on('warning', onWarning)
  t.teardown(() => { process.off('warning', onWarning) })
  for (const limit of [10, 0]) {
    const store = new MemoryStore()
    store.events.setMaxListeners(limit)
    const managers = Array.from({ length: 30 }, () => new SessionManager({ secret, store }))
    await new Promise((resolve) => setImmediate(resolve))
    t.strictSame(warnings, [])
    for (const each of managers) await Promise.all([each.close(), each.close()])
    t.equal(store.events.getMaxListeners(), limit)
  }
})

t.test('a store whose messages fail ends no process: sessions begin and end, and the manager closes', async (t) => {
  const unhandled: unknown[] = []
  const onUnhandled = (error: unknown): void => { unhandled.push(error) }
  process.on('unhandledRejection', onUnhandled)
  t.teardown(() => { process.off('unhandledRejection', onUnhandled) })
  const failed = new Error('no message')
  const ways: Array<() => Promise<void>> = [async () => { throw failed }, () => { throw failed }]
  for (const publish of ways) {
    let tried = 0
    const bus: Bus = {
      publish: () => {
        tried++
        return publish()
      },
      subscribe: () => async () => {}
    }
    const manager = new SessionManager({ secret, store: Object.assign(new MemoryStore(), { bus }) })
    const { session } = await manager.create({ userId: 'ada' })
    await until('the message', () => tried === 1)
    t.equal(await manager.revoke(session.id), true)
    await manager.close()
    await new Promise((resolve) => setImmediate(resolve))
    t.equal(tried, 2)
  }
  t.strictSame(unhandled, [])
})
