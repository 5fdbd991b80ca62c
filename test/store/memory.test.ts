import t from 'tap'
import { MemoryStore } from '../../lib/store/memory.ts'
import { storeContract } from '../contract/store-contract.ts'
import { MINUTE, record } from '../helpers/record.ts'

storeContract(t, 'MemoryStore', () => {
  let now = Date.now()
  const store = new MemoryStore({ maxSessions: 2000, now: () => now })
  return {
    store,
    age: (ms) => { now += ms },
    atomic: 'process',
    lists: true,
    fill: async () => {
      try {
        for (;;) await store.create(record({ userId: null, now }))
      } catch {}
    }
  }
})

t.test('a full memory store takes a session in the place of another', async (t) => {
  const store = new MemoryStore({ maxSessions: 2 })
  const first = record()
  const second = record()
  await store.create(first)
  await store.create(second)
  await t.rejects(store.create(record(), { replaces: record() }), { code: 'ERR_SESSION_STORE_FULL', message: 'The session store is full', headers: { 'retry-after': '1' } })
  const third = record()
  t.ok(await store.create(third, { replaces: first }))
  t.equal(await store.find(first.id), null)
  t.ok(await store.find(second.id))
  t.ok(await store.find(third.id))
})

t.test('expired sessions make room in a full memory store', async (t) => {
  let now = Date.now()
  const store = new MemoryStore({ maxSessions: 2, now: () => now })
  for (const userId of ['ada', null]) await store.create(record({ userId, now, idleTimeoutMs: MINUTE }))
  now += MINUTE
  t.ok(await store.create(record({ now })))
  t.equal((await store.listByUser('ada')).length, 1)
})

t.test('expired sessions nobody asks for are dropped before the memory store is full', async (t) => {
  let now = Date.now()
  const store = new MemoryStore({ maxSessions: 2048, now: () => now })
  for (let round = 0; round < 20; round++) {
    for (let each = 0; each < 500; each++) await store.create(record({ userId: null, now, idleTimeoutMs: MINUTE }))
    now += MINUTE
  }
  t.pass('10,000 short sessions fitted into 2,048 places')
})

t.test('a memory store of no size is refused', async (t) => {
  for (const maxSessions of [0, -1, 1.5, NaN]) {
    t.throws(() => new MemoryStore({ maxSessions }), { code: 'ERR_SESSION_INVALID_OPTIONS', message: 'Invalid session options: maxSessions must be an integer of 1 or more' })
  }
})

t.test('a closed memory store is empty', async (t) => {
  const store = new MemoryStore()
  const session = record()
  await store.create(session)
  await store.close()
  t.equal(await store.find(session.id), null)
  t.strictSame(await store.listByUser('ada'), [])
})
