import { textOf } from '../command.ts'
import type { Call, Command } from '../command.ts'
import { assertGoesOn, EXIT, misuse } from '../exit.ts'
import type { ExitCode } from '../exit.ts'
import { userIdFrom } from '../ids.ts'
import { sessionLine } from '../session-text.ts'
import type { SessionInfo } from '../../session/record.ts'

/** How many sessions are read at once. */
const PAGE = 200

/** Lists the sessions of a user. */
export const list: Command = {
  name: 'list',
  takes: '--user ID',
  summary: 'lists the sessions of a user, newest first',
  details: ['With --json it prints one line per session. Exit code 1: the user is not signed in anywhere.'],
  options: { user: { value: 'ID', says: 'the id of the user' } },
  most: 0,
  run: runList
}

async function runList ({ values, output, surroundings, connect }: Call): Promise<ExitCode> {
  const given = textOf(values, 'user')
  if (given === undefined) throw misuse('list needs --user ID')
  const userId = userIdFrom(given)
  const { sessions, store } = await connect()
  let listed = 0
  for (let before: SessionInfo | undefined; ;) {
    const page = await sessions.listByUser(userId, { limit: PAGE, ...before !== undefined && { before } })
    for (const session of page) {
      assertGoesOn(surroundings.signal)
      await output.answer(session, () => [sessionLine(session, store.now())])
    }
    listed += page.length
    before = page.at(-1)
    if (page.length < PAGE) break
  }
  if (listed === 0 && !output.isJson) await output.note('no session')
  return listed === 0 ? EXIT.no : EXIT.done
}
