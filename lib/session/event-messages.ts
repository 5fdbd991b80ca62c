import { isShortText } from './arguments.ts'
import { ACTOR_LENGTH, REASON_LENGTH, requestIdText } from './end-cause.ts'
import type { EventName, SessionEvent } from './events.ts'
import type { BusSubject } from './store.ts'

/*
 * The messages by which processes tell each other of events: JSON, `{ origin, name, id, … }` of one event, or
 * `{ origin, events: [ … ] }` of several. `{ dropped: [id, …] }` is for near-caches alone. Whoever does not know a
 * message or a member leaves it aside: older versions hear them too.
 */

/** An event that goes to all processes. */
export type FleetEvent = 'created' | 'revoked' | 'expired'

/** An event as it is sent. */
export type FleetMessage = Omit<SessionEvent, 'local'> & { name: FleetEvent }

/** Most events in one message. */
const AT_ONCE = 500

/** Names of events that go to all processes. */
export const FLEET_EVENTS: readonly unknown[] = ['created', 'revoked', 'expired'] satisfies FleetEvent[]
const REASONS: readonly unknown[] =
  [null, 'moved', 'logout', 'revoked', 'replaced', 'evicted'] satisfies Array<SessionEvent['reason']>

/** Returns what an event is about; `null` for one that stays in its process. */
export function subjectOf (name: FleetEvent): BusSubject
export function subjectOf (name: EventName): BusSubject | null
export function subjectOf (name: EventName): BusSubject | null {
  if (name === 'created') return 'beginnings'
  return name === 'revoked' || name === 'expired' ? 'ends' : null
}

/** Returns the messages for some events of one process. */
export function messagesOf (origin: string, events: readonly FleetMessage[]): string[] {
  const messages: string[] = []
  for (let from = 0; from < events.length; from += AT_ONCE) {
    const some = events.slice(from, from + AT_ONCE)
    messages.push(JSON.stringify({ origin, ...some.length === 1 ? some[0] : { events: some } }))
  }
  return messages
}

/** Reads the events in a message of another process than `origin`. Checks them: anybody may publish on a channel. */
export function eventsIn (message: string, origin: string): FleetMessage[] {
  const heard = parsed(message)
  if (typeof heard.origin !== 'string' || heard.origin === origin) return []
  return membersOf(heard).flatMap(fleetMessage)
}

/** Returns the ids of sessions that have ended, or may not be served from a copy any more, by a message. */
export function endedIn (message: string): string[] {
  const heard = parsed(message)
  if (Array.isArray(heard.dropped)) return heard.dropped.filter((id) => typeof id === 'string')
  return membersOf(heard).flatMap((event) => {
    const { name, id } = (event ?? {}) as Record<string, unknown>
    return (name === 'revoked' || name === 'expired') && typeof id === 'string' ? [id] : []
  })
}

/** Returns the message that sessions may not be served from a copy any more. */
export function droppedMessage (...ids: string[]): string {
  return JSON.stringify({ dropped: ids })
}

function parsed (message: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(message)) as Record<string, unknown>
  } catch {
    return {}
  }
}

function membersOf (heard: Record<string, unknown>): unknown[] {
  return Array.isArray(heard.events) ? heard.events : [heard]
}

/** Returns an event that was heard, if it is one. What an older version does not say is `null`. */
function fleetMessage (heard: unknown): FleetMessage[] {
  const said = (heard ?? {}) as Record<string, unknown>
  const { name, id, userId, at, reason } = said
  const isEvent = FLEET_EVENTS.includes(name) && REASONS.includes(reason)
  if (!isEvent || typeof id !== 'string' || typeof userId !== 'string' || typeof at !== 'number') return []
  const text = (value: unknown, most: number): string | null => isShortText(value, most) ? value : null
  const flag = (value: unknown): boolean | null => typeof value === 'boolean' ? value : null
  return [{
    // The lists have only names and reasons.
    name: name as FleetEvent,
    id,
    userId,
    at,
    reason: reason as FleetMessage['reason'],
    kind: said.kind === 'cookie' || said.kind === 'bearer' ? said.kind : null,
    statedReason: text(said.statedReason, REASON_LENGTH),
    actor: text(said.actor, ACTOR_LENGTH),
    requestId: requestIdText(said.requestId),
    newDevice: flag(said.newDevice),
    newNetwork: flag(said.newNetwork)
  }]
}
