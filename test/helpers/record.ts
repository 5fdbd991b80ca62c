import type { SessionRecord } from '../../lib/session/record.ts'
import { newId, newToken } from '../../lib/session/token.ts'

export const MINUTE = 60_000
export const HOUR = 60 * MINUTE
export const DAY = 24 * HOUR

/** A session of ada's that began at `now`, with whatever a test needs to be different. */
export function record ({ now = Date.now(), ...overrides }: Partial<SessionRecord> & { now?: number } = {}): SessionRecord {
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
    ip: null,
    userAgent: null,
    data: '{}',
    ...overrides
  }
}
