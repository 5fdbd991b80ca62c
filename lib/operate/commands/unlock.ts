import type { Call, Command } from '../command.ts'
import { EXIT, misuse } from '../exit.ts'
import type { ExitCode } from '../exit.ts'

/** Clears failed logins of an account. */
export const unlock: Command = {
  name: 'unlock',
  takes: 'ACCOUNT',
  summary: 'clears the failed logins of an account',
  details: [
    'ACCOUNT is what the person types in, such as an e-mail address, in upper or lower case. Networks keep',
    'their failed logins. Whether there is such an account is not known here: the exit code is 0 also if not.'
  ],
  options: {},
  most: 1,
  run: runUnlock
}

async function runUnlock ({ positionals: [account], output, connect }: Call): Promise<ExitCode> {
  if (account === undefined) throw misuse('the name of the account is missing')
  const { sessions } = await connect()
  await sessions.unlock(account)
  await output.answer({ unlocked: true }, () => ['failed logins of this account count no more'])
  return EXIT.done
}
