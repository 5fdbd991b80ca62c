import assert from 'node:assert/strict'
import type { AttemptCounters } from '../session/store.ts'
import { Chapter } from './contract.ts'
import type { Subject } from './contract.ts'
import { ok } from './ok.ts'
import { DAY, MINUTE } from './record.ts'

const THREE = { max: 3, withinMs: 15 * MINUTE }
const KNOWN = { most: 3, forMs: 30 * DAY }

/** Counting attempts, where the store does that. */
export const attempts = new Chapter()

const countersOf = ({ store, other }: Subject): [AttemptCounters, AttemptCounters] => [store.attempts, other.attempts]

type Outcome = 'counted' | 'refused'

/** Takes several attempts, one after the other. */
const takeMany = async (
  counters: AttemptCounters, key: string, names: string[], limit = THREE, place?: string
): Promise<Outcome[]> => {
  const outcomes: Outcome[] = []
  for (const name of names) outcomes.push(await counters.count(key, name, limit, place) === 0 ? 'counted' : 'refused')
  return outcomes
}

attempts.says('as many attempts count as may, and then it is said when there is room again', async (subject) => {
  const [here, there] = countersOf(subject)
  assert.deepEqual(await takeMany(here, 'ada', ['a', 'b']), ['counted', 'counted'])
  await subject.age(MINUTE)
  assert.deepEqual(await takeMany(there, 'ada', ['c', 'd', 'e']), ['counted', 'refused', 'refused'])
  assert.deepEqual(await takeMany(here, 'bob', ['a']), ['counted'], 'of another key')
  const waitMs = await here.count('ada', 'f', THREE)
  ok(waitMs <= 14 * MINUTE && waitMs > 14 * MINUTE - 30_000, `${waitMs}`)
  ok(await there.count('ada', null, THREE) > 0, 'who only asks hears the same')
  await subject.age(waitMs)
  assert.equal(await here.count('ada', null, THREE), 0)
  await subject.age(MINUTE / 2)
  const outcomes = await takeMany(there, 'ada', ['f', 'g', 'h'])
  assert.deepEqual(outcomes, ['counted', 'counted', 'refused'], 'the first two count no more, the third does')
  await subject.age(15 * MINUTE)
  assert.deepEqual(await takeMany(here, 'ada', ['i', 'j', 'k', 'l']), ['counted', 'counted', 'counted', 'refused'])
}, 'attempts')

attempts.says('of many attempts at once no more count than may', async (subject) => {
  const [here, there] = countersOf(subject)
  const waits = await Promise.all(Array.from({ length: 50 }, async (_, index) => {
    return await (index % 2 === 0 ? here : there).count('ada', `${index}`, THREE)
  }))
  assert.equal(waits.filter((wait) => wait === 0).length, 3)
  ok(waits.every((wait) => wait <= 15 * MINUTE))
}, 'attempts')

attempts.says('a limit that was lowered says how long that takes', async (subject) => {
  const [here] = countersOf(subject)
  for (const name of ['a', 'b', 'c']) {
    await takeMany(here, 'ada', [name])
    await subject.age(MINUTE)
  }
  const waitMs = await here.count('ada', 'd', { ...THREE, max: 2 })
  ok(waitMs <= 13 * MINUTE && waitMs > 13 * MINUTE - 30_000, `${waitMs}: until the second one counts no more`)
}, 'attempts')

attempts.says('an attempt that is given back counts no more, and giving it back twice is once', async (subject) => {
  const [here, there] = countersOf(subject)
  await takeMany(here, 'ada', ['a', 'b', 'c'])
  await there.giveBack('ada', 'b')
  await here.giveBack('ada', 'b')
  await here.giveBack('ada', 'never')
  await here.giveBack('nobody', 'a')
  assert.deepEqual(await takeMany(here, 'ada', ['d', 'e']), ['counted', 'refused'])
}, 'attempts')

attempts.says('what is cleared counts no more: all of a key, or what begins so', async (subject) => {
  const [here, there] = countersOf(subject)
  await takeMany(here, 'ada', ['a/1', 'a/2', 'b/1'])
  await there.clear('ada', 'a/')
  assert.deepEqual(await takeMany(here, 'ada', ['c', 'd', 'e']), ['counted', 'counted', 'refused'])
  await here.clear('ada')
  await here.clear('nobody')
  assert.deepEqual(await takeMany(there, 'ada', ['f', 'g', 'h', 'i']), ['counted', 'counted', 'counted', 'refused'])
}, 'attempts')

attempts.says('from a place that is known nothing is counted or refused, and it stays known', async (subject) => {
  const [here, there] = countersOf(subject)
  await here.remember('ada', 'home', KNOWN)
  assert.deepEqual(await takeMany(there, 'ada', ['a', 'b', 'c', 'd'], THREE, 'home'), Array(4).fill('counted'))
  const elsewhere = await takeMany(here, 'ada', ['e', 'f', 'g', 'h'], THREE, 'elsewhere')
  assert.deepEqual(elsewhere, ['counted', 'counted', 'counted', 'refused'])
  assert.deepEqual(await takeMany(there, 'ada', ['i'], THREE, 'home'), ['counted'])
  await here.clear('ada')
  assert.deepEqual(await takeMany(there, 'ada', ['j', 'k', 'l', 'm'], THREE, 'home'), Array(4).fill('counted'))
  await subject.age(30 * DAY)
  const later = await takeMany(here, 'ada', ['n', 'o', 'p', 'q'], THREE, 'home')
  assert.deepEqual(later, ['counted', 'counted', 'counted', 'refused'], 'until its time is over')
}, 'attempts')

attempts.says('no more places are known than may be, the newest', async (subject) => {
  const [here] = countersOf(subject)
  await takeMany(here, 'ada', ['a', 'b', 'c'])
  for (const place of ['one', 'two', 'three', 'one', 'four']) {
    await here.remember('ada', place, KNOWN)
    await subject.age(MINUTE)
  }
  const known: string[] = []
  for (const place of ['one', 'two', 'three', 'four']) {
    if (await here.count('ada', 'd', THREE, place) === 0) known.push(place)
  }
  assert.deepEqual(known, ['one', 'three', 'four'])
}, 'attempts')

attempts.says('who remembers a place is told if it was known, or the first, also of many at once', async (subject) => {
  const [here, there] = countersOf(subject)
  assert.equal(await here.remember('ada', 'home', KNOWN), 'first')
  assert.equal(await there.remember('ada', 'home', KNOWN), 'known')
  const both = [here, there, here, there]
  const told = await Promise.all(both.map(async (each) => await each.remember('ada', 'work', KNOWN)))
  assert.deepEqual(told.sort(), ['known', 'known', 'known', 'new'])
  assert.equal(await here.remember('bob', 'work', KNOWN), 'first', 'of another key')
  await here.count('carol', 'a', THREE)
  assert.equal(await here.remember('carol', 'home', KNOWN), 'first', 'an attempt is no place')
  await subject.age(30 * DAY)
  assert.equal(await there.remember('ada', 'home', KNOWN), 'first', 'until its time is over')
}, 'attempts')

attempts.says('an attempt counts in several counters at once, in all of them or in none', async (subject) => {
  const [here, there] = countersOf(subject)
  const [ada, bob] = [{ key: 'ada', limit: THREE }, { key: 'bob', limit: { ...THREE, max: 1 }, place: 'home' }]
  const wait = await here.countTogether?.('a', [ada, bob]) ?? null
  if (wait === null) {
    assert.equal(await here.count('ada', null, { ...THREE, max: 1 }), 0, 'where that cannot be, nothing is counted')
    return
  }
  assert.equal(wait, 0)
  let refusedBy: number | undefined
  const refusedMs = await there.countTogether?.('b', [ada, bob], (at) => { refusedBy = at }) ?? 0
  // To say it is up to the store.
  ok(refusedBy === undefined || refusedBy === 1, String(refusedBy))
  ok(refusedMs > 0 && refusedMs <= 15 * MINUTE, `${refusedMs}`)
  assert.deepEqual(await takeMany(here, 'ada', ['c', 'd', 'e']), ['counted', 'counted', 'refused'], 'one that counts')
  assert.equal(await here.countTogether?.('f', []), 0)
  await here.remember('bob', 'home', KNOWN)
  await here.clear('ada')
  assert.equal(await there.countTogether?.('g', [ada, bob]), 0, 'from a place that is known')
  const both = [{ key: 'carol', limit: THREE }, { key: 'dave', limit: THREE }]
  const waits = await Promise.all(Array.from({ length: 20 }, async (_, index) => {
    const counters = index % 3 === 0 ? both : both.toReversed()
    return await (index % 2 === 0 ? here : there).countTogether?.(`${index}`, counters)
  }))
  assert.equal(waits.filter((each) => each === 0).length, 3, 'of many at once')
}, 'attempts')

attempts.says('several counters are cleared in one step that remembers a place, or not at all', async (subject) => {
  const [here, there] = countersOf(subject)
  for (const key of ['ada', 'bob', 'carol']) await takeMany(here, key, ['a/1', 'a/2', 'b/1'])
  const clears = [{ key: 'ada', beginning: 'a/' }, { key: 'bob', beginning: '' }]
  const isDone = await there.settle?.({ clears, remembers: { key: 'carol', place: 'home', ...KNOWN } })
  const left: number[] = []
  for (const key of ['ada', 'bob', 'carol']) {
    const outcomes = await takeMany(here, key, ['c', 'd', 'e', 'f'])
    left.push(outcomes.filter((each) => each === 'counted').length)
  }
  assert.deepEqual(left, isDone === true ? [2, 3, 0] : [0, 0, 0])
  assert.equal(await here.remember('carol', 'home', KNOWN), isDone === true ? 'known' : 'first')
}, 'attempts')

attempts.says('a store without room counts nothing, and says so', async ({ store, fill }) => {
  const counters = store.attempts
  await counters.count('ada', 'a', THREE)
  await counters.remember('ada', 'home', KNOWN)
  await fill?.()
  const outcome = await counters.count('bob', 'b', THREE).catch((error: { code?: unknown }) => error.code)
  ok(outcome === 0 || outcome === 'ERR_SESSION_STORE_FULL', String(outcome))
  await counters.giveBack('ada', 'a')
  await counters.clear('ada')
}, 'fill', 'attempts')
