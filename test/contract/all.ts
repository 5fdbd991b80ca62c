import type { SessionRecord } from '../../lib/session/record.ts'
import { listsOf } from '../../lib/session/store.ts'
import type { SessionLists } from '../../lib/session/store.ts'
import { MINUTE } from '../helpers/record.ts'
import type { Define } from './store-contract.ts'

const byId = (a: SessionRecord, b: SessionRecord): number => a.id < b.id ? -1 : 1

async function everything (store: SessionLists): Promise<SessionRecord[]> {
  const records: SessionRecord[] = []
  for await (const record of store.listAll()) records.push(record)
  return records.sort(byId)
}

/** The store as a whole. */
export function allTests (test: Define): void {
  test('every live session is listed, anonymous ones too, and nothing that has ended', async (t, { store, other, make, age }) => {
    t.strictSame(await everything(store), [])
    const sessions = Array.from({ length: 300 }, (_, index) => make({ userId: index % 3 === 0 ? null : `user ${index % 50}`, data: `{"index":${index}}` }))
    const expiring = Array.from({ length: 20 }, (_, index) => make({ userId: index % 2 === 0 ? null : 'ada', idleTimeoutMs: MINUTE }))
    const deleted = Array.from({ length: 20 }, () => make())
    await Promise.all([...sessions, ...expiring, ...deleted].map((each) => store.begin(each)))
    t.equal((await everything(other)).length, 340)
    await Promise.all(deleted.map(({ id }) => store.delete(id)))
    await age(MINUTE)
    for (const each of [store, other]) {
      const listed = await everything(each)
      t.equal(listed.length, 300)
      // Aging has made them all older, records too.
      const found = await Promise.all(sessions.map(async ({ id }) => await each.find(id) as SessionRecord))
      t.strictSame(listed, found.sort(byId))
    }
  }, 'lists')

  test('who has seen enough of the sessions may stop', async (t, { store, make }) => {
    await Promise.all(Array.from({ length: 20 }, () => store.begin(make())))
    let seen = 0
    for await (const record of store.listAll()) {
      t.equal(record.userId, 'ada')
      if (++seen === 3) break
    }
    t.equal(seen, 3)
    t.equal((await everything(store)).length, 20)
  }, 'lists')

  test('a store that cannot tell which sessions there are says so', async (t, { store }) => {
    await t.rejects(async () => await everything(listsOf(store)), { code: 'ERR_SESSION_UNSUPPORTED', statusCode: 500, message: /^Not supported: / })
  }, 'no lists')

  test('a store that answers says so, and is as it was', async (t, { store, make, lists }) => {
    t.equal(await store.ping(), undefined)
    const session = make()
    await store.begin(session)
    t.equal(await store.ping(), undefined)
    t.strictSame(await store.find(session.id), session)
    if (lists) t.strictSame(await everything(store), [session])
  })
}
