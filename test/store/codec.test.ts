import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import type { Test } from 'tap'
import type { SessionRecord } from '../../lib/session/record.ts'
import { decode, encode, parseObject } from '../../lib/store/codec.ts'
import { record } from '../helpers/record.ts'

/** Thirteen digits: from 2001 to 2286. */
const instant = fc.integer({ min: 1_000_000_000_000, max: 9_999_999_999_999 })
const text = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.constantFrom('', '\n', '"', '{"s":1}\n{}', '__proto__'))
const maybe = fc.option(text)
const json = fc.dictionary(text, fc.jsonValue()).map((value) => JSON.stringify(value))

const records: fc.Arbitrary<SessionRecord> = fc.record({
  id: fc.constant('the id'),
  kind: fc.constantFrom('cookie' as const, 'bearer' as const),
  secretHash: text,
  userId: fc.option(text.filter((id) => id !== '')),
  label: maybe,
  meta: fc.option(json),
  createdAt: instant,
  authenticatedAt: fc.option(instant),
  lastSeenAt: instant,
  endsAt: instant,
  idleTimeoutMs: fc.nat(),
  persistent: fc.boolean(),
  methods: maybe,
  actor: maybe,
  idp: maybe,
  boundKey: maybe,
  twin: maybe,
  ip: maybe,
  userAgent: maybe,
  data: fc.oneof(json, json.map((text) => JSON.stringify(JSON.parse(text), null, 2)))
}, { noNullPrototype: true })

/** Tries a property on many examples; one that fails is shown with its seed. */
const holds = <T>(t: Test, examples: fc.Arbitrary<T>, property: (example: T) => boolean | void, numRuns = 500) => t.doesNotThrow(() => fc.assert(fc.property(examples, property), { numRuns }))

t.test('every record comes back as it was', async (t) => {
  holds(t, records, (each) => assert.deepStrictEqual(decode(each.id, encode(each)), each))
})

t.test('the head is one line that begins with lastSeenAt in thirteen digits', async (t) => {
  holds(t, records, (each) => {
    const stored = encode({ ...each, lastSeenAt: each.lastSeenAt + 0.75 })
    const newline = stored.indexOf('\n')
    assert.match(stored, /^\{"s":\d{13},"h":"/)
    assert.equal(stored.slice(5, 18), String(each.lastSeenAt))
    assert.equal(stored.slice(newline + 1), each.data)
    assert.ok(parseObject(stored.slice(0, newline)))
  })
})

t.test('what is null costs nothing', async (t) => {
  const session = record({ userId: null, now: 1_800_000_000_000, secretHash: 'x' })
  t.equal(encode(session), '{"s":1800000000000,"h":"x","c":1800000000000,"e":1800604800000,"i":1800000}\n{}')
})

t.test('no text makes decode throw, nor the id anything but what was asked for', async (t) => {
  const stored = encode(record({ label: 'phone', meta: '{}' }))
  const mutated = fc.tuple(fc.nat(stored.length), fc.nat(5), text).map(([at, less, more]) => stored.slice(0, at) + more + stored.slice(at + less))
  const lines = fc.tuple(fc.oneof(fc.json(), text), fc.oneof(fc.json(), text)).map((both) => both.join('\n'))
  holds(t, fc.oneof(text, fc.json(), lines, mutated), (value) => {
    const decoded = decode('the id', value)
    if (decoded === null) return true
    return decoded.id === 'the id' && typeof decoded.secretHash === 'string' && typeof decoded.data === 'string' &&
      [decoded.createdAt, decoded.endsAt, decoded.idleTimeoutMs, decoded.lastSeenAt].every(Number.isFinite) &&
      [decoded.userId, decoded.label, decoded.meta, decoded.ip, decoded.userAgent].every((each) => each === null || typeof each === 'string')
  }, 5000)
})

t.test('a member of another type makes it no session', async (t) => {
  const [head = ''] = encode(record({ label: 'phone', meta: '{}', ip: '::1', userAgent: 'x' })).split('\n')
  t.ok(decode('a', `${head}\n{}`))
  const members = JSON.parse(head) as Record<string, unknown>
  for (const name of ['s', 'h', 'c', 'e', 'i']) {
    for (const wrong of [undefined, null, true, {}, [], name === 'h' ? 1 : '1']) t.equal(decode('a', `${JSON.stringify({ ...members, [name]: wrong })}\n{}`), null, `${name}: ${JSON.stringify(wrong)}`)
  }
  for (const name of ['u', 'l', 'm', 'p', 'b', 'a', 'd']) {
    for (const wrong of [true, {}, [], name === 'a' ? '1' : 1]) t.equal(decode('a', `${JSON.stringify({ ...members, [name]: wrong })}\n{}`), null, `${name}: ${JSON.stringify(wrong)}`)
  }
  for (const meta of ['', 'x', '1', '[]', 'null']) t.equal(decode('a', `${JSON.stringify({ ...members, m: meta })}\n{}`), null, `m: ${meta}`)
  for (const user of ['', '\ud800', 'ada\udfff', 'x'.repeat(256)]) t.equal(decode('a', `${JSON.stringify({ ...members, u: user })}\n{}`), null, `u: ${user}`)
  for (const data of ['', 'x', '[]', 'null', '1', '{"cut":', 'x}']) t.equal(decode('a', `${head}\n${data}`), null, `data: ${data}`)
  t.equal(decode('a', head), null, 'no data line')
})

t.test('only objects are objects', async (t) => {
  t.strictSame(parseObject('{"a":1}'), { a: 1 })
  for (const other of ['', 'x', '1', '"a"', '[1]', 'null', 'true', '{']) t.equal(parseObject(other), null)
})
