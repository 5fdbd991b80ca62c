import { connect } from 'node:net'
import formbody from '@fastify/formbody'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import fp from 'fastify-plugin'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, MemoryStore, sessionPlugin, sessionRoutes, storeErrors } from '../../lib/index.ts'
import type { AuthRoutesOptions, SessionOptions, SessionRoutesOptions } from '../../lib/index.ts'
import { newId } from '../../lib/session/token.ts'
import { secret, startApp } from '../helpers/app.ts'
import type { LogLine } from '../helpers/app.ts'
import { withRealLimits } from '../helpers/patience.ts'
import { MINUTE } from '../helpers/record.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { Gate, slowToEnd, SpyStore } from '../helpers/spy-store.ts'
import { listen, Visitor } from '../helpers/visitor.ts'
import type { Answer } from '../helpers/visitor.ts'

const AUTH: NonNullable<AuthRoutesOptions['redirects']> = { login: '/welcome', failure: '/login?from=form#top', logout: '/bye' }
const SESSIONS: NonNullable<SessionRoutesOptions['redirects']> = { done: '/devices', failure: '/devices?again' }
const CROSS_SITE: Array<Record<string, string>> = [{ 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }, { origin: 'https://evil.example' }, { origin: 'null' }]
const ADA = { username: 'ada', password: 'lovelace' }

/** What an application may throw for the password that has its name. */
const THROWN: Record<string, unknown> = {
  error: new Error('LEAKED: no database at 10.0.0.7'),
  locked: Object.assign(new Error('LEAKED: ada is locked'), { statusCode: 423, code: 'LEAKED_ACCOUNT' }),
  status: Object.assign(new Error('LEAKED'), { status: 404 }),
  headers: Object.assign(new Error('LEAKED'), { statusCode: 429, code: 'LEAKED_429', headers: { 'retry-after': '7', location: 'https://evil.example/LEAKED' } }),
  odd: Object.assign(new Error('LEAKED'), { statusCode: 200 }),
  text: 'LEAKED',
  object: { statusCode: 403, message: 'LEAKED', code: 'LEAKED' },
  nothing: undefined,
  null: null
}

const verify: AuthRoutesOptions['verify'] = async ({ username, password }) => {
  if (Object.hasOwn(THROWN, password)) throw THROWN[password]
  return password === 'lovelace' ? { id: username } : null
}

interface Options { plugin?: Partial<SessionOptions>, auth?: Partial<AuthRoutesOptions>, sessions?: SessionRoutesOptions, server?: FastifyServerOptions, prepare?: (app: FastifyInstance) => unknown }

/** An application with both kinds of routes, over a real socket. */
async function open (t: Test, { plugin = {}, auth, sessions, server = {}, prepare }: Options = {}) {
  const app = await startApp(t, { store: new MemoryStore(), ...plugin }, server)
  await app.register(formbody)
  await prepare?.(app)
  await app.register(authRoutes, { prefix: '/auth', verify, redirects: AUTH, attempts: false, ...auth })
  await app.register(sessionRoutes, { prefix: '/sessions', redirects: SESSIONS, ...sessions })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth().userId)
  app.get('/data', async (request) => ({ ...request.session }))
  const url = await listen(app)
  const signIn = async (username = 'ada'): Promise<Visitor> => {
    const visitor = new Visitor(url)
    t.equal((await visitor.form('/auth/login', { username, password: 'lovelace' })).status, 303)
    t.equal((await visitor.get('/me')).body, username)
    return visitor
  }
  return { app, url, signIn, visitor: () => new Visitor(url) }
}

const idOf = (visitor: Visitor): string => visitor.cookies.get('sid')?.split('.')[0] ?? ''
const isSignedIn = async (visitor: Visitor): Promise<boolean> => (await visitor.get('/me')).status === 200
const locationOf = ({ headers }: Answer): string | null => headers.get('location')

/** A form was sent to a page, and nothing else was said. */
function isRedirect (t: Test, answer: Answer, location: string, { cookies = [], name = location }: { cookies?: Array<string | RegExp>, name?: string } = {}): void {
  const { status, body, headers } = answer
  t.strictSame([status, headers.get('location'), body, headers.get('content-type'), headers.get('cache-control')], [303, location, '', null, 'no-store'], name)
  t.match(answer.cookies, cookies, name)
  t.equal(answer.cookies.length, cookies.length, name)
  t.notMatch(JSON.stringify([...headers]), 'LEAKED')
}

const CLEARED = [/^sid=; Max-Age=0/i]
const REMEMBERED = [/^sid-return=[^;]/]
/** What a page is told of an error with this code. */
const query = (code: string): string => `error=${code}${code.startsWith('store_') ? '&retry_after=1' : ''}`
const failed = (code: string): string => `/login?from=form&${query(code)}#top`

t.test('a form that signs in or out is sent to the page of its outcome', async (t) => {
  const { visitor } = await open(t)
  const ada = visitor()
  isRedirect(t, await ada.form('/auth/login', ADA), '/welcome', { cookies: [/^sid=/] })
  t.equal((await ada.get('/me')).body, 'ada')
  isRedirect(t, await ada.form('/auth/logout', {}), '/bye', { cookies: CLEARED })
  isRedirect(t, await ada.form('/auth/logout', {}), '/bye')
})

t.test('pages that are not named are those of the plugin', async (t) => {
  for (const [pages, login, home] of [[{}, '/login', '/'], [{ login: '/sign-in?x', home: '/start' }, '/sign-in?x', '/start']] as const) {
    const { visitor } = await open(t, { plugin: { pages }, auth: { redirects: {} }, sessions: { redirects: {} } })
    const [ada, phone] = [visitor(), visitor()]
    isRedirect(t, await ada.form('/auth/login', { ...ADA, password: 'wrong' }), `${login}${login.includes('?') ? '&' : '?'}error=invalid_credentials`)
    for (const each of [ada, phone]) isRedirect(t, await each.form('/auth/login', ADA), home, { cookies: [/^sid=/] })
    isRedirect(t, await ada.form(`/sessions/${newId()}/revoke`, {}), `${home}?error=not_found`)
    isRedirect(t, await ada.form('/sessions/revoke-others', {}), home)
    isRedirect(t, await ada.form('/auth/logout', {}), login, { cookies: CLEARED })
  }
})

/** Failures of a login, by the code that the page is told. */
const LOGINS: Array<{ code: string, fields?: Record<string, string>, headers?: Record<string, string>, options?: Options }> = [
  { code: 'invalid_credentials', fields: { ...ADA, password: 'wrong' } },
  { code: 'bad_request', fields: {} },
  { code: 'bad_request', fields: { ...ADA, username: '' } },
  { code: 'bad_request', fields: { ...ADA, password: 'x'.repeat(1025) } },
  { code: 'bad_request', headers: { 'content-type': 'multipart/form-data; boundary=x' } },
  { code: 'bad_request', options: { server: { bodyLimit: 10 } } },
  ...CROSS_SITE.map((headers) => ({ code: 'csrf_rejected', headers })),
  { code: 'ambiguous_credentials', headers: { authorization: 'Bearer x' }, options: { plugin: { bearer: true } } },
  { code: 'store_unavailable', options: { plugin: { store: failing('begin') } } },
  { code: 'store_full', options: { plugin: { store: Object.assign(new MemoryStore(), { begin: async () => { throw new storeErrors.STORE_FULL() } }) } } },
  { code: 'insecure_connection', options: { plugin: { cookie: { secure: true } } } },
  ...['error', 'odd', 'text', 'nothing', 'null'].map((password) => ({ code: 'server_error', fields: { ...ADA, password } })),
  ...['locked', 'status', 'object'].map((password) => ({ code: 'bad_request', fields: { ...ADA, password } })),
  { code: 'server_error', options: { auth: { verify: () => ({}) as never } } },
  { code: 'server_error', options: { auth: { onLogin: () => { throw new Error('LEAKED') } } } },
  { code: 'bad_request', options: { auth: { onLogin: async () => { throw Object.assign(new Error('LEAKED'), { statusCode: 403 }) } } } },
  { code: 'server_error', options: { auth: { onLogin: () => 'LEAKED' as never } } }
]

function failing (...operations: Array<Parameters<SpyStore['failing']['add']>[0]>): SpyStore {
  const store = new SpyStore()
  for (const each of operations) store.failing.add(each)
  return store
}

/** Codes of failures that are the server's: the log has them as errors. */
const SERVERS = ['server_error', 'store_unavailable', 'store_full', 'insecure_connection']

t.test('every login by a form that fails is sent to the page of failures, with a code and nothing else', async (t) => {
  for (const { code, fields = ADA, headers = {}, options = {} } of LOGINS) {
    const { app, visitor } = await open(t, options)
    const name = JSON.stringify([code, fields.password?.slice(0, 9), headers, Object.keys(options)])
    isRedirect(t, await visitor().form('/auth/login', fields, headers), failed(code), { name })
    t.strictSame(app.lines.filter((line) => 'err' in line).map(({ level }) => level), fields.password === 'nothing' ? [] : [SERVERS.includes(code) ? 50 : 30], `${name} in the log`)
    t.strictSame(await app.sessions.listByUser('ada'), [], name)
  }
})

t.test('a code is all that the page is told, whatever code an error of the application has', async (t) => {
  for (const [error, code] of [
    [{ code: 'ERR_SESSION_LEAKED', statusCode: 400 }, 'bad_request'], [{ code: 'ERR_SESSION_' }, 'server_error'], [{ code: 'ERR_SESSION_toString' }, 'server_error'], [{ code: 'ERR_SESSION___proto__' }, 'server_error'],
    [{ code: ['ERR_SESSION_NOT_FOUND&next=//evil.example'], statusCode: 422 }, 'bad_request'], [{ code: 'x\r\nset-cookie: a=b', statusCode: 499 }, 'bad_request'], [{ code: Symbol('LEAKED') }, 'server_error'], [{ code: 'ERR_SESSION_LIMIT_REACHED', statusCode: 409 }, 'limit_reached']
  ] as const) {
    const { visitor } = await open(t, { auth: { verify: async () => { throw Object.assign(new Error('LEAKED'), error) } } })
    isRedirect(t, await visitor().form('/auth/login', ADA), failed(code), { name: String(error.code) })
  }
})

t.test('a login by a form waits as long as it is told', async (t) => {
  const { visitor } = await open(t, { auth: { attempts: { accountNetwork: { max: 1, within: '1m' } } } })
  const mallory = visitor()
  isRedirect(t, await mallory.form('/auth/login', { ...ADA, password: 'wrong' }), failed('invalid_credentials'))
  const refused = await mallory.form('/auth/login', ADA)
  const [, seconds] = /&retry_after=(\d+)#/.exec(locationOf(refused) ?? '') ?? []
  t.ok(Number(seconds) > 0 && Number(seconds) <= 60, String(seconds))
  isRedirect(t, refused, `/login?from=form&error=too_many_attempts&retry_after=${seconds}#top`)
  t.equal(refused.headers.get('retry-after'), null, 'with a redirect it says when to follow that')
  isRedirect(t, await (await open(t)).visitor().form('/auth/login', { ...ADA, password: 'headers' }), '/login?from=form&error=bad_request&retry_after=7#top')
})

t.test('a form is told of the limit of sessions, and of data that is too large', async (t) => {
  const full = await open(t, { plugin: { maxSessionsPerUser: 1, onLimit: 'reject' } })
  const ada = await full.signIn()
  isRedirect(t, await full.visitor().form('/auth/login', ADA), failed('limit_reached'))
  t.equal(await isSignedIn(ada), true)
  const large = await open(t, { auth: { verify: ({ username }, request) => { request.session.cart = 'x'.repeat(100_000); return { id: username } }, onLogin: () => ({ keep: true }) } })
  isRedirect(t, await large.visitor().form('/auth/login', ADA), failed('data_too_large'))
})

t.test('a form that fails signs nobody in, also where verify has assigned a user', async (t) => {
  for (const saves of [false, true]) {
    for (const then of ['null', 'error', 'locked', 'onLogin']) {
      const store = new SpyStore()
      const { app, visitor } = await open(t, {
        plugin: { store },
        auth: {
          verify: async ({ username }, request) => {
            request.session.userId = 'ada'
            if (saves) await request.session.save()
            if (then === 'onLogin') return { id: username }
            if (then === 'null') return null
            throw THROWN[then]
          },
          onLogin: (_user, _credentials, request) => {
            request.session.userId = 'ada'
            throw THROWN.error
          }
        }
      })
      const mallory = visitor()
      const { status } = await mallory.form('/auth/login', { ...ADA, username: 'mallory' })
      t.equal(status, 303)
      t.equal(await isSignedIn(mallory), false, `${then} ${saves}`)
      t.strictSame(await app.sessions.listByUser('ada'), [], `${then} ${saves}`)
      t.equal(store.calls.includes('begin'), saves, 'it was taken back, or never was')
    }
  }
})

t.test('what verify keeps in the session is kept by a form that fails; where that fails too, the page is told so', async (t) => {
  const store = new SpyStore()
  const { app, visitor } = await open(t, { plugin: { store }, auth: { verify: (_credentials, request) => { request.session.visits = Number(request.session.visits ?? 0) + 1; return null } } })
  const ada = visitor()
  for (const visits of [1, 2]) {
    t.equal(locationOf(await ada.form('/auth/login', ADA)), failed('invalid_credentials'))
    t.match(JSON.parse((await ada.get('/data')).body), { visits })
  }
  for (const each of ['begin', 'update'] as const) store.failing.add(each)
  for (const each of [ada, visitor()]) isRedirect(t, await each.form('/auth/login', ADA), failed('store_unavailable'))
  t.strictSame(app.lines.filter(({ err }) => err !== undefined).map(({ level, err }) => [level, (err as { code: string }).code]), [
    [30, 'ERR_SESSION_INVALID_CREDENTIALS'], [30, 'ERR_SESSION_INVALID_CREDENTIALS'], ...Array.from({ length: 2 }, () => [[30, 'ERR_SESSION_INVALID_CREDENTIALS'], [50, 'ERR_SESSION_STORE_UNAVAILABLE']]).flat()
  ])
})

t.test('a call about the session that nobody awaited fails the form as well', async (t) => {
  const { visitor } = await open(t, { auth: { verify: ({ username }, request) => { void request.server.requireRecentLogin('1m')(request, undefined as never); return { id: username } } } })
  const { status, headers, body } = await visitor().form('/auth/login', ADA)
  t.strictSame([status, headers.get('location'), body], [303, failed('unauthenticated'), ''])
})

t.test('when Redis is down a form is sent to its page, and a logout takes the cookie back all the same', async (t) => {
  const server = await startRedis(t)
  const { signIn, visitor } = await open(t, { plugin: { store: undefined, redis: server.url, keyPrefix: prefix() }, auth: { attempts: {} } })
  const [ada, bob] = [await signIn(), await signIn('bob')]
  await server.stop()
  for (const answer of [await visitor().form('/auth/login', ADA), await ada.form(`/sessions/${newId()}/revoke`, {}), await ada.form('/sessions/revoke-others', {})]) {
    const page = answer.headers.get('location')?.startsWith('/login') === true ? failed('store_unavailable') : `/devices?again&${query('store_unavailable')}`
    isRedirect(t, answer, page)
  }
  isRedirect(t, await ada.form('/auth/logout', {}), failed('store_unavailable'), { cookies: CLEARED })
  isRedirect(t, await bob.form(`/sessions/${idOf(bob)}/revoke`, {}), `/devices?again&${query('store_unavailable')}`)
})

t.test('a logout by a form from another site signs nobody out', async (t) => {
  const { signIn, visitor } = await open(t, { plugin: { bearer: true } })
  const ada = await signIn()
  for (const headers of CROSS_SITE) {
    for (const each of [ada, visitor()]) isRedirect(t, await each.form('/auth/logout', {}, headers), failed('csrf_rejected'))
  }
  isRedirect(t, await ada.form('/auth/logout', {}, { authorization: 'Bearer x' }), failed('ambiguous_credentials'))
  t.equal(await isSignedIn(ada), true)
  for (const type of ['multipart/form-data; boundary=x', 'application/x-www-form-urlencoded; charset=utf-8', 'Application/X-WWW-Form-Urlencoded']) {
    const bob = await signIn('bob')
    isRedirect(t, await bob.form('/auth/logout', { junk: 'x'.repeat(2_000_000) }, { 'content-type': type }), '/bye', { cookies: CLEARED, name: type })
  }
})

t.test('a code goes into the query of any target', async (t) => {
  for (const [failure, location] of [
    ['/login', '/login?error=invalid_credentials'], ['/login?', '/login?error=invalid_credentials'], ['/login?a=1&', '/login?a=1&error=invalid_credentials'], ['/login#form', '/login?error=invalid_credentials#form'], ['/login?a#b?c', '/login?a&error=invalid_credentials#b?c'],
    ['/login?error=1', '/login?error=invalid_credentials'], ['/login?error&a=error&errors=2', '/login?a=error&errors=2&error=invalid_credentials'], ['/login?a=?&b=%26', '/login?a=?&b=%26&error=invalid_credentials'], ['login', 'login?error=invalid_credentials'], ['?x', '?x&error=invalid_credentials'], ['#x', '?error=invalid_credentials#x'],
    ['https://app.example', 'https://app.example?error=invalid_credentials'], ['https://app.example/login?a=1#b', 'https://app.example/login?a=1&error=invalid_credentials#b']
  ] as const) {
    const { visitor } = await open(t, { auth: { redirects: { failure } } })
    isRedirect(t, await visitor().form('/auth/login', { ...ADA, password: 'wrong' }), location)
  }
})

/** A reply but for what is new in every reply. */
const replyOf = ({ status, body, headers, cookies }: Answer) => ({ status, body, cookies: cookies.length, headers: [...headers].filter(([name]) => name !== 'date' && name !== 'set-cookie') })

/** A script's request. */
async function send (visitor: Visitor, method: string, path: string, body?: string, headers: Record<string, string> = {}): Promise<Answer> {
  const cookie = [...visitor.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  const response = await fetch(visitor.url + path, { method, redirect: 'manual', headers: { ...cookie !== '' && { cookie }, ...body !== undefined && { 'content-type': 'application/json' }, ...headers }, ...body !== undefined && { body } })
  return { status: response.status, body: await response.text(), headers: response.headers, cookies: response.headers.getSetCookie() }
}

const said = (lines: LogLine[]) => lines.filter((line) => 'err' in line).map(({ level, msg, err }) => ({ level, msg, code: (err as { code?: string } | null)?.code }))

t.test('scripts get the same replies with redirects as without, and the log the same lines', async (t) => {
  const handlers: Array<NonNullable<Options['prepare']>> = [() => {}, (app) => app.setErrorHandler(async (error: unknown, _request, reply) => await reply.code(418).send({ mine: String((error as Error | undefined)?.message) }))]
  for (const prepare of handlers) {
    const [plain, forms] = [await open(t, { prepare, auth: { redirects: undefined }, sessions: { redirects: undefined } }), await open(t, { prepare })]
    const passwords = ['wrong', 'lovelace', ...Object.keys(THROWN)]
    const requests: Array<Parameters<typeof send> extends [Visitor, ...infer Rest] ? Rest : never> = [
      ...passwords.map((password): [string, string, string] => ['POST', '/auth/login', JSON.stringify({ ...ADA, password })]),
      ['POST', '/auth/login'], ['POST', '/auth/login', '{'], ['POST', '/auth/login', '{}'], ['POST', '/auth/login', JSON.stringify(ADA), { origin: 'https://evil.example' }], ['POST', '/auth/login', 'x', { 'content-type': 'application/xml' }], ['POST', '/auth/login', 'x'.repeat(2_000_000)],
      ['POST', '/auth/logout'], ['POST', '/auth/logout', '{}'], ['POST', '/auth/logout', '{}', { 'sec-fetch-site': 'cross-site' }],
      ...['DELETE', 'POST'].flatMap((method): Array<[string, string]> => [[method, method === 'POST' ? '/sessions/revoke-others' : '/sessions'], [method, `/sessions/x${method === 'POST' ? '/revoke' : ''}`], [method, `/sessions/${'x'.repeat(200)}/revoke`], [method, '/sessions/a/b/revoke']]),
      ['DELETE', '/sessions', 'x=1', { 'content-type': 'application/x-www-form-urlencoded' }]
    ]
    for (const request of requests) {
      const [before, after] = [await send(plain.visitor(), ...request), await send(forms.visitor(), ...request)].map(replyOf)
      const withoutIds = (of: typeof before) => JSON.parse(JSON.stringify(of).replace(/\\"(id|\w+At)\\":(\\"[\w-]+\\"|\d+)/g, ''))
      t.strictSame(withoutIds(after), withoutIds(before), request.join(' ').slice(0, 80))
    }
    t.strictSame(said(forms.app.lines), said(plain.app.lines))
  }
})

t.test('without redirects forms get JSON, from the routes that end sessions too', async (t) => {
  const { signIn, visitor } = await open(t, { auth: {}, sessions: { redirects: undefined } })
  const [ada, phone] = [await signIn(), await signIn()]
  const nobody = await visitor().form('/sessions/revoke-others', {})
  t.strictSame([nobody.status, JSON.parse(nobody.body).code], [401, 'ERR_SESSION_UNAUTHENTICATED'])
  t.equal((await ada.form(`/sessions/${idOf(phone)}/revoke`, {})).status, 204)
  t.equal(await isSignedIn(phone), false)
  t.strictSame(JSON.parse((await ada.form('/sessions/revoke-others', {})).body), { revoked: 0 })
})

t.test('an application\'s error handler gets what scripts do wrong, and its onError hook all of it', async (t) => {
  const [handled, seen]: [string[], string[]] = [[], []]
  const { visitor } = await open(t, {
    server: { allowErrorHandlerOverride: false },
    prepare: (app) => {
      app.addHook('onError', async (request, _reply, { message }) => { seen.push(`${request.headers['content-type']?.slice(0, 16)} ${message}`) })
      app.setErrorHandler(async (error: Error, _request, reply) => { handled.push(error.message); return await reply.code(418).send({ mine: error.message }) })
    }
  })
  isRedirect(t, await visitor().form('/auth/login', { ...ADA, password: 'wrong' }), failed('invalid_credentials'))
  t.strictSame(JSON.parse((await send(visitor(), 'POST', '/auth/login', JSON.stringify({ ...ADA, password: 'wrong' }))).body), { mine: 'Invalid credentials' })
  t.strictSame([handled, seen], [['Invalid credentials'], ['application/x-ww Invalid credentials', 'application/json Invalid credentials']])
})

t.test('errors of the application\'s own routes are its own, also where it registers the routes in its own scope', async (t) => {
  const app = await startApp(t, { store: new MemoryStore() }, { allowErrorHandlerOverride: false })
  await app.register(formbody)
  app.setErrorHandler(async (_error, _request, reply) => await reply.code(418).send('mine'))
  // Of a function of its own: it marks the one that it is given.
  await app.register(fp(async (scope) => {
    await authRoutes(scope, { verify, redirects: AUTH })
    await sessionRoutes(scope, { redirects: SESSIONS })
  }))
  app.post('/orders', async () => { throw new Error('no stock') })
  app.post('/sessions/cart', async () => 'kept')
  app.setNotFoundHandler(async (request, reply) => await reply.code(404).send(`no ${request.url}`))
  const visitor = new Visitor(await listen(app))
  t.strictSame([(await visitor.form('/orders', {})).body, (await visitor.form('/sessions/cart', {})).body], ['mine', 'kept'])
  isRedirect(t, await visitor.form('/login', {}), failed('bad_request'))
  for (const path of ['/nothing', '/a/b/c', '/revoke', '/x/revoke/']) t.equal((await visitor.form(path, {}, { origin: 'https://evil.example' })).body, `no ${path}`)
})

t.test('a reply that the application has sent or taken over stays its own', async (t) => {
  const taken: Record<string, (app: FastifyInstance) => unknown> = {
    hijacked: (app) => app.addHook('preHandler', async (_request, reply) => { reply.hijack(); reply.raw.end('mine') }),
    'hijacked, then an error': (app) => app.addHook('preHandler', async (_request, reply) => { reply.hijack(); reply.raw.end('mine'); throw new Error('late') }),
    sent: (app) => app.addHook('preHandler', async (_request, reply) => await reply.send('mine')),
    'sent, then an error': (app) => app.addHook('preHandler', async (_request, reply) => { reply.send('mine'); throw new Error('late') })
  }
  for (const [name, prepare] of Object.entries(taken)) {
    const { app, visitor } = await open(t, { prepare })
    for (const [path, fields] of [['/auth/login', { ...ADA, password: 'wrong' }], ['/sessions/revoke-others', {}]] as const) {
      const { status, body, headers, cookies } = await visitor().form(path, fields)
      t.strictSame([status, body, headers.get('location'), cookies], [200, 'mine', null, []], name)
    }
    t.strictSame(await app.sessions.listByUser('ada'), [])
  }
})

t.test('a client that goes away is redirected nowhere, and is no error of the server', async (t) => {
  const gate = new Gate()
  const { app, url } = await open(t, {
    auth: {
      verify: async ({ username }, request) => {
        // Not `once`, which rejects with the error of the socket.
        const gone = new Promise((resolve) => request.socket.on('close', resolve))
        void gate.pass()
        await gone
        return { id: username }
      }
    }
  })
  const body = new URLSearchParams(ADA).toString()
  const socket = connect(Number(new URL(url).port), '127.0.0.1').on('error', () => {})
  socket.write(`POST /auth/login HTTP/1.1\r\nhost: app.example\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
  await gate.reached
  socket.resetAndDestroy()
  const told = (): LogLine[] => app.lines.filter((line) => 'err' in line)
  await until('the line of the log', () => told().length > 0)
  t.match(told(), [{ level: 30, err: { code: 'ERR_SESSION_CLIENT_GONE' } }])
  t.equal(told().length, 1)
  t.strictSame(await app.sessions.listByUser('ada'), [])
})

t.test('a warning says that nothing reads forms, at boot', async (t) => {
  const warned = async (prepare: (app: FastifyInstance) => Promise<unknown>): Promise<string[]> => {
    const lines: LogLine[] = []
    const app = Fastify({ logger: { level: 'warn', stream: { write: (text: string) => { lines.push(JSON.parse(text)) } } } }) as unknown as FastifyInstance
    t.teardown(() => app.close())
    await app.register(sessionPlugin, { secret, cookie: { secure: false }, store: new MemoryStore() })
    await prepare(app)
    await app.ready()
    return lines.map(({ msg }) => msg).filter((msg) => msg.includes('formbody'))
  }
  const routes = async (app: FastifyInstance, redirects?: AuthRoutesOptions['redirects']) => await app.register(authRoutes, { verify, redirects })
  const WARNING = ['redirects are for forms, and no parser for application/x-www-form-urlencoded is registered here: register @fastify/formbody before these routes']
  t.strictSame(await warned((app) => routes(app, {})), WARNING)
  t.strictSame(await warned(async (app) => { await routes(app, {}); await app.register(formbody) }), WARNING, 'too late')
  t.strictSame(await warned(async (app) => { for (const prefix of ['/a', '/b']) await app.register(authRoutes, { verify, redirects: {}, prefix }) }), WARNING, 'once')
  t.strictSame(await warned(async (app) => { await app.register(formbody); await routes(app, {}) }), [])
  t.strictSame(await warned((app) => routes(app)), [], 'none are expected')
  t.strictSame(await warned(async (app) => await app.register(sessionRoutes, { redirects: {} })), [], 'their bodies say nothing')
})

t.test('a form ends one session, all others, or this one', async (t) => {
  const { signIn, app } = await open(t)
  const [here, phone, laptop, tablet, bob] = [await signIn(), await signIn(), await signIn(), await signIn(), await signIn('bob')]
  isRedirect(t, await here.form(`/sessions/${idOf(phone)}/revoke`, {}), '/devices')
  t.strictSame(await Promise.all([here, phone, laptop, tablet, bob].map(isSignedIn)), [true, false, true, true, true])
  isRedirect(t, await here.form('/sessions/revoke-others', {}), '/devices')
  t.strictSame(await Promise.all([here, laptop, tablet, bob].map(isSignedIn)), [true, false, false, true])
  const copy = here.copy()
  isRedirect(t, await here.form(`/sessions/${idOf(here)}/revoke`, {}), '/login', { cookies: CLEARED })
  t.equal(await isSignedIn(copy), false)
  t.strictSame(await app.sessions.listByUser('ada'), [])
})

/** The paths of both forms, and of ids that are none. */
const ENDINGS = ['/sessions/revoke-others', `/sessions/${newId()}/revoke`, '/sessions/x/revoke', '/sessions/%2f/revoke', '/sessions/__proto__/revoke']

t.test('a form that ends sessions and fails is sent to its page; who has to sign in, to the login and back', async (t) => {
  let now = Date.now()
  const { signIn, visitor } = await open(t, { plugin: { store: new MemoryStore({ now: () => now }), idleTimeout: '1d', bearer: true } })
  const [ada, phone, bob] = [await signIn(), await signIn(), await signIn('bob')]
  const again = (code: string): string => `/devices?again&error=${code}`
  for (const path of [...ENDINGS, `/sessions/${idOf(bob)}/revoke`]) {
    const name = path.slice(0, 40)
    isRedirect(t, await visitor().form(path, {}), '/login?error=unauthenticated', { name, cookies: REMEMBERED })
    isRedirect(t, await ada.form(path, {}, { authorization: 'Bearer x' }), again('ambiguous_credentials'), { name })
    for (const headers of CROSS_SITE) {
      for (const each of [ada, visitor()]) isRedirect(t, await each.form(path, {}, headers), again('csrf_rejected'), { name })
    }
    if (path !== ENDINGS[0]) isRedirect(t, await ada.form(path, { big: 'x'.repeat(2_000_000) }, { 'content-type': 'multipart/form-data; boundary=x' }), again('not_found'), { name })
  }
  t.strictSame(await Promise.all([ada, phone, bob].map(isSignedIn)), [true, true, true])
  now += 11 * MINUTE
  for (const path of [...ENDINGS, `/sessions/${idOf(phone)}/revoke`]) isRedirect(t, await ada.form(path, {}), '/login?error=reauth_required', { cookies: REMEMBERED })
  for (const path of [`/sessions/${'x'.repeat(101)}/revoke`, `/sessions/${'x'.repeat(5000)}/revoke`, '/sessions/a/b/revoke']) t.match((await ada.form(path, {})).status, /^4(04|14)$/)
  isRedirect(t, await ada.form('/auth/login', ADA), '/devices', { cookies: [/^sid-return=; Max-Age=0/, /^sid=[^;]/] })
  isRedirect(t, await ada.form(`/sessions/${idOf(ada)}/revoke`, {}), '/login', { cookies: CLEARED })
  t.strictSame(await Promise.all([phone, bob].map(isSignedIn)), [true, true])
})

t.test('a form does not wait for very many sessions to end', async (t) => {
  withRealLimits(t)
  const { store, gate } = slowToEnd()
  const { signIn } = await open(t, { plugin: { store } })
  const [here, phone] = [await signIn(), await signIn()]
  isRedirect(t, await here.form('/sessions/revoke-others', {}), '/devices')
  t.equal(await isSignedIn(phone), false)
  const pending = await send(here, 'POST', '/sessions/revoke-others')
  t.strictSame([pending.status, JSON.parse(pending.body)], [202, { revoked: 0, pending: true }])
  gate.open()
})

t.test('a session that cannot be ended is told of, and its store that cannot list too', async (t) => {
  const store = failing('delete')
  const { signIn } = await open(t, { plugin: { store } })
  const [ada, phone] = [await signIn(), await signIn()]
  isRedirect(t, await ada.form(`/sessions/${idOf(phone)}/revoke`, {}), `/devices?again&${query('store_unavailable')}`)
  isRedirect(t, await ada.form(`/sessions/${idOf(ada)}/revoke`, {}), `/devices?again&${query('store_unavailable')}`, { cookies: CLEARED })
})

t.test('targets that no header can hold are boot errors, of both kinds of routes', async (t) => {
  const message = async (routes: typeof authRoutes | typeof sessionRoutes, options: object): Promise<string> => {
    const app = await startApp(t)
    return await app.register(routes as typeof authRoutes, { ...routes === authRoutes && { verify }, ...options } as AuthRoutesOptions).then(() => 'taken', ({ message }) => message)
  }
  for (const wrong of ['', ' ', '/a b', '/a\r\nset-cookie: x=y', '/\u0000', '/\u4f60', '/\u00fc', 5, null, {}, ['/'], () => '/']) {
    t.equal(await message(authRoutes, { redirects: { failure: wrong } }), 'Invalid session options: authRoutes: redirects must be paths or URLs')
    t.equal(await message(sessionRoutes, { redirects: { done: wrong } }), 'Invalid session options: sessionRoutes: redirects must be paths or URLs')
  }
  t.equal(await message(sessionRoutes, { redirects: '/LEAKED', recentLogin: 'LEAKED' }), "Invalid session options: sessionRoutes: recentLogin must be milliseconds or a string such as '30m', or false; sessionRoutes: redirects must be paths or URLs")
  t.equal(await message(sessionRoutes, { redirects: { done: '/', login: '/' } }), 'Invalid session options: sessionRoutes: redirects.login is not an option')
})
