import { AssertionError } from 'node:assert'
import { inspect } from 'node:util'

/**
 * Asserts that a value is truthy. Node's own `assert.ok` reads and parses the calling file for its message, which takes
 * many seconds where a compiler put that into one line.
 */
export function ok (value: unknown, message = `Expected a truthy value, not ${inspect(value)}`): asserts value {
  if (!value) throw new AssertionError({ message, actual: value, expected: true, operator: 'ok', stackStartFn: ok })
}
