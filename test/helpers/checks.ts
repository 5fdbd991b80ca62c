import { run } from './process.ts'

/*
 * What `npm test` does beside its tests: lint, types, and the build with a look at the package.
 */

/** Runs one, and prints its line, and what it said if it failed. Returns how many failed: 0 or 1. */
async function check (script: string, env: NodeJS.ProcessEnv = {}): Promise<number> {
  const { code, output } = await run('npm', ['run', '--silent', script], { env })
  console.log(`${code === 0 ? 'ok' : 'not ok'} - npm run ${script}`)
  if (code !== 0) console.log(output)
  return code === 0 ? 0 : 1
}

/**
 * Starts the checks, and waits for the build, which tests read: without one there is nothing to test.
 * Returns how many failed by then, and how many do of those that follow.
 */
export async function startChecks (): Promise<{ isBuilt: boolean, failed: Promise<number> }> {
  const lint = check('lint')
  const build = await check('build')
  const others = async (): Promise<number> => {
    // Types of the tests are those of the built package too. To pack it would build it again, under the tests' feet.
    return await check('test:types') + await check('test:package', { npm_config_ignore_scripts: 'true' })
  }
  const failed = lint.then(async (count) => count + build + (build === 0 ? await others() : 0))
  return { isBuilt: build === 0, failed }
}
