import expressSession from 'express-session'
import t from 'tap'
import type { Test } from 'tap'
import { MemoryStore } from '../../lib/index.ts'
import type { IdpSession, SessionEvent, SessionManager } from '../../lib/index.ts'
import { errors } from '../../lib/errors.ts'
import { decode, encode } from '../../lib/store/codec.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { openManager, onBothStores } from '../helpers/managers.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { record } from '../helpers/record.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { Gate } from '../helpers/spy-store.ts'

const redis = await startRedis(t)
const onBoth = onBothStores(t, redis)

const idp: IdpSession = { issuer: 'https://idp.example', sid: 'here' }
const elsewhere: IdpSession = { issuer: 'https://idp.example', sid: 'there' }

/** What a manager emits when sessions end. */
function endsOf (sessions: SessionManager): SessionEvent[] {
  const ends: SessionEvent[] = []
  sessions.on('revoked', (event) => { ends.push(event) })
  return ends
}

onBoth('the sessions of one session at a provider end, with a word why and by whom', async (t, open) => {
  const { sessions } = await open()
  const ends = endsOf(sessions)
  const ada = await sessions.create({ userId: 'ada', idp })
  const bob = await sessions.create({ userId: 'bob', idp, kind: 'bearer' })
  const others = [await sessions.create({ userId: 'ada' }), await sessions.create({ userId: 'ada', idp: elsewhere })]
  t.strictSame(ada.session.idp, idp)
  t.ok(Object.isFrozen(ada.session.idp))
  t.strictSame((await sessions.listByUser('ada')).map((session) => session.idp?.sid), ['there', undefined, 'here'])
  t.equal(await sessions.revokeIdp(idp, { reason: 'provider', actor: 'the provider' }), 2)
  t.equal(await sessions.revokeIdp(idp), 0, 'harmless twice')
  for (const { session } of [ada, bob]) t.equal(await sessions.get(session.id), null)
  for (const { session } of others) t.match(await sessions.get(session.id), { id: session.id })
  await until('the events', () => ends.length === 2)
  t.strictSame(ends.map(({ id }) => id).sort(), [ada.session.id, bob.session.id].sort())
  for (const event of ends) t.match(event, { reason: 'revoked', statedReason: 'provider', actor: 'the provider', userId: event.id === ada.session.id ? 'ada' : 'bob' })
})

t.test('what is no session at a provider is refused by name, and so is what is said of an end', async (t) => {
  const sessions = openManager(t, { store: new MemoryStore() })
  const bad = {
    'idp must be an object': ['text', null, [], 7, Promise.resolve(idp)],
    'idp must have no members but issuer, sid': [{ ...idp, sub: 'ada' }],
    'idp.issuer must be': [{ sid: 'x' }, { issuer: '', sid: 'x' }, { issuer: 'i'.repeat(513), sid: 'x' }, { issuer: {}, sid: 'x' }],
    'idp.sid must be': [{ issuer: 'x' }, { ...idp, sid: 7 }, { ...idp, sid: 's'.repeat(513) }, { ...idp, sid: 'a\nb' }, { ...idp, sid: '\u001b[2J' }, { ...idp, sid: '\ud800' }]
  }
  for (const [message, values] of Object.entries(bad)) {
    for (const value of values) {
      const given = value as IdpSession
      await t.rejects(sessions.revokeIdp(given), { name: 'TypeError', message: new RegExp(`^${message}`) })
      await t.rejects(sessions.create({ userId: 'ada', idp: given }), { name: 'TypeError', message: new RegExp(`^${message}`) })
    }
  }
  for (const reason of ['', 'r'.repeat(65), 7, '\u001b[2J']) await t.rejects(sessions.revokeIdp(idp, { reason: reason as string }), { name: 'TypeError', message: /^reason must be/ })
  for (const actor of ['', 'a'.repeat(256), {}]) await t.rejects(sessions.revokeIdp(idp, { actor: actor as string }), { name: 'TypeError', message: /^actor must be/ })
  await t.rejects(sessions.revokeIdp(idp, { why: 'x' } as object), { name: 'TypeError' })
  const longest = { issuer: '"'.repeat(512), sid: '\\'.repeat(512) }
  const { session } = await sessions.create({ userId: 'ada', idp: longest })
  t.strictSame((await sessions.get(session.id))?.idp, longest)
  const kept = record({ idp: JSON.stringify([longest.issuer, longest.sid]) })
  t.strictSame(decode(kept.id, encode(kept)), kept, 'the longest can be read again')
  for (const text of ['x', '{}', '[1,2]', '[]']) t.equal((await openManager(t, { store: await storeOf(text) }).get('AAAAAAAAAAAAAAAAAAAAAA'))?.idp, null, 'what is none is shown as none')
})

async function storeOf (text: string): Promise<MemoryStore> {
  const store = new MemoryStore()
  await store.begin(record({ id: 'AAAAAAAAAAAAAAAAAAAAAA', idp: text }))
  return store
}

async function startService (t: Test, options: Parameters<typeof startApp>[1]) {
  const app = await startApp(t, options)
  app.post<{ Body: { userId: string, sid?: string | null } }>('/login', async (request) => {
    const { userId, sid } = request.body
    const named = sid == null ? sid : { issuer: 'https://idp.example', sid }
    return { idp: (await app.login(request, { id: userId }, { idp: named })).idp }
  })
  app.post('/code', { preHandler: app.authenticate }, async (request) => {
    const { userId, methods } = request.requireAuth()
    await app.login(request, { id: userId }, { methods: [...methods, 'otp'] })
  })
  app.post<{ Body: { userId: string } }>('/assign', async ({ session, body }) => { session.userId = body.userId })
  app.post<{ Body: { userId: string } }>('/anew', async (request) => {
    await request.session.regenerate()
    request.session.userId = request.body.userId
  })
  app.post('/regenerate', async ({ session }) => { await session.regenerate(['userId']) })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth())
  return app
}

for (const nearCache of [false, true]) {
  t.test(`whoever signed in at a provider is signed out by it${nearCache ? ', also with a near-cache' : ''}, whatever id the session has by then`, async (t) => {
    const app = await startService(t, { redis: redis.url, keyPrefix: prefix(), nearCache })
    const [ada, bob] = [new Browser(app), new Browser(app)]
    t.strictSame((await ada.post('/login', { userId: 'ada', sid: 'here' })).json(), { idp })
    await bob.post('/login', { userId: 'bob', sid: 'there' })
    await ada.post('/regenerate')
    t.strictSame((await ada.get('/me')).json().idp, idp, 'a new id keeps it')
    t.equal(await app.sessions.revokeIdp(idp), 1)
    t.equal((await ada.get('/me')).statusCode, 401)
    t.equal((await bob.get('/me')).statusCode, 200)
  })
}

t.test('a sign-in that names its own session at the provider, or none, belongs to that', async (t) => {
  const app = await startService(t, { redis: redis.url, keyPrefix: prefix() })
  const ada = new Browser(app)
  await ada.post('/login', { userId: 'ada', sid: 'here' })
  await ada.post('/login', { userId: 'ada', sid: 'there' })
  t.equal(await app.sessions.revokeIdp(idp), 0)
  t.strictSame((await ada.get('/me')).json().idp, elsewhere)
  t.strictSame((await ada.post('/login', { userId: 'ada', sid: null })).json(), { idp: null })
  t.equal(await app.sessions.revokeIdp(elsewhere), 0)
  t.equal((await ada.get('/me')).statusCode, 200)
})

const AGAIN = { 'a sign-in that names none': '/login', 'a second factor': '/code', 'an assignment': '/assign', 'a regeneration and an assignment': '/anew' }
for (const [how, url] of Object.entries(AGAIN)) {
  t.test(`${how}: whoever is signed out at the provider is signed out here, if it was the same user before`, async (t) => {
    const app = await startService(t, { redis: redis.url, keyPrefix: prefix() })
    const ada = new Browser(app)
    await ada.post('/login', { userId: 'ada', sid: 'here' })
    for (let again = 0; again < 2; again++) t.equal((await ada.post(url, { userId: 'ada' })).statusCode, 200)
    t.strictSame((await ada.get('/me')).json().idp, idp)
    t.equal(await app.sessions.revokeIdp(idp), 1)
    t.equal((await ada.get('/me')).statusCode, 401)
    t.strictSame(await app.sessions.listByUser('ada'), [])
    if (url === '/code') return
    await ada.post('/login', { userId: 'ada', sid: 'here' })
    t.equal((await ada.post(url, { userId: 'bob' })).statusCode, 200)
    t.equal((await ada.get('/me')).json().idp, null, 'another user does not take it over')
    t.equal(await app.sessions.revokeIdp(idp), 0)
  })
}

t.test('who signs in again while the provider signs them out is signed out, or found by it the next time', async (t) => {
  const options = { redis: redis.url, keyPrefix: prefix() }
  const [app, other] = [await startService(t, options), await startService(t, options)]
  const lives: string[] = []
  const race = async (round: number): Promise<void> => {
    const ada = new Browser(app)
    const [userId, sid] = [`ada${round}`, `sid${round}`]
    const named = { issuer: 'https://idp.example', sid }
    await ada.post('/login', { userId, sid })
    const url = round % 2 === 0 ? '/assign' : '/code'
    const again = ada.post(url, { userId })
    for (let turn = 0; turn < round % 17; turn++) await new Promise((resolve) => setImmediate(resolve))
    await other.sessions.revokeIdp(named)
    await again
    if (url === '/assign' && (await ada.get('/me')).statusCode !== 401) lives.push('assigned')
    await other.sessions.revokeIdp(named)
    if ((await ada.get('/me')).statusCode !== 401 || (await other.sessions.listByUser(userId)).length > 0) lives.push(url)
  }
  for (let round = 0; round < 80; round += 20) await Promise.all(Array.from({ length: 20 }, (_, each) => race(round + each)))
  t.strictSame(lives, [])
})

t.test('a store that cannot find sessions by it says so at the sign-in, and nobody is signed in', async (t) => {
  const places = {
    'a store of express-session': await startService(t, { store: new expressSession.MemoryStore() }),
    'a store beside an Express app': await startService(t, { redis: redis.url, keyPrefix: prefix(), expressSession: 'share' })
  }
  for (const [place, app] of Object.entries(places)) {
    const ada = new Browser(app)
    const answer = await ada.post('/login', { userId: 'ada', sid: 'here' })
    t.match(answer.json(), { code: 'ERR_SESSION_UNSUPPORTED', statusCode: 500 }, place)
    t.equal((await ada.get('/me')).statusCode, 401)
    await t.rejects(app.sessions.revokeIdp(idp), { code: 'ERR_SESSION_UNSUPPORTED' }, place)
    t.equal((await ada.post('/login', { userId: 'ada' })).statusCode, 200)
  }
})

t.test('with encryption it is found as well', async (t) => {
  const app = await startService(t, { redis: redis.url, keyPrefix: prefix(), encryption: { keys: ['only for this test, and of 32 characters or more'] } })
  const ada = new Browser(app)
  t.equal((await ada.post('/login', { userId: 'ada', sid: 'here' })).statusCode, 200)
  t.equal(await app.sessions.revokeIdp(idp), 1)
  t.equal((await ada.get('/me')).statusCode, 401)
})

t.test('this process refuses the sessions at once, and repeats the work until the store has done it', async (t) => {
  withRealLimits(t)
  let now = 1_700_000_000_000
  const store = new MemoryStore({ now: () => now })
  const sessions = openManager(t, { store })
  const ends = endsOf(sessions)
  const { session, token } = await sessions.create({ userId: 'ada', idp })
  const { deleteByIdp } = store
  const gate = new Gate()
  let isDown = true
  Object.defineProperty(store, 'deleteByIdp', {
    value: async (...args: Parameters<MemoryStore['deleteByIdp']>) => {
      await gate.pass()
      if (isDown) throw new errors.STORE_UNAVAILABLE({ cause: new Error('down') })
      return await deleteByIdp.call(store, ...args)
    }
  })
  now += 1_000
  const revoked = sessions.revokeIdp(idp, { reason: 'provider' })
  t.equal(await sessions.get(session.id), null, 'before the store has answered')
  t.equal(await sessions.find(token), null)
  gate.open()
  await t.rejects(revoked, { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  t.match(await store.find(session.id), { id: session.id }, 'it is still there')
  t.equal(await sessions.get(session.id), null)
  now += 1_000
  const later = await sessions.create({ userId: 'ada', idp })
  isDown = false
  await until('the work to be repeated', async () => await store.find(session.id) === null)
  await until('the event', () => ends.length === 1)
  t.match(ends, [{ id: session.id, statedReason: 'provider' }])
  t.match(await sessions.get(later.session.id), { id: later.session.id }, 'who signed in afterwards stays')
})
