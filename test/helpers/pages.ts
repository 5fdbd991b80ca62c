import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { root } from './process.ts'

/** A page of the documentation. */
export interface Page {
  /** From the repository's root, as `docs/guides/spa.md`. */
  path: string
  text: string
}

/** Reads the pages that users read: those in `docs/`, and those at the root. `PAGES=docs/guides/spa.md` asks for some. */
export function pages (): Page[] {
  const asked = process.env.PAGES?.split(/[\s,]+/).filter((path) => path !== '')
  return allPaths().filter((path) => asked?.includes(path) ?? true).map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }))
}

function allPaths (): string[] {
  const inDocs = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' }).filter((name) => !name.includes('node_modules') && !name.startsWith('.'))
  return [...readdirSync(root), ...inDocs.map((name) => `docs/${name}`)].filter((name) => name.endsWith('.md')).sort()
}

/** Anchors that GitHub and the site give to the headings of a page. */
export function anchorsOf (text: string): Set<string> {
  const anchors = new Set<string>()
  for (const [, title = ''] of withoutCode(text).matchAll(/^#+ (.+)$/gm)) {
    const anchor = title.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase().replace(/[^\p{L}\p{N}_ -]/gu, '').trim().replaceAll(' ', '-')
    // A second heading of the same words gets a number.
    let name = anchor
    for (let count = 1; anchors.has(name); count++) name = `${anchor}-${count}`
    anchors.add(name)
  }
  return anchors
}

/** A link to a file of the repository, images included. */
export interface Link {
  /** As it is written. */
  target: string
  /** From the repository's root. */
  path: string
  /** What stands after `#`, or ''. */
  anchor: string
}

/** Finds the links of a page that lead to files of the repository. */
export function linksOf ({ path, text }: Page): Link[] {
  return [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target = '']) => target)
    .filter((target) => !/^(https?|mailto):/.test(target))
    .map((target) => {
      const [file = '', anchor = ''] = target.split('#')
      return { target, path: file === '' ? path : normalize(join(dirname(path), decodeURI(file))), anchor }
    })
}

/** A page's text without blocks and spans of code: what looks like a link or a heading there is none. */
function withoutCode (text: string): string {
  return text.replace(/^```[^]*?^```$/gm, '').replace(/`[^`\n]*`/g, (code) => code.replace(/[[\]()#<>]/g, ''))
}

/** Splits what a page says in paragraphs and list items into sentences. Tables, headings and code are left out. */
export function sentencesOf (text: string): string[] {
  const prose = text
    .replace(/^---\n[^]*?^---$/m, '')
    .replace(/^```[^]*?^```$/gm, '\n\n')
    .replace(/<!--[^]*?-->/g, '')
    .replace(/^(#|\||!\[|Besides: ).*$/gm, '')
    .replace(/^\s*([-*]|\d+\.) /gm, '\n\n')
    .replace(/^> ?/gm, '')
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/``?([^`]+)``?/g, (_, code: string) => code.replace(/[.?!:]/g, '').replace(/\s+/g, '_') || 'code')
  return prose.split(/\n\s*\n/).flatMap((paragraph) => paragraph.replace(/\s+/g, ' ').trim().replace(/[*_]{2}/g, '').split(/(?<=[.?!]["')]?)\s+/)).filter((each) => /\p{L}/u.test(each))
}

/** How many words a sentence has. */
export function wordsOf (sentence: string): number {
  return sentence.split(/\s+/).filter((word) => /[\p{L}\p{N}]/u.test(word)).length
}
