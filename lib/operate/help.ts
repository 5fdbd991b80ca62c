import { COMMON } from './arguments.ts'
import type { Command, OptionSpec } from './command.ts'

const NAME = 'fastify-user-sessions'

/** Returns the help of the program. */
export function helpOf (commands: readonly Command[]): string[] {
  const wide = Math.max(...commands.map((command) => titleOf(command).length))
  return [
    `Usage: ${NAME} COMMAND [options]`,
    '',
    'Asks, and ends, the sessions of an application.',
    '',
    ...commands.map((command) => `  ${titleOf(command).padEnd(wide)}  ${command.summary}`),
    '',
    'Options of every command:',
    '',
    ...optionLines(COMMON),
    '',
    `${NAME} COMMAND --help has the options of a command, ${NAME} --version the version.`,
    'Exit codes: 0 done or found, 1 not found, 2 not understood, 3 Redis failed.'
  ]
}

/** Returns the help of a command. */
export function helpOfCommand (command: Command): string[] {
  const own = optionLines(command.options)
  return [
    `Usage: ${NAME} ${titleOf(command)} [options]`,
    '',
    `${command.summary}.`,
    ...command.details.length === 0 ? [] : ['', ...command.details],
    ...own.length === 0 ? [] : ['', 'Options:', '', ...own],
    '',
    'Options of every command:',
    '',
    ...optionLines(COMMON)
  ]
}

function titleOf ({ name, takes }: Command): string {
  return takes === '' ? name : `${name} ${takes}`
}

function optionLines (options: Readonly<Record<string, OptionSpec>>): string[] {
  const titles = Object.entries(options).map(([name, { value, short, says }]) => {
    const [letter, text] = [short === undefined ? '' : `-${short}, `, value === undefined ? '' : ` ${value}`]
    return [`${letter}--${name}${text}`, says] as const
  })
  const wide = Math.max(...titles.map(([title]) => title.length))
  return titles.flatMap(([title, says]) => {
    return wrapped(says, WIDTH - wide).map((line, index) => `  ${(index === 0 ? title : '').padEnd(wide)}  ${line}`)
  })
}

/** How many characters a line has at most. */
const WIDTH = 100

/** Breaks a text into lines. */
function wrapped (text: string, width: number): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + word.length < width) lines[lines.length - 1] = `${last} ${word}`
    else lines.push(word)
  }
  return lines
}
