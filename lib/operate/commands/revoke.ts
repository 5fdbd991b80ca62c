import { CAUSE, causeOf, endedForOf } from '../cause.ts'
import { textOf } from '../command.ts'
import type { Call, Command } from '../command.ts'
import type { Connection } from '../connection.ts'
import { EXIT, misuse } from '../exit.ts'
import type { ExitCode } from '../exit.ts'
import { idFrom, userIdFrom } from '../ids.ts'
import { ManyEnds } from '../many-ends.ts'
import { clean } from '../output.ts'
import { readLine } from '../stdin.ts'
import { timeFrom } from '../times.ts'

/** Ends sessions. */
export const revoke: Command = {
  name: 'revoke',
  takes: '[ID]',
  summary: 'ends one session, those of a user, old ones, or all',
  details: [
    'Every process of the application hears of it. A run that was broken off is made again, and goes on. Twice is',
    'harmless. Exit code 1: there was nothing to end.'
  ],
  options: {
    user: { value: 'ID', says: 'ends all sessions of this user' },
    except: { value: 'ID', says: 'with --user: the id of a session that goes on' },
    'older-than': { value: 'TIME', says: 'ends the sessions of users that began longer ago, such as 30d or 12h' },
    all: { says: 'ends all sessions, also of nobody. It asks first' },
    yes: { says: 'with --all: does not ask' },
    ...CAUSE
  },
  most: 1,
  run: runRevoke
}

async function runRevoke (call: Call): Promise<ExitCode> {
  const { values, positionals } = call
  const { user, all } = values
  const age = textOf(values, 'older-than')
  const ways = [positionals[0], user, age, all].filter((each) => each !== undefined)
  if (ways.length !== 1) throw misuse('say what to end: an ID, --user ID, --older-than TIME, or --all')
  if (values.except !== undefined && user === undefined) throw misuse('--except needs --user')
  if (values.yes !== undefined && all === undefined) throw misuse('--yes needs --all')
  causeOf(call)
  endedForOf(call)
  if (all !== undefined) return await revokeAll(call)
  if (age !== undefined) return await revokeOld(call, age)
  return typeof user === 'string' ? await revokeUser(call, userIdFrom(user)) : await revokeOne(call)
}

/** Connects, to end sessions. */
async function connected (call: Call): Promise<Connection> {
  return await call.connect({ endedFor: endedForOf(call) })
}

async function revokeOne (call: Call): Promise<ExitCode> {
  const { positionals, output } = call
  const id = idFrom(positionals[0])
  const { sessions } = await connected(call)
  const isEnded = await sessions.revoke(id, causeOf(call))
  await output.answer({ ended: isEnded ? 1 : 0 }, () => [isEnded ? `${id}: ended` : `${id}: there is no such session`])
  return isEnded ? EXIT.done : EXIT.no
}

async function revokeUser (call: Call, userId: string): Promise<ExitCode> {
  const given = textOf(call.values, 'except')
  const except = given === undefined ? undefined : idFrom(given)
  const { sessions } = await connected(call)
  return await told(call, await sessions.revokeUser(userId, { except, ...causeOf(call) }))
}

async function revokeOld (call: Call, age: string): Promise<ExitCode> {
  const ageMs = timeFrom('older-than', age)
  const connection = await connected(call)
  const ends = new ManyEnds(call, connection, causeOf(call))
  await ends.before(await connection.store.nowForCertain() - ageMs)
  return await told(call, ends.ended)
}

async function revokeAll (call: Call): Promise<ExitCode> {
  const isAsking = call.values.yes === undefined
  if (isAsking && call.surroundings.stdin.isTTY !== true) {
    throw misuse('revoke --all asks first, and nobody is there to answer: write --yes')
  }
  const connection = await connected(call)
  if (isAsking && !await isMeant(call, connection)) {
    await call.output.answer({ ended: 0 }, () => ['nothing was ended'])
    return EXIT.no
  }
  const ends = new ManyEnds(call, connection, causeOf(call))
  await ends.all()
  return await told(call, ends.ended)
}

/** Asks whether all sessions are to end. */
async function isMeant ({ surroundings }: Call, { target, keys }: Connection): Promise<boolean> {
  const what = clean(`This signs everybody out: it ends every session under "${keys.prefix}" at ${target.where}.`)
  const answer = await readLine(surroundings, `${what}\nType yes to go on: `)
  return answer.trim() === 'yes'
}

/** Tells how many sessions were ended. */
async function told ({ output }: Call, ended: number): Promise<ExitCode> {
  await output.answer({ ended }, () => [ended === 1 ? '1 session ended' : `${ended} sessions ended`])
  return ended === 0 ? EXIT.no : EXIT.done
}
