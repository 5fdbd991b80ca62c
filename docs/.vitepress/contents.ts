import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/*
 * The contents of the documentation, as docs/README.md lists it: sections with a heading, and a list of pages with a
 * line about each. The site's sidebar, llms.txt and llms-full.txt are made from it.
 */

/** A page of the documentation. */
export interface Page {
  /** From the folder `docs`, as `guides/spa.md`. */
  path: string
  /** The first heading. */
  title: string
  /** The line about it in docs/README.md, or else the page's first sentence. */
  about: string
  /** What is in it, without the comments that tests read. */
  text: string
}

/** Pages under one heading of docs/README.md. */
export interface Section {
  title: string
  pages: Page[]
}

/** The folder `docs`. */
export const docs = fileURLToPath(new URL('..', import.meta.url))

/**
 * Reads the contents.
 * @throws if docs/README.md leaves out a page of the folder, or names one twice.
 */
export function readContents (): Section[] {
  const sections: Section[] = []
  for (const line of readFileSync(`${docs}README.md`, 'utf8').split('\n')) {
    const [, heading] = /^## (.+)$/.exec(line) ?? []
    if (heading !== undefined) sections.push({ title: heading, pages: [] })
    const [, path, about] = /^(?:[-*] |\| )\**\[[^\]]+\]\(([\w/-]+\.md)\)\**\s*(?:[:,|–—-]\s*)?(.*?)\s*\|?$/.exec(line) ?? []
    if (path !== undefined && existsSync(docs + path)) sections.at(-1)?.pages.push(readPage(path, about ?? ''))
  }
  const listed = sections.flatMap(({ pages }) => pages.map(({ path }) => path)).sort()
  const there = pagesIn().filter((path) => path !== 'README.md')
  const wrong = [...there.filter((path) => !listed.includes(path)), ...listed.filter((path, index) => listed.indexOf(path) !== index)]
  if (wrong.length > 0) throw new Error(`docs/README.md lists not at all, or twice: ${wrong.join(', ')}`)
  return sections.filter(({ pages }) => pages.length > 0)
}

/** Returns the paths of all pages, from the folder `docs`. */
export function pagesIn (): string[] {
  return readdirSync(docs, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.md') && !/(^|\/)(node_modules|\.[^/]+)\//.test(path))
    .sort()
}

/** Reads a page. */
export function readPage (path: string, about: string): Page {
  const text = readFileSync(docs + path, 'utf8').replace(/^<!--[^]*?-->\n/gm, '')
  const [, title] = /^# (.+)$/m.exec(text) ?? []
  if (title === undefined) throw new Error(`docs/${path} has no heading`)
  return { path, title: title.replace(/`/g, ''), about: about === '' ? firstSentence(text) : about, text }
}

function firstSentence (text: string): string {
  const [, paragraph = ''] = /^# .+\n+(?!```|[#|<])([^]+?)(?:\n\n|$)/m.exec(text) ?? []
  return (paragraph.split(/(?<=[.!?]) /, 1)[0] ?? '').replaceAll('\n', ' ').replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
}
