import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { defineConfig } from 'vitepress'
import { docs, pagesIn, readContents } from './contents.ts'
import { repositoryLinks } from './links.ts'
import { llmsFull, llmsIndex } from './llms.ts'
import { slugify } from './targets.ts'

/** Where the site lies on its host: `/` or, on GitHub Pages, `/<repository>/`. */
const base = process.env.DOCS_BASE ?? '/'
const { name, description } = JSON.parse(readFileSync(join(docs, '../package.json'), 'utf8')) as Record<'name' | 'description', string>
const API = { text: 'API of all exports', link: '/api/index.html', target: '_self' }

export default defineConfig({
  title: name,
  description,
  base,
  lang: 'en',
  rewrites: { 'README.md': 'index.md' },
  head: [['link', { rel: 'icon', type: 'image/svg+xml', href: `${base}icon.svg` }]],
  markdown: {
    // Those of the default theme are too faint for some.
    theme: { light: 'github-light-high-contrast', dark: 'github-dark-high-contrast' },
    anchor: { slugify },
    // GitHub knows no `{…}` for attributes.
    attrs: { disable: true },
    config: repositoryLinks
  },
  // Pictures outside of `docs`, in `npm run docs:dev`.
  vite: { server: { fs: { allow: [join(docs, '..')] } } },
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    nav: [
      { text: 'Tutorial', link: '/tutorial' },
      { text: 'Options', link: '/reference/options' },
      { text: 'Errors', link: '/reference/errors' },
      { text: 'Troubleshooting', link: '/troubleshooting' },
      { ...API, text: 'API' }
    ],
    sidebar: readContents().map(({ title, pages }) => ({
      text: title,
      items: [
        ...pages.map((page) => ({ text: page.title, link: `/${page.path.replace(/\.md$/, '')}` })),
        ...pages.some(({ path }) => path.startsWith('reference/')) ? [API] : []
      ]
    }))
  },
  buildEnd ({ outDir }) {
    writeFileSync(join(outDir, 'llms.txt'), llmsIndex((path) => `${base}${path}`))
    writeFileSync(join(outDir, 'llms-full.txt'), llmsFull())
    // The pages as llms.txt names them.
    for (const path of pagesIn()) {
      mkdirSync(dirname(join(outDir, path)), { recursive: true })
      copyFileSync(join(docs, path), join(outDir, path))
    }
  }
})
