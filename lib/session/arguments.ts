/*
 * Checks of what code hands over. Each throws a TypeError that names the argument and what it must be, and never its
 * value. What a client sent is not checked here: a token of the wrong type is nobody's.
 */

/** Whether a value is an object and no array. A promise is neither: it is a forgotten `await`. */
export function isObject (value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Promise)
}

/** Checks that a value is an object. @throws TypeError */
export function assertObject (value: unknown, name: string): asserts value is object {
  if (!isObject(value)) throw new TypeError(`${name} must be an object`)
}

/** Checks that an object has no other members: a misspelt option would have no effect. @throws TypeError */
export function assertMembers (value: unknown, name: string, members: readonly string[]): asserts value is object {
  assertObject(value, name)
  const isKnown = Object.keys(value).every((member) => members.includes(member))
  if (!isKnown) throw new TypeError(`${name} must have no members but ${members.join(', ')}`)
}

/**
 * Copies the named members of an object that has no others, also those that it inherits or computes, which a spread
 * leaves out. What is checked then is what is used.
 * @throws TypeError
 */
export function membersOf<Value extends object> (
  value: Value, name: string, members: ReadonlyArray<keyof Value & string>
): Value {
  assertMembers(value, name, members)
  const copy: Partial<Value> = {}
  for (const member of members) if (member in value) copy[member] = value[member]
  // It lacks nothing that the value has.
  return copy as Value
}

/** Checks that a value is a function. @throws TypeError */
export function assertFunction (value: unknown, name: string): void {
  if (typeof value !== 'function') throw new TypeError(`${name} must be a function`)
}

/** Checks that a value is a boolean or left out: `'no'` would count as yes. @throws TypeError */
export function assertBoolean (value: unknown, name: string): void {
  if (value !== undefined && typeof value !== 'boolean') throw new TypeError(`${name} must be true or false`)
}

/** Control characters and ends of lines: they change what a terminal or a log shows. */
const CONTROL = /[\p{Cc}\p{Zl}\p{Zp}]+/u

/** Whether a value is a text that people may be shown, of 1 to so many characters. */
export function isShortText (value: unknown, most: number): value is string {
  if (typeof value !== 'string' || value.length < 1 || value.length > most) return false
  return value.isWellFormed() && !CONTROL.test(value)
}

/** Returns a text in one line: a space stands for what is no character of it. */
export function oneLine (text: string): string {
  return text.split(CONTROL).join(' ')
}

/** Returns such a text; `null` where there is none. @throws TypeError */
export function shortText (value: unknown, name: string, most: number): string | null {
  if (value === undefined || value === null) return null
  if (isShortText(value, most)) return value
  throw new TypeError(`${name} must be a text of 1 to ${most} characters without control characters`)
}

/** Checks that a value is one of the choices. @throws TypeError */
export function assertOneOf (value: unknown, name: string, choices: readonly unknown[]): void {
  const [last, ...others] = [...choices].reverse()
  if (!choices.includes(value)) throw new TypeError(`${name} must be ${others.reverse().join(', ')} or ${String(last)}`)
}

/**
 * Returns the JSON text of an object. `fault` is the message where there is none.
 * @throws TypeError, with the error of `JSON.stringify` (a BigInt, a circle) as its cause
 */
export function objectText (value: unknown, fault: string): string {
  let text: unknown
  try {
    text = isObject(value) ? JSON.stringify(value) : undefined
  } catch (cause) {
    throw new TypeError(fault, { cause })
  }
  if (typeof text !== 'string' || !text.startsWith('{')) throw new TypeError(fault)
  return text
}
