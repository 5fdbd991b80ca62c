import { CHAPTERS } from './chapters.ts'
import { checkSentence } from './contract.ts'
import type { TestedStore } from './contract.ts'

export type { TestedStore } from './contract.ts'

/** What `testStore` needs. */
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
 * Defines a test for every sentence of the contract between this package and a store. What a sentence needs, and the
 * store lacks, is said where it is skipped.
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

/** Tells a runner that a test was skipped, or everybody where the runner cannot be told. */
function skip (context: unknown, reason: string): void {
  const runner = context as { skip?: unknown } | undefined
  if (typeof runner?.skip === 'function') runner.skip(reason)
  else console.log(`skipped: ${reason}`)
}
