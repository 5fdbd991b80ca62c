import type { FastifySessionObject } from '@fastify/session'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Rows } from '../util/rows.ts'
import { assertShallow, copyOf, picked } from '../session/changes.ts'
import type { Data } from '../session/changes.ts'
import type { NewSession } from '../session/new-record.ts'
import { looksSignedIn } from '../session/user-id.ts'
import { Assignments } from './assignments.ts'
import { Baseline } from './baseline.ts'
import { kReply, warnOnce } from './context.ts'
import type { PluginContext, SessionRequest } from './context.ts'
import { fittingData } from './fitting-data.ts'
import { Outcomes } from './outcomes.ts'
import { carryOver, planSave, signsOut } from './save-plan.ts'
import { CSRF_SECRET, dataOf, drop } from './session-object.ts'
import type { Callback, Method, SessionOwner } from './session-object.ts'
import { StoredSession } from './stored-session.ts'
import type { StateOptions } from './stored-session.ts'
import type { WaitingPayload } from './waiting-payload.ts'

const CHANGED_TOO_LATE = 'request.session was changed, and that is not saved: its reply was sent before, or is hijacked.' +
  ' Change it before reply.send(), or call request.session.save()'

/**
 * One request's session as its route sees it: `request.session`, built when first asked for, and what
 * assigning to it, saving it, regenerating it and the end of the request mean for what is stored.
 */
export class RequestSession implements SessionOwner {
  readonly stored: StoredSession
  /** Made for the few requests whose route calls something that takes time. */
  #outcomes: Outcomes | undefined
  readonly #context: PluginContext
  readonly #request: FastifyRequest
  /** `undefined` until the route asks for it; `null` after `destroy()`. */
  #session: FastifySessionObject | null | undefined
  /** What was destroyed last: a new session may follow it. */
  #destroyed: FastifySessionObject | null = null
  /** What the session object held when it was built: what differs from it was changed by this request. */
  #base = new Baseline('{}')
  #assignments: Assignments | undefined
  /** The secret of CSRF tokens that was there before this request. */
  #oldCsrfSecret: unknown
  #nextId: string | null = null
  /** What `regenerate` carried over: the session object is to be stored under a new id. */
  #carriedKeys: readonly string[] | null = null
  #signedInByAssignment = false
  #isUncertain = false
  #isSettled = false
  #isClosed = false
  #isAssignedLate = false
  /** What the reply sends, while it waits for what this request changed. */
  waiting: WaitingPayload | null = null
  /** Saves of one request follow each other. */
  readonly #rows = new Rows()
  readonly #inRow = (task: () => Promise<void>): Promise<void> => this.#rows.run('save', task)

  constructor (context: PluginContext, request: FastifyRequest, options: StateOptions) {
    this.#context = context
    this.#request = request
    this.stored = new StoredSession(context, request, options)
    // No reply is to come that could tell of a failure.
    this.#isClosed = (request as SessionRequest)[kReply]?.sent === true
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

  /** What the calls of this request came to. */
  get outcomes (): Outcomes {
    if (this.#outcomes === undefined) {
      this.#outcomes = new Outcomes()
      if (this.#isClosed) this.#outcomes.close(this.#request.log)
    }
    return this.#outcomes
  }

  get ownsUserId (): boolean {
    return this.#context.options.userIdFrom === null
  }

  assertCanSignIn (): void {
    this.stored.assertKeepsCookies('signing in')
  }

  assigned (session: FastifySessionObject, key: string): void {
    if (session !== this.#session) return
    // What is changed in a reply that waits is saved with it, or not, as its route may well know.
    if (this.#isSettled && this.waiting === null) this.#isAssignedLate = true
    if (this.#isClosed) warnOnce(this.#context, CHANGED_TOO_LATE)
    const data = dataOf(session)
    // A token of the page before the sign-in must not work after it; one made from here on does.
    if (key === 'userId' && this.ownsUserId && data.userId != null) drop(session, CSRF_SECRET)
    for (const each of this.#assigned.note(key, data)) drop(session, each)
  }

  answer (method: Method, work: Promise<void>, callback: Callback | undefined): Promise<void> | undefined {
    // What was not saved is saved with the reply, or the reply says why not.
    if (callback === undefined) return this.outcomes.promised(work, { isRepeated: method === 'save' })
    // An end that is not confirmed must not be answered as if it were, whatever the callback makes of it.
    this.outcomes.calledBack(work, callback, { mustBeTold: method === 'destroy', onThrow: (error) => this.#callbackThrew(error) })
  }

  async save (session: FastifySessionObject): Promise<void> {
    // Else it is of before a login, a regeneration or a logout: its session is gone.
    if (session === this.#session) await this.#inRow(() => this.#commit({ undo: false }))
  }

  /** The object is built anew when it is asked for; when reading fails, the one there is stays. */
  async reload (session: FastifySessionObject): Promise<void> {
    await this.#inRow(async () => {
      if (session !== this.#session) return
      await this.stored.reload()
      this.#forget()
    })
  }

  /** Stores nothing yet: what becomes of the new session shows when it is saved or the reply goes out. */
  async regenerate (session: FastifySessionObject, keys: readonly string[]): Promise<void> {
    const follows = this.#session === null && session === this.#destroyed
    if (session !== this.#session && !follows) return
    this.stored.assertKeepsCookies('regenerate()')
    const carried = picked(dataOf(session), keys)
    assertShallow(carried)
    const base = new Baseline(picked(this.#base.data, keys))
    this.#nextId = this.#context.core.tokens.newId()
    this.#carriedKeys = keys
    this.#build(copyOf(carried))
    // Compared with what was there of these keys: a user who is new by now is one who signs in.
    this.#base = base
    this.#assignments = undefined
  }

  async destroy (session: FastifySessionObject): Promise<void> {
    if (session !== this.#session) return
    this.#session = null
    this.#destroyed = session
    this.#base = new Baseline('{}')
    await this.#inRow(() => this.stored.end())
  }

  /** Whether a change made by this request is still nowhere but here. */
  get hasUnsaved (): boolean {
    return !this.#isSettled && this.#isChanged()
  }

  isModified (session: FastifySessionObject): boolean {
    return session === this.#session && this.hasUnsaved
  }

  isSaved (session: FastifySessionObject): boolean {
    return session === this.#session && this.stored.record !== null && !this.hasUnsaved
  }

  /** The application's data as it stands in this request. */
  get data (): Data {
    return this.#session == null ? fittingData(this.#context, this.stored.record?.id, this.stored.data) : dataOf(this.#session)
  }

  /** Whether the session object names its user no more: whoever was signed in is not, though that is stored later. */
  get signsOut (): boolean {
    return this.#session != null && signsOut({ base: this.#base.data, data: dataOf(this.#session), rotates: this.#carriedKeys !== null, userIdFrom: this.#context.options.userIdFrom })
  }

  /** Begins a session now; whatever session there was ends, and `request.session` is the new one's. */
  async begin (session: Omit<NewSession, 'replaces'>): Promise<void> {
    await this.#inRow(() => this.stored.begin(session))
    this.#forget()
  }

  /** Ends the session; `request.session` is a new, anonymous one then. */
  async end (): Promise<void> {
    this.#forget()
    await this.#inRow(() => this.stored.end())
  }

  /** Stores what this request changed, once; `undefined` when there is nothing to wait for. */
  settle (reply: FastifyReply): Promise<void> | undefined {
    const isFirst = !this.#isSettled
    this.#isSettled = true
    const isTouchDue = isFirst && this.stored.isTouchDue
    if (this.#isClear && !this.#hasWork(reply, isFirst) && !isTouchDue) return undefined
    return this.#settle(reply, isFirst)
  }

  /** The reply has gone, or its client has. */
  close (reply: FastifyReply): void {
    if (reply.sent) {
      const rotates = this.#carriedKeys !== null
      if (this.#isSettled ? this.#isAssignedLate : this.#isChanged()) warnOnce(this.#context, CHANGED_TOO_LATE)
      // What was regenerated was to be gone, also where nothing new was saved.
      if (!this.#isSettled && rotates) this.end().catch(() => {})
      void this.stored.touchIfDue()
      // A later hook may have made an error of the reply: whom it signed in is not, though the cookie has gone out.
      if (this.#takesBack(reply)) this.settle(reply)?.catch(() => {})
    }
    this.#isClosed = true
    this.#outcomes?.close(this.#request.log)
  }

  async #settle (reply: FastifyReply, isFirst: boolean): Promise<void> {
    const untold = this.#isClear ? null : await this.outcomes.untold()
    if (this.#hasWork(reply, isFirst)) {
      await this.#inRow(() => this.#commit({ undo: untold !== null || this.#isError(reply) }))
    }
    this.#outcomes?.repeated()
    await this.stored.touchIfDue()
    // An error that the application answers says enough.
    if (untold !== null && !this.#isError(reply)) throw untold.error
  }

  get #isClear (): boolean {
    return this.#outcomes?.isClear ?? true
  }

  #hasWork (reply: FastifyReply, isFirst: boolean): boolean {
    return this.#takesBack(reply) || this.#rows.isBusy('save') || (isFirst && this.#isChanged())
  }

  #takesBack (reply: FastifyReply): boolean {
    return this.#signedInByAssignment && this.#isError(reply)
  }

  #isError (reply: FastifyReply): boolean {
    return this.stored.statusOf(reply) >= 400
  }

  #isChanged (): boolean {
    return this.#session != null && (this.#carriedKeys !== null || this.#assignments?.signsIn === true || this.#base.differsFrom(dataOf(this.#session)))
  }

  /** A callback of the application threw: the request is answered with that, as if its route had thrown it. */
  #callbackThrew (thrown: unknown): void {
    const reply = (this.#request as SessionRequest)[kReply]
    const error = thrown instanceof Error ? thrown : new Error('a callback threw what is no error', { cause: thrown })
    if (this.#isSettled || reply === null || reply.sent) this.outcomes.add(error)
    else reply.send(error)
  }

  /** Makes the store hold what the session object says. `undo`: the reply is an error, so nobody is signed in by it. */
  async #commit ({ undo }: { undo: boolean }): Promise<void> {
    if (undo && this.#signedInByAssignment) {
      this.#forget()
      return await this.stored.end()
    }
    const session = this.#session
    if (session == null) return
    const assigned = this.#assigned
    const present = dataOf(session)
    for (const each of assigned.leaving(present)) {
      drop(session, each)
      delete present[each]
    }
    const data = undo ? assigned.restored(present) : present
    assertShallow(data)
    const plan = planSave({
      base: this.#base.data,
      data,
      exists: this.stored.record !== null,
      isSignedIn: this.stored.record?.userId != null,
      rotates: this.#carriedKeys !== null,
      oldCsrfSecret: this.#oldCsrfSecret,
      assigned: assigned.signsIn,
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
    const saved = JSON.stringify('data' in plan ? plan.data : data)
    const carry = plan.does === 'move' || (plan.does === 'begin' && plan.carries) ? carryOver(this.#base.data, plan.data, this.#carriedKeys) : undefined
    try {
      await this.stored.carryOut(plan, { data: saved, id: this.#nextId ?? undefined, carry })
    } catch (error) {
      // What became of it is not known: another try is for another id, and still a sign-in.
      this.#nextId = null
      this.#isUncertain = true
      assigned.signsIn ||= this.#assigned.signsIn
      this.#assignments = assigned
      throw error
    }
    this.#warnOfNobody(data)
    // The route has another object by now.
    if (session !== this.#session) return
    // It has ended meanwhile: this object is nobody's, and saves nothing any more.
    if (plan.does !== 'nothing' && this.stored.record === null) return this.#forget()
    if ('data' in plan) this.#carriedKeys = this.#nextId = null
    if (plan.does === 'begin') {
      this.#signedInByAssignment = plan.userId !== null
      if (!Object.hasOwn(plan.data, CSRF_SECRET)) drop(session, CSRF_SECRET)
    }
    this.#base = new Baseline(saved)
  }

  /** What looks signed in elsewhere, and is not here, is told once. */
  #warnOfNobody (data: Data): void {
    if (!this.ownsUserId || this.stored.record === null || this.stored.record.userId !== null) return
    const key = looksSignedIn(data)
    if (key !== undefined) warnOnce(this.#context, `request.session.${key} was set, and nobody is signed in by that: set request.session.userId, or say with userIdFrom where the user's id is`)
  }

  #build (data: Data): void {
    this.#base = new Baseline(this.stored.record?.data ?? '{}')
    this.#session = this.#context.build(fittingData(this.#context, this.stored.record?.id, data), this)
    this.#assignments = undefined
  }

  get #assigned (): Assignments {
    this.#assignments ??= new Assignments(() => ({
      data: this.#base.data,
      isSignedIn: this.stored.record?.userId != null,
      userIdFrom: this.#context.options.userIdFrom
    }))
    return this.#assignments
  }

  /** The session object belongs to a session that is no more; the next one is built when asked for. */
  #forget (): void {
    this.#session = undefined
    this.#carriedKeys = this.#nextId = null
    this.#assignments = undefined
    this.#signedInByAssignment = false
  }
}
