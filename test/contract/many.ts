import type { SessionRecord } from '../../lib/session/record.ts'
import type { Limit, SessionLists } from '../../lib/session/store.ts'
import type { Context, Define } from './store-contract.ts'

/** More than any store keeps in view at once. */
const MANY = 250

const idsOf = (records: SessionRecord[]): string[] => records.map(({ id }) => id)

/** Users with very many sessions: what is done about all of them is done in portions. */
export function manyTests (test: Define): void {
  /** Sessions of ada's that began one after the other, some in the same millisecond, and are stored in no order. The oldest first. */
  const many = async ({ store, make }: Context, overrides: Partial<SessionRecord> = {}, count = MANY): Promise<SessionRecord[]> => {
    const now = Math.floor(store.now())
    const sessions = Array.from({ length: count }, (_, index) => make({ createdAt: now - 1000 * count + 700 * (index - index % 3), ...overrides }))
    const order = sessions.map((session, index) => ({ session, at: (index * 7919) % count }))
    for (const { session } of order.sort((a, b) => a.at - b.at)) await store.begin(session)
    return sessions
  }

  /** All pages of a listing. */
  const paged = async (store: SessionLists, limit: number): Promise<SessionRecord[]> => {
    const listed: SessionRecord[] = []
    for (let page: SessionRecord[] = [], isFirst = true; isFirst || page.length === limit; isFirst = false) {
      page = await store.listByUser('ada', { limit, before: listed.at(-1) })
      listed.push(...page)
    }
    return listed
  }

  test('a listing goes from page to page, and every session comes once, the newest first', async (t, context) => {
    const { store, other } = context
    const sessions = [...await many(context, {}, 200), ...await many(context, { kind: 'bearer' }, 50)]
    const all = await store.listByUser('ada')
    t.strictSame(idsOf(all).sort(), idsOf(sessions).sort())
    t.strictSame(all.map(({ createdAt }) => createdAt), sessions.map(({ createdAt }) => createdAt).sort((a, b) => b - a))
    for (const limit of [1, 7, 100, 249, 250, 251]) t.strictSame(idsOf(await paged(other, limit)), idsOf(all), `${limit} a page`)
    t.strictSame(await store.listByUser('ada', { before: all.at(-1) }), [])
  }, 'lists')

  test('a listing goes on where it was, also when what was listed last has ended since', async (t, context) => {
    const { store, other } = context
    await many(context)
    const all = await store.listByUser('ada')
    const listed: string[] = []
    for (let page: SessionRecord[] = all.slice(0, 1); page.length > 0;) {
      const last = page.at(-1) as SessionRecord
      await other.delete(last.id)
      page = await store.listByUser('ada', { limit: 10, before: last })
      listed.push(...idsOf(page).filter((id) => !listed.includes(id)))
    }
    t.strictSame(listed, idsOf(all.slice(1)))
    t.ok((await store.listByUser('ada')).length > 0)
  }, 'lists')

  test('a limit does not count bearer tokens, and ends none', async (t, { store, other, make }) => {
    const tokens = Array.from({ length: 5 }, () => make({ kind: 'bearer', createdAt: Math.floor(store.now()) - 5000 }))
    for (const each of tokens) await store.begin(each)
    for (const limit of [{ max: 2, evicts: false }, { max: 2, evicts: true }] satisfies Limit[]) {
      const cookies = [make(), make(), make()]
      for (const each of cookies.slice(0, 2)) t.ok(await other.begin(each, { limit }))
      for (const each of tokens) t.equal(await other.touch(each), true)
      const outcome = await store.begin(cookies[2] as SessionRecord, { limit }).then((stored) => stored !== null, (error: unknown) => (error as { code: string }).code)
      t.equal(outcome, limit.evicts ? true : 'ERR_SESSION_LIMIT_REACHED')
      t.equal((await store.listByUser('ada')).length, 7)
      for (const { id } of tokens) t.ok(await store.find(id))
      for (const { id } of cookies) await store.delete(id)
    }
  }, 'lists')

  test('where a limit was lowered by very many, one login ends a hundred of the oldest, and later ones the rest', async (t, context) => {
    const { store, other, make } = context
    const tokens = await many(context, { kind: 'bearer' }, 30)
    const sessions = await many(context)
    const limit: Limit = { max: 50, evicts: true }
    const told: string[] = []
    for (const each of new Set([store, other])) each.events.on('ended', (id, _userId, reason) => { told.push(`${id} ${reason}`) })
    const logins: SessionRecord[] = []
    for (const left of [151, 52, 50, 50]) {
      const login = make()
      logins.push(login)
      t.ok(await (logins.length % 2 === 0 ? store : other).begin(login, { limit }))
      const listed = (await store.listByUser('ada')).filter(({ kind }) => kind === 'cookie')
      t.equal(listed.length, left)
      t.strictSame(idsOf(listed.slice(0, logins.length)).sort(), idsOf(logins).sort())
      // Of those that began in one millisecond either may be the older.
      const oldest = listed.at(-1)?.createdAt ?? NaN
      t.ok(sessions.filter(({ createdAt }) => createdAt > oldest).every(({ id }) => listed.some((each) => each.id === id)))
    }
    t.equal(new Set(told).size, told.length)
    t.equal(told.filter((each) => each.endsWith(' evicted')).length, MANY + 4 - 50)
    t.strictSame(idsOf((await store.listByUser('ada')).filter(({ kind }) => kind === 'bearer')).sort(), idsOf(tokens).sort())
  }, 'lists')

  test('all sessions of a user end, some hundred at a time, and who signs in meanwhile stays', async (t, context) => {
    const { store, other, make } = context
    const sessions = await many(context, {}, 2 * MANY + 10)
    const portions: number[] = []
    const later = make({ createdAt: Math.floor(store.now()) + 1 })
    let login: Promise<SessionRecord | null> | undefined
    const ended = await store.deleteByUser('ada', {
      onEnded: (ids) => {
        portions.push(ids.length)
        login ??= other.begin(later)
      }
    })
    t.strictSame([...ended].sort(), idsOf(sessions).sort())
    t.equal(portions.reduce((sum, each) => sum + each, 0), ended.length)
    t.ok(portions.length > 1 && portions.every((each) => each <= 500), portions.join())
    t.ok(await login)
    t.strictSame(idsOf(await store.listByUser('ada')), [later.id])
    t.ok(await other.find(later.id))
  }, 'lists')

  test('the exception goes on while very many end, whatever id it has by then', async (t, context) => {
    const { store, other, make } = context
    const sessions = await many(context, {}, 2 * MANY + 10)
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
    t.ok(await moves[0])
    t.strictSame([...ended].sort(), idsOf(others).sort())
    t.strictSame(await store.listByUser('ada'), [last])
  }, 'lists')

  test('a session that moves to another id while very many end, ends as well', async (t, context) => {
    const { store, other, make, atomic } = context
    const wrong: string[] = []
    for (let round = 0; round < 3; round++) {
      // All of one moment: which comes before which is by their names.
      const sessions = await many(context, { createdAt: Math.floor(store.now()) - 1000 }, 2 * MANY + 10)
      const moves: Array<Promise<SessionRecord | null>> = []
      const moved = sessions.map((session) => ({ ...session, id: make().id }))
      let from = 0
      const move = (count: number): void => {
        for (; count > 0 && from < sessions.length; count--, from++) {
          moves.push((from % 2 === 0 ? store : other).move(moved[from] as SessionRecord, sessions[from] as SessionRecord))
        }
      }
      if (atomic === 'everywhere') move(20)
      await store.deleteByUser('ada', { onEnded: () => move(40) })
      await Promise.all(moves)
      for (const { id } of [...sessions, ...moved]) if (await other.find(id) !== null) wrong.push(`${id} lives`)
      if ((await store.listByUser('ada')).length > 0) wrong.push('some are listed')
    }
    t.strictSame(wrong, [])
  }, 'lists')

  test('what was broken off half-way goes on with the next call', async (t, context) => {
    const { store, other } = context
    const sessions = await many(context, {}, 2 * MANY + 10)
    const told: string[] = []
    const breaksOff = (ids: readonly string[]): void => {
      told.push(...ids)
      if (ids.length > 0) throw new Error('killed')
    }
    await t.rejects(store.deleteByUser('ada', { onEnded: breaksOff }), { message: 'killed' })
    t.ok(told.length > 0 && told.length < sessions.length)
    t.strictSame(idsOf(await store.listByUser('ada')).sort(), idsOf(sessions).filter((id) => !told.includes(id)).sort(), 'and the list knows')
    t.equal((await other.deleteByUser('ada')).length, sessions.length - told.length)
    for (const { id } of sessions.slice(0, 5)) t.equal(await store.find(id), null)
    t.strictSame(await store.listByUser('ada'), [])
  }, 'lists')

  test('of those that were to end at some moment, who signed in since is none', async (t, context) => {
    const { store, make } = context
    const now = Math.floor(store.now())
    const [old, recent] = [await many(context), make({ createdAt: now + 2 })]
    await store.begin(recent)
    t.strictSame([...await store.deleteByUser('ada', { before: now + 1.5 })].sort(), idsOf(old).sort())
    t.strictSame(await store.listByUser('ada'), [recent])
  }, 'lists')
}
