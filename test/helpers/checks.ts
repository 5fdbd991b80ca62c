import { run } from './process.ts'

/*
 * Does what `npm test` does before it runs tests: lint, types, and the build with a look at the package. What they say is
 * printed as each ends; two cores have enough for both at once.
 */

// The types of the tests are those of the built package too, which is built again when it is looked at.
const CHECKS = [['lint'], ['build', 'test:types', 'test:package']]

const results = await Promise.all(CHECKS.map(async (scripts) => {
  for (const script of scripts) {
    const { code, output } = await run('npm', ['run', '--silent', script])
    console.log(`${code === 0 ? 'ok' : 'not ok'} - npm run ${script}`)
    if (code !== 0) {
      console.log(output)
      return false
    }
  }
  return true
}))
process.exitCode = results.every(Boolean) ? 0 : 1
