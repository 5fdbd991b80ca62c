import type { SessionRecord } from '../../lib/session/record.ts'
import { listsOf } from '../../lib/session/store.ts'
import { MINUTE, record } from '../helpers/record.ts'
import type { Define } from './store-contract.ts'

/** What a user has, and signing out everywhere. */
export function userTests (test: Define): void {
  test('a store without lists says so', async (t, { store }) => {
    await t.rejects(async () => await listsOf(store).listByUser('ada'), { code: 'ERR_SESSION_UNSUPPORTED' })
    await t.rejects(async () => await listsOf(store).deleteByUser('ada'), { code: 'ERR_SESSION_UNSUPPORTED' })
  }, 'no lists')

  test('a user\'s sessions are listed newest first, and nobody else\'s', async (t, { store, make }) => {
    const now = Math.floor(store.now())
    const middle = make({ createdAt: now - 2000 })
    const newest = make({ createdAt: now - 1000, data: '{"cart":1}' })
    const oldest = make({ createdAt: now - 3000 })
    for (const each of [middle, newest, oldest, make({ userId: 'bob' }), make({ userId: null }), make({ userId: 'ad' }), make({ userId: 'adam' })]) await store.begin(each)
    t.strictSame(await store.listByUser('ada'), [newest, middle, oldest])
    t.strictSame(await store.listByUser('mallory'), [])
  }, 'lists')

  test('what is gone is on no list', async (t, { store, make, age }) => {
    const short = make({ idleTimeoutMs: MINUTE })
    const deleted = make()
    const kept = make()
    for (const each of [short, deleted, kept]) await store.begin(each)
    await store.delete(deleted.id)
    t.same(new Set((await store.listByUser('ada')).map(({ id }) => id)), new Set([short.id, kept.id]))
    await age(MINUTE)
    t.strictSame((await store.listByUser('ada')).map(({ id }) => id), [kept.id])
    t.strictSame(await store.deleteByUser('ada'), [kept.id])
  }, 'lists')

  test('anonymous sessions are on no list', async (t, { store, make }) => {
    const anonymous = make({ userId: null })
    await store.begin(anonymous)
    for (const userId of ['', 'null', 'undefined']) {
      t.strictSame(await store.listByUser(userId), [])
      t.strictSame(await store.deleteByUser(userId), [])
    }
    t.strictSame(await store.find(anonymous.id), anonymous)
  }, 'lists')

  test('a user is signed out everywhere, but where the exception is', async (t, { store, make }) => {
    const sessions = Array.from({ length: 5 }, () => make())
    const his = make({ userId: 'bob' })
    for (const each of [...sessions, his]) await store.begin(each)
    const [here, ...elsewhere] = sessions as [SessionRecord, ...SessionRecord[]]
    const ended = await store.deleteByUser('ada', { except: here.id })
    t.same(new Set(ended), new Set(elsewhere.map(({ id }) => id)))
    t.equal(ended.length, 4)
    for (const each of elsewhere) t.equal(await store.find(each.id), null)
    t.strictSame(await store.listByUser('ada'), [here])
    t.strictSame(await store.deleteByUser('ada', { except: undefined }), [here.id])
    t.strictSame(await store.listByUser('ada'), [])
    t.strictSame(await store.deleteByUser('ada'), [])
    t.strictSame(await store.listByUser('bob'), [his])
  }, 'lists')

  test('the exception is spared under the id it goes on under, also on its way there', async (t, { store, other, make }) => {
    for (let round = 0; round < 100; round++) {
      const first = make()
      const second = { ...first, id: record().id }
      const third = { ...first, id: record().id }
      const elsewhere = make()
      for (const each of [first, elsewhere]) await store.begin(each)
      const [moved, ended] = await Promise.all([store.move(second, first), other.deleteByUser('ada', { except: first.id })])
      t.ok(moved)
      t.strictSame(ended, [elsewhere.id])
      t.ok(await store.move(third, second))
      t.strictSame(await store.deleteByUser('ada', { except: first.id }), [])
      t.strictSame(await store.listByUser('ada'), [third])
      t.strictSame(await store.deleteByUser('ada', { except: record().id }), [third.id])
    }
  }, 'lists')

  test('the exception protects nobody else\'s session', async (t, { store, make }) => {
    const hers = make()
    const his = make({ userId: 'bob' })
    for (const each of [hers, his]) await store.begin(each)
    t.strictSame(await store.deleteByUser('ada', { except: his.id }), [hers.id])
    t.strictSame(await store.find(his.id), his)
  }, 'lists')

  test('a user id may be any text of 1 to 255 characters', async (t, { store, make }) => {
    const userIds = ['+x', '{a}', '}{', '👩‍💻', 'a b', 'a\nb', '*', 'user:ada', '0', '__proto__', 'constructor', 'x'.repeat(255), 'é', '\u0000']
    const sessions = userIds.map((userId) => make({ userId }))
    for (const each of sessions) t.ok(await store.begin(each))
    for (const each of sessions) {
      t.strictSame(await store.find(each.id), each)
      t.strictSame(await store.listByUser(each.userId as string), [each])
      t.equal(await store.touch(each), true)
    }
    for (const each of sessions) t.strictSame(await store.deleteByUser(each.userId as string), [each.id])
    for (const each of sessions) t.equal(await store.find(each.id), null)
  }, 'lists')
}
