import type { Redis } from 'ioredis'
import { another } from './client.ts'
import { withoutCommand } from './driver-errors.ts'

/** Where Redis tells of changes on a connection of RESP2. */
const CHANNEL = '__redis__:invalidate'
/** How soon a Redis that refuses to tell is asked again, in milliseconds. */
const ASK_AGAIN_MS = 10_000

export interface TrackingLineOptions {
  /** What the keys begin with that are told of. */
  prefix: string
  /** How long nothing may be heard before changes may have been missed. */
  silenceMs: number
  /** `null`: all of them. */
  onKeys: (keys: Buffer[] | null) => void
  /** It is heard again, or still, or for certain no more: `trustedUntil` says. */
  onTrust: () => void
  /** Messages may have been lost. */
  onGap: () => void
  onRefused: (error: Error) => void
}

/**
 * Hears from one server what changes there (`CLIENT TRACKING … BCAST`), on a connection beside that on which it is
 * read from.
 *
 * It has to be RESP2, redirected to itself: on RESP3 the driver drops these messages without a word. Never NOLOOP: it
 * loses the message of a change by another that comes in the same moment as one of ours. Tracking ends with the
 * connection, and begins anew with each.
 */
export class TrackingLine {
  /** By `performance.now()`; 0 while changes may be missed. */
  trustedUntil = 0
  readonly #options: TrackingLineOptions
  /** The connection on which sessions are read: what is told must be of the same server. */
  readonly #data: Redis
  readonly #line: Redis
  /** The server that tells, of this connection. */
  #server: string | undefined
  /** How often it has begun anew: what was asked in an earlier round says nothing. */
  #round = 0
  #askAgain: NodeJS.Timeout | undefined
  readonly #onDataReady = (): void => { void this.#begin() }
  readonly #onDataClose = (): void => this.#lost()

  constructor (data: Redis, options: TrackingLineOptions) {
    this.#data = data
    this.#options = options
    data.setMaxListeners(data.getMaxListeners() + 1)
    data.on('ready', this.#onDataReady)
    data.on('close', this.#onDataClose)
    this.#line = another(data, { enableOfflineQueue: false, enableAutoPipelining: false }, {
      protocol: 2,
      keyPrefix: '',
      readOnly: false,
      autoResubscribe: false,
      // What was under way when it was lost fails with it.
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      connectTimeout: 1_000,
      socketTimeout: Math.ceil(options.silenceMs * 1.4),
      retryStrategy: (times) => Math.min(50 * times, 250) + Math.random() * 50
    }) as Redis
    this.#line.on('error', () => {})
    this.#line.on('messageBuffer', (_channel: Buffer, keys: unknown) => options.onKeys(keys as Buffer[] | null))
    this.#line.on('ready', () => { void this.#begin() })
    this.#line.on('close', () => {
      this.#server = undefined
      this.#lost()
    })
  }

  /** Resolves when all that had changed before has been told. */
  async hear (): Promise<void> {
    if (this.#server === undefined) return
    const round = this.#round
    const sentAt = performance.now()
    // Its answer comes behind what was told before it, on the same connection.
    await this.#line.ping()
    if (round !== this.#round || this.#isPending) return
    this.trustedUntil = sentAt + this.#options.silenceMs
    this.#options.onTrust()
  }

  close (): void {
    this.#round++
    this.trustedUntil = 0
    clearTimeout(this.#askAgain)
    this.#data.off('ready', this.#onDataReady)
    this.#data.off('close', this.#onDataClose)
    this.#data.setMaxListeners(this.#data.getMaxListeners() - 1)
    this.#line.disconnect()
  }

  /** It is not known yet whether this is the server that is read from. */
  #isPending = true

  async #begin (): Promise<void> {
    this.#lost()
    const round = this.#round
    const [data, line] = [this.#data, this.#line]
    // Those of a Cluster are connected to when they are needed.
    if (data.status === 'wait') data.connect().catch(() => {})
    if (data.status !== 'ready' || line.status !== 'ready') return
    try {
      if (this.#server === undefined) {
        const id = await line.client('ID')
        const server = serverOf(await line.info('server'))
        await line.client('TRACKING', 'ON', 'REDIRECT', id, 'BCAST', 'PREFIX', this.#options.prefix)
        await line.subscribe(CHANNEL)
        if (round !== this.#round) return
        this.#server = server
      }
      const server = serverOf(await data.info('server'))
      if (round !== this.#round) return
      if (server === '') throw new Error('ERR INFO names no run_id: nobody can tell whether it is the server that is read from')
      // While a replica takes over, or behind a balancer, the two may have ended up at different ones.
      if (server !== this.#server) return line.disconnect(true)
      this.#isPending = false
      await this.hear()
    } catch (error) {
      if (round !== this.#round) return
      if (!isLasting(error)) return line.disconnect(true)
      this.#options.onRefused(withoutCommand(error))
      this.#askAgain = setTimeout(() => line.disconnect(true), ASK_AGAIN_MS)
    }
  }

  #lost (): void {
    this.#round++
    this.#isPending = true
    this.trustedUntil = 0
    clearTimeout(this.#askAgain)
    this.#options.onGap()
  }
}

/** Whether it will be the same the next time: a refusal, but not that Redis is busy or loading. */
function isLasting (error: unknown): error is Error {
  return error instanceof Error && /^(NOPERM|NOAUTH|WRONGPASS|ERR) /.test(error.message)
}

/** Another one each time that a server starts; `''` where that is not told. */
function serverOf (info: string): string {
  return /^run_id:(\w+)/m.exec(info)?.[1] ?? ''
}
