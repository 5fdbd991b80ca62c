import { AsyncLocalStorage } from 'node:async_hooks'
import t from 'tap'
import type { Test } from 'tap'
import { PendingEnds } from '../../lib/session/pending-ends.ts'
import type { SessionEnd } from '../../lib/session/pending-ends.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { until } from '../helpers/redis.ts'

/** PendingEnds in a store that confirms only the ends of some sessions. */
function open (t: Test, confirms: (id: string) => boolean) {
  const tried: string[] = []
  const endings = new PendingEnds(async ({ id }) => {
    tried.push(id)
    if (!confirms(id)) throw new Error('the store refuses')
    return true
  })
  t.teardown(() => endings.close())
  const promise = async (ending: Partial<SessionEnd> & { id: string }): Promise<void> => {
    await t.rejects(endings.end({ cause: { reason: 'logout' }, ...ending }))
  }
  return { endings, tried, promise }
}

const names = (name: string, count: number): string[] => Array.from({ length: count }, (_, index) => `${name} ${index}`)

t.test('however many logins a store refuses, they fill no memory, and no sign-out that was promised is forgotten for them', async (t) => {
  let confirms = false
  const { endings, tried, promise } = open(t, () => confirms)
  await promise({ id: 'ada' })
  for (const id of names('login', 50_000)) endings.addRefused(id)
  await promise({ id: 'bob' })
  t.equal(endings.size, 10_002)
  t.ok(endings.has('ada'))
  t.ok(endings.has('login 49999'))
  t.notOk(endings.has('login 0'), 'whose session nobody holds, and which expires by itself')
  confirms = true
  tried.length = 0
  await until('all to be ended', () => endings.size === 0, 30_000)
  t.strictSame(tried.slice(0, 2), ['ada', 'bob'], 'the people first')
  t.equal(tried.length, 10_002, 'each once')
})

t.test('sessions that cannot be ended keep no other from its end', async (t) => {
  let isBack = false
  const { endings, tried, promise } = open(t, (id) => isBack && !id.startsWith('stuck'))
  for (const id of names('stuck', 40)) await promise({ id })
  await promise({ id: 'ada' })
  endings.addRefused('login')
  isBack = true
  tried.length = 0
  await until('the others to be ended', () => endings.size === 40)
  t.notOk(endings.has('ada'))
  t.ok(endings.has('stuck 0'), 'which stay refused')
  t.ok(tried.length <= 3 * 16 + 2, `${tried.length} tries in three rounds`)
})

t.test('a store that does not answer is asked for one session at a time', async (t) => {
  withRealLimits(t)
  let asked = 0
  const endings = new PendingEnds(async () => {
    asked++
    return await new Promise(() => {})
  })
  t.teardown(() => endings.close())
  for (const id of names('login', 100)) endings.addRefused(id)
  await until('the second round', () => asked === 2)
  t.equal(endings.size, 100)
})

t.test('what is still being ended is not ended again beside that, and is once that has failed', async (t) => {
  const tried: string[] = []
  let isBack = false
  let fail = (): void => {}
  const endings = new PendingEnds(async ({ id }) => {
    tried.push(id)
    if (tried.length === 1) await new Promise<void>((resolve) => { fail = resolve })
    if (!isBack || id === 'bob') throw new Error('the store refuses')
    return true
  })
  t.teardown(() => endings.close())
  const ended = endings.end({ id: 'ada', cause: { reason: 'logout' } })
  await t.rejects(endings.end({ id: 'bob', cause: { reason: 'logout' } }))
  await until('three rounds', () => tried.length === 5)
  t.strictSame(tried, ['ada', 'bob', 'bob', 'bob', 'bob'])
  t.ok(endings.has('ada'), 'who is refused all the time')
  fail()
  await t.rejects(ended)
  isBack = true
  await until('her end', () => !endings.has('ada'))
  t.equal(tried.filter((each) => each === 'ada').length, 2)
})

t.test('an end by a credential refuses its secret alone, one by an id whoever comes', async (t) => {
  const { endings, promise } = open(t, () => false)
  await promise({ id: 'ada', secretHash: 'forged' })
  t.ok(endings.has('ada', 'forged'))
  t.notOk(endings.has('ada', 'her own'))
  t.notOk(endings.has('ada'))
  await promise({ id: 'ada', secretHash: 'her own' })
  t.ok(endings.has('ada', 'her own'))
  t.equal(endings.size, 2)
  await promise({ id: 'bob' })
  t.ok(endings.has('bob'))
  t.ok(endings.has('bob', 'his own'))
})

t.test('an end that is tried again says of what session and why, as it did at first', async (t) => {
  const tried: SessionEnd[] = []
  const endings = new PendingEnds(async (ending) => {
    tried.push(ending)
    if (tried.length < 3) throw new Error('the store refuses')
    return true
  })
  t.teardown(() => endings.close())
  const ending: SessionEnd = { id: 'ada', cause: { reason: 'logout' }, secretHash: 'hers', adopts: 'sid' }
  await t.rejects(endings.end(ending))
  await until('its end', () => endings.size === 0)
  t.strictSame(tried, [ending, ending, ending])
})

t.test('what is tried again is no part of the request that was the last to fail', async (t) => {
  const requests = new AsyncLocalStorage<string>()
  const seen: unknown[] = []
  const endings = new PendingEnds(async ({ id }) => {
    seen.push(`${id} in ${requests.getStore() ?? 'none'}`)
    if (seen.length < 4) throw new Error('the store refuses')
    return true
  })
  t.teardown(() => endings.close())
  for (const id of ['ada', 'bob']) {
    await requests.run(`the request of ${id}`, async () => { await t.rejects(endings.end({ id, cause: { reason: 'logout' } })) })
  }
  await until('their ends', () => endings.size === 0)
  t.strictSame(seen, ['ada in the request of ada', 'bob in the request of bob', 'ada in none', 'bob in none', 'ada in none'])
})
