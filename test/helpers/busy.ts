import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { parseArgs } from 'node:util'

/*
 * Runs `npm test` a number of times beside processes that keep every core busy, until it fails once.
 *
 *     npm run test:busy [-- --times=10 --burners=4]
 */

const { values } = parseArgs({ options: { times: { type: 'string', default: '10' }, burners: { type: 'string', default: '4' } } })
const burners = Array.from({ length: Number(values.burners) }, () => spawn(process.execPath, ['--eval', 'for (;;);'], { stdio: 'ignore' }))
const stop = (): void => { for (const each of burners) each.kill('SIGKILL') }
process.on('exit', stop)
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1))

for (let run = 1; run <= Number(values.times); run++) {
  const [code] = await once(spawn('npm', ['test', '--', '--timeout=900'], { stdio: 'inherit' }), 'close') as [number | null]
  console.log(`run ${run} beside ${burners.length} busy processes: ${code === 0 ? 'passed' : 'failed'}`)
  if (code !== 0) {
    process.exitCode = 1
    break
  }
}
stop()
