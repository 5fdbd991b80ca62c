import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import type { SessionOptions } from '../../../lib/options/types.ts'
import { BoundBrowser } from '../../../test/helpers/bound-browser.ts'
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
  /** Sessions are bound to a device, and each request carries its short cookie. */
  bound?: true
}

export const SECRET = 'only for measuring, and 32 characters long'

export async function start (redis: string, { via = 'auth', store = 'redis', bearer = false, nearCache, metrics, bound }: OursOptions): Promise<Started> {
  if (nearCache !== undefined && !await hasOption('nearCache')) throw new NotThere('this version has no near-cache')
  if (bound === true && !await hasOption('deviceBound')) throw new NotThere('this version binds no sessions')
  const app = Fastify()
  const options = {
    secret: SECRET,
    cookie: { secure: false },
    // So long that no session is touched meanwhile: at the default that is one write in three minutes.
    idleTimeout: '8h',
    ...store === 'redis' ? { redis } : { store: new lib.MemoryStore() },
    ...bearer && { bearer },
    // So long that no short cookie runs out meanwhile.
    ...bound === true && { deviceBound: { maxAge: '1h' } }
  }
  await app.register(lib.sessionPlugin, { ...options, ...nearCache !== undefined && { nearCache } })
  if (metrics === true) {
    const { collectMetrics } = await metricsOf() ?? {}
    if (collectMetrics === undefined) throw new NotThere('this version has no metrics')
    collectMetrics(app.sessions)
  }
  let binding: Promise<FastifyInstance> | undefined
  app.addHook('onClose', async () => await (await binding)?.close())
  app.post<Login>('/login', async (request, reply) => {
    const { user } = request.query
    if (bound === true) {
      binding ??= startBinding(options)
      reply.header('set-cookie', await boundCookies(await binding, user))
    } else if (bearer) reply.headers((await app.sessions.create({ userId: user, kind: 'bearer' })).headers)
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

/** An application on the same store that binds sessions: over https alone, and to trust a proxy costs each request something. */
async function startBinding (options: SessionOptions): Promise<FastifyInstance> {
  const app = Fastify({ trustProxy: '127.0.0.1' })
  await app.register(lib.sessionPlugin, options)
  app.post<Login>('/sign-in', async (request) => await app.login(request, { id: request.query.user }))
  app.get('/me', { preHandler: app.authenticate }, async () => ({}))
  return app
}

/** Signs somebody in by a browser that binds the session and has shown its key. Returns the cookies that it has then. */
async function boundCookies (app: FastifyInstance, user: string): Promise<string[]> {
  const browser = new BoundBrowser(app)
  const answers = [() => browser.post(`/sign-in?user=${user}`), () => browser.register({ newly: false }), () => browser.get('/me')]
  for (const answer of answers) {
    const { statusCode } = await answer()
    // Of a store that is slow for once: the load asks again.
    if (statusCode !== 200) throw Object.assign(new Error(`the session of ${user} was not bound`), { statusCode })
  }
  return [...browser.cookies].map(([name, value]) => `${name}=${value}`)
}
