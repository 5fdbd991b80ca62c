import type { EventEmitter } from 'node:events'
import type { SessionRecord } from './record.ts'

/** What a store tells the process it lives in; each is one log line. */
export interface StoreEvents {
  /** The backend stopped answering; told once until `up`. */
  down: [cause: unknown]
  /** The backend answers again. */
  up: []
  /** The backend answers, but refuses what it is asked; what to do, and its own words. Told once while it goes on. */
  refused: [advice: string, cause: unknown]
  /** What lies under a session's key is not a session: treated as absent. */
  unreadable: [id: string]
  /**
   * A user's session ended without having been deleted by name. Told once, by whichever process did or noticed
   * it. A foreign store never tells that one has expired.
   */
  ended: [id: string, userId: string, reason: 'replaced' | 'evicted' | 'expired']
}

/** How many sessions a user may have, those of bearer tokens not counted. */
export interface Limit {
  readonly max: number
  /** `true`: a new one ends the oldest; `false`: it is refused. */
  readonly evicts: boolean
}

/** How processes that share a store tell each other what happened. Best effort: messages may be lost. */
export interface Bus {
  /** Sends to every process that listens, this one included. Never rejects. */
  publish (message: string): Promise<void>
  /**
   * `onGap` is called whenever messages may have been missed, also when listening begins, which is when the
   * backend answers. Returns what stops it.
   */
  subscribe (onMessage: (message: string) => void, onGap: () => void): () => Promise<void>
}

/** At most `max` in any `withinMs` milliseconds. */
export interface AttemptLimit {
  readonly max: number
  readonly withinMs: number
}

/**
 * Counts attempts: under each key those of some time, by the store's clock. Keys, attempts and places are short
 * texts that stand for something; what, no store needs to know. Whatever runs at once, each call is one step, and
 * what counts no more takes no room in the end. Rejects as a store does.
 */
export interface AttemptCounters {
  /**
   * Counts an attempt, for as long as `limit` says, and resolves with 0; or, where as many count already as
   * may, counts nothing and resolves with in how many milliseconds there will be room.
   * From a `place` that this counter knows nothing is counted and nothing refused: 0.
   * Without an attempt (`null`) it is only asked.
   */
  take (key: string, attempt: string | null, limit: AttemptLimit, place?: string): Promise<number>

  /** An attempt that counts no more. Nothing happens when it does not. Works in a full store. */
  giveBack (key: string, attempt: string): Promise<void>

  /** Attempts that count no more: all, or those whose names begin so. Places stay known. Works in a full store. */
  clear (key: string, beginning?: string): Promise<void>

  /** A place is known for `forMs` from now on; of more than `most` those that were remembered last. */
  remember (key: string, place: string, options: { most: number, forMs: number }): Promise<void>
}

/** Makes new data text out of the present one. May be called again when another writer was faster. */
export type Change = (data: string) => string

/** How a new session begins. */
export interface BeginOptions {
  /** How many sessions the user may have. Default: any number. */
  readonly limit?: Limit | null | undefined
}

/** What a session that takes another one's place keeps of it. */
export interface MoveOptions {
  /** Makes the data of the new session out of the data that the old one had at its end. Default: the data of the record. */
  readonly carry?: Change | undefined
}

/** How a session begins in place of another. */
export interface ReplaceOptions extends BeginOptions, MoveOptions {}

/** What `delete` is told besides the id. */
export interface DeleteOptions {
  /** Of a credential: a public id is no secret, and a signature may be anybody's. Absent: whoever asks may end any. */
  readonly secretHash?: string | undefined
}

/** A session's place among those of its user. A record has one. */
export interface Began {
  readonly id: string
  readonly createdAt: number
}

/** How many sessions `listByUser` gives unless it is told otherwise. */
export const LIST_LIMIT = 1_000

/** Which of a user's sessions `listByUser` gives. */
export interface ListOptions {
  /** So many at the most. */
  readonly limit?: number | undefined
  /** Those that come after this one, which may have ended since. Default: from the newest on. */
  readonly before?: Began | undefined
}

/** What `deleteByUser` is told besides the user. */
export interface DeleteByUserOptions {
  /** The session that goes on. */
  readonly except?: string | undefined
  /** Only sessions that began up to then, by the store's clock. Default: all that are there. */
  readonly before?: number | undefined
  /** Hears of those that have ended, some hundred at a time; and of none, that it goes on. */
  readonly onEnded?: ((ids: readonly string[]) => void) | undefined
}

/**
 * Where sessions live.
 *
 * A session that is missing, expired or unreadable is *absent*, which is not an error. A store rejects
 * only when its backend failed, and then with ERR_SESSION_STORE_UNAVAILABLE (the outcome of a write is
 * then unknown: it may still happen) or ERR_SESSION_STORE_FULL (nothing happened).
 *
 * Records cross this line by value: they are made of immutable members only, and changing or keeping
 * one after a call never changes what the store holds.
 *
 * A session that has ended never exists again: `update` and `touch` of an absent session write nothing, whatever else
 * runs at the same time. The id of a record that begins is always a new one.
 */
export interface SessionStore {
  /** The clock that decides expiry, in milliseconds since 1970. */
  now (): number

  /** `now`, also after a pause of the machine, where that may be late until the backend was asked again. What asks the store waits for that by itself. */
  nowForCertain? (): Promise<number>

  /**
   * The live record, or `null`. One round trip at the most; writes nothing. `fresh`: as it is now, also where one of
   * a moment ago would do.
   */
  find (id: string, options?: { fresh?: boolean }): Promise<SessionRecord | null>

  /** The live record, where it is known without a promise; else `undefined`. */
  findNow? (id: string): SessionRecord | undefined

  /**
   * Stores a new session and lists it under its user.
   *
   * `limit` counts the user's sessions except those of bearer tokens, and holds however many begin at once. The
   * sessions that it evicts are dead before this resolves: at most a hundred, where a limit was lowered. Later calls
   * evict the rest.
   *
   * Resolves with the session as stored. Resolves with `null`, and nothing is stored, when `deleteByUser` ran for
   * this user in the meantime, or when newer sessions took its place under the limit.
   *
   * @throws ERR_SESSION_LIMIT_REACHED, with nothing stored or ended, when the limit does not evict
   */
  begin (record: SessionRecord, options?: BeginOptions): Promise<SessionRecord | null>

  /**
   * Stores a new session in place of `old`, as a sign-in does.
   *
   * `old` is dead before this resolves, also where it has moved within the last ten seconds. It still lives if the new
   * session could not be written: a full store signs nobody out. Nobody finds the new session before `old` is gone.
   * Where `old` had ended before, the new session begins all the same.
   *
   * Changes of `old` up to its end are not lost: if its data is not what `old` says, the data of the new session is
   * `carry` of it. `limit` does not count `old`. All else is as with `begin`.
   *
   * @throws ERR_SESSION_LIMIT_REACHED, with nothing stored or ended, when the limit does not evict
   */
  replace (record: SessionRecord, old: SessionRecord, options?: ReplaceOptions): Promise<SessionRecord | null>

  /**
   * Puts a session under another id and secret. It is stored there only if `old` lives until its turn comes to end:
   * of several moves of one session at once, one succeeds.
   *
   * Nobody finds the session under both ids. `old` still lives if the new record could not be written. Changes of `old`
   * are not lost: `carry` works as with `replace`. No limit applies.
   *
   * Resolves with the session as stored. Resolves with `null`, and nothing is stored, when `old` is absent, also
   * because it has moved already, and when `deleteByUser` ran for this user in the meantime.
   */
  move (record: SessionRecord, old: SessionRecord, options?: MoveOptions): Promise<SessionRecord | null>

  /**
   * Replaces the data of a live session by `change(data)`, atomically: a concurrent change is never
   * lost, `change` is called again on top of it. Only data changes; expiry does not.
   *
   * `record` is the session as last seen; its data is tried first, so that the common case is one round trip.
   * Resolves with the record as stored, or `null`, with nothing written, when the session is absent.
   */
  update (record: SessionRecord, change: Change): Promise<SessionRecord | null>

  /**
   * Counts as use: sets `lastSeenAt` to now and moves the expiry to the earlier of now + idle timeout
   * and the absolute deadline. `false` when the session is absent. Never a conflict for `update`.
   */
  touch (record: SessionRecord): Promise<boolean>

  /**
   * Ends a session and takes it off its user's list. Resolves with what was ended, `null` when absent. Works
   * in a full store. One that has moved to another id within the last ten seconds is ended under that one:
   * who asked knew it by the old.
   *
   * With `secretHash` only a session of that hash is ended, or what one of that hash under this id has moved to; any
   * other is absent. The comparison is part of the step that deletes.
   */
  delete (id: string, options?: DeleteOptions): Promise<SessionRecord | null>

  /** The id under which a session that moved within the last ten seconds goes on, or `null`. */
  successor (id: string): Promise<string | null>

  /**
   * The user's live sessions, newest first, at the cost of those that are given, or of all of that user's at the most.
   * Cleans the list of what is no longer there. Fewer than `limit`: there are no more.
   */
  listByUser (userId: string, options?: ListOptions): Promise<SessionRecord[]>

  /**
   * Ends every session of the user but `except`, also under an id to which that has moved within the last ten
   * seconds or is on its way, and every login of theirs that is under way. What begins later is left alone.
   *
   * Works in portions of some hundred, so that others have their turn, and in a full store; what has ended is off the
   * list, so that another call goes on where this one was broken off. Resolves with the ids that were ended.
   */
  deleteByUser (userId: string, options?: DeleteByUserOptions): Promise<string[]>

  /**
   * Every live session, anonymous ones too, in no order and with bounded memory. One that is created, ended
   * or moved meanwhile may be missing, and while the backend rearranges its keys one may come twice.
   */
  listAll (): AsyncIterable<SessionRecord>

  /** Resolves if the backend answers. */
  ping (): Promise<void>

  /** `null`: no other process uses the sessions, or it cannot be told. */
  readonly bus: Bus | null

  /** `null`: it cannot count. Attempts are then counted in each process for itself. */
  readonly attempts: AttemptCounters | null

  /** Of a store that shares its sessions with another session library, or takes them over from it. */
  readonly adoption?: Adoption | undefined

  /** Releases what this store opened; twice is safe. */
  close (): Promise<void>

  readonly events: EventEmitter<StoreEvents>
}

/** The sessions of another session library, beside ours in one store. */
export interface Adoption {
  /**
   * Finds the session `id`. Makes it of the other library's session `sid` if nobody has yet, to be proven by
   * `secretHash`. Resolves with `null` when there is neither. However many ask at once, it becomes one session.
   */
  adopt (sid: string, made: { readonly id: string, readonly secretHash: string }): Promise<SessionRecord | null>
  /** Ends a session of the other library. */
  discard (sid: string): Promise<void>
  /**
   * Puts a session on the list of the user that it has by now, where the other library has signed somebody in.
   * Resolves with the session as it is then, or `null`.
   */
  list (record: SessionRecord): Promise<SessionRecord | null>
}

const METHODS = [
  'now', 'find', 'begin', 'replace', 'move', 'update', 'touch', 'delete', 'successor', 'listByUser', 'deleteByUser',
  'listAll', 'ping', 'close'
] as const

/** Whether `value` is one of our stores (as opposed to an express-session store, or something else). */
export function isSessionStore (value: unknown): value is SessionStore {
  if (typeof value !== 'object' || value === null) return false
  const store = value as Partial<SessionStore>
  return METHODS.every((name) => typeof store[name] === 'function') && typeof store.events === 'object'
}
