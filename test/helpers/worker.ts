import { pathToFileURL } from 'node:url'
import t from 'tap'
import type { Test } from 'tap'

/*
 * Runs the test files that run.ts sends, one after the other in this process. What a file imports as 'tap' is the test
 * of that file: its teardowns run when it ends, and its failures are found under its name.
 */

/** How long a file may take, in milliseconds. */
const timeout = Number(process.argv[2])
/** The test that runs, of those within each other the innermost. */
let running: Test

t.pipe(process.stdout)
// tap has let go of it, and this process would end between two files.
process.channel?.ref()
process.on('message', (file: string) => {
  void t.test(file, { timeout }, async (t) => {
    follow(t)
    Object.assign(globalThis as { testOfFile?: Test }, { testOfFile: t })
    await import(pathToFileURL(file).href)
  })
})

function follow (test: Test): void {
  running = test
  test.on('subtestStart', (child) => follow(child as Test))
  test.on('subtestEnd', (child) => { if (running === child) running = test })
}

// Of an error that nobody caught tap does not know whose it is: see worker-hooks.ts.
process.on('uncaughtException', (error) => {
  // Who listens too has expected it.
  if (process.listenerCount('uncaughtException') === 1) running.threw(error)
})

process.once('disconnect', () => {
  setTimeout(() => console.error('still open:', process.getActiveResourcesInfo().join(', ')), 15_000).unref()
})
