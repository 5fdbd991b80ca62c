import t from 'tap'
import type { Test } from 'tap'
import { Browser } from '../helpers/app.ts'
import type { TestResponse } from '../helpers/app.ts'
import { DOWN, idOf, post, startService, UP } from '../helpers/outage.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { startRedis, until } from '../helpers/redis.ts'
import type { TestRedis } from '../helpers/redis.ts'
import { keysOf } from '../helpers/redis-store.ts'
import { isSoak, report, times } from '../helpers/scale.ts'
import { timed } from '../helpers/stopwatch.ts'
import { startWire } from '../helpers/wire.ts'
import type { Wire } from '../helpers/wire.ts'

withRealLimits(t)

/** What one request may wait for all that it asks of Redis, and how long it takes when that is known to be in vain. */
const WAIT_MS = 600
const KNOWN_MS = 50
const RESUMES_MS = 2_000

interface Fault {
  begin: (redis: TestRedis, wire: Wire) => Promise<unknown> | unknown
  end: (redis: TestRedis, wire: Wire) => Promise<unknown> | unknown
  /** Nobody is told: the first requests have to wait. */
  silent?: boolean
  /** Nothing of before is there afterwards. */
  empties?: boolean
}

const FAULTS: Record<string, Fault> = {
  'Redis killed and restarted with its data': { begin: (redis) => redis.stop(), end: (redis) => redis.restart() },
  'Redis killed and restarted empty': { begin: (redis) => redis.stop(), end: async (redis) => { await redis.restart(); await redis.client.flushall() }, empties: true },
  'Redis frozen': { begin: (redis) => redis.pause(), end: (redis) => redis.resume(), silent: true },
  'the link cut': { begin: (_redis, wire) => wire.cut(), end: (_redis, wire) => wire.mend() },
  'the link half-open': { begin: (_redis, wire) => wire.lose(), end: (_redis, wire) => wire.mend(), silent: true },
  'answers lost': { begin: (_redis, wire) => wire.lose({ commands: false }), end: (_redis, wire) => wire.mend(), silent: true },
  'commands lost': { begin: (_redis, wire) => wire.lose({ answers: false }), end: (_redis, wire) => wire.mend(), silent: true },
  'Redis slower than a command may be': { begin: (_redis, wire) => { wire.delayMs = 700 }, end: (_redis, wire) => { wire.delayMs = 0 }, silent: true },
  'Redis loading its data': { begin: (_redis, wire) => { wire.error = 'LOADING Redis is loading the dataset in memory' }, end: (_redis, wire) => { wire.error = null } }
}

/** What asks Redis, once or several times, and cannot be answered without it. */
const ASKING: Array<[who: string, method: 'GET' | 'POST', url: string]> = [
  ['ada', 'GET', '/me'], ['ada', 'GET', '/info'], ['ada', 'GET', '/read'], ['erin', 'POST', '/write'], ['dave', 'POST', '/rotate'], ['carol', 'POST', '/relogin'], ['nobody', 'POST', '/login'], ['nobody', 'POST', '/write']
]

for (const [name, fault] of Object.entries(FAULTS)) {
  t.test(`[16.5] ${name}: 503 in time, nobody is signed in or out by doubt, and all is well two seconds after it`, async (t) => {
    const redis = await startRedis(t, { args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
    const wire = await startWire(t, redis)
    const service = await startService(t, { redis: wire.url })
    const { app, said, signIn, keyPrefix } = service
    const people = new Map<string, Browser>()
    for (const who of ['ada', 'bob', 'carol', 'dave', 'erin']) people.set(who, await signIn(who))
    const browserOf = (who: string): Browser => people.get(who) ?? new Browser(app)
    const cookies = new Map([...people].map(([who, browser]) => [who, browser.header]))
    const bobs = idOf(browserOf('bob'))
    const slowest = { first: 0, known: 0, resumed: 0 }
    let tries = 0

    for (let round = 0; round < times(10, 1); round++) {
      const lines = said().length
      if (round > 0) for (const who of ['ada', 'bob', 'carol', 'dave', 'erin']) if (fault.empties === true || who === 'bob') people.set(who, await signIn(who))
      for (const [who, browser] of people) cookies.set(who, browser.header)
      await fault.begin(redis, wire)

      // All at once: none of them knows yet.
      let waits = 0
      let early = 0
      const free = ['/public', '/read', '/me', '/info'].map(async (url) => await app.inject({ url })).concat(app.inject({ url: '/skipping', headers: { cookie: browserOf('ada').header } }))
      const asked = ASKING.map(async ([who, method, url]) => {
        const lap = await timed(async () => await browserOf(who).request(method, url, url === '/login' ? { payload: { username: 'mallory', password: 'lovelace' } } : {}))
        waits++
        return { url, ...lap }
      })
      const open = timed(async () => await browserOf('ada').get('/public'))
      for (const answer of free) {
        t.not((await answer).statusCode, 503)
        if (waits === 0) early++
      }
      if (fault.silent === true) t.equal(early, free.length, 'what needs no session is answered before anybody has stopped waiting')
      for (const { url, result, ms, ownMs } of await Promise.all(asked)) {
        isRefused(t, result, url)
        isInTime(t, ownMs, WAIT_MS, url)
        slowest.first = Math.max(slowest.first, ms)
        tries++
      }
      t.equal((await open).result.statusCode, 200, 'a page for everybody is for those with a cookie as well')
      isInTime(t, (await open).ownMs, WAIT_MS, '/public')

      // From here on it is known.
      const before = wire.count()
      for (const [who, method, url] of ASKING) {
        const { result, ms, ownMs } = await timed(async () => await browserOf(who).request(method, url, url === '/login' ? { payload: { username: 'mallory', password: 'lovelace' } } : {}))
        isRefused(t, result, url)
        isInTime(t, ownMs, KNOWN_MS, url)
        slowest.known = Math.max(slowest.known, ms)
      }
      const { result: openAgain, ownMs } = await timed(async () => await browserOf('ada').get('/public'))
      t.equal(openAgain.statusCode, 200)
      isInTime(t, ownMs, KNOWN_MS, '/public')
      if (fault.silent === true) t.ok(wire.count() - before <= 2 + 8, 'Redis is asked nothing but whether it is back')

      const bob = browserOf('bob')
      const logout = await bob.post('/logout')
      t.strictSame([logout.statusCode, logout.setCookies.length, bob.cookies.size], [503, 1, 0], 'a logout is not confirmed, and its cookie is taken back')
      const refusal = await app.inject({ url: '/me', headers: { cookie: cookies.get('bob') ?? '' } })
      t.not(refusal.statusCode, 200)
      t.strictSame(said().slice(lines), [DOWN], 'one line')

      await fault.end(redis, wire)
      const { ms: resumedMs, ownMs: resumedOwnMs } = await timed(() => until('service', async () => (await browserOf('ada').get('/me')).statusCode !== 503))
      isInTime(t, resumedOwnMs, RESUMES_MS, 'service resumes')
      slowest.resumed = Math.max(slowest.resumed, resumedMs)
      t.strictSame(said().slice(lines), [DOWN, UP], 'another line')
      for (const who of ['ada', 'carol', 'dave', 'erin']) {
        const response = await browserOf(who).get('/me')
        if (fault.empties === true) t.equal(response.statusCode, 401, `${who}'s session was lost`)
        else t.strictSame([response.statusCode, response.body, browserOf(who).header], [200, who, cookies.get(who)], 'with the cookie of before')
      }
      t.equal((await app.inject({ url: '/me', headers: { cookie: cookies.get('bob') ?? '' } })).statusCode, 401, 'who signed out is')
      t.equal((await post(new Browser(app), 'frank')).statusCode, 200)
      t.equal(await app.sessions.revokeUser('frank'), 1)
      // Of the logins that were answered 503 nobody holds a cookie.
      const kept = fault.empties === true ? [] : ['ada', 'carol', 'dave', 'erin'].map((who) => keyPrefix + idOf(browserOf(who)))
      await until('the others to be gone', async () => (await keysOf(redis.client, keyPrefix)).filter((key) => key.startsWith(keyPrefix)).sort().join() === kept.sort().join(), 15_000)
      t.strictSame(await app.sessions.listByUser('mallory'), [])
    }
    report({ scenario: name, on: 'one server', tries, slowestMs: slowest.first, recoveryMs: slowest.resumed })
    report({ scenario: `${name}, once that is known`, on: 'one server', tries, slowestMs: slowest.known })
    t.equal(await redis.client.exists(keyPrefix + bobs), 0)
  })
}

t.test('however long the link was half-open or cut, service resumes within two seconds', async (t) => {
  const redis = await startRedis(t)
  const services = []
  for (let index = 0; index < times(72, 24); index++) {
    const wire = await startWire(t, redis)
    const { signIn } = await startService(t, { redis: wire.url })
    services.push({ wire, ada: await signIn('ada'), trouble: index % 3 === 0 ? 'cut' : 'half-open', lastsMs: 200 * index })
  }
  const laps = await Promise.all(services.map(async ({ wire, ada, trouble, lastsMs }) => {
    if (trouble === 'cut') await wire.cut()
    else wire.lose()
    t.equal((await ada.get('/me')).statusCode, 503)
    await new Promise((resolve) => setTimeout(resolve, lastsMs))
    await wire.mend()
    const lap = await timed(() => served(ada))
    isInTime(t, lap.ownMs, RESUMES_MS, `${trouble} for ${lastsMs} ms`)
    return { trouble, ...lap }
  }))
  for (const trouble of ['half-open', 'cut']) {
    const own = laps.filter((lap) => lap.trouble === trouble)
    report({ scenario: `the link ${trouble} for up to ${isSoak ? 14 : 5} s`, on: 'one server', tries: own.length, recoveryMs: Math.max(...own.map(({ ms }) => ms)) })
  }
})

/** Seldom enough for so many of them to leave the process to others. */
async function served (browser: Browser): Promise<void> {
  while ((await browser.get('/me')).statusCode !== 200) await new Promise((resolve) => setTimeout(resolve, 40))
}

function isRefused (t: Test, response: TestResponse, url: string): void {
  t.strictSame([response.statusCode, response.headers['retry-after'], response.setCookies], [503, '1', []], url)
}

function isInTime (t: Test, ms: number, bound: number, what: string): void {
  if (process.env.HF) console.error(what, Math.round(ms))
  t.ok(ms < bound, `${what} after ${ms} ms`)
}
