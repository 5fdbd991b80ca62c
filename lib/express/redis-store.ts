import { EventEmitter } from 'node:events'
import { RedisStore as ConnectRedisStore } from 'connect-redis'
import { errors } from '../errors.ts'
import type { StoreEvents } from '../session/store.ts'
import { isClient } from '../redis/client.ts'
import type { Client, ClientLike } from '../redis/client.ts'
import { compareAndSet } from '../redis/compare-and-set.ts'
import { connectRedisClient } from './connect-redis-client.ts'
import { sessionChanges, Versions, withChanges } from './versions.ts'
import type { ExpressSession } from './versions.ts'
import { Keys } from '../redis/keys.ts'
import type { Names } from '../redis/keys.ts'
import { isWrongType } from '../redis/driver-errors.ts'
import { RedisLink } from '../redis/link.ts'

export type Callback = (error?: unknown, result?: ExpressSession) => void

export interface RedisStoreOptions {
  /** An ioredis `Redis` or `Cluster`. Used as it is, and left open by `close`. */
  client: ClientLike
  /** What session keys begin with. Default `sess:`. */
  prefix?: string | undefined
  /** Plain express-session: seconds a session without `cookie.expires` lives, or a function of it. Default 86400. */
  ttl?: number | ((session: ExpressSession) => number) | undefined
  /** Plain express-session: how sessions become text. Default `JSON`. */
  serializer?: { parse (text: string): ExpressSession, stringify (session: ExpressSession): string } | undefined
  /** Sessions are not extended by use. Default `false`. */
  disableTouch?: boolean | undefined
  /** Sessions never expire; ending them is then the application's work. Default `false`. */
  disableTTL?: boolean | undefined
  /** The COUNT of SCAN. Default 100. */
  scanCount?: number | undefined
  /** Plain express-session: lets `set` overwrite a session that it did not read first, as connect-redis does. Default `false`. */
  overwrite?: boolean | undefined
  /**
   * `'replicated'`: what begins or ends a session resolves when all replicas that follow have it, else rejects with
   * ERR_SESSION_STORE_UNAVAILABLE; on a second connection, which `close` closes. Not for what express-session
   * itself sets and destroys. Default `'default'`: when the master has it.
   */
  durability?: 'default' | 'replicated' | undefined
}

/** connect-redis' class, in types of our own: its own need @types/express-session. */
interface ConnectRedis extends EventEmitter {
  readonly client: object
  prefix: string
  ttl: NonNullable<RedisStoreOptions['ttl']>
  serializer: NonNullable<RedisStoreOptions['serializer']>
  disableTouch: boolean
  disableTTL: boolean
  scanCount: number
  get (sid: string): Promise<ExpressSession>
  set (sid: string, session: ExpressSession): Promise<ExpressSession>
  touch (sid: string, session: ExpressSession): Promise<ExpressSession>
  destroy (sid: string): Promise<ExpressSession>
  clear (): Promise<ExpressSession>
  length (): Promise<number>
  ids (): Promise<string[]>
  all (): Promise<ExpressSession[]>
  _getTTL (session: ExpressSession): number
  // Of express-session, whose class connect-redis' extends.
  regenerate (request: any, callback: (error?: any) => any): void
  load (sid: string, callback: (error: any, session?: ExpressSession) => any): void
  createSession (request: any, session: ExpressSession): ExpressSession
}
const ConnectRedis = ConnectRedisStore as unknown as new (options: object) => ConnectRedis

/**
 * connect-redis as express-session and @fastify/session use it, mended: a save changes only what the
 * request changed and never brings an ended session back, corrupt values are no session, a callback is
 * called once, and `all`, `ids`, `length` and `clear` see every master of a Cluster.
 */
export class ExpressSide extends ConnectRedis {
  readonly events: EventEmitter<StoreEvents>
  protected readonly link: RedisLink
  protected readonly keys: Keys
  readonly #overwrite: boolean
  readonly #versions = new Versions()

  /** @throws ERR_SESSION_INVALID_OPTIONS without a client of ioredis */
  constructor (options: RedisStoreOptions, names?: Names, { client, overwrite = false, durability: _durability, ...others } = checked(options), link = new RedisLink(client)) {
    const keys = new Keys(others.prefix ?? 'sess:', client.options.keyPrefix, names)
    super({ ...others, client: connectRedisClient(link, keys) })
    this.link = link
    this.keys = keys
    this.events = link.events
    this.#overwrite = overwrite
  }

  override get (sid: string, callback?: Callback): Promise<ExpressSession> {
    return settle(this.#read(sid), callback)
  }

  override set (sid: string, session: ExpressSession, callback?: Callback): Promise<ExpressSession> {
    return settle(this.#write(sid, session), callback)
  }

  override touch (sid: string, session: ExpressSession, callback?: Callback): Promise<ExpressSession> {
    return settle(super.touch(sid, session), callback)
  }

  override destroy (sid: string, callback?: Callback): Promise<ExpressSession> {
    return settle(super.destroy(sid), callback)
  }

  override clear (callback?: Callback): Promise<ExpressSession> {
    return settle(super.clear(), callback)
  }

  override length (callback?: Callback): Promise<number> {
    return settle(super.length(), callback)
  }

  override ids (callback?: Callback): Promise<string[]> {
    return settle(super.ids(), callback)
  }

  override all (callback?: Callback): Promise<ExpressSession[]> {
    return settle(this.#readAll(), callback)
  }

  /** What express-session makes of a session that was read is of the same version. */
  override createSession (request: unknown, session: ExpressSession): ExpressSession {
    const version = this.#versions.of(session)
    const created = super.createSession(request, session)
    if (version !== undefined) this.#versions.add(created, version)
    return created
  }

  async #read (sid: string): Promise<ExpressSession> {
    const text = await this.link.run(this.keys.session(sid), (client) => client.get(this.keys.session(sid))).catch((error: unknown) => {
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

  async #write (sid: string, session: ExpressSession): Promise<void> {
    const ttlSeconds = this.disableTTL ? Infinity : this._getTTL(session)
    if (!(ttlSeconds > 0)) return await super.destroy(sid)
    const ttl = this.disableTTL ? 'persist' : Math.ceil(ttlSeconds * 1000)
    const text = this.serializer.stringify(session)
    const key = this.keys.session(sid)
    const version = this.#versions.of(session)
    let written: string | null = text
    if (version?.sid === sid) {
      const changes = sessionChanges(await this.serializer.parse(version.own), await this.serializer.parse(text))
      written = await compareAndSet(this.link, key, {
        seen: version.held,
        change: async (present) => this.serializer.stringify(withChanges(await this.serializer.parse(present), changes)),
        mode: ttl,
        textOf: async (present) => await this.#parse(present) === null ? null : present
      })
      if (written === null) return
    } else if (this.#overwrite) {
      await super.set(sid, session)
    } else {
      const reply = await this.link.run(key, (client) => ttl === 'persist' ? client.set(key, text, 'NX') : client.set(key, text, 'PX', ttl, 'NX'))
      if (reply === null) throw new errors.UNSUPPORTED('set() onto a session that exists and was not read through this store (@fastify/session says so from 11.1.2 on); pass overwrite: true to allow it')
    }
    this.#versions.add(session, { sid, own: text, held: written })
  }

  async #parse (text: string): Promise<ExpressSession | null> {
    try {
      const session = await this.serializer.parse(text)
      return typeof session === 'object' && session !== null && !Array.isArray(session) && typeof session.cookie === 'object' && session.cookie !== null ? session : null
    } catch {
      return null
    }
  }
}

/** Each option as it is now: what is checked is what is used, whatever getter gave it. */
function checked (options: RedisStoreOptions): Omit<RedisStoreOptions, 'client'> & { client: Client } {
  try {
    const { client, ...others } = options
    if (isClient(client)) return { client, ...others }
  } catch {}
  throw new errors.INVALID_OPTIONS('client must be a Redis or Cluster of ioredis')
}

/**
 * Gives a promise's outcome to a callback, once, and outside of the promise. What the callback throws is nobody's to
 * catch: @fastify/session's throws where an async route did not return `reply.send()`. It is told, and ends nothing.
 */
function settle<T> (promise: Promise<T>, callback: Callback | undefined): Promise<T> {
  if (callback === undefined) return promise
  const call = (...args: Parameters<Callback>): void => {
    try {
      callback(...args)
    } catch (error) {
      process.emitWarning(`a callback given to RedisStore threw: ${error instanceof Error ? error.stack : String(error)}`)
    }
  }
  promise.then((result) => process.nextTick(call, null, result), (error: unknown) => process.nextTick(call, error))
  // Whoever passes a callback is told there; the promise it ignores must not reject as well.
  return promise.catch(() => undefined as T)
}
