import Fastify from 'fastify'
import { peer } from '../../peers.ts'
import type { Started } from '../server.ts'
import { bodyOf } from '../variants.ts'
import { listening } from './listening.ts'
import type { Login } from './listening.ts'

export async function start (): Promise<Started> {
  const { default: secureSession } = await peer('@fastify/secure-session')
  const app = Fastify()
  await app.register(secureSession, { key: Buffer.alloc(32, 'only for measuring'), cookie: { path: '/' } })
  app.post<Login>('/login', async (request) => {
    request.session.set('userId', request.query.user)
    return { ok: true }
  })
  app.get('/me', async (request, reply) => {
    const userId: unknown = request.session.get('userId')
    return typeof userId === 'string' ? bodyOf(userId) : await reply.code(401).send()
  })
  return await listening(app)
}
