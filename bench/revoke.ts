/*
 * How soon a session that one process ends has ended in another: when `request.auth.signal` aborts there, and until
 * when a request there is still answered.
 *
 *     npm run bench:revoke              10,000 revocations of each kind
 *     npm run bench:revoke -- --quick   1,000
 *
 * Prints a table in Markdown and writes bench/results/revoke.json. Times are from the call of `revoke`; both processes
 * read the system's one monotonic clock.
 */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { startRedis } from '../test/helpers/redis.ts'
import { hasOption, lib } from './lib.ts'
import { machineOf, sayMachine, writeResult } from './machine.ts'
import { markdown, quantile } from './numbers.ts'
import { COOKIE, SECRET } from './revoke/watcher.ts'
import type { Order, Seen } from './revoke/watcher.ts'

const COUNT = process.argv.includes('--quick') ? 1_000 : 10_000
const WATCHER = fileURLToPath(new URL('revoke/watcher.ts', import.meta.url))

interface Row {
  seenBy: string
  p50Ms: number
  p99Ms: number
  maxMs: number
  /** Sessions that were not seen to end within a second. */
  lost: number
  /** Requests that began when `revoke` had resolved, and were answered all the same. */
  servedAfterwards: number
}

const teardowns: Array<() => unknown> = []
try {
  const redis = await startRedis({ teardown: (callback: () => unknown) => { teardowns.push(callback) } })
  const store = new lib.RedisStore({ client: redis.client })
  const sessions = new lib.SessionManager({ store, secret: SECRET, cookieName: COOKIE })
  teardowns.push(async () => { await sessions.close(); await store.close() })
  const machine = await machineOf(redis.client)
  const nearCached = await hasOption('nearCache')

  const rows: Row[] = []
  for (const nearCache of nearCached ? [false, true] : [false]) {
    const watcher = await start(redis.url, nearCache)
    const suffix = nearCache ? ', near-cache' : ''
    rows.push(await revoke(watcher, 'signal', `\`request.auth.signal\`${suffix}`))
    rows.push(await revoke(watcher, 'read', `the next request${suffix}`))
    watcher.disconnect()
  }
  console.log(`${sayMachine(machine)} · ${COUNT.toLocaleString('en')} revocations each, by one process, seen by another\n`)
  console.log(markdown(['seen by', 'p50', 'p99', 'longest', 'lost', 'requests answered after `revoke` had resolved'], rows.map((row) => [
    row.seenBy, ...[row.p50Ms, row.p99Ms, row.maxMs].map((ms) => `${ms.toFixed(2)} ms`), String(row.lost), String(row.servedAfterwards)
  ])))
  if (!nearCached) console.log('\nThis version has no near-cache.')
  writeResult('revoke.json', { machine, revocations: COUNT, rows })

  async function revoke (watcher: ChildProcess, by: Order['by'], seenBy: string): Promise<Row> {
    const took: number[] = []
    let lost = 0
    let servedAfterwards = 0
    for (let index = -100; index < COUNT; index++) {
      const { session: { id }, headers } = await sessions.create({ userId: 'ada' })
      await ask(watcher, { by, id, headers: headers as Record<string, string> })
      const seen = once(watcher, 'message') as Promise<[Seen]>
      const fromNs = process.hrtime.bigint()
      if (!await sessions.revoke(id)) throw new Error('there was nothing to end')
      const resolvedNs = process.hrtime.bigint()
      const [{ endedNs, servedNs }] = await seen
      // The first ones warm up.
      if (index < 0) continue
      if (endedNs === null) lost++
      else took.push(Number(BigInt(endedNs) - fromNs) / 1e6)
      servedAfterwards += servedNs.filter((each) => BigInt(each) > resolvedNs).length
    }
    return { seenBy, p50Ms: quantile(took, 0.5), p99Ms: quantile(took, 0.99), maxMs: quantile(took, 1), lost, servedAfterwards }
  }
} finally {
  for (const teardown of teardowns.reverse()) await teardown()
}

async function start (url: string, nearCache: boolean): Promise<ChildProcess> {
  const watcher = fork(WATCHER, [url, ...nearCache ? ['near-cache'] : []], { execArgv: ['--import', 'tsx'] })
  watcher.once('exit', (code) => { if (code !== 0) throw new Error('the watching process has ended') })
  await once(watcher, 'message')
  return watcher
}

/** Has the watcher look at a session, and waits until it does. */
async function ask (watcher: ChildProcess, order: Order): Promise<void> {
  const looks = once(watcher, 'message')
  watcher.send(order)
  await looks
}
