import fc from 'fast-check'
import t from 'tap'
import { apply, diff, isEmpty, jsonOf, parseData } from '../../lib/session/changes.ts'
import type { Data } from '../../lib/session/changes.ts'

t.test('a change is a key whose JSON differs', async (t) => {
  const before = { same: { a: [1] }, changed: 1, removed: 'x', unset: 1 }
  const after = { same: { a: [1] }, changed: { b: null }, added: '', unset: undefined }
  t.strictSame([...diff(before, after)].sort(), [['added', '""'], ['changed', '{"b":null}'], ['removed', undefined], ['unset', undefined]])
  t.strictSame([...diff({ at: new Date(0) }, { at: '1970-01-01T00:00:00.000Z' })], [])
  t.strictSame([...diff({}, { nothing: undefined, call: () => {} })], [], 'what JSON leaves out is no change')
})

t.test('what JSON cannot hold is an error, not a loss', async (t) => {
  const cycle: Data = {}
  cycle.cycle = cycle
  t.throws(() => diff({}, { big: 1n }), TypeError)
  t.throws(() => diff({}, { cycle }), TypeError)
})

t.test('a change touches no other key', async (t) => {
  t.same(apply({ theirs: 1, mine: 1, gone: 1 }, diff({ mine: 1, gone: 1 }, { mine: 2 })), { theirs: 1, mine: 2 })
  t.same(apply({}, diff({ gone: 1 }, {})), {}, 'what somebody else removed as well')
  const data = { a: 1 }
  apply(data, diff({}, { a: 2, b: 1 }))
  t.same(data, { a: 1 }, 'what it is applied to stays')
})

t.test('a key of the object prototype is a key like any other', async (t) => {
  t.strictSame([...diff({}, { toString: 'x', valueOf: 1 })].sort(), [['toString', '"x"'], ['valueOf', '1']])
  t.strictSame([...diff({}, {})], [])
  const planted = JSON.parse('{"__proto__":{"admin":true},"a":1}') as Data
  t.equal(apply(planted, diff({}, { b: 1 })).admin, undefined)
  t.strictSame(Object.keys(apply(planted, diff(planted, { a: 1 }))), ['a'])
  t.equal(({} as Data).admin, undefined)
})

const json = fc.dictionary(fc.string().filter((key) => key !== '__proto__'), fc.jsonValue(), { noNullPrototype: true })
const asStored = (data: Data): Data => JSON.parse(JSON.stringify(data)) as Data

t.test('applied to what it was made from, a change gives what it was made for', async (t) => {
  fc.assert(fc.property(json, json, (before, after) => {
    t.strictSame(apply(asStored(before), diff(before, after)), asStored(after))
  }), { numRuns: 200 })
})

t.test('changes to different keys can be made in any order', async (t) => {
  fc.assert(fc.property(json, json, json, (base, mine, theirs) => {
    const prefixed = (data: Data, prefix: string): Data => Object.fromEntries(Object.entries(data).map(([key, value]) => [prefix + key, value]))
    const start = { ...prefixed(base, 'm'), ...prefixed(base, 't') }
    const first = diff(prefixed(base, 'm'), prefixed(mine, 'm'))
    const second = diff(prefixed(base, 't'), prefixed(theirs, 't'))
    const expected = asStored({ ...prefixed(mine, 'm'), ...prefixed(theirs, 't') })
    t.same(apply(apply(asStored(start), first), second), expected)
    t.same(apply(apply(asStored(start), second), first), expected)
  }), { numRuns: 100 })
})

t.test('empty objects, empty arrays and null are worth no session', async (t) => {
  for (const data of [{}, { a: {} }, { a: [] }, { a: null, b: {}, c: undefined }, { a: () => {} }]) t.equal(isEmpty(data), true, JSON.stringify(data))
  for (const data of [{ a: 0 }, { a: false }, { a: '' }, { a: [0] }, { a: [[]] }, { a: { b: null } }, { a: {}, b: 1 }]) t.equal(isEmpty(data), false, JSON.stringify(data))
})

t.test('what is stored can be read again: both sides count levels alike', async (t) => {
  const nested = (levels: number, make: (inner: unknown) => unknown): unknown => {
    let value: unknown = 'end'
    for (let level = 0; level < levels; level++) value = make(value)
    return value
  }
  const makes: Array<(inner: unknown) => unknown> = [(inner) => [inner], (inner) => ({ '{["\\': inner, '\\\\"[[[{': '}"' })]
  for (const make of makes) {
    const [deepest, deeper] = [{ value: nested(99, make) }, { value: nested(100, make) }]
    t.strictSame(parseData(jsonOf(deepest)), deepest)
    t.equal(diff({}, deepest).size, 1)
    t.equal(parseData(JSON.stringify(deeper)), null)
    t.throws(() => jsonOf(deeper), { message: /nested more than 100 levels/ })
    t.throws(() => diff({}, deeper), { message: /nested more than 100 levels/ })
  }
  t.throws(() => jsonOf({ value: nested(100_000, (inner) => [inner]) }), { name: 'TypeError', message: /nested/ })
  const brackets = '["{'.repeat(200)
  t.equal(jsonOf({ brackets }), JSON.stringify({ brackets }), 'what is in a string is no level')
})

t.test('no text of JSON is taken for deeper or flatter than it is', async () => {
  fc.assert(fc.property(fc.jsonValue({ maxDepth: 6 }), fc.integer({ min: 1, max: 6 }), (value, levels) => {
    const depth = (each: unknown): number => typeof each === 'object' && each !== null ? 1 + Math.max(0, ...Object.values(each).map(depth)) : 0
    let isRefused = false
    try {
      jsonOf(value, levels)
    } catch {
      isRefused = true
    }
    return isRefused === (depth(value) > levels)
  }))
})
