import type { FastifyReply, FastifyRequest } from 'fastify'
import { TIMED_OUT, withDeadline } from '../deadline.ts'
import { errors } from '../errors.ts'
import type { Credential, NewSession } from '../session/manager.ts'
import { toInfo } from '../session/record.ts'
import type { JsonObject, SessionInfo, SessionRecord } from '../session/record.ts'
import { idOf } from '../session/token.ts'
import type { Token } from '../session/token.ts'
import { routeConfig } from './context.ts'
import type { PluginContext } from './context.ts'
import { assertCookieCanBeSet, clearSessionCookie, hasSessionCookie, setSessionCookie } from './cookie.ts'
import { assertSameSite } from './cross-site.ts'

/** How long all waiting for the store may take within one request. */
const BUDGET_MS = 600

/**
 * The stored side of one request's session: which one it is, what became of it in this request, and
 * what that means for the cookie. Every call to the store is made here, within the request's budget.
 */
export class StoredSession {
  readonly #context: PluginContext
  readonly #request: FastifyRequest
  #record: SessionRecord | null = null
  #token: Token | null = null
  #failure: Error | null = null
  #info: SessionInfo | null | undefined
  #born = false
  #cookieWork: 'set' | 'clear' | null = null
  #spentMs = 0

  constructor (context: PluginContext, request: FastifyRequest) {
    this.#context = context
    this.#request = request
    if (routeConfig(request).skip) this.#failure = new errors.SKIPPED()
  }

  /** Loads the session of a credential. Never rejects: a failure is remembered and thrown to whoever reads. */
  async load ({ token, renew }: Credential): Promise<void> {
    this.#token = token
    try {
      this.#record = await this.#within(this.#context.manager.find(token))
      if (this.#record !== null && renew) this.#cookieWork = 'set'
    } catch (error) {
      this.#failure = error as Error
    }
  }

  /**
   * The live session as last seen; `null` when there is none.
   * @throws ERR_SESSION_STORE_UNAVAILABLE when loading failed, ERR_SESSION_SKIPPED on a route without sessions
   */
  get record (): SessionRecord | null {
    if (this.#failure !== null) throw this.#failure
    return this.#record
  }

  /** Who is signed in, or `null`. Throws as `record` does. */
  get auth (): SessionInfo | null {
    const record = this.record
    if (this.#info === undefined) this.#info = record === null ? null : toInfo(record)
    return this.#info
  }

  /** The session was begun by this request: its client does not hold the token yet. */
  get isBorn (): boolean {
    return this.#born
  }

  get isTouchDue (): boolean {
    return this.#failure === null && this.#record !== null && !this.#born && this.#context.manager.isTouchDue(this.#record)
  }

  /**
   * Stores a new session in place of the present one, if any; a session born in this request keeps its id,
   * and one of the same user keeps label and meta where none are given.
   */
  async begin (session: Omit<NewSession, 'replaces'>): Promise<void> {
    const { manager, options } = this.#context
    if (session.userId !== null) assertSameSite(this.#context, this.#request)
    assertCookieCanBeSet(this.#context, this.#request)
    const replaces = this.record
    const same = session.userId !== null && replaces?.userId === session.userId ? replaces : null
    const { label = same?.label, meta = same?.meta == null ? null : JSON.parse(same.meta) as JsonObject } = session
    const creation = manager.create({
      persistent: options.cookieMaxAgeMs !== false,
      ip: this.#request.ip,
      userAgent: this.#request.headers['user-agent'] ?? null,
      ...session,
      label,
      meta,
      ...this.#born && replaces !== null && { id: replaces.id },
      replaces
    })
    // Too late for this reply: nobody will hold its token.
    const { record, token } = await this.#within(creation, (late) => manager.endEventually(late.record.id))
    this.#become(record, token)
    this.#born = true
    this.#cookieWork = 'set'
  }

  /** Changes the data of the session; if it has ended meanwhile nothing is written, and there is none. */
  async update (change: (data: string) => string): Promise<void> {
    if (this.#record === null) return
    const updated = await this.#within(this.#context.manager.update(this.#record, change))
    if (updated === null) this.#become(null, null)
    else this.#record = updated
  }

  /** Reads the session again. */
  async reload (): Promise<SessionRecord | null> {
    if (this.#record === null || this.#token === null) return null
    const record = await this.#within(this.#context.manager.find(this.#token))
    this.#become(record, this.#token)
    return record
  }

  /** Ends the session, also one that could not be loaded, and has its cookie taken back. */
  async end (): Promise<void> {
    if (this.#failure instanceof errors.SKIPPED) throw this.#failure
    const mayLive = this.#record !== null || this.#failure !== null
    const id = mayLive && this.#token !== null ? idOf(this.#token) : null
    this.#cookieWork = hasSessionCookie(this.#context, this.#request) ? 'clear' : null
    this.#become(null, null)
    this.#failure = null
    if (id !== null) await this.#within(this.#context.manager.end(id))
  }

  /** Writes down that the session was used, if that is due. */
  async touchIfDue (): Promise<void> {
    if (!this.isTouchDue) return
    // A use that could not be written down shortens the session a little; the reply is as good.
    await this.#within(this.#context.manager.touch(this.#record as SessionRecord)).catch(() => {})
  }

  /** Sends or takes back the cookie, if that is still to be done. */
  writeCookie (reply: FastifyReply): void {
    const work = this.#cookieWork
    this.#cookieWork = null
    if (work === 'clear') clearSessionCookie(this.#context, this.#request, reply)
    else if (work === 'set' && this.#record !== null && this.#token !== null) setSessionCookie(this.#context, this.#request, reply, this.#record, this.#token)
  }

  #become (record: SessionRecord | null, token: Token | null): void {
    this.#record = record
    this.#token = record === null ? null : token
    this.#info = undefined
    if (record === null) this.#born = false
  }

  /** Waits for the store, as long as the request has time left for it. */
  async #within<T> (operation: Promise<T>, late: (result: T) => void = () => {}): Promise<T> {
    const startedAt = performance.now()
    const result = await withDeadline(operation, Math.max(0, BUDGET_MS - this.#spentMs))
    this.#spentMs += performance.now() - startedAt
    if (result !== TIMED_OUT) return result
    operation.then(late, () => {})
    throw new errors.STORE_UNAVAILABLE()
  }
}
