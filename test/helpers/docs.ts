// Writes the tables of the pages from the code: npm run docs
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, relative } from 'node:path'
import ts from 'typescript'
import { checkTable, costTable, latenessTable, paperTable, reconnectTable } from '../../bench/fleet/tables.ts'
import type { FleetResult } from '../../bench/fleet/tables.ts'
import { errors } from '../../lib/errors.ts'
import { METRICS } from '../../lib/metrics/definitions.ts'
import { aliasOf, interfacesOf, signatureOf } from './comments.ts'
import type { Member } from './comments.ts'
import { costResults, latencyTable, outsideTable, ownTable, readmeTable, waysTable } from './costs.ts'
import { pages } from './pages.ts'
import { root } from './process.ts'
import { publishedRoutes } from './published-routes.ts'
import type { Route } from './published-routes.ts'

/** Makes a table, for the page at a path. */
type Table = (page: string) => string

/** The page that has a section for each error code. */
const ERRORS = 'docs/reference/errors.md'

const TYPES = 'lib/options/types.ts'
const AUTH = 'lib/http/routes/auth-options.ts'
const MANAGER = 'lib/session/manager.ts'
const EVENTS = 'lib/session/events.ts'
const SECURITY_LOG = 'lib/session/security-log.ts'
const TRACES = 'lib/session/tracing.ts'
const FASTIFY = 'types/index.ts'

/** Files of the types that `types/index.ts` gives to what it adds to Fastify. */
const FUNCTIONS: Record<string, string> = {
  Authenticate: 'lib/http/guards.ts',
  RequireRecentLogin: 'lib/http/guards.ts',
  Login: 'lib/http/login.ts',
  Logout: 'lib/http/login.ts',
  AttemptLogin: 'lib/http/attempts.ts',
  TakeReturnPath: 'lib/http/return-path.ts'
}

/** The options in the README. */
const MOST_USED = [
  'secret', 'redis', 'idleTimeout', 'absoluteTimeout', 'remember', 'cookie', 'origins', 'bearer', 'maxSessionsPerUser',
  'nearCache'
]

const routes = await publishedRoutes()
const costs = costResults()

/** What stands between the markers of each table: `<!-- options -->` and `<!-- /options -->`. */
const TABLES: Record<string, Table> = {
  options: optionTable(TYPES, 'SessionOptions'),
  'most used options': mostUsed,
  cookie: optionTable(TYPES, 'CookieOptions'),
  remember: optionTable(TYPES, 'RememberOptions'),
  'near-cache': optionTable(TYPES, 'NearCacheOptions'),
  'device bound': optionTable(TYPES, 'DeviceBoundOptions'),
  'fork detection': optionTable(TYPES, 'ForkDetectionOptions'),
  attempts: optionTable(TYPES, 'AttemptOptions'),
  'attempt limit': optionTable(TYPES, 'AttemptLimitOptions'),
  encryption: optionTable(TYPES, 'EncryptionOptions'),
  'security log': optionTable(TYPES, 'SecurityLogOptions'),
  'security events': memberTable(SECURITY_LOG, 'SecurityEvents'),
  'security log entry': memberTable(SECURITY_LOG, 'SecurityLogEntry'),
  pages: optionTable(TYPES, 'PagesOptions'),
  decorators: optionTable(TYPES, 'DecoratorOptions'),
  'memory store': optionTable('lib/store/memory.ts', 'MemoryStoreOptions'),
  'redis store': optionTable('lib/redis/store.ts', 'RedisStoreOptions'),
  'express store': optionTable('lib/express/redis-store.ts', 'RedisStoreOptions'),
  'auth options': optionTable(AUTH, 'AuthRoutesOptions'),
  redirects: optionTable(AUTH, 'AuthRedirects'),
  'session options': optionTable('lib/http/routes/session-options.ts', 'SessionRoutesOptions'),
  'session redirects': optionTable('lib/http/routes/session-options.ts', 'SessionRedirects'),
  'admin options': optionTable('lib/http/routes/admin-options.ts', 'AdminRoutesOptions'),
  'admin redirects': optionTable('lib/http/routes/admin-options.ts', 'AdminRedirects'),
  instance: sections(FASTIFY, 'InstanceDecorators', 'app.'),
  request: sections(FASTIFY, 'RequestDecorators', 'request.'),
  'route config': memberTable(FASTIFY, 'FastifyContextConfig'),
  session: memberTable('lib/session/record.ts', 'SessionInfo'),
  signal: memberTable('lib/http/request-auth.ts', 'RequestAuth'),
  user: memberTable('lib/http/login.ts', 'LoginUser'),
  'login options': memberTable('lib/http/login.ts', 'LoginOptions'),
  manager: sections(MANAGER, 'SessionManager', ''),
  'create session': memberTable(MANAGER, 'CreateSession'),
  'created session': memberTable(MANAGER, 'CreatedSession'),
  'find options': memberTable(MANAGER, 'FindOptions'),
  'list sessions': memberTable(MANAGER, 'ListSessions'),
  'end options': memberTable('lib/session/end-cause.ts', 'EndOptions'),
  'revoke options': memberTable(MANAGER, 'RevokeOptions'),
  'revoke user options': memberTable(MANAGER, 'RevokeUserOptions'),
  health: memberTable(MANAGER, 'Health'),
  'manager options': (page) => managerOptions(page),
  events: memberTable(EVENTS, 'SessionEvents'),
  'session event': memberTable(EVENTS, 'SessionEvent'),
  'end reason': () => endReasons(),
  'login failure': memberTable(EVENTS, 'LoginFailure'),
  'use after end': memberTable(EVENTS, 'UseAfterEnd'),
  'device mismatch': memberTable(EVENTS, 'DeviceMismatch'),
  'session fork': memberTable(EVENTS, 'SessionFork'),
  traces: memberTable(TRACES, 'SessionTraces'),
  'every trace': memberTable(TRACES, 'Trace'),
  'trace members': () => traceMembers(),
  metrics: () => metricTable(),
  'metrics options': optionTable('lib/metrics/collect.ts', 'MetricsOptions'),
  'end info': memberTable('lib/session/end-cause.ts', 'EndInfo'),
  'auth routes': (page) => routeSections(page, routes.auth),
  'session routes': (page) => routeSections(page, routes.sessions),
  'admin routes': (page) => routeSections(page, routes.admin),
  errors: (page) => errorTable(page),
  costs: () => readmeTable(costs),
  'request costs': () => ownTable(costs.own),
  'request costs from outside': () => outsideTable(costs.outside),
  'request costs in each way': () => waysTable(costs.outside),
  latencies: () => latencyTable(costs.outside),
  'fleet costs': () => costTable(measuredFleet()),
  'fleet check': () => checkTable(measuredFleet()),
  'fleet sizes': () => paperTable(measuredFleet()),
  'fleet lateness': () => latenessTable(measuredFleet()),
  'fleet reconnects': () => reconnectTable(measuredFleet())
}

/** Names of all tables. Each stands in one page. */
export const tableNames = Object.keys(TABLES)

/** Returns the names of the tables that a page has a place for. */
export function tablesOf (text: string): string[] {
  return tableNames.filter((name) => markersOf(name).test(text))
}

/** Makes the tables of a page anew. `path`: where it stands, as `docs/reference/options.md`. */
export function withTables (path: string, text: string): string {
  return tablesOf(text).reduce((page, name) => {
    const table = TABLES[name]?.(path) ?? ''
    return page.replace(markersOf(name), () => `<!-- ${name} -->\n${table}\n<!-- /${name} -->`)
  }, text)
}

function markersOf (name: string): RegExp {
  return new RegExp(`<!-- ${name} -->[^]*?<!-- /${name} -->`)
}

function membersOf (file: string, name: string): Member[] {
  const members = interfacesOf(`${root}${file}`).get(name)
  if (members === undefined) throw new Error(`${file} has no ${name}`)
  return members
}

/** Lists options: name, default, meaning. */
function optionTable (file: string, name: string): Table {
  return (page) => {
    const members = membersOf(file, name)
    const hasDefaults = members.some((member) => member.default !== undefined)
    return table(['option', ...hasDefaults ? ['default'] : [], 'meaning'], members.map((member) => {
      const value = member.default === undefined ? '' : `\`${member.default}\``
      return [`\`${member.name}\``, ...hasDefaults ? [value] : [], meaningOf(page, member)]
    }))
  }
}

/** Lists the options that most applications need, with the first sentence of each. */
function mostUsed (): string {
  const members = membersOf(TYPES, 'SessionOptions')
  return table(['option', 'default', 'meaning'], MOST_USED.map((name) => {
    const member = members.find((each) => each.name === name)
    if (member === undefined) throw new Error(`there is no option ${name}`)
    const [meaning = ''] = /^(\*\*Required\.\*\* )?.+?\.(?= |$)/.exec(member.text) ?? []
    return [`\`${name}\``, member.default === undefined ? '' : `\`${member.default}\``, meaning]
  }))
}

/** Lists members: name, type, meaning. */
function memberTable (file: string, name: string): Table {
  return (page) => table(['name', 'type', 'meaning'], membersOf(file, name).map((member) => {
    const ending = member.default === undefined ? '' : ` Default: \`${member.default}\`.`
    const type = shown(member.type)
    const name = `\`${member.name}${member.isOptional ? '?' : ''}\``
    return [name, type === '' ? '' : `\`${type}\``, `${meaningOf(page, member)}${ending}`]
  }))
}

/** Describes members one after the other: signature, meaning, errors. */
function sections (file: string, name: string, prefix: string): Table {
  return (page) => membersOf(file, name).map((member) => {
    const { name: of, isMethod, throws } = member
    const [signature, meaning] = callOf(member)
    const heading = `### ${prefix}${of}`
    const fails = throws.map((each) => `- ${linked(page, each)}${/[.]$/.test(each) ? '' : '.'}`)
    return [
      heading,
      `\`${prefix}${of}${isMethod || signature.startsWith('(') || signature.startsWith('<') ? '' : ': '}${shown(signature)}\``,
      meaningOf(page, { ...member, text: [member.text, meaning].filter((each) => each !== '').join(' ') }),
      ...fails.length === 0 ? [] : [`Throws:\n\n${fails.join('\n')}`]
    ].join('\n\n')
  }).join('\n\n')
}

/** Returns how a member is called, and what its type's comment says of its parameters. */
function callOf ({ type }: Member): [signature: string, meaning: string] {
  const file = FUNCTIONS[type]
  if (file === undefined) return [type, '']
  const { node, text } = aliasOf(`${root}${file}`, type)
  if (!ts.isFunctionTypeNode(node)) throw new Error(`${type} is no function`)
  const parameters = type === 'AttemptLogin' ? text.replace(/^.*?: `app\.attemptLogin`\. /, '') : ''
  return [signatureOf(node), parameters]
}

/** A type as users know it. Of the arguments of a listener that of the only one. */
function shown (type: string): string {
  const argument = /^\[ ?(?:\w+: (.+?))? ?\]$/.exec(type)
  return (argument === null ? type : argument[1] ?? '').replace(/\bAny(Request|Reply)\b/g, 'Fastify$1').replace(/ \| undefined\b/g, '')
}

function meaningOf (page: string, { text, see }: Pick<Member, 'text' | 'see'>): string {
  // Requirements and RFCs are for editors; a link is for a reader of the page, unless it is there already.
  const links = see.filter((each) => each.startsWith('[') && !each.includes(`](${page})`))
  const relatives = links.map((each) => each.replace(/\]\((.+?)\)/, (_, to: string) => `](${pathFrom(page, to)})`))
  return linked(page, relatives.length === 0 ? text : `${text} See ${relatives.join(', ')}.`)
}

/** Makes links of error codes. */
function linked (page: string, text: string): string {
  return text.replace(/^TypeError\b/, '`TypeError`').replace(/`?\b(ERR_SESSION_[A-Z_]+)\b`?/g, (_, code: string) => {
    const to = page === ERRORS ? '' : pathFrom(page, ERRORS)
    return `[\`${code}\`](${to}#${code.toLowerCase()})`
  })
}

function pathFrom (page: string, to: string): string {
  return relative(dirname(page), to)
}

function managerOptions (page: string): string {
  const [from, to] = [membersOf(TYPES, 'SessionOptions'), membersOf('lib/standalone.ts', 'SessionManagerOptions')]
  const { node } = aliasOf(`${root}lib/standalone.ts`, 'SharedOptions')
  const shared = node.getText().match(/\w+/g) ?? []
  if (shared.some((name) => !from.some((each) => each.name === name))) throw new Error('SharedOptions are not all options')
  return `${table(['option', 'meaning'], to.map((each) => [`\`${each.name}\``, `**Required.** ${meaningOf(page, each)}`]))}

As for the plugin: ${shared.map((name) => `\`${name}\``).join(', ')}.`
}

/** What `npm run bench:fleet` has written. */
function measuredFleet (): FleetResult {
  return JSON.parse(readFileSync(`${root}bench/results/fleet.json`, 'utf8')) as FleetResult
}

/** Lists what each trace says besides. */
function traceMembers (): string {
  return table(['trace', 'member', 'type', 'meaning'], membersOf(TRACES, 'SessionTraces').flatMap(({ name, type }) => {
    return membersOf(TRACES, type).map((member) => [`\`${name}\``, `\`${member.name}\``, `\`${shown(member.type)}\``, member.text])
  }))
}

/** Lists all metrics, with the values of their labels. */
function metricTable (): string {
  return table(['metric', 'type', 'labels', 'meaning'], Object.values(METRICS).map(({ name, type, labels, help }) => [
    `\`${name}\``,
    type,
    Object.entries<readonly string[]>(labels).map(([label, values]) => `\`${label}\`: ${values.map((value) => `\`${value}\``).join(', ')}`).join('; '),
    help
  ]))
}

function endReasons (): string {
  const { node, text } = aliasOf(`${root}${EVENTS}`, 'EndReason')
  return `${text} One of ${[...node.getText().matchAll(/\w+/g)].map(([name]) => `\`${name}\``).join(', ')}.`
}

function routeSections (page: string, of: Route[]): string {
  return of.map(({ method, path, summary, description, fields, replies }) => [
    `### ${method} ${path}`,
    [`${summary}.`, linked(page, description)].filter((each) => each !== '').join(' '),
    ...fields.length === 0
      ? []
      : [table(['field', 'in', 'type', 'meaning'], fields.map((field) => {
          const name = `\`${field.name}\`${field.isRequired ? '' : ' (optional)'}`
          return [name, field.place, `\`${field.type}\``, linked(page, field.description)]
        }))],
    table(['status', 'body', 'meaning'], replies.map((reply) => {
      return [reply.status, reply.body === '' ? '' : `\`${reply.body}\``, linked(page, reply.description)]
    }))
  ].join('\n\n')).join('\n\n')
}

function errorTable (page: string): string {
  return table(['code', 'status', 'message'], Object.values(errors).map((SessionError) => {
    const { code, statusCode } = new SessionError()
    return [linked(page, code), String(statusCode), messageOf(SessionError)]
  }))
}

/** Returns the message of an error, with `…` for what differs from case to case. */
export function messageOf (SessionError: (typeof errors)[keyof typeof errors]): string {
  return new SessionError().message.replace('%s', '…')
}

function table (head: string[], rows: string[][]): string {
  return [row(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(row)].join('\n')
}

function row (cells: string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
}

if (import.meta.url === `file://${process.argv[1] ?? ''}`) {
  for (const { path, text } of pages()) {
    const made = withTables(path, text)
    if (made !== text) writeFileSync(`${root}${path}`, made)
  }
}
