import Fastify from 'fastify'
import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fc from 'fast-check'
import { Type } from '@sinclair/typebox'
import t from 'tap'
import type { Test } from 'tap'
import { adminRoutes, authRoutes, MemoryStore, SessionManager, sessionPlugin, sessionRoutes } from '../../lib/index.ts'
import { secret } from '../helpers/app.ts'
import { none, tryAll } from '../helpers/fuzz.ts'
import { anything, fickle, made, MARK, throwing } from '../helpers/hostile.ts'
import type { Made } from '../helpers/hostile.ts'
import { isSoak, times } from '../helpers/scale.ts'

if (isSoak) t.setTimeout(0)

/** Options that are none, or with some of these names, whose values may have some of these members. */
function given (names: string[], members: string[], usual: Record<string, unknown>): fc.Arbitrary<Made> {
  const nested: fc.Arbitrary<Made> = fc.dictionary(fc.oneof(fc.constantFrom(...members), fc.string()), anything, { maxKeys: 4 }).map((each) => () => made(each))
  const some = fc.dictionary(fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...names) }, { weight: 1, arbitrary: fc.string() }), fc.oneof(anything, nested), { maxKeys: 3 })
  return fc.oneof({ weight: 1, arbitrary: anything }, { weight: 4, arbitrary: some.map((options) => () => ({ ...usual, ...made(options) })) })
}

/** Fastify reads these itself before a plugin is called, and calls a function for options. */
const notFastifys = (options: unknown): boolean => {
  try {
    return typeof options !== 'function' && (typeof options !== 'object' || options === null || !['prefix', 'logLevel', 'logSerializers'].some((name) => name in options))
  } catch {
    return false
  }
}

const OPTIONS = ['secret', 'store', 'keyPrefix', 'cookieName', 'cookie', 'idleTimeout', 'absoluteTimeout', 'remember', 'assurance', 'touchAfter', 'bearer', 'maxSessionsPerUser', 'onLimit', 'userIdFrom', 'sessionSchema', 'migrate', 'maxDataSize', 'knownDevices', 'adopt', 'expressSession', 'nearCache', 'durability', 'events', 'encryption', 'origins', 'csrf', 'attempts', 'pages', 'decorators', '__proto__', 'constructor']
const MEMBERS = ['secure', 'sameSite', 'httpOnly', 'path', 'domain', 'partitioned', 'maxAge', 'idleTimeout', 'absoluteTimeout', 'authenticate', 'login', 'home', 'auth', 'network', 'account', 'max', 'within', 'keys', 'acceptPlain', '__proto__', 'constructor', 'a/b']
const AUTH = ['verify', 'credentials', 'findUser', 'user', 'onLogin', 'redirects', 'attempts', 'account', '__proto__', 'constructor']
const ADMIN = ['guard', 'actor', 'redirects', '__proto__', 'constructor']
const SESSIONS = ['recentLogin', 'exemptBearer', 'redirects', '__proto__', 'constructor']
const SCHEMA = ['type', 'properties', 'login', 'failure', 'logout', 'done', 'network', 'max', 'within', 'username']

/** What is wrong with how options were refused, if they were; `[]` is taken or refused as it has to be. */
async function refusal (attempt: () => unknown): Promise<string[]> {
  try {
    await attempt()
    return []
  } catch (error) {
    const { code, message } = error as { code?: unknown, message?: string }
    if (code !== 'ERR_SESSION_INVALID_OPTIONS') return [`${String(code)}: ${String((error as Error).stack)}`]
    return message?.includes(MARK) === true ? [`a value is repeated: ${message.slice(0, 300)}`] : []
  }
}

/** Registers a plugin with options in an application of its own. */
async function register (plugin: FastifyPluginAsync<never>, options: unknown, before: (app: FastifyInstance) => Promise<void> = async () => {}): Promise<void> {
  const app = Fastify()
  try {
    await before(app)
    await app.register(plugin, options as never)
  } finally {
    await app.close()
  }
}

/** Called as Fastify calls it, which would look for a name among the options first. */
type Routes = (app: FastifyInstance, options: unknown) => Promise<void>

const withPlugin = async (app: FastifyInstance): Promise<void> => { await app.register(sessionPlugin, { secret, store: new MemoryStore() }) }

const TARGETS: Array<[name: string, options: fc.Arbitrary<Made>, use: (options: unknown) => unknown]> = [
  ['sessionPlugin', given(OPTIONS, MEMBERS, { secret }), async (options) => await register(sessionPlugin as never, options)],
  ['authRoutes', given(AUTH, SCHEMA, { verify: () => null, user: Type.Object({ id: Type.String() }), findUser: () => null }), async (options) => await register(async (app) => { await (authRoutes as Routes)(app, options) }, {}, withPlugin)],
  ['sessionRoutes', given(SESSIONS, SCHEMA, {}), async (options) => await register(async (app) => { await (sessionRoutes as Routes)(app, options) }, {}, withPlugin)],
  ['adminRoutes', given(ADMIN, SCHEMA, { guard: () => {} }), async (options) => await register(async (app) => { await (adminRoutes as Routes)(app, options) }, {}, withPlugin)],
  ['SessionManager', given(OPTIONS, MEMBERS, { secret, store: new MemoryStore() }), async (options) => { await new SessionManager(options as never).close() }]
]

for (const [name, options, use] of TARGETS) {
  t.test(`[7.1.1] whatever is given to ${name} as options, it is taken or refused by one error that repeats nothing`, async (t: Test) => {
    await tryAll(times(10_000, 500), 1, options.filter((make) => notFastifys(make())), async ([make]) => none(await refusal(() => use(make?.()))))
    t.strictSame(Object.keys(Object.prototype), [], 'and nothing is put where everybody finds it')
  })
}

t.test('[3.3.1, CVE-2024-47764] a cookie attribute is the one that was checked, though it is another the next time', async (t) => {
  const app = Fastify({ trustProxy: true })
  t.teardown(() => app.close())
  await app.register(sessionPlugin, { secret, store: new MemoryStore(), cookie: fickle('path', '/', '/; Domain=evil.example') as { path: string } })
  app.get('/', async (request) => { request.session.cart = ['tea'] })
  const response = await app.inject({ url: '/', headers: { 'x-forwarded-proto': 'https' } })
  t.match(response.headers['set-cookie'], /; Path=\/; /)
  t.notMatch(response.headers['set-cookie'], 'evil.example')
})

t.test('[7.1.1] what the driver chokes on is refused in the same words as what it does not reach', async (t) => {
  await t.rejects(register(sessionPlugin as never, { secret, redis: { sentinels: 5, name: 'sessions' } }), { code: 'ERR_SESSION_INVALID_OPTIONS', message: 'Invalid session options: redis: cannot be used' })
  await t.rejects(register(sessionPlugin as never, { secret, redis: throwing('host') }), { code: 'ERR_SESSION_INVALID_OPTIONS', message: 'Invalid session options: redis cannot be read' })
})
