import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { llmsFull, llmsIndex } from '../../docs/.vitepress/llms.ts'
import { pages } from '../helpers/pages.ts'
import { root } from '../helpers/process.ts'

const all = pages().filter(({ path }) => path === 'README.md' || path.startsWith('docs/'))

t.test('llms.txt lists every page, and is what npm run docs writes', async (t) => {
  const text = readFileSync(join(root, 'llms.txt'), 'utf8')
  t.equal(text, llmsIndex((path) => `docs/${path}`))
  t.match(text, /^# fastify-user-sessions\n\n> .+\n\n## /)
  for (const { path } of all.filter(({ path }) => !path.endsWith('README.md'))) {
    t.match(text, new RegExp(`^- \\[[^\\]]+\\]\\(${path}\\): .+$`, 'm'), path)
  }
})

t.test('llms-full.txt has every page', async (t) => {
  const text = llmsFull()
  for (const { path, text: page } of all) {
    t.ok(text.includes(`Page: ${path}\n`), path)
    const paragraphs = page.split('\n\n').filter((paragraph) => !paragraph.includes('<!--') && paragraph.trim() !== '')
    t.strictSame(paragraphs.filter((paragraph) => !text.includes(paragraph.trim())), [], path)
  }
})
