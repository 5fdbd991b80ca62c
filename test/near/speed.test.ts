import t from 'tap'
import { SessionManager } from '../../lib/index.ts'
import { isHeard, openNear } from '../helpers/near.ts'
import { record } from '../helpers/record.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { openStore } from '../helpers/redis-store.ts'
import { report, times } from '../helpers/scale.ts'
import { secret } from '../helpers/app.ts'

const redis = await startRedis(t)

/** The smallest that so many of a hundred are not above. */
function percentile (values: number[], percent: number): number {
  return values.sort((a, b) => a - b)[Math.ceil(values.length * percent / 100) - 1] ?? NaN
}

t.test('another process hears of every session that is ended, and how soon', async (t) => {
  const keyPrefix = prefix()
  const [here, there] = [await openStore(t, redis.url, { prefix: keyPrefix }), await openNear(t, redis.url, { prefix: keyPrefix, maxEntries: 20_000, maxStaleMs: 60_000 })]
  const tries = times(10_000, 1_000)
  const seenMs: number[] = []
  let lost = 0
  for (let round = 0; round < tries; round++) {
    const session = record({ now: here.now() })
    await here.begin(session)
    // Kept: the message of its beginning may come after it was read.
    for (let reads = there.reads(); ; reads = there.reads()) {
      await there.store.find(session.id)
      if (there.reads() === reads) break
    }
    await here.delete(session.id)
    const endedAt = performance.now()
    let found = await there.store.find(session.id)
    while (found !== null && performance.now() - endedAt < 2_000) {
      await new Promise((resolve) => setImmediate(resolve))
      found = await there.store.find(session.id)
    }
    if (found !== null) lost++
    seenMs.push(performance.now() - endedAt)
  }
  const [p50, p99] = [percentile(seenMs, 50), percentile(seenMs, 99)]
  t.comment(`seen by another process's near-cache: p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms of ${tries}`)
  t.equal(lost, 0)
  report({ scenario: 'revocation seen by another process\'s near-cache; slowest: p99', on: 'Redis', tries, lost, slowestMs: p99 })
})

t.test('ten thousand sessions are all found through a near-cache of a thousand, some of them in it', async (t) => {
  const keyPrefix = prefix()
  const near = await openNear(t, redis.url, { prefix: keyPrefix, maxEntries: 1_000 })
  const store = await openStore(t, redis.url, { prefix: keyPrefix })
  const sessions = Array.from({ length: 10_000 }, () => record({ now: store.now() }))
  for (let from = 0; from < sessions.length; from += 50) await Promise.all(sessions.slice(from, from + 50).map(async (each) => await store.begin(each)))
  await until('changes to be heard', () => isHeard(near))
  for (let batch = 0; batch < 600; batch++) {
    const found = await Promise.all(Array.from({ length: 50 }, async () => await near.store.find(sessions[Math.floor(Math.random() * sessions.length)]?.id as string)))
    if (found.includes(null)) t.fail('a session is not there')
  }
  t.ok(near.reads() < 30_000, `${near.reads()} of 30,000 were read from Redis`)
})

t.test('a manager without Fastify has a near-cache as well, of sessions in Redis', async (t) => {
  const keyPrefix = prefix()
  const open = async () => {
    const store = await openStore(t, redis.url, { prefix: keyPrefix })
    const sessions = new SessionManager({ secret, store, nearCache: { maxStale: '10s' } })
    t.teardown(() => sessions.close())
    return { store, sessions }
  }
  const [here, there] = [await open(), await open()]
  const { token, session } = await here.sessions.create({ userId: 'ada' })
  let reads = 0
  const find = there.store.find.bind(there.store)
  t.intercept(there.store, 'find', {
    value: async (id: string) => {
      reads++
      return await find(id)
    }
  })
  await until('it to be served from memory', async () => {
    const before = reads
    return (await there.sessions.find(token))?.id === session.id && reads === before
  })
  await here.sessions.revoke(session.id)
  t.equal(await here.sessions.find(token), null, 'here at once')
  await until('there', async () => await there.sessions.find(token) === null, 2_000)
  t.equal(await there.sessions.find(token), null)
})
