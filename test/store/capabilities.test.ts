import t from 'tap'
import { MemoryStore, SessionManager } from '../../lib/index.ts'
import type { SessionStore } from '../../lib/index.ts'
import { isSessionStore } from '../../lib/session/store.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import { record } from '../helpers/record.ts'
import { storeContract } from '../contract/store-contract.ts'

const UNSUPPORTED = { code: 'ERR_SESSION_UNSUPPORTED', message: 'Not supported: listing sessions, or ending all of a user, on a store without lists' }

/** A store with no capability, by the methods of one that has all. */
function withoutCapabilities (store = new MemoryStore()): SessionStore {
  return {
    now: () => store.now(),
    find: async (id) => await store.find(id),
    begin: async (session, options) => await store.begin(session, options),
    replace: async (session, old, options) => await store.replace(session, old, options),
    move: async (session, old, options) => await store.move(session, old, options),
    update: async (session, change) => await store.update(session, change),
    touch: async (session) => await store.touch(session),
    delete: async (id, options) => await store.delete(id, options),
    ping: async () => {},
    close: async () => { await store.close() },
    events: store.events
  }
}

t.test('a store without capabilities signs in and out, and says what it cannot do', async (t) => {
  for (const options of [{}, { encryption: { keys: ['only for this test, and of 32 characters or more'] } }]) {
    const app = await startApp(t, { store: withoutCapabilities(), ...options })
    app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
    app.post('/regenerate', async ({ session }) => { await session.regenerate(['userId']) })
    app.post('/logout', async (request) => { await app.logout(request) })
    app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth().userId)
    const ada = new Browser(app)
    await ada.post('/login')
    await ada.post('/login')
    t.equal((await ada.post('/regenerate')).statusCode, 200)
    t.equal((await ada.get('/me')).body, 'ada')
    await t.rejects(app.sessions.listByUser('ada'), UNSUPPORTED)
    await t.rejects(app.sessions.revokeUser('ada'), UNSUPPORTED)
    await t.rejects(app.sessions.listAll().next(), UNSUPPORTED)
    t.equal((await app.sessions.health()).ok, true)
    await ada.post('/logout')
    t.equal((await ada.get('/me')).statusCode, 401)
  }
})

t.test('the sessions of a user are limited on a store with lists alone', async (t) => {
  const manager = (options: object) => new SessionManager({ secret, store: withoutCapabilities(), ...options })
  t.throws(() => manager({ maxSessionsPerUser: 3 }), { code: 'ERR_SESSION_INVALID_OPTIONS', message: /maxSessionsPerUser needs a store that can list its sessions: this one has no listByUser\(\)/ })
  const sessions = manager({})
  t.teardown(() => sessions.close())
  t.ok(await sessions.create({ userId: 'ada' }))
})

t.test('a store is told by the methods that every store has', (t) => {
  const store = withoutCapabilities()
  t.ok(isSessionStore(store))
  for (const name of Object.keys(store)) t.notOk(isSessionStore({ ...store, [name]: undefined }), name)
  t.end()
})

storeContract(t, 'without capabilities', () => {
  let now = Date.now()
  return { store: withoutCapabilities(new MemoryStore({ now: () => now })), lists: false, age: (ms) => { now += ms } }
})

t.test('a session that has moved is changed and ended by its old id only where the store tells of it', async (t) => {
  const store = withoutCapabilities()
  const sessions = new SessionManager({ secret, store })
  t.teardown(() => sessions.close())
  const first = record()
  await store.begin(first)
  await store.move({ ...first, id: record().id }, first)
  t.equal(await sessions.update(first.id, () => ({ cart: 1 })), null)
})
