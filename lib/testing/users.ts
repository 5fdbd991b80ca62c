import assert from 'node:assert/strict'
import type { SessionRecord } from '../session/record.ts'
import { listsOf } from '../session/store.ts'
import { Chapter } from './contract.ts'
import { ok } from './ok.ts'
import { MINUTE, record } from './record.ts'

/** Listing the sessions of a user, and ending them all. */
export const users = new Chapter()

users.says('a store without lists says so', async ({ store }) => {
  await assert.rejects(async () => await listsOf(store).listByUser('ada'), { code: 'ERR_SESSION_UNSUPPORTED' })
  await assert.rejects(async () => await listsOf(store).deleteByUser('ada'), { code: 'ERR_SESSION_UNSUPPORTED' })
}, 'no lists')

users.says('a user\'s sessions are listed newest first, and nobody else\'s', async ({ store, make }) => {
  const now = Math.floor(store.now())
  const middle = make({ createdAt: now - 2000 })
  const newest = make({ createdAt: now - 1000, data: '{"cart":1}' })
  const oldest = make({ createdAt: now - 3000 })
  const others = ['bob', null, 'ad', 'adam'].map((userId) => make({ userId }))
  for (const each of [middle, newest, oldest, ...others]) await store.begin(each)
  assert.deepEqual(await store.listByUser('ada'), [newest, middle, oldest])
  assert.deepEqual(await store.listByUser('mallory'), [])
}, 'lists')

users.says('what is gone is on no list', async ({ store, make, age }) => {
  const short = make({ idleTimeoutMs: MINUTE })
  const deleted = make()
  const kept = make()
  for (const each of [short, deleted, kept]) await store.begin(each)
  await store.delete(deleted.id)
  assert.deepEqual(new Set((await store.listByUser('ada')).map(({ id }) => id)), new Set([short.id, kept.id]))
  await age(MINUTE)
  assert.deepEqual((await store.listByUser('ada')).map(({ id }) => id), [kept.id])
  assert.deepEqual(await store.deleteByUser('ada'), [kept.id])
}, 'lists')

users.says('anonymous sessions are on no list', async ({ store, make }) => {
  const anonymous = make({ userId: null })
  await store.begin(anonymous)
  for (const userId of ['', 'null', 'undefined']) {
    assert.deepEqual(await store.listByUser(userId), [])
    assert.deepEqual(await store.deleteByUser(userId), [])
  }
  assert.deepEqual(await store.find(anonymous.id), anonymous)
}, 'lists')

users.says('a user is signed out everywhere, but where the exception is', async ({ store, make }) => {
  const sessions = Array.from({ length: 5 }, () => make())
  const his = make({ userId: 'bob' })
  for (const each of [...sessions, his]) await store.begin(each)
  const [here, ...elsewhere] = sessions as [SessionRecord, ...SessionRecord[]]
  const ended = await store.deleteByUser('ada', { except: here.id })
  assert.deepEqual(new Set(ended), new Set(elsewhere.map(({ id }) => id)))
  assert.equal(ended.length, 4)
  for (const each of elsewhere) assert.equal(await store.find(each.id), null)
  assert.deepEqual(await store.listByUser('ada'), [here])
  assert.deepEqual(await store.deleteByUser('ada', { except: undefined }), [here.id])
  assert.deepEqual(await store.listByUser('ada'), [])
  assert.deepEqual(await store.deleteByUser('ada'), [])
  assert.deepEqual(await store.listByUser('bob'), [his])
}, 'lists')

users.says('the exception is spared under the id it goes on under, also on its way there', async (subject) => {
  const { store, other, make } = subject
  for (let round = 0; round < 100; round++) {
    const first = make()
    const second = { ...first, id: record().id }
    const third = { ...first, id: record().id }
    const elsewhere = make()
    for (const each of [first, elsewhere]) await store.begin(each)
    const others = other.deleteByUser('ada', { except: first.id })
    const [moved, ended] = await Promise.all([store.move(second, first), others])
    ok(moved)
    assert.deepEqual(ended, [elsewhere.id])
    ok(await store.move(third, second))
    assert.deepEqual(await store.deleteByUser('ada', { except: first.id }), [])
    assert.deepEqual(await store.listByUser('ada'), [third])
    assert.deepEqual(await store.deleteByUser('ada', { except: record().id }), [third.id])
  }
}, 'lists')

users.says('the exception protects nobody else\'s session', async ({ store, make }) => {
  const hers = make()
  const his = make({ userId: 'bob' })
  for (const each of [hers, his]) await store.begin(each)
  assert.deepEqual(await store.deleteByUser('ada', { except: his.id }), [hers.id])
  assert.deepEqual(await store.find(his.id), his)
}, 'lists')

users.says('a user id may be any text of 1 to 255 characters', async ({ store, make }) => {
  const strange = ['+x', '{a}', '}{', '👩‍💻', 'a b', 'a\nb', '*', 'user:ada', '0', 'é', '\0']
  const userIds = [...strange, '__proto__', 'constructor', 'x'.repeat(255)]
  const sessions = userIds.map((userId) => make({ userId }))
  for (const each of sessions) ok(await store.begin(each))
  for (const each of sessions) {
    assert.deepEqual(await store.find(each.id), each)
    assert.deepEqual(await store.listByUser(each.userId as string), [each])
    assert.equal(await store.touch(each), true)
  }
  for (const each of sessions) assert.deepEqual(await store.deleteByUser(each.userId as string), [each.id])
  for (const each of sessions) assert.equal(await store.find(each.id), null)
}, 'lists')
