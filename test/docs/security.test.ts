import { readFileSync } from 'node:fs'
import t from 'tap'
import { root } from '../helpers/process.ts'

/** A row of the table: ids of requirements, and the test files that show them. */
interface Row { ids: string[], files: string[] }

function rowsOf (page: string): Row[] {
  const table = /<!-- security -->([^]*?)<!-- \/security -->/.exec(page)?.[1] ?? ''
  return [...table.matchAll(/^\| (.+?) \| .+ \| (.+?) \|$/gm)].slice(1).map(([, ids = '', files = '']) => ({
    ids: ids.split(', '),
    files: [...files.matchAll(/`([^`]+)`/g)].map(([, file = '']) => file)
  }))
}

/** The requirements that tests begin their names with, in brackets. */
function idsOf (tests: string): Set<string> {
  return new Set([...tests.matchAll(/\w\(['`]\[([^\]]+)\]/g)].flatMap(([, ids = '']) => ids.split(', ')))
}

/** Returns what a table claims and the test files do not show. */
function unshown (rows: Row[], textOf: (file: string) => string): string[] {
  return rows.flatMap(({ ids, files }) => {
    const named = files.map((file) => idsOf(textOf(file)))
    return [
      ...ids.filter((id) => !named.some((each) => each.has(id))).map((id) => `${id} in ${files.join(' or ')}`),
      ...files.filter((_, index) => !ids.some((id) => named[index]?.has(id))).map((file) => `${file} for ${ids.join(' or ')}`)
    ]
  })
}

t.test('every requirement of the security table is named by a test in the files beside it', async (t) => {
  const rows = rowsOf(readFileSync(`${root}docs/security/requirements.md`, 'utf8'))
  t.ok(rows.length > 25)
  t.strictSame(unshown(rows, (file) => readFileSync(`${root}test/${file}`, 'utf8')), [])
})

t.test('a requirement without a test, and a test without a requirement, are found', async (t) => {
  const page = [
    '<!-- security -->', '| requirement | behaviour | tests |', '|---|---|---|',
    '| 1.1, CVE-1 | something | `a.test.ts` |', '| 2.2 | something | `a.test.ts`, `b.test.ts` |', '<!-- /security -->'
  ].join('\n')
  const texts: Record<string, string> = { 'a.test.ts': "t.test('[1.1, 2.2] holds', …", 'b.test.ts': "t.test('holds', …" }
  t.strictSame(unshown(rowsOf(page), (file) => texts[file] ?? ''), ['CVE-1 in a.test.ts', 'b.test.ts for 2.2'])
})
