/** Codes that the program ends with. Scripts rely on them: docs/guides/command-line.md has the table. */
export const EXIT = {
  /** Done, or found. */
  done: 0,
  /** Not found, not signed in, or something to be mended. */
  no: 1,
  /** Not understood. Nothing was done. */
  usage: 2,
  /** Redis does not answer, or refuses. What was asked may be done in part: asking again goes on with it. */
  redis: 3,
  /** A fault of this program. */
  bug: 70,
  /** Ended by Ctrl+C. What was asked may be done in part. */
  interrupted: 130
} as const

/** One of the codes that the program ends with. */
export type ExitCode = typeof EXIT[keyof typeof EXIT]

/** An error that ends the program. Its message is for people, and holds no secret. */
export class Failure extends Error {
  readonly exit: ExitCode

  constructor (exit: ExitCode, message: string) {
    super(message)
    this.exit = exit
  }
}

/** Makes the error of arguments that are not understood. The message says what to write instead. */
export function misuse (message: string): Failure {
  return new Failure(EXIT.usage, message)
}

/** Makes the error of a Redis that does not answer, or refuses. */
export function redisFailure (message: string): Failure {
  return new Failure(EXIT.redis, message)
}

/** Throws when the program is to end. @throws Failure */
export function assertGoesOn (signal: AbortSignal): void {
  if (signal.aborted) throw new Failure(EXIT.interrupted, 'interrupted: what was asked may be done in part')
}
