import type { SessionRecord } from '../../lib/session/record.ts'
import type { Limit, SessionStore, StoreEvents } from '../../lib/session/store.ts'
import { MINUTE } from '../helpers/record.ts'
import type { Context, Define } from './store-contract.ts'

const EVICTS = (max: number): Limit => ({ max, evicts: true })
const REJECTS = (max: number): Limit => ({ max, evicts: false })
const LIMIT_REACHED = { code: 'ERR_SESSION_LIMIT_REACHED', message: 'Too many sessions', statusCode: 409 }

const idsOf = (records: SessionRecord[]): string[] => records.map(({ id }) => id)

/** How many sessions a user may have, and what is told of those that end for others. */
export function limitTests (test: Define): void {
  /** Sessions of ada's, the oldest first, all of them before now. */
  const olderOnes = async ({ store, make }: Context, count: number): Promise<SessionRecord[]> => {
    const sessions = Array.from({ length: count }, (_, index) => make({ createdAt: Math.floor(store.now()) - 1000 * (count - index) }))
    for (const each of sessions) await store.begin(each)
    return sessions
  }

  /** The ids of those that live. */
  const living = async (store: SessionStore, sessions: SessionRecord[]): Promise<string[]> => {
    const found = await Promise.all(sessions.map(async ({ id }) => await store.find(id)))
    return sessions.filter((_each, index) => found[index] !== null).map(({ id }) => id)
  }

  /** Every `ended` of both processes from now on. */
  const listen = ({ store, other }: Context): Array<StoreEvents['ended']> => {
    const told: Array<StoreEvents['ended']> = []
    for (const each of new Set([store, other])) each.events.on('ended', (...event) => { told.push(event) })
    return told
  }

  test('one session too many ends the oldest, before it is there itself', async (t, context) => {
    const { store, other, make } = context
    const [oldest, middle, newest] = await olderOnes(context, 3) as [SessionRecord, SessionRecord, SessionRecord]
    const session = make()
    t.ok(await store.begin(session, { limit: EVICTS(3) }))
    t.equal(await other.find(oldest.id), null)
    t.equal(await other.update(oldest, () => '{"back":1}'), null)
    t.strictSame(idsOf(await other.listByUser('ada')), [session.id, newest.id, middle.id])
    for (const each of [session, newest, middle]) t.ok(await other.find(each.id))
  }, 'lists')

  test('while there is room nothing ends, and nobody is refused', async (t, context) => {
    const { store, make } = context
    const sessions = await olderOnes(context, 2)
    for (const limit of [EVICTS(4), REJECTS(4)]) {
      const session = make()
      t.ok(await store.begin(session, { limit }))
      sessions.push(session)
    }
    t.strictSame(await living(store, sessions), idsOf(sessions))
  }, 'lists')

  test('where a limit was lowered, one login ends all that are too many', async (t, context) => {
    const { store, make } = context
    const sessions = await olderOnes(context, 6)
    const session = make()
    t.ok(await store.begin(session, { limit: EVICTS(3) }))
    t.strictSame(idsOf(await store.listByUser('ada')), [session.id, sessions[5]?.id, sessions[4]?.id])
    t.strictSame(await living(store, sessions), [sessions[4]?.id, sessions[5]?.id])
    const only = make()
    t.ok(await store.begin(only, { limit: EVICTS(1) }))
    t.strictSame(idsOf(await store.listByUser('ada')), [only.id])
  }, 'lists')

  test('for what is listed but gone nobody has to go', async (t, context) => {
    const { store, make, lose } = context
    const [gone, kept] = await olderOnes(context, 2) as [SessionRecord, SessionRecord]
    await lose?.(gone.id)
    const session = make()
    t.ok(await store.begin(session, { limit: EVICTS(2) }))
    t.strictSame(idsOf(await store.listByUser('ada')), [session.id, kept.id])
  }, 'lose')

  test('who has as many as they may is refused, and nothing is stored or ended', async (t, context) => {
    const { store, other, make } = context
    const sessions = await olderOnes(context, 3)
    const told = listen(context)
    for (const [each, max] of [[store, 3], [other, 3], [store, 2], [other, 1]] as const) {
      const session = make()
      await t.rejects(each.begin(session, { limit: REJECTS(max) }), LIMIT_REACHED)
      t.equal(await store.find(session.id), null)
    }
    t.strictSame(idsOf(await store.listByUser('ada')), idsOf(sessions).reverse())
    t.strictSame(await living(other, sessions), idsOf(sessions))
    t.strictSame(told, [])
    await store.delete(sessions[0]?.id ?? '')
    const session = make()
    t.ok(await other.begin(session, { limit: REJECTS(3) }), 'a place that was given back can be taken')
    await t.rejects(store.begin(make(), { limit: REJECTS(3) }), LIMIT_REACHED)
  }, 'lists')

  test('a refused login leaves the session it was to replace alive', async (t, context) => {
    const { store, other, make } = context
    await olderOnes(context, 2)
    const before = make({ userId: null, data: '{"cart":1}' })
    await store.begin(before)
    const session = make()
    await t.rejects(store.replace(session, before, { limit: REJECTS(2) }), LIMIT_REACHED)
    t.strictSame(await other.find(before.id), before)
    t.equal(await other.find(session.id), null)
  }, 'lists')

  test('other users\' sessions and anonymous ones do not count', async (t, { store, make }) => {
    const others = [make({ userId: 'bob' }), make({ userId: 'bob' }), make({ userId: null }), make({ userId: null }), make({ userId: 'ad' }), make({ userId: 'adam' })]
    for (const each of others) t.ok(await store.begin(each, { limit: REJECTS(2) }))
    for (const limit of [REJECTS(1), EVICTS(1)]) {
      const session = make({ userId: `ada ${limit.evicts}` })
      t.ok(await store.begin(session, { limit }))
    }
    t.ok(await store.begin(make({ userId: null }), { limit: REJECTS(1) }), 'nobody may be anonymous as often as anybody likes')
    t.strictSame(await living(store, others), idsOf(others))
  }, 'lists')

  test('the session that a login replaces does not count', async (t, context) => {
    const { store, make } = context
    const sessions = await olderOnes(context, 3)
    let last = sessions[2] as SessionRecord
    for (const limit of [REJECTS(3), EVICTS(3)]) {
      const session = make()
      t.ok(await store.replace(session, last, { limit }))
      t.equal(await store.find(last.id), null)
      t.strictSame(idsOf(await store.listByUser('ada')), [session.id, sessions[1]?.id, sessions[0]?.id])
      last = session
    }
    await store.delete(last.id)
    t.ok(await store.replace(make(), last, { limit: REJECTS(3) }))
    await t.rejects(store.replace(make(), last, { limit: REJECTS(3) }), LIMIT_REACHED, 'one that is gone is no place')
    const his = make({ userId: 'bob' })
    await store.begin(his)
    await t.rejects(store.replace(make(), his, { limit: REJECTS(3) }), LIMIT_REACHED, 'nor is another user\'s')
    t.ok(await store.find(his.id))
  }, 'lists')

  test('a session that goes on under another id is never refused, and ends no other', async (t, context) => {
    const { store, other, make } = context
    const sessions = await olderOnes(context, 3)
    let last = sessions[0] as SessionRecord
    for (let move = 0; move < 3; move++) {
      const moved = { ...last, id: make().id }
      t.ok(await other.move(moved, last))
      t.equal(await store.find(last.id), null)
      last = moved
    }
    t.strictSame(await living(store, [last, ...sessions]), idsOf([last, ...sessions.slice(1)]))
    t.equal((await store.listByUser('ada')).length, 3)
  }, 'lists')

  test('what has run out takes up no place', async (t, { store, other, make, age }) => {
    for (let each = 0; each < 3; each++) await store.begin(make({ idleTimeoutMs: MINUTE }))
    await t.rejects(other.begin(make(), { limit: REJECTS(3) }), LIMIT_REACHED)
    await age(MINUTE)
    const sessions = [make(), make(), make()]
    for (const each of sessions) t.ok(await other.begin(each, { limit: REJECTS(3) }))
    await t.rejects(store.begin(make(), { limit: REJECTS(3) }), LIMIT_REACHED)
    t.strictSame(await living(store, sessions), idsOf(sessions))
  }, 'lists')

  test('what was lost behind the store\'s back takes up no place', async (t, context) => {
    const { store, other, make, lose } = context
    const sessions = await olderOnes(context, 3)
    const told = listen(context)
    await lose?.(sessions[0]?.id ?? '')
    await lose?.(sessions[2]?.id ?? '')
    const later = [make(), make()]
    for (const each of later) t.ok(await other.begin(each, { limit: REJECTS(3) }))
    await t.rejects(store.begin(make(), { limit: REJECTS(3) }), LIMIT_REACHED)
    t.strictSame(await living(store, [...sessions, ...later]), idsOf([sessions[1] as SessionRecord, ...later]))
    t.strictSame(told, [], 'nor had it run out')
  }, 'lose')

  /** Fifty logins at once, by two processes. */
  const fifty = async ({ store, other, make }: Context, userId: string, limit: Limit) => {
    const now = Math.floor(store.now())
    const sessions = Array.from({ length: 50 }, (_, index) => make({ userId, createdAt: now - index % 7 }))
    const outcomes = await Promise.allSettled(sessions.map((each, index) => (index % 2 === 0 ? store : other).begin(each, { limit })))
    const began = sessions.filter((_each, index) => {
      const outcome = outcomes[index]
      return outcome?.status === 'fulfilled' && outcome.value !== null
    })
    return { sessions, outcomes, began, live: (await living(store, sessions)).sort(), listed: idsOf(await other.listByUser(userId)).sort() }
  }

  test('of fifty logins at once as many live as may, and all of those are listed', async (t, context) => {
    for (const max of [1, 3, 10]) {
      const told = listen(context)
      const { sessions, outcomes, began, live, listed } = await fifty(context, `ada ${max}`, EVICTS(max))
      t.equal(live.length, max)
      t.strictSame(listed, live)
      t.strictSame(outcomes.filter(({ status }) => status === 'rejected'), [])
      t.strictSame(live.filter((id) => !idsOf(began).includes(id)), [], 'whoever lives was told so')
      t.strictSame(idsOf(await context.store.listByUser(`ada ${max}`)).sort(), live, 'and not only at first')
      const ended = told.filter(([, userId]) => userId === `ada ${max}`)
      t.strictSame(ended.map(([id]) => id).sort(), idsOf(began).filter((id) => !live.includes(id)).sort(), 'each that began and ended is told once')
      t.strictSame(ended.filter(([, , reason]) => reason !== 'evicted'), [])
      t.equal(sessions.length, 50)
    }
  }, 'lists')

  test('of fifty logins at once as many are let in as may, and the others are refused', async (t, context) => {
    for (const max of [1, 3, 10]) {
      const told = listen(context)
      const { outcomes, began, live, listed } = await fifty(context, `ada ${max}`, REJECTS(max))
      t.equal(began.length, max)
      t.strictSame(live, idsOf(began).sort())
      t.strictSame(listed, live)
      const refused = outcomes.filter((each) => each.status === 'rejected').map(({ reason }) => (reason as { code: string }).code)
      t.strictSame(refused, Array(50 - max).fill('ERR_SESSION_LIMIT_REACHED'))
      t.strictSame(told, [])
    }
  }, 'lists')

  test('of fifty logins at once that each replace a session, each has one afterwards and none has two', async (t, context) => {
    const { store, other, make } = context
    for (const limit of [REJECTS(50), EVICTS(50)]) {
      const userId = `ada ${limit.evicts}`
      const before = Array.from({ length: 50 }, () => make({ userId, createdAt: Math.floor(store.now()) - 1000 }))
      for (const each of before) await store.begin(each)
      const after = before.map(() => make({ userId }))
      const outcomes = await Promise.allSettled(after.map((each, index) => (index % 2 === 0 ? store : other).replace(each, before[index] as SessionRecord, { limit })))
      const live = await living(store, [...before, ...after])
      for (const [index, outcome] of outcomes.entries()) {
        // While another one's old session has yet to end, a login may be refused: then it changed nothing.
        const isRefused = !limit.evicts && outcome.status === 'rejected' && (outcome.reason as { code: string }).code === 'ERR_SESSION_LIMIT_REACHED'
        t.ok(isRefused || (outcome.status === 'fulfilled' && outcome.value !== null))
        t.equal(live.includes(before[index]?.id ?? ''), isRefused)
        t.equal(live.includes(after[index]?.id ?? ''), !isRefused)
      }
      t.strictSame(idsOf(await store.listByUser(userId)).sort(), live.sort())
    }
  }, 'lists')

  test('logins under a limit while their user is signed out everywhere end dead or listed, never hidden', async (t, { store, other, make, atomic }) => {
    const wrong: string[] = []
    // Where listing reads all sessions, many at once would ask for too much.
    await Promise.all(Array.from({ length: atomic === 'everywhere' ? 60 : 12 }, async (_, round) => {
      const userId = `ada ${round}`
      const limit = round % 2 === 0 ? EVICTS(2) : REJECTS(2)
      const old = make({ userId })
      await store.begin(old)
      const sessions = Array.from({ length: 4 }, () => make({ userId }))
      const signOut = async () => {
        for (let turn = 0; turn < round % 7; turn++) await new Promise((resolve) => setImmediate(resolve))
        await other.deleteByUser(userId)
      }
      const [outcomes] = await Promise.all([Promise.allSettled(sessions.map((each, index) => (index % 2 === 0 ? store : other).begin(each, { limit }))), signOut()])
      const live = await living(store, [old, ...sessions])
      const listed = idsOf(await store.listByUser(userId))
      if (live.includes(old.id)) wrong.push('the old session lives')
      if (live.length > 2) wrong.push(`${live.length} live`)
      if (live.slice().sort().join() !== listed.slice().sort().join()) wrong.push('live and listed differ')
      for (const [index, outcome] of outcomes.entries()) {
        const isLive = live.includes(sessions[index]?.id ?? '')
        if (isLive && (outcome.status === 'rejected' || outcome.value === null)) wrong.push('called off, but live')
        if (outcome.status === 'rejected' && (outcome.reason as { code: string }).code !== 'ERR_SESSION_LIMIT_REACHED') wrong.push(String(outcome.reason))
      }
      // Whatever was called off holds no place.
      for (const id of live) await store.delete(id)
      for (let each = 0; each < 2; each++) await store.begin(make({ userId }), { limit: REJECTS(2) }).catch(() => wrong.push('a place is lost'))
    }))
    t.strictSame(wrong, [])
  }, 'lists')

  test('a session that ended for another is told once, and why', async (t, context) => {
    const { store, other, make } = context
    const sessions = await olderOnes(context, 4)
    const told = listen(context)
    const anonymous = make({ userId: null })
    await store.begin(anonymous)
    await other.begin(make(), { limit: EVICTS(3) })
    t.strictSame(told.splice(0).sort(), [[sessions[0]?.id, 'ada', 'evicted'], [sessions[1]?.id, 'ada', 'evicted']].sort())
    await store.replace(make(), sessions[2] as SessionRecord, { limit: EVICTS(3) })
    t.strictSame(told.splice(0), [[sessions[2]?.id, 'ada', 'replaced']])
    await other.replace(make({ userId: 'bob' }), sessions[3] as SessionRecord)
    t.strictSame(told.splice(0), [[sessions[3]?.id, 'ada', 'replaced']], 'of the user whose it was')
    const moved = make()
    await store.begin(moved)
    await store.move({ ...moved, id: make().id }, moved)
    t.strictSame(told.splice(0), [[moved.id, 'ada', 'replaced']])
    const session = make()
    await store.replace(session, anonymous)
    await store.replace(make(), anonymous)
    await store.delete(session.id)
    await other.deleteByUser('ada')
    t.strictSame(told, [], 'not of who was nobody, of what was gone, nor of what was ended by name')
  }, 'lists')

  test('a session that has run out is told once, by whoever notices', async (t, context) => {
    const { store, other, make, age } = context
    const told = listen(context)
    const short = [make({ idleTimeoutMs: MINUTE }), make({ idleTimeoutMs: MINUTE })]
    const long = make()
    for (const each of [...short, long, make({ userId: null, idleTimeoutMs: MINUTE })]) await store.begin(each)
    await age(2 * MINUTE)
    for (let again = 0; again < 2; again++) {
      await Promise.all([store, other].flatMap((each) => [each.listByUser('ada'), ...short.map(({ id }) => each.find(id)), each.begin(make())]))
      await Promise.all([store, other].map((each) => each.deleteByUser('ada')))
    }
    t.strictSame(told.sort(), short.map(({ id }) => [id, 'ada', 'expired']).sort())
  }, 'expiry')

  test('a session on its way to another id counts once', async (t, { store, other, make }) => {
    for (let round = 0; round < 100; round++) {
      const moving = make()
      const kept = make()
      for (const each of [moving, kept]) await store.begin(each)
      const login = make()
      const moved = { ...moving, id: make().id }
      const limit = { max: 3, evicts: round % 2 === 0 }
      const [arrived, begun] = await Promise.all([store.move(moved, moving), other.begin(login, { limit })])
      t.ok(arrived)
      t.ok(begun)
      t.same(new Set((await store.listByUser('ada')).map(({ id }) => id)), new Set([moved.id, kept.id, login.id]))
      t.equal((await other.deleteByUser('ada')).length, 3)
    }
  }, 'lists')

  test('a session that has to go while it is on its way is gone under both ids', async (t, { store, other, make }) => {
    for (let round = 0; round < 100; round++) {
      const moving = make({ createdAt: Math.floor(store.now()) - 1000 })
      await store.begin(moving)
      const login = make()
      const moved = { ...moving, id: make().id }
      const limit = { max: 1, evicts: true }
      const [, begun] = await Promise.all([store.move(moved, moving), other.begin(login, { limit })])
      t.ok(begun)
      t.strictSame((await store.listByUser('ada')).map(({ id }) => id), [login.id])
      for (const { id } of [moving, moved]) t.equal(await other.find(id), null)
      await store.deleteByUser('ada')
    }
  }, 'lists')
}
