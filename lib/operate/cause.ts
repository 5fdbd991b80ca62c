import { END_OPTIONS, endedForFault, statedCause } from '../session/end-cause.ts'
import type { EndOptions } from '../session/end-cause.ts'
import { textOf } from './command.ts'
import type { Call, OptionSpec } from './command.ts'
import { misuse } from './exit.ts'
import { timeFrom } from './times.ts'

/** How long it is remembered how sessions ended, if nothing else is said: people ask on the next morning. */
const ENDED_FOR = '1d'

/** Options of what ends sessions. */
export const CAUSE: Readonly<Record<typeof END_OPTIONS[number] | 'ended-for', OptionSpec>> = {
  reason: { value: 'TEXT', says: 'why, for events and for the command why: up to 64 characters' },
  actor: { value: 'NAME', says: 'who ends it, for the same. Default: cli: and your user name' },
  'ended-for': {
    value: 'TIME',
    says: `how long it is remembered how they ended: 1m to 30d, or off. Default: ${ENDED_FOR}. The endedFor of the ` +
      'application fits'
  }
}

/**
 * Returns for how many milliseconds it is remembered how sessions end. `undefined`: not at all.
 * @throws Failure for a time that the plugin's `endedFor` does not take either
 */
export function endedForOf ({ values }: Call): number | undefined {
  const text = textOf(values, 'ended-for') ?? ENDED_FOR
  return text === 'off' ? undefined : timeFrom('ended-for', text, endedForFault)
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
