import { createServer } from 'node:http'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import fc from 'fast-check'
import { RedisStore as ConnectRedisStore } from 'connect-redis'
import { Cluster, Redis } from 'ioredis'
import { Type } from '@sinclair/typebox'
import t from 'tap'
import type { Test } from 'tap'
import { RedisStore as DropIn } from '../../lib/express/redis-store.ts'
import { MemoryStore, RedisStore, sessionPlugin } from '../../lib/index.ts'
import type { LoginOptions, SessionOptions } from '../../lib/index.ts'
import { resolveOptions } from '../../lib/options/resolve.ts'
import { SessionOptionsSchema } from '../../lib/options/schema.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import { startRedis } from '../helpers/redis.ts'

const DURATION = 'must be milliseconds or a string such as \'30m\''
const COOKIE_PATH = 'must begin with / and be at most 1,024 characters of ASCII without space, comma, semicolon or <'
const PAGE = 'must be a path of this site, such as /login, in ASCII: the plugin sends nobody to another site'
const REDIS = 'must be a redis://, rediss://, valkey://, valkeys:// or unix:// URL, the options or a client of ioredis, iovalkey or node-redis, or { cluster: [...] }'
const STORE = 'must be a MemoryStore, a RedisStore or an express-session compatible store'
const SHORT_SECRET = 'must have 32 characters or more: put a new one before it, as in [new, old], and nobody is signed out'
const PREFIX = 'must be 1 to 128 printable characters, the first not @'

/** What is wrong with these options: the one error's message without its beginning, in no order. */
function faultsOf (t: Test, options: unknown): string[] {
  try {
    resolveOptions(options)
  } catch (error) {
    return told(t, error)
  }
  return []
}

function told (t: Test, error: unknown): string[] {
  const { code, message } = error as { code: string, message: string }
  t.equal(code, 'ERR_SESSION_INVALID_OPTIONS')
  t.notMatch(message, /LEAKED/i, 'no value is repeated')
  const [, faults = ''] = /^Invalid session options: (.+)$/s.exec(message) ?? []
  return faults.split('; ').sort()
}

/** An application that is not there yet: what `register` says comes with `ready`. */
function application (t: Test): FastifyInstance {
  const app = Fastify()
  t.teardown(() => app.close())
  return app
}

async function bootFaults (t: Test, options: unknown, prepare: (app: FastifyInstance) => void = () => {}): Promise<string[]> {
  const app = application(t)
  prepare(app)
  try {
    await app.register(sessionPlugin, options as SessionOptions)
  } catch (error) {
    return told(t, error)
  }
  return []
}

/** With NODE_ENV set to this for the rest of the test. */
function environment (t: Test, name: string | undefined): void {
  const before = process.env.NODE_ENV
  const set = (value: string | undefined) => {
    if (value === undefined) delete process.env.NODE_ENV
    else process.env.NODE_ENV = value
  }
  set(name)
  t.teardown(() => set(before))
}

t.test('a method of a class is no securityLog.write, and is not left out in silence', async (t) => {
  class Audit {
    readonly #entries: unknown[] = []
    write (entry: unknown): void { this.#entries.push(entry) }
  }
  const fault = 'securityLog.write must not be a method of a class: wrap it, as in (entry) => audit.write(entry)'
  t.strictSame(faultsOf(t, { secret, securityLog: new Audit() }), [fault])
  const audit = new Audit()
  t.strictSame(faultsOf(t, { secret, securityLog: { write: (entry: unknown) => audit.write(entry) } }), [])
})

t.test('every wrong option is named at register, at once, and no value is repeated', async (t) => {
  const faults = await bootFaults(t, {
    secret: 'LEAKED-too-short',
    redis: 'http://LEAKED',
    store: { leaked: 'LEAKED' },
    keyPrefix: '@LEAKED',
    cookieName: 'LEAKED; Domain=evil.example',
    cookie: { secure: 'LEAKED', sameSite: 'LEAKED', httpOnly: 'LEAKED', path: ' LEAKED', domain: 'LEAKED domain', partitioned: 'LEAKED', maxAge: 'LEAKED', samesite: 'LEAKED' },
    idleTimeout: 'LEAKED',
    absoluteTimeout: ['LEAKED'],
    remember: { idleTimeout: 'LEAKED', absoluteTimeout: { leaked: 'LEAKED' }, forever: 'LEAKED' },
    touchAfter: 'LEAKED',
    userIdFrom: 'LEAKED',
    origins: ['LEAKED'],
    csrf: 'LEAKED',
    decorators: { authenticate: 'LEAKED-', login: ['LEAKED'], signIn: 'LEAKED' },
    resave: 'LEAKED',
    saveUninitialized: 'LEAKED'
  })
  t.strictSame(faults.map((fault) => fault.split(' ')[0]), [
    'absoluteTimeout', 'cookie.domain', 'cookie.httpOnly', 'cookie.maxAge', 'cookie.partitioned', 'cookie.path', 'cookie.sameSite', 'cookie.samesite', 'cookie.secure', 'cookieName', 'csrf',
    'decorators.authenticate', 'decorators.login', 'decorators.signIn', 'idleTimeout', 'keyPrefix', 'origins', 'redis', 'remember.absoluteTimeout', 'remember.forever', 'remember.idleTimeout',
    'resave', 'saveUninitialized', 'secret', 'store', 'touchAfter', 'userIdFrom'
  ])
})

t.test('options that are none are refused', async (t) => {
  for (const input of [undefined, null, 5, 'LEAKED', true, [], ['LEAKED'], Symbol('LEAKED'), () => 'LEAKED']) {
    t.strictSame(faultsOf(t, input).filter((fault) => !fault.startsWith('secret ')), ['options must be an object'])
  }
  t.strictSame(await bootFaults(t, undefined), ['secret is required: 32 characters or more from a random source'])
})

const WRONG: Array<[option: string, fault: string, values: unknown[]]> = [
  ...['idleTimeout', 'absoluteTimeout', 'remember.idleTimeout', 'remember.absoluteTimeout', 'knownDevices'].flatMap((option): typeof WRONG => [
    [option, DURATION, [null, true, false, [], {}, ['30m'], NaN, Infinity, -Infinity, 5n, Symbol('LEAKED'), () => 5, '', ' ', 'LEAKED', '30 parsecs', '1h LEAKED', '9'.repeat(200)]],
    [option, 'must be positive', [0, -1, -0.1, 0.5, '0', '-5m']],
    [option, 'must be less than ten years', [1e20, Number.MAX_VALUE, '11y', '4000d']]
  ]),
  ['cookie.maxAge', `${DURATION} or false`, [null, true, [], {}, NaN, Infinity, 5n]],
  ['cookie.maxAge', DURATION, ['', 'LEAKED']],
  ['cookie.maxAge', 'must be positive', [0, -1, '-1s']],
  ['touchAfter', `${DURATION} or false`, [null, true, [], {}, NaN, 5n]],
  ['touchAfter', DURATION, ['', 'LEAKED']],
  ['touchAfter', 'must not be negative', [-1, '-1s']],
  ['assurance', 'must be "aal2" or "aal3"', ['aal1', 'AAL2', 2, true]],
  ['encryption', 'must be an object', [null, 'LEAKED', ['LEAKED'], true]],
  ['encryption.keys', 'must be an array of strings', [null, secret, []]],
  ['encryption.keys', 'must be a string', [[5], [secret, null]]],
  ['encryption.keys', 'must each have 32 characters or more', [['LEAKED'], [secret, '']]],
  ['nearCache', 'must be true or false or an object', [null, 'LEAKED', 5, []]],
  ['nearCache.maxEntries', 'must be an integer from 1 to 10000000', [null, 0, -1, 1.5, 'LEAKED', 1e9]],
  ['maxDataSize', 'must be an integer from 1024 to 16777216', [null, 0, -1, 1023, 2048.5, '64kb', 1e9, NaN, true]],
  ['nearCache.maxStale', DURATION, [null, true, [], {}, '', 'LEAKED']],
  ['nearCache.maxStale', 'must be positive', [0, -1, '-5s']],
  ['nearCache.maxStale', 'must be from 1s to 1m', [999, '0.5s', '61s', '1h']],
  ['nearCache.invalidate', 'must be "all" or "ends"', [null, true, 'LEAKED', 'end', ['ends']]],
  ['events', 'must be "broadcast" or "sharded" or "both"', [null, true, 'LEAKED', 'all', ['sharded']]],
  ['forkDetection', 'must be true or false or an object', [null, 'LEAKED', 5, [], () => true]],
  ['forkDetection.onFork', 'must be "report" or "reauthenticate" or "revoke"', [null, true, 'LEAKED', 'refuse', ['revoke']]],
  ['deviceBound', 'must be true or false or an object', [null, 'LEAKED', 5, [], () => true]],
  ['deviceBound.maxAge', DURATION, [null, true, [], {}, '', 'LEAKED', '10x']],
  ['deviceBound.maxAge', 'must be positive', [0, -1, '-10m']],
  ['deviceBound.maxAge', 'must be from 5m to 1h', [1, 299_999, '4m', '61m', '1d']],
  ['deviceBound.required', 'must be true or false or a function', [null, 'LEAKED', 5, {}, ['LEAKED']]],
  ['deviceBound.grace', DURATION, [null, true, [], {}, '', 'LEAKED']],
  ['deviceBound.onMismatch', 'must be "refuse" or "revoke"', [null, true, 'LEAKED', 'end', ['revoke']]],
  ...['bindExisting', 'ask'].map((name): typeof WRONG[number] => [`deviceBound.${name}`, 'must be true or false', [null, 0, 'false', 'LEAKED', {}]]),
  ['deviceBound.path', 'must be a string', [null, 5, true, ['/device']]],
  ['deviceBound.path', 'must be a path such as /auth/device, of letters, digits and . _ ~ -', [
    '', '/', 'LEAKED', 'device', '/device/', '//LEAKED.example', '/LEAKED?x=1', '/LEAKED#x', '/:LEAKED', '/*', '/a b', '/né', '/a"LEAKED', '/a\r\nLEAKED', 'https://LEAKED.example/device', '/x'.repeat(21)
  ]],
  ['touchAfter', 'must be shorter than idleTimeout', ['30m', 30 * 60_000, '1h']],
  ['idleTimeout', 'must not be longer than absoluteTimeout', ['8d']],
  ['remember.idleTimeout', 'must not be longer than remember.absoluteTimeout', ['91d']],
  ['remember', 'must be an object', [null, true, 'LEAKED', 5, [], () => ({})]],
  ['attempts', 'must be an object or false', [null, true, 'LEAKED', 5, [], () => ({})]],
  ...['network', 'accountNetwork', 'account'].flatMap((name): typeof WRONG => [
    [`attempts.${name}`, 'must be an object or false', [null, true, 'LEAKED', 5, []]]
  ]),
  ['cookie', 'must be an object', [null, true, 'LEAKED', 5, [], () => ({})]],
  ['securityLog', 'must be true or false or a function or an object', [null, 'LEAKED', 5, []]],
  ['securityLog.write', 'must be a function', [null, true, 'LEAKED', {}]],
  ['securityLog.accounts', 'must be "hmac" or "plain"', [null, true, 'LEAKED', ['plain']]],
  ['pages', 'must be an object', [null, true, '/login', 5, [], () => ({})]],
  ...['login', 'home'].flatMap((name): typeof WRONG => [
    [`pages.${name}`, 'must be a string', [null, 5, true, [], ['/login'], () => '/login']],
    [`pages.${name}`, PAGE, [
      '', 'LEAKED', 'login', '//LEAKED.example', '///LEAKED.example', '/\\LEAKED.example', '\\/LEAKED.example', '/.//LEAKED.example', '/x/..//LEAKED.example', '/./\\LEAKED.example', '/%2e//LEAKED.example',
      'https://LEAKED.example/login', 'https:LEAKED', 'javascript:LEAKED', '/a b', ' /login', '/\tLEAKED', '/\r\nLocation: LEAKED', '/\u0000', '/né', '?LEAKED', '#LEAKED'
    ]]
  ]),
  ['decorators', 'must be an object', [null, true, 'LEAKED', 5, [], () => ({})]],
  ['secret', 'must be a string or an array of strings', [null, 5, {}, [], [5], [secret, 5], [null], [undefined], [secret, [secret]], new Array(2), Buffer.alloc(64), Symbol('LEAKED')]],
  ['secret', 'is required: 32 characters or more from a random source', [undefined]],
  ['secret', 'must not be empty', ['', [''], [secret, ''], ['', secret]]],
  ['secret', SHORT_SECRET, ['LEAKED', 'LEAKED'.padEnd(31)]],
  ['secret', `(the first) ${SHORT_SECRET}`, [['LEAKED'], ['LEAKED', secret]]],
  ['secret', 'must be a string or an array of strings: what a signer of your own has signed is not read', [{ sign () {}, unsign () {} }]],
  ['redis', REDIS, [null, true, 5, '', 'LEAKED', 'localhost:6379', 'http://localhost', 'redis://:LEAKED@localhost:99999', [], ['redis://localhost'], { cluster: [] }, { cluster: 'LEAKED' }, { cluster: [null] }, { cluster: [{}, undefined] }]],
  ['store', STORE, [null, true, 5, 'LEAKED', [], {}, { get () {}, set () {} }, { get () {}, set () {}, destroy: 'LEAKED' }, () => {}, MemoryStore]],
  ['userIdFrom', 'must be a function', [null, 'LEAKED', {}, true]],
  ['csrf', 'must be true or false', [null, 0, 'false', 'LEAKED', {}]],
  ['cookieName', 'must be a string or an array of strings', [null, 5, true, {}, [5], [null], [['sid']]]],
  ['cookieName', 'must be a cookie name or an array of them', ['', [], [''], ['sid', ''], 'a b', 'a=b', 'LEAKED;', 'sid\r\nSet-Cookie: LEAKED=1', 'sid,', 'sid\u0000', 'né', '"sid"', 'x'.repeat(129), ['sid', 'LEAKED; Secure']]],
  ['cookieName', 'must not name one twice', [['sid', 'sid']]],
  ['origins', 'must be an array of strings', [null, 'https://app.example.com', {}, [5], [null]]],
  ['origins', 'must be origins such as https://app.example.com, without path or trailing slash', [
    [''], ['null'], ['*'], ['LEAKED'], ['app.example.com'], ['//app.example.com'], ['https://app.example.com/'], ['https://app.example.com/LEAKED'], ['https://*.example.com'], ['https://app.example.com:443'], ['https://APP.example.com'], ['https://ada:LEAKED@app.example.com'], ['https://app.example.com', 'LEAKED'], ['file:///'], ['data:,x']
  ]],
  ['cookie.secure', 'must be true or false', [null, 0, 'true', 'LEAKED', {}]],
  ['cookie.httpOnly', 'must be true or false', [null, 1, 'LEAKED']],
  ['cookie.partitioned', 'must be true or false', [null, 1, 'LEAKED']],
  ['cookie.sameSite', 'must be "lax" or "strict" or "none"', [null, 'LEAKED', '', ['lax'], 0]],
  ['cookie.sameSite', 'must be "lax" or "strict" or "none": "strict" is what true means elsewhere', [true]],
  ['cookie.sameSite', 'must be "lax" or "strict" or "none": leave it out for "lax", the default of browsers', [false]],
  ['cookie.sameSite', 'must be "lax" or "strict" or "none", in lower case', ['Lax', 'Strict', 'NONE']],
  ['adopt', 'takes over no cookies of @fastify/secure-session: a copy would outlive a logout. Leave it out', ['@fastify/secure-session']],
  ['adopt', 'must be "express-session" or "@fastify/session"', [null, true, 'LEAKED', 'express', 'share', ['express-session']]],
  ['cookie.path', 'must be a string', [null, 5, ['/']]],
  ['cookie.path', COOKIE_PATH, ['', 'LEAKED', '/; Domain=LEAKED', '/;LEAKED', '/a b', '/\r\nSet-Cookie: LEAKED=1', '/\u0000', '/né', '//evil; Secure']],
  ['cookie.domain', 'must be a string', [null, 5, ['example.com']]],
  ['cookie.domain', 'must be a host name', ['', '.', 'example.com; Path=/LEAKED', 'example.com\r\nLEAKED', 'exa mple.com', 'example..com', '-example.com', 'example.com/', 'https://example.com', `${'a.'.repeat(200)}com`]],
  ...['authenticate', 'login', 'logout', 'attemptLogin', 'requireRecentLogin', 'requireDeviceBound', 'authenticatePage', 'guestOnly', 'takeReturnPath', 'sessions', 'auth', 'requireAuth'].flatMap((name): typeof WRONG => [
    [`decorators.${name}`, 'must be a string', [null, 5, true, [], () => 'x']],
    [`decorators.${name}`, 'must be an identifier', ['', 'sign-in', '1st', 'LEAKED it', 'a.b', 'né']]
  ])
]

t.test('a wrong value is refused, by the option\'s name', async (t) => {
  for (const [option, fault, values] of WRONG) {
    const [name = '', member] = option.split('.')
    const faults = values.map((value) => faultsOf(t, { secret, [name]: member === undefined ? value : { [member]: value } }))
    t.strictSame(faults, values.map(() => [`${option} ${fault}`]))
  }
})

/** What node-redis gives, as far as it can be told from ioredis' client. */
const nodeRedis = { options: { socket: {} }, isOpen: false, duplicate () {}, get () {}, connect () {}, sendCommand () {} }

t.test('a near-cache goes with Redis, has no effect on memory, and is refused before a store that does not tell of changes', async (t) => {
  const wanted = (options: object) => resolveOptions({ secret, nearCache: true, ...options }).nearCache
  for (const options of [{ redis: 'redis://localhost' }, { store: new MemoryStore() }, {}]) t.strictSame(wanted(options), { maxEntries: 10_000, maxStaleMs: 5_000, invalidate: 'all' })
  t.strictSame(wanted({ nearCache: { maxEntries: 50, maxStale: '10s' } }), { maxEntries: 50, maxStaleMs: 10_000, invalidate: 'all' })
  for (const nearCache of [false, undefined]) t.equal(wanted({ nearCache }), null)
  t.strictSame(faultsOf(t, { secret, nearCache: true, store: { get () {}, set () {}, destroy () {} } }), ['nearCache needs redis or a RedisStore: another store does not tell what others change in it'])
  t.equal((await startApp(t, { store: new MemoryStore(), nearCache: true })).lines.some(({ msg }) => msg.includes('nearCache')), false)
})

t.test('a near-cache is told of ends alone where processes can tell each other of them, and nowhere else', async (t) => {
  const nearCache = { invalidate: 'ends' }
  const wanted = (options: object) => resolveOptions({ secret, nearCache, ...options }).nearCache?.invalidate
  const cluster = { cluster: [{ host: 'localhost', port: 7000 }] }
  const clients = [new Redis({ lazyConnect: true }), new Cluster([{ host: 'localhost', port: 7000 }], { lazyConnect: true })] as const
  t.teardown(() => { for (const client of clients) client.disconnect() })
  const [client, clusterClient] = clients
  for (const options of [
    {}, { redis: 'redis://localhost' }, { redis: client }, { store: new MemoryStore() }, { store: new RedisStore({ client }) },
    { redis: cluster, events: 'sharded' }, { redis: cluster, events: 'both' }, { store: new RedisStore({ client: clusterClient, events: 'sharded' }) }
  ]) t.equal(wanted(options), 'ends')
  const IN_CLUSTER = 'nearCache.invalidate \'ends\' needs events: \'sharded\' in a Cluster'
  for (const redis of [cluster, clusterClient]) t.strictSame(faultsOf(t, { secret, redis, nearCache }), [IN_CLUSTER])
  const OTHER_STORE = 'nearCache.invalidate \'ends\' needs redis or a RedisStore of \'fastify-user-sessions\', in a Cluster one with events: \'sharded\''
  for (const store of [new RedisStore({ client: clusterClient }), new DropIn({ client })]) t.strictSame(faultsOf(t, { secret, store, nearCache }), [OTHER_STORE])
  t.strictSame(faultsOf(t, { secret, redis: {}, expressSession: 'share', nearCache }), ['nearCache.invalidate cannot be given together with expressSession: an Express app tells of no end'])
  t.throws(() => new RedisStore({ client, events: 'shard' as never }), /events must be 'broadcast', 'sharded' or 'both'$/)
  t.throws(() => new DropIn({ client, events: 'shard' as never }), /events must be 'broadcast', 'sharded' or 'both'$/)
})

t.test('what another driver takes for Redis is refused, and not taken for localhost', async (t) => {
  const faults: Array<[fault: RegExp, redis: unknown]> = [
    [/a client of ioredis, iovalkey or node-redis/, { get () {}, set () {} }],
    [/a client of ioredis, iovalkey or node-redis/, new (class Upstash { get () {} })()],
    [/GLIDE/, { addresses: [{ host: 'LEAKED' }] }],
    [/options of one driver/, { url: 'redis://LEAKED', host: 'LEAKED' }],
    [/true or false as socket.tls/, { socket: { host: 'LEAKED', tls: {} } }]
  ]
  for (const [fault, redis] of faults) t.match(faultsOf(t, { secret, redis }), [fault])
  t.strictSame(resolveOptions({ secret, redis: nodeRedis }).redis, nodeRedis)
})

t.test('a RedisStore without a client of ioredis is refused in words', async (t) => {
  const broken = new Proxy({}, { get: () => { throw new Error('LEAKED') } })
  for (const options of [undefined, null, {}, { client: null }, { client: 'redis://LEAKED' }, broken, { client: broken }, { get client () { throw new Error('LEAKED') } }]) {
    try {
      // JavaScript has no types.
      const store = new RedisStore(options as never)
      t.fail(`made ${String(store)}`)
    } catch (error) {
      t.strictSame(told(t, error), ['client must be a Redis or Cluster of ioredis'])
    }
  }
  t.throws(() => new RedisStore({ client: nodeRedis as never }), /client must be a Redis or Cluster of ioredis; the plugin takes one of node-redis as redis$/)
})

t.test('a key prefix that would not do is refused', async (t) => {
  for (const keyPrefix of ['', '@sess:', 'se ss:', 'sess:\n', 'né:', 'x'.repeat(129)]) t.strictSame(faultsOf(t, { secret, redis: {}, keyPrefix }), [`keyPrefix ${PREFIX}`])
  for (const keyPrefix of ['{app}:', 'app}:', '{']) t.strictSame(faultsOf(t, { secret, redis: {}, keyPrefix }), ['keyPrefix must not contain braces: they would put all sessions on one Cluster node'])
  for (const keyPrefix of [null, 5, ['sess:']]) t.strictSame(faultsOf(t, { secret, redis: {}, keyPrefix }), ['keyPrefix must be a string'])
  t.strictSame(faultsOf(t, { secret, store: new MemoryStore(), keyPrefix: 'sess:' }), ['keyPrefix goes with redis: a store has its own'])
  t.strictSame(faultsOf(t, { secret, store: new MemoryStore(), durability: 'replicated' }), ['durability goes with redis: a RedisStore has its own'])
  t.strictSame(faultsOf(t, { secret, durability: 'replicated' }), ['durability needs redis, with a replica'])
  for (const events of ['sharded', 'both']) t.strictSame(faultsOf(t, { secret, events }), ['events needs redis'])
  t.equal(resolveOptions({ secret, events: 'broadcast' }).events, 'broadcast')
})

t.test('an option that means nothing together with the others is refused', async (t) => {
  const own = { store: new MemoryStore(), durability: 'default', events: 'broadcast', keyPrefix: 'sess:' }
  const ITS_OWN = ['durability goes with redis: a RedisStore has its own', 'events goes with redis: a RedisStore has its own', 'keyPrefix goes with redis: a store has its own']
  t.strictSame(faultsOf(t, { secret, ...own }).sort(), ITS_OWN)
  t.strictSame(faultsOf(t, { secret, ...own, redis: {} }).sort(), [...ITS_OWN, 'store cannot be given together with redis'])
  t.strictSame(faultsOf(t, { secret, csrf: false, origins: [] }), ['origins cannot be given together with csrf: false, which checks none'])
  const express = { get () {}, set () {}, destroy () {}, all () {} }
  for (const options of [{ maxSessionsPerUser: false }, { store: express }]) {
    t.strictSame(faultsOf(t, { secret, ...options, onLimit: 'reject' }), ['onLimit needs maxSessionsPerUser: there is no limit'])
  }
})

t.test('an option that a store of its own decides about is refused', async (t) => {
  const client = new Redis({ lazyConnect: true })
  const endless = new DropIn({ client, disableTTL: true })
  const untouched = new DropIn({ client, disableTouch: true })
  t.teardown(() => Promise.all([endless, untouched].map((store) => store.close())))
  const NEVER = 'cannot be given together with a store with disableTTL: its sessions never expire'
  for (const [name, value] of Object.entries({ idleTimeout: '1h', absoluteTimeout: '1d', remember: {}, assurance: 'aal2' })) {
    t.strictSame(faultsOf(t, { secret, store: endless, [name]: value }), [`${name} ${NEVER}`])
  }
  const touch = 'touchAfter cannot be given together with a store with disableTouch: it never extends a session'
  for (const touchAfter of [false, '5m']) t.strictSame(faultsOf(t, { secret, store: untouched, touchAfter }), [touch])
  t.match(resolveOptions({ secret, store: endless }), { touchAfterMs: 3 * 60_000, warnings: [{ message: /never expire/ }] })
  t.equal(resolveOptions({ secret, store: endless, touchAfter: '5m' }).touchAfterMs, 5 * 60_000)
  t.equal(resolveOptions({ secret, store: untouched }).touchAfterMs, false)
})

t.test('an unknown option is refused, also inside of another', async (t) => {
  t.strictSame(faultsOf(t, { secret, cookies: 'LEAKED' }), ['cookies is not an option'])
  t.strictSame(faultsOf(t, { secret, toString: 'LEAKED' }), ['toString is not an option'])
  for (const name of ['a/b', '~', '~1']) {
    t.strictSame(faultsOf(t, { secret, [name]: 'LEAKED', decorators: { [name]: 'LEAKED' } }), [`${name} is not an option`, `decorators.${name} is not an option`].sort())
  }
  t.strictSame(faultsOf(t, JSON.parse(`{ "secret": "${secret}", "__proto__": { "csrf": "LEAKED" } }`)), ['__proto__ is not an option'])
  t.strictSame(faultsOf(t, { secret, cookie: { expires: 'LEAKED', signed: 'LEAKED' }, remember: { me: 'LEAKED' }, decorators: { session: 'LEAKED' } }), [
    'cookie.expires is not an option: write absoluteTimeout for the end of a session that is in use', 'cookie.signed is not an option: the cookie is always signed. Leave it out', 'decorators.session is not an option', 'remember.me is not an option'
  ])
  t.strictSame(faultsOf(t, { secret, prefix: '/admin', logLevel: 'warn', logSerializers: {} }), [], 'but for those of register itself')
})

t.test('options that people bring from other libraries are refused at once, each with what to write', async (t) => {
  const theirs = {
    secret,
    resave: false,
    saveUninitialized: false,
    rolling: true,
    unset: 'destroy',
    proxy: true,
    name: 'LEAKED',
    genid: () => 'LEAKED',
    idGenerator: () => 'LEAKED',
    cookiePrefix: 's:',
    algorithm: 'LEAKED',
    ttl: 5,
    maxAge: 5,
    client: 'LEAKED',
    key: Buffer.alloc(32),
    salt: 'LEAKED',
    expiry: 5,
    sessionName: 'LEAKED',
    cookieOptions: { path: 'LEAKED' },
    prefix: 'LEAKED:',
    cookie: { secure: 'auto', sameSite: true, expires: new Date(), signed: true }
  }
  const TIMEOUTS = 'write idleTimeout, and absoluteTimeout for the end of a session that is in use. A number is in milliseconds'
  const NO = 'is not an option: '
  t.strictSame(faultsOf(t, theirs), [
    `algorithm ${NO}cookies are signed with HMAC-SHA-256. Leave it out`,
    `client ${NO}write redis`,
    `cookie.expires ${NO}write absoluteTimeout for the end of a session that is in use`,
    'cookie.sameSite must be "lax" or "strict" or "none": "strict" is what true means elsewhere',
    'cookie.secure must be true or false: \'auto\' sends the cookie over plain http to whoever asks',
    `cookie.signed ${NO}the cookie is always signed. Leave it out`,
    `cookieOptions ${NO}write cookie`,
    `cookiePrefix ${NO}leave it out. Sessions whose cookiePrefix was 's:' are taken over with adopt: 'express-session'`,
    `expiry ${NO}${TIMEOUTS}`,
    `genid ${NO}ids are of the package's own making. Leave it out`,
    `idGenerator ${NO}ids are of the package's own making. Leave it out`,
    `key ${NO}write secret, of 32 characters or more`,
    `maxAge ${NO}${TIMEOUTS}`,
    `name ${NO}write cookieName`,
    `prefix ${NO}write keyPrefix. The prefix that Fastify takes begins with /`,
    `proxy ${NO}set trustProxy in the options of Fastify`,
    `resave ${NO}a session is written when its data has changed. Leave it out`,
    `rolling ${NO}use extends a session, as touchAfter says (false: never)`,
    `salt ${NO}the secret is used without one. Leave it out`,
    `saveUninitialized ${NO}a session is stored when it gets data or a user, never before. Leave it out`,
    `sessionName ${NO}the session is request.session. For a second one register the plugin in another context`,
    'set it to false in development and use trustProxy behind a TLS proxy',
    `ttl ${NO}${TIMEOUTS}`,
    `unset ${NO}call app.logout(request) to end a session, or request.session.destroy()`
  ])
  const known = new Set(Object.keys(SessionOptionsSchema.properties))
  t.strictSame(Object.keys(theirs).filter((name) => known.has(name)), ['secret', 'cookie'])
})

t.test('a prefix that is none of routes was meant for the keys, and would sign everybody out', async (t) => {
  for (const prefix of ['sess:', 'app', 'app/']) t.strictSame(faultsOf(t, { secret, prefix }), ['prefix is not an option: write keyPrefix. The prefix that Fastify takes begins with /'])
  for (const prefix of ['', '/', '/v1', undefined]) t.strictSame(faultsOf(t, { secret, prefix }), [])
  t.equal((await bootFaults(t, { secret, prefix: 'sess:' })).length, 1)
})

t.test('a store of connect-redis is warned of, with what to write in its place', async (t) => {
  const client = new Redis({ lazyConnect: true })
  t.teardown(() => client.disconnect())
  const said = (store: unknown): string[] => resolveOptions({ secret, store }).warnings.map(({ message }) => message)
  t.match(said(new ConnectRedisStore({ client, prefix: 'app:' })), [/^store is one of connect-redis: .* finds nobody who signed in with another library\. Write redis .* keyPrefix .* adopt/])
  const own = new DropIn({ client })
  t.teardown(() => own.close())
  class RedisStore { get () {} set () {} destroy () {} }
  const hostile = { get () {}, set () {}, destroy () {}, get constructor () { throw new Error('LEAKED') } }
  for (const store of [own, new MemoryStore(), new RedisStore(), hostile, { get () {}, set () {}, destroy () {} }]) t.strictSame(said(store), [])
})

t.test('one cookieName beside adopt is warned of: the old cookie may have another', async (t) => {
  const said = (options: object): string[] => resolveOptions({ secret, redis: {}, ...options }).warnings.map(({ message }) => message)
  const warning = (name: string): string => `cookieName is one name, and the cookie of the application before is read under that alone: write [your name, its name], such as ['__Host-sid', '${name}']`
  t.strictSame(said({ adopt: '@fastify/session', cookieName: 'sid' }), [warning('sessionId')])
  t.strictSame(said({ adopt: 'express-session', cookieName: 'sessionId' }), [warning('connect.sid')])
  for (const options of [{ adopt: '@fastify/session' }, { adopt: '@fastify/session', cookieName: 'sessionId' }, { adopt: '@fastify/session', cookieName: ['sid'] }, { cookieName: 'sid' }]) t.strictSame(said(options), [])
})

t.test('a cookie.maxAge that stands alone is warned of: it is a hard end, and elsewhere use moves it', async (t) => {
  const said = (options: object): string[] => resolveOptions({ secret, ...options }).warnings.map(({ message }) => message)
  for (const maxAge of ['7d', 86_400_000]) {
    const [warning, ...others] = said({ cookie: { maxAge } })
    t.match(warning, /^cookie\.maxAge is how long the browser keeps the cookie, and use does not prolong it: .* write idleTimeout, .* absoluteTimeout$/)
    t.strictSame(others, [])
    for (const timeouts of [{ idleTimeout: '7d' }, { absoluteTimeout: '30d' }, { remember: { idleTimeout: '8d' } }]) t.strictSame(said({ cookie: { maxAge }, ...timeouts }), [])
  }
  for (const cookie of [{}, { maxAge: undefined }, { maxAge: false }]) t.strictSame(said({ cookie }), [])
})

t.test('secure: \'auto\' is refused with what to write instead', async (t) => {
  t.strictSame(faultsOf(t, { secret, cookie: { secure: 'auto' } }), [
    'cookie.secure must be true or false: \'auto\' sends the cookie over plain http to whoever asks', 'set it to false in development and use trustProxy behind a TLS proxy'
  ])
})

t.test('cookies that a browser would drop are refused', async (t) => {
  t.strictSame(faultsOf(t, { secret, cookie: { sameSite: 'none', secure: false } }), ['cookie.sameSite none needs cookie.secure'])
  t.strictSame(faultsOf(t, { secret, cookie: { partitioned: true, secure: false } }), ['cookie.partitioned needs cookie.secure'])
  t.strictSame(faultsOf(t, { secret, cookie: { sameSite: 'none', partitioned: true } }), [])
  for (const cookieName of ['__Host-sid', '__host-sid', ['__HOST-sid', 'sid']]) {
    for (const cookie of [{ secure: false }, { path: '/app' }, { domain: 'example.com' }]) {
      t.strictSame(faultsOf(t, { secret, cookieName, cookie }), ['cookieName __Host- needs cookie.secure, path / and no domain'])
    }
    t.strictSame(faultsOf(t, { secret, cookieName }), [])
  }
  t.strictSame(faultsOf(t, { secret, cookieName: '__Secure-sid', cookie: { secure: false } }), ['cookieName __Secure- needs cookie.secure'])
  t.strictSame(faultsOf(t, { secret, cookieName: '__Secure-sid', cookie: { domain: 'example.com', path: '/app' } }), [])
  for (const cookieName of ['__Host-Http-sid', '__HOST-http-sid']) {
    for (const cookie of [{ secure: false }, { path: '/app' }, { domain: 'example.com' }, { httpOnly: false }]) {
      t.strictSame(faultsOf(t, { secret, cookieName, cookie }), ['cookieName __Host-Http- needs cookie.secure, cookie.httpOnly, path / and no domain'])
    }
    t.strictSame(faultsOf(t, { secret, cookieName }), [])
  }
  for (const cookie of [{ secure: false }, { httpOnly: false }]) {
    t.strictSame(faultsOf(t, { secret, cookieName: '__http-sid', cookie }), ['cookieName __Http- needs cookie.secure and cookie.httpOnly'])
  }
  t.strictSame(faultsOf(t, { secret, cookieName: '__Http-sid', cookie: { domain: 'example.com', path: '/app' } }), [])
  t.strictSame(faultsOf(t, { secret, cookieName: '__Host-sid', cookie: { httpOnly: false } }), [], 'which only its name with Http- rules out')
  t.strictSame(faultsOf(t, { secret, cookieName: ['sid', '__Host-sid'], cookie: { secure: false } }), [], 'an older name is only read')
})

t.test('the cookie is called __Host-sid where that is possible', async (t) => {
  const nameWith = (cookie: SessionOptions['cookie']) => resolveOptions({ secret, cookie }).cookieNames
  t.strictSame(nameWith(undefined), ['__Host-sid'])
  t.strictSame(nameWith({ path: '/', sameSite: 'strict' }), ['__Host-sid'])
  for (const cookie of [{ secure: false }, { path: '/app' }, { domain: 'example.com' }]) t.strictSame(nameWith(cookie), ['sid'])
})

t.test('redis and store are not given together', async (t) => {
  t.strictSame(faultsOf(t, { secret, redis: 'redis://localhost', store: new MemoryStore() }), ['store cannot be given together with redis'])
})

t.test('production does not start without a place for its sessions', async (t) => {
  environment(t, 'production')
  t.strictSame(await bootFaults(t, { secret }), ['pass store: new MemoryStore() to keep sessions in memory on purpose', 'redis is required in production'])
  t.strictSame(await bootFaults(t, { secret, redis: undefined, store: undefined }), ['pass store: new MemoryStore() to keep sessions in memory on purpose', 'redis is required in production'])
  t.strictSame(await bootFaults(t, { secret, store: new MemoryStore() }), [])
})

t.test('elsewhere memory will do, with one warning', async (t) => {
  const warnings = async (options: Partial<SessionOptions>) => (await startApp(t, options)).lines.filter(({ level }) => level === 40).map(({ msg }) => msg)
  for (const name of [undefined, 'development', 'test']) {
    environment(t, name)
    t.strictSame(await warnings({}), ['sessions are kept in this process\'s memory and end with it: set the redis option'])
  }
  t.strictSame(await warnings({ store: new MemoryStore() }), [], 'none when it was meant')
})

t.test('a short older secret is warned about, once and without it', async (t) => {
  const { lines } = await startApp(t, { store: new MemoryStore(), secret: [secret, 'LEAKED', 'also short'] })
  t.strictSame(lines.filter(({ level }) => level >= 40).map(({ msg }) => msg), ['an older secret has fewer than 32 characters: remove it as soon as its sessions have ended'])
  t.notMatch(JSON.stringify(lines), 'LEAKED')
})

t.test('a cookie that scripts can read is warned about', async (t) => {
  const { lines } = await startApp(t, { store: new MemoryStore(), cookie: { secure: false, httpOnly: false } })
  t.strictSame(lines.filter(({ level }) => level >= 40).map(({ msg }) => msg), ['cookie.httpOnly is false: any script in a page can read the session'])
})

t.test('deviceBound is off unless it is wanted, and each member has its default', (t) => {
  const bound = (deviceBound: unknown) => resolveOptions({ secret, deviceBound }).deviceBound
  for (const off of [false, undefined]) t.equal(bound(off), null)
  const defaults = { maxAgeMs: 600_000, required: null, graceMs: 60_000, revokes: false, bindExisting: true, asks: true, path: null }
  for (const on of [true, {}, { maxAge: undefined, required: undefined, grace: undefined, onMismatch: undefined, bindExisting: undefined, ask: undefined, path: undefined }]) t.strictSame(bound(on), defaults)
  const required = (userId: string): boolean => userId === 'ada'
  t.strictSame(bound({ maxAge: '1h', required, grace: 0, onMismatch: 'revoke', bindExisting: false, ask: false, path: '/auth/device.v1_x~-' }), {
    maxAgeMs: 3_600_000, required, graceMs: 0, revokes: true, bindExisting: false, asks: false, path: '/auth/device.v1_x~-'
  })
  t.equal(bound({ maxAge: '5m' })?.maxAgeMs, 300_000)
  t.equal(bound({ required: false })?.required, null)
  t.equal(bound({ required: true })?.required?.('anybody'), true)
  t.equal(bound({ required: true, grace: '1h' })?.graceMs, 3_600_000)
  t.end()
})

t.test('what deviceBound cannot have is a boot error, which says why', (t) => {
  const faults = (options: object): string[] => faultsOf(t, { secret, deviceBound: true, ...options })
  const alone = (name: string, why: string): string[] => [`deviceBound cannot be given together with ${name}: ${why}`]
  t.strictSame(faults({ cookie: { domain: 'leaked.example' } }), alone('cookie.domain', 'browsers renew its short cookie for one host alone'))
  t.strictSame(faults({ cookie: { partitioned: true } }), alone('cookie.partitioned', 'browsers bind no such cookies'))
  t.strictSame(faults({ redis: 'redis://127.0.0.1', expressSession: 'share' }), alone('expressSession share', 'an Express app does not check it'))
  const unbinding = Object.fromEntries(['now', 'find', 'begin', 'replace', 'move', 'update', 'touch', 'delete', 'ping', 'close'].map((name) => [name, () => {}]))
  // All that a check at boot looks at.
  const store = { ...unbinding, events: {} } as unknown as MemoryStore
  t.strictSame(faults({ store }), ['deviceBound needs a store that keeps the keys of devices: this one has no bind()'])
  t.strictSame(faults({ store: { ...store, bind () {} } }), [])
  for (const binds of [{}, { store: new MemoryStore() }, { store: { get () {}, set () {}, destroy () {} } }, { redis: 'redis://127.0.0.1' }, { redis: 'redis://127.0.0.1', adopt: '@fastify/session' }]) t.strictSame(faults(binds), [])
  t.strictSame(faults({ deviceBound: { LEAKE: 1, maxage: '10m' } }), ['deviceBound.LEAKE is not an option', 'deviceBound.maxage is not an option'])
  t.strictSame(faults({ deviceBound: { grace: '2m' } }), ['deviceBound.grace needs deviceBound.required: otherwise no session has to be bound'])
  for (const grace of ['61m', '1d']) t.strictSame(faults({ deviceBound: { required: true, grace } }), ['deviceBound.grace must be at most 1h'])
  t.strictSame(faults({ cookie: { secure: false, domain: 'leaked.example' }, deviceBound: { maxAge: '1m', required: true } }), [
    ...alone('cookie.domain', 'browsers renew its short cookie for one host alone'), 'deviceBound.maxAge must be from 5m to 1h', 'deviceBound.required needs cookie.secure: browsers bind sessions over https alone'
  ], 'all at once')
  t.end()
})

t.test('forks are noticed only where use is written down, and by a store that keeps twins', async (t) => {
  const faults = (options: object): unknown => faultsOf(t, { secret, store: new MemoryStore(), forkDetection: true, ...options })
  t.strictSame(faults({ touchAfter: false }), ['forkDetection needs touchAfter: forks are noticed when use is written down'])
  for (const options of [{ touchAfter: 0 }, { idleTimeout: '1m' }, { forkDetection: {} }]) t.strictSame(resolveOptions({ secret, store: new MemoryStore(), forkDetection: true, ...options }).forkDetection, { onFork: 'report' })
  t.equal(resolveOptions({ secret, store: new MemoryStore(), forkDetection: false }).forkDetection, null)
  const store = new MemoryStore()
  const without = new Proxy(store, { has: (target, name) => name !== 'advance' && name in target })
  t.strictSame(faults({ store: without }), ['forkDetection needs a store that keeps twins: this one has no advance()'])
  t.strictSame(faults({ store: undefined, redis: {}, expressSession: 'share' }), ['forkDetection cannot be given together with expressSession share: an Express app does not check it'])
  t.ok(resolveOptions({ secret, store: { get () {}, set () {}, destroy () {} }, forkDetection: true }).forkDetection, 'a store for express-session needs nothing')
})

t.test('deviceBound over plain http is a warning, and a boot error where sessions have to be bound', async (t) => {
  const plain = { store: new MemoryStore(), cookie: { secure: false } }
  const warned = async (deviceBound: SessionOptions['deviceBound'], options: Partial<SessionOptions> = plain): Promise<unknown[]> => {
    return (await startApp(t, { ...options, deviceBound })).lines.filter(({ msg }) => msg.includes('deviceBound')).map(({ level, msg }) => [level, msg])
  }
  const WARNING = [[40, 'deviceBound has no effect without cookie.secure: browsers bind sessions over https alone']]
  t.strictSame(await warned(true), WARNING)
  t.strictSame(await warned({ required: false }), WARNING)
  t.strictSame(await warned(false), [])
  t.strictSame(await warned({ required: true }, { store: plain.store, cookie: { secure: true } }), [])
  for (const required of [true, () => true]) {
    t.strictSame(faultsOf(t, { secret, ...plain, deviceBound: { required } }), ['deviceBound.required needs cookie.secure: browsers bind sessions over https alone'])
  }
})

t.test('ends are remembered from a minute to 30 days, by a store that can do that', async (t) => {
  for (const endedFor of ['1m', '1h', '30d', 60_000]) t.strictSame(faultsOf(t, { secret, endedFor }), [])
  t.equal(resolveOptions({ secret, endedFor: '1h' }).endedForMs, 3_600_000)
  for (const endedFor of ['59s', '31d', 1]) t.strictSame(faultsOf(t, { secret, endedFor }), ['endedFor must be from 1m to 30d'])
  const { ended: _ended, ...forgetful } = Object.fromEntries(['now', 'find', 'begin', 'replace', 'move', 'update', 'touch', 'delete', 'ping', 'close', 'ended'].map((name) => [name, () => {}]))
  const store = { ...forgetful, events: {} } as unknown as MemoryStore
  t.strictSame(faultsOf(t, { secret, store, endedFor: '1h' }), ['endedFor needs a store that remembers ends: this one has no ended()'])
  t.strictSame(faultsOf(t, { secret, store: { get () {}, set () {}, destroy () {} }, endedFor: '1h' }), ['endedFor needs a store that remembers ends: this one has no ended()'])
  t.strictSame(faultsOf(t, { secret, redis: 'redis://127.0.0.1', expressSession: 'share', assurance: 'aal2' }), ['assurance cannot be given together with expressSession share: Express says how long sessions live'])
  t.strictSame(faultsOf(t, { secret, redis: 'redis://127.0.0.1', expressSession: 'share', endedFor: '1h' }), ['endedFor cannot be given together with expressSession share'])
})

t.test('these are the defaults', async (t) => {
  const defaults = {
    secrets: [secret],
    redis: undefined,
    store: undefined,
    keyPrefix: 'sess:',
    durability: 'default',
    events: 'broadcast',
    encryption: null,
    nearCache: null,
    cookieNames: ['__Host-sid'],
    cookie: { secure: true, sameSite: 'lax', httpOnly: true, path: '/', domain: undefined, partitioned: false },
    cookieMaxAgeMs: null,
    idleTimeoutMs: 30 * 60_000,
    absoluteTimeoutMs: 7 * 24 * 3_600_000,
    remember: { idleTimeoutMs: 30 * 24 * 3_600_000, absoluteTimeoutMs: 90 * 24 * 3_600_000 },
    touchAfterMs: null,
    longest: { idleTimeoutMs: Infinity, absoluteTimeoutMs: Infinity },
    userIdFrom: null,
    dataSchema: null,
    maxDataSize: 65_536,
    knownDevicesMs: null,
    origins: [],
    csrf: true,
    bearer: false,
    adopt: null,
    expressSession: null,
    limit: { max: 1000, evicts: true },
    endedForMs: null,
    deviceBound: null,
    forkDetection: null,
    attempts: { network: { max: 100, withinMs: 15 * 60_000 }, accountNetwork: { max: 10, withinMs: 15 * 60_000 }, account: { max: 50, withinMs: 30 * 24 * 3_600_000 } },
    securityLog: null,
    pages: { login: '/login', home: '/' },
    decorators: { authenticate: 'authenticate', login: 'login', logout: 'logout', attemptLogin: 'attemptLogin', requireRecentLogin: 'requireRecentLogin', requireDeviceBound: 'requireDeviceBound', authenticatePage: 'authenticatePage', guestOnly: 'guestOnly', takeReturnPath: 'takeReturnPath', sessions: 'sessions', auth: 'auth', requireAuth: 'requireAuth' },
    warnings: []
  }
  t.strictSame(resolveOptions({ secret }), defaults)
  const absent = Object.fromEntries(Object.keys(defaults).map((name) => [name, undefined]))
  const { secrets, cookieNames, cookieMaxAgeMs, idleTimeoutMs, absoluteTimeoutMs, touchAfterMs, longest, dataSchema, knownDevicesMs, limit, endedForMs, warnings, ...names } = absent
  const members = (object: object) => Object.fromEntries(Object.keys(object).map((name) => [name, undefined]))
  t.strictSame(resolveOptions({
    ...names,
    secret,
    cookieName: undefined,
    idleTimeout: undefined,
    absoluteTimeout: undefined,
    touchAfter: undefined,
    maxSessionsPerUser: undefined,
    onLimit: undefined,
    cookie: { ...members(defaults.cookie), maxAge: undefined },
    remember: { idleTimeout: undefined, absoluteTimeout: undefined },
    pages: { login: undefined, home: undefined },
    decorators: members(defaults.decorators)
  }), defaults, 'undefined is absent, for every option')
})

t.test('an assurance level shortens the defaults, and refuses what is longer', async (t) => {
  const [MINUTE, HOUR] = [60_000, 3_600_000]
  const { remember, ...aal2 } = resolveOptions({ secret, assurance: 'aal2' })
  t.match(aal2, { idleTimeoutMs: 30 * MINUTE, absoluteTimeoutMs: 24 * HOUR })
  t.strictSame(remember, { idleTimeoutMs: HOUR, absoluteTimeoutMs: 24 * HOUR })
  t.match(resolveOptions({ secret, assurance: 'aal3' }), { idleTimeoutMs: 15 * MINUTE, absoluteTimeoutMs: 12 * HOUR, remember: { idleTimeoutMs: 15 * MINUTE, absoluteTimeoutMs: 12 * HOUR } })
  t.match(resolveOptions({ secret, assurance: 'aal2', idleTimeout: '1h', absoluteTimeout: '24h' }), { idleTimeoutMs: HOUR, absoluteTimeoutMs: 24 * HOUR })
  t.strictSame(faultsOf(t, { secret, assurance: 'aal2', idleTimeout: HOUR + 1, absoluteTimeout: '25h', remember: { idleTimeout: '2h', absoluteTimeout: '30d' } }), [
    'absoluteTimeout must not be longer than 1440 minutes for assurance aal2',
    'idleTimeout must not be longer than 60 minutes for assurance aal2',
    'remember.absoluteTimeout must not be longer than 1440 minutes for assurance aal2',
    'remember.idleTimeout must not be longer than 60 minutes for assurance aal2'
  ])
  t.strictSame(faultsOf(t, { secret, assurance: 'aal3', absoluteTimeout: '13h' }), ['absoluteTimeout must not be longer than 720 minutes for assurance aal3'])
})

t.test('an assurance level holds for single sessions, too', async (t) => {
  const app = await startApp(t, { store: new MemoryStore(), assurance: 'aal3' })
  app.post<{ Body: object }>('/login', async (request) => await app.login(request, { id: 'ada' }, request.body as LoginOptions))
  for (const [payload, status] of [[{}, 200], [{ remember: true }, 200], [{ idleTimeout: '15m', absoluteTimeout: '12h' }, 200], [{ idleTimeout: '16m' }, 500], [{ absoluteTimeout: '13h' }, 500]] as const) {
    t.equal((await app.inject({ method: 'POST', url: '/login', payload })).statusCode, status, JSON.stringify(payload))
  }
  for (const session of await app.sessions.listByUser('ada')) t.ok(session.expiresAt - session.createdAt <= 15 * 60_000)
  await t.rejects(app.sessions.create({ userId: 'ada', idleTimeout: '16m' }), { name: 'TypeError', message: 'idleTimeout is longer than the assurance option allows' })
  await t.rejects(app.sessions.create({ userId: 'ada', absoluteTimeout: '13h' }), { name: 'TypeError', message: 'absoluteTimeout is longer than the assurance option allows' })
})

t.test('a schema of session data is one of TypeBox, and knows its formats', async (t) => {
  const OBJECT = 'sessionSchema must be a Type.Object(…) of @sinclair/typebox: it declares which data is kept'
  const ofStandard = { '~standard': { version: 1, vendor: 'test', validate: (value: unknown) => ({ value }) } }
  for (const sessionSchema of [null, 'LEAKED', {}, [], Type.String(), { type: 'object', properties: {} }, () => {}, ofStandard, Object.assign(() => {}, ofStandard)]) t.strictSame(faultsOf(t, { secret, sessionSchema }), [OBJECT])
  t.strictSame(faultsOf(t, { secret, sessionSchema: Type.Object({ mail: Type.Optional(Type.Array(Type.String({ format: 'email' }))) }) }), ['sessionSchema uses the format "email", which TypeBox has to be told of: FormatRegistry.Set(…)'])
  for (const migrate of [null, 'LEAKED', {}]) t.strictSame(faultsOf(t, { secret, sessionSchema: Type.Object({}), migrate }), ['migrate must be a function'])
  t.strictSame(faultsOf(t, { secret, migrate: () => ({}) }), ['migrate goes with sessionSchema'])
})

t.test('encryption is asked for in full', async (t) => {
  t.strictSame(faultsOf(t, { secret, encryption: { keys: [secret], acceptPlain: 'LEAKED' } }), ['encryption.acceptPlain must be true or false'])
  t.strictSame(faultsOf(t, { secret, encryption: { keys: [secret], key: 'LEAKED' } }), ['encryption.key is not an option'])
  t.strictSame(faultsOf(t, { secret, encryption: {} }), ['encryption.keys must be an array of strings'])
})

t.test('sessions per user are limited where the store knows which they are, and elsewhere where it is said', async (t) => {
  const express = { get () {}, set () {}, destroy () {}, all () {} }
  const limitOf = (options: object) => resolveOptions({ secret, ...options }).limit
  for (const options of [{}, { store: new MemoryStore() }, { redis: 'redis://127.0.0.1' }]) {
    t.strictSame(limitOf(options), { max: 1000, evicts: true })
    t.strictSame(limitOf({ ...options, onLimit: 'reject' }), { max: 1000, evicts: false })
    t.strictSame(limitOf({ ...options, maxSessionsPerUser: 3 }), { max: 3, evicts: true })
    t.equal(limitOf({ ...options, maxSessionsPerUser: false }), null)
  }
  t.equal(limitOf({ store: express }), null)
  t.strictSame(limitOf({ store: express, maxSessionsPerUser: 3 }), { max: 3, evicts: true })
  for (const maxSessionsPerUser of [0, -1, 1.5, NaN, '3', true, null]) {
    t.strictSame(faultsOf(t, { secret, maxSessionsPerUser }), ['maxSessionsPerUser must be an integer of 1 or more, or false'])
  }
})

t.test('a limit on failed logins is a number and a duration, or none', async (t) => {
  const limitsOf = (attempts: unknown) => resolveOptions({ secret, attempts }).attempts
  const { attempts: defaults } = resolveOptions({ secret })
  t.equal(limitsOf(false), null)
  t.strictSame(limitsOf({}), defaults)
  t.strictSame(limitsOf({ network: false, account: { max: 20 }, accountNetwork: { within: '1h' } }), { network: null, account: { ...defaults?.account, max: 20 }, accountNetwork: { ...defaults?.accountNetwork, withinMs: 3_600_000 } })
  for (const name of ['network', 'accountNetwork', 'account']) {
    for (const max of [0, -1, 1.5, 1001, Infinity, NaN, '5', null, 'LEAKED']) t.strictSame(faultsOf(t, { secret, attempts: { [name]: { max } } }), [`attempts.${name}.max must be an integer from 1 to 1000`])
    for (const within of ['LEAKED', '', NaN]) t.strictSame(faultsOf(t, { secret, attempts: { [name]: { within } } }), [`attempts.${name}.within ${DURATION}`])
    t.strictSame(faultsOf(t, { secret, attempts: { [name]: { within: 0 } } }), [`attempts.${name}.within must be positive`])
    t.strictSame(faultsOf(t, { secret, attempts: { [name]: { LEAKE: 1 } } }), [`attempts.${name}.LEAKE is not an option`])
  }
  t.strictSame(faultsOf(t, { secret, attempts: { ip: 5 } }), ['attempts.ip is not an option'])
})

t.test('sessions of another library are taken over from Redis, and its cookie is read by its default name', async (t) => {
  const redis = 'redis://localhost'
  const names = (options: object) => resolveOptions({ secret, redis, ...options }).cookieNames
  t.strictSame(names({ adopt: 'express-session' }), ['__Host-sid', 'connect.sid'])
  t.strictSame(names({ adopt: '@fastify/session' }), ['__Host-sid', 'sessionId'])
  t.strictSame(names({ adopt: '@fastify/session', cookie: { secure: false } }), ['sid', 'sessionId'])
  t.strictSame(names({ adopt: '@fastify/session', cookieName: ['a', 'b'] }), ['a', 'b'])
  t.strictSame(names({ expressSession: 'adopt' }), ['__Host-sid', 'connect.sid'])
  t.match(resolveOptions({ secret, redis, expressSession: 'adopt' }), { adopt: 'express-session', expressSession: null })
  t.strictSame(faultsOf(t, { secret, adopt: '@fastify/session' }), ['adopt needs redis: that of the application before'])
  t.strictSame(faultsOf(t, { secret, expressSession: 'adopt' }), ['expressSession needs redis: that of the application before'])
  for (const expressSession of ['share', 'adopt']) t.strictSame(faultsOf(t, { secret, redis, adopt: 'express-session', expressSession }), ['expressSession cannot be given together with adopt'])
  t.strictSame(faultsOf(t, { secret, redis, adopt: '@fastify/session', encryption: { keys: [secret] } }), ['encryption cannot be given together with adopt: what is taken over is stored as it is'])
})

t.test('encryption is not for what an Express app reads as well', async (t) => {
  for (const expressSession of ['share', 'adopt'] as const) {
    t.strictSame(faultsOf(t, { secret, redis: 'redis://localhost', expressSession, encryption: { keys: [secret] } }), ['encryption cannot be given together with expressSession: an Express app reads what is stored'])
  }
})

t.test('what is given is taken', async (t) => {
  const store = new MemoryStore()
  const userIdFrom = () => 'ada'
  const resolved = resolveOptions({
    secret: [secret, 'older'.repeat(10)],
    store,
    cookieName: ['app', 'old'],
    cookie: { secure: true, sameSite: 'none', httpOnly: true, path: '/app', domain: '.example.com', partitioned: true, maxAge: false },
    idleTimeout: 60_000.9,
    absoluteTimeout: '2h',
    remember: { idleTimeout: '1d' },
    touchAfter: 0,
    userIdFrom,
    origins: ['https://app.example.com', 'http://localhost:3000', 'https://[::1]:8443'],
    pages: { login: '/account/login?lang=en' },
    decorators: { login: 'signIn', auth: '$auth' }
  })
  t.strictSame(resolved.pages, { login: '/account/login?lang=en', home: '/' })
  t.strictSame(resolved.secrets, [secret, 'older'.repeat(10)])
  t.equal(resolved.store, store)
  t.strictSame(resolved.cookieNames, ['app', 'old'])
  t.strictSame(resolved.cookie, { secure: true, sameSite: 'none', httpOnly: true, path: '/app', domain: '.example.com', partitioned: true })
  t.equal(resolved.cookieMaxAgeMs, false)
  t.equal(resolved.idleTimeoutMs, 60_000)
  t.equal(resolved.absoluteTimeoutMs, 7_200_000)
  t.strictSame(resolved.remember, { idleTimeoutMs: 86_400_000, absoluteTimeoutMs: 90 * 86_400_000 })
  t.equal(resolved.touchAfterMs, 0)
  t.equal(resolved.userIdFrom, userIdFrom)
  t.strictSame(resolved.origins, ['https://app.example.com', 'http://localhost:3000', 'https://[::1]:8443'])
  t.equal(resolveOptions({ secret, csrf: false }).csrf, false)
  t.strictSame(resolved.decorators, { authenticate: 'authenticate', login: 'signIn', logout: 'logout', attemptLogin: 'attemptLogin', requireRecentLogin: 'requireRecentLogin', requireDeviceBound: 'requireDeviceBound', authenticatePage: 'authenticatePage', guestOnly: 'guestOnly', takeReturnPath: 'takeReturnPath', sessions: 'sessions', auth: '$auth', requireAuth: 'requireAuth' })
  t.equal(resolveOptions({ secret, touchAfter: false }).touchAfterMs, false)
  t.equal(resolveOptions({ secret, cookie: { maxAge: '1d' } }).cookieMaxAgeMs, 86_400_000)
  t.strictSame(resolved.warnings, [])
})

t.test('whatever is given as options, the answer is options or one error that repeats nothing', async (t) => {
  const names = ['secret', 'redis', 'store', 'keyPrefix', 'cookieName', 'cookie', 'idleTimeout', 'absoluteTimeout', 'remember', 'touchAfter', 'userIdFrom', 'origins', 'csrf', 'attempts', 'pages', 'decorators', 'prefix']
  const members = ['secure', 'sameSite', 'httpOnly', 'path', 'domain', 'partitioned', 'maxAge', 'idleTimeout', 'absoluteTimeout', 'authenticate', 'login', 'auth', 'network', 'account', 'max', 'cluster', '__proto__', 'a/b']
  const marker = fc.string({ unit: 'binary' }).map((text) => `LEAKED${text}`)
  const anything = fc.oneof(
    fc.anything({ withBigInt: true, withBoxedValues: true, withDate: true, withMap: true, withNullPrototype: true, withObjectString: true, withSet: true, withSparseArray: true, withTypedArray: true }),
    marker,
    fc.constant(secret),
    fc.constantFrom('30m', 'redis://localhost', '/', 'lax', 'https://app.example.com', 1000, true, Symbol('LEAKED'), () => 'LEAKED', new MemoryStore()),
    fc.array(fc.oneof(marker, fc.anything()))
  )
  const nested = fc.dictionary(fc.oneof(fc.constantFrom(...members), fc.string()), anything)
  const input = fc.oneof(anything, fc.dictionary(fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...names) }, fc.string()), fc.oneof(anything, nested)))
  const outcomes = { resolved: 0, refused: 0 }
  fc.assert(fc.property(input, (options) => {
    try {
      resolveOptions(options)
      outcomes.resolved++
    } catch (error) {
      const { code, message } = error as { code?: unknown, message: string }
      if (code !== 'ERR_SESSION_INVALID_OPTIONS') throw error
      if (message.includes('LEAKED')) throw new Error(`a value is repeated: ${message}`)
      outcomes.refused++
    }
  }), { numRuns: 3000 })
  t.ok(outcomes.refused > 0)
})

t.test('a name that the application has already is a boot error, and renaming solves it', async (t) => {
  const taken = (app: FastifyInstance) => {
    // What an application puts there is of other types than ours.
    const theirs = app as unknown as Record<'decorate' | 'decorateRequest', (name: string, value: unknown) => void>
    for (const name of ['authenticate', 'login', 'logout']) theirs.decorate(name, 'theirs')
    for (const name of ['auth', 'requireAuth']) theirs.decorateRequest(name, 'theirs')
  }
  t.strictSame(await bootFaults(t, { secret }, taken), ['decorators: app.authenticate, app.login, app.logout, request.auth, request.requireAuth exist already', 'give the decorator another name here'])
  t.strictSame(await bootFaults(t, { secret }, (app) => { app.decorateRequest('auth', null) }), ['decorators: request.auth exists already', 'give the decorator another name here'])
  const app = application(t)
  taken(app)
  await app.register(sessionPlugin, {
    secret, cookie: { secure: false }, decorators: { authenticate: 'guard', login: 'signIn', logout: 'signOut', requireRecentLogin: 'recent', requireDeviceBound: 'onDevice', sessions: 'logins', auth: 'who', requireAuth: 'requireWho' }
  })
  const renamed = app as unknown as { guard: typeof app.authenticate, signIn: typeof app.login, signOut: typeof app.logout, login: unknown }
  app.post('/in', async (request) => await renamed.signIn(request, { id: 'ada' }))
  app.post('/out', async (request) => { await renamed.signOut(request) })
  app.get('/me', { preHandler: renamed.guard }, async (request) => {
    const { who, requireWho, auth } = request as unknown as { who: { userId: string }, requireWho: () => { userId: string }, auth: unknown }
    return [who.userId, requireWho.call(request).userId, auth, renamed.login]
  })
  const ada = new Browser(app)
  t.equal((await ada.get('/me')).statusCode, 401)
  t.equal((await ada.post('/in')).statusCode, 200)
  t.strictSame((await ada.get('/me')).json(), ['ada', 'ada', 'theirs', 'theirs'])
  t.equal((await ada.post('/out')).statusCode, 200)
  t.equal((await ada.get('/me')).statusCode, 401)
})

t.test('a timeout of less than a minute as a bare number is warned of, as it is in milliseconds', async (t) => {
  const said = (options: object): string[] => resolveOptions({ secret, ...options }).warnings.map(({ message }) => message)
  const warningOf = (name: string): string => `${name} is a number, which means milliseconds, and less than a minute: where seconds or minutes are meant, say so in a string such as '30m'`
  t.strictSame(said({ idleTimeout: 30, absoluteTimeout: 59_999 }), ['idleTimeout', 'absoluteTimeout'].map(warningOf))
  t.strictSame(said({ remember: { idleTimeout: 3_600, absoluteTimeout: 90_000 }, cookie: { maxAge: 1 } }), ['remember.idleTimeout', 'cookie.maxAge'].map(warningOf))
  t.strictSame(said({ idleTimeout: 60_000, absoluteTimeout: 86_400_000, cookie: { maxAge: false }, remember: {} }), [])
  t.strictSame(said({ idleTimeout: '30s', absoluteTimeout: '59s', cookie: { maxAge: '1s' } }), [], 'who says seconds means them')
  t.strictSame(said({ touchAfter: 0, nearCache: { maxStale: 1_000 } }), [], 'which are short as a rule')
  const warned = await siblingWarnings(t, { idleTimeout: 1_800 })
  t.strictSame(warned, [warningOf('idleTimeout')], 'at boot')
})

t.test('timeouts that lead to a cookie of more than 400 days are warned of, but not those of bearer tokens', async (t) => {
  const said = (options: object): string[] => resolveOptions({ secret, ...options }).warnings.map(({ message }) => message)
  const warningOf = (name: string): string => `${name} leads to a cookie of more than 400 days, and browsers keep none longer: write '400d' at most, or cookie.maxAge: '400d' where sessions are to outlive it`
  const [ordinary, remembered] = [warningOf('absoluteTimeout'), warningOf('remember.absoluteTimeout')]
  const [long, remember] = [{ absoluteTimeout: '401d' }, { absoluteTimeout: '2y' }]
  t.strictSame(said(long), [ordinary])
  t.strictSame(said({ idleTimeout: '500d', absoluteTimeout: '500d' }), [ordinary])
  t.strictSame(said({ remember }), [remembered])
  t.strictSame(said({ ...long, remember, cookie: { maxAge: '500d' } }), [ordinary, remembered])
  t.strictSame(said({ ...long, remember, cookie: { maxAge: false } }), [remembered], 'with remember the cookie lasts')
  for (const options of [{ absoluteTimeout: '400d', remember: { absoluteTimeout: '400d' } }, { ...long, remember, cookie: { maxAge: '400d' } }, { idleTimeout: '1h', cookie: { maxAge: '2y' } }]) {
    t.strictSame(said(options), [], 'no cookie is longer')
  }
  t.strictSame(said({ ...long, remember, bearer: true }), [])
  t.strictSame(said({ ...long, bearer: true, cookie: { maxAge: false } }), [])
  t.strictSame(said({ ...long, bearer: true, cookie: { maxAge: '2y' } }), [ordinary], 'which says that cookies are meant')
  t.strictSame(await siblingWarnings(t, long), [ordinary], 'at boot')
})

t.test('a timeout that is days in seconds is warned of, as it is in milliseconds', async (t) => {
  const said = (options: object): string[] => resolveOptions({ secret, ...options }).warnings.map(({ message }) => message)
  const warningOf = (name: string): string => `${name} is a number, which means milliseconds, and looks like days in seconds: where seconds or minutes are meant, say so in a string such as '30m'`
  const DAY = 86_400
  for (const days of [1, 7, 14, 30, 90]) t.strictSame(said({ idleTimeout: days * DAY }), [warningOf('idleTimeout')])
  t.strictSame(said({ idleTimeout: '1m', absoluteTimeout: DAY, cookie: { maxAge: 30 * DAY }, remember: { idleTimeout: DAY, absoluteTimeout: 365 * DAY } }), [
    'absoluteTimeout', 'remember.idleTimeout', 'remember.absoluteTimeout', 'cookie.maxAge'
  ].map(warningOf))
  for (const ms of [90_000, 36 * 60_000, 3 * 3_600_000, 1_000 * DAY]) t.strictSame(said({ idleTimeout: ms }), [], 'which is meant')
})

t.test('two decorators cannot have one name', async (t) => {
  for (const decorators of [{ login: 'logout' }, { authenticate: 'x', logout: 'x' }, { auth: 'requireAuth' }, { auth: 'session' }, { requireAuth: 'session' }]) {
    t.strictSame(faultsOf(t, { secret, decorators }), ['decorators must differ'])
  }
  t.strictSame(faultsOf(t, { secret, decorators: { login: 'auth', auth: 'login' } }), [], 'but on the instance and on the request')
})

t.test('a name of Fastify\'s own is refused', async (t) => {
  for (const [decorators, name] of [[{ login: 'register' }, 'app.register'], [{ auth: 'body' }, 'request.body'], [{ auth: 'log' }, 'request.log'], [{ login: '__proto__' }, 'app.__proto__'], [{ logout: 'constructor' }, 'app.constructor']] as const) {
    t.strictSame(await bootFaults(t, { secret, decorators }), [`decorators: ${name} exists already`, 'give the decorator another name here'])
  }
})

t.test('the plugin is not registered twice in one context, nor below itself', async (t) => {
  const twice = ['decorators: app.authenticate, app.login, app.logout, app.attemptLogin, app.requireRecentLogin, app.requireDeviceBound, app.authenticatePage, app.guestOnly, app.takeReturnPath, app.sessions, request.session, request.auth, request.requireAuth exist already', 'do not register another session plugin, or this one twice, in one context']
  const again = async (context: FastifyInstance) => { await context.register(sessionPlugin, { secret, cookieName: 'other' }) }
  for (const where of [again, async (context: FastifyInstance) => { await context.register(again) }]) {
    const app = await startApp(t)
    t.strictSame(await where(app).then(() => [], (error: unknown) => told(t, error)), twice)
  }
})

/** Registers the plugin in sibling contexts, as admins beside customers, and gives the boot errors. */
async function siblings (t: Test, ...registrations: Array<Partial<SessionOptions>>): Promise<string[]> {
  return await siblingsIn(t, application(t), registrations)
}

/** The same, and gives what is warned of. */
async function siblingWarnings (t: Test, ...registrations: Array<Partial<SessionOptions>>): Promise<string[]> {
  const lines: Array<{ level: number, msg: string }> = []
  const app = Fastify({ logger: { stream: { write: (text: string) => { lines.push(JSON.parse(text)) } } } }) as unknown as FastifyInstance
  t.teardown(() => app.close())
  t.strictSame(await siblingsIn(t, app, registrations.map((options) => ({ store: new MemoryStore(), ...options }))), [])
  return lines.filter(({ level }) => level >= 40).map(({ msg }) => msg)
}

async function siblingsIn (t: Test, app: FastifyInstance, registrations: Array<Partial<SessionOptions>>): Promise<string[]> {
  for (const options of registrations) {
    app.register(async (child) => {
      await child.register(sessionPlugin, { secret, cookie: { secure: false }, ...options })
    })
  }
  try {
    await app.ready()
  } catch (error) {
    return told(t, error)
  }
  return []
}

t.test('two siblings cannot write the same cookie', async (t) => {
  const fault = ['cookieName is that of another registration: signing in at one would sign out of the other']
  t.strictSame(await siblings(t, {}, {}), fault)
  t.strictSame(await siblings(t, { cookieName: 'admin' }, { cookieName: ['admin', 'sid'] }), fault)
  t.strictSame(await siblings(t, { cookie: { domain: 'a.example' } }, { cookie: { domain: 'a.example' } }), fault)
  t.strictSame(await siblings(t, { cookieName: 'admin' }, {}), [])
  t.strictSame(await siblings(t, { cookie: { secure: false, path: '/a' } }, { cookie: { secure: false, path: '/b' } }), [])
  t.strictSame(await siblings(t, { cookieName: 'a' }, { cookieName: 'b' }, { cookieName: 'a' }), fault)
})

t.test('two siblings cannot have cookies of one name under paths of which one lies in the other', async (t) => {
  const fault = ['cookieName is that of another registration: signing in at one would sign out of the other']
  const pair = (one: string, other: string) => siblings(t, { cookie: { secure: false, path: one } }, { cookie: { secure: false, path: other } })
  const found = await Promise.all(['/ /admin', '/admin /', '/admin /admin/', '/admin/ /admin/users', '/a/b/c /a'].map(async (each) => await pair(...each.split(' ') as [string, string])))
  t.strictSame(found, Array.from({ length: 5 }, () => fault))
  t.strictSame(await pair('/admin', '/administration'), [], 'which is a path of its own')
  t.strictSame(await pair('/a/b', '/a/c'), [])
  t.strictSame(await siblings(t, { cookieName: 'admin', cookie: { secure: false, path: '/admin' } }, {}), [], 'with another name')
})

t.test('two siblings cannot have a cookie in common of which one still reads the other\'s, or both an older one', async (t) => {
  const fault = ['cookieName is that of another registration: signing in at one would sign out of the other']
  t.strictSame(await siblings(t, { cookieName: ['admin', 'sid'] }, { cookieName: 'sid' }), fault)
  t.strictSame(await siblings(t, { cookieName: 'sid' }, { cookieName: ['admin', 'older', 'sid'] }), fault)
  t.strictSame(await siblings(t, { cookieName: ['admin', 'sid'] }, { cookieName: ['customer', 'sid'] }), fault, 'each takes it back where it signs in')
  t.strictSame(await siblings(t, { cookieName: ['admin', 'SID'] }, { cookieName: 'sid' }), [], 'which is another name')
  t.strictSame(await siblings(t, { cookieName: ['admin', 'sid'], cookie: { secure: false, path: '/a' } }, { cookie: { secure: false, path: '/b' } }), [])
})

t.test('one domain is the same with a dot before it and in capitals', async (t) => {
  const fault = ['cookieName is that of another registration: signing in at one would sign out of the other']
  t.strictSame(await siblings(t, { cookie: { domain: '.shop.example' } }, { cookie: { domain: 'Shop.Example' } }), fault)
})

t.test('a cookie of a domain beside one of this host alone, or of a domain in that, is warned of where their names are one', async (t) => {
  const warning = ['cookieName is that of another registration, of another cookie.domain: on a host that is reached by both, browsers send two cookies of one name, which is no session. Give each a cookieName of its own']
  const name = 'sid'
  const of = (domain?: string, more: object = {}) => ({ cookieName: name, cookie: { ...domain !== undefined && { domain }, ...more } })
  t.strictSame(await siblingWarnings(t, of(), of('shop.example')), warning)
  t.strictSame(await siblingWarnings(t, of('shop.example'), of()), warning)
  t.strictSame(await siblingWarnings(t, of('shop.example'), of('admin.shop.example')), warning)
  t.strictSame(await siblingWarnings(t, of('Admin.Shop.example', { path: '/a' }), of('.shop.example', { path: '/a/b' })), warning)
  t.strictSame(await siblingWarnings(t, { ...of(), cookieName: ['admin', name] }, of('shop.example')), warning)
  t.strictSame(await siblingWarnings(t, of('a.example'), of('b.example')), [], 'no host is in both')
  t.strictSame(await siblingWarnings(t, of('shop.example'), of('workshop.example')), [])
  t.strictSame(await siblingWarnings(t, of('shop.example', { path: '/a' }), of(undefined, { path: '/b' })), [])
  t.strictSame(await siblingWarnings(t, { ...of(), cookieName: 'admin' }, of('shop.example')), [])
})

t.test('two applications of one process may be the same in everything', async (t) => {
  t.strictSame(await siblings(t, {}), [])
  t.strictSame(await siblings(t, {}), [])
})

t.test('two siblings cannot use one store, as each would take the other\'s sessions for its own', async (t) => {
  const store = new MemoryStore()
  t.strictSame(await siblings(t, { store, cookieName: 'admin' }, { store }), ['store is that of another registration: a session of one would be a session of the other'])
  t.strictSame(await siblings(t, { store: new MemoryStore(), cookieName: 'admin' }, { store: new MemoryStore() }), [])
})

t.test('an application that is started anew may have the server of the one before, which still runs', async (t) => {
  const server = createServer()
  const start = async (): Promise<void> => {
    const app = Fastify({ serverFactory: (handler) => server.removeAllListeners('request').on('request', handler) })
    t.teardown(async () => { await app.close() })
    await app.register(sessionPlugin, { secret, store, cookie: { secure: false } })
  }
  const store = new MemoryStore()
  await start()
  await t.resolves(start())
})

t.test('two siblings on one Redis need prefixes that do not overlap', async (t) => {
  const { url, port } = await startRedis(t)
  const fault = ['keyPrefix overlaps that of another registration on the same Redis']
  const pair = (one: Partial<SessionOptions>, other: Partial<SessionOptions>) => siblings(t, { redis: url, cookieName: 'admin', ...one }, { redis: url, ...other })
  t.strictSame(await pair({}, {}), fault)
  t.strictSame(await pair({}, { keyPrefix: 'sess:admin:' }), fault)
  t.strictSame(await pair({ keyPrefix: 'sess:admin:' }, {}), fault)
  t.strictSame(await pair({}, { keyPrefix: 'sess' }), fault)
  t.strictSame(await pair({ keyPrefix: 'admin:' }, { keyPrefix: 'customer:' }), [])
  t.strictSame(await pair({ redis: `${url}/0` }, { redis: { host: '127.0.0.1', port } }), fault, 'named in two ways')
  t.strictSame(await pair({}, { redis: `${url}/1` }), [], 'another database')
  const client = new Redis({ host: '127.0.0.1', port, keyPrefix: 'app:', lazyConnect: true })
  t.teardown(() => client.disconnect())
  t.strictSame(await pair({}, { redis: client }), [], 'a client\'s own prefix sets them apart')
  t.strictSame(await pair({ keyPrefix: 'app:sess:' }, { redis: client }), fault, 'or brings them together')
})

t.test('options that inherit, or are getters of a class, are options as well', async (t) => {
  class CookieConfig { get sameSite (): string { return 'strict' } get secure (): boolean { return false } }
  for (const cookie of [new CookieConfig(), Object.create({ sameSite: 'strict', secure: false })]) {
    const app = await startApp(t, { store: new MemoryStore(), cookie: cookie as SessionOptions['cookie'] })
    app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
    t.match((await app.inject({ method: 'POST', url: '/login' })).headers['set-cookie'], /; SameSite=Strict$/)
  }
})
