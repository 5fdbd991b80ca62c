import t from 'tap'
import { RedisStore, sessionRoutes } from '../../lib/index.ts'
import type { EndOptions, SessionEvent, SessionManager } from '../../lib/index.ts'
import { requestIdText } from '../../lib/session/end-cause.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { inMemory, inRedis, onBothStores } from '../helpers/managers.ts'
import { MINUTE } from '../helpers/record.ts'
import { startRedis, until } from '../helpers/redis.ts'
import { SpyStore } from '../helpers/spy-store.ts'

/*
 * What events say of an end: why in the application's words, by whom, by which request, and of which kind the session
 * was.
 */

const redis = await startRedis(t)
const both = onBothStores(t, redis)

/** Every end that a manager tells of from now on. */
function endsOf (sessions: SessionManager): SessionEvent[] {
  const told: SessionEvent[] = []
  for (const name of ['revoked', 'expired'] as const) sessions.on(name, (event) => { told.push(event) })
  return told
}

both('revoke and revokeUser say why and by whom, in the words of the application', async (t, open) => {
  const { sessions } = await open({ bearer: true })
  const told = endsOf(sessions)
  const one = await sessions.create({ userId: 'ada' })
  const others = [await sessions.create({ userId: 'ada' }), await sessions.create({ userId: 'ada', kind: 'bearer' })]
  await sessions.revoke(one.session.id, { userId: 'ada', reason: 'stolen laptop', actor: 'eve@example.com' })
  await sessions.revokeUser('ada', { reason: 'x'.repeat(64), actor: 'ä'.repeat(255) })
  await until('three ends', () => told.length === 3)
  t.match(told[0], { id: one.session.id, reason: 'revoked', statedReason: 'stolen laptop', actor: 'eve@example.com', kind: 'cookie', requestId: null })
  t.strictSame(told.slice(1).map(({ id, kind }) => ({ id, kind })).sort((a, b) => a.kind! < b.kind! ? 1 : -1), others.map(({ session: { id, kind } }) => ({ id, kind })))
  for (const event of told.slice(1)) t.match(event, { reason: 'revoked', statedReason: 'x'.repeat(64), actor: 'ä'.repeat(255) })
})

both('a reason or an actor that nobody can be shown is refused, and nothing ends', async (t, open) => {
  const { sessions } = await open()
  const told = endsOf(sessions)
  const { session } = await sessions.create({ userId: 'ada' })
  const wrong: unknown[] = ['', 7, true, {}, ['x'], '\u001B[31m', 'a\nb', 'a\u0000', 'a\u0085b', 'a\u2028b', 'a\u2029b', '\uD800', 'x'.repeat(256), { toString: () => 'x' }]
  for (const [name, most, values] of [['reason', 64, [...wrong, 'x'.repeat(65)]], ['actor', 255, wrong]] as const) {
    for (const value of values) {
      // Type assertion because plain JavaScript can pass anything.
      const options = { [name]: value } as EndOptions
      const refused = { name: 'TypeError', message: `${name} must be a text of 1 to ${most} characters without control characters` }
      await t.rejects(sessions.revoke(session.id, options), refused)
      await t.rejects(sessions.revokeUser('ada', options), refused)
    }
  }
  t.ok(await sessions.get(session.id))
  await sessions.revoke(session.id, { reason: undefined, actor: null })
  await until('the only end', () => told.length === 1)
  t.match(told, [{ statedReason: null, actor: null }])
})

both('every end says of which kind the session was', async (t, open) => {
  const { sessions, age } = await open({ bearer: true, maxSessionsPerUser: 1 })
  const told = endsOf(sessions)
  const kinds = (): Array<SessionEvent['kind']> => told.splice(0).map(({ kind }) => kind).sort()
  await sessions.create({ userId: 'ada' })
  await sessions.create({ userId: 'ada' })
  await until('an eviction', () => told.length === 1)
  t.strictSame(kinds(), ['cookie'])
  await sessions.create({ userId: 'ada', kind: 'bearer' })
  await age(31 * MINUTE)
  await sessions.listByUser('ada')
  await until('two that have expired', () => told.length === 2)
  t.strictSame(kinds(), ['bearer', 'cookie'])
})

t.test('also of sessions that Redis has dropped from a list of very many, and of one that was looked for', async (t) => {
  const { sessions, store, age } = await inRedis(t, redis, { bearer: true })
  const told = endsOf(sessions)
  await Promise.all(Array.from({ length: 60 }, async () => {
    await sessions.create({ userId: 'ada' })
    await sessions.create({ userId: 'ada', kind: 'bearer' })
  }))
  await age(31 * MINUTE)
  await sessions.listByUser('ada')
  await until('all ends', () => told.length === 120)
  t.equal(told.filter(({ kind }) => kind === 'bearer').length, 60)
  t.equal(new Set(told.map(({ id }) => id)).size, 120)
  // Its key has gone, and its place on the list is due: whoever ends all finds that out.
  const { session } = await sessions.create({ userId: 'bob', kind: 'bearer' })
  t.ok(store instanceof RedisStore)
  await age(30 * MINUTE)
  await sessions.revokeUser('bob')
  await until('the last end', () => told.length === 121)
  t.match(told[120], { id: session.id, kind: 'bearer' })
})

t.test('the reason and the actor reach every process, and what nobody can be shown does not', async (t) => {
  const { sessions: here, another, keyPrefix } = await inRedis(t, redis)
  const there = await another()
  const told = endsOf(there)
  const channel = `@${keyPrefix}events`
  await until('it to listen', async () => Number((await redis.client.pubsub('NUMSUB', channel))[1]) === 1)
  const { session } = await here.create({ userId: 'ada' })
  await here.revoke(session.id, { reason: 'stolen', actor: 'eve' })
  await until('the end', () => told.length === 1)
  t.match(told.pop(), { id: session.id, kind: 'cookie', statedReason: 'stolen', actor: 'eve', local: false })
  const hostile = { statedReason: '\u001B[2J', actor: 'x'.repeat(256), requestId: 'a\u001B\n'.repeat(100) }
  await redis.client.publish(channel, JSON.stringify({ origin: 'mallory', name: 'revoked', id: 'x', userId: 'ada', at: 1, reason: 'revoked', ...hostile }))
  await until('what mallory says', () => told.length === 1)
  t.match(told, [{ statedReason: null, actor: null, requestId: 'a??'.repeat(43).slice(0, 128) }])
})

t.test('app.logout says why and by whom, and each end by a request says by which', async (t) => {
  const app = await startApp(t, { store: new SpyStore() }, { requestIdHeader: 'x-request-id' })
  await app.register(sessionRoutes, { prefix: '/sessions' })
  app.post('/login', async (request) => await app.login(request, { id: 'ada' }))
  app.post<{ Body: EndOptions }>('/logout', async (request, reply) => { await app.logout(request, reply, request.body) })
  // @ts-expect-error the options come after the reply
  app.post<{ Body: EndOptions }>('/logout-without-reply', async (request) => { await app.logout(request, request.body) })
  app.post('/regenerate', async (request) => { await request.session.regenerate(['userId']) })
  const told = endsOf(app.sessions)
  const begun: SessionEvent[] = []
  app.sessions.on('created', (event) => { begun.push(event) })
  const signIn = async (): Promise<Browser> => {
    const browser = new Browser(app)
    await browser.post('/login')
    return browser
  }
  const idOf = (browser: Browser): string => browser.cookies.get('sid')?.split('.')[0] ?? ''
  const headers = { 'x-request-id': 'r-7' }
  const ada = await signIn()
  await ada.request('POST', '/regenerate', { headers })
  await until('her move', () => begun.length === 2)
  t.match(begun.pop(), { reason: 'moved', requestId: 'r-7' })
  await until('the end of the old id', () => told.length === 1)
  told.length = 0
  t.equal((await ada.post('/logout', { reason: 'x'.repeat(65) })).statusCode, 500)
  t.equal((await ada.post('/logout', { acter: 'eve' })).statusCode, 500)
  t.equal((await ada.post('/logout-without-reply', { reason: 'lunch' })).statusCode, 500)
  t.equal((await ada.get('/sessions')).statusCode, 200, 'nobody was signed out')
  t.equal((await ada.post('/logout', { reason: 'lunch', actor: 'eve' }, { headers })).statusCode, 200)
  await until('her logout', () => told.length === 1)
  t.match(told.pop(), { reason: 'logout', statedReason: 'lunch', actor: 'eve', requestId: 'r-7', kind: 'cookie' })

  const [phone, laptop, tablet] = [await signIn(), await signIn(), await signIn()]
  await laptop.request('DELETE', `/sessions/${idOf(phone)}`, { headers })
  await laptop.request('DELETE', '/sessions', { headers: { 'x-request-id': 'r-8' } })
  await laptop.request('DELETE', `/sessions/${idOf(laptop)}`, { headers: { 'x-request-id': 'r-9' } })
  await until('three ends', () => told.length === 3)
  t.strictSame(told.map(({ reason, requestId, actor }) => [reason, requestId, actor]), [['revoked', 'r-7', null], ['revoked', 'r-8', null], ['logout', 'r-9', null]])
  t.equal((await tablet.get('/sessions')).statusCode, 401)
})

t.test('the id of a request is harmless, whatever its client has chosen', async (t) => {
  t.equal(requestIdText('req-1'), 'req-1')
  t.equal(requestIdText(7), '7')
  t.equal(requestIdText('\u001B[31mé\r\n'), '?[31m???')
  t.equal(requestIdText('x'.repeat(10_000)), 'x'.repeat(128))
  for (const none of [undefined, null, {}, [], Symbol('x'), () => 'x']) t.equal(requestIdText(none), null)
  const { sessions } = inMemory(t)
  t.equal(await sessions.revoke('x', { reason: 'x' }), false)
})
