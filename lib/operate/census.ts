import { allMasters } from '../redis/cluster.ts'
import { isReply } from '../redis/driver.ts'
import { errors } from '../errors.ts'
import { encode } from '../store/codec.ts'
import { SCAN_COUNT } from './connection.ts'
import type { Connection } from './connection.ts'
import { assertGoesOn } from './exit.ts'

/** How many keys of a server are looked at, where not all are. */
export const SAMPLE = 100_000

/** What lies in Redis, counted or estimated. */
export interface Census {
  /** Whether the numbers are estimates: not all keys were looked at. */
  readonly isEstimate: boolean
  /** How many keys were looked at, of this package and of others. */
  readonly keysSeen: number
  /** How many keys there are. */
  readonly keys: number
  readonly sessions: number
  readonly signedIn: number
  readonly anonymous: number
  /** Sessions of bearer tokens. */
  readonly bearer: number
  /** Users who are signed in somewhere. */
  readonly users: number
  /** Bytes of the texts of sessions and their keys. Redis needs some more for each. */
  readonly bytes: number
  /** Keys under the prefix that are no sessions of this package. */
  readonly others: number
}

/** The numbers that are counted. */
const COUNTED = ['sessions', 'signedIn', 'anonymous', 'bearer', 'users', 'bytes', 'others'] as const
type Counts = Record<typeof COUNTED[number], number>

/** How a census is taken. */
export interface CensusOptions {
  /** Looks at all keys, however many there are. */
  readonly isFull: boolean
  /** How many keys of a server to look at otherwise. */
  readonly most: number
  readonly signal: AbortSignal
  readonly onProgress: (seen: number) => void
}

/**
 * Counts sessions, server by server. Where a server has more keys than a sample, it looks at so many of them, as they
 * come, and estimates. Memory is bounded, and Redis is asked for some hundred keys at a time.
 * @throws Failure, and ERR_SESSION_STORE_UNAVAILABLE
 */
export async function takeCensus (connection: Connection, options: CensusOptions): Promise<Census> {
  const sum: Counts = noCounts()
  let [keys, keysSeen, isEstimate] = [0, 0, false]
  for (const [, server] of allMasters(connection.client)) {
    const counts = noCounts()
    let [cursor, seen] = ['0', 0]
    do {
      assertGoesOn(options.signal)
      const [next, found] = await asked(() => server.scan(cursor, 'COUNT', SCAN_COUNT))
      cursor = next
      seen += found.length
      await count(connection, found, counts)
      options.onProgress(keysSeen + seen)
    } while (cursor !== '0' && (options.isFull || seen < options.most))
    const all = cursor === '0' ? seen : Math.max(seen, keysIn(await asked(() => server.info('keyspace')), connection))
    const factor = seen === 0 ? 1 : all / seen
    for (const name of COUNTED) sum[name] += counts[name] * factor
    keys += all
    keysSeen += seen
    isEstimate ||= cursor !== '0'
  }
  const rounded = Object.fromEntries(COUNTED.map((name) => [name, Math.round(sum[name])]))
  return { isEstimate, keysSeen, keys, ...sum, ...rounded }
}

function noCounts (): Counts {
  return { sessions: 0, signedIn: 0, anonymous: 0, bearer: 0, users: 0, bytes: 0, others: 0 }
}

/** Counts the keys of a page. */
async function count ({ store, keys, link }: Connection, page: readonly string[], counts: Counts): Promise<void> {
  await Promise.all(page.map(async (key) => {
    if (keys.userOf(key) !== null) {
      // Its members are scored by when they expire.
      const now = Math.floor(store.now())
      const live = await link.run(key, (client) => client.zcount(key, now, '+inf')).catch(unlessOther)
      if (live > 0) counts.users++
    }
    if (!key.startsWith(keys.beginning)) return
    const record = await store.find(keys.idOf(key))
    if (record === null) {
      counts.others++
      return
    }
    counts.sessions++
    counts[record.userId === null ? 'anonymous' : 'signedIn']++
    if (record.kind === 'bearer') counts.bearer++
    counts.bytes += Buffer.byteLength(encode(record)) + Buffer.byteLength(key)
  }))
}

/** A key of another type is no list: nobody is on it. */
function unlessOther (error: unknown): number {
  if (`${(error as { cause?: unknown } | null)?.cause}`.includes('WRONGTYPE')) return 0
  throw error
}

/** Asks a server. @throws ERR_SESSION_STORE_UNAVAILABLE */
async function asked<T> (command: () => Promise<T>): Promise<T> {
  return await command().catch((error: unknown) => {
    throw isReply(error) || error instanceof Error ? new errors.STORE_UNAVAILABLE({ cause: error }) : error
  })
}

/** Returns how many keys a database has, by INFO. */
function keysIn (info: string, { link }: Connection): number {
  return Number(new RegExp(`^db${link.database}:keys=(\\d+)`, 'm').exec(info)?.[1] ?? 0)
}
