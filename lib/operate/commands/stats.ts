import type { Call, Command } from '../command.ts'
import { SAMPLE, takeCensus } from '../census.ts'
import type { Census } from '../census.ts'
import { EXIT } from '../exit.ts'
import type { ExitCode } from '../exit.ts'

/** Counts sessions. */
export const stats: Command = {
  name: 'stats',
  takes: '',
  summary: 'counts sessions, users and bytes',
  details: [
    'Of each server it looks at 100,000 keys at most, and estimates the rest. It says so. Data is read, and',
    'not shown.'
  ],
  options: { full: { says: 'looks at all keys, however many' } },
  most: 0,
  run: runStats
}

async function runStats ({ values, output, surroundings: { signal }, connect }: Call): Promise<ExitCode> {
  const connection = await connect()
  const onProgress = (seen: number): void => output.progress(() => `${seen} keys looked at`)
  const census = await takeCensus(connection, { isFull: values.full === true, most: SAMPLE, signal, onProgress })
  await output.answer(census, () => linesOf(census))
  return EXIT.done
}

function linesOf ({ isEstimate, keysSeen, keys, ...counts }: Census): string[] {
  const rows: Array<[string, number]> = [
    ['sessions', counts.sessions], ['signed in', counts.signedIn], ['anonymous', counts.anonymous],
    ['bearer tokens', counts.bearer], ['users', counts.users], ['bytes', counts.bytes], ['other keys', counts.others]
  ]
  const about = isEstimate ? [`estimated from ${keysSeen} of ${keys} keys. --full looks at all`] : []
  return [...rows.map(([name, number]) => `${name.padEnd(14)} ${number.toLocaleString('en')}`), ...about]
}
