import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { anchorsOf, linksOf, pages } from '../helpers/pages.ts'
import { root } from '../helpers/process.ts'

t.test('every link leads to a file, and every anchor to a heading of it', async (t) => {
  const links = pages().flatMap((page) => linksOf(page).map((link) => ({ from: page.path, ...link })))
  const broken = links.filter(({ path, anchor }) => {
    if (!existsSync(join(root, path))) return true
    return anchor !== '' && path.endsWith('.md') && !anchorsOf(readFileSync(join(root, path), 'utf8')).has(anchor)
  })
  t.ok(links.length > 0)
  t.strictSame(broken.map(({ from, target }) => `${from}: ${target}`), [])
})

t.test('every page of the docs can be reached from the README', async (t) => {
  const all = pages()
  if (!all.some(({ path }) => path === 'README.md')) return t.pass('not asked for')
  const reached = new Set<string>()
  const follow = (path: string): void => {
    const page = all.find((each) => each.path === path)
    if (page === undefined || reached.has(path)) return
    reached.add(path)
    for (const link of linksOf(page)) follow(link.path)
  }
  follow('README.md')
  t.strictSame(all.map(({ path }) => path).filter((path) => path.startsWith('docs/') && !reached.has(path)), [])
})

t.test('a link and an anchor are found as GitHub finds them', async (t) => {
  const text = '# `ERR_A`: what, now?\n## A b\n## A b\n```md\n# [no](no.md)\n```\n[one](../a.md#a-b-1) `[two](x.md)` ![three](b.png) [four](https://example.com)'
  t.strictSame([...anchorsOf(text)], ['err_a-what-now', 'a-b', 'a-b-1'])
  t.strictSame(linksOf({ path: 'docs/x/y.md', text }).map(({ path, anchor }) => `${path}#${anchor}`), ['docs/a.md#a-b-1', 'docs/x/b.png#'])
})
