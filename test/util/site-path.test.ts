import fc from 'fast-check'
import t from 'tap'
import { sitePath } from '../../lib/util/site-path.ts'

const HERE = 'https://app.example.com'

t.test('a path of this site is read as browsers read it', async (t) => {
  for (const path of ['/', '/login', '/a/b/', '/orders?page=2&sort=name', '/a?next=https://evil.example', '/a//b', '/a?x=\\', '/~ada/%C3%A9', '/a#top', '/@evil.example', '/evil.example', '/%2f%2fevil.example', '/%5cevil.example', '/:80']) {
    const url = sitePath(path)
    t.equal(url?.pathname, new URL(path, HERE).pathname, path)
    t.equal(url?.search, new URL(path, HERE).search, path)
  }
})

t.test('what could lead to another site is no path of this one', async (t) => {
  const others = [
    '', 'login', '//evil.example', '///evil.example', '/\\evil.example', '\\/evil.example', '\\\\evil.example', '/.//evil.example', '/..//evil.example', '/a/..//evil.example', '/.\\/evil.example', '/%2e//evil.example', '/%2E%2e//evil.example',
    'https://evil.example', 'https:evil.example', 'javascript:alert(1)', '/a b', ' /a', '/a ', '/\tevil', '/\t/evil.example', '/\n/evil.example', '\t//evil.example', '/\r\nLocation: //evil.example', '/\0', '/\x7F', '/é', '/〱', '?//evil.example', '#/', '*', 'evil.example:443'
  ]
  for (const text of others) t.equal(sitePath(text), null, JSON.stringify(text))
})

t.test('whatever a text is, what passes leads to this site, also when it is put together again', async (t) => {
  const part = fc.constantFrom('/', '\\', '.', '..', '%2e', '%2f', '%5c', '\t', '\n', '@', ':', '?', '#', 'evil.example', 'https:', ' ', 'a')
  const counts = { passed: 0, refused: 0 }
  fc.assert(fc.property(fc.oneof(fc.array(part, { maxLength: 8 }).map((parts) => `/${parts.join('')}`), fc.string({ unit: 'binary' })), (text) => {
    const url = sitePath(text)
    counts[url === null ? 'refused' : 'passed']++
    if (url === null) return
    for (const again of [text, url.pathname, url.pathname + url.search]) if (new URL(again, HERE).origin !== HERE) throw new Error(JSON.stringify([text, again]))
  }), { numRuns: 5000 })
  t.ok(counts.passed > 500)
  t.ok(counts.refused > 500)
})
