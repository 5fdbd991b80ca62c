import { idOf } from '../../session/token.ts'
import { textOf } from '../command.ts'
import type { Call, Command } from '../command.ts'
import { presentedBy } from '../credential.ts'
import type { Presented } from '../credential.ts'
import { EXIT, misuse } from '../exit.ts'
import type { ExitCode } from '../exit.ts'
import { sampleOf } from '../sample.ts'
import { endLines, sessionLines, shown, shownEnd } from '../session-text.ts'
import { readInput } from '../stdin.ts'
import { judged, refused } from '../verdict.ts'
import type { Verdict } from '../verdict.ts'

/** Says whether a cookie or a token signs somebody in, and if not, why. */
export const why: Command = {
  name: 'why',
  takes: '',
  summary: 'says whether a cookie or token signs somebody in, and if not, why',
  details: [
    'Reads from standard input: the value of a cookie, a Cookie or Set-Cookie header, a bearer token or an',
    'Authorization header. It never prints them. SESSION_SECRET has the secret of the application, or several,',
    'separated by commas or line breaks, as in the option secret. Without it signatures are not checked.',
    'It says how a session ended where that was remembered: see endedFor, and revoke --ended-for.',
    'Exit code 1: nobody is signed in by it.'
  ],
  options: {
    'cookie-name': { value: 'NAME', says: 'the cookieName of the application. Default: __Host-sid, or sid' }
  },
  most: 0,
  run: runWhy
}

async function runWhy ({ values, output, surroundings, connect }: Call): Promise<ExitCode> {
  const names = textOf(values, 'cookie-name')?.split(',') ?? ['__Host-sid', 'sid']
  if (names.includes('')) throw misuse('--cookie-name has an empty name')
  if (surroundings.stdin.isTTY === true) {
    await output.note('Paste the value of a cookie, a Cookie header or a bearer token, then press Enter:')
  }
  const sample = sampleOf(await readInput(surroundings), names[0] ?? '')
  const presented = presentedBy(sample, names, surroundings.env.SESSION_SECRET)
  if ('reason' in presented) {
    const verdict = refused(presented)
    await output.answer(verdict, () => verdictLines(verdict))
    return EXIT.no
  }
  const { store } = await connect()
  const id = idOf(presented.token)
  const record = await store.find(id)
  const end = record === null ? await store.ended(id) : null
  const verdict = judged(presented, { record, end })
  // What a token does not prove is another's.
  const isProven = verdict.isProven === true
  const session = record !== null && isProven ? shown(record) : null
  const ended = end !== null && isProven ? shownEnd(end) : null
  const { kind, signedBy = null } = presented
  await output.answer({ ...verdict, kind, signedBy, id, session, ended }, () => [
    ...presentedLines(presented),
    ...session !== null ? sessionLines(session, store.now()) : endLines(id, ended, store.now()),
    ...verdictLines(verdict)
  ])
  return verdict.signedIn ? EXIT.done : EXIT.no
}

function presentedLines ({ kind, signedBy }: Presented): string[] {
  if (kind === 'bearer') return [`${'carried by'.padEnd(10)} a bearer token`]
  const signer = signedBy === undefined ? 'not checked' : signedBy === null ? 'no secret' : `secret ${signedBy}`
  return [`${'carried by'.padEnd(10)} a cookie`, `${'signed by'.padEnd(10)} ${signer}`]
}

function verdictLines ({ says, todo }: Verdict): string[] {
  return ['', `${says}.`, ...todo === null ? [] : [`What to do: ${todo}`]]
}
