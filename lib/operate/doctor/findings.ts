import { errors } from '../../errors.ts'
import type { connectedMasters } from '../../redis/cluster.ts'
import { isOutage, isReply, replyOf } from '../../redis/driver.ts'

/** A connection to one server. */
export type Server = ReturnType<typeof connectedMasters>[number][1]

/**
 * How much a finding matters. `ok`: nothing to do. `note`: good to know. `warning`: sessions may end early, or a
 * feature does not work. `problem`: people cannot sign in or out, or a sign-out may not hold.
 */
export type Level = 'ok' | 'note' | 'warning' | 'problem'

/** One thing that the doctor looked at. */
export interface Finding {
  readonly level: Level
  /** What it is about, in a word or two. */
  readonly topic: string
  /** What is so. */
  readonly found: string
  /** What to do. `null` where there is nothing to do. */
  readonly todo: string | null
}

/** Longest text of Redis in a finding. */
const MAX_TEXT = 120

/** Returns a text of Redis as it fits into a finding. Who prints it cleans it. */
export function short (text: string, most = MAX_TEXT): string {
  return text.length > most ? `${text.slice(0, most)}…` : text
}

/** Returns a finding that asks for nothing. */
export function ok (topic: string, found: string): Finding {
  return { level: 'ok', topic, found, todo: null }
}

/** Returns a finding, and what to do about it. */
export function finding (level: Exclude<Level, 'ok'>, topic: string, found: string, todo: string): Finding {
  return { level, topic, found, todo }
}

/**
 * Returns the note that Redis refuses a command, or does not know it.
 * @throws ERR_SESSION_STORE_UNAVAILABLE for an error that is no answer of Redis
 */
export function refused (topic: string, command: string, error: unknown): Finding {
  if (!isReply(error)) throw broken(error)
  const reason = short(replyOf(error))
  const todo = /^(NOPERM|NOAUTH)/.test(reason)
    ? 'To see this, run the doctor as a user with that right'
    : `Look at this in the console of your service: it does not answer ${command}`
  return finding('note', topic, `${command} is refused: ${reason}`, todo)
}

/** Returns the error for a Redis that does not answer any more. Faults of this program stay what they are. */
export function broken (error: unknown): unknown {
  return isOutage(error) ? new errors.STORE_UNAVAILABLE({ cause: error }) : error
}

/**
 * Joins what several servers of a Cluster have in common, topic by topic. What only some of them say begins with their
 * names.
 */
export function merged (byServer: ReadonlyArray<{ name: string, findings: readonly Finding[] }>): Finding[] {
  const found = new Map<string, { each: Finding, names: string[] }>()
  for (const { name, findings } of byServer) {
    for (const each of findings) {
      const key = JSON.stringify(each)
      const known = found.get(key)
      if (known === undefined) found.set(key, { each, names: [name] })
      else known.names.push(name)
    }
  }
  const all = [...found.values()].map(({ each, names }) => {
    return names.length === byServer.length ? each : { ...each, found: `${names.join(', ')}: ${each.found}` }
  })
  const topics = new Set(all.map(({ topic }) => topic))
  return [...topics].flatMap((topic) => all.filter((each) => each.topic === topic))
}
