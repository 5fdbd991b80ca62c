import { EventEmitter } from 'node:events'
import type { Redis } from 'ioredis'
import type { StoreEvents } from '../session/store.ts'
import { LEFT_MS, REFUSAL_QUIET_MS } from '../util/timings.ts'
import { isCluster } from './connection.ts'
import type { Client } from './connection.ts'
import { handleAsking, isRefusal, withoutCommand } from './driver.ts'
import { unsuitable } from './suitability.ts'

/*
 * What an operator hears of Redis: at boot that it is not good for sessions, then that it is out of reach, that it
 * answers again, and that it refuses what it is asked.
 */

/** How many kinds of refusals are told apart. They come from Redis, and are few. */
const MAX_KINDS = 50

const SEE_ACL = 'docs/guides/production.md has the ACL'
/** Advice for the operator about refusals of Redis. */
const ADVICE: Array<[pattern: RegExp, advice: string]> = [
  [
    /NOPERM .*channel/,
    `its user lacks the channels: ${SEE_ACL}. Until then processes hear of each other's sign-outs five seconds late`
  ],
  [/NOPERM|can't run this command/, `its user lacks a command or key: ${SEE_ACL}`],
  [/NOAUTH|WRONGPASS/, 'it wants another user name or password'],
  [/OOM /, 'it is full: nobody can sign in. Give it more memory'],
  [/MISCONF/, 'it cannot save to its disk, and takes no writes until it can'],
  [/no replica/, 'none follows, or not fast enough: signing in and out is answered 503 until one does'],
  [/READONLY|NOREPLICAS/, 'it takes no writes: it has become a replica, or lacks its own']
]

/**
 * Returns what makes a server unsuitable for sessions, as warnings that say what to do. Reads INFO alone; where that
 * fails there are none.
 */
export async function suitabilityWarnings (server: Pick<Redis, 'info'>): Promise<string[]> {
  const info = await server.info().catch(() => '')
  return unsuitable(info).map(({ found, todo }) => `${found}. ${todo}`)
}

/** What a store tells, for those too who come during an outage. */
export class StoreEmitter extends EventEmitter<StoreEvents> {
  /** Whether the store is down. */
  isDown = false
}

/**
 * Emits `down` once when a server is out of reach, and `up` once when all of them answer again, however many there
 * are.
 */
export class OutageReporter {
  readonly #events: StoreEmitter
  readonly #leftAt: Array<() => number> = []
  #unreachable = 0
  #timer: NodeJS.Timeout | undefined

  constructor (events: StoreEmitter) {
    this.#events = events
  }

  /** Includes a connection. `leftAt` returns when it last left its server on purpose, by `performance.now()`. */
  include (leftAt: () => number): void {
    this.#leftAt.push(leftAt)
  }

  /** A server is out of reach. */
  down (cause: unknown): void {
    if (this.#unreachable++ > 0) return
    const report = (): void => {
      this.#events.isDown = true
      this.#events.emit('down', cause)
    }
    if (performance.now() - Math.max(...this.#leftAt.map((each) => each())) > LEFT_MS) report()
    else this.#timer = setTimeout(report, LEFT_MS)
  }

  /** A server answers again. */
  up (): void {
    if (--this.#unreachable > 0) return
    clearTimeout(this.#timer)
    if (!this.#events.isDown) return
    this.#events.isDown = false
    this.#events.emit('up')
  }

  close (): void {
    clearTimeout(this.#timer)
  }
}

/**
 * Emits `refused` for what Redis refuses: each kind once, until it has not been seen for a minute. Refusals come with
 * every request.
 */
export class RefusalReporter {
  readonly #events: EventEmitter<StoreEvents>
  readonly #seenAt = new Map<string, number>()

  constructor (events: EventEmitter<StoreEvents>) {
    this.#events = events
  }

  /** Redis answered with this error. */
  seen (error: Error): void {
    const advice = ADVICE.find(([pattern]) => pattern.test(error.message))?.[1]
    // Each command that the user lacks is a kind of its own: one line would hide the next.
    const kind = advice === undefined || advice.includes(SEE_ACL) ? error.message : advice
    const now = performance.now()
    const before = this.#seenAt.get(kind) ?? -Infinity
    if (this.#seenAt.size > MAX_KINDS) this.#seenAt.clear()
    this.#seenAt.set(kind, now)
    if (now - before >= REFUSAL_QUIET_MS) this.#events.emit('refused', advice ?? 'see what it says', error)
  }
}

/** Listens to a connection, which others may be using as well: its last error, and whether waiting may mend it. */
export class ConnectionWatch {
  readonly #client: Client
  readonly #whenReady: () => void
  readonly #leaveAsking: () => void
  /** Last error since the connection was ready. */
  lastError: Error | undefined
  /** Error that only other options will mend. */
  refusal: Error | undefined
  readonly #onError = (error: Error): void => {
    const shown = withoutCommand(error)
    this.lastError = shown
    // The error of a Cluster that could not connect holds the one of the node tried last.
    const refusal = [shown, (shown as { lastNodeError?: Error }).lastNodeError].find(isRefusal)
    if (refusal !== undefined) this.refusal = refusal
  }

  readonly #onReady = (): void => {
    this.lastError = undefined
    this.#whenReady()
  }

  constructor (client: Client, whenReady: () => void) {
    this.#client = client
    this.#whenReady = whenReady
    // Any number of stores may share a client.
    client.setMaxListeners(client.getMaxListeners() + 1)
    // Without a listener the driver prints every failed attempt to connect.
    client.on('error', this.#onError)
    client.on('ready', this.#onReady)
    this.#leaveAsking = isCluster(client) ? handleAsking(client) : () => {}
  }

  /** Stops listening. The driver still prints no failed attempts to connect. Twice is safe. */
  close (): void {
    const client = this.#client
    if (!client.listeners('ready').includes(this.#onReady)) return
    this.#leaveAsking()
    client.off('ready', this.#onReady)
    client.off('error', this.#onError)
    client.on('error', ignoreError)
    client.setMaxListeners(client.getMaxListeners() - 1)
    // One is enough for all stores that were on this client.
    const ignoring = client.listeners('error').filter((listener) => listener === ignoreError)
    if (ignoring.length > 1) client.off('error', ignoreError)
  }
}

/** Listener that stays on a client in place of a store's. */
function ignoreError (): void {}
