import type { SessionTimeouts } from '../util/duration.ts'
import type { Counters } from './attempts.ts'
import type { CoreStore, Limit } from './core-store.ts'
import type { CredentialsOptions } from './credentials.ts'
import type { DataSchema } from './data-schema.ts'
import type { NewSession } from './new-record.ts'

/** What sessions are made with. */
export interface CoreOptions extends CredentialsOptions, SessionTimeouts {
  store: CoreStore
  /** What counts failed logins. */
  counters: Counters
  /** What no session may exceed. */
  longest: SessionTimeouts
  /** How often an unchanged session is extended at most; `null`: a tenth of its idle timeout; `false`: never. */
  touchAfterMs: number | null | false
  limit: Limit | null
  /** Where a session's data names its user; `null`: `data.userId`. */
  userIdFrom: ((data: Record<string, unknown>) => unknown) | null
  dataSchema: DataSchema | null
  /** In bytes of JSON in UTF-8. */
  maxDataSize: number
  /** `false`: cookies end with the browser session. */
  cookieMaxAgeMs?: number | null | false | undefined
  /** Another library reads and writes the same sessions: their data alone says who is signed in. `null`: none does. */
  shared: SharedSessions | null
}

/** What another library asks of the sessions that it shares. */
export interface SharedSessions {
  /**
   * Makes a new session one that the other library can keep as well.
   * @throws ERR_SESSION_UNSUPPORTED
   */
  keepable (session: NewSession): NewSession
}
