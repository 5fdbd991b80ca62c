import t from 'tap'
import type { Test } from 'tap'
import { pausesSoFar } from '../../lib/util/pauses.ts'
import type { SessionRecord } from '../../lib/session/record.ts'
import { encode } from '../../lib/store/codec.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { isHeard, openNear } from '../helpers/near.ts'
import { HOUR, MINUTE, record } from '../helpers/record.ts'
import { counts } from '../helpers/redis-commands.ts'
import { prefix, startCluster, startRedis, until } from '../helpers/redis.ts'
import { openStore } from '../helpers/redis-store.ts'
import { startSleeper } from '../helpers/sleeper.ts'
import { startWire } from '../helpers/wire.ts'

const redis = await startRedis(t)

/** A session that ran out ten minutes ago and is still there. */
async function storeExpired (keyPrefix: string): Promise<SessionRecord> {
  const session = record({ now: Date.now() - 40 * MINUTE })
  await redis.client.set(keyPrefix + session.id, encode(session))
  return session
}

async function timesAsked (action: () => Promise<unknown>): Promise<number> {
  const before = (await counts(redis.client)).get('time') ?? 0
  await action()
  return ((await counts(redis.client)).get('time') ?? 0) - before
}

async function openAsleep (t: Test, target = redis.url) {
  const sleeper = startSleeper(t)
  const keyPrefix = prefix()
  const store = await openStore(t, target, { prefix: keyPrefix })
  return { ...sleeper, store, keyPrefix, session: await storeExpired(keyPrefix) }
}

t.test('what ran out while the machine was asleep is no session, by the first answer after that', async (t) => {
  const { store, session, sleep } = await openAsleep(t)
  sleep(HOUR)
  t.equal(await store.find(session.id), null)
  t.ok(Math.abs(store.now() - Date.now()) < MINUTE)
})

t.test('nor is it when the machine falls asleep between question and answer', async (t) => {
  const wire = await startWire(t, redis)
  const { store, session, sleep } = await openAsleep(t, wire.url)
  wire.delayMs = 50
  const asked = store.find(session.id)
  await until('the question', () => wire.count('mget') === 1)
  sleep(HOUR)
  t.equal(await asked, null)
})

t.test('Redis is asked for its time once for each pause, and not where the clock of the day is set back or goes its own way', async (t) => {
  const { store, session, sleep, setClock } = await openAsleep(t)
  const reads = async (): Promise<void> => { for (let read = 0; read < 10; read++) await Promise.all([store.find(session.id), store.successor(session.id)]) }
  t.equal(await timesAsked(reads), 0)
  setClock(-HOUR)
  t.equal(await timesAsked(reads), 0)
  t.equal(await timesAsked(async () => {
    for (let step = 0; step < 10; step++) {
      setClock(500)
      await reads()
    }
  }), 0)
  sleep(2_000)
  t.equal(await timesAsked(reads), 1)
  sleep(2_000)
  t.equal(await timesAsked(reads), 1)
})

t.test('who signs in right after the machine has woken up is signed in from now on', async (t) => {
  const { sleep } = startSleeper(t)
  const app = await startApp(t, { redis: redis.url, keyPrefix: prefix() })
  app.post('/login', async (request) => await app.login(request, { id: 'ada' }))
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth().userId)
  sleep(HOUR)
  const ada = new Browser(app)
  const { authenticatedAt } = (await ada.post('/login')).json()
  t.ok(Math.abs(authenticatedAt - Date.now()) < MINUTE, `${authenticatedAt - Date.now()} ms off`)
  t.equal((await ada.get('/me')).body, 'ada')
  t.equal((await app.sessions.listByUser('ada')).length, 1)
  sleep(2_000)
  const { session } = await app.sessions.create({ userId: 'bob' })
  t.ok(Math.abs(session.createdAt - Date.now()) < MINUTE)
})

t.test('a near-cache forgets what it read before the machine fell asleep', async (t) => {
  const { sleep } = startSleeper(t)
  for (const encryption of [undefined, { keys: ['k'.repeat(32)], acceptPlain: true }]) {
    const near = await openNear(t, redis.url, { prefix: prefix(), ...encryption !== undefined && { encryption } })
    const session = record()
    await near.store.begin(session)
    await until('it to be kept', async () => {
      await near.store.find(session.id)
      return near.store.findNow(session.id) !== undefined
    })
    const reads = near.reads()
    sleep(2_000)
    t.equal(near.store.findNow(session.id), undefined)
    t.not(await near.store.find(session.id), null)
    t.equal(near.reads(), reads + 1)
    await until('changes to be heard again', () => isHeard(near))
    t.ok(Math.abs(await near.store.nowForCertain() - Date.now()) < MINUTE)
  }
})

t.test('in a Cluster of which a master is down the others are not kept waiting for its time', async (t) => {
  const { sleep } = startSleeper(t)
  const cluster = await startCluster(t)
  const keyPrefix = prefix()
  const store = await openStore(t, { cluster: cluster.nodes }, { prefix: keyPrefix })
  const masters = cluster.client.nodes('master')
  // Else none answers once the others have given it up, however long that takes.
  await Promise.all(masters.map((master) => master.config('SET', 'cluster-require-full-coverage', 'no')))
  const [down] = masters
  const sessions = Array.from({ length: 60 }, () => record({ userId: null }))
  await Promise.all(sessions.map(async (session) => await store.begin(session)))
  await down?.shutdown('NOSAVE').catch(() => {})
  await until('it to be known', async () => (await Promise.allSettled(sessions.map(async ({ id }) => await store.find(id)))).some(({ status }) => status === 'rejected'))
  const found = async () => (await Promise.allSettled(sessions.map(async ({ id }) => await store.find(id)))).filter(({ status }) => status === 'fulfilled').length
  const before = await found()
  const after: number[] = []
  for (let pause = 0; pause < 10; pause++) {
    sleep(2_000)
    after.push(await found())
  }
  t.ok(before >= 20, `${before} found`)
  t.strictSame(after.filter((each) => each < before), [])
})

t.test('a machine is taken to have been paused where its clocks come apart by more than a second at once', async (t) => {
  const { sleep, setClock } = startSleeper(t)
  const pausesBy = (ms: number, change: (ms: number) => void): number => {
    const before = pausesSoFar()
    change(ms)
    return pausesSoFar() - before
  }
  t.equal(pausesBy(900, sleep), 0)
  t.equal(pausesBy(1_100, sleep), 1)
  t.equal(pausesBy(-HOUR, setClock), 0)
  t.equal(pausesBy(HOUR, setClock), 1)
  t.equal(pausesBy(0, setClock), 0)
})
