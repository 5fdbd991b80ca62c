import t from 'tap'
import { errors } from '../../lib/errors.ts'
import { LoginAttempt } from '../../lib/session/attempts.ts'
import type { AttemptLimits, Counters } from '../../lib/session/attempts.ts'
import { MemoryAttempts } from '../../lib/store/memory-attempts.ts'

const MINUTE = 60_000
const LIMITS: AttemptLimits = { network: { max: 5, withinMs: MINUTE }, accountNetwork: { max: 2, withinMs: MINUTE }, account: { max: 3, withinMs: MINUTE } }
const TOO_MANY = { code: 'ERR_SESSION_TOO_MANY_ATTEMPTS', statusCode: 429 }

/** Counters that say what they were asked, such as `take account`. */
class SpyCounters extends MemoryAttempts {
  calls: string[] = []
  failing: string | null = null
  override async take (...args: Parameters<Counters['take']>) {
    const what = args[0].split(':')[0] ?? ''
    this.calls.push(`${args[1] === null ? 'ask' : 'take'} ${what}`)
    if (this.failing === what) throw new errors.STORE_UNAVAILABLE()
    return await super.take(...args)
  }

  override async giveBack (...args: Parameters<Counters['giveBack']>) {
    this.calls.push(`give back ${args[0].split(':')[0]}`)
    await super.giveBack(...args)
  }
}

const attempt = (counters: Counters, { account = 'ada', network = '192.0.2.7', limits = LIMITS } = {}) => new LoginAttempt(counters, { account, network, limits })

t.test('who is refused for the network does not take a slot of the account for a moment: others may be waiting for it', async (t) => {
  const counters = new SpyCounters()
  for (let guess = 0; guess < 2; guess++) await attempt(counters).reserve()
  counters.calls = []
  await t.rejects(attempt(counters).reserve(), TOO_MANY)
  t.strictSame(counters.calls, ['take network', 'take account-network', 'give back network', 'ask account'])
})

t.test('what could be counted is given back where the rest could not', async (t) => {
  for (const failing of ['network', 'account-network', 'account']) {
    const counters = new SpyCounters()
    counters.failing = failing
    for (let guess = 0; guess < 10; guess++) await t.rejects(attempt(counters).reserve(), { code: 'ERR_SESSION_STORE_UNAVAILABLE' }, failing)
    counters.failing = null
    for (let guess = 0; guess < 2; guess++) await attempt(counters).reserve()
    await t.rejects(attempt(counters).reserve(), TOO_MANY)
  }
})

t.test('memory holds so many counters and no more, the newest', async (t) => {
  const counters = new MemoryAttempts({ most: 50 })
  const limit = { max: 1, withinMs: MINUTE }
  for (let key = 0; key < 1000; key++) t.equal(await counters.take(`key ${key}`, 'a', limit), 0)
  t.equal(counters.size, 50)
  t.ok(await counters.take('key 999', 'b', limit) > 0)
  t.equal(await counters.take('key 949', 'b', limit), 0, 'forgotten')
})

t.test('memory lets go of what counts no more before anything else', async (t) => {
  let now = 0
  const counters = new MemoryAttempts({ most: 50, now: () => now })
  await counters.take('old', 'a', { max: 1, withinMs: 10 * MINUTE })
  for (let key = 0; key < 49; key++) await counters.take(`key ${key}`, 'a', { max: 1, withinMs: MINUTE })
  now = MINUTE
  await counters.take('new', 'a', { max: 1, withinMs: MINUTE })
  t.equal(counters.size, 2)
  t.ok(await counters.take('old', 'b', { max: 1, withinMs: MINUTE }) > 0)
})

t.test('memory counts as fast with fifty thousand counters as with some hundred, also when it can hold no more', async (t) => {
  const limit = { max: 1, withinMs: MINUTE }
  /** The fastest of many: whatever else the machine does. */
  const takeMs = async (most: number): Promise<number> => {
    const counters = new MemoryAttempts({ most })
    for (let key = 0; key < most; key++) await counters.take(`key ${key}`, 'a', limit)
    let fastest = Infinity
    for (let key = 0; key < 100; key++) {
      const startedAt = performance.now()
      await counters.take(`another ${key}`, 'a', limit)
      fastest = Math.min(fastest, performance.now() - startedAt)
    }
    t.equal(counters.size, most)
    return fastest
  }
  const [few, many] = [await takeMs(500), await takeMs(50_000)]
  t.ok(many < few * 20, `${few} and ${many} ms`)
})

t.test('memory holds nothing of an account whose attempts were all taken back, nor of one that was only asked about', async (t) => {
  const counters = new MemoryAttempts()
  const limit = { max: 2, withinMs: MINUTE }
  for (const attempt of ['a', 'b']) await counters.take('ada', attempt, limit)
  await counters.giveBack('ada', 'a')
  t.equal(counters.size, 1)
  await counters.giveBack('ada', 'b')
  await counters.take('bob', 'a', limit)
  await counters.clear('bob')
  await counters.take('mallory', null, limit)
  t.equal(counters.size, 0)
})
