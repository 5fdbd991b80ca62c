import type { Define } from './store-contract.ts'

/** Data that changes, by one writer or by many. */
export function changeTests (test: Define): void {
  test('a change is made on the present data, even when it was begun on old data', async (t, { store, make }) => {
    const seen = make({ data: '{"step":0}' })
    await store.begin(seen)
    t.equal((await store.update(seen, () => '{"step":1}'))?.data, '{"step":1}')
    const made: string[] = []
    const stored = await store.update(seen, (data) => {
      made.push(data)
      return JSON.stringify({ step: JSON.parse(data).step + 1 })
    })
    t.equal(stored?.data, '{"step":2}')
    t.equal(made.at(-1), '{"step":1}', 'the last call decides')
    t.equal((await store.find(seen.id))?.data, '{"step":2}')
  })

  test('a change that throws changes nothing', async (t, { store, make }) => {
    const session = make({ data: '{"step":0}' })
    await store.begin(session)
    await t.rejects(store.update(session, () => { throw new Error('no such step') }), { message: 'no such step' })
    t.strictSame(await store.find(session.id), session)
  })

  test('only data changes by an update', async (t, { store, make }) => {
    const session = make({ label: 'phone' })
    await store.begin(session)
    await store.update({ ...session, userId: 'mallory', label: 'tablet', lastSeenAt: 1, endsAt: 1, secretHash: 'x' }, () => '{"cart":1}')
    t.strictSame(await store.find(session.id), { ...session, data: '{"cart":1}' })
  })

  test('of a hundred writers at once, none loses its change', async (t, { store, other, make }) => {
    const session = make({ data: '{}' })
    await store.begin(session)
    await Promise.all(Array.from({ length: 100 }, async (_, writer) => {
      const stored = await (writer % 2 === 0 ? store : other).update(session, (data) => JSON.stringify({ ...JSON.parse(data), [`key${writer}`]: writer }))
      t.equal(JSON.parse(stored?.data ?? '{}')[`key${writer}`], writer)
    }))
    const data = JSON.parse((await store.find(session.id))?.data ?? '{}')
    t.equal(Object.keys(data).length, 100)
  })

  test('an ended session is neither changed nor touched', async (t, { store, make, lists }) => {
    const session = make()
    await store.begin(session)
    await store.delete(session.id)
    t.equal(await store.update(session, () => '{"back":1}'), null)
    t.equal(await store.touch(session), false)
    t.equal(await store.find(session.id), null)
    const never = make({ userId: null })
    t.equal(await store.update(never, () => '{"back":1}'), null)
    t.equal(await store.touch(never), false)
    t.equal(await store.find(never.id), null)
    if (lists) t.strictSame(await store.listByUser('ada'), [])
  })
}
