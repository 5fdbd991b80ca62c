import assert from 'node:assert/strict'
import type { SessionRecord } from '../session/record.ts'
import type { Limit, SessionStore, StoreEvents } from '../session/store.ts'
import { Chapter } from './contract.ts'
import type { Subject } from './contract.ts'
import { ok } from './ok.ts'
import { idsOf, MINUTE } from './record.ts'

const EVICTS = (max: number): Limit => ({ max, evicts: true })
const REJECTS = (max: number): Limit => ({ max, evicts: false })
const LIMIT_REACHED = { code: 'ERR_SESSION_LIMIT_REACHED', message: 'Too many sessions', statusCode: 409 }

/** Limits of a user's sessions, and the events of sessions that end for others. */
export const limits = new Chapter()

/** Begins sessions of ada's that are older than now. Returns them, the oldest first. */
const olderOnes = async ({ store, make }: Subject, count: number): Promise<SessionRecord[]> => {
  const now = Math.floor(store.now())
  const sessions = Array.from({ length: count }, (_, index) => make({ createdAt: now - 1000 * (count - index) }))
  for (const each of sessions) await store.begin(each)
  return sessions
}

/** Returns the code of the error that an outcome is, the error itself if it has none, or `undefined`. */
const codeOf = (outcome: PromiseSettledResult<unknown>): unknown => {
  return outcome.status === 'rejected' ? (outcome.reason as { code?: string }).code ?? outcome.reason : undefined
}

/** Returns the ids of those sessions that live. */
const living = async (store: SessionStore, sessions: SessionRecord[]): Promise<string[]> => {
  const found = await Promise.all(sessions.map(async ({ id }) => await store.find(id)))
  return sessions.filter((_each, index) => found[index] !== null).map(({ id }) => id)
}

/** Collects every `ended` of both processes from now on, without the kind, which a store need not tell. */
const listen = ({ store, other }: Subject): Array<StoreEvents['ended']> => {
  const told: Array<StoreEvents['ended']> = []
  for (const each of new Set([store, other])) {
    each.events.on('ended', (id, userId, reason) => { told.push([id, userId, reason]) })
  }
  return told
}

limits.says('one session too many ends the oldest, before it is there itself', async (subject) => {
  const { store, other, make } = subject
  const [oldest, middle, newest] = await olderOnes(subject, 3) as [SessionRecord, SessionRecord, SessionRecord]
  const session = make()
  ok(await store.begin(session, { limit: EVICTS(3) }))
  assert.equal(await other.find(oldest.id), null)
  assert.equal(await other.update(oldest, () => '{"back":1}'), null)
  assert.deepEqual(idsOf(await other.listByUser('ada')), [session.id, newest.id, middle.id])
  for (const each of [session, newest, middle]) ok(await other.find(each.id))
}, 'lists')

limits.says('while there is room nothing ends, and nobody is refused', async (subject) => {
  const { store, make } = subject
  const sessions = await olderOnes(subject, 2)
  for (const limit of [EVICTS(4), REJECTS(4)]) {
    const session = make()
    ok(await store.begin(session, { limit }))
    sessions.push(session)
  }
  assert.deepEqual(await living(store, sessions), idsOf(sessions))
}, 'lists')

limits.says('where a limit was lowered, one login ends all that are too many', async (subject) => {
  const { store, make } = subject
  const sessions = await olderOnes(subject, 6)
  const session = make()
  ok(await store.begin(session, { limit: EVICTS(3) }))
  assert.deepEqual(idsOf(await store.listByUser('ada')), [session.id, sessions[5]?.id, sessions[4]?.id])
  assert.deepEqual(await living(store, sessions), [sessions[4]?.id, sessions[5]?.id])
  const only = make()
  ok(await store.begin(only, { limit: EVICTS(1) }))
  assert.deepEqual(idsOf(await store.listByUser('ada')), [only.id])
}, 'lists')

limits.says('for what is listed but gone nobody has to go', async (subject) => {
  const { store, make, lose } = subject
  const [gone, kept] = await olderOnes(subject, 2) as [SessionRecord, SessionRecord]
  await lose?.(gone.id)
  const session = make()
  ok(await store.begin(session, { limit: EVICTS(2) }))
  assert.deepEqual(idsOf(await store.listByUser('ada')), [session.id, kept.id])
}, 'lose')

limits.says('who has as many as they may is refused, and nothing is stored or ended', async (subject) => {
  const { store, other, make } = subject
  const sessions = await olderOnes(subject, 3)
  const told = listen(subject)
  for (const [each, max] of [[store, 3], [other, 3], [store, 2], [other, 1]] as const) {
    const session = make()
    await assert.rejects(each.begin(session, { limit: REJECTS(max) }), LIMIT_REACHED)
    assert.equal(await store.find(session.id), null)
  }
  assert.deepEqual(idsOf(await store.listByUser('ada')), idsOf(sessions).reverse())
  assert.deepEqual(await living(other, sessions), idsOf(sessions))
  assert.deepEqual(told, [])
  await store.delete(sessions[0]?.id ?? '')
  const session = make()
  ok(await other.begin(session, { limit: REJECTS(3) }), 'a place that was given back can be taken')
  await assert.rejects(store.begin(make(), { limit: REJECTS(3) }), LIMIT_REACHED)
}, 'lists')

limits.says('a refused login leaves the session it was to replace alive', async (subject) => {
  const { store, other, make } = subject
  await olderOnes(subject, 2)
  const before = make({ userId: null, data: '{"cart":1}' })
  await store.begin(before)
  const session = make()
  await assert.rejects(store.replace(session, before, { limit: REJECTS(2) }), LIMIT_REACHED)
  assert.deepEqual(await other.find(before.id), before)
  assert.equal(await other.find(session.id), null)
}, 'lists')

limits.says('other users\' sessions and anonymous ones do not count', async ({ store, make }) => {
  const others = ['bob', 'bob', null, null, 'ad', 'adam'].map((userId) => make({ userId }))
  for (const each of others) ok(await store.begin(each, { limit: REJECTS(2) }))
  for (const limit of [REJECTS(1), EVICTS(1)]) {
    const session = make({ userId: `ada ${limit.evicts}` })
    ok(await store.begin(session, { limit }))
  }
  const anonymous = await store.begin(make({ userId: null }), { limit: REJECTS(1) })
  ok(anonymous, 'nobody may be anonymous as often as anybody likes')
  assert.deepEqual(await living(store, others), idsOf(others))
}, 'lists')

limits.says('the session that a login replaces does not count', async (subject) => {
  const { store, make } = subject
  const sessions = await olderOnes(subject, 3)
  let last = sessions[2] as SessionRecord
  for (const limit of [REJECTS(3), EVICTS(3)]) {
    const session = make()
    ok(await store.replace(session, last, { limit }))
    assert.equal(await store.find(last.id), null)
    assert.deepEqual(idsOf(await store.listByUser('ada')), [session.id, sessions[1]?.id, sessions[0]?.id])
    last = session
  }
  await store.delete(last.id)
  ok(await store.replace(make(), last, { limit: REJECTS(3) }))
  const late = store.replace(make(), last, { limit: REJECTS(3) })
  await assert.rejects(late, LIMIT_REACHED, 'one that is gone is no place')
  const his = make({ userId: 'bob' })
  await store.begin(his)
  await assert.rejects(store.replace(make(), his, { limit: REJECTS(3) }), LIMIT_REACHED, 'nor is another user\'s')
  ok(await store.find(his.id))
}, 'lists')

limits.says('a session that goes on under another id is never refused, and ends no other', async (subject) => {
  const { store, other, make } = subject
  const sessions = await olderOnes(subject, 3)
  let last = sessions[0] as SessionRecord
  for (let move = 0; move < 3; move++) {
    const moved = { ...last, id: make().id }
    ok(await other.move(moved, last))
    assert.equal(await store.find(last.id), null)
    last = moved
  }
  assert.deepEqual(await living(store, [last, ...sessions]), idsOf([last, ...sessions.slice(1)]))
  assert.equal((await store.listByUser('ada')).length, 3)
}, 'lists')

limits.says('what has run out takes up no place', async ({ store, other, make, age }) => {
  for (let each = 0; each < 3; each++) await store.begin(make({ idleTimeoutMs: MINUTE }))
  await assert.rejects(other.begin(make(), { limit: REJECTS(3) }), LIMIT_REACHED)
  await age(MINUTE)
  const sessions = [make(), make(), make()]
  for (const each of sessions) ok(await other.begin(each, { limit: REJECTS(3) }))
  await assert.rejects(store.begin(make(), { limit: REJECTS(3) }), LIMIT_REACHED)
  assert.deepEqual(await living(store, sessions), idsOf(sessions))
}, 'lists')

limits.says('what was lost behind the store\'s back takes up no place', async (subject) => {
  const { store, other, make, lose } = subject
  const sessions = await olderOnes(subject, 3)
  const told = listen(subject)
  await lose?.(sessions[0]?.id ?? '')
  await lose?.(sessions[2]?.id ?? '')
  const later = [make(), make()]
  for (const each of later) ok(await other.begin(each, { limit: REJECTS(3) }))
  await assert.rejects(store.begin(make(), { limit: REJECTS(3) }), LIMIT_REACHED)
  assert.deepEqual(await living(store, [...sessions, ...later]), idsOf([sessions[1] as SessionRecord, ...later]))
  assert.deepEqual(told, [], 'nor had it run out')
}, 'lose')

/** Signs a user in fifty times at once, by two processes. */
const fifty = async ({ store, other, make }: Subject, userId: string, limit: Limit) => {
  const now = Math.floor(store.now())
  const sessions = Array.from({ length: 50 }, (_, index) => make({ userId, createdAt: now - index % 7 }))
  const outcomes = await Promise.allSettled(sessions.map(async (each, index) => {
    return await (index % 2 === 0 ? store : other).begin(each, { limit })
  }))
  const began = sessions.filter((_each, index) => {
    const outcome = outcomes[index]
    return outcome?.status === 'fulfilled' && outcome.value !== null
  })
  const live = (await living(store, sessions)).sort()
  const listed = idsOf(await other.listByUser(userId)).sort()
  return { sessions, outcomes, began, live, listed }
}

limits.says('of fifty logins at once as many live as may, and all of those are listed', async (subject) => {
  for (const max of [1, 3, 10]) {
    const told = listen(subject)
    const { sessions, outcomes, began, live, listed } = await fifty(subject, `ada ${max}`, EVICTS(max))
    assert.equal(live.length, max)
    assert.deepEqual(listed, live)
    assert.deepEqual(outcomes.filter(({ status }) => status === 'rejected'), [])
    assert.deepEqual(live.filter((id) => !idsOf(began).includes(id)), [], 'whoever lives was told so')
    assert.deepEqual(idsOf(await subject.store.listByUser(`ada ${max}`)).sort(), live, 'and not only at first')
    const ended = told.filter(([, userId]) => userId === `ada ${max}`)
    const gone = idsOf(began).filter((id) => !live.includes(id)).sort()
    assert.deepEqual(ended.map(([id]) => id).sort(), gone, 'each that began and ended is told once')
    assert.deepEqual(ended.filter(([, , reason]) => reason !== 'evicted'), [])
    assert.equal(sessions.length, 50)
  }
}, 'lists')

limits.says('of fifty logins at once as many are let in as may, and the others are refused', async (subject) => {
  for (const max of [1, 3, 10]) {
    const told = listen(subject)
    const { outcomes, began, live, listed } = await fifty(subject, `ada ${max}`, REJECTS(max))
    assert.equal(began.length, max)
    assert.deepEqual(live, idsOf(began).sort())
    assert.deepEqual(listed, live)
    const refusals = outcomes.map(codeOf).filter((code) => code !== undefined)
    assert.deepEqual(refusals, Array(50 - max).fill(LIMIT_REACHED.code))
    assert.deepEqual(told, [])
  }
}, 'lists')

limits.says('fifty logins at once that each replace a session: each has one afterwards, none two', async (subject) => {
  const { store, other, make } = subject
  for (const limit of [REJECTS(50), EVICTS(50)]) {
    const userId = `ada ${limit.evicts}`
    const before = Array.from({ length: 50 }, () => make({ userId, createdAt: Math.floor(store.now()) - 1000 }))
    for (const each of before) await store.begin(each)
    const after = before.map(() => make({ userId }))
    const outcomes = await Promise.allSettled(after.map(async (each, index) => {
      return await (index % 2 === 0 ? store : other).replace(each, before[index] as SessionRecord, { limit })
    }))
    const live = await living(store, [...before, ...after])
    for (const [index, outcome] of outcomes.entries()) {
      // While another one's old session has yet to end, a login may be refused: then it changed nothing.
      const isRefused = !limit.evicts && codeOf(outcome) === LIMIT_REACHED.code
      ok(isRefused || (outcome.status === 'fulfilled' && outcome.value !== null))
      assert.equal(live.includes(before[index]?.id ?? ''), isRefused)
      assert.equal(live.includes(after[index]?.id ?? ''), !isRefused)
    }
    assert.deepEqual(idsOf(await store.listByUser(userId)).sort(), live.sort())
  }
}, 'lists')

limits.says('logins under a limit during a sign-out everywhere end dead or listed, never hidden', async (subject) => {
  const { store, other, make, isShared } = subject
  const wrong: string[] = []
  // Where listing reads all sessions, many at once would ask for too much.
  await Promise.all(Array.from({ length: isShared ? 60 : 12 }, async (_, round) => {
    const userId = `ada ${round}`
    const limit = round % 2 === 0 ? EVICTS(2) : REJECTS(2)
    const old = make({ userId })
    await store.begin(old)
    const sessions = Array.from({ length: 4 }, () => make({ userId }))
    const signOut = async () => {
      for (let turn = 0; turn < round % 7; turn++) await new Promise((resolve) => setImmediate(resolve))
      await other.deleteByUser(userId)
    }
    const logins = sessions.map(async (each, index) => {
      return await (index % 2 === 0 ? store : other).begin(each, { limit })
    })
    const [outcomes] = await Promise.all([Promise.allSettled(logins), signOut()])
    const live = await living(store, [old, ...sessions])
    const listed = idsOf(await store.listByUser(userId))
    if (live.includes(old.id)) wrong.push('the old session lives')
    if (live.length > 2) wrong.push(`${live.length} live`)
    if (live.slice().sort().join() !== listed.slice().sort().join()) wrong.push('live and listed differ')
    for (const [index, outcome] of outcomes.entries()) {
      const isLive = live.includes(sessions[index]?.id ?? '')
      if (isLive && (outcome.status === 'rejected' || outcome.value === null)) wrong.push('called off, but live')
      if (outcome.status === 'rejected' && codeOf(outcome) !== LIMIT_REACHED.code) wrong.push(String(outcome.reason))
    }
    // Whatever was called off holds no place.
    for (const id of live) await store.delete(id)
    for (let each = 0; each < 2; each++) {
      await store.begin(make({ userId }), { limit: REJECTS(2) }).catch(() => wrong.push('a place is lost'))
    }
  }))
  assert.deepEqual(wrong, [])
}, 'lists')

limits.says('a session that ended for another is told once, and why', async (subject) => {
  const { store, other, make } = subject
  const sessions = await olderOnes(subject, 4)
  const told = listen(subject)
  const anonymous = make({ userId: null })
  await store.begin(anonymous)
  await other.begin(make(), { limit: EVICTS(3) })
  const evicted = sessions.slice(0, 2).map(({ id }) => [id, 'ada', 'evicted'])
  assert.deepEqual(told.splice(0).sort(), evicted.sort())
  await store.replace(make(), sessions[2] as SessionRecord, { limit: EVICTS(3) })
  assert.deepEqual(told.splice(0), [[sessions[2]?.id, 'ada', 'replaced']])
  await other.replace(make({ userId: 'bob' }), sessions[3] as SessionRecord)
  assert.deepEqual(told.splice(0), [[sessions[3]?.id, 'ada', 'replaced']], 'of the user whose it was')
  const moved = make()
  await store.begin(moved)
  await store.move({ ...moved, id: make().id }, moved)
  assert.deepEqual(told.splice(0), [[moved.id, 'ada', 'replaced']])
  const session = make()
  await store.replace(session, anonymous)
  await store.replace(make(), anonymous)
  await store.delete(session.id)
  await other.deleteByUser('ada')
  assert.deepEqual(told, [], 'not of who was nobody, of what was gone, nor of what was ended by name')
}, 'lists')

limits.says('a session that has run out is told once, by whoever notices', async (subject) => {
  const { store, other, make, age } = subject
  const told = listen(subject)
  const short = [make({ idleTimeoutMs: MINUTE }), make({ idleTimeoutMs: MINUTE })]
  const long = make()
  for (const each of [...short, long, make({ userId: null, idleTimeoutMs: MINUTE })]) await store.begin(each)
  await age(2 * MINUTE)
  for (let again = 0; again < 2; again++) {
    await Promise.all([store, other].flatMap((each) => {
      return [each.listByUser('ada'), ...short.map(({ id }) => each.find(id)), each.begin(make())]
    }))
    await Promise.all([store, other].map((each) => each.deleteByUser('ada')))
  }
  assert.deepEqual(told.sort(), short.map(({ id }) => [id, 'ada', 'expired']).sort())
}, 'expiry')

limits.says('a session on its way to another id counts once', async ({ store, other, make }) => {
  for (let round = 0; round < 100; round++) {
    const moving = make()
    const kept = make()
    for (const each of [moving, kept]) await store.begin(each)
    const login = make()
    const moved = { ...moving, id: make().id }
    const limit = { max: 3, evicts: round % 2 === 0 }
    const [arrived, begun] = await Promise.all([store.move(moved, moving), other.begin(login, { limit })])
    ok(arrived)
    ok(begun)
    assert.deepEqual(new Set(idsOf(await store.listByUser('ada'))), new Set([moved.id, kept.id, login.id]))
    assert.equal((await other.deleteByUser('ada')).length, 3)
  }
}, 'lists')

limits.says('a session that has to go while it is on its way is gone under both ids', async (subject) => {
  const { store, other, make } = subject
  for (let round = 0; round < 100; round++) {
    const moving = make({ createdAt: Math.floor(store.now()) - 1000 })
    await store.begin(moving)
    const login = make()
    const moved = { ...moving, id: make().id }
    const limit = { max: 1, evicts: true }
    const [, begun] = await Promise.all([store.move(moved, moving), other.begin(login, { limit })])
    ok(begun)
    assert.deepEqual((await store.listByUser('ada')).map(({ id }) => id), [login.id])
    for (const { id } of [moving, moved]) assert.equal(await other.find(id), null)
    await store.deleteByUser('ada')
  }
}, 'lists')
