import { readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { docs, readContents, readPage } from './contents.ts'

/*
 * The documentation for programs that read: llms.txt lists the pages (https://llmstxt.org), llms-full.txt has all of
 * them in one file.
 */

/** Makes llms.txt. `linkTo` returns where a page is; it gets the page's path from the folder `docs`. */
export function llmsIndex (linkTo: (path: string) => string): string {
  const sections = readContents().map(({ title, pages }) => [
    `## ${title}`,
    '',
    ...pages.map(({ path, title, about }) => `- [${title}](${linkTo(path)}): ${about}`)
  ].join('\n'))
  return `${[...head(), ...sections].join('\n\n')}\n`
}

/** Makes llms-full.txt: the README and each page, under a line that says which it is. */
export function llmsFull (): string {
  const pages = ['../README.md', 'README.md'].map((path) => readPage(path, ''))
  const parts = [...pages, ...readContents().flatMap(({ pages }) => pages)].map(({ path, text }) => {
    return `---\n\nPage: ${posix.join('docs', path)}\n\n${text.trim()}`
  })
  return `${[...head(), ...parts].join('\n\n')}\n`
}

function head (): string[] {
  const { name, description } = JSON.parse(readFileSync(`${docs}../package.json`, 'utf8')) as Record<'name' | 'description', string>
  return [`# ${name}`, `> ${description}.`]
}
