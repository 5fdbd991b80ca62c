import fastifyCookie from '@fastify/cookie'
import fastifySession from '@fastify/session'
import { RedisStore } from 'connect-redis'
import Fastify from 'fastify'
import { Redis } from 'ioredis'
import type { Started } from '../server.ts'
import { bodyOf } from '../variants.ts'
import { listening } from './listening.ts'
import type { Login } from './listening.ts'

export interface FastifySessionOptions {
  store?: 'redis' | 'memory'
  rolling?: boolean
  pipelining?: boolean
}

export async function start (redis: string, { store = 'redis', rolling = true, pipelining = false }: FastifySessionOptions): Promise<Started> {
  const app = Fastify()
  await app.register(fastifyCookie)
  await app.register(fastifySession, {
    secret: 'only for measuring, and 32 characters long',
    cookie: { secure: false },
    rolling,
    ...store === 'redis' && { store: new RedisStore({ client: new Redis(redis, { enableAutoPipelining: pipelining }), prefix: 'usual:' }) }
  })
  app.post<Login>('/login', async (request) => {
    request.session.userId = request.query.user
    return { ok: true }
  })
  app.get('/me', async (request, reply) => {
    const { userId } = request.session
    return typeof userId === 'string' ? bodyOf(userId) : await reply.code(401).send()
  })
  return await listening(app)
}
