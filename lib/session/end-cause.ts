import type { EndReason } from './events.ts'

/** Why a session is ended, and by whom. */
export interface EndCause {
  readonly reason: EndReason
  /** The application's own word for it, at most 64 characters. */
  readonly statedReason?: string | null | undefined
  /** Who ended it: the application's name for them, at most 255 characters. */
  readonly actor?: string | null | undefined
  /** The id of the request that ended it. */
  readonly requestId?: string | null | undefined
}
