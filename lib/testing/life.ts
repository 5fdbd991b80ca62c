import assert from 'node:assert/strict'
import { isSessionStore } from '../session/store.ts'
import type { SessionRecord } from '../session/record.ts'
import { Chapter } from './contract.ts'
import { ok } from './ok.ts'
import { record } from './record.ts'

/** Being created, found, replaced and ended. */
export const life = new Chapter()

life.says('is told from other objects by its shape', async ({ store }) => {
  ok(isSessionStore(store))
  ok(!isSessionStore({ get () {}, set () {}, destroy () {} }))
})

life.says('a new session is found as it was stored', async ({ store, make }) => {
  for (const session of [
    make(),
    make({ userId: null }),
    make({ label: 'ada\'s phone', meta: '{"app":"2.1"}', ip: '2001:db8::1', userAgent: '"quoted"', persistent: false }),
    make({ label: '', meta: '{}', ip: '', userAgent: '' }),
    make({ label: 'line\nbreak, "s":1234567890123', userAgent: '☕' })
  ]) {
    ok(await store.begin(session))
    assert.deepEqual(await store.find(session.id), session)
  }
})

life.says('a session moves to another id only while it lives', async ({ store, make }) => {
  for (const userId of ['ada', null]) {
    const before = make({ userId })
    const after = { ...before, id: record().id }
    await store.begin(before)
    ok(await store.move(after, before))
    assert.equal(await store.find(before.id), null)
    assert.deepEqual(await store.find(after.id), after)
    const late = { ...before, id: record().id }
    assert.equal(await store.move(late, before), null, 'it is under another id already')
    assert.equal(await store.find(late.id), null)
    await store.delete(after.id)
    const dead = { ...before, id: record().id }
    assert.equal(await store.move(dead, after), null, 'it has ended')
    assert.equal(await store.find(dead.id), null)
  }
})

life.says('a session that is ended while it moves is gone under both ids', async ({ store, make, lists }) => {
  for (let round = 0; round < 100; round++) {
    const before = make()
    const after = { ...before, id: record().id }
    await store.begin(before)
    const [, ended] = await Promise.all([store.move(after, before), store.delete(before.id)])
    assert.notEqual(ended, null)
    assert.equal(await store.find(before.id), null)
    assert.equal(await store.find(after.id), null)
    if (lists) assert.deepEqual(await store.listByUser('ada'), [])
  }
}, 'successor')

life.says('a session that has just moved is ended by who knows only its old id', async (subject) => {
  const { store, other, make, lists } = subject
  const first = make()
  const second = { ...first, id: record().id }
  const third = { ...first, id: record().id }
  await store.begin(first)
  await store.move(second, first)
  await store.move(third, second)
  assert.equal(await other.successor(first.id), second.id)
  assert.equal(await store.successor(third.id), null)
  assert.deepEqual(await other.delete(first.id), third)
  assert.equal(await store.find(third.id), null)
  assert.equal(await store.delete(first.id), null)
  if (lists) assert.deepEqual(await store.listByUser('ada'), [])
  const again = make()
  await store.begin(again)
  const login = make()
  await store.replace(login, again)
  assert.equal(await store.delete(again.id), null, 'another sign-in is another session')
  assert.deepEqual(await store.find(login.id), login)
}, 'successor')

life.says('by a credential only the session that it proves is ended', async ({ store, other, make, lists }) => {
  const session = make()
  await store.begin(session)
  for (const secretHash of [make().secretHash, '', session.id]) {
    assert.equal(await other.delete(session.id, { secretHash }), null)
  }
  assert.equal(await store.delete(make().id, { secretHash: session.secretHash }), null)
  assert.deepEqual(await store.find(session.id), session)
  if (lists) assert.deepEqual(await store.listByUser('ada'), [session])
  assert.deepEqual(await other.delete(session.id, { secretHash: session.secretHash }), session)
  assert.equal(await store.find(session.id), null)
  assert.equal(await store.delete(session.id, { secretHash: session.secretHash }), null)
  if (lists) assert.deepEqual(await store.listByUser('ada'), [])
})

life.says('and of one that has moved, only if it proves what that was before', async ({ store, other, make }) => {
  for (const userId of ['ada', null]) {
    const first = make({ userId })
    const second = { ...first, id: make().id, secretHash: make().secretHash }
    const third = { ...first, id: make().id, secretHash: make().secretHash }
    await store.begin(first)
    await store.move(second, first)
    await other.move(third, second)
    const pairs = [[first, second], [first, third], [second, first], [second, third], [third, first]] as const
    for (const [{ id }, { secretHash }] of pairs) {
      assert.equal(await other.delete(id, { secretHash }), null)
    }
    assert.deepEqual(await store.find(third.id), third)
    assert.deepEqual(await other.delete(first.id, { secretHash: first.secretHash }), third)
    for (const { id } of [first, second, third]) assert.equal(await store.find(id), null)
  }
}, 'successor')

life.says('also while it moves', async ({ store, other, make }) => {
  const wrong: string[] = []
  for (let round = 0; round < 100; round++) {
    const before = make()
    const after = { ...before, id: make().id, secretHash: make().secretHash }
    const isProven = round % 2 === 0
    await store.begin(before)
    const secretHash = isProven ? before.secretHash : make().secretHash
    const moving = store.move(after, before)
    await Promise.all([moving, other.delete(before.id, { secretHash })])
    if (await store.find(before.id) !== null) wrong.push('it lives where it was')
    if ((await store.find(after.id) === null) !== isProven) wrong.push(isProven ? 'it lives' : 'it has ended')
  }
  assert.deepEqual(wrong, [])
}, 'successor')

life.says('a session that has moved twice is replaced by who knew it before', async ({ store, other, make, lists }) => {
  const first = make()
  const second = { ...first, id: record().id }
  const third = { ...first, id: record().id }
  const login = make()
  await store.begin(first)
  await store.move(second, first)
  await other.move(third, second)
  ok(await store.replace(login, first, { ...lists && { limit: { max: 1, evicts: true } } }))
  for (const { id } of [first, second, third]) assert.equal(await store.find(id), null)
  assert.deepEqual(await store.find(login.id), login)
}, 'successor')

life.says('an id that was never used is absent, whatever it looks like', async ({ store }) => {
  const strange = ['', 'x', '*', '../../etc/passwd', '__proto__', 'constructor', '\u0000', 'é'.repeat(1000)]
  for (const id of [record().id, ...strange]) {
    assert.equal(await store.find(id), null)
    assert.equal(await store.delete(id), null)
  }
})

life.says('data comes back to the byte', async ({ store, make }) => {
  for (const data of [
    '{"text":"né ☕ 𝒳 \\u2028 \\ud800 \\u0000"}',
    '{"lines":"one\\ntwo\\r\\n"}',
    '{\n  "pretty": true\n}',
    '{"__proto__":{"admin":true},"constructor":1,"s":1234567890123}',
    JSON.stringify({ long: 'x'.repeat(100_000) })
  ]) {
    const session = make({ data })
    await store.begin(session)
    assert.equal((await store.find(session.id))?.data, data)
    const changed = await store.update(session, (present) => present.replace(/}$/, ',"more":1}'))
    assert.equal(changed?.data, data.replace(/}$/, ',"more":1}'))
    assert.equal((await store.find(session.id))?.data, changed?.data)
    ok(await store.touch(session))
    assert.equal((await store.find(session.id))?.data, changed?.data)
  }
  assert.equal(({} as { admin?: boolean }).admin, undefined)
})

life.says('a record changed after a call changes nothing that is stored', async ({ store, make, lists }) => {
  const session = make({ data: '{"cart":1}' })
  const original = { ...session }
  await store.begin(session)
  const tamper = (held: SessionRecord | null | undefined) => {
    ok(held)
    // A store may hand out frozen records; then the change fails at once.
    try { Object.assign(held as object, { userId: 'mallory', data: '{"cart":0}', endsAt: 0 }) } catch {}
  }
  tamper(session)
  assert.deepEqual(await store.find(original.id), original)
  tamper(await store.find(original.id))
  assert.deepEqual(await store.find(original.id), original)
  tamper(await store.update(original, (data) => data))
  assert.deepEqual(await store.find(original.id), original)
  if (!lists) return
  tamper((await store.listByUser('ada'))[0])
  assert.deepEqual(await store.listByUser('ada'), [original])
})

life.says('a deleted session is what delete tells, and absent from then on', async ({ store, make }) => {
  const session = make({ data: '{"cart":1}' })
  await store.begin(session)
  assert.deepEqual(await store.delete(session.id), session)
  assert.equal(await store.find(session.id), null)
  assert.equal(await store.delete(session.id), null)
})

life.says('a session replaced by another is gone', async ({ store, make, lists }) => {
  const before = make({ userId: null, data: '{"cart":1}' })
  await store.begin(before)
  const after = make({ data: '{"cart":1}' })
  ok(await store.replace(after, before))
  assert.equal(await store.find(before.id), null)
  assert.deepEqual(await store.find(after.id), after)
  const anonymous = make({ userId: null })
  ok(await store.replace(anonymous, after))
  assert.equal(await store.find(after.id), null)
  assert.deepEqual(await store.find(anonymous.id), anonymous)
  if (lists) assert.deepEqual(await store.listByUser('ada'), [])
})

life.says('a session replaced by another user\'s leaves the first user\'s list', async ({ store, make, lists }) => {
  const hers = make()
  const his = make({ userId: 'bob' })
  await store.begin(hers)
  ok(await store.replace(his, hers))
  assert.equal(await store.find(hers.id), null)
  if (!lists) return
  assert.deepEqual(await store.listByUser('ada'), [])
  assert.deepEqual(await store.listByUser('bob'), [his])
})

life.says('replacing what is already gone is an ordinary sign-in', async ({ store, make }) => {
  const gone = make()
  const session = make()
  ok(await store.replace(session, gone))
  assert.deepEqual(await store.find(session.id), session)
  assert.equal(await store.find(gone.id), null)
})

life.says('a full store refuses a new session and signs nobody out', async ({ store, make, fill, lists }) => {
  const session = make({ data: '{"cart":1}' })
  await store.begin(session)
  await fill?.()
  const large = make({ userId: null, data: JSON.stringify({ x: 'x'.repeat(1000) }) })
  await assert.rejects(store.begin(large), { code: 'ERR_SESSION_STORE_FULL', statusCode: 503 })
  await assert.rejects(store.begin(make({ userId: 'bob' })), { code: 'ERR_SESSION_STORE_FULL' })
  assert.equal((await store.find(session.id))?.data, session.data)
  assert.equal(await store.touch(session), true)
  if (lists) {
    assert.deepEqual((await store.listByUser('ada')).map(({ id }) => id), [session.id])
    assert.deepEqual(await store.deleteByUser('ada'), [session.id])
    assert.deepEqual(await store.listByUser('bob'), [])
  } else {
    assert.equal((await store.delete(session.id))?.id, session.id)
  }
  assert.equal(await store.find(session.id), null)
}, 'fill')

life.says('close may be called twice', async ({ store }) => {
  await store.close()
  await assert.doesNotReject(store.close())
})
