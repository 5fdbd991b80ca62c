import { errors } from '../errors.ts'
import { assertObject, objectText } from './arguments.ts'
import { assertShallow, isDeeper, MAX_DEPTH, parseData } from './changes.ts'
import type { Data } from './changes.ts'
import type { JsonObject } from './record.ts'
import type { Change } from './store.ts'

/** Members of a session object. Data cannot have these names. */
export const RESERVED_NAMES: ReadonlySet<string> = new Set([
  'save', 'regenerate', 'reload', 'destroy', 'touch', 'options', 'get', 'set', 'isModified', 'isSaved',
  'cookie', 'sessionId', 'encryptedSessionId', 'toJSON', '__proto__', 'constructor',
  // Beside an Express app: the record of this package.
  '_session'
])

/** Returns data without what others have stored under reserved names. */
function withoutReserved (data: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(data).filter(([key]) => !RESERVED_NAMES.has(key)))
}

/** Returns the part of another library's data that a session object can hold: no reserved names, nothing too deep. */
export function presentable (data: Record<string, unknown>): Record<string, unknown> {
  const entries = Object.entries(withoutReserved(data))
  return Object.fromEntries(entries.filter(([, value]) => !isDeeper(value, MAX_DEPTH - 1)))
}

/** @throws ERR_SESSION_RESERVED_KEY */
function assertNotReserved (data: object): void {
  const reserved = Object.keys(data).find((name) => RESERVED_NAMES.has(name))
  if (reserved !== undefined) throw new errors.RESERVED_KEY(reserved)
}

/** Parses stored data as `request.session` shows it: without reserved names. */
export function dataOf (text: string): JsonObject {
  return withoutReserved(parseData(text) ?? {}) as JsonObject
}

/**
 * Returns a copy of data as it is stored. Getters and proxies are read once: what is checked is what is stored.
 * @throws TypeError for what is no object, has no JSON, or is nested too deep; ERR_SESSION_RESERVED_KEY
 */
export function storedData (data: unknown): Data {
  assertObject(data, 'data')
  // Also what JSON leaves out: a method of such a name would be missed.
  assertNotReserved(data)
  const stored = JSON.parse(objectText(data, 'data must be an object that JSON can hold')) as Data
  assertNotReserved(stored)
  assertShallow(stored)
  return stored
}

/** Most bytes of UTF-8 that a character of JavaScript takes. */
const MOST_BYTES = 3

/**
 * Returns data that is to be stored, if it is small enough.
 * @throws ERR_SESSION_DATA_TOO_LARGE when it is larger than `max` bytes, and than the data `before`
 */
export function fitting (data: string, before: string | undefined, max: number): string {
  if (!fits(data, before, max)) throw new errors.DATA_TOO_LARGE()
  return data
}

/** Makes a change that throws, as `fitting` does, where its result is too large. */
export function fittingChange (change: Change, max: number): Change {
  return (present) => fitting(change(present), present, max)
}

/**
 * Makes a `carry` whose result is never too large. The old session has ended by then, so nothing can be refused any
 * more: where its last changes do not fit beside the new session's own data, only that is stored.
 */
export function fittingCarry (carry: Change | undefined, own: string, max: number): Change | undefined {
  return carry && ((ended) => {
    const carried = carry(ended)
    return fits(carried, ended, max) ? carried : own
  })
}

/** Whether data is small enough. Data of before there was a limit may stay as large as it is, and shrink. */
function fits (data: string, before: string | undefined, max: number): boolean {
  if (data.length * MOST_BYTES <= max) return true
  const bytes = Buffer.byteLength(data)
  return bytes <= max || (before !== undefined && bytes <= Buffer.byteLength(before))
}
