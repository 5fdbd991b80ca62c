import { USES } from '../../redis/needs.ts'
import type { Use } from '../../redis/needs.ts'
import { textOf } from '../command.ts'
import type { Call, Command } from '../command.ts'
import { doctor as examine } from '../doctor/doctor.ts'
import type { Finding, Level } from '../doctor/findings.ts'
import { assertGoesOn, EXIT, misuse } from '../exit.ts'
import type { ExitCode } from '../exit.ts'

/** Names for `--options`: what the connection does not show by itself. */
const NAMES = USES.filter((use) => use !== 'cluster' && use !== 'database')
/** Options of the plugin that may be named as well, and need nothing more. */
const NO_MORE = ['attempts', 'bearer', 'encryption', 'endedFor', 'knownDevices', 'maxSessionsPerUser']

/** Looks whether a Redis is good for sessions. */
export const doctor: Command = {
  name: 'doctor',
  takes: '',
  summary: 'looks whether Redis is good for sessions, and says what to do where it is not',
  details: [
    'It writes nothing. Run it where the application runs, as the user that the application has.',
    'Exit code 1: there is a warning or a problem.'
  ],
  options: {
    options: { value: 'NAMES', says: `what the application uses, separated by commas: ${NAMES.join(', ')}` },
    full: { says: 'look at every key, however long it takes. Default: a sample of large stores' },
    'acl-user': { value: 'NAME', says: 'check the rights of this user of the ACL, not of the one that is signed in' }
  },
  most: 0,
  run: runDoctor
}

async function runDoctor ({ values, output, surroundings, connect }: Call): Promise<ExitCode> {
  const uses = usesFrom(textOf(values, 'options') ?? '')
  const connection = await connect({ isTolerant: true })
  const report = await examine(connection, {
    uses,
    aclUser: textOf(values, 'acl-user'),
    full: values.full === true,
    signal: surroundings.signal,
    onProgress: (lookedAt, keys) => {
      output.progress(() => `${lookedAt}${keys === null ? '' : ` of ${keys}`} keys looked at`)
    }
  })
  assertGoesOn(surroundings.signal)
  await output.answer(report, () => linesOf(report.findings))
  return report.findings.some(isBad) ? EXIT.no : EXIT.done
}

/** @throws Failure for a name that is not known */
function usesFrom (text: string): Use[] {
  const names = text.split(',').map((name) => name.trim()).filter((name) => name !== '')
  if (names.some((name) => !NO_MORE.includes(name) && !NAMES.some((known) => known === name))) {
    throw misuse(`--options takes ${[...NAMES, ...NO_MORE].join(', ')}, separated by commas`)
  }
  return NAMES.filter((name) => names.includes(name))
}

function isBad ({ level }: Finding): boolean {
  return level === 'warning' || level === 'problem'
}

function linesOf (findings: readonly Finding[]): string[] {
  const wide = Math.max(...findings.map(({ topic }) => topic.length))
  const lines = findings.flatMap(({ level, topic, found, todo }) => [
    `${level.padEnd('warning'.length)}  ${topic.padEnd(wide)}  ${found}`,
    ...todo === null ? [] : [`${' '.repeat('warning'.length + wide + 4)}→ ${todo}`]
  ])
  const count = (level: Level): string => {
    const found = findings.filter((each) => each.level === level).length
    return `${found} ${level}${found === 1 ? '' : 's'}`
  }
  return [...lines, '', findings.some(isBad) ? `${count('problem')}, ${count('warning')}` : 'Nothing that needs you']
}
