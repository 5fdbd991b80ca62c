import t from 'tap'
import { Browser } from '../helpers/app.ts'
import { DOWN, idOf, post, startService, UP } from '../helpers/outage.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { startRedis, until } from '../helpers/redis.ts'
import { report, times } from '../helpers/scale.ts'
import { timed } from '../helpers/stopwatch.ts'
import { startWire } from '../helpers/wire.ts'

withRealLimits(t)

const redis = await startRedis(t)

t.test('a Redis that takes 50 ms for each answer is slow, and nothing else', async (t) => {
  const wire = await startWire(t, redis)
  const { signIn, said, app } = await startService(t, { redis: wire.url, touchAfter: 0 })
  wire.delayMs = 50
  const ada = await signIn('ada')
  for (const [method, url] of [['GET', '/me'], ['POST', '/write'], ['GET', '/read'], ['GET', '/info'], ['POST', '/logout']] as const) {
    const { result, ownMs } = await timed(async () => await ada.request(method, url))
    t.ok(result.statusCode < 300, `${url} ${result.statusCode} after ${ownMs} ms`)
  }
  t.ok((await app.sessions.health()).ok)
  t.strictSame(said(), [])
})

t.test('one request waits for Redis 600 ms in all, however many answers it waits for, and who it leaves behind is nobody', async (t) => {
  const laps = []
  // Three answers are one too many for the one, two for the other: what it asked for last is done, and it has not heard.
  const delays = { '/rotate': [250, 450], '/relogin': [350, 450] } as const
  for (const round of [0, 1] as const) {
    const wire = await startWire(t, redis)
    const { signIn, app } = await startService(t, { redis: wire.url })
    const browsers = await Promise.all(Array.from({ length: times(40, 4) }, async (_, index) => await signIn(`${round} ${index}`)))
    for (const [index, browser] of browsers.entries()) {
      const url = index % 2 === 0 ? '/rotate' : '/relogin'
      const delayMs = delays[url][round]
      wire.delayMs = delayMs
      const before = idOf(browser)
      const { result, ms, ownMs } = await timed(async () => await browser.post(url))
      t.equal(result.statusCode, 503, `${url} at ${delayMs} ms`)
      t.strictSame([result.setCookies, idOf(browser)], [[], before])
      t.ok(ownMs < 620, `${url} at ${delayMs} ms after ${ownMs} ms`)
      laps.push(ms)
    }
    wire.delayMs = 0
    await until('mallory to be nobody', async () => await app.sessions.listByUser('mallory').then(({ length }) => length === 0, () => false), 15_000)
  }
  report({ scenario: 'Redis slow (250 to 450 ms an answer), requests that ask several times', on: 'one server', tries: laps.length, slowestMs: Math.max(...laps) })
})

/** Redis does what it is told, and from an answer on nobody hears of it. */
for (const [name, url] of [['login', '/login'], ['logout', '/logout'], ['login in place of another', '/relogin'], ['regeneration', '/rotate']] as const) {
  t.test(`at whatever answer a ${name} hears no more of Redis, nobody holds a session that is not theirs, and none is left`, async (t) => {
    const subjects = []
    for (let answers = 0; answers < 9; answers++) {
      const wire = await startWire(t, redis)
      const service = await startService(t, { redis: wire.url })
      subjects.push({ answers, wire, ada: await service.signIn('ada'), bob: await service.signIn('bob'), ...service })
    }
    await Promise.all(subjects.map(async ({ answers, wire, ada, bob, app, said, keyPrefix }) => {
      const [before, cookie] = [idOf(ada), ada.header]
      wire.loseAnswersAfter(answers)
      const browser = url === '/login' ? new Browser(app) : ada
      const response = await browser.post(url, url === '/login' ? { username: 'mallory', password: 'lovelace' } : undefined)
      const isDone = response.statusCode < 300
      t.ok(isDone || response.statusCode === 503)
      if (!isDone) {
        t.equal(response.headers['retry-after'], '1')
        if (url === '/logout') t.equal(browser.cookies.size, 0)
        // A regeneration may be done, and what was to be stored after it not.
        else if (url !== '/rotate') t.strictSame(response.setCookies, [], 'no cookie')
        if (url === '/logout') t.not((await app.inject({ url: '/me', headers: { cookie } })).statusCode, 200, 'refused here at once')
      }
      await wire.mend()
      await until('service', async () => (await bob.get('/me')).statusCode === 200)
      if (!isDone) t.strictSame(said(), [DOWN, UP])
      // What is in a cookie, or was asked to be replaced and could not be.
      const kept = url === '/login' ? [before, idOf(browser)] : [idOf(browser)]
      await until('the rest to be gone', async () => (await redis.client.keys(`${keyPrefix}*`)).every((key) => [idOf(bob), ...kept].includes(key.slice(keyPrefix.length))), 15_000)
      const me = await app.inject({ url: '/me', headers: { cookie } })
      if (url === '/logout') t.equal(me.statusCode, 401)
      else if (url === '/login') t.equal(me.body, 'ada')
      else t.ok(me.statusCode === 401 || me.body === 'ada')
      if (response.setCookies.length > 0 && url === '/rotate') t.equal((await ada.get('/me')).body, 'ada')
      if (!isDone) t.strictSame(await app.sessions.listByUser('mallory'), [])
      t.equal((await bob.get('/me')).body, 'bob', 'and nobody else noticed more than 503')
    }))
    report({ scenario: `answers lost in the middle of a ${name}`, on: 'one server', tries: 9, resurrected: 0, lost: 0 })
  })
}

t.test('everything thrown away by somebody is who is signed in thrown out, and no more', async (t) => {
  const own = await startRedis(t)
  const { signIn, said, app } = await startService(t, { redis: own.url })
  const ada = await signIn('ada')
  await own.client.flushall()
  await own.client.script('FLUSH')
  t.equal((await ada.get('/me')).statusCode, 401)
  t.equal((await ada.post('/write')).statusCode, 200)
  t.equal((await post(ada, 'ada')).statusCode, 200)
  t.equal((await ada.get('/me')).body, 'ada')
  t.equal((await app.sessions.listByUser('ada')).length, 1)
  t.strictSame(said(), [])
})

t.test('a password of Redis that is changed is an outage at the next connection, named once, and over with the right one', async (t) => {
  const own = await startRedis(t)
  await own.client.config('SET', 'requirepass', 'old')
  const { signIn, said, app } = await startService(t, { redis: `redis://:old@127.0.0.1:${own.port}` })
  const ada = await signIn('ada')
  await own.client.config('SET', 'requirepass', 'new')
  t.equal((await ada.get('/me')).statusCode, 200, 'a connection that is there stays')
  await own.client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await until('the outage', async () => (await ada.get('/me')).statusCode === 503)
  for (let request = 0; request < 10; request++) {
    const { statusCode, setCookies } = await ada.get('/me')
    t.strictSame([statusCode, setCookies], [503, []])
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  t.strictSame(said(), [DOWN])
  await own.client.config('SET', 'requirepass', 'old')
  await until('service', async () => (await ada.get('/me')).statusCode === 200)
  t.equal((await ada.get('/me')).body, 'ada')
  t.strictSame(said(), [DOWN, UP])
  t.ok(app.lines.some(({ msg }) => msg === DOWN))
})
