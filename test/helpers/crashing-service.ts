import type { FastifyInstance } from 'fastify'
import type { SessionOptions } from '../../lib/index.ts'
import { secret } from './app.ts'

/** An application that is going to be killed. */
export interface Service {
  /** Where it finds its Redis. */
  ports: number[]
  /** Of a Cluster the ports that its nodes know each other by, in the same order. */
  nodes: number[] | null
  keyPrefix: string
  limit: number | null
}

export interface ServiceRequest {
  method: 'POST'
  url: string
  headers: Record<string, string>
}

/** The options it has in common with an application that looks what became of its sessions. */
export function optionsOf ({ keyPrefix, limit }: Pick<Service, 'keyPrefix' | 'limit'>): Partial<SessionOptions> & { secret: string } {
  return { secret, cookie: { secure: false }, keyPrefix, ...limit !== null && { maxSessionsPerUser: limit } }
}

/** All that a session goes through, a route for each. */
export function addRoutes (app: FastifyInstance): void {
  app.post('/visit', async ({ session }) => { session.cart = ['book'] })
  app.post<{ Params: { user: string } }>('/login/:user', async (request) => { await app.login(request, { id: request.params.user }, { keep: true }) })
  app.post<{ Params: { user: string } }>('/login-twice/:user', async (request) => {
    await app.login(request, { id: request.params.user })
    await app.login(request, { id: request.params.user })
  })
  app.post('/regenerate', async ({ session }) => { await session.regenerate(['userId']) })
  app.post('/logout', async (request) => { await app.logout(request) })
  app.post<{ Params: { id: string } }>('/touch/:id', async ({ params }) => { await app.sessions.touch(params.id) })
  app.post<{ Params: { id: string } }>('/revoke/:id', async ({ params }) => { await app.sessions.revoke(params.id) })
  app.post<{ Params: { user: string } }>('/revoke-user/:user', async ({ params }) => { await app.sessions.revokeUser(params.user) })
}
