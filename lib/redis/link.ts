import { EventEmitter } from 'node:events'
import { TIMED_OUT, withDeadline } from '../util/deadline.ts'
import { errors } from '../errors.ts'
import type { Breaker } from '../store/breaker.ts'
import type { StoreEvents } from '../session/store.ts'
import { Breakers } from './breakers.ts'
import { another, isCluster } from './client.ts'
import type { Client } from './client.ts'
import { RedisClock } from './clock.ts'
import { ConnectionWatch } from './connection-watch.ts'
import { connected, mastersOf, sent, timeOf } from './cluster.ts'
import { isOutage, isRefusal, isReply, replyOf, withoutCommand } from './driver-errors.ts'
import { lastLeftAt } from './driver-mends.ts'
import { Reach } from './reach.ts'
import { Refusals } from './refusals.ts'
import type { Script } from './scripts.ts'
import { unsuitable } from './suitability.ts'

/**
 * One way to Redis: sends commands under a deadline, says what failed in this package's errors, keeps
 * a broken server from making requests wait (each node of a Cluster for itself), and knows Redis' time.
 */
export class RedisLink {
  readonly events: EventEmitter<StoreEvents>
  readonly client: Client
  readonly #clock: RedisClock
  readonly #reach: Reach
  readonly #refusals: Refusals
  readonly #breakers: Breakers
  readonly #watch: ConnectionWatch

  /** `beside`: a link to the same Redis, of which nobody is to hear twice. */
  constructor (client: Client, beside?: RedisLink) {
    this.client = client
    this.events = beside === undefined ? new EventEmitter() : beside.events
    this.#reach = beside === undefined ? new Reach(this.events) : beside.#reach
    this.#reach.watch(() => lastLeftAt(client))
    this.#refusals = beside === undefined ? new Refusals((advice, cause) => this.events.emit('refused', advice, cause)) : beside.#refusals
    this.#clock = new RedisClock(() => timeOf(client))
    this.#watch = new ConnectionWatch(client, () => { void this.#clock.read().catch(() => {}) })
    this.#breakers = new Breakers(client, {
      onDown: (cause) => this.#reach.lost(this.#watch.lastError ?? cause),
      onUp: () => this.#reach.found()
    })
  }

  /** Redis' clock, in milliseconds since 1970. */
  now (): number {
    return this.#clock.now()
  }

  /** The same, asked for again if the machine has been paused. @throws ERR_SESSION_STORE_UNAVAILABLE */
  async nowForCertain (): Promise<number> {
    if (this.#clock.isBehind) await this.#runOn('', () => this.#clock.catchUp())
    return this.#clock.now()
  }

  /**
   * Sends what concerns `key`.
   * @throws ERR_SESSION_STORE_UNAVAILABLE, ERR_SESSION_STORE_FULL; the driver's error is the `cause`
   */
  run<T> (key: string, command: (client: Client) => Promise<T>): Promise<T> {
    return this.#guarded(() => this.#breakers.for(key), () => this.#send(key, command))
  }

  #send<T> (key: string, command: (client: Client) => Promise<T>): Promise<T> {
    return isCluster(this.client) ? sent(this.client, key, command) : command(this.client)
  }

  #runOn<T> (name: string, command: () => Promise<T>): Promise<T> {
    return this.#guarded(() => this.#breakers.of(name), command)
  }

  async #guarded<T> (breakerOf: () => Breaker, command: () => Promise<T>): Promise<T> {
    try {
      const breaker = breakerOf()
      const answer = await breaker.run(command)
      // Whoever asked judges it by the time, and the machine may have been paused before it came.
      if (this.#clock.isBehind) await breaker.run(() => this.#clock.catchUp())
      return answer
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
    const [key = ''] = keys
    return await this.#guarded(() => this.#breakers.for(key), async () => {
      try {
        return await this.#send(key, (client) => client.evalsha(script.sha, script.keys, ...keys, ...args))
      } catch (error) {
        if (!replyOf(error).startsWith('NOSCRIPT')) throw error
        return await this.#send(key, (client) => client.eval(script.lua, script.keys, ...keys, ...args))
      }
    })
  }

  /**
   * Tells everybody who listens; in a Cluster the nodes pass it on to each other.
   * @throws ERR_SESSION_STORE_UNAVAILABLE
   */
  async publish (channel: string, message: string): Promise<void> {
    // A channel is no key: any of them will do, and the first may be down.
    for (const [name, master] of connected(this.client)) {
      if (await this.#runOn(name, () => master.publish(channel, message)).then(() => true, () => false)) return
    }
    throw new errors.STORE_UNAVAILABLE()
  }

  /** Of a server with several. */
  get database (): number {
    return isCluster(this.client) ? 0 : this.client.options.db ?? 0
  }

  /** A second connection with the same options, of which its own is all that has to be closed. */
  another (): RedisLink {
    return new RedisLink(another(this.client), this)
  }

  /** A second connection of whose troubles nobody hears. */
  apart (): RedisLink {
    return new RedisLink(another(this.client))
  }

  /** A connection of its own for pub/sub. It waits for Redis as long as it takes, and is told again what to listen to. */
  subscriber (): Client {
    return another(this.client, { enableOfflineQueue: true, enableAutoPipelining: false }, { autoResubscribe: false, maxRetriesPerRequest: null, autoResendUnfulfilledCommands: true })
  }

  /** Tells of what is not Redis' refusal but comes to the same. */
  unconfirmed (error: Error): void {
    this.#refusals.seen(error)
  }

  /**
   * Resolves if every server that holds keys answers.
   * @throws ERR_SESSION_STORE_UNAVAILABLE
   */
  async ping (): Promise<void> {
    await Promise.all(mastersOf(this.client).map(async ([name, master]) => await this.#runOn(name, () => master.ping())))
  }

  /**
   * The keys that match, of every server that holds keys, page by page. One may come twice while Redis rearranges them.
   * @throws ERR_SESSION_STORE_UNAVAILABLE
   */
  async * scan (pattern: string, count: number): AsyncGenerator<string[]> {
    for (const [name, master] of mastersOf(this.client)) {
      let cursor = '0'
      do {
        const [next, found] = await this.#runOn(name, () => master.scan(cursor, 'MATCH', pattern, 'COUNT', count))
        cursor = next
        yield found
      } while (cursor !== '0')
    }
  }

  /** What Redis says of itself that is not good for sessions; nothing where it does not answer. */
  async warnings (): Promise<string[]> {
    return [...new Set((await Promise.all(connected(this.client).map(([, master]) => unsuitable(master)))).flat())]
  }

  /**
   * Waits until Redis answers, `ms` milliseconds at the most: not answering in time is no error, Redis is down
   * from then on and the link goes on trying. Gives what keeps it from answering, or `null`.
   * @throws ERR_SESSION_INVALID_OPTIONS when Redis refuses the credentials, the database or a command this package needs
   */
  async ready (ms: number): Promise<Error | null> {
    for (const giveUpAt = performance.now() + ms; ;) {
      const reading = this.#clock.read().then(() => null, (error: Error) => withoutCommand(error))
      const answer = await withDeadline(reading, giveUpAt - performance.now())
      const failure = answer === TIMED_OUT ? new Error(`no answer within ${ms} ms`) : answer
      const refusal = this.#watch.refusal ?? (failure !== null && isRefusal(failure) ? failure : undefined)
      if (refusal !== undefined) throw new errors.INVALID_OPTIONS('redis: the server refused the user name, the password, the database or a command this package needs', { cause: refusal })
      if (failure === null) return null
      if (performance.now() >= giveUpAt) {
        this.#breakers.of('').trip(failure)
        return this.#watch.lastError ?? failure
      }
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  /** Stops watching the connection, which stays open; its failed attempts are still not printed. Twice is safe. */
  close (): void {
    this.#breakers.close()
    this.#reach.close()
    this.#watch.close()
  }
}
