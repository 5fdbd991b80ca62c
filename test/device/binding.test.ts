import t from 'tap'
import { DeviceBinding } from '../../lib/device/binding.ts'
import { DeviceSeals } from '../../lib/device/seals.ts'
import { confirmed, pendingKey, readBoundKey } from '../../lib/session/bound-key.ts'
import type { BoundKey } from '../../lib/session/bound-key.ts'
import { record } from '../helpers/record.ts'

const NOW = 1_800_000_000_000
const BOUND_AT = NOW - 60_000
const options = { maxAgeMs: 600_000, required: null, graceMs: 60_000, revokes: false, bindExisting: true, asks: true, path: null }
const es256 = confirmed(pendingKey(`ES256 ${'x'.repeat(43)} ${'y'.repeat(43)}`, BOUND_AT))

/** A binding of sessions, and the short cookie of one. */
function start (boundKey: string) {
  const binding = new DeviceBinding(options, ['a secret of the tests with 32 characters'], ['sid'])
  const good = binding.shortCookie(readBoundKey(boundKey) as BoundKey, NOW).value
  return { binding, good, session: record({ now: BOUND_AT, boundKey }) }
}

t.test('a key is read once, also the longest that a session can have', async (t) => {
  const rs256 = confirmed(pendingKey(`RS256 ${'e'.repeat(6)} ${'n'.repeat(683)}`, BOUND_AT))
  for (const boundKey of [es256, rs256]) {
    const { binding, good, session } = start(boundKey)
    const read = new Set<BoundKey>()
    const verifyCookie = t.capture(DeviceSeals.prototype, 'verifyCookie', function (this: DeviceSeals, _value, bound) {
      read.add(bound)
      return true
    })
    for (let again = 0; again < 3; again++) t.equal(binding.standingOf({ ...session }, { cookie: `sid-bound=${good}` }, NOW), 'proven')
    t.equal(verifyCookie().length, 3)
    t.equal(read.size, 1)
    verifyCookie.restore()
  }
})

t.test('a link from another site is no reason to withhold a bound session for good, also where all have to be bound', async (t) => {
  const required = new DeviceBinding({ ...options, required: () => true }, ['a secret of the tests with 32 characters'], ['sid'])
  const pending = pendingKey(`ES256 ${'x'.repeat(43)} ${'y'.repeat(43)}`, BOUND_AT)
  const standing = (boundKey: string | null, site: string): string =>
    required.standingOf(record({ now: BOUND_AT, boundKey }), { 'sec-fetch-site': site }, NOW + 60_000)
  t.strictSame(['cross-site', 'same-origin'].map((site) => standing(pending, site)), ['elsewhere', 'required'])
  t.strictSame(['cross-site', 'same-origin'].map((site) => standing(null, site)), ['required', 'required'])
})

t.test('[CWE-400] of many cookies of one name four are looked at', async (t) => {
  const { binding, good, session } = start(es256)
  const bad = Array.from({ length: 4 }, (_, number) => `sid-bound=mx3${number}.${'A'.repeat(43)}`)
  const standing = (...cookies: string[]): string => binding.standingOf(session, { cookie: cookies.join('; ') }, NOW)
  const isShown = (...cookies: string[]): boolean => binding.isShown(readBoundKey(es256)?.identifier, { cookie: cookies.join('; ') }, NOW)
  const among = [...bad.slice(1), `sid-bound=${good}`]
  t.equal(standing(...among), 'proven')
  t.equal(isShown(...among), true)
  t.equal(standing(...bad.slice(1)), 'mismatch')
  t.equal(standing(...bad, `sid-bound=${good}`), 'elsewhere', 'nor does it end the session: a sibling host may have planted them')
  t.equal(isShown(...bad, `sid-bound=${good}`), false)
})
