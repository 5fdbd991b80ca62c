// Compiled by npm run test:types, never run: an application that declares nothing.
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import sessionPlugin, { authRoutes } from '../../lib/index.ts'
import type { CreateSession, JsonObject, RequestAuth, SessionData, SessionManager } from '../../lib/index.ts'
import { is } from '../equal.ts'

export async function decorators (): Promise<void> {
  const app = Fastify()
  await app.register(sessionPlugin, { secret: 'a', decorators: { logout: 'signOut' } })
  is<SessionManager>()(app.sessions, true)
  app.get('/me', { preHandler: [app.authenticate, app.requireRecentLogin('10m'), app.requireDeviceBound] }, async (request) => {
    is<RequestAuth | null>()(request.auth, true)
    is<RequestAuth>()(await app.login(request, request.requireAuth()), true)
    await app.logout(request)
    // @ts-expect-error no name was declared
    await app.signOut(request)
  })
}

/** Any JSON is data. */
export async function data (app: FastifyInstance): Promise<void> {
  is<JsonObject>()({} as SessionData, true)
  const { sessions } = app
  const given: CreateSession = { userId: 1, data: { cart: ['book', 1, null, { a: true }] } }
  const { session } = await sessions.create(given)
  is<JsonObject | null>()(await sessions.data(session.id), true)
  is<JsonObject | null>()(await sessions.update(session.id, (data) => ({ ...data, visits: 1 })), true)
  await sessions.update(session.id, (data) => { delete data.cart })
  // @ts-expect-error JSON has none
  await sessions.create({ userId: 1, data: { at: 1n } })
  app.post('/login', async (request) => {
    await app.login(request, { id: 1 }, { data: { theme: 'dark' } })
    // @ts-expect-error JSON has none
    await app.login(request, { id: 1 }, { data: { at: new Date() } })
  })
  await app.register(authRoutes, { verify: () => ({ id: 1 }), onLogin: ({ id }) => ({ data: { account: String(id) } }) })
  await app.register(sessionPlugin, { secret: 'a', userIdFrom: (data) => data.account })
  await app.register(sessionPlugin, { secret: 'a', userIdFrom: ({ user }) => (user as { id?: string } | undefined)?.id })
  await app.register(sessionPlugin, { secret: 'a', userIdFrom: (data: Record<string, unknown>) => data.account })
  await app.register(sessionPlugin, { secret: 'a', userIdFrom: (data: { user?: { id: string } }) => data.user?.id })
}
