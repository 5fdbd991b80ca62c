import type { EventEmitter } from 'node:events'
import { errors } from '../errors.ts'
import type { EndReason } from './events.ts'
import type { NewTimeouts, SessionKind, SessionRecord } from './record.ts'

/** The errors that a store rejects with. Each takes the error of the backend: `new STORE_UNAVAILABLE({ cause })`. */
export const storeErrors: Pick<typeof errors, 'LIMIT_REACHED' | 'STORE_FULL' | 'STORE_UNAVAILABLE'> = errors

/** Events of a store, for the process it lives in. Each becomes one log line. */
export interface StoreEvents {
  /** The backend stopped answering. Told once until `up`. */
  down: [cause: unknown]
  /** The backend answers again. */
  up: []
  /** The backend answers, but refuses a command: what to do, and its own words. Told once while it goes on. */
  refused: [advice: string, cause: unknown]
  /** The value under a session's key is not a session: it is treated as absent. */
  unreadable: [id: string]
  /**
   * A user's session ended without having been deleted by name. Told once, by the process that did it or noticed it.
   * An express-session store never tells that a session has expired. `kind`: where the store knows it.
   */
  ended: [id: string, userId: string, reason: 'replaced' | 'evicted' | 'expired', kind?: SessionKind]
}

/** A limit of the sessions of one user. Those of bearer tokens do not count, nor do those with an `actor`. */
export interface Limit {
  /** How many sessions at most: 1 or more. */
  readonly max: number
  /** `true`: a new session ends the oldest; `false`: it is refused. */
  readonly evicts: boolean
}

/** What a message between processes is about: sessions that begin, or sessions that end. */
export type BusSubject = 'beginnings' | 'ends'

/** Messages between the processes that share a store. Best effort: they may get lost. */
export interface Bus {
  /**
   * Sends a message to every process that listens, this one included. Never rejects. `channel`: what `channelOf`
   * returned for all that it is about.
   */
  publish (message: string, channel?: string): Promise<void>
  /**
   * Listens. `onGap` is called whenever messages may have been missed, and when listening begins, which is when the
   * backend answers. `subject`: only messages on its channels are needed, and others may come as well. Default: all.
   * Returns a function that stops listening.
   */
  subscribe (onMessage: (message: string) => void, onGap: () => void, subject?: BusSubject): () => Promise<void>
  /**
   * Returns the name of the channel for messages about a session. Messages for different channels are sent apart, and
   * who needs only ends subscribes to these. Without it there is one channel for all.
   */
  readonly channelOf?: ((subject: BusSubject, id: string) => string) | undefined
}

/** At most `max` attempts in any `withinMs` milliseconds. */
export interface AttemptLimit {
  /** How many attempts. */
  readonly max: number
  /** How long each counts. */
  readonly withinMs: number
}

/** What was known of a place before it was remembered. */
export type Acquaintance = 'known' | 'first' | 'new'

/** How a place is remembered. */
export interface PlaceOptions {
  /** How many places of one key are remembered. */
  readonly most: number
  /** For how many milliseconds. */
  readonly forMs: number
}

/** A counter of attempts, and how one counts in it: as the arguments of `count`. */
export interface AttemptCounter {
  /** Its key. */
  readonly key: string
  /** How many attempts it takes. */
  readonly limit: AttemptLimit
  /** Where the attempt is made from. */
  readonly place?: string | undefined
}

/** What an attempt that has succeeded changes. */
export interface AttemptSuccess {
  /** Counters in which attempts with this beginning stop counting: as the arguments of `clear`. */
  readonly clears: ReadonlyArray<{
    /** The key of the counter. */
    readonly key: string
    /** `''` for all attempts. */
    readonly beginning: string
  }>
  /** A place that is known from now on: as the arguments of `remember`. */
  readonly remembers: PlaceOptions & {
    /** The key of the counter that remembers it. */
    readonly key: string
    /** The place. */
    readonly place: string
  } | null
}

/**
 * Counters of attempts, by the store's clock. Keys, attempts and places are short texts whose meaning the store does
 * not need. Each call is one atomic step. What no longer counts takes no room in the end. Methods reject as those of a
 * store do.
 */
export interface AttemptCounters {
  /**
   * Counts an attempt under a key for `limit.withinMs`, and resolves with 0. Where `limit.max` attempts count already,
   * it counts nothing and resolves with the milliseconds until there is room. From a `place` that was remembered for
   * this key, nothing is counted or refused: 0. `null` for an attempt only asks, and counts nothing.
   */
  count (key: string, attempt: string | null, limit: AttemptLimit, place?: string): Promise<number>

  /** Stops counting an attempt. Nothing happens where it does not count. Works in a full store. */
  giveBack (key: string, attempt: string): Promise<void>

  /** Stops counting all attempts of a key, or those with this beginning. Places stay known. Works in a full store. */
  clear (key: string, beginning?: string): Promise<void>

  /**
   * Remembers a place for `forMs` from now on. Of more than `most` places the latest stay. Resolves with `known` where
   * it was remembered already, with `first` where no place of this key was, else with `new`.
   */
  remember (key: string, place: string, options: PlaceOptions): Promise<Acquaintance>

  /**
   * Counts an attempt in several counters of different keys, in one atomic step: in all of them, or in none. Resolves
   * with 0, or with the milliseconds until there is room in all. Resolves with `null`, and nothing is counted, where
   * the backend cannot do that. Without it, and then, `count` is called for each. `onRefused` is called before, where
   * there is no room, with the place in the list of the counter that has none for longest.
   */
  countTogether? (
    attempt: string, counters: readonly AttemptCounter[], onRefused?: (at: number) => void
  ): Promise<number | null>

  /**
   * Does what `clear` and `remember` do, for several keys in one step. Resolves with `false`, and nothing is changed,
   * where the backend cannot do that. Without it, and then, those are called for each.
   */
  settle? (success: AttemptSuccess): Promise<boolean>
}

/** Makes new data text out of the present one. May be called again when another writer was faster. */
export type Change = (data: string) => string

/** Options of `find`. */
export interface FindRecordOptions {
  /** Reads the session as it is now, also where one of a moment ago would do. */
  readonly fresh?: boolean
}

/** What a store is to remember of an end. */
export interface EndMark {
  /** For how many milliseconds. */
  readonly forMs: number
  /** Why the session ends. */
  readonly reason: EndReason
  /** The application's own word for it. */
  readonly statedReason?: string | null | undefined
  /** Who ends it, as the application names them. */
  readonly actor?: string | null | undefined
}

/** How a session ended, as a store remembers it for a while. */
export interface EndRecord {
  /** The hash of the secret that the session had: who does not prove that is told nothing. */
  readonly secretHash: string
  /** What carried it. */
  readonly kind: SessionKind
  /** Whose it was. `null`: an anonymous one. */
  readonly userId: string | null
  /** When it ended, by the store's clock. */
  readonly at: number
  /** Why. */
  readonly reason: EndReason
  /** The application's own word for it. */
  readonly statedReason: string | null
  /** Who ended it, as the application names them. */
  readonly actor: string | null
}

/** An option of all that ends sessions for others. Only a store with `ended` gets it. */
export interface MarkOptions {
  /** For how many milliseconds it is to be remembered how they ended. Default: not at all. */
  readonly markForMs?: number | undefined
}

/** Options of `begin`. */
export interface BeginOptions extends MarkOptions {
  /** Limit of the user's sessions. Default: any number. Only a store with lists gets one. */
  readonly limit?: Limit | null | undefined
}

/** Options of `move`. */
export interface MoveOptions extends MarkOptions {
  /** Makes the data of the new session out of the data that the old one had at its end. Default: the record's own. */
  readonly carry?: Change | undefined
}

/** Options of `replace`. */
export interface ReplaceOptions extends BeginOptions, MoveOptions {}

/** Options of `delete`. */
export interface DeleteOptions {
  /**
   * The hash of the secret of the credential that asks. A public id is no secret, and a signature can be anybody's.
   * Default: a session of any hash ends.
   */
  readonly secretHash?: string | undefined
  /** What is to be remembered of the end. Default: nothing. Only a store with `ended` gets it. */
  readonly mark?: EndMark | undefined
}

/** The place of a session among those of its user. A record is one. */
export interface Began {
  /** Its id. */
  readonly id: string
  /** When it began. */
  readonly createdAt: number
}

/** Default `limit` of `listByUser`. */
export const LIST_LIMIT = 1_000

/** Options of `listByUser`. */
export interface ListOptions {
  /** Most sessions of one answer. Default 1,000. */
  readonly limit?: number | undefined
  /** Lists the sessions that come after this one, which may have ended since. Default: from the newest on. */
  readonly before?: Began | undefined
}

/** Options of `listAll`. */
export interface ListAllOptions {
  /**
   * Ends the listing early, as if there were no more. A store looks at it also while it finds no session: between the
   * pages of a backend that holds much else.
   */
  readonly signal?: AbortSignal | undefined
}

/** Options of `deleteByUser`. */
export interface DeleteByUserOptions {
  /** The id of a session that goes on. */
  readonly except?: string | undefined
  /** Ends only sessions that began up to this time, by the store's clock. Default: all that are there. */
  readonly before?: number | undefined
  /** What is to be remembered of each end. Default: nothing. Only a store with `ended` gets it. */
  readonly mark?: EndMark | undefined
  /**
   * Called with the ids that have ended, some hundred at a time, and with the kind of each where the store knows it.
   * Called without any: the work goes on.
   */
  readonly onEnded?: ((ids: readonly string[], kinds?: readonly SessionKind[]) => void) | undefined
}

/** A session that has ended. A record is one. */
export type Ended = Pick<SessionRecord, 'id' | 'userId' | 'kind'>

/** Options of `deleteByIdp`. */
export interface DeleteByIdpOptions {
  /** Ends only sessions that began up to this time, by the store's clock. Default: all that are there. */
  readonly before?: number | undefined
  /** What is to be remembered of each end. Default: nothing. Only a store with `ended` gets it. */
  readonly mark?: EndMark | undefined
  /** Called with the sessions that have ended, some hundred at a time. Called without any: the work goes on. */
  readonly onEnded?: ((ended: readonly Ended[]) => void) | undefined
}

/**
 * The part of a store that knows which sessions there are. A store has these three methods and `successor`, or none of
 * the three.
 */
export interface SessionLists {
  /**
   * Lists the user's live sessions, newest first. Costs as much as is listed, or as all sessions of that user at most.
   * Cleans the list of sessions that are gone. Fewer than `limit` means that there are no more.
   */
  listByUser (userId: string, options?: ListOptions): Promise<SessionRecord[]>

  /**
   * Ends every session of the user but `except`, and calls off every login of theirs that is under way. `except` goes
   * on also under an id to which it has moved within the last hour, or is moving. Later logins are left alone.
   *
   * Works in portions of some hundred, so that other calls have their turn, and in a full store. What has ended is off
   * the list: a later call goes on where this one was broken off. Resolves with the ids that were ended.
   */
  deleteByUser (userId: string, options?: DeleteByUserOptions): Promise<string[]>

  /**
   * Lists every live session, anonymous ones too, in no order and with bounded memory. One that begins, ends or moves
   * meanwhile may be missing. While the backend rearranges its keys one may come twice.
   */
  listAll (options?: ListAllOptions): AsyncIterable<SessionRecord>
}

/**
 * A store of sessions.
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
 *
 * Members with a question mark are capabilities. Their comments say what is lost without them.
 *
 * @see docs/guides/writing-a-store.md, and `testStore` of `fastify-user-sessions/testing`, which tests all of this
 */
export interface SessionStore extends Partial<SessionLists> {
  /** Returns the time by the clock that decides expiry, in milliseconds since 1970. */
  now (): number

  /**
   * Resolves with the live record, or `null`. Takes one round trip at most, and writes nothing.
   */
  find (id: string, options?: FindRecordOptions): Promise<SessionRecord | null>

  /**
   * Stores a new session and lists it under its user.
   *
   * `limit` counts the user's sessions except those of bearer tokens and those with an `actor`. It holds however many
   * begin at once. The sessions that it evicts are dead before this resolves: at most a hundred, where a limit was
   * lowered. Later calls evict the rest.
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
   * `old` is dead before this resolves, in a store with `successor` also where it has moved within the last hour. It
   * still lives if the new session could not be written: a full store signs nobody out. Nobody finds the new session
   * before `old` is gone. Where `old` had ended before, the new session begins all the same.
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
   * are not lost: `carry` works as with `replace`. Where `record` has the timeouts of `old`, it gets those that `old`
   * had at its end, and so it is with its `boundKey`. No limit applies.
   *
   * Resolves with the session as stored. Resolves with `null`, and nothing is stored, when `old` is absent, also
   * because it has moved already, and when `deleteByUser` ran for this user in the meantime.
   */
  move (record: SessionRecord, old: SessionRecord, options?: MoveOptions): Promise<SessionRecord | null>

  /**
   * Replaces the data of a live session by `change(data)`, atomically: a concurrent change is never
   * lost, `change` is called again on top of it. Only data changes; expiry does not.
   *
   * `record` is the session as last seen. A store may try its data first, so that the common case is one round trip.
   * Resolves with the record as stored, or `null`, with nothing written, when the session is absent.
   */
  update (record: SessionRecord, change: Change): Promise<SessionRecord | null>

  /**
   * Counts as use: sets `lastSeenAt` to now and moves the expiry to the earlier of now + idle timeout
   * and the absolute deadline. `false` when the session is absent. Never a conflict for `update`.
   */
  touch (record: SessionRecord): Promise<boolean>

  /**
   * Ends a session and takes it off its user's list. Resolves with the session that ended, `null` when it was absent.
   * Works in a full store. In a store with `successor` a session that has moved within the last hour ends under
   * its new id: the caller knew it by the old one.
   *
   * With `secretHash` only a session of that hash ends, or what one of that hash under this id has moved to. Any other
   * is absent. The comparison is part of the step that deletes.
   */
  delete (id: string, options?: DeleteOptions): Promise<SessionRecord | null>

  /** Resolves if the backend answers. */
  ping (): Promise<void>

  /** Releases what this store opened. Twice is safe. */
  close (): Promise<void>

  /** Tells this process what happens to the store and its sessions. */
  readonly events: EventEmitter<StoreEvents> & {
    /** Whether `down` was emitted, and no `up` since. Without it, a manager that is made in an outage knows of none. */
    readonly isDown?: boolean | undefined
  }

  /**
   * Resolves with the id under which a session that moved within the last hour goes on, or `null`. Without it, a
   * sign-out that meets a move of its session misses it, and a change that meets one is lost.
   */
  successor? (id: string): Promise<string | null>

  /**
   * Gives a live session other timeouts, atomically: use, changes of data and timeouts by others stay. A `touch` of a
   * record that was read before does not put the old ones back. A session that they have run out for is over: `ended`
   * is emitted for it, as `expired`. Resolves with the session as stored, or with `null` when it is absent, or over.
   * Without it, a session keeps the timeouts that it began with.
   */
  setTimeouts? (record: SessionRecord, timeouts: NewTimeouts): Promise<SessionRecord | null>

  /**
   * Gives a live session, also an anonymous one, another `boundKey`, atomically, if it still has the one of `record`.
   * All else stays as it is by then, its expiry too. A record that was stored or read without the member counts as one
   * with `null`. A `touch`, `update` or `move` of a record that was read before keeps the new key.
   *
   * Resolves with the session as it is then: where another call was faster, with the key of that one. Resolves with
   * `null`, and nothing is written, when it is absent. Without it, `deviceBound` is a boot error.
   */
  bind? (record: SessionRecord, boundKey: string): Promise<SessionRecord | null>

  /**
   * Counts as use, as `touch` does, and gives the session another `twin`, in one atomic step, if it still has the one
   * of `record`. Else it is used, and keeps the one that it has. A record that was stored or read without the member
   * counts as one with `null`. Without it, `forkDetection` is a boot error.
   *
   * @throws ERR_SESSION_STORE_FULL where it could not get the twin; it may have been used
   */
  advance? (record: SessionRecord, twin: string): Promise<boolean>

  /**
   * Resolves with how a session ended, for as long as `mark` or `markForMs` had it remembered; else `null`. The first
   * end counts. A store that has no room for that ends sessions all the same. Without it, `endedFor` is a boot error.
   */
  ended? (id: string): Promise<EndRecord | null>

  /** Returns the live record, where that is known without a promise; else `undefined`. Without it, `find` is asked. */
  findNow? (id: string): SessionRecord | undefined

  /**
   * Resolves with the time, also after a pause of the machine, where `now` may be late until the backend was asked
   * again. The store's other methods wait for that by themselves. Without it, `now` is asked.
   */
  nowForCertain? (): Promise<number>

  /**
   * Ends every session with this `idp`, and calls off every login with it that is under way, as `deleteByUser` does for
   * a user. A session is found by it up to its absolute deadline, however often it moves. Resolves with the sessions
   * that were ended. Without it, no session begins with an `idp`.
   */
  readonly deleteByIdp?: ((idp: string, options?: DeleteByIdpOptions) => Promise<readonly Ended[]>) | undefined

  /** Messages between the processes that share the store. Without it, events stay in their process. */
  readonly bus?: Bus | undefined

  /** Counts failed logins. Without it, each process counts for itself. */
  readonly attempts?: AttemptCounters | undefined

  /** Shares sessions with another session library, or takes them over from it. `expressSession` and `adopt` need it. */
  readonly adoption?: Adoption | undefined
}

/** The sessions of another session library, beside ours in one store. */
export interface Adoption {
  /**
   * Finds the session `id`. Makes it of the other library's session `sid` if nobody has yet, to be proven by
   * `secretHash`. Resolves with `null` when there is neither. However many ask at once, it becomes one session.
   */
  adopt (sid: string, made: Pick<SessionRecord, 'id' | 'secretHash'>): Promise<SessionRecord | null>
  /** Ends a session of the other library. */
  discard (sid: string): Promise<void>
  /**
   * Puts a session on the list of the user that it has by now, where the other library has signed somebody in.
   * Resolves with the session as it is then, or `null`.
   */
  list (record: SessionRecord): Promise<SessionRecord | null>
}

const METHODS = ['now', 'find', 'begin', 'replace', 'move', 'update', 'touch', 'delete', 'ping', 'close'] as const

/** Whether `value` is a `SessionStore`, as opposed to an express-session store, or something else. */
export function isSessionStore (value: unknown): value is SessionStore {
  if (typeof value !== 'object' || value === null) return false
  const store = value as Partial<SessionStore>
  return METHODS.every((name) => typeof store[name] === 'function') && typeof store.events === 'object'
}

/** Whether a store has lists. */
export function hasLists (store: SessionStore): store is SessionStore & SessionLists {
  return [store.listByUser, store.deleteByUser, store.listAll].every((method) => typeof method === 'function')
}

/**
 * Returns the lists of a store.
 * @throws ERR_SESSION_UNSUPPORTED for a store without
 */
export function listsOf (store: SessionStore): SessionLists {
  if (hasLists(store)) return store
  throw new errors.UNSUPPORTED('listing sessions, or ending all of a user, on a store without lists')
}

/**
 * Lists a page of a user's sessions, of which `shown` leaves some out: as many as are asked for, while there are more.
 * `list` lists them all.
 */
export async function fullPage (
  list: (options: ListOptions) => Promise<SessionRecord[]>, { limit = LIST_LIMIT, before }: ListOptions,
  shown: (record: SessionRecord) => SessionRecord | null
): Promise<SessionRecord[]> {
  const page: SessionRecord[] = []
  for (let last = before; ;) {
    const size = limit - page.length
    const listed = await list({ limit: size, before: last })
    page.push(...listed.map(shown).filter((record) => record !== null))
    if (listed.length < size || page.length >= limit) return page
    last = listed.at(-1)
  }
}

/**
 * Gives a session of a store other timeouts.
 * @throws ERR_SESSION_UNSUPPORTED for a store that cannot
 */
export async function setTimeouts (
  store: SessionStore, record: SessionRecord, timeouts: NewTimeouts
): Promise<SessionRecord | null> {
  if (store.setTimeouts !== undefined) return await store.setTimeouts(record, timeouts)
  throw new errors.UNSUPPORTED('other timeouts for sessions that live, on a store without setTimeouts')
}

/**
 * Counts as use of a session of a store, and gives it another `twin`.
 * @throws ERR_SESSION_UNSUPPORTED for a store that cannot
 */
export async function advance (store: SessionStore, record: SessionRecord, twin: string): Promise<boolean> {
  if (store.advance !== undefined) return await store.advance(record, twin)
  throw new errors.UNSUPPORTED('noticing forked sessions, on a store without advance')
}

/**
 * Gives a session of a store another `boundKey`.
 * @throws ERR_SESSION_UNSUPPORTED for a store that cannot
 */
export async function bind (
  store: SessionStore, record: SessionRecord, boundKey: string
): Promise<SessionRecord | null> {
  if (store.bind !== undefined) return await store.bind(record, boundKey)
  throw new errors.UNSUPPORTED('binding sessions to a browser, on a store without bind')
}
