import t from 'tap'
import { MemoryStore } from '../../lib/store/memory.ts'
import { storeContract } from '../contract/store-contract.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { MINUTE, record } from '../helpers/record.ts'

storeContract(t, 'MemoryStore', () => {
  let now = Date.now()
  const store = new MemoryStore({ maxSessions: 2000, now: () => now })
  return {
    store,
    age: (ms) => { now += ms },
    fill: async () => {
      try {
        for (;;) await store.begin(record({ userId: null, now }))
      } catch {}
    }
  }
})

t.test('a full memory store takes a session in the place of another', async (t) => {
  const store = new MemoryStore({ maxSessions: 2 })
  const first = record()
  const second = record()
  await store.begin(first)
  await store.begin(second)
  await t.rejects(store.replace(record(), record()), { code: 'ERR_SESSION_STORE_FULL', message: 'The session store is full', headers: { 'retry-after': '1' } })
  const third = record()
  t.ok(await store.replace(third, first))
  t.equal(await store.find(first.id), null)
  t.ok(await store.find(second.id))
  t.ok(await store.find(third.id))
})

t.test('expired sessions make room in a full memory store', async (t) => {
  let now = Date.now()
  const store = new MemoryStore({ maxSessions: 2, now: () => now })
  for (const userId of ['ada', null]) await store.begin(record({ userId, now, idleTimeoutMs: MINUTE }))
  now += MINUTE
  t.ok(await store.begin(record({ now })))
  t.equal((await store.listByUser('ada')).length, 1)
})

t.test('expired sessions nobody asks for are dropped before the memory store is full', async (t) => {
  let now = Date.now()
  const store = new MemoryStore({ maxSessions: 2048, now: () => now })
  for (let round = 0; round < 20; round++) {
    for (let each = 0; each < 500; each++) await store.begin(record({ userId: null, now, idleTimeoutMs: MINUTE }))
    now += MINUTE
  }
  t.pass('10,000 short sessions fitted into 2,048 places')
})

t.test('of sessions that expire at once each new one makes room for some, until all are gone', async (t) => {
  let now = Date.now()
  const store = new MemoryStore({ maxSessions: 1000, now: () => now })
  for (let each = 0; each < 1000; each++) await store.begin(record({ now, idleTimeoutMs: MINUTE }))
  let told = 0
  store.events.on('ended', () => { told++ })
  now += MINUTE
  const portions: number[] = []
  for (let each = 0; each < 20; each++) {
    const before = told
    await store.begin(record({ userId: null, now }))
    portions.push(told - before)
  }
  t.strictSame(portions, [...Array(10).fill(100), ...Array(10).fill(0)])
})

t.test('a session that was used keeps its place while others make room', async (t) => {
  let now = Date.now()
  const store = new MemoryStore({ maxSessions: 3, now: () => now })
  const [used, changed, unused] = [record({ now, idleTimeoutMs: MINUTE }), record({ now, idleTimeoutMs: MINUTE }), record({ now, idleTimeoutMs: MINUTE })]
  for (const each of [used, changed, unused]) await store.begin(each)
  now += MINUTE / 2
  await store.touch(used)
  await store.update(changed, () => '{"cart":1}')
  now += MINUTE / 2
  t.ok(await store.begin(record({ now })))
  t.ok(await store.begin(record({ now })), 'a change is no use')
  await t.rejects(store.begin(record({ now })), { code: 'ERR_SESSION_STORE_FULL' })
  t.ok(await store.find(used.id))
  now += MINUTE / 2
  t.ok(await store.begin(record({ now })))
})

t.test('a full memory store refuses as fast with fifty thousand sessions as with some hundred', async (t) => {
  /** The fastest of many: whatever else the machine does. */
  const refusalMs = async (maxSessions: number): Promise<number> => {
    const store = new MemoryStore({ maxSessions })
    for (let each = 0; each < maxSessions; each++) await store.begin(record({ userId: null }))
    const late = record()
    let fastest = Infinity
    for (let attempt = 0; attempt < 100; attempt++) {
      const startedAt = performance.now()
      await store.begin(late).catch(() => {})
      fastest = Math.min(fastest, performance.now() - startedAt)
    }
    return fastest
  }
  const [few, many] = [await refusalMs(500), await refusalMs(50_000)]
  t.ok(many < few * 20, `${few} and ${many} ms`)
})

t.test('what a memory store holds is found at once, and what it does not is not', async (t) => {
  let now = Date.now()
  const store = new MemoryStore({ now: () => now })
  const session = record({ now, idleTimeoutMs: MINUTE })
  await store.begin(session)
  t.strictSame(store.findNow(session.id), session)
  t.equal(store.findNow(session.id), await store.find(session.id))
  t.equal(store.findNow(record().id), undefined)
  now += MINUTE
  t.equal(store.findNow(session.id), undefined)
})

t.test('a request whose session is in this process\'s memory waits for nothing', async (t) => {
  const store = new class extends MemoryStore {
    asked = 0
    override async find (id: string) {
      this.asked++
      return await super.find(id)
    }
  }()
  const app = await startApp(t, { store })
  app.post('/login', async (request) => await app.login(request, { id: 'ada' }))
  app.get('/me', { preHandler: app.authenticate }, async (request) => ({ userId: request.auth?.userId }))
  const ada = new Browser(app)
  await ada.post('/login')
  for (let visit = 0; visit < 3; visit++) t.strictSame((await ada.get('/me')).json(), { userId: 'ada' })
  t.equal(store.asked, 0)
})

t.test('a memory store of no size is refused', async (t) => {
  for (const maxSessions of [0, -1, 1.5, NaN]) {
    t.throws(() => new MemoryStore({ maxSessions }), { code: 'ERR_SESSION_INVALID_OPTIONS', message: 'Invalid session options: maxSessions must be an integer of 1 or more' })
  }
})

t.test('a closed memory store is empty', async (t) => {
  const store = new MemoryStore()
  const session = record()
  await store.begin(session)
  await store.close()
  t.equal(await store.find(session.id), null)
  t.strictSame(await store.listByUser('ada'), [])
})

t.test('a session that ends leaves the others of its user listed in their order, wherever it stood', async (t) => {
  const now = Date.now()
  for (const ended of [[0], [1], [2], [3], [0, 3], [1, 2], [2, 1], [3, 2, 1], [0, 1, 2, 3]]) {
    const store = new MemoryStore({ now: () => now })
    const all = [0, 1, 2, 3].map(() => record({ userId: 'ada', now }))
    for (const each of all) await store.begin(each)
    for (const at of ended) t.ok(await store.delete(all[at]?.id ?? ''))
    const late = record({ userId: 'ada', now })
    await store.begin(late)
    const left = all.filter((_each, at) => !ended.includes(at))
    t.strictSame((await store.listByUser('ada')).map(({ id }) => id), [...left, late].map(({ id }) => id).reverse(), `without ${ended.join(', ')}`)
  }
})

t.test('a session that begins under the id of another one takes its place', async (t) => {
  const store = new MemoryStore()
  const [first, other] = [record({ userId: 'ada' }), record({ userId: 'ada' })]
  for (const each of [first, other, first]) await store.begin(each)
  t.strictSame((await store.listByUser('ada')).map(({ id }) => id).sort(), [first.id, other.id].sort())
  await store.begin({ ...first, userId: 'bob' })
  t.strictSame((await store.listByUser('ada')).map(({ id }) => id), [other.id])
  t.strictSame((await store.listByUser('bob')).map(({ id }) => id), [first.id])
})
