import { Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import t from 'tap'
import type { Client } from '../../lib/redis/connection.ts'
import { connect, disconnectNow, isCluster } from '../../lib/redis/connection.ts'
import { RedisStore } from '../../lib/redis/store.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'

const redis = await startRedis(t)
const ATTEMPTS = 1_000

/** The first pauses of many processes that lost Redis together: the shortest, and how far they are apart. */
function pauses ({ retryStrategy }: Partial<RedisOptions>): { shortest: number, apart: number } {
  const all = Array.from({ length: ATTEMPTS }, () => Number(retryStrategy?.(1)))
  return { shortest: Math.min(...all), apart: Math.max(...all) - Math.min(...all) }
}

/** The options of the connections that are opened beside this one. */
function watch (client: Client): Array<Partial<RedisOptions>> {
  if (isCluster(client)) throw new Error('it is one server')
  const opened: Array<Partial<RedisOptions>> = []
  client.duplicate = (options) => {
    opened.push(options ?? {})
    return Redis.prototype.duplicate.call(client, options)
  }
  return opened
}

for (const events of ['broadcast', 'sharded'] as const) {
  t.test(`of processes that lost Redis together those that read come back first, and those that listen one by one: ${events}`, async (t) => {
    const { client } = connect(redis.url)
    const opened = watch(client)
    const store = new RedisStore({ client, prefix: prefix(), events })
    await store.ready(10_000)
    const changes = store.changes(1_000)
    const unsubscribe = store.bus?.subscribe(() => {}, () => {})
    t.teardown(async () => {
      await unsubscribe?.()
      await changes.close()
      await store.close()
      disconnectNow(client)
    })
    t.equal(await changes.listen(() => {}, () => {}), null)
    await until('both to be opened', () => opened.length === 2)
    for (const each of opened) {
      const { shortest, apart } = pauses(each)
      t.ok(shortest < 60, `${shortest} ms`)
      t.ok(apart > 400, `${apart} ms`)
    }
    if (isCluster(client)) return t.fail()
    t.ok(pauses(client.options).apart < 60)
  })
}
