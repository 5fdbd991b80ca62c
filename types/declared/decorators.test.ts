// Compiled by npm run test:types, never run: decorators under names that the application declares.
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import sessionPlugin from '../../lib/index.ts'
import type { RequestAuth } from '../../lib/index.ts'
import type { Authenticate } from '../../lib/http/guards.ts'
import type { Login } from '../../lib/http/login.ts'
import { is } from '../equal.ts'

declare module 'fastify' {
  interface SessionDecorators {
    authenticate: 'requireLogin'
    login: 'login' | 'signIn'
    auth: 'who'
    requireDeviceBound: 'onOwnDevice'
    requireAuth: 'requireWho'
  }
  // What it has by the plugin's names is its own.
  interface FastifyInstance { authenticate: () => number }
  interface FastifyRequest { auth?: string }
}

export async function renamed (): Promise<void> {
  const app = Fastify()
  await app.register(sessionPlugin, { secret: 'a', decorators: { authenticate: 'requireLogin', auth: 'who' } })
  is<Authenticate>()(app.requireLogin, true)
  is<number>()(app.authenticate(), true)
  is<Login>()(app.signIn, true)
  is<Login>()(app.login, true)
  is<Authenticate>()(app.onOwnDevice, true)
  // @ts-expect-error it has another name
  app.get('/money', { preHandler: app.requireDeviceBound }, () => 'yours')
  app.get('/me', { preHandler: app.requireLogin }, async (request) => {
    is<RequestAuth | null>()(request.who, true)
    is<RequestAuth>()(request.requireWho(), true)
    is<string | undefined>()(request.auth, true)
    // @ts-expect-error it has another name
    request.requireAuth()
    // @ts-expect-error it is still not to be assigned
    request.who = null
  })
}

/** The others keep their names. */
export async function others (app: FastifyInstance): Promise<void> {
  app.get('/', { preHandler: app.requireRecentLogin('10m') }, async (request) => {
    await app.attemptLogin(request, 'ada', () => null)
    await app.logout(request)
    await app.sessions.revokeUser('ada')
  })
  // @ts-expect-error nobody gave it this name
  app.requireLogins('10m')
}

/** Servers of other kinds have them as well. */
export function http2 (): void {
  const app = Fastify({ http2: true })
  app.get('/', { onRequest: app.requireLogin }, async (request) => (await app.signIn(request, request.requireWho())).id)
}
