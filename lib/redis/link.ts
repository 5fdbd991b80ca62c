import { createHash } from 'node:crypto'
import { errors } from '../errors.ts'
import { Breaker } from '../store/breaker.ts'
import type { BreakerOptions } from '../store/breaker.ts'
import { TIMED_OUT, withDeadline } from '../util/deadline.ts'
import { BOOT_RETRY_MS, COMMAND_DEADLINE_MS, PROBE_EVERY_MS } from '../util/timings.ts'
import { RedisClock } from './clock.ts'
import { allMasters, connectedMasters, ownerOf, readTime, refreshSlots, sendTo } from './cluster.ts'
import { duplicate, isCluster, listenerPause } from './connection.ts'
import type { Client } from './connection.ts'
import { isOutage, isRefusal, isReply, lastLeftAt, replyOf, withoutCommand } from './driver.ts'
import { ConnectionWatch, OutageReporter, RefusalReporter, StoreEmitter, suitabilityWarnings } from './health.ts'

const REFUSED = 'redis: the server refused the user name, the password, the database or a command this package needs'

/** A Lua script, and the name under which Redis caches it. `Reply` is the type of what it returns. */
export interface Script<Reply = unknown> {
  readonly lua: string
  readonly sha: string
  /** How many keys it takes, at the least. */
  readonly keys: number
  /** Never set: carries the type. */
  readonly reply?: Reply
}

/** Makes a script that takes so many keys, at the least. */
export function script<Reply> (keys: number, lua: string): Script<Reply> {
  return { lua, sha: createHash('sha1').update(lua).digest('hex'), keys }
}

/**
 * One way to Redis: sends commands under a deadline, reports failures in this package's errors, keeps a broken server
 * from making requests wait (each node of a Cluster for itself), and knows Redis' time.
 */
export class RedisLink {
  readonly events: StoreEmitter
  readonly client: Client
  readonly #clock: RedisClock
  readonly #outages: OutageReporter
  readonly #refusals: RefusalReporter
  readonly #breakers: Breakers
  readonly #watch: ConnectionWatch

  /** `reportsWith`: a link to the same Redis, so that nobody hears twice of one outage or refusal. */
  constructor (client: Client, reportsWith?: RedisLink) {
    this.client = client
    this.events = reportsWith?.events ?? new StoreEmitter()
    this.#outages = reportsWith === undefined ? new OutageReporter(this.events) : reportsWith.#outages
    this.#outages.include(() => lastLeftAt(client))
    this.#refusals = reportsWith === undefined ? new RefusalReporter(this.events) : reportsWith.#refusals
    this.#clock = new RedisClock(() => readTime(client))
    this.#watch = new ConnectionWatch(client, () => { void this.#clock.read().catch(() => {}) })
    this.#breakers = new Breakers(client, {
      onDown: (cause) => this.#outages.down(this.#watch.lastError ?? cause),
      onUp: () => this.#outages.up()
    })
  }

  /** Redis' clock, in milliseconds since 1970. */
  now (): number {
    return this.#clock.now()
  }

  /**
   * Redis' clock, asked again if the machine has been paused.
   * @throws ERR_SESSION_STORE_UNAVAILABLE
   */
  async nowForCertain (): Promise<number> {
    if (this.#clock.isBehind) await this.#runOn('', () => this.#clock.catchUp())
    return this.#clock.now()
  }

  /** Number of the Redis database (0 in a Cluster). */
  get database (): number {
    return isCluster(this.client) ? 0 : this.client.options.db ?? 0
  }

  /**
   * Sends a command to the server that answers for `key`.
   * @throws ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL; the driver's error is the `cause`
   */
  run<T> (key: string, command: (client: Client) => Promise<T>): Promise<T> {
    return this.#guard(() => this.#breakers.for(key), () => this.#send(key, command))
  }

  /** The same for a command that may be refused: an operator does not hear of it. */
  tryRun<T> (key: string, command: (client: Client) => Promise<T>): Promise<T> {
    return this.#guard(() => this.#breakers.for(key), () => this.#send(key, command), { isTry: true })
  }

  /**
   * Runs a script by its name, and by its text when Redis does not know it (after a restart or a failover).
   * @throws as `run`
   */
  async script<Reply> (
    script: Script<Reply>, keys: readonly string[], ...args: Array<string | number>
  ): Promise<Reply> {
    return await this.#script(script, keys, args)
  }

  /** The same for a script that may be refused, as there is another way: an operator does not hear of it. */
  async tryScript<Reply> (
    script: Script<Reply>, keys: readonly string[], ...args: Array<string | number>
  ): Promise<Reply> {
    return await this.#script(script, keys, args, { isTry: true })
  }

  /**
   * Sends a message to all processes that subscribe; the nodes of a Cluster pass it on to each other.
   * @throws ERR_SESSION_STORE_UNAVAILABLE
   */
  async publish (channel: string, message: string): Promise<void> {
    let failure: unknown = new errors.STORE_UNAVAILABLE()
    // A channel is no key: any master will do, and the first may be down.
    for (const [name, master] of connectedMasters(this.client)) {
      try {
        await this.#runOn(name, () => master.publish(channel, message))
        return
      } catch (error) {
        failure = error
      }
    }
    throw failure
  }

  /**
   * Resolves if every server that holds keys answers.
   * @throws ERR_SESSION_STORE_UNAVAILABLE
   */
  async ping (): Promise<void> {
    const masters = allMasters(this.client)
    await Promise.all(masters.map(async ([name, master]) => await this.#runOn(name, () => master.ping())))
  }

  /**
   * Yields the keys that match, of every server that holds keys, page by page. One may come twice while Redis
   * rearranges them. `signal` ends it early.
   * @throws ERR_SESSION_STORE_UNAVAILABLE
   */
  async * scan (pattern: string, count: number, signal?: AbortSignal): AsyncGenerator<string[]> {
    for (const [name, master] of allMasters(this.client)) {
      let cursor = '0'
      do {
        if (signal?.aborted === true) return
        const [next, found] = await this.#runOn(name, () => master.scan(cursor, 'MATCH', pattern, 'COUNT', count))
        cursor = next
        yield found
      } while (cursor !== '0')
    }
  }

  /**
   * Opens a second connection with the same options, for the caller to close. An operator hears of its outages as
   * of this one's, or with `isSilent` not at all.
   */
  duplicate ({ isSilent = false } = {}): RedisLink {
    return new RedisLink(duplicate(this.client), isSilent ? undefined : this)
  }

  /** Opens a connection for pub/sub, for the caller to close. It waits for Redis as long as it takes. */
  subscriber (): Client {
    return duplicate(this.client, { enableOfflineQueue: true, enableAutoPipelining: false }, {
      autoResubscribe: false,
      maxRetriesPerRequest: null,
      autoResendUnfulfilledCommands: true,
      retryStrategy: listenerPause
    })
  }

  /** Tells the operator that Redis refused, except an error about a key of another type: that is not about Redis. */
  reportRefusal (error: unknown): void {
    if (isReply(error) && !error.message.startsWith('WRONGTYPE')) this.#refusals.seen(error)
  }

  /** Tells the operator what is no refusal of Redis but comes to the same: no replica confirms. */
  reportUnconfirmed (error: Error): void {
    this.#refusals.seen(error)
  }

  /** Returns what to warn about at boot. Servers that do not answer have no part in it. */
  async warnings (): Promise<string[]> {
    const masters = connectedMasters(this.client)
    const warnings = await Promise.all(masters.map(([, master]) => suitabilityWarnings(master)))
    return [...new Set(warnings.flat())]
  }

  /**
   * Waits until Redis answers, `ms` milliseconds at the most, and returns what keeps it from answering, or `null`. No
   * answer in time is no error: Redis is down from then on, and the link goes on trying.
   * @throws ERR_SESSION_INVALID_OPTIONS when Redis refuses the credentials, the database or a command we need
   */
  async ready (ms: number): Promise<Error | null> {
    for (const giveUpAt = performance.now() + ms; ;) {
      const reading = this.#clock.read().then(() => null, (error: Error) => withoutCommand(error))
      const answer = await withDeadline(reading, giveUpAt - performance.now())
      const failure = answer === TIMED_OUT ? new Error(`no answer within ${ms} ms`) : answer
      const refusal = this.#watch.refusal ?? (failure !== null && isRefusal(failure) ? failure : undefined)
      if (refusal !== undefined) {
        throw new errors.INVALID_OPTIONS(REFUSED, { cause: refusal })
      }
      if (failure === null) return null
      if (performance.now() >= giveUpAt) {
        this.#breakers.of('').trip(failure)
        return this.#watch.lastError ?? failure
      }
      await new Promise((resolve) => setTimeout(resolve, BOOT_RETRY_MS))
    }
  }

  /**
   * Stops watching the connection, which stays open. The driver still prints no failed attempts to connect. Twice is
   * safe.
   */
  close (): void {
    this.#breakers.close()
    this.#outages.close()
    this.#watch.close()
  }

  async #script<Reply> (
    { sha, lua }: Script<Reply>, keys: readonly string[], args: Array<string | number>, how?: { isTry: boolean }
  ): Promise<Reply> {
    const [key = ''] = keys
    const reply = await this.#guard(() => this.#breakers.for(key), async () => {
      try {
        return await this.#send(key, (client) => client.evalsha(sha, keys.length, ...keys, ...args))
      } catch (error) {
        if (!replyOf(error).startsWith('NOSCRIPT')) throw error
        return await this.#send(key, (client) => client.eval(lua, keys.length, ...keys, ...args))
      }
    }, how)
    // The driver cannot know what a script returns; the script's comment says it.
    return reply as Reply
  }

  #send<T> (key: string, command: (client: Client) => Promise<T>): Promise<T> {
    return isCluster(this.client) ? sendTo(this.client, key, command) : command(this.client)
  }

  #runOn<T> (name: string, command: () => Promise<T>): Promise<T> {
    return this.#guard(() => this.#breakers.of(name), command)
  }

  async #guard<T> (breakerOf: () => Breaker, command: () => Promise<T>, { isTry = false } = {}): Promise<T> {
    try {
      const breaker = breakerOf()
      const answer = await breaker.run(command)
      // Callers judge the answer by the time, and the machine may have been paused before it came.
      if (this.#clock.isBehind) await breaker.run(() => this.#clock.catchUp())
      return answer
    } catch (error) {
      if (error instanceof errors.STORE_UNAVAILABLE) throw error
      const isFull = replyOf(error).includes('OOM ')
      if (!isTry || isFull) this.reportRefusal(error)
      if (isFull) throw new errors.STORE_FULL({ cause: error })
      if (isReply(error) || isOutage(error)) throw new errors.STORE_UNAVAILABLE({ cause: error })
      throw error
    }
  }
}

/** A breaker for each server of a Redis, by its name: one that is down keeps nobody from the others. */
class Breakers {
  readonly #client: Client
  readonly #reports: Pick<BreakerOptions, 'onDown' | 'onUp'>
  readonly #breakers = new Map<string, Breaker>()
  /** The key that each node of a Cluster was asked for last. */
  readonly #lastKeys = new Map<string, string>()
  #isClosed = false

  constructor (client: Client, reports: Pick<BreakerOptions, 'onDown' | 'onUp'>) {
    this.#client = client
    this.#reports = reports
  }

  /** Returns a server's breaker. The name `''` is the only server, and a Cluster of which no node is known yet. */
  of (node: string): Breaker {
    let breaker = this.#breakers.get(node)
    if (breaker === undefined) {
      breaker = new Breaker({
        deadlineMs: COMMAND_DEADLINE_MS,
        probeEveryMs: PROBE_EVERY_MS,
        probe: () => this.#probe(node),
        isOutage,
        shown: withoutCommand,
        ...this.#reports
      })
      this.#breakers.set(node, breaker)
      // A command may still be under way: it is not to be reported, nor to start probes that never end.
      if (this.#isClosed) breaker.close()
    }
    return breaker
  }

  /**
   * Returns the breaker of the server that answers for a key.
   * @throws ERR_SESSION_STORE_UNAVAILABLE when no node of a Cluster can answer
   */
  for (key: string): Breaker {
    const node = isCluster(this.#client) ? ownerOf(this.#client, key) : ''
    this.#lastKeys.set(node, key)
    return this.of(node)
  }

  close (): void {
    this.#isClosed = true
    for (const breaker of this.#breakers.values()) breaker.close()
  }

  /** Rejects while a node that has slots does not answer for them, and while no node of a Cluster is known. */
  async #probe (node: string): Promise<void> {
    const client = this.#client
    const key = this.#lastKeys.get(node)
    if (isCluster(client)) await refreshSlots(client)
    if (isCluster(client) && !client.slots.some((owners) => owners?.[0] === node)) {
      if (client.slots.length === 0) throw new Error('no node of the Cluster is known')
      return
    }
    const [, master] = connectedMasters(client).find(([name]) => name === node) ?? []
    if (master === undefined) throw new Error('a master of the Cluster is not connected')
    if (key === undefined || (isCluster(client) && ownerOf(client, key) !== node)) await master.ping()
    else await master.exists(key)
  }
}
