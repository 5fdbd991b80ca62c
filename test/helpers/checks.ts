import { run } from './process.ts'

/*
 * What `npm test` does beside its tests: lint, types, and the build.
 */

/** Runs one, and prints its line, and what it said if it failed. Returns how many failed: 0 or 1. */
async function check (script: string): Promise<number> {
  const { code, output } = await run('npm', ['run', '--silent', script])
  console.log(`${code === 0 ? 'ok' : 'not ok'} - npm run ${script}`)
  if (code !== 0) console.log(output)
  return code === 0 ? 0 : 1
}

/**
 * Starts the checks, and waits for the build, which tests read: without one there is nothing to test.
 * Returns whether there is one, and how many of the checks fail.
 */
export async function startChecks (): Promise<{ isBuilt: boolean, failed: Promise<number> }> {
  const lint = check('lint')
  const build = await check('build')
  // Types of the tests are those of the built package too.
  const failed = lint.then(async (count) => count + build + (build === 0 ? await check('test:types') : 0))
  return { isBuilt: build === 0, failed }
}
