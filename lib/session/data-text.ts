import { assertObject, objectText } from './arguments.ts'
import { assertShallow, parseData } from './changes.ts'
import type { Data } from './changes.ts'
import type { JsonObject } from './record.ts'
import { assertNotReserved, withoutReserved } from './reserved.ts'

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
