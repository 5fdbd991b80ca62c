// Compiled by npm run test:types, never run: the data of sessions, as the application declares it.
import type { FastifyInstance } from 'fastify'
import sessionPlugin, { authRoutes, MemoryStore, SessionManager } from '../../lib/index.ts'
import type { CreateSession, LoginOptions, SessionData } from '../../lib/index.ts'
import { is } from '../equal.ts'

interface User { id: number, name: string }

declare module 'fastify' {
  interface Session {
    user: User
    cart?: string[]
    theme?: 'light' | 'dark'
  }
}

/** Any of it may be missing. */
interface Declared {
  user?: User | undefined
  cart?: string[] | undefined
  theme?: 'light' | 'dark' | undefined
}

/** What @fastify/session has; this package declares nothing there, so that nothing clashes. */
export function session (app: FastifyInstance): void {
  app.post('/x', async (request) => {
    request.session.user = { id: 1, name: 'Ada' }
    is<User | undefined>()(request.session.get('user'), true)
    // @ts-expect-error not what was declared
    request.session.user = 1
  })
}

export async function login (app: FastifyInstance): Promise<void> {
  app.post('/login', async (request) => {
    const user: User = { id: 1, name: 'Ada' }
    await app.login(request, user, { data: { user, theme: undefined }, keep: ['cart'] })
    await app.login(request, user, { data: {} })
    await app.login(request, user, { data: request.session })
    // @ts-expect-error nobody has declared it
    await app.login(request, user, { data: { role: 'editor' } })
    // @ts-expect-error of another type
    await app.login(request, user, { data: { theme: 'blue' } })
    // @ts-expect-error of the plugin
    await app.login(request, user, { data: { cookie: {} } })
  })
  await app.register(authRoutes, { verify: () => ({ id: 1 }), onLogin: () => ({ data: { cart: [] } }) })
  // @ts-expect-error nobody has declared it
  await app.register(authRoutes, { verify: () => ({ id: 1 }), onLogin: () => ({ data: { card: [] } }) })
  is<SessionData | undefined>()(({} as LoginOptions).data, true)
  is<Declared>()({} as { [Name in keyof SessionData]: SessionData[Name] }, true)
}

export async function manager ({ sessions }: FastifyInstance): Promise<void> {
  const { session } = await sessions.create({ userId: 1, data: { cart: ['book'] } })
  const typed: CreateSession<SessionData> = { userId: 1, data: { theme: 'dark' } }
  const bare: CreateSession = { userId: 1, data: { theme: 'dark' } }
  await sessions.create(typed)
  await sessions.create(bare)
  // @ts-expect-error nobody has declared it
  await sessions.create({ userId: 1, data: { card: ['book'] } })
  // @ts-expect-error of another type
  await sessions.create({ userId: 1, data: { cart: [1] } })
  const data = await sessions.data(session.id)
  is<string[] | undefined>()(data?.cart, true)
  is<User | undefined>()(data?.user, true)
  is<SessionData | null>()(data, true)
  // @ts-expect-error nobody has declared it
  void data?.card
  const updated = await sessions.update(session.id, ({ cart = [], ...others }) => ({ ...others, cart: [...cart, 'pen'] }))
  is<SessionData | null>()(updated, true)
  await sessions.update(session.id, (data) => { data.theme = 'dark' })
  await sessions.update(session.id, (data) => { delete data.theme })
  // @ts-expect-error of another type
  await sessions.update(session.id, (data) => { data.theme = 'blue' })
  // @ts-expect-error of another type
  await sessions.update(session.id, (data) => ({ ...data, cart: 1 }))
}

export async function elsewhere (app: FastifyInstance): Promise<void> {
  const own = new SessionManager({ store: new MemoryStore(), secret: 'a', userIdFrom: (data) => data.user?.id })
  is<string[] | undefined>()((await own.data('id'))?.cart, true)
  const either: SessionManager = app.sessions
  await either.close()
  await app.register(sessionPlugin, { secret: 'a', userIdFrom: ({ user }) => user?.id })
  await app.register(sessionPlugin, { secret: 'a', userIdFrom: (data: Record<string, unknown>) => data.account })
  await app.register(sessionPlugin, { secret: 'a', userIdFrom: (data: { user?: { id: number } | undefined }) => data.user?.id })
  // @ts-expect-error any key may be missing
  await app.register(sessionPlugin, { secret: 'a', userIdFrom: (data) => data.user.id })
  // @ts-expect-error nobody has declared it
  await app.register(sessionPlugin, { secret: 'a', userIdFrom: (data) => data.account })
}
