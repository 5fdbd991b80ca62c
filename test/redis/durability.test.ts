import { once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import { connect } from '../../lib/redis/connection.ts'
import type { Client } from '../../lib/redis/connection.ts'
import { RedisLink } from '../../lib/redis/link.ts'
import { Replication } from '../../lib/redis/replication.ts'
import { patience } from '../../lib/util/deadline.ts'
import { storeContract } from '../contract/store-contract.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { openNear } from '../helpers/near.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { record } from '../helpers/record.ts'
import { follows, prefix, startRedis, until } from '../helpers/redis.ts'
import { age, openAdopting, openStore } from '../helpers/redis-store.ts'

const master = await startRedis(t)
const replica = await startRedis(t, { args: ['--replicaof', '127.0.0.1', String(master.port)] })
await follows(replica, master)

/** Nobody confirms what is written while `meanwhile` runs, nor is waited for longer than applications do. */
async function withoutReplica (meanwhile: () => Promise<void>): Promise<void> {
  const { factor } = patience
  replica.pause()
  patience.factor = 1
  try {
    await meanwhile()
  } finally {
    patience.factor = factor
    replica.resume()
    await follows(replica, master)
  }
}

async function startService (t: Test) {
  const keyPrefix = prefix()
  const app = await startApp(t, { redis: master.url, keyPrefix, durability: 'replicated' })
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  app.post('/logout', async (request) => { await app.logout(request) })
  app.post('/cart', async ({ session }) => { session.cart = ['book'] })
  app.post('/regenerate', async ({ session }) => { await session.regenerate(['userId']) })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth().userId)
  const copyOf = (browser: Browser): Browser => {
    const copy = new Browser(app)
    for (const [name, value] of browser.cookies) copy.cookies.set(name, value)
    return copy
  }
  return { app, keyPrefix, copyOf, ada: new Browser(app), said: () => app.lines.filter(({ reqId, level }) => reqId === undefined && level >= 30).map(({ msg }) => msg) }
}

storeContract(t, 'RedisStore whose ends are replicated', async (t) => {
  const ours = prefix()
  const store = await openStore(t, master.url, { prefix: ours, durability: 'replicated' })
  return {
    store,
    other: await openStore(t, master.url, { prefix: ours, durability: 'replicated' }),
    age: (ms) => age(master.client, ours, ms),
    lose: async (id) => { await master.client.del(`${ours}${id}`) },
    fill: async () => {
      await master.client.config('SET', 'maxmemory-policy', 'noeviction', 'maxmemory', '1')
      t.teardown(() => master.client.config('SET', 'maxmemory', '0'))
    }
  }
}, { isCombination: true })

t.test('what was signed in or out is so on the replica', async (t) => {
  const { app, keyPrefix, ada } = await startService(t)
  for (let round = 0; round < 20; round++) {
    t.equal((await ada.post('/login')).statusCode, 200)
    const id = (await app.sessions.listByUser('ada'))[0]?.id ?? ''
    t.equal(await replica.client.exists(`${keyPrefix}${id}`), 1)
    t.equal(await replica.client.zcard(`@${keyPrefix}user:ada`), 1)
    t.equal((await ada.post('/logout')).statusCode, 200)
    t.equal(await replica.client.exists(`${keyPrefix}${id}`), 0)
  }
  const sessions = await Promise.all(Array.from({ length: 20 }, async () => await app.sessions.create({ userId: 'ada' })))
  t.equal(await app.sessions.revokeUser('ada'), 20)
  t.equal(await replica.client.exists(sessions.map(({ session }) => `${keyPrefix}${session.id}`)), 0)
})

t.test('a session that is bound is so on the replica, or whoever binds it is told that this is not known', async (t) => {
  const keyPrefix = prefix()
  const store = await openStore(t, master.url, { prefix: keyPrefix, durability: 'replicated' })
  const session = record({ now: store.now() })
  await store.begin(session)
  for (let round = 0; round < 20; round++) {
    const present = await store.find(session.id) ?? session
    await store.bind(present, `ES256 ${round}`)
    t.match(await replica.client.get(keyPrefix + session.id), `,"d":"ES256 ${round}"}`)
  }
  const bound = await store.find(session.id) ?? session
  await withoutReplica(async () => {
    await t.rejects(store.bind(bound, 'ES256 another'), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
    t.equal(await store.bind(record({ now: store.now() }), 'ES256 one'), null, 'what is absent waits for nobody')
  })
})

t.test('a sign-in that no replica confirms is 503, signs nobody in and nobody out', async (t) => {
  const { app, ada } = await startService(t)
  await ada.post('/login')
  await withoutReplica(async () => {
    const before = ada.header
    for (const url of ['/login', '/regenerate']) {
      const refused = await ada.post(url)
      t.equal(refused.statusCode, 503, url)
      t.equal(refused.headers['retry-after'], '1')
      t.strictSame(refused.setCookies, [])
      t.equal(ada.header, before)
      t.equal((await ada.get('/me')).statusCode, 200, 'who was signed in still is')
    }
    const bob = new Browser(app)
    t.equal((await bob.post('/login')).statusCode, 503)
    t.equal(bob.cookies.size, 0)
    t.equal((await ada.post('/cart')).statusCode, 200, 'what neither begins nor ends a session is confirmed by nobody')
  })
  t.equal((await app.sessions.listByUser('ada')).length, 1)
  t.equal((await ada.post('/login')).statusCode, 200)
})

t.test('a sign-out that no replica confirms is 503, takes the cookie back and is confirmed later', async (t) => {
  const { app, ada, copyOf, keyPrefix, said } = await startService(t)
  await ada.post('/login')
  const [{ id = '' } = {}] = await app.sessions.listByUser('ada')
  const before = copyOf(ada)
  await withoutReplica(async () => {
    const response = await ada.post('/logout')
    t.equal(response.statusCode, 503)
    t.match(response.setCookies[0], 'Max-Age=0')
    t.equal((await before.get('/me')).statusCode, 401)
    // What has ended already is no more confirmed than before.
    t.equal((await before.post('/logout')).statusCode, 503)
    await t.rejects(app.sessions.revoke(id), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
    const { session } = await app.sessions.create({ userId: 'bob' }).catch(() => ({ session: null }))
    t.equal(session, null)
  })
  await until('the replica to have it', async () => await replica.client.exists(`${keyPrefix}${id}`) === 0)
  t.equal((await before.post('/logout')).statusCode, 200)
  t.strictSame(said().map((msg) => msg.replace(/: .*/, '')), ['the session store refuses what it is asked'], 'once; Redis itself was never away')
})

t.test('signing out everywhere is not done before it is confirmed, also when it is asked for again', async (t) => {
  const { app, ada } = await startService(t)
  await ada.post('/login')
  await withoutReplica(async () => {
    for (let again = 0; again < 3; again++) await t.rejects(app.sessions.revokeUser('ada'), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
    t.equal((await ada.get('/me')).statusCode, 401)
  })
  t.equal(await app.sessions.revokeUser('ada'), 0)
})

t.test('what was signed out everywhere, and is not confirmed, is served by no near-cache', async (t) => {
  const { app, keyPrefix } = await startService(t)
  const idp = { issuer: 'https://idp.example', sid: 'here' }
  const there = await openNear(t, master.url, { prefix: keyPrefix, maxStaleMs: 60_000, invalidate: 'ends' })
  for (const end of [async () => await app.sessions.revokeUser('ada'), async () => await app.sessions.revokeIdp(idp)]) {
    const { session: { id } } = await app.sessions.create({ userId: 'ada', idp })
    await until('it to be in memory', async () => await there.store.find(id) !== null && there.store.findNow(id) !== undefined)
    await withoutReplica(async () => {
      await t.rejects(end(), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
      await until('the end to be heard', () => there.store.findNow(id) === undefined, 2_000)
      t.equal(await there.store.find(id), null)
    })
  }
})

t.test('a session of an Express app has ended when a replica knows that, however often somebody signs out', async (t) => {
  const store = await openAdopting(t, master.url, { prefix: prefix(), durability: 'replicated' })
  await withoutReplica(async () => {
    for (let time = 0; time < 2; time++) await t.rejects(store.adoption.discard('sid'), { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
  })
  await store.adoption.discard('sid')
})

t.test('a login that nobody confirmed needs nobody to end it: it goes by itself', async (t) => {
  const store = await openStore(t, master.url, { prefix: prefix(), durability: 'replicated' })
  await withoutReplica(async () => {
    // What has no cause has left nothing behind.
    const failure = await store.begin(record({ now: store.now() })).then(() => null, (error: Error) => error)
    t.match(failure, { code: 'ERR_SESSION_STORE_UNAVAILABLE' })
    t.equal(failure?.cause, undefined)
  })
  t.strictSame(await store.listByUser('ada'), [])
})

t.test('who reads a session does not wait while others wait for a replica', async (t) => {
  const { app, ada } = await startService(t)
  await ada.post('/login')
  /** What was done first, of a sign-in that waits and ten reads, each after the other. */
  const race = async (): Promise<string | undefined> => {
    const done: string[] = []
    await Promise.all([
      new Browser(app).post('/login').then(() => { done.push('sign-in') }),
      (async () => {
        for (let read = 0; read < 10; read++) t.equal((await ada.get('/me')).statusCode, 200)
        done.push('reads')
      })()
    ])
    return done[0]
  }
  await withoutReplica(async () => {
    // A busy machine may take longer for ten reads than anybody waits for a replica: not each time.
    let first = await race()
    for (let times = 1; first !== 'reads' && times < 5; times++) first = await race()
    t.equal(first, 'reads')
  })
})

t.test('many who sign in at once share what they wait for', async (t) => {
  const { app } = await startService(t)
  const calls = async () => Number(/cmdstat_wait:calls=(\d+)/.exec(await master.client.info('commandstats'))?.[1] ?? 0)
  const from = await calls()
  const responses = await Promise.all(Array.from({ length: 50 }, async () => await new Browser(app).post('/login')))
  t.strictSame(new Set(responses.map(({ statusCode }) => statusCode)), new Set([200]))
  const waits = await calls() - from
  t.ok(waits < 50, `${waits} for 100 confirmations`)
})

async function openLink (t: Test, url: string): Promise<{ client: Client, link: RedisLink }> {
  const { client } = connect(url)
  const link = new RedisLink(client)
  t.teardown(() => {
    link.close()
    client.disconnect()
  })
  await link.ready(10_000)
  return { client, link }
}

t.test('replicas are not taken at their word for what was written on a connection before', async (t) => {
  const { client, link } = await openLink(t, master.url)
  const replication = new Replication(link)
  const key = prefix()
  for (const isCut of [false, true, false]) {
    const confirmation = await replication.of([key])
    await client.set(key, '', 'PX', 1)
    if (isCut) {
      // As when another server has become the master by the time the question is asked.
      client.disconnect(true)
      await once(client, 'ready')
      await t.rejects(confirmation.wait(), { code: 'ERR_SESSION_STORE_UNAVAILABLE', cause: { message: 'no replica has confirmed in time' } })
    } else {
      await t.resolves(confirmation.wait())
    }
  }
})

t.test('a sign-in that was written before the store went down is known as one of unknown outcome: it is ended later', async (t) => {
  withRealLimits(t)
  const own = await startRedis(t)
  const { link } = await openLink(t, own.url)
  const key = prefix()
  const confirmation = await new Replication(link).of([key])
  own.pause()
  await until('it to be known', async () => await link.run(key, async (redis) => await redis.get(key)).then(() => false, ({ cause }: Error) => cause === undefined))
  await t.rejects(confirmation.wait(), { code: 'ERR_SESSION_STORE_UNAVAILABLE', cause: { message: 'the store went down before a replica was asked' } })
  own.resume()
})

t.test('a Redis without a replica is warned about where sign-ins are to be confirmed', async (t) => {
  withRealLimits(t)
  const alone = await startRedis(t)
  for (const [durability, expected] of [['replicated', 1], ['default', 0]] as const) {
    const app = await startApp(t, { redis: alone.url, keyPrefix: prefix(), durability })
    t.equal(app.lines.filter(({ msg }) => /no replica/.test(msg)).length, expected, durability)
  }
})
