import Fastify from 'fastify'
import { Redis } from 'ioredis'
import { peer } from '../../peers.ts'
import type { Started } from '../server.ts'
import { bodyOf } from '../variants.ts'
import { listening } from './listening.ts'
import type { Login } from './listening.ts'

/** Sessions lie in Redis, as its "secondary storage"; its database, here in memory, is not asked for one. */
export async function start (redis: string, { cookieCache }: { cookieCache: boolean }): Promise<Started> {
  const [{ betterAuth }, { memoryAdapter }, { fromNodeHeaders }] = await Promise.all([peer('better-auth'), peer('better-auth/adapters/memory'), peer('better-auth/node')])
  const client = new Redis(redis, { keyPrefix: cookieCache ? 'better-cached:' : 'better:', enableAutoPipelining: true })
  const database: Record<'user' | 'session' | 'account' | 'verification', Array<Record<string, unknown>>> = { user: [], session: [], account: [], verification: [] }
  const auth = betterAuth({
    secret: 'only for measuring, and 32 characters long',
    baseURL: 'http://127.0.0.1',
    database: memoryAdapter(database),
    secondaryStorage: {
      get: async (key: string) => await client.get(key),
      set: async (key: string, value: string, ttl?: number) => { await (ttl === undefined ? client.set(key, value) : client.set(key, value, 'EX', ttl)) },
      delete: async (key: string) => { await client.del(key) }
    },
    session: { cookieCache: { enabled: cookieCache, maxAge: 8 * 60 * 60 } },
    // What a password costs is not the question here.
    emailAndPassword: { enabled: true, password: { hash: async () => 'hash', verify: async () => true } },
    rateLimit: { enabled: false },
    telemetry: { enabled: false },
    logger: { disabled: true }
  })
  const app = Fastify()
  app.post<Login>('/login', async (request, reply) => {
    const { user } = request.query
    const { headers, response } = await auth.api.signUpEmail({ body: { name: user, email: `${user}@example.com`, password: 'password' }, returnHeaders: true })
    reply.header('set-cookie', headers.getSetCookie())
    // Redis has the user beside the session. Here each sign-in would copy the rows of all before it.
    database.user = database.user.filter(({ id }) => id !== response.user.id)
    database.account = database.account.filter(({ userId }) => userId !== response.user.id)
    return { ok: true }
  })
  app.get('/me', async (request, reply) => {
    const session = await auth.api.getSession({ headers: fromNodeHeaders(request.headers) })
    return session !== null ? bodyOf(session.user.name) : await reply.code(401).send()
  })
  return await listening(app)
}
