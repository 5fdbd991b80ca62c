import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { sessionPlugin } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { secret } from './app.ts'

/** Sessions that end after half an hour without use, and after two hours however busy they are; every use is written down. */
export const TIMEOUTS = { idleTimeout: '30m', absoluteTimeout: '2h', touchAfter: 0 } as const

/** An application that tells who is signed in. */
export async function startService (options: Partial<SessionOptions>): Promise<FastifyInstance> {
  const app = Fastify({ forceCloseConnections: true })
  await app.register(sessionPlugin, { secret, cookie: { secure: false }, bearer: true, ...TIMEOUTS, ...options })
  app.get('/', async () => 'up')
  app.post('/login', async (request) => await app.login(request, { id: 'ada' }))
  app.get('/me', { preHandler: app.authenticate }, async (request) => ({ ...request.requireAuth(), clock: Date.now() }))
  app.get('/recent', { preHandler: app.requireRecentLogin('10m') }, async () => 'recent')
  return app
}
