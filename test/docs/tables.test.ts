import t from 'tap'
import { tableNames, tablesOf, withTables } from '../helpers/docs.ts'
import { pages } from '../helpers/pages.ts'

const all = pages()

t.test('the tables are those of the code: npm run docs writes them', async (t) => {
  const old = all.filter(({ path, text }) => withTables(path, text) !== text)
  t.strictSame(old.map(({ path }) => path), [])
})

t.test('the README says at its beginning what its table of costs says', async (t) => {
  const readme = all.find(({ path }) => path === 'README.md')
  if (readme === undefined) return t.pass('not asked for')
  const ratios = [/defaults \| ([\d.]+)/, /\| fastify-user-sessions \| ([\d.]+)/].map((row) => Number(row.exec(readme.text)?.[1]).toFixed(1))
  t.match(readme.text, `${ratios[0]} times the CPU of Fastify | One read for many requests: ${ratios[1]} times |`)
})

t.test('each table stands in one page', async (t) => {
  if (process.env.PAGES !== undefined) return t.pass('not asked for')
  const places = tableNames.map((name) => ({ name, of: all.filter(({ text }) => tablesOf(text).includes(name)) }))
  t.strictSame(places.filter(({ of }) => of.length !== 1).map(({ name, of }) => `${name}: ${of.length}`), [])
})

t.test('what stands between markers is made anew, with links from where the page is', async (t) => {
  const made = (path: string) => withTables(path, 'before <!-- errors -->\nold\n<!-- /errors --> after')
  const [there, elsewhere] = [made('docs/reference/errors.md'), made('docs/guides/spa.md')]
  t.match(there, /^before <!-- errors -->\n\| code \| status \| message \|\n/)
  t.match(there, '| [`ERR_SESSION_NOT_FOUND`](#err_session_not_found) | 404 | Session not found |')
  t.match(elsewhere, '[`ERR_SESSION_NOT_FOUND`](../reference/errors.md#err_session_not_found)')
  t.notMatch(there, 'old')
  t.match(there, / after$/)
  t.equal(withTables('docs/x.md', 'no markers'), 'no markers')
})
