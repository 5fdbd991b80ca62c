import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, MemoryStore, sessionRoutes } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { newId, newToken, Signature, toBearer } from '../../lib/session/token.ts'
import { encode } from '../../lib/store/codec.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import { record } from '../helpers/record.ts'
import { prefix, startRedis } from '../helpers/redis.ts'
import { keysOf } from '../helpers/redis-store.ts'
import { SpyStore } from '../helpers/spy-store.ts'
import { startWire } from '../helpers/wire.ts'

/*
 * What went wrong elsewhere. More of it: CVE-2025-46336 in test/races, CVE-2026-45364 in guessing.test.ts,
 * CVE-2023-20866 in leaks.test.ts.
 */

const redis = await startRedis(t)
const signature = new Signature([secret])
const cookie = (value: string) => ({ headers: { cookie: `sid=${value}` } })
const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } })

async function startService (t: Test, options: Partial<SessionOptions> = {}) {
  const app = await startApp(t, { store: new MemoryStore(), bearer: true, ...options })
  await app.register(authRoutes, { verify: ({ username }) => ({ id: username, role: 'user' }) })
  await app.register(sessionRoutes, { prefix: '/sessions' })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth().userId)
  app.post('/cart', async ({ session }) => {
    session.cart = ['book']
    return session
  })
  /** Somebody signed in, and what they hold. */
  const signIn = async (username: string, extra: object = {}) => {
    const browser = new Browser(app)
    await browser.post('/login', { username, password: 'x', ...extra })
    return { browser, value: browser.cookies.get('sid') ?? '', id: (browser.cookies.get('sid') ?? '').slice(0, 22) }
  }
  const statusOf = async (options: object): Promise<number> => (await app.inject({ url: '/me', ...options })).statusCode
  return { app, signIn, statusOf }
}

t.test('[7.4.1, CVE-2024-31999] a copy of the cookie or the token is worthless once its owner has signed out', async (t) => {
  const { app, signIn, statusOf } = await startService(t)
  const { browser, value } = await signIn('ada')
  t.equal(await statusOf(cookie(value)), 200)
  await browser.post('/logout')
  t.equal(await statusOf(cookie(value)), 401)
  t.equal((await app.inject({ method: 'POST', url: '/cart', ...cookie(value) })).headers['set-cookie']?.includes(value), false, 'nor is it taken up again')
  const { token } = await app.sessions.create({ userId: 'ada', kind: 'bearer' })
  t.equal(await statusOf(bearer(token)), 200)
  await app.inject({ method: 'POST', url: '/logout', ...bearer(token) })
  t.equal(await statusOf(bearer(token)), 401)
})

t.test('[7.2.1, CVE-2024-38513] an id that a client chose never becomes the id of a session', async (t) => {
  const { app } = await startService(t)
  const { token } = newToken(newId())
  const chosen = [token, signature.sign(token), signature.sign(token.slice(0, 22)), new Signature(['another secret']).sign(token), 'chosen', 's:chosen.abc', newId()]
  for (const value of chosen) {
    for (const [url, payload] of [['/cart', {}], ['/login', { username: 'ada', password: 'x' }]] as const) {
      const response = await app.inject({ method: 'POST', url, payload, ...cookie(value) })
      t.equal(response.statusCode, 200)
      t.match(response.headers['set-cookie'], /^sid=[\w-]{22}\./)
      t.notOk(String(response.headers['set-cookie']).includes(value.slice(0, 22)), `${url} ${value}`)
    }
  }
  t.notOk((await app.sessions.listByUser('ada')).some(({ id }) => chosen.some((value) => value.startsWith(id))))
})

t.test('[7.2.1, CVE-2019-16782] a session is looked up by what is public, and its secret never reaches the store', async (t) => {
  const wire = await startWire(t, redis)
  const { signIn, statusOf, app } = await startService(t, { store: undefined, redis: wire.url, keyPrefix: prefix() })
  const { value, id } = await signIn('ada')
  const { token } = await app.sessions.create({ userId: 'ada', kind: 'bearer' })
  t.equal(await statusOf(cookie(value)), 200)
  t.equal(await statusOf(bearer(token)), 200)
  for (const each of [value, token.slice(4)]) {
    const half = each.slice(23, 55)
    t.notOk(wire.sent.includes(half), 'no command has the secret, so that none takes longer for a better guess')
  }
  t.ok(wire.sent.includes(id))
  // An id is no proof, whatever comes with it.
  const [tokenId, half = ''] = token.slice(4).split('.')
  for (const guess of [half.replace(/^./, (c) => c === 'A' ? 'B' : 'A'), half.replace(/.$/, (c) => c === 'A' ? 'B' : 'A'), 'A'.repeat(32)]) {
    t.equal(await statusOf(bearer(toBearer(`${tokenId}.${guess}`))), 401)
    t.equal(await statusOf(cookie(signature.sign(`${id}.${guess}`))), 401, 'not even where the signature is right')
  }
})

t.test('[7.2.1, CVE-2015-3982] an empty id is nobody\'s, whatever lies under it and however it is signed', async (t) => {
  const keyPrefix = prefix()
  const store = new SpyStore()
  const inMemory = await startService(t, { store })
  const inRedis = await startService(t, { store: undefined, redis: redis.url, keyPrefix, cookieName: ['sid', 'old'] })
  const { token, secretHash } = newToken(newId())
  const planted = encode({ ...record({ now: Date.now() }), secretHash })
  for (const key of [keyPrefix, `${keyPrefix}undefined`, `${keyPrefix}null`, `${keyPrefix}.`]) await redis.client.set(key, planted)
  const half = token.slice(23)
  for (const value of ['', '.', '""', 'undefined', 'null', signature.sign(''), signature.sign('.'), signature.sign(`.${half}`), signature.sign('undefined'), signature.sign(`undefined.${half}`), signature.sign(`${' '.repeat(22)}.${half}`)]) {
    for (const { statusOf } of [inMemory, inRedis]) {
      t.equal(await statusOf(cookie(value)), 401, value)
      t.equal(await statusOf({ headers: { cookie: `old=${value}` } }), 401, value)
      t.equal(await statusOf(bearer(value)), 401, value)
      t.equal(await statusOf(bearer(toBearer(value))), 401, value)
    }
  }
  t.strictSame(store.calls, [], 'nor is it asked for')
  for (const id of ['', '.', 'undefined']) t.equal(await inRedis.app.sessions.get(id), null)
})

t.test('[7.4.1, GHSA-wmjr-v86c-m9jj] nobody ends a session with a cookie or a token that they made up', async (t) => {
  const { app, signIn, statusOf } = await startService(t)
  const { value, id } = await signIn('ada')
  const theirs = await app.sessions.create({ userId: 'ada', kind: 'bearer' })
  const { token } = newToken(id)
  const forged = [
    cookie(id), cookie(token), cookie(`${token}.${value.slice(-43)}`), cookie(new Signature(['another secret']).sign(token)), cookie(value.slice(0, -1)),
    bearer(id), bearer(toBearer(token)), bearer(toBearer(newToken(theirs.session.id).token)), bearer(value)
  ]
  for (const each of forged) {
    for (const request of [{ method: 'POST', url: '/logout' }, { method: 'DELETE', url: '/sessions' }, { method: 'DELETE', url: `/sessions/${id}` }] as const) await app.inject({ ...request, ...each })
    t.equal(await statusOf(cookie(value)), 200, JSON.stringify(Object.keys(each.headers)))
    t.equal(await statusOf({ headers: theirs.headers }), 200)
  }
  t.equal((await app.sessions.listByUser('ada')).length, 2)
})

t.test('[7.5.2, CVE-2025-61928] who somebody is comes from their session, never from what they send', async (t) => {
  const { app, signIn } = await startService(t)
  const ada = await signIn('ada')
  const other = await signIn('ada')
  const claims = { userId: 'ada', id: 'ada', user: { id: 'ada' }, session: { userId: 'ada', id: ada.id }, except: ada.id }
  const { browser } = await signIn('mallory', claims)
  t.equal((await browser.get('/me')).body, 'mallory')
  const query = '?userId=ada&user[id]=ada&id=ada'
  t.equal((await browser.get(`/info${query}`)).json().user.id, 'mallory')
  const listed = await browser.get(`/sessions${query}`)
  t.equal(listed.json().length, 1)
  const headers = { 'x-user-id': 'ada', 'content-type': 'application/json' }
  t.equal((await browser.request('DELETE', `/sessions/${ada.id}${query}`, { payload: JSON.stringify(claims), headers })).statusCode, 404)
  t.strictSame((await browser.request('DELETE', `/sessions${query}`, { payload: JSON.stringify(claims), headers })).json(), { revoked: 0 })
  await browser.post('/logout', claims)
  for (const { browser } of [ada, other]) t.equal((await browser.get('/me')).statusCode, 200)
  t.equal((await app.inject({ method: 'POST', url: '/logout', payload: claims })).statusCode, 204)
  t.equal((await app.sessions.listByUser('ada')).length, 2)
})

t.test('[7.5.2] ending somebody else\'s session by its handle is a 404, as for one that is none, and it goes on', async (t) => {
  const { signIn } = await startService(t)
  const [ada, bob] = [await signIn('ada'), await signIn('bob')]
  const refused = await bob.browser.request('DELETE', `/sessions/${ada.id}`)
  t.equal(refused.statusCode, 404)
  t.equal(refused.body, (await bob.browser.request('DELETE', `/sessions/${newId()}`)).body)
  t.equal((await ada.browser.get('/me')).statusCode, 200)
  t.equal((await bob.browser.get('/me')).statusCode, 200)
})

t.test('[15.3.1, 15.3.3] what a login sends beside its credentials is neither stored nor shown', async (t) => {
  const keyPrefix = prefix()
  const { app, signIn } = await startService(t, { store: undefined, redis: redis.url, keyPrefix })
  const { browser, id } = await signIn('ada', { role: 'admin', data: { role: 'admin' }, meta: { role: 'admin' }, label: 'admin', cart: ['admin'], __proto__: { role: 'admin' } })
  const info = (await browser.get('/info')).json()
  t.strictSame(info.user, { id: 'ada' })
  t.strictSame(Object.keys(info.session), ['id', 'label', 'createdAt', 'authenticatedAt', 'lastSeenAt', 'expiresAt', 'endsAt', 'remembered', 'methods', 'actor', 'deviceBound'])
  t.strictSame(await app.sessions.data(id), { userId: 'ada' })
  for (const key of await keysOf(redis.client, keyPrefix)) {
    if (await redis.client.type(key) === 'string') t.notMatch(await redis.client.get(key), /admin|role/)
  }
})

// -- March 2023: a Redis connection on which everybody gets the answer of who asked before ---------------------

/** Between an application and Redis: once it slips, each answer goes to the question after the one it belongs to. */
async function startSlippingWire (t: Test, port: number) {
  const sockets = new Set<Socket>()
  let late = ''
  const wire = { url: '', slip (answer: string) { late = answer } }
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1')
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => [near, far].forEach((each) => each.destroy()))
    }
    near.on('data', (chunk) => far.write(chunk))
    far.on('data', (chunk) => {
      near.write(late)
      late = ''
      near.write(chunk)
    })
  })
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  wire.url = `redis://127.0.0.1:${(server.address() as AddressInfo).port}`
  return wire
}

for (const encryption of [undefined, { keys: ['k'.repeat(32)] }]) {
  t.test(`[7.2.1, redis-py March 2023] an answer of Redis about somebody else's session signs nobody in${encryption === undefined ? '' : ', with encryption too'}`, async (t) => {
    const keyPrefix = prefix()
    const wire = await startSlippingWire(t, redis.port)
    const { app, signIn } = await startService(t, { store: undefined, redis: wire.url, keyPrefix, encryption })
    const ada = await signIn('ada')
    const others = await Promise.all(['bob', 'eve', 'mallory'].map(async (name) => ({ name, ...await signIn(name) })))
    t.equal((await others[0]?.browser.get('/me'))?.body, 'bob')
    const value = await redis.client.get(keyPrefix + ada.id) as string
    wire.slip(`$${Buffer.byteLength(value)}\r\n${value}\r\n`)
    const seen: Array<[name: string, status: number, body: string]> = []
    for (let round = 0; round < 3; round++) {
      for (const { name, browser } of others) {
        const response = await browser.get('/me')
        seen.push([name, response.statusCode, response.body])
      }
    }
    t.ok(seen.some(([, status]) => status !== 200), 'the answers were crossed')
    for (const [name, status, body] of seen) if (status === 200) t.equal(body, name)
    t.equal(seen[0]?.[1], 401, 'whoever was given ada\'s session first')
    t.equal((await app.inject({ url: '/me' })).statusCode, 401)
  })
}

t.test('[7.2.1, redis-py March 2023] a save follows its session to another id, and never to somebody else\'s session', async (t) => {
  const keyPrefix = prefix()
  const app = await startApp(t, { redis: redis.url, keyPrefix })
  const [ada, bob] = [await app.sessions.create({ userId: 'ada' }), await app.sessions.create({ userId: 'bob', data: { cart: [] } })]
  app.post('/keep', async (request) => {
    await redis.client.multi().del(`${keyPrefix}${ada.session.id}`).set(`@{${keyPrefix}${ada.session.id}}`, `>${bob.session.id}`).exec()
    request.session.cart = ['of ada']
    await request.session.save()
    return request.auth?.userId ?? null
  })
  t.not((await app.inject({ method: 'POST', url: '/keep', headers: ada.headers })).body, 'bob')
  t.strictSame((await app.sessions.data(bob.session.id))?.cart, [])
})

t.test('[7.5.2] a session that is said to have moved to where it was is nobody\'s', async (t) => {
  const keyPrefix = prefix()
  const app = await startApp(t, { redis: redis.url, keyPrefix })
  const { session } = await app.sessions.create({ userId: 'ada' })
  await redis.client.multi().del(`${keyPrefix}${session.id}`).set(`@{${keyPrefix}${session.id}}`, `>${session.id}`).exec()
  t.equal(await app.sessions.revoke(session.id, { userId: 'ada' }), false)
})
