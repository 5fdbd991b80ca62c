import { durationFault, durationMs } from '../util/duration.ts'
import { shortText } from './arguments.ts'
import type { EndReason } from './events.ts'
import type { EndMark } from './store.ts'

/** Why a session is ended, and by whom. */
export interface EndCause {
  readonly reason: EndReason
  /** The application's own word for it, at most 64 characters. */
  readonly statedReason?: string | null | undefined
  /** Who ended it: the application's name for them, at most 255 characters. */
  readonly actor?: string | null | undefined
  /** The id of the request that ended it. */
  readonly requestId?: string | null | undefined
  /** The address of its client. */
  readonly ip?: string | null | undefined
  /** Its `User-Agent` header. */
  readonly userAgent?: string | null | undefined
}

/** What an application says of an end: `app.logout`, `revoke` and `revokeUser` take it. */
export interface EndOptions {
  /**
   * Your word for why, such as `'password-changed'`: 1 to 64 characters, none of them a control character. Events have
   * it as `statedReason`.
   */
  reason?: string | null | undefined
  /** Your name for who ends it, if that is not the user: 1 to 255 characters, as above. Events have it as `actor`. */
  actor?: string | null | undefined
}

/** How the session of a credential ended. */
export interface EndInfo {
  /** The public handle that the session had. */
  readonly id: string
  /**
   * Why it ended. `expired`: it ran out, or ended longer ago than `endedFor`, or there never was one.
   */
  readonly reason: EndReason | 'expired'
  /** When, in milliseconds since 1970, by the store's clock. `null` for `expired`. */
  readonly at: number | null
  /** Whose it was. `null` for `expired`, and for an anonymous session. */
  readonly userId: string | null
  /** The `reason` that the application gave, or `null`. */
  readonly statedReason: string | null
  /** Who ended it, where the application said so; else `null`. */
  readonly actor: string | null
}

/** Returns what a store is to remember of an end. `forMs`: for how long; `null`: nothing. */
export function markOf ({ reason, statedReason, actor }: EndCause, forMs: number | null): { mark?: EndMark } {
  return forMs === null ? {} : { mark: { forMs, reason, statedReason, actor } }
}

/** Shortest and longest time for which it is remembered how a session ended. */
const ENDED_FOR = { least: '1m', most: '30d' }

/** Says what is wrong with a time for which it is to be remembered how sessions end. Returns `null` if nothing is. */
export function endedForFault (value: unknown): string | null {
  const fault = durationFault(value)
  if (fault !== null) return fault
  const { least, most } = ENDED_FOR
  const isAllowed = durationMs(value) >= durationMs(least) && durationMs(value) <= durationMs(most)
  return isAllowed ? null : `must be from ${least} to ${most}`
}

/** Names of the members of `EndOptions`. */
export const END_OPTIONS = ['reason', 'actor'] as const

/** Longest reason of an application. */
export const REASON_LENGTH = 64
/** Longest name of who acts. */
export const ACTOR_LENGTH = 255

/**
 * Returns what an application says of an end.
 * @throws TypeError for a reason or an actor that is none
 */
export function statedCause ({ reason, actor }: EndOptions): Pick<EndCause, 'statedReason' | 'actor'> {
  return {
    statedReason: shortText(reason, 'reason', REASON_LENGTH),
    actor: shortText(actor, 'actor', ACTOR_LENGTH)
  }
}

/** Longest id of a request, in characters. */
const REQUEST_ID_LENGTH = 128

/**
 * Returns the id of a request as it may be shown. With Fastify's `requestIdHeader` a client chooses it: what is not
 * printable ASCII becomes a question mark.
 */
export function requestIdText (id: unknown): string | null {
  if (typeof id !== 'string' && typeof id !== 'number') return null
  return String(id).slice(0, REQUEST_ID_LENGTH).replace(/[^\x20-\x7E]/g, '?')
}
