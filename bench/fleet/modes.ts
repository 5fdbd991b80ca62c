/*
 * How the processes of a fleet hear of each other. A process is simulated by the connection on which it listens: what
 * lib/redis/tracking.ts and lib/redis/bus.ts send on theirs. A further mode is one more entry here.
 */

/** What happens to sessions, in the order in which a table shows it. */
export const OPERATIONS = ['write', 'login', 'end'] as const
export type Operation = typeof OPERATIONS[number]

export interface Mode {
  name: string
  says: string
  /** What a process sends on its connection, which has this id. */
  commands: (id: string) => string[][]
  /** How often it asks whether the connection still lives. */
  pingEveryMs: number | null
  /** With each PING it also tells itself something by its other connection, to know that it hears: by this command. */
  echo?: (channel: string) => { subscribe: string[], publish: string[] }
  /** Operations of which each process is told. */
  tells: readonly Operation[]
  /**
   * Masters of a Cluster to which a process has such a connection: `all`, or one of them; then each message goes from
   * node to node as well.
   */
  masters: 'all' | 'one'
  /** Option `events` of the store that signs in and ends. */
  events?: 'sharded'
}

const PREFIX = 'sess:'
const INVALIDATIONS = '__redis__:invalidate'
/** A third of NEAR_SILENCE_MS, as the near-cache does. */
const NEAR_PING_MS = 333
/** BUS_PING_EVERY_MS */
const BUS_PING_MS = 2_000
/** The channels of `events: 'sharded'`, as lib/redis/keys.ts spreads them over a Cluster. */
const TAGS = [18, 3, 65, 140, 19, 2, 64, 141, 106, 1, 70, 49, 107, 0, 66, 48]

/** The channel for one subject on which a session's event is told. */
function shardsOf (subject: 'beginnings' | 'ends'): string[] {
  return TAGS.map((tag) => `@${PREFIX}events:{${tag}}:${subject}`)
}

const plainEcho = (channel: string): { subscribe: string[], publish: string[] } => ({ subscribe: ['SUBSCRIBE', channel], publish: ['PUBLISH', channel, 'echo'] })
const shardedEcho = (channel: string): { subscribe: string[], publish: string[] } => ({ subscribe: ['SSUBSCRIBE', channel], publish: ['SPUBLISH', channel, 'echo'] })

export const MODES: readonly Mode[] = [
  {
    name: 'none',
    says: 'no near-cache, nobody listens',
    commands: () => [],
    pingEveryMs: null,
    tells: [],
    masters: 'all'
  },
  {
    name: 'near-cache',
    says: '`nearCache: true`',
    commands: (id) => [['CLIENT', 'TRACKING', 'ON', 'REDIRECT', id, 'BCAST', 'PREFIX', PREFIX], ['SUBSCRIBE', INVALIDATIONS]],
    pingEveryMs: NEAR_PING_MS,
    tells: ['write', 'login', 'end'],
    masters: 'all'
  },
  {
    name: 'events',
    says: 'events, or `request.auth.signal`',
    commands: () => [['SUBSCRIBE', `@${PREFIX}events`]],
    pingEveryMs: BUS_PING_MS,
    tells: ['login', 'end'],
    masters: 'one'
  },
  {
    name: 'near-cache-ends',
    says: '`nearCache: { invalidate: \'ends\' }`, one server',
    commands: () => [['SUBSCRIBE', `@${PREFIX}events`]],
    pingEveryMs: NEAR_PING_MS,
    echo: plainEcho,
    tells: ['login', 'end'],
    masters: 'one'
  },
  {
    name: 'near-cache-ends-sharded',
    says: '`invalidate: \'ends\'` with `events: \'sharded\'`',
    commands: () => shardsOf('ends').map((channel) => ['SSUBSCRIBE', channel]),
    pingEveryMs: NEAR_PING_MS,
    echo: shardedEcho,
    tells: ['end'],
    masters: 'all',
    events: 'sharded'
  },
  {
    name: 'signal-sharded',
    says: '`request.auth.signal` with `events: \'sharded\'`',
    commands: () => shardsOf('ends').map((channel) => ['SSUBSCRIBE', channel]),
    pingEveryMs: BUS_PING_MS,
    tells: ['end'],
    masters: 'all',
    events: 'sharded'
  }
]

/** Redis remembers what each connection has read, and tells those that have; RESP3, so that one connection does both. */
export const TRACKED: Mode = {
  name: 'tracked',
  says: 'tracking of what each process has read',
  commands: () => [['HELLO', '3'], ['CLIENT', 'TRACKING', 'ON']],
  pingEveryMs: NEAR_PING_MS,
  tells: ['write', 'end'],
  masters: 'all'
}

export function modeOf (name: string): Mode {
  const mode = [...MODES, TRACKED].find((each) => each.name === name)
  if (mode === undefined) throw new Error(`there is no mode ${name}`)
  return mode
}
