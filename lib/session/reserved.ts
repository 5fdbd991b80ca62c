import { errors } from '../errors.ts'
import { isDeeper, MAX_DEPTH } from './changes.ts'

/** Members of a session object: data cannot take the place of any. */
export const RESERVED_NAMES: ReadonlySet<string> = new Set([
  'save', 'regenerate', 'reload', 'destroy', 'touch', 'options', 'get', 'set', 'isModified', 'isSaved',
  'cookie', 'sessionId', 'encryptedSessionId', 'toJSON', '__proto__', 'constructor',
  // Beside an Express app: what this package knows of a session.
  '_session'
])

/** Data as it may be put into a session object: what foreign hands stored under reserved names is left out. */
export function withoutReserved (data: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(data).filter(([key]) => !RESERVED_NAMES.has(key)))
}

/** What of foreign data a session object can hold: nothing under a reserved name, nothing nested too deep. */
export function presentable (data: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(withoutReserved(data)).filter(([, value]) => !isDeeper(value, MAX_DEPTH - 1)))
}

/** @throws ERR_SESSION_RESERVED_KEY */
export function assertNotReserved (data: object): void {
  const reserved = Object.keys(data).find((name) => RESERVED_NAMES.has(name))
  if (reserved !== undefined) throw new errors.RESERVED_KEY(reserved)
}
