import passport from '@fastify/passport'
import formbody from '@fastify/formbody'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import type { SessionOptions } from '../../lib/index.ts'
import { startApp } from '../helpers/app.ts'
import type { LogLine } from '../helpers/app.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { listen, Visitor } from '../helpers/visitor.ts'
import type { Answer } from '../helpers/visitor.ts'

/*
 * Sign-in code as public tutorials and READMEs have it: the same calls on the session, in the same order and the same
 * callbacks. Only the registration is ours, and what express calls `app.get(path, (req, res) => …)` is a route here.
 */

interface Person { id: number, name: string, password: string }

const people: Person[] = [{ id: 1, name: 'ada', password: 'lovelace' }, { id: 2, name: 'bob', password: 'builder' }]

/** What a tutorial's database does, and answers a moment later. */
function find (name: string, password: string, done: (error: Error | null, person: Person | null) => void): void {
  setImmediate(() => { done(null, people.find((each) => each.name === name && each.password === password) ?? null) })
}

function findAsync (name: string, password: string): Promise<Person | null> {
  return new Promise((resolve) => { find(name, password, (_error, person) => { resolve(person) }) })
}

/** `POST /login`, `GET /logout` and `GET /private`, which names who is signed in. */
interface Port {
  options?: Partial<SessionOptions>
  /** `true`, or the member that signs nobody in, as the log says. */
  signsIn: true | string
  routes: (app: FastifyInstance) => unknown
}

// What is in the session, and in a form, is each tutorial's own.
type Req = Omit<FastifyRequest, 'session' | 'body'> & { session: any, body: any }

/** The id of somebody in MongoDB. */
function hex (id: number): string {
  return `507f1f77bcf86cd79943901${id}`
}

/** A document as Mongoose has them: its `id` is a getter, and not in its JSON, and its `_id` is an object. */
class Document {
  readonly name: string
  readonly _id: { toJSON: () => string }
  constructor ({ id, name }: Person) {
    this.name = name
    this._id = { toJSON: () => hex(id) }
  }

  get id (): string { return this._id.toJSON() }
}

const ports: Record<string, Port> = {
  "fastify's example of session authentication": {
    signsIn: 'authenticated',
    routes: (app) => {
      app.post('/login', (request: Req, reply) => {
        const { username, password } = request.body
        const person = people.find((each) => each.name === username && each.password === password)
        if (person !== undefined) {
          request.session.authenticated = true
          request.session.name = person.name
          reply.redirect('/')
        } else {
          reply.redirect('/login', 303)
        }
      })
      app.get('/private', (request: Req, reply) => {
        reply.type('text/html')
        reply.send(request.session.authenticated ? `hello ${request.session.name}` : 'log in')
      })
      app.get('/logout', (request: Req, reply) => {
        if (request.session.authenticated) {
          request.session.destroy((err: unknown) => {
            if (err) {
              reply.status(500)
              reply.send('Internal Server Error')
            } else {
              reply.redirect('/')
            }
          })
        } else {
          reply.redirect('/')
        }
      })
    }
  },
  "fastify's demo application": {
    signsIn: true,
    routes: (app) => {
      app.post('/login', async (request: Req, reply) => {
        const person = await findAsync(request.body.username, request.body.password)
        if (person === null) {
          reply.status(401)
          return { message: 'Invalid email or password.' }
        }
        await request.session.regenerate()
        request.session.user = { id: person.id, name: person.name, roles: ['user'] }
        await request.session.save()
        return { success: true }
      })
      app.get('/private', {
        onRequest: async (request: Req, reply) => {
          if (!request.session.user) return reply.status(401).send({ message: 'You must be authenticated.' })
        }
      }, async (request: Req) => request.session.user)
      app.get('/logout', async (request: Req, reply) => {
        await request.session.destroy()
        reply.clearCookie('sid', { path: '/' })
        return reply.code(204).send()
      })
    }
  },
  'the README of @fastify/session': {
    signsIn: true,
    routes: (app) => {
      app.post('/login', (request: Req, reply) => {
        find(request.body.username, request.body.password, (_error, person) => {
          if (person === null) return reply.code(401).send('no')
          request.session.set('userId', person.id)
          request.session.regenerate(['userId'], (error: unknown) => {
            if (error) return reply.send(error)
            request.session.set('name', person.name)
            reply.send(request.session.sessionId)
          })
        })
      })
      app.get('/private', (request: Req, reply) => {
        if (request.session.get('userId') === undefined) reply.code(401).send()
        else reply.send(request.session.get('name'))
      })
      app.get('/logout', {
        preHandler: (request, _reply, next) => { request.session.destroy(next) }
      }, (_request, reply) => { reply.send() })
    }
  },
  'the README of express-session': {
    signsIn: 'user',
    routes: (app) => {
      app.post('/login', (req: Req, res) => {
        find(req.body.username, req.body.password, (_err, person) => {
          if (person === null) return res.redirect('/login')
          req.session.regenerate(function (err: unknown) {
            if (err) return res.send(err)
            req.session.user = req.body.username
            req.session.save(function (err: unknown) {
              if (err) return res.send(err)
              res.redirect('/')
            })
          })
        })
      })
      app.get('/private', (req: Req, res) => {
        if (req.session.user) res.send(`hello, ${req.session.user}!`)
        else res.send('<form action="/login" method="post">')
      })
      app.get('/logout', (req: Req, res) => {
        req.session.user = null
        req.session.save(function (err: unknown) {
          if (err) return res.send(err)
          req.session.regenerate(function (err: unknown) {
            if (err) return res.send(err)
            res.redirect('/')
          })
        })
      })
    }
  },
  "express' example of authentication": {
    signsIn: 'user',
    routes: (app) => {
      app.addHook('preHandler', (req: Req, _res, next) => {
        delete req.session.error
        delete req.session.success
        next()
      })
      const restrict = (req: Req, res: FastifyReply, next: () => void) => {
        if (req.session.user) {
          next()
        } else {
          req.session.error = 'Access denied!'
          res.redirect('/login')
        }
      }
      app.post('/login', (req: Req, res) => {
        find(req.body.username, req.body.password, (_err, user) => {
          if (user) {
            req.session.regenerate(function () {
              req.session.user = { name: user.name }
              req.session.success = `Authenticated as ${user.name}`
              res.redirect('/')
            })
          } else {
            req.session.error = 'Authentication failed'
            res.redirect('/login')
          }
        })
      })
      app.get('/private', { preHandler: restrict }, (req: Req, res) => {
        res.send(`restricted area of ${req.session.user.name}`)
      })
      app.get('/logout', (req: Req, res) => {
        req.session.destroy(function () {
          res.redirect('/')
        })
      })
    }
  },
  'sessions with connect-redis': {
    signsIn: true,
    routes: (app) => {
      const requireAuth = async (req: Req, res: FastifyReply) => {
        if (!req.session.userId) return res.status(401).send({ error: { code: 'not_authenticated' } })
        const user = people.find(({ id }) => id === req.session.userId)
        if (user === undefined) {
          req.session.destroy(() => {})
          return res.status(401).send({ error: { code: 'not_authenticated' } })
        }
        Object.assign(req, { person: user })
      }
      app.post('/login', async (req: Req, res) => {
        const user = await findAsync(req.body.username, req.body.password)
        if (!user) return res.status(401).send({ error: { code: 'invalid_credentials' } })
        req.session.userId = user.id
        res.send({ data: { id: user.id } })
      })
      app.get('/private', { preHandler: requireAuth }, (req: Req, res) => {
        res.send({ data: (req as unknown as { person: Person }).person.name })
      })
      app.get('/logout', (req: Req, res) => {
        req.session.destroy((err: unknown) => {
          if (err) return res.status(500).send({ error: { code: 'logout_failed' } })
          res.clearCookie('connect.sid')
          res.send({ ok: true })
        })
      })
    }
  },
  'a shop with Mongoose': {
    options: { userIdFrom: (data) => (data.user as { _id?: string } | undefined)?._id },
    signsIn: true,
    routes: (app) => {
      app.post('/login', async (req: Req, res) => {
        const user = await findAsync(req.body.username, req.body.password)
        if (!user) return res.redirect('/login')
        req.session.isLoggedIn = true
        req.session.user = new Document(user)
        return req.session.save((err: unknown) => {
          if (err) return res.send(err)
          res.redirect('/')
        })
      })
      app.get('/private', (req: Req, res) => {
        if (!req.session.isLoggedIn) return res.redirect('/login')
        res.send(req.session.user.name)
      })
      app.get('/logout', (req: Req, res) => {
        req.session.destroy(() => {
          res.redirect('/')
        })
      })
    }
  },
  'a login system with MySQL': {
    signsIn: 'loggedin',
    routes: (app) => {
      app.post('/login', (request: Req, response) => {
        const { username, password } = request.body
        if (username && password) {
          find(username, password, (error, results) => {
            if (error) throw error
            if (results) {
              request.session.loggedin = true
              request.session.username = username
              response.redirect('/')
            } else {
              response.send('Incorrect Username and/or Password!')
            }
          })
        } else {
          response.send('Please enter Username and Password!')
        }
      })
      app.get('/private', (request: Req, response) => {
        if (request.session.loggedin) response.send(`Welcome back, ${request.session.username}!`)
        else response.send('Please login to view this page!')
      })
      app.get('/logout', (request: Req, response) => {
        request.session.loggedin = false
        request.session.username = undefined
        response.redirect('/')
      })
    }
  },
  'the README of @fastify/passport': {
    options: { userIdFrom: (data) => data.passport },
    signsIn: true,
    routes: async (app) => {
      const fastifyPassport = new passport.Authenticator({ clearSessionIgnoreFields: ['returnTo'] })
      await app.register(fastifyPassport.initialize())
      await app.register(fastifyPassport.secureSession())
      class Local extends passport.Strategy {
        override authenticate ({ body }: FastifyRequest): void {
          const { username, password } = body as { username: string, password: string }
          find(username, password, (_error, person) => {
            if (person === null) this.fail({ type: 'error', message: 'Incorrect username or password.' }, 401)
            else this.success(person)
          })
        }
      }
      fastifyPassport.use('local', new Local('local'))
      fastifyPassport.registerUserSerializer(async (user: Person) => user.id)
      fastifyPassport.registerUserDeserializer(async (id: number) => people.find((each) => each.id === id) ?? null)
      app.post('/login', {
        preValidation: fastifyPassport.authenticate('local', {
          successReturnToOrRedirect: '/', failureRedirect: '/login', failureFlash: true, authInfo: false
        })
      }, () => {})
      app.get('/private', {
        preValidation: async (request, reply) => {
          if (!request.isAuthenticated()) {
            request.session.set('returnTo', request.url)
            return reply.redirect('/login')
          }
        }
      }, async (request) => request.user)
      app.get('/logout', async (request, reply) => {
        request.logout()
        reply.redirect('/')
      })
    }
  }
}

const redis = await startRedis(t)

interface Site { app: FastifyInstance & { lines: LogLine[] }, visitor: () => Visitor }

async function open (t: Test, { options, routes }: Port): Promise<Site> {
  const app = await startApp(t, { redis: redis.url, keyPrefix: prefix(), ...options })
  await app.register(formbody)
  await routes(app)
  // The counter of visits in the README of express-session.
  app.get('/views', ({ session }: Req, res) => {
    if (session.views) session.views++
    else session.views = 1
    res.send(`views: ${session.views}`)
  })
  const url = await listen(app)
  return { app, visitor: () => new Visitor(url) }
}

async function login (visitor: Visitor, username: string, { headers = {}, password = '' } = {}): Promise<Answer> {
  const known = people.find(({ name }) => name === username)?.password ?? ''
  return await visitor.form('/login', { username, password: password || known }, headers)
}

/** Whose page a visitor gets to see. */
async function seen (visitor: Visitor): Promise<string | null> {
  const { status, body } = await visitor.get('/private')
  return status === 200 ? people.find(({ name }) => body.includes(name))?.name ?? null : null
}

async function sessionsOf ({ app }: Site, id: number): Promise<number> {
  return (await Promise.all([String(id), hex(id)].map((userId) => app.sessions.listByUser(userId)))).flat().length
}

for (const [name, port] of Object.entries(ports)) {
  t.test(`as ${name} has it, people sign in and out, and others after them`, async (t) => {
    const site = await open(t, port)
    const [ada, phone] = [site.visitor(), site.visitor()]
    t.strictSame([(await ada.get('/views')).body, (await ada.get('/views')).body], ['views: 1', 'views: 2'])
    await login(ada, 'ada', { password: 'wrong' })
    t.equal(await seen(ada), null, 'a wrong password')
    const planted = ada.copy()
    for (const device of [ada, phone]) {
      t.ok((await login(device, 'ada')).status < 400)
      await device.get('/views')
    }
    t.strictSame([await seen(ada), await seen(phone)], ['ada', 'ada'], 'two devices')
    const old = ada.copy()
    await ada.get('/logout')
    t.strictSame([await seen(ada), await seen(phone)], [null, 'ada'], 'one is signed out')
    t.equal(await seen(old), null, 'also for the back button')
    for (const device of [ada, phone]) await login(device, 'bob')
    t.strictSame([await seen(ada), await seen(phone)], ['bob', 'bob'], 'somebody else in the same browsers')

    const warnings = site.app.lines.filter(({ level }) => level >= 40).map(({ msg }) => msg)
    if (port.signsIn !== true) {
      t.match(warnings, [new RegExp(`request.session.${port.signsIn} was set, and nobody is signed in by that`)])
      return
    }
    t.strictSame(warnings, [])
    t.equal((await phone.get('/views')).body, 'views: 1', 'with nothing of the first')
    t.equal(await seen(planted), null, 'a cookie of before')
    t.strictSame([await sessionsOf(site, 1), await sessionsOf(site, 2)], [0, 2])
    for (const userId of ['2', hex(2)]) await site.app.sessions.revokeUser(userId)
    t.strictSame([await seen(ada), await seen(phone)], [null, null], 'revoked')
  })

  t.test(`as ${name} has it, what is hostile, careless or down is told`, async (t) => {
    const site = await open(t, port)
    const ada = site.visitor()
    const headers = { origin: 'https://mallory.example' }
    const rejected = { status: 403, body: /"code":"ERR_SESSION_CSRF_REJECTED"/ }
    if (port.signsIn === true) {
      t.match(await login(ada, 'ada', { headers }), rejected)
      t.equal(await seen(ada), null)
    }
    await login(ada, 'ada')
    t.match(await login(ada, 'bob', { headers }), rejected)
    const nonsense: number[] = []
    for (const path of ['/private', '/views', '/logout']) {
      nonsense.push((await site.visitor().get(path, { authorization: 'Bearer nonsense' })).status)
    }
    t.ok(nonsense.every((status) => status < 500), String(nonsense))
    const paths = ['/views', '/private', '/views', '/private', '/views']
    const atOnce = await Promise.all(paths.map((path) => ada.get(path)))
    t.strictSame(atOnce.map(({ status }) => status), [200, 200, 200, 200, 200])
    t.equal(await seen(ada), 'ada')

    await redis.stop()
    const down = { status: 503, body: /"code":"ERR_SESSION_STORE_UNAVAILABLE"/ }
    const bob = site.visitor()
    for (const path of ['/private', '/views', '/logout']) t.match(await ada.get(path), down, path)
    t.match(await login(bob, 'bob'), down)
    t.equal(bob.cookies.size, 0)
    await redis.restart()
    await until('the store to be used again', async () => (await login(bob, 'bob')).status < 400)
    t.equal(await seen(bob), 'bob')
  })
}
