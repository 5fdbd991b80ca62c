import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import formbody from '@fastify/formbody'
import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import type { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, authRoutesOptions, MemoryStore, RedisStore, sessionPlugin } from '../../lib/index.ts'
import type { AuthRoutesOptions, LoginFailure, SessionOptions } from '../../lib/index.ts'
import { connect, disconnectNow } from '../../lib/redis/connection.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import { inTurn, onBothPlaces, startGuessing, tally } from '../helpers/guesses.ts'
import { openManager } from '../helpers/managers.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { DAY } from '../helpers/record.ts'
import { proxied } from '../helpers/proxied.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { openStore } from '../helpers/redis-store.ts'
import { timed } from '../helpers/stopwatch.ts'

const redis = await startRedis(t)
const both = onBothPlaces(t, redis)
const network = (index: number): string => `203.0.113.${index}`

/** A login route of the application's own, as tutorials have it. */
async function startOwn (t: Test, options: Partial<SessionOptions> = {}) {
  const app = await startApp(t, options)
  let looks = 0
  app.post<{ Body: { name: string, password: string } }>('/sign-in', async (request, reply) => {
    const { name, password } = request.body
    const user = await app.attemptLogin(request, name, async () => {
      looks++
      return password === 'lovelace' ? { id: name } : null
    })
    if (user === null) return await reply.code(401).send({ error: 'no' })
    await app.login(request, user)
    return { id: user.id }
  })
  const sign = async (name: unknown, password: string, ip = '198.51.100.1') => await app.inject({ method: 'POST', url: '/sign-in', remoteAddress: ip, payload: { name, password } })
  return { app, sign, looks: () => looks, statusOf: async (...who: Parameters<typeof sign>) => (await sign(...who)).statusCode }
}

/** What is told of logins that failed. */
function listen (app: FastifyInstance): LoginFailure[] {
  const told: LoginFailure[] = []
  app.sessions.on('login-failed', (event) => { told.push(event) })
  return told
}

/** The boot error of these options of authRoutes. */
async function faultOf (t: Test, options: object): Promise<string> {
  const app = await startApp(t)
  return await app.register(authRoutes, { verify: () => null, ...options } as AuthRoutesOptions).then(() => '', (error: { code: string, message: string }) => error.code === 'ERR_SESSION_INVALID_OPTIONS' ? error.message : String(error))
}

both('a login route of one\'s own is limited as authRoutes are', async (t, { options }) => {
  const { statusOf, looks } = await startOwn(t, options)
  t.equal(await statusOf('ada', 'lovelace'), 200)
  t.strictSame(tally(await inTurn(12, async () => await statusOf('ada', 'wrong'))), { 401: 10, 429: 2 })
  t.equal(looks(), 11)
})

t.test('what verify gives is handed on, and whatever is falsy has failed', async (t) => {
  const app = await startApp(t, { attempts: { accountNetwork: { max: 3 } } })
  const given: unknown[] = []
  app.post('/all', async (request) => {
    for (const value of [{ id: 1 }, 'yes', 7, true, null, undefined, false, 0, '']) {
      given.push(await app.attemptLogin(request, 'ada', () => value).catch((error: { code: string }) => error.code))
    }
  })
  await app.inject({ method: 'POST', url: '/all' })
  t.strictSame(given, [{ id: 1 }, 'yes', 7, true, null, undefined, false, 'ERR_SESSION_TOO_MANY_ATTEMPTS', 'ERR_SESSION_TOO_MANY_ATTEMPTS'])
})

both('many logins in one request, as GraphQL\'s aliases make them, are counted one by one', async (t, { options }) => {
  const app = await startApp(t, options)
  let looks = 0
  app.post('/graphql', async (request) => await Promise.allSettled(Array.from({ length: 50 }, () => app.attemptLogin(request, 'ada', async () => {
    looks++
    return null
  }))).then((results) => results.filter(({ status }) => status === 'rejected').length))
  t.equal((await app.inject({ method: 'POST', url: '/graphql' })).body, '40')
  t.equal(looks, 10)
})

both('without a name the network alone is limited', async (t, { options }) => {
  const { statusOf } = await startOwn(t, { ...options, attempts: { network: { max: 15 } } })
  t.strictSame(tally(await inTurn(14, async (index) => await statusOf(index % 2 === 0 ? null : undefined, 'wrong'))), { 401: 14 })
  t.strictSame(tally(await inTurn(3, async () => await statusOf(null, 'lovelace'))), { 500: 3 }, 'nobody is signed in by that, and a right password takes no slot')
  t.strictSame(tally(await inTurn(3, async () => await statusOf(null, 'wrong'))), { 401: 1, 429: 2 }, 'nor does it give others back')
})

both('an error of verify is a failed login, but not one of the server\'s', async (t, { options }) => {
  const failing = async (properties: object) => {
    const { statusOf } = await startGuessing(t, { ...options, ...options.redis !== undefined && { keyPrefix: prefix() }, ...options.store !== undefined && { store: new MemoryStore() } }, { verify: () => { throw Object.assign(new Error('no'), properties) } })
    return tally(await inTurn(12, async () => await statusOf('ada', 'wrong')))
  }
  t.strictSame(await failing({ statusCode: 401 }), { 401: 10, 429: 2 })
  t.strictSame(await failing({ statusCode: 403, code: 'WRONG_CODE' }), { 403: 10, 429: 2 }, 'a second factor is not to be guessed either')
  t.strictSame(await failing({ statusCode: 503 }), { 503: 12 })
  t.strictSame(await failing({}), { 500: 12 }, 'a database that is down locks nobody out')
})

both('verify that gives what is no user locks nobody out, and makes no network known', async (t, { options }) => {
  let broken = true
  const wrongIds = [null, '', NaN, {}, ['ada'], true].map((id) => ({ id }))
  const junk = [true, 'ada', 42, [], {}, { userId: 'ada' }, new Map([['id', 'ada']]), ...wrongIds]
  let looks = 0
  const { app, statusOf } = await startGuessing(t, options, {
    attempts: { accountNetwork: { max: 5 }, network: { max: 5 }, account: { max: 3 } },
    verify: ({ username, password }) => {
      if (broken) return junk[looks++ % junk.length] as never
      return password === 'lovelace' ? { id: username } : null
    }
  })
  const told = listen(app)
  t.strictSame(tally(await inTurn(junk.length, async () => await statusOf('ada', 'wrong'))), { 500: junk.length })
  t.equal(looks, junk.length, 'each was looked at')
  broken = false
  t.strictSame(await inTurn(4, async (index) => await statusOf('ada', 'wrong', network(index))), [401, 401, 401, 429])
  t.equal(await statusOf('ada', 'lovelace'), 429, 'where verify was wrong about her she is not known')
  await until('the failed logins', () => told.length === 5)
  t.strictSame(told.map(({ reason }) => reason), [...Array<string>(3).fill('credentials'), 'limit', 'limit'], 'no others')
})

t.test('a resolver that throws where the password is wrong is limited all the same', async (t) => {
  const app = await startApp(t)
  const codes: unknown[] = []
  app.post('/graphql', async (request) => {
    for (const status of [undefined, 500]) {
      for (let guess = 0; guess < 11; guess++) {
        codes.push(await app.attemptLogin(request, `ada ${status}`, () => { throw Object.assign(new Error('wrong'), { ...status !== undefined && { status } }) }).catch((error: Error & { code?: string }) => error.code ?? error.message))
      }
    }
  })
  await app.inject({ method: 'POST', url: '/graphql' })
  t.strictSame(codes, [...Array<string>(10).fill('wrong'), 'ERR_SESSION_TOO_MANY_ATTEMPTS', ...Array<string>(11).fill('wrong')])
})

both('a second factor takes no more than the login it belongs to', async (t, { options }) => {
  const second = Object.assign(new Error('A code was sent to you'), { statusCode: 403 })
  const { statusOf } = await startGuessing(t, options, { verify: ({ username, password }) => { if (password === 'and code') return { id: username }; throw second }, attempts: { network: { max: 3 } } })
  for (let login = 0; login < 10; login++) t.strictSame([await statusOf(`user ${login}`, 'right'), await statusOf(`user ${login}`, 'and code')], [403, 200])
})

both('logins that fail are told, here only, and without a name', async (t, { options }) => {
  const { app, statusOf } = await startGuessing(t, options, { attempts: { accountNetwork: { max: 2 } } })
  const told = listen(app)
  const onChannel: unknown[] = []
  const hear = (event: unknown): void => { onChannel.push(event) }
  subscribe('fastify-user-sessions:login-failed', hear)
  t.teardown(() => unsubscribe('fastify-user-sessions:login-failed', hear))
  const before = Date.now() - 1000
  await inTurn(3, async () => await statusOf('ada', 'wrong', '2001:db8:1:2::7'))
  await statusOf('ada', 'lovelace', '::ffff:192.0.2.7')
  await statusOf('bob', 'wrong', '192.0.2.7')
  await until('four events', () => told.length === 4)
  t.strictSame(told.map(({ at, ...event }) => event), [
    ...['credentials', 'credentials', 'limit'].map((reason) => ({ network: '2001:db8:1:2::/64', reason, limit: reason === 'limit' ? 'accountNetwork' : null, local: true })),
    { network: '192.0.2.7', reason: 'credentials', limit: null, local: true }
  ])
  for (const { at } of told) t.ok(Number.isInteger(at) && at >= before && at <= Date.now() + 1000)
  t.ok(Object.isFrozen(told[0]))
  t.strictSame(onChannel, told)
})

both('a login that is refused names the limit that lasts longest', async (t, { options, age }) => {
  const attempts = { network: { max: 4, within: '20m' }, accountNetwork: { max: 2, within: '10m' }, account: { max: 3, within: '30m' } } as const
  const { app, statusOf } = await startGuessing(t, options, { attempts })
  const told = listen(app)
  const refusal = async (name: string, ip: string): Promise<string | null | undefined> => {
    const before = told.length
    t.equal(await statusOf(name, 'wrong', ip), 429)
    await until('an event', () => told.length > before)
    return told.at(-1)?.limit
  }
  await inTurn(2, async () => await statusOf('ada', 'wrong', network(1)))
  t.equal(await refusal('ada', network(1)), 'accountNetwork')
  await statusOf('ada', 'wrong', network(2))
  t.equal(await refusal('ada', network(3)), 'account')
  t.equal(await refusal('ada', network(1)), 'account', 'of two the longer one')
  await inTurn(2, async (index) => await statusOf(`user ${index}`, 'wrong', network(1)))
  t.equal(await refusal('bob', network(1)), 'network')
  await age(10 * 60_000)
  t.equal(await refusal('bob', network(1)), 'network')
  t.strictSame([...new Set(told.filter(({ reason }) => reason === 'credentials').map(({ limit }) => limit))], [null])
})

t.test('a store of one\'s own that counts together may leave open which limit refuses', async (t) => {
  const store = new MemoryStore()
  const { app, statusOf } = await startGuessing(t, { store })
  const told = listen(app)
  Object.assign(store.attempts, { countTogether: async () => 5_000 })
  t.equal(await statusOf('ada', 'wrong'), 429)
  await until('an event', () => told.length === 1)
  t.match(told[0], { reason: 'limit', limit: null })
})

t.test('logins are told as failed also where they are not limited', async (t) => {
  const { app, statusOf } = await startGuessing(t, {}, { attempts: false })
  const told = listen(app)
  await statusOf('ada', 'wrong')
  await until('an event', () => told.length === 1)
})

t.test('attempts: false limits nothing, in the plugin or in the routes', async (t) => {
  for (const [options, routes] of [[{ attempts: false }, {}], [{}, { attempts: false }]] as Array<[Partial<SessionOptions>, Partial<AuthRoutesOptions>]>) {
    const keyPrefix = prefix()
    const { statusOf } = await startGuessing(t, { redis: redis.url, keyPrefix, ...options }, routes)
    t.strictSame(tally(await inTurn(120, async () => await statusOf('ada', 'wrong'))), { 401: 120 })
    t.strictSame(await redis.client.keys(`*${keyPrefix}*`), [])
  }
  const { statusOf } = await startGuessing(t, { attempts: false }, { attempts: { accountNetwork: { max: 4 } } })
  t.strictSame(tally(await inTurn(6, async () => await statusOf('ada', 'wrong'))), { 401: 4, 429: 2 }, 'the routes have the last word')
})

t.test('each limit can be another, or none', async (t) => {
  const { statusOf } = await startGuessing(t, { attempts: { accountNetwork: false, network: { max: 5 } } }, { attempts: { network: { max: 20, within: '1h' } } })
  t.strictSame(tally(await inTurn(22, async () => await statusOf('ada', 'wrong'))), { 401: 20, 429: 2 })
  const none = await startGuessing(t, {}, { attempts: { network: false, accountNetwork: false, account: false } })
  t.strictSame(tally(await inTurn(120, async () => await none.statusOf('ada', 'wrong'))), { 401: 120 })
})

t.test('wrong limits of authRoutes are boot errors that name the option and repeat nothing', async (t) => {
  const faults: Array<[object, string]> = [
    [{ attempts: 'LEAKED' }, 'attempts must be an object or false'],
    [{ attempts: true }, 'attempts must be an object or false'],
    [{ attempts: { network: { max: 'LEAKED' } } }, 'attempts.network.max must be an integer from 1 to 1000'],
    [{ attempts: { account: { within: 'LEAKED' } } }, 'attempts.account.within must be milliseconds or a string such as \'30m\''],
    [{ attempts: { address: {} } }, 'attempts.address is not an option'],
    [{ account: 'LEAKED' }, 'account must be a function']
  ]
  for (const [options, fault] of faults) t.equal(await faultOf(t, options), `Invalid session options: authRoutes: ${fault}`)
  t.equal(await faultOf(t, { attempts: undefined, account: undefined }), '')
})

both('credentials of one\'s own say by what an account goes', async (t, { options }) => {
  const app = await startApp(t, options)
  await app.register(authRoutes, authRoutesOptions({ credentials: Type.Object({ email: Type.String() }), verify: () => null, account: ({ email }) => email }))
  const statusOf = async (email: string) => (await app.inject({ method: 'POST', url: '/login', payload: { email } })).statusCode
  t.strictSame(tally(await inTurn(12, async () => await statusOf('ada@example.com'))), { 401: 10, 429: 2 })
  t.equal(await statusOf('bob@example.com'), 401)
})

t.test('where nobody says by what an account goes, the network is limited, and a warning says so', async (t) => {
  const warned = async (credentials: ReturnType<typeof Type.Object> | undefined, options: Partial<AuthRoutesOptions> = {}) => {
    const app = await startApp(t)
    await app.register(authRoutes, { verify: () => null, ...credentials !== undefined && { credentials }, ...options })
    const statuses = await inTurn(102, async () => (await app.inject({ method: 'POST', url: '/login', payload: { email: 'ada', username: 'ada', password: 'x' } })).statusCode)
    return [app.lines.some(({ msg }) => msg.includes('set account')), tally(statuses)]
  }
  const email = Type.Object({ email: Type.String() })
  t.strictSame(await warned(email), [true, { 401: 100, 429: 2 }])
  t.strictSame(await warned(email, { account: () => null }), [false, { 401: 100, 429: 2 }])
  t.strictSame(await warned(email, { attempts: false }), [false, { 401: 102 }])
  t.strictSame(await warned(undefined), [false, { 401: 10, 429: 92 }])
  t.strictSame(await warned(Type.Object({ username: Type.String() })), [false, { 401: 10, 429: 92 }])
})

both('an account can be unlocked, by an application or a script', async (t, { options, age, keyPrefix }) => {
  const { app, statusOf } = await startGuessing(t, options)
  await inTurn(50, async (index) => await statusOf('ada', 'wrong', network(index)))
  t.equal(await statusOf('ada', 'lovelace', network(100)), 429)
  await app.sessions.unlock('bob')
  t.equal(await statusOf('ada', 'lovelace', network(100)), 429)
  const sessions = options.store !== undefined ? app.sessions : openManager(t, { store: await openStore(t, redis.url, { prefix: keyPrefix }) })
  await sessions.unlock(' ADA')
  t.equal(await statusOf('ada', 'lovelace', network(100)), 200)
  await age(DAY)
})

t.test('a store that cannot count has it done in this process', async (t) => {
  const held = new Map<string, unknown>()
  const store = {
    get: (id: string, done: (error: null, session?: unknown) => void) => done(null, held.get(id)),
    set: (id: string, session: unknown, done: (error?: null) => void) => { held.set(id, session); done() },
    destroy: (id: string, done: (error?: null) => void) => { held.delete(id); done() }
  }
  const { statusOf } = await startGuessing(t, { store })
  t.strictSame(tally(await inTurn(12, async () => await statusOf('ada', 'wrong'))), { 401: 10, 429: 2 })
  t.equal(await statusOf('bob', 'builder'), 200)
})

t.test('limits hold where session data is encrypted', async (t) => {
  const { statusOf } = await startGuessing(t, { redis: redis.url, keyPrefix: prefix(), encryption: { keys: [secret] } })
  t.strictSame(tally(await inTurn(12, async () => await statusOf('ada', 'wrong'))), { 401: 10, 429: 2 })
})

t.test('a login route without sessions is limited', async (t) => {
  const app = await startApp(t)
  app.post('/check', { config: { session: false } }, async (request) => ({ user: await app.attemptLogin(request, 'ada', () => null) }))
  const ada = new Browser(app)
  t.strictSame(tally(await inTurn(12, async () => (await ada.post('/check')).statusCode)), { 200: 10, 429: 2 })
})

t.test('an application whose attemptLogin is renamed has it under that name', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  app.decorate('attemptLogin', 'theirs' as never)
  await app.register(sessionPlugin, { secret, cookie: { secure: false }, decorators: { attemptLogin: 'tryLogin' } })
  const { tryLogin } = app as unknown as { tryLogin: FastifyInstance['attemptLogin'] }
  app.post('/in', async (request) => await tryLogin(request, 'ada', async () => ({ id: 'ada' })))
  t.strictSame((await app.inject({ method: 'POST', url: '/in' })).json(), { id: 'ada' })
})

t.test('a form that is refused for its many tries is sent to the page that says so, and when to come again', async (t) => {
  const app = await startApp(t)
  await app.register(formbody)
  await app.register(authRoutes, { verify: () => null, redirects: { failure: '/login' }, attempts: { accountNetwork: { max: 1 } } })
  const headers = { 'content-type': 'application/x-www-form-urlencoded' }
  const replies = await inTurn(2, async () => (await app.inject({ method: 'POST', url: '/login', headers, payload: 'username=ada&password=wrong' })))
  t.match(replies.map(({ statusCode, headers }) => [statusCode, headers.location]), [
    [303, '/login?error=invalid_credentials'], [303, /^\/login\?error=too_many_attempts&retry_after=(900|8\d\d)$/]
  ])
})

/** The commands about counters that a failed login costs, and a successful one. */
async function costsOf (t: Test, options: Partial<SessionOptions>, keyPrefix: string): Promise<string[][]> {
  const { statusOf } = await startGuessing(t, options)
  await statusOf('ada', 'lovelace')
  const monitor = await redis.client.monitor() as unknown as Redis
  t.teardown(() => monitor.disconnect())
  let sent: string[] = []
  monitor.on('monitor', (_time: string, args: string[], source: string) => { if (source !== 'lua') sent.push(args.join(' ')) })
  const costOf = async (password: string): Promise<string[]> => {
    sent = []
    await statusOf('ada', password)
    await redis.client.echo(`after ${password}`)
    await until('the monitor', () => sent.some((command) => command.includes(`after ${password}`)))
    return sent.filter((command) => command.includes(`${keyPrefix}tries:`)).map((command) => /^\S+/.exec(command)?.[0] + ' ' + [...command.matchAll(/tries:([a-z-]+):/g)].map(([, what]) => what).join())
  }
  return [await costOf('wrong'), await costOf('lovelace')]
}

t.test('counting costs a login two commands and a failed one one', async (t) => {
  const keyPrefix = prefix()
  const taken = 'evalsha network,account-network,account'
  t.strictSame(await costsOf(t, { redis: redis.url, keyPrefix }, keyPrefix), [[taken], [taken, `${taken},account`]])
})

t.test('where no server has all keys, it costs a login seven commands and a failed one three, each of one key', async (t) => {
  const keyPrefix = prefix()
  const taken = ['evalsha network', 'evalsha account-network', 'evalsha account']
  const { client } = connect(redis.url)
  t.teardown(() => disconnectNow(client))
  const store = new RedisStore({ client: proxied(client), prefix: keyPrefix })
  t.teardown(() => store.close())
  t.strictSame(await costsOf(t, { store }, keyPrefix), [taken, [...taken, 'evalsha network', 'evalsha account-network', 'evalsha account', 'evalsha account']])
})

t.test('a login waits for a frozen Redis as long as any request, and no longer', async (t) => {
  withRealLimits(t)
  const server = await startRedis(t)
  const { guess } = await startGuessing(t, { redis: server.url, keyPrefix: prefix() })
  await guess('ada', 'wrong')
  server.pause()
  const { result, ms, ownMs } = await timed(() => guess('ada', 'lovelace'))
  server.resume()
  t.equal(result.statusCode, 503)
  t.ok(ownMs < 700, `${ms} ms`)
  t.comment(`refused after ${Math.round(ms)} ms`)
})
