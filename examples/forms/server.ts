// Pages rendered by the server, with forms and without a line of script: registration, login, logout.
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import formbody from '@fastify/formbody'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import sessionPlugin from 'fastify-user-sessions'
import type { SessionError } from 'fastify-user-sessions'
import { errorPage, homePage, loginPage, registerPage } from './pages.ts'
import { Users } from './users.ts'

/** Headers of every reply. Pages load a style sheet and send forms to this site, and nothing else. */
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  'content-type': 'text/html; charset=utf-8',
  // After a sign-out the back button shows no page of before.
  'cache-control': 'no-store'
}

/** The fields of a form. A checkbox that is not checked is not sent. */
interface Fields { username: string, password: string, remember?: string }

const schema = {
  body: {
    type: 'object',
    required: ['username', 'password'],
    properties: { username: { type: 'string', maxLength: 64 }, password: { type: 'string', maxLength: 128 } }
  }
}

export async function buildApp ({ redis = process.env.REDIS_URL, users = new Users() } = {}): Promise<FastifyInstance> {
  const app = Fastify({ logger: { level: 'warn' } })
  const secure = process.env.NODE_ENV === 'production'
  const cookieName = secure ? '__Host-sid' : 'sid'

  await app.register(formbody)
  await app.register(sessionPlugin, {
    secret: process.env.SESSION_SECRET ?? randomBytes(32).toString('base64'),
    redis,
    cookieName,
    cookie: { secure }
  })
  app.addHook('onRequest', async (_, reply) => { reply.headers(HEADERS) })

  app.get('/', { preHandler: app.authenticatePage }, async (request, reply) => {
    const { userId, createdAt } = request.requireAuth()
    const user = users.find(userId)
    if (user !== undefined) return homePage(user.username, new Date(createdAt))
    // The user was deleted. Sign them out.
    await app.logout(request)
    return await reply.redirect('/login', 303)
  })

  app.get('/login', { preHandler: app.guestOnly }, async (request) => {
    // A cookie whose session is gone. After a sign-out there is no cookie.
    const hasEnded = request.cookies[cookieName] !== undefined
    return loginPage(hasEnded ? { problem: 'Your session has ended. Please sign in again.' } : {})
  })

  app.post<{ Body: Fields }>('/login', { schema }, async (request, reply) => {
    const { username, password, remember } = request.body
    const user = await app.attemptLogin(request, username, async () => await users.check(username, password))
    if (user === null) {
      // The same answer for an unknown name, so that nobody learns who has an account.
      reply.code(401)
      return loginPage({ username, problem: 'Wrong username or password.' })
    }
    await app.login(request, user, { remember: remember === 'on' })
    return await reply.redirect(app.takeReturnPath(request), 303)
  })

  app.get('/register', { preHandler: app.guestOnly }, async () => registerPage())

  app.post<{ Body: Fields }>('/register', { schema }, async (request, reply) => {
    const { username, password } = request.body
    const refuse = (statusCode: number, problem: string) => {
      reply.code(statusCode)
      return registerPage({ username, problem })
    }
    if (!/^[a-z0-9_-]{3,32}$/.test(username)) return refuse(400, 'A username has 3 to 32 of a-z, 0-9, _ and -.')
    if (password.length < 8) return refuse(400, 'A password has at least 8 characters.')
    const user = await users.add(username, password)
    if (user === null) return refuse(409, 'This username is taken.')
    await app.login(request, user)
    return await reply.redirect(app.takeReturnPath(request), 303)
  })

  app.post('/logout', async (request, reply) => {
    await app.logout(request)
    return await reply.redirect('/login', 303)
  })

  const style = await readFile(new URL('style.css', import.meta.url))
  app.get('/style.css', { config: { session: false } }, async (_, reply) => await reply.type('text/css').send(style))

  app.setNotFoundHandler(async (_, reply) => await reply.code(404).send(errorPage('There is no such page.')))
  app.setErrorHandler<SessionError>(async (error, request, reply) => {
    const { code, statusCode = 500, headers = {} } = error
    if (statusCode >= 500) request.log.error(error)
    reply.code(statusCode).headers(headers)
    if (code === 'ERR_SESSION_TOO_MANY_ATTEMPTS') {
      const minutes = Math.ceil(Number(headers['retry-after']) / 60)
      return loginPage({ problem: `Too many failed logins. Try again in ${minutes} min.` })
    }
    return errorPage(statusCode === 503 ? 'We cannot find out who you are right now.' : 'This did not work.')
  })
  return app
}

if (process.argv[1] === import.meta.filename) {
  const app = await buildApp()
  const url = await app.listen({ port: Number(process.env.PORT ?? 3000) })
  console.log(`Pages at ${url}`)
}
