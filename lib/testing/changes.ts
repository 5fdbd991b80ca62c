import assert from 'node:assert/strict'
import { Chapter } from './contract.ts'

/** Data that changes, by one writer or by many. */
export const changes = new Chapter()

changes.says('a change is made on the present data, even when it was begun on old data', async ({ store, make }) => {
  const seen = make({ data: '{"step":0}' })
  await store.begin(seen)
  assert.equal((await store.update(seen, () => '{"step":1}'))?.data, '{"step":1}')
  const made: string[] = []
  const stored = await store.update(seen, (data) => {
    made.push(data)
    return JSON.stringify({ step: JSON.parse(data).step + 1 })
  })
  assert.equal(stored?.data, '{"step":2}')
  assert.equal(made.at(-1), '{"step":1}', 'the last call decides')
  assert.equal((await store.find(seen.id))?.data, '{"step":2}')
})

changes.says('a change that throws changes nothing', async ({ store, make }) => {
  const session = make({ data: '{"step":0}' })
  await store.begin(session)
  await assert.rejects(store.update(session, () => { throw new Error('no such step') }), { message: 'no such step' })
  assert.deepEqual(await store.find(session.id), session)
})

changes.says('only data changes by an update', async ({ store, make }) => {
  const session = make({ label: 'phone' })
  await store.begin(session)
  const forged = { ...session, userId: 'mallory', label: 'tablet', lastSeenAt: 1, endsAt: 1, secretHash: 'x' }
  await store.update(forged, () => '{"cart":1}')
  assert.deepEqual(await store.find(session.id), { ...session, data: '{"cart":1}' })
})

changes.says('of a hundred writers at once, none loses its change', async ({ store, other, make }) => {
  const session = make({ data: '{}' })
  await store.begin(session)
  await Promise.all(Array.from({ length: 100 }, async (_, writer) => {
    const stored = await (writer % 2 === 0 ? store : other).update(session, (data) => {
      return JSON.stringify({ ...JSON.parse(data), [`key${writer}`]: writer })
    })
    assert.equal(JSON.parse(stored?.data ?? '{}')[`key${writer}`], writer)
  }))
  const data = JSON.parse((await store.find(session.id))?.data ?? '{}')
  assert.equal(Object.keys(data).length, 100)
})

changes.says('an ended session is neither changed nor touched', async ({ store, make, lists }) => {
  const session = make()
  await store.begin(session)
  await store.delete(session.id)
  assert.equal(await store.update(session, () => '{"back":1}'), null)
  assert.equal(await store.touch(session), false)
  assert.equal(await store.find(session.id), null)
  const never = make({ userId: null })
  assert.equal(await store.update(never, () => '{"back":1}'), null)
  assert.equal(await store.touch(never), false)
  assert.equal(await store.find(never.id), null)
  if (lists) assert.deepEqual(await store.listByUser('ada'), [])
})

changes.says('a session in the place of another keeps what others changed last', async ({ store, other, make }) => {
  for (const method of ['replace', 'move'] as const) {
    const seen = make({ data: '{"step":0}' })
    await store.begin(seen)
    await other.update(seen, () => '{"step":1}')
    const next = { ...seen, id: make().id, secretHash: make().secretHash, data: '{"own":0}' }
    const stored = await store[method](next, seen, { carry: (data) => JSON.stringify({ own: 0, ...JSON.parse(data) }) })
    assert.deepEqual(stored, { ...next, data: '{"own":0,"step":1}' })
    assert.deepEqual(await other.find(next.id), stored)
  }
})

changes.says('and has its own data where nobody changed any', async ({ store, other, make }) => {
  for (const method of ['replace', 'move'] as const) {
    const seen = make({ data: '{"step":0}' })
    await store.begin(seen)
    const next = { ...seen, id: make().id, data: '{"own":0}' }
    assert.deepEqual(await store[method](next, seen, { carry: () => '{"lost":true}' }), next)
    assert.deepEqual(await other.find(next.id), next)
  }
})
