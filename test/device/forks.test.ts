import t from 'tap'
import { ForkDetection } from '../../lib/device/forks.ts'
import type { Turn } from '../../lib/device/forks.ts'
import { secret } from '../helpers/app.ts'
import { MINUTE, record } from '../helpers/record.ts'

const options = { onFork: 'report' } as const
const forks = new ForkDetection(options, [secret], ['sid'])
const session = record()

/** What a session with this twin becomes, used with these values of the twin cookie. */
function turn (twin: string | null, values: string[] = [], by = forks): Turn | null {
  return by.turn({ ...session, twin }, { cookie: values.map((value) => `sid-twin=${value}`).join('; ') }, session.lastSeenAt + MINUTE)
}

/** Twins of one session, and the cookies of their numbers, from 1 on. */
const begun = turn(null) as Turn
const nonce = begun.twin.slice(0, 12)
const cookies = ['', begun.value ?? '']
for (let number = 2; number < 8; number++) cookies.push(turn(`${nonce} 0 ${number - 1}`)?.value ?? '')

t.test('each number leads to the next state, or to a fork', async (t) => {
  const next = (shown: number, given: number, number: number | null): string | undefined => {
    return turn(`${nonce} ${shown} ${given}`, number === null ? [] : [cookies[number] ?? ''])?.twin.slice(13)
  }
  t.equal(begun.twin.slice(13), '0 1')
  t.equal(next(3, 5, 5), '5 6', 'what was given last')
  t.equal(next(3, 5, 3), '3 6', 'what was shown last: the reply may be lost')
  t.equal(next(3, 5, null), '3 6', 'nothing')
  t.equal(next(3, 5, 4), 'forked', 'what was given before')
  t.equal(next(3, 5, 2), 'forked', 'what was shown before')
  t.equal(next(3, 5, 7), '7 8', 'what Redis has forgotten that it gave, in a failover')
  t.equal(next(0, 1, 1), '1 2')
  t.equal(turn(`${nonce} forked`, [cookies[5] ?? ''])?.twin, `${nonce} forked`, 'nothing leads back')
  t.equal(turn(`${nonce} forked`)?.value, null)
})

t.test('of several values the greatest counts, and none that was made for another session or by another secret', async (t) => {
  t.equal(turn(`${nonce} 3 5`, ['x', cookies[3] ?? '', cookies[5] ?? '', cookies[4] ?? ''])?.twin, `${nonce} 5 6`)
  t.equal(turn(`${'n'.repeat(12)} 3 5`, [cookies[5] ?? ''])?.twin, `${'n'.repeat(12)} 3 6`)
  const stranger = new ForkDetection(options, [`another ${secret}`], ['sid'])
  t.equal(turn(`${nonce} 3 5`, [cookies[5] ?? ''], stranger)?.twin, `${nonce} 3 6`)
  const rotated = new ForkDetection(options, [`another ${secret}`, secret], ['sid', 'old'])
  t.equal(turn(`${nonce} 3 5`, [cookies[5] ?? ''], rotated)?.twin, `${nonce} 5 6`)
  t.not(turn(`${nonce} 3 5`, [cookies[5] ?? ''], rotated)?.value, cookies[6], 'the first secret makes the next one')
  t.strictSame(rotated.cookieNames, ['sid-twin', 'old-twin'])
})

t.test('a text that is no twin begins anew', async (t) => {
  for (const twin of ['', 'x', `${nonce}`, `${nonce} 1`, `${nonce} 1 x`, `${nonce} 01 2`, `${nonce} 1 12345678901`, `${nonce} 1 2 3`, `${nonce} -1 2`]) {
    const { twin: next = '' } = turn(twin, [cookies[1] ?? '']) ?? {}
    t.match(next, /^[\w-]{12} 0 1$/)
    t.not(next.slice(0, 12), nonce)
  }
})

t.test('there is no turn soon after the last one, of a bearer token, or of a visitor', async (t) => {
  const now = session.lastSeenAt + MINUTE
  t.equal(forks.turn(session, {}, now - 1), null)
  t.equal(forks.turn({ ...session, kind: 'bearer' }, {}, now), null)
  t.equal(forks.turn({ ...session, userId: null }, {}, now), null)
  t.not(forks.turn(session, {}, now), null)
})
