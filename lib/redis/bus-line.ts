import type { Redis } from 'ioredis'
import type { BusSubject } from '../session/store.ts'
import { CONNECT_TIMEOUT_MS, SOCKET_TIMEOUT_MS, TRACKING_RETRY_MS } from '../util/timings.ts'
import { duplicate, listenerPause, reconnectPause } from './connection.ts'
import { isLasting, replyOf, withoutCommand } from './driver.ts'

/** Answers of a node that another one has the channel, or that none has it for now. */
const ELSEWHERE = /^(MOVED|ASK|CLUSTERDOWN) /
/** After how many attempts in vain the pause is the longest. */
const MANY = 10

/** How messages are sent and heard: to all, or within one shard. */
export interface Pubsub {
  /** Event of a connection by which the driver passes on a message. */
  readonly event: 'message' | 'smessage'
  /** Subscribes a connection. */
  subscribe (line: Redis, channel: string): Promise<unknown>
  /** Publishes on a connection. */
  publish (server: Redis, channel: string, message: string): Promise<unknown>
}

/** What a line hears. */
export interface Wanted {
  /** Its channels on this server, and what each is about. */
  readonly channels: ReadonlyMap<string, BusSubject>
  /** A channel for itself alone, by which it knows that it hears. `null`: nobody has to know for certain. */
  readonly echo: string | null
}

interface BusLineOptions {
  readonly pubsub: Pubsub
  readonly onMessage: (subject: BusSubject, message: string) => void
  /** What it hears, or how far it is trusted, has changed. */
  readonly onChange: () => void
  /** Another server has a channel. */
  readonly onMoved: () => void
  readonly onRefused: (error: Error) => void
}

/**
 * Hears messages from one server, on a connection beside the one on which sessions are read.
 *
 * It hears for certain when it hears itself: it publishes on the other connection, on a channel of its own. What others
 * published before on that server has come by then. This takes no command but those of pub/sub, and it finds a line to
 * another server than the one that is read from, as behind a proxy or while a replica takes over.
 */
export class BusLine {
  /** By `performance.now()`; 0 while messages may be missed. */
  trustedUntil = 0
  /** For how long after an echo was sent it is trusted. */
  silenceMs = 0
  readonly #options: BusLineOptions
  /** The connection on which sessions are read. Messages must come from the same server. */
  readonly #data: Redis
  readonly #line: Redis
  #wanted: Wanted = { channels: new Map(), echo: null }
  /** Channels to which this connection is subscribed. */
  readonly #heard = new Set<string>()
  /** How often the line has begun anew: an answer to a question of an earlier round says nothing. */
  #round = 0
  /** Echoes under way, the oldest first. */
  readonly #echoes = new Map<string, { sentAt: number, settle: (error?: Error) => void }>()
  #beginAgain: NodeJS.Timeout | undefined
  readonly #onDataReady = (): void => { void this.hear().catch(() => {}) }
  readonly #onDataClose = (): void => this.distrust()

  constructor (data: Redis, options: BusLineOptions) {
    this.#data = data
    this.#options = options
    data.setMaxListeners(data.getMaxListeners() + 1)
    data.on('ready', this.#onDataReady)
    data.on('close', this.#onDataClose)
    // A duplicate of one server's connection is one server's.
    this.#line = duplicate(data, { enableOfflineQueue: false, enableAutoPipelining: false }, {
      keyPrefix: '',
      readOnly: false,
      autoResubscribe: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      connectTimeout: CONNECT_TIMEOUT_MS,
      socketTimeout: SOCKET_TIMEOUT_MS,
      retryStrategy: listenerPause
    }) as Redis
    this.#line.on('error', () => {})
    this.#line.on(options.pubsub.event, (channel: string, message: string) => this.#onMessage(channel, message))
    this.#line.on('ready', () => { void this.#begin() })
    this.#line.on('close', () => this.#lost())
    // A server that has given a slot away ends subscriptions by itself.
    this.#line.on('moved', () => this.#moved())
  }

  /** Hears these channels from now on. */
  want (wanted: Wanted): void {
    this.#wanted = wanted
    for (const channel of this.#heard) {
      if (channel !== wanted.echo && !wanted.channels.has(channel)) this.#heard.delete(channel)
    }
    // Nor can an echo come any more on a channel that is not wanted.
    if (this.#missing().length > 0) this.distrust()
    void this.#begin()
  }

  /** Whether all channels of a subject are heard that this server has. */
  hears (subject: BusSubject): boolean {
    for (const [channel, about] of this.#wanted.channels) {
      if (about === subject && !this.#heard.has(channel)) return false
    }
    return this.#line.status === 'ready'
  }

  /** Resolves when all earlier messages have been heard, or none are heard here. Rejects where the line is lost. */
  async hear (): Promise<void> {
    const [line, data] = [this.#line, this.#data]
    const { channels, echo } = this.#wanted
    if (line.status !== 'ready' || channels.size === 0) return
    // The nodes of a Cluster connect when they are needed.
    if (data.status === 'wait') data.connect().catch(() => {})
    const isCertain = echo !== null && this.#missing().length === 0 && data.status === 'ready'
    // An unanswered PING makes the driver leave a connection that has gone silent.
    await (isCertain ? this.#hearEcho(echo) : line.ping())
  }

  /** Trusts nothing that was heard so far. */
  distrust (): void {
    this.trustedUntil = 0
    for (const { settle } of this.#echoes.values()) settle(new Error('the connection was lost'))
    this.#echoes.clear()
    this.#options.onChange()
  }

  close (): void {
    this.#round++
    clearTimeout(this.#beginAgain)
    this.#data.off('ready', this.#onDataReady)
    this.#data.off('close', this.#onDataClose)
    this.#data.setMaxListeners(this.#data.getMaxListeners() - 1)
    this.#heard.clear()
    this.distrust()
    this.#line.disconnect()
  }

  /** Returns the wanted channels that are not heard yet, its own among them. */
  #missing (): string[] {
    const { channels, echo } = this.#wanted
    return [...channels.keys(), ...echo === null ? [] : [echo]].filter((each) => !this.#heard.has(each))
  }

  async #begin (): Promise<void> {
    const line = this.#line
    if (line.status !== 'ready') return
    const round = this.#round
    const missing = this.#missing()
    try {
      await Promise.all(missing.map(async (channel) => await this.#options.pubsub.subscribe(line, channel)))
      if (round !== this.#round) return
      for (const channel of missing) this.#heard.add(channel)
      this.#options.onChange()
      // It is asked for again and again.
      void this.hear().catch(() => {})
    } catch (error) {
      if (round === this.#round) this.#failed(error)
    }
  }

  #failed (error: unknown): void {
    if (ELSEWHERE.test(replyOf(error))) return this.#moved()
    if (!isLasting(error)) return this.#line.disconnect(true)
    this.#options.onRefused(withoutCommand(error))
    this.#again(TRACKING_RETRY_MS)
  }

  /** Subscribes once more, when it is known which server has which slot. */
  #moved (): void {
    this.#lost()
    this.#options.onMoved()
    this.#again(reconnectPause(MANY))
  }

  #again (ms: number): void {
    clearTimeout(this.#beginAgain)
    this.#beginAgain = setTimeout(() => { void this.#begin() }, ms)
  }

  #lost (): void {
    this.#round++
    clearTimeout(this.#beginAgain)
    this.#heard.clear()
    this.distrust()
  }

  #onMessage (channel: string, message: string): void {
    if (channel === this.#wanted.echo) return this.#onEcho(message)
    const subject = this.#wanted.channels.get(channel)
    if (subject !== undefined) this.#options.onMessage(subject, message)
  }

  async #hearEcho (channel: string): Promise<void> {
    const sentAt = performance.now()
    const [oldest] = this.#echoes.values()
    if (oldest !== undefined && sentAt - oldest.sentAt > SOCKET_TIMEOUT_MS) {
      // What is published where sessions are read does not come here, or nothing does.
      return this.#line.disconnect(true)
    }
    const text = `${this.#round}:${sentAt}`
    const echo = new Promise<void>((resolve, reject) => {
      this.#echoes.set(text, { sentAt, settle: (error) => error === undefined ? resolve() : reject(error) })
    })
    const sent = this.#options.pubsub.publish(this.#data, channel, text).catch((error: unknown) => {
      this.#echoes.get(text)?.settle(error as Error)
      this.#echoes.delete(text)
      if (isLasting(error)) this.#options.onRefused(withoutCommand(error))
      else if (ELSEWHERE.test(replyOf(error))) this.#options.onMoved()
    })
    await Promise.all([echo, sent])
  }

  #onEcho (text: string): void {
    const echo = this.#echoes.get(text)
    if (echo === undefined) return
    this.#echoes.delete(text)
    this.trustedUntil = Math.max(this.trustedUntil, echo.sentAt + this.silenceMs)
    echo.settle()
    this.#options.onChange()
  }
}
