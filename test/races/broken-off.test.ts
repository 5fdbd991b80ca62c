import t from 'tap'
import { withRealLimits } from '../helpers/patience.ts'
import { record } from '../helpers/record.ts'
import { startRedis } from '../helpers/redis.ts'
import { openBroken } from '../helpers/stepping-wire.ts'

const redis = await startRedis(t)

t.test('a sign-out by the old id of a session that has just moved can be tried again after it was broken off', async (t) => {
  withRealLimits(t)
  for (const command of [1, 2, 3]) {
    const { wire, broken, store } = await openBroken(t, redis)
    const [first, second] = [record(), record()]
    await store.begin(first)
    await store.move(second, first)
    wire.stopAt({ command, mode: 'unsent' })
    await t.rejects(broken.delete(first.id), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
    t.ok(wire.isReached)
    await store.delete(first.id)
    t.equal(await store.find(second.id), null, `broken off at command ${command}`)
  }
})
