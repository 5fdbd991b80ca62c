import { AssertionError } from 'node:assert'
import fc from 'fast-check'

/**
 * Tries `count` examples, `batch` of them at once. What fails says which seed brings it back. Nothing is shrunk: with so
 * many at once that takes longer than finding it did, and `attempt` says itself which of them it was.
 */
export async function tryAll<T> (count: number, batch: number, example: fc.Arbitrary<T>, attempt: (examples: T[]) => Promise<void>): Promise<void> {
  const examples = fc.array(example, { minLength: batch, maxLength: batch, size: 'max' })
  const { failed, seed, counterexamplePath, errorInstance } = await fc.check(fc.asyncProperty(examples, attempt), { numRuns: Math.ceil(count / batch), endOnFailure: true })
  if (failed) throw new Error(`${errorInstance instanceof Error ? errorInstance.message : String(errorInstance)}\nfast-check: { seed: ${seed}, path: ${JSON.stringify(counterexamplePath)} }`, { cause: errorInstance })
}

/** Fails by the first few of what was wrong. */
export function none (wrong: readonly string[]): void {
  if (wrong.length > 0) throw new AssertionError({ message: [...wrong.slice(0, 3), wrong.length > 3 ? `and ${wrong.length - 3} more` : ''].join('\n') })
}
