import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import t from 'tap'
import type { Test } from 'tap'
import { Cluster } from 'ioredis'
import { RedisStore, SessionManager } from '../../lib/index.ts'
import { ownLayout } from '../../lib/options/layout.ts'
import { resolveOptions } from '../../lib/options/resolve.ts'
import { SessionCore } from '../../lib/session/core.ts'
import type { SessionEvent } from '../../lib/index.ts'
import { newId } from '../../lib/session/token.ts'
import { connect, disconnectNow } from '../../lib/redis/connection.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import { inMemory, inRedis, onBothStores } from '../helpers/managers.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { root } from '../helpers/process.ts'
import { HOUR, MINUTE } from '../helpers/record.ts'
import { prefix, startCluster, startRedis, until } from '../helpers/redis.ts'
import { openStore } from '../helpers/redis-store.ts'
import { commandsDuring } from '../helpers/redis-commands.ts'
import { SpyStore } from '../helpers/spy-store.ts'
import { startWire } from '../helpers/wire.ts'

const redis = await startRedis(t)
const both = onBothStores(t, redis)

type Told = [name: string, event: SessionEvent]

/** What an event of a session says where there is nothing to say but that it is of a cookie. */
const SAID = { reason: null, kind: 'cookie', statedReason: null, actor: null, requestId: null, newDevice: null, newNetwork: null }

/** Everything about sessions that a manager tells from now on. */
function listen (sessions: SessionManager): Told[] {
  const told: Told[] = []
  for (const name of ['created', 'revoked', 'expired'] as const) sessions.on(name, (event) => { told.push([name, event]) })
  return told
}

/** What was told, without ids and times. */
function summary (told: Told[]): string[] {
  return told.map(([name, { userId, reason, local }]) => [name, userId, reason, local ? 'here' : 'elsewhere'].filter(Boolean).join(' '))
}

/** Waits until `count` things were told, and for what should not have been besides. */
async function heard (told: Told[], count: number): Promise<void> {
  await until(`${count} events`, () => told.length >= count)
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** Two processes' view of the same sessions in Redis, both hearing of each other. */
async function twoProcesses (t: Test) {
  const { sessions: here, another, age, keyPrefix } = await inRedis(t, redis)
  const there = await another()
  const told = { here: listen(here), there: listen(there) }
  const channel = `@${keyPrefix}events`
  await until('both to listen', async () => Number((await redis.client.pubsub('NUMSUB', channel))[1]) === 2)
  return { here, there, told, age, channel, keyPrefix }
}

/** Runs a program of TypeScript in a process of its own. */
function program (t: Test, code: string, env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', code], { cwd: root, env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
  const ended = once(child, 'close').then(([code]) => code as number | null)
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => { output += String(chunk) })
  return { child, ended, output: () => output }
}

// -- what is told -------------------------------------------------------------------------------------

both('an event says which session of whom, when, why and where, and nothing else', async (t, open) => {
  const { sessions, store } = await open()
  const told = listen(sessions)
  const { session } = await sessions.create({ userId: 7, label: 'phone', meta: { a: 1 }, data: { cart: 1 } })
  await sessions.revoke(session.id)
  await heard(told, 2)
  const [created, revoked] = told.map(([, event]) => event)
  t.strictSame({ ...created, at: 0 }, { ...SAID, id: session.id, userId: '7', at: 0, local: true })
  t.strictSame({ ...revoked, at: 0 }, { ...SAID, id: session.id, userId: '7', at: 0, reason: 'revoked', local: true })
  for (const [, event] of told) {
    t.ok(Object.isFrozen(event))
    t.ok(Number.isInteger(event.at))
    t.ok(Math.abs(event.at - store.now()) < 5_000)
  }
})

both('each end of a session is told once, with its reason', async (t, open) => {
  const { sessions, age } = await open({ maxSessionsPerUser: 2 })
  const told = listen(sessions)
  const first = await sessions.create({ userId: 'ada', idleTimeout: '1h' })
  await age(1000)
  await sessions.create({ userId: 'ada', idleTimeout: '1h' })
  await age(1000)
  await sessions.create({ userId: 'ada' })
  await heard(told, 4)
  t.strictSame(summary(told).sort(), ['created ada here', 'created ada here', 'created ada here', 'revoked ada evicted here'])
  t.equal(told.find(([name]) => name === 'revoked')?.[1].id, first.session.id)

  told.length = 0
  await sessions.revoke(first.session.id)
  await sessions.revoke(newId())
  await sessions.revokeUser('nobody')
  await age(31 * MINUTE)
  await sessions.listByUser('ada')
  await sessions.listByUser('ada')
  await heard(told, 1)
  t.strictSame(summary(told), ['expired ada here'], 'what had ended is not ended again')

  told.length = 0
  t.equal(await sessions.revokeUser('ada'), 1)
  await heard(told, 1)
  t.strictSame(summary(told), ['revoked ada revoked here'])
})

t.test('who listens to this process alone hears nothing of others, and has it listen to nobody', async (t) => {
  const keyPrefix = prefix()
  const open = async () => {
    const store = await openStore(t, redis.url, { prefix: keyPrefix })
    const core = new SessionCore({ ...resolveOptions({ secret, store }), ...ownLayout({ secrets: [secret] }), store, counters: store.attempts })
    t.teardown(() => core.close())
    return core
  }
  const [here, there] = [await open(), await open()]
  const heard: unknown[] = []
  const stops = [
    here.events.onHere('created', ({ userId, local }, { ip, userAgent, methods }) => { heard.push(['created', userId, local, ip, userAgent, methods]) }),
    here.events.onHere('revoked', ({ userId, reason }, { ip }) => { heard.push(['revoked', userId, reason, ip]) }),
    here.events.onHere('unlocked', ({ userId }, { account }) => { heard.push(['unlocked', userId, account]) }),
    here.events.onHere('store-down', (event) => { heard.push(['store-down', event]) })
  ]
  const begin = async (core: SessionCore, userId: string, client = {}) => await core.create({ userId, data: '{}', replaces: null, methods: 'pwd', ...client })
  const { record } = await begin(here, 'ada', { ip: '192.0.2.7', userAgent: 'curl/8' })
  const bob = await begin(there, 'bob')
  await here.end(record.id, { reason: 'logout', ip: '192.0.2.8' })
  await there.end(bob.record.id, { reason: 'revoked' })
  await begin(here, 'carol')
  here.tellIncident('unlocked', null, { account: 'dave' })
  here.events.emitHere('store-down')
  await until('all of it', () => heard.length >= 5)
  t.strictSame(heard, [
    ['created', 'ada', true, '192.0.2.7', 'curl/8', 'pwd'],
    ['revoked', 'ada', 'logout', '192.0.2.8'],
    ['created', 'carol', true, undefined, undefined, 'pwd'],
    ['unlocked', null, 'dave'],
    ['store-down', undefined]
  ])
  t.strictSame(await redis.client.pubsub('NUMSUB', `@${keyPrefix}events`), [`@${keyPrefix}events`, 0])
  for (const stop of stops) stop()
  await begin(here, 'eve')
  here.events.on('created', () => {})
  await until('the channel', async () => Number((await redis.client.pubsub('NUMSUB', `@${keyPrefix}events`))[1]) === 1)
  t.equal(heard.length, 5, 'nor is anything heard any more')
})

t.test('logging in and out is told, whoever is not signed in is not', async (t) => {
  const store = new SpyStore()
  const app = await startApp(t, { store })
  app.post('/login', async (request) => await app.login(request, { id: 'ada' }))
  app.post('/assign', async (request) => { request.session.userId = 'bob' })
  app.post('/regenerate', async (request) => await request.session.regenerate(['userId']))
  app.post('/cart', async (request) => { request.session.cart = ['book'] })
  app.post('/destroy', async (request) => await request.session.destroy())
  app.post('/logout', async (request) => await app.logout(request))
  const told = listen(app.sessions)
  const browser = new Browser(app)
  for (const [url, expected] of [
    ['/cart', []],
    ['/login', ['created ada here']],
    ['/cart', []],
    ['/login', ['revoked ada replaced here', 'created ada here']],
    ['/assign', ['revoked ada replaced here', 'created bob here']],
    ['/regenerate', ['revoked bob replaced here', 'created bob moved here']],
    ['/logout', ['revoked bob logout here']],
    ['/logout', []],
    ['/login', ['created ada here']],
    ['/destroy', ['revoked ada logout here']],
    ['/cart', []],
    ['/destroy', []]
  ] as const) {
    told.length = 0
    await browser.post(url)
    await heard(told, expected.length)
    t.strictSame(summary(told), expected, url)
  }
  store.failing.add('begin')
  await browser.post('/login')
  await heard(told, 0)
  t.strictSame(told, [], 'nor a login that failed')
})

both('the same is on diagnostics_channel', async (t, open) => {
  const { sessions, age } = await open()
  const heardThere: unknown[] = []
  const names = ['created', 'revoked', 'expired'] as const
  const onMessage = (event: unknown, name: unknown): void => { heardThere.push([name, event]) }
  for (const name of names) subscribe(`fastify-user-sessions:${name}`, onMessage)
  t.teardown(() => { for (const name of names) unsubscribe(`fastify-user-sessions:${name}`, onMessage) })
  await sessions.create({ userId: 'ada', idleTimeout: MINUTE })
  await sessions.create({ userId: 'ada', idleTimeout: HOUR })
  await age(2 * MINUTE)
  await sessions.listByUser('ada')
  const told = listen(sessions)
  await sessions.revokeUser('ada')
  await until('the end', () => told.some(([name]) => name === 'revoked'))
  t.strictSame(heardThere.map((each) => (each as [string])[0]), ['created', 'created', 'expired', 'revoked'].map((name) => `fastify-user-sessions:${name}`), 'also where nobody listens to the manager')
  t.equal((heardThere[3] as unknown[])[1], told.at(-1)?.[1])
  t.ok(heardThere.every((each) => Object.isFrozen((each as unknown[])[1])))
})

// -- listening ----------------------------------------------------------------------------------------

both('who listens no more hears no more', async (t, open) => {
  const { sessions } = await open()
  const [first, second]: [string[], string[]] = [[], []]
  const listener = ({ id }: SessionEvent): void => { first.push(id) }
  t.equal(sessions.on('created', listener), sessions)
  sessions.on('created', ({ id }) => { second.push(id) })
  const { session } = await sessions.create({ userId: 'ada' })
  await until('both', () => first.length === 1 && second.length === 1)
  t.equal(sessions.off('created', listener), sessions)
  sessions.off('created', () => {})
  await sessions.create({ userId: 'ada' })
  await until('the other', () => second.length === 2)
  t.strictSame(first, [session.id])
})

t.test('nobody waits for an event that there is not', async (t) => {
  const { sessions } = inMemory(t)
  for (const name of ['login', 'Created', '', 'error', 'newListener', 'toString', '__proto__', 'ended', undefined, null, Symbol('created'), ['created'], 1]) {
    t.throws(() => sessions.on(name as never, () => {}), TypeError, String(name))
  }
  t.throws(() => sessions.on('created', 'no function' as never), TypeError)
  for (const name of ['created', 'revoked', 'expired', 'store-down', 'store-up'] as const) t.doesNotThrow(() => sessions.on(name, () => {}))
})

t.test('any number may listen', async (t) => {
  const warnings: Error[] = []
  const onWarning = (warning: Error): void => { warnings.push(warning) }
  process.on('warning', onWarning)
  t.teardown(() => process.off('warning', onWarning))
  const { sessions } = inMemory(t)
  let count = 0
  for (let each = 0; each < 100; each++) sessions.on('created', () => { count++ })
  await sessions.create({ userId: 'ada' })
  await until('all', () => count === 100)
  t.strictSame(warnings, [])
})

const FAILING = `
  import { MemoryStore, SessionManager } from './lib/index.ts'
  const sessions = new SessionManager({ secret: '${secret}', store: new MemoryStore() })
  const { token, session } = await sessions.create({ userId: 'ada' })
  sessions.on('revoked', () => { throw new Error('a listener of the application') })
  sessions.on('revoked', ({ reason }) => console.log('the next hears', reason))
  console.log('revoked', await sessions.revoke(session.id))
  console.log('found', await sessions.find(token))
  setImmediate(() => { console.log('alive'); void sessions.close() })`

t.test('a listener that throws is the application\'s to deal with, not the session\'s and not other listeners\'', async (t) => {
  const caught = program(t, `process.on('uncaughtException', (error) => console.log('uncaught:', error.message));${FAILING}`)
  t.equal(await caught.ended, 0)
  t.strictSame(caught.output().trim().split('\n').sort(), ['alive', 'found null', 'revoked true', 'the next hears revoked', 'uncaught: a listener of the application'])
  const uncaught = program(t, FAILING)
  t.not(await uncaught.ended, 0, 'as Node has it')
  t.match(uncaught.output(), 'Error: a listener of the application')
  t.notMatch(uncaught.output(), 'alive')
})

// -- across processes ---------------------------------------------------------------------------------

t.test('what happens is told in every process, and is local in exactly one', async (t) => {
  const { here, there, told, age } = await twoProcesses(t)
  const first = await here.create({ userId: 'ada' })
  await heard(told.there, 1)
  await there.revoke(first.session.id)
  await heard(told.here, 2)
  await there.create({ userId: 'bob', idleTimeout: '1h' })
  await here.create({ userId: 'bob' })
  await heard(told.here, 4)
  await heard(told.there, 4)
  t.strictSame(summary(told.here).slice(0, 2), ['created ada here', 'revoked ada revoked elsewhere'])
  t.strictSame(summary(told.there).slice(0, 2), ['created ada elsewhere', 'revoked ada revoked here'])
  t.strictSame(summary(told.here).slice(2).sort(), ['created bob elsewhere', 'created bob here'])
  t.strictSame(summary(told.there).slice(2).sort(), ['created bob elsewhere', 'created bob here'])
  const same = (events: Told[]) => events.slice(0, 2).map(([name, { local: _local, ...event }]) => [name, event])
  t.strictSame(same(told.here), same(told.there), 'but for that it is the same')
  t.ok([...told.here, ...told.there].every(([, event]) => Object.isFrozen(event) && Object.keys(event).sort().join() === Object.keys({ ...SAID, at: 0, id: '', local: true, userId: '' }).sort().join()))

  for (const events of Object.values(told)) events.length = 0
  await age(31 * MINUTE)
  await Promise.all(Array.from({ length: 10 }, (_, each) => (each % 2 === 0 ? here : there).listByUser('bob')))
  await heard(told.here, 1)
  await heard(told.there, 1)
  await Promise.all([here.listByUser('bob'), there.create({ userId: 'bob' })])
  await heard(told.here, 2)
  await heard(told.there, 2)
  const expired = [...told.here, ...told.there].filter(([name]) => name === 'expired')
  t.equal(expired.length, 2, 'once in each, whoever looked')
  t.strictSame(expired.map(([, { local }]) => local).sort(), [false, true])
})

t.test('what ends together is told with few messages, and heard one by one', async (t) => {
  const { here, told } = await twoProcesses(t)
  const made = await Promise.all(Array.from({ length: 150 }, async () => (await here.create({ userId: 'ada' })).session.id))
  await heard(told.there, 150)
  for (const each of Object.values(told)) each.length = 0
  const { publish } = await commandsDuring(redis.client, async () => { t.equal(await here.revokeUser('ada'), 150) })
  await heard(told.here, 150)
  await heard(told.there, 150)
  for (const [where, each] of Object.entries(told)) {
    t.strictSame(each.map(([, { id }]) => id).sort(), made.sort(), where)
    t.strictSame([...new Set(summary(each))], [`revoked ada revoked ${where === 'here' ? 'here' : 'elsewhere'}`])
  }
  t.ok(Number(publish) <= 2, `${publish} messages`)
})

t.test('what anybody publishes on the channel is ignored unless it is one of our events', async (t) => {
  const { here, there, told, channel } = await twoProcesses(t)
  let outages = 0
  here.on('store-down', () => { outages++ })
  const event = { name: 'revoked', origin: 'elsewhere', id: newId(), userId: 'ada', at: 1, reason: 'logout' }
  const without = Object.keys(event).map((key) => Object.fromEntries(Object.entries(event).filter(([each]) => each !== key)))
  for (const garbage of [
    '', 'garbage', '{', 'null', '1', '"revoked"', '[]', '{}', '[{"name":"revoked"}]', '\0\uFFFD', 'x'.repeat(1e6), '{"__proto__":{"name":"revoked"}}', '['.repeat(1e5),
    ...[
      ...without,
      { ...event, name: 'store-down' }, { ...event, name: 'error' }, { ...event, name: 'toString' }, { ...event, name: ['revoked'] },
      { ...event, id: 1 }, { ...event, id: null }, { ...event, userId: 7 }, { ...event, userId: {} }, { ...event, at: '1' }, { ...event, at: null },
      { ...event, reason: 'fun' }, { ...event, reason: 1 }, { ...event, origin: 1 }
    ].flatMap((each) => [JSON.stringify(each), JSON.stringify({ origin: (each as { origin?: unknown }).origin, events: [each, null, 1, [each], 'x'] })]),
    '{"origin":"elsewhere","events":{}}', '{"origin":"elsewhere","events":[]}', '{"events":[{"name":"revoked","id":"x","userId":"ada","at":1,"reason":null}]}'
  ]) {
    await redis.client.publish(channel, garbage)
  }
  await redis.client.publish(channel, JSON.stringify({ ...event, local: true, token: 'x', constructor: 1 }))
  const { session } = await there.create({ userId: 'bob' })
  await heard(told.here, 2)
  t.strictSame(told.here[0], ['revoked', { ...SAID, id: event.id, userId: 'ada', at: 1, reason: 'logout', kind: null, local: false }], 'of what is an event, what belongs to it')
  t.match(told.here.slice(1), [['created', { id: session.id }]])
  t.equal(told.here.length, 2)
  t.equal(outages, 0, 'an outage is nothing that others tell')
  t.ok(await here.get(session.id))
})

t.test('an event that somebody else made up ends no session', async (t) => {
  const { here, channel, told } = await twoProcesses(t)
  const { session, token } = await here.create({ userId: 'ada' })
  await redis.client.publish(channel, JSON.stringify({ name: 'revoked', origin: 'mallory', id: session.id, userId: 'ada', at: 1, reason: 'revoked' }))
  await heard(told.here, 2)
  t.match(await here.find(token), { userId: 'ada' })
})

t.test('applications with other prefixes hear nothing of each other', async (t) => {
  const [ours, theirs] = [await twoProcesses(t), await twoProcesses(t)]
  await ours.here.create({ userId: 'ada' })
  await theirs.here.create({ userId: 'bob' })
  await heard(ours.told.there, 1)
  await heard(theirs.told.there, 1)
  t.strictSame(summary(ours.told.there), ['created ada elsewhere'])
  t.strictSame(summary(theirs.told.there), ['created bob elsewhere'])
})

t.test('an outage is told once in each process, and so is its end', async (t) => {
  withRealLimits(t)
  const redis = await startRedis(t)
  const { sessions: here, another } = await inRedis(t, redis)
  const there = await another()
  const told: Record<'here' | 'there', unknown[][]> = { here: [], there: [] }
  for (const [name, sessions] of [['here', here], ['there', there]] as const) {
    for (const event of ['store-down', 'store-up'] as const) sessions.on(event, (...args: unknown[]) => { told[name].push([event, ...args]) })
  }
  for (const round of [1, 2]) {
    await (round === 1 ? redis.stop() : redis.pause())
    for (const sessions of [here, there]) {
      await until('the outage', async () => !(await sessions.health()).ok)
      await Promise.all(Array.from({ length: 10 }, () => sessions.get(newId()).catch(() => {})))
    }
    await until('both to know', () => told.here.length === 2 * round - 1 && told.there.length === 2 * round - 1)
    await (round === 1 ? redis.restart() : redis.resume())
    for (const sessions of [here, there]) await until('Redis', async () => (await sessions.health()).ok)
    await until('both to know', () => told.here.length === 2 * round && told.there.length === 2 * round)
  }
  for (const each of Object.values(told)) t.strictSame(each, [['store-down'], ['store-up'], ['store-down'], ['store-up']])
  await here.create({ userId: 'ada' })
})

t.test('an outage at boot is told to who begins to listen, and its end, before anybody has asked for a session', async (t) => {
  const redis = await startRedis(t)
  const wire = await startWire(t, redis)
  const { client } = connect(wire.url)
  t.teardown(() => client.disconnect())
  for (const trouble of ['cut', 'lose'] as const) {
    for (const options of [{ redis: wire.url, keyPrefix: prefix() }, { store: new RedisStore({ client, prefix: prefix() }) }]) {
      await until('the connection', () => client.status === 'ready')
      await wire[trouble]()
      const onChannel: unknown[] = []
      const onMessage = (event: unknown, name: unknown): void => { onChannel.push([name, event]) }
      const names = ['store-down', 'store-up'] as const
      for (const name of names) subscribe(`fastify-user-sessions:${name}`, onMessage)
      const app = await startApp(t, options)
      const told: unknown[][] = []
      for (const name of names) app.sessions.on(name, (...args: unknown[]) => { told.push([name, ...args]) })
      app.sessions.on('store-up', () => { app.sessions.on('store-down', () => { told.push(['too late']) }) })
      await until('the outage', () => told.length === 1)
      await wire.mend()
      await until('its end', () => told.length === 2)
      t.strictSame(told, [['store-down'], ['store-up']], trouble)
      t.ok((await app.sessions.health()).ok)
      for (const name of names) unsubscribe(`fastify-user-sessions:${name}`, onMessage)
      t.strictSame(onChannel, names.map((name) => [`fastify-user-sessions:${name}`, { local: true }]))
      t.strictSame(app.lines.filter(({ level, reqId }) => level >= 30 && reqId === undefined).map(({ msg }) => msg), ['Redis does not answer: sessions cannot be read until it does', 'the session store answers again'])
      await app.close()
    }
  }
})

t.test('a Cluster that is out of reach at boot is told once to be down, until one of its nodes answers', async (t) => {
  const { nodes } = await startCluster(t)
  const wires = await Promise.all(nodes.map((node) => startWire(t, node)))
  for (const wire of wires) wire.error = 'LOADING Redis is loading the dataset in memory'
  const asked = (): number => wires.reduce((sum, wire) => sum + wire.count(), 0)
  const natMap = Object.fromEntries(nodes.map(({ host, port }, index) => [`${host}:${port}`, { host, port: wires[index]?.port ?? 0 }]))
  const cluster = new Cluster(wires.map(({ port }) => ({ host: '127.0.0.1', port })), { natMap, lazyConnect: true })
  t.teardown(() => disconnectNow(cluster))
  const app = await startApp(t, { redis: cluster, keyPrefix: prefix() })
  const told: string[] = []
  for (const name of ['store-down', 'store-up'] as const) app.sessions.on(name, () => { told.push(name) })
  await until('the outage', () => told.length === 1)
  const before = asked()
  let answers = 0
  await until('it to be looked for a few times', async () => {
    if ((await app.sessions.health()).ok) answers++
    return asked() >= before + 20
  })
  t.equal(answers, 0)
  t.strictSame(told, ['store-down'])
  for (const wire of wires) wire.error = null
  await until('its end', () => told.length === 2)
  t.strictSame(told, ['store-down', 'store-up'])
})

t.test('who begins to listen while the store is down is told so, unless they have gone before', async (t) => {
  const redis = await startRedis(t)
  const { sessions } = await inRedis(t, redis)
  await redis.stop()
  await until('the outage', async () => !(await sessions.health()).ok)
  let told = 0
  const listener = (): void => { told++ }
  sessions.on('store-down', listener)
  await until('it to be told', () => told === 1)
  sessions.off('store-down', listener)
  sessions.on('store-down', listener).off('store-down', listener)
  await until('who stays', async () => await new Promise((resolve) => { sessions.on('store-down', () => resolve(true)) }))
  t.equal(told, 1)
})

t.test('how long the store took to answer is told in whole milliseconds', async (t) => {
  const { sessions } = await inRedis(t, redis)
  const answers = await Promise.all(Array.from({ length: 20 }, async () => await sessions.health()))
  t.strictSame(answers.filter(({ ok, latencyMs }) => !ok || !Number.isInteger(latencyMs)), [])
})

t.test('a logout that the store could not confirm is told as one when it is', async (t) => {
  withRealLimits(t)
  const redis = await startRedis(t)
  const app = await startApp(t, { redis: redis.url, keyPrefix: prefix() })
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  app.post('/logout', async (request) => { await app.logout(request) })
  const told = listen(app.sessions)
  for (const withRevoke of [false, true]) {
    const ada = new Browser(app)
    await ada.post('/login')
    const { id } = (await app.sessions.listByUser('ada'))[0] ?? { id: '' }
    const { headers } = { headers: { cookie: ada.header } }
    redis.pause()
    t.equal((await ada.post('/logout', undefined, { headers })).statusCode, 503)
    if (withRevoke) await app.sessions.revoke(id).catch(() => {})
    redis.resume()
    await until('its end', () => told.some(([name]) => name === 'revoked'))
    await heard(told, 2)
    t.strictSame(summary(told), ['created ada here', 'revoked ada logout here'], withRevoke ? 'whoever asks for its end besides' : 'by the repetition')
    told.length = 0
  }
})

t.test('events of other processes are heard again after an outage', async (t) => {
  const redis = await startRedis(t)
  const { sessions: here, another, keyPrefix } = await inRedis(t, redis)
  const there = await another()
  const told = listen(here)
  const isHeard = async (): Promise<boolean> => Number((await redis.client.pubsub('NUMSUB', `@${keyPrefix}events`))[1]) === 1
  await until('the subscription', isHeard)
  await redis.restart()
  await until('the subscription', isHeard)
  await until('Redis', async () => (await there.health()).ok)
  await there.create({ userId: 'ada' })
  await heard(told, 1)
  t.strictSame(summary(told), ['created ada elsewhere'])
})

const HOLDER = `
  import Fastify from 'fastify'
  import sessionPlugin from './lib/index.ts'
  const app = Fastify()
  await app.register(sessionPlugin, { secret: '${secret}', redis: process.env.REDIS, keyPrefix: process.env.PREFIX, cookie: { secure: false } })
  app.sessions.on('revoked', (event) => console.log('heard', JSON.stringify(event)))
  let auth
  app.get('/', async (request) => {
    auth = request.requireAuth()
    auth.signal.addEventListener('abort', () => console.log('fired', auth.signal.reason.message))
    return auth.userId
  })
  console.log('holding', (await app.inject({ url: '/', headers: { cookie: process.env.COOKIE } })).body)
  process.stdin.once('data', () => { process.stdin.destroy(); void app.close() })`

t.test('a session that is ended in one process ends what another one does for it', async (t) => {
  const { sessions, keyPrefix } = await inRedis(t, redis)
  const { session, headers } = await sessions.create({ userId: 'ada' })
  const other = program(t, HOLDER, { REDIS: redis.url, PREFIX: keyPrefix, COOKIE: headers.cookie })
  await until('the other process', () => other.output().includes('holding ada'), 30_000)
  await until('its subscription', async () => Number((await redis.client.pubsub('NUMSUB', `@${keyPrefix}events`))[1]) === 1)
  // It looks once when it begins to listen: what it hears of first comes after that.
  await sessions.revoke((await sessions.create({ userId: 'bob' })).session.id)
  await until('its first event', () => other.output().includes('heard'))
  await sessions.revoke(session.id)
  await until('its signal', () => other.output().includes('fired'), 3_000)
  t.match(other.output(), 'fired The session has ended: revoked')
  const lastHeard = (): string => other.output().split('heard ').at(-1)?.split('\n')[0] ?? ''
  await until('its event', () => lastHeard().includes(session.id))
  const event = JSON.parse(lastHeard()) as SessionEvent
  t.strictSame({ ...event, at: 0 }, { ...SAID, id: session.id, userId: 'ada', at: 0, reason: 'revoked', local: false })
  other.child.stdin.end('close\n')
  t.equal(await other.ended, 0, 'and then it can end by itself')
  t.notMatch(other.output(), 'Error')
})

t.test('what a script ends before it closes is heard elsewhere', async (t) => {
  const { sessions, keyPrefix } = await inRedis(t, redis)
  const told = listen(sessions)
  await until('to listen', async () => (await redis.client.pubsub('NUMSUB', `@${keyPrefix}events`))[1] === 1)
  const { session } = await sessions.create({ userId: 'ada' })
  const { client } = connect(redis.url)
  t.teardown(() => disconnectNow(client))
  await client.ping().catch(async () => await once(client, 'ready'))
  const script = new SessionManager({ secret, store: new RedisStore({ client, prefix: keyPrefix }) })
  await script.revoke(session.id)
  await script.close()
  disconnectNow(client)
  await until('the end', () => told.length === 2)
  t.strictSame(summary(told), ['created ada here', 'revoked ada revoked elsewhere'])
})
