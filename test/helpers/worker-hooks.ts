import { register } from 'node:module'

/*
 * What the modules of a test process (worker.ts) find under two names. Loaded before tap is.
 *
 * 'tap', in a test file: the test of that file, by a module of each file's own, made while the file is imported.
 *
 * 'async-hook-domain', in tap: nothing. It follows every promise to know in which test an error came up that nobody
 * caught, which takes a third of the processor's time. In a worker one test runs at a time: it is that one's.
 */
const tap = 'const t = globalThis.testOfFile; export default t; export const test = t.test.bind(t)'
const domain = 'export class Domain { destroy () {} }'
const hooks = `export async function resolve (specifier, context, next) {
  const { parentURL } = context
  const found = (text) => ({ url: 'data:text/javascript,' + encodeURIComponent(text), shortCircuit: true })
  if (specifier === 'async-hook-domain') return found(${JSON.stringify(domain)})
  if (specifier === 'tap' && parentURL.endsWith('.test.ts')) return found(${JSON.stringify(tap)} + '// ' + parentURL)
  return await next(specifier, context)
}`
register(`data:text/javascript,${encodeURIComponent(hooks)}`)
