import { errors } from '../errors.ts'
import { EventHub } from './events.ts'
import { markOf, requestIdText } from './end-cause.ts'
import type { EndCause, EndInfo } from './end-cause.ts'
import type { Circumstances, SessionEvent, UseAfterEnd } from './events.ts'
import type { SessionTimeouts } from '../util/duration.ts'
import { Recent } from '../util/recent.ts'
import { Credentials, proven } from './credentials.ts'
import type { Credential, CredentialsOptions } from './credentials.ts'
import type { DataSchema } from './data-schema.ts'
import { deviceName } from './device.ts'
import { passes } from './device-check.ts'
import type { DeviceCheck, DeviceHeaders, Standing } from './device-check.ts'
import { fitting, fittingCarry, fittingChange } from './data.ts'
import { KnownDevices } from './known-devices.ts'
import type { Novelty } from './known-devices.ts'
import { newRecord } from './new-record.ts'
import type { HeldSession, NewSession } from './new-record.ts'
import { PendingEnds } from './pending-ends.ts'
import type { SessionEnd } from './pending-ends.ts'
import { networkOf } from './network.ts'
import { isCounted, isTouchDue } from './record.ts'
import type { SessionKind, SessionRecord } from './record.ts'
import { OF_IDP, Revocations } from './revocations.ts'
import type { EndedSession, Revocation } from './revocations.ts'
import { EndSignals } from './signals.ts'
import { advance, bind, fullPage, listsOf, setTimeouts } from './store.ts'
import type { AttemptCounters, Change, Limit, ListAllOptions, ListOptions, SessionStore, StoreEvents } from './store.ts'
import { isSameHash } from './token.ts'
import type { TokenFormat } from './token.ts'
import { changeMoved, findMoved, findSuccessor, updateMoved } from './moved.ts'
import { Counts } from './counts.ts'
import type { NearCache } from './counts.ts'
import { retime, timeoutsFor } from './retiming.ts'
import type { GivenTimeouts, Retiming } from './retiming.ts'
import { Traces } from './tracing.ts'

/** Options of the core, checked and with all defaults. */
export interface CoreOptions extends CredentialsOptions, SessionTimeouts {
  store: SessionStore
  /** Counters of failed logins. */
  counters: AttemptCounters
  /** The longest timeouts that a session may have. */
  longest: SessionTimeouts
  /** Least time between extensions of an unchanged session. `null`: a tenth of its idle timeout. `false`: never. */
  touchAfterMs: number | null | false
  limit: Limit | null
  /** Reads the user from the data of a session. `null`: from `data.userId`, else `data.user.id`. */
  userIdFrom: ((data: Record<string, unknown>) => unknown) | null
  dataSchema: DataSchema | null
  /** Largest data of a session, in bytes of JSON in UTF-8. */
  maxDataSize: number
  /** How long devices and networks of users are remembered. `null`: not at all. */
  knownDevicesMs?: number | null | undefined
  /** How long it is remembered how a session ended. `null`: not at all. */
  endedForMs: number | null
  /** Judges by which device a session is used. `null`: none is bound to one. */
  device?: DeviceCheck | null | undefined
  /** `false`: cookies end with the browser session. */
  cookieMaxAgeMs?: number | null | false | undefined
  /** The other library that reads and writes the sessions: their data alone says who is signed in. `null`: none. */
  shared: SharedSessions | null
  /** The near-cache before the store, for metrics. `null`: there is none. */
  near?: NearCache | null | undefined
}

/** Number of sessions of which it is remembered that their use after the end, or without their device, was told. */
const REMEMBERED = 10_000

/** Rules of another library for the sessions that it shares. */
export interface SharedSessions {
  /**
   * Makes a new session one that the other library can store as well.
   * @throws ERR_SESSION_UNSUPPORTED
   */
  keepable (session: NewSession): NewSession
}

/**
 * Makes, finds and ends sessions, and emits events for it. Requests and `app.sessions` use it. Knows no Fastify and no
 * Redis.
 */
export class SessionCore {
  readonly options: CoreOptions
  readonly tokens: TokenFormat
  readonly credentials: Credentials
  readonly events: EventHub
  /** Abort signals that fire when a session has ended. */
  readonly signals: EndSignals
  /** What happens too often to be told each time. */
  readonly counts = new Counts()
  /** Whom traces name: the manager of this core. */
  sessions: object = this
  readonly #traces = new Traces(() => this.sessions)
  /** Called when this is closed. */
  readonly #onClose = new Set<() => void>()
  #isClosed = false
  readonly #store: SessionStore
  readonly #ends: PendingEnds
  readonly #revocations: Revocations
  readonly #known: KnownDevices
  /** Events of sign-ins that wait for what is new about them. */
  readonly #untold = new Set<Promise<void>>()
  readonly #idpRevocations: Revocations
  /** Sessions whose use after their end was told. */
  readonly #usedAfterEnd = new Recent<true>(REMEMBERED)
  /** Sessions, with a reason each, whose use without their device was told. */
  readonly #mismatches = new Recent<true>(REMEMBERED)
  readonly #onEnded = (...[id, userId, reason, kind]: StoreEvents['ended']): void => {
    if (reason === 'expired') this.#tell('expired', { id, userId, kind })
    else this.#tell('revoked', { id, userId, kind }, { reason })
  }

  readonly #onDown = (): void => this.events.emitHere('store-down')
  readonly #onUp = (): void => this.events.emitHere('store-up')

  constructor (options: CoreOptions) {
    this.options = options
    this.tokens = options.tokens
    this.credentials = new Credentials(options)
    this.#store = options.store
    this.#known = new KnownDevices(options.counters, options.knownDevicesMs ?? null)
    this.#ends = new PendingEnds((end, hasFailed) => this.#delete(end, hasFailed))
    const tell = (ended: EndedSession, cause: EndCause): void => this.#tell('revoked', ended, cause)
    const { endedForMs: markForMs } = options
    this.#revocations = new Revocations(this.#store, { tell, markForMs })
    this.#idpRevocations = new Revocations(this.#store, { tell, markForMs, together: OF_IDP })
    this.events = new EventHub(this.#store.bus, { isDown: this.#store.events.isDown })
    this.signals = new EndSignals(this.events, async (id, secretHash) => {
      return !this.#ends.has(id, secretHash) && await this.#get(id, { fresh: true }) !== null
    })
    allowListeners(this.#store, 1)
    this.#store.events.on('ended', this.#onEnded)
    this.#store.events.on('down', this.#onDown)
    this.#store.events.on('up', this.#onUp)
  }

  now (): number {
    return this.#store.now()
  }

  /**
   * Finds the live session that a credential proves, or `null`. `uses`: it is used, and listed from now on.
   */
  async find (credential: Credential, options: { uses?: boolean } = {}): Promise<SessionRecord | null> {
    const known = this.findNow(credential, { uses: options.uses === true })
    return known === undefined ? await this.load(credential, options) : known
  }

  /**
   * Does what `find` does, for callers who know that `findNow` does not know it. `fresh`: reads it as it is now.
   */
  load (credential: Credential, options: { fresh?: boolean, uses?: boolean } = {}): Promise<SessionRecord | null> {
    // Known here: the store is not asked.
    if (this.isEnding(credential)) return Promise.resolve(this.counts.known(null))
    // Most requests do this: without subscribers there is not even a function to be made.
    if (!this.#traces.watchesLoads) return this.#load(credential, options)
    return this.#traces.load(credential.kind, () => this.#load(credential, options))
  }

  /**
   * Finds the session of a credential as it is now, also where it has moved a moment ago. The credential is no proof of
   * it then.
   */
  async loadMoved (credential: Credential): Promise<SessionRecord | null> {
    const record = await this.load(credential, { fresh: true })
    if (record !== null || this.isEnding(credential)) return record
    return await findSuccessor(this.#store, credential.id, async (id) => await this.#get(id, { fresh: true }))
  }

  /** Returns what `find` resolves with, where that is known at once. Else returns `undefined`. */
  findNow (credential: Credential, { uses = true }: { uses?: boolean } = {}): SessionRecord | null | undefined {
    const record = this.#store.findNow?.(credential.id)
    if (record === undefined) return undefined
    if (uses && record.listedAs !== undefined) {
      // The store has to list it first, and is asked for it as well.
      this.near?.asksAgain()
      return undefined
    }
    return this.counts.known(this.#isRefused(record) ? null : proven(record, credential))
  }

  /** Whether the end of a credential's session has been asked for here, and is not confirmed yet. */
  isEnding ({ id, secretHash }: Credential): boolean {
    return this.#ends.has(id, secretHash)
  }

  /**
   * Says how the session of a credential ended that `find` has not found. Asks the store once. `null`: that is not
   * known. Who does not prove the session is told the same as of one that never was.
   */
  async howEnded (credential: Credential): Promise<EndInfo | null> {
    const { id, kind, secretHash } = credential
    if (this.isEnding(credential)) return null
    const end = await this.#store.ended?.(id) ?? null
    if (end !== null && end.kind === kind && isSameHash(end.secretHash, secretHash)) {
      const { reason, at, userId, statedReason, actor } = end
      return Object.freeze({ id, reason, at, userId, statedReason, actor })
    }
    if (this.options.endedForMs === null) return null
    return Object.freeze({ id, reason: 'expired', at: null, userId: null, statedReason: null, actor: null })
  }

  /** Tells of the use of a session after its end, once of each session. Nothing is said of one that was nobody's. */
  tellUseAfterEnd (
    end: EndInfo, { kind, network, device }: Pick<UseAfterEnd, 'kind' | 'network' | 'device'>, about: Circumstances
  ): void {
    const { id, userId, reason, at: endedAt, statedReason, actor } = end
    if (userId === null || endedAt === null || (reason !== 'logout' && reason !== 'revoked')) return
    this.#usedAfterEnd.of(id, () => {
      const [at, requestId] = [Math.floor(this.#store.now()), requestIdText(about.requestId)]
      const event = { id, userId, kind, reason, statedReason, actor, endedAt, at, network, device, requestId }
      this.events.emitUseAfterEnd(event, about)
      return true
    })
  }

  /**
   * Judges by which device a session is used, and tells of it where that is not the one that it is bound to. `about`:
   * who uses it, where that is a request; `null`: nobody does, it is looked up. `ends`: whether that may end it. Throws
   * what the application's `required` throws.
   */
  standingOf (
    record: SessionRecord, headers: DeviceHeaders, about: (() => Circumstances) | null, { ends = true } = {}
  ): Standing {
    const { device } = this.options
    if (device == null || record.kind !== 'cookie' || record.userId === null) return 'unproven'
    const standing = device.standingOf(record, headers, this.#store.now())
    if (about === null) return standing
    if (standing === 'mismatch') this.#mismatch(record, 'refused', about(), ends && device.revokes)
    else if (standing === 'skipped') this.#mismatch(record, 'skipped', about())
    return standing
  }

  /**
   * Returns the session if what it was found by may use it. `headers`: those of a request, as far as the caller knows
   * them, so that none is ended for what they lack. `null`: there is no request.
   */
  usable (record: SessionRecord | null, headers: DeviceHeaders | null): SessionRecord | null {
    if (record === null) return null
    const standing = this.standingOf(record, headers ?? {}, headers && (() => ({})), { ends: false })
    return passes(standing) ? record : null
  }

  #mismatch (
    { id, userId }: SessionRecord, reason: 'refused' | 'skipped', about: Circumstances, ends = false
  ): void {
    if (userId === null) return
    this.#mismatches.of(`${reason} ${id}`, () => {
      const { ip, userAgent } = about
      const device = userAgent == null ? null : deviceName(userAgent)
      const [at, requestId] = [Math.floor(this.#store.now()), requestIdText(about.requestId)]
      const use = { id, userId, reason, at, network: networkOf(ip ?? undefined), device, requestId }
      this.events.emitMismatch(use, about)
      return true
    })
    if (!ends) return
    const { ip, userAgent } = about
    const cause = { ip, userAgent, requestId: requestIdText(about.requestId), statedReason: 'device-mismatch' }
    this.end(id, { ...cause, reason: 'revoked' }).catch(() => {})
  }

  /**
   * Binds a session to the key of a device, if its `boundKey` is still that of `record`, also where it has moved since.
   * Resolves with the session as it is then; `null` when it has ended.
   * @throws ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL
   */
  async bind (record: SessionRecord, boundKey: string): Promise<SessionRecord | null> {
    // What it has moved to may have got another key.
    const known = { boundKey: record.boundKey }
    return await changeMoved(this.#store, record, (session) => bind(this.#store, { ...session, ...known }, boundKey))
  }

  /** Tells this process of what is no event for applications. */
  tellIncident (
    name: 'limit-reached' | 'cross-site' | 'unlocked', userId: string | null, about: Circumstances
  ): void {
    this.events.emitIncident(name, { at: Math.floor(this.#store.now()), userId }, about)
  }

  /** Finds the live session of this id, or `null`. */
  async get (id: string): Promise<SessionRecord | null> {
    const known = this.#store.findNow?.(id)
    if (known !== undefined) return this.counts.known(this.#isRefused(known) ? null : known)
    if (this.#ends.has(id)) return this.counts.known(null)
    return await this.#traces.load(null, async () => await this.#get(id))
  }

  /** Finds the user of a live session, also where it has moved a moment ago. `null` when there is none. */
  async userOf (id: string): Promise<string | null> {
    return (await findMoved(this.#store, id, async (each) => await this.#get(each)))?.userId ?? null
  }

  /** Lists the user's live sessions, newest first. */
  async listByUser (userId: string, options: ListOptions): Promise<SessionRecord[]> {
    const lists = listsOf(this.#store)
    return await this.#traces.list(async () => {
      const list = lists.listByUser.bind(lists, userId)
      return await fullPage(list, options, (record) => this.#isRefused(record) ? null : record)
    })
  }

  /** Lists every live session, anonymous ones too. */
  async * listAll (options?: ListAllOptions): AsyncGenerator<SessionRecord> {
    for await (const record of listsOf(this.#store).listAll(options)) {
      if (!this.#isRefused(record)) yield record
    }
  }

  /** Resolves if the store answers. */
  async ping (): Promise<void> {
    await this.#store.ping()
  }

  /**
   * Stores a new session. The one that it replaces is dead when this resolves.
   * @throws ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL; no session lives on then
   * @throws ERR_SESSION_LIMIT_REACHED when the user has as many as they may, ERR_SESSION_DATA_TOO_LARGE
   * @throws ERR_SESSION_UNAUTHENTICATED when, in the meantime, the user was signed out everywhere or newer sessions
   * took the place
   */
  async create (session: NewSession): Promise<HeldSession> {
    const { kind = 'cookie', userId } = session
    const begin = async (): Promise<HeldSession> => await this.#create(session)
    return await (userId === null ? this.#traces.save(kind, begin) : this.#traces.login(kind, begin))
  }

  async #create (session: NewSession): Promise<HeldSession> {
    const { record, token, ...made } = await this.#made(session)
    const { replaces, ends = null } = session
    const [old, carry] = replaces === null ? [ends] : [replaces, made.carry]
    const limit = isCounted(record) ? this.options.limit : null
    const stored = await this.#begin(record, session, old === null
      ? () => this.#store.begin(record, { limit, ...this.#marking })
      : () => this.#store.replace(record, old, { carry, limit, ...this.#marking }))
    if (stored === null) throw new errors.UNAUTHENTICATED()
    this.#tellCreated(stored, session)
    return { record: stored, token }
  }

  /**
   * Signs the user of `old` in again: stores a new session in its place, if `old` still lives. Of several at once one
   * succeeds. Resolves with `null`, and nothing is stored, when `old` has ended.
   * @throws ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL; no session lives on then
   */
  async renew (session: NewSession, old: SessionRecord): Promise<HeldSession | null> {
    return await this.#traces.login(old.kind, async () => await this.#renew(session, old))
  }

  async #renew (session: NewSession, old: SessionRecord): Promise<HeldSession | null> {
    const { record, token, carry } = await this.#made(session)
    const stored = await this.#begin(record, session, () => this.#store.move(record, old, { carry, ...this.#marking }))
    if (stored === null) return null
    this.#tellCreated(stored, session)
    return { record: stored, token }
  }

  /**
   * Moves a session to another id, with other data: the same sign-in, the same deadlines. Resolves with `null`, and
   * nothing is stored, when it has ended.
   * @throws ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL, ERR_SESSION_DATA_TOO_LARGE
   */
  async move (old: SessionRecord, moved: MovedSession): Promise<HeldSession | null> {
    return await this.#traces.save(old.kind, async () => await this.#move(old, moved))
  }

  async #move (
    old: SessionRecord, { id, data, carry: carryAll, ...client }: MovedSession
  ): Promise<HeldSession | null> {
    const { maxDataSize } = this.options
    const carry = fittingCarry(carryAll, data, maxDataSize)
    const { token, secretHash } = this.tokens.newToken(id)
    const lastSeenAt = Math.floor(this.#store.now())
    const record = { ...old, id, secretHash, data: fitting(data, old.data, maxDataSize), lastSeenAt }
    const stored = await this.#begin(record, client, () => this.#store.move(record, old, { carry, ...this.#marking }))
    if (stored === null) return null
    this.#tell('created', stored, { reason: 'moved', actor: stored.actor, ...client })
    return { record: stored, token }
  }

  /** Changes the data of a session, also where it has moved since. `null`, with nothing written, when it has ended. */
  async update (record: SessionRecord, change: (data: string) => string): Promise<SessionRecord | null> {
    return await this.#traces.save(record.kind, async () => {
      return await updateMoved(this.#store, record, fittingChange(change, this.options.maxDataSize))
    })
  }

  /**
   * Gives a session other timeouts, also where it has moved since. `null` when it has ended, or those have run out.
   * @throws ERR_SESSION_UNSUPPORTED
   */
  async setTimeouts (record: SessionRecord, timeouts: GivenTimeouts): Promise<SessionRecord | null> {
    return await changeMoved(this.#store, record, async (session) => {
      return await setTimeouts(this.#store, session, timeoutsFor(session, timeouts, this.#store.now()))
    })
  }

  /** Gives all sessions of a user other timeouts, that have begun by now. */
  setTimeoutsOfUser (userId: string, timeouts: GivenTimeouts): Retiming {
    const list = async (options: ListOptions) => await this.listByUser(userId, options)
    const set = async (session: SessionRecord) => await this.setTimeouts(session, timeouts)
    return retime({ list, set }, timeouts, this.#store.now())
  }

  /** Whether this use of the session has to be stored. */
  isTouchDue (record: SessionRecord): boolean {
    return isTouchDue(record, this.options.touchAfterMs, this.#store.now())
  }

  /** Stores that the session was used. `false` when it has ended. */
  async touch (record: SessionRecord): Promise<boolean> {
    return await this.#store.touch(record)
  }

  /**
   * The same, and gives the session another twin. A fork is noted whatever its twin has become since it was read, and
   * wherever it has moved.
   */
  async takeTurn (record: SessionRecord, twin: string, { isFork }: { isFork: boolean }): Promise<boolean> {
    if (!isFork) return await advance(this.#store, record, twin)
    const find = async (id: string): Promise<SessionRecord | null> => await this.#store.find(id, { fresh: true })
    const present = await findMoved(this.#store, record.id, find)
    // Whoever has signed in since holds another session.
    if (present?.authenticatedAt !== record.authenticatedAt) return false
    return await advance(this.#store, present, twin)
  }

  /** Tells that two browsers hold a session. `ends`: it is revoked for that. */
  tellFork ({ id, userId, ip: beganFrom }: SessionRecord, about: Circumstances, ends: boolean): void {
    if (userId === null) return
    const { ip, userAgent } = about
    const requestId = requestIdText(about.requestId)
    this.#mismatches.of(`forked ${id}`, () => {
      const [at, network] = [Math.floor(this.#store.now()), networkOf(ip ?? undefined)]
      const networkDiffers = beganFrom !== null && networkOf(beganFrom) !== network
      const device = userAgent == null ? null : deviceName(userAgent)
      this.events.emitFork({ id, userId, at, network, networkDiffers, device, requestId }, about)
      return true
    })
    if (!ends) return
    this.end(id, { ip, userAgent, requestId, statedReason: 'session-forked', reason: 'revoked' }).catch(() => {})
  }

  /**
   * Ends a session. `false` when it had ended. If the store does not confirm it, this process refuses the session from
   * now on and repeats the deletion.
   * @throws ERR_SESSION_STORE_UNAVAILABLE
   */
  async end (id: string, cause: EndCause): Promise<boolean> {
    return await this.#traces.end('revoked', null, async () => await this.#ends.end({ id, cause }))
  }

  /**
   * Ends the session that a caller names by an id, whatever that is. `userId`: only if it is this user's. `false` when
   * there is no such session.
   * @throws ERR_SESSION_STORE_UNAVAILABLE
   */
  async revoke (named: unknown, userId: string | null, cause: EndCause): Promise<boolean> {
    const id = this.tokens.idFrom(named)
    if (id === null || (userId !== null && userId !== await this.userOf(id))) return false
    return await this.end(id, cause)
  }

  /**
   * Ends, and refuses, the session that a credential or a record proves, and no other session of its id: a signature
   * and a public id are no proof. `adopts`: the other library's session that it was made of, or would have been.
   * @throws ERR_SESSION_STORE_UNAVAILABLE
   */
  async logout (
    { id, secretHash, kind }: Pick<SessionRecord, 'id' | 'secretHash' | 'kind'>, cause: Omit<EndCause, 'reason'>,
    adopts?: string
  ): Promise<boolean> {
    const end: SessionEnd = { id, cause: { ...cause, reason: 'logout' }, secretHash, adopts }
    return await this.#traces.end('logout', kind, async () => await this.#ends.end(end))
  }

  /** Ends all sessions of a user but one, and calls off their logins under way. This process refuses them at once. */
  endByUser (userId: string, except: string | undefined, cause: EndCause): Revocation {
    return this.#traces.revocation('user', () => this.#revocations.begin(userId, except, cause))
  }

  /**
   * Ends all sessions of a session at an identity provider, and calls off their logins under way. This process refuses
   * them at once.
   * @throws ERR_SESSION_UNSUPPORTED
   */
  endByIdp (idp: string, cause: EndCause): Revocation {
    this.#assertKeepsIdp()
    return this.#traces.revocation('idp', () => this.#idpRevocations.begin(idp, undefined, cause))
  }

  /** Ends a session, and repeats that until the store confirms it. */
  endEventually (id: string): void {
    this.end(id, { reason: 'revoked' }).catch(() => {})
  }

  /** Stops what runs in the background. Twice is safe. */
  async close (): Promise<void> {
    this.#ends.close()
    this.#revocations.close()
    this.#idpRevocations.close()
    this.signals.close()
    await Promise.all(this.#untold)
    if (this.#store.events.listeners('ended').includes(this.#onEnded)) allowListeners(this.#store, -1)
    this.#store.events.off('ended', this.#onEnded)
    this.#store.events.off('down', this.#onDown)
    this.#store.events.off('up', this.#onUp)
    await this.events.close()
    this.#isClosed = true
    for (const callback of this.#onClose) callback()
    this.#onClose.clear()
  }

  /** Calls back when this has been closed. @throws TypeError where it has been already */
  onClose (callback: () => void): void {
    if (this.#isClosed) throw new TypeError('sessions must not be closed')
    this.#onClose.add(callback)
  }

  /** The near-cache before the store. `null`: there is none. */
  get near (): NearCache | null {
    return this.options.near ?? null
  }

  async #load (credential: Credential, options: { fresh?: boolean, uses?: boolean }): Promise<SessionRecord | null> {
    const record = proven(await this.#get(credential.id, options) ?? await this.#adopt(credential), credential)
    if (options.uses !== true || record?.listedAs === undefined) return record
    return await this.#store.adoption?.list(record) ?? null
  }

  async #get (id: string, options?: { fresh?: boolean }): Promise<SessionRecord | null> {
    if (this.#ends.has(id)) return null
    const record = await this.#store.find(id, options)
    // Asked again: it may have been ended here while the store was answering.
    return record === null || this.#isRefused(record) ? null : record
  }

  /** Option of what ends sessions for others. */
  get #marking (): { markForMs?: number } {
    const { endedForMs } = this.options
    return endedForMs === null ? {} : { markForMs: endedForMs }
  }

  /** Makes the record of a new session, its token, and the change that carries over the data of the one before. */
  async #made (given: NewSession): Promise<HeldSession & { carry: Change | undefined }> {
    const session = this.options.shared?.keepable(given) ?? given
    if (session.idp != null) this.#assertKeepsIdp()
    const { id = this.tokens.newId(), carry } = session
    const { token, secretHash } = this.tokens.newToken(id)
    const now = await this.#store.nowForCertain?.() ?? this.#store.now()
    const record = newRecord(session, { id, secretHash, now, ...this.options })
    return { record, token, carry: fittingCarry(carry, record.data, this.options.maxDataSize) }
  }

  /** Stores a session. Where the outcome is unknown, this process refuses the session and ends it. */
  async #begin (
    { id, userId }: SessionRecord, client: Client, store: () => Promise<SessionRecord | null>
  ): Promise<SessionRecord | null> {
    try {
      return await store()
    } catch (error) {
      if (error instanceof errors.LIMIT_REACHED) {
        const { ip, userAgent, requestId } = client
        this.tellIncident('limit-reached', userId, { ip, userAgent, requestId })
      }
      // Without a cause nothing was sent: the store was known to be down.
      if (error instanceof errors.STORE_UNAVAILABLE && error.cause !== undefined) this.#ends.addRefused(id)
      throw error
    }
  }

  #isRefused (record: SessionRecord): boolean {
    if (this.#ends.has(record.id, record.secretHash)) return true
    return this.#revocations.refuses(record) || this.#idpRevocations.refuses(record)
  }

  /** Checks that sessions can be found by their session at an identity provider. @throws ERR_SESSION_UNSUPPORTED */
  #assertKeepsIdp (): void {
    const { shared } = this.options
    if (this.#store.deleteByIdp !== undefined && shared === null) return
    throw new errors.UNSUPPORTED(`idp ${shared === null ? 'on a store without deleteByIdp' : 'beside an Express app'}`)
  }

  async #adopt ({ id, secretHash, adopts }: Credential): Promise<SessionRecord | null> {
    if (adopts === undefined) return null
    const record = await this.#store.adoption?.adopt(adopts, { id, secretHash })
    return record == null || this.#isRefused(record) ? null : record
  }

  async #delete ({ id, cause, secretHash, adopts }: SessionEnd, hasFailed: boolean): Promise<boolean> {
    // The old session first: if nobody has adopted it by then, nobody will.
    if (adopts !== undefined) await this.#store.adoption?.discard(adopts)
    const ended = await this.#store.delete(id, { secretHash, ...markOf(cause, this.options.endedForMs) })
    if (ended !== null) this.#tell('revoked', ended, cause)
    // The try that failed may have ended it, and nobody knows whose it was, nor whether it had moved.
    else if (hasFailed) {
      const line = new Set<string>()
      for (let next: string | null = id; next !== null && !line.has(next);) {
        line.add(next)
        this.events.tellDropped(next)
        next = await this.#store.successor?.(next) ?? null
      }
    }
    return ended !== null
  }

  /** Emits the event of a sign-in. What is new about it may take a round trip, for which the sign-in does not wait. */
  #tellCreated (stored: SessionRecord, session: NewSession): void {
    const { ip, userAgent, requestId } = session
    const told = { actor: stored.actor, methods: stored.methods, ip, userAgent, requestId }
    const { userId } = stored
    if (userId === null || !this.#known.concerns(stored, session)) return this.#tell('created', stored, told)
    const telling = this.#known.note(userId, session).then((novelty) => {
      this.#untold.delete(telling)
      this.#tell('created', stored, { ...told, ...novelty })
    })
    this.#untold.add(telling)
  }

  /** Emits an event of a session, unless that is anonymous. */
  #tell (
    name: 'created' | 'revoked' | 'expired',
    session: Pick<SessionRecord, 'id' | 'userId'> & { readonly kind?: SessionKind | null | undefined },
    { reason = null, statedReason = null, actor = null, newDevice = null, newNetwork = null, ...about }: Told = {}
  ): void {
    const { id, userId, kind = null } = session
    if (userId === null) return
    const at = Math.floor(this.#store.now())
    this.events.emit(name, {
      id,
      userId,
      at,
      reason,
      kind,
      statedReason,
      actor,
      requestId: requestIdText(about.requestId),
      newDevice,
      newNetwork
    }, about)
  }
}

/** What an event says besides its session, and what is known of the client. */
type Told = Partial<Omit<EndCause, 'reason'> & Novelty> & Circumstances & { readonly reason?: SessionEvent['reason'] }

/** Who begins a session, where that is a request. */
type Client = Pick<NewSession, 'ip' | 'userAgent' | 'requestId'>

/** A session under another id. */
type MovedSession = Pick<NewSession, 'data' | 'carry' | keyof Client> & { readonly id: string }

/** Any number of managers may share a store. Node.js knows 0 as no limit. */
function allowListeners ({ events }: Pick<SessionStore, 'events'>, more: number): void {
  const limit = events.getMaxListeners()
  if (limit !== 0) events.setMaxListeners(limit + more)
}
