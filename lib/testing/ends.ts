import assert from 'node:assert/strict'
import type { SessionRecord } from '../session/record.ts'
import type { EndMark, EndRecord } from '../session/store.ts'
import { Chapter } from './contract.ts'
import type { Subject } from './contract.ts'
import { ok } from './ok.ts'
import { CLOCK_MS, MINUTE } from './record.ts'

/** How sessions ended. */
export const ends = new Chapter()

const LOGOUT: EndMark = { forMs: 10 * MINUTE, reason: 'logout' }
const REVOKED: EndMark = { ...LOGOUT, reason: 'revoked', statedReason: 'stolen "laptop" ☕', actor: '100% {eve}\\' }

/** Checks that a store says of a session that it has just ended like this. */
const says = async ({ store, other }: Subject, session: SessionRecord, mark: Omit<EndMark, 'forMs'>): Promise<void> => {
  for (const each of [store, other]) {
    const end = await each.ended(session.id)
    ok(end)
    ok(Number.isInteger(end.at) && Math.abs(end.at - store.now()) < CLOCK_MS)
    const { secretHash, kind, userId } = session
    const { reason, statedReason = null, actor = null } = mark
    assert.deepEqual(end, { secretHash, kind, userId, at: end.at, reason, statedReason, actor } satisfies EndRecord)
  }
}

ends.says('how a session ended is known for as long as that was asked for', async (subject) => {
  const { store, other, make, age } = subject
  const users = [
    make(), make({ userId: null }), make({ userId: 'né "☕" 𝒳 \\u0041', kind: 'bearer' }),
    make({ label: '"u":"mallory"', meta: '{"u":"mallory"}', data: '{"u":"mallory"}' })
  ]
  for (const mark of [LOGOUT, REVOKED]) {
    for (const session of users.map((each) => ({ ...each, id: make().id }))) {
      await store.begin(session)
      assert.equal(await other.ended(session.id), null, 'it lives')
      await other.delete(session.id, { mark })
      await says(subject, session, mark)
    }
  }
  const [short, long] = [make(), make()]
  for (const session of [short, long]) await store.begin(session)
  await store.delete(short.id, { mark: { ...LOGOUT, forMs: MINUTE } })
  await store.delete(long.id, { mark: LOGOUT })
  await age(MINUTE)
  assert.equal(await store.ended(short.id), null)
  ok(await other.ended(long.id))
  await age(9 * MINUTE)
  assert.equal(await other.ended(long.id), null)
}, 'ended')

ends.says('nothing is known of what nobody asked for, of what was not there and of what ran out', async (subject) => {
  const { store, other, make, age } = subject
  const [unasked, kept, expiring] = [make(), make(), make({ idleTimeoutMs: MINUTE })]
  for (const session of [unasked, kept, expiring]) await store.begin(session)
  await store.delete(unasked.id)
  assert.equal(await other.delete(kept.id, { secretHash: make().secretHash, mark: REVOKED }), null)
  await age(MINUTE)
  assert.equal(await other.delete(expiring.id, { mark: REVOKED }), null)
  const never = make()
  assert.equal(await store.delete(never.id, { mark: REVOKED }), null)
  for (const { id } of [unasked, kept, never]) assert.equal(await other.ended(id), null)
  ok(await store.find(kept.id))
}, 'ended')

ends.says('the first end counts', async (subject) => {
  const { store, other, make } = subject
  const session = make()
  await store.begin(session)
  await store.delete(session.id, { secretHash: session.secretHash, mark: LOGOUT })
  assert.equal(await other.delete(session.id, { mark: REVOKED }), null)
  await says(subject, session, LOGOUT)
  const wrong: string[] = []
  for (let round = 0; round < 100; round++) {
    const raced = make()
    await store.begin(raced)
    const [loggedOut, revoked] = await Promise.all([
      store.delete(raced.id, { mark: LOGOUT }), other.delete(raced.id, { mark: REVOKED })
    ])
    const { reason } = await other.ended(raced.id) ?? {}
    if (reason !== (loggedOut !== null ? 'logout' : 'revoked')) wrong.push(`${reason}, but the other did it`)
    if ((loggedOut === null) === (revoked === null)) wrong.push('both, or none')
  }
  assert.deepEqual(wrong, [])
}, 'ended')

ends.says('a sign-in in its place, and a move, are what a session ended by', async (subject) => {
  const { store, other, make } = subject
  const first = make()
  const second = make()
  const third = { ...second, id: make().id, secretHash: make().secretHash }
  await store.begin(first)
  await store.replace(second, first, { markForMs: MINUTE })
  await says(subject, first, { reason: 'replaced' })
  await other.move(third, second, { markForMs: MINUTE })
  await says(subject, second, { reason: 'replaced' })
  assert.equal(await store.ended(third.id), null)
  await store.replace(make(), third)
  assert.equal(await other.ended(third.id), null, 'nobody asked')
}, 'ended')

ends.says('a session that has moved ends as it does under its new id', async (subject) => {
  const { store, other, make } = subject
  const before = make()
  const after = { ...before, id: make().id, secretHash: make().secretHash }
  await store.begin(before)
  await store.move(after, before, { markForMs: MINUTE })
  assert.deepEqual(await other.delete(before.id, { secretHash: before.secretHash, mark: LOGOUT }), after)
  await says(subject, after, LOGOUT)
  await says(subject, before, { reason: 'replaced' })
}, 'ended', 'successor')

ends.says('so do the sessions that a limit ends, and all of a user', async (subject) => {
  const { store, make } = subject
  const now = Math.floor(store.now())
  const [oldest, newer] = [make({ createdAt: now - 1000 }), make()]
  await store.begin(oldest)
  await store.begin(newer, { limit: { max: 1, evicts: true }, markForMs: MINUTE })
  await says(subject, oldest, { reason: 'evicted' })
  const others = Array.from({ length: 30 }, () => make())
  for (const each of others) await store.begin(each)
  await store.deleteByUser('ada', { except: newer.id, mark: REVOKED })
  for (const each of others) await says(subject, each, REVOKED)
  assert.equal(await store.ended(newer.id), null)
  await store.deleteByUser('ada')
  assert.equal(await store.ended(newer.id), null)
}, 'ended', 'lists')

ends.says('a full store ends sessions, whether it has room for how or not', async (subject) => {
  const { store, other, make, fill } = subject
  const [one, another] = [make(), make()]
  for (const session of [one, another]) await store.begin(session)
  await fill?.()
  assert.deepEqual(await store.delete(one.id, { mark: REVOKED }), one)
  assert.deepEqual(await other.deleteByUser('ada', { mark: REVOKED }), [another.id])
  for (const { id } of [one, another]) assert.equal(await other.find(id), null)
}, 'ended', 'fill', 'lists')
