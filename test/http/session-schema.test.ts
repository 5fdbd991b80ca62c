import { FormatRegistry, Type } from '@sinclair/typebox'
import t from 'tap'
import type { Test } from 'tap'
import type { SessionOptions } from '../../lib/index.ts'
import { MemoryStore } from '../../lib/index.ts'
import { Browser, startApp } from '../helpers/app.ts'

const schema = Type.Object({ cart: Type.Array(Type.String()), visits: Type.Integer() })

/** An application of yesterday, which keeps what it likes, and one of today, which has a schema, on the same sessions. */
async function startBoth (t: Test, options: Partial<SessionOptions> = {}) {
  const store = new MemoryStore()
  const [yesterday, today] = await Promise.all([startApp(t, { store, ...options.userIdFrom !== undefined && { userIdFrom: options.userIdFrom } }), startApp(t, { store, sessionSchema: schema, ...options })])
  for (const app of [yesterday, today]) {
    app.post<{ Body: object }>('/keep', async (request) => { Object.assign(request.session, request.body) })
    app.get('/data', async (request) => request.session)
    app.get('/me', async (request) => request.auth?.userId ?? null)
    app.post('/login', async (request) => { await app.login(request, { id: 'ada' }, { keep: true }) })
    app.post('/fail', async (request, reply) => {
      void request.session.cart
      await reply.code(500).send('sorry')
    })
  }
  const ada = new Browser(yesterday)
  const adaToday = new Browser(today)
  const moveOn = () => { for (const [name, value] of ada.cookies) adaToday.cookies.set(name, value) }
  const warned = () => today.lines.filter(({ level }) => level >= 40).map(({ msg, keys }) => [msg, keys])
  const stored = async () => await yesterday.sessions.data(adaToday.header.slice('sid='.length, 'sid='.length + 22))
  return { store, yesterday, today, ada, adaToday, moveOn, warned, stored }
}

t.test('data that does not fit any more is dropped when the session is used, key by key, and said once', async (t) => {
  const { ada, adaToday, moveOn, warned, stored } = await startBoth(t)
  await ada.post('/login')
  await ada.post('/keep', { cart: ['tea', 5], visits: 3, theme: 'dark' })
  moveOn()
  t.equal((await adaToday.get('/me')).body, 'ada')
  t.strictSame(await stored(), { userId: 'ada', cart: ['tea', 5], visits: 3, theme: 'dark' }, 'who only asks who is signed in changes nothing')
  t.strictSame(warned(), [])
  for (let read = 0; read < 3; read++) t.strictSame((await adaToday.get('/data')).json(), { userId: 'ada', visits: 3, theme: 'dark' })
  t.strictSame(await stored(), { userId: 'ada', visits: 3, theme: 'dark' })
  t.strictSame(warned(), [['data of a session does not fit sessionSchema and was dropped', ['cart']]])
  t.notMatch(JSON.stringify(warned()), 'tea', 'no data in the log')
})

t.test('a closed schema keeps no other keys, but who is signed in', async (t) => {
  const { ada, adaToday, moveOn, stored } = await startBoth(t, { sessionSchema: Type.Object({ visits: Type.Integer(), userId: Type.Optional(Type.Integer()) }, { additionalProperties: false }) })
  await ada.post('/login')
  await ada.post('/keep', { visits: 3, theme: 'dark' })
  moveOn()
  t.strictSame((await adaToday.get('/data')).json(), { userId: 'ada', visits: 3 })
  t.strictSame(await stored(), { userId: 'ada', visits: 3 })
  t.equal((await adaToday.get('/me')).body, 'ada')
})

t.test('nobody is signed out because the place where the data names them does not fit', async (t) => {
  const userIdFrom = (data: Record<string, unknown>) => (data.user as { id?: string } | undefined)?.id
  const { ada, adaToday, moveOn } = await startBoth(t, { userIdFrom, sessionSchema: Type.Object({ user: Type.Object({ id: Type.String(), name: Type.String() }) }) })
  await ada.post('/keep', { user: { id: 'ada' } })
  moveOn()
  t.strictSame((await adaToday.get('/data')).json(), { user: { id: 'ada' } })
  t.equal((await adaToday.get('/me')).body, 'ada')
})

t.test('migrate makes today\'s shape of it, once, and what still does not fit goes', async (t) => {
  let calls = 0
  const { ada, adaToday, moveOn, warned, stored, today } = await startBoth(t, {
    migrate: ({ basket, ...data }) => {
      calls++
      return { ...data, cart: basket, visits: 'many' }
    }
  })
  await ada.post('/login')
  await ada.post('/keep', { basket: ['tea'], cart: 5 })
  moveOn()
  const id = (await today.sessions.listByUser('ada'))[0]?.id ?? ''
  t.strictSame(await today.sessions.data(id), { userId: 'ada', cart: ['tea'] }, 'also outside of requests')
  for (let read = 0; read < 3; read++) t.strictSame((await adaToday.get('/data')).json(), { userId: 'ada', cart: ['tea'] })
  t.strictSame(await stored(), { userId: 'ada', cart: ['tea'] })
  t.equal(calls, 2)
  t.strictSame(warned(), [['data of a session does not fit sessionSchema and was dropped', ['visits']]])
  await ada.post('/keep', { cart: 'coffee' })
  t.strictSame(await today.sessions.update(id, (data) => ({ ...data, seen: true })), { userId: 'ada', seen: true })
})

t.test('a migrate that fails, gives nothing or another user costs only what does not fit', async (t) => {
  const wrong: Array<(data: Record<string, unknown>) => unknown> = [
    () => { throw new Error('out of order') },
    () => undefined,
    () => null,
    () => [],
    async (data) => data,
    (data) => ({ ...data, cart: [], userId: 'mallory' }),
    (data) => ({ cart: data.cart }),
    () => ({ big: 5n })
  ]
  for (const migrate of wrong) {
    const { ada, adaToday, moveOn, warned } = await startBoth(t, { migrate: migrate as never })
    await ada.post('/login')
    await ada.post('/keep', { cart: 5, visits: 3 })
    moveOn()
    t.strictSame((await adaToday.get('/data')).json(), { userId: 'ada', visits: 3 })
    t.equal((await adaToday.get('/me')).body, 'ada')
    t.match(warned().map(([msg]) => msg), ['migrate failed for the data of a session', 'data of a session does not fit sessionSchema and was dropped'])
  }
})

t.test('signing in takes along what fits, and an empty session needs nothing of the schema', async (t) => {
  const { ada, adaToday, moveOn, stored } = await startBoth(t)
  t.strictSame((await adaToday.get('/data')).json(), {})
  t.equal(adaToday.cookies.size, 0)
  await ada.post('/keep', { cart: [5], visits: 1 })
  moveOn()
  t.equal((await adaToday.post('/fail')).statusCode, 500)
  await adaToday.post('/login')
  t.strictSame(await stored(), { visits: 1, userId: 'ada' })
})

t.test('what a check of the application\'s own throws at does not fit, and is no error of the request', async (t) => {
  FormatRegistry.Set('throws', (value) => { throw new Error(`not ${value}`) })
  t.teardown(() => FormatRegistry.Delete('throws'))
  const { ada, adaToday, moveOn, warned, stored } = await startBoth(t, { sessionSchema: Type.Object({ theme: Type.String({ format: 'throws' }), visits: Type.Integer() }) })
  await ada.post('/login')
  await ada.post('/keep', { theme: 'dark', visits: 3 })
  moveOn()
  t.strictSame((await adaToday.get('/data')).json(), { userId: 'ada', visits: 3 })
  t.equal((await adaToday.get('/me')).body, 'ada')
  t.strictSame(await stored(), { userId: 'ada', visits: 3 })
  t.strictSame(warned(), [['data of a session does not fit sessionSchema and was dropped', ['theme']]])
})

t.test('[15.3.3] a schema cannot have what is reserved on request.session, and migrate brings nothing under such a name', async (t) => {
  for (const name of ['cookie', 'sessionId', 'save', 'destroy', 'get', 'constructor', '_session']) {
    await t.rejects(startApp(t, { store: new MemoryStore(), sessionSchema: Type.Object({ [name]: Type.String() }) }), { code: 'ERR_SESSION_INVALID_OPTIONS', message: `Invalid session options: sessionSchema has ${name}, a name that is reserved on request.session` })
  }
  const { ada, adaToday, moveOn } = await startBoth(t, { migrate: (data) => JSON.parse(JSON.stringify(data).replace('{', '{"save":1,"cookie":{"maxAge":1},"__proto__":{"userId":"mallory"},')) })
  await ada.post('/login')
  await ada.post('/keep', { cart: 5 })
  moveOn()
  t.strictSame((await adaToday.get('/data')).json(), { userId: 'ada' })
  t.equal((await adaToday.post('/keep', { visits: 1 })).statusCode, 200)
  t.equal((await adaToday.get('/me')).body, 'ada')
})
