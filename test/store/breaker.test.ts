import t from 'tap'
import type { Test } from 'tap'
import { Breaker } from '../../lib/store/breaker.ts'
import { until } from '../helpers/redis.ts'

const OUTAGE = new Error('connection lost')
const UNAVAILABLE = { code: 'ERR_SESSION_STORE_UNAVAILABLE', statusCode: 503 }

/** A breaker over a backend that answers probes as `backend.up` says. */
function open (t: Test, { deadlineMs = 5000, probeEveryMs = 1 } = {}) {
  const backend = { up: true, probes: 0, told: [] as unknown[] }
  const breaker = new Breaker({
    deadlineMs,
    probeEveryMs,
    probe: async () => {
      backend.probes++
      if (!backend.up) throw OUTAGE
    },
    isOutage: (error) => error === OUTAGE,
    onDown: (cause) => backend.told.push(cause),
    onUp: () => backend.told.push('up')
  })
  t.teardown(() => breaker.close())
  return { breaker, backend }
}

const fail = (error: unknown) => async () => { throw error }
const never = () => new Promise<never>(() => {})

t.test('what an operation gives is what run gives', async (t) => {
  const { breaker, backend } = open(t)
  t.equal(await breaker.run(async () => 'answer'), 'answer')
  t.equal(await breaker.run(async () => null), null)
  t.equal(await breaker.run(async () => undefined), undefined)
  t.strictSame(backend, { up: true, probes: 0, told: [] })
})

t.test('an error that is no outage is passed on and trips nothing', async (t) => {
  const { breaker, backend } = open(t)
  const refusal = new Error('no')
  await t.rejects(breaker.run(fail(refusal)), refusal)
  t.equal(await breaker.run(async () => 1), 1)
  t.strictSame(backend.told, [])
})

t.test('after an outage nothing is tried until a probe has succeeded', async (t) => {
  const { breaker, backend } = open(t)
  backend.up = false
  await t.rejects(breaker.run(fail(OUTAGE)), { ...UNAVAILABLE, cause: OUTAGE })
  let tried = 0
  for (let each = 0; each < 10; each++) await t.rejects(breaker.run(async () => { tried++ }), UNAVAILABLE)
  t.equal(tried, 0)
  await until('several probes', () => backend.probes > 3)
  await t.rejects(breaker.run(async () => 1), UNAVAILABLE)
  t.strictSame(backend.told, [OUTAGE], 'told once')
  backend.up = true
  await until('the breaker to close', () => backend.told.length === 2)
  t.strictSame(backend.told, [OUTAGE, 'up'])
  t.equal(await breaker.run(async () => 1), 1)
  const { probes } = backend
  await t.rejects(breaker.run(fail(OUTAGE)), UNAVAILABLE)
  t.equal(backend.told.length, 3, 'a second outage is told again')
  t.equal(backend.probes, probes, 'nobody asked a backend that was up')
})

t.test('operations that fail together are told as one outage', async (t) => {
  const { breaker, backend } = open(t)
  backend.up = false
  const results = await Promise.allSettled(Array.from({ length: 20 }, () => breaker.run(fail(OUTAGE))))
  for (const result of results) t.match(result, { status: 'rejected', reason: UNAVAILABLE })
  t.strictSame(backend.told, [OUTAGE])
})

t.test('an operation past its deadline fails, and its late failure is nobody\'s', async (t) => {
  const { breaker, backend } = open(t, { deadlineMs: 20 })
  backend.up = false
  let failLate = (_error: unknown) => {}
  await t.rejects(breaker.run(() => new Promise((_resolve, reject) => { failLate = reject })), { ...UNAVAILABLE, cause: { message: 'no answer within 20 ms' } })
  await t.rejects(breaker.run(async () => 1), UNAVAILABLE)
  failLate(OUTAGE)
  // An unhandled rejection would fail this test.
  await new Promise((resolve) => setImmediate(resolve))
  t.equal(backend.told.length, 1)
})

t.test('a probe that does not answer is a probe that failed', async (t) => {
  let probes = 0
  let up = false
  const breaker = new Breaker({
    deadlineMs: 10,
    probeEveryMs: 1,
    probe: () => ++probes < 3 ? never() : Promise.resolve(),
    isOutage: () => true,
    onDown: () => {},
    onUp: () => { up = true }
  })
  t.teardown(() => breaker.close())
  await t.rejects(breaker.run(fail(OUTAGE)), UNAVAILABLE)
  await until('the third probe', () => up)
  t.equal(probes, 3)
})

t.test('a closed breaker refuses everything and asks nobody', async (t) => {
  const { breaker, backend } = open(t)
  backend.up = false
  await t.rejects(breaker.run(fail(OUTAGE)), UNAVAILABLE)
  breaker.close()
  breaker.close()
  await t.rejects(breaker.run(async () => 1), UNAVAILABLE)
  // Probes that went on would keep this process from ending: the backend stays down.
  t.strictSame(backend.told, [OUTAGE])
})
