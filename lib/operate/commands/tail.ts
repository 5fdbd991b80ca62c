import type { SessionEvent } from '../../session/events.ts'
import { withDeadline } from '../../util/deadline.ts'
import { textOf } from '../command.ts'
import type { Call, Command } from '../command.ts'
import type { Connection } from '../connection.ts'
import { EXIT, misuse, redisFailure } from '../exit.ts'
import type { ExitCode } from '../exit.ts'
import { userIdFrom } from '../ids.ts'
import { instantText } from '../session-text.ts'
import { OPERATOR_WAIT_MS } from '../../util/timings.ts'

/** Names of the events that processes tell each other. */
const TYPES = ['created', 'revoked', 'expired'] as const

/** How many events wait to be printed. Those beyond are left out, and counted. */
const MOST_WAITING = 10_000

/** Prints events as they happen. */
export const tail: Command = {
  name: 'tail',
  takes: '',
  summary: 'prints what happens to sessions, live',
  details: [
    'One event per line, until Ctrl+C: who signs in, and whose session ends, why and by whom. Of an outage of Redis',
    'it tells on standard error: events can be missing then. Exit code 0 after Ctrl+C.'
  ],
  options: {
    user: { value: 'ID', says: 'events of this user alone' },
    type: { value: 'NAMES', says: `events of these names alone, separated by commas: ${TYPES.join(', ')}` }
  },
  most: 0,
  run: runTail
}

/** An event to be printed. */
interface Told {
  readonly type: string
  readonly event: SessionEvent
}

async function runTail ({ values, output, surroundings: { signal }, connect }: Call): Promise<ExitCode> {
  const given = textOf(values, 'user')
  const user = given === undefined ? null : userIdFrom(given)
  const types = typesOf(textOf(values, 'type'))
  const connection = await connect()
  const waiting = new Waiting(signal)
  for (const type of types) {
    connection.sessions.on(type, (event) => {
      if (user === null || event.userId === user) waiting.add({ type, event })
    })
  }
  connection.sessions.on('store-down', () => { void output.note('Redis does not answer').catch(() => {}) })
  await subscribed(connection, signal, () => { void output.note('events may be missing here').catch(() => {}) })
  if (!signal.aborted) await output.note(`listening to ${connection.target.where}. Ctrl+C ends it`)
  for await (const { type, event } of waiting) {
    const { local, ...shown } = event
    await output.answer({ type, ...shown }, () => [lineOf(type, event)])
    const missed = waiting.takeMissed()
    if (missed > 0) await output.note(`${missed} events were left out: this is read too slowly`)
  }
  return EXIT.done
}

/** @throws Failure for names that are none */
function typesOf (text: string | undefined): ReadonlyArray<typeof TYPES[number]> {
  if (text === undefined) return TYPES
  const names = text.split(',').map((name) => name.trim())
  const unknown = names.some((name) => TYPES.every((type) => type !== name))
  if (unknown) throw misuse(`--type takes ${TYPES.join(', ')}, separated by commas`)
  return TYPES.filter((type) => names.includes(type))
}

/**
 * Waits until events come, and calls back whenever some may have been missed after that.
 * @throws Failure where Redis refuses, or does not answer in time
 */
async function subscribed (connection: Connection, signal: AbortSignal, onGap: () => void): Promise<void> {
  const { store, target } = connection
  let isListening = false
  const listening = new Promise<string | null>((resolve) => {
    store.events.on('refused', (advice) => resolve(advice))
    store.bus.subscribe(() => {}, () => {
      if (isListening) onGap()
      isListening = true
      resolve(null)
    })
    signal.addEventListener('abort', () => resolve(null), { once: true })
    if (signal.aborted) resolve(null)
  })
  const answer = await withDeadline(listening, OPERATOR_WAIT_MS)
  if (answer === null) return
  const told = typeof answer === 'string' ? answer : connection.trouble ?? 'no answer in time'
  throw redisFailure(`cannot listen at ${target.where}: ${told}`)
}

/** Events that wait to be printed, until the program is to end. */
class Waiting {
  readonly #signal: AbortSignal
  #told: Told[] = []
  #missed = 0
  #wake = (): void => {}

  constructor (signal: AbortSignal) {
    this.#signal = signal
    signal.addEventListener('abort', () => this.#wake(), { once: true })
  }

  add (told: Told): void {
    if (this.#told.length >= MOST_WAITING) this.#missed++
    else this.#told.push(told)
    this.#wake()
  }

  /** Returns how many were left out since the last call. */
  takeMissed (): number {
    const missed = this.#missed
    this.#missed = 0
    return missed
  }

  async * [Symbol.asyncIterator] (): AsyncGenerator<Told, void, void> {
    while (!this.#signal.aborted) {
      const told = this.#told
      this.#told = []
      yield * told
      if (this.#told.length > 0 || this.#signal.aborted) continue
      await new Promise<void>((resolve) => { this.#wake = resolve })
    }
  }
}

/** Returns an event as a line for people. */
function lineOf (type: string, event: SessionEvent): string {
  const { at, userId, id, reason, kind, statedReason, actor, newDevice, newNetwork } = event
  const news = [newDevice === true ? 'new device' : null, newNetwork === true ? 'new network' : null]
  const by = [actor === null ? null : `by ${actor}`, statedReason === null ? null : `"${statedReason}"`]
  const all = [instantText(at), type, id, `user ${userId}`, kind, reason, ...by, ...news]
  return all.filter((each) => each !== null).join('  ')
}
