import { CHAPTERS } from './chapters.ts'
import { checkSentence } from './contract.ts'
import type { TestedStore } from './contract.ts'

export type { TestedStore } from './contract.ts'

/** Options of `testStore`. */
export interface TestStoreOptions {
  /**
   * Defines a test by its name and a function that rejects where it fails: `test` of `node:test`, of Vitest or of tap,
   * `it` of Mocha. Each runner calls the function with a context of its own, of which only `skip` is used.
   */
  test: (name: string, check: (...context: any[]) => Promise<void>) => unknown
  /** Opens a store with no session in it. Called once for each test. */
  open: () => Promise<TestedStore> | TestedStore
}

/**
 * Defines a test for every sentence of the contract between this package and a store. A test is skipped, with the
 * reason, where the store lacks what the sentence needs.
 */
export function testStore ({ test, open }: TestStoreOptions): void {
  for (const sentence of Object.values(CHAPTERS).flatMap(({ sentences }) => sentences)) {
    // Not an arrow function, as Mocha's context is `this`. Without named parameters, as Mocha takes one for a callback.
    test(sentence.text, async function (this: unknown, ...[context = this]) {
      const lacks = await checkSentence(sentence, open)
      if (lacks !== null) skip(context, lacks)
    })
  }
}

/** Skips the test of a runner. Prints the reason where the runner has no `skip`. */
function skip (context: unknown, reason: string): void {
  const runner = context as { skip?: unknown } | undefined
  if (typeof runner?.skip === 'function') runner.skip(reason)
  else console.log(`skipped: ${reason}`)
}
