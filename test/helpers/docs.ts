// Writes the README's tables from the code: npm run docs
import { readFileSync, writeFileSync } from 'node:fs'
import { errors } from '../../lib/errors.ts'
import { interfacesOf } from './comments.ts'
import type { Member } from './comments.ts'
import { root } from './process.ts'

const readme = `${root}README.md`

/** The interfaces whose members a table of the README lists, by the table's name. */
const OPTIONS: Record<string, [file: string, name: string]> = {
  options: ['lib/options/types.ts', 'SessionOptions'],
  cookie: ['lib/options/types.ts', 'CookieOptions'],
  attempts: ['lib/options/types.ts', 'AttemptOptions'],
  'auth options': ['lib/http/routes/auth-options.ts', 'AuthRoutesOptions'],
  'session options': ['lib/http/routes/session-options.ts', 'SessionRoutesOptions']
}

/** Makes what the README holds between its markers anew. */
export function withTables (text: string): string {
  const tables = Object.entries(OPTIONS).map(([name, [file, of]]) => [name, optionTable(membersOf(file, of))] as const)
  return [...tables, ['errors', errorTable()] as const].reduce((page, [name, table]) => {
    const marked = new RegExp(`<!-- ${name} -->[^]*<!-- /${name} -->`)
    if (!marked.test(page)) throw new Error(`README.md has no place for the table of ${name}`)
    return page.replace(marked, () => `<!-- ${name} -->\n${table}\n<!-- /${name} -->`)
  }, text)
}

function membersOf (file: string, name: string): Member[] {
  const members = interfacesOf(`${root}${file}`).get(name)
  if (members === undefined) throw new Error(`${file} has no ${name}`)
  return members
}

function optionTable (members: Member[]): string {
  const hasDefaults = members.some((member) => member.default !== undefined)
  const rows = members.map(({ name, text, see, default: value }) => {
    // What is in this page: a reader of the table has no other place to look.
    const links = see.filter((each) => each.includes('](README.md#')).map((each) => each.replace('README.md', ''))
    const meaning = links.length === 0 ? text : `${text} See ${links.join(', ')}.`
    return row(`\`${name}\``, ...hasDefaults ? [value === undefined ? '' : `\`${value}\``] : [], meaning)
  })
  const head = hasDefaults ? ['| option | default | meaning |', '|---|---|---|'] : ['| option | meaning |', '|---|---|']
  return [...head, ...rows].join('\n')
}

function row (...cells: string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
}

function errorTable (): string {
  const rows = Object.values(errors).map((SessionError) => {
    const { code, statusCode, message } = new SessionError('…')
    // @fastify/error appends what a message has no place for.
    return row(`\`${code}\``, String(statusCode), message.replace(/(?<!:) …$/, ''))
  })
  return ['| code | status | message |', '|---|---|---|', ...rows].join('\n')
}

if (import.meta.url === `file://${process.argv[1] ?? ''}`) {
  writeFileSync(readme, withTables(readFileSync(readme, 'utf8')))
}
