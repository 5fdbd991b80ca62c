import { register } from 'node:module'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import type { Test } from 'tap'

/*
 * Runs the test files that run.ts sends, one after the other in this process. What a file imports as 'tap' is the test
 * of that file: its teardowns run when it ends, and its failures are found under its name.
 */

/** How long a file may take, in milliseconds. */
const timeout = Number(process.argv[2])

// A module of each file's own, made while the file is imported.
const tap = 'const t = globalThis.testOfFile; export default t; export const test = t.test.bind(t)'
const hooks = `export async function resolve (specifier, context, next) {
  const { parentURL } = context
  if (specifier !== 'tap' || !parentURL.endsWith('.test.ts')) return await next(specifier, context)
  return { url: 'data:text/javascript,' + encodeURIComponent(${JSON.stringify(tap)} + '// ' + parentURL), shortCircuit: true }
}`
register(`data:text/javascript,${encodeURIComponent(hooks)}`)

t.pipe(process.stdout)
// tap has let go of it, and this process would end between two files.
process.channel?.ref()
process.on('message', (file: string) => {
  void t.test(file, { timeout }, async (t) => {
    Object.assign(globalThis as { testOfFile?: Test }, { testOfFile: t })
    await import(pathToFileURL(file).href)
  })
})

process.once('disconnect', () => {
  setTimeout(() => console.error('still open:', process.getActiveResourcesInfo().join(', ')), 15_000).unref()
})
