import type { AddressInfo } from 'node:net'
import formbody from '@fastify/formbody'
import websocket from '@fastify/websocket'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import sessionPlugin, { authRoutes, MemoryStore, sessionRoutes } from '../../lib/index.ts'
import type { AuthRoutesOptions, SessionOptions } from '../../lib/index.ts'
import { secret } from '../helpers/app.ts'
import type { Certificate } from '../helpers/certificate.ts'
import type { Owner } from '../helpers/redis.ts'

/** What the application was asked, how it answered, and what the browser had said. */
interface Answer {
  /** Method and path. */
  to: string
  status: number
  /** `Sec-Fetch-Site`. */
  from: string | undefined
  /** The names of the cookies that came along. */
  cookies: string[]
}

export interface Site {
  app: FastifyInstance
  /** Where it is in the browser: `https://app.example:1234`. */
  url: string
  /** In their order; requests for an icon are left out. */
  answers: Answer[]
  /** The application's own data: what was posted to `/notes`, by whom. */
  notes: string[]
}

export interface SiteOptions {
  /** Over https with it, over http without. */
  tls?: Certificate
  host?: string
  session?: Partial<SessionOptions>
  /** Of the routes that sign in and out. */
  auth?: Partial<AuthRoutesOptions>
  server?: FastifyServerOptions
  /** Of every reply. */
  headers?: Record<string, string>
  /** An origin whose scripts it lets send whatever they want and read the answers, as CORS has it. */
  lets?: string
}

/** An application as a team would write it: a page with forms, the routes of this package, a route and a socket of its own. */
export async function startSite (t: Owner, { tls, host = 'app.example', session = {}, auth = {}, server = {}, headers: given = {}, lets }: SiteOptions): Promise<Site> {
  const headers = { ...given }
  const app = Fastify({ ...server, https: tls ?? null, forceCloseConnections: true } as FastifyServerOptions) as unknown as FastifyInstance
  t.teardown(async () => { await app.close() })
  const answers: Answer[] = []
  const notes: string[] = []
  app.addHook('onRequest', async (_request, reply) => { reply.headers(headers) })
  app.addHook('onSend', async (request, reply) => {
    if (request.url === '/favicon.ico') return
    const cookies = (request.headers.cookie ?? '').split('; ').filter(Boolean).map((each) => each.split('=')[0] ?? '')
    answers.push({ to: `${request.method} ${request.url}`, status: reply.statusCode, from: request.headers['sec-fetch-site'] as string | undefined, cookies })
  })

  if (lets !== undefined) {
    Object.assign(headers, { 'access-control-allow-origin': lets, 'access-control-allow-credentials': 'true', 'access-control-allow-headers': 'content-type', 'access-control-allow-methods': 'DELETE' })
    app.options('*', async (_request, reply) => reply.code(204).send())
  }
  await app.register(formbody)
  await app.register(websocket)
  await app.register(sessionPlugin, { secret, store: new MemoryStore(), ...session })
  const verify: AuthRoutesOptions['verify'] = async ({ username, password }) => password === `${username}'s password` ? { id: username } : null
  await app.register(authRoutes, { prefix: '/auth', verify, ...auth })
  // For the page's own forms.
  await app.register(authRoutes, { prefix: '/forms', verify, ...auth, redirects: { login: '/', failure: '/?failed', logout: '/' } })
  await app.register(sessionRoutes, { prefix: '/auth/sessions' })

  app.get('/', async (request, reply) => {
    return reply.header('cache-control', 'no-store').type('text/html').send(request.auth === null ? page(VISITOR) : page(member(request.auth.userId)))
  })
  app.get('/private', { preHandler: app.authenticate }, async (request, reply) => {
    return reply.header('cache-control', 'no-store').type('text/html').send(page(`<p id="who">${request.requireAuth().userId}</p><p>a secret</p>`))
  })
  app.post('/notes', { preHandler: app.authenticate }, async (request, reply) => {
    const { text } = (typeof request.body === 'string' ? JSON.parse(request.body) : request.body) as { text: string }
    notes.push(`${request.requireAuth().userId}: ${text}`)
    return reply.redirect('/', 303)
  })
  app.get('/live', { websocket: true, onRequest: app.authenticate }, (socket, request) => {
    const { userId, signal } = request.requireAuth()
    signal.addEventListener('abort', () => socket.close(4401, 'the session has ended'), { once: true })
    socket.send(`hello ${userId}`)
  })

  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  return { app, url: `${tls === undefined ? 'http' : 'https'}://${host}:${port}`, answers, notes }
}

const page = (body: string): string => `<!doctype html><title>Notes</title>${body}`

const VISITOR = `
  <p id="who">nobody</p>
  <form id="sign-in" method="post" action="/forms/login">
    <input name="username"><input name="password" type="password"><input name="remember" type="checkbox"><button>Sign in</button>
  </form>`

const member = (userId: string): string => `
  <p id="who">${userId}</p>
  <form id="note" method="post" action="/notes"><input name="text"><button>Keep</button></form>
  <form id="sign-out" method="post" action="/forms/logout"><button>Sign out</button></form>`
