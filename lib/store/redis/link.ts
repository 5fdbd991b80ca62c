import { EventEmitter } from 'node:events'
import calculateSlot from 'cluster-key-slot'
import type { Redis } from 'ioredis'
import { TIMED_OUT, withDeadline } from '../../deadline.ts'
import { errors } from '../../errors.ts'
import { Breaker } from '../breaker.ts'
import type { StoreEvents } from '../contract.ts'
import { isCluster, lastLeftAt } from './client.ts'
import type { Client } from './client.ts'
import { RedisClock } from './clock.ts'
import { isOutage, isRefusal, isReply, replyOf, withoutCommand } from './driver-errors.ts'
import { Reach } from './reach.ts'
import { Refusals } from './refusals.ts'
import type { Script } from './scripts.ts'
import { unsuitable } from './suitability.ts'

/** How long one command may take, and how often a server that is down is asked again. */
const COMMAND_DEADLINE_MS = 500
const PROBE_EVERY_MS = 100

/**
 * One way to Redis: sends commands under a deadline, says what failed in this package's errors, keeps
 * a broken server from making requests wait (each node of a Cluster for itself), and knows Redis' time.
 */
export class RedisLink {
  readonly events: EventEmitter<StoreEvents>
  readonly client: Client
  readonly #clock: RedisClock
  readonly #reach: Reach
  readonly #refusals = new Refusals((advice, cause) => this.events.emit('refused', advice, cause))
  readonly #breakers = new Map<string, Breaker>()
  readonly #onError = (error: Error): void => {
    this.#lastError = withoutCommand(error)
    if (isRefusal(error)) this.#refusal = error
  }

  readonly #onReady = (): void => {
    this.#lastError = undefined
    void this.#clock.read().catch(() => {})
  }

  #lastError: Error | undefined
  #refusal: Error | undefined

  /** `beside`: a link to the same Redis, of which nobody is to hear twice. */
  constructor (client: Client, beside?: RedisLink) {
    this.client = client
    this.events = beside === undefined ? new EventEmitter() : beside.events
    this.#reach = beside === undefined ? new Reach(this.events, () => lastLeftAt(client)) : beside.#reach
    this.#clock = new RedisClock(() => client.time())
    // However many stores share a client.
    client.setMaxListeners(client.getMaxListeners() + 1)
    // Unheard, the driver would print every failed attempt to connect.
    client.on('error', this.#onError)
    client.on('ready', this.#onReady)
  }

  /** Redis' clock, in milliseconds since 1970. */
  now (): number {
    return this.#clock.now()
  }

  /**
   * Sends what concerns `key`.
   * @throws ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL; the driver's error is the `cause`
   */
  async run<T> (key: string, command: (client: Client) => Promise<T>): Promise<T> {
    const node = isCluster(this.client) ? this.client.slots[calculateSlot(key)]?.[0] ?? '' : ''
    return await this.#guarded(this.#breakerOf(node, () => this.client.exists(key)), () => command(this.client))
  }

  async #runOn<T> (name: string, master: Redis, command: () => Promise<T>): Promise<T> {
    return await this.#guarded(this.#breakerOf(name, () => master.ping()), command)
  }

  async #guarded<T> (breaker: Breaker, command: () => Promise<T>): Promise<T> {
    try {
      return await breaker.run(() => command().catch((error: unknown) => { throw withoutCommand(error) }))
    } catch (error) {
      if (error instanceof errors.STORE_UNAVAILABLE) throw error
      this.refused(error)
      if (replyOf(error).includes('OOM ')) throw new errors.STORE_FULL({ cause: error })
      if (isReply(error) || isOutage(error)) throw new errors.STORE_UNAVAILABLE({ cause: error })
      throw error
    }
  }

  /** Tells of an error that Redis answered. One about a key of another type is not about Redis. */
  refused (error: unknown): void {
    if (isReply(error) && !error.message.startsWith('WRONGTYPE')) this.#refusals.seen(error)
  }

  /** Runs a script by its name, and by its text when Redis does not know it (after a restart or a failover). */
  async script (script: Script, keys: readonly string[], ...args: Array<string | number>): Promise<unknown> {
    return await this.run(keys[0] ?? '', async (client) => {
      try {
        return await client.evalsha(script.sha, script.keys, ...keys, ...args)
      } catch (error) {
        if (!replyOf(error).startsWith('NOSCRIPT')) throw error
        return await client.eval(script.lua, script.keys, ...keys, ...args)
      }
    })
  }

  /** Of a server with several. */
  get database (): number {
    return isCluster(this.client) ? 0 : this.client.options.db ?? 0
  }

  /** A second connection with the same options, of which its own is all that has to be closed. */
  another (): RedisLink {
    return new RedisLink(isCluster(this.client) ? this.client.duplicate() : this.client.duplicate(), this)
  }

  /** A connection of its own for pub/sub. It waits for Redis as long as it takes, and is told again what to listen to. */
  subscriber (): Client {
    const patience = { enableOfflineQueue: true, enableAutoPipelining: false }
    return isCluster(this.client)
      ? this.client.duplicate([], patience)
      : this.client.duplicate({ ...patience, autoResubscribe: false, maxRetriesPerRequest: null, autoResendUnfulfilledCommands: true })
  }

  /**
   * Resolves if every server that holds keys answers.
   * @throws ERR_SESSION_STORE_UNAVAILABLE
   */
  async ping (): Promise<void> {
    await Promise.all(this.#masters().map(async ([name, master]) => await this.#runOn(name, master, () => master.ping())))
  }

  /**
   * The keys that match, of every server that holds keys, page by page. One may come twice while Redis rearranges them.
   * @throws ERR_SESSION_STORE_UNAVAILABLE
   */
  async * scan (pattern: string, count: number): AsyncGenerator<string[]> {
    for (const [name, master] of this.#masters()) {
      let cursor = '0'
      do {
        const [next, found] = await this.#runOn(name, master, () => master.scan(cursor, 'MATCH', pattern, 'COUNT', count))
        cursor = next
        yield found
      } while (cursor !== '0')
    }
  }

  /** What Redis says of itself that is not good for sessions; nothing where it does not answer. */
  async warnings (): Promise<string[]> {
    return [...new Set((await Promise.all(connected(this.client).map(unsuitable))).flat())]
  }

  /** The servers that hold keys, by the names of their breakers. All of them: what is on one that is missing would seem not to be. */
  #masters (): Array<[name: string, master: Redis]> {
    const { client } = this
    if (!isCluster(client)) return [['', client]]
    const nodes = new Map(connected(client).map((node) => [`${node.options.host}:${node.options.port}`, node]))
    const names = [...new Set(client.slots.map((slot) => slot?.[0] ?? ''))]
    return (names.length === 0 ? [''] : names).map((name) => {
      const master = nodes.get(name)
      if (master === undefined) throw new errors.STORE_UNAVAILABLE({ cause: new Error('a master of the Cluster is not connected') })
      return [name, master]
    })
  }

  /**
   * Waits until Redis answers, `ms` milliseconds at the most: not answering in time is no error, the
   * link goes on trying. Gives what keeps it from answering, or `null`.
   * @throws ERR_SESSION_INVALID_OPTIONS when Redis refuses the credentials, the database or a command this package needs
   */
  async ready (ms: number): Promise<Error | null> {
    const giveUpAt = performance.now() + ms
    for (;;) {
      const reading = this.#clock.read().then(() => null, (error: Error) => withoutCommand(error))
      const answer = await withDeadline(reading, giveUpAt - performance.now())
      const failure = answer === TIMED_OUT ? new Error(`no answer within ${ms} ms`) : answer
      const refusal = this.#refusal ?? (failure !== null && isRefusal(failure) ? failure : undefined)
      if (refusal !== undefined) throw new errors.INVALID_OPTIONS('redis: the server refused the user name, the password, the database or a command this package needs', { cause: refusal })
      if (failure === null || performance.now() >= giveUpAt) return failure === null ? null : this.#lastError ?? failure
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  /** Stops watching the connection, which stays open; its failed attempts are still not printed. Twice is safe. */
  close (): void {
    for (const breaker of this.#breakers.values()) breaker.close()
    this.#reach.close()
    if (!this.client.listeners('ready').includes(this.#onReady)) return
    this.client.off('ready', this.#onReady)
    this.client.off('error', this.#onError)
    this.client.on('error', quiet)
    this.client.setMaxListeners(this.client.getMaxListeners() - 1)
    // One for all stores that were on it.
    if (this.client.listeners('error').filter((listener) => listener === quiet).length > 1) this.client.off('error', quiet)
  }

  #breakerOf (node: string, probe: () => Promise<unknown>): Breaker {
    let breaker = this.#breakers.get(node)
    if (breaker === undefined) {
      breaker = new Breaker({
        deadlineMs: COMMAND_DEADLINE_MS,
        probeEveryMs: PROBE_EVERY_MS,
        probe,
        isOutage,
        onDown: (cause) => this.#reach.lost(this.#lastError ?? cause),
        onUp: () => this.#reach.found()
      })
      this.#breakers.set(node, breaker)
    }
    return breaker
  }
}

/** The servers that hold keys, as far as there is a connection. */
function connected (client: Client): Redis[] {
  return isCluster(client) ? client.nodes('master') : [client]
}

/** What is left where a store listened. */
function quiet (): void {}
