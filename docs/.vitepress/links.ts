import { readFileSync } from 'node:fs'
import type { MarkdownOptions } from 'vitepress'
import { docs } from './contents.ts'
import { repositoryOf, siteTarget } from './targets.ts'

type Markdown = Parameters<NonNullable<MarkdownOptions['config']>>[0]

const repository = repositoryOf(JSON.parse(readFileSync(`${docs}../package.json`, 'utf8')))

/**
 * Makes links of the pages work on the site. Links to files outside of `docs` lead to the repository; where package.json
 * names none, they are text. A link to docs/README.md leads to the home page.
 */
export function repositoryLinks (markdown: Markdown): void {
  markdown.core.ruler.push('repository-links', ({ tokens, env }) => {
    const page = (env.relativePath as string).replace(/^index\.md$/, 'README.md')
    for (const { children } of tokens) {
      if (children === null) continue
      const open: Array<string | null> = []
      const kept = children.filter((token) => {
        if (token.type === 'link_close') return open.pop() !== null
        if (token.type !== 'link_open') return true
        const target = siteTarget(token.attrGet('href') ?? '', page, repository)
        open.push(target)
        if (target !== null) token.attrSet('href', target)
        return target !== null
      })
      children.splice(0, children.length, ...kept)
    }
  })
}
