import { isSignedIn, PublicMembers } from '../session/record.ts'
import type { SessionInfo, SessionRecord, SignedInRecord } from '../session/record.ts'
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
}

export function requestAuth (record: SessionRecord, signals: EndSignals): RequestAuth | null {
  return isSignedIn(record) ? new SignedIn(record, signals) : null
}

class SignedIn extends PublicMembers implements RequestAuth {
  readonly #signals: EndSignals
  #signal: AbortSignal | undefined

  constructor (record: SignedInRecord, signals: EndSignals) {
    super(record)
    this.#signals = signals
    Object.freeze(this)
  }

  // No member of its own: what is spread, logged or sent is the information.
  get signal (): AbortSignal {
    this.#signal ??= this.#signals.of(this.id)
    return this.#signal
  }
}
