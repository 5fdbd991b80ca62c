import { channel } from 'node:diagnostics_channel'
import { EventEmitter } from 'node:events'
import { withDeadline } from '../util/deadline.ts'
import { QUIT_MS } from '../util/timings.ts'
import { droppedMessage, eventsIn, FLEET_EVENTS, messagesOf, subjectOf } from './event-messages.ts'
import type { FleetEvent, FleetMessage } from './event-messages.ts'
import type { SessionKind } from './record.ts'
import type { Bus, BusSubject } from './store.ts'

export { droppedMessage, endedIn } from './event-messages.ts'

/**
 * Why a session ended. `replaced`: by a later sign-in, or by a regeneration of its id. `evicted`: by the limit of
 * sessions per user.
 */
export type EndReason = 'logout' | 'revoked' | 'replaced' | 'evicted'

/** An event about a session. Holds no token and no data. */
export interface SessionEvent {
  /** The public handle of the session. */
  readonly id: string
  /** Whose session it is. */
  readonly userId: string
  /** Milliseconds since 1970, by the store's clock. */
  readonly at: number
  /** `revoked`: why. `created`: `moved` where a session goes on under a new id, by a regeneration. Else `null`. */
  readonly reason: EndReason | 'moved' | null
  /** What carries the session. `null` where the process that noticed it cannot tell. */
  readonly kind: SessionKind | null
  /** `revoked`: the `reason` that the application gave. Else `null`. */
  readonly statedReason: string | null
  /** `revoked`: who ended it, `created`: who acts as the user, where the application said so. Else `null`. */
  readonly actor: string | null
  /** The id of the request that did it. `null` where it was none, and for `replaced`, `evicted` and `expired`. */
  readonly requestId: string | null
  /**
   * `created`: whether the user has not signed in from this device before. `false` for their very first sign-in. `null`
   * where it is not known: without the option `knownDevices`, for bearer tokens, for who acts as the user.
   */
  readonly newDevice: boolean | null
  /** `created`: the same of the network. */
  readonly newNetwork: boolean | null
  /** `true` in the one process where it happened or was noticed: count those. */
  readonly local: boolean
}

/** A login that has failed. Holds no name: the application may log that itself. */
export interface LoginFailure {
  /** The network that it came from, as it is counted: an IPv4 address, or `2001:db8:1:2::/64` of IPv6. */
  readonly network: string
  /** Milliseconds since 1970, by the store's clock. */
  readonly at: number
  /** `credentials`: they were wrong. `limit`: too many logins had failed before, and they were not checked. */
  readonly reason: 'credentials' | 'limit'
  /**
   * `limit`: the limit that refused it, by its name in the option `attempts`; of several the one that lasts longest.
   * `null` for `credentials`, and where a store of your own does not say it.
   */
  readonly limit: 'network' | 'accountNetwork' | 'account' | null
  /** `true`: only the process where it happened emits it. */
  readonly local: true
}

/** The use of a session after it was ended. Holds no token. */
export interface UseAfterEnd {
  /** The public handle that the session had. */
  readonly id: string
  /** Whose session it was. */
  readonly userId: string
  /** What carried it. */
  readonly kind: SessionKind
  /** How it ended: by a logout, or by `revoke` and its like. */
  readonly reason: 'logout' | 'revoked'
  /** The `reason` that the application gave, or `null`. */
  readonly statedReason: string | null
  /** Who ended it, where the application said so; else `null`. */
  readonly actor: string | null
  /** When it ended, in milliseconds since 1970, by the store's clock. */
  readonly endedAt: number
  /** When it was used, by the same clock. */
  readonly at: number
  /** The network that the use came from: an IPv4 address, or `2001:db8:1:2::/64` of IPv6. */
  readonly network: string
  /** The device, read from the `User-Agent` header, or `null`. */
  readonly device: string | null
  /** The id of the request. */
  readonly requestId: string | null
  /** `true`: only the process where it happened emits it. */
  readonly local: true
}

/** The use of a session that is bound to a device, without that device. Holds no token. */
export interface DeviceMismatch {
  /** The public handle of the session. */
  readonly id: string
  /** Whose session it is. */
  readonly userId: string
  /**
   * `refused`: the cookie was used in another browser, or this one has lost its key. `skipped`: the request was let
   * through as not bound, since the browser says that it could not prove the device. A thief can say that as well.
   */
  readonly reason: 'refused' | 'skipped'
  /** When it was used, in milliseconds since 1970, by the store's clock. */
  readonly at: number
  /** The network that the use came from: an IPv4 address, or `2001:db8:1:2::/64` of IPv6. */
  readonly network: string
  /** The device, read from the `User-Agent` header, or `null`. */
  readonly device: string | null
  /** The id of the request. `null` where it was none. */
  readonly requestId: string | null
  /** `true`: only the process where it happened emits it. */
  readonly local: true
}

/** The use of a session by a second browser. Holds no token. */
export interface SessionFork {
  /** The public handle of the session. */
  readonly id: string
  /** Whose session it is. */
  readonly userId: string
  /** When it was noticed, in milliseconds since 1970, by the store's clock. */
  readonly at: number
  /**
   * The network of the request by which it was noticed: an IPv4 address, or `2001:db8:1:2::/64` of IPv6. It may be the
   * owner's, and may be the other's.
   */
  readonly network: string
  /** Whether that is another network than the one that the session began from. */
  readonly networkDiffers: boolean
  /** The device of that request, read from the `User-Agent` header, or `null`. */
  readonly device: string | null
  /** The id of that request. */
  readonly requestId: string | null
  /** `true`: only the process where it happened emits it. */
  readonly local: true
}

/** Events of sessions and of the store, by name, with what listeners get. */
export interface SessionEvents {
  /** Somebody signed in, or (`reason` is `moved`) a session got a new id. */
  created: [event: SessionEvent]
  /** A signed-in session was ended: by a logout, by `revoke`, by a later sign-in, by a limit. */
  revoked: [event: SessionEvent]
  /** A signed-in session had expired. Emitted once, when a process notices, which may be a while later. */
  expired: [event: SessionEvent]
  /** A login at `authRoutes` or through `attemptLogin` has failed. Emitted only in the process where it happened. */
  'login-failed': [event: LoginFailure]
  /**
   * A cookie or a token was used that proves a session which a logout or a revocation has ended. Needs `endedFor`.
   * Emitted only in the process where it happened, once for each session.
   */
  'used-after-end': [event: UseAfterEnd]
  /**
   * A session that is bound to a device was used without it: its cookie may have been stolen. Needs `deviceBound`.
   * Emitted only in the process where it happened, once for each session and reason.
   */
  'device-mismatch': [event: DeviceMismatch]
  /**
   * Two browsers use one session: its cookie may have been stolen, or was copied with a profile. Needs `forkDetection`.
   * Emitted only in the process where it happened, once for each session there.
   */
  'session-forked': [event: SessionFork]
  /** The store does not answer, or did not at boot. Each process emits it for itself, also to later listeners. */
  'store-down': []
  /** The store answers again. */
  'store-up': []
}

/** The name of an event. */
export type EventName = keyof SessionEvents

/** Names of all events. */
export const EVENT_NAMES: readonly unknown[] = [
  ...FLEET_EVENTS, 'login-failed', 'used-after-end', 'device-mismatch', 'session-forked', 'store-down', 'store-up'
]

/** What this process knows of what happens in it, and no event says. Not all of it is known each time. */
export interface Circumstances {
  /** The address of the client. */
  readonly ip?: string | null | undefined
  /** The `User-Agent` header. */
  readonly userAgent?: string | null | undefined
  /** The id of the request. `undefined`: no request did it, or it is not known which. */
  readonly requestId?: unknown
  /** How a user who signs in has proved who they are: names separated by spaces. */
  readonly methods?: string | null | undefined
  /** What was typed in as the name of the account. */
  readonly account?: unknown
}

/** Something that happens here and is no event for applications. */
export interface Incident {
  /** Milliseconds since 1970, by the store's clock. */
  readonly at: number
  /** Whom it concerns. `null` where that is nobody, or not known. */
  readonly userId: string | null
}

/** What happens in a process, by name. */
interface HereEvents extends SessionEvents {
  /** A sign-in was refused: the user has as many sessions as they may. */
  'limit-reached': [incident: Incident]
  /** A request of another site was refused. */
  'cross-site': [incident: Incident]
  /** Failed logins of an account were cleared. */
  unlocked: [incident: Incident]
}

/** Name of something that happens in a process. */
type HereName = keyof HereEvents

/** Hears of what happens in this process. Events of the store have no argument. */
export type HereListener<Name extends HereName> = (
  event: HereEvents[Name] extends [infer Event] ? Event : undefined, about: Circumstances
) => void

/** Message on `diagnostics_channel` for events of the store. */
const LOCAL = Object.freeze({ local: true })

/** Where nothing is known besides an event. */
const NOT_KNOWN: Circumstances = Object.freeze({})

/**
 * Emits events about sessions in this process and in all that share the store. All of them are also on
 * `diagnostics_channel`, as `fastify-user-sessions:<name>`. Events between processes can get lost: code that must not
 * miss an end uses `request.auth.signal`.
 */
export class EventHub {
  readonly #emitter = new EventEmitter<SessionEvents>()
  /** Emits what happens in this process. */
  readonly #here = new EventEmitter()
  readonly #bus: Bus | undefined
  readonly #origin = crypto.randomUUID()
  readonly #onGap = new Set<() => void>()
  /** Whether the store is down. */
  #isDown: boolean
  /** Events of the same moment, which go to the others in as few messages as possible. */
  #untold: FleetMessage[] = []
  /** Messages under way. */
  readonly #publishing = new Set<Promise<void>>()
  /** What ends listening, by what is listened to; `all` where the store has one channel for all. */
  readonly #unsubscribe = new Map<BusSubject | 'all', () => Promise<void>>()
  #closed = false

  /** `isDown`: the store is down already. */
  constructor (bus: Bus | undefined, { isDown = false } = {}) {
    this.#bus = bus
    this.#isDown = isDown
    // However many WebSockets an application holds.
    this.#emitter.setMaxListeners(0)
    this.#here.setMaxListeners(0)
  }

  /** Listens to this process, and from the first listener on to the others as well. */
  on<Name extends EventName> (name: Name, listener: (...args: SessionEvents[Name]) => void): void {
    // The driver's types do not follow a generic name.
    this.#emitter.on(name, listener as never)
    this.#listen(subjectOf(name))
    if (name === 'store-down' && this.#isDown) this.#emitLate(listener as () => void)
  }

  off<Name extends EventName> (name: Name, listener: (...args: SessionEvents[Name]) => void): void {
    this.#emitter.off(name, listener as never)
  }

  /**
   * Listens to what happens in this process alone: the process does not begin to listen to others for it. The listener
   * is called before those of `on`, and must not throw. Returns what ends it.
   */
  onHere<Name extends HereName> (name: Name, listener: HereListener<Name>): () => void {
    this.#here.on(name, listener)
    return () => { this.#here.off(name, listener) }
  }

  /** Whether the store is down. */
  get isDown (): boolean {
    return this.#isDown
  }

  /** Emits `store-down` to a listener that came after the outage began, as all do where it was there at boot. */
  #emitLate (listener: () => void): void {
    process.nextTick(() => { if (this.#emitter.listeners('store-down').includes(listener)) listener() })
  }

  /** Calls back whenever events of other processes may have been missed. */
  onGap (callback: () => void): void {
    this.#onGap.add(callback)
    this.#listen('ends')
  }

  /** Emits an event in this process, and in the others as soon as the store passes it on: without `about`. */
  emit (name: FleetEvent, event: Omit<SessionEvent, 'local'>, about?: Circumstances): void {
    this.#tell(name, { ...event, local: true }, about)
    const bus = this.#bus
    if (bus !== undefined && this.#untold.push({ name, ...event }) === 1) queueMicrotask(() => this.#publish(bus))
  }

  /** Publishes one event as a message of its own, and several of the same moment as one message for each channel. */
  #publish (bus: Bus): void {
    const told = this.#untold
    this.#untold = []
    const channels = new Map<string | undefined, FleetMessage[]>()
    for (const event of told) {
      const channel = bus.channelOf?.(subjectOf(event.name), event.id)
      const events = channels.get(channel)
      if (events === undefined) channels.set(channel, [event])
      else events.push(event)
    }
    for (const [channel, events] of channels) {
      for (const message of messagesOf(this.#origin, events)) this.#send(bus, message, channel)
    }
  }

  #send (bus: Bus, message: string, channel?: string): void {
    // Events can get lost. A store of somebody else may say so by an error, which must not end the process.
    const publishing = new Promise((resolve) => resolve(bus.publish(message, channel))).then(() => {}, () => {})
      .finally(() => this.#publishing.delete(publishing))
    this.#publishing.add(publishing)
  }

  /** Has other processes forget their copies of a session of whose end no event tells. */
  tellDropped (id: string): void {
    const bus = this.#bus
    if (bus !== undefined) this.#send(bus, droppedMessage(id), bus.channelOf?.('ends', id))
  }

  /** Emits an event of the store in this process alone. Those who listen later hear `store-down` too. */
  emitHere (name: 'store-down' | 'store-up'): void {
    process.nextTick(() => {
      this.#isDown = name === 'store-down'
      this.#here.emit(name, undefined, NOT_KNOWN)
      channel(`fastify-user-sessions:${name}`).publish(LOCAL)
      this.#tellEach(name)
    })
  }

  /** Stops listening to other processes, when they have been told of everything here. Twice is safe. */
  async close (): Promise<void> {
    this.#closed = true
    // A script that ends a session and closes the connection would say nothing.
    if (this.#bus !== undefined) this.#publish(this.#bus)
    await withDeadline(Promise.all(this.#publishing), QUIT_MS)
    // Those who listen are called in ticks to come, the security log too.
    await new Promise((resolve) => setImmediate(resolve))
    await Promise.all([...this.#unsubscribe.values()].map(async (end) => await end()))
  }

  /** Listens to other processes, if there are channels for this subject. `null`: no other process tells of it. */
  #listen (subject: BusSubject | null): void {
    const bus = this.#bus
    if (bus === undefined || this.#closed) return
    if (bus.channelOf === undefined) return this.#subscribe(bus)
    if (subject !== null) this.#subscribe(bus, subject)
  }

  #subscribe (bus: Bus, subject?: BusSubject): void {
    const name = subject ?? 'all'
    if (this.#unsubscribe.has(name)) return
    const onMessage = (message: string): void => this.#onMessage(message, subject)
    const onGap = (): void => { for (const each of this.#onGap) each() }
    this.#unsubscribe.set(name, bus.subscribe(onMessage, onGap, subject))
  }

  #onMessage (message: string, subject?: BusSubject): void {
    for (const { name, ...event } of eventsIn(message, this.#origin)) {
      // A bus may pass on more than was asked for.
      if (subject === undefined || subjectOf(name) === subject) this.#tell(name, { ...event, local: false })
    }
  }

  /** Emits a failed login in this process alone. */
  emitFailure (failure: Omit<LoginFailure, 'local'>, about?: Circumstances): void {
    this.#tell('login-failed', { ...failure, local: true }, about)
  }

  /** Emits a use after an end in this process alone. */
  emitUseAfterEnd (use: Omit<UseAfterEnd, 'local'>, about?: Circumstances): void {
    this.#tell('used-after-end', { ...use, local: true }, about)
  }

  /** Emits a use without the device in this process alone. */
  emitMismatch (use: Omit<DeviceMismatch, 'local'>, about?: Circumstances): void {
    this.#tell('device-mismatch', { ...use, local: true }, about)
  }

  /** Emits a fork in this process alone. */
  emitFork (fork: Omit<SessionFork, 'local'>, about?: Circumstances): void {
    this.#tell('session-forked', { ...fork, local: true }, about)
  }

  /** Emits to those who listen with `onHere`, and to nobody else. */
  emitIncident (
    name: 'limit-reached' | 'cross-site' | 'unlocked', incident: Incident, about: Circumstances = NOT_KNOWN
  ): void {
    process.nextTick(() => this.#here.emit(name, incident, about))
  }

  /** Emits later, so that an error of a listener disturbs neither the session nor other listeners. */
  #tell (
    name: FleetEvent | 'login-failed' | 'used-after-end' | 'device-mismatch' | 'session-forked', event: AnyEvent,
    about = NOT_KNOWN
  ): void {
    Object.freeze(event)
    process.nextTick(() => {
      if (event.local) this.#here.emit(name, event, about)
      channel(`fastify-user-sessions:${name}`).publish(event)
      this.#tellEach(name, event)
    })
  }

  #tellEach (name: EventName, ...args: AnyEvent[]): void {
    // The emitter's types do not follow a name that may be any.
    const listeners = this.#emitter.listeners(name) as Array<(...args: unknown[]) => void>
    for (const listener of listeners) process.nextTick(listener, ...args)
  }
}

/** What listeners get. */
type AnyEvent = SessionEvent | LoginFailure | UseAfterEnd | DeviceMismatch | SessionFork
