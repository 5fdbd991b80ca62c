import assert from 'node:assert/strict'
import type { SessionRecord } from '../session/record.ts'
import { Chapter } from './contract.ts'

const ROUNDS = 200

/** Promises that hold whatever runs at the same time. */
export const races = new Chapter()

/** Runs a race many times, twenty at once, so that every order of events comes up. */
const rounds = async (race: (round: number) => Promise<void>) => {
  for (let round = 0; round < ROUNDS; round += 20) {
    await Promise.all(Array.from({ length: 20 }, (_, each) => race(round + each)))
  }
}
/** Starts what races in either order. */
const both = async <A, B>(round: number, first: () => Promise<A>, second: () => Promise<B>): Promise<[A, B]> => {
  if (round % 2 === 0) return await Promise.all([first(), second()])
  const late = second()
  return [await first(), await late]
}

races.says('a session ended while it is changed or touched stays ended', async ({ store, other, make, lists }) => {
  let alive = 0
  await rounds(async (round) => {
    const session = make({ userId: `ada${round}` })
    await store.begin(session)
    await Promise.all([
      both(round, () => store.update(session, () => '{"back":1}'), () => other.delete(session.id)),
      both(round >> 1, () => store.touch(session), () => other.touch(session))
    ])
    if (await store.find(session.id) !== null || await other.update(session, () => '{}') !== null) alive++
    if (lists && (await store.listByUser(`ada${round}`)).length > 0) alive++
  })
  assert.equal(alive, 0)
})

races.says('of two who end a session at once, one did', async ({ store, other, make }) => {
  let wrong = 0
  await rounds(async (round) => {
    const session = make({ userId: `ada${round}` })
    await store.begin(session)
    const ended = await both(round, () => store.delete(session.id), () => other.delete(session.id))
    if (ended.filter((each) => each !== null).length !== 1) wrong++
  })
  assert.equal(wrong, 0)
})

races.says('a login while its user is signed out everywhere ends dead or listed, never hidden', async (subject) => {
  const { store, other, make } = subject
  const wrong: string[] = []
  await rounds(async (round) => {
    const userId = `ada${round}`
    const old = make({ userId })
    await store.begin(old)
    const session = make({ userId })
    const login = () => round % 3 === 0 ? store.replace(session, old) : store.begin(session)
    const [created] = await both(round, login, () => other.deleteByUser(userId))
    const listed = (await store.listByUser(userId)).map(({ id }) => id)
    const live = await store.find(session.id) !== null
    if (await store.find(old.id) !== null) wrong.push('the old session lives')
    if (!created && live) wrong.push('refused, but live')
    if (live !== listed.includes(session.id)) wrong.push(live ? 'live, but hidden' : 'listed, but gone')
  })
  assert.deepEqual(wrong, [])
}, 'lists')

races.says('a login that began before its user was signed out everywhere does not survive it', async (subject) => {
  const { store, other, make } = subject
  let survivors = 0
  await rounds(async (round) => {
    const userId = `ada${round}`
    const login = store.begin(make({ userId }))
    // Any number of turns later, and before the login is done: what is seen of it has begun.
    for (let turn = 0; turn < round % 7; turn++) await new Promise((resolve) => setImmediate(resolve))
    const seen = (await other.listByUser(userId)).map(({ id }) => id)
    await other.deleteByUser(userId)
    await login
    const live = await store.listByUser(userId)
    if (live.some(({ id }) => seen.includes(id))) survivors++
  })
  assert.equal(survivors, 0)
}, 'lists')

races.says('the new session is found by nobody while the one it replaces lives', async ({ store, other, make }) => {
  let together = 0
  await rounds(async () => {
    const before = make({ userId: null })
    await store.begin(before)
    const after = make()
    const progress = { done: false }
    const login = store.replace(after, before).finally(() => { progress.done = true })
    while (!progress.done) {
      // In this order: the old one could only have gone between the two answers.
      const found = await other.find(after.id)
      const old = await other.find(before.id)
      if (found !== null && old !== null) together++
    }
    await login
  })
  assert.equal(together, 0)
})

races.says('a session ended while it gets other timeouts stays ended', async ({ store, other, make, lists }) => {
  let alive = 0
  await rounds(async (round) => {
    const session = make({ userId: `ada${round}` })
    await store.begin(session)
    const timeouts = { idleTimeoutMs: 60_000 * (1 + round), endsAt: session.createdAt + 3_600_000 }
    await both(round, () => store.setTimeouts(session, timeouts), () => other.delete(session.id))
    if (await other.find(session.id) !== null) alive++
    if (lists && (await store.listByUser(`ada${round}`)).length > 0) alive++
  })
  assert.equal(alive, 0)
}, 'setTimeouts')

races.says('a session ended while it is bound stays ended', async ({ store, other, make, lists }) => {
  let alive = 0
  await rounds(async (round) => {
    const userId = `ada${round}`
    const session = make({ userId })
    await store.begin(session)
    const end = async (): Promise<unknown> => {
      return await (lists && round % 4 > 1 ? other.deleteByUser(userId) : other.delete(session.id))
    }
    await both(round, () => store.bind(session, 'ES256 one'), end)
    if (await other.find(session.id) !== null || await store.bind(session, 'ES256 one') !== null) alive++
    if (lists && (await store.listByUser(userId)).length > 0) alive++
  })
  assert.equal(alive, 0)
}, 'bind')

races.says('binding, use, a change and a move at once: none is lost', async ({ store, other, make, lists }) => {
  const wrong: string[] = []
  await rounds(async (round) => {
    const userId = round % 5 === 0 ? null : `ada${round}`
    const before = make({ userId })
    const after = { ...before, id: make().id, secretHash: make().secretHash }
    await store.begin(before)
    const carry = (data: string): string => data
    const moving = async (): Promise<unknown> => round % 4 > 1 ? null : await other.move(after, before, { carry })
    const [[bound], [changed]] = await Promise.all([
      both(round, () => store.bind(before, 'ES256 one'), moving),
      both(round >> 1, () => store.update(before, () => '{"cart":1}'), () => other.touch(before))
    ])
    const found = await other.find(before.id) ?? await other.find(after.id)
    if (found === null) wrong.push('it is gone')
    // Else it had moved already, and whoever asked follows it.
    if (found?.boundKey !== (bound === null ? null : 'ES256 one')) wrong.push(`it has the key ${found?.boundKey}`)
    if (changed !== null && found?.data !== '{"cart":1}') wrong.push('the change is lost')
    if (lists && userId !== null && (await store.listByUser(userId)).length !== 1) wrong.push('it is not listed once')
  })
  assert.deepEqual(wrong, [])
}, 'bind')

races.says('binding and other timeouts at once: neither is lost', async ({ store, other, make }) => {
  const wrong: SessionRecord[] = []
  await rounds(async (round) => {
    const session = make({ userId: `ada${round}` })
    await store.begin(session)
    const set = (): Promise<unknown> => other.setTimeouts(session, { idleTimeoutMs: 60_000 })
    await both(round, () => store.bind(session, 'ES256 one'), set)
    const found = await other.find(session.id) ?? session
    if (found.boundKey !== 'ES256 one' || found.idleTimeoutMs !== 60_000) wrong.push(found)
  })
  assert.deepEqual(wrong, [])
}, 'bind', 'setTimeouts')

races.says('timeouts, use, a change and a move at once: none is lost', async ({ store, other, make, lists }) => {
  const wrong: string[] = []
  await rounds(async (round) => {
    const userId = `ada${round}`
    const before = make({ userId })
    const after = { ...before, id: make().id, secretHash: make().secretHash }
    const isLonger = round % 2 === 0
    const [idle, absolute] = isLonger ? [90, 120] : [20, 60]
    const timeouts = { idleTimeoutMs: idle * 60_000, endsAt: before.createdAt + absolute * 60_000 }
    await store.begin(before)
    const moving = (): Promise<unknown> => round % 4 > 1 ? Promise.resolve() : other.move(after, before)
    const [[set], changed] = await Promise.all([
      both(round, () => store.setTimeouts(before, timeouts), moving),
      both(round >> 1, () => store.update(before, () => '{"cart":1}'), () => other.touch(before))
    ])
    const found = await other.find(before.id) ?? await other.find(after.id)
    if (found === null) wrong.push('it is gone')
    // Else it had moved already, and whoever asked follows it.
    if (set !== null && found?.idleTimeoutMs !== timeouts.idleTimeoutMs) wrong.push('its timeouts are those of before')
    if (set !== null && found?.endsAt !== timeouts.endsAt) wrong.push('its deadline is that of before')
    const isStored = changed[0] === null || found?.id === after.id || found?.data === changed[0].data
    if (!isStored) wrong.push('the change is lost')
    if (lists && (await store.listByUser(userId)).length !== 1) wrong.push('it is not listed once')
  })
  assert.deepEqual(wrong, [])
}, 'setTimeouts')
