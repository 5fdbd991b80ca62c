import { once } from 'node:events'
import websocket from '@fastify/websocket'
import { createTRPCClient, httpBatchLink, httpBatchStreamLink, TRPCClientError } from '@trpc/client'
import { fastifyTRPCPlugin } from '@trpc/server/adapters/fastify'
import type { FastifyTRPCPluginOptions } from '@trpc/server/adapters/fastify'
import Fastify from 'fastify'
import type { FastifyRequest } from 'fastify'
import sessionPlugin from 'fastify-user-sessions'
import { test } from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { appRouter, buildApp } from '../trpc/server.ts'
import type { AppRouter } from '../trpc/server.ts'
import { secret } from '../../test/helpers/app.ts'
import { freePort, root, startProgram } from '../../test/helpers/process.ts'
import { startRedis } from '../../test/helpers/redis.ts'
import type { TestRedis } from '../../test/helpers/redis.ts'

type Api = ReturnType<typeof createTRPCClient<AppRouter>>

const ada = { username: 'ada', password: 'lovelace' }

/** A client: a browser, which keeps the session's cookie, or an app, which is given a token. */
class Client {
  readonly api: Api
  cookie = ''
  token = ''
  /** Headers that its requests carry besides. */
  headers: Record<string, string> = {}
  /** What it asked so far, and the status of each answer. */
  readonly requests: string[] = []
  /** The last answer's `Set-Cookie`. */
  setCookie: string | null = null

  constructor (url: string, link: typeof httpBatchLink | typeof httpBatchStreamLink = httpBatchLink) {
    this.api = createTRPCClient<AppRouter>({ links: [link({ url: `${url}/trpc`, fetch: async (target, init) => await this.#fetch(target, init as RequestInit) })] })
  }

  async #fetch (target: string | URL | Request, init: RequestInit): Promise<Response> {
    const headers = new Headers({ ...Object.fromEntries(new Headers(init.headers)), ...this.headers })
    if (this.cookie !== '') headers.set('cookie', this.cookie)
    if (this.token !== '') headers.set('authorization', `Bearer ${this.token}`)
    const response = await fetch(target, { ...init, headers })
    this.requests.push(`${init.method} ${new URL(String(target)).pathname} ${response.status}`)
    this.setCookie = response.headers.get('set-cookie')
    if (this.setCookie !== null) this.cookie = this.setCookie.includes('Max-Age=0') ? '' : this.setCookie.split(';')[0] ?? ''
    return response
  }
}

async function startServer (t: Test): Promise<{ url: string, redis: TestRedis }> {
  const redis = await startRedis(t)
  const app = await buildApp({ redis: redis.url })
  t.teardown(async () => { await app.close() })
  return { url: await app.listen({ host: '127.0.0.1', port: 0 }), redis }
}

/** The HTTP status and the codes of tRPC and of the plugin with which a call is refused. */
async function refusal (call: Promise<unknown>): Promise<{ status?: number | undefined, code?: string | undefined, sessionCode?: unknown }> {
  const error = await call.then(() => null, (error: unknown) => error)
  if (!(error instanceof TRPCClientError)) throw new Error('the call was not refused', { cause: error })
  const { data } = error as TRPCClientError<AppRouter>
  return { status: data?.httpStatus, code: data?.code, ...data != null && 'sessionCode' in data && { sessionCode: data.sessionCode } }
}

const UNAUTHORIZED = { status: 401, code: 'UNAUTHORIZED' }
const UNAUTHORIZED_DATA = { httpStatus: 401, code: 'UNAUTHORIZED' }

test('ada signs in by a mutation, its reply gives her browser the cookie, and procedures know her by it', async (t) => {
  const { url } = await startServer(t)
  const browser = new Client(url)
  t.equal(await browser.api.whoami.query(), null)
  t.same(await refusal(browser.api.secret.query()), UNAUTHORIZED)
  t.equal(browser.setCookie, null, 'a visitor gets no cookie')
  t.same(await browser.api.login.mutate(ada), { userId: '1' })
  t.match(browser.setCookie, /^sid=[\w-]{22}\.[\w.-]+; .*HttpOnly; SameSite=Lax$/)
  t.equal(await browser.api.whoami.query(), '1')
  t.equal(await browser.api.secret.query(), 'for the eyes of 1')
  t.equal(await new Client(url).api.whoami.query(), null, 'nobody else is')
})

test('a wrong password, an unknown name and what is no credentials are refused, without a cookie', async (t) => {
  const mallory = new Client((await startServer(t)).url)
  t.same(await refusal(mallory.api.login.mutate({ username: 'ada', password: 'builder' })), UNAUTHORIZED)
  t.same(await refusal(mallory.api.login.mutate({ username: 'mallory', password: 'lovelace' })), UNAUTHORIZED)
  t.same(await refusal(mallory.api.token.mutate({ username: 'ada', password: '' })), UNAUTHORIZED)
  for (const input of [undefined, null, 'ada', {}, { ...ada, password: 1 }, { ...ada, username: 'a'.repeat(65) }]) {
    t.same(await refusal(mallory.api.login.mutate(input as typeof ada)), { status: 400, code: 'BAD_REQUEST' }, JSON.stringify(input))
  }
  t.equal(mallory.cookie, '')
})

test('all calls of a batch are made by whom the cookie names, and each is refused for itself where there is none', async (t) => {
  const browser = new Client((await startServer(t)).url)
  const batch = async () => await Promise.allSettled([browser.api.whoami.query(), browser.api.secret.query(), browser.api.whoami.query()])
  t.match(await batch(), [{ value: null }, { reason: { data: UNAUTHORIZED_DATA } }, { value: null }])
  await browser.api.login.mutate(ada)
  t.match(await batch(), [{ value: '1' }, { value: 'for the eyes of 1' }, { value: '1' }])
  t.same(browser.requests, ['GET /trpc/whoami,secret,whoami 207', 'POST /trpc/login 200', 'GET /trpc/whoami,secret,whoami 200'])
})

test('a login in a batch with other calls still gives the cookie', async (t) => {
  const browser = new Client((await startServer(t)).url)
  const [login, token] = await Promise.allSettled([browser.api.login.mutate(ada), browser.api.token.mutate({ username: 'bob', password: 'lovelace' })])
  t.match([login, token], [{ value: { userId: '1' } }, { reason: { data: UNAUTHORIZED_DATA } }])
  t.same(browser.requests, ['POST /trpc/login,token 207'])
  t.equal(await browser.api.whoami.query(), '1')
})

test('guesses at a password do not fit into one request by the hundred', async (t) => {
  const mallory = new Client((await startServer(t)).url)
  const guesses = Array.from({ length: 11 }, (_, index) => mallory.api.login.mutate({ username: 'ada', password: `guess ${index}` }))
  for (const guess of await Promise.all(guesses.map(refusal))) t.same(guess, { status: 400, code: 'BAD_REQUEST' })
})

test('an app signs in with a token, alone and in batches, and its logged-out token is refused', async (t) => {
  const { url } = await startServer(t)
  const [app, browser] = [new Client(url), new Client(url)]
  const { token } = await app.api.token.mutate(ada)
  t.match(token, /^fus_/)
  t.equal(app.setCookie, null, 'tokens come without a cookie')
  app.token = token
  t.equal(await app.api.whoami.query(), '1')
  t.same(await Promise.all([app.api.whoami.query(), app.api.secret.query()]), ['1', 'for the eyes of 1'])
  await browser.api.login.mutate(ada)
  await app.api.logout.mutate()
  t.equal(await app.api.whoami.query(), null)
  t.same(await refusal(app.api.secret.query()), UNAUTHORIZED)
  t.equal(await browser.api.whoami.query(), '1', 'the browser stays signed in')
})

test('signed out in the browser, the cookie is taken back, and a copy of it is refused', async (t) => {
  const { url } = await startServer(t)
  const [browser, thief] = [new Client(url), new Client(url)]
  await browser.api.login.mutate(ada)
  thief.cookie = browser.cookie
  t.equal(await thief.api.whoami.query(), '1')
  await browser.api.logout.mutate()
  t.match(browser.setCookie, /^sid=; Max-Age=0;/)
  t.same(await refusal(thief.api.secret.query()), UNAUTHORIZED)
})

test('a page of another site can neither sign ada out nor sign her in as mallory', async (t) => {
  const { url } = await startServer(t)
  const browser = new Client(url)
  await browser.api.login.mutate(ada)
  browser.headers = { origin: 'https://mallory.example', 'sec-fetch-site': 'cross-site' }
  await t.rejects(browser.api.logout.mutate())
  await t.rejects(Promise.all([browser.api.logout.mutate(), browser.api.login.mutate({ username: 'bob', password: 'builder' })]))
  t.same(browser.requests.slice(1), ['POST /trpc/logout 403', 'POST /trpc/logout,login 403'])
  browser.headers = {}
  t.equal(await browser.api.whoami.query(), '1')

  const visitor = new Client(url)
  visitor.headers = { origin: 'https://mallory.example' }
  t.match(await refusal(visitor.api.login.mutate(ada)), { status: 403, sessionCode: 'ERR_SESSION_CSRF_REJECTED' })
  t.equal(visitor.setCookie, null)
})

test('without Redis a signed-in caller is told 503 and not 401, and a visitor is served', async (t) => {
  const { url, redis } = await startServer(t)
  const browser = new Client(url)
  await browser.api.login.mutate(ada)
  await redis.stop()
  t.match(await refusal(browser.api.secret.query()), { status: 503, sessionCode: 'ERR_SESSION_STORE_UNAVAILABLE' })
  t.match(await refusal(browser.api.whoami.query()), { status: 503, sessionCode: 'ERR_SESSION_STORE_UNAVAILABLE' })
  t.equal(await new Client(url).api.whoami.query(), null)
})

test('streamed batches are answered as whom the cookie names, but no login is made whose cookie could not be sent', async (t) => {
  const { url, redis } = await startServer(t)
  const streaming = new Client(url, httpBatchStreamLink)
  t.same(await refusal(streaming.api.login.mutate(ada)), { status: 400, code: 'BAD_REQUEST' })
  t.same(await redis.client.keys('*'), [])
  const browser = new Client(url)
  await browser.api.login.mutate(ada)
  streaming.cookie = browser.cookie
  t.same(await Promise.all([streaming.api.whoami.query(), streaming.api.secret.query()]), ['1', 'for the eyes of 1'])
})

/** What the procedures say to one message over a WebSocket, whose `req` is Node's and not Fastify's. */
async function overWebSocket (t: Test, url: string, { path, headers }: { path: string, headers: Record<string, string> }): Promise<unknown> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/trpc`, { headers })
  t.teardown(() => { socket.terminate() })
  await once(socket, 'open')
  socket.send(JSON.stringify({ id: 1, method: 'query', params: { path } }))
  return JSON.parse(String((await once(socket, 'message'))[0]))
}

test('over WebSockets a guarded procedure lets nobody in, neither a stranger nor a page of another site', async (t) => {
  const app = Fastify()
  t.teardown(async () => { await app.close() })
  await app.register(websocket)
  await app.register(sessionPlugin, { secret, cookie: { secure: false } })
  app.post('/login', async (request) => await app.login(request, { id: 1 }))
  await app.register(fastifyTRPCPlugin, {
    prefix: '/trpc',
    useWSS: true,
    trpcOptions: {
      router: appRouter,
      createContext: ({ req: request, info }) => ({ request, isStreamed: info.accept !== null, get auth () { return (request as FastifyRequest).auth } })
    }
  } satisfies FastifyTRPCPluginOptions<AppRouter>)
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const login = await fetch(`${url}/login`, { method: 'POST' })
  const cookie = login.headers.get('set-cookie')?.split(';')[0] ?? ''
  for (const headers of [{}, { cookie }]) {
    t.match(await overWebSocket(t, url, { path: 'secret', headers }), { error: { data: { code: 'UNAUTHORIZED', httpStatus: 401 } } })
    t.match(await overWebSocket(t, url, { path: 'whoami', headers }), { result: { data: null } })
  }
  await t.rejects(overWebSocket(t, url, { path: 'whoami', headers: { cookie, origin: 'https://mallory.example' } }), /403/)
})

test('the program signs in and answers as its README says', async (t) => {
  const port = await freePort()
  await startProgram(t, `${root}examples/trpc/server.ts`, port, {})
  const url = `http://127.0.0.1:${port}/trpc`
  const login = await fetch(`${url}/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(ada) })
  t.same(await login.json(), { result: { data: { userId: '1' } } })
  const cookie = login.headers.get('set-cookie')?.split(';')[0] ?? ''
  t.same(await (await fetch(`${url}/whoami`, { headers: { cookie } })).json(), { result: { data: '1' } })
})
