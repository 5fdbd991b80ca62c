import t from 'tap'
import { pages } from '../helpers/pages.ts'
import { root } from '../helpers/process.ts'
import { compile, falseQuotes, programsOf, runAll } from '../helpers/programs.ts'

/*
 * Programs of the pages in docs/, but for those that need other people's packages (test/interop/pages.test.ts) and for
 * the tutorial's. Those of the README: test/readme.test.ts.
 */
const all = pages().filter(({ path }) => path !== 'README.md')
const programs = all.flatMap(programsOf).filter(({ needsInterop }) => !needsInterop)

t.test('what a page shows of a file stands in that file', async (t) => {
  t.strictSame(all.flatMap(falseQuotes), [])
})

t.test('every program compiles under strict and exactOptionalPropertyTypes', async (t) => {
  t.equal(compile(`${root}.tmp/pages-types/`, programs), '')
})

t.test('every program runs', async (t) => {
  t.strictSame(await runAll(t, `${root}.tmp/pages/`, programs), [])
})

t.test('lines that a file does not have, and programs that fail, are found', async (t) => {
  const text = [
    '<!-- from: lib/index.ts -->', '```ts', '// …', "import '../types/index.ts'", '// …', 'nothing of the file', '```',
    '<!-- script: bad.ts -->', '```ts', 'const n: number = "1"', 'process.exit(3)', '```'
  ].join('\n')
  const page = { path: 'docs/bad.md', text }
  t.strictSame(falseQuotes(page), ['docs/bad.md, of lib/index.ts: nothing of the file'])
  const folder = `${root}.tmp/pages-bad/`
  t.match(compile(folder, programsOf(page)), /Type 'string' is not assignable to type 'number'/)
  t.match(await runAll(t, folder, programsOf(page)), [/^docs\/bad\.md: bad\.ts: ended with 3/])
  t.throws(() => programsOf({ path: 'docs/bad.md', text: '```ts\nlet a\n```' }), { message: /no comment that says what it is/ })
})
