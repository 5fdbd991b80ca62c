import { textOf } from '../command.ts'
import type { Call, Command } from '../command.ts'
import { EXIT, misuse } from '../exit.ts'
import type { ExitCode } from '../exit.ts'
import { idFrom, userIdFrom } from '../ids.ts'

/** Ends sessions. */
export const revoke: Command = {
  name: 'revoke',
  takes: '[ID]',
  summary: 'ends one session, or those of a user',
  details: [
    'Every process of the application hears of it. Twice is harmless.',
    'Exit code 1: there was nothing to end.'
  ],
  options: {
    user: { value: 'ID', says: 'ends all sessions of this user' },
    except: { value: 'ID', says: 'with --user: the id of a session that goes on' }
  },
  most: 1,
  run: runRevoke
}

async function runRevoke (call: Call): Promise<ExitCode> {
  const { values, positionals } = call
  const user = textOf(values, 'user')
  const ways = [positionals[0], user].filter((each) => each !== undefined)
  if (ways.length !== 1) throw misuse('say what to end: an ID, or --user ID')
  if (values.except !== undefined && user === undefined) throw misuse('--except needs --user')
  return user === undefined ? await revokeOne(call) : await revokeUser(call, userIdFrom(user))
}

async function revokeOne ({ positionals, output, connect }: Call): Promise<ExitCode> {
  const id = idFrom(positionals[0])
  const { sessions } = await connect()
  const isEnded = await sessions.revoke(id)
  await output.answer({ ended: isEnded ? 1 : 0 }, () => [isEnded ? `${id}: ended` : `${id}: there is no such session`])
  return isEnded ? EXIT.done : EXIT.no
}

async function revokeUser ({ values, output, connect }: Call, userId: string): Promise<ExitCode> {
  const given = textOf(values, 'except')
  const except = given === undefined ? undefined : idFrom(given)
  const { sessions } = await connect()
  const ended = await sessions.revokeUser(userId, { except })
  await output.answer({ ended }, () => [countText(ended)])
  return ended === 0 ? EXIT.no : EXIT.done
}

function countText (ended: number): string {
  return ended === 1 ? '1 session ended' : `${ended} sessions ended`
}
