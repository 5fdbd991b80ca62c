import t from 'tap'
import { repositoryOf, siteTarget, slugify } from '../../docs/.vitepress/targets.ts'
import { anchorsOf, pages } from '../helpers/pages.ts'

const REPOSITORY = 'https://github.com/ada/sessions'

t.test('a link to a file outside of docs/ leads to the repository, or nowhere without one', async (t) => {
  t.equal(siteTarget('../../lib/index.ts', 'guides/spa.md', REPOSITORY), `${REPOSITORY}/blob/main/lib/index.ts`)
  t.equal(siteTarget('../examples', 'tutorial.md', REPOSITORY), `${REPOSITORY}/tree/main/examples`)
  t.equal(siteTarget('../README.md#install', 'README.md', REPOSITORY), `${REPOSITORY}/blob/main/README.md#install`)
  t.equal(siteTarget('../README.md', 'README.md', null), null)
  t.throws(() => siteTarget('../nothing.md', 'README.md', null), { message: /README\.md links to nothing\.md/ })
})

t.test('other links stay as they are, and the list of pages is the home page', async (t) => {
  for (const href of ['#install', 'https://example.com/a.md', 'mailto:ada@example.com', 'tutorial.md#8-tests']) {
    t.equal(siteTarget(href, 'README.md', REPOSITORY), href)
  }
  t.equal(siteTarget('../README.md', 'guides/testing.md', REPOSITORY), '../index.md')
  t.equal(siteTarget('README.md', 'tutorial.md', REPOSITORY), 'index.md')
})

t.test('package.json may name the repository in any form that npm takes', async (t) => {
  const forms = ['ada/sessions', 'github:ada/sessions', REPOSITORY, `git+${REPOSITORY}.git`, 'git@github.com:ada/sessions.git']
  for (const form of forms) {
    t.equal(repositoryOf({ repository: form }), REPOSITORY, form)
    t.equal(repositoryOf({ repository: { url: form } }), REPOSITORY, form)
  }
  t.equal(repositoryOf({}), null)
})

t.test('headings have the same anchors on the site as on GitHub', async (t) => {
  for (const { path, text } of pages()) {
    const anchors = anchorsOf(text)
    const headings = [...text.replace(/^```[^]*?^```$/gm, '').matchAll(/^#+ (.+)$/gm)].map(([, title = '']) => title.replace(/[`*]/g, ''))
    t.strictSame(headings.map(slugify).filter((id) => !anchors.has(id)), [], path)
  }
})
