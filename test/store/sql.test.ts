import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ConnectSessionKnexStore } from 'connect-session-knex'
import knex from 'knex'
import type { Knex } from 'knex'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes } from '../../lib/index.ts'
import { ExpressStoreAdapter } from '../../lib/store/foreign.ts'
import { storeContract } from '../contract/store-contract.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { run } from '../helpers/process.ts'
import { MINUTE, record } from '../helpers/record.ts'

const program = join(import.meta.dirname, '../helpers/sql-app.ts')
const folder = await mkdtemp(join(tmpdir(), 'fus-sql-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
let files = 0
const newFile = (): string => join(folder, `${files++}.sqlite`)

/** The store that tutorials on express-session and SQL use, on SQLite. */
async function openSql (t: Test, filename = newFile()): Promise<{ db: Knex, store: ConnectSessionKnexStore }> {
  const db = knex({ client: 'better-sqlite3', connection: { filename }, useNullAsDefault: true })
  const store = new ConnectSessionKnexStore({ knex: db, cleanupInterval: 0 })
  t.teardown(async () => {
    await store.ready
    await db.destroy()
  })
  await store.ready
  return { db, store }
}

storeContract(t, 'connect-session-knex on SQLite', async (t) => {
  let now = Date.now()
  const { store } = await openSql(t, ':memory:')
  return { store: new ExpressStoreAdapter(store, { now: () => now }), age: (ms) => { now += ms }, tellsExpired: false }
}, { isCombination: true })

t.test('people sign in, are known and sign out', async (t) => {
  const { db, store } = await openSql(t)
  const app = await startApp(t, { store })
  await app.register(authRoutes, { verify: ({ username }) => ({ id: username }) })
  app.post('/cart', async ({ session, body }) => { session.cart = body })
  const ada = new Browser(app)
  await ada.post('/cart', ['book'])
  const planted = ada.header
  t.equal((await ada.post('/login', { username: 'ada', password: 'x' })).statusCode, 200)
  t.not(ada.header, planted)
  const { authenticated, user } = (await ada.get('/info')).json()
  t.strictSame([authenticated, user], [true, { id: 'ada' }])
  t.equal((await app.inject({ url: '/info', headers: { cookie: planted } })).json().authenticated, false)
  t.equal((await db('sessions').select('sid')).length, 1, 'the session of before is gone')
  const cookie = ada.header
  t.equal((await ada.post('/logout')).statusCode, 204)
  t.equal((await app.inject({ url: '/info', headers: { cookie } })).json().authenticated, false)
  t.strictSame(await db('sessions').select('sid'), [])
})

t.test('a write that fails puts nothing of the session into the log', async (t) => {
  const { db, store } = await openSql(t)
  const lines: string[] = []
  const app = await startApp(t, { store }, { logger: { stream: { write: (line: string) => { lines.push(line) } } } })
  await app.register(authRoutes, { verify: ({ username }) => ({ id: username }) })
  app.post('/iban', async ({ session, body }) => { session.iban = body })
  const ada = new Browser(app)
  await ada.post('/login', { username: 'ada', password: 'x' })
  await db.raw('PRAGMA query_only = ON')
  lines.length = 0
  t.equal((await ada.post('/iban', { iban: 'DE00 1234' })).statusCode, 503)
  t.match(lines.join(''), /ERR_SESSION_STORE_UNAVAILABLE.*SqliteError: its message holds the session, and is left out/)
  t.notMatch(lines.join(''), /DE00|\\"h\\"|insert into/)
})

t.test('app.authenticate guards a restricted page', async (t) => {
  const { store } = await openSql(t)
  const app = await startApp(t, { store })
  app.post('/login', async (request) => { request.session.userId = 'ada' })
  app.get('/restricted', { preHandler: app.authenticate }, async ({ auth }) => `only for ${auth?.userId}`)
  const ada = new Browser(app)
  t.strictSame([(await ada.get('/restricted')).statusCode, (await ada.get('/restricted')).json().code], [401, 'ERR_SESSION_UNAUTHENTICATED'])
  await ada.post('/login')
  t.equal((await ada.get('/restricted')).body, 'only for ada')
})

t.test('a session outlives its process, and ends for those that come after', async (t) => {
  const file = newFile()
  /** A process of its own that sends one request, and ends. */
  const ask = async (method: 'GET' | 'POST', url: string, cookie = ''): Promise<{ statusCode: number, body: string, cookie: string }> => {
    const { code, output } = await run(process.execPath, ['--import', 'tsx', program, file, method, url, cookie])
    t.equal(code, 0, output)
    return JSON.parse(output)
  }
  const login = await ask('POST', '/login')
  t.match(login, { statusCode: 200, cookie: /^sid=.+/ })
  t.match(await ask('GET', '/restricted', login.cookie), { statusCode: 200, body: 'only for ada' })
  t.match(await ask('POST', '/logout', login.cookie), { statusCode: 204 })
  t.match(await ask('GET', '/restricted', login.cookie), { statusCode: 401 })
  t.match(await ask('GET', '/restricted'), { statusCode: 401 })
})

t.test('its list is one of sessions without ids, and ours are found in it', async (t) => {
  const { db, store } = await openSql(t)
  const adapter = new ExpressStoreAdapter(store)
  t.teardown(() => adapter.close())
  const [one, two, his] = [record({ createdAt: Date.now() - 1000 }), record(), record({ userId: 'bob' })]
  for (const session of [one, two, his]) await adapter.begin(session)
  // express-session's own, of an application that was there before.
  await store.set('foreign', { cookie: { maxAge: MINUTE, originalMaxAge: MINUTE }, userId: 'ada' } as never)
  await db('sessions').where({ sid: one.id }).update({ expired: new Date(Date.now() - MINUTE).toISOString() })
  const all = await store.all(() => {}) as object[]
  t.strictSame([Array.isArray(all), all.length], [true, 3], 'without what has expired by the clock of the store')
  t.strictSame((await adapter.listByUser('ada')).map(({ id }) => id), [two.id])
  t.strictSame(await adapter.deleteByUser('ada'), [two.id])
  t.equal(await adapter.find(two.id), null)
  t.strictSame(await adapter.find(his.id), his)
  t.ok(await store.get('foreign', () => {}), 'what is not ours stays')
})

t.test('what has expired by our clock is not found, though its row is there', async (t) => {
  const { db, store } = await openSql(t)
  let now = Date.now()
  const adapter = new ExpressStoreAdapter(store, { now: () => now })
  t.teardown(() => adapter.close())
  const session = record({ now, idleTimeoutMs: 30 * MINUTE })
  await adapter.begin(session)
  const [row] = await db('sessions').select('expired')
  t.ok(Math.abs(Date.parse(row.expired) - now - 30 * MINUTE) < 5000, 'the row says when')
  now += 30 * MINUTE
  t.equal(await adapter.find(session.id), null)
  t.strictSame(await adapter.listByUser('ada'), [])
  t.equal((await store.all(() => {})).length, 1)
})
