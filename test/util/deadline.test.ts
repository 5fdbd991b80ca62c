import t from 'tap'
import { TIMED_OUT, withDeadline } from '../../lib/util/deadline.ts'

t.test('a wait whose time is over already ends, with no negative timer: newer versions of Node.js warn of those', async (t) => {
  const { setTimeout } = globalThis
  const delays: unknown[] = []
  t.teardown(() => { globalThis.setTimeout = setTimeout })
  globalThis.setTimeout = ((...args: Parameters<typeof setTimeout>) => {
    delays.push(args[1])
    return setTimeout(...args)
  }) as typeof setTimeout
  for (const ms of [-0.5, -1000]) t.equal(await withDeadline(new Promise(() => {}), ms), TIMED_OUT)
  t.equal(await withDeadline(Promise.resolve('answer'), -1000), 'answer')
  t.ok(delays.length >= 3)
  t.strictSame(delays.filter((delay) => Number(delay) < 0), [])
})
