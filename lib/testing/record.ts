import type { SessionRecord } from '../session/record.ts'
import { newId, newToken } from '../session/token.ts'

/** Durations, in milliseconds. */
export const MINUTE = 60_000
export const HOUR = 60 * MINUTE
export const DAY = 24 * HOUR

/** Largest difference that the clock of a backend may seem to have, told in milliseconds over a network. */
export const CLOCK_MS = 1_000

/** Returns the ids of records, in their order. */
export const idsOf = (records: SessionRecord[]): string[] => records.map(({ id }) => id)

interface Overrides extends Partial<SessionRecord> {
  now?: number
}

/** Makes the record of a session of ada's that began at `now`, with whatever a test needs to be different. */
export function record ({ now = Date.now(), ...overrides }: Overrides = {}): SessionRecord {
  const id = newId()
  const createdAt = Math.floor(now)
  const userId = overrides.userId === undefined ? 'ada' : overrides.userId
  return {
    id,
    secretHash: newToken(id).secretHash,
    kind: 'cookie',
    userId,
    label: null,
    meta: null,
    createdAt,
    authenticatedAt: userId === null ? null : createdAt,
    lastSeenAt: createdAt,
    endsAt: createdAt + 7 * DAY,
    idleTimeoutMs: 30 * MINUTE,
    persistent: true,
    methods: null,
    actor: null,
    idp: null,
    boundKey: null,
    twin: null,
    ip: null,
    userAgent: null,
    data: '{}',
    ...overrides
  }
}
