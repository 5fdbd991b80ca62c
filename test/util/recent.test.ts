import t from 'tap'
import { Credentials } from '../../lib/session/credentials.ts'
import { Recent } from '../../lib/util/recent.ts'
import { newId, newToken, SignedTokens, toBearer } from '../../lib/session/token.ts'
import { liveBytes } from '../../bench/numbers.ts'

/** Counts how often something is worked out. */
function counting (most: number) {
  const recent = new Recent<string>(most)
  let count = 0
  return {
    recent,
    ask: (text: string) => recent.of(text, () => { count++; return text.toUpperCase() }),
    workedOut: () => { const before = count; count = 0; return before }
  }
}

t.test('what was asked for is not worked out again while it is among the last', async (t) => {
  const { ask, workedOut } = counting(3)
  for (const text of ['a', 'b', 'c', 'a', 'b', 'c']) t.equal(ask(text), text.toUpperCase())
  t.equal(workedOut(), 3)
  for (const text of ['d', 'a', 'b', 'c', 'd']) t.equal(ask(text), text.toUpperCase())
  t.equal(workedOut(), 1, 'who is asked for goes on being known')
  for (let number = 0; number < 100; number++) ask(String(number))
  workedOut()
  ask('a')
  t.equal(workedOut(), 1, 'who is not is forgotten')
})

t.test('nothing is not remembered, nor is what is long', async (t) => {
  const recent = new Recent<number>(3)
  let count = 0
  const nothing = (): null => { count++; return null }
  t.equal(recent.of('a', nothing), null)
  t.equal(recent.of('a', nothing), null)
  t.equal(count, 2)
  t.equal(recent.of('a', () => 5), 5, 'what becomes something is')
  t.equal(recent.of('a', nothing), 5)
  const long = 'x'.repeat(257)
  t.equal(recent.of(long, () => 5), 5)
  t.equal(recent.of(long, () => 6), 6)
  const larger = new Recent<number>(3, 257)
  t.equal(larger.of(long, () => 5), 5)
  t.equal(larger.of(long, () => 6), 5, 'where that is not too long')
})

t.test('of a header no more is kept than the part that was asked for, nor with what was worked out of it', async (t) => {
  const recent = new Recent<string>(10_000)
  const before = liveBytes()
  for (let number = 0; number < 5_000; number++) {
    const header = Buffer.alloc(16_000, 'x').toString('latin1') + String(number).padStart(100, '0')
    recent.of(header.slice(-100), (own) => own.slice(-50))
  }
  t.ok(liveBytes() - before < 5_000 * 1_000)
  t.equal(recent.of(String(4_999).padStart(100, '0'), () => null), String(4_999).padStart(50, '0'))
})

t.test('[CWE-770] whoever sends good credentials in large headers fills no memory', async (t) => {
  const credentials = new Credentials({ tokens: new SignedTokens(['a secret of more than 32 characters']), cookieNames: ['sid'], bearer: true, readForeignCookie: null, cookieForms: ['fastify-user-sessions'] })
  const before = liveBytes()
  const kept = []
  for (let number = 0; number < 5_000; number++) {
    const { token } = newToken(newId())
    const padding = Buffer.alloc(15_000, ' ').toString('latin1')
    kept.push(credentials.read({ authorization: `Bearer ${padding}${toBearer(token)}` })?.id, credentials.read({ cookie: `a=${padding}; sid=${credentials.sign(token)}` })?.id)
  }
  t.ok(kept.every((id) => id?.length === 22))
  t.ok(liveBytes() - before < 10_000 * 1_500)
})
