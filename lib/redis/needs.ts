import { Keys } from './keys.ts'

/*
 * The rights that this package needs in the ACL of Redis: the one list, which docs/guides/production.md shows and the
 * doctor checks.
 */

/** A right, and calls that need it. `$` begins what stands for a name of ours: see `namesOf`. */
type Need = readonly [rule: string, ...calls: string[]]

/** Rights that every application needs, in the order of the guide. */
const ALWAYS: readonly Need[] = [
  ['+get', 'GET $session', 'GET $pending'],
  ['+mget', 'MGET $session'],
  ['+type', 'TYPE $session'],
  ['+set', 'SET $session x', 'SET $pending x'],
  ['+del', 'DEL $session', 'DEL $pending', 'DEL $list'],
  ['+exists', 'EXISTS $session $pending'],
  ['+scan', 'SCAN 0'],
  ['+zadd', 'ZADD $list 1 x', 'ZADD $tries 1 x'],
  ['+zrem', 'ZREM $list x', 'ZREM $tries x'],
  ['+zrange', 'ZRANGE $list 0 1', 'ZRANGE $tries 0 1'],
  ['+zrangebyscore', 'ZRANGEBYSCORE $list 0 1', 'ZRANGEBYSCORE $tries 0 1'],
  ['+zremrangebyscore', 'ZREMRANGEBYSCORE $tries 0 1'],
  ['+zscore', 'ZSCORE $list x', 'ZSCORE $tries x'],
  ['+zcount', 'ZCOUNT $list 0 1', 'ZCOUNT $tries 0 1'],
  ['+zrank', 'ZRANK $list x'],
  ['+pexpire', 'PEXPIRE $session 1'],
  ['+pexpireat', 'PEXPIREAT $session 1', 'PEXPIREAT $list 1', 'PEXPIREAT $tries 1'],
  ['+persist', 'PERSIST $session', 'PERSIST $list'],
  ['+rename', 'RENAME $pending $session'],
  ['+eval', 'EVAL x 2 $pending $session', 'EVAL x 1 $list', 'EVAL x 1 $tries'],
  ['+evalsha', 'EVALSHA x 2 $pending $session', 'EVALSHA x 1 $list', 'EVALSHA x 1 $tries'],
  ['+publish', 'PUBLISH $events x'],
  ['+subscribe', 'SUBSCRIBE $events'],
  ['+time', 'TIME'],
  ['+ping', 'PING'],
  ['+info', 'INFO']
]

/** Rights that only some applications need, by what they are for. */
const BESIDES = {
  /** `adopt` */
  adopt: [['+getdel', 'GETDEL $session']],
  /** `expressSession: 'share'` */
  expressSession: [['+pttl', 'PTTL $session']],
  /** `durability: 'replicated'` */
  durability: [['+wait', 'WAIT 1 1'], ['+role', 'ROLE']],
  /** The `RedisStore` for an Express app. */
  RedisStore: [['+expire', 'EXPIRE $session 1']],
  /** `events: 'sharded'` */
  events: [['+spublish', 'SPUBLISH $shard x'], ['+ssubscribe', 'SSUBSCRIBE $shard']],
  /** Another database than 0. */
  database: [['+select', 'SELECT $database']],
  cluster: [['+cluster|slots', 'CLUSTER SLOTS'], ['+cluster|info', 'CLUSTER INFO'], ['+asking', 'ASKING']],
  /** `nearCache` */
  nearCache: [
    ['+client|id', 'CLIENT ID'],
    ['+client|tracking', 'CLIENT TRACKING ON REDIRECT 1 BCAST PREFIX $prefix'],
    ['', 'SUBSCRIBE $invalidate']
  ]
} satisfies Record<string, readonly Need[]>

/** What needs rights of its own: an option of the plugin, the store for Express, a Cluster, another database. */
export type Use = keyof typeof BESIDES

/** All uses that need rights of their own. */
// Object.keys forgets the names that its argument has.
export const USES = Object.keys(BESIDES) as Use[]

/** Where the keys of an application lie, and what it uses. */
export interface Needs {
  readonly prefix: string
  readonly database?: number
  readonly uses?: readonly Use[]
}

/** A key or channel of a call, and the rule that allows it. */
export interface NeededName {
  readonly value: string
  readonly rule: string
}

/** A call that Redis has to allow, with the rule that allows its command: `''` where another call has it. */
export interface NeededCall {
  readonly rule: string
  readonly names: readonly NeededName[]
  readonly call: readonly string[]
}

/** Returns the calls that Redis has to allow. */
export function neededCalls ({ prefix, database = 0, uses = [] }: Needs): NeededCall[] {
  const names = namesOf(prefix, database)
  return [...ALWAYS, ...uses.flatMap((use): readonly Need[] => BESIDES[use])].flatMap(([rule, ...calls]) => {
    return calls.map((call) => {
      const words = call.split(' ')
      const named = words.flatMap((word) => {
        const { value, rule } = names[word] ?? {}
        return value === undefined || rule === undefined ? [] : [{ value, rule }]
      })
      return { rule, names: named, call: words.map((word) => names[word]?.value ?? word) }
    })
  })
}

/** Returns the rules that a user needs in the ACL: keys, channels, commands. */
export function neededRules (needs: Needs): { keys: string[], channels: string[], commands: string[] } {
  const calls = neededCalls(needs)
  const names = [...new Set(calls.flatMap((call) => call.names.map(({ rule }) => rule)))]
  return {
    keys: names.filter((rule) => rule.startsWith('~')).sort((one, other) => one.length - other.length),
    channels: names.filter((rule) => rule.startsWith('&')),
    commands: [...new Set(calls.map(({ rule }) => rule))].filter((rule) => rule !== '')
  }
}

/** Returns what each `$` name stands for, and the rule that allows it. */
function namesOf (prefix: string, database: number): Record<string, { value: string, rule?: string }> {
  const keys = new Keys(prefix)
  const pattern = (start: string): string => start.replace(/[\\*?[\]]/g, '\\$&') + '*'
  const id = 'x'.repeat(22)
  const pending = keys.pending(id)
  const events = keys.eventsOf(database)
  const channels = `&${pattern(events.slice(0, -'events'.length))}`
  const beside = `~${pattern(`@${prefix}`)}`
  return {
    $session: { value: keys.session(id), rule: `~${pattern(prefix)}` },
    $pending: { value: pending, rule: `~${pattern(pending.slice(0, pending.indexOf(prefix) + prefix.length))}` },
    $list: { value: keys.user('x'), rule: beside },
    $tries: { value: keys.tries('x'), rule: beside },
    $events: { value: events, rule: channels },
    $shard: { value: `${keys.shardsOf(database, 'ends')[0]}`, rule: channels },
    $invalidate: { value: '__redis__:invalidate', rule: '&__redis__:invalidate' },
    $database: { value: String(database) },
    $prefix: { value: prefix }
  }
}
