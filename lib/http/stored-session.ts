import type { FastifyReply, FastifyRequest } from 'fastify'
import { isForked } from '../device/forks.ts'
import type { Turn } from '../device/forks.ts'
import { errors } from '../errors.ts'
import { apply, parseData } from '../session/changes.ts'
import type { Changes, Data } from '../session/changes.ts'
import type { Credential } from '../session/credentials.ts'
import { isConfirmed, isSameBinding } from '../session/bound-key.ts'
import { deviceName } from '../session/device.ts'
import { isFromElsewhere, passes } from '../session/device-check.ts'
import type { Standing } from '../session/device-check.ts'
import type { EndCause, EndInfo } from '../session/end-cause.ts'
import type { HeldSession, NewSession } from '../session/new-record.ts'
import { networkOf } from '../session/network.ts'
import type { SessionRecord } from '../session/record.ts'
import { noCredential } from '../session/refusals.ts'
import type { Refusal } from '../session/refusals.ts'
import type { Token } from '../session/token.ts'
import { TURN_REPLY_MS, UNANSWERED_MS } from '../util/timings.ts'
import { clientOf, kReply, kRequestSession, routeConfig, warnOnce } from './context.ts'
import type { PluginContext, RequestClient, SessionRequest } from './context.ts'
import {
  addCookies, addToHead, assertCookieCanBeSet, clearingLinesOf, cookieLife, hasReplied, PendingCookie, setCookieLine
} from './cookie.ts'
import { assertSameSite, isUpgraded } from './cross-site.ts'
import { askingAgainFor, navigates, REGISTRATION } from './device-asking.ts'
import { confirm } from './device-confirming.ts'
import { requestAuth } from './request-auth.ts'
import type { RequestAuth } from './request-auth.ts'
import { isCacheable, onHead } from './reply-head.ts'
import type { Head } from './reply-head.ts'
import type { BeginPlan, SavePlan } from './save-plan.ts'
import { StoreBudget } from './store-budget.ts'

/** What an application says of an end. */
export type StatedCause = Pick<EndCause, 'statedReason' | 'actor'>

/** Options of a `StoredSession`. */
export interface StoredSessionOptions {
  /** It is made to be loaded. A hook that asks before that, on a request that carries a session, asks too early. */
  willLoad?: boolean
  /** The error with which the request has been turned away. */
  refusal?: Error | null
}

/** A session object, as it is to be stored. */
interface SavedSession {
  /** JSON of the data. */
  readonly data: string
  /** Its id, where it gets a new one and the application knows that already. */
  readonly id: string | undefined
  readonly carry: NewSession['carry']
}

/** What a use makes of the twin of a session. */
interface TurnOf extends Turn {
  /** The session. */
  readonly id: string
  /** When that was, by the store's clock. */
  readonly at: number
}

const BEGUN_TOO_LATE = 'a session was begun, and its reply had gone by then without the cookie:' +
  ' wait for the sign-in before the reply'

/**
 * The stored side of one request's session: which one it is, what became of it in this request, and what that means for
 * the cookie. All calls to the store are made here, within the budget of the request.
 */
export class StoredSession {
  readonly #context: PluginContext
  readonly #request: FastifyRequest
  #budget: StoreBudget | undefined
  #record: SessionRecord | null = null
  #token: Token | null = null
  /** Credential that the client sent. */
  #sent: Credential | null = null
  #failure: Error | null = null
  /** What the request shows of the device that its session is bound to. */
  #standing: Standing = 'unproven'
  /** The `boundKey` of the session whose device the request shows, `null` if it shows none. */
  #proven: string | null = null
  /** The session that this request may not use, for want of its device. */
  #withheld: SessionRecord | null = null
  /** When the session was found, by the store's clock. Others may have given newer numbers since. */
  #readAt = 0
  /** What this use makes of the twin of the session, as it was found. */
  #turn: TurnOf | null = null
  #end: EndInfo | null = null
  /** Who used it after its end, until that is told. */
  #userAfterEnd: RequestClient | null = null
  #auth: RequestAuth | null | undefined
  #isNew = false
  /** Whether this request has ended its session. */
  #isEnded = false
  /** Whether the application said that this request is a use. */
  #isUsed = false
  /** Whether this use of the session was written down, or was tried to be. */
  #touched = false
  #isReplyAwaited = false
  /** Notes the end of the reply, once. `null`: that is done, or nothing waits for it. */
  #whenOver: (() => void) | null = null
  /** Made for the few requests that say something about the cookie. */
  #cookie: PendingCookie | undefined
  /** Error with which the request was turned away: nobody is signed in by it, and nothing may change by it. */
  readonly #refusal: Error | null
  /** Address of the client, noted before the request waits for the store: the client may go meanwhile. */
  address: string | undefined
  /** The reply is about to go out: what the route changed by then is saved with it. */
  isReplying = false
  /** The reply has gone: none is to come that could tell of a failure. */
  isOver: boolean

  constructor (
    context: PluginContext, request: FastifyRequest, { willLoad = false, refusal = null }: StoredSessionOptions = {}
  ) {
    this.#context = context
    this.#request = request
    this.#refusal = refusal
    this.isOver = !willLoad && (request as SessionRequest)[kReply]?.sent === true
    if (willLoad || refusal !== null) return
    if (routeConfig(request).skip) this.#failure = new errors.SKIPPED('on a route with config.session false')
    else if (context.core.credentials.read(request.headers) !== null) {
      this.#failure = new errors.SKIPPED('yet: register the plugin before the hook that reads it')
    }
  }

  /** Loads the session of a credential; `undefined`: at once. Never rejects: whoever reads is thrown the failure. */
  load (credential: Credential): Promise<void> | undefined {
    this.#sent = credential
    this.#token = credential.token
    this.#failure = null
    const record = this.#context.core.findNow(credential)
    if (record !== undefined) return this.#found(record) ?? this.#learnEnd(credential)
    this.address = this.#request.ip
    return this.budget.within(this.#context.core.load(credential, { uses: true })).then(
      (found) => this.#found(found) ?? this.#learnEnd(credential), (error: Error) => { this.#failure = error }
    )
  }

  /** Learns how the session ended that was not found. Where the store does not say it, that is not known. */
  #learnEnd (credential: Credential): Promise<void> | undefined {
    const { core } = this.#context
    if (this.#record !== null || this.#withheld !== null || this.#end !== null) return undefined
    if (core.options.endedForMs === null) return undefined
    this.address ??= this.#request.ip
    return this.budget.within(core.howEnded(credential)).then((end) => {
      if (end === null) return
      [this.#end, this.#userAfterEnd] = [end, this.#client]
      this.awaitReply()
      if (this.#request.socket?.destroyed) this.#tellUnanswered()
    }, () => {})
  }

  /** The time that this request may wait for the store. Most requests ask it nothing but their session. */
  get budget (): StoreBudget {
    this.#budget ??= new StoreBudget()
    return this.#budget
  }

  /** How the session of the credential had ended before this request; `null` where it had not, or is not known. */
  get ended (): EndInfo | null {
    return this.#end
  }

  /** Has the end of the reply noted. Few requests need it, and to listen costs each a tenth of its time. */
  awaitReply (): void {
    const { [kReply]: reply } = this.#request as SessionRequest
    if (this.#isReplyAwaited || reply === null) return
    this.#isReplyAwaited = true
    const { raw } = reply
    if (raw.writableEnded) {
      this.isOver = true
      return
    }
    const onOver = (): void => {
      // Its client has gone, and its route goes on: perhaps to sign out. The hook of its reply notes the end.
      if (this.#hasAnswered(reply)) this.#whenOver?.()
      else this.#tellUnanswered()
    }
    this.#whenOver = () => {
      this.#whenOver = null
      raw.off('finish', onOver).off('error', onOver).off('close', onOver)
      const { [kRequestSession]: session } = this.#request as SessionRequest
      const told = session ?? this
      try {
        told.afterReply(reply)
      } catch (error) {
        // What the application keeps in its session can throw when it is looked at. There is no reply to tell of it.
        this.#request.log.error({ err: error }, 'a session could not be looked at after its reply')
      }
    }
    // Before the application's own hooks. Over HTTP/2 a reply finishes as well when its client goes.
    raw.prependListener('finish', onOver).prependListener('error', onOver).once('close', onOver)
  }

  /** Notes the end of a reply that nobody is there to get: nothing else may tell of it. */
  endReplyToNobody (): void {
    if (this.#whenOver !== null && this.#request.socket?.destroyed) this.#whenOver()
  }

  /** Whether the route has answered, or has taken the reply for itself. What its reply waits for may still sign out. */
  #hasAnswered (reply: FastifyReply): boolean {
    if (reply.sent || reply.raw.headersSent) return true
    return this.isReplying && (this.#request as SessionRequest)[kRequestSession]?.waiting == null
  }

  /** Tells of a use after the end whose client has gone, also where the route never answers. */
  #tellUnanswered (): void {
    if (this.#userAfterEnd !== null) setTimeout(() => this.#tellUseAfterEnd(), UNANSWERED_MS).unref()
  }

  /** Notes that the reply has gone. */
  afterReply (reply: FastifyReply): void {
    this.#tellUseAfterEnd()
    if (reply.sent && this.isTouchDue) void this.touchIfDue()
    this.isOver = true
  }

  /** Writes down, or tells, at the begin of what may stay open what others do at its end. */
  async useAtOnce (): Promise<void> {
    this.#tellUseAfterEnd()
    await this.touchIfDue()
  }

  /** Tells once of a use after the end. A sign-out that is repeated, as its reply was lost, is none. */
  #tellUseAfterEnd (): void {
    const client = this.#userAfterEnd
    if (this.#end === null || client === null || this.#sent === null || this.#isEnded) return
    this.#userAfterEnd = null
    const device = client.userAgent === null ? null : deviceName(client.userAgent)
    const use = { kind: this.#sent.kind, network: networkOf(client.ip), device }
    this.#context.core.tellUseAfterEnd(this.#end, use, client)
  }

  /**
   * Record of the live session as last seen; `null` when there is none.
   * @throws ERR_SESSION_STORE_UNAVAILABLE when loading failed, ERR_SESSION_SKIPPED on a route without sessions
   */
  get record (): SessionRecord | null {
    if (this.#failure !== null) throw this.#failure
    return this.#record
  }

  /** The application's data as stored, a new copy. Throws as `record` does. */
  get data (): Data {
    const { record } = this
    const data = record === null ? {} : parseData(record.data)
    if (data === null) {
      this.#context.log.warn({ sessionId: record?.id }, 'the data of a session is not JSON and was left out')
    }
    return data ?? {}
  }

  /** `request.auth`: who is signed in, or `null`. Throws as `record` does. */
  get auth (): RequestAuth | null {
    const record = this.record
    if (this.#auth === undefined) {
      const isProven = record !== null && isSameBinding(record.boundKey, this.#proven)
      this.#auth = record === null ? null : requestAuth(record, { signals: this.#context.core.signals, isProven })
    }
    return this.#auth
  }

  /** Says why nobody is signed in by this request. Asks no store. */
  whyNobody (): Refusal {
    const { core } = this.#context
    if (this.#refusal !== null) return { reason: 'turned-away' }
    if (this.#isEnded) return { reason: 'signed-out' }
    if (this.withheld !== null) return { reason: this.withheld }
    if (this.#record !== null) return { reason: this.#record.userId === null ? 'no-user' : 'signed-out' }
    if (this.#sent === null) return noCredential(this.#request.headers, core.options)
    if (this.#end !== null && this.#end.reason !== 'expired') {
      return { reason: 'ended', ended: this.#end.reason, endedAt: this.#end.at }
    }
    return { reason: core.isEnding(this.#sent) ? 'ending' : 'unknown-session' }
  }

  /** Whether the session was begun by this request: its client does not hold the token yet. */
  get isNew (): boolean {
    return this.#isNew
  }

  get isTouchDue (): boolean {
    if (this.#failure !== null || this.#record === null || this.#isNew || this.#touched) return false
    const { core, forks } = this.#context
    if (!core.isTouchDue(this.#record) && forks?.isTurnLate(this.#record, core.now()) !== true) return false
    // Few requests come this far: their route is asked last.
    return this.#isUse
  }

  /** Whether this request counts as use. */
  get #isUse (): boolean {
    return this.#isUsed || routeConfig(this.#request).touch
  }

  /** Has this request count as use, whatever its route says. */
  use (): void {
    this.#isUsed = true
    void this.#takeTurn()
  }

  /**
   * Stores a new session in place of the present one, if any. One of the same user keeps label, meta and idp where none
   * are given.
   */
  async begin (session: Omit<NewSession, 'replaces'>): Promise<void> {
    const creation = this.#context.core.create(this.#newSession(session))
    this.#holdNew(await this.budget.within(creation, (late) => this.#endUnheld(late)))
  }

  /** Stores a session object as planned. There may be no session afterwards. */
  async save (plan: Exclude<SavePlan, { does: 'end' }>, { data, id, carry }: SavedSession): Promise<void> {
    if (plan.does === 'begin' && plan.renews) await this.#renew(plan, { data, id, carry })
    else if (plan.does === 'begin') await this.begin({ userId: plan.userId, data, id, carry })
    else if (plan.does === 'move') await this.#move({ data, carry, id: id ?? this.#context.core.tokens.newId() })
    else if (plan.does === 'change' && plan.changes.size > 0) await this.#change(changing(plan.changes))
  }

  /** Reads the session again. */
  async reload (): Promise<void> {
    if (this.#record === null || this.#token === null) return
    const { core } = this.#context
    const credential = core.credentials.credential(this.#token, { kind: this.#record.kind, renew: false })
    this.#setSession(await this.budget.within(core.load(credential, { fresh: true, uses: true })), this.#token)
  }

  /** Begins a session for a client that keeps the token itself. This request's own stays as it is. */
  async issue (session: Omit<NewSession, 'replaces' | 'kind'>): Promise<HeldSession> {
    this.#assertMayBegin()
    assertSameSite(this.#context, this.#request)
    const creation = this.#context.core.create({ ...this.#client, ...session, kind: 'bearer', replaces: null })
    return await this.budget.within(creation, (late) => this.#endUnheld(late))
  }

  /** Ends the session, also one that could not be loaded, and has its cookie taken back. */
  async end (stated?: StatedCause): Promise<void> {
    if (this.#failure instanceof errors.SKIPPED) throw this.#failure
    this.#assertNotRefused()
    const mine = this.#mayEnd ? this.#record ?? (this.#token === null ? null : this.#sent) : null
    const failure = this.#mayEnd ? null : this.#failure
    const actor = stated?.actor ?? this.#record?.actor
    this.#pendingCookie.clear()
    this.#setSession(null, null)
    this.#isEnded = true
    this.#failure = null
    if (failure !== null) throw failure
    if (mine === null) return
    const cause = { ...stated, ...this.#client, actor }
    await this.budget.within(this.#context.core.logout(mine, cause, this.#sent?.adopts))
  }

  /**
   * Whether this request may end its session. A signed cookie may end one that was not found, too: it may have moved to
   * another id a moment ago. A bearer token is nothing before its session was found: anybody can write down an id.
   */
  get #mayEnd (): boolean {
    return this.#record !== null || this.#sent?.kind === 'cookie'
  }

  /** Writes down that the session was used, if that is due. */
  async touchIfDue (): Promise<void> {
    if (!this.isTouchDue) return
    // It may be due by now, and was not as the session was loaded.
    const marking = this.#takeTurn()
    if (marking !== undefined) return await marking
    const record = this.#record
    if (record === null) return
    this.#touched = true
    const { core } = this.#context
    // At its own saves Express sets the cookie to end with the idle timeout from then: it goes on with the session.
    const isShared = core.options.shared !== null && record.createdAt > 0
    if (isShared && !this.#pendingCookie.isPending) this.#pendingCookie.set()
    // A use that could not be written down shortens the session a little; the reply is as good.
    const turn = this.#turn
    const touching = turn === null
      ? core.touch(record)
      : core.takeTurn(record, turn.twin, { isFork: turn.value === null })
    await this.budget.within(touching).catch(() => {
      // Nor does a browser get a number that is not written down.
      this.#turn = null
    })
  }

  /** @throws ERR_SESSION_UNSUPPORTED in a bearer request, ERR_SESSION_UNAUTHENTICATED where its token is none */
  assertKeepsCookies (what: string): void {
    if (!this.#context.core.credentials.isBearer(this.#request.headers)) return
    if (this.record === null) throw new errors.UNAUTHENTICATED()
    throw new errors.UNSUPPORTED(`${what} in a bearer request: its client keeps no cookies`)
  }

  /** @throws ERR_SESSION_UNSUPPORTED over a WebSocket, which can set no cookie. A handshake that is refused can */
  assertNoWebSocket (): void {
    if (this.isReplying || !isUpgraded(this.#request)) return
    throw new errors.UNSUPPORTED('a new session over a WebSocket, which can set no cookie: begin it over HTTP')
  }

  /** Puts the cookie into the reply, or takes it back, if that is still to be done. */
  writeCookie (reply: FastifyReply): void {
    this.#cookie?.write(reply)
    const { device } = this.#context
    if (device === null) return
    this.#askAgain(reply)
    // A browser asks for the next short cookie when it has none. Of one that is over it may think that it is good.
    const names = this.#withheld === null ? [] : device.binding.cookieNames
    addCookies(reply, clearingLinesOf(this.#context, this.#request, names))
  }

  /** Puts the next twin cookie into the head of a reply. One that is kept in caches stays as it is. */
  #writeTwin (reply: FastifyReply, head: Head): void {
    const { value = null, id, at = 0 } = this.#turn ?? {}
    const record = this.#record
    if (value === null || record === null || record.id !== id) return
    if (this.#context.core.now() - at > TURN_REPLY_MS || isCacheable(reply, head)) return
    const life = cookieLife(this.#context, { record, isNew: false })
    const maxAge = life === null ? {} : { maxAge: Math.max(1, Math.round(life.leftMs / 1000)) }
    const [name] = this.#context.forks?.cookieNames as [string]
    addToHead(reply, head, [setCookieLine(this.#context, this.#request, { name, value, ...maxAge })])
    // Of a hijacked reply now, and not at its end: the browser shows the number before that.
    void this.touchIfDue()
  }

  /** Has the browser asked to bind a session that began before, with a page. */
  #askAgain (reply: FastifyReply): void {
    const record = this.#record ?? this.#withheld
    if (record === null || this.#isNew || this.#isEnded) return
    const asking = askingAgainFor(this.#context, this.#request, record)
    // It is good for this session alone: a page that may be cached stays so.
    if (asking !== null) reply.header(REGISTRATION, asking)
  }

  /** Returns the status that the client sees. */
  statusOf (reply: FastifyReply): number {
    return this.#cookie === undefined ? reply.statusCode : this.#cookie.statusOf(reply)
  }

  get #pendingCookie (): PendingCookie {
    this.#cookie ??= new PendingCookie(this.#context, this.#request, () => {
      if (this.#record === null || this.#token === null) return null
      return { record: this.#record, token: this.#token, isNew: this.#isNew }
    })
    return this.#cookie
  }

  #assertNotRefused (): void {
    if (this.#refusal !== null) throw this.#refusal
  }

  #assertMayBegin (): void {
    this.#assertNotRefused()
    // Nobody would get the token, and the session would live until its timeout.
    if (this.#request.socket?.destroyed) throw new errors.CLIENT_GONE()
  }

  #found (record: SessionRecord | null): Promise<void> | undefined {
    this.#record = record
    if (record !== null && this.#context.device !== null) this.#judge(record)
    if (this.#context.forks !== null) this.#readAt = this.#context.core.now()
    const marking = this.#takeTurn()
    if (this.#record === null) return marking
    if (this.#sent?.renew === true) this.#pendingCookie.set()
    // No other hook meets a reply that the route hijacks.
    if (this.isTouchDue) this.awaitReply()
    const confirming = this.#standing === 'proven' ? this.#confirm(this.#record) : undefined
    return marking === undefined ? confirming : marking.then(() => confirming)
  }

  /** Withholds the session from a request that does not show the device that it is bound to, where that is needed. */
  #judge (record: SessionRecord): void {
    try {
      this.#standing = this.#context.core.standingOf(record, this.#request.headers, () => this.#client)
    } catch (error) {
      // Of the application's own rule. Whoever reads the session is thrown it.
      this.#failure = error as Error
    }
    this.#proven = this.#standing === 'proven' ? record.boundKey : null
    if (this.#failure === null && passes(this.#standing)) return
    this.#record = null
    this.#withheld = record
  }

  /**
   * Looks at each use whether another browser uses the session as well. With one that is written down the browser gets
   * the next number. Never rejects; `undefined`: at once.
   */
  #takeTurn (): Promise<void> | undefined {
    const { core, forks } = this.#context
    const [record, at] = [this.#record, this.#readAt]
    if (forks === null || record === null || this.#isNew || this.#turn !== null || !this.#isUse) return undefined
    const turn = forks.turn(record, this.#request.headers, { now: at, gives: this.isTouchDue })
    if (turn === null) return undefined
    const [isFork, isMarked] = [turn.value === null, isForked(record)]
    const ends = isFork && forks.options.onFork === 'revoke'
    const isNews = ends || (isFork && !isMarked)
    if (!isNews && !this.isTouchDue) return undefined
    this.#turn = { ...turn, id: record.id, at }
    if (!isFork) {
      const { [kReply]: reply } = this.#request as SessionRequest
      // Not before the head goes out: a stream may begin late, and a hijacked reply meets no hook.
      if (reply !== null) onHead(reply, (head) => this.#writeTwin(reply, head))
    }
    if (!isNews) return undefined
    core.tellFork(record, this.#client, ends)
    if (ends) {
      this.#setSession(null, null)
      const { id, userId } = record
      const cause = { reason: 'revoked', statedReason: 'session-forked', actor: null } as const
      // Nor is this request a use after the end: it had not ended before.
      if (core.options.endedForMs !== null) this.#end = { id, userId, at: Math.floor(at), ...cause }
      return undefined
    }
    this.#record = this.#marked(record)
    // At once: the reply may take long, or never go out.
    this.#touched = true
    return this.budget.within(core.takeTurn(record, turn.twin, { isFork: true })).then(() => {}, () => {})
  }

  /** Returns the session with the mark of a fork that this request has noticed. The store gets it with the touch. */
  #marked (record: SessionRecord): SessionRecord {
    return this.#turn?.value === null && this.#turn.id === record.id ? { ...record, twin: this.#turn.twin } : record
  }

  /** Whether no sign-in of before is recent: two browsers use the session. */
  get hasToSignInAgain (): boolean {
    return this.#context.forks?.options.onFork === 'reauthenticate' && this.#record !== null && isForked(this.#record)
  }

  /** Notes once that the browser holds the key of its session. `undefined`: that is known. */
  #confirm (record: SessionRecord): Promise<void> | undefined {
    const confirming = confirm(this.#context, record)
    if (confirming === undefined) return undefined
    // The next request does it, if this one cannot. The session goes on, or is found to have ended.
    return this.budget.within(confirming).then((stored) => {
      if (stored?.id !== record.id) return
      this.#record = this.#marked(stored)
      // Another browser was faster, and the session is bound to its key.
      if (!isSameBinding(stored.boundKey, record.boundKey)) this.#judge(stored)
    }, () => {})
  }

  /** Why the session is withheld from this request, `null` if it is not. */
  get withheld (): 'device-mismatch' | 'not-bound' | null {
    if (this.#withheld === null) return null
    return this.#standing === 'required' ? 'not-bound' : 'device-mismatch'
  }

  /** Whether the browser has to load its page again, to get the short cookie first. */
  get hasToLoadAgain (): boolean {
    if (this.#withheld === null || this.#standing !== 'elsewhere') return false
    // Loaded again, a page is of this site. If that changes nothing, nothing does.
    return navigates(this.#request) && isFromElsewhere(this.#request.headers)
  }

  /** Makes the new session that takes the present one's place. */
  #newSession (session: Omit<NewSession, 'replaces'>): NewSession {
    this.#assertMayBegin()
    this.assertKeepsCookies('signing in, or keeping data for somebody who is not signed in')
    // A visitor's session would take the place of the cookie, though its person is signed in, for all that is known:
    // browsers leave it at home with a form of another site, and keep the new one. A script's they do not keep.
    // A sibling host's form brings the cookie.
    const { 'sec-fetch-mode': mode = 'navigate', 'sec-fetch-site': site } = this.#request.headers
    const mayDisplace = mode === 'navigate' && site !== 'same-site'
    if (session.userId !== null || mayDisplace) assertSameSite(this.#context, this.#request)
    if (session.userId === null && this.#withheld !== null && this.#standing === 'elsewhere') {
      throw new errors.DEVICE_MISMATCH()
    }
    this.assertNoWebSocket()
    assertCookieCanBeSet(this.#context, this.#request)
    const replaces = this.record
    const isSameUser = replaces !== null && replaces.userId !== null && replaces.userId === session.userId
    // Whoever signs in again keeps the device. A browser that has lost a confirmed key comes without the session.
    const keepsKey = isSameUser && (isConfirmed(replaces.boundKey) || isSameBinding(replaces.boundKey, this.#proven))
    const boundKey = keepsKey ? replaces.boundKey : null
    // The session that it may not use ends as well: its cookie is gone from this browser. It leaves nothing.
    return { ...this.#client, ...session, replaces, ends: this.#withheld, boundKey }
  }

  /**
   * Signs the same user in again, if their session still lives. Of several requests that do so at once one begins the
   * session, and the others go on in it.
   */
  async #renew (plan: BeginPlan, { data, id, carry }: SavedSession): Promise<void> {
    const session = this.#newSession({ userId: plan.userId, data, id, carry })
    const { core } = this.#context
    const held = session.replaces === null
      ? null
      : await this.budget.within(core.renew(session, session.replaces), (late) => this.#endUnheld(late))
    if (held !== null) this.#holdNew(held)
    else await this.#change(carry ?? (() => data))
  }

  /** Goes on with the present session under another id; if it has ended meanwhile, there is none. */
  async #move (to: { id: string, data: string, carry: NewSession['carry'] }): Promise<void> {
    if (this.#record === null) return
    this.#assertMayBegin()
    this.assertKeepsCookies('regenerate()')
    this.assertNoWebSocket()
    assertCookieCanBeSet(this.#context, this.#request)
    const moving = this.#context.core.move(this.#record, { ...this.#client, ...to })
    const moved = await this.budget.within(moving, (late) => this.#endUnheld(late))
    if (moved === null) this.#setSession(null, null)
    else this.#holdNew(moved)
  }

  /** Changes the data of the session; if it has ended meanwhile nothing is written, and there is none. */
  async #change (change: (data: string) => string): Promise<void> {
    if (this.#record === null) return
    const updated = await this.budget.within(this.#context.core.update(this.#record, change))
    // Where it has moved meanwhile, the request that moved it has the token.
    if (updated?.id === this.#record.id) this.#record = this.#marked(updated)
    else this.#setSession(updated, null)
  }

  get #client (): RequestClient {
    return clientOf(this.#request)
  }

  #holdNew ({ record, token }: HeldSession): void {
    if (hasReplied(this.#request)) {
      warnOnce(this.#context, BEGUN_TOO_LATE)
      this.#setSession(null, null)
      this.#endUnheld({ record, token })
      throw new errors.UNSUPPORTED('a new session after the reply has gone: its cookie would be in none')
    }
    this.#setSession(record, token)
    this.#isNew = true
    this.#pendingCookie.set()
  }

  /** Ends a session that began after its reply had gone: nobody holds its token. */
  #endUnheld (held: HeldSession | null): void {
    if (held !== null) this.#context.core.endEventually(held.record.id)
  }

  #setSession (record: SessionRecord | null, token: Token | null): void {
    this.#record = record && this.#marked(record)
    this.#withheld = null
    this.#token = record === null ? null : token
    this.#auth = undefined
    if (record === null) this.#isNew = false
  }
}

function changing (changes: Changes): (data: string) => string {
  return (present) => JSON.stringify(apply(parseData(present) ?? {}, changes))
}
