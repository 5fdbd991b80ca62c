import t from 'tap'
import { Baseline } from '../../lib/http/object-changes.ts'

t.test('data differs from what it was where any of it does, and not by how it is written', async (t) => {
  for (const was of [{ a: 1, b: [{ c: null }] }, '{"a":1,"b":[{"c":null}]}', '{ "b": [{"c":null}], "a": 1.0 }']) {
    const base = new Baseline(was)
    t.strictSame(base.data, { a: 1, b: [{ c: null }] })
    for (const same of [{ a: 1, b: [{ c: null }] }, { b: [{ c: null }], a: 1 }, { a: 1, b: [{ c: null, d: undefined }], e: () => {} }]) t.equal(base.differsFrom(same), false)
    for (const other of [{}, { a: 1 }, { a: 1, b: [{ c: 0 }] }, { a: 1, b: [{ c: null }], e: null }, { a: '1', b: [{ c: null }] }]) t.equal(base.differsFrom(other), true)
    t.strictSame(base.data, { a: 1, b: [{ c: null }] })
  }
})

t.test('what is not JSON was nothing', async (t) => {
  for (const text of ['', 'garbage', '{"a":']) {
    t.strictSame(new Baseline(text).data, {})
    t.equal(new Baseline(text).differsFrom({}), false)
    t.equal(new Baseline(text).differsFrom({ a: 1 }), true)
  }
})

t.test('data that has no JSON is refused, whatever it was', async (t) => {
  const endless: Record<string, unknown> = {}
  endless.again = endless
  t.throws(() => new Baseline('{}').differsFrom(endless), { name: 'TypeError', message: /more than 100 levels/ })
  t.throws(() => new Baseline('{"a":1}').differsFrom({ a: 1n }), TypeError)
})
