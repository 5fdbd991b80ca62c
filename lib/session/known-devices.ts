import { createHash } from 'node:crypto'
import { TIMED_OUT, withDeadline } from '../util/deadline.ts'
import { REQUEST_WAIT_MS } from '../util/timings.ts'
import { deviceFamily } from './device.ts'
import { networkOf } from './network.ts'
import type { NewSession } from './new-record.ts'
import type { SessionRecord } from './record.ts'
import type { AttemptCounters } from './store.ts'

/** How many devices, and how many networks, are remembered of one user: the latest. */
const MOST = 20

/** What is new about a sign-in. `null`: not known, or not asked. */
export interface Novelty {
  readonly newDevice: boolean | null
  readonly newNetwork: boolean | null
}

/** Remembers from which devices and networks users sign in. Hashes of both, in the store's counters. */
export class KnownDevices {
  readonly #counters: AttemptCounters
  readonly #forMs: number | null

  /** `forMs`: how long they are remembered; `null`: nothing is. */
  constructor (counters: AttemptCounters, forMs: number | null) {
    this.#counters = counters
    this.#forMs = forMs
  }

  /** Whether a sign-in is asked about: one of the user, in a request. */
  concerns ({ kind, actor, userId }: SessionRecord, { ip, userAgent }: NewSession): boolean {
    if (this.#forMs === null || userId === null || kind !== 'cookie' || actor !== null) return false
    return ip != null || userAgent != null
  }

  /** Remembers the device and the network of a sign-in. Resolves with what is new. Never rejects. */
  async note (userId: string, { ip, userAgent }: NewSession): Promise<Novelty> {
    const [newDevice, newNetwork] = await Promise.all([
      this.#isNew('device', userId, deviceFamily(userAgent ?? '')),
      this.#isNew('network', userId, networkOf(ip ?? undefined))
    ])
    return { newDevice, newNetwork }
  }

  async #isNew (what: 'device' | 'network', userId: string, place: string): Promise<boolean | null> {
    const options = { most: MOST, forMs: this.#forMs ?? 0 }
    try {
      const key = `known-${what}:${hash(what, userId)}`
      const remembering = this.#counters.remember(key, hash(what, userId, place), options)
      const before = await withDeadline(remembering, REQUEST_WAIT_MS)
      // A store of the application's own may say nothing.
      return before === TIMED_OUT || before === undefined ? null : before === 'new'
    } catch {
      return null
    }
  }
}

function hash (...parts: string[]): string {
  const text = JSON.stringify(['fastify-user-sessions', 'known', ...parts])
  return createHash('sha256').update(text).digest('base64url').slice(0, 22)
}
