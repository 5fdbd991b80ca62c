import { addAbortListener, once } from 'node:events'
import { mock } from 'node:test'
import { inspect } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { RequestAuth, SessionOptions } from '../../lib/index.ts'
import { EventHub } from '../../lib/session/events.ts'
import { newToken, Signature } from '../../lib/session/token.ts'
import { EndSignals } from '../../lib/session/signals.ts'
import { kContext } from '../../lib/http/context.ts'
import type { PluginContext } from '../../lib/http/context.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import { MINUTE } from '../helpers/record.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { age } from '../helpers/redis-store.ts'
import { SpyStore } from '../helpers/spy-store.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const redis = await startRedis(t)

/** How long a message of another process takes at the most; the look every five seconds comes later. */
const SOON = 3_000

interface Service {
  app: FastifyInstance
  /** What the requests to `/watch` held, and go on holding. */
  watched: RequestAuth[]
  /** What requests to `/open` wait for, each until its session ends. */
  opened: AbortSignal[]
}

async function startService (t: Test, options: Partial<SessionOptions>): Promise<Service> {
  const app = await startApp(t, options)
  const watched: RequestAuth[] = []
  const opened: AbortSignal[] = []
  app.post('/login', async (request) => await app.login(request, { id: 'ada' }))
  app.post('/logout', async (request) => await app.logout(request))
  app.post('/regenerate', async (request) => await request.session.regenerate(['userId']))
  app.post('/who', async (request) => request.requireAuth().userId)
  app.post('/late', async (request) => {
    watched.push(request.requireAuth())
    await app.sessions.revoke(request.requireAuth().id)
    await turns()
    return request.requireAuth().signal.aborted
  })
  app.post('/watch', async (request) => {
    watched.push(request.requireAuth())
    return watched.at(-1)?.signal.aborted
  })
  app.post('/open', async (request) => {
    const either = AbortSignal.any([request.requireAuth().signal, new AbortController().signal])
    opened.push(either)
    await once(either, 'abort')
    return (either.reason as Error).message
  })
  return { app, watched, opened }
}

/** A service on a clock that only the test moves, timers included, and somebody who is signed in there. */
async function startTimed (t: Test, options: Partial<SessionOptions> = {}) {
  let now = 1_700_000_000_000
  const store = new SpyStore({ now: () => now })
  const service = await startService(t, { store, ...options })
  const ada = new Browser(service.app)
  await ada.post('/login')
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  return {
    ...service,
    ada,
    store,
    age: (ms: number) => { now += ms },
    /** Lets this many milliseconds of timers pass, and what follows from them. */
    pass: async (ms: number) => {
      mock.timers.tick(ms)
      await turns()
    }
  }
}

/** Lets everything happen that waits for nothing. */
async function turns (): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** Has `browser` hold the signal of its session, for as long as the test does. */
async function watch ({ watched }: Pick<Service, 'watched'>, browser: Browser): Promise<AbortSignal> {
  await browser.post('/watch')
  return (watched.at(-1) as RequestAuth).signal
}

/** How many sessions an application holds signals of. */
function held (app: FastifyInstance): number {
  return (app as unknown as { [kContext]: PluginContext })[kContext].core.signals.size
}

/** How many timers are running. */
function timers (): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
}

t.test('the signal is of no interest to whoever prints, sends or copies request.auth', async (t) => {
  const { watched, app } = await startService(t, { store: new SpyStore() })
  const ada = new Browser(app)
  const session = (await ada.post('/login')).json<{ id: string }>()
  const signal = await watch({ watched }, ada)
  const auth = watched[0] as RequestAuth
  t.ok(signal instanceof AbortSignal)
  t.equal(signal.aborted, false)
  t.strictSame(JSON.parse(JSON.stringify(auth)), session)
  t.notOk('signal' in { ...auth })
  t.notOk(Object.keys(auth).includes('signal'))
  t.notMatch(inspect(auth), /signal|AbortSignal/i)
  t.strictSame(structuredClone(auth), { ...auth })
  t.ok(Object.isFrozen(auth))
  t.equal(Object.getPrototypeOf(auth), Object.prototype, 'it is a plain object')
  for (const view of [new Proxy(auth, {}), Object.create(auth) as RequestAuth]) t.equal(view.signal, signal)
})

t.test('whoever asks for no signal costs nothing', async (t) => {
  const { app, store, ada, pass } = await startTimed(t)
  t.equal((await ada.post('/who')).body, 'ada')
  t.equal(held(app), 0)
  t.strictSame(await store.during(() => pass(60_000)), [])
})

t.test('requests of one session share one signal, those of another have another', async (t) => {
  const service = await startService(t, { store: new SpyStore() })
  const [phone, laptop] = [new Browser(service.app), new Browser(service.app)]
  await phone.post('/login')
  await laptop.post('/login')
  const signal = await watch(service, phone)
  t.equal(await watch(service, phone), signal)
  const other = await watch(service, laptop)
  t.not(other, signal)
  t.equal(held(service.app), 2)
  await phone.post('/logout')
  await turns()
  t.equal(signal.aborted, true)
  t.equal(other.aborted, false, 'nobody else is concerned')
  t.equal(held(service.app), 1)
})

type Ending = [what: string, reason: string, end: (subject: { app: FastifyInstance, browser: Browser, id: string }) => Promise<unknown>]

const endings: Ending[] = [
  ['a logout', 'logout', async ({ browser }) => await browser.post('/logout')],
  ['another login', 'replaced', async ({ browser }) => await browser.post('/login')],
  ['a regeneration of its id', 'replaced', async ({ browser }) => await browser.post('/regenerate')],
  ['revoke', 'revoked', async ({ app, id }) => await app.sessions.revoke(id)],
  ['revokeUser', 'revoked', async ({ app }) => await app.sessions.revokeUser('ada')],
  ['the limit of sessions', 'evicted', async ({ app }) => {
    await app.sessions.create({ userId: 'ada' })
    await app.sessions.create({ userId: 'ada' })
  }]
]

for (const [what, reason, end] of endings) {
  t.test(`the signal fires at once at ${what}`, async (t) => {
    const service = await startService(t, { store: new SpyStore(), maxSessionsPerUser: 2 })
    const ada = new Browser(service.app)
    await ada.post('/login')
    const signal = await watch(service, ada)
    let fired = 0
    signal.addEventListener('abort', () => { fired++ })
    await end({ app: service.app, browser: ada, id: service.watched[0]?.id as string })
    await turns()
    t.equal(signal.aborted, true)
    t.equal(fired, 1)
    t.match(signal.reason, { name: 'AbortError', message: `The session has ended: ${reason}` })
    t.throws(() => signal.throwIfAborted(), { name: 'AbortError' })
    t.equal(held(service.app), 0)
  })

  t.test(`[8.3.2] the signal fires soon at ${what} in another process`, async (t) => {
    const keyPrefix = prefix()
    const here = await startService(t, { redis: redis.url, keyPrefix, maxSessionsPerUser: 2 })
    const there = await startService(t, { redis: redis.url, keyPrefix, maxSessionsPerUser: 2 })
    const [ada, elsewhere] = [new Browser(here.app), new Browser(there.app)]
    await ada.post('/login')
    elsewhere.cookies.set('sid', ada.cookies.get('sid') as string)
    const signal = await watch(here, ada)
    await until('the subscription', async () => Number((await redis.client.pubsub('NUMSUB', `@${keyPrefix}events`))[1]) === 1)
    const id = here.watched[0]?.id as string
    // When it begins to listen it looks whether the session has ended unheard of. That look is over before it ends: a
    // message that is sent now comes after it began, and an answer of the store after its answer.
    let heard = false
    here.app.sessions.on('created', ({ userId }) => { heard ||= userId === 'bob' })
    await there.app.sessions.create({ userId: 'bob' })
    await until('a message', () => heard)
    await here.app.sessions.get(id)
    await end({ app: there.app, browser: elsewhere, id })
    await until('the signal', () => signal.aborted, SOON)
    t.match(signal.reason, { message: `The session has ended: ${reason}` })
  })
}

t.test('the signal of a session that has ended since it was loaded fires', async (t) => {
  const service = await startService(t, { store: new SpyStore() })
  const ada = new Browser(service.app)
  await ada.post('/login')
  await ada.post('/late')
  await turns()
  t.equal(service.watched[0]?.signal.aborted, true)
  t.equal(held(service.app), 0)
})

t.test('[7.3.1] the signal fires within five seconds after a session ran out, though nobody looks', async (t) => {
  const service = await startTimed(t)
  const signal = await watch(service, service.ada)
  await service.pass(4_999)
  service.age(30 * MINUTE)
  t.equal(signal.aborted, false)
  await service.pass(1)
  t.equal(signal.aborted, true)
  t.match(signal.reason, { name: 'AbortError', message: /^The session has ended: (expired|ended)$/ })
})

t.test('the signal fires within five seconds after a session vanished, though nobody says so', async (t) => {
  const service = await startTimed(t)
  const signal = await watch(service, service.ada)
  for (let round = 0; round < 5; round++) {
    t.strictSame(await service.store.during(() => service.pass(5_000)), ['find'], 'every five seconds one question')
    t.equal(signal.aborted, false)
  }
  await service.store.close()
  await service.pass(4_999)
  t.equal(signal.aborted, false)
  await service.pass(1)
  t.equal(signal.aborted, true)
  t.strictSame(await service.store.during(() => service.pass(60_000)), [], 'then nothing more is asked')
})

t.test('a store that does not answer ends nothing', async (t) => {
  const service = await startTimed(t)
  const signal = await watch(service, service.ada)
  service.store.failing.add('find')
  for (let round = 0; round < 5; round++) await service.pass(5_000)
  t.equal(signal.aborted, false)
  service.store.failing.clear()
  await service.pass(5_000)
  t.equal(signal.aborted, false)
  await service.store.close()
  await service.pass(5_000)
  t.equal(signal.aborted, true, 'and what ended meanwhile is noticed')
})

t.test('a sign-out that nobody confirms fires the signal of who proves the session, and no other', async (t) => {
  const service = await startTimed(t)
  const signal = await watch(service, service.ada)
  for (const operation of ['find', 'delete'] as const) service.store.failing.add(operation)
  const forged = new Signature([secret]).sign(newToken(service.watched[0]?.id as string).token)
  const mallory = new Browser(service.app)
  mallory.cookies.set('sid', encodeURIComponent(forged))
  t.equal((await mallory.post('/logout')).statusCode, 503)
  await service.pass(5_000)
  t.equal(signal.aborted, false)
  t.equal((await service.ada.post('/logout')).statusCode, 503)
  await service.pass(5_000)
  t.equal(signal.aborted, true)
})

t.test('[7.3.1] looking after signals is no use of a session', async (t) => {
  const service = await startTimed(t)
  const signal = await watch(service, service.ada)
  for (let minute = 0; minute < 29; minute++) {
    service.age(MINUTE)
    await service.pass(5_000)
  }
  t.equal(signal.aborted, false)
  service.age(MINUTE)
  await service.pass(5_000)
  t.equal(signal.aborted, true)
})

t.test('a signal that nobody has or listens to any more is let go', async (t) => {
  const service = await startTimed(t)
  await watch(service, service.ada)
  await service.pass(5_000)
  collectGarbage()
  await service.pass(5_000)
  t.equal(held(service.app), 1, 'request.auth has it')
  service.watched.length = 0
  for (let round = 0; round < 10 && held(service.app) > 0; round++) {
    collectGarbage()
    await service.pass(5_000)
  }
  t.equal(held(service.app), 0)
  t.strictSame(await service.store.during(() => service.pass(60_000)), [], 'and nothing is asked for it')
  t.equal(await watch(service, service.ada).then((signal) => signal.aborted), false, 'who asks again is given another')
})

const LISTENERS: Array<(signal: AbortSignal, done: () => void) => void> = [
  (signal, done) => signal.addEventListener('abort', done),
  (signal, done) => signal.addEventListener('abort', done, { once: true }),
  (signal, done) => { signal.onabort = done },
  (signal, done) => { addAbortListener(signal, done) },
  (signal, done) => { once(signal, 'abort').then(done, () => {}) },
  (signal, done) => { fetchLike(signal).catch(done) }
]

/** Signs ada in once more, and returns the browser and the id of its session. */
async function signIn ({ app }: Service): Promise<{ browser: Browser, id: string }> {
  const browser = new Browser(app)
  return { browser, id: (await browser.post('/login')).json<{ id: string }>().id }
}

/** Has the signal of a session for as long as `use` runs. */
async function useSignal ({ watched }: Service, browser: Browser, use: (signal: AbortSignal) => void): Promise<void> {
  await browser.post('/watch')
  use((watched.pop() as RequestAuth).signal)
}

// Collecting garbage takes long: sessions of all ways of listening go through it together.
t.test('a signal that is only listened to is kept, and fires', async (t) => {
  const service = await startTimed(t)
  const fired = new Set<unknown>()
  const ids: string[] = []
  for (const listen of LISTENERS) {
    const { browser, id } = await signIn(service)
    ids.push(id)
    await useSignal(service, browser, (signal) => listen(signal, () => { fired.add(listen) }))
  }
  for (let round = 0; round < 5; round++) {
    await turns()
    collectGarbage()
  }
  for (let round = 0; round < 5; round++) {
    collectGarbage()
    await service.pass(5_000)
  }
  for (const id of ids) await service.app.sessions.revoke(id)
  await turns()
  for (const listen of LISTENERS) t.ok(fired.has(listen), String(listen))
})

t.test('a signal that an earlier request took without listening is kept by who listens to it later, and fires', async (t) => {
  const service = await startTimed(t)
  const fired = new Set<unknown>()
  const people: Array<{ browser: Browser, id: string, listen: typeof LISTENERS[number], earlier: WeakRef<AbortSignal> }> = []
  for (const listen of LISTENERS) {
    const { browser, id } = await signIn(service)
    people.push({ browser, id, listen, earlier: await watch(service, browser).then((signal) => new WeakRef(signal)) })
  }
  for (let round = 0; round < 3; round++) await service.pass(5_000)
  for (const { browser, listen, earlier } of people) {
    await useSignal(service, browser, (signal) => {
      t.equal(signal, earlier.deref(), 'it is the same one')
      listen(signal, () => { fired.add(listen) })
    })
  }
  service.watched.length = 0
  for (let round = 0; round < 5; round++) {
    await turns()
    collectGarbage()
  }
  for (const { id } of people) await service.app.sessions.revoke(id)
  await turns()
  for (const listen of LISTENERS) t.ok(fired.has(listen), String(listen))
})

t.test('a signal whose listeners are all removed is let go', async (t) => {
  const heard = (): void => {}
  const ways: Array<[add: (signal: AbortSignal) => void, remove: (signal: AbortSignal) => void]> = [
    [(signal) => signal.addEventListener('abort', heard), (signal) => signal.removeEventListener('abort', heard)],
    [(signal) => { signal.onabort = heard }, (signal) => { signal.onabort = null }],
    [(signal) => { signal.onabort = heard; signal.onabort = () => {} }, (signal) => { signal.onabort = null }]
  ]
  const service = await startTimed(t)
  const browsers: Browser[] = []
  for (const [add] of ways) {
    const { browser } = await signIn(service)
    browsers.push(browser)
    await useSignal(service, browser, add)
  }
  for (let round = 0; round < 5; round++) {
    await turns()
    collectGarbage()
    await service.pass(5_000)
  }
  t.equal(held(service.app), ways.length, 'all are listened to')
  for (const [index, [, remove]] of ways.entries()) await useSignal(service, browsers[index] as Browser, remove)
  for (let round = 0; round < 10 && held(service.app) > 0; round++) {
    await turns()
    collectGarbage()
    await service.pass(5_000)
  }
  t.equal(held(service.app), 0)
})

t.test('onabort is what was assigned last, and is called once, with the signal', async (t) => {
  const service = await startService(t, { store: new SpyStore() })
  const ada = new Browser(service.app)
  await ada.post('/login')
  const signal = await watch(service, ada)
  const calls: unknown[] = []
  const onabort = function (this: AbortSignal, { type }: Event): void { calls.push([this === signal, type]) }
  t.equal(signal.onabort, null)
  signal.onabort = () => { calls.push('replaced') }
  signal.onabort = onabort
  t.equal(signal.onabort, onabort)
  await ada.post('/logout')
  await turns()
  t.strictSame(calls, [[true, 'abort']])
})

t.test('however many listen to one session, Node warns of no leak', async (t) => {
  const service = await startService(t, { store: new SpyStore() })
  const ada = new Browser(service.app)
  await ada.post('/login')
  const warnings: Error[] = []
  const warned = (warning: Error): void => { warnings.push(warning) }
  process.on('warning', warned)
  t.teardown(() => process.off('warning', warned))
  const signal = await watch(service, ada)
  let fired = 0
  for (let each = 0; each < 100; each++) signal.addEventListener('abort', () => { fired++ })
  await ada.post('/logout')
  await turns()
  t.equal(fired, 100)
  t.strictSame(warnings, [])
})

/** Something that takes a signal, as much of Node does. */
async function fetchLike (signal: AbortSignal): Promise<void> {
  await new Promise((_resolve, reject) => { signal.addEventListener('abort', () => reject(signal.reason), { once: true }) })
}

t.test('what AbortSignal.any makes of it fires as long as the request is open', async (t) => {
  const service = await startTimed(t)
  const id = (await service.app.sessions.listByUser('ada'))[0]?.id as string
  const reply = service.ada.post('/open')
  while (service.opened.length === 0) await turns()
  for (let round = 0; round < 5; round++) {
    collectGarbage()
    await service.pass(5_000)
  }
  await service.app.sessions.revoke(id)
  t.equal((await reply).body, 'The session has ended: revoked')
})

t.test('a closed application leaves no timer', async (t) => {
  const before = timers()
  const service = await startService(t, { store: new SpyStore() })
  const ada = new Browser(service.app)
  await ada.post('/login')
  const signal = await watch(service, ada)
  t.equal(timers(), before + 1)
  await service.app.close()
  t.equal(timers(), before)
  t.equal(held(service.app), 0)
  t.equal(signal.aborted, false, 'the session has not ended')
})

t.test('a signal that is asked for after closing keeps no connection and no timer', async (t) => {
  const keyPrefix = prefix()
  const before = timers()
  const service = await startService(t, { redis: redis.url, keyPrefix })
  const ada = new Browser(service.app)
  let auth: RequestAuth | undefined
  service.app.addHook('onResponse', async (request) => { auth = request.auth ?? auth })
  await ada.post('/login')
  await service.app.close()
  t.equal(auth?.signal.aborted, false)
  await turns()
  t.equal(auth?.signal, auth?.signal)
  t.equal(held(service.app), 0)
  t.equal(timers(), before)
  t.strictSame(await redis.client.pubsub('NUMSUB', `@${keyPrefix}events`), [`@${keyPrefix}events`, 0])
})

t.test('an outage of Redis ends nothing, and what ended meanwhile is noticed', async (t) => {
  const redis = await startRedis(t)
  const service = await startService(t, { redis: redis.url, keyPrefix: prefix() })
  const ada = new Browser(service.app)
  await ada.post('/login')
  const signal = await watch(service, ada)
  redis.pause()
  await until('the outage', async () => !(await service.app.sessions.health()).ok)
  redis.resume()
  await until('its end', async () => (await service.app.sessions.health()).ok)
  t.equal(signal.aborted, false, 'frozen')
  await redis.stop()
  await until('the outage', async () => !(await service.app.sessions.health()).ok)
  // Longer than the five seconds after which sessions are looked up.
  const startedAt = performance.now()
  await until('a look at it', () => signal.aborted || performance.now() - startedAt > 5_500)
  t.equal(signal.aborted, false, 'killed')
  t.equal(held(service.app), 1)
  await redis.restart()
  await until('the signal', () => signal.aborted)
  t.match(signal.reason, { message: 'The session has ended: ended' }, 'this Redis is another and empty')
})

t.test('a lost message makes the signal no later than the connection comes back', async (t) => {
  const keyPrefix = prefix()
  const own = await startRedis(t)
  const here = await startService(t, { redis: own.url, keyPrefix })
  const there = await startService(t, { redis: own.url, keyPrefix })
  for (let round = 0; round < 3; round++) {
    const ada = new Browser(here.app)
    await ada.post('/login')
    const signal = await watch(here, ada)
    const isHeard = async (): Promise<boolean> => Number((await own.client.pubsub('NUMSUB', `@${keyPrefix}events`))[1]) === 1
    await until('the subscription', isHeard)
    await turns()
    await own.client.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
    t.equal(await isHeard(), false)
    t.equal(await there.app.sessions.revoke(here.watched.at(-1)?.id as string), true)
    await until('the signal', () => signal.aborted, SOON)
    t.match(signal.reason, { message: 'The session has ended: ended' })
  }
})

t.test('[7.3.1] in Redis the signal fires too when a session runs out', async (t) => {
  const keyPrefix = prefix()
  const service = await startService(t, { redis: redis.url, keyPrefix })
  const ada = new Browser(service.app)
  await ada.post('/login')
  const signal = await watch(service, ada)
  await age(redis.client, keyPrefix, 30 * MINUTE)
  await until('the signal', () => signal.aborted)
  t.match(signal.reason, { message: /^The session has ended: (expired|ended)$/ })
})

t.test('many sessions are looked up some at a time, and in an outage no more than once', async (t) => {
  const seen = { underWay: 0, most: 0, looks: 0 }
  let fails = false
  const gaps: Array<() => void> = []
  const hub = new EventHub({
    publish: async () => {},
    subscribe: (_onMessage, onGap) => {
      gaps.push(onGap)
      return async () => {}
    }
  })
  const signals = new EndSignals(hub, async () => {
    seen.looks++
    seen.most = Math.max(seen.most, ++seen.underWay)
    await new Promise((resolve) => setImmediate(resolve))
    seen.underWay--
    if (fails) throw new Error('down')
    return true
  })
  t.teardown(() => signals.close())
  const held: AbortSignal[] = []
  for (let each = 0; each < 3000; each++) {
    held.push(signals.of(`id ${each}`))
    if (each % 100 === 0) await turns()
  }
  await turns()
  seen.most = seen.looks = 0
  for (let each = 0; each < 3; each++) gaps[0]?.()
  while (seen.looks < 6000) await turns()
  await turns()
  t.equal(seen.looks, 6000, 'what comes during a round is one more round')
  t.ok(seen.most <= 500, `${seen.most} at once`)
  fails = true
  seen.looks = 0
  gaps[0]?.()
  await turns()
  t.ok(seen.looks <= 500, `${seen.looks} in an outage`)
  t.ok(held.every(({ aborted }) => !aborted))
})
