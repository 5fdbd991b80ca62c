// Compiled by npm run test:types, never run: what must and what must not compile.
import fastifySession from '@fastify/session'
import { Type } from '@sinclair/typebox'
import type { Static } from '@sinclair/typebox'
import expressSession from 'express-session'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { Cluster, Redis } from 'ioredis'
import { Cluster as Cluster5, Redis as Redis5 } from 'ioredis5'
import { createClient, createClientPool, createCluster, createSentinel } from 'redis'
import type { RedisClientOptions, RedisClusterOptions, RedisSentinelOptions } from 'redis'
import { RedisStore as DropIn } from '../lib/express/redis-store.ts'
import sessionPlugin, {
  adminRoutes, authenticate, authenticatePage, authRoutes, authRoutesOptions, guestOnly, MemoryStore, RedisStore,
  requireAuth, requireDeviceBound, requireRecentLogin, SessionManager, sessionRoutes
} from '../lib/index.ts'
import type {
  AdminGuard, AdminRoutesOptions, CookieOptions, DeviceBoundOptions, DeviceMismatch, ForkDetectionOptions, RequestAuth, SessionError, SessionErrorCode, SessionFork, SessionInfo, SessionManagerOptions, SessionOptions,
  SessionRoutesOptions
} from '../lib/index.ts'
import type { DefaultCredentials } from '../lib/http/routes/schemas.ts'
import type { SessionOptionsSchema } from '../lib/options/schema.ts'
import { is } from './equal.ts'

/** `SessionOptions` with another type of one member. */
type With<Name extends keyof SessionOptions, Type> = {
  [Each in keyof SessionOptions]: Each extends Name ? Type : SessionOptions[Each]
}
interface More extends SessionOptions { more?: boolean | undefined }
interface Required extends SessionOptions { csrf: boolean | undefined }
type Less = { [Each in keyof SessionOptions as Exclude<Each, 'csrf'>]: SessionOptions[Each] }

/** What is checked at boot is what the interfaces say, member by member, also inside of each other. */
export function schema (checked: Static<typeof SessionOptionsSchema>): void {
  is<SessionOptions>()(checked, true)
  is<With<never, never>>()(checked, true)
  is<With<'csrf', boolean | string | undefined>>()(checked, false)
  is<With<'cookie', { [Each in keyof CookieOptions]: CookieOptions[Each] } | undefined>>()(checked, true)
  is<With<'cookie', Omit<CookieOptions, 'path'> | undefined>>()(checked, false)
  is<More>()(checked, false)
  is<Less>()(checked, false)
  is<Required>()(checked, false)
}

export function credentials (checked: Static<typeof DefaultCredentials>): void {
  is<DefaultCredentials>()(checked, true)
  is<Omit<DefaultCredentials, 'remember'>>()(checked, false)
}

export async function options (app: FastifyInstance): Promise<void> {
  const fromEnvironment = { secret: process.env.SESSION_SECRET, redis: process.env.REDIS_URL }
  const absent = { store: undefined, idleTimeout: undefined, cookie: { domain: undefined } }
  await app.register(sessionPlugin, { ...fromEnvironment, ...absent })
  const numbers = { idleTimeout: 1000, touchAfter: false, cookie: { maxAge: false } } as const
  await app.register(sessionPlugin, { secret: ['a', 'b'], redis: new Redis(), ...numbers })
  const cluster = [{ host: 'h', port: 1 }]
  await app.register(sessionPlugin, { secret: 'a', redis: { cluster }, userIdFrom: (data) => data.user })
  await app.register(sessionPlugin, { secret: 'a', redis: { host: 'h', sentinels: [] } })
  await app.register(sessionPlugin, { secret: ['a', 'b'] as const, redis: new Redis5() })
  await app.register(sessionPlugin, { secret: 'a', redis: new Cluster5([]) })
  await app.register(sessionPlugin, { secret: 'a', store: new MemoryStore({ maxSessions: 1 }) })
  await app.register(sessionPlugin, { secret: 'a', store: new RedisStore({ client: new Redis() }) })
  await app.register(sessionPlugin, { secret: 'a', store: { get () {}, set () {}, destroy () {} } })
  // @ts-expect-error secret has to be given
  await app.register(sessionPlugin, {})
  // @ts-expect-error no such option
  await app.register(sessionPlugin, { secret: 'a', idleTimeOut: 1 })
  // @ts-expect-error no such value
  await app.register(sessionPlugin, { secret: 'a', cookie: { sameSite: 'maybe' } })
  await app.register(sessionPlugin, { secret: ['a', 'b'], redis: 'c', adopt: '@fastify/session' })
  await app.register(sessionPlugin, { secret: ['a', 'b'], redis: 'c', adopt: 'express-session' })
  // @ts-expect-error no such library
  await app.register(sessionPlugin, { secret: 'a', redis: 'c', adopt: 'cookie-session' })
  // @ts-expect-error it is called adopt
  await app.register(sessionPlugin, { secret: 'a', redis: 'c', expressSession: '@fastify/session' })
  // @ts-expect-error express-session's 'auto' is not safe here
  await app.register(sessionPlugin, { secret: 'a', cookie: { secure: 'auto' } })
}

/** Sessions that two browsers use. */
export async function forkDetection (app: FastifyInstance): Promise<void> {
  const store = new MemoryStore()
  const all = { onFork: 'reauthenticate' } as const satisfies { [Each in keyof ForkDetectionOptions]-?: ForkDetectionOptions[Each] }
  for (const forkDetection of [true, false, undefined, {}, all]) await app.register(sessionPlugin, { secret: 'a', store, forkDetection })
  // @ts-expect-error no such reaction
  await app.register(sessionPlugin, { secret: 'a', store, forkDetection: { onFork: 'refuse' } })
  app.sessions.on('session-forked', (event: SessionFork) => {
    const { id, userId, at, network, networkDiffers, device, requestId, local } = event
    is<number>()(at, true)
    is<boolean>()(networkDiffers, true)
    is<true>()(local, true)
    for (const text of [id, userId, network]) is<string>()(text, true)
    for (const text of [device, requestId]) is<string | null>()(text, true)
  })
}

/** Sessions that are bound to a device. */
export async function deviceBound (app: FastifyInstance): Promise<void> {
  const store = new MemoryStore()
  const all = {
    maxAge: '10m', required: (userId: string) => userId.startsWith('admin'), grace: 60_000, onMismatch: 'revoke', bindExisting: false, ask: false, path: '/device'
  } as const satisfies { [Each in keyof DeviceBoundOptions]-?: DeviceBoundOptions[Each] }
  const forms: Array<SessionOptions['deviceBound']> = [
    true, false, undefined, {}, all, { required: true }, { onMismatch: 'refuse', required: undefined }
  ]
  for (const deviceBound of forms) await app.register(sessionPlugin, { secret: 'a', store, deviceBound })
  // @ts-expect-error no promise: it is asked in every request
  const later: DeviceBoundOptions = { required: async () => true }
  // @ts-expect-error no such reaction
  const reaction: DeviceBoundOptions = { onMismatch: 'ignore' }
  // @ts-expect-error no such member
  const member: DeviceBoundOptions = { maxage: '10m' }
  // @ts-expect-error true, or what differs
  await app.register(sessionPlugin, { secret: 'a', store, deviceBound: '10m' })
  const options: SessionManagerOptions = { secret: 'a', store, deviceBound: all }
  const sessions = new SessionManager(options)
  sessions.on('device-mismatch', ({ id, userId, reason, at, network, device, requestId, local }) => {
    is<'refused' | 'skipped'>()(reason, true)
    is<number>()(at, true)
    is<true>()(local, true)
    for (const text of [id, userId, network]) is<string>()(text, true)
    for (const text of [device, requestId]) is<string | null>()(text, true)
  })
  const listener = (event: DeviceMismatch): string => event.userId
  app.sessions.on('device-mismatch', listener)
  // @ts-expect-error no such event
  app.sessions.on('device-missing', () => {})
  app.get('/money', { onRequest: requireDeviceBound, preHandler: [app.requireDeviceBound] }, async (request) => {
    is<boolean>()(request.requireAuth().deviceBound, true)
    is<boolean | undefined>()((await app.sessions.listByUser('ada'))[0]?.deviceBound, true)
    return [later, reaction, member]
  })
  // @ts-expect-error it is a hook, and makes none
  app.get('/keys', { preHandler: app.requireDeviceBound() }, () => 'ok')
  const secure = Fastify({ http2: true, https: { key: '', cert: '' } })
  secure.get('/money', { preHandler: [requireDeviceBound, secure.requireDeviceBound] }, () => 'ok')
}

/** In place of connect-redis. */
export async function dropIn (app: FastifyInstance): Promise<void> {
  const store = new DropIn({
    client: new Redis(), prefix: 'sess:', ttl: (session) => session.cookie.maxAge ?? 60, serializer: JSON
  })
  expressSession({ store, secret: 'a' })
  await app.register(fastifySession, { store, secret: 'a' })
  for (const client of [new Cluster([]), new Redis5(), new Cluster5([])]) {
    expressSession({ store: new DropIn({ client }), secret: 'a' })
  }
  store.get('sid', (_error, session) => session.userId)
  const read = await store.get('sid')
  await store.set('sid', read)
  await app.register(sessionPlugin, { secret: 'a', store })
  const own = new RedisStore({ client: new Redis() })
  // @ts-expect-error that is the store of the plugin alone
  expressSession({ store: own, secret: 'a' })
  // @ts-expect-error that is the store of the plugin alone
  await app.register(fastifySession, { store: own, secret: 'a' })
  // @ts-expect-error a client has to be given
  new RedisStore({ prefix: 'sess:' }).close()
  // @ts-expect-error it is no client
  new RedisStore({ client: {} }).close()
  // @ts-expect-error it is a client of another driver
  new RedisStore({ client: createClient() }).close()
}

/** A client of node-redis, or what it was made of. */
export async function nodeRedis (app: FastifyInstance): Promise<void> {
  const secret = 'a'
  const cluster = createCluster({ rootNodes: [{ url: 'redis://h' }] })
  for (const redis of [createClient(), cluster]) await app.register(sessionPlugin, { secret, redis })
  const options: RedisClientOptions = { url: 'redis://h', RESP: 3 }
  await app.register(sessionPlugin, { secret, redis: options })
  const socket = { host: 'h', port: 1, tls: true, ca: '', servername: 'redis' }
  await app.register(sessionPlugin, { secret, redis: { socket, database: 1, commandsQueueMaxLength: 5 } })
  await app.register(sessionPlugin, { secret, redis: { socket: { path: '/redis.sock' } } })
  const rootNodes = [{ url: 'redis://h' }, { socket: { host: 'h' } }]
  await app.register(sessionPlugin, { secret, redis: { rootNodes, defaults: { password: 'p' } } })
  const clusterOptions: RedisClusterOptions = { rootNodes, nodeAddressMap: () => undefined }
  await app.register(sessionPlugin, { secret, redis: clusterOptions })
  const sentinels = { name: 'sessions', sentinelRootNodes: [{ host: 'h', port: 1 }] }
  await app.register(sessionPlugin, { secret, redis: { ...sentinels, nodeClientOptions: { password: 'p' } } })
  const sentinelOptions: RedisSentinelOptions = { ...sentinels, sentinelClientOptions: { socket: { tls: true } } }
  await app.register(sessionPlugin, { secret, redis: sentinelOptions })
  // @ts-expect-error a pool does not show its options
  await app.register(sessionPlugin, { secret, redis: createClientPool() })
  // @ts-expect-error nor does a client behind Sentinel
  await app.register(sessionPlugin, { secret, redis: createSentinel(sentinelOptions) })
  // @ts-expect-error no driver has such an option
  await app.register(sessionPlugin, { secret, redis: { url: 'redis://h', sockets: {} } })
}

export async function routes (app: FastifyInstance): Promise<void> {
  await app.register(authRoutes, {
    prefix: '/auth',
    verify: async ({ username, password, remember }, request) => {
      is<string>()(username, true)
      is<string>()(password, true)
      is<boolean | 'on' | undefined>()(remember, true)
      return request.ip === '' ? null : { id: 1, name: 'Ada' }
    }
  })
  await app.register(authRoutes, authRoutesOptions({
    credentials: Type.Object({ email: Type.String(), code: Type.Integer() }),
    verify: async ({ email, code }) => {
      is<string>()(email, true)
      is<number>()(code, true)
      return { id: email, name: 'Ada' }
    },
    account: ({ email, code }) => code === 0 ? null : email,
    attempts: { network: { max: 1, within: undefined }, accountNetwork: false, account: { within: '1h' } },
    onLogin: (user, { code }) => ({ label: user.name, meta: { code }, remember: true })
  }))
  const User = Type.Object({
    id: Type.String(), name: Type.String(), since: Type.Optional(Type.String()), roles: Type.Array(Type.String())
  })
  const ada = { id: 7n, name: 'Ada', since: new Date(), roles: ['admin'] as const, passwordHash: '…' }
  await app.register(authRoutes, authRoutesOptions({
    user: User,
    verify: async ({ username, remember }) => {
      is<string>()(username, true)
      is<boolean | 'on' | undefined>()(remember, true)
      return username === 'ada' ? ada : undefined
    },
    findUser: async (id) => id === '7' ? { ...ada, id: 7, since: undefined } : null,
    onLogin: ({ passwordHash }) => ({ label: passwordHash })
  }))
  const plain = authRoutesOptions({ prefix: '/auth', verify: () => ({ id: 1 }), findUser: (id) => ({ id }) })
  await app.register(authRoutes, plain)
  const Named = Type.Object({ name: Type.String() })
  await app.register(authRoutes, authRoutesOptions({ user: Named, verify: () => ada, findUser: () => ada }))
  // @ts-expect-error verify gives no name
  authRoutesOptions({ user: User, verify: async () => ({ id: 1, roles: [] }), findUser: async () => ada })
  // @ts-expect-error findUser gives no name
  authRoutesOptions({ user: User, verify: async () => ada, findUser: async (id) => ({ id, roles: [] }) })
  // @ts-expect-error a name is no number
  authRoutesOptions({ user: User, verify: async () => ({ ...ada, name: 1 }), findUser: async () => ada })
  // @ts-expect-error a name is there
  authRoutesOptions({ user: User, verify: async () => ada, findUser: async () => ({ ...ada, name: null }) })
  const Numbered = Type.Object({ id: Type.Integer() })
  // @ts-expect-error the schema shows a number
  authRoutesOptions({ user: Numbered, verify: async () => ({ id: 'ada' }), findUser: async () => ({ id: 1 }) })
  const Mail = Type.Object({ email: Type.String() })
  // @ts-expect-error and with credentials of one's own
  authRoutesOptions({ credentials: Mail, user: User, verify: ({ email }) => ({ id: email }), findUser: async () => ada })
  await app.register(authRoutes, { verify: () => null, attempts: false, account: ({ username }) => username })
  for (const clearSiteData of [true, false, undefined, ['cache', 'cookies', '*'] as const]) {
    await app.register(authRoutes, { verify: () => null, clearSiteData })
  }
  await app.register(authRoutes, authRoutesOptions({ verify: () => ({ id: 1 }), clearSiteData: ['storage'] }))
  // @ts-expect-error no such data
  await app.register(authRoutes, { verify: () => null, clearSiteData: ['local'] })
  // @ts-expect-error a list
  await app.register(authRoutes, { verify: () => null, clearSiteData: 'storage' })
  // @ts-expect-error verify has to be given
  await app.register(authRoutes, {})
  // @ts-expect-error a user has an id
  await app.register(authRoutes, { verify: async () => ({ name: 'Ada' }) })
  await app.register(sessionRoutes)
  await app.register(sessionRoutes, { prefix: '/sessions', recentLogin: '10m', exemptBearer: true })
  await app.register(sessionRoutes, { recentLogin: false, exemptBearer: undefined } satisfies SessionRoutesOptions)
  // @ts-expect-error a duration, or false
  await app.register(sessionRoutes, { recentLogin: true })
  // @ts-expect-error no such option
  await app.register(sessionRoutes, { recent: '10m' })
  const admin: AdminGuard = async (request) => { if (request.auth?.userId !== 'root') throw new Error('refused') }
  await app.register(adminRoutes, { guard: admin, actor: ({ auth }) => auth?.userId })
  await app.register(adminRoutes, { prefix: '/admin', guard: [app.authenticate, app.requireRecentLogin('1h'), admin] })
  await app.register(adminRoutes, { guard: (_request, _reply, done) => { done() } } satisfies AdminRoutesOptions)
  // @ts-expect-error a guard has to be given
  await app.register(adminRoutes)
  // @ts-expect-error a guard has to be given
  await app.register(adminRoutes, { prefix: '/admin' })
  // @ts-expect-error a guard is a function
  await app.register(adminRoutes, { guard: true })
}

export function decorators (): void {
  const app = Fastify()
  const guarded = { preHandler: app.authenticate, onRequest: app.authenticate, config: { session: { csrf: false } } }
  app.get('/me', guarded, async (request, reply) => {
    is<RequestAuth | null>()(request.auth, true)
    is<RequestAuth>()(request.requireAuth(), true)
    is<AbortSignal>()(request.requireAuth().signal, true)
    const info: SessionInfo = request.requireAuth()
    is<string>()(info.id, true)
    is<boolean>()(info.deviceBound, true)
    is<boolean>()(request.requireAuth().deviceBound, true)
    is<string>()(request.requireAuth().userId, true)
    is<RequestAuth>()(await app.login(request, { id: 1 }), true)
    const options = { label: 'phone', remember: undefined, keep: ['cart'], meta: { a: [1, null] } }
    await app.login(request, { id: 7n }, options)
    await app.login(request, { id: 1, name: 'more is fine' } as { id: number })
    await app.logout(request)
    const verified = await app.attemptLogin(request, 'ada', async () => request.ip === '' ? null : { id: 1 })
    is<{ id: number } | null>()(verified, true)
    is<boolean>()(await app.attemptLogin(request, null, () => request.ip === ''), true)
    // @ts-expect-error what may be anything is no name
    await app.attemptLogin(request, request.body, () => null)
    await app.logout(request, reply)
    await app.logout(request, reply, { reason: 'account-closed', actor: 'eve' })
    await app.logout(request, undefined, {})
    await request.session.regenerate()
    // @ts-expect-error a session is replaced by login and logout, not by hand
    request.auth = null
    // @ts-expect-error a user has an id
    await app.login(request, { name: 'Ada' })
  })
  app.get('/ping', { config: { session: false } }, async () => 'pong')
}

export function guards (app: FastifyInstance): void {
  const recent = requireRecentLogin('10m')
  app.addHook('onRequest', authenticate)
  app.get('/me', { onRequest: recent, preParsing: authenticate, preHandler: [authenticate, recent] }, (request) => {
    is<RequestAuth>()(requireAuth(request), true)
    return 'ok'
  })
  app.get('/login', { onRequest: guestOnly, preHandler: [app.guestOnly] }, () => 'the form')
  app.post('/login', { preHandler: authenticatePage }, async (request, reply) => {
    is<string>()(app.takeReturnPath(request), true)
    await app.authenticatePage(request, reply)
  })
  app.get<{ Params: { id: string } }>('/:id', { preHandler: authenticate }, async (request, reply) => {
    await authenticate(request, reply)
    return requireAuth(request).userId
  })
  // @ts-expect-error a guard has to be made first
  app.get('/', { preHandler: requireRecentLogin }, () => 'ok')
  // @ts-expect-error the hook is authenticate
  app.get('/', { preHandler: requireAuth }, () => 'ok')
  const secure = Fastify({ http2: true, https: { key: '', cert: '' } })
  const all = { preHandler: authenticate, onRequest: [recent], preParsing: recent }
  secure.get('/me', all, async (request) => requireAuth(request).userId)
}

export async function http2 (): Promise<void> {
  const secure = Fastify({ http2: true, https: { key: '', cert: '' } })
  await secure.register(sessionPlugin, { secret: 'a' })
  secure.get('/me', { preHandler: secure.authenticate }, async (request) => (await secure.login(request, { id: 1 })).id)
  const app = Fastify({ http2: true })
  await app.register(sessionPlugin, { secret: 'a' })
  await app.register(sessionRoutes, { prefix: '/sessions' })
  await app.register(authRoutes, {
    verify: async ({ username }, request) => request.ip === '' ? null : { id: username }
  })
  app.addHook('onRequest', app.authenticate)
  const guards = [app.authenticate, app.requireRecentLogin('10m')]
  app.get('/me', { onRequest: app.authenticate, preHandler: guards }, async (request, reply) => {
    is<RequestAuth | null>()(request.auth, true)
    is<RequestAuth>()(await app.login(request, { id: 1 }), true)
    await app.logout(request)
    await app.logout(request, reply)
    const verified = await app.attemptLogin(request, 'ada', async () => request.ip === '' ? null : { id: 1 })
    is<{ id: number } | null>()(verified, true)
    is<SessionInfo | null>()(await app.sessions.fromRequest(request), true)
    is<SessionInfo | null>()(await app.sessions.fromRequest(request.raw), true)
    await request.session.regenerate()
    // @ts-expect-error no request
    await app.login({}, { id: 1 })
    // @ts-expect-error nor is a reply
    await app.logout(reply)
    return request.requireAuth().userId
  })
}

// An application's options object can be typed, and built from what may be undefined.
export const typed: SessionOptions = {
  secret: process.env.SECRET, redis: process.env.REDIS_URL, cookie: undefined, origins: undefined
}

export function codes (error: SessionError): string {
  is<SessionErrorCode>()(error.code, true)
  // @ts-expect-error no such code
  if (error.code === 'ERR_SESSION_UNAUTHORISED') return ''
  switch (error.code) {
    case 'ERR_SESSION_STORE_FULL': return 'later'
    // @ts-expect-error no such code
    case 'ERR_SESSION_FULL': return 'later'
    default: return error.code
  }
}

/** The applications of the tests declare an index signature: any other key is data as well. */
export async function openData (app: FastifyInstance): Promise<void> {
  const { session } = await app.sessions.create({ userId: 1, data: { userId: 1n, anything: new Date() } })
  const data = await app.sessions.data(session.id)
  is<string | number | bigint | null | undefined>()(data?.userId, true)
  is<any>()(data?.anything, true)
  await app.sessions.update(session.id, (data) => ({ ...data, anything: 1 }))
  // @ts-expect-error not what was declared
  await app.sessions.create({ userId: 1, data: { userId: true } })
  await app.register(sessionPlugin, { secret: 'a', userIdFrom: (data) => data.user?.id ?? data.account })
}
