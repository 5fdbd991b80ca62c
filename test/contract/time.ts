import { expiresAt } from '../../lib/session/record.ts'
import type { SessionRecord } from '../../lib/session/record.ts'
import { HOUR, MINUTE } from '../helpers/record.ts'
import type { Define } from './store-contract.ts'

/** How far Redis' clock, told to the millisecond and over a network, may seem off. */
const CLOCK_MS = 1000

/** Idle and absolute timeout, and use. */
export function timeTests (test: Define): void {
  test('a session nobody uses ends at its idle timeout', async (t, { store, make, age, lists }) => {
    const session = make({ idleTimeoutMs: 30 * MINUTE })
    const anonymous = make({ userId: null, idleTimeoutMs: 30 * MINUTE })
    const longer = make({ idleTimeoutMs: 2 * HOUR })
    for (const each of [session, anonymous, longer]) await store.begin(each)
    await age(29 * MINUTE)
    for (const each of [session, anonymous, longer]) t.ok(await store.find(each.id))
    const seen = await store.find(session.id) as SessionRecord
    await age(MINUTE)
    for (const each of [session, anonymous]) {
      t.equal(await store.find(each.id), null)
      t.equal(await store.delete(each.id), null)
    }
    t.equal(await store.update(seen, () => '{"back":1}'), null)
    t.equal(await store.touch(seen), false)
    t.equal(await store.find(session.id), null)
    if (lists) t.strictSame((await store.listByUser('ada')).map(({ id }) => id), [longer.id])
  })

  test('use moves lastSeenAt and the idle timeout', async (t, { store, make, age, lists }) => {
    for (const userId of ['ada', null]) {
      const session = make({ userId, idleTimeoutMs: 30 * MINUTE })
      await store.begin(session)
      await age(20 * MINUTE)
      const before = await store.find(session.id) as SessionRecord
      t.ok(store.now() - before.lastSeenAt >= 20 * MINUTE)
      t.equal(await store.touch(before), true)
      const after = await store.find(session.id) as SessionRecord
      t.ok(Math.abs(store.now() - after.lastSeenAt) < CLOCK_MS)
      t.strictSame({ ...after, lastSeenAt: 0 }, { ...before, lastSeenAt: 0 }, 'and nothing else')
      await age(20 * MINUTE)
      t.ok(await store.find(session.id))
      if (lists && session.userId !== null) t.equal((await store.listByUser('ada')).length, 1, 'the list knows')
      await age(10 * MINUTE)
      t.equal(await store.find(session.id), null)
    }
  })

  test('a busy session still ends at its absolute timeout', async (t, { store, make, age, lists }) => {
    const session = make({ idleTimeoutMs: 30 * MINUTE, endsAt: Math.floor(store.now()) + HOUR })
    await store.begin(session)
    for (let minutes = 0; minutes < 54; minutes += 18) {
      await age(18 * MINUTE)
      t.equal(await store.touch(await store.find(session.id) as SessionRecord), true)
    }
    const seen = await store.find(session.id) as SessionRecord
    t.equal(expiresAt(seen), seen.endsAt)
    await age(6 * MINUTE)
    t.equal(await store.find(session.id), null)
    t.equal(await store.touch({ ...seen, endsAt: seen.endsAt - 6 * MINUTE }), false)
    if (lists) t.strictSame(await store.listByUser('ada'), [])
  })

  test('a session whose absolute timeout comes first ends there', async (t, { store, make, age }) => {
    const session = make({ idleTimeoutMs: HOUR, endsAt: Math.floor(store.now()) + 10 * MINUTE })
    await store.begin(session)
    await age(9 * MINUTE)
    t.ok(await store.find(session.id))
    await age(MINUTE)
    t.equal(await store.find(session.id), null)
  })

  test('a change is not use', async (t, { store, make, age }) => {
    const session = make({ idleTimeoutMs: 30 * MINUTE })
    await store.begin(session)
    await age(20 * MINUTE)
    const before = await store.find(session.id) as SessionRecord
    t.ok(await store.update(before, () => '{"cart":1}'))
    t.strictSame(await store.find(session.id), { ...before, data: '{"cart":1}' })
    await age(10 * MINUTE)
    t.equal(await store.find(session.id), null)
  })

  test('use does not disturb a change that is being made', async (t, { store, other, make }) => {
    const session = make({ data: '{"step":0}' })
    await store.begin(session)
    await Promise.all(Array.from({ length: 50 }, async (_, round) => {
      if (round % 2 === 0) await store.update(session, (data) => JSON.stringify({ step: JSON.parse(data).step + 1 }))
      else t.equal(await other.touch(session), true)
    }))
    t.equal((await store.find(session.id))?.data, '{"step":25}')
  })
}
