// The API of a front end that is on another origin.
import { randomBytes } from 'node:crypto'
import cors from '@fastify/cors'
import { hash, verify } from '@node-rs/argon2'
import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import sessionPlugin, { authRoutes, authRoutesOptions } from 'fastify-user-sessions'

// Your database.
const users = new Map([
  ['ada', { id: '1', name: 'Ada', passwordHash: await hash('lovelace') }],
  ['bob', { id: '2', name: 'Bob', passwordHash: await hash('builder') }]
])
// The password of an unknown name is compared with this, so that it takes as long as a wrong password.
const nobodysHash = await hash(randomBytes(16).toString('hex'))

interface Options {
  redis?: string | undefined
  /** Origins of the front end. */
  origins?: string[]
}

/** Where Vite serves the front end in development. */
const DEVELOPMENT = 'http://localhost:5173'

export async function buildApp (options: Options = {}): Promise<FastifyInstance> {
  const { redis = process.env.REDIS_URL, origins = (process.env.ORIGINS ?? DEVELOPMENT).split(' ') } = options
  const app = Fastify({ logger: { level: 'warn' } })

  // Which pages may read replies. Before sessionPlugin, so that they can read its errors as well.
  await app.register(cors, { origin: origins, credentials: true, exposedHeaders: ['retry-after'] })

  await app.register(sessionPlugin, {
    secret: process.env.SESSION_SECRET ?? randomBytes(32).toString('base64'),
    redis,
    // Which pages may send requests that change something. Others are answered 403.
    origins,
    // For a front end on another site, and not only on another host of this one, add sameSite: 'none'.
    cookie: { secure: process.env.NODE_ENV === 'production' }
  })

  await app.register(authRoutes, authRoutesOptions({
    prefix: '/auth',
    verify: async ({ username, password }) => {
      const user = users.get(username)
      return await verify(user?.passwordHash ?? nobodysHash, password) && user !== undefined ? user : null
    },
    // What /auth/login and /auth/info show of a user.
    user: Type.Object({ id: Type.String(), name: Type.String() }),
    findUser: async (id) => [...users.values()].find((user) => user.id === id) ?? null
  }))

  const notes = new Map<string, string[]>()
  app.get('/notes', { preHandler: app.authenticate }, async (request) => notes.get(request.requireAuth().userId) ?? [])

  const schema = { body: Type.Object({ text: Type.String({ maxLength: 200 }) }) }
  app.post<{ Body: { text: string } }>('/notes', { schema, preHandler: app.authenticate }, async (request) => {
    const { userId } = request.requireAuth()
    const kept = [...notes.get(userId) ?? [], request.body.text]
    notes.set(userId, kept)
    return kept
  })
  return app
}

if (process.argv[1] === import.meta.filename) {
  const app = await buildApp()
  const url = await app.listen({ port: Number(process.env.PORT ?? 3000) })
  console.log(`API at ${url}`)
}
