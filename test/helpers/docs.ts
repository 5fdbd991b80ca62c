// Writes the README's tables from the code: npm run docs
import { readFileSync, writeFileSync } from 'node:fs'
import type { TSchema } from '@sinclair/typebox'
import { errors } from '../../lib/errors.ts'
import { SessionOptions } from '../../lib/options/schema.ts'

const readme = new URL('../../README.md', import.meta.url)

/** What the README holds between its markers, made anew. */
export function withTables (text: string): string {
  const tables = { options: optionTable(SessionOptions), cookie: optionTable(members(SessionOptions).cookie as TSchema), errors: errorTable() }
  return Object.entries(tables).reduce((page, [name, table]) => {
    const marked = new RegExp(`<!-- ${name} -->[^]*<!-- /${name} -->`)
    if (!marked.test(page)) throw new Error(`README.md has no place for the table of ${name}`)
    return page.replace(marked, () => `<!-- ${name} -->\n${table}\n<!-- /${name} -->`)
  }, text)
}

function optionTable (schema: TSchema): string {
  const rows = Object.entries(members(schema)).map(([name, { description, default: value }]) =>
    `| \`${name}\` | ${value === undefined ? '' : `\`${JSON.stringify(value).replaceAll('"', "'")}\``} | ${String(description)} |`)
  return ['| option | default | meaning |', '|---|---|---|', ...rows].join('\n')
}

function errorTable (): string {
  const rows = Object.values(errors).map((SessionError) => {
    const { code, statusCode, message } = new SessionError('…')
    // @fastify/error appends what a message has no place for.
    return `| \`${code}\` | ${statusCode} | ${message.replace(/(?<!:) …$/, '')} |`
  })
  return ['| code | status | message |', '|---|---|---|', ...rows].join('\n')
}

/** The members of an object schema, also of an optional one. */
function members (schema: TSchema): Record<string, TSchema> {
  const object = schema.anyOf === undefined ? schema : (schema.anyOf as TSchema[]).find((each) => each.type === 'object')
  return (object?.properties ?? {}) as Record<string, TSchema>
}

if (import.meta.url === `file://${process.argv[1] ?? ''}`) writeFileSync(readme, withTables(readFileSync(readme, 'utf8')))
