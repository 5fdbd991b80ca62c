import type { AttemptCounters } from '../../lib/session/store.ts'
import { DAY, MINUTE } from '../helpers/record.ts'
import type { Context, Define } from './store-contract.ts'

const THREE = { max: 3, withinMs: 15 * MINUTE }
const KNOWN = { most: 3, forMs: 30 * DAY }

/** Attempts, where the store counts them. */
export function attemptTests (test: Define): void {
  const countersOf = ({ store, other }: Context): [AttemptCounters, AttemptCounters] => [store.attempts as AttemptCounters, other.attempts as AttemptCounters]

  /** What comes of as many attempts, one after the other. */
  const takeMany = async (counters: AttemptCounters, key: string, names: string[], limit = THREE, place?: string): Promise<Array<'counted' | 'refused'>> => {
    const outcomes: Array<'counted' | 'refused'> = []
    for (const name of names) outcomes.push(await counters.take(key, name, limit, place) === 0 ? 'counted' : 'refused')
    return outcomes
  }

  test('as many attempts count as may, and then it is said when there is room again', async (t, context) => {
    const [here, there] = countersOf(context)
    t.strictSame(await takeMany(here, 'ada', ['a', 'b']), ['counted', 'counted'])
    await context.age(MINUTE)
    t.strictSame(await takeMany(there, 'ada', ['c', 'd', 'e']), ['counted', 'refused', 'refused'])
    t.strictSame(await takeMany(here, 'bob', ['a']), ['counted'], 'of another key')
    const waitMs = await here.take('ada', 'f', THREE)
    t.ok(waitMs <= 14 * MINUTE && waitMs > 14 * MINUTE - 30_000, `${waitMs}`)
    t.ok(await there.take('ada', null, THREE) > 0, 'who only asks hears the same')
    await context.age(waitMs)
    t.equal(await here.take('ada', null, THREE), 0)
    await context.age(MINUTE / 2)
    t.strictSame(await takeMany(there, 'ada', ['f', 'g', 'h']), ['counted', 'counted', 'refused'], 'the first two count no more, the third does')
    await context.age(15 * MINUTE)
    t.strictSame(await takeMany(here, 'ada', ['i', 'j', 'k', 'l']), ['counted', 'counted', 'counted', 'refused'])
  }, 'attempts')

  test('of many attempts at once no more count than may', async (t, context) => {
    const [here, there] = countersOf(context)
    const waits = await Promise.all(Array.from({ length: 50 }, (_, index) => (index % 2 === 0 ? here : there).take('ada', `${index}`, THREE)))
    t.equal(waits.filter((wait) => wait === 0).length, 3)
    t.ok(waits.every((wait) => wait <= 15 * MINUTE))
  }, 'attempts')

  test('a limit that was lowered says how long that takes', async (t, context) => {
    const [here] = countersOf(context)
    for (const name of ['a', 'b', 'c']) {
      await takeMany(here, 'ada', [name])
      await context.age(MINUTE)
    }
    const waitMs = await here.take('ada', 'd', { ...THREE, max: 2 })
    t.ok(waitMs <= 13 * MINUTE && waitMs > 13 * MINUTE - 30_000, `${waitMs}: until the second one counts no more`)
  }, 'attempts')

  test('an attempt that is given back counts no more, and giving it back twice is once', async (t, context) => {
    const [here, there] = countersOf(context)
    await takeMany(here, 'ada', ['a', 'b', 'c'])
    await there.giveBack('ada', 'b')
    await here.giveBack('ada', 'b')
    await here.giveBack('ada', 'never')
    await here.giveBack('nobody', 'a')
    t.strictSame(await takeMany(here, 'ada', ['d', 'e']), ['counted', 'refused'])
  }, 'attempts')

  test('what is cleared counts no more: all of a key, or what begins so', async (t, context) => {
    const [here, there] = countersOf(context)
    await takeMany(here, 'ada', ['a/1', 'a/2', 'b/1'])
    await there.clear('ada', 'a/')
    t.strictSame(await takeMany(here, 'ada', ['c', 'd', 'e']), ['counted', 'counted', 'refused'])
    await here.clear('ada')
    await here.clear('nobody')
    t.strictSame(await takeMany(there, 'ada', ['f', 'g', 'h', 'i']), ['counted', 'counted', 'counted', 'refused'])
  }, 'attempts')

  test('from a place that is known nothing is counted or refused, and it stays known', async (t, context) => {
    const [here, there] = countersOf(context)
    await here.remember('ada', 'home', KNOWN)
    t.strictSame(await takeMany(there, 'ada', ['a', 'b', 'c', 'd'], THREE, 'home'), Array(4).fill('counted'))
    t.strictSame(await takeMany(here, 'ada', ['e', 'f', 'g', 'h'], THREE, 'elsewhere'), ['counted', 'counted', 'counted', 'refused'])
    t.strictSame(await takeMany(there, 'ada', ['i'], THREE, 'home'), ['counted'])
    await here.clear('ada')
    t.strictSame(await takeMany(there, 'ada', ['j', 'k', 'l', 'm'], THREE, 'home'), Array(4).fill('counted'))
    await context.age(30 * DAY)
    t.strictSame(await takeMany(here, 'ada', ['n', 'o', 'p', 'q'], THREE, 'home'), ['counted', 'counted', 'counted', 'refused'], 'until its time is over')
  }, 'attempts')

  test('no more places are known than may be, the newest', async (t, context) => {
    const [here] = countersOf(context)
    await takeMany(here, 'ada', ['a', 'b', 'c'])
    for (const place of ['one', 'two', 'three', 'one', 'four']) {
      await here.remember('ada', place, KNOWN)
      await context.age(MINUTE)
    }
    const known: string[] = []
    for (const place of ['one', 'two', 'three', 'four']) if (await here.take('ada', 'd', THREE, place) === 0) known.push(place)
    t.strictSame(known, ['one', 'three', 'four'])
  }, 'attempts')

  test('a store without room counts nothing, and says so', async (t, { store, fill }) => {
    const counters = store.attempts as AttemptCounters
    await counters.take('ada', 'a', THREE)
    await counters.remember('ada', 'home', KNOWN)
    await fill?.()
    const outcome = await counters.take('bob', 'b', THREE).catch((error: { code?: unknown }) => error.code)
    t.ok(outcome === 0 || outcome === 'ERR_SESSION_STORE_FULL', String(outcome))
    await counters.giveBack('ada', 'a')
    await counters.clear('ada')
  }, 'fill')
}
