import type { FastifyReply, FastifyRequest } from 'fastify'
import { TIMED_OUT, withDeadline } from '../deadline.ts'
import { errors } from '../errors.ts'
import { apply, parseData } from '../session/changes.ts'
import type { Changes, Data } from '../session/changes.ts'
import type { Credential, HeldSession } from '../session/manager.ts'
import type { NewSession } from '../session/new-record.ts'
import { toInfo } from '../session/record.ts'
import type { JsonObject, SessionInfo, SessionRecord } from '../session/record.ts'
import { idOf, newId } from '../session/token.ts'
import type { Token } from '../session/token.ts'
import { routeConfig } from './context.ts'
import type { PluginContext } from './context.ts'
import { assertCookieCanBeSet, clearSessionCookie, hasSessionCookie, setSessionCookie } from './cookie.ts'
import { assertSameSite } from './cross-site.ts'
import type { SavePlan } from './save-plan.ts'

/** How long all waiting for the store may take within one request. */
const BUDGET_MS = 600
/** What the next operation gets in any case, if the last was answered: the time may have gone by in this process itself. */
const LEAST_MS = 100

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
  /** This use of the session is written down, or was tried to be. */
  #touched = false
  #cookieWork: 'set' | 'clear' | null = null
  /** The reply has a session cookie already. */
  #cookieSent = false
  #spentMs = 0
  #isAnswered = true

  constructor (context: PluginContext, request: FastifyRequest, { willLoad }: { willLoad: boolean }) {
    this.#context = context
    this.#request = request
    if (willLoad) return
    const { cookie } = request.headers
    if (routeConfig(request).skip) this.#failure = new errors.SKIPPED('on a route with config.session false')
    else if (cookie !== undefined && context.manager.readCookie(cookie) !== null) this.#failure = new errors.SKIPPED('yet: register the plugin before the hook that reads it')
  }

  /** Loads the session of a credential. Never rejects: a failure is remembered and thrown to whoever reads. */
  async load ({ token, renew }: Credential): Promise<void> {
    this.#token = token
    this.#failure = null
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

  /** The application's data as stored, a copy of one's own. Throws as `record` does. */
  get data (): Data {
    const { record } = this
    const data = record === null ? {} : parseData(record.data)
    if (data === null) this.#context.log.warn({ sessionId: record?.id }, 'the data of a session is not JSON and was left out')
    return data ?? {}
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
    return this.#failure === null && this.#record !== null && !this.#born && !this.#touched && this.#context.manager.isTouchDue(this.#record)
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
    this.#hold(await this.#within(creation, (late) => this.#tooLate(late)))
  }

  /** Does what saving the session object means; `data` is the text of what it holds. There may be no session afterwards. */
  async carryOut (plan: Exclude<SavePlan, { does: 'end' }>, { data, id, carry }: { data: string, id: string | undefined, carry: NewSession['carry'] }): Promise<void> {
    if (plan.does === 'begin') await this.begin({ userId: plan.userId, data, id, carry })
    else if (plan.does === 'move') await this.#move({ data, carry, id: id ?? newId() })
    else if (plan.does === 'change' && plan.changes.size > 0) await this.#change(plan.changes)
  }

  /** Reads the session again. */
  async reload (): Promise<void> {
    if (this.#record === null || this.#token === null) return
    this.#become(await this.#within(this.#context.manager.find(this.#token)), this.#token)
  }

  /** Ends the session, also one that could not be loaded, and has its cookie taken back. */
  async end (): Promise<void> {
    if (this.#failure instanceof errors.SKIPPED) throw this.#failure
    const mayLive = this.#record !== null || this.#failure !== null
    const id = mayLive && this.#token !== null ? idOf(this.#token) : null
    this.#cookieWork = this.#cookieSent || hasSessionCookie(this.#context, this.#request) ? 'clear' : null
    this.#become(null, null)
    this.#failure = null
    if (id !== null) await this.#within(this.#context.manager.end(id))
  }

  /** Writes down that the session was used, if that is due. */
  async touchIfDue (): Promise<void> {
    if (!this.isTouchDue) return
    this.#touched = true
    // A use that could not be written down shortens the session a little; the reply is as good.
    await this.#within(this.#context.manager.touch(this.#record as SessionRecord)).catch(() => {})
  }

  /** Sends or takes back the cookie, if that is still to be done. */
  writeCookie (reply: FastifyReply): void {
    const work = this.#cookieWork
    this.#cookieWork = null
    if (work === 'clear') {
      clearSessionCookie(this.#context, this.#request, reply)
    } else if (work === 'set' && this.#record !== null && this.#token !== null) {
      setSessionCookie(this.#context, this.#request, reply, this.#record, this.#token)
      this.#cookieSent = true
    }
  }

  /** Goes on with the present session under another id; if it has ended meanwhile, there is none. */
  async #move (to: { id: string, data: string, carry: NewSession['carry'] }): Promise<void> {
    if (this.#record === null) return
    assertCookieCanBeSet(this.#context, this.#request)
    const moved = await this.#within(this.#context.manager.move(this.#record, to), (late) => this.#tooLate(late))
    if (moved === null) this.#become(null, null)
    else this.#hold(moved)
  }

  /** Changes the data of the session; if it has ended meanwhile nothing is written, and there is none. */
  async #change (changes: Changes): Promise<void> {
    if (this.#record === null) return
    const change = (present: string): string => JSON.stringify(apply(parseData(present) ?? {}, changes))
    const updated = await this.#within(this.#context.manager.update(this.#record, change))
    if (updated === null) this.#become(null, null)
    else this.#record = updated
  }

  #hold ({ record, token }: HeldSession): void {
    this.#become(record, token)
    this.#born = true
    this.#cookieWork = 'set'
  }

  /** The reply has gone: nobody will hold this token. */
  #tooLate (held: HeldSession | null): void {
    if (held !== null) this.#context.manager.endEventually(held.record.id)
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
    const result = await withDeadline(operation, Math.max(this.#isAnswered ? LEAST_MS : 0, BUDGET_MS - this.#spentMs))
    this.#isAnswered = result !== TIMED_OUT
    this.#spentMs += performance.now() - startedAt
    if (result !== TIMED_OUT) return result
    operation.then(late, () => {})
    throw new errors.STORE_UNAVAILABLE()
  }
}
