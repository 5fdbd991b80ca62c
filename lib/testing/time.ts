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

time.says('a session that lives gets other timeouts, and keeps all else', async (subject) => {
  const { store, other, make, age, lists } = subject
  for (const userId of ['ada', null]) {
    const session = make({ userId, data: '{"cart":1}', label: 'line\nbreak, "e":1,"i":2' })
    await store.begin(session)
    const shorter = { ...session, idleTimeoutMs: 10 * MINUTE }
    assert.deepEqual(await store.setTimeouts(session, { idleTimeoutMs: 10 * MINUTE }), shorter)
    assert.deepEqual(await other.find(session.id), shorter)
    const timeouts = { idleTimeoutMs: 2 * HOUR, endsAt: session.createdAt + 3 * HOUR }
    assert.deepEqual(await other.setTimeouts(session, timeouts), { ...session, ...timeouts })
    assert.deepEqual(await store.find(session.id), { ...session, ...timeouts })
    await age(90 * MINUTE)
    const seen = await store.find(session.id)
    ok(seen)
    if (lists && userId !== null) assert.deepEqual(await store.listByUser(userId), [seen])
    assert.equal(await store.touch(seen as SessionRecord), true)
    await age(90 * MINUTE + CLOCK_MS)
    assert.equal(await store.find(session.id), null, 'the absolute timeout comes first')
  }
}, 'setTimeouts')

time.says('a session that its new timeouts have run out for is over', async ({ store, make, age, lists }) => {
  const [idle, old] = [make(), make({ data: '{"cart":1}' })]
  for (const each of [idle, old]) await store.begin(each)
  await age(20 * MINUTE)
  const now = Math.floor(store.now())
  const runOut = [[idle, { idleTimeoutMs: 19 * MINUTE }], [old, { endsAt: now - MINUTE }]] as const
  for (const [{ id }, timeouts] of runOut) {
    const seen = await store.find(id) as SessionRecord
    assert.equal(await store.setTimeouts(seen, timeouts), null)
    assert.equal(await store.find(id), null)
    assert.equal(await store.touch(seen), false)
    assert.equal(await store.update(seen, () => '{"back":1}'), null)
    assert.equal(await store.setTimeouts(seen, { idleTimeoutMs: HOUR, endsAt: now + HOUR }), null, 'it is absent')
    assert.equal(await store.find(id), null)
  }
  if (lists) assert.deepEqual(await store.listByUser('ada'), [])
}, 'setTimeouts')

time.says('and that is told, once', async ({ store, make, age }) => {
  const ended: unknown[] = []
  store.events.on('ended', (id, userId, reason) => ended.push([id, userId, reason]))
  const session = make()
  await store.begin(session)
  await age(20 * MINUTE)
  await store.setTimeouts(session, { idleTimeoutMs: MINUTE })
  await store.setTimeouts(session, { idleTimeoutMs: MINUTE })
  assert.deepEqual(await store.listByUser('ada'), [])
  assert.deepEqual(ended, [[session.id, 'ada', 'expired']])
}, 'setTimeouts', 'expiry')

time.says('use by somebody who read the session before keeps its timeouts', async (subject) => {
  const { store, other, make, age, lists } = subject
  const shorter = make({ idleTimeoutMs: 2 * HOUR })
  const longer = make({ idleTimeoutMs: 45 * MINUTE })
  for (const each of [shorter, longer]) await store.begin(each)
  const deadline = { endsAt: shorter.createdAt + HOUR }
  ok(await store.setTimeouts(shorter, { idleTimeoutMs: 45 * MINUTE, ...deadline }))
  ok(await store.setTimeouts(longer, { idleTimeoutMs: HOUR }))
  await age(40 * MINUTE)
  for (const each of [shorter, longer]) {
    assert.equal(await other.touch({ ...each, endsAt: each.endsAt - 40 * MINUTE }), true)
    ok(await other.update(each, () => '{"cart":1}'))
  }
  const found = await store.find(shorter.id)
  assert.equal(found?.idleTimeoutMs, 45 * MINUTE)
  assert.equal(expiresAt(found as SessionRecord), found?.endsAt)
  await age(30 * MINUTE)
  assert.equal(await store.find(shorter.id), null)
  await age(22 * MINUTE)
  const seen = await store.find(longer.id)
  assert.equal(seen?.idleTimeoutMs, HOUR)
  if (lists) assert.deepEqual(await store.listByUser('ada'), [seen], 'its list knows of the longer one')
  await age(8 * MINUTE)
  assert.equal(await store.find(longer.id), null)
}, 'setTimeouts')

time.says('a session that moves keeps the timeouts that it was given', async (subject) => {
  const { store, other, make, age, lists } = subject
  const before = make({ idleTimeoutMs: 10 * MINUTE })
  await store.begin(before)
  const timeouts = { idleTimeoutMs: HOUR, endsAt: before.createdAt + 2 * HOUR }
  ok(await store.setTimeouts(before, timeouts))
  const after = { ...before, id: make().id, secretHash: make().secretHash }
  assert.deepEqual(await other.move(after, before), { ...after, ...timeouts })
  assert.deepEqual(await store.find(after.id), { ...after, ...timeouts })
  await age(50 * MINUTE)
  const seen = await store.find(after.id) as SessionRecord
  ok(seen)
  if (lists) assert.deepEqual(await store.listByUser('ada'), [seen])
  await store.setTimeouts(seen, { idleTimeoutMs: 90 * MINUTE })
  const login = make()
  assert.deepEqual(await store.move(login, seen), login, 'a new sign-in has its own')
}, 'setTimeouts')
