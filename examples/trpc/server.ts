// tRPC 11: login and logout are mutations. Procedures find the session in their context, by cookie and by bearer token.
import { randomBytes } from 'node:crypto'
import { hash, verify } from '@node-rs/argon2'
import { Type } from '@sinclair/typebox'
import type { Static } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { initTRPC, TRPCError } from '@trpc/server'
import { fastifyTRPCPlugin } from '@trpc/server/adapters/fastify'
import type { FastifyTRPCPluginOptions } from '@trpc/server/adapters/fastify'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import sessionPlugin from 'fastify-user-sessions'
import type { RequestAuth, SessionError } from 'fastify-user-sessions'

// Your database.
const users = new Map([
  ['ada', { id: 1, passwordHash: await hash('lovelace') }],
  ['bob', { id: 2, passwordHash: await hash('builder') }]
])
// The password of an unknown name is compared with this, so that it takes as long as a wrong password.
const nobodysHash = await hash(randomBytes(16).toString('hex'))

interface Context {
  /** The session, read when a procedure asks for it. A procedure that does not ask answers without Redis as well. */
  readonly auth: RequestAuth | null
  request: FastifyRequest
  isStreamed: boolean
}

const t = initTRPC.context<Context>().create({
  // An error of the plugin keeps its status and its code, so that a 503 does not become a 401.
  errorFormatter: ({ shape, error: { cause } }) => {
    const { code, statusCode: httpStatus } = (cause ?? {}) as Partial<SessionError>
    if (!code?.startsWith('ERR_SESSION_')) return shape
    return { ...shape, data: { ...shape.data, httpStatus, sessionCode: code } }
  }
})

const protectedProcedure = t.procedure.use(({ ctx, next }) => {
  const { auth } = ctx
  // Not only null: where the context is given another request than Fastify's, as over WebSockets, auth is undefined.
  if (auth == null) throw new TRPCError({ code: 'UNAUTHORIZED', message: 'Authentication required' })
  return next({ ctx: { auth } })
})

const Credentials = Type.Object({
  username: Type.String({ maxLength: 64 }),
  password: Type.String({ maxLength: 128 })
})
type Credentials = Static<typeof Credentials>
const withCredentials = t.procedure.input((input) => {
  Value.Assert(Credentials, input)
  return input
})

/** The user whose credentials these are. A batch can hold many guesses: attemptLogin counts each of them. */
async function verified (request: FastifyRequest, { username, password }: Credentials) {
  const user = await request.server.attemptLogin(request, username, async () => {
    const found = users.get(username)
    const matches = await verify(found?.passwordHash ?? nobodysHash, password)
    return matches ? found : undefined
  })
  if (user === undefined) throw new TRPCError({ code: 'UNAUTHORIZED', message: 'Invalid credentials' })
  return user
}

export const appRouter = t.router({
  whoami: t.procedure.query(({ ctx }) => ctx.auth?.userId ?? null),
  secret: protectedProcedure.query(({ ctx }) => `for the eyes of ${ctx.auth.userId}`),
  // For browsers: the cookie goes out with the reply.
  login: withCredentials.mutation(async ({ ctx: { request, isStreamed }, input }) => {
    // The headers of a streamed reply are gone before a procedure runs: too late for a cookie.
    if (isStreamed) throw new TRPCError({ code: 'BAD_REQUEST', message: 'Use httpBatchLink or httpLink for login' })
    const { userId } = await request.server.login(request, await verified(request, input))
    return { userId }
  }),
  // For clients that keep no cookies: they send `Authorization: Bearer <token>` from now on.
  token: withCredentials.mutation(async ({ ctx: { request }, input }) => {
    const { id: userId } = await verified(request, input)
    const { token } = await request.server.sessions.create({ userId, kind: 'bearer' })
    return { token }
  }),
  logout: t.procedure.mutation(async ({ ctx: { request } }) => { await request.server.logout(request) })
})

/** The type for a client: `createTRPCClient<AppRouter>`. */
export type AppRouter = typeof appRouter

export async function buildApp ({ redis = process.env.REDIS_URL } = {}): Promise<FastifyInstance> {
  const app = Fastify({ logger: { level: 'warn' } })

  await app.register(sessionPlugin, {
    secret: process.env.SESSION_SECRET ?? randomBytes(32).toString('base64'),
    redis,
    bearer: true,
    cookie: { secure: process.env.NODE_ENV === 'production' }
  })

  await app.register(fastifyTRPCPlugin, {
    prefix: '/trpc',
    trpcOptions: {
      router: appRouter,
      createContext: ({ req: request, info }) => ({
        request,
        isStreamed: info.accept !== null,
        get auth () { return request.auth }
      }),
      maxBatchSize: 10
    }
  } satisfies FastifyTRPCPluginOptions<AppRouter>)
  return app
}

if (process.argv[1] === import.meta.filename) {
  const app = await buildApp()
  const url = await app.listen({ port: Number(process.env.PORT ?? 3000) })
  console.log(`tRPC at ${url}/trpc`)
}
