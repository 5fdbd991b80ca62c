import t from 'tap'
import type { Test } from 'tap'
import { withRealLimits } from '../helpers/patience.ts'
import { record } from '../helpers/record.ts'
import { prefix, startRedis } from '../helpers/redis.ts'
import { openStore } from '../helpers/redis-store.ts'
import { SteppingWire } from '../helpers/stepping-wire.ts'

const redis = await startRedis(t)

/** A store whose next operation ends at one of its commands, which Redis never gets; and one that nothing keeps from Redis. */
async function openStores (t: Test) {
  const keyPrefix = prefix()
  const wire = new SteppingWire([redis.port], keyPrefix)
  await wire.open()
  t.teardown(() => wire.close())
  const broken = await openStore(t, `redis://127.0.0.1:${wire.ports[0]}`, { prefix: keyPrefix })
  const store = await openStore(t, redis.url, { prefix: keyPrefix })
  return { wire, broken, store }
}

t.test('a sign-out by the old id of a session that has just moved can be tried again after it was broken off', async (t) => {
  withRealLimits(t)
  for (const command of [1, 2, 3]) {
    const { wire, broken, store } = await openStores(t)
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
