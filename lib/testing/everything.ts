import assert from 'node:assert/strict'
import type { SessionRecord } from '../session/record.ts'
import { listsOf } from '../session/store.ts'
import type { SessionLists } from '../session/store.ts'
import { Chapter } from './contract.ts'
import { MINUTE } from './record.ts'

const byId = (a: SessionRecord, b: SessionRecord): number => a.id < b.id ? -1 : 1

async function readAll (store: SessionLists): Promise<SessionRecord[]> {
  const records: SessionRecord[] = []
  for await (const record of store.listAll()) records.push(record)
  return records.sort(byId)
}

/** The store as a whole. */
export const everything = new Chapter()

everything.says('every live session is listed, anonymous ones too, and nothing that has ended', async (subject) => {
  const { store, other, make, age } = subject
  assert.deepEqual(await readAll(store), [])
  const sessions = Array.from({ length: 300 }, (_, index) => {
    return make({ userId: index % 3 === 0 ? null : `user ${index % 50}`, data: `{"index":${index}}` })
  })
  const expiring = Array.from({ length: 20 }, (_, index) => {
    return make({ userId: index % 2 === 0 ? null : 'ada', idleTimeoutMs: MINUTE })
  })
  const deleted = Array.from({ length: 20 }, () => make())
  await Promise.all([...sessions, ...expiring, ...deleted].map((each) => store.begin(each)))
  assert.equal((await readAll(other)).length, 340)
  await Promise.all(deleted.map(({ id }) => store.delete(id)))
  await age(MINUTE)
  for (const each of [store, other]) {
    const listed = await readAll(each)
    assert.equal(listed.length, 300)
    // Aging has made them all older, records too.
    const found = await Promise.all(sessions.map(async ({ id }) => await each.find(id) as SessionRecord))
    assert.deepEqual(listed, found.sort(byId))
  }
}, 'lists')

everything.says('who has seen enough of the sessions may stop', async ({ store, make }) => {
  await Promise.all(Array.from({ length: 20 }, () => store.begin(make())))
  let seen = 0
  for await (const record of store.listAll()) {
    assert.equal(record.userId, 'ada')
    if (++seen === 3) break
  }
  assert.equal(seen, 3)
  assert.equal((await readAll(store)).length, 20)
}, 'lists')

everything.says('a store that cannot tell which sessions there are says so', async ({ store }) => {
  const unsupported = { code: 'ERR_SESSION_UNSUPPORTED', statusCode: 500, message: /^Not supported: / }
  await assert.rejects(async () => await readAll(listsOf(store)), unsupported)
}, 'no lists')

everything.says('a store that answers says so, and is as it was', async ({ store, make, lists }) => {
  assert.equal(await store.ping(), undefined)
  const session = make()
  await store.begin(session)
  assert.equal(await store.ping(), undefined)
  assert.deepEqual(await store.find(session.id), session)
  if (lists) assert.deepEqual(await readAll(store), [session])
})
