import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { COMMON, readArguments } from './arguments.ts'
import type { Arguments } from './arguments.ts'
import type { Call, Command, Surroundings } from './command.ts'
import { COMMANDS } from './commands/all.ts'
import { Connection } from './connection.ts'
import { assertGoesOn, EXIT, Failure, misuse } from './exit.ts'
import type { ExitCode } from './exit.ts'
import { helpOf, helpOfCommand } from './help.ts'
import { Output } from './output.ts'
import { targetOf } from './target.ts'

/** Names of errors, for programs. */
const CODES = new Map<ExitCode, string>([
  [EXIT.usage, 'usage'], [EXIT.redis, 'redis'], [EXIT.interrupted, 'interrupted'], [EXIT.no, 'not-found']
])

/** Runs the program. Resolves with the code that the process ends with. Closes everything. Never rejects. */
export async function main (argv: readonly string[], surroundings: Surroundings): Promise<ExitCode> {
  const output = new Output(surroundings, { json: argv.includes('--json') })
  try {
    return await dispatched(argv, surroundings, output)
  } catch (error) {
    // Whoever read the answer has seen enough: `| head`.
    if ((error as { code?: unknown } | null)?.code === 'EPIPE') return EXIT.done
    return await told(error, output).catch(() => EXIT.bug)
  }
}

/** Prints an error, and returns its code. */
async function told (error: unknown, output: Output): Promise<ExitCode> {
  const failure = error instanceof Failure ? error : new Failure(EXIT.bug, `a fault of ours: ${String(error)}`)
  const { exit, message } = failure
  if (output.isJson) await output.answer({ error: { code: CODES.get(exit) ?? 'bug', message } }, () => [])
  else await output.note(`fastify-user-sessions: ${message}`)
  return exit
}

async function dispatched (argv: readonly string[], surroundings: Surroundings, output: Output): Promise<ExitCode> {
  const [name = '--help', ...args] = argv
  if (name === '--help' || name === '-h' || name === 'help') {
    await output.answer({ commands: COMMANDS.map(({ name: each, summary }) => ({ name: each, summary })) }, () => {
      return helpOf(COMMANDS)
    })
    return argv.length === 0 ? EXIT.usage : EXIT.done
  }
  if (name === '--version') {
    await output.answer({ version: versionOf() }, () => [versionOf()])
    return EXIT.done
  }
  const command = COMMANDS.find((each) => each.name === name)
  const names = COMMANDS.map((each) => each.name).join(', ')
  if (command === undefined) throw misuse(`the first argument must be one of ${names}, or --help`)
  const given = readArguments(args, { ...command.options, ...COMMON })
  if (given.values.help === true) {
    await output.answer({ help: helpOfCommand(command) }, () => helpOfCommand(command))
    return EXIT.done
  }
  if (given.positionals.length > command.most) {
    throw misuse(command.most === 0 ? `${name} takes options alone` : `${name} takes ${command.takes} alone`)
  }
  return await run(command, given, surroundings, output)
}

async function run (
  command: Command, given: Arguments, surroundings: Surroundings, output: Output
): Promise<ExitCode> {
  const { signal } = surroundings
  let connection: Connection | undefined
  const connect: Call['connect'] = async (options) => {
    connection ??= new Connection(targetOf(given.values, surroundings.env), options)
    await Promise.race([connection.ready(options), aborted(signal)])
    assertGoesOn(signal)
    return connection
  }
  try {
    return await command.run({ ...given, output, surroundings, connect })
  } catch (error) {
    throw connection === undefined ? error : connection.explained(error)
  } finally {
    await connection?.close()
  }
}

/** Resolves when the program is to end. */
async function aborted (signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  await new Promise<void>((resolve) => { signal.addEventListener('abort', () => resolve(), { once: true }) })
}

/** Returns the version of this package. */
function versionOf (): string {
  const file = createRequire(import.meta.url).resolve('fastify-user-sessions/package.json')
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string }
  return version
}
