import type { Readable } from 'node:stream'
import type { Connection } from './connection.ts'
import type { ExitCode } from './exit.ts'
import type { Output, Streams } from './output.ts'

/** An option of a command. */
export interface OptionSpec {
  /** Name of its value in the help, such as `ID`. Absent: it is a switch. */
  readonly value?: string
  /** One letter that stands for it. */
  readonly short?: string
  /** What it does, in a line. */
  readonly says: string
}

/** What the options of a call say: texts of those with a value, `true` of switches. */
export type Values = Readonly<Record<string, string | true | undefined>>

/** One command. */
export interface Command {
  readonly name: string
  /** What stands after its name in the help, such as `ID`. */
  readonly takes: string
  /** What it does, in a line. */
  readonly summary: string
  /** More for its own help, in lines. */
  readonly details: readonly string[]
  readonly options: Readonly<Record<string, OptionSpec>>
  /** How many arguments it takes that are no options. */
  readonly most: number
  run (call: Call): Promise<ExitCode>
}

/** One call of a command, with what it needs. */
export interface Call {
  readonly values: Values
  /** Arguments that are no options. */
  readonly positionals: readonly string[]
  readonly output: Output
  readonly surroundings: Surroundings
  /**
   * Connects to the Redis that the options name, for the frame to close. `isTolerant`: a user without the permission to
   * do anything is no failure yet. `endedFor`: for how many milliseconds it is remembered how sessions end here.
   * @throws Failure
   */
  connect (options?: { isTolerant?: boolean, endedFor?: number | undefined }): Promise<Connection>
}

/** What a process gives to the program. */
export interface Surroundings extends Streams {
  readonly stdin: Readable & { isTTY?: boolean | undefined }
  readonly env: Readonly<Record<string, string | undefined>>
  /** Name of the person at the terminal, if it is known. */
  readonly userName: string | null
  /** Fires when the program is to end: Ctrl+C. */
  readonly signal: AbortSignal
}

/** Returns the text of an option, or `undefined`. */
export function textOf (values: Values, name: string): string | undefined {
  const value = values[name]
  return value === true ? undefined : value
}
