import { TaskQueues } from '../util/task-queues.ts'
import { withTimeouts } from '../session/record.ts'
import type { NewTimeouts, SessionRecord } from '../session/record.ts'
import { LIST_LIMIT } from '../session/store.ts'
import type {
  Adoption, Began, BeginOptions, Bus, Change, DeleteByIdpOptions, DeleteByUserOptions, DeleteOptions, Ended, EndRecord,
  ListAllOptions, ListOptions, MoveOptions, ReplaceOptions, SessionStore
} from '../session/store.ts'
import { errors } from '../errors.ts'
import { LIST_SLACK_MS } from '../util/timings.ts'
import { RedisAttempts } from './attempts.ts'
import { BothBuses } from './both-buses.ts'
import { RedisBus } from './bus.ts'
import { disconnect, isCluster } from './connection.ts'
import type { Client } from './connection.ts'
import { Ends } from './ends.ts'
import { DEFAULT_PREFIX, Keys } from './keys.ts'
import type { Names } from './keys.ts'
import { Lifecycle } from './lifecycle.ts'
import { LineBus } from './line-bus.ts'
import { RedisLink } from './link.ts'
import { OneServer } from './one-server.ts'
import { Records } from './records.ts'
import { Replication } from './replication.ts'
import { isClient, isNodeRedis } from './target.ts'
import type { ClientLike } from './target.ts'
import { Tracking } from './tracking.ts'
import { UserLists } from './user-lists.ts'

/** The options of `RedisStore`. */
export interface RedisStoreOptions {
  /** An ioredis `Redis` or `Cluster`. Used as it is. `close` leaves it open. */
  client: ClientLike
  /** What the keys of sessions begin with. @default 'sess:' */
  prefix?: string | undefined
  /**
   * `'replicated'`: what begins or ends a session resolves when all replicas that follow the master have it. Otherwise
   * it rejects with ERR_SESSION_STORE_UNAVAILABLE. Needs a second connection, which `close` closes. `'default'`: it
   * resolves when the master has it. @default 'default'
   */
  durability?: 'default' | 'replicated' | undefined
  /**
   * How processes tell each other of events, as the plugin's option `events`. All processes need the same.
   * @default 'broadcast'
   */
  events?: 'broadcast' | 'sharded' | 'both' | undefined
  /** How many keys Redis looks at in one step of `listAll`: the COUNT of SCAN. @default 100 */
  scanCount?: number | undefined
}

/** Parts of a store that the others need. */
export interface RedisStoreBase {
  readonly link: RedisLink
  readonly keys: Keys
  readonly lists: UserLists
  /** The lists of sessions by their session at an identity provider. */
  readonly idpLists: UserLists
}

/**
 * The parts of a store that are different where another session library reads or writes the same sessions. Absent: as
 * in a Redis that is this package's alone.
 */
export interface RedisStoreParts {
  /** The connection to Redis, where the other library's store has one already. */
  readonly link?: RedisLink | undefined
  /** How the id of a session and its name in Redis are made of each other. Default: they are the same. */
  readonly names?: Names | undefined
  /** Makes what reads and writes single sessions, in their stored form. */
  readonly records?: ((base: RedisStoreBase) => Records) | undefined
  /** Others extend sessions, too: they stay listed until their absolute deadline. */
  readonly extendedByOthers?: boolean | undefined
  /** It does not matter to the operator that Redis refuses sharded messages. */
  readonly isShardedOptional?: boolean | undefined
  /** Sessions never expire. */
  readonly neverExpire?: boolean | undefined
  /** Makes the part that takes over sessions of the other library. */
  readonly adoption?: ((base: AdoptionBase) => Adoption) | undefined
}

/** Parts of a store that an `adoption` needs. */
export interface AdoptionBase extends RedisStoreBase {
  readonly records: Records
  /** Deletes a session of the other library. */
  discard (sid: string): Promise<void>
}

/**
 * Sessions in Redis 7 or newer, one server, Sentinel or Cluster. The commands, with the default prefix:
 *
 *     find           MGET sess:<id> …, of all that are asked for in one turn; TYPE of an absent one; GET of each in a
 *                    Cluster, and of a large one, on a connection of its own
 *     begin          anonymous: SET sess:<id> … PX <idle> NX
 *                    signed in: EVALSHA signIn @sess:user:<userId> @{sess:<id>} sess:<id>
 *                               in steps: in a Cluster, behind a proxy of one, with durability 'replicated', and for
 *                               users with more than a hundred sessions:
 *                               EVALSHA list @sess:user:<userId>      "+<id>": a login is under way
 *                               SET @{sess:<id>} … PX 10000 NX        at the same time
 *                               EVALSHA confirm @sess:user:<userId>   0 if the user was signed out everywhere meanwhile
 *                               EVALSHA end @{sess:<other id>} sess:<other id>, ZREM …   for each that it evicts
 *                               EVALSHA activate @{sess:<id>} sess:<id>
 *                               at the limit, before confirm: EVALSHA page, EXISTS of each
 *                    with idp           signIn names @sess:idp:<hash> too; in steps EVALSHA list and confirm of it,
 *                               the first at the same time
 *     replace        as begin, signed in; signIn names the keys of the old session; where it has changed, SET
 *                               @{sess:<id>} … XX, EVALSHA activate
 *                               in steps EVALSHA end of the old one, ZREM … before activate
 *     move           as replace, but in steps EVALSHA leave in place of end: either remembers the new id beside the old
 *                               for 10 s, and the hash of its old secret; in steps under way by
 *                               "+<member>\n<old member>", ZREM of it
 *     update         EVALSHA update sess:<id>                         compare the data, set it; again if it had changed
 *     touch          EVALSHA list @sess:user:<userId>, EVALSHA touch sess:<id>
 *     advance        as touch, with EVALSHA advance                  compare the twin, set it too
 *     setTimeouts    EVALSHA list @sess:user:<userId>, EVALSHA timeouts sess:<id>; again if it was used meanwhile; ZREM
 *                               where they have run out
 *     bind           EVALSHA bind sess:<id>                           compare the key, set it
 *     delete         EVALSHA end @{sess:<id>} sess:<id>, by a credential with its secret's hash; ZREM
 *                               @sess:user:<userId> <id>, with idp of @sess:idp:<hash> too
 *     listByUser     EVALSHA page @sess:user:<userId>, find of each; of absent ones EXISTS, EVALSHA forget
 *     deleteByUser   EVALSHA callOff @sess:user:<userId>, then in portions EVALSHA page, EVALSHA end of each, EVALSHA
 *                               forget; with an exception GET @{sess:<its id>}
 *     deleteByIdp    the same with @sess:idp:<hash>
 *     listAll        SCAN for sess:*, find of each
 *     attempts       count, clear and remember: EVALSHA @sess:tries:<what>:<hash>, of several in one where that is
 *                               possible; giveBack: ZREM of it
 *     with endedFor  each end also SETs @{sess:<id>}:ended, in the same script; ended: GET of it
 *     with durability 'replicated' ROLE and WAIT before a login ends anything, when it is live, after a deletion, and
 *                    after setTimeouts and bind; where a session had ended before, EVALSHA trace @{sess:<id>}:trace
 *                    before that
 *     bus            PUBLISH, SUBSCRIBE @sess:events; with events 'sharded' SPUBLISH @sess:events:{<tag>}:<subject>,
 *                    and on a connection to each master SSUBSCRIBE of those that are listened to, PING every 2 s
 *     changes        on a connection to each master CLIENT ID, INFO, CLIENT TRACKING ON REDIRECT <id> BCAST PREFIX
 *                    sess:, SUBSCRIBE __redis__:invalidate, PING three times within the silence allowed; INFO beside it
 *     ends           as bus; for PING, to hear itself, PUBLISH or SPUBLISH <channel>:<uuid> twice within the silence
 *     adopt          GET sess:<the other library's id>, the steps of a login (by one process), GETDEL it before the
 *                    last; at a logout EVALSHA discard of it
 *
 * The session's key is the authority, the user's list a broom: for a moment it may hold sessions that are gone. It
 * never misses one that lives. No script touches two Cluster slots but signIn and those of attempts, for where one
 * server has all keys. None that ends a session needs memory, but signIn, which then ends none.
 *
 * It is no store for express-session and @fastify/session: `RedisStore` of `fastify-user-sessions/express` is.
 */
export class RedisStore implements SessionStore {
  static {
    // Not among its types, so that it is refused by type as well. express-session calls `on` at boot.
    for (const name of ['on', 'get', 'set', 'destroy']) Object.defineProperty(this.prototype, name, { value: refuse })
  }

  readonly events: RedisLink['events']
  readonly bus: Bus
  readonly adoption: Adoption | undefined
  readonly attempts: RedisAttempts
  private readonly link: RedisLink
  private readonly keys: Keys
  readonly #parts: RedisStoreParts
  readonly #scanCount: number
  readonly #records: Records
  readonly #lists: UserLists
  readonly #lifecycle: Lifecycle
  /** The connection on which sessions begin and end, where replicas are to confirm that. */
  readonly #confirmed: RedisLink | null = null
  readonly #replication: Replication | null
  readonly #buses: { plain: RedisBus, sharded: LineBus | null, isBoth: boolean }
  /** Has the near-caches of other processes hear of ends of which no event tells. `null`: there is none here. */
  #ends: Ends | null = null
  readonly #queues = new TaskQueues()
  readonly #opened: Records[] = []

  /** @throws ERR_SESSION_INVALID_OPTIONS without a client of ioredis, or for an option that it does not have */
  constructor (options: RedisStoreOptions)
  /** @internal For sessions that another session library uses as well. */
  constructor (options: RedisStoreOptions, parts: RedisStoreParts)
  constructor (options: RedisStoreOptions, parts: RedisStoreParts = {}) {
    const checked = checkedOptions(options, OPTIONS)
    if (!EVENTS.includes(checked.events)) throw new errors.INVALID_OPTIONS(EVENTS_FAULT)
    const { client, prefix = DEFAULT_PREFIX, durability = 'default', events = 'broadcast', scanCount = 100 } = checked
    this.link = parts.link ?? new RedisLink(client)
    this.keys = new Keys(prefix, client.options.keyPrefix, parts.names)
    this.#parts = parts
    this.#scanCount = scanCount
    this.events = this.link.events
    this.#buses = {
      plain: new RedisBus(this.link, this.keys.eventsOf(this.link.database)),
      sharded: events === 'broadcast'
        ? null
        : new LineBus(this.link, this.keys, { isSharded: true, isOptional: parts.isShardedOptional }),
      isBoth: events === 'both'
    }
    this.bus = this.#bus()
    const oneServer = new OneServer(this.link)
    this.attempts = new RedisAttempts(this.link, this.keys, oneServer)
    const base = this.#baseOn(this.link)
    this.#records = base.records
    this.#lists = base.lists
    if (durability === 'replicated') this.#confirmed = this.link.duplicate()
    this.#replication = this.#confirmed === null ? null : new Replication(this.#confirmed)
    this.#lifecycle = new Lifecycle({
      ...this.#confirmed === null ? base : this.#baseOn(this.#confirmed),
      replication: this.#replication,
      oneServer: durability === 'replicated' || !areOurs(parts) ? null : oneServer,
      onEnded: (...ended) => this.events.emit('ended', ...ended),
      onDropped: (id) => this.#ends?.tell(id)
    })
    this.adoption = parts.adoption?.({ ...base, discard: async (sid) => { await this.#lifecycle.discard(sid) } })
  }

  now (): number {
    return this.link.now()
  }

  async nowForCertain (): Promise<number> {
    return await this.link.nowForCertain()
  }

  find (id: string): Promise<SessionRecord | null> {
    return this.#records.find(id)
  }

  async begin (record: SessionRecord, options: BeginOptions = {}): Promise<SessionRecord | null> {
    if (record.userId !== null) return await this.#lifecycle.begin(record, options)
    await this.#records.add(record)
    return record
  }

  async replace (
    record: SessionRecord, old: SessionRecord, options: ReplaceOptions = {}
  ): Promise<SessionRecord | null> {
    return await this.#lifecycle.replace(record, old, options)
  }

  async move (record: SessionRecord, old: SessionRecord, options: MoveOptions = {}): Promise<SessionRecord | null> {
    return await this.#lifecycle.move(record, old, options)
  }

  async update (record: SessionRecord, change: Change): Promise<SessionRecord | null> {
    // Writers of one session in this process follow each other: they would only make each other try again.
    return await this.#queues.run(record.id, () => this.#records.update(record, change))
  }

  async touch (record: SessionRecord): Promise<boolean> {
    return await this.#use(record)
  }

  async advance (record: SessionRecord, twin: string): Promise<boolean> {
    return await this.#use(record, twin)
  }

  async #use (record: SessionRecord, twin?: string): Promise<boolean> {
    // The list first: it may know an id for longer than its session lives, never shorter.
    const lastSeenAt = this.now()
    await this.#lists.extend({ ...record, lastSeenAt })
    const touched = await this.#records.touch(record, lastSeenAt + LIST_SLACK_MS, twin)
    // It was given other timeouts since it was read: its list is told of these.
    if (typeof touched === 'object') return await this.#use(withTimeouts(record, touched), twin)
    if (!touched) await this.#lists.remove(record)
    return touched
  }

  async setTimeouts (record: SessionRecord, timeouts: NewTimeouts): Promise<SessionRecord | null> {
    const stored = await this.#lifecycle.setTimeouts(record, timeouts)
    // It may end earlier now than others think.
    if (stored !== null) this.#ends?.tell(stored.id)
    return stored
  }

  async bind (record: SessionRecord, boundKey: string): Promise<SessionRecord | null> {
    const stored = await this.#lifecycle.bind(record, boundKey)
    // Others would take it for one that is not bound.
    if (stored !== null) this.#ends?.tell(stored.id)
    return stored
  }

  async delete (id: string, options?: DeleteOptions): Promise<SessionRecord | null> {
    const ended = await this.#lifecycle.delete(id, options)
    if (ended?.userId === null) this.#ends?.tell(ended.id)
    return ended
  }

  async successor (id: string): Promise<string | null> {
    return await this.#records.successor(id)
  }

  async ended (id: string): Promise<EndRecord | null> {
    return await this.#records.ended(id)
  }

  async listByUser (userId: string, { limit = LIST_LIMIT, before }: ListOptions = {}): Promise<SessionRecord[]> {
    const listed = new Map<string, SessionRecord>()
    for (let last: Began | undefined = before; ;) {
      const size = limit - listed.size
      const members = await this.#lists.page(userId, { limit: size, before: last })
      if (members === null) continue
      const found = await this.#foundOf(userId, members)
      // Express may write a session anew: it is then listed twice, as begun at two times.
      for (const record of found) if (!listed.has(record.id)) listed.set(record.id, record)
      if (members.length < size || listed.size === limit) return [...listed.values()]
      last = this.keys.beganOf(members.at(-1) as string)
    }
  }

  async deleteByUser (userId: string, options: DeleteByUserOptions = {}): Promise<string[]> {
    return await this.#lifecycle.deleteByUser(userId, options)
  }

  async deleteByIdp (idp: string, options: DeleteByIdpOptions = {}): Promise<Ended[]> {
    return await this.#lifecycle.deleteByIdp(idp, options)
  }

  async * listAll ({ signal }: ListAllOptions = {}): AsyncGenerator<SessionRecord> {
    for await (const page of this.link.scan(this.keys.pattern, this.#scanCount, signal)) {
      const finds = page.map(async (key) => await this.#records.find(this.keys.idOf(key), { any: true }))
      const records = await Promise.all(finds)
      yield * records.filter((record) => record !== null)
    }
  }

  /** Makes what tells this process of every change. `silenceMs`: how long a server may be silent and is trusted. */
  changes (silenceMs: number): Tracking {
    return new Tracking(this.link, this.keys, silenceMs)
  }

  /** Whether this store can tell of ends alone: in a Cluster only by sharded events. */
  get canTellEnds (): boolean {
    return this.#buses.sharded !== null || !isCluster(this.link.client)
  }

  /** Makes what tells this process which sessions have ended. `silenceMs`: as with `changes`. */
  ends (silenceMs: number): Ends {
    const { plain, sharded, isBoth } = this.#buses
    const lines = sharded ?? new LineBus(this.link, this.keys, { isSharded: false })
    this.#ends = new Ends(this.link, lines, { silenceMs, sending: this.bus, besides: isBoth ? plain : undefined })
    return this.#ends
  }

  async ping (): Promise<void> {
    await this.link.ping()
  }

  /** Waits for Redis, `ms` milliseconds at the most. Resolves with what keeps it from answering, or `null`. */
  async ready (ms: number): Promise<Error | null> {
    const failures = await Promise.all([this.link, this.#confirmed].map(async (link) => await link?.ready(ms)))
    return failures.find((failure) => failure != null) ?? null
  }

  /** Resolves with what is not good for sessions in this Redis. */
  async warnings (): Promise<string[]> {
    const warnings = await Promise.all([this.link, this.#replication].map(async (each) => await each?.warnings()))
    return warnings.flatMap((each) => each ?? [])
  }

  async close (): Promise<void> {
    await Promise.all([this.#buses.plain.close(), this.#buses.sharded?.close()])
    await Promise.all(this.#opened.map((records) => records.close()))
    this.link.close()
    this.#confirmed?.close()
    if (this.#confirmed !== null) await disconnect(this.#confirmed.client)
  }

  #bus (): Bus {
    const { plain, sharded, isBoth } = this.#buses
    if (sharded === null || !isBoth) return sharded ?? plain
    const { isShardedOptional = false } = this.#parts
    return new BothBuses(plain, sharded, (error) => { if (!isShardedOptional) this.link.reportRefusal(error) })
  }

  /** Finds the sessions of members of a user's list. Those that are gone come off, unless they are about to begin. */
  async #foundOf (userId: string, members: string[]): Promise<SessionRecord[]> {
    const ids = members.map((member) => this.keys.idOfMember(member))
    const records = await Promise.all(ids.map(async (id) => {
      const record = await this.find(id)
      return record === null ? null : await this.#records.ensureListed(record)
    }))
    const unseen = ids.filter((_id, index) => records[index]?.userId !== userId)
    const missing = new Set(unseen.length === 0 ? [] : await this.#records.missing(userId, unseen))
    await this.#lists.forget(userId, members.filter((_member, index) => missing.has(ids[index] as string)))
    return records.filter((record) => record?.userId === userId) as SessionRecord[]
  }

  /** The parts that send commands, over one connection. */
  #baseOn (link: RedisLink): RedisStoreBase & { records: Records } {
    const { extendedByOthers = false, neverExpire = false, records } = this.#parts
    const lists = new UserLists(link, this.keys, {
      persist: neverExpire,
      untilEnd: extendedByOthers,
      onExpired: (id, userId, kind) => this.events.emit('ended', id, userId, 'expired', kind)
    })
    const idpLists = new UserLists(link, this.keys, {
      nameOf: ({ idp }) => idp,
      keyOf: (idp) => this.keys.idp(idp),
      persist: neverExpire,
      // No use of a session changes its place. If its absolute deadline becomes later, extend it here too.
      untilEnd: true,
      // The user's list tells.
      onExpired: () => {}
    })
    const base = { link, keys: this.keys, lists, idpLists }
    const made = records?.(base) ?? new Records(link, this.keys, { persist: neverExpire })
    this.#opened.push(made)
    return { ...base, records: made }
  }
}

/** Whether sessions have this package's form, and expire as it says. */
function areOurs ({ records, extendedByOthers = false, neverExpire = false }: RedisStoreParts): boolean {
  return records === undefined && !extendedByOthers && !neverExpire
}

/** Names of the options. */
const OPTIONS = ['client', 'prefix', 'durability', 'events', 'scanCount'] as const

const EVENTS: readonly unknown[] =
  [undefined, 'broadcast', 'sharded', 'both'] satisfies Array<RedisStoreOptions['events']>
const EVENTS_FAULT = 'events must be \'broadcast\', \'sharded\' or \'both\''

/** Answers the methods of a store of express-session, which asks for `on` at boot. */
function refuse (): never {
  throw new errors.UNSUPPORTED(`this RedisStore under express-session or @fastify/session: give it ${OTHER}`)
}

const OTHER = 'the RedisStore of \'fastify-user-sessions/express\''

/**
 * Returns each option as it is now: what is checked is what is used, whatever getter gave it.
 * @throws ERR_SESSION_INVALID_OPTIONS without a client of ioredis, or for an option that is not one of `names`
 */
export function checkedOptions<Options extends { client: ClientLike }> (
  options: Options, names: ReadonlyArray<keyof Options>
): Omit<Options, 'client'> & { client: Client } {
  const copy = copied(options)
  const known = new Set<PropertyKey>(names)
  const unknown = Object.entries(copy).filter(([name, value]) => value !== undefined && !known.has(name))
  if (unknown.length > 0) {
    throw new errors.INVALID_OPTIONS(unknown.map(([name]) => `${name} is no option of this RedisStore`).join('; '))
  }
  return copy
}

function copied<Options extends { client: ClientLike }> (
  options: Options
): Omit<Options, 'client'> & { client: Client } {
  let hint = ''
  try {
    const { client, ...others } = options
    if (isClient(client)) return { ...others, client }
    if (isNodeRedis(client)) hint = '; the plugin takes one of node-redis as redis'
  } catch {}
  throw new errors.INVALID_OPTIONS(`client must be a Redis or Cluster of ioredis${hint}`)
}
