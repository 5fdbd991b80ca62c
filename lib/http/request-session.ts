import type { FastifySessionObject } from '@fastify/session'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { apply, diff } from '../session/changes.ts'
import type { Data } from '../session/changes.ts'
import type { NewSession } from '../session/manager.ts'
import type { SessionRecord } from '../session/record.ts'
import { newId } from '../session/token.ts'
import type { PluginContext } from './context.ts'
import { bridged } from './engine.ts'
import type { Bridge, BridgeCallback } from './engine.ts'
import { planSave } from './save-plan.ts'
import { adopt, CSRF_SECRET, dataOf, dropCsrfSecret, withoutReserved } from './session-object.ts'
import type { SessionOwner } from './session-object.ts'
import { StoredSession } from './stored-session.ts'

/**
 * One request's session as its route sees it: `request.session`, built when first asked for, and what
 * assigning to it, saving it, regenerating it and the end of the request mean for what is stored.
 */
export class RequestSession implements SessionOwner, Bridge {
  readonly request: FastifyRequest
  readonly stored: StoredSession
  readonly #context: PluginContext
  /** `undefined` until the route asks for it; `null` after `destroy()`. */
  #session: FastifySessionObject | null | undefined
  /** What the session object held when it was built: what differs from it was changed by this request. */
  #base: Data = {}
  #nextId: string | null = null
  /** `regenerate()` is running: what it asks to be ended and stored is decided on later. */
  #regenerating = false
  /** The session object is to be stored under a new id (`regenerate`). */
  #rotates = false
  /** `userId` was assigned since the last save. */
  #assigned = false
  #signedInByAssignment = false
  #hydrating = false
  #reloadFailed = false
  #settled = false

  constructor (context: PluginContext, request: FastifyRequest) {
    this.#context = context
    this.request = request
    this.stored = new StoredSession(context, request)
  }

  // The session object

  /** @throws ERR_SESSION_STORE_UNAVAILABLE when loading failed, ERR_SESSION_SKIPPED on a route without sessions */
  get session (): FastifySessionObject | null {
    const { record } = this.stored
    if (this.#session === undefined) {
      this.#base = record === null ? {} : this.#dataIn(record)
      this.#hydrating = true
      try {
        this.#context.hydrate(this)
      } finally {
        this.#hydrating = false
      }
    }
    return this.#session ?? null
  }

  /** @fastify/session puts its objects here; nothing else fits. */
  set session (session: FastifySessionObject | null) {
    if (this.#reloadFailed) {
      // It comes with an empty object then. The one there is still holds what was loaded.
      this.#reloadFailed = false
      return
    }
    if (session !== null && typeof (session as Partial<FastifySessionObject> | undefined)?.regenerate !== 'function') throw new TypeError('request.session cannot be replaced; assign its members')
    if (session !== null) adopt(session, this)
    this.#session = session
  }

  get sessionId (): string {
    const { record } = this.stored
    if (record !== null && !this.#rotates) return record.id
    this.#nextId ??= newId()
    return this.#nextId
  }

  get ownsUserId (): boolean {
    return this.#context.options.userIdFrom === null
  }

  assigned (): void {
    this.#assigned = true
  }

  // What @fastify/session's methods ask for

  bridged<T> (method: () => T): T {
    try {
      return bridged(this, method)
    } finally {
      this.#regenerating = false
    }
  }

  newSessionId (): string {
    if (this.#hydrating) return this.sessionId
    // regenerate(): a session begun by this request keeps its id, nobody else has seen it.
    this.#regenerating = true
    this.#nextId = this.stored.isBorn ? this.sessionId : newId()
    return this.#nextId
  }

  get (callback: BridgeCallback): void {
    if (this.#hydrating) {
      const { record } = this.stored
      return callback(null, record === null ? null : withoutReserved(this.#dataIn(record)))
    }
    this.#reload().then((data) => callback(null, data), (error: unknown) => {
      this.#reloadFailed = true
      callback(error)
    })
  }

  set (session: FastifySessionObject, callback: BridgeCallback): void {
    if (session === this.#session) {
      this.#commit({ undo: false }).then(() => callback(), callback)
      return
    }
    // Either regenerate(), which stores nothing yet: what becomes of the new session shows when it is
    // saved or the reply goes out. Or an object of before a login or a logout, whose session is gone.
    if (this.#regenerating) {
      this.#base = {}
      this.#rotates = true
      this.#assigned = false
    }
    callback()
  }

  destroy (callback: BridgeCallback): void {
    if (this.#regenerating) return callback()
    this.end().then(() => callback(), callback)
  }

  // Signing in and out

  /** The application's data as it stands in this request. */
  get data (): Data {
    const { record } = this.stored
    if (this.#session != null) return dataOf(this.#session)
    return record === null ? {} : this.#dataIn(record)
  }

  /** Begins a session now; whatever session there was ends, and `request.session` is the new one's. */
  async begin (session: Omit<NewSession, 'replaces'>): Promise<void> {
    await this.stored.begin(session)
    this.#forget()
  }

  /** Ends the session; `request.session` is a new, anonymous one then. */
  async end (): Promise<void> {
    this.#forget()
    await this.stored.end()
  }

  // The reply

  /** Whether a change made by this request is still nowhere but here. */
  get hasUnsaved (): boolean {
    if (this.#settled || this.#session == null) return false
    return this.#rotates || this.#assigned || diff(this.#base, dataOf(this.#session)).size > 0
  }

  /** Stores what this request changed, once; `undefined` when there is nothing to wait for. */
  settle (reply: FastifyReply): Promise<void> | undefined {
    if (this.#settled) return undefined
    const undo = reply.statusCode >= 400
    const hasWork = this.hasUnsaved || (undo && this.#signedInByAssignment)
    this.#settled = true
    if (hasWork) return this.#commit({ undo }).then(() => this.stored.touchIfDue())
    return this.stored.isTouchDue ? this.stored.touchIfDue() : undefined
  }

  // Inside

  /** Makes the store hold what the session object says. `undo`: the reply is an error, so nobody is signed in by it. */
  async #commit ({ undo }: { undo: boolean }): Promise<void> {
    if (undo && this.#signedInByAssignment) return await this.end()
    const session = this.#session
    if (session == null) return
    const data = dataOf(session)
    const plan = planSave({
      base: this.#base,
      data,
      exists: this.stored.record !== null,
      rotates: this.#rotates,
      assigned: this.#assigned,
      undo,
      userIdFrom: this.#context.options.userIdFrom
    })
    this.#assigned = false
    if (plan.does === 'end') return await this.end()
    // As text before anything is waited for: the route may go on changing the object.
    const saved = JSON.stringify(plan.does === 'begin' ? plan.data : data)
    if (plan.does === 'begin') {
      await this.stored.begin({ userId: plan.userId, data: saved, id: this.#nextId ?? undefined })
      this.#nextId = null
      this.#rotates = false
      this.#signedInByAssignment = plan.userId !== null
      if (!Object.hasOwn(plan.data, CSRF_SECRET)) dropCsrfSecret(session)
    }
    if (plan.does === 'change' && plan.changes.size > 0) {
      await this.stored.update((present) => JSON.stringify(apply(parse(present) ?? {}, plan.changes)))
      // It has ended meanwhile: this object is nobody's, and saves nothing any more.
      if (this.stored.record === null) return this.#forget()
    }
    this.#base = JSON.parse(saved) as Data
  }

  async #reload (): Promise<Data | null> {
    const record = await this.stored.reload()
    this.#assigned = this.#rotates = false
    this.#nextId = null
    this.#base = record === null ? {} : this.#dataIn(record)
    return record === null ? null : withoutReserved(this.#dataIn(record))
  }

  /** The session object belongs to a session that is no more; the next one is built when asked for. */
  #forget (): void {
    this.#session = undefined
    this.#nextId = null
    this.#rotates = this.#assigned = this.#signedInByAssignment = false
  }

  #dataIn ({ id, data }: SessionRecord): Data {
    const parsed = parse(data)
    if (parsed === null) this.#context.log.warn({ sessionId: id }, 'the data of a session is not JSON and was left out')
    return parsed ?? {}
  }
}

function parse (text: string): Data | null {
  try {
    return JSON.parse(text) as Data
  } catch {
    return null
  }
}
