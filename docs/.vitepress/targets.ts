import { existsSync, statSync } from 'node:fs'
import { join, posix } from 'node:path'
import { docs } from './contents.ts'

const root = join(docs, '..')

/**
 * Returns where a link of a page leads on the site. `page`: its path from `docs`. `repository`: the address of the
 * files outside of `docs`; where it is `null`, a link to one of them leads nowhere: `null`.
 * @throws if there is no such file.
 */
export function siteTarget (href: string, page: string, repository: string | null): string | null {
  if (/^([a-z]+:|#)/.test(href)) return href
  const [, file = '', anchor = ''] = /^([^#]*)(#.*)?$/.exec(href) ?? []
  const path = posix.join('docs', posix.dirname(page), file)
  if (!existsSync(join(root, path))) throw new Error(`docs/${page} links to ${path}, which does not exist`)
  if (path === 'docs/README.md') return `${posix.relative(posix.dirname(page), 'index.md')}${anchor}`
  if (path.startsWith('docs/')) return href
  const kind = statSync(join(root, path)).isDirectory() ? 'tree' : 'blob'
  return repository === null ? null : `${repository}/${kind}/main/${path}${anchor}`
}

/** Returns the address of the repository that package.json names, in any of the forms that npm takes, or `null`. */
export function repositoryOf ({ repository }: { repository?: string | { url: string } }): string | null {
  const url = typeof repository === 'string' ? repository : repository?.url ?? ''
  const [, path] = /^(?:.*github\.com[/:]|github:)?([\w.-]+\/[\w.-]+?)(?:\.git)?$/.exec(url) ?? []
  return path === undefined ? null : `https://github.com/${path}`
}

/** Returns the id of a heading, as GitHub makes it. */
export function slugify (heading: string): string {
  return heading.toLowerCase().replace(/[^\p{L}\p{N}_ -]/gu, '').trim().replaceAll(' ', '-')
}
