import Fastify from 'fastify'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { peer } from '../../peers.ts'
import type { Started } from '../server.ts'
import { bodyOf } from '../variants.ts'
import { listening } from './listening.ts'
import type { Login } from './listening.ts'

interface IronSession { userId?: string, save: () => Promise<void> }

export async function start (): Promise<Started> {
  const { getIronSession } = await peer('iron-session')
  const options = { password: 'only for measuring, and 32 characters long', cookieName: 'iron', cookieOptions: { secure: false } }
  const sessionOf = async (request: FastifyRequest, reply: FastifyReply): Promise<IronSession> => await getIronSession(request.raw, reply.raw, options)
  const app = Fastify()
  app.post<Login>('/login', async (request, reply) => {
    const session = await sessionOf(request as FastifyRequest, reply)
    session.userId = request.query.user
    await session.save()
    return { ok: true }
  })
  app.get('/me', async (request, reply) => {
    const { userId } = await sessionOf(request, reply)
    return userId !== undefined ? bodyOf(userId) : await reply.code(401).send()
  })
  return await listening(app)
}
