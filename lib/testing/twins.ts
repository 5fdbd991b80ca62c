import assert from 'node:assert/strict'
import { Chapter } from './contract.ts'
import { ok } from './ok.ts'
import { MINUTE } from './record.ts'

/** What looks like members of a stored session, and is a name. */
const LOOK_ALIKE = 'line\nbreak,"f":"x","f":"n 0 1"}\n{'

/** The second cookie of a session, which changes with its use. */
export const twins = new Chapter()

twins.says('a session that is used gets another twin, and keeps all else', async ({ store, other, make, age }) => {
  for (const boundKey of [null, 'ES256 one']) {
    const session = make({ label: LOOK_ALIKE, meta: '{"f":",\\"f\\":\\"x"}', data: '{"f":"n 0 1"}', boundKey })
    await store.begin(session)
    await age(20 * MINUTE)
    const seen = await other.find(session.id, { fresh: true })
    ok(seen)
    assert.equal(await store.advance(seen, 'n 0 1'), true)
    const used = await other.find(session.id, { fresh: true })
    ok(used)
    assert.deepEqual(used, { ...seen, twin: 'n 0 1', lastSeenAt: used.lastSeenAt })
    ok(used.lastSeenAt > seen.lastSeenAt)
    await age(20 * MINUTE)
    const later = await store.find(session.id, { fresh: true })
    ok(later)
    assert.equal(await other.advance(later, 'n 1 2'), true)
    assert.equal((await store.find(session.id, { fresh: true }))?.twin, 'n 1 2')
  }
}, 'advance')

twins.says('a session that has got another twin meanwhile keeps it, and is used', async (subject) => {
  const { store, other, make, age } = subject
  const session = make()
  await store.begin(session)
  const { twin: _twin, ...members } = session
  // As a process made it that knows of no twins.
  ok(await other.advance(members as typeof session, 'n 0 1'))
  await age(20 * MINUTE)
  const { twin: _seenTwin, ...seen } = await other.find(session.id, { fresh: true }) ?? session
  for (const twin of [null, 'n 0', 'n 0 11', 'another']) {
    assert.equal(await store.advance({ ...seen, twin }, 'late'), true)
  }
  await age(20 * MINUTE)
  assert.equal((await other.find(session.id, { fresh: true }))?.twin, 'n 0 1')
}, 'advance')

twins.says('a session keeps its twin when it is used, changed and moved', async ({ store, other, make }) => {
  const session = make()
  await store.begin(session)
  ok(await store.advance(session, 'n 0 1'))
  ok(await other.touch(session))
  const changed = await other.update(session, () => '{"cart":1}')
  ok(changed)
  const present = await store.find(session.id, { fresh: true })
  assert.equal(present?.twin, 'n 0 1')
  const moved = { ...present, id: make().id, secretHash: make().secretHash }
  assert.equal((await store.move(moved, present))?.twin, 'n 0 1')
  assert.equal((await other.find(moved.id, { fresh: true }))?.twin, 'n 0 1')
  ok(await other.advance(moved, 'n 1 2'))
  const again = { ...moved, id: make().id, secretHash: make().secretHash }
  assert.equal((await store.move(again, moved))?.twin, 'n 1 2', 'also one that the mover does not know')
  assert.equal((await other.find(again.id, { fresh: true }))?.twin, 'n 1 2')
  const renewed = { ...again, id: make().id, authenticatedAt: (again.authenticatedAt ?? 0) + 1, twin: null }
  assert.equal((await store.move(renewed, { ...again, twin: null }))?.twin, null, 'a new sign-in has its own')
  const login = make()
  assert.equal((await other.replace(login, renewed))?.twin, null)
}, 'advance')

twins.says('a session that is absent gets no twin', async ({ store, other, make, age }) => {
  const [ended, expired] = [make(), make({ idleTimeoutMs: MINUTE })]
  for (const each of [ended, expired]) await store.begin(each)
  await store.delete(ended.id)
  await age(MINUTE)
  for (const each of [make(), ended, expired]) {
    assert.equal(await other.advance(each, 'n 0 1'), false)
    assert.equal(await other.find(each.id, { fresh: true }), null)
  }
}, 'advance')

twins.says('a full store gives a session another twin, or says that it does not', async ({ store, make, fill }) => {
  const session = make()
  await store.begin(session)
  await fill?.()
  const twin = await store.advance(session, 'n 0 1').then(() => 'n 0 1', (error: unknown) => {
    if ((error as { code?: unknown }).code !== 'ERR_SESSION_STORE_FULL') throw error
    return null
  })
  assert.equal((await store.find(session.id, { fresh: true }))?.twin, twin)
}, 'advance', 'fill')
