import { isSessionStore } from '../../lib/session/store.ts'
import type { SessionRecord } from '../../lib/session/record.ts'
import { record } from '../helpers/record.ts'
import type { Define } from './store-contract.ts'

/** Being created, found, replaced and ended. */
export function lifeTests (test: Define): void {
  test('is told from other objects by its shape', async (t, { store }) => {
    t.ok(isSessionStore(store))
    t.notOk(isSessionStore({ get () {}, set () {}, destroy () {} }))
  })

  test('a new session is found as it was stored', async (t, { store, make }) => {
    for (const session of [
      make(),
      make({ userId: null }),
      make({ label: 'ada\'s phone', meta: '{"app":"2.1"}', ip: '2001:db8::1', userAgent: 'Mozilla/5.0 "quoted"', persistent: false }),
      make({ label: '', meta: '{}', ip: '', userAgent: '' }),
      make({ label: 'line\nbreak, "s":1234567890123', userAgent: '☕' })
    ]) {
      t.ok(await store.begin(session))
      t.strictSame(await store.find(session.id), session)
    }
  })

  test('a session moves to another id only while it lives', async (t, { store, make }) => {
    for (const userId of ['ada', null]) {
      const before = make({ userId })
      const after = { ...before, id: record().id }
      await store.begin(before)
      t.ok(await store.move(after, before))
      t.equal(await store.find(before.id), null)
      t.strictSame(await store.find(after.id), after)
      const late = { ...before, id: record().id }
      t.notOk(await store.move(late, before), 'it is under another id already')
      t.equal(await store.find(late.id), null)
      await store.delete(after.id)
      const dead = { ...before, id: record().id }
      t.notOk(await store.move(dead, after), 'it has ended')
      t.equal(await store.find(dead.id), null)
    }
  })

  test('a session that is ended while it moves is gone under both ids', async (t, { store, make, lists }) => {
    for (let round = 0; round < 100; round++) {
      const before = make()
      const after = { ...before, id: record().id }
      await store.begin(before)
      const [, ended] = await Promise.all([store.move(after, before), store.delete(before.id)])
      t.not(ended, null)
      t.equal(await store.find(before.id), null)
      t.equal(await store.find(after.id), null)
      if (lists) t.strictSame(await store.listByUser('ada'), [])
    }
  }, 'successor')

  test('a session that has just moved is ended by who knows only its old id', async (t, { store, other, make, lists }) => {
    const first = make()
    const second = { ...first, id: record().id }
    const third = { ...first, id: record().id }
    await store.begin(first)
    await store.move(second, first)
    await store.move(third, second)
    t.equal(await other.successor(first.id), second.id)
    t.equal(await store.successor(third.id), null)
    t.strictSame(await other.delete(first.id), third)
    t.equal(await store.find(third.id), null)
    t.equal(await store.delete(first.id), null)
    if (lists) t.strictSame(await store.listByUser('ada'), [])
    const again = make()
    await store.begin(again)
    const login = make()
    await store.replace(login, again)
    t.equal(await store.delete(again.id), null, 'another sign-in is another session')
    t.strictSame(await store.find(login.id), login)
  }, 'successor')

  test('by a credential only the session that it proves is ended', async (t, { store, other, make, lists }) => {
    const session = make()
    await store.begin(session)
    for (const secretHash of [make().secretHash, '', session.id]) {
      t.equal(await other.delete(session.id, { secretHash }), null)
    }
    t.equal(await store.delete(make().id, { secretHash: session.secretHash }), null)
    t.strictSame(await store.find(session.id), session)
    if (lists) t.strictSame(await store.listByUser('ada'), [session])
    t.strictSame(await other.delete(session.id, { secretHash: session.secretHash }), session)
    t.equal(await store.find(session.id), null)
    t.equal(await store.delete(session.id, { secretHash: session.secretHash }), null)
    if (lists) t.strictSame(await store.listByUser('ada'), [])
  })

  test('and of one that has moved, only if it proves what that was before', async (t, { store, other, make }) => {
    for (const userId of ['ada', null]) {
      const first = make({ userId })
      const second = { ...first, id: make().id, secretHash: make().secretHash }
      const third = { ...first, id: make().id, secretHash: make().secretHash }
      await store.begin(first)
      await store.move(second, first)
      await other.move(third, second)
      const pairs = [[first, second], [first, third], [second, first], [second, third], [third, first]] as const
      for (const [{ id }, { secretHash }] of pairs) {
        t.equal(await other.delete(id, { secretHash }), null)
      }
      t.strictSame(await store.find(third.id), third)
      t.strictSame(await other.delete(first.id, { secretHash: first.secretHash }), third)
      for (const { id } of [first, second, third]) t.equal(await store.find(id), null)
    }
  }, 'successor')

  test('also while it moves', async (t, { store, other, make }) => {
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
    t.strictSame(wrong, [])
  }, 'successor')

  test('a session that has moved twice is replaced by who knew it before', async (t, { store, other, make, lists }) => {
    const first = make()
    const second = { ...first, id: record().id }
    const third = { ...first, id: record().id }
    const login = make()
    await store.begin(first)
    await store.move(second, first)
    await other.move(third, second)
    t.ok(await store.replace(login, first, { ...lists && { limit: { max: 1, evicts: true } } }))
    for (const { id } of [first, second, third]) t.equal(await store.find(id), null)
    t.strictSame(await store.find(login.id), login)
  }, 'successor')

  test('an id that was never used is absent, whatever it looks like', async (t, { store }) => {
    for (const id of [record().id, '', 'x', '*', '../../etc/passwd', '__proto__', 'constructor', '\u0000', 'é'.repeat(1000)]) {
      t.equal(await store.find(id), null)
      t.equal(await store.delete(id), null)
    }
  })

  test('data comes back to the byte', async (t, { store, make }) => {
    for (const data of [
      '{"text":"né ☕ 𝒳 \\u2028 \\ud800 \\u0000"}',
      '{"lines":"one\\ntwo\\r\\n"}',
      '{\n  "pretty": true\n}',
      '{"__proto__":{"admin":true},"constructor":1,"s":1234567890123}',
      JSON.stringify({ long: 'x'.repeat(100_000) })
    ]) {
      const session = make({ data })
      await store.begin(session)
      t.equal((await store.find(session.id))?.data, data)
      const changed = await store.update(session, (present) => present.replace(/}$/, ',"more":1}'))
      t.equal(changed?.data, data.replace(/}$/, ',"more":1}'))
      t.equal((await store.find(session.id))?.data, changed?.data)
      t.ok(await store.touch(session))
      t.equal((await store.find(session.id))?.data, changed?.data)
    }
    t.equal(({} as { admin?: boolean }).admin, undefined)
  })

  test('a record changed after a call changes nothing that is stored', async (t, { store, make, lists }) => {
    const session = make({ data: '{"cart":1}' })
    const original = { ...session }
    await store.begin(session)
    const tamper = (held: SessionRecord | null | undefined) => {
      t.ok(held)
      // A store may hand out frozen records; then the change fails at once.
      try { Object.assign(held as object, { userId: 'mallory', data: '{"cart":0}', endsAt: 0 }) } catch {}
    }
    tamper(session)
    t.strictSame(await store.find(original.id), original)
    tamper(await store.find(original.id))
    t.strictSame(await store.find(original.id), original)
    tamper(await store.update(original, (data) => data))
    t.strictSame(await store.find(original.id), original)
    if (!lists) return
    tamper((await store.listByUser('ada'))[0])
    t.strictSame(await store.listByUser('ada'), [original])
  })

  test('a deleted session is what delete tells, and absent from then on', async (t, { store, make }) => {
    const session = make({ data: '{"cart":1}' })
    await store.begin(session)
    t.strictSame(await store.delete(session.id), session)
    t.equal(await store.find(session.id), null)
    t.equal(await store.delete(session.id), null)
  })

  test('a session replaced by another is gone', async (t, { store, make, lists }) => {
    const before = make({ userId: null, data: '{"cart":1}' })
    await store.begin(before)
    const after = make({ data: '{"cart":1}' })
    t.ok(await store.replace(after, before))
    t.equal(await store.find(before.id), null)
    t.strictSame(await store.find(after.id), after)
    const anonymous = make({ userId: null })
    t.ok(await store.replace(anonymous, after))
    t.equal(await store.find(after.id), null)
    t.strictSame(await store.find(anonymous.id), anonymous)
    if (lists) t.strictSame(await store.listByUser('ada'), [])
  })

  test('a session replaced by another user\'s leaves the first user\'s list', async (t, { store, make, lists }) => {
    const hers = make()
    const his = make({ userId: 'bob' })
    await store.begin(hers)
    t.ok(await store.replace(his, hers))
    t.equal(await store.find(hers.id), null)
    if (!lists) return
    t.strictSame(await store.listByUser('ada'), [])
    t.strictSame(await store.listByUser('bob'), [his])
  })

  test('replacing what is already gone is an ordinary sign-in', async (t, { store, make }) => {
    const gone = make()
    const session = make()
    t.ok(await store.replace(session, gone))
    t.strictSame(await store.find(session.id), session)
    t.equal(await store.find(gone.id), null)
  })

  test('a full store refuses a new session and signs nobody out', async (t, { store, make, fill, lists }) => {
    const session = make({ data: '{"cart":1}' })
    await store.begin(session)
    await fill?.()
    await t.rejects(store.begin(make({ userId: null, data: JSON.stringify({ x: 'x'.repeat(1000) }) })), { code: 'ERR_SESSION_STORE_FULL', statusCode: 503 })
    await t.rejects(store.begin(make({ userId: 'bob' })), { code: 'ERR_SESSION_STORE_FULL' })
    t.equal((await store.find(session.id))?.data, session.data)
    t.equal(await store.touch(session), true)
    if (lists) {
      t.strictSame((await store.listByUser('ada')).map(({ id }) => id), [session.id])
      t.strictSame(await store.deleteByUser('ada'), [session.id])
      t.strictSame(await store.listByUser('bob'), [])
    } else {
      t.equal((await store.delete(session.id))?.id, session.id)
    }
    t.equal(await store.find(session.id), null)
  }, 'fill')

  test('close may be called twice', async (t, { store }) => {
    await store.close()
    await t.resolves(store.close())
  })
}
