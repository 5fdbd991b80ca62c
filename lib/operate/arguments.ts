import { parseArgs } from 'node:util'
import { isId } from '../session/token.ts'
import type { OptionSpec, Values } from './command.ts'
import { misuse } from './exit.ts'
import { clean } from './output.ts'

/** Options that every command has. */
export const COMMON: Readonly<Record<string, OptionSpec>> = {
  redis: { value: 'URL', says: 'where Redis is. Default: REDIS_URL. A password comes from REDIS_PASSWORD' },
  prefix: { value: 'TEXT', says: 'the keyPrefix of the application. Default: sess:' },
  cluster: { says: 'Redis is a Cluster. So it is with several URLs, separated by commas' },
  sentinel: { value: 'NAME', says: 'the URLs are of Sentinels, which know the master by this name' },
  json: { says: 'print JSON' },
  help: { short: 'h', says: 'print this' }
}

/** What begins like a cookie's value or a bearer token: nothing that belongs into a list of processes. */
const TOKEN = /(?:^|[=:\s])(?:fus_)?[\w-]{22}(?:\.|%2e)[\w-]{32}/i
/** Stands before ids that begin like options. No argument of a process can hold it. */
const MARK = '\0'

/** Arguments of a command, read. */
export interface Arguments {
  readonly values: Values
  readonly positionals: readonly string[]
}

/**
 * Reads the arguments of a command. What is not known is refused, and so are empty texts, which scripts make of
 * variables that they lack, and options that stand twice.
 * @throws Failure
 */
export function readArguments (args: readonly string[], options: Readonly<Record<string, OptionSpec>>): Arguments {
  if (args.some((each) => TOKEN.test(each))) {
    throw misuse('a token on the command line is seen by everybody on this machine, and kept in the history of the ' +
      'shell. Give it to "why" on standard input. To the other commands give the id, which ends before the first dot')
  }
  const { values, positionals, names } = parsed(args, options)
  const twice = names.find((name, index) => names.indexOf(name) < index)
  if (twice !== undefined) throw misuse(`--${twice} stands twice`)
  const empty = Object.keys(values).find((name) => values[name] === '')
  if (empty !== undefined) throw misuse(`--${empty} is empty`)
  if (positionals.includes('')) throw misuse('an argument is empty')
  return { values, positionals }
}

function parsed (
  args: readonly string[], options: Readonly<Record<string, OptionSpec>>
): Arguments & { names: string[] } {
  const known = new Set(Object.keys(options).map((name) => `--${name}`))
  const marked = args.map((each) => each.startsWith('-') && isId(each) && !known.has(each) ? MARK + each : each)
  const unmarked = <T>(value: T): T | string => typeof value === 'string' ? value.replace(MARK, '') : value
  const entries = Object.entries(options).map(([name, { value, short }]) => {
    return [name, { type: value === undefined ? 'boolean' as const : 'string' as const, ...short && { short } }]
  })
  try {
    const { values, positionals, tokens } = parseArgs({
      args: marked, options: Object.fromEntries(entries), allowPositionals: true, tokens: true
    })
    const pairs = Object.entries(values).map(([name, value]) => [name, unmarked(value)])
    return {
      values: Object.fromEntries(pairs),
      positionals: positionals.map((each) => each.replace(MARK, '')),
      names: tokens.filter((token) => token.kind === 'option').map(({ name }) => name)
    }
  } catch (error) {
    throw misuse(faultOf(error, [...known]))
  }
}

/** Says what is wrong with options. Of what was written it shows names of options alone. */
function faultOf (error: unknown, known: readonly string[]): string {
  const { code, message } = error as Error & { code?: unknown }
  const [, name = 'an option'] = /'(?:-\w, )?(--?[\w-]+)/.exec(message) ?? []
  if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') {
    return clean(`there is no option ${name} here. There are ${known.join(', ')}`)
  }
  if (/does not take an argument/.test(message)) return clean(`${name} takes no value`)
  return clean(`${name} needs a value. One that begins with a dash is written ${name}=…`)
}
