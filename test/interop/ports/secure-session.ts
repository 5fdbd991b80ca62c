import { find } from './port.ts'
import type { Port, Req } from './port.ts'

/** A sign-out as these applications have it: an error here. */
export function byDelete ({ session }: Req): unknown {
  return session.delete()
}

/** What the error says to write. */
export function byDestroy ({ session }: Req): unknown {
  return session.destroy()
}

/** The console of a database: its users stand in its configuration. */
export const dbConsole = (signOut: (request: Req) => unknown): Port => ({
  kind: 'the console of a database, whose users are names',
  library: '@fastify/secure-session',
  theirs: {
    secret: 'the-old-secret-of-the-console-with-32-characters',
    salt: 'console-sess-slt',
    cookie: { path: '/', httpOnly: true, sameSite: 'strict', secure: false, maxAge: 8 * 60 * 60 }
  },
  routes: (app) => {
    app.post('/auth/login', async (request: Req, reply) => {
      const { username, password } = request.body
      if (!username || !password) return reply.status(400).send({ error: 'bad_request' })
      const user = await find(username, password)
      if (!user) return reply.status(401).send({ error: 'invalid_credentials' })
      request.session.user = user.name
      request.session.role = user.role
      request.session.version = '0.9'
      return reply.send({ user: user.name, role: user.role, version: '0.9' })
    })
    app.post('/auth/logout', async (request: Req, reply) => {
      void signOut(request)
      return reply.send({ ok: true })
    })
    app.get('/auth/session', async (request: Req, reply) => {
      const session = request.session
      if (!session?.user) return reply.status(401).send({ error: 'unauthenticated' })
      return reply.send({ user: session.user, role: session.role, version: session.version ?? null })
    })
  },
  faults: ['salt'],
  options: { cookie: { path: '/', httpOnly: true, sameSite: 'strict', secure: false }, idleTimeout: '8h', userIdFrom: (data) => data.user },
  login: async (jar, at, { name, password }, typed = password) => await jar.post(at, '/auth/login', { username: name, password: typed }),
  seen: async (jar, at) => (await jar.get(at, '/auth/session')).body.user ?? null,
  logout: async (jar, at) => await jar.post(at, '/auth/logout', {}),
  idOf: ({ name }) => name
})

/** A sign-in that says how long its cookie lives, as the accounts have it: an error here. */
export function byOptions ({ session }: Req): void {
  session.options({ maxAge: 60 * 60 })
}

/** An API of accounts. */
export const accounts = (signOut: (request: Req) => unknown, limit: (request: Req) => unknown): Port => ({
  kind: 'an API of accounts that gives each session its cookie',
  library: '@fastify/secure-session',
  theirs: {
    key: Buffer.alloc(32, 'k'),
    sessionName: 'session',
    cookieName: 'accounts-session',
    expiry: 60 * 60,
    cookie: { path: '/' }
  },
  routes: (app) => {
    app.post('/login', async (request: Req, reply) => {
      const user = await find(request.body.email, request.body.password)
      if (user === null) return reply.code(401).send()
      const sessionData = { user_id: user.id, account_id: 7, user_db_id: `db${user.id}` }
      request.session.set('user', sessionData)
      request.session.set('name', user.name)
      limit(request)
      return reply.code(200).send({ message: 'Logged in, session saved' })
    })
    app.post('/logout', async (request: Req, reply) => {
      request.log.info(`<<< Session: ${JSON.stringify(request.session)} >>>`)
      await signOut(request)
      request.log.info(`<<< Session: ${JSON.stringify(request.session)} >>>`)
      return reply.code(204).send()
    })
    app.get('/me', async (request: Req, reply) => {
      const user = request.session.get('user')
      if (!user) return reply.code(401).send()
      return { ...user, name: request.session.get('name') }
    })
  },
  faults: ['expiry', 'key', 'secret', 'sessionName'],
  options: { secret: 'a-new-secret-of-the-accounts-with-32-characters', cookie: { path: '/', secure: false }, idleTimeout: '1h', userIdFrom: (data: any) => data.user?.user_id },
  login: async (jar, at, { email, password }, typed = password) => await jar.post(at, '/login', { email, password: typed }),
  seen: async (jar, at) => (await jar.get(at, '/me')).body?.name ?? null,
  logout: async (jar, at) => await jar.post(at, '/logout', {}),
  idOf: ({ id }) => String(id)
})
