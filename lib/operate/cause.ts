import { END_OPTIONS, statedCause } from '../session/end-cause.ts'
import type { EndOptions } from '../session/end-cause.ts'
import { textOf } from './command.ts'
import type { Call, OptionSpec } from './command.ts'
import { misuse } from './exit.ts'

/** Options of what ends sessions. */
export const CAUSE: Readonly<Record<typeof END_OPTIONS[number], OptionSpec>> = {
  reason: { value: 'TEXT', says: 'why, for events: up to 64 characters' },
  actor: { value: 'NAME', says: 'who ends it, for events. Default: cli: and your user name' }
}

/**
 * Returns why sessions end, and who ends them, as events tell.
 * @throws Failure for a text that is none
 */
export function causeOf ({ values, surroundings: { userName } }: Call): EndOptions {
  const reason = textOf(values, 'reason')
  const actor = textOf(values, 'actor') ?? (userName === null ? 'cli' : `cli:${userName}`)
  const cause = { actor, ...reason !== undefined && { reason } }
  try {
    statedCause(cause)
  } catch (error) {
    throw misuse(`--${(error as Error).message}`)
  }
  return cause
}
