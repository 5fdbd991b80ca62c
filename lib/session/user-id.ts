const USER_ID_LENGTH = 255

/**
 * The id of a user as sessions are listed and compared by it: `String(id)`.
 * @throws TypeError for anything but a string of 1 to 255 characters, a finite number or a bigint
 */
export function userIdText (id: unknown, name: string): string {
  const isId = typeof id === 'string' || typeof id === 'bigint' || (typeof id === 'number' && Number.isFinite(id))
  const text = isId ? String(id) : ''
  if (text.length === 0 || text.length > USER_ID_LENGTH) throw new TypeError(`${name} must be a string of 1 to ${USER_ID_LENGTH} characters, a number or a bigint`)
  return text
}
