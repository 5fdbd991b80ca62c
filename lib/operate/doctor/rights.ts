import { replyOf } from '../../redis/driver.ts'
import { neededCalls } from '../../redis/needs.ts'
import type { NeededCall, NeededName, Needs } from '../../redis/needs.ts'
import { finding, ok, short, refused } from './findings.ts'
import type { Finding, Server } from './findings.ts'

/** Why a call is not allowed, as far as that is known. `null`: it is. */
type Lack = null | { isUnknown: true } | { command: boolean, names: readonly string[] }
type Judge = (call: NeededCall) => Promise<Lack>

const SEE = 'docs/guides/production.md has all rules'

/** Runs nothing: asks what the user who asks may do. Allowed to everybody who may EVAL. */
const CHECK = 'return redis.acl_check_cmd(unpack(ARGV)) and 1 or 0'

/**
 * Checks that a user may make each call that the application needs. By ACL DRYRUN where the connection may use that;
 * else, for its own user, by what Redis tells scripts.
 */
export async function rightsFindings (server: Server, needs: Needs, aclUser?: string): Promise<Finding[]> {
  const own = server.options.username ?? 'default'
  const user = aclUser ?? own
  const judge = await judgeOf(server, user, user === own)
  if ('level' in judge) return [judge]
  const calls = neededCalls(needs)
  const lacks = await Promise.all(calls.map(async (each) => ({ ...each, lack: await judge.lackOf(each) })))
  const findings = findingsOf(lacks, user)
  if (findings.length > 0) return findings
  return [ok('rights', `the user ${short(user)} may do all that is needed (${calls.length} calls, by ${judge.by})`)]
}

/** What a user lacks: commands, keys and channels, each with the command that grants them. */
function findingsOf (lacks: ReadonlyArray<NeededCall & { lack: Lack }>, user: string): Finding[] {
  const names = new Set<string>()
  const commands = new Map<string, string>()
  const unknown = new Set<string>()
  for (const { lack, ...call } of lacks) {
    if (lack === null) continue
    if ('isUnknown' in lack) unknown.add(nameOf(call))
    else {
      if (lack.command && call.rule !== '') commands.set(call.rule, nameOf(call))
      for (const name of lack.names) names.add(name)
    }
  }
  const lacksSome = (what: string, rules: string[], shown = rules): Finding[] => {
    if (rules.length === 0) return []
    const found = `the user ${short(user)} may not ${what} ${short(shown.join(', '), MAX_LIST)}`
    return [finding('problem', 'rights', found, `ACL SETUSER ${short(user)} ${rules.join(' ')} (${SEE})`)]
  }
  const [keys, channels] = ['~', '&'].map((start) => [...names].filter((rule) => rule.startsWith(start)))
  return [
    ...[...unknown].map((name) => finding('problem', 'rights', `this Redis does not know ${name}, which is needed`,
      'Use Redis 7.0 or newer, or Valkey: docs/guides/managed-redis.md')),
    ...lacksSome('send', [...commands.keys()], [...commands.values()]),
    ...lacksSome('use the keys', keys ?? []),
    ...lacksSome('use the channels', channels ?? [])
  ]
}

/** Longest list in a finding. */
const MAX_LIST = 400

/** Name of a command, with that of a command in it. */
function nameOf ({ call }: Pick<NeededCall, 'call'>): string {
  return call.slice(0, ['CLIENT', 'CLUSTER'].includes(String(call[0])) ? 2 : 1).join(' ')
}

interface JudgeBy { by: string, lackOf: Judge }

/** Returns a way to ask what a user may do, or a finding that there is none. */
async function judgeOf (server: Server, user: string, isOwn: boolean): Promise<JudgeBy | Finding> {
  try {
    await server.call('ACL', 'DRYRUN', user, 'PING')
  } catch (error) {
    if (/^ERR User /.test(replyOf(error))) {
      return finding('problem', 'rights', `there is no user ${short(user)}`,
        'Make it: docs/guides/production.md has the rules. ACL LIST shows who there is')
    }
    const note = refused('rights', 'ACL DRYRUN', error)
    return isOwn ? await byScript(server, user) : note
  }
  return {
    by: 'ACL DRYRUN',
    lackOf: async (call) => {
      try {
        return lackIn(await server.call('ACL', 'DRYRUN', user, ...call.call), call)
      } catch (error) {
        return unknownIn(error)
      }
    }
  }
}

/** Reads the answer of ACL DRYRUN: OK, or a sentence that ends with what is lacking. */
function lackIn (answer: unknown, { names }: NeededCall): Lack {
  if (answer === 'OK') return null
  const isName = /(key|channel)$/.test(String(answer))
  // One after the other: what the sentence names is the first.
  const name = names.find(({ value }) => String(answer).includes(`'${value}'`)) ?? names[0]
  return isName && name !== undefined ? { command: false, names: [name.rule] } : { command: true, names: [] }
}

/**
 * Asks by a script what its own user may do: a yes or a no for a whole call. A call without its keys is never asked
 * about: Redis looks for them.
 */
async function byScript (server: Server, user: string): Promise<JudgeBy | Finding> {
  const asked = new Map<string, Promise<boolean>>()
  const ask = async (...call: readonly string[]): Promise<boolean> => {
    const key = JSON.stringify(call)
    const answer = asked.get(key) ?? server.eval(CHECK, 0, ...call).then((reply) => reply === 1)
    asked.set(key, answer)
    return await answer
  }
  try {
    await ask('PING')
  } catch (error) {
    if (!replyOf(error).includes('NOPERM')) return refused('rights', 'a script that asks for rights', error)
    return finding('problem', 'rights', `the user ${short(user)} may not EVAL, and what else it may do is not known`,
      `ACL SETUSER ${short(user)} +eval, and run the doctor again (${SEE})`)
  }
  // EVAL is allowed, or nobody would answer.
  const mayUse = async ({ rule, value }: NeededName): Promise<boolean> => rule.startsWith('~')
    ? await ask('EVAL', 'x', '1', value)
    : await ask('PUBLISH', value, 'x') || await ask('SUBSCRIBE', value)
  return {
    by: 'a script',
    lackOf: async ({ call, names }) => {
      try {
        if (await ask(...call)) return null
        const lacking: string[] = []
        for (const name of names) if (!await mayUse(name)) lacking.push(name.rule)
        return { command: lacking.length === 0, names: lacking }
      } catch (error) {
        return unknownIn(error)
      }
    }
  }
}

/** Reads the error of a command that Redis does not know. Throws where it is no answer of Redis. */
function unknownIn (error: unknown): Lack {
  refused('rights', 'ACL DRYRUN', error)
  return { isUnknown: true }
}
