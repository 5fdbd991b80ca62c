import { inTime, TIMED_OUT, withDeadline } from '../util/deadline.ts'
import { otherTimeouts } from '../util/duration.ts'
import type { Duration } from '../util/duration.ts'
import { HEALTH_WAIT_MS } from '../util/timings.ts'
import { assertBoolean, assertFunction, assertMembers, assertObject, assertOneOf, membersOf } from './arguments.ts'
import { forgetAttempts } from './attempts.ts'
import type { ListOptions } from './store.ts'
import type { SessionCore } from './core.ts'
import type { Credential, Credentials } from './credentials.ts'
import type { DeviceHeaders } from './device-check.ts'
import { dataOf, storedData } from './data.ts'
import { END_OPTIONS, statedCause } from './end-cause.ts'
import type { EndCause, EndInfo, EndOptions } from './end-cause.ts'
import { EVENT_NAMES } from './events.ts'
import type { EventName, SessionEvents } from './events.ts'
import { header } from './headers.ts'
import { idpText } from './idp.ts'
import type { IdpSession } from './idp.ts'
import type { HeldSession } from './new-record.ts'
import { toInfo, toInfos } from './record.ts'
import type { JsonObject, SessionInfo, SessionKind, SessionRecord } from './record.ts'
import { finished } from './revocations.ts'
import { methodsText, useOf } from './sign-in.ts'
import { toBearer } from './token.ts'
import { assertOfUser, userIdText, userMember, userOf } from './user-id.ts'

/** A session that `create` begins. `Data`: what `request.session` holds. */
export interface CreateSession<Data extends object = JsonObject> {
  /** The user whom it signs in. */
  userId: string | number | bigint
  /**
   * Whether a cookie or a bearer token carries it. Each is refused as the other, and `'bearer'` is refused where the
   * `bearer` option is off.
   * @default 'cookie'
   */
  kind?: SessionKind | undefined
  /** A name for people, at most 200 characters. */
  label?: string | null | undefined
  /** Notes of the application about the session, at most 4,096 bytes of JSON. */
  meta?: Readonly<JsonObject> | null | undefined
  /** The application's data: what `request.session` holds. */
  data?: Data | undefined
  /**
   * The session at an OpenID Connect provider that it begins with, by which `revokeIdp` ends it. Default: none.
   * @see [OpenID Connect](docs/guides/openid-connect.md)
   */
  idp?: IdpSession | undefined
  /** How the user has proved who they are, as `methods` of `app.login`. Default: none. */
  methods?: readonly string[] | undefined
  /** Who acts as the user, where that is somebody else, as `actor` of `app.login`. Default: the user. */
  actor?: string
  /** Default the plugin's. Never longer than the absolute timeout. */
  idleTimeout?: Duration | undefined
  /** Default the plugin's. */
  absoluteTimeout?: Duration | undefined
}

/** Names of the members of `CreateSession`. */
const NEW_SESSION = [
  'userId', 'kind', 'label', 'meta', 'data', 'idp', 'methods', 'actor', 'idleTimeout', 'absoluteTimeout'
] as const

/** A session that `create` has begun. */
export interface CreatedSession {
  /** The cookie's value or the bearer token, which proves the session. It is shown nowhere else. */
  token: string
  /** The session, as `find` shows it. */
  session: SessionInfo
  /** Request headers that carry the session, ready for `inject` or `fetch`. */
  headers: {
    /** The cookie of a session of the kind `'cookie'`. */
    cookie?: string
    /** The token of a session of the kind `'bearer'`. */
    authorization?: string
  }
}

/** A request of Node, of Fastify or of `fetch`. */
export interface RequestLike {
  /** Its headers: an object, or `Headers`. */
  readonly headers: object
}

/** Options of `find` and its like. */
export interface FindOptions {
  /** Whether finding the session counts as using it, as a request does. @default false */
  touch?: boolean | undefined
}

/** A page of a user's sessions. */
export interface ListSessions {
  /** Most sessions of a page: 1 to 1,000. @default 1000 */
  limit?: number | undefined
  /** The last session of the page before. It may have ended since. Default: the page begins with the newest. */
  before?: Pick<SessionInfo, 'id' | 'createdAt'> | undefined
}

/** Options of `revoke`. */
export interface RevokeOptions extends EndOptions {
  /** The user whose session it has to be. */
  userId?: string | number | bigint
}

/** Options of `revokeUser`. */
export interface RevokeUserOptions extends EndOptions {
  /** The id of a session that goes on. */
  except?: string | undefined
}

/** Timeouts that sessions get while they live. What is left out stays as it is. */
export interface SetTimeouts {
  /** How long the session lives without use. */
  idleTimeout?: Duration | undefined
  /** How long it lives in all, counted from when it began. */
  absoluteTimeout?: Duration | undefined
}

/** All sessions of a user. */
export interface SessionsOfUser {
  /** Whose they are. */
  userId: string | number | bigint
}

/** The answer of `health`. */
export interface Health {
  /** Whether the store has answered in time. */
  ok: boolean
  /** Time until the answer, in whole milliseconds. */
  latencyMs: number
}

/**
 * Returns the core of a manager, for other rooms of this package.
 * @throws TypeError for what is no manager
 */
export let coreOf: (sessions: unknown) => SessionCore

/**
 * Finds, lists and ends every session of every user, anywhere in an application. A session that is unknown, expired or
 * of the other kind is absent, and so is an id or a token that is none. That is no error. Methods that ask the store,
 * except `health`, throw ERR_SESSION_STORE_UNAVAILABLE when it does not answer. `Data`: what `request.session` holds.
 */
export class SessionManager<Data extends object = JsonObject> {
  static {
    coreOf = (sessions) => {
      if (typeof sessions === 'object' && sessions !== null && #core in sessions) return sessions.#core
      throw new TypeError('sessions must be app.sessions, or a SessionManager')
    }
  }

  readonly #core: SessionCore
  readonly #closeStore: () => Promise<void>

  /** `closeStore`: closes what was made for this manager alone. */
  constructor (core: SessionCore, closeStore = async (): Promise<void> => {}) {
    this.#core = core
    this.#closeStore = closeStore
    core.sessions = this
  }

  /**
   * Begins a session for a user, as `app.login` does.
   * @throws TypeError for an unusable user id, kind, label, meta, methods, actor, timeout or data
   * @throws ERR_SESSION_RESERVED_KEY, ERR_SESSION_DATA_TOO_LARGE, ERR_SESSION_LIMIT_REACHED, ERR_SESSION_STORE_FULL
   */
  async create (session: CreateSession<Data>): Promise<CreatedSession> {
    const given = membersOf(session, 'session', NEW_SESSION)
    const { userId: id, kind = 'cookie', data: begunWith = {}, label, meta, idp, methods, ...use } = given
    assertOneOf(kind, 'kind', ['cookie', 'bearer'])
    const userId = userIdText(id, 'userId')
    const { userIdFrom } = this.#core.options
    const data = storedData(begunWith)
    assertOfUser(data, { userId, previous: null, userIdFrom }, 'userId')
    const creation = this.#core.create({
      kind,
      userId,
      label,
      meta,
      idp: idp === undefined ? null : idpText(idp),
      methods: methodsText(methods),
      data: JSON.stringify({ ...data, ...userMember(id, userIdFrom) }),
      ...useOf(use, this.#core.options),
      replaces: null
    })
    const held = await inTime(creation, { late: ({ record }) => this.#core.endEventually(record.id) })
    return handedOut(held, this.#core.credentials)
  }

  /**
   * Finds a session by its cookie's value (another library's too, where those are adopted), or by a bearer token. One
   * that is bound to a device is not found, once its browser has used the short cookie and half a minute has passed:
   * its value alone proves nothing. `fromRequest` finds it.
   */
  async find (token: string, options?: FindOptions): Promise<SessionInfo | null> {
    return await this.#found(typeof token === 'string' ? this.#ofToken(token) : null, null, options)
  }

  /**
   * Finds the session that a request carries: of Node, of Fastify or of `fetch`.
   * @throws TypeError for what has no headers
   * @throws ERR_SESSION_AMBIGUOUS_CREDENTIALS for a bearer token beside a cookie that verifies
   */
  async fromRequest (request: RequestLike, options?: FindOptions): Promise<SessionInfo | null> {
    const credential = this.#ofRequest(request)
    return await this.#found(credential, deviceHeaders(request), options)
  }

  /** Finds the session of a `Cookie` header. A missing device ends none, as the other headers are not known. */
  async fromCookieHeader (cookie: string | null | undefined, options?: FindOptions): Promise<SessionInfo | null> {
    const credential = typeof cookie === 'string' ? this.#core.credentials.readCookie(cookie) : null
    return await this.#found(credential, { cookie: cookie ?? undefined }, options)
  }

  /** Finds the session of an `Authorization` header of the scheme Bearer. `null` without the `bearer` option. */
  async fromBearer (authorization: string | null | undefined, options?: FindOptions): Promise<SessionInfo | null> {
    const { credentials } = this.#core
    const credential = typeof authorization === 'string' ? credentials.readBearer(authorization) : null
    return await this.#found(credential, null, options)
  }

  /**
   * Says how the session ended that a cookie's value, a bearer token or a request carries. `null`: it lives, or that
   * is no credential, or it is not known. Needs `endedFor` in the processes that end sessions; here to tell of those
   * that ran out.
   * @throws TypeError for a request that has no headers
   * @throws ERR_SESSION_AMBIGUOUS_CREDENTIALS for a bearer token beside a cookie that verifies
   * @see [Why was I signed out?](docs/guides/signed-out.md)
   */
  async ended (carrier: string | RequestLike | null | undefined): Promise<EndInfo | null> {
    if (carrier === null || carrier === undefined) return null
    const credential = typeof carrier === 'string' ? this.#ofToken(carrier) : this.#ofRequest(carrier)
    if (credential === null) return null
    const asking = this.#core.find(credential).then(async (record) => {
      return record === null ? await this.#core.howEnded(credential) : null
    })
    return await inTime(asking)
  }

  /** Finds the signed-in session of this id. */
  async get (id: string): Promise<SessionInfo | null> {
    const record = await inTime(this.#record(id))
    return record === null ? null : toInfo(record)
  }

  /** Returns a copy of the application's data of a session, or `null` when there is no such session. */
  async data (id: string): Promise<Data | null> {
    const record = await inTime(this.#record(id))
    return record === null ? null : this.#dataOf(record.data)
  }

  /**
   * Changes the data of a session: `change` returns the new data, or changes the data that it is given. It is called
   * again when a concurrent change was faster, so that no change is lost. It cannot change who is signed in. Resolves
   * with the data as stored, or with `null`, and nothing is written, when there is no such session.
   * @throws TypeError when `change` is no function, and when its result is no object or names a different user
   * @throws ERR_SESSION_RESERVED_KEY, ERR_SESSION_DATA_TOO_LARGE
   */
  async update (id: string, change: (data: Data) => Data | undefined | void): Promise<Data | null> {
    assertFunction(change, 'change')
    const { userIdFrom } = this.#core.options
    const updating = this.#record(id).then((record) => record && this.#core.update(record, (text) => {
      const data = this.#dataOf(text)
      const user = userOf(data as Record<string, unknown>, userIdFrom)
      const written = storedData(change(data) ?? data)
      if (userOf(written, userIdFrom) === user) return JSON.stringify(written)
      throw new TypeError('update cannot change who is signed in: end the session and create another')
    }))
    const updated = await inTime(updating)
    return updated === null ? null : this.#dataOf(updated.data)
  }

  /** Counts as use of the session. `false` when there is none. */
  async touch (id: string): Promise<boolean> {
    return await inTime(this.#record(id).then((record) => record !== null && this.#core.touch(record)))
  }

  /**
   * Gives a session other timeouts, shorter or longer ones. If they have run out for it, it ends, as one that has
   * expired. Resolves with whether the session has them now.
   * @throws TypeError for a timeout that is none, or longer than `assurance` allows, and where both are left out
   * @throws ERR_SESSION_UNSUPPORTED for a store that cannot
   * @see [Other timeouts for sessions that live](docs/concepts/session-life.md#other-timeouts-for-sessions-that-live)
   */
  async setTimeouts (id: string, timeouts: SetTimeouts): Promise<boolean>
  /**
   * The same for all sessions of a user that have begun by now. Resolves with the number of sessions that have the
   * timeouts. Call it again where it was broken off: it goes on.
   */
  async setTimeouts (user: SessionsOfUser, timeouts: SetTimeouts): Promise<number>
  async setTimeouts (which: string | SessionsOfUser, timeouts: SetTimeouts): Promise<boolean | number> {
    assertMembers(timeouts, 'timeouts', ['idleTimeout', 'absoluteTimeout'])
    const given = otherTimeouts(timeouts, this.#core.options.longest)
    if (typeof which === 'object') {
      assertMembers(which, 'user', ['userId'])
      return await finished(this.#core.setTimeoutsOfUser(userIdText(which.userId, 'userId'), given))
    }
    const setting = this.#record(which).then(async (record) => {
      return record === null ? null : await this.#core.setTimeouts(record, given)
    })
    return await inTime(setting) !== null
  }

  /**
   * Lists the user's live sessions, newest first. Fewer than `limit` are all there are.
   * @throws TypeError for a `limit` that is none, and a `before` that is no session
   * @see [Your devices](docs/guides/devices.md)
   */
  async listByUser (userId: string | number | bigint, options: ListSessions = {}): Promise<SessionInfo[]> {
    return toInfos(await inTime(this.#core.listByUser(userIdText(userId, 'userId'), pageOf(options))))
  }

  /** Lists every signed-in session, in no order, with bounded memory. */
  async * listAll (): AsyncGenerator<SessionInfo, void, void> {
    for await (const record of this.#core.listAll()) yield * toInfos([record])
  }

  /**
   * Ends a session. With `userId` it ends only a session of that user: else `false`, and nothing is ended.
   * @throws TypeError for a `userId` that is none, also for `undefined`
   * @throws TypeError for a `reason` or an `actor` that is no such text
   */
  async revoke (id: string, options: RevokeOptions = {}): Promise<boolean> {
    assertMembers(options, 'options', ['userId', ...END_OPTIONS])
    // A user that is not there is nobody, and not everybody.
    const userId = 'userId' in options ? userIdText(options.userId, 'userId') : null
    return await inTime(this.#core.revoke(id, userId, { reason: 'revoked', ...statedCause(options) }))
  }

  /**
   * Ends every session of a user but `except`, and their logins under way. This process refuses all of them at once.
   * Resolves with the number of ended sessions when all have ended. For very many that takes a while.
   * @throws TypeError for a user id that is none, and for a `reason` or an `actor` that is no such text
   * @throws ERR_SESSION_STORE_UNAVAILABLE; work that has begun goes on, as long as the process runs
   */
  async revokeUser (userId: string | number | bigint, options: RevokeUserOptions = {}): Promise<number> {
    assertMembers(options, 'options', ['except', ...END_OPTIONS])
    const except = this.#core.tokens.idFrom(options.except) ?? undefined
    const cause: EndCause = { reason: 'revoked', ...statedCause(options) }
    return await finished(this.#core.endByUser(userIdText(userId, 'userId'), except, cause))
  }

  /**
   * Ends every session that began with a session at an OpenID Connect provider, and sign-ins with it under way. This
   * process refuses all of them at once. Resolves with the number of ended sessions when all have ended.
   * @throws TypeError for an `issuer` or a `sid` that is none, and for a `reason` or an `actor` that is no such text
   * @throws ERR_SESSION_UNSUPPORTED for a store of express-session, or one that an Express app shares
   * @throws ERR_SESSION_STORE_UNAVAILABLE; the work goes on, as long as the process runs
   * @see [OpenID Connect](docs/guides/openid-connect.md)
   */
  async revokeIdp (idp: IdpSession, options: EndOptions = {}): Promise<number> {
    assertMembers(options, 'options', END_OPTIONS)
    return await finished(this.#core.endByIdp(idpText(idp), { reason: 'revoked', ...statedCause(options) }))
  }

  /**
   * Clears failed logins of an account, by the name that is typed in, after a password reset. Networks keep theirs.
   * @see [Failed logins](docs/guides/rate-limits.md)
   */
  async unlock (account: string | number | bigint): Promise<void> {
    const isCleared = await inTime(forgetAttempts(this.#core.options.counters, account))
    if (isCleared) this.#core.tellIncident('unlocked', null, { account })
  }

  /**
   * Checks whether the store answers, for a readiness probe. Never throws. Answers within 600 ms.
   * @see [Production](docs/guides/production.md)
   */
  async health (): Promise<Health> {
    return await healthOf(this.#core.ping())
  }

  /**
   * Listens to an event: those of sessions come from all processes that share the store.
   * @throws TypeError for a name that is no event, a listener that is no function
   * @see [Events](docs/reference/events.md)
   */
  on<Name extends EventName> (name: Name, listener: (...args: SessionEvents[Name]) => void): this {
    assertOneOf(name, 'name', EVENT_NAMES)
    assertFunction(listener, 'listener')
    this.#core.events.on(name, listener)
    return this
  }

  /** Removes a listener. */
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

  /** Returns stored data as the application declares it: its word, unless it has a `sessionSchema`. */
  #dataOf (text: string): Data {
    const data = dataOf(text)
    return (this.#core.options.dataSchema?.fit(data).data ?? data) as Data
  }

  #ofToken (token: string): Credential | null {
    const { credentials } = this.#core
    return credentials.ofBearer(token) ?? credentials.unsign(token)
  }

  /** @throws TypeError, ERR_SESSION_AMBIGUOUS_CREDENTIALS */
  #ofRequest (request: RequestLike): Credential | null {
    assertObject(request, 'request')
    const { headers } = request
    assertObject(headers, 'request.headers')
    const [cookie, authorization] = [header(headers, 'cookie'), header(headers, 'authorization')]
    return this.#core.credentials.read({ cookie, authorization })
  }

  async #record (id: string): Promise<SessionRecord | null> {
    const known = this.#core.tokens.idFrom(id)
    return known === null ? null : await this.#core.get(known)
  }

  async #found (
    credential: Credential | null, headers: DeviceHeaders | null, options: FindOptions = {}
  ): Promise<SessionInfo | null> {
    assertMembers(options, 'options', ['touch'])
    const { touch = false } = options
    assertBoolean(touch, 'touch')
    if (credential === null) return null
    const finding = this.#core.find(credential, { uses: touch }).then(async (found) => {
      const record = this.#core.usable(found, headers)
      if (record === null || !touch || !this.#core.isTouchDue(record)) return record
      return await this.#core.touch(record) ? record : null
    })
    const record = await inTime(finding)
    return record === null ? null : toInfo(record)
  }
}

/** Returns the headers of a request that say something of its device. */
function deviceHeaders ({ headers }: RequestLike): DeviceHeaders {
  return {
    cookie: header(headers, 'cookie'),
    'sec-fetch-site': header(headers, 'sec-fetch-site'),
    'secure-session-skipped': header(headers, 'secure-session-skipped')
  }
}

/** Returns a new session and its token, in the forms that its client needs. */
function handedOut ({ record, token }: HeldSession, credentials: Credentials): CreatedSession {
  const session = toInfo(record) as SessionInfo
  const bearer = toBearer(token)
  if (record.kind === 'bearer') return { token: bearer, session, headers: { authorization: `Bearer ${bearer}` } }
  return { token: credentials.sign(token), session, headers: { cookie: credentials.cookieOf(token) } }
}

/** Measures how soon the store answers. */
async function healthOf (ping: Promise<void>): Promise<Health> {
  const startedAt = performance.now()
  const ok = await withDeadline(ping, HEALTH_WAIT_MS).then((answer) => answer !== TIMED_OUT, () => false)
  return { ok, latencyMs: Math.round(performance.now() - startedAt) }
}

/** Most sessions that are listed at once, and the default. */
const MOST_LISTED = 1_000

/**
 * Checks which of a user's sessions to list.
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
