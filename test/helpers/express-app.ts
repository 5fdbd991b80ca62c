import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { RedisStore as ConnectRedisStore } from 'connect-redis'
import express from 'express'
import session from 'express-session'
import type { Store } from 'express-session'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { authRoutes, sessionRoutes } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { secret, startApp } from './app.ts'
import type { LogLine } from './app.ts'

/** A request held up between reading its session and answering. */
export class Gate {
  reach = () => {}
  open = () => {}
  readonly reached = new Promise<void>((resolve) => { this.reach = resolve })
  readonly opened = new Promise<void>((resolve) => { this.open = resolve })
}

export interface ExpressOptions {
  /** What connect-redis is given; a Cluster is not for it. */
  client?: object
  store?: Store
  keyPrefix: string
  /** Seconds a session without an expiry of its own lives. */
  ttl?: number
  session?: Partial<session.SessionOptions>
}

export interface ExpressApp { url: string, gates: Map<string, Gate>, failures: unknown[] }

/** An application as one finds them: express-session on connect-redis, on ioredis. */
export async function startExpress (t: Test, { client, keyPrefix, ttl, store, session: options }: ExpressOptions): Promise<ExpressApp> {
  const app = express()
  const gates = new Map<string, Gate>()
  const failures: unknown[] = []
  app.use(session({
    store: store ?? new ConnectRedisStore({ client, prefix: keyPrefix, ...ttl !== undefined && { ttl } }) as unknown as Store,
    secret,
    resave: false,
    saveUninitialized: false,
    ...options
  }))
  app.use(express.json({ strict: false }))
  const data = (request: express.Request) => request.session as unknown as Record<string, unknown>
  /** A handler that signs in as tutorials say: under a new id. */
  const signsIn = (change: (values: Record<string, unknown>, id: string, before: Record<string, unknown>) => void): express.RequestHandler<{ id: string }> => (request, response, next) => {
    const before = { ...data(request as unknown as express.Request) }
    request.session.regenerate((error) => {
      if (error) return next(error)
      change(request.session as unknown as Record<string, unknown>, request.params.id, before)
      response.send('ok')
    })
  }
  app.post('/login/:id', signsIn((values, id) => { values.userId = id }))
  app.post('/number/:id', signsIn((values, id) => { values.userId = Number(id) }))
  app.post('/user/:id', signsIn((values, id) => { values.user = { id, name: id } }))
  app.post('/passport/:id', signsIn((values, id) => { values.passport = { user: id } }))
  // As passport does with keepSessionInfo.
  app.post('/keep/:id', signsIn((values, id, before) => {
    for (const [name, value] of Object.entries(before)) if (name !== 'cookie') values[name] = value
    values.userId = id
  }))
  app.post('/assign/:id', (request, response) => {
    data(request).userId = request.params.id
    response.send('ok')
  })
  app.post('/slow/:key', async (request, response) => {
    const gate = gates.get(request.params.key)
    gate?.reach()
    await gate?.opened
    data(request)[request.params.key] = request.body ?? true
    response.send('ok')
  })
  app.post('/put/:key', (request, response) => {
    data(request)[request.params.key] = request.body
    response.send('ok')
  })
  app.get('/data', (request, response) => {
    const { cookie, _session, ...values } = data(request)
    response.json(values)
  })
  app.post('/out', (request, response, next) => request.session.destroy((error) => error ? next(error) : response.send('ok')))
  app.post('/forget', (request, response) => {
    delete data(request).userId
    response.send('ok')
  })
  app.use((error: unknown, _request: express.Request, response: express.Response, _next: express.NextFunction) => {
    failures.push(error)
    response.status(500).send('failed')
  })
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, gates, failures }
}

export type Shop = FastifyInstance & { lines: LogLine[], url: string, events: unknown[] }

/** The application beside it, with this plugin. */
export async function startShop (t: Test, options: Partial<SessionOptions> & { onLogin?: Parameters<typeof authRoutes>[1]['onLogin'] }): Promise<Shop> {
  const { onLogin, ...rest } = options
  const app = await startApp(t, rest, { forceCloseConnections: true })
  const events: unknown[] = []
  for (const name of ['created', 'revoked', 'expired'] as const) app.sessions.on(name, (event) => events.push({ name, ...event }))
  await app.register(authRoutes, { prefix: '/auth', verify: async ({ username }) => ({ id: username }), ...onLogin !== undefined && { onLogin } })
  await app.register(sessionRoutes, { prefix: '/auth/sessions' })
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.auth)
  app.get('/recent', { preHandler: app.requireRecentLogin('10m') }, async () => 'ok')
  app.get('/data', async (request) => request.session)
  app.get('/public', async () => 'ok')
  app.post<{ Params: { id: string } }>('/in/:id', async (request) => await app.login(request, { id: request.params.id }))
  app.post<{ Params: { id: string } }>('/user/:id', async (request) => {
    Object.assign(request.session, { user: { id: request.params.id, name: request.params.id } })
    return 'ok'
  })
  app.post<{ Params: { id: string } }>('/assign/:id', async (request) => {
    request.session.userId = request.params.id
    return 'ok'
  })
  app.post<{ Params: { key: string } }>('/put/:key', async (request) => {
    request.session[request.params.key] = request.body
    return 'ok'
  })
  app.post<{ Params: { key: string } }>('/delete/:key', async (request) => {
    delete request.session[request.params.key]
    return 'ok'
  })
  app.post('/out', async (request) => {
    await app.logout(request)
    return 'ok'
  })
  app.post('/everywhere', async (request) => String(await app.sessions.revokeUser(request.requireAuth().userId)))
  app.post('/destroy', async (request) => {
    await request.session.destroy()
    return 'ok'
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  return Object.assign(app, { url, events })
}

export interface Answer { status: number, body: any, setCookies: string[], location: string | null }

/** A person's browser: one jar for all applications of one host, as browsers have it. */
export class Jar {
  readonly cookies = new Map<string, string>()
  /** Every line of every reply but those that set cookies. */
  readonly seen: string[] = []

  copy (): Jar {
    const copy = new Jar()
    for (const [name, value] of this.cookies) copy.cookies.set(name, value)
    return copy
  }

  get header (): string {
    return [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
  }

  async request (app: { url: string }, method: string, path: string, body?: unknown): Promise<Answer> {
    const response = await fetch(app.url + path, {
      method,
      redirect: 'manual',
      headers: { ...this.cookies.size > 0 && { cookie: this.header }, ...body !== undefined && { 'content-type': 'application/json' } },
      ...body !== undefined && { body: JSON.stringify(body) }
    })
    const setCookies = response.headers.getSetCookie()
    for (const line of setCookies) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (/; (max-age=0|expires=Thu, 01 Jan 1970 [^;]*)(;|$)/i.test(line)) this.cookies.delete(name)
      else this.cookies.set(name, value)
    }
    const text = await response.text()
    this.seen.push(text, ...[...response.headers].filter(([name]) => name !== 'set-cookie').map(([, value]) => value))
    return { status: response.status, location: response.headers.get('location'), body: /^[[{"]/.test(text) ? JSON.parse(text) : text, setCookies }
  }

  async get (app: { url: string }, path: string): Promise<Answer> {
    return await this.request(app, 'GET', path)
  }

  async post (app: { url: string }, path: string, body?: unknown): Promise<Answer> {
    return await this.request(app, 'POST', path, body)
  }

  /** Whom an application of ours takes the browser's holder for. */
  async user (shop: { url: string }): Promise<string | null> {
    const { status, body } = await this.get(shop, '/me')
    if (status !== 200 && status !== 401) throw new Error(`/me answered ${status}`)
    return status === 200 ? body.userId : null
  }
}
