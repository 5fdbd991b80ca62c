import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import type { SessionManager } from '../../lib/index.ts'
import type { RedisTarget } from '../../lib/redis/target.ts'
import { Browser } from '../helpers/app.ts'
import { Jar, startExpress, startShop } from '../helpers/express-app.ts'
import { openManager } from '../helpers/managers.ts'
import { idOf, post, startService } from '../helpers/outage.ts'
import type { Service } from '../helpers/outage.ts'
import { withPatience, withRealLimits } from '../helpers/patience.ts'
import { record } from '../helpers/record.ts'
import { follows, startCluster, startRedis, until } from '../helpers/redis.ts'
import type { TestRedis } from '../helpers/redis.ts'
import { openDropIn, openStore } from '../helpers/redis-store.ts'
import { beginMove } from '../helpers/slots.ts'

withRealLimits(t)

const PAGE = await readFile(join(import.meta.dirname, '../../docs/guides/production.md'), 'utf8')
/** The user that the guide has the reader make: its name, and its rules. */
const [, NAME = '', LINE = ''] = /^ACL SETUSER (\S+) (.*)$/m.exec(PAGE) ?? []
const RULES = LINE.split(' ')
const PASSWORD = RULES.find((rule) => rule.startsWith('>'))?.slice(1) ?? ''
/** What it may do, one by one. */
const COMMANDS = RULES.filter((rule) => rule.startsWith('+'))
/** What it needs besides, for what not everybody uses. */
const BESIDES = [...(/^Besides: .*$/m.exec(PAGE)?.[0] ?? '').matchAll(/`([+&][^`]+)`/g)].map(([, rule = '']) => rule)

const redis = await startRedis(t)

/** Makes the documented user, with and without some rules. */
async function grant (client: { call: (command: string, ...args: string[]) => Promise<unknown> }, { besides = [], without }: { besides?: string[], without?: string } = {}): Promise<void> {
  await client.call('ACL', 'DELUSER', NAME)
  await client.call('ACL', 'SETUSER', NAME, ...[...RULES, ...besides].filter((rule) => rule !== without))
}

function target (server: { port: number }): Extract<RedisTarget, { host?: string | undefined }> {
  return { host: '127.0.0.1', port: server.port, username: NAME, password: PASSWORD }
}

/** Another process, without Fastify. */
async function manager (t: Test, server: TestRedis, options: { disableTTL?: boolean } = {}): Promise<SessionManager> {
  return openManager(t, { store: await openDropIn(t, target(server), options) })
}

/** What fails first of all that this package does: `null`, if the user may do what it has to. */
async function failureOf (t: Test, server: TestRedis, eventWithinMs: number): Promise<string | null> {
  const services: Service[] = []
  const managers: SessionManager[] = []
  let failed: string | null = null
  const step = async (name: string, work: () => Promise<unknown>): Promise<void> => {
    if (failed !== null) return
    if (!await work().then((done) => done !== false, () => false)) failed = name
  }
  // The scripts are not known to this Redis.
  await server.client.script('FLUSH')
  await server.client.flushall()
  const options = { redis: target(server), keyPrefix: 'sess:', touchAfter: 0, maxSessionsPerUser: 2 }
  await step('boot', async () => {
    services.push(await startService(t, options))
    managers.push(await manager(t, server))
  })
  const [[here], [there]] = [services, managers]
  if (here === undefined || there === undefined) return failed ?? 'boot'
  await step('the check at boot', async () => here.said().some((line) => line.includes('allkeys-lru')))
  const heard: string[] = []
  for (const name of ['created', 'revoked', 'expired'] as const) there.on(name, (event) => { if (!event.local) heard.push(`${name} ${event.userId}`) })
  const ada = new Browser(here.app)
  const ok = async (answer: Promise<{ statusCode: number }>): Promise<boolean> => (await answer).statusCode < 300
  await step('put something into a cart', () => ok(ada.post('/write')))
  await step('an attempt', () => ok(ada.post('/attempt')))
  await step('sign in', () => ok(post(ada, 'ada')))
  await step('events', () => until('the event', () => heard.includes('created ada'), eventWithinMs))
  await step('info', async () => (await ada.get('/info')).json().authenticated)
  await step('save', () => ok(ada.post('/write')))
  await step('read', async () => (await ada.get('/read')).json().cart[0] === 'book')
  await step('regenerate', () => ok(ada.post('/rotate')))
  await step('stay', async () => (await ada.get('/me')).body === 'ada')
  await step('touch', async () => await here.app.sessions.touch(idOf(ada)))
  await step('sign in again', () => ok(post(ada, 'ada')))
  await step('more than there may be', async () => { for (let login = 0; login < 3; login++) await here.app.sessions.create({ userId: 'bob' }) })
  await step('the limit', async () => (await here.app.sessions.listByUser('bob')).length === 2)
  await step('list all', async () => {
    let count = 0
    for await (const { userId } of here.app.sessions.listAll()) count += userId === '' ? 0 : 1
    return count === 3
  })
  await step('clean a list', async () => {
    const [first] = await here.app.sessions.listByUser('bob')
    await server.client.del(`sess:${first?.id}`)
    return (await here.app.sessions.listByUser('bob')).length === 1 && await server.client.zcard('@sess:user:bob') === 1
  })
  await step('revoke', async () => {
    const [last] = await here.app.sessions.listByUser('bob')
    return last !== undefined && await here.app.sessions.revoke(last.id, { userId: 'bob' })
  })
  await step('revoke a user', async () => {
    await here.app.sessions.create({ userId: 'bob' })
    return await here.app.sessions.revokeUser('bob') === 1
  })
  await step('a user with very many', async () => {
    await Promise.all(Array.from({ length: 102 }, async () => await here.app.sessions.create({ userId: 'erin', kind: 'bearer' })))
    const page = await here.app.sessions.listByUser('erin', { limit: 100 })
    const rest = await here.app.sessions.listByUser('erin', { limit: 100, before: page.at(-1) })
    return page.length + rest.length === 102 && await here.app.sessions.revokeUser('erin') === 102
  })
  await step('what has expired', async () => {
    await server.client.zadd('@sess:user:bob', 1, 'gone:1')
    await here.app.sessions.create({ userId: 'bob' })
    return await server.client.zscore('@sess:user:bob', 'gone:1') === null
  })
  await step('health', async () => (await here.app.sessions.health()).ok)
  await step('log out', () => ok(ada.post('/logout')))
  await step('stay out', async () => (await ada.get('/me')).statusCode === 401)
  await step('what is no session', async () => {
    const bob = await here.signIn('bob')
    await server.client.multi().del(`sess:${idOf(bob)}`).lpush(`sess:${idOf(bob)}`, 'x').exec()
    await bob.get('/me')
    return await until('the line', () => here.said().some((line) => line.includes('cannot be read')), eventWithinMs)
  })
  // What is no list is thrown away.
  await server.client.set('@sess:user:carol', 'x')
  await step('a list that is none', async () => ok(post(new Browser(here.app), 'carol')))
  await step('sessions that never expire', async () => {
    const sessions = await manager(t, server, { disableTTL: true })
    const { session } = await sessions.create({ userId: 'dave' })
    return await sessions.revoke(session.id)
  })
  await here.app.close()
  return failed
}

t.test('the user that the guide makes may do all that is needed', async (t) => {
  t.equal(NAME, 'sessions')
  t.ok(COMMANDS.length > 20)
  // For the check at boot to have something to say.
  await redis.client.config('SET', 'maxmemory-policy', 'allkeys-lru')
  await grant(redis.client)
  await redis.client.call('ACL', 'LOG', 'RESET')
  t.equal(await failureOf(t, redis, 10_000), null)
  t.strictSame(await redis.client.call('ACL', 'LOG'), [], 'nothing was refused')
})

t.test('and nothing that is not', async (t) => {
  const warn = console.warn
  // The driver says so when it may not ask INFO.
  console.warn = () => {}
  t.teardown(() => { console.warn = warn })
  for (const rule of RULES.filter((rule) => /^[+~&]/.test(rule))) {
    await grant(redis.client, { without: rule })
    t.type(await failureOf(t, redis, 200), 'string', `${rule} is needed`)
  }
})

t.test('a command that Redis refuses from now on is 503 and a line that says what to do, and signs nobody in or out', async (t) => {
  await grant(redis.client)
  const { app, said, signIn, keyPrefix } = await startService(t, { redis: target(redis), keyPrefix: 'sess:', touchAfter: 0 })
  app.sessions.on('revoked', () => {})
  for (const rule of COMMANDS) {
    const command = rule.slice(1)
    const [ada, bob, carol, dave] = await Promise.all(['ada', 'bob', 'carol', 'dave'].map(signIn)) as [Browser, Browser, Browser, Browser]
    const bobs = { id: idOf(bob), header: bob.header }
    const [from, fromLine] = [said().length, app.lines.length]
    await redis.client.call('ACL', 'SETUSER', NAME, `-${command}`)
    let refused = 0
    for (let round = 0; round < 2; round++) {
      for (const [browser, method, url] of [[ada, 'GET', '/me'], [ada, 'GET', '/read'], [ada, 'POST', '/write'], [carol, 'POST', '/rotate'], [dave, 'POST', '/relogin'], [new Browser(app), 'POST', '/write'], [new Browser(app), 'POST', '/relogin']] as const) {
        const { statusCode, setCookies } = await browser.request(method, url)
        if (statusCode === 503) refused++
        t.ok([200, 503].includes(statusCode), `${url} ${statusCode} without ${command}`)
        // A nobody's cart may have been stored before the rest of the request failed.
        if (statusCode === 503 && url !== '/rotate') t.strictSame(setCookies, [], `${url} without ${command}`)
        t.notOk(setCookies.some((line) => /Max-Age=0/.test(line)))
      }
    }
    const logout = await bob.post('/logout')
    if (logout.statusCode === 503) refused++
    t.ok([204, 503].includes(logout.statusCode))
    t.equal(bob.cookies.size, 0)
    const named = app.lines.slice(fromLine).filter(({ msg }) => msg.startsWith('the session store refuses'))
    t.equal(said().length - from, named.length, 'nothing else is said')
    t.ok(refused === 0 || named.length > 0, `${command}: ${refused} refused`)
    t.ok(named.length <= 5, `${named.length} lines without ${command}: one for it, and one for each script that needs it`)
    for (const { err, msg } of named) {
      t.match((err as { message: string }).message, /NOPERM|can't run/)
      t.match(msg, 'docs/guides/production.md has the ACL')
    }
    await redis.client.call('ACL', 'SETUSER', NAME, rule)
    t.equal((await ada.get('/me')).body, 'ada', `after ${command}`)
    await until('bob to be out', async () => await redis.client.exists(keyPrefix + bobs.id) === 0)
    await until('bob to be told', async () => (await app.inject({ url: '/me', headers: { cookie: bobs.header } })).statusCode === 401)
  }
})

t.test('who may not listen, from the beginning or from now on, is told so in one line, and the rest works', async (t) => {
  const channels = (line: string): boolean => line.startsWith('the session store refuses') && line.includes('channels')
  await grant(redis.client)
  const before = await startService(t, { redis: target(redis), keyPrefix: 'sess:' })
  const heard: unknown[] = []
  before.app.sessions.on('revoked', (event) => heard.push(event))
  const ada = await before.signIn('ada')
  await redis.client.call('ACL', 'SETUSER', NAME, 'resetchannels')
  const after = await startService(t, { redis: target(redis), keyPrefix: 'sess:' })
  after.app.sessions.on('revoked', () => {})
  for (const { said } of [before, after]) await until('the line', () => said().some(channels))
  const bob = await after.signIn('bob')
  for (let again = 0; again < 3; again++) t.equal((await after.app.inject({ url: '/me', headers: { cookie: bob.header } })).body, 'bob')
  // It goes and comes again, and is refused again.
  const { length } = heard
  await redis.client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes', 'USER', NAME)
  await redis.client.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
  await until('service', async () => (await ada.get('/me')).statusCode === 200)
  t.equal((await bob.post('/logout')).statusCode, 204)
  t.equal(heard.length, length)
  for (const { said } of [before, after]) t.equal(said().filter(channels).length, 1, 'once')
  await redis.client.call('ACL', 'SETUSER', NAME, '&@sess:*')
})

/** Whether a session that is read again is not read from Redis. */
async function serves ({ signIn }: Service): Promise<boolean> {
  const ada = await signIn('ada')
  const gets = async (): Promise<string | undefined> => /cmdstat_mget:calls=(\d+)/.exec(await redis.client.info('commandstats'))?.[1]
  // The message of the sign-in itself may be on its way.
  for (let read = 0; read < 5; read++) {
    const before = await gets()
    if ((await ada.get('/me')).body === 'ada' && await gets() === before) return true
  }
  return false
}

t.test('who may not be told what changes is told so in one line, reads every session from Redis, and does not any more once it is granted', async (t) => {
  const off = (line: string): boolean => line.includes('docs/guides/production.md has the ACL') && /nearCache is off|does not tell/.test(line)
  await grant(redis.client)
  const service = await startService(t, { redis: target(redis), keyPrefix: 'sess:', nearCache: true })
  t.notOk(await serves(service))
  const reconnect = async (): Promise<void> => {
    await redis.client.call('CLIENT', 'KILL', 'USER', NAME)
    await until('service', async () => (await service.app.sessions.health()).ok)
  }
  await reconnect()
  t.notOk(await serves(service))
  t.strictSame(service.said().filter(off), ['nearCache is off: Redis does not tell its user what changes, so each session is read from there: docs/guides/production.md has the ACL'])
  await grant(redis.client, { besides: BESIDES })
  await reconnect()
  await until('the near-cache', () => serves(service))
  t.equal(service.said().filter(off).length, 1)
  // Taken away again, from the next connection on.
  await grant(redis.client)
  await reconnect()
  await until('the line', () => service.said().filter((line) => line.includes('has the ACL')).length === 2)
  t.notOk(await serves(service))
})

t.test('what only some need is named as well', async (t) => {
  withPatience(t)
  const withoutChannels = BESIDES.filter((rule) => rule.startsWith('+'))
  t.strictSame(withoutChannels, ['+getdel', '+pttl', '+wait', '+role', '+expire', '+spublish', '+ssubscribe', '+select', '+cluster|slots', '+cluster|info', '+asking', '+client|id', '+client|tracking'])
  const express = await startExpress(t, { client: redis.client, keyPrefix: 'sess:' })
  const shared = async (t: Test): Promise<boolean> => {
    const shop = await startShop(t, { redis: target(redis), keyPrefix: 'sess:', expressSession: 'share' })
    const ada = new Jar()
    await ada.post(express, '/login/ada')
    const steps = [(await ada.get(shop, '/me')).status, (await ada.post(shop, '/put/cart', ['book'])).status, (await ada.get(express, '/data')).body.cart?.[0], (await ada.post(shop, '/out')).status, (await new Jar().post(shop, '/in/ada')).status]
    return steps.join() === '200,200,book,200,200'
  }
  const adopted = async (t: Test): Promise<boolean> => {
    const shop = await startShop(t, { redis: target(redis), keyPrefix: 'sess:', adopt: 'express-session' })
    const ada = new Jar()
    await ada.post(express, '/login/ada')
    return [(await ada.get(shop, '/me')).status, (await ada.post(shop, '/put/cart', ['book'])).status, (await ada.post(shop, '/out')).status].join() === '200,200,200'
  }
  const mended = async (t: Test): Promise<boolean> => {
    const store = await openDropIn(t, target(redis), {})
    await redis.client.flushall()
    await store.set('carol', { cookie: { originalMaxAge: 60_000 } })
    await store.touch('carol', await store.get('carol'))
    const counts = [await store.length(), (await store.ids()).length, (await store.all()).length]
    await store.destroy('carol')
    await store.clear()
    return counts.join() === '1,1,1' && await store.get('carol') === null
  }
  const elsewhere = async (t: Test): Promise<boolean> => {
    const services = await Promise.all([0, 1].map(async () => await startService(t, { redis: { ...target(redis), db: 2 }, keyPrefix: 'sess:' })))
    const heard: unknown[] = []
    services[1]?.app.sessions.on('created', (event) => heard.push(event))
    const { sessions } = (services[0] as Service).app
    const create = async () => (await sessions.create({ userId: 'ada' })).session.id
    const id = await create()
    // The other begins to listen meanwhile.
    await until('the event', async () => heard.length > 0 || (await create(), false), 1000)
    return await sessions.revoke(id)
  }
  const near = async (t: Test): Promise<boolean> => await serves(await startService(t, { redis: target(redis), keyPrefix: 'sess:', nearCache: true }))
  const works = async (t: Test, work: (t: Test) => Promise<boolean>): Promise<boolean> => await work(t).catch(() => false)

  const replica = await startRedis(t, { args: ['--replicaof', '127.0.0.1', String(redis.port)] })
  await follows(replica, redis)
  const confirmed = async (t: Test): Promise<boolean> => {
    const { app } = await startService(t, { redis: target(redis), keyPrefix: 'sess:', durability: 'replicated' })
    return await app.sessions.revoke((await app.sessions.create({ userId: 'ada' })).session.id)
  }

  for (const [work, rules] of [[adopted, ['+getdel']], [shared, ['+pttl']], [confirmed, ['+wait', '+role']], [mended, ['+expire']], [elsewhere, ['+select', '&@2:sess:*']], [near, ['+client|id', '+client|tracking', '&__redis__:invalidate']]] as const) {
    await grant(redis.client, { besides: [...rules] })
    t.ok(await works(t, work), rules.join(' '))
    for (const rule of rules) {
      await grant(redis.client, { besides: [...rules], without: rule })
      t.notOk(await works(t, work), `${rule} is needed`)
    }
  }
})

t.test('and in a Cluster', async (t) => {
  const { nodes, client } = await startCluster(t, { masters: 2 })
  const works = async (): Promise<boolean> => {
    const { app } = await startService(t, { redis: { cluster: nodes, username: NAME, password: PASSWORD }, keyPrefix: 'sess:' })
    const { session } = await app.sessions.create({ userId: 'ada' })
    return await app.sessions.revoke(session.id)
  }
  const rules = BESIDES.filter((rule) => rule.startsWith('+cluster'))
  const grantAll = async (options: { besides: string[], without?: string }): Promise<void> => {
    for (const node of client.nodes('master')) await grant(node, options)
  }
  await grantAll({ besides: rules })
  t.ok(await works())
  for (const rule of rules) {
    await grantAll({ besides: rules, without: rule })
    t.notOk(await works().catch(() => false), `${rule} is needed`)
  }

  await t.rejects(openStore(t, { cluster: nodes, username: NAME, password: 'wrong' }, {}), { code: 'ERR_SESSION_INVALID_OPTIONS' }, 'a wrong password')

  await grantAll({ besides: [...rules, '+asking'] })
  const store = await openStore(t, { cluster: nodes, username: NAME, password: PASSWORD }, {})
  const session = record({ now: store.now() })
  await store.begin(session)
  const key = `sess:${session.id}`
  await (await beginMove(client, key)).bring(key)
  t.strictSame(await store.find(session.id), session, 'a session is found while its slot is on its way')
  await grantAll({ besides: rules })
  // Nobody may be left without an answer, or this process would end.
  await t.rejects(store.find(session.id), { code: 'ERR_SESSION_STORE_UNAVAILABLE' }, '+asking is needed')
})
