// A page for operators: they search a user, see the sessions, and end one or all. Without a line of script.
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import formbody from '@fastify/formbody'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import sessionPlugin, { adminRoutes, authRoutes } from 'fastify-user-sessions'
import type { SessionError, SessionEvent } from 'fastify-user-sessions'
import { adminPage, errorPage, homePage, loginPage } from './pages.ts'
import { checkPassword, findUser } from './users.ts'

/** Headers of every reply. Pages load a style sheet and send forms to this site, and nothing else. */
const HEADERS = {
  'content-security-policy':
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  // After a sign-out the back button shows no page of before.
  'cache-control': 'no-store'
}

/** How many ends the page lists. */
const MOST_AUDITED = 20

/** A failure of the routes, as their redirects say it. */
interface Query { Querystring: { error?: string, userId?: string } }

/** Refuses who is no operator: in front of the page and of the routes. */
async function operatorsOnly (request: FastifyRequest): Promise<void> {
  const { userId, actor } = request.requireAuth()
  // Who acts as an operator, by the option actor of a sign-in, is none.
  if (actor === null && findUser(userId)?.isOperator === true) return
  throw Object.assign(new Error('For operators only.'), { statusCode: 403 })
}

export async function buildApp ({ redis = process.env.REDIS_URL } = {}): Promise<FastifyInstance> {
  const app = Fastify({ logger: { level: 'warn' } })
  const secure = process.env.NODE_ENV === 'production'

  await app.register(formbody)
  await app.register(sessionPlugin, {
    secret: process.env.SESSION_SECRET ?? randomBytes(32).toString('base64'),
    redis,
    cookie: { secure }
  })
  app.addHook('onRequest', async (_, reply) => { reply.headers(HEADERS) })

  await app.register(authRoutes, {
    prefix: '/auth',
    verify: async ({ username, password }) => await checkPassword(username, password),
    redirects: {}
  })
  await app.register(adminRoutes, {
    prefix: '/admin',
    // Whoever ends sessions of others has signed in within the last hour.
    guard: [app.requireRecentLogin('1h'), operatorsOnly],
    redirects: { done: '/admin' }
  })

  // Ends by operators, those of other processes too. Put your log here.
  const audit: SessionEvent[] = []
  app.sessions.on('revoked', (event) => {
    if (event.actor === null) return
    audit.unshift(event)
    audit.splice(MOST_AUDITED)
  })

  await app.register(async (pages) => {
    pages.addHook('onRequest', async (_, reply) => { reply.type('text/html') })
    pages.setErrorHandler<SessionError>(async (error, request, reply) => {
      const { statusCode = 500, headers = {} } = error
      if (statusCode >= 500) request.log.error(error)
      reply.code(statusCode).headers(headers).type('text/html')
      return errorPage(statusCode === 403 ? 'This is for operators only.' : 'This did not work.')
    })

    pages.get<Query>('/admin', { preHandler: [app.authenticatePage, operatorsOnly] }, async ({ query }) => {
      const { userId = '', error } = query
      const isName = userId.length >= 1 && userId.length <= 255
      const sessions = isName ? await app.sessions.listByUser(userId, { limit: 100 }) : []
      return adminPage({ userId, sessions, audit, error })
    })

    pages.get('/', { preHandler: app.authenticatePage }, async (request) => {
      const { userId } = request.requireAuth()
      return homePage(userId, findUser(userId)?.isOperator === true)
    })

    pages.get<Query>('/login', { preHandler: app.guestOnly }, async ({ query }) => loginPage(query.error))

    const style = await readFile(new URL('style.css', import.meta.url))
    pages.get('/style.css', { config: { session: false } }, async (_, reply) => {
      return await reply.type('text/css').send(style)
    })
  })

  app.setNotFoundHandler(async (_, reply) => {
    return await reply.code(404).type('text/html').send(errorPage('There is no such page.'))
  })
  return app
}

if (process.argv[1] === import.meta.filename) {
  const app = await buildApp()
  const url = await app.listen({ port: Number(process.env.PORT ?? 3000) })
  console.log(`Pages at ${url}`)
}
