import { assertShallow, parseData } from './changes.ts'
import type { Data } from './changes.ts'
import type { JsonObject } from './record.ts'
import { assertNotReserved, withoutReserved } from './reserved.ts'

/** The object that stored data is, as `request.session` shows it: without what foreign hands stored under reserved names. */
export function dataOf (text: string): JsonObject {
  return withoutReserved(parseData(text) ?? {}) as JsonObject
}

/** A promise is what an `async` change gives, and would be stored as `{}`. */
export function assertObject (data: unknown): asserts data is object {
  if (typeof data !== 'object' || data === null || Array.isArray(data) || data instanceof Promise) throw new TypeError('data must be an object')
}

/**
 * Data as it is stored.
 * @throws TypeError for what is no object; ERR_SESSION_RESERVED_KEY
 */
export function dataText (data: unknown): string {
  assertObject(data)
  assertNotReserved(data)
  assertShallow(data as Data)
  const text: unknown = JSON.stringify(data)
  if (typeof text !== 'string' || !text.startsWith('{')) throw new TypeError('data must be an object')
  return text
}
