import { inTime, TIMED_OUT, withDeadline } from '../util/deadline.ts'
import { sessionTimeouts } from '../util/duration.ts'
import { HEALTH_WAIT_MS } from '../util/timings.ts'
import { assertBoolean, assertFunction, assertMembers, assertObject, assertOneOf } from './arguments.ts'
import { forgetAttempts } from './attempts.ts'
import type { ListOptions } from './store.ts'
import type { SessionCore } from './core.ts'
import type { Credential, Credentials } from './credentials.ts'
import { dataOf, dataText } from './data.ts'
import { EVENT_NAMES } from './events.ts'
import type { EventName, SessionEvents } from './events.ts'
import { header } from './headers.ts'
import { NEW_SESSION } from './manager-types.ts'
import type { CreatedSession, CreateSession, FindOptions, Health, ListSessions, RequestLike } from './manager-types.ts'
import type { HeldSession } from './new-record.ts'
import { toInfo, toInfos } from './record.ts'
import type { JsonObject, SessionInfo, SessionRecord } from './record.ts'
import { finished } from './revocations.ts'
import { toBearer } from './token.ts'
import { userIdText, userOf } from './user-id.ts'

/**
 * Every session of every user, everywhere in an application. What is unknown, expired, of the other kind
 * or no id or token at all is absent, which is no error. What asks the store, but `health`, throws
 * ERR_SESSION_STORE_UNAVAILABLE when that does not answer.
 */
export class SessionManager {
  readonly #core: SessionCore
  readonly #closeStore: () => Promise<void>

  /** `closeStore`: closes what was made for this manager alone. */
  constructor (core: SessionCore, closeStore = async (): Promise<void> => {}) {
    this.#core = core
    this.#closeStore = closeStore
  }

  /**
   * Begins a session for a user, as `app.login` does.
   * @throws TypeError for an unusable user id, kind, label, meta, timeout or data, and for data that names another user
   * @throws ERR_SESSION_RESERVED_KEY, ERR_SESSION_DATA_TOO_LARGE, ERR_SESSION_LIMIT_REACHED, ERR_SESSION_STORE_FULL
   */
  async create (session: CreateSession): Promise<CreatedSession> {
    assertMembers(session, 'session', NEW_SESSION)
    const { userId: id, kind = 'cookie', data = {}, label, meta } = session
    assertOneOf(kind, 'kind', ['cookie', 'bearer'])
    const userId = userIdText(id, 'userId')
    assertObject(data, 'data')
    const { userIdFrom } = this.#core.options
    const named = userIdFrom === null ? null : userOf(data, userIdFrom)
    if (named !== null && named !== userId) throw new TypeError('data must not name another user than userId')
    const creation = this.#core.create({
      kind,
      userId,
      label,
      meta,
      data: dataText(userIdFrom === null ? { ...data, userId: typeof id === 'bigint' ? userId : id } : data),
      ...sessionTimeouts(session, this.#core.options, this.#core.options.longest),
      replaces: null
    })
    const held = await inTime(creation, { late: ({ record }) => this.#core.endEventually(record.id) })
    return handedOut(held, this.#core.credentials)
  }

  /** The session of a cookie's value (an Express app's too, where those are adopted), or of a token if `bearer` is on. */
  async find (token: string, options?: FindOptions): Promise<SessionInfo | null> {
    const { credentials } = this.#core
    return await this.#found(typeof token === 'string' ? credentials.ofBearer(token) ?? credentials.unsign(token) : null, options)
  }

  /**
   * The session that a request carries: of Node, of Fastify or of `fetch`.
   * @throws TypeError for what has no headers
   * @throws ERR_SESSION_AMBIGUOUS_CREDENTIALS for a bearer token beside a cookie that verifies
   */
  async fromRequest (request: RequestLike, options?: FindOptions): Promise<SessionInfo | null> {
    assertObject(request, 'request')
    const { headers } = request
    assertObject(headers, 'request.headers')
    return await this.#found(this.#core.credentials.read({ cookie: header(headers, 'cookie'), authorization: header(headers, 'authorization') }), options)
  }

  /** The session of a `Cookie` header. */
  async fromCookieHeader (cookie: string | null | undefined, options?: FindOptions): Promise<SessionInfo | null> {
    return await this.#found(typeof cookie === 'string' ? this.#core.credentials.readCookie(cookie) : null, options)
  }

  /** The session of an `Authorization` header under the scheme Bearer. `null` without the `bearer` option. */
  async fromBearer (authorization: string | null | undefined, options?: FindOptions): Promise<SessionInfo | null> {
    return await this.#found(typeof authorization === 'string' ? this.#core.credentials.readBearer(authorization) : null, options)
  }

  /** The signed-in session of this id. */
  async get (id: string): Promise<SessionInfo | null> {
    const record = await inTime(this.#record(id))
    return record === null ? null : toInfo(record)
  }

  /** The application's data of a session: a copy, or `null` when there is no such session. */
  async data (id: string): Promise<JsonObject | null> {
    const record = await inTime(this.#record(id))
    return record === null ? null : this.#dataOf(record.data)
  }

  /**
   * Changes the data of a session: `change` returns the new data, or changes what it is given. It is called
   * again when another writer was faster, so nobody's change is lost. Gives the data as stored, or `null`,
   * with nothing written, when there is no such session. Cannot change who is signed in.
   * @throws TypeError when `change` is no function, or its result no object or names another user; ERR_SESSION_RESERVED_KEY, ERR_SESSION_DATA_TOO_LARGE
   */
  async update (id: string, change: (data: JsonObject) => JsonObject | undefined | void): Promise<JsonObject | null> {
    assertFunction(change, 'change')
    const { userIdFrom } = this.#core.options
    const updating = this.#record(id).then((record) => record && this.#core.update(record, (text) => {
      const data = this.#dataOf(text)
      const user = userOf(data, userIdFrom)
      const next = change(data) ?? data
      const written = dataText(next)
      if (userOf(dataOf(written), userIdFrom) !== user) throw new TypeError('update cannot change who is signed in: end the session and create another')
      return written
    }))
    const updated = await inTime(updating)
    return updated === null ? null : this.#dataOf(updated.data)
  }

  /** Counts as use of the session. `false` when there is none. */
  async touch (id: string): Promise<boolean> {
    return await inTime(this.#record(id).then((record) => record !== null && this.#core.touch(record)))
  }

  /**
   * The user's live sessions, newest first, `limit` at the most (default and most 1,000): fewer are all there are.
   * `before`: those after this one, the last of the page before, also where it has ended since.
   * @throws TypeError for another `limit`, and a `before` that is no session
   */
  async listByUser (userId: string | number | bigint, options: ListSessions = {}): Promise<SessionInfo[]> {
    return toInfos(await inTime(this.#core.listByUser(userIdText(userId, 'userId'), pageOf(options))))
  }

  /** Every signed-in session, in no order, with bounded memory. */
  async * listAll (): AsyncGenerator<SessionInfo, void, void> {
    for await (const record of this.#core.listAll()) yield * toInfos([record])
  }

  /**
   * Ends a session. With `userId`: `false`, and nothing ended, when it is somebody else's.
   * @throws TypeError for a `userId` that is none, also for `undefined`
   */
  async revoke (id: string, options: { userId?: string | number | bigint } = {}): Promise<boolean> {
    assertMembers(options, 'options', ['userId'])
    // A user that is not there is nobody, and not everybody.
    const userId = 'userId' in options ? userIdText(options.userId, 'userId') : null
    const known = this.#core.tokens.idFrom(id)
    const revoking = async (): Promise<boolean> => known !== null && (userId === null || userId === await this.#core.userOf(known)) && await this.#core.end(known, 'revoked')
    return await inTime(revoking())
  }

  /**
   * Ends every session of a user but `except`, and their logins under way. This process refuses all of them at once.
   * Gives how many were ended, when all have; of very many that takes a while.
   * @throws ERR_SESSION_STORE_UNAVAILABLE; what was begun by then goes on, as long as the process runs
   */
  async revokeUser (userId: string | number | bigint, options: { except?: string | undefined } = {}): Promise<number> {
    assertMembers(options, 'options', ['except'])
    const except = this.#core.tokens.idFrom(options.except) ?? undefined
    return await finished(this.#core.endByUser(userIdText(userId, 'userId'), except))
  }

  /** Forgets the failed logins of an account, by the name that is typed in: after a password reset. Limits per network stay. */
  async unlock (account: string | number | bigint): Promise<void> {
    await inTime(forgetAttempts(this.#core.options.counters, account))
  }

  /** Whether the store answers, for a readiness probe. Never throws; answers within 600 ms. */
  async health (): Promise<Health> {
    return await healthOf(this.#core.ping())
  }

  /**
   * Hears of sessions in all processes that share the store; see `SessionEvents`.
   * @throws TypeError for a name that is no event, a listener that is no function
   */
  on<Name extends EventName> (name: Name, listener: (...args: SessionEvents[Name]) => void): this {
    assertOneOf(name, 'name', EVENT_NAMES)
    assertFunction(listener, 'listener')
    this.#core.events.on(name, listener)
    return this
  }

  /** Hears no more. */
  off<Name extends EventName> (name: Name, listener: (...args: SessionEvents[Name]) => void): this {
    assertOneOf(name, 'name', EVENT_NAMES)
    assertFunction(listener, 'listener')
    this.#core.events.off(name, listener)
    return this
  }

  /** Stops what runs in the background. The store stays open, it is its owner's. Twice is safe. */
  async close (): Promise<void> {
    await this.#core.close()
    await this.#closeStore()
  }

  #dataOf (text: string): JsonObject {
    const data = dataOf(text)
    return (this.#core.options.dataSchema?.fit(data).data ?? data) as JsonObject
  }

  async #record (id: string): Promise<SessionRecord | null> {
    const known = this.#core.tokens.idFrom(id)
    return known === null ? null : await this.#core.get(known)
  }

  async #found (credential: Credential | null, options: FindOptions = {}): Promise<SessionInfo | null> {
    assertMembers(options, 'options', ['touch'])
    const { touch = false } = options
    assertBoolean(touch, 'touch')
    if (credential === null) return null
    const finding = this.#core.find(credential, { uses: touch }).then(async (record) => {
      return record !== null && touch && this.#core.isTouchDue(record) && !await this.#core.touch(record) ? null : record
    })
    const record = await inTime(finding)
    return record === null ? null : toInfo(record)
  }
}

/** A new session with what proves it, as its client carries that. */
function handedOut ({ record, token }: HeldSession, credentials: Credentials): CreatedSession {
  const session = toInfo(record) as SessionInfo
  const bearer = toBearer(token)
  if (record.kind === 'bearer') return { token: bearer, session, headers: { authorization: `Bearer ${bearer}` } }
  return { token: credentials.sign(token), session, headers: { cookie: credentials.cookieOf(token) } }
}

/** Whether the store answers, and how soon, within what anything is waited for. */
async function healthOf (ping: Promise<void>): Promise<Health> {
  const startedAt = performance.now()
  const ok = await withDeadline(ping, HEALTH_WAIT_MS).then((answer) => answer !== TIMED_OUT, () => false)
  return { ok, latencyMs: Math.round(performance.now() - startedAt) }
}

/** How many sessions are listed at once, and unless less are asked for. */
const MOST_LISTED = 1_000

/**
 * Which of a user's sessions are asked for.
 * @throws TypeError
 */
function pageOf (options: ListSessions): ListOptions {
  assertMembers(options, 'options', ['limit', 'before'])
  const { limit = MOST_LISTED, before } = options
  const isLimit = Number.isInteger(limit) && limit >= 1 && limit <= MOST_LISTED
  if (!isLimit) throw new TypeError(`limit must be an integer from 1 to ${MOST_LISTED}`)
  if (before === undefined) return { limit }
  assertObject(before, 'before')
  const { id, createdAt } = before
  const isPlace = typeof id === 'string' && Number.isSafeInteger(createdAt) && createdAt >= 0
  if (!isPlace) throw new TypeError('before must be a session, or its id and createdAt')
  return { limit, before: { id, createdAt } }
}
