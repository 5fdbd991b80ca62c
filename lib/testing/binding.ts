import assert from 'node:assert/strict'
import type { SessionRecord } from '../session/record.ts'
import { Chapter } from './contract.ts'
import { ok } from './ok.ts'
import { MINUTE } from './record.ts'

/** Keys of browsers. A store gives them no meaning. */
const KEY = 'ES256 one'
const OTHER_KEY = 'ES256 another'
/** As long as one may be. */
const LONG_KEY = `RS256 ${'k'.repeat(994)}`
/** What looks like members of a stored session, and is a name. */
const LOOK_ALIKE = 'line\nbreak,"d":"x","d":"ES256 one"}\n{'

/** The browser that a session is bound to. */
export const binding = new Chapter()

binding.says('a session that lives is bound, anonymous or not, and keeps all else', async (subject) => {
  const { store, other, make, lists } = subject
  for (const userId of ['ada', null]) {
    const members = { userId, label: LOOK_ALIKE, meta: '{"d":",\\"d\\":\\"x"}', data: '{"d":"x","cart":[1]}' }
    const session = make({ ...members, persistent: false, ip: '203.0.113.7', userAgent: 'Firefox 131 on Windows' })
    const untouched = make({ userId })
    for (const each of [session, untouched]) await store.begin(each)
    const bound = { ...session, boundKey: KEY }
    assert.deepEqual(await store.bind(session, KEY), bound)
    assert.deepEqual(await other.find(session.id), bound)
    assert.deepEqual(await store.find(session.id), bound)
    assert.deepEqual(await store.find(untouched.id), untouched, 'and no other is')
    if (lists && userId !== null) {
      const listed = await other.listByUser(userId)
      assert.deepEqual(listed.toSorted(byId), [bound, untouched].toSorted(byId))
    }
    assert.deepEqual(await store.delete(session.id), bound)
  }
}, 'bind')

binding.says('a session lives as long as it would have, bound or not', async ({ store, make, age }) => {
  const idle = make({ idleTimeoutMs: 30 * MINUTE })
  const old = make({ endsAt: Math.floor(store.now()) + 30 * MINUTE, idleTimeoutMs: 90 * MINUTE })
  for (const each of [idle, old]) await store.begin(each)
  await age(20 * MINUTE)
  for (const { id } of [idle, old]) {
    const seen = await store.find(id) as SessionRecord
    assert.deepEqual(await store.bind(seen, LONG_KEY), { ...seen, boundKey: LONG_KEY })
  }
  await age(9 * MINUTE)
  for (const { id } of [idle, old]) assert.equal((await store.find(id))?.boundKey, LONG_KEY)
  await age(MINUTE)
  for (const { id } of [idle, old]) assert.equal(await store.find(id), null)
}, 'bind')

binding.says('whoever binds a session second gets the key of the first', async ({ store, other, make }) => {
  const session = make()
  await store.begin(session)
  const bound = { ...session, boundKey: KEY }
  assert.deepEqual(await store.bind(session, KEY), bound)
  assert.deepEqual(await other.bind(session, OTHER_KEY), bound)
  assert.deepEqual(await store.find(session.id), bound)
  assert.deepEqual(await store.bind({ ...session, boundKey: KEY.slice(1) }, OTHER_KEY), bound, 'nor is that its key')
  const again = { ...session, boundKey: OTHER_KEY }
  assert.deepEqual(await other.bind(bound, OTHER_KEY), again, 'who knows its key gives it another')
  assert.deepEqual(await store.find(session.id), again)
}, 'bind')

binding.says('of many who bind a session at once one does, and all get its key', async ({ store, other, make }) => {
  const sessions = Array.from({ length: 10 }, (_, each) => make({ userId: each % 2 === 0 ? 'ada' : null }))
  for (const session of sessions) await store.begin(session)
  await Promise.all(sessions.map(async (session) => {
    const binding = Array.from({ length: 20 }, async (_, each) => {
      return await (each % 2 === 0 ? store : other).bind(session, `ES256 ${each}`)
    })
    const keys = new Set((await Promise.all(binding)).map((each) => each?.boundKey))
    assert.equal(keys.size, 1)
    assert.deepEqual(new Set([(await store.find(session.id))?.boundKey]), keys)
    assert.deepEqual(new Set([(await other.find(session.id))?.boundKey]), keys)
  }))
}, 'bind')

binding.says('a session that is absent is not bound', async ({ store, other, make, age, lists }) => {
  const [never, ended, replaced, expired] = [make(), make(), make(), make({ idleTimeoutMs: MINUTE })]
  for (const each of [ended, replaced, expired]) await store.begin(each)
  await store.delete(ended.id)
  const login = make()
  await store.replace(login, replaced)
  await age(MINUTE)
  for (const each of [never, ended, replaced, expired]) {
    assert.equal(await other.bind(each, KEY), null)
    assert.equal(await other.find(each.id), null)
  }
  assert.equal((await store.find(login.id))?.boundKey, null)
  if (lists) assert.deepEqual((await store.listByUser('ada')).map(({ id }) => id), [login.id])
}, 'bind')

binding.says('a session stays bound when it is used and changed by who read it before', async (subject) => {
  const { store, other, make, age } = subject
  for (const userId of ['ada', null]) {
    const session = make({ userId })
    await store.begin(session)
    ok(await store.bind(session, KEY))
    await age(20 * MINUTE)
    assert.equal(await other.touch({ ...session, endsAt: session.endsAt - 20 * MINUTE }), true)
    ok(await other.update(session, () => '{"cart":1}'))
    await age(20 * MINUTE)
    const seen = await store.find(session.id)
    assert.deepEqual([seen?.boundKey, seen?.data], [KEY, '{"cart":1}'])
  }
}, 'bind')

binding.says('and when it is given other timeouts', async ({ store, other, make }) => {
  const session = make()
  await store.begin(session)
  ok(await store.bind(session, KEY))
  const retimed = { ...session, idleTimeoutMs: 10 * MINUTE, boundKey: KEY }
  assert.deepEqual(await other.setTimeouts(session, { idleTimeoutMs: 10 * MINUTE }), retimed)
  assert.deepEqual(await other.bind(session, OTHER_KEY), retimed)
  assert.deepEqual(await store.find(session.id), retimed)
}, 'bind', 'setTimeouts')

binding.says('a session takes its key along when it moves, also one that the mover does not know', async (subject) => {
  const { store, other, make } = subject
  const idOf = (): Pick<SessionRecord, 'id' | 'secretHash'> => ({ id: make().id, secretHash: make().secretHash })
  for (const userId of ['ada', null]) {
    const before = make({ userId, label: LOOK_ALIKE })
    await store.begin(before)
    ok(await store.bind(before, KEY))
    const first = { ...before, ...idOf() }
    assert.deepEqual(await other.move(first, before), { ...first, boundKey: KEY })
    assert.deepEqual(await store.find(first.id), { ...first, boundKey: KEY })
    assert.equal(await store.bind(before, OTHER_KEY), null, 'nobody binds it by the id that it had')

    const bound = { ...first, boundKey: KEY }
    ok(await store.bind(bound, OTHER_KEY))
    ok(await store.update(bound, () => '{"cart":1}'))
    const second = { ...bound, ...idOf() }
    const changed = { ...second, boundKey: OTHER_KEY, data: '{"cart":1,"carried":1}' }
    const carry = (data: string): string => data.replace('}', ',"carried":1}')
    assert.deepEqual(await other.move(second, bound, { carry }), changed)
    assert.deepEqual(await store.find(second.id), changed)

    const third = { ...changed, ...idOf(), boundKey: null }
    assert.deepEqual(await store.move(third, changed), third, 'it is bound no more where the move says so')
    assert.deepEqual(await other.find(third.id), third)

    ok(await store.bind(third, KEY))
    const login = { ...third, ...idOf(), authenticatedAt: (third.authenticatedAt ?? 0) + 1 }
    assert.deepEqual(await other.move(login, third), login, 'a new sign-in has its own')
    assert.deepEqual(await store.find(login.id, { fresh: true }), login)
  }
}, 'bind')

binding.says('a sign-in in the place of a bound session says its own key', async ({ store, other, make }) => {
  for (const boundKey of [null, OTHER_KEY]) {
    const before = make()
    await store.begin(before)
    ok(await store.bind(before, KEY))
    const login = make({ boundKey })
    assert.deepEqual(await other.replace(login, before), login)
    assert.deepEqual(await store.find(login.id), login)
    const begun = make({ boundKey })
    assert.deepEqual(await store.begin(begun), begun)
    assert.deepEqual(await other.find(begun.id), begun)
  }
}, 'bind')

binding.says('a session that was stored before there were keys is bound', async ({ store, other, make }) => {
  const { boundKey: _boundKey, ...members } = make()
  // As an older version of this package, or of the application, made it.
  const session = members as SessionRecord
  await store.begin(session)
  const bound = { ...session, boundKey: KEY }
  assert.deepEqual(await store.bind(session, KEY), bound)
  assert.deepEqual(await other.bind({ ...session, boundKey: null }, OTHER_KEY), bound)
  assert.deepEqual(await other.bind(session, OTHER_KEY), bound)
  assert.deepEqual(await other.find(session.id), bound)
}, 'bind')

binding.says('a full store binds a session, or leaves it as it is', async ({ store, make, fill }) => {
  const session = make()
  await store.begin(session)
  await fill?.()
  const stored = await store.bind(session, KEY).catch((error: unknown) => {
    if ((error as { code?: unknown }).code !== 'ERR_SESSION_STORE_FULL') throw error
    return session
  })
  ok(stored)
  assert.deepEqual(await store.find(session.id), stored)
}, 'bind', 'fill')

function byId (one: SessionRecord, other: SessionRecord): number {
  return one.id < other.id ? -1 : 1
}
