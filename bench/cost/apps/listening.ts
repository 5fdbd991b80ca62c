import type { FastifyInstance } from 'fastify'
import type { Started } from '../server.ts'

export interface Login { Querystring: { user: string } }

export async function listening (app: FastifyInstance<any, any, any, any>): Promise<Started> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { server: app.server, inject: async (request) => await app.inject(request) }
}
