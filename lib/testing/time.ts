import assert from 'node:assert/strict'
import { expiresAt } from '../session/record.ts'
import type { SessionRecord } from '../session/record.ts'
import { Chapter } from './contract.ts'
import { ok } from './ok.ts'
import { CLOCK_MS, HOUR, MINUTE } from './record.ts'

/** Idle and absolute timeout, and use. */
export const time = new Chapter()

time.says('a session nobody uses ends at its idle timeout', async ({ store, make, age, lists }) => {
  const session = make({ idleTimeoutMs: 30 * MINUTE })
  const anonymous = make({ userId: null, idleTimeoutMs: 30 * MINUTE })
  const longer = make({ idleTimeoutMs: 2 * HOUR })
  for (const each of [session, anonymous, longer]) await store.begin(each)
  await age(29 * MINUTE)
  for (const each of [session, anonymous, longer]) ok(await store.find(each.id))
  const seen = await store.find(session.id) as SessionRecord
  await age(MINUTE)
  for (const each of [session, anonymous]) {
    assert.equal(await store.find(each.id), null)
    assert.equal(await store.delete(each.id), null)
  }
  assert.equal(await store.update(seen, () => '{"back":1}'), null)
  assert.equal(await store.touch(seen), false)
  assert.equal(await store.find(session.id), null)
  if (lists) assert.deepEqual((await store.listByUser('ada')).map(({ id }) => id), [longer.id])
})

time.says('use moves lastSeenAt and the idle timeout', async ({ store, make, age, lists }) => {
  for (const userId of ['ada', null]) {
    const session = make({ userId, idleTimeoutMs: 30 * MINUTE })
    await store.begin(session)
    await age(20 * MINUTE)
    const before = await store.find(session.id) as SessionRecord
    ok(store.now() - before.lastSeenAt >= 20 * MINUTE)
    assert.equal(await store.touch(before), true)
    const after = await store.find(session.id) as SessionRecord
    ok(Math.abs(store.now() - after.lastSeenAt) < CLOCK_MS)
    assert.deepEqual({ ...after, lastSeenAt: 0 }, { ...before, lastSeenAt: 0 }, 'and nothing else')
    await age(20 * MINUTE)
    ok(await store.find(session.id))
    if (lists && session.userId !== null) assert.equal((await store.listByUser('ada')).length, 1, 'the list knows')
    await age(10 * MINUTE)
    assert.equal(await store.find(session.id), null)
  }
})

time.says('a busy session still ends at its absolute timeout', async ({ store, make, age, lists }) => {
  const session = make({ idleTimeoutMs: 30 * MINUTE, endsAt: Math.floor(store.now()) + HOUR })
  await store.begin(session)
  for (let minutes = 0; minutes < 54; minutes += 18) {
    await age(18 * MINUTE)
    assert.equal(await store.touch(await store.find(session.id) as SessionRecord), true)
  }
  const seen = await store.find(session.id) as SessionRecord
  assert.equal(expiresAt(seen), seen.endsAt)
  // A little longer: the store may estimate the clock of its backend.
  const restMs = 6 * MINUTE + CLOCK_MS
  await age(restMs)
  assert.equal(await store.find(session.id), null)
  assert.equal(await store.touch({ ...seen, endsAt: seen.endsAt - restMs }), false)
  if (lists) assert.deepEqual(await store.listByUser('ada'), [])
})

time.says('a session whose absolute timeout comes first ends there', async ({ store, make, age }) => {
  const session = make({ idleTimeoutMs: HOUR, endsAt: Math.floor(store.now()) + 10 * MINUTE })
  await store.begin(session)
  await age(9 * MINUTE)
  ok(await store.find(session.id))
  await age(MINUTE)
  assert.equal(await store.find(session.id), null)
})

time.says('a change is not use', async ({ store, make, age }) => {
  const session = make({ idleTimeoutMs: 30 * MINUTE })
  await store.begin(session)
  await age(20 * MINUTE)
  const before = await store.find(session.id) as SessionRecord
  ok(await store.update(before, () => '{"cart":1}'))
  assert.deepEqual(await store.find(session.id), { ...before, data: '{"cart":1}' })
  await age(10 * MINUTE)
  assert.equal(await store.find(session.id), null)
})

time.says('use does not disturb a change that is being made', async ({ store, other, make }) => {
  const session = make({ data: '{"step":0}' })
  await store.begin(session)
  await Promise.all(Array.from({ length: 50 }, async (_, round) => {
    if (round % 2 === 0) await store.update(session, (data) => JSON.stringify({ step: JSON.parse(data).step + 1 }))
    else assert.equal(await other.touch(session), true)
  }))
  assert.equal((await store.find(session.id))?.data, '{"step":25}')
})
