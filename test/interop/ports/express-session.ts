import { randomBytes } from 'node:crypto'
import type express from 'express'
import { find } from './port.ts'
import type { Person, Port, Req } from './port.ts'

const DAY = 24 * 60 * 60 * 1000

type ExpressReq = Omit<express.Request, 'session'> & { session: any, user?: any }

/** A user as the identity provider's database has them. */
async function update (user: Person): Promise<object> {
  await new Promise(setImmediate)
  return { ...user, password: undefined, last_sign_in_at: new Date() }
}

/** Their manager of sessions: not a line of it is of Express. */
const sessions = {
  getEmail: (req: { session: any }) => req.session.email,
  setEmail: (req: { session: any }, email: string) => { req.session.email = email },
  isWithin: (session: any) => session?.user !== undefined && session.amr?.length > 0,
  create: async (req: { session: any }, user: Person, method: string): Promise<null> => {
    const { interactionId, referrerPath } = req.session
    return await new Promise((resolve, reject) => {
      req.session.regenerate(async (err: unknown) => {
        if (err) {
          reject(err)
        } else {
          req.session.user = await update(user)
          req.session.interactionId = interactionId
          req.session.referrerPath = referrerPath
          req.session.amr = []
          req.session.amr = [...req.session.amr, method]
          resolve(null)
        }
      })
    })
  },
  destroy: async (req: { session: any }): Promise<null> => {
    return await new Promise((resolve, reject) => {
      req.session.destroy((err: unknown) => {
        if (err) {
          reject(err)
        } else {
          resolve(null)
        }
      })
    })
  },
  // As csrf-sync does.
  csrfToken: (req: { session: any }) => {
    req.session.csrfToken = randomBytes(16).toString('hex')
    return req.session.csrfToken
  },
  isCsrfTokenOf: (req: { session: any, body: any }) => req.session.csrfToken !== undefined && req.session.csrfToken === req.body._csrf
}

/** An identity provider of a state: the address first, then the password, in forms with CSRF tokens. */
export const identity: Port = {
  kind: 'an identity provider that signs in by two forms',
  library: 'express-session',
  theirs: {
    cookie: { maxAge: DAY, secure: false, sameSite: 'lax' },
    secret: ['the-old-secret-of-the-state-with-32-characters'],
    resave: false,
    saveUninitialized: false
  },
  express: (app) => {
    const csrfProtection: express.RequestHandler = (req, res, next) => sessions.isCsrfTokenOf(req) ? next() : res.status(403).send('invalid csrf token')
    app.get('/start-sign-in', (req, res) => { res.send({ csrfToken: sessions.csrfToken(req), loginHint: sessions.getEmail(req) }) })
    app.post('/start-sign-in', csrfProtection, (req, res) => {
      sessions.setEmail(req, req.body.login)
      return res.redirect('/sign-in')
    })
    app.get('/sign-in', (req, res) => { res.send({ csrfToken: sessions.csrfToken(req), email: sessions.getEmail(req) }) })
    app.post('/sign-in', csrfProtection, async (req, res, next) => {
      try {
        const user = await find(sessions.getEmail(req), req.body.password)
        if (user === null) return res.redirect('/sign-in?notification=invalid_credentials')
        await sessions.create(req, user, 'pwd')
        next()
      } catch (error) {
        next(error)
      }
    }, (req: ExpressReq, res: express.Response) => {
      if (req.session.referrerPath) {
        const referrerPath = `${req.session.referrerPath}`
        req.session.referrerPath = undefined
        return res.redirect(referrerPath)
      }
      return res.redirect('/')
    })
    app.get('/personal-information', async (req: ExpressReq, res, next) => {
      try {
        if (!sessions.isWithin(req.session)) {
          req.session.referrerPath = req.originalUrl
          return res.redirect('/start-sign-in')
        }
        return next()
      } catch (error) {
        next(error)
      }
    }, (req: ExpressReq, res: express.Response) => { res.send({ name: req.session.user.name, since: req.session.user.last_sign_in_at }) })
    app.get('/sign-out', async (req, res, next) => {
      try {
        await sessions.destroy(req)
        return res.redirect('/')
      } catch (error) {
        next(error)
      }
    })
  },
  // What the port changed: `next()` is the end of a hook, `next(error)` a throw, and hooks take an array.
  routes: (app) => {
    const csrfProtection = async (req: Req, res: any) => sessions.isCsrfTokenOf(req) ? undefined : res.status(403).send('invalid csrf token')
    app.get('/start-sign-in', (req: Req, res) => { res.send({ csrfToken: sessions.csrfToken(req), loginHint: sessions.getEmail(req) }) })
    app.post('/start-sign-in', { preHandler: csrfProtection }, (req: Req, res) => {
      sessions.setEmail(req, req.body.login)
      return res.redirect('/sign-in')
    })
    app.get('/sign-in', (req: Req, res) => { res.send({ csrfToken: sessions.csrfToken(req), email: sessions.getEmail(req) }) })
    app.post('/sign-in', {
      preHandler: [csrfProtection, async (req: Req, res: any) => {
        const user = await find(sessions.getEmail(req), req.body.password)
        if (user === null) return res.redirect('/sign-in?notification=invalid_credentials')
        await sessions.create(req, user, 'pwd')
      }]
    }, (req: Req, res) => {
      if (req.session.referrerPath) {
        const referrerPath = `${req.session.referrerPath}`
        req.session.referrerPath = undefined
        return res.redirect(referrerPath)
      }
      return res.redirect('/')
    })
    app.get('/personal-information', {
      preHandler: async (req: Req, res) => {
        if (!sessions.isWithin(req.session)) {
          req.session.referrerPath = req.originalUrl
          return res.redirect('/start-sign-in')
        }
      }
    }, (req: Req, res) => { res.send({ name: req.session.user.name, since: req.session.user.last_sign_in_at }) })
    app.get('/sign-out', async (req: Req, res) => {
      await sessions.destroy(req)
      return res.redirect('/')
    })
  },
  faults: ['resave', 'saveUninitialized'],
  options: { adopt: 'express-session', idleTimeout: '1d', cookie: { secure: false, sameSite: 'lax' } },
  login: async (jar, at, { email, password }, typed = password) => {
    const start = await jar.get(at, '/start-sign-in')
    await jar.post(at, '/start-sign-in', { login: email, _csrf: start.body.csrfToken })
    const form = await jar.get(at, '/sign-in')
    const answer = await jar.post(at, '/sign-in', { password: typed, _csrf: form.body.csrfToken })
    return { ...answer, status: answer.location?.includes('invalid') === true ? 401 : answer.status }
  },
  seen: async (jar, at) => (await jar.get(at, '/personal-information')).body.name ?? null,
  logout: async (jar, at) => await jar.get(at, '/sign-out'),
  idOf: ({ id }) => String(id)
}

/** As MongoDB's driver has them. */
class ObjectId {
  readonly #hex: string
  constructor (id: number) { this.#hex = `507f1f77bcf86cd79943901${id}` }
  toString (): string { return this.#hex }
  toJSON (): string { return this.#hex }
}

/** A shop: signs in by a saved, regenerated session and out by another. */
export const shop: Port = {
  kind: 'a shop whose users have ids of MongoDB, and whose visitors have carts',
  library: 'express-session',
  theirs: {
    name: 'shop.sid',
    secret: 'keyboard cat',
    resave: false,
    saveUninitialized: false,
    rolling: true,
    cookie: { httpOnly: true, secure: false, sameSite: true, maxAge: 2 * 60 * 60 * 1000 }
  },
  express: (app) => {
    app.post('/cart', (req: ExpressReq, res) => {
      req.session.cart = [...req.session.cart || [], req.body.item]
      res.json({ cart: req.session.cart })
    })
    app.post('/login', async (req: ExpressReq, res) => {
      if (req.session.logged) return res.redirect('/')
      const user = await find(req.body.email, req.body.pwd)
      if (!user) return res.status(401).json({ status: 'error', data: 'Password is not correct.' })
      const cart = req.session.cart || []
      req.session.regenerate(function (err: unknown) {
        if (err) return res.json({ status: 'error', data: 'There was an error.' })
        req.session.cart = cart
        req.session.logged = true
        req.session.userId = new ObjectId(user.id)
        req.session.fname = user.name
        if (user.role) req.session.userRole = user.role
        req.session.save(function (err: unknown) {
          if (!err) return res.json({ status: 'success', data: 'Logged In' })
          return res.json({ status: 'error', data: 'There was an error.' })
        })
      })
    })
    app.get('/profile', (req: ExpressReq, res) => {
      if (!req.session.logged) return res.redirect('/login')
      res.json({ name: req.session.fname, userId: req.session.userId, cart: req.session.cart })
    })
    app.post('/logout', (req: ExpressReq, res) => {
      req.session.save(function (err: unknown) {
        if (err) console.error(err)
        req.session.regenerate(function (err: unknown) {
          if (err) console.error(err)
          return res.sendStatus(200)
        })
      })
    })
  },
  // What the port changed: `res.json` is `send`, `res.sendStatus(200)` is `code(200).send()`.
  routes: (app) => {
    app.post('/cart', (req: Req, res) => {
      req.session.cart = [...req.session.cart || [], req.body.item]
      res.send({ cart: req.session.cart })
    })
    app.post('/login', async (req: Req, res) => {
      if (req.session.logged) return res.redirect('/')
      const user = await find(req.body.email, req.body.pwd)
      if (!user) return res.status(401).send({ status: 'error', data: 'Password is not correct.' })
      const cart = req.session.cart || []
      req.session.regenerate(function (err: unknown) {
        if (err) return res.send({ status: 'error', data: 'There was an error.' })
        req.session.cart = cart
        req.session.logged = true
        req.session.userId = new ObjectId(user.id)
        req.session.fname = user.name
        if (user.role) req.session.userRole = user.role
        req.session.save(function (err: unknown) {
          if (!err) return res.send({ status: 'success', data: 'Logged In' })
          return res.send({ status: 'error', data: 'There was an error.' })
        })
      })
      return res
    })
    app.get('/profile', (req: Req, res) => {
      if (!req.session.logged) return res.redirect('/login')
      res.send({ name: req.session.fname, userId: req.session.userId, cart: req.session.cart })
    })
    app.post('/logout', (req: Req, res) => {
      req.session.save(function (err: unknown) {
        if (err) console.error(err)
        req.session.regenerate(function (err: unknown) {
          if (err) console.error(err)
          return res.code(200).send()
        })
      })
    })
  },
  faults: ['cookie.sameSite', 'name', 'resave', 'rolling', 'saveUninitialized', 'secret'],
  options: {
    adopt: 'express-session',
    secret: ['a-new-secret-of-the-shop-with-32-characters', 'keyboard cat'],
    cookieName: ['sid', 'shop.sid'],
    cookie: { httpOnly: true, secure: false, sameSite: 'strict' },
    idleTimeout: '2h',
    // As text: an ObjectId is an object.
    userIdFrom: (data) => data.userId
  },
  login: async (jar, at, { email, password }, typed = password) => await jar.post(at, '/login', { email, pwd: typed }),
  seen: async (jar, at) => (await jar.get(at, '/profile')).body.name ?? null,
  logout: async (jar, at) => await jar.post(at, '/logout', {}),
  warnings: [/^an older secret has fewer than 32 characters/],
  idOf: ({ id }) => String(new ObjectId(id))
}
