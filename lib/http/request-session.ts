import type { FastifySessionObject } from '@fastify/session'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Rows } from '../rows.ts'
import { assertShallow, copyOf, picked } from '../session/changes.ts'
import type { Data } from '../session/changes.ts'
import type { NewSession } from '../session/new-record.ts'
import { Baseline } from './baseline.ts'
import type { PluginContext } from './context.ts'
import { assertKeepsCookies } from './cookie.ts'
import { fittingData } from './fitting-data.ts'
import { carryOver, planSave, signsOut } from './save-plan.ts'
import { CSRF_SECRET, dataOf, dropCsrfSecret } from './session-object.ts'
import type { SessionOwner } from './session-object.ts'
import { StoredSession } from './stored-session.ts'

/**
 * One request's session as its route sees it: `request.session`, built when first asked for, and what
 * assigning to it, saving it, regenerating it and the end of the request mean for what is stored.
 */
export class RequestSession implements SessionOwner {
  readonly stored: StoredSession
  readonly #context: PluginContext
  readonly #request: FastifyRequest
  /** `undefined` until the route asks for it; `null` after `destroy()`. */
  #session: FastifySessionObject | null | undefined
  /** What the session object held when it was built: what differs from it was changed by this request. */
  #base = new Baseline('{}')
  /** The secret of CSRF tokens that was there before this request. */
  #oldCsrfSecret: unknown
  #nextId: string | null = null
  /** What `regenerate` carried over: the session object is to be stored under a new id. */
  #carriedKeys: readonly string[] | null = null
  /** `userId` was assigned since the last save. */
  #assigned = false
  #signedInByAssignment = false
  #settled = false
  /** Saves of one request follow each other. */
  readonly #rows = new Rows()
  readonly #inRow = (task: () => Promise<void>): Promise<void> => this.#rows.run('save', task)

  constructor (context: PluginContext, request: FastifyRequest, options: { willLoad: boolean }) {
    this.#context = context
    this.#request = request
    this.stored = new StoredSession(context, request, options)
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

  get ownsUserId (): boolean {
    return this.#context.options.userIdFrom === null
  }

  assigned (session: FastifySessionObject, userId: unknown): void {
    if (session !== this.#session) return
    if (userId != null) assertKeepsCookies(this.#context, this.#request, 'signing in')
    this.#assigned = true
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
    if (session !== this.#session) return
    assertKeepsCookies(this.#context, this.#request, 'regenerate()')
    const carried = picked(dataOf(session), keys)
    assertShallow(carried)
    const base = new Baseline(picked(this.#base.data, keys))
    // A session begun by this request keeps its id, nobody else has seen it.
    this.#nextId = this.stored.isBorn ? this.sessionId : this.#context.core.tokens.newId()
    this.#carriedKeys = keys
    this.#build(copyOf(carried))
    // Compared with what was there of these keys: a user who is new by now is one who signs in.
    this.#base = base
  }

  async destroy (session: FastifySessionObject): Promise<void> {
    if (session !== this.#session) return
    this.#session = null
    await this.#inRow(() => this.stored.end())
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

  /** Whether a change made by this request is still nowhere but here. */
  get hasUnsaved (): boolean {
    return !this.#settled && this.#isChanged()
  }

  /** Stores what this request changed, once; `undefined` when there is nothing to wait for. */
  settle (reply: FastifyReply): Promise<void> | undefined {
    const undo = reply.statusCode >= 400
    const isFirst = !this.#settled
    this.#settled = true
    // Also when a later hook made an error of the reply.
    const takesBack = undo && this.#signedInByAssignment
    if (takesBack || this.#rows.isBusy('save') || (isFirst && this.#isChanged())) return this.#inRow(() => this.#commit({ undo })).then(() => this.stored.touchIfDue())
    return isFirst && this.stored.isTouchDue ? this.stored.touchIfDue() : undefined
  }

  #isChanged (): boolean {
    return this.#session != null && (this.#carriedKeys !== null || this.#assigned || this.#base.differsFrom(dataOf(this.#session)))
  }

  /** Makes the store hold what the session object says. `undo`: the reply is an error, so nobody is signed in by it. */
  async #commit ({ undo }: { undo: boolean }): Promise<void> {
    if (undo && this.#signedInByAssignment) {
      this.#forget()
      return await this.stored.end()
    }
    const session = this.#session
    if (session == null) return
    const data = dataOf(session)
    assertShallow(data)
    const plan = planSave({
      base: this.#base.data,
      data,
      exists: this.stored.record !== null,
      rotates: this.#carriedKeys !== null,
      oldCsrfSecret: this.#oldCsrfSecret,
      assigned: this.#assigned,
      undo,
      userIdFrom: this.#context.options.userIdFrom
    })
    if (plan.does === 'end') {
      this.#forget()
      return await this.stored.end()
    }
    const assigned = this.#assigned
    this.#assigned = false
    // As text before anything is waited for: the route may go on changing the object.
    const saved = JSON.stringify('data' in plan ? plan.data : data)
    try {
      await this.stored.carryOut(plan, { data: saved, id: this.#nextId ?? undefined, carry: 'data' in plan ? carryOver(this.#base.data, plan.data, this.#carriedKeys) : undefined })
    } catch (error) {
      // What became of it is not known: another try is for another id, and still a sign-in.
      this.#nextId = null
      this.#assigned ||= assigned
      throw error
    }
    // The route has another object by now.
    if (session !== this.#session) return
    // It has ended meanwhile: this object is nobody's, and saves nothing any more.
    if (plan.does !== 'nothing' && this.stored.record === null) return this.#forget()
    if ('data' in plan) this.#carriedKeys = this.#nextId = null
    if (plan.does === 'begin') {
      this.#signedInByAssignment = plan.userId !== null
      if (!Object.hasOwn(plan.data, CSRF_SECRET)) dropCsrfSecret(session)
    }
    this.#base = new Baseline(saved)
  }

  #build (data: Data): void {
    this.#base = new Baseline(this.stored.record?.data ?? '{}')
    this.#session = this.#context.build(fittingData(this.#context, this.stored.record?.id, data), this)
  }

  /** The session object belongs to a session that is no more; the next one is built when asked for. */
  #forget (): void {
    this.#session = undefined
    this.#carriedKeys = this.#nextId = null
    this.#assigned = this.#signedInByAssignment = false
  }
}
