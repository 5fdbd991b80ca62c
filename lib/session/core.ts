import { errors } from '../errors.ts'
import { EventHub } from './events.ts'
import type { EndReason, SessionEvent } from './events.ts'
import type { SessionTimeouts } from '../util/duration.ts'
import { Credentials, proven } from './credentials.ts'
import type { Credential, CredentialsOptions } from './credentials.ts'
import type { DataSchema } from './data-schema.ts'
import { fitting, fittingCarry, fittingChange } from './data.ts'
import { Endings } from './endings.ts'
import type { Ending } from './endings.ts'
import { newRecord } from './new-record.ts'
import type { HeldSession, NewSession } from './new-record.ts'
import { isTouchDue } from './record.ts'
import type { SessionRecord } from './record.ts'
import { Revocations } from './revocations.ts'
import type { Revocation } from './revocations.ts'
import { EndSignals } from './signals.ts'
import { listsOf } from './store.ts'
import type { AttemptCounters, Change, Limit, ListOptions, SessionStore, StoreEvents } from './store.ts'
import type { TokenFormat } from './token.ts'
import { findMoved, updateMoved } from './moved.ts'

/** What sessions are made with. */
export interface CoreOptions extends CredentialsOptions, SessionTimeouts {
  store: SessionStore
  /** What counts failed logins. */
  counters: AttemptCounters
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

/** Makes, finds and ends sessions, and says so: what requests and `app.sessions` stand on. Knows no Fastify and no Redis. */
export class SessionCore {
  readonly options: CoreOptions
  readonly tokens: TokenFormat
  readonly credentials: Credentials
  readonly events: EventHub
  /** Fire when a session has ended. */
  readonly signals: EndSignals
  readonly #store: SessionStore
  readonly #endings: Endings
  readonly #revocations: Revocations
  readonly #onEnded = (...[id, userId, reason]: StoreEvents['ended']): void => {
    if (reason === 'expired') this.#tell('expired', id, userId)
    else this.#tell('revoked', id, userId, reason)
  }

  readonly #onDown = (): void => this.events.emitHere('store-down')
  readonly #onUp = (): void => this.events.emitHere('store-up')

  constructor (options: CoreOptions) {
    this.options = options
    this.tokens = options.tokens
    this.credentials = new Credentials(options)
    this.#store = options.store
    this.#endings = new Endings((ending) => this.#delete(ending))
    this.#revocations = new Revocations(this.#store, (id, userId) => this.#tell('revoked', id, userId, 'revoked'))
    this.events = new EventHub(this.#store.bus)
    this.signals = new EndSignals(this.events, async (id, secretHash) => {
      return !this.#endings.has(id, secretHash) && await this.get(id, { fresh: true }) !== null
    })
    this.#store.events.on('ended', this.#onEnded)
    this.#store.events.on('down', this.#onDown)
    this.#store.events.on('up', this.#onUp)
  }

  now (): number {
    return this.#store.now()
  }

  /** The live session that a credential proves, or `null`. `fresh`: as it is now. `uses`: it is used, and listed from now on. */
  async find (credential: Credential, options: { fresh?: boolean, uses?: boolean } = {}): Promise<SessionRecord | null> {
    if (this.#endings.has(credential.id, credential.secretHash)) return null
    const record = proven(await this.get(credential.id, options) ?? await this.#adopt(credential), credential)
    return options.uses === true && record?.listedAs !== undefined ? await this.#store.adoption?.list(record) ?? null : record
  }

  /** What `find` gives, where that is known without waiting for it; else `undefined`. */
  findNow (credential: Credential): SessionRecord | null | undefined {
    const record = this.#store.findNow?.(credential.id)
    if (record?.listedAs !== undefined) return undefined
    return record === undefined ? undefined : this.#isRefused(record) ? null : proven(record, credential)
  }

  /** The live session of this id, or `null`. */
  async get (id: string, options?: { fresh?: boolean }): Promise<SessionRecord | null> {
    if (this.#endings.has(id)) return null
    const record = await this.#store.find(id, options)
    // Asked again: it may have been ended here while the store was answering.
    return record === null || this.#isRefused(record) ? null : record
  }

  /** The user of the live session of this id, or of what it has moved to a moment ago; `null` when there is neither. */
  async userOf (id: string): Promise<string | null> {
    return (await findMoved(this.#store, id, async (each) => await this.get(each)))?.userId ?? null
  }

  /** The user's live sessions, newest first. */
  async listByUser (userId: string, options: ListOptions): Promise<SessionRecord[]> {
    return (await listsOf(this.#store).listByUser(userId, options)).filter((record) => !this.#isRefused(record))
  }

  /** Every live session, anonymous ones too. */
  async * listAll (): AsyncGenerator<SessionRecord> {
    for await (const record of listsOf(this.#store).listAll()) {
      if (!this.#isRefused(record)) yield record
    }
  }

  /** Resolves if the store answers. */
  async ping (): Promise<void> {
    await this.#store.ping()
  }

  /**
   * Stores a new session. Whatever it replaces is dead when this resolves.
   * @throws ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL; no session lives on then
   * @throws ERR_SESSION_LIMIT_REACHED when the user has as many as they may, ERR_SESSION_DATA_TOO_LARGE
   * @throws ERR_SESSION_UNAUTHENTICATED when the user was signed out everywhere, or newer sessions took the place, in the meantime
   */
  async create (session: NewSession): Promise<HeldSession> {
    const { record, token, carry } = await this.#made(session)
    const { replaces } = session
    const limit = record.kind === 'bearer' ? null : this.options.limit
    const stored = await this.#begin(record, replaces === null
      ? () => this.#store.begin(record, { limit })
      : () => this.#store.replace(record, replaces, { carry, limit }))
    if (stored === null) throw new errors.UNAUTHENTICATED()
    if (stored.userId !== null) this.#tell('created', stored.id, stored.userId)
    return { record: stored, token }
  }

  /**
   * Signs the user of `old` in again: stores a new session in its place, if that still lives. Of several at once one
   * does, and the others find what that began. `null`, and nothing stored, when `old` has ended.
   * @throws ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL; no session lives on then
   */
  async renew (session: NewSession, old: SessionRecord): Promise<HeldSession | null> {
    const { record, token, carry } = await this.#made(session)
    const stored = await this.#begin(record, () => this.#store.move(record, old, { carry }))
    if (stored === null) return null
    if (stored.userId !== null) this.#tell('created', stored.id, stored.userId)
    return { record: stored, token }
  }

  /**
   * Goes on with a session under another id and with other data: the same sign-in, the same deadlines.
   * `null`, and nothing stored, when it has ended.
   * @throws ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL, ERR_SESSION_DATA_TOO_LARGE
   */
  async move (old: SessionRecord, { id, data, carry }: { id: string, data: string, carry: Change | undefined }): Promise<HeldSession | null> {
    const { maxDataSize } = this.options
    const { token, secretHash } = this.tokens.newToken(id)
    const lastSeenAt = Math.floor(this.#store.now())
    const record = { ...old, id, secretHash, data: fitting(data, old.data, maxDataSize), lastSeenAt }
    const stored = await this.#begin(record, () => this.#store.move(record, old, { carry: fittingCarry(carry, data, maxDataSize) }))
    if (stored === null) return null
    if (stored.userId !== null) this.#tell('created', id, stored.userId, 'moved')
    return { record: stored, token }
  }

  /** Replaces the session's data by `change` of it, also where that has moved since; `null` when it has ended, and nothing is written. */
  async update (record: SessionRecord, change: (data: string) => string): Promise<SessionRecord | null> {
    return await updateMoved(this.#store, record, fittingChange(change, this.options.maxDataSize))
  }

  /** Whether this use of the session has to be written down. */
  isTouchDue (record: SessionRecord): boolean {
    return isTouchDue(record, this.options.touchAfterMs, this.#store.now())
  }

  /** Writes down that the session was used. `false` when it has ended. */
  async touch (record: SessionRecord): Promise<boolean> {
    return await this.#store.touch(record)
  }

  /**
   * Ends a session; `false` when it had ended. If the store does not confirm it, this process refuses
   * the session from now on and goes on ending it.
   * @throws ERR_SESSION_STORE_UNAVAILABLE
   */
  async end (id: string, reason: EndReason): Promise<boolean> {
    return await this.#endings.end({ id, reason })
  }

  /**
   * Ends, and refuses, what a credential or a record proves, and no other session of its id: a signature and a public
   * id are no proof. `adopts`: the Express session that it was or would have been made of.
   * @throws ERR_SESSION_STORE_UNAVAILABLE
   */
  async logout ({ id, secretHash }: Pick<SessionRecord, 'id' | 'secretHash'>, adopts?: string): Promise<boolean> {
    return await this.#endings.end({ id, reason: 'logout', secretHash, adopts })
  }

  /** Ends all sessions of a user but one, which are refused here at once, and calls off their logins under way. */
  endByUser (userId: string, except: string | undefined): Revocation {
    return this.#revocations.begin(userId, except)
  }

  /** Ends a session that must not live on, however long the store takes to confirm it. */
  endEventually (id: string): void {
    this.end(id, 'revoked').catch(() => {})
  }

  /** Stops what runs in the background. Twice is safe. */
  async close (): Promise<void> {
    this.#endings.close()
    this.#revocations.close()
    this.signals.close()
    this.#store.events.off('ended', this.#onEnded)
    this.#store.events.off('down', this.#onDown)
    this.#store.events.off('up', this.#onUp)
    await this.events.close()
  }

  /** The record of a new session, and what makes its data out of the data of the one that it follows. */
  async #made (given: NewSession): Promise<HeldSession & { carry: Change | undefined }> {
    const session = this.options.shared?.keepable(given) ?? given
    const { id = this.tokens.newId(), carry } = session
    const { token, secretHash } = this.tokens.newToken(id)
    const now = await this.#store.nowForCertain?.() ?? this.#store.now()
    const record = newRecord(session, { id, secretHash, now, ...this.options })
    return { record, token, carry: fittingCarry(carry, record.data, this.options.maxDataSize) }
  }

  /** Stores a session. Where it is not known whether that was done, the session is refused here, and ended. */
  async #begin ({ id }: SessionRecord, store: () => Promise<SessionRecord | null>): Promise<SessionRecord | null> {
    try {
      return await store()
    } catch (error) {
      // Without a cause nothing was sent: the store was known to be down.
      if (error instanceof errors.STORE_UNAVAILABLE && error.cause !== undefined) this.#endings.addRefused(id)
      throw error
    }
  }

  #isRefused (record: SessionRecord): boolean {
    return this.#endings.has(record.id, record.secretHash) || this.#revocations.refuses(record)
  }

  async #adopt ({ id, secretHash, adopts }: Credential): Promise<SessionRecord | null> {
    if (adopts === undefined) return null
    const record = await this.#store.adoption?.adopt(adopts, { id, secretHash })
    return record == null || this.#isRefused(record) ? null : record
  }

  async #delete ({ id, reason, secretHash, adopts }: Ending): Promise<boolean> {
    // The Express session first: what nobody has taken by then, nobody makes a session of any more.
    if (adopts !== undefined) await this.#store.adoption?.discard(adopts)
    const ended = await this.#store.delete(id, { secretHash })
    if (ended?.userId != null) this.#tell('revoked', ended.id, ended.userId, reason)
    return ended !== null
  }

  #tell (name: 'created' | 'revoked' | 'expired', id: string, userId: string, reason: SessionEvent['reason'] = null): void {
    this.events.emit(name, { id, userId, at: Math.floor(this.#store.now()), reason })
  }
}
