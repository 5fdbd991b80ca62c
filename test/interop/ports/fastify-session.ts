import type { FastifyReply } from 'fastify'
import { find } from './port.ts'
import type { Person, Port, Req } from './port.ts'

const DAY = 24 * 60 * 60 * 1000

/** The API of a community's map: stories and places, for people with roles. */
export const communityMap: Port = {
  kind: 'an API that signs in by session.user, and out three times over',
  library: '@fastify/session',
  theirs: {
    secret: 'the-old-secret-of-the-map-with-32-characters',
    cookie: { secure: false, httpOnly: true, maxAge: DAY, sameSite: 'lax', path: '/' },
    saveUninitialized: false
  },
  routes: (app) => {
    const requireAuth = async (request: Req, reply: FastifyReply) => {
      if (!request.session?.user) return reply.status(401).send({ error: 'Authentication required', statusCode: 401 })
      request.user = request.session.user
    }
    app.post('/login', async (request: Req, reply) => {
      try {
        const user = await find(request.body.email, request.body.password)
        if (user === null) throw new RangeError('Invalid email or password')
        request.session.user = { id: user.id, email: user.email, role: user.role, communityId: 7, firstName: user.name }
        const { password, ...userResponse } = user
        return reply.status(200).send({ user: userResponse, sessionId: request.session.sessionId || 'session-created' })
      } catch (error) {
        if (error instanceof RangeError) return reply.status(401).send({ error: error.message, statusCode: 401 })
        return reply.status(500).send({ error: 'Internal server error', statusCode: 500 })
      }
    })
    app.post('/logout', { preHandler: [requireAuth] }, async (request: Req, reply) => {
      request.session.user = undefined
      await request.session.destroy()
      reply.clearCookie('sessionId', { path: '/', httpOnly: true, secure: false, sameSite: 'lax' })
      return reply.status(200).send({ message: 'Successfully logged out' })
    })
    app.get('/me', { preHandler: [requireAuth] }, async (request: Req) => ({ user: request.user }))
  },
  faults: ['saveUninitialized'],
  options: {
    adopt: '@fastify/session',
    idleTimeout: '1d',
    cookie: { secure: false, httpOnly: true, sameSite: 'lax', path: '/' }
  },
  login: async (jar, at, { email, password }, typed = password) => await jar.post(at, '/login', { email, password: typed }),
  seen: async (jar, at) => (await jar.get(at, '/me')).body.user?.firstName ?? null,
  logout: async (jar, at) => await jar.post(at, '/logout', {}),
  idOf: ({ id }) => String(id)
}

/** As MikroORM has them: what is hidden is not in its JSON. */
class User {
  readonly id: string
  readonly name: string
  readonly password: string
  constructor ({ id, name, password }: Person) {
    this.id = `usr_${id}`
    this.name = name
    this.password = password
  }

  toJSON (): object {
    const { password, ...shown } = this
    return shown
  }
}

/** An API with an ORM. */
export const ormApi: Port = {
  kind: 'an API that keeps an entity of its ORM in the session',
  library: '@fastify/session',
  theirs: {
    secret: 'the-old-secret-of-the-api-with-32-characters',
    saveUninitialized: false,
    cookie: { httpOnly: true, secure: false, maxAge: 7 * DAY }
  },
  routes: (app) => {
    const isAuthenticated = async (req: Req, reply: FastifyReply) => {
      if (req.session.user) req.user = req.session.user
      else return reply.code(401).send('You must be logged in to access this resource')
    }
    app.post('/login', async (req: Req, reply) => {
      const found = await find(req.body.email)
      if (found === null) return reply.code(404).send('No account with provided email.')
      const dbUser = new User(found)
      if (req.body.password === dbUser.password) {
        req.session.set('user', dbUser)
        return dbUser
      }
      return reply.code(401).send('Invalid credentials, please try again')
    })
    app.get('/me', { preValidation: isAuthenticated }, async (req: Req) => ({ ...req.user, password: '' }))
    app.post('/logout', { preValidation: isAuthenticated }, async (req: Req, reply) => {
      if (req.user) {
        await req.session.destroy()
        return reply.code(200).send()
      }
      return reply.code(401).send()
    })
  },
  faults: ['saveUninitialized'],
  // The line about the cookie stays, and the boot says what it means here.
  options: { adopt: '@fastify/session', cookie: { httpOnly: true, secure: false, maxAge: 7 * DAY } },
  warnings: [/^cookie\.maxAge is how long the browser keeps the cookie/],
  login: async (jar, at, { email, password }, typed = password) => await jar.post(at, '/login', { email, password: typed }),
  seen: async (jar, at) => (await jar.get(at, '/me')).body.name ?? null,
  logout: async (jar, at) => await jar.post(at, '/logout', {}),
  idOf: ({ id }) => `usr_${id}`
}

/** The server of a cluster of machines, whose calls are a table of functions. */
export const cluster: Port = {
  kind: 'a table of calls that keeps the user under uid, and permissions beside it',
  library: '@fastify/session',
  theirs: {
    secret: 'the-old-secret-of-the-cluster-with-32-characters',
    cookieName: 'cluster',
    cookie: { secure: 'auto', maxAge: DAY },
    rolling: true
  },
  routes: (app) => {
    const calls: Record<string, { permissions: string[], handler: (request: Req) => Promise<unknown> }> = {
      login: {
        permissions: [],
        handler: async (request) => {
          const user = await find(request.body.username, request.body.password)
          if (user === null) throw Object.assign(new Error('input'), { statusCode: 400 })
          await request.session.regenerate()
          request.session.uid = `U${user.id}`
          request.session.username = user.name
          request.session.permissions = `auth ${user.role}`
          return user.id
        }
      },
      logout: {
        permissions: ['auth'],
        handler: async (request) => {
          await request.session.destroy()
          return true
        }
      },
      authUser: {
        permissions: ['auth'],
        handler: async (request) => ({
          uid: request.session.uid,
          username: request.session.username,
          permissions: request.session.permissions.split(' ')
        })
      }
    }
    const checkPermission = (permission: string) => (request: Req, _reply: FastifyReply, next: () => void) => {
      if (!request.session.permissions?.split(' ').includes(permission)) throw Object.assign(new Error('auth'), { statusCode: 401 })
      next()
    }
    for (const [name, { permissions, handler }] of Object.entries(calls)) {
      app.post(`/${name}`, { preHandler: permissions.map(checkPermission) }, async (request) => ({ response: await handler(request as Req) }))
    }
  },
  faults: ['cookie.secure', 'rolling'],
  options: {
    adopt: '@fastify/session',
    cookieName: ['sid', 'cluster'],
    cookie: { secure: false },
    idleTimeout: '1d',
    userIdFrom: (data) => data.uid
  },
  login: async (jar, at, { name, password }, typed = password) => await jar.post(at, '/login', { username: name, password: typed }),
  seen: async (jar, at) => (await jar.post(at, '/authUser', {})).body.response?.username ?? null,
  logout: async (jar, at) => await jar.post(at, '/logout', {}),
  idOf: ({ id }) => `U${id}`
}

/** Says who is signed in at the school: its two kinds of users have ids of their own. */
const idOf = (data: any): string | undefined => data.student ? `student:${data.student.id}` : data.admin ? `admin:${data.admin.id}` : undefined

/** A school with two kinds of users, a captcha and "remember me". */
export function school (remember: (request: Req) => unknown): Port {
  return {
    kind: 'a school with two kinds of users, a captcha and "remember me"',
    library: '@fastify/session',
    theirs: {
      secret: 'the-old-secret-of-the-school-with-32-characters',
      cookieName: 'school',
      cookie: { secure: false },
      saveUninitialized: true
    },
    routes: (app) => {
      const requireLogin = async (request: Req, reply: FastifyReply) => {
        if (!request.session.student && !request.session.admin) return reply.status(401).send({ error: 'Not logged in' })
      }
      app.get('/captcha', async (request: Req) => {
        request.session.captcha = 'AbCd'
        return 'AbCd'
      })
      app.post('/login', async (request: Req, reply) => {
        if (request.session.student || request.session.admin) return reply.status(403).send({ error: 'Already logged in' })
        if (!request.session.captcha || request.body.captcha.toLowerCase() !== request.session.captcha.toLowerCase()) {
          return reply.status(401).send({ error: 'Incorrect captcha' })
        } else {
          request.session.captcha = undefined
        }
        const user = await find(request.body.username, request.body.password)
        if (user === null) return reply.status(401).send({ error: 'Invalid username or password' })
        const [dbStudent, dbAdmin] = user.role === 'admin' ? [undefined, user] : [user, undefined]
        request.session.student = dbStudent
        request.session.admin = dbAdmin
        await remember(request)
        return { status: 'ok' }
      })
      app.post('/logout', async (request: Req, reply) => {
        if (request.session.student) {
          delete request.session.student
        } else if (request.session.admin) {
          delete request.session.admin
        } else {
          return reply.status(403).send({ error: 'No user logged in' })
        }
        return { status: 'ok' }
      })
      app.get('/self', { preHandler: requireLogin }, async (request: Req) => request.session.student || request.session.admin)
    },
    faults: ['saveUninitialized'],
    options: { adopt: '@fastify/session', cookieName: ['sid', 'school'], cookie: { secure: false }, userIdFrom: idOf },
    login: async (jar, at, { name, password }, typed = password) => {
      const captcha = (await jar.get(at, '/captcha')).body
      return await jar.post(at, '/login', { username: name, password: typed, captcha, remember_me: true })
    },
    seen: async (jar, at) => (await jar.get(at, '/self')).body.name ?? null,
    logout: async (jar, at) => await jar.post(at, '/logout', {}),
    idOf: ({ id, role }) => role === 'admin' ? `admin:${id}` : `student:${id}`
  }
}

/** "Remember me" as the school has it: an error here. */
export function bySessionCookie (request: Req): void {
  if (request.body.remember_me) {
    request.session.cookie.maxAge = 30 * DAY
  } else {
    request.session.cookie.maxAge = DAY
  }
}

/** What the error says to write. */
export async function byLogin (request: Req): Promise<void> {
  const { session: { student, admin }, body, server } = request
  const data = { student, admin }
  await server.login(request as never, { id: idOf(data) as string }, { remember: body.remember_me, data })
}
