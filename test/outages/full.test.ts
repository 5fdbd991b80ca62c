import { rm } from 'node:fs/promises'
import t from 'tap'
import { Browser } from '../helpers/app.ts'
import { idOf, post, startService } from '../helpers/outage.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { startRedis, until } from '../helpers/redis.ts'
import { keysOf } from '../helpers/redis-store.ts'
import { report, times } from '../helpers/scale.ts'

withRealLimits(t)

const REFUSES = 'the session store refuses what it is asked'

t.test('with Redis full nobody can sign in, whoever is signed in stays so, and everybody can be signed out', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory-policy', 'noeviction'] })
  const { app, signIn, said, keyPrefix } = await startService(t, { redis: redis.url, touchAfter: 0 })
  const people = new Map<string, Browser>()
  for (const who of ['ada', 'bob', 'carol', 'dave']) people.set(who, await signIn(who))
  const [ada, bob, carol, dave] = ['ada', 'bob', 'carol', 'dave'].map((who) => people.get(who) as Browser) as [Browser, Browser, Browser, Browser]
  const cookies = [ada, bob, carol, dave].map(({ header }) => header)
  await redis.client.config('SET', 'maxmemory', '1')

  let refused = 0
  for (let round = 0; round < times(100); round++) {
    const answers = await Promise.all([post(new Browser(app), 'erin'), ada.post('/relogin'), bob.post('/write'), carol.post('/rotate'), new Browser(app).post('/write')])
    for (const answer of answers) {
      t.strictSame([answer.statusCode, answer.json().code, answer.headers['retry-after'], answer.setCookies], [503, 'ERR_SESSION_STORE_FULL', '1', []])
      refused++
    }
    for (const [who, browser] of people) t.equal((await browser.get('/me')).body, who, 'and use counts')
  }
  t.strictSame([ada, bob, carol, dave].map(({ header }) => header), cookies)
  t.strictSame(said(), [`${REFUSES}: it is full: nobody can sign in. Give it more memory`], `one line, for ${refused} refusals`)

  t.equal((await ada.post('/logout')).statusCode, 204)
  t.ok(await app.sessions.revoke(idOf(bob)))
  t.equal(await app.sessions.revokeUser('carol'), 1)
  for (const browser of [ada, bob, carol]) t.equal((await browser.get('/me')).statusCode, 401)
  t.equal((await dave.get('/me')).body, 'dave')
  await until('the refused logins to be off the lists', async () => (await keysOf(redis.client, keyPrefix)).sort().join() === [keyPrefix + idOf(dave), `@${keyPrefix}user:dave`].sort().join(), 15_000)
  await redis.client.config('SET', 'maxmemory', '0')
  t.equal((await post(new Browser(app), 'ada')).statusCode, 200)
  report({ scenario: 'Redis full (noeviction)', on: 'one server', tries: refused, resurrected: 0, lost: 0 })
})

t.test('where Redis evicts whatever it likes, who was evicted is nobody, and nothing else goes wrong', async (t) => {
  const redis = await startRedis(t, { args: ['--maxmemory', '3mb', '--maxmemory-policy', 'allkeys-lru'] })
  const { app, keyPrefix } = await startService(t, { redis: redis.url })
  const users = Array.from({ length: 20 }, (_, index) => `user ${index}`)
  const tokens: Array<{ userId: string, id: string, headers: Record<string, string> }> = []
  const isFull = async (): Promise<boolean> => Number(/evicted_keys:(\d+)/.exec(await redis.client.info('stats'))?.[1]) > times(2000, 400)
  await until('Redis to evict', async () => {
    await Promise.all(users.map(async (userId) => {
      try {
        const { session, headers } = await app.sessions.create({ userId, data: { cart: 'x'.repeat(2000) } })
        tokens.push({ userId, id: session.id, headers: headers as Record<string, string> })
      } catch (error) {
        // The list was evicted in the middle of the login, as if somebody had called it off.
        t.match(error, { code: 'ERR_SESSION_UNAUTHENTICATED' })
      }
    }))
    return await isFull()
  }, 60_000)
  // So that nothing more goes while one looks.
  await redis.client.config('SET', 'maxmemory', '0')
  let [live, gone, unlisted] = [0, 0, 0]
  for (const userId of users) {
    // A list may hold what was evicted, or have been evicted itself: it never shows what is not there.
    const listed = new Set((await app.sessions.listByUser(userId)).map(({ id }) => id))
    for (const { id, headers } of tokens.filter((token) => token.userId === userId)) {
      const { statusCode, body } = await app.inject({ url: '/me', headers })
      const isLive = await redis.client.exists(keyPrefix + id) === 1
      t.strictSame([statusCode, statusCode === 200 ? body : null], isLive ? [200, userId] : [401, null])
      if (isLive) live++
      else gone++
      if (isLive && !listed.has(id)) unlisted++
      if (!isLive) t.notOk(listed.has(id))
    }
    const members = await redis.client.zrange(`@${keyPrefix}user:${userId}`, '0', '-1')
    t.strictSame(members.filter((member) => !member.startsWith('+') && !listed.has(member.split(':')[0] ?? '')), [], 'reading it has cleaned it')
  }
  t.ok(live > 0 && gone > 0, `${live} live, ${gone} evicted, ${unlisted} live and on no list`)
  await redis.client.config('SET', 'maxmemory', '3mb')
  const browser = new Browser(app)
  for (const method of [() => post(browser, 'ada'), () => browser.post('/write'), () => browser.post('/rotate'), () => browser.post('/logout')]) t.ok((await method()).statusCode < 500)
  report({ scenario: 'Redis evicting (allkeys-lru), sessions evicted', on: 'one server', tries: tokens.length, lost: gone })
})

t.test('a session whose list was evicted works, is ended by its holder or by its id, but not by its user\'s name', async (t) => {
  const redis = await startRedis(t)
  const { app, signIn, keyPrefix } = await startService(t, { redis: redis.url })
  const [ada, again] = [await signIn('ada'), await signIn('ada')]
  await redis.client.del(`@${keyPrefix}user:ada`)
  t.strictSame(await app.sessions.listByUser('ada'), [])
  t.equal(await app.sessions.revokeUser('ada'), 0, 'this is why allkeys policies are warned about')
  t.equal((await ada.get('/me')).body, 'ada')
  t.ok(await app.sessions.revoke(idOf(ada)))
  t.equal((await ada.get('/me')).statusCode, 401)
  t.equal(await app.sessions.touch(idOf(again)), true)
  t.strictSame((await app.sessions.listByUser('ada')).map(({ id }) => id), [idOf(again)], 'use lists it again')
  t.equal(await app.sessions.revokeUser('ada'), 1)
})

t.test('a Redis that cannot save to its disk, and so takes no writes, signs nobody in or out, and what was asked for is done afterwards', async (t) => {
  const redis = await startRedis(t, { args: ['--save', '3600', '1000000'] })
  const { app, signIn, said, keyPrefix } = await startService(t, { redis: redis.url })
  const [ada, bob] = [await signIn('ada'), await signIn('bob')]
  const bobs = bob.header
  const [, directory = ''] = await redis.client.config('GET', 'dir') as [string, string]
  await rm(directory, { recursive: true })
  await until('a save to fail', async () => {
    await redis.client.bgsave().catch(() => {})
    return (await redis.client.info('persistence')).includes('rdb_last_bgsave_status:err')
  })
  for (let round = 0; round < 5; round++) {
    const answers = await Promise.all([post(new Browser(app), 'erin'), ada.post('/relogin'), ada.post('/write'), ada.post('/rotate')])
    for (const { statusCode, setCookies } of answers) t.strictSame([statusCode, setCookies], [503, []])
    t.equal((await ada.get('/me')).body, 'ada')
  }
  const logout = await bob.post('/logout')
  t.strictSame([logout.statusCode, bob.cookies.size], [503, 0])
  t.equal((await app.inject({ url: '/me', headers: { cookie: bobs } })).statusCode, 401, 'refused here at once')
  t.strictSame(said(), [`${REFUSES}: it cannot save to its disk, and takes no writes until it can`], 'one line')
  await redis.client.config('SET', 'stop-writes-on-bgsave-error', 'no')
  await until('bob to be out', async () => await redis.client.exists(`${keyPrefix}${bobs.slice('sid='.length).split('.')[0]}`) === 0)
  t.equal((await ada.get('/me')).body, 'ada')
  await until('nothing to be left of the others', async () => (await keysOf(redis.client, keyPrefix)).length === 2, 15_000)
})

t.test('a master that becomes a replica is left for whoever is the master, and takes nobody\'s cookie meanwhile', async (t) => {
  const args = ['--repl-diskless-sync-delay', '0']
  const [redis, other] = [await startRedis(t, { args }), await startRedis(t, { args })]
  const { app, signIn, said } = await startService(t, { redis: redis.url })
  const ada = await signIn('ada')
  await other.client.replicaof('127.0.0.1', redis.port)
  await until('the other to follow', async () => (await other.client.info('replication')).includes('master_link_status:up'))
  const connections = async (): Promise<number> => Number(/total_connections_received:(\d+)/.exec(await redis.client.info('stats'))?.[1])
  await other.client.replicaof('NO', 'ONE')
  await redis.client.replicaof('127.0.0.1', other.port)
  await until('the swap', async () => (await redis.client.info('replication')).includes('master_link_status:up'))
  const before = await connections()
  for (let round = 0; round < 5; round++) {
    for (const answer of await Promise.all([post(new Browser(app), 'erin'), ada.post('/relogin'), ada.post('/write')])) t.strictSame([answer.statusCode, answer.setCookies], [503, []])
    const { statusCode, body, setCookies } = await ada.get('/me')
    t.ok(statusCode === 503 || (statusCode === 200 && body === 'ada'), `${statusCode}`)
    t.strictSame(setCookies, [])
  }
  await until('it to be left: another connection may lead to the master', async () => await connections() > before)
  let reads = 0
  let answered = 0
  for (const end = Date.now() + 2_000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 20))) {
    t.equal((await ada.post('/write')).statusCode, 503)
    if ((await ada.get('/me')).statusCode === 200) answered++
    reads++
  }
  t.ok(answered > reads / 2, `${answered} of ${reads} are told who they are between two tries to get away`)
  t.strictSame(said(), [`${REFUSES}: it takes no writes: it has become a replica, or lacks its own`], 'one line')
  await redis.client.replicaof('NO', 'ONE')
  await until('service', async () => (await ada.post('/write')).statusCode === 200)
  t.equal((await ada.get('/me')).body, 'ada')
})
