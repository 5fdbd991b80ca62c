import { channel } from 'node:diagnostics_channel'
import { EventEmitter } from 'node:events'
import type { Bus } from './store.ts'

/** Why a session ended. `replaced`: by another sign-in, or by a regeneration of its id; `evicted`: by the limit of sessions per user. */
export type EndReason = 'logout' | 'revoked' | 'replaced' | 'evicted'

/** What an event says; never a token, never data. */
export interface SessionEvent {
  /** The public handle of the session. */
  readonly id: string
  readonly userId: string
  /** When, in milliseconds since 1970, by the store's clock. */
  readonly at: number
  /** `revoked`: why. `created`: `moved` where a session goes on under a new id, by a regeneration. Else `null`. */
  readonly reason: EndReason | 'moved' | null
  /** `true` in the one process where it happened or was noticed: count those. */
  readonly local: boolean
}

/** A login that has failed; never a name. Who was meant, the application may say in its own log. */
export interface LoginFailure {
  /** Where it came from, as it is counted: an IPv4 address, or an IPv6 network such as `2001:db8:1:2::/64`. */
  readonly network: string
  /** When, in milliseconds since 1970, by the store's clock. */
  readonly at: number
  /** `credentials`: they were wrong. `limit`: too many had failed before, and they were not looked at. */
  readonly reason: 'credentials' | 'limit'
  /** Always `true`: only the process where it happened tells of it. */
  readonly local: true
}

export interface SessionEvents {
  /** Somebody signed in, or (`reason` is `moved`) a session got a new id. */
  created: [event: SessionEvent]
  /** A signed-in session was ended: by a logout, by `revoke`, by another sign-in, by a limit. */
  revoked: [event: SessionEvent]
  /** A signed-in session had run out. Told once, when somebody notices, which may be a while later. */
  expired: [event: SessionEvent]
  /** Somebody tried to sign in at `authRoutes` or through `attemptLogin`, and may not; told by each process for itself. */
  'login-failed': [event: LoginFailure]
  /** The store does not answer, or did not at boot; told by each process for itself, and to who begins to listen meanwhile. */
  'store-down': []
  /** The store answers again. */
  'store-up': []
}

export type EventName = keyof SessionEvents
type FleetEvent = 'created' | 'revoked' | 'expired'

/** How many events one message holds at the most. */
const AT_ONCE = 500

const FLEET_EVENTS: readonly unknown[] = ['created', 'revoked', 'expired'] satisfies FleetEvent[]
export const EVENT_NAMES: readonly unknown[] = [...FLEET_EVENTS, 'login-failed', 'store-down', 'store-up'] satisfies unknown[]
const REASONS: readonly unknown[] = [null, 'moved', 'logout', 'revoked', 'replaced', 'evicted'] satisfies Array<SessionEvent['reason']>

/** What is published of the store. */
const LOCAL = Object.freeze({ local: true })

/**
 * What happens to sessions, told to this process and to all that share the store. All of it is also on
 * `diagnostics_channel`, as `fastify-user-sessions:<name>`. Best effort across processes: who must not
 * miss an end holds `request.auth.signal`.
 */
export class EventHub {
  readonly #emitter = new EventEmitter<SessionEvents>()
  readonly #bus: Bus | undefined
  readonly #origin = crypto.randomUUID()
  readonly #onGap = new Set<() => void>()
  /** The store was told to be down, and not up since. */
  #isDown = false
  /** What happened at once, to be told to the others with as few messages. */
  #untold: FleetMessage[] = []
  #unsubscribe: (() => Promise<void>) | undefined
  #closed = false

  constructor (bus: Bus | undefined) {
    this.#bus = bus
    // However many WebSockets an application holds.
    this.#emitter.setMaxListeners(0)
  }

  /** Hears of this process, and from the first listener on of the others as well. */
  on<Name extends EventName> (name: Name, listener: (...args: SessionEvents[Name]) => void): void {
    // The driver's types do not follow a generic name.
    this.#emitter.on(name, listener as never)
    this.#listen()
    // Who begins to listen after the outage has begun, as everybody does where it was there at boot.
    if (name === 'store-down' && this.#isDown) process.nextTick(() => { if (this.#emitter.listeners(name).includes(listener as never)) (listener as () => void)() })
  }

  off<Name extends EventName> (name: Name, listener: (...args: SessionEvents[Name]) => void): void {
    this.#emitter.off(name, listener as never)
  }

  /** Calls back whenever something of other processes may have been missed. */
  onGap (callback: () => void): void {
    this.#onGap.add(callback)
    this.#listen()
  }

  /** Tells this process, and the others as soon as the store passes it on. */
  emit (name: FleetEvent, event: Omit<SessionEvent, 'local'>): void {
    this.#tell(name, { ...event, local: true })
    const bus = this.#bus
    if (bus !== undefined && this.#untold.push({ name, ...event }) === 1) queueMicrotask(() => this.#publish(bus))
  }

  /** One event is a message of its own, of several that happened at once, as when very many sessions end, one is made. */
  #publish (bus: Bus): void {
    const told = this.#untold
    this.#untold = []
    for (let from = 0; from < told.length; from += AT_ONCE) {
      const events = told.slice(from, from + AT_ONCE)
      void bus.publish(JSON.stringify({ origin: this.#origin, ...events.length === 1 ? events[0] : { events } }))
    }
  }

  /** Tells this process alone, and of a store that is down also who listens later. */
  emitHere (name: 'store-down' | 'store-up'): void {
    process.nextTick(() => {
      this.#isDown = name === 'store-down'
      channel(`fastify-user-sessions:${name}`).publish(LOCAL)
      this.#tellEach(name)
    })
  }

  /** Twice is safe. */
  async close (): Promise<void> {
    this.#closed = true
    await this.#unsubscribe?.()
  }

  #listen (): void {
    if (!this.#closed) this.#unsubscribe ??= this.#bus?.subscribe((message) => this.#hear(message), () => { for (const each of this.#onGap) each() })
  }

  #hear (message: string): void {
    for (const { name, id, userId, at, reason } of parse(message, this.#origin)) {
      this.#tell(name, { id, userId, at, reason, local: false })
    }
  }

  /** Tells this process alone of a login that failed. */
  emitFailure (failure: Omit<LoginFailure, 'local'>): void {
    this.#tell('login-failed', { ...failure, local: true })
  }

  /** Outside of what is going on: what a listener throws is not the session's concern, nor that of other listeners. */
  #tell (name: FleetEvent | 'login-failed', event: SessionEvent | LoginFailure): void {
    Object.freeze(event)
    process.nextTick(() => {
      channel(`fastify-user-sessions:${name}`).publish(event)
      this.#tellEach(name, event)
    })
  }

  #tellEach (name: EventName, ...args: Array<SessionEvent | LoginFailure>): void {
    // The emitter's types do not follow a name that may be any.
    for (const listener of this.#emitter.listeners(name)) process.nextTick(listener as (...args: unknown[]) => void, ...args)
  }
}

type FleetMessage = Omit<SessionEvent, 'local'> & { name: FleetEvent }

/** What another process than `origin` says in a message: anybody may publish on a channel. */
function parse (message: string, origin: string): FleetMessage[] {
  try {
    const heard = JSON.parse(message) as Record<string, unknown>
    if (typeof heard.origin !== 'string' || heard.origin === origin) return []
    const events: unknown[] = Array.isArray(heard.events) ? heard.events : [heard]
    return events.filter(isFleetMessage)
  } catch {
    return []
  }
}

function isFleetMessage (heard: unknown): heard is FleetMessage {
  const { name, id, userId, at, reason } = (heard ?? {}) as Record<string, unknown>
  const isEvent = FLEET_EVENTS.includes(name) && REASONS.includes(reason)
  return isEvent && typeof id === 'string' && typeof userId === 'string' && typeof at === 'number'
}
