import t from 'tap'
import { ForkDetection } from '../../lib/device/forks.ts'
import type { Turn } from '../../lib/device/forks.ts'
import { secret } from '../helpers/app.ts'
import { MINUTE, record } from '../helpers/record.ts'

const options = { onFork: 'report' } as const
const forks = new ForkDetection(options, [secret], ['sid'])
const session = record()
const NOW = session.lastSeenAt + MINUTE
/** When the last turn was, if there was one. */
const AT = session.lastSeenAt.toString(36)

/** What a session with this twin becomes, used with these values of the twin cookie. */
function turn (twin: string | null, values: string[] = [], by = forks): Turn | null {
  return by.turn({ ...session, twin }, { cookie: values.map((value) => `sid-twin=${value}`).join('; ') }, { now: NOW, gives: true })
}

/** Twins of one session, and the cookies of their numbers, from 1 on. */
const begun = turn(null) as Turn
const nonce = begun.twin.slice(0, 12)
const cookies = ['', begun.value ?? '']
for (let number = 2; number < 8; number++) cookies.push(turn(`${nonce} 0 ${number - 1} ${AT}`)?.value ?? '')

t.test('each number leads to the next state, or to a fork', async (t) => {
  const next = (shown: number, given: number, number: number | null): string | undefined => {
    const next = turn(`${nonce} ${shown} ${given} ${AT}`, number === null ? [] : [cookies[number] ?? ''])
    return next?.twin.slice(13).replace(` ${NOW.toString(36)}`, '')
  }
  t.equal(begun.twin.slice(13), `0 1 ${NOW.toString(36)}`)
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
  t.equal(turn(`${nonce} 3 5 ${AT}`, ['x', cookies[3] ?? '', cookies[5] ?? '', cookies[4] ?? ''])?.twin, `${nonce} 5 6 ${NOW.toString(36)}`)
  t.equal(turn(`${'n'.repeat(12)} 3 5 ${AT}`, [cookies[5] ?? ''])?.twin, `${'n'.repeat(12)} 3 6 ${NOW.toString(36)}`)
  const stranger = new ForkDetection(options, [`another ${secret}`], ['sid'])
  t.equal(turn(`${nonce} 3 5 ${AT}`, [cookies[5] ?? ''], stranger)?.twin, `${nonce} 3 6 ${NOW.toString(36)}`)
  const rotated = new ForkDetection(options, [`another ${secret}`, secret], ['sid', 'old'])
  t.equal(turn(`${nonce} 3 5 ${AT}`, [cookies[5] ?? ''], rotated)?.twin, `${nonce} 5 6 ${NOW.toString(36)}`)
  t.not(turn(`${nonce} 3 5 ${AT}`, [cookies[5] ?? ''], rotated)?.value, cookies[6], 'the first secret makes the next one')
  t.strictSame(rotated.cookieNames, ['sid-twin', 'old-twin'])
})

t.test('a text that is no twin begins anew', async (t) => {
  for (const twin of ['', 'x', `${nonce}`, `${nonce} 1`, `${nonce} 1 x`, `${nonce} 01 2`, `${nonce} 1 12345678901`, `${nonce} 1 2`, `${nonce} 1 2 3 4`, `${nonce} 1 2 .`, `${nonce} -1 2`]) {
    const { twin: next = '' } = turn(twin, [cookies[1] ?? '']) ?? {}
    t.match(next, /^[\w-]{12} 0 1 [0-9a-z]+$/)
    t.not(next.slice(0, 12), nonce)
  }
})

t.test('there is no turn soon after the last one, of a bearer token, or of a visitor', async (t) => {
  const [early, due] = [{ now: NOW - 1, gives: true }, { now: NOW, gives: true }]
  t.equal(forks.turn({ ...session, twin: `${nonce} 3 5 ${AT}` }, {}, early), null)
  t.not(forks.turn({ ...session, twin: `${nonce} 3 5 ${AT}` }, {}, due), null)
  t.equal(forks.turn({ ...session, kind: 'bearer' }, {}, due), null)
  t.equal(forks.turn({ ...session, userId: null }, {}, due), null)
  t.not(forks.turn(session, {}, due), null)
})

t.test('a use that is not written down gives no number, and notices a fork from half a minute after the last turn on', async (t) => {
  const at = (twin: string | null, number: number, ms: number): Turn | null => {
    return forks.turn({ ...session, twin }, { cookie: `sid-twin=${cookies[number]}` }, { now: session.lastSeenAt + ms, gives: false })
  }
  const twin = `${nonce} 3 5 ${AT}`
  t.strictSame([at(null, 1, MINUTE), at(twin, 3, MINUTE), at(twin, 5, MINUTE), at(twin, 2, 29_999)], [null, null, null, null])
  t.strictSame(at(twin, 2, 30_000), { twin: `${nonce} forked`, value: null })
})
