import type { SessionInfo } from '../session/record.ts'
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

export function requestAuth (info: SessionInfo, signals: EndSignals): RequestAuth {
  let signal: AbortSignal | undefined
  const auth = { ...info } as RequestAuth
  // Not enumerable: what is spread, logged or sent is the information.
  Object.defineProperty(auth, 'signal', {
    get: () => {
      signal ??= signals.of(info.id)
      return signal
    }
  })
  return Object.freeze(auth)
}
