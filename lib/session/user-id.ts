import { isUserIdText, USER_ID_LENGTH } from './record.ts'

/** Whether a value can be the id of a user: a well-formed string of 1 to 255 characters, a finite number or a bigint. */
export function isUserId (id: unknown): id is string | number | bigint {
  if (typeof id === 'number') return Number.isFinite(id)
  if (typeof id === 'bigint') return String(id).length <= USER_ID_LENGTH
  return typeof id === 'string' && isUserIdText(id)
}

/** Whom data names, or `null`. `userIdFrom`: where; `null`: `data.userId`. */
export function userOf (data: Record<string, unknown>, userIdFrom: ((data: Record<string, unknown>) => unknown) | null): string | null {
  const id = userIdFrom === null ? data.userId : userIdFrom(data)
  return isUserId(id) ? String(id) : null
}

/**
 * `carry`, where the data says who is signed in: what a session takes over from the one before it, which others may
 * have changed, never makes it another user's.
 */
export function carryOfUser ({ userId, data }: { userId: string | null, data: string }, carry: (endedData: string) => string, userIdFrom: Parameters<typeof userOf>[1]): (endedData: string) => string {
  return (endedData) => {
    const carried = carry(endedData)
    return userOf(JSON.parse(carried) as Record<string, unknown>, userIdFrom) === userId ? carried : data
  }
}

/**
 * The id of a user as sessions are listed and compared by it: `String(id)`.
 * @throws TypeError for what can be no id
 */
export function userIdText (id: unknown, name: string): string {
  if (!isUserId(id)) throw new TypeError(`${name} must be a string of 1 to ${USER_ID_LENGTH} characters, a number or a bigint`)
  return String(id)
}
