import { subscribe, tracingChannel, unsubscribe } from 'node:diagnostics_channel'
import type { TracingChannel } from 'node:diagnostics_channel'
import type { HeldSession } from './new-record.ts'
import type { SessionKind, SessionRecord } from './record.ts'
import type { Revocation } from './revocations.ts'

/**
 * What every trace says. Holds no token, no data, no id of a session or a user, and no name of an account, except where
 * `error` does.
 */
export interface Trace {
  /** `app.sessions`, or the `SessionManager`: it tells the registrations of one process apart. */
  readonly sessions: object
  /** When it began, by `performance.now()`. */
  readonly startedAt: number
  /** What carries the session. `null` where that is not known, or where it is about several. */
  readonly kind: SessionKind | null
  /** The error with which it has failed: whatever your code or your store threw, with all that it holds. */
  readonly error?: unknown
}

/** A session is read from the store. What is answered from this process's memory has no trace. */
export interface LoadTrace extends Trace {
  /** Where it is read. */
  readonly source: 'store'
  /** `none`: there is no such session. Like each `result`, it is absent until the end, and where it has failed. */
  readonly result?: 'found' | 'none'
}

/** Data of a session is stored: it was changed, began a session without a user, or goes on under a new id. */
export interface SaveTrace extends Trace {
  /** The size of the data as it was stored, in bytes of JSON. `null` until then, and where nothing was stored. */
  readonly dataBytes: number | null
  /** `ended`: the session has ended meanwhile, and nothing was stored. */
  readonly result?: 'stored' | 'ended'
}

/** Somebody signs in: by `app.login`, by assignment, by `sessions.create`. */
export interface LoginTrace extends Trace {
  /** `ended`: the session in place of which it was to begin has ended meanwhile. */
  readonly result?: 'begun' | 'ended'
}

/** A session is ended, or several are. */
export interface RevokeTrace extends Trace {
  /** Whether it was the user who signed out. */
  readonly reason: 'logout' | 'revoked'
  /** What is ended: one session, those of a user, or those of a session at an identity provider. */
  readonly of: 'session' | 'user' | 'idp'
  /** Number of sessions that have ended. `null` until then. */
  readonly count: number | null
  /** `none`: there was none. */
  readonly result?: 'ended' | 'none'
}

/** The sessions of a user are listed. */
export interface ListTrace extends Trace {
  /** Number of sessions that were listed. `null` until then. */
  readonly count: number | null
  /** They were. */
  readonly result?: 'listed'
}

/**
 * What the channels of `node:diagnostics_channel` tell, by name: `tracingChannel('fastify-user-sessions:load')` and so
 * on. Each message is the same object from the start to the end.
 */
export interface SessionTraces {
  /** A session is read from the store. */
  load: LoadTrace
  /** Data of a session is stored. */
  save: SaveTrace
  /** Somebody signs in. */
  login: LoginTrace
  /** A session is ended, or several are. */
  revoke: RevokeTrace
  /** The sessions of a user are listed. */
  list: ListTrace
}

/** The name of a channel, after `fastify-user-sessions:`. */
export type TraceName = keyof SessionTraces

/** A trace while it goes on. */
type Open<Context> = { -readonly [Member in keyof Context]: Context[Member] }

type Channels = { readonly [Name in TraceName]: TracingChannel<unknown, Open<SessionTraces[Name]>> }

// Held for good: Node forgets a channel that nobody holds.
const channels: Channels = {
  load: tracingChannel('fastify-user-sessions:load'),
  save: tracingChannel('fastify-user-sessions:save'),
  login: tracingChannel('fastify-user-sessions:login'),
  revoke: tracingChannel('fastify-user-sessions:revoke'),
  list: tracingChannel('fastify-user-sessions:list')
}

/** Names of all channels. */
export const TRACE_NAMES = Object.keys(channels) as TraceName[]

/** Listens to the traces of one registration that are over. Returns a function that stops it. */
export function onTraced<Name extends TraceName> (
  name: Name, sessions: object, listener: (trace: SessionTraces[Name]) => void
): () => void {
  const channel = `tracing:fastify-user-sessions:${name}:asyncEnd`
  const onMessage = (message: unknown): void => {
    // Messages of a channel are of one type.
    const trace = message as SessionTraces[Name]
    if (trace.sessions === sessions) listener(trace)
  }
  subscribe(channel, onMessage)
  return () => { unsubscribe(channel, onMessage) }
}

/**
 * Traces what one registration does. While nobody has subscribed to a channel, its work costs one look at that, and is
 * done as if it were called directly.
 */
export class Traces {
  readonly #sessions: () => object

  /** `sessions`: returns whom the traces name. */
  constructor (sessions: () => object) {
    this.#sessions = sessions
  }

  /** Whether anybody listens to loads: the one of them that most requests do. */
  get watchesLoads (): boolean {
    return channels.load.hasSubscribers
  }

  load<T> (kind: SessionKind | null, work: () => Promise<T>): Promise<T> {
    if (!channels.load.hasSubscribers) return work()
    const trace: Open<LoadTrace> = { ...this.#begun(kind), source: 'store' }
    return traced(channels.load, trace, work, (found) => found === null ? 'none' : 'found')
  }

  save<T extends SessionRecord | HeldSession | null> (kind: SessionKind, work: () => Promise<T>): Promise<T> {
    if (!channels.save.hasSubscribers) return work()
    const trace: Open<SaveTrace> = { ...this.#begun(kind), dataBytes: null }
    return traced(channels.save, trace, work, (stored) => {
      if (stored === null) return 'ended'
      trace.dataBytes = Buffer.byteLength('record' in stored ? stored.record.data : stored.data)
      return 'stored'
    })
  }

  login<T> (kind: SessionKind, work: () => Promise<T>): Promise<T> {
    if (!channels.login.hasSubscribers) return work()
    return traced(channels.login, this.#begun(kind), work, (begun) => begun === null ? 'ended' : 'begun')
  }

  /** The end of one session. */
  end (reason: RevokeTrace['reason'], kind: SessionKind | null, work: () => Promise<boolean>): Promise<boolean> {
    if (!channels.revoke.hasSubscribers) return work()
    const trace: Open<RevokeTrace> = { ...this.#begun(kind), reason, of: 'session', count: null }
    return traced(channels.revoke, trace, work, (hasEnded) => ended(trace, hasEnded ? 1 : 0))
  }

  /** The end of several sessions. `begin` must not throw. */
  revocation (of: 'user' | 'idp', begin: () => Revocation): Revocation {
    if (!channels.revoke.hasSubscribers) return begin()
    const trace: Open<RevokeTrace> = { ...this.#begun(null), reason: 'revoked', of, count: null }
    const held: { revocation?: Revocation } = {}
    const work = async (): Promise<number> => await (held.revocation = begin()).done
    // Its caller has the failure from `done`.
    traced(channels.revoke, trace, work, (count) => ended(trace, count)).catch(() => {})
    // The work has begun by now.
    return held.revocation as Revocation
  }

  list<T> (work: () => Promise<T[]>): Promise<T[]> {
    if (!channels.list.hasSubscribers) return work()
    const trace: Open<ListTrace> = { ...this.#begun(null), count: null }
    return traced(channels.list, trace, work, ({ length }) => {
      trace.count = length
      return 'listed'
    })
  }

  #begun (kind: SessionKind | null): Trace {
    return { sessions: this.#sessions(), startedAt: performance.now(), kind }
  }
}

function ended (trace: Open<RevokeTrace>, count: number): 'ended' | 'none' {
  trace.count = count
  return count === 0 ? 'none' : 'ended'
}

/** Does work and tells of it. `resultOf`: says in a word how it went, and adds to the trace. */
async function traced<Context extends Trace & { result?: string }, T> (
  channel: TracingChannel<unknown, Context>, trace: Context, work: () => Promise<T>,
  resultOf: (answer: T) => NonNullable<Context['result']>
): Promise<T> {
  const held: { answer?: T } = {}
  // Node adds to the trace what this resolves with: it must not be the session.
  await channel.tracePromise(async () => resultOf(held.answer = await work()), trace)
  // Else it has thrown.
  return held.answer as T
}
