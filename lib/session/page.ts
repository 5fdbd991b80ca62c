import { assertMembers, assertObject } from './arguments.ts'
import type { ListOptions } from './core-store.ts'
import type { ListSessions } from './manager-types.ts'

/** How many sessions are listed at once, and unless less are asked for. */
export const MOST_LISTED = 1_000

/**
 * Which of a user's sessions are asked for.
 * @throws TypeError
 */
export function pageOf (options: ListSessions): ListOptions {
  assertMembers(options, 'options', ['limit', 'before'])
  const { limit = MOST_LISTED, before } = options
  const isLimit = Number.isInteger(limit) && limit >= 1 && limit <= MOST_LISTED
  if (!isLimit) throw new TypeError(`limit must be an integer from 1 to ${MOST_LISTED}`)
  if (before === undefined) return { limit }
  assertObject(before, 'before')
  const { id, createdAt } = before
  const isPlace = typeof id === 'string' && Number.isSafeInteger(createdAt) && createdAt >= 0
  if (!isPlace) throw new TypeError('before must be a session, or its id and createdAt')
  return { limit, before: { id, createdAt } }
}
