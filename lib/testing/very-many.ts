import assert from 'node:assert/strict'
import type { SessionRecord } from '../session/record.ts'
import type { Limit, SessionLists } from '../session/store.ts'
import { Chapter } from './contract.ts'
import type { Subject } from './contract.ts'
import { ok } from './ok.ts'
import { idsOf } from './record.ts'

/** More sessions than any store handles in one step. */
const MANY = 250

/** Users with very many sessions. Work on all of them is done in portions. */
export const veryMany = new Chapter()

/**
 * Begins sessions of ada's in no order. They were created one after the other, some in the same millisecond. Returns
 * them, the oldest first.
 */
const many = async (
  { store, make }: Subject, overrides: Partial<SessionRecord> = {}, count = MANY
): Promise<SessionRecord[]> => {
  const first = Math.floor(store.now()) - 1000 * count
  const sessions = Array.from({ length: count }, (_, index) => {
    return make({ createdAt: first + 700 * (index - index % 3), ...overrides })
  })
  const order = sessions.map((session, index) => ({ session, at: (index * 7919) % count }))
  for (const { session } of order.sort((a, b) => a.at - b.at)) await store.begin(session)
  return sessions
}

/** Returns all pages of a listing. */
const paged = async (store: SessionLists, limit: number): Promise<SessionRecord[]> => {
  const listed: SessionRecord[] = []
  for (let page: SessionRecord[] = [], isFirst = true; isFirst || page.length === limit; isFirst = false) {
    page = await store.listByUser('ada', { limit, before: listed.at(-1) })
    listed.push(...page)
  }
  return listed
}

veryMany.says('a listing goes from page to page, and every session comes once, the newest first', async (subject) => {
  const { store, other } = subject
  const sessions = [...await many(subject, {}, 200), ...await many(subject, { kind: 'bearer' }, 50)]
  const all = await store.listByUser('ada')
  assert.deepEqual(idsOf(all).sort(), idsOf(sessions).sort())
  const newestFirst = sessions.map(({ createdAt }) => createdAt).sort((a, b) => b - a)
  assert.deepEqual(all.map(({ createdAt }) => createdAt), newestFirst)
  for (const limit of [1, 7, 100, 249, 250, 251]) {
    assert.deepEqual(idsOf(await paged(other, limit)), idsOf(all), `${limit} a page`)
  }
  assert.deepEqual(await store.listByUser('ada', { before: all.at(-1) }), [])
}, 'lists')

veryMany.says('a listing goes on where it was, also when what was listed last has ended since', async (subject) => {
  const { store, other } = subject
  await many(subject)
  const all = await store.listByUser('ada')
  const listed: string[] = []
  for (let page: SessionRecord[] = all.slice(0, 1); page.length > 0;) {
    const last = page.at(-1) as SessionRecord
    await other.delete(last.id)
    page = await store.listByUser('ada', { limit: 10, before: last })
    listed.push(...idsOf(page).filter((id) => !listed.includes(id)))
  }
  assert.deepEqual(listed, idsOf(all.slice(1)))
  ok((await store.listByUser('ada')).length > 0)
}, 'lists')

veryMany.says('a limit does not count bearer tokens, and ends none', async ({ store, other, make }) => {
  const tokens = Array.from({ length: 5 }, () => make({ kind: 'bearer', createdAt: Math.floor(store.now()) - 5000 }))
  for (const each of tokens) await store.begin(each)
  for (const limit of [{ max: 2, evicts: false }, { max: 2, evicts: true }] satisfies Limit[]) {
    const cookies = [make(), make(), make()]
    for (const each of cookies.slice(0, 2)) ok(await other.begin(each, { limit }))
    for (const each of tokens) assert.equal(await other.touch(each), true)
    const login = store.begin(cookies[2] as SessionRecord, { limit })
    const outcome = await login.then((stored) => stored !== null, (error: { code?: string }) => error.code)
    assert.equal(outcome, limit.evicts ? true : 'ERR_SESSION_LIMIT_REACHED')
    assert.equal((await store.listByUser('ada')).length, 7)
    for (const { id } of tokens) ok(await store.find(id))
    for (const { id } of cookies) await store.delete(id)
  }
}, 'lists')

veryMany.says('a limit does not count sessions in which somebody acts as the user, and ends none', async (subject) => {
  const { store, other, make } = subject
  const acting = Array.from({ length: 3 }, () => make({ actor: 'carol', createdAt: Math.floor(store.now()) - 5000 }))
  for (const each of acting) ok(await store.begin(each))
  const moved = { ...acting[2] as SessionRecord, id: make().id }
  ok(await other.move(moved, acting[2] as SessionRecord))
  const live = [...acting.slice(0, 2), moved]
  for (const isLarge of [false, true]) {
    if (isLarge) await many(subject, { kind: 'bearer' })
    const before = (await store.listByUser('ada')).length
    for (const limit of [{ max: 2, evicts: false }, { max: 2, evicts: true }] satisfies Limit[]) {
      const own = [make(), make(), make()]
      for (const each of own.slice(0, 2)) ok(await other.begin(each, { limit }))
      for (const each of live) assert.equal(await other.touch(each), true)
      const login = store.begin(own[2] as SessionRecord, { limit })
      const outcome = await login.then((stored) => stored !== null, (error: { code?: string }) => error.code)
      assert.equal(outcome, limit.evicts ? true : 'ERR_SESSION_LIMIT_REACHED')
      assert.equal((await store.listByUser('ada')).length, before + 2)
      for (const { id } of own) await store.delete(id)
      for (const { id } of live) assert.equal((await other.find(id))?.actor, 'carol')
    }
  }
  const [one] = live as [SessionRecord]
  const own = make()
  ok(await store.replace(own, one, { limit: { max: 1, evicts: false } }), 'nor the one that it replaces')
  assert.equal(await other.find(one.id), null)
}, 'lists')

veryMany.says('under a lowered limit one login ends a hundred of the oldest, later ones the rest', async (subject) => {
  const { store, other, make } = subject
  const tokens = await many(subject, { kind: 'bearer' }, 30)
  const sessions = await many(subject)
  const limit: Limit = { max: 50, evicts: true }
  const told: string[] = []
  for (const each of new Set([store, other])) {
    each.events.on('ended', (id, _userId, reason) => { told.push(`${id} ${reason}`) })
  }
  const logins: SessionRecord[] = []
  for (const left of [151, 52, 50, 50]) {
    const login = make()
    logins.push(login)
    ok(await (logins.length % 2 === 0 ? store : other).begin(login, { limit }))
    const listed = (await store.listByUser('ada')).filter(({ kind }) => kind === 'cookie')
    assert.equal(listed.length, left)
    assert.deepEqual(idsOf(listed.slice(0, logins.length)).sort(), idsOf(logins).sort())
    // Of those that began in one millisecond either may be the older.
    const oldest = listed.at(-1)?.createdAt ?? NaN
    const kept = sessions.filter(({ createdAt }) => createdAt > oldest)
    ok(kept.every(({ id }) => listed.some((each) => each.id === id)))
  }
  assert.equal(new Set(told).size, told.length)
  assert.equal(told.filter((each) => each.endsWith(' evicted')).length, MANY + 4 - 50)
  const bearers = (await store.listByUser('ada')).filter(({ kind }) => kind === 'bearer')
  assert.deepEqual(idsOf(bearers).sort(), idsOf(tokens).sort())
}, 'lists')

veryMany.says('all sessions of a user end, some hundred at a time; who signs in meanwhile stays', async (subject) => {
  const { store, other, make } = subject
  const sessions = await many(subject, {}, 2 * MANY + 10)
  const portions: number[] = []
  const later = make({ createdAt: Math.floor(store.now()) + 1 })
  let login: Promise<SessionRecord | null> | undefined
  const ended = await store.deleteByUser('ada', {
    onEnded: (ids) => {
      portions.push(ids.length)
      login ??= other.begin(later)
    }
  })
  assert.deepEqual([...ended].sort(), idsOf(sessions).sort())
  assert.equal(portions.reduce((sum, each) => sum + each, 0), ended.length)
  ok(portions.length > 1 && portions.every((each) => each <= 500), portions.join())
  ok(await login)
  assert.deepEqual(idsOf(await store.listByUser('ada')), [later.id])
  ok(await other.find(later.id))
}, 'lists')

veryMany.says('the exception goes on while very many end, whatever id it has by then', async (subject) => {
  const { store, other, make } = subject
  const sessions = await many(subject, {}, 2 * MANY + 10)
  const [first, ...others] = sessions as [SessionRecord, ...SessionRecord[]]
  const moves: Array<Promise<SessionRecord | null>> = []
  let last = first
  const ended = await store.deleteByUser('ada', {
    except: first.id,
    onEnded: () => {
      if (moves.length > 0) return
      const [second, third] = [{ ...first, id: make().id }, { ...first, id: make().id }]
      last = third
      moves.push(other.move(second, first).then(async () => await other.move(third, second)))
    }
  })
  ok(await moves[0])
  assert.deepEqual([...ended].sort(), idsOf(others).sort())
  assert.deepEqual(await store.listByUser('ada'), [last])
}, 'lists')

veryMany.says('a session that moves to another id while very many end, ends as well', async (subject) => {
  const { store, other, make, isShared } = subject
  const wrong: string[] = []
  for (let round = 0; round < 3; round++) {
    // All of one moment: which comes before which is by their names.
    const sessions = await many(subject, { createdAt: Math.floor(store.now()) - 1000 }, 2 * MANY + 10)
    const moves: Array<Promise<SessionRecord | null>> = []
    const moved = sessions.map((session) => ({ ...session, id: make().id }))
    let from = 0
    const move = (count: number): void => {
      for (; count > 0 && from < sessions.length; count--, from++) {
        moves.push((from % 2 === 0 ? store : other).move(moved[from] as SessionRecord, sessions[from] as SessionRecord))
      }
    }
    if (isShared) move(20)
    await store.deleteByUser('ada', { onEnded: () => move(40) })
    await Promise.all(moves)
    for (const { id } of [...sessions, ...moved]) if (await other.find(id) !== null) wrong.push(`${id} lives`)
    if ((await store.listByUser('ada')).length > 0) wrong.push('some are listed')
  }
  assert.deepEqual(wrong, [])
}, 'lists')

veryMany.says('what was broken off half-way goes on with the next call', async (subject) => {
  const { store, other } = subject
  const sessions = await many(subject, {}, 2 * MANY + 10)
  const told: string[] = []
  const breaksOff = (ids: readonly string[]): void => {
    told.push(...ids)
    if (ids.length > 0) throw new Error('killed')
  }
  await assert.rejects(store.deleteByUser('ada', { onEnded: breaksOff }), { message: 'killed' })
  ok(told.length > 0 && told.length < sessions.length)
  const left = idsOf(sessions).filter((id) => !told.includes(id)).sort()
  assert.deepEqual(idsOf(await store.listByUser('ada')).sort(), left, 'and the list knows')
  assert.equal((await other.deleteByUser('ada')).length, sessions.length - told.length)
  for (const { id } of sessions.slice(0, 5)) assert.equal(await store.find(id), null)
  assert.deepEqual(await store.listByUser('ada'), [])
}, 'lists')

veryMany.says('of those that were to end at some moment, who signed in since is none', async (subject) => {
  const { store, make } = subject
  const now = Math.floor(store.now())
  const [old, recent] = [await many(subject), make({ createdAt: now + 2 })]
  await store.begin(recent)
  assert.deepEqual([...await store.deleteByUser('ada', { before: now + 1.5 })].sort(), idsOf(old).sort())
  assert.deepEqual(await store.listByUser('ada'), [recent])
}, 'lists')
