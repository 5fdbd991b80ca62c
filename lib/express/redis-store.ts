import { EventEmitter } from 'node:events'
import { RedisStore as ConnectRedisStore } from 'connect-redis'
import { errors } from '../errors.ts'
import type { NewTimeouts, SessionRecord } from '../session/record.ts'
import type {
  BeginOptions, Change, DeleteByUserOptions, DeleteOptions, EndRecord, ListAllOptions, ListOptions, MoveOptions,
  ReplaceOptions, SessionStore
} from '../session/store.ts'
import { compareAndSet } from '../redis/compare-and-set.ts'
import { isWrongType } from '../redis/driver.ts'
import { DEFAULT_PREFIX, Keys } from '../redis/keys.ts'
import { RedisLink } from '../redis/link.ts'
import { checkedOptions, RedisStore as SessionsInRedis } from '../redis/store.ts'
import type { RedisStoreOptions as SessionsInRedisOptions } from '../redis/store.ts'
import { TaskQueues } from '../util/task-queues.ts'
import { sessionChanges, Versions, withChanges } from './versions.ts'
import type { ExpressSession } from './versions.ts'

export type { ExpressSession } from './versions.ts'

/** Callback of express-session and @fastify/session. */
export type Callback = (error?: unknown, result?: ExpressSession) => void

/** What makes text of sessions and back. */
export interface Serializer {
  /** Returns the session that a text holds. What throws is no session. */
  parse (text: string): ExpressSession
  /** Returns a session as text. */
  stringify (session: ExpressSession): string
}

/** The options of connect-redis' `RedisStore`, and those of this package's. */
export interface RedisStoreOptions extends SessionsInRedisOptions {
  /** How many seconds a session without `cookie.expires` lives, or a function of the session. @default 86400 */
  ttl?: number | ((session: ExpressSession) => number) | undefined
  /** Makes text of sessions and back. @default JSON */
  serializer?: Serializer | undefined
  /** Use does not extend a session. @default false */
  disableTouch?: boolean | undefined
  /** Sessions never expire: your application ends them. @default false */
  disableTTL?: boolean | undefined
  /** `set` overwrites a session that was not read first, as connect-redis does. @default false */
  overwrite?: boolean | undefined
}

const OPTIONS = [
  'client', 'prefix', 'durability', 'events', 'scanCount', 'ttl', 'serializer', 'disableTouch', 'disableTTL',
  'overwrite'
] as const

/** End of a session that never ends: in the last year that every reader of dates takes. */
const NEVER = Date.UTC(9999, 11, 31)

/** connect-redis' class. Its own types would need @types/express-session. */
interface ConnectRedis extends EventEmitter {
  /** What sends connect-redis' commands. */
  readonly client: object
  /** What the keys of sessions begin with. */
  prefix: string
  /** How many seconds a session without `cookie.expires` lives, or a function of the session. */
  ttl: NonNullable<RedisStoreOptions['ttl']>
  /** Makes text of sessions and back. */
  serializer: Serializer
  /** Use does not extend a session. */
  disableTouch: boolean
  /** Sessions never expire. */
  disableTTL: boolean
  /** How many keys Redis looks at in one step of `all`, `ids`, `length` and `clear`. */
  scanCount: number
  /** Reads a session: `null` if there is none, or its value is corrupt. */
  get (sid: string): Promise<ExpressSession>
  /** Writes what the request changed. Writes nothing if the session has ended since it was read. */
  set (sid: string, session: ExpressSession): Promise<ExpressSession>
  /** Extends a session. */
  touch (sid: string, session: ExpressSession): Promise<ExpressSession>
  /** Ends a session. */
  destroy (sid: string): Promise<ExpressSession>
  /** Ends all sessions. */
  clear (): Promise<ExpressSession>
  /** Counts all sessions. */
  length (): Promise<number>
  /** Lists the ids of all sessions. */
  ids (): Promise<string[]>
  /** Reads all sessions, each with its `id`. */
  all (): Promise<ExpressSession[]>
  /** Returns how many seconds a session lives. */
  _getTTL (session: ExpressSession): number
  // Inherited from express-session's Store, whose types are any as well.
  /** Ends the session of a request and begins another. */
  regenerate (request: any, callback: (error?: any) => any): void
  /** Reads a session and makes express-session's object of it. */
  load (sid: string, callback: (error: any, session?: ExpressSession) => any): void
  /** Makes express-session's object of a session that was read. */
  createSession (request: any, session: ExpressSession): ExpressSession
}
// The class that the interface above describes.
const ConnectRedis = ConnectRedisStore as unknown as new (options: object) => ConnectRedis

/**
 * A store for express-session and @fastify/session: connect-redis' `RedisStore`, mended. A save changes only the keys
 * that the request changed, and never brings an ended session back. A corrupt value is no session. A callback is called
 * once. `all`, `ids`, `length` and `clear` see every master of a Cluster.
 *
 * It is a `store` for the plugin and `SessionManager` as well. For them it holds the plugin's own store, over the same
 * connection.
 */
export class RedisStore extends ConnectRedis implements SessionStore {
  readonly events: SessionsInRedis['events']
  readonly bus: SessionsInRedis['bus']
  readonly attempts: SessionsInRedis['attempts']
  readonly #link: RedisLink
  readonly #keys: Keys
  readonly #sessions: SessionsInRedis
  readonly #overwrite: boolean
  readonly #versions = new Versions()
  /** Saves of one session, one after the other: each is told from what the one before it has written. */
  readonly #saves = new TaskQueues()

  /** @throws ERR_SESSION_INVALID_OPTIONS without a client of ioredis, or for options that do not go together */
  constructor (options: RedisStoreOptions) {
    const { client, overwrite = false, durability, events, ...others } = checkedOptions(options, OPTIONS)
    const { prefix = DEFAULT_PREFIX, scanCount, ttl, disableTTL } = others
    if (disableTTL === true && ttl !== undefined) {
      throw new errors.INVALID_OPTIONS('ttl cannot be given together with disableTTL: sessions never expire')
    }
    const link = new RedisLink(client)
    const keys = new Keys(prefix, client.options.keyPrefix)
    super({ ...others, client: connectRedisClient(link, keys) })
    this.#link = link
    this.#keys = keys
    const sessions = { client, prefix, durability, events, scanCount }
    this.#sessions = new SessionsInRedis(sessions, { link, neverExpire: this.disableTTL })
    this.#overwrite = overwrite
    this.events = link.events
    this.bus = this.#sessions.bus
    this.attempts = this.#sessions.attempts
  }

  now (): number {
    return this.#sessions.now()
  }

  async nowForCertain (): Promise<number> {
    return await this.#sessions.nowForCertain()
  }

  find (id: string): Promise<SessionRecord | null> {
    return this.#sessions.find(id)
  }

  async begin (record: SessionRecord, options?: BeginOptions): Promise<SessionRecord | null> {
    return await this.#sessions.begin(this.#lasting(record), options)
  }

  async replace (record: SessionRecord, old: SessionRecord, options?: ReplaceOptions): Promise<SessionRecord | null> {
    return await this.#sessions.replace(this.#lasting(record), old, options)
  }

  async move (record: SessionRecord, old: SessionRecord, options?: MoveOptions): Promise<SessionRecord | null> {
    return await this.#sessions.move(this.#lasting(record), old, options)
  }

  async update (record: SessionRecord, change: Change): Promise<SessionRecord | null> {
    return await this.#sessions.update(record, change)
  }

  /** @throws ERR_SESSION_UNSUPPORTED with `disableTTL` */
  async setTimeouts (record: SessionRecord, timeouts: NewTimeouts): Promise<SessionRecord | null> {
    if (this.disableTTL) throw new errors.UNSUPPORTED('timeouts of sessions that never expire: disableTTL is set')
    return await this.#sessions.setTimeouts(record, timeouts)
  }

  async bind (record: SessionRecord, boundKey: string): Promise<SessionRecord | null> {
    return await this.#sessions.bind(record, boundKey)
  }

  async advance (record: SessionRecord, twin: string): Promise<boolean> {
    return await this.#sessions.advance(record, twin)
  }

  async delete (id: string, options?: DeleteOptions): Promise<SessionRecord | null> {
    return await this.#sessions.delete(id, options)
  }

  async successor (id: string): Promise<string | null> {
    return await this.#sessions.successor(id)
  }

  async ended (id: string): Promise<EndRecord | null> {
    return await this.#sessions.ended(id)
  }

  async listByUser (userId: string, options?: ListOptions): Promise<SessionRecord[]> {
    return await this.#sessions.listByUser(userId, options)
  }

  async deleteByUser (userId: string, options?: DeleteByUserOptions): Promise<string[]> {
    return await this.#sessions.deleteByUser(userId, options)
  }

  listAll (options?: ListAllOptions): AsyncIterable<SessionRecord> {
    return this.#sessions.listAll(options)
  }

  /** Hears what changes, for a near-cache. */
  changes (silenceMs: number): ReturnType<SessionsInRedis['changes']> {
    return this.#sessions.changes(silenceMs)
  }

  async ping (): Promise<void> {
    await this.#sessions.ping()
  }

  /** Waits for Redis up to `ms` milliseconds. Resolves with what keeps it from answering by then, or `null`. */
  async ready (ms: number): Promise<Error | null> {
    return await this.#sessions.ready(ms)
  }

  /** Resolves with what is not good for sessions in this Redis. */
  async warnings (): Promise<string[]> {
    return await this.#sessions.warnings()
  }

  /** Closes what this store opened. Twice is safe. */
  async close (): Promise<void> {
    await this.#sessions.close()
  }

  override get (sid: string, callback?: Callback): Promise<ExpressSession> {
    return tellOutcome(this.#read(sid), callback)
  }

  override set (sid: string, session: ExpressSession, callback?: Callback): Promise<ExpressSession> {
    return tellOutcome(this.#save(sid, session), callback)
  }

  /** This package's: a record. */
  override touch (record: SessionRecord): Promise<boolean>
  /** express-session's: an id and a session. */
  override touch (sid: string, session: ExpressSession, callback?: Callback): Promise<ExpressSession>
  override touch (subject: SessionRecord | string, session?: ExpressSession, callback?: Callback): Promise<unknown> {
    return typeof subject === 'string' ? tellOutcome(super.touch(subject, session), callback) : this.#touch(subject)
  }

  override destroy (sid: string, callback?: Callback): Promise<ExpressSession> {
    return tellOutcome(super.destroy(sid), callback)
  }

  override clear (callback?: Callback): Promise<ExpressSession> {
    return tellOutcome(super.clear(), callback)
  }

  override length (callback?: Callback): Promise<number> {
    return tellOutcome(super.length(), callback)
  }

  override ids (callback?: Callback): Promise<string[]> {
    return tellOutcome(super.ids(), callback)
  }

  override all (callback?: Callback): Promise<ExpressSession[]> {
    return tellOutcome(this.#readAll(), callback)
  }

  /** Makes express-session's object of a session that was read. It is of the same version. */
  override createSession (request: unknown, session: ExpressSession): ExpressSession {
    const version = this.#versions.of(session)
    const created = super.createSession(request, session)
    if (version !== undefined) this.#versions.add(created, version)
    return created
  }

  async #read (sid: string): Promise<ExpressSession> {
    const key = this.#keys.session(sid)
    const text = await this.#link.run(key, (client) => client.get(key)).catch((error: unknown) => {
      if (isWrongType(error)) return ''
      throw error
    })
    if (text === null) return null
    const session = await this.#parse(text)
    if (session === null) this.events.emit('unreadable', sid)
    else this.#versions.addRead(session, { sid, own: text, held: text })
    return session
  }

  async #readAll (): Promise<ExpressSession[]> {
    const sessions = await Promise.all((await super.ids()).map(async (sid) => {
      const session = await this.#read(sid)
      return session === null ? null : Object.assign(session, { id: sid })
    }))
    return sessions.filter((session) => session !== null)
  }

  async #save (sid: string, session: ExpressSession): Promise<void> {
    // As it is now: the application may go on with it.
    const text = this.serializer.stringify(session)
    const ttlSeconds = this.disableTTL ? Infinity : this._getTTL(session)
    await this.#saves.run(sid, async () => await this.#write(sid, session, text, ttlSeconds))
  }

  async #write (sid: string, session: ExpressSession, text: string, ttlSeconds: number): Promise<void> {
    const version = this.#versions.of(session)
    const known = version?.sid === sid ? version : undefined
    const texts = known === undefined ? [] : [known.own, text]
    const [before, after] = await Promise.all(texts.map(async (each) => await this.serializer.parse(each)))
    // Use moves the end of the key, and not the date in the session: one that nobody has set anew says nothing.
    const keeps = !this.disableTTL && before !== undefined && endOf(before) !== null && endOf(before) === endOf(after)
    if (!keeps && !(ttlSeconds > 0)) return await super.destroy(sid)
    const ttl = this.disableTTL ? 'persist' : Math.ceil(ttlSeconds * 1000)
    const key = this.#keys.session(sid)
    let written: string | null = text
    if (known !== undefined) {
      const { serializer } = this
      const changes = sessionChanges(before, after)
      written = await compareAndSet(this.#link, key, {
        seen: known.held,
        change: async (present) => serializer.stringify(withChanges(await serializer.parse(present), changes)),
        mode: keeps ? 'all' : ttl,
        textOf: async (present) => await this.#parse(present) === null ? null : present
      })
      if (written === null) return
    } else if (this.#overwrite) {
      await super.set(sid, session)
    } else {
      const reply = await this.#link.run(key, async (client) => {
        return await (ttl === 'persist' ? client.set(key, text, 'NX') : client.set(key, text, 'PX', ttl, 'NX'))
      })
      if (reply === null) throw new errors.UNSUPPORTED(UNREAD)
    }
    this.#versions.add(session, { sid, own: text, held: written })
  }

  async #touch (record: SessionRecord): Promise<boolean> {
    return this.disableTouch ? await this.find(record.id) !== null : await this.#sessions.touch(record)
  }

  /** Puts off the deadlines, by which cookie and `expiresAt` go, for good where sessions never expire. */
  #lasting (record: SessionRecord): SessionRecord {
    return this.disableTTL ? { ...record, endsAt: NEVER, idleTimeoutMs: NEVER } : record
  }

  async #parse (text: string): Promise<ExpressSession | null> {
    try {
      const session = await this.serializer.parse(text)
      return isObject(session) && !Array.isArray(session) && isObject(session.cookie) ? session : null
    } catch {
      return null
    }
  }
}

const UNREAD = 'set() onto a session that exists and was not read through this store (@fastify/session says so from ' +
  '11.1.2 on); pass overwrite: true to allow it'

/** Returns when the cookie of a session ends, in milliseconds since 1970; `null` where it has no date. */
function endOf ({ cookie }: ExpressSession): number | null {
  const end = new Date(cookie?.expires ?? NaN).getTime()
  return Number.isNaN(end) ? null : end
}

function isObject (value: any): boolean {
  return typeof value === 'object' && value !== null
}

/** The client that connect-redis gets: one of node-redis in shape, as only that can answer for every master. */
function connectRedisClient (link: RedisLink, keys: Keys) {
  const each = async <T>(many: string[], one: (key: string) => Promise<T>): Promise<T[]> => {
    return await Promise.all(many.map(one))
  }
  return {
    get: (key: string) => link.run(key, (client) => client.get(key)),
    set: (key: string, value: string, options?: { EX: number }) => link.run(key, async (client) => {
      return await (options === undefined ? client.set(key, value) : client.set(key, value, 'EX', options.EX))
    }),
    expire: (key: string, seconds: number) => link.run(key, (client) => client.expire(key, seconds)),
    del: async (many: string[]) => {
      const counts = await each(many, (key) => link.run(key, (client) => client.del(key)))
      return counts.reduce((sum, count) => sum + count, 0)
    },
    mGet: (many: string[]) => each(many, (key) => link.run(key, (client) => client.get(key))),
    async * scanIterator ({ COUNT }: { COUNT: number }): AsyncGenerator<string> {
      // SCAN may name a key twice while Redis rearranges its keys.
      const seen = new Set<string>()
      for await (const found of link.scan(keys.pattern, COUNT)) {
        for (const key of found) {
          if (!seen.has(key)) yield keys.fromScan(key)
          seen.add(key)
        }
      }
    }
  }
}

/**
 * Tells a callback the outcome of a promise, once, and outside of the promise. Nobody could catch what the callback
 * throws: @fastify/session's throws where an async route did not return `reply.send()`. That becomes a warning of the
 * process.
 */
function tellOutcome<T> (promise: Promise<T>, callback: Callback | undefined): Promise<T> {
  if (callback === undefined) return promise
  const call = (...args: Parameters<Callback>): void => {
    try {
      callback(...args)
    } catch (error) {
      const thrown = error instanceof Error ? error.stack : String(error)
      process.emitWarning(`a callback given to RedisStore threw: ${thrown}`)
    }
  }
  promise.then((result) => process.nextTick(call, null, result), (error: unknown) => process.nextTick(call, error))
  // A caller with a callback ignores the promise, which must not reject as well, nor be awaited for its value.
  return promise.catch(() => undefined as T)
}
