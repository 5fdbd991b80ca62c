import t from 'tap'
import type { Test } from 'tap'
import { Endings } from '../../lib/session/endings.ts'
import { until } from '../helpers/redis.ts'

/** Endings in a store that confirms only the ends of some sessions. */
function open (t: Test, confirms: (id: string) => boolean) {
  const tried: string[] = []
  const endings = new Endings(async (id) => {
    tried.push(id)
    if (!confirms(id)) throw new Error('the store refuses')
  })
  t.teardown(() => endings.close())
  const promise = async (id: string): Promise<void> => {
    await t.rejects(endings.during(id, async () => { throw new Error('the store refuses') }))
  }
  return { endings, tried, promise }
}

const names = (name: string, count: number): string[] => Array.from({ length: count }, (_, index) => `${name} ${index}`)

t.test('however many logins a store refuses, they fill no memory, and no sign-out that was promised is forgotten for them', async (t) => {
  let confirms = false
  const { endings, tried, promise } = open(t, () => confirms)
  await promise('ada')
  for (const id of names('login', 50_000)) endings.addRefused(id)
  await promise('bob')
  t.equal(endings.size, 10_002)
  t.ok(endings.has('ada'))
  t.ok(endings.has('login 49999'))
  t.notOk(endings.has('login 0'), 'whose session nobody holds, and which expires by itself')
  confirms = true
  await until('all to be ended', () => endings.size === 0, 30_000)
  t.strictSame(tried.slice(0, 2), ['ada', 'bob'], 'the people first')
  t.equal(tried.length, 10_002, 'each once')
})

t.test('sessions that cannot be ended keep no other from its end', async (t) => {
  const { endings, tried, promise } = open(t, (id) => !id.startsWith('stuck'))
  for (const id of names('stuck', 40)) await promise(id)
  await promise('ada')
  endings.addRefused('login')
  await until('the others to be ended', () => endings.size === 40)
  t.notOk(endings.has('ada'))
  t.ok(endings.has('stuck 0'), 'which stay refused')
  t.ok(tried.length <= 3 * 16 + 2, `${tried.length} tries in three rounds`)
})

t.test('a store that does not answer is asked for one session at a time', async (t) => {
  let asked = 0
  const endings = new Endings(async () => {
    asked++
    return await new Promise(() => {})
  })
  t.teardown(() => endings.close())
  for (const id of names('login', 100)) endings.addRefused(id)
  await until('the second round', () => asked === 2)
  t.equal(endings.size, 100)
})
