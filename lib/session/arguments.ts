/**
 * What is wrong with what code hands over is said by a TypeError that names the argument and what it must be, and
 * never repeats its value. What a client sent is no matter for these: a token of the wrong type is nobody's.
 */

/** An object that is no list. A promise is a forgotten `await`, and would be taken for an object without members. */
export function isObject (value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Promise)
}

/** @throws TypeError */
export function assertObject (value: unknown, name: string): asserts value is object {
  if (!isObject(value)) throw new TypeError(`${name} must be an object`)
}

/** @throws TypeError also for a member that is called otherwise: a misspelt option is one that has no effect */
export function assertMembers (value: unknown, name: string, members: readonly string[]): asserts value is object {
  assertObject(value, name)
  if (Object.keys(value).some((member) => !members.includes(member))) throw new TypeError(`${name} must have no members but ${members.join(', ')}`)
}

/** @throws TypeError */
export function assertFunction (value: unknown, name: string): void {
  if (typeof value !== 'function') throw new TypeError(`${name} must be a function`)
}

/** @throws TypeError for what is neither left out nor a boolean: `'no'` would count as yes */
export function assertBoolean (value: unknown, name: string): void {
  if (value !== undefined && typeof value !== 'boolean') throw new TypeError(`${name} must be true or false`)
}

/** @throws TypeError */
export function assertOneOf (value: unknown, name: string, choices: readonly unknown[]): void {
  if (!choices.includes(value)) throw new TypeError(`${name} must be ${choices.slice(0, -1).join(', ')} or ${String(choices.at(-1))}`)
}

/**
 * JSON text of an object. `fault`: what is said of what has none.
 * @throws TypeError; where JSON threw (a BigInt, a circle, a depth without end), that is its cause
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
