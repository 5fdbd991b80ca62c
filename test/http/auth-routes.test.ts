import { EventEmitter, once } from 'node:events'
import { connect as connectHttp2, constants } from 'node:http2'
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import formbody from '@fastify/formbody'
import swagger from '@fastify/swagger'
import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, authRoutesOptions, MemoryStore, sessionPlugin } from '../../lib/index.ts'
import type { AuthRoutesOptions, SessionOptions } from '../../lib/index.ts'
import { Browser, secret, startApp } from '../helpers/app.ts'
import type { TestResponse } from '../helpers/app.ts'

const PASSWORDS: Record<string, string> = { ada: 'lovelace', bob: 'builder' }
const verify: AuthRoutesOptions['verify'] = ({ username, password }) => PASSWORDS[username] === password ? { id: username } : null
const ADA = { username: 'ada', password: PASSWORDS.ada }

/** Counts what a session costs. */
class CountingStore extends MemoryStore {
  calls = 0
  created: Array<Parameters<MemoryStore['begin']>[0]> = []
  override async begin (...args: Parameters<MemoryStore['begin']>) {
    this.calls++
    this.created.push(args[0])
    return await super.begin(...args)
  }

  override async replace (...args: Parameters<MemoryStore['replace']>) {
    this.calls++
    this.created.push(args[0])
    return await super.replace(...args)
  }

  override findNow (): undefined {}

  override async find (id: string) {
    this.calls++
    return await super.find(id)
  }

  override async delete (...args: Parameters<MemoryStore['delete']>) {
    this.calls++
    return await super.delete(...args)
  }
}

async function routes (t: Test, options: Partial<AuthRoutesOptions> & { prefix?: string } = {}, plugin: Partial<SessionOptions> = {}, prepare: (app: FastifyInstance) => Promise<void> = async () => {}) {
  const store = new CountingStore()
  const app = await startApp(t, { store, ...plugin })
  await prepare(app)
  await app.register(authRoutes, { verify, ...options })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth())
  app.get('/data', async (request) => ({ ...request.session }))
  return { app, store, ada: new Browser(app), bob: new Browser(app) }
}

function isPrivate (t: Test, { headers }: TestResponse): void {
  t.equal(headers['cache-control'], 'no-store')
  t.equal(headers.vary, 'Cookie')
}

t.test('login, info, logout', async (t) => {
  const { ada } = await routes(t)
  const before = await ada.get('/info')
  t.equal(before.statusCode, 200)
  t.strictSame(before.json(), { authenticated: false })
  t.strictSame(before.setCookies, [])
  isPrivate(t, before)

  const login = await ada.post('/login', ADA)
  t.equal(login.statusCode, 200)
  isPrivate(t, login)
  const { user, session } = login.json()
  t.strictSame(user, { id: 'ada' })
  t.strictSame(Object.keys(session).sort(), ['actor', 'authenticatedAt', 'createdAt', 'deviceBound', 'endsAt', 'expiresAt', 'id', 'label', 'lastSeenAt', 'methods', 'remembered'], 'no address, no browser, no data')
  t.equal(session.expiresAt, session.createdAt + 30 * 60_000)
  t.equal(login.setCookies.length, 1)
  t.ok(ada.cookies.get('sid')?.startsWith(`${session.id}.`))
  t.notMatch(login.body, ada.cookies.get('sid')?.split('.')[1] as string, 'the secret is in the cookie alone')

  const info = await ada.get('/info')
  t.equal(info.statusCode, 200)
  t.strictSame(info.json(), { authenticated: true, user, session })
  isPrivate(t, info)

  const logout = await ada.post('/logout')
  t.equal(logout.statusCode, 204)
  t.equal(logout.body, '')
  t.equal(ada.cookies.size, 0)
  isPrivate(t, logout)
  t.strictSame((await ada.get('/info')).json(), { authenticated: false })
})

t.test('an unknown user and a wrong password cannot be told apart', async (t) => {
  const { app, store } = await routes(t)
  const replies = await Promise.all([{ username: 'ada', password: 'wrong' }, { username: 'nobody', password: 'lovelace' }, { username: 'ada', password: 'builder' }].map((payload) => app.inject({ method: 'POST', url: '/login', payload })))
  const [first, ...others] = replies
  t.strictSame(first?.json(), { statusCode: 401, code: 'ERR_SESSION_INVALID_CREDENTIALS', error: 'Unauthorized', message: 'Invalid credentials' })
  for (const each of others) {
    t.equal(each.statusCode, 401)
    t.strictSame(each.rawPayload, first?.rawPayload)
    t.strictSame({ ...each.headers, date: '' }, { ...first?.headers, date: '' })
  }
  t.equal(first?.headers['set-cookie'], undefined)
  t.equal(store.created.length, 0)
})

t.test('verify that finds nobody in its own way is a failed login', async (t) => {
  for (const nobody of [null, undefined, false, 0, '', NaN]) {
    const { ada } = await routes(t, { verify: (async () => nobody) as unknown as AuthRoutesOptions['verify'] })
    t.equal((await ada.post('/login', ADA)).json().code, 'ERR_SESSION_INVALID_CREDENTIALS')
  }
})

t.test('verify that returns what is no user signs nobody in', async (t) => {
  for (const junk of [true, 'ada', 42, [], {}, { id: null }, { id: '' }, { id: NaN }, { id: {} }, { id: ['ada'] }, { id: true }, { id: 'x'.repeat(256) }, { userId: 'ada' }]) {
    const { ada, store } = await routes(t, { verify: (() => junk) as unknown as AuthRoutesOptions['verify'] })
    const response = await ada.post('/login', ADA)
    t.equal(response.statusCode, 500, JSON.stringify(junk))
    t.strictSame(response.setCookies, [])
    t.equal(store.created.length, 0)
  }
})

t.test('what is no user is not repeated to the client, whatever is shown of users', async (t) => {
  const user = Type.Object({ name: Type.String() })
  const { ada } = await routes(t, { verify: (() => 'LEAKED') as unknown as AuthRoutesOptions['verify'], findUser: () => null, user })
  const login = await ada.post('/login', ADA)
  t.match(login.json(), { statusCode: 500, message: 'what verify returns must be an object' })
  const { ada: known } = await routes(t, { verify: () => ({ id: 'ada', name: 'Ada' }), findUser: (() => 'LEAKED') as unknown as NonNullable<AuthRoutesOptions['findUser']>, user })
  await known.post('/login', ADA)
  t.match((await known.get('/info')).json(), { statusCode: 500, message: 'what findUser returns must be an object' })
})

t.test('an error of verify goes to the client as it is', async (t) => {
  const secondFactor = Object.assign(new Error('A code was sent to you'), { statusCode: 403, code: 'SECOND_FACTOR' })
  const { ada } = await routes(t, { verify: async () => { throw secondFactor } })
  const response = await ada.post('/login', ADA)
  t.equal(response.statusCode, 403)
  t.strictSame(response.json(), { statusCode: 403, code: 'SECOND_FACTOR', error: 'Forbidden', message: 'A code was sent to you' })
  t.strictSame(response.setCookies, [])
  const locked = await routes(t, { verify: async () => { throw Object.assign(new Error('Locked'), { statusCode: 423 }) } })
  t.equal((await locked.ada.post('/login', ADA)).statusCode, 423)
  const broken = await routes(t, { verify: () => { throw new Error('no database') } })
  t.equal((await broken.ada.post('/login', ADA)).statusCode, 500)
})

t.test('ids may be numbers and bigints, and are shown as text', async (t) => {
  for (const id of [7, 7n, '7']) {
    const { ada } = await routes(t, { verify: () => ({ id, passwordHash: 'LEAKED' }) })
    const login = await ada.post('/login', ADA)
    t.strictSame(login.json().user, { id: '7' })
    t.strictSame((await ada.get('/info')).json().user, { id: '7' })
  }
})

const PublicUser = Type.Object({
  id: Type.String({ description: 'The id.' }),
  name: Type.String({ description: 'The name.' }),
  team: Type.Optional(Type.Object({ name: Type.String({ description: 'Its name.' }) }, { description: 'The team.' })),
  born: Type.Optional(Type.String({ description: 'The birthday.' }))
}, { description: 'A user as everybody sees them.' })

t.test('[15.3.1] of a user only what the schema names is shown', async (t) => {
  const stored = { id: 'ada', name: 'Ada', passwordHash: 'LEAKED', team: { name: 'Engines', budget: 'LEAKED' }, token: 'LEAKED' }
  for (const user of [PublicUser, Type.Object({ ...PublicUser.properties }, { additionalProperties: true })]) {
    const { ada } = await routes(t, { verify: () => stored, findUser: () => stored, user })
    const login = await ada.post('/login', ADA)
    t.strictSame(login.json().user, { id: 'ada', name: 'Ada', team: { name: 'Engines' } })
    const info = await ada.get('/info')
    t.strictSame(info.json().user, login.json().user)
    t.notMatch(login.body + info.body, 'LEAKED')
  }
})

t.test('a user looks the same in login and info, also where types differ from the schema\'s', async (t) => {
  const stored = { id: 7, name: 'Ada', born: new Date(0) }
  const { ada } = await routes(t, { verify: () => stored, findUser: () => stored, user: PublicUser })
  const login = await ada.post('/login', ADA)
  t.strictSame(login.json().user, { id: '7', name: 'Ada', born: '1970-01-01T00:00:00.000Z' })
  t.strictSame((await ada.get('/info')).json().user, login.json().user)
})

t.test('info asks for the user by id, each time', async (t) => {
  let name = 'Ada'
  const asked: unknown[] = []
  const { ada } = await routes(t, {
    verify: () => ({ id: 7, name: 'Ada' }),
    user: PublicUser,
    findUser: async (id, request) => {
      asked.push([id, request.url])
      return { id, name }
    }
  })
  await ada.post('/login', ADA)
  name = 'Countess of Lovelace'
  t.strictSame((await ada.get('/info')).json().user, { id: '7', name })
  t.strictSame(asked, [['7', '/info']])
  await ada.post('/logout')
  await ada.get('/info')
  t.equal(asked.length, 1, 'and never for nobody')
})

t.test('a user that is no more is signed out', async (t) => {
  for (const nobody of [null, undefined]) {
    const { app, ada, store } = await routes(t, { findUser: async () => nobody })
    await ada.post('/login', ADA)
    const cookie = ada.header
    const info = await ada.get('/info')
    t.equal(info.statusCode, 200)
    t.strictSame(info.json(), { authenticated: false })
    isPrivate(t, info)
    t.equal(ada.cookies.size, 0, 'the cookie is taken back')
    t.strictSame(await store.listByUser('ada'), [])
    t.equal((await app.inject({ url: '/me', headers: { cookie } })).statusCode, 401, 'and worth nothing')
  }
})

t.test('a user that cannot be looked up is not signed out', async (t) => {
  let down = true
  const { ada } = await routes(t, {
    findUser: async (id) => {
      if (down) throw Object.assign(new Error('no database'), { statusCode: 503 })
      return { id }
    }
  })
  await ada.post('/login', ADA)
  const info = await ada.get('/info')
  t.equal(info.statusCode, 503)
  t.strictSame(info.setCookies, [])
  down = false
  t.equal((await ada.get('/info')).json().authenticated, true)
})

t.test('onLogin says how the session begins', async (t) => {
  const calls: unknown[] = []
  const { ada } = await routes(t, {
    verify: () => ({ id: 'ada', role: 'admin' }),
    onLogin: async (user, credentials, request) => {
      calls.push([user, credentials, request.headers['user-agent']])
      return { label: 'ada\'s phone', meta: { app: '2.1' }, idleTimeout: '5m', absoluteTimeout: '1h', remember: false }
    }
  })
  const login = await ada.post('/login', { ...ADA, remember: true }, { headers: { 'user-agent': 'phone' } })
  t.strictSame(calls, [[{ id: 'ada', role: 'admin' }, { ...ADA, remember: true }, 'phone']])
  const { session } = login.json()
  t.equal(session.label, 'ada\'s phone')
  t.equal(session.expiresAt, session.createdAt + 5 * 60_000)
  t.notMatch(login.setCookies[0], /max-age|expires/i, 'its word is the last')
  t.match((await ada.get('/me')).json(), { meta: { app: '2.1' } })
})

t.test('onLogin may have nothing to say, or refuse', async (t) => {
  const silent = await routes(t, { onLogin: () => undefined })
  t.equal((await silent.ada.post('/login', ADA)).statusCode, 200)
  const strict = await routes(t, { onLogin: () => { throw Object.assign(new Error('Not from here'), { statusCode: 403 }) } })
  const response = await strict.ada.post('/login', ADA)
  t.equal(response.statusCode, 403)
  t.strictSame(response.setCookies, [])
  t.equal(strict.store.created.length, 0)
})

t.test('what onLogin gives is looked at as what app.login is given, and nobody is signed in by it', async (t) => {
  for (const [wrong, message] of [
    ['LEAKED', 'what onLogin returns must be an object'],
    [['LEAKED'], 'what onLogin returns must be an object'],
    [true, 'what onLogin returns must be an object'],
    [{ keep: 'LEAKED' }, 'keep must be true or an array of strings'],
    [{ remember: 'LEAKED' }, 'remember must be true or false'],
    [{ LEAKED: 1 }, 'options must have no members but label, meta, remember, keep, data, idp, methods, actor, idleTimeout, absoluteTimeout']
  ] as const) {
    const { app, ada, store } = await routes(t, { onLogin: (() => wrong) as unknown as AuthRoutesOptions['onLogin'] }, { bearer: true })
    for (const url of ['/login', '/token']) {
      const response = await ada.post(url, ADA)
      t.equal(response.statusCode, 500)
      t.equal(response.json().message, message)
      t.strictSame(response.setCookies, [])
      t.match(app.lines.find(({ level }) => level === 50), { err: { type: 'TypeError', message } })
    }
    t.equal(store.created.length, 0)
  }
})

t.test('[7.1.1] remember decides how long the cookie and the session stay', async (t) => {
  const { app, store } = await routes(t)
  const day = 86_400
  for (const [remember, maxAge, idle] of [[undefined, 7 * day, 30 * 60], [true, 90 * day, 30 * day], [false, null, 30 * 60]] as const) {
    const login = await new Browser(app).post('/login', { ...ADA, ...remember !== undefined && { remember } })
    t.equal(Number(/max-age=(\d+)/i.exec(login.setCookies[0] ?? '')?.[1] ?? NaN) || null, maxAge, `remember: ${remember}`)
    t.equal(store.created.at(-1)?.idleTimeoutMs, idle * 1000)
  }
})

t.test('remember in a body counts only where the schema of the credentials has it', async (t) => {
  const username = Type.String()
  const remember = Type.Optional(Type.Boolean())
  const undeclared = [
    Type.Object({ username }),
    Type.Object({ username }, { additionalProperties: true }),
    Type.Object({ username, rememberMe: remember })
  ]
  const declared = [Type.Object({ username, remember }), Type.Object({ username, remember: Type.Unknown() })]
  const timeouts: unknown[] = []
  for (const credentials of [...undeclared, ...declared]) {
    const { ada, store } = await routes(t, { credentials, verify: () => ({ id: 'ada' }) }, { bearer: true })
    for (const url of ['/login', '/token']) await ada.post(url, { username: 'ada', remember: true })
    timeouts.push(store.created.map(({ idleTimeoutMs }) => idleTimeoutMs / 60_000))
  }
  const month = 30 * 24 * 60
  t.strictSame(timeouts, [[30, 30], [30, 30], [30, 30], [month, month], [month, month]])
})

/** Sends a login over a connection of its own, which `leave` gives up while the credentials are looked at. */
type Visit = (port: number, url: string, seen: Promise<unknown>) => Promise<void>

const overSocket = (leave: (socket: Socket) => void): Visit => async (port, url, seen) => {
  const socket = connect(port, '127.0.0.1').on('error', () => {})
  const body = JSON.stringify(ADA)
  const headers = ['host: app.example', 'content-type: application/json', `content-length: ${body.length}`]
  socket.write([`POST ${url} HTTP/1.1`, ...headers, '', body].join('\r\n'))
  await seen
  leave(socket)
}

type Leave = (stream: ClientHttp2Stream, session: ClientHttp2Session) => void
const overHttp2 = (leave: Leave): Visit => async (port, url, seen) => {
  const session = connectHttp2(`http://127.0.0.1:${port}`).on('error', () => {})
  const stream = session.request({ ':method': 'POST', ':path': url, 'content-type': 'application/json' })
  stream.on('error', () => {})
  stream.end(JSON.stringify(ADA))
  await seen
  stream.once('close', () => session.close())
  leave(stream, session)
}

const http2 = { http2: true } as FastifyServerOptions
const DEPARTURES: Record<string, { visit: Visit, server?: FastifyServerOptions }> = {
  'closes its connection': { visit: overSocket((socket) => socket.end()) },
  'loses its connection': { visit: overSocket((socket) => socket.resetAndDestroy()) },
  'cancels its HTTP/2 request': { visit: overHttp2((stream) => stream.close(constants.NGHTTP2_CANCEL)), server: http2 },
  'closes its HTTP/2 connection': { visit: overHttp2((_stream, session) => session.destroy()), server: http2 }
}

for (const [departure, { visit, server = {} }] of Object.entries(DEPARTURES)) {
  t.test(`who ${departure} while the credentials are looked at leaves no session behind`, async (t) => {
    for (const [url, slow] of [['/login', 'verify'], ['/token', 'verify'], ['/login', 'onLogin']] as const) {
      const store = new CountingStore()
      const app = await startApp(t, { store, bearer: true }, server)
      const moments = new EventEmitter()
      const [seen, gone, sent] = [once(moments, 'seen'), once(moments, 'gone'), once(moments, 'sent')]
      app.addHook('onRequest', async (_request, reply) => { reply.raw.once('close', () => moments.emit('gone')) })
      app.addHook('onSend', async () => { moments.emit('sent') })
      const look = async (by: string): Promise<void> => {
        if (by !== slow) return
        moments.emit('seen')
        await gone
      }
      await app.register(authRoutes, {
        verify: async () => {
          await look('verify')
          return { id: 'ada' }
        },
        onLogin: async () => {
          await look('onLogin')
          return {}
        }
      })
      const port = Number(new URL(await app.listen({ host: '127.0.0.1', port: 0 })).port)
      await visit(port, url, seen)
      await sent
      t.strictSame(store.created, [], `${url}, ${slow}`)
      const told = app.lines.filter(({ err }) => err !== undefined)
      t.match(told, [{ level: 30, err: { code: 'ERR_SESSION_CLIENT_GONE' } }], 'the log says so')
      t.equal(told.length, 1)
    }
  })
}

t.test('who is still there when the credentials have been looked at is signed in', async (t) => {
  const { app, store } = await routes(t, {}, { bearer: true })
  const origin = await app.listen({ host: '127.0.0.1', port: 0 })
  const statuses: number[] = []
  const request = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(ADA) }
  for (const url of ['/login', '/token']) statuses.push((await fetch(origin + url, request)).status)
  t.strictSame(statuses, [200, 200])
  t.equal(store.created.length, 2)
})

t.test('credentials may be of any shape', async (t) => {
  const Body = Type.Object({ email: Type.String({ format: 'email' }), code: Type.Integer({ minimum: 0 }) }, { additionalProperties: false })
  const seen: unknown[] = []
  const app = await startApp(t)
  await app.register(authRoutes, authRoutesOptions({
    prefix: '/auth',
    credentials: Body,
    // The types of a schema: both would be errors of the compiler if they were of another.
    verify: async ({ email, code }) => {
      seen.push(email.toUpperCase(), code.toFixed())
      return { id: email }
    },
    onLogin: (_user, { code }) => ({ label: `code ${code + 1}` })
  }))
  const ada = new Browser(app)
  t.equal((await ada.post('/auth/login', { email: 'ada', code: 1 })).statusCode, 400)
  t.equal((await ada.post('/auth/login', ADA)).statusCode, 400)
  const login = await ada.post('/auth/login', { email: 'ada@example.com', code: 1, admin: true })
  t.equal(login.json().session.label, 'code 2')
  t.strictSame(seen, ['ADA@EXAMPLE.COM', '1'])
})

t.test('[15.3.3, CVE-2025-61928] unknown keys of a login reach nobody and are never stored', async (t) => {
  const seen: unknown[] = []
  const { ada, store } = await routes(t, { verify: (credentials) => { seen.push(credentials); return { id: 'ada', role: 'admin' } } })
  await ada.post('/login', { ...ADA, role: 'admin', userId: 'bob', keep: true, label: 'x', absoluteTimeout: '9y' })
  t.strictSame(seen, [ADA])
  t.strictSame(store.created.map(({ userId, data, label, meta }) => ({ userId, data: JSON.parse(data), label, meta })), [{ userId: 'ada', data: { userId: 'ada' }, label: null, meta: null }])
})

t.test('a body that is no login is refused without repeating it', async (t) => {
  const { app, store } = await routes(t)
  const post = async (payload: unknown, type = 'application/json') => await app.inject({ method: 'POST', url: '/login', payload: typeof payload === 'string' ? payload : JSON.stringify(payload), headers: { 'content-type': type } })
  const wrong = [
    '', '{', 'null', '[]', '5', '"LEAKED"', '{}', { username: 'LEAKED' }, { password: 'LEAKED' }, { username: '', password: 'LEAKED' }, { username: 'LEAKED', password: '' },
    { username: { $ne: null }, password: { $ne: null } }, { username: ['LEAKED', 'LEAKED'], password: 'LEAKED' }, { ...ADA, remember: 'LEAKED' },
    { username: 'LEAKED'.repeat(43), password: 'x' }, { username: 'x', password: 'LEAKED'.repeat(171) }, '{"username":"ada","password":"lovelace","__proto__":{"id":"LEAKED"}}'
  ]
  for (const payload of wrong) {
    const response = await post(payload)
    t.equal(response.statusCode, 400, JSON.stringify(payload).slice(0, 80))
    t.notMatch(response.body, 'LEAKED')
    t.equal(response.headers['set-cookie'], undefined)
  }
  t.equal((await post(JSON.stringify(ADA), 'text/plain')).statusCode, 400, 'text is no object')
  t.equal((await post('username=ada&password=lovelace', 'application/x-www-form-urlencoded')).statusCode, 415)
  t.equal((await post({ ...ADA, more: 'x'.repeat(1 << 20) })).statusCode, 413)
  t.equal((await app.inject({ method: 'POST', url: '/login' })).statusCode, 400)
  t.equal((await post({ username: 'x'.repeat(256), password: 'y'.repeat(1024) })).statusCode, 401, 'the longest that is one')
  t.equal(store.calls, 0)
})

t.test('[7.4.4] logout may be repeated, also by who was never signed in', async (t) => {
  const { app, ada, store } = await routes(t)
  const nobody = await app.inject({ method: 'POST', url: '/logout' })
  t.equal(nobody.statusCode, 204)
  t.equal(nobody.headers['set-cookie'], undefined)
  t.equal(store.calls, 0)
  await ada.post('/login', ADA)
  const cookie = ada.header
  t.equal((await ada.post('/logout')).statusCode, 204)
  const again = await ada.post('/logout')
  t.equal(again.statusCode, 204)
  t.strictSame(again.setCookies, [])
  for (const dead of [cookie, 'sid=forged', 'sid=']) {
    const response = await app.inject({ method: 'POST', url: '/logout', headers: { cookie: dead } })
    t.equal(response.statusCode, 204)
    t.match(response.headers['set-cookie'], /^sid=; Max-Age=0; Path=\/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax$/i, 'a dead cookie is taken back')
  }
  t.equal((await app.inject({ method: 'POST', url: '/logout', headers: { cookie: 'other=1; xsid=2' } })).headers['set-cookie'], undefined)
})

t.test('logout takes a body of any kind, or none', async (t) => {
  const { ada } = await routes(t)
  for (const [payload, type] of [['', undefined], ['{}', 'application/json'], ['x', 'text/plain']] as const) {
    await ada.post('/login', ADA)
    t.equal((await ada.post('/logout', payload, { headers: { ...type !== undefined && { 'content-type': type } } })).statusCode, 204)
    t.equal((await ada.get('/me')).statusCode, 401)
  }
})

t.test('logout ends one session of a user, not the others', async (t) => {
  const { app, ada, bob } = await routes(t)
  const phone = new Browser(app)
  await ada.post('/login', ADA)
  await phone.post('/login', ADA)
  await bob.post('/login', { username: 'bob', password: 'builder' })
  await ada.post('/logout')
  t.equal((await phone.get('/me')).json().userId, 'ada')
  t.equal((await bob.get('/me')).json().userId, 'bob')
})

t.test('[7.6.2] visitors who never sign in cost nothing', async (t) => {
  const { app, store } = await routes(t)
  const statuses: number[] = []
  for (let visit = 0; visit < 1000; visit++) {
    const replies = [
      await app.inject('/info'),
      await app.inject({ method: 'POST', url: '/logout' }),
      await app.inject({ url: '/info', headers: { cookie: `sid=${'x'.repeat(visit)}` } })
    ]
    for (const { statusCode, headers } of replies) if (headers['set-cookie'] === undefined) statuses.push(statusCode)
  }
  t.strictSame(statuses, Array.from({ length: 1000 }, () => [200, 204, 200]).flat(), 'no reply sets a cookie')
  t.equal(store.calls, 0)
})

t.test('a browser\'s form is sent on to fixed pages, a script gets its reply', async (t) => {
  const redirects = { login: '/welcome?from=login', failure: '/login?failed', logout: 'https://app.example.com/bye' }
  const { ada } = await routes(t, { redirects }, {}, async (app) => { await app.register(formbody) })
  const form = { headers: { 'content-type': 'application/x-www-form-urlencoded' } }
  const failure = await ada.post('/login', 'username=ada&password=wrong', form)
  t.equal(failure.statusCode, 303)
  t.equal(failure.headers.location, '/login?failed&error=invalid_credentials')
  t.strictSame(failure.setCookies, [])
  const login = await ada.post('/login', 'username=ada&password=lovelace&remember=on', form)
  t.equal(login.statusCode, 303)
  t.equal(login.headers.location, redirects.login)
  t.equal(login.body, '')
  t.match(login.setCookies, [/Max-Age=7776000/], 'a checkbox remembers')
  isPrivate(t, login)
  const logout = await ada.post('/logout', '', form)
  t.equal(logout.statusCode, 303)
  t.equal(logout.headers.location, redirects.logout)
  t.equal(ada.cookies.size, 0)
  t.equal((await ada.post('/login', { ...ADA, password: 'wrong' })).statusCode, 401)
  t.equal((await ada.post('/login', ADA)).statusCode, 200)
  t.equal((await ada.post('/logout')).statusCode, 204)
})

t.test('[14.3.1] a browser is asked to clear what it keeps after a sign-out that succeeded, if the application wants it', async (t) => {
  const asked = async (clearSiteData: AuthRoutesOptions['clearSiteData']): Promise<unknown> => {
    const { app, ada } = await routes(t, { clearSiteData })
    t.equal((await ada.post('/login', ADA)).headers['clear-site-data'], undefined)
    const { statusCode, headers } = await ada.post('/logout')
    t.equal(statusCode, 204)
    t.equal((await ada.post('/logout')).headers['clear-site-data'], headers['clear-site-data'], 'also when nobody was signed in')
    t.equal((await app.inject({ url: '/info' })).headers['clear-site-data'], undefined)
    return headers['clear-site-data']
  }
  for (const none of [undefined, false]) t.equal(await asked(none), undefined)
  t.equal(await asked(true), '"cache", "storage"')
  t.equal(await asked(['cookies', 'storage', 'executionContexts']), '"cookies", "storage", "executionContexts"')
  t.equal(await asked(['*']), '"*"')
})

t.test('a form that signs out is redirected, and its browser asked to clear what it keeps; not after a failure', async (t) => {
  const form = { headers: { 'content-type': 'application/x-www-form-urlencoded' } }
  const { ada, bob, store } = await routes(t, { redirects: { failure: '/failed' }, clearSiteData: true }, {}, async (app) => { await app.register(formbody) })
  await ada.post('/login', ADA)
  t.match(await ada.post('/logout', '', form), { statusCode: 303, headers: { 'clear-site-data': '"cache", "storage"' } })
  await ada.post('/login', ADA)
  await bob.post('/login', { username: 'bob', password: PASSWORDS.bob })
  const foreign = await ada.post('/logout', '', { headers: { 'sec-fetch-site': 'cross-site' } })
  t.equal(foreign.statusCode, 403)
  store.delete = async () => { throw Object.assign(new Error('the store is down'), { code: 'ERR_SESSION_STORE_UNAVAILABLE', statusCode: 503 }) }
  const failed = [foreign, await ada.post('/logout'), await bob.post('/logout', '', form)]
  t.match(failed.slice(1), [{ statusCode: 503 }, { statusCode: 303, headers: { location: '/failed?error=store_unavailable' } }])
  t.strictSame(failed.map(({ headers }) => headers['clear-site-data']), [undefined, undefined, undefined])
})

t.test('signing out succeeds whatever body a client sends along', async (t) => {
  for (const type of ['application/json', 'application/json; charset=utf-8', 'text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/octet-stream']) {
    for (const payload of [undefined, '', '{', 'x'.repeat(2_000_000)]) {
      const { ada } = await routes(t)
      await ada.post('/login', ADA)
      const response = await ada.post('/logout', payload, { headers: { 'content-type': type } })
      t.equal(response.statusCode, 204, `${type} ${String(payload).slice(0, 9)}`)
      t.equal(ada.cookies.size, 0)
    }
  }
})

t.test('options that do not exist are named', async (t) => {
  await t.rejects(routes(t, { redirect: {} } as never), { code: 'ERR_SESSION_INVALID_OPTIONS', message: /authRoutes: redirect is not an option/ })
  await t.rejects(routes(t, { redirects: { signin: '/' } } as never), { code: 'ERR_SESSION_INVALID_OPTIONS', message: /authRoutes: redirects\.signin is not an option/ })
})

t.test('the routes go where the application puts them', async (t) => {
  const { ada } = await routes(t, { prefix: '/api/v1/auth' })
  t.equal((await ada.post('/login', ADA)).statusCode, 404)
  t.equal((await ada.post('/api/v1/auth/login', ADA)).statusCode, 200)
  t.equal((await ada.get('/api/v1/auth/info')).json().authenticated, true)
  t.equal((await ada.post('/api/v1/auth/logout')).statusCode, 204)
})

t.test('the routes work below the plugin\'s context', async (t) => {
  const app = await startApp(t)
  await app.register(async (child) => {
    await child.register(async (grandchild) => { await grandchild.register(authRoutes, { verify }) }, { prefix: '/deep' })
  })
  const ada = new Browser(app)
  t.equal((await ada.post('/deep/login', ADA)).statusCode, 200)
  t.equal((await ada.get('/deep/info')).json().authenticated, true)
})

t.test('customers and admins sign in beside each other', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  for (const [prefix, cookieName] of [['/customers', 'customer'], ['/admins', 'admin']] as const) {
    app.register(async (child) => {
      await child.register(sessionPlugin, { secret, cookieName, cookie: { secure: false } })
      await child.register(authRoutes, { verify })
    }, { prefix })
  }
  const ada = new Browser(app as unknown as FastifyInstance)
  await ada.post('/customers/login', ADA)
  t.equal((await ada.get('/customers/info')).json().authenticated, true)
  t.equal((await ada.get('/admins/info')).json().authenticated, false)
  await ada.post('/admins/login', ADA)
  await ada.post('/customers/logout')
  t.equal((await ada.get('/customers/info')).json().authenticated, false)
  t.equal((await ada.get('/admins/info')).json().authenticated, true)
  ada.cookies.set('customer', ada.cookies.get('admin') as string)
  t.equal((await ada.get('/customers/info')).json().authenticated, false, 'a cookie of the one is nothing to the other')
})

t.test('an application whose decorators are renamed has the same routes', async (t) => {
  const app = await startApp(t, { decorators: { authenticate: 'guard', login: 'signIn', logout: 'signOut', auth: 'who', requireAuth: 'requireWho' } })
  await app.register(authRoutes, { verify, findUser: (id) => ({ id }) })
  const ada = new Browser(app)
  t.equal((await ada.post('/login', ADA)).statusCode, 200)
  t.equal((await ada.get('/info')).json().authenticated, true)
  t.equal((await ada.post('/logout')).statusCode, 204)
  t.equal((await ada.get('/info')).json().authenticated, false)
})

async function bootMessage (app: FastifyInstance): Promise<string | null> {
  try {
    await app.ready()
    return null
  } catch (error) {
    return `${(error as { code: string }).code} ${(error as Error).message}`
  }
}

t.test('outside of the plugin\'s context the routes are a boot error', async (t) => {
  const expected = 'ERR_SESSION_INVALID_OPTIONS Invalid session options: authRoutes must be registered after sessionPlugin, in its context or below'
  const alone = Fastify() as unknown as FastifyInstance
  alone.register(authRoutes, { verify })
  t.equal(await bootMessage(alone), expected)
  const beside = Fastify() as unknown as FastifyInstance
  beside.register(async (child) => { await child.register(sessionPlugin, { secret, store: new MemoryStore() }) })
  beside.register(authRoutes, { verify })
  t.equal(await bootMessage(beside), expected)
  const before = Fastify() as unknown as FastifyInstance
  before.register(authRoutes, { verify })
  before.register(sessionPlugin, { secret, store: new MemoryStore() })
  t.equal(await bootMessage(before), expected)
  for (const app of [alone, beside, before]) await app.close()
})

t.test('wrong options of the routes are boot errors, named at once', async (t) => {
  const message = async (options: unknown) => {
    const app = await startApp(t)
    app.register(authRoutes, options as AuthRoutesOptions)
    return await bootMessage(app)
  }
  const refused = (...faults: string[]) => `ERR_SESSION_INVALID_OPTIONS Invalid session options: ${faults.map((fault) => `authRoutes: ${fault}`).join('; ')}`
  const VERIFY = 'verify is required: a function'
  const REDIRECTS = 'redirects must be paths or URLs'
  const SCHEMAS = {
    credentials: 'credentials must be a TypeBox object schema, or implement Standard Schema',
    user: 'user must be a TypeBox object schema: it declares what replies may show'
  }
  t.equal(await message(undefined), refused(VERIFY))
  t.equal(await message({ prefix: '/auth' }), refused(VERIFY))
  for (const wrong of [null, 'LEAKED', {}, true]) t.equal(await message({ verify: wrong }), refused(VERIFY))
  t.equal(await message({ verify: 'LEAKED', findUser: 'LEAKED', onLogin: 'LEAKED', credentials: 'LEAKED', user: 'LEAKED', redirects: { login: 5, logout: '' } }), refused(
    VERIFY, 'findUser must be a function', 'onLogin must be a function', SCHEMAS.credentials, SCHEMAS.user, REDIRECTS, REDIRECTS
  ))
  const standard = { version: 1, vendor: 'test', validate: (value: unknown) => ({ value }) }
  const noSchemas = [null, Type.String(), Type.Array(Type.Object({})), { username: 'string' }, [], verify]
  const others = [null, true, {}, { ...standard, version: 2 }, { ...standard, validate: 'LEAKED' }].map((each) => ({ '~standard': each }))
  for (const [name, fault] of Object.entries(SCHEMAS)) {
    for (const wrong of [...noSchemas, ...others]) t.equal(await message({ verify, findUser: verify, [name]: wrong }), refused(fault))
  }
  for (const of of [{ '~standard': standard }, Object.assign(() => {}, { '~standard': standard })]) {
    t.equal(await message({ verify, credentials: of }), null)
    t.equal(await message({ verify, findUser: verify, user: of }), refused(SCHEMAS.user), 'it does not declare what may be shown')
  }
  const DATA = 'clearSiteData must be true, false or a list of "cache", "cookies", "storage", "executionContexts", "clientHints", "prefetchCache", "prerenderCache", "*"'
  for (const wrong of [null, 1, 'LEAKED', 'cache', {}, [], ['LEAKED'], ['cache', '"storage"'], ['toString'], [['cache']], [undefined]]) t.equal(await message({ verify, clearSiteData: wrong }), refused(DATA))
  for (const right of [undefined, ['cache', 'prerenderCache', 'prefetchCache', 'clientHints']]) t.equal(await message({ verify, clearSiteData: right }), null)
  for (const name of ['findUser', 'onLogin']) t.equal(await message({ verify, [name]: null }), refused(`${name} must be a function`))
  for (const redirects of [null, 5, true, { login: null }, { logout: ['/'] }]) t.equal(await message({ verify, redirects }), refused(REDIRECTS))
  t.equal(await message({ verify, redirects: '/LEAKED' }), refused(REDIRECTS), 'one path for both')
  t.equal(await message({ verify, user: PublicUser }), refused('findUser is required with user: a session knows no more of its user than the id'))
  t.equal(await message({ verify, findUser: undefined, onLogin: undefined, credentials: undefined, user: undefined, redirects: undefined }), null)
  t.equal(await message({ verify, redirects: { login: undefined, logout: '/' } }), null)
})

interface Schema { description?: string, type?: string | string[], properties?: Record<string, Schema>, items?: Schema, anyOf?: Schema[], oneOf?: Schema[], allOf?: Schema[] }

/** The places in a schema that say nothing of themselves. */
function silent (schema: Schema, path: string): string[] {
  const inner = Object.entries(schema.properties ?? {}).flatMap(([name, each]) => silent(each, `${path}.${name}`))
  const items = schema.items === undefined ? [] : silent(schema.items, `${path}[]`)
  // The alternatives of one thing have its description.
  const alternatives = [...schema.anyOf ?? [], ...schema.oneOf ?? [], ...schema.allOf ?? []].flatMap((each) => Object.entries(each.properties ?? {}).flatMap(([name, member]) => silent(member, `${path}|.${name}`)))
  return [...typeof schema.description === 'string' && schema.description.length > 3 ? [] : [path], ...inner, ...items, ...alternatives]
}

t.test('the API\'s description has the routes, and a word on everything in them', async (t) => {
  const app = await startApp(t)
  await app.register(swagger, { openapi: { openapi: '3.1.0', info: { title: 'test', version: '1' } } })
  await app.register(authRoutes, { prefix: '/auth', verify, findUser: verify as never, user: PublicUser })
  await app.ready()
  interface Operation { summary?: string, requestBody?: { content: Record<string, { schema: Schema }> }, responses: Record<string, { description?: string, content?: Record<string, { schema: Schema }> }> }
  const { paths } = app.swagger() as unknown as { paths: Record<string, Record<string, Operation>> }
  const found = Object.fromEntries(Object.entries(paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => [`${method} ${path}`, Object.keys(operation.responses)])))
  t.strictSame(found, {
    'post /auth/login': ['200', '303', '400', '401', '403', '409', '413', '429', '503'],
    'get /auth/info': ['200', '503'],
    'get /auth/remaining': ['200', '503'],
    'post /auth/logout': ['204', '303', '403', '503']
  })
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const name = `${method} ${path}`
      t.ok(operation.summary, name)
      for (const [type, { schema }] of Object.entries(operation.requestBody?.content ?? {})) t.strictSame(silent(schema, `${name} ${type}`), [])
      for (const [status, { description, content = {} }] of Object.entries(operation.responses)) {
        t.match(description, /.{3}/, `${name} ${status}`)
        t.not(description, 'Default Response', `${name} ${status}`)
        for (const { schema } of Object.values(content)) t.strictSame(silent(schema, `${name} ${status}`), [])
      }
    }
  }
  t.strictSame(Object.keys(paths['/auth/info']?.get?.responses['200']?.content?.['application/json']?.schema.properties ?? {}), ['authenticated', 'user', 'session'])
})

t.test('an error handler of the application says what it likes', async (t) => {
  const { ada } = await routes(t, {}, {}, async (app) => {
    app.setErrorHandler(async (error: Error & { statusCode?: number, code?: string }, _request, reply) => {
      await reply.code(error.statusCode ?? 500).send({ problem: error.code })
    })
  })
  const response = await ada.post('/login', { ...ADA, password: 'wrong' })
  t.equal(response.statusCode, 401)
  t.strictSame(response.json(), { problem: 'ERR_SESSION_INVALID_CREDENTIALS' })
})
