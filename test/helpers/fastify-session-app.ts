import fastifyCookie from '@fastify/cookie'
import fastifySession from '@fastify/session'
import type { FastifySessionOptions } from '@fastify/session'
import { RedisStore as ConnectRedisStore } from 'connect-redis'
import Fastify from 'fastify'
import type { FastifyRequest } from 'fastify'
import type { Test } from 'tap'
import { secret } from './app.ts'
import type { ExpressApp, ExpressOptions } from './express-app.ts'

export interface FastifySessionAppOptions extends Pick<ExpressOptions, 'client' | 'store' | 'keyPrefix' | 'ttl'> {
  session?: Partial<FastifySessionOptions>
}

type Data = Record<string, unknown>

/** An application as one finds them: @fastify/session on connect-redis, on ioredis. Its routes are those of `startExpress`. */
export async function startFastifySession (t: Test, { client, keyPrefix, ttl, store, session }: FastifySessionAppOptions): Promise<ExpressApp> {
  const app = Fastify({ forceCloseConnections: true })
  const gates: ExpressApp['gates'] = new Map()
  const failures: unknown[] = []
  const old = session?.secret ?? secret
  // As most applications have it: one secret for all that is signed.
  await app.register(fastifyCookie, { secret: old as string })
  await app.register(fastifySession, {
    store: store ?? new ConnectRedisStore({ client, prefix: keyPrefix, ...ttl !== undefined && { ttl } }),
    secret: old,
    saveUninitialized: false,
    ...session,
    cookie: { secure: false, ...session?.cookie }
  } as FastifySessionOptions)
  const data = (request: FastifyRequest): Data => request.session as unknown as Data
  /** A route that signs in as its README says: under a new id. */
  const signsIn = (path: string, change: (values: Data, id: string, before: Data) => void): void => {
    app.post<{ Params: { id: string } }>(path, async (request) => {
      const before = { ...data(request as FastifyRequest) }
      await request.session.regenerate()
      change(data(request as FastifyRequest), request.params.id, before)
      return 'ok'
    })
  }
  signsIn('/login/:id', (values, id) => { values.userId = id })
  signsIn('/number/:id', (values, id) => { values.userId = Number(id) })
  signsIn('/user/:id', (values, id) => { values.user = { id, name: id } })
  // As @fastify/passport does.
  signsIn('/passport/:id', (values, id) => { values.passport = id })
  app.post<{ Params: { id: string } }>('/assign/:id', async (request) => {
    data(request as FastifyRequest).userId = request.params.id
    return 'ok'
  })
  app.post<{ Params: { key: string } }>('/slow/:key', async (request) => {
    const gate = gates.get(request.params.key)
    gate?.reach()
    await gate?.opened
    data(request as FastifyRequest)[request.params.key] = request.body ?? true
    return 'ok'
  })
  app.post<{ Params: { key: string } }>('/put/:key', async (request) => {
    data(request as FastifyRequest)[request.params.key] = request.body
    return 'ok'
  })
  app.get('/data', async (request) => {
    const { cookie, ...values } = data(request)
    return values
  })
  app.post('/out', async (request) => {
    await request.session.destroy()
    return 'ok'
  })
  // What a visitor chose, in a signed cookie.
  app.post<{ Params: { value: string } }>('/prefer/:value', async (request, reply) => {
    void reply.setCookie('preference', request.params.value, { path: '/', signed: true })
    return 'ok'
  })
  app.addHook('onError', async (_request, _reply, error) => { failures.push(error) })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  return { url, gates, failures }
}
