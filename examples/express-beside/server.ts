// A Fastify application beside an Express one: one Redis, one cookie, and a login on either is a login on both.
import { randomBytes } from 'node:crypto'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import sessionPlugin, { authRoutes } from 'fastify-user-sessions'
import { Redis } from 'ioredis'
import { buildExpress } from './express.ts'
import { checkUser } from './users.ts'

export async function buildFastify ({ redis, secret }: { redis: string, secret: string }): Promise<FastifyInstance> {
  const app = Fastify({ logger: { level: 'warn' } })

  await app.register(sessionPlugin, {
    // Both sides sign the cookie with this secret.
    secret,
    redis,
    // The cookie is Express' connect.sid, the user is its `session.userId`.
    expressSession: 'share',
    cookie: { secure: process.env.NODE_ENV === 'production' }
  })

  await app.register(authRoutes, {
    prefix: '/auth',
    verify: async ({ username, password }) => await checkUser(username, password)
  })

  app.get('/me', { preHandler: app.authenticate }, async (request) => {
    return { userId: request.requireAuth().userId, by: 'Fastify' }
  })

  // Ends all sessions of the user. One that Express began is known here once it was used here.
  app.post('/logout-everywhere', { preHandler: app.authenticate }, async (request) => {
    return { signedOut: await app.sessions.revokeUser(request.requireAuth().userId) }
  })
  return app
}

if (process.argv[1] === import.meta.filename) {
  const redis = process.env.REDIS_URL ?? 'redis://127.0.0.1:6379'
  const secret = process.env.SESSION_SECRET ?? randomBytes(32).toString('base64')
  const [port, expressPort] = [Number(process.env.PORT ?? 3000), Number(process.env.EXPRESS_PORT ?? 3001)]
  buildExpress({ client: new Redis(redis), secret }).listen(expressPort)
  const app = await buildFastify({ redis, secret })
  console.log(`Express at http://localhost:${expressPort}, Fastify at ${await app.listen({ port })}`)
}
