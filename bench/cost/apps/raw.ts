import Fastify from 'fastify'
import fastifyCookie from '@fastify/cookie'
import { bodyOf } from '../variants.ts'
import type { Started } from '../server.ts'
import { listening } from './listening.ts'

export async function start (_redis: string, { cookie = false }: { cookie?: boolean } = {}): Promise<Started> {
  const app = Fastify()
  if (cookie) await app.register(fastifyCookie)
  app.get('/me', async () => bodyOf(null))
  app.get('/public', async () => bodyOf(null))
  app.post('/note', async () => bodyOf(null))
  return await listening(app)
}
