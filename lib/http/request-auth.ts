import { publicMembers } from '../session/record.ts'
import type { SessionInfo, SessionRecord } from '../session/record.ts'
import type { EndSignals } from '../session/signals.ts'

/** A request's signed-in session: frozen, and JSON of it is the `SessionInfo` alone. */
export interface RequestAuth extends SessionInfo {
  /**
   * Aborts when the session has ended, whatever ended it and in whichever process: at once where messages
   * get through, five seconds late at most. For streams, WebSockets and long work. An outage of the store
   * is no end. Work that goes on after the reply keeps this signal itself, or listens to it: one that
   * `AbortSignal.any` made of it is not enough.
   */
  readonly signal: AbortSignal
  /** Whether this request came from the device that the session is bound to. Elsewhere: whether it is bound. */
  readonly deviceBound: boolean
}

/** How `request.auth` is made. */
interface RequestAuthOptions {
  readonly signals: EndSignals
  /** Whether the request came from the device that the session is bound to. */
  readonly isProven: boolean
}

/** Makes `request.auth` of a record; `null` when nobody is signed in by it. */
export function requestAuth (record: SessionRecord, { signals, isProven }: RequestAuthOptions): RequestAuth | null {
  const members = publicMembers(record, isProven)
  if (members === null) return null
  const held: Signal = { signals, secretHash: record.secretHash, signal: null }
  Object.defineProperty(members, kSignal, { value: held })
  Object.defineProperty(members, 'signal', signalMember)
  return Object.freeze(members as RequestAuth)
}

const kSignal = Symbol('fastify-user-sessions.signal')

interface Signal {
  readonly signals: EndSignals
  readonly secretHash: string
  signal: AbortSignal | null
}

/**
 * `signal`, made when it is first asked for. Not enumerable: what is spread, logged or sent is the information. One
 * for all requests: making a getter for each would take longer than the rest.
 */
const signalMember: PropertyDescriptor & ThisType<RequestAuth & { readonly [kSignal]: Signal }> = {
  get () {
    const held = this[kSignal]
    held.signal ??= held.signals.of(this.id, held.secretHash)
    return held.signal
  }
}
