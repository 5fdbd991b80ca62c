import type { Call, Command } from '../command.ts'
import { EXIT } from '../exit.ts'
import type { ExitCode } from '../exit.ts'
import { sessionLines, shown } from '../session-text.ts'
import { idFrom } from '../ids.ts'

/** Shows one session. */
export const show: Command = {
  name: 'show',
  takes: 'ID',
  summary: 'shows one session, also an anonymous one',
  details: ['Exit code 1: there is no such session, or it has ended.'],
  options: {},
  most: 1,
  run: runShow
}

async function runShow ({ positionals, output, connect }: Call): Promise<ExitCode> {
  const id = idFrom(positionals[0])
  const { store } = await connect()
  const record = await store.find(id)
  if (record === null) {
    await output.answer({ id, session: null }, () => [`${id}: there is no such session`])
    return EXIT.no
  }
  const session = shown(record)
  await output.answer({ session }, () => sessionLines(session, store.now()))
  return EXIT.done
}
