import type { FastifySessionObject } from '@fastify/session'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { errors } from '../errors.ts'
import { isObject } from '../session/arguments.ts'
import { copyOf, jsonOf, picked } from '../session/changes.ts'
import type { Data } from '../session/changes.ts'
import type { NewSession } from '../session/new-record.ts'
import { looksSignedIn } from '../session/user-id.ts'
import { kContext, kReply, kRequestSession, kStoredSession, warnOnce } from './context.ts'
import type { PluginContext, SessionRequest } from './context.ts'
import { Outcomes } from './outcomes.ts'
import { Assignments, Baseline } from './object-changes.ts'
import { carryOver, planSave, signsOut } from './save-plan.ts'
import { CSRF_SECRET, dataOf, removeMember } from './session-object.ts'
import type { Callback, Method, SessionOwner } from './session-object.ts'
import { StoredSession } from './stored-session.ts'
import type { StatedCause, StoredSessionOptions } from './stored-session.ts'
import { isResponse } from './waiting-payload.ts'
import type { WaitingPayload } from './waiting-payload.ts'

/** Data of a session object before there is a stored session. */
const NOTHING = new Baseline('{}')

const CHANGED_TOO_LATE = 'request.session was changed, and that is not saved: its reply was sent before, or is' +
  ' hijacked. Change it before reply.send(), or call request.session.save()'

/**
 * One request's session as its route sees it: `request.session`, built when it is first asked for. Turns assigning to
 * it, saving it, regenerating it and the end of the request into changes of the stored session.
 */
export class RequestSession implements SessionOwner {
  readonly stored: StoredSession
  /** Made for the few requests whose route calls something that takes time. */
  #outcomes: Outcomes | undefined
  readonly #context: PluginContext
  readonly #request: FastifyRequest
  /** Session object of the route. `undefined` until it asks for one; `null` after `destroy()`. */
  #session: FastifySessionObject | null | undefined
  /** Session object that was destroyed last: a new session may follow it. */
  #destroyed: FastifySessionObject | null = null
  /** Data of the session object when it was built. What differs from it was changed by this request. */
  #base = NOTHING
  #assignments: Assignments | undefined
  /** Secret of CSRF tokens that was there before this request. */
  #oldCsrfSecret: unknown
  #nextId: string | null = null
  /** Keys that `regenerate` carried over: the session object is to be stored under a new id. */
  #carriedKeys: readonly string[] | null = null
  #signedInByAssignment = false
  #isUncertain = false
  #isAssignedLate = false
  /** The reply tells of a failure, whatever its status says. */
  #hasFailed = false
  /** Status of the `Response` that is sent, if it is one. */
  #responseStatus: number | null = null
  /** Page that the client is sent to, in place of what its route sends. */
  turnedAwayTo: string | null = null
  /** Payload of the reply, while that waits for the changes of this request. */
  waiting: WaitingPayload | null = null
  /** The last save under way: saves of one request follow each other. */
  #lastSave: Promise<void> | null = null

  constructor (context: PluginContext, request: FastifyRequest, stored: StoredSession) {
    this.#context = context
    this.#request = request
    this.stored = stored
    stored.awaitReply()
  }

  /** @throws ERR_SESSION_STORE_UNAVAILABLE when loading failed, ERR_SESSION_SKIPPED where no session is loaded */
  get session (): FastifySessionObject | null {
    // Throws what there is to throw, also where the object is there already.
    void this.stored.record
    if (this.#session === undefined) {
      const { data } = this.stored
      this.#oldCsrfSecret ??= data[CSRF_SECRET]
      this.#build(data)
    }
    return this.#session ?? null
  }

  get sessionId (): string {
    const { record } = this.stored
    if (record !== null && this.#carriedKeys === null) return record.id
    this.#nextId ??= this.#context.core.tokens.newId()
    return this.#nextId
  }

  /** The results of the calls of this request. */
  get outcomes (): Outcomes {
    if (this.#outcomes === undefined) {
      this.#outcomes = new Outcomes()
      if (this.stored.isOver) this.#outcomes.close(this.#request.log)
    }
    return this.#outcomes
  }

  get ownsUserId (): boolean {
    return this.#context.options.userIdFrom === null
  }

  assertCanSignIn (): void {
    this.stored.assertKeepsCookies('signing in')
  }

  use (): void {
    const before = this.stored.record
    this.stored.use()
    // It was revoked for that: nothing of it goes on in another session.
    if (before !== null && this.stored.record === null) this.#forget()
  }

  noteAssigned (session: FastifySessionObject, key: string): void {
    if (session !== this.#session) return
    // What is changed in a reply that waits is saved with it, or not, as its route may well know.
    if (this.stored.isReplying && this.waiting === null) this.#isAssignedLate = true
    if (this.stored.isOver) warnOnce(this.#context, CHANGED_TOO_LATE)
    const data = dataOf(session)
    // A token of the page before the sign-in must not work after it; one made from here on does.
    if (key === 'userId' && this.ownsUserId && data.userId != null) removeMember(session, CSRF_SECRET)
    for (const each of this.#openAssignments.note(key, data)) removeMember(session, each)
  }

  answer (method: Method, work: Promise<void>, callback: Callback | undefined): Promise<void> | undefined {
    // What was not saved is saved with the reply, or the reply says why not.
    if (callback === undefined) return this.outcomes.promised(work, { isRepeated: method === 'save' })
    // An end that is not confirmed must not be answered as if it were, whatever the callback makes of it.
    this.outcomes.calledBack(work, callback, {
      mustBeReported: method === 'destroy', onThrow: (error) => this.#callbackThrew(error)
    })
  }

  async save (session: FastifySessionObject): Promise<void> {
    // Else it is of before a login, a regeneration or a logout: its session is gone.
    if (session === this.#session) await this.#inTurn(() => this.#commit({ undo: false }))
  }

  /** The object is built anew when it is asked for; when reading fails, the one there is stays. */
  async reload (session: FastifySessionObject): Promise<void> {
    await this.#inTurn(async () => {
      if (session !== this.#session) return
      await this.stored.reload()
      this.#forget()
    })
  }

  /** Stores nothing yet: the new session begins, or not, when it is saved or the reply goes out. */
  async regenerate (session: FastifySessionObject, keys: readonly string[]): Promise<void> {
    const follows = this.#session === null && session === this.#destroyed
    if (session !== this.#session && !follows) return
    this.stored.assertKeepsCookies('regenerate()')
    this.stored.assertNoWebSocket()
    const carried = copyOf(picked(dataOf(session), keys))
    const base = new Baseline(picked(this.#base.data, keys))
    this.#nextId = this.#context.core.tokens.newId()
    this.#carriedKeys = keys
    this.#build(carried)
    // Compared with what was there of these keys: a user who is new by now is one who signs in.
    this.#base = base
    this.#assignments = undefined
  }

  async destroy (session: FastifySessionObject): Promise<void> {
    if (session !== this.#session) return
    this.#session = null
    this.#destroyed = session
    this.#base = NOTHING
    await this.#inTurn(() => this.stored.end())
  }

  /** Whether this request has made a change that is not stored. */
  get hasUnsaved (): boolean {
    return !this.stored.isReplying && this.#isChanged()
  }

  isModified (session: FastifySessionObject): boolean {
    return session === this.#session && this.hasUnsaved
  }

  isSaved (session: FastifySessionObject): boolean {
    return session === this.#session && this.stored.record !== null && !this.hasUnsaved
  }

  /** The application's data as it is in this request. */
  get data (): Data {
    if (this.#session != null) return dataOf(this.#session)
    return fittingData(this.#context, this.stored.record?.id, this.stored.data)
  }

  /** Whether the session object names its user no more: who was signed in is not, though that is stored later. */
  get signsOut (): boolean {
    if (this.#session == null) return false
    const { userIdFrom } = this.#context.options
    const rotates = this.#carriedKeys !== null
    return signsOut({ base: this.#base.data, data: dataOf(this.#session), rotates, userIdFrom })
  }

  /** Begins a session now, in place of the present one. `request.session` is then the new one's. */
  async begin (session: Omit<NewSession, 'replaces'>): Promise<void> {
    await this.#inTurn(() => this.stored.begin(session))
    this.#forget()
  }

  /** Ends the session. `request.session` is then a new, anonymous one. */
  async end (cause?: StatedCause): Promise<void> {
    this.#forget()
    await this.#inTurn(() => this.stored.end(cause))
  }

  /** Sends a payload while the reply waits: it goes out if nothing was sent before, or the client is turned away. */
  sendAsWell (payload: unknown, reply: FastifyReply): void {
    const { waiting } = this
    if (waiting === null) return
    if (this.turnedAwayTo !== null) waiting.replace(payload, reply)
    else if (!waiting.offer(payload, reply)) return
    this.notePayload(payload)
  }

  /** Notes what is sent. Of a `Response` Fastify takes the status after its hooks, whatever was set before. */
  notePayload (payload: unknown): void {
    this.#responseStatus = isResponse(payload) ? payload.status : null
  }

  /** Stores the changes of this request, before its reply goes out. `undefined`: there is nothing to wait for. */
  beforeReply (reply: FastifyReply): Promise<void> | undefined {
    const isFirst = !this.stored.isReplying
    this.stored.isReplying = true
    const isTouchDue = isFirst && this.stored.isTouchDue
    if (this.#isClear && !this.#hasWork(reply, isFirst) && !isTouchDue) return undefined
    return this.#saveBeforeReply(reply, isFirst)
  }

  /**
   * Notes that the reply tells of a failure whatever its status says: nobody is signed in by it. Stores what else the
   * request has changed. Resolves with what went wrong at that, if anything did.
   */
  async fail (reply: FastifyReply): Promise<unknown[]> {
    this.#hasFailed = true
    try {
      await this.beforeReply(reply)
      return []
    } catch (error) {
      return [error]
    }
  }

  /** Has the reply be a redirect to a page, whatever the route sends. `isFailure`: nobody is signed in by it. */
  turnAway (page: string, { isFailure }: { isFailure: boolean }): void {
    this.turnedAwayTo = page
    if (isFailure) this.#hasFailed = true
  }

  /** Notes that the reply has gone. */
  afterReply (reply: FastifyReply): void {
    this.#responseStatus = null
    this.stored.afterReply(reply)
    if (reply.sent) {
      const rotates = this.#carriedKeys !== null
      if (this.stored.isReplying ? this.#isAssignedLate : this.#isChanged()) warnOnce(this.#context, CHANGED_TOO_LATE)
      // What was regenerated was to be gone, also where nothing new was saved.
      if (!this.stored.isReplying && rotates) this.end().catch(() => {})
      // A later hook may have made an error of the reply: whom it signed in is not, though the cookie has gone out.
      if (this.#takesBack(reply)) this.beforeReply(reply)?.catch(() => {})
    }
    this.#outcomes?.close(this.#request.log)
  }

  async #saveBeforeReply (reply: FastifyReply, isFirst: boolean): Promise<void> {
    const unreported = this.#isClear ? null : await this.outcomes.unreported()
    if (this.#hasWork(reply, isFirst)) {
      await this.#inTurn(() => this.#commit({ undo: unreported !== null || this.#isError(reply) }))
    }
    this.#outcomes?.forgetRepeated()
    await this.stored.touchIfDue()
    // An error that the application answers says enough.
    if (unreported !== null && !this.#isError(reply)) throw unreported.error
  }

  /** Whether nothing is under way in this request, and no failure is to be reported. */
  get #isClear (): boolean {
    return this.#outcomes?.isClear ?? true
  }

  async #inTurn (save: () => Promise<void>): Promise<void> {
    const before = this.#lastSave ?? Promise.resolve()
    const mine = this.#lastSave = before.then(save, save)
    try {
      await mine
    } finally {
      if (this.#lastSave === mine) this.#lastSave = null
    }
  }

  #hasWork (reply: FastifyReply, isFirst: boolean): boolean {
    return this.#takesBack(reply) || this.#lastSave !== null || (isFirst && this.#isChanged())
  }

  #takesBack (reply: FastifyReply): boolean {
    return this.#signedInByAssignment && this.#isError(reply)
  }

  #isError (reply: FastifyReply): boolean {
    const status = this.#responseStatus ?? this.waiting?.status ?? this.stored.statusOf(reply)
    return this.#hasFailed || status >= 400
  }

  #isChanged (): boolean {
    if (this.#session == null) return false
    if (this.#carriedKeys !== null || this.#assignments?.signsIn === true) return true
    return this.#base.differsFrom(dataOf(this.#session))
  }

  /** Answers the request with what a callback of the application threw, as if its route had thrown it. */
  #callbackThrew (thrown: unknown): void {
    const reply = (this.#request as SessionRequest)[kReply]
    const error = thrown instanceof Error ? thrown : new Error('a callback threw what is no error', { cause: thrown })
    if (this.stored.isReplying || reply === null || reply.sent) this.outcomes.add(error)
    else reply.send(error)
  }

  /** Stores the session object. `undo`: the reply is an error, so nobody is signed in by it. */
  async #commit ({ undo }: { undo: boolean }): Promise<void> {
    if (undo && this.#signedInByAssignment) {
      this.#forget()
      return await this.stored.end()
    }
    const session = this.#session
    if (session == null) return
    const assignments = this.#openAssignments
    const present = dataOf(session)
    for (const each of assignments.leaving(present)) {
      removeMember(session, each)
      delete present[each]
    }
    const data = undo ? assignments.restored(present) : present
    const whole = jsonOf(data)
    const plan = planSave({
      base: this.#base.data,
      data,
      exists: this.stored.record !== null,
      isSignedIn: this.stored.record?.userId != null,
      rotates: this.#carriedKeys !== null,
      oldCsrfSecret: this.#oldCsrfSecret,
      signsInByAssignment: assignments.signsIn,
      isUncertain: this.#isUncertain,
      undo,
      userIdFrom: this.#context.options.userIdFrom
    })
    if (plan.does === 'end') {
      this.#forget()
      return await this.stored.end()
    }
    // What is assigned while it is saved goes into the next save.
    this.#assignments = undefined
    // As text before anything is waited for: the route may go on changing the object.
    const saved = 'data' in plan ? jsonOf(plan.data) : whole
    const carries = plan.does === 'move' || (plan.does === 'begin' && plan.carries)
    const carry = carries ? carryOver(this.#base.data, plan.data, this.#carriedKeys) : undefined
    try {
      await this.stored.save(plan, { data: saved, id: this.#nextId ?? undefined, carry })
    } catch (error) {
      // The outcome is not known: the next try is for a new id, and still a sign-in.
      this.#nextId = null
      this.#isUncertain = true
      assignments.signsIn ||= this.#openAssignments.signsIn
      this.#assignments = assignments
      throw error
    }
    if (!undo) this.#warnOfNobody(data)
    // The route has another object by now.
    if (session !== this.#session) return
    // It has ended meanwhile: this object is nobody's, and saves nothing any more.
    if (plan.does !== 'nothing' && this.stored.record === null) return this.#forget()
    if ('data' in plan) this.#carriedKeys = this.#nextId = null
    if (plan.does === 'begin') {
      this.#signedInByAssignment = plan.userId !== null
      if (!Object.hasOwn(plan.data, CSRF_SECRET)) removeMember(session, CSRF_SECRET)
    }
    this.#base = new Baseline(saved)
  }

  /** Warns once of data that signs somebody in with other packages, and does not here. */
  #warnOfNobody (data: Data): void {
    if (!this.ownsUserId || this.stored.record === null || this.stored.record.userId !== null) return
    const key = looksSignedIn(data)
    if (key === undefined) return
    const message = `request.session.${key} was set, and nobody is signed in by that:`
    warnOnce(this.#context, `${message} set request.session.userId, or say with userIdFrom where the user's id is`)
  }

  #build (data: Data): void {
    this.#base = new Baseline(this.stored.record?.data ?? '{}')
    this.#session = this.#context.build(fittingData(this.#context, this.stored.record?.id, data), this)
    this.#assignments = undefined
  }

  /** The assignments since the session object was built or saved. */
  get #openAssignments (): Assignments {
    this.#assignments ??= new Assignments(() => ({
      data: this.#base.data,
      isSignedIn: this.stored.record?.userId != null,
      userIdFrom: this.#context.options.userIdFrom
    }))
    return this.#assignments
  }

  /** Lets go of the session object, whose session is no more. The next one is built when it is asked for. */
  #forget (): void {
    this.#session = undefined
    this.#carriedKeys = this.#nextId = null
    this.#assignments = undefined
    this.#signedInByAssignment = false
  }
}

/**
 * Returns the stored session of a request, and makes it when it is first asked for.
 * @throws TypeError for what is no request, or one of a context that has no sessions
 */
export function storedSessionOf (
  context: PluginContext, request: FastifyRequest, options?: StoredSessionOptions
): StoredSession {
  if (!isRequest(request)) throw new TypeError(NO_REQUEST)
  request[kStoredSession] ??= new StoredSession(context, request, options)
  return request[kStoredSession]
}

/** Returns the session of a request as its route sees it, and makes it when it is first asked for. Throws as above. */
export function requestSessionOf (context: PluginContext, request: FastifyRequest): RequestSession {
  const stored = storedSessionOf(context, request)
  const { [kRequestSession]: known } = request as SessionRequest
  return known ?? ((request as SessionRequest)[kRequestSession] = new RequestSession(context, request, stored))
}

/**
 * Returns the registration of the plugin that a request belongs to.
 * @throws ERR_SESSION_SKIPPED for a request of a context that has none, TypeError for what is no request
 */
export function registrationOf (request: FastifyRequest): PluginContext {
  // A context that is older than the registration has it, but none of its hooks.
  const context = isRequest(request) ? (request.server as { [kContext]?: PluginContext })[kContext] : undefined
  if (context !== undefined) return context
  if (!isAnyRequest(request)) throw new TypeError(NO_REQUEST)
  throw new errors.SKIPPED(`here: ${NOT_REGISTERED}`)
}

const NO_REQUEST = 'request must be a Fastify request of a context that the plugin is registered in'
const NOT_REGISTERED = 'sessionPlugin is not registered in this context or above:' +
  ' await app.register(sessionPlugin, …) first'

/** Makes a call about a request's session. Where nobody awaits it, the request's reply reports its failure. */
export function reported<T> (context: PluginContext, request: FastifyRequest, call: () => Promise<T>): Promise<T> {
  const work = call()
  // What is no request has no reply, either.
  return isRequest(request) ? requestSessionOf(context, request).outcomes.promised(work) : work
}

/** Whether a value is a request of a context that has sessions. */
function isRequest (request: unknown): request is SessionRequest {
  try {
    // A copy of a request has the one, but not the other, and none of its headers.
    return isObject(request) && kRequestSession in request && 'server' in request
  } catch {
    // It cannot be looked at.
    return false
  }
}

/** Whether a value is a request of any context. A reply has one of these members, but not the other. */
function isAnyRequest (request: unknown): boolean {
  try {
    return isObject(request) && 'originalUrl' in request && 'server' in request
  } catch {
    return false
  }
}

/** Returns as much of a session's data as fits `sessionSchema`. What does not is a change, saved with the others. */
function fittingData ({ options, log }: PluginContext, sessionId: string | undefined, data: Data): Data {
  const { dataSchema } = options
  if (dataSchema === null) return data
  const { data: fitting, dropped, failure } = dataSchema.fit(data)
  if (failure !== null) log.error({ sessionId, err: failure }, 'migrate failed for the data of a session')
  if (dropped.length > 0) {
    log.warn({ sessionId, keys: dropped }, 'data of a session does not fit sessionSchema and was dropped')
  }
  return fitting
}
