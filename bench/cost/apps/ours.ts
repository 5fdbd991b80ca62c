import Fastify from 'fastify'
import { hasOption, lib, metricsOf } from '../../lib.ts'
import { NotThere } from '../../peers.ts'
import type { Started } from '../server.ts'
import { bodyOf } from '../variants.ts'
import { listening } from './listening.ts'
import type { Login } from './listening.ts'

export interface OursOptions {
  via?: 'auth' | 'session'
  store?: 'redis' | 'memory'
  bearer?: boolean
  nearCache?: true | { maxEntries: number }
  metrics?: true
}

export const SECRET = 'only for measuring, and 32 characters long'

export async function start (redis: string, { via = 'auth', store = 'redis', bearer = false, nearCache, metrics }: OursOptions): Promise<Started> {
  if (nearCache !== undefined && !await hasOption('nearCache')) throw new NotThere('this version has no near-cache')
  const app = Fastify()
  await app.register(lib.sessionPlugin, {
    secret: SECRET,
    cookie: { secure: false },
    // So long that no session is touched meanwhile: at the default that is one write in three minutes.
    idleTimeout: '8h',
    ...store === 'redis' ? { redis } : { store: new lib.MemoryStore() },
    ...bearer && { bearer },
    ...nearCache !== undefined && { nearCache }
  })
  if (metrics === true) {
    const { collectMetrics } = await metricsOf() ?? {}
    if (collectMetrics === undefined) throw new NotThere('this version has no metrics')
    collectMetrics(app.sessions)
  }
  app.post<Login>('/login', async (request, reply) => {
    const { user } = request.query
    if (bearer) reply.headers((await app.sessions.create({ userId: user, kind: 'bearer' })).headers)
    else await app.login(request, { id: user })
    return { ok: true }
  })
  if (via === 'auth') app.get('/me', { preHandler: app.authenticate }, async (request) => bodyOf(request.auth?.userId ?? null))
  else app.get('/me', { preHandler: app.authenticate }, async (request) => bodyOf(request.session.userId as string))
  app.get('/public', async () => bodyOf(null))
  app.post('/note', { preHandler: app.authenticate }, async ({ session }) => {
    session.notes = Number(session.notes ?? 0) + 1
    return bodyOf(session.userId as string)
  })
  return await listening(app)
}
