import { errors } from '../errors.ts'
import { assertObject, objectText } from './arguments.ts'
import { assertShallow, isDeeper, MAX_DEPTH, parseData } from './changes.ts'
import type { Data } from './changes.ts'
import type { JsonObject } from './record.ts'

/** Members of a session object: data cannot take the place of any. */
export const RESERVED_NAMES: ReadonlySet<string> = new Set([
  'save', 'regenerate', 'reload', 'destroy', 'touch', 'options', 'get', 'set', 'isModified', 'isSaved',
  'cookie', 'sessionId', 'encryptedSessionId', 'toJSON', '__proto__', 'constructor',
  // Beside an Express app: what this package knows of a session.
  '_session'
])

/** Data as it may be put into a session object: what foreign hands stored under reserved names is left out. */
function withoutReserved (data: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(data).filter(([key]) => !RESERVED_NAMES.has(key)))
}

/** What of foreign data a session object can hold: nothing under a reserved name, nothing nested too deep. */
export function presentable (data: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(withoutReserved(data)).filter(([, value]) => !isDeeper(value, MAX_DEPTH - 1)))
}

/** @throws ERR_SESSION_RESERVED_KEY */
function assertNotReserved (data: object): void {
  const reserved = Object.keys(data).find((name) => RESERVED_NAMES.has(name))
  if (reserved !== undefined) throw new errors.RESERVED_KEY(reserved)
}

/** The object that stored data is, as `request.session` shows it: without what foreign hands stored under reserved names. */
export function dataOf (text: string): JsonObject {
  return withoutReserved(parseData(text) ?? {}) as JsonObject
}

/**
 * Data as it is stored.
 * @throws TypeError for what is no object, or has no JSON; ERR_SESSION_RESERVED_KEY
 */
export function dataText (data: unknown): string {
  assertObject(data, 'data')
  assertNotReserved(data)
  assertShallow(data as Data)
  return objectText(data, 'data must be an object that JSON can hold')
}

/** More bytes of UTF-8 than a character of JavaScript's takes. */
const MOST_BYTES = 3

/**
 * Data that is to be stored.
 * @throws ERR_SESSION_DATA_TOO_LARGE when it is larger than `max` bytes, and than what it takes the place of
 */
export function fitting (data: string, before: string | undefined, max: number): string {
  if (!fits(data, before, max)) throw new errors.DATA_TOO_LARGE()
  return data
}

/** A change that is refused, as `fitting` does, where what comes of it is too large. */
export function fittingChange (change: (data: string) => string, max: number): (data: string) => string {
  return (present) => fitting(change(present), present, max)
}

/**
 * What a new session carries over of the one that it replaces. That has ended by then and nothing can be refused any
 * more: where what others changed in it last does not fit beside the new session's own data, that alone is kept.
 */
export function fittingCarry (carry: ((ended: string) => string) | undefined, own: string, max: number): ((ended: string) => string) | undefined {
  return carry && ((ended) => {
    const carried = carry(ended)
    return fits(carried, ended, max) ? carried : own
  })
}

/** Data that was there before there was a limit may stay as large as it is, and shrink. */
function fits (data: string, before: string | undefined, max: number): boolean {
  if (data.length * MOST_BYTES <= max) return true
  const bytes = Buffer.byteLength(data)
  return bytes <= max || (before !== undefined && bytes <= Buffer.byteLength(before))
}
