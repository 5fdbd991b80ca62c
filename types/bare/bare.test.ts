// Compiled by npm run test:types, never run: an application that declares nothing.
import Fastify from 'fastify'
import sessionPlugin from '../../lib/index.ts'
import type { RequestAuth, SessionManager } from '../../lib/index.ts'
import { is } from '../equal.ts'

export async function decorators (): Promise<void> {
  const app = Fastify()
  await app.register(sessionPlugin, { secret: 'a', decorators: { logout: 'signOut' } })
  is<SessionManager>()(app.sessions, true)
  app.get('/me', { preHandler: [app.authenticate, app.requireRecentLogin('10m')] }, async (request) => {
    is<RequestAuth | null>()(request.auth, true)
    is<RequestAuth>()(await app.login(request, request.requireAuth()), true)
    await app.logout(request)
    // @ts-expect-error no name was declared
    await app.signOut(request)
  })
}
